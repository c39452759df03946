//! A webhook: JSON by POST, signed where a secret is configured.

use std::time::Duration;

use bytes::Bytes;
use hmac::Mac;
use http::{Method, Request, Uri, header};

use super::target::{Key, NotTold};
use crate::clock;
use crate::outward::Outward;

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 under the secret over the seconds since 1970, a full stop and the body. The time keeps a message
/// that somebody overheard from being sent again later.
pub const SIGNATURE: &str = "telekeep-signature";

pub(super) async fn post(
    client: &Outward,
    address: &Uri,
    key: Option<&Key>,
    body: Vec<u8>,
    limit: Duration,
) -> Result<(), NotTold> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(address.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("telekeep/", env!("CARGO_PKG_VERSION")));
    if let Some(key) = key {
        request = request.header(SIGNATURE, signature(key, clock::now().timestamp(), &body));
    }
    let answer = client.send(request.body(Bytes::from(body))?, limit).await?;
    if answer.status().is_success() { Ok(()) } else { Err(NotTold::Status(answer.status().as_u16())) }
}

fn signature(key: &Key, at: i64, body: &[u8]) -> String {
    let mut mac = key.mac();
    mac.update(format!("{at}.").as_bytes());
    mac.update(body);
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_any_other_tool_makes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 'correct horse battery'
        let key = Key::new(b"correct horse battery").unwrap();
        let made = signature(&key, 1_700_000_000, br#"{"a":1}"#);
        assert_eq!(made, concat!("t=1700000000,v1=", "98a51b330afc58453095af8ed727e6cc4bd565edb4230482620146eda751b416"));
    }
}
