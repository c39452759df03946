//! The MTProto 2.0 wire as the server's side sees it: framing, encryption, messages.
//!
//! Nothing here knows what a method means, nor which account speaks.

pub(crate) mod crypto;
pub(crate) mod framing;
pub(crate) mod message;
#[cfg(test)]
mod properties;
pub(crate) mod server_key;

/// What a peer sent that cannot be read as MTProto; the connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
    #[error("the first bytes belong to no transport")]
    Transport,
    #[error("packet of {0} bytes is outside of what the transport allows")]
    Length(i64),
    #[error("transport sequence {got}, expected {expected}")]
    Sequence { expected: i32, got: i32 },
    #[error("transport checksum does not match")]
    Checksum,
    #[error("authorization key {0:#018x} is unknown")]
    UnknownKey(i64),
    #[error("message key does not match its content")]
    MessageKey,
    #[error("encrypted part is {0} bytes long, which is no whole number of blocks or too short")]
    Blocks(usize),
    #[error("a message claims {0} bytes, more than its packet holds")]
    Body(i64),
    #[error("gzip_packed cannot be unpacked: {0}")]
    Gzip(std::io::Error),
    #[error("gzip_packed grows beyond {0} bytes")]
    Bomb(usize),
    #[error("a key exchange that does not hold together: {0}")]
    KeyExchange(&'static str),
    #[error("malformed message: {0}")]
    Malformed(#[from] grammers_tl_types::deserialize::Error),
}
