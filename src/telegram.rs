//! Telegram: the only room that names grammers.
//!
//! - `client`: one account's supervised [`Connection`]: a time limit on every call, the pool rebuilt when it is stuck.
//! - `dial`: one TCP connection to Telegram, direct or through a SOCKS5 proxy.
//! - `session`: what a connection must know between two runs, kept in RAM and offered for saving.
//! - `error`: every way a call can fail, typed; one function maps Telegram's names.
//! - `flood`: waits of a few seconds are slept here, longer ones are the caller's schedule. `budget`: how fast calls may come, so that
//!   there is nothing to wait for.
//! - `hearing`, `updates`: what Telegram tells on its own, and its order.
//! - `wire`: the relay that each byte of an account passes, and the gate that shuts it.
//! - `portraits`: photos that users show.
//! - `transfer`: files, over connections of their own.
//! - `look`: whether Telegram answers at all, without an account.
//! - `history`, `chats`, `members`: the calls that collecting needs. `joining`: the ones that change where an account is. `login`: signing in.
//!
//! Nothing here writes to a database, and nothing here loops on an error.

pub mod budget;
pub mod chats;
pub mod client;
pub mod dial;
pub mod error;
pub mod flood;
pub mod hearing;
pub mod history;
pub mod joining;
pub mod login;
pub mod look;
pub mod members;
mod meter;
pub mod portraits;
pub mod session;
pub mod transfer;
pub mod updates;
pub mod wire;

pub use chats::{Dialogs, FullChat, InputChat};
pub use client::{Connection, Device, TelegramConfig};
pub use error::{Cause, Error, LoginRefusal};
pub use grammers_tl_types as tl;
pub use hearing::{Heard, Hearing};
pub use history::HistoryRequest;
pub use login::{CodeSent, QrStep, SignIn};
pub use session::{AuthKey, Datacenter, Phone, SessionData};

/// Connections to Telegram that this process has open, over all accounts.
pub fn open_connections() -> usize {
    meter::open_connections()
}

/// What a call gives.
pub type Result<T> = std::result::Result<T, Error>;
