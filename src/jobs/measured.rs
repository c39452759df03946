//! Counts what starts of jobs come to, and how long they take; and their place in a trace.

use std::time::Instant;

use telekeep_queue::{Job, Outcome};
use tracing::Span;

use crate::clock;
use crate::telemetry::{metrics, traces};

/// Does a start's work. One that is dropped before it answers (it panicked, took too long, or was handed back) counts as aborted.
pub(super) async fn start(kind: &'static str, work: impl Future<Output = Outcome>) -> Outcome {
    let mut start = Start { kind, began: clock::mark(), outcome: "aborted" };
    let outcome = work.await;
    start.outcome = match &outcome {
        Outcome::Done => "done",
        Outcome::MoreToDo => "more_to_do",
        Outcome::Retry { .. } => "retry",
        Outcome::Snooze { .. } => "snooze",
        Outcome::Hold { .. } => "held",
        Outcome::Discard { .. } => "discarded",
    };
    outcome
}

struct Start {
    kind: &'static str,
    began: Instant,
    outcome: &'static str,
}

impl Drop for Start {
    fn drop(&mut self) {
        metrics::JOB_ATTEMPTS.add(1, &[self.kind, self.outcome]);
        metrics::JOB_DURATION.took(self.began.elapsed(), &[self.kind]);
    }
}

/// The span of a start, below what enqueued its job.
pub(super) fn span(job: &Job) -> Span {
    let span = tracing::info_span!(
        target: traces::TARGET,
        "job",
        otel.name = %job.kind,
        job.id = job.id,
        job.attempt = job.attempt,
        job.run = job.run,
        job.parent = job.parent,
        job.trigger = job.trigger,
        account.id = (job.partition > 0).then_some(job.partition),
    );
    traces::Lineage { job: job.id, run: job.run, parent: job.parent }.place(&span, job.attempt);
    span
}
