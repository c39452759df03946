//! What a download cost.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a download cost so far.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) fetched: AtomicU64,
    pub(super) parts: AtomicU64,
    pub(super) refetched: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) renewed: AtomicU64,
    pub(super) unproved: AtomicU64,
}

impl Counts {
    /// Bytes that arrived, those that were thrown away included.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Parts that were asked for again, for whatever reason but an expired reference.
    pub fn refetched(&self) -> u64 {
        self.refetched.load(Ordering::Relaxed)
    }

    /// Parts that came damaged.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// References that were renewed.
    pub fn renewed(&self) -> u64 {
        self.renewed.load(Ordering::Relaxed)
    }

    /// Parts of which Telegram had no hash.
    pub fn unproved(&self) -> u64 {
        self.unproved.load(Ordering::Relaxed)
    }
}
