//! What a job can fail with, and the one function that says what is done about each.

use std::time::Duration;

use telekeep_queue as queue;

use crate::{account, media, record, telegram};

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
    #[error(transparent)]
    Store(#[from] media::StoreError),
    #[error("the file is not wanted any more")]
    Unwanted,
    #[error("no account that can be used is known to get this file")]
    NoAccount,
    #[error("the payload cannot be read")]
    Payload(#[source] serde_json::Error),
}

/// What is done about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Again, with backoff and jitter: a failure is counted.
    Retry,
    /// Not before this; no failure is counted.
    Snooze { wait: Duration },
    /// The account is lost or held: another one that can read, else hold.
    AccountStopped,
    /// This account cannot see the chat: another one, else it stands in the ledger and the job is done.
    Inaccessible { reason: String },
    /// The operator must look.
    Hold { hint: &'static str },
    /// What the job was for is no longer wanted.
    Discard,
    /// Another worker holds the job now: leave it alone.
    Leave,
}

impl JobError {
    /// What is done about this error.
    pub fn action(&self) -> Action {
        match self {
            Self::Telegram(e) => of_telegram(e),
            Self::Account(e) => of_account(e),
            Self::Record(e) => of_record(e),
            Self::Queue(queue::Error::Stale { .. }) => Action::Leave,
            Self::Queue(_) | Self::Database(_) => Action::Retry,
            Self::Store(e) => Action::Hold { hint: e.hint() },
            Self::Unwanted => Action::Discard,
            Self::NoAccount => Action::Hold { hint: "sign in or import an account that sees it, then `telekeep job release`" },
            Self::Payload(_) => {
                Action::Hold { hint: "the payload was written by another version, or by hand: cancel the job and enqueue it anew" }
            }
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

/// A job whose account goes to another node waits as long as that takes at best.
const MOVES: Duration = Duration::from_secs(1);

fn of_telegram(error: &telegram::Error) -> Action {
    use telegram::Error as E;
    match error {
        E::Flood { wait, .. } | E::OverBudget { wait, .. } | E::SlowMode { wait, .. } | E::TakeoutDelay { wait, .. } => {
            Action::Snooze { wait: *wait }
        }
        E::PeerFlood { .. } => Action::Snooze { wait: account::PEER_FLOOD_REST },
        // This process ends its work with the account; nothing failed.
        E::NotOurs { .. } | E::Transient { source: telegram::Cause::Closed, .. } => Action::Snooze { wait: MOVES },
        // Waiting is not failing: proxies that are down for a day must not use up a job's failures.
        E::Transient { source: telegram::Cause::NoProxy(_), .. } => Action::Snooze { wait: account::proxy::WAIT },
        E::AccountLost { .. } | E::KeyDuplicated | E::KeyRefused | E::Login(_) => Action::AccountStopped,
        // Closed by this process, because the account was stopped or changed: the next start is told why.
        E::Transient { .. } | E::PositionLost { .. } => Action::Retry,
        E::FileReferenceExpired { .. } => {
            Action::Hold { hint: "Telegram refuses fresh references too: `telekeep job release` tries again" }
        }
        E::Damaged { .. } => Action::Hold { hint: "is a proxy or a cache in between? Release the job to try again" },
        E::NoFile { .. } => Action::Hold { hint: "Telegram has no such file: read its message again, or cancel the job" },
        E::Inaccessible { name, .. } => Action::Inaccessible { reason: name.clone() },
        E::Migrate { .. } => Action::Hold { hint: "the account moved to another datacentre: sign it in anew" },
        E::UnknownDatacentre => Action::Hold { hint: "the session is incomplete: import the account again" },
        E::Undecodable { .. } => {
            Action::Hold { hint: "Telegram speaks a newer layer than this version: update, then release the job" }
        }
        E::Unexpected { .. } | E::UnknownRpc { .. } => {
            Action::Hold { hint: "an answer that this version does not know: report it, then release the job" }
        }
    }
}

fn of_account(error: &account::Error) -> Action {
    use account::Error as E;
    match error {
        E::Database(_) | E::Queue(_) => Action::Retry,
        E::Telegram(e) => of_telegram(e),
        E::NotActive { .. } | E::NoReader(_) | E::Unknown(_) | E::NoLabel { .. } => Action::AccountStopped,
        E::Seal(_) | E::NotUnderstood { .. } => {
            Action::Hold { hint: "mend the key file or import the account again, then release the job" }
        }
        E::JustLeft { wait, .. } => Action::Snooze { wait: *wait },
        E::LeaseOver(_) => Action::Snooze { wait: MOVES },
        E::InUse { .. } | E::Pinned { .. } | E::Rotating => Action::Snooze { wait: Duration::from_secs(10) },
        E::Proxy(e) if e.passes() => Action::Snooze { wait: account::proxy::WAIT },
        E::Proxy(_) => Action::Hold { hint: "see `telekeep proxy list`, then release the job" },
        E::LabelTaken { .. }
        | E::Stays { .. }
        | E::NotSignedIn
        | E::NoLogin { .. }
        | E::OtherStep
        | E::UnknownChat(_)
        | E::NoApi(_)
        | E::ResolvesSpent { .. } => Action::Hold { hint: "see the error, then release the job" },
    }
}

fn of_record(error: &record::Error) -> Action {
    use record::Error as E;
    match error {
        E::NotWatched(_) | E::UnknownCoverage(_) | E::UnknownBox(_) => Action::Discard,
        E::PurposeRequired(_) => Action::Hold { hint: "watch the chat with --purpose TEXT" },
        E::Moved | E::Address(_) | E::Unreachable { .. } | E::Database(_) => Action::Retry,
    }
}
