//! What a job can fail with, and the one function that says what is done about each.

use std::time::Duration;

use telekeep_queue as queue;

use crate::{account, record, telegram};

/// Why a job did not go on.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Telegram(#[from] telegram::Error),
    #[error(transparent)]
    Account(#[from] account::Error),
    #[error(transparent)]
    Record(#[from] record::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("the payload cannot be read")]
    Payload(#[source] serde_json::Error),
}

/// What is done about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Again, with backoff and jitter: a failure is counted.
    Retry,
    /// Not before this; no failure is counted. The (account, method) rests as long, where a method is named.
    Snooze { wait: Duration, method: Option<String> },
    /// The account is lost: another one that can read, else hold.
    AccountLost { reason: String },
    /// The account is held at once, loudly; the job with it.
    AccountHeld { reason: String },
    /// This account cannot see the chat: another one, else it stands in the ledger and the job is done.
    Inaccessible { reason: String },
    /// The operator must look.
    Hold { hint: &'static str },
    /// What the job was for is no longer wanted.
    Discard,
    /// Another worker holds the job now: leave it alone.
    Leave,
}

/// How long an account rests that Telegram limits without naming a time.
const PEER_FLOOD_REST: Duration = Duration::from_secs(12 * 3600);

impl JobError {
    /// What is done about this error.
    pub fn action(&self) -> Action {
        match self {
            Self::Telegram(e) => of_telegram(e),
            Self::Account(e) => of_account(e),
            Self::Record(e) => of_record(e),
            Self::Queue(queue::Error::Stale { .. }) => Action::Leave,
            Self::Queue(_) | Self::Database(_) => Action::Retry,
            Self::Payload(_) => Action::Hold { hint: "the payload was written by another version, or by hand: cancel the job and enqueue it anew" },
        }
    }

    /// The error with all its causes, for the job's log.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error with all its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        let cause = e.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = e.source();
    }
    text
}

fn of_telegram(error: &telegram::Error) -> Action {
    use telegram::Error as E;
    match error {
        E::Flood { method, wait } | E::SlowMode { method, wait } | E::TakeoutDelay { method, wait } => {
            Action::Snooze { wait: *wait, method: Some(method.clone()) }
        }
        E::PeerFlood { method } => Action::Snooze { wait: PEER_FLOOD_REST, method: Some(method.clone()) },
        E::AccountLost { name } => Action::AccountLost { reason: name.clone() },
        E::KeyDuplicated | E::KeyRefused => Action::AccountHeld { reason: error.to_string() },
        E::Transient { .. } | E::FileReferenceExpired { .. } => Action::Retry,
        E::Inaccessible { name, .. } => Action::Inaccessible { reason: name.clone() },
        E::Migrate { .. } => Action::Hold { hint: "the account moved to another datacentre: sign it in anew" },
        E::Login(_) => Action::AccountLost { reason: error.to_string() },
        E::UnknownDatacentre => Action::Hold { hint: "the session is incomplete: import the account again" },
        E::Undecodable { .. } => Action::Hold { hint: "Telegram speaks a newer layer than this version: update, then release the job" },
        E::Unexpected { .. } | E::UnknownRpc { .. } => Action::Hold { hint: "an answer that this version does not know: report it, then release the job" },
    }
}

fn of_account(error: &account::Error) -> Action {
    error.action()
}

fn of_record(error: &record::Error) -> Action {
    use record::Error as E;
    match error {
        E::NotWatched(_) | E::UnknownCoverage(_) | E::UnknownBox(_) => Action::Discard,
        E::PurposeRequired(_) => Action::Hold { hint: "watch the chat with --purpose TEXT" },
        E::Address(_) | E::Unreachable { .. } | E::Database(_) => Action::Retry,
    }
}
