//! A look at whether Telegram answers, without an account or a key: the first step of a key exchange, which is not gone on with
//! (<https://core.telegram.org/mtproto/auth_key#1-client-sends-query-to-server>).

use std::net::SocketAddr;
use std::time::Duration;

use grammers_tl_types::{Deserializable, Serializable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::{self, DialError, Route};
use super::tl;
use crate::clock;

/// Begins a connection in the intermediate transport (<https://core.telegram.org/mtproto/mtproto-transports#intermediate>).
const INTERMEDIATE: [u8; 4] = [0xee; 4];
/// Key id, message id and length of a message without a key.
const HEAD: usize = 20;
/// An answer to the first step has about 100 bytes.
const LONGEST: usize = 4_096;

/// Why Telegram is not there.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0} takes connections and does not answer: is Telegram blocked here?")]
    Silent(SocketAddr),
    #[error("{0} answers something that is not Telegram's: is there another server in between?")]
    Stranger(SocketAddr),
}

/// Asks for an answer. Gives how long it took.
pub async fn look(route: &Route, to: SocketAddr, limit: Duration) -> Result<Duration, LookError> {
    let began = clock::mark();
    let mut stream = dial::dial(route, to, limit).await?;
    let nonce: [u8; 16] = rand::random();
    let body = tl::functions::ReqPqMulti { nonce }.to_bytes();
    let mut packet = INTERMEDIATE.to_vec();
    packet.extend(u32::try_from(HEAD + body.len()).unwrap_or(0).to_le_bytes());
    packet.extend(0_i64.to_le_bytes());
    // Messages are numbered by the time: seconds times 2^32, divisible by four.
    packet.extend((clock::now().timestamp() << 32).to_le_bytes());
    packet.extend(u32::try_from(body.len()).unwrap_or(0).to_le_bytes());
    packet.extend(body);
    let exchange = async {
        stream.write_all(&packet).await?;
        let length = usize::try_from(stream.read_u32_le().await?).unwrap_or(usize::MAX);
        let mut answer = vec![0; if (HEAD..LONGEST).contains(&length) { length } else { 0 }];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = match tokio::time::timeout(limit.saturating_sub(began.elapsed()), exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => return Err(LookError::Silent(to)),
    };
    let told = answer.get(HEAD..).and_then(|body| tl::enums::ResPq::from_bytes(body).ok());
    match told {
        Some(tl::enums::ResPq::Pq(told)) if told.nonce == nonce => Ok(began.elapsed()),
        _ => Err(LookError::Stranger(to)),
    }
}
