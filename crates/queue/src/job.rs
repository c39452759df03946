//! A job as a worker sees it, its states, and the token that proves a claim.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Error, Policy};

/// Where a job stands; the arrows are in the [crate's documentation](crate).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum State {
    /// Waits for its `run_at`.
    Scheduled,
    /// May be claimed.
    Available,
    /// Held by a worker's lease.
    Running,
    /// Ended well.
    Done,
    /// Waits for the operator, with a hint.
    Held,
    /// Failed for good.
    Dead,
    /// Ended without its work: by the operator, or discarded by itself.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [State; 7] =
        [State::Scheduled, State::Available, State::Running, State::Done, State::Held, State::Dead, State::Cancelled];

    /// As it stands in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Scheduled => "scheduled",
            State::Available => "available",
            State::Running => "running",
            State::Done => "done",
            State::Held => "held",
            State::Dead => "dead",
            State::Cancelled => "cancelled",
        }
    }

    /// Done, dead or cancelled: a `job_finished` row was left.
    pub const fn is_final(self) -> bool {
        matches!(self, State::Done | State::Dead | State::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| Error::UnknownState(text.to_owned()))
    }
}

/// Proof of a claim: fences every write that the job makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// The claimed job.
    pub job: i64,
    /// Fresh with each claim.
    pub token: Uuid,
}

/// A claimed job, as its work receives it.
#[derive(Debug, Clone)]
pub struct Job {
    /// The job's id.
    pub id: i64,
    /// Which work it is.
    pub kind: String,
    /// The work's own arguments; one that cannot be decoded is for the work to [hold](crate::Outcome::Hold).
    pub payload: Value,
    /// To be given to [`fence`](crate::fence) and [`progress`](crate::progress).
    pub token: Token,
    /// How often it was started, this time included.
    pub attempt: i32,
    /// How often it failed.
    pub failure: i32,
    /// Leases that ran out in a row before this start.
    pub crash: i32,
    /// Its partition, 0 for none.
    pub partition: i64,
    /// 1 (most urgent) to 4.
    pub priority: i16,
    /// The job that enqueued it.
    pub parent: Option<i64>,
    /// What enqueued it.
    pub trigger: Option<String>,
    /// The workflow run that it belongs to.
    pub run: Option<i64>,
    /// The step of that run.
    pub step: Option<String>,
    /// Its key, unique among the kind's unfinished jobs.
    pub unique_key: Option<String>,
    /// Fires when the operator cancels the job, its lease is lost, or the drain's grace is over: return soon.
    pub cancel: CancellationToken,
    pub(crate) policy: Policy,
    pub(crate) draining: CancellationToken,
    pub(crate) started: Instant,
}

impl Job {
    /// True when the work should stop at its next safe place and return [`Outcome::MoreToDo`](crate::Outcome):
    /// the kind's time slice is over, the worker drains, or the job is cancelled.
    pub fn slice_is_over(&self) -> bool {
        self.draining.is_cancelled() || self.cancel.is_cancelled() || self.elapsed() >= self.policy.slice
    }

    /// Time since the claim reached this process.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
