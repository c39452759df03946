//! schemathesis judges the API: what it makes of the description, a real server answers as described, and never with a failure of ours.

use std::process::Command;

use sqlx::PgPool;

use crate::asking::{Api, Wish};

/// Runs where a Python with venv is at hand, as for the tests with Telethon.
#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn schemathesis_finds_no_failure_and_no_answer_that_is_not_described(pool: PgPool) {
    let Some(python) = std::env::var_os("TELEKEEP_PYTHON") else {
        println!("SKIPPED: TELEKEEP_PYTHON is not set; scripts/test sets it");
        return;
    };
    let api = Api::as_wished(&pool, Wish::default()).await;
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services/schemathesis.sh");
    let mut command = Command::new(script);
    command.arg(format!("http://{}", api.address)).arg(&api.admin).arg(python);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!told.contains(&api.admin));
}
