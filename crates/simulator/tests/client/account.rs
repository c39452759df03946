//! Signing in and out.

use grammers_client::SignInError;
use telekeep_simulator::AccountRequest;

use super::*;

fn newcomer(password: Option<&str>) -> AccountRequest {
    AccountRequest {
        signed_in: Some(false),
        phone: Some("+99966 12345".to_owned()),
        password: password.map(str::to_owned),
        ..AccountRequest::named("newcomer")
    }
}

#[tokio::test]
async fn a_code_signs_in_after_a_wrong_one_was_refused() {
    let simulator = simulator().await;
    let session = simulator.account_with(&newcomer(None)).expect("an account");
    assert_eq!(session.user_id, None);
    let client = client(&session);
    assert_eq!(refused(client.invoke(&tl::functions::updates::GetState {}).await), "AUTH_KEY_UNREGISTERED");
    assert!(client.request_login_code("+1 555", "hash").await.is_err());

    let token = client.request_login_code("+9996612345", "hash").await.expect("a code");
    let code = simulator.code("9996612345").expect("was sent");
    let wrong = if code == "00000" { "11111" } else { "00000" };
    assert!(matches!(client.sign_in(&token, wrong).await, Err(SignInError::InvalidCode)));
    client.sign_in(&token, &code).await.expect("signs in");
    client.invoke(&tl::functions::updates::GetState {}).await.expect("is signed in");
    assert!(simulator.account("newcomer").expect("an account").user_id.is_some());

    client.sign_out().await.expect("signs out");
    assert_eq!(refused(client.invoke(&tl::functions::updates::GetState {}).await), "AUTH_KEY_UNREGISTERED");
}

#[tokio::test]
async fn a_password_is_asked_for_and_checked() {
    let simulator = simulator().await;
    let client = client(&simulator.account_with(&newcomer(Some("low tide"))).expect("an account"));
    for (password, right) in [("high tide", false), ("low tide", true)] {
        let token = client.request_login_code("+9996612345", "hash").await.expect("a code");
        let code = simulator.code("9996612345").expect("was sent");
        let Err(SignInError::PasswordRequired(token)) = client.sign_in(&token, &code).await else {
            panic!("no password was asked for")
        };
        match client.check_password(token, password).await {
            Ok(_) => assert!(right),
            Err(SignInError::InvalidPassword(_)) => assert!(!right),
            Err(other) => panic!("another error: {other}"),
        }
    }
    client.invoke(&tl::functions::updates::GetState {}).await.expect("is signed in");
}
