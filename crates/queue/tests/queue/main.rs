//! The queue on real Postgres. `DATABASE_URL` names a server on which databases may be made.

mod apalis_worker;
mod arrows;
mod bad_input;
mod claims;
mod enqueueing;
mod kill;
mod leases;
mod model;
mod operating;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;
use telekeep_queue::{Enqueued, Error, Filter, JobRow, NewJob, Policy, State, Worker, WorkerConfig, enqueue, show};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Short leases, so that the tests need not wait for long ones.
fn config(name: &str) -> WorkerConfig {
    WorkerConfig {
        concurrency: 4,
        per_partition: 2,
        lease: Duration::from_millis(1200),
        heartbeat: Duration::from_millis(300),
        grace: Duration::from_millis(400),
        ..WorkerConfig::new(name)
    }
}

/// Fails fast: three failures, waits of 50 ms to 200 ms.
const QUICK: Policy =
    Policy { max_failures: 3, base: Duration::from_millis(50), cap: Duration::from_millis(200), jitter: 0.0, ..Policy::DEFAULT };

/// A worker in this process.
struct Live {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Live {
    fn start(worker: Worker) -> Self {
        let shutdown = CancellationToken::new();
        Live { task: tokio::spawn(worker.run(shutdown.clone())), shutdown }
    }

    /// SIGTERM: drains and ends.
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("the worker panicked").expect("the worker failed");
    }

    /// As near to SIGKILL as a task comes: nothing is settled, nothing said.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "as an operator's shell would give it")]
fn utc_now() -> DateTime<Utc> {
    Utc::now()
}

fn job(kind: &str) -> NewJob {
    NewJob::new(kind, json!({}))
}

async fn add_all(pool: &PgPool, jobs: &[NewJob]) -> Vec<Enqueued> {
    let mut tx = pool.begin().await.unwrap();
    let (answers, wake) = enqueue(&mut tx, jobs).await.unwrap();
    tx.commit().await.unwrap();
    wake.fire(pool).await;
    answers
}

async fn add(pool: &PgPool, job: NewJob) -> i64 {
    add_all(pool, &[job]).await[0].id()
}

async fn row(pool: &PgPool, id: i64) -> JobRow {
    show(pool, id).await.unwrap().expect("no such job")
}

/// Waits until a job is as asked, 15 s at most.
async fn until(pool: &PgPool, id: i64, asked: impl Fn(&JobRow) -> bool) -> JobRow {
    let deadline = now() + Duration::from_secs(15);
    loop {
        let row = row(pool, id).await;
        if asked(&row) {
            return row;
        }
        assert!(now() < deadline, "still {row:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn until_state(pool: &PgPool, id: i64, state: State) -> JobRow {
    until(pool, id, |row| row.state == state).await
}

/// What must hold whenever nothing runs: each start left the row of its end, and the counts are right.
async fn at_rest(pool: &PgPool) {
    let open: i64 = sqlx::query_scalar(
        "select count(*) from job j
         where j.attempt - (j.state = 'running')::int <> (select count(*) from job_attempt a where a.job = j.id)",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(open, 0, "starts without a row of their end");
    counts_are_right(pool).await;
}

/// The running sums are what a scan finds.
async fn counts_are_right(pool: &PgPool) {
    let scanned: Vec<(String, State, i64)> =
        sqlx::query_as("select kind, state, count(*) from job group by kind, state order by kind, state")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(telekeep_queue::counts(pool).await.unwrap(), scanned);
}

/// Kinds and outcomes of the ends that were left, in order.
async fn ends(pool: &PgPool) -> Vec<(i64, State, String)> {
    let mut conn = pool.acquire().await.unwrap();
    let taken = telekeep_queue::take_finished(&mut conn, 1000).await.unwrap();
    taken.into_iter().map(|end| (end.job_id, end.state, end.outcome)).collect()
}
