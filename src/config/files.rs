//! `[files]`: which files are fetched, how fast, and where they are kept.

use std::path::PathBuf;

use serde::Deserialize;

use crate::media::rules::{Rule, Rules};
use crate::media::{Store, StoreError};
use crate::telegram::transfer::Limits;

/// Files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// A folder, or `s3://BUCKET/PREFIX`; `TELEKEEP_FILES` wins. S3's keys, region and endpoint come from its usual environment variables.
    pub store: Option<String>,
    /// A folder for files on their way; inside the store's folder when not given.
    pub staging: Option<PathBuf>,
    /// The store holds no more than this.
    pub quota_bytes: Option<u64>,
    /// Connections of one account to one datacentre, beside its first.
    pub connections: usize,
    /// Parts of 512 KiB that are asked for at once on each of them.
    pub in_flight: usize,
    /// Downloads that wait or run at once; the next ones come when these end.
    pub at_once: usize,
    /// Where a rule wants photos of users: also those that they showed before, as far as Telegram tells them.
    pub earlier_avatars: bool,
    /// What is fetched: the first that covers a file decides. None: nothing.
    pub rule: Vec<Rule>,
}

impl Default for Files {
    fn default() -> Self {
        let Limits { connections, in_flight } = Limits::default();
        Self {
            store: None,
            staging: None,
            quota_bytes: None,
            connections,
            in_flight,
            at_once: 50,
            earlier_avatars: false,
            rule: Vec::new(),
        }
    }
}

impl Files {
    pub fn rules(&self) -> Rules {
        Rules::new(self.rule.clone())
    }

    pub fn limits(&self) -> Limits {
        Limits { connections: self.connections.clamp(1, 16), in_flight: self.in_flight.clamp(1, 16) }
    }

    /// Where files are kept.
    pub fn open_store(&self) -> Result<Store, StoreError> {
        Store::open(self.store.as_deref().ok_or(StoreError::NotConfigured)?, self.staging.clone())
    }
}
