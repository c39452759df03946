//! The control port's routes for accounts and keys.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const GET_STATE: tl::functions::updates::GetState = tl::functions::updates::GetState {};

/// Status and body of one request.
async fn request(simulator: &Simulator, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = simulator.control_url();
    let address = url.strip_prefix("http://").expect("an address");
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    let status = answer[9..12].parse().expect("a status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_revoked_deactivated_and_given_keys_abroad() {
    let simulator = Simulator::start(world(), Options { datacentres: 3, ..Options::default() }).await.expect("starts");
    let client = member(&simulator);
    client.invoke(&GET_STATE).await.expect("is signed in");
    let (status, accounts) = request(&simulator, "GET", "/accounts", None).await;
    assert_eq!((status, &accounts[0]["name"], &accounts[0]["authorizations"]), (200, &json!("keeper"), &json!(1)));
    let (_, keys) = request(&simulator, "GET", "/accounts/keeper/authorizations", None).await;
    assert_eq!((&keys[0]["layer"], &keys[0]["address"]), (&json!(tl::LAYER), &json!("127.0.0.1")));

    let (_, ended) = request(&simulator, "POST", "/accounts/keeper/revoke", Some(json!({ "why": "revoked" }))).await;
    assert_eq!(ended, json!({ "ended": 1 }));
    assert_eq!(refused(client.invoke(&GET_STATE).await), "SESSION_REVOKED");
    request(&simulator, "POST", "/account", Some(json!({ "name": "keeper", "signed_in": true }))).await;
    let (status, _) = request(&simulator, "POST", "/accounts/keeper/deactivate", None).await;
    assert_eq!((status, refused(client.invoke(&GET_STATE).await)), (204, "USER_DEACTIVATED".to_owned()));
    request(&simulator, "POST", "/accounts/keeper/deactivate", Some(json!({ "ban": true }))).await;
    assert_eq!(refused(client.invoke(&GET_STATE).await), "USER_DEACTIVATED_BAN");
    request(&simulator, "POST", "/accounts/keeper/reactivate", None).await;
    client.invoke(&GET_STATE).await.expect("is active");

    let (_, abroad) = request(&simulator, "POST", "/accounts/keeper/abroad", Some(json!({ "dc": 3 }))).await;
    let abroad: SessionFile = serde_json::from_value(abroad).expect("a session file");
    assert_eq!(abroad, simulator.account_abroad("keeper", 3).expect("the same key"));
    for (method, path, body, status) in [
        ("POST", "/accounts/keeper/abroad", Some(json!({ "dc": 2 })), 400),
        ("POST", "/account", Some(json!({ "name": "islander", "dc": 4 })), 400),
        ("POST", "/accounts/stranger/revoke", None, 404),
        ("POST", "/accounts/keeper/revoke", Some(json!({ "why": "boredom" })), 422),
        ("POST", "/salts", Some(json!({ "seconds": 60 })), 204),
        ("POST", "/codes/expire", None, 204),
        ("POST", "/key_exchanges/retry", Some(json!({ "times": 1 })), 204),
    ] {
        assert_eq!(request(&simulator, method, path, body).await.0, status, "{path}");
    }
    let (_, addresses) = request(&simulator, "GET", "/datacentres", None).await;
    assert_eq!(addresses["2"], json!(simulator.addr().to_string()));
    let (_, key) = request(&simulator, "GET", "/rsa_key", None).await;
    let (pem, fingerprint) = simulator.rsa_key();
    assert_eq!(key, json!({ "pem": pem, "fingerprint": fingerprint }));
}
