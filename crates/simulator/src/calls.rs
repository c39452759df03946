//! Counts of calls: per method, and per account and method.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use serde::Serialize;

/// What was called since the start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CallCounts {
    /// Calls per method, answered or refused.
    pub methods: BTreeMap<String, u64>,
    /// The same per account; before the sign-in under the account's name too.
    pub accounts: BTreeMap<String, BTreeMap<String, u64>>,
    /// Calls that were answered with a flood wait, per method.
    pub floods: BTreeMap<String, u64>,
    /// Calls that this server does not know, per method.
    pub unknown: BTreeMap<String, u64>,
    /// Bytes of files that were given, per account.
    pub file_bytes: BTreeMap<String, u64>,
}

/// How often each message was told by a history: by chat and the world's id.
pub type Told = BTreeMap<(i64, i32), u32>;

/// The counters behind [`CallCounts`].
#[derive(Debug, Default)]
pub(crate) struct Calls {
    counts: Mutex<CallCounts>,
    /// Counted where somebody asked for it.
    told: Mutex<Option<Told>>,
}

impl Calls {
    pub(crate) fn count_told(&self) {
        self.told().get_or_insert_default();
    }

    pub(crate) fn tells(&self, chat: i64, ids: &[i32]) {
        if let Some(told) = &mut *self.told() {
            for id in ids {
                *told.entry((chat, *id)).or_default() += 1;
            }
        }
    }

    pub(crate) fn told_so_far(&self) -> Told {
        self.told().clone().unwrap_or_default()
    }

    fn told(&self) -> MutexGuard<'_, Option<Told>> {
        self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn called(&self, account: &str, method: &str) {
        let mut counts = self.lock();
        add(&mut counts.methods, method);
        add(counts.accounts.entry(account.to_owned()).or_default(), method);
    }

    pub(crate) fn flooded(&self, method: &str) {
        add(&mut self.lock().floods, method);
    }

    pub(crate) fn gave(&self, account: &str, bytes: u64) {
        *self.lock().file_bytes.entry(account.to_owned()).or_default() += bytes;
    }

    pub(crate) fn unknown(&self, method: &str) {
        add(&mut self.lock().unknown, method);
    }

    pub(crate) fn of(&self, method: &str) -> u64 {
        self.lock().methods.get(method).copied().unwrap_or(0)
    }

    pub(crate) fn snapshot(&self) -> CallCounts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, CallCounts> {
        self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn add(counts: &mut BTreeMap<String, u64>, method: &str) {
    match counts.get_mut(method) {
        Some(count) => *count += 1,
        None => {
            counts.insert(method.to_owned(), 1);
        }
    }
}
