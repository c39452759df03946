//! What a decent collector must not do, seen and listed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock;

/// Violations that are kept; of more, the newest.
const KEPT: usize = 10_000;

/// One call that endangers an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// Unix time in milliseconds.
    pub at_ms: u64,
    pub account: String,
    /// As in Telegram's schema, such as `messages.getHistory`.
    pub method: String,
    #[serde(flatten)]
    pub offence: Offence,
}

/// Why a call is a violation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "offence")]
pub enum Offence {
    /// Came before the time until which the server had told the account to wait.
    BeforeDeadline { early_ms: u64 },
    /// Shows the account to others or changes something: reading marks, typing, sending.
    Conspicuous,
    /// More than the server allows.
    Exceeded { limit: Limit },
    /// One session was used from two addresses in turn.
    TwoPlaces,
}

/// What the server limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    History,
    Resolves,
    Dialogs,
    Joins,
    Chats,
    Files,
    Takeout,
    Slowmode,
}

/// The list behind [`Violation`].
#[derive(Debug, Default)]
pub(crate) struct Violations(Mutex<VecDeque<Violation>>);

impl Violations {
    pub(crate) fn add(&self, account: &str, method: &str, offence: Offence) {
        let at_ms = u64::try_from(clock::now().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(rpc.method = method, offence = ?offence, "violation");
        let mut list = self.lock();
        if list.len() == KEPT {
            list.pop_front();
        }
        list.push_back(Violation { at_ms, account: account.to_owned(), method: method.to_owned(), offence });
    }

    /// All, oldest first.
    pub(crate) fn all(&self) -> Vec<Violation> {
        self.lock().iter().cloned().collect()
    }

    /// How many of an account are listed.
    pub(crate) fn of(&self, account: &str) -> usize {
        self.lock().iter().filter(|violation| violation.account == account).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Violation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
