//! What can go wrong, by what a caller would do about it.

use crate::State;

/// An error of the queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The claim no longer holds its job: its lease ran out, or the job was given to another worker.
    /// Roll back and stop; whoever holds the job now does the work.
    #[error("job {job} is not held by this claim any more: another worker may be running it")]
    Stale {
        /// The job that was lost.
        job: i64,
    },
    /// A payload is larger than [`MAX_PAYLOAD_BYTES`](crate::MAX_PAYLOAD_BYTES).
    #[error("the payload of a {kind} job has {bytes} bytes, more than {} allowed", crate::MAX_PAYLOAD_BYTES)]
    PayloadTooLarge {
        /// The job's kind.
        kind: String,
        /// Its size as JSON text.
        bytes: usize,
    },
    /// A payload is nested deeper than [`MAX_PAYLOAD_DEPTH`](crate::MAX_PAYLOAD_DEPTH).
    #[error("the payload of a {kind} job is nested deeper than {} levels", crate::MAX_PAYLOAD_DEPTH)]
    PayloadTooDeep {
        /// The job's kind.
        kind: String,
    },
    /// A job's own retry has a jitter that is no number.
    #[error("the jitter of a {kind} job's retry is no number; it is a share from 0 to 1")]
    Jitter {
        /// The job's kind.
        kind: String,
    },
    /// A priority outside 1 to 4.
    #[error("priority {priority} is outside 1 (most urgent) to 4{}", kind.as_ref().map(|kind| format!(": a {kind} job")).unwrap_or_default())]
    Priority {
        /// The job's kind, where one is meant.
        kind: Option<String>,
        /// What was asked for.
        priority: i16,
    },
    /// No arrow leads from the job's state to where it was asked to go, or its unique key belongs to another job by now.
    #[error("job {job} is {state}: it cannot be told to {action}")]
    Arrow {
        /// The job.
        job: i64,
        /// Where it stands.
        state: State,
        /// What was asked for.
        action: &'static str,
    },
    /// A job that is not there: never was, or removed after its end.
    #[error("there is no job {job}")]
    NoJob {
        /// Its id.
        job: i64,
    },
    /// The same unique key kept changing hands while it was being enqueued.
    #[error("unique key {key:?} of kind {kind} was taken and freed {tries} times while it was enqueued")]
    Contended {
        /// The job's kind.
        kind: String,
        /// The key.
        key: String,
        /// How often it was tried.
        tries: u32,
    },
    /// A state that the table should not be able to hold.
    #[error("unknown job state {0:?}; known are {known:?}", known = State::ALL)]
    UnknownState(String),
    /// A worker without a single kind would wait for ever.
    #[error("worker {0:?} has no kind registered")]
    NoKinds(String),
    /// Postgres refused or could not be reached.
    #[error("the queue's database: {0}")]
    Database(#[from] sqlx::Error),
    /// apalis ended the worker.
    #[error("the apalis worker ended: {0}")]
    Worker(#[from] apalis::prelude::WorkerError),
}
