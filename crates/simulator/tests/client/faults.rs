//! What goes wrong on demand, as an unmodified client sees it.

use std::time::Duration;

use telekeep_simulator::{Fault, FaultKind};
use tl::functions as f;

use super::*;

const HISTORY: &str = "messages.getHistory";
/// For what never comes.
const LONG: Duration = Duration::from_millis(700);

async fn reader() -> (Simulator, Client, tl::types::InputChannel) {
    let simulator = simulator().await;
    let client = member(&simulator);
    let input = resolved(&client, "harbour").await;
    (simulator, client, input)
}

#[tokio::test]
async fn errors_of_any_name_and_code_are_answered() {
    let (simulator, client, input) = reader().await;
    for (code, name) in [(-503, "TIMEOUT"), (500, "RPC_CALL_FAIL"), (420, "FLOOD_PREMIUM_WAIT_5"), (400, "NOBODY_KNOWS_THIS")] {
        simulator.fail(Fault::error(code, name).of(HISTORY).times(1));
        let Err(InvocationError::Rpc(error)) = client.invoke(&get_history(peer(&input))).await else { panic!("no {name}") };
        assert_eq!(error.code, code);
        assert!(name.starts_with(&error.name), "{}", error.name);
    }
    client.invoke(&get_history(peer(&input))).await.expect("all is well again");
}

#[tokio::test]
async fn a_connection_that_is_cut_or_reset_fails_and_is_made_again() {
    for kind in [FaultKind::Cut, FaultKind::Reset] {
        let (simulator, client, input) = reader().await;
        simulator.fail(Fault::new(kind).of(HISTORY).times(1));
        let error = client.invoke(&get_history(peer(&input))).await.expect_err("is lost");
        assert!(matches!(error, InvocationError::Io(_)), "{error}");
        client.invoke(&get_history(peer(&input))).await.expect("connects again");
        assert_eq!(simulator.calls(HISTORY), 2);
    }
}

#[tokio::test]
async fn a_call_without_an_answer_holds_up_no_other() {
    let (simulator, client, input) = reader().await;
    simulator.fail(Fault::new(FaultKind::Silence).of(HISTORY).times(1));
    let call = get_history(peer(&input));
    assert!(tokio::time::timeout(LONG, client.invoke(&call)).await.is_err());
    client.invoke(&f::updates::GetState {}).await.expect("another is answered");
}

#[tokio::test]
async fn a_half_open_connection_says_nothing_more() {
    let (simulator, client, input) = reader().await;
    simulator.fail(Fault::new(FaultKind::HalfOpen).of(HISTORY).times(1));
    assert!(tokio::time::timeout(LONG, client.invoke(&get_history(peer(&input)))).await.is_err());
    assert!(tokio::time::timeout(LONG, client.invoke(&f::updates::GetState {})).await.is_err());
    simulator.cut();
}

#[tokio::test]
async fn an_answer_comes_late_or_in_drops() {
    let (simulator, client, input) = reader().await;
    simulator.fail(Fault::new(FaultKind::Delay { ms: 700 }).of(HISTORY).times(1));
    let call = get_history(peer(&input));
    let late = client.invoke(&call);
    tokio::pin!(late);
    assert!(tokio::time::timeout(LONG / 2, &mut late).await.is_err());
    late.await.expect("is answered in the end");

    simulator.fail(Fault::new(FaultKind::Drip { bytes_per_second: 1 }).of("updates.getState").times(1));
    assert!(tokio::time::timeout(LONG * 2, client.invoke(&f::updates::GetState {})).await.is_err());
}

#[tokio::test]
async fn a_wrong_salt_is_sent_again_with_the_right_one() {
    let (simulator, client, input) = reader().await;
    simulator.fail(Fault::new(FaultKind::WrongSalt).of(HISTORY).times(1));
    client.invoke(&get_history(peer(&input))).await.expect("the client tries again");
    assert_eq!(simulator.calls(HISTORY), 2);
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let (simulator, client, input) = reader().await;
    simulator.fail(Fault::new(FaultKind::Garbage).of(HISTORY).times(1));
    client.invoke(&get_history(peer(&input))).await.expect_err("cannot be read");
    let other = member(&simulator);
    other.invoke(&f::updates::GetState {}).await.expect("the server goes on");
}

#[tokio::test]
async fn a_fault_hits_one_account_and_ends_by_hand() {
    let (simulator, client, input) = reader().await;
    let second = crate::client(&simulator.account("second").expect("an account"));
    simulator.fail(Fault { account: Some("second".to_owned()), ..Fault::error(500, "INTERNAL") });
    client.invoke(&get_history(peer(&input))).await.expect("is not meant");
    assert_eq!(refused(second.invoke(&f::updates::GetState {}).await), "INTERNAL");
    simulator.heal();
    second.invoke(&f::updates::GetState {}).await.expect("is healed");
}
