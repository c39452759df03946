//! Why an account cannot be used, and what to do about it.

use std::time::Duration;

use super::{proxy, seal};
use crate::record::account::AccountState;
use crate::record::lease::Holder;
use crate::record::{AccountId, ChatId};
use crate::telegram;

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Queue(#[from] telekeep_queue::Error),
    #[error(transparent)]
    Seal(#[from] seal::Error),
    #[error(transparent)]
    Telegram(#[from] telegram::Error),
    #[error("there is no account {}: see `telekeep account list`", .0.0)]
    Unknown(AccountId),
    #[error("account {label} is {}{}", state.as_str(), because(reason.as_deref()))]
    NotActive { label: String, state: AccountState, reason: Option<String> },
    /// No active account is known to read the chat.
    #[error("no active account is known to read chat {}", .0.0)]
    NoReader(ChatId),
    #[error("there is no account {label}: see `telekeep account list`")]
    NoLabel { label: String },
    #[error("the label {label} belongs to another user's account: choose another label")]
    LabelTaken { label: String },
    #[error(
        "the session of account {label} was written by another version of Telekeep and is not understood: import the account again"
    )]
    NotUnderstood { label: String },
    #[error("nobody is signed in yet: the login is not finished")]
    NotSignedIn,
    #[error("no login of {label} is under way: begin one")]
    NoLogin { label: String },
    #[error("the login waits for something else than that")]
    OtherStep,
    /// The day's lookups of public names are used up; nothing was asked of Telegram.
    #[error(
        "@{name} is not looked up: account {label} has used up its lookups of public names (Telegram allows about 200 a day); the next one is at {} UTC, and the chat's id or a link as https://t.me/c/ID/MESSAGE needs none",
        at.format("%Y-%m-%d %H:%M:%S")
    )]
    ResolvesSpent { name: String, label: String, at: chrono::DateTime<chrono::Utc> },
    /// What was written names no chat that is to be had.
    #[error("{0}")]
    UnknownChat(String),
    /// One session must never be used by two processes.
    #[error(
        "account {label} is in use by {}: let that process do the work, or stop it (`telekeep node list` shows it). It renewed its lease {} s ago; if it stays silent, the account is free in {} s",
        holder.node, holder.silent.as_secs(), holder.free_in.as_secs()
    )]
    InUse { label: String, holder: Holder },
    #[error("account {label} is pinned to {nodes}: `telekeep account pin {label}` without a node frees it")]
    Pinned { label: String, nodes: String },
    #[error(
        "account {label} was used from here, then from another address: so as not to look stolen, it does not come back before {} s",
        wait.as_secs() + 1
    )]
    JustLeft { label: String, wait: Duration },
    /// What was about to be written is not this process's to write any more.
    #[error("account {} was taken over by another node", .0.0)]
    LeaseOver(AccountId),
    /// Neither held nor released by a word.
    #[error("account {label} stays {state}{}; {}", because(reason.as_deref()), remedy(state, *needs_login, label))]
    Stays { label: String, state: &'static str, needs_login: bool, reason: Option<String> },
    #[error("another process rotates the key at this moment; wait for it")]
    Rotating,
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    #[error(transparent)]
    NoApi(#[from] crate::config::ConfigError),
}

impl Error {
    /// Whether the user can mend it by other words or files.
    pub fn is_mistake(&self) -> bool {
        match self {
            Self::UnknownChat(_)
            | Self::NoApi(_)
            | Self::LabelTaken { .. }
            | Self::Unknown(_)
            | Self::NoLabel { .. }
            | Self::InUse { .. }
            | Self::Pinned { .. }
            | Self::JustLeft { .. }
            | Self::Stays { .. }
            | Self::Rotating
            | Self::NoLogin { .. }
            | Self::OtherStep
            | Self::ResolvesSpent { .. }
            | Self::Seal(_) => true,
            Self::Proxy(e) => !e.passes(),
            Self::Telegram(e) => matches!(e, telegram::Error::Inaccessible { .. } | telegram::Error::Login(_)),
            Self::Database(_)
            | Self::Queue(_)
            | Self::LeaseOver(_)
            | Self::NotActive { .. }
            | Self::NoReader(_)
            | Self::NotUnderstood { .. }
            | Self::NotSignedIn => false,
        }
    }
}

/// What a use of an account gives.
pub type Result<T> = std::result::Result<T, Error>;

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn remedy(state: &str, needs_login: bool, label: &str) -> String {
    match state {
        "lost" => format!("sign in again (`telekeep account login --label {label}`) or import a session of it"),
        "held" if needs_login => {
            format!("Telegram destroyed its key: it needs a new login (`telekeep account login --label {label}`)")
        }
        "held" => "it is held already".into(),
        _ => "it is not held".into(),
    }
}
