//! Telethon and kurigram, as their authors publish them, against the simulator: what each sees equals the truth.
//!
//! `scripts/up --python` makes their private Python and names it in TELEKEEP_PYTHON; without it these tests are skipped.

use std::path::Path;
use std::process::Command;

use telekeep_simulator::AccountRequest;

use super::*;

const PHONE: &str = "+99966212345";
const PASSWORD: &str = "correct horse battery staple";

/// Few enough members to be listed, and files in two of four datacentres.
fn told() -> World {
    World::generated(
        7,
        [
            GeneratedChat::new(ChatKind::Channel, "Harbour", 730).named("harbour"),
            GeneratedChat::new(ChatKind::Supergroup, "Quay", 900).deleted(0.25).named("quay").members(450),
            GeneratedChat::new(ChatKind::Supergroup, "Back room", 60).members(30),
            GeneratedChat::new(ChatKind::Group, "Night shift", 40),
            GeneratedChat::new(ChatKind::Private, "Maren", 30),
        ],
    )
    .files_in([2, 4])
}

/// Runs one of the programs in `tests/python`.
async fn judge(program: &str) {
    let Some(python) = std::env::var_os("TELEKEEP_PYTHON") else {
        println!("skipped: TELEKEEP_PYTHON names no Python with the clients; eval \"$(scripts/up --python)\" makes one");
        return;
    };
    let options = Options { datacentres: 4, ..Options::default() };
    let simulator = Simulator::start(told(), options).await.expect("starts");
    let request = AccountRequest {
        signed_in: Some(false),
        phone: Some(PHONE.to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..AccountRequest::named("judge")
    };
    simulator.account_with(&request).expect("an account");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(program);
    let control = simulator.control_url();
    let run = move || {
        let arguments = [control.as_str(), "judge", PHONE, PASSWORD];
        Command::new(python).arg("-B").arg(program).args(arguments).output()
    };
    let output = tokio::task::spawn_blocking(run).await.expect("no panic").expect("the Python of TELEKEEP_PYTHON runs");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with("all that was seen equals the truth\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn telethon_sees_the_truth_from_the_key_exchange_on() {
    judge("with_telethon.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kurigram_sees_the_truth_from_the_key_exchange_on() {
    judge("with_kurigram.py").await;
}
