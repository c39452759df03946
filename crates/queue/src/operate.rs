//! For the operator: what is there, what happened to it, and what to do with it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgPool};

use crate::enqueue::notify;
use crate::{Error, State};

/// A job as it stands in the table.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct JobRow {
    /// The job's id.
    pub id: i64,
    /// Which work it is.
    pub kind: String,
    /// The work's arguments.
    pub payload: Value,
    /// 0 for none.
    pub partition: i64,
    /// 1 (most urgent) to 4.
    pub priority: i16,
    /// Where it stands.
    pub state: State,
    /// Its next start, or its last while it runs.
    pub run_at: DateTime<Utc>,
    /// A wait that nothing shortens.
    pub not_before: Option<DateTime<Utc>>,
    /// Unique among the kind's unfinished jobs.
    pub unique_key: Option<String>,
    /// The job that enqueued it.
    pub parent: Option<i64>,
    /// What enqueued it.
    pub trigger: Option<String>,
    /// Starts.
    pub attempt: i32,
    /// Failures.
    pub failure: i32,
    /// Expired leases in a row.
    pub crash: i32,
    /// Who runs it: name@host/process.
    pub node: Option<String>,
    /// A running job that was told to stop.
    pub cancel_requested: bool,
    /// What its last start came to.
    pub outcome: Option<String>,
    /// The last error, or the reason of a snooze or discard.
    pub error: Option<String>,
    /// What the operator can do about a held job.
    pub hint: Option<String>,
    /// How far it is.
    pub progress_done: Option<i64>,
    /// Of how much.
    pub progress_total: Option<i64>,
    /// In words.
    pub progress_note: Option<String>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// Its last start.
    pub started_at: Option<DateTime<Utc>>,
    /// Its end.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Which jobs to list; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// These jobs only.
    pub ids: Option<Vec<i64>>,
    /// One kind only.
    pub kind: Option<String>,
    /// One state only.
    pub state: Option<State>,
    /// Only those that have not ended; held ones count as unfinished.
    pub unfinished: bool,
    /// At most so many, newest first; 100 by default.
    pub limit: Option<i64>,
}

/// The jobs that match, newest first.
pub async fn list(pool: &PgPool, filter: Filter) -> Result<Vec<JobRow>, Error> {
    Ok(sqlx::query_as(
        "select j.*, w.node from job j left join worker w on w.id = j.worker
         where ($1::bigint[] is null or j.id = any($1)) and ($2::text is null or j.kind = $2)
           and ($3::text is null or j.state = $3)
           and (not $5 or j.state not in ('done', 'dead', 'cancelled'))
         order by j.id desc limit $4",
    )
    .bind(filter.ids)
    .bind(filter.kind)
    .bind(filter.state.map(State::as_str))
    .bind(filter.limit.unwrap_or(100))
    .bind(filter.unfinished)
    .fetch_all(pool)
    .await?)
}

/// One job.
pub async fn show(pool: &PgPool, id: i64) -> Result<Option<JobRow>, Error> {
    let filter = Filter { ids: Some(vec![id]), ..Filter::default() };
    Ok(list(pool, filter).await?.pop())
}

/// One start of a job.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: i32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was settled.
    pub finished_at: Option<DateTime<Utc>>,
    /// Where: name@host/process.
    pub node: String,
    /// `done`, `more_to_do`, `retry`, `snooze`, `held`, `dead`, `discarded`, `drained`, `lease_expired`; none while
    /// it runs.
    pub outcome: Option<String>,
    /// The error or reason.
    pub error: Option<String>,
}

/// The starts of a job, oldest first.
pub async fn attempts(pool: &PgPool, job: i64) -> Result<Vec<Attempt>, Error> {
    Ok(sqlx::query_as(
        "select attempt, started_at, finished_at, node, outcome, error from job_attempt
         where job = $1 order by attempt",
    )
    .bind(job)
    .fetch_all(pool)
    .await?)
}

/// Jobs by kind and state.
pub async fn counts(pool: &PgPool) -> Result<Vec<(String, State, i64)>, Error> {
    Ok(sqlx::query_as("select kind, state, count(*) from job group by kind, state order by kind, state").fetch_all(pool).await?)
}

/// Held jobs go on, crashes forgotten. Answers how many.
pub async fn release(pool: &PgPool, ids: &[i64]) -> Result<u64, Error> {
    let released = sqlx::query(
        "update job
         set state = case when not_before > now() then 'scheduled' else 'available' end,
             run_at = greatest(now(), not_before), crash = 0, hint = null
         where id = any($1) and state = 'held'",
    )
    .bind(ids)
    .execute(pool)
    .await?
    .rows_affected();
    wake(pool, released).await;
    Ok(released)
}

/// Dead, held and cancelled jobs start over, failures and crashes forgotten. A job whose unique key has been taken
/// by a newer unfinished one stays as it is. Answers how many.
///
/// A `job_finished` row that the earlier end left stays with whoever follows it; the new end leaves another.
pub async fn retry(pool: &PgPool, ids: &[i64]) -> Result<u64, Error> {
    let retried = sqlx::query(
        "update job j
         set state = case when not_before > now() then 'scheduled' else 'available' end,
             run_at = greatest(now(), not_before), failure = 0, crash = 0, hint = null, finished_at = null
         where j.id = any($1) and j.state in ('dead', 'held', 'cancelled')
           and (j.unique_key is null or j.state = 'held' or not exists (
                select 1 from job o
                where o.kind = j.kind and o.unique_key = j.unique_key and o.id <> j.id
                  and (o.state in ('scheduled', 'available', 'running', 'held')
                       or (o.id = any($1) and o.id > j.id and o.state in ('dead', 'cancelled')))))",
    )
    .bind(ids)
    .execute(pool)
    .await?
    .rows_affected();
    wake(pool, retried).await;
    Ok(retried)
}

/// Unfinished jobs are cancelled; a running one is told through its token, and is cancelled when its start ends in
/// anything but done or dead. Answers how many.
pub async fn cancel(pool: &PgPool, ids: &[i64]) -> Result<u64, Error> {
    let cancelled: i64 = sqlx::query_scalar(
        "with hit as materialized (
             select id, state = 'running' as running from job
             where id = any($1) and state in ('scheduled', 'available', 'held', 'running')
             order by id for no key update
         ), moved as (
             update job j
             set cancel_requested = h.running,
                 state = case when h.running then j.state else 'cancelled' end,
                 outcome = case when h.running then j.outcome else 'cancelled' end,
                 finished_at = case when h.running then null else clock_timestamp() end
             from hit h
             where j.id = h.id
             returning j.id, j.kind, j.state, j.outcome, j.parent, j.trigger, j.finished_at
         ), finished as (
             insert into job_finished (job, kind, state, outcome, parent, trigger, finished_at)
             select id, kind, state, outcome, parent, trigger, finished_at from moved where state = 'cancelled'
         )
         select count(*) from moved",
    )
    .bind(ids)
    .fetch_one(pool)
    .await?;
    if let Err(error) = notify(pool, "cancel").await {
        tracing::debug!(error = %error, "cancellation not notified; the next heartbeat finds it");
    }
    Ok(u64::try_from(cancelled).unwrap_or(0))
}

async fn wake(pool: &PgPool, touched: u64) {
    if touched > 0
        && let Err(error) = notify(pool, "wake").await
    {
        tracing::debug!(error = %error, "queue wake-up not sent; the poll will find the jobs");
    }
}

/// A worker incarnation.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct WorkerRow {
    /// The incarnation.
    pub id: i64,
    /// The name given to it.
    pub name: String,
    /// name@host/process.
    pub node: String,
    /// live, draining or gone.
    pub state: String,
    /// Seconds left of its lease; negative once it is over.
    pub lease_remaining_seconds: f64,
    /// Jobs that it holds.
    pub running: i64,
}

impl WorkerRow {
    /// Whether it takes jobs: live, and its lease is not over. A worker that was killed counts until then.
    pub fn is_live(&self) -> bool {
        self.state == "live" && self.lease_remaining_seconds > 0.0
    }
}

/// The workers that are not gone, and those that went during the last hour.
pub async fn workers(pool: &PgPool) -> Result<Vec<WorkerRow>, Error> {
    Ok(sqlx::query_as(
        "select id, name, node, state,
                extract(epoch from lease_until - clock_timestamp())::float8 as lease_remaining_seconds,
                (select count(*) from job j where j.worker = w.id and j.state = 'running') as running
         from worker w
         where state <> 'gone' or gone_at > now() - interval '1 hour'
         order by id",
    )
    .fetch_all(pool)
    .await?)
}

/// Keeps a kind (or all, with `*`) from starting in a partition until then; a later end is kept.
pub async fn rest(conn: &mut PgConnection, partition: i64, kind: &str, until: DateTime<Utc>, reason: &str) -> Result<(), Error> {
    sqlx::query(
        "insert into partition_rest as r (partition, kind, until, reason) values ($1, $2, $3, $4)
         on conflict (partition, kind) do update
         set until = greatest(r.until, excluded.until),
             reason = case when excluded.until > r.until then excluded.reason else r.reason end",
    )
    .bind(partition)
    .bind(kind)
    .bind(until)
    .bind(reason)
    .execute(conn)
    .await?;
    Ok(())
}
