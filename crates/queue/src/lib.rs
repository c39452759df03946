//! Durable, leased jobs in Postgres, run by apalis: nothing lost, nothing doubled, under `kill -9`.
//!
//! # States
//!
//! ```text
//!   enqueue (run_at later)          enqueue
//!          │                           │
//!          ▼          due              ▼          claim
//!     ┌─────────┐ ───────────►  ┌───────────┐ ───────────► ┌─────────┐
//!     │scheduled│               │ available │              │ running │
//!     └─────────┘ ◄───────┐     └───────────┘ ◄──────┐     └────┬────┘
//!          ▲              │        ▲     ▲           │          │
//!          │              │        │     │           │          ├─ done ──────────────────► done ■
//!          │        retry, snooze  │     │   more to do, drain, │
//!          │         (failure + 1, │     │   lease expired      ├─ last failure ──────────► dead ■
//!          │         not counted)──┼─────┼──────────────────────┤
//!          │                       │     │                      ├─ discard, or cancelled
//!          │                       │     │                      │  while it ran ──────────► cancelled ■
//!          │   release, retry      │     │                      │
//!          └── (before not_before) ┴─────┤                      └─ hold, too many crashes ► held
//!                                        │
//!                              held ─────┤ release, retry
//!              dead, cancelled ──────────┘ retry
//!
//!     scheduled, available, held ── cancel ──► cancelled ■
//!     scheduled, available ── pause ──► held ── resume ──► scheduled, available
//! ```
//!
//! ■ leaves a row in `job_finished` in the same statement, whoever caused it; [`take_finished`] consumes them.
//! A discarded job is `cancelled` with outcome `discarded`: its work was not done, and the operator may retry it.
//! A cancelled running job is told through [`Job::cancel`]; it ends as `done` or `dead` if that is what it answers,
//! else as `cancelled`.
//!
//! An arrow that is not in the picture is refused: with [`Error::Arrow`] where one job is meant by its id, and by not being
//! counted where a [`Filter`] means many.
//!
//! # Counting
//!
//! `attempt` counts starts, `failure` counts failures, `crash` counts leases that ran out in a row: any answer and any
//! [`progress`] resets it. A snooze, a slice, a drain burn nothing, and a job handed back unstarted loses its start.
//!
//! # Why nothing is lost and nothing doubled
//!
//! - A worker incarnation has one row with a lease; its jobs hang on that row. A restart under the same name is a
//!   new row. Only the reaper touches what another incarnation holds, and only after its lease ran out.
//! - How many jobs run in a partition is counted, not kept: under the partition's lock, by a statement that began after
//!   the lock was got.
//! - Each claim has a fresh [`Token`]. Outcomes move a job only under its token. A job that writes calls [`fence`]
//!   first in each transaction: it holds the job's row until the commit, or fails with [`Error::Stale`]. A transaction
//!   that ends with [`finish`] needs no other fence.
//! - The database's clock is the only one that two processes compare.
//! - A job may start again after a crash, even after its last commit (at least once). Its effect is exactly once if
//!   its fenced writes are the same when repeated, or if the last of them calls [`finish`]: then its writes and its end
//!   are one commit.
//!
//! # Fairness
//!
//! Within a partition the priority decides, then `run_at`. Across partitions the one that waited longest is served
//! first, and at most [`WorkerConfig::per_partition`] of its jobs run at once, over all workers. Partition 0 stands
//! for none and has no limit. A partition may be paused, have a limit of its own, or be kept for a holder
//! ([`set_partition`]); a method may rest in it ([`rest`]), which blocks the kinds that [use](Worker::uses) it; a kind may be
//! paused everywhere ([`pause_kind`]).
//!
//! # Use
//!
//! ```no_run
//! # async fn example(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
//! use serde_json::json;
//! use telekeep_queue::{NewJob, Outcome, Policy, Worker, WorkerConfig, enqueue};
//!
//! let mut tx = pool.begin().await?;
//! let (jobs, wake) = enqueue(&mut tx, &[NewJob::new("greet", json!({"name": "Ada"})).unique_key("Ada")]).await?;
//! tx.commit().await?;
//! wake.fire(&pool).await;
//!
//! let shutdown = tokio_util::sync::CancellationToken::new();
//! Worker::new(pool.clone(), WorkerConfig::new("greeter"))
//!     .register("greet", Policy::DEFAULT, move |job| async move {
//!         println!("hello {}", job.payload["name"]);
//!         Outcome::Done
//!     })
//!     .run(shutdown)
//!     .await?;
//! # Ok(()) }
//! ```

mod backend;
mod claim;
mod clock;
mod enqueue;
mod error;
mod fence;
mod finished;
mod incarnation;
mod job;
mod lease;
mod lineage;
mod listing;
mod news;
mod operate;
mod outcome;
mod recent;
mod settle;
mod wait;
mod worker;

pub use backend::{JsonValues, PgBackend, SettleLayer, SettleService};
pub use enqueue::{Conflict, Enqueued, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, NewJob, Wake, enqueue};
pub use error::Error;
pub use fence::{fence, progress};
pub use finished::{Finished, remove_finished, take_finished};
pub use job::{Job, State, Token};
pub use lineage::{Lineage, family, lineages};
pub use listing::{list, states};
pub use operate::{
    Action, Attempt, Filter, JobRow, PartitionRest, PartitionRow, PartitionSettings, Struck, WorkerRow, act, act_alone_within,
    act_within, attempts, cancel, counts, hand_over, meant, partition, partitions, pass_holder, pause, pause_kind, pause_partition,
    paused_kinds, refusal, release, relocate, reprioritise, rest, resume, resume_kind, resume_kind_within, retry, set_holder,
    set_partition, show, workers,
};
pub use outcome::{Outcome, Policy, Retry};
pub use recent::{Recent, recent};
pub use settle::finish;
pub use wait::{Wait, waits};
pub use worker::{Worker, WorkerConfig};

/// The queue's tables. An application with tables of its own merges [`migrations`] into its migrator.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The queue's migrations, to be merged with an application's own.
pub fn migrations() -> Vec<sqlx::migrate::Migration> {
    MIGRATOR.iter().cloned().collect()
}
