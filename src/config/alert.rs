//! `[alerts]` and `[[alert]]`: when somebody is told, and who.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Secret;

/// Thresholds of the rules, and how often they are looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Seconds from one look to the next.
    pub every_seconds: u64,
    /// What does not apply any more for so many seconds is over.
    pub recovers_after_seconds: u64,
    /// A target is told at most once in so many seconds: what comes meanwhile goes into one message.
    pub group_seconds: u64,
    /// A target that did not take a message is tried again after so many seconds, then after twice as many, up to ten minutes.
    pub retry_seconds: u64,
    /// The oldest job that could run waits longer than this.
    pub jobs_wait_seconds: u64,
    /// Missing or stale ids of a chat do not become fewer for so long.
    pub holes_stay_seconds: u64,
    /// Elasticsearch takes nothing for so long.
    pub elasticsearch_away_seconds: u64,
    /// So many documents are refused by the index.
    pub dead_letters: i64,
    /// A disk has less than this share free, in percent.
    pub disk_free_percent: f64,
    /// Nodes took one account so often within `lease_changes_within_seconds`.
    pub lease_changes: i64,
    pub lease_changes_within_seconds: u64,
    /// A chat is silent where it would have had so many messages by its habit.
    pub silent_messages: f64,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            every_seconds: 30,
            recovers_after_seconds: 60,
            group_seconds: 30,
            retry_seconds: 10,
            jobs_wait_seconds: 600,
            holes_stay_seconds: 3_600,
            elasticsearch_away_seconds: 300,
            dead_letters: 1,
            disk_free_percent: 10.0,
            lease_changes: 6,
            lease_changes_within_seconds: 1_800,
            silent_messages: 20.0,
        }
    }
}

/// Who is told: a webhook, or a command.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// For people and for the record: a target keeps it.
    pub name: String,
    /// Gets JSON by POST. May carry a secret, as many services want it.
    pub webhook: Option<Secret>,
    /// Signs what is sent to the webhook: a file, or the name of an environment variable.
    pub secret_file: Option<PathBuf>,
    pub secret_env: Option<String>,
    /// Gets JSON on standard input: a program and its arguments, never a shell's line.
    #[serde(default)]
    pub command: Vec<String>,
    /// How long one message may take.
    #[serde(default = "ten")]
    pub timeout_seconds: u64,
    /// The rules that it is told of; all when not given.
    pub rules: Option<Vec<String>>,
}

fn ten() -> u64 {
    10
}

impl Alert {
    /// At least a second, at most a minute: a message that is under way holds its row.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.clamp(1, 60))
    }
}
