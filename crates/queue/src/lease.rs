//! Leases: a worker incarnation's row, its heartbeat, and the reaper that takes over what a dead one held.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, PgPool};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::now;

/// Jobs taken back in one transaction.
const REAP_BATCH: i64 = 500;

/// A new incarnation, with a live lease.
pub(crate) async fn register(pool: &PgPool, name: &str, lease: Duration) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "insert into worker (name, node, lease_until)
         values ($1, $2, clock_timestamp() + make_interval(secs => $3)) returning id",
    )
    .bind(name)
    .bind(node(name))
    .bind(lease.as_secs_f64())
    .fetch_one(pool)
    .await
}

/// name@host/process, for people.
fn node(name: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{name}@{}/{}", host.trim(), std::process::id())
}

/// Claims nothing more, but keeps its lease until its jobs are settled.
pub(crate) async fn drain(pool: &PgPool, worker: i64) -> Result<(), sqlx::Error> {
    sqlx::query("update worker set state = 'draining' where id = $1 and state = 'live'").bind(worker).execute(pool).await.map(drop)
}

/// Ends an incarnation; whatever it still holds is the reaper's at once.
pub(crate) async fn leave(pool: &PgPool, worker: i64) -> Result<(), sqlx::Error> {
    sqlx::query("update worker set state = 'gone', gone_at = clock_timestamp() where id = $1 and state <> 'gone'")
        .bind(worker)
        .execute(pool)
        .await
        .map(drop)
}

/// Extends the lease until it cannot; then cancels `over`.
///
/// It has a connection of its own, so that no job can keep it from beating. The lease is over for this process when
/// it has passed since the last successful beat was *sent*, whatever the database knows.
pub(crate) async fn heartbeat(options: PgConnectOptions, worker: i64, lease: Duration, every: Duration, over: CancellationToken) {
    let mut conn: Option<PgConnection> = None;
    let mut alive_until = now() + lease;
    let mut pause = every;
    loop {
        tokio::select! {
            () = sleep(pause.min(alive_until.saturating_duration_since(now()))) => {}
            () = over.cancelled() => return,
        }
        let sent = now();
        let left = alive_until.saturating_duration_since(sent);
        if left.is_zero() {
            tracing::error!(worker.id = worker, "lease over: the database could not be reached in time");
            over.cancel();
            return;
        }
        match timeout(left.min(every), beat(&options, &mut conn, worker, lease)).await {
            Ok(Ok(true)) => {
                alive_until = sent + lease;
                pause = every;
                continue;
            }
            Ok(Ok(false)) => {
                tracing::error!(worker.id = worker, "lease lost: this process was stopped or cut off for too long");
                over.cancel();
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!(worker.id = worker, error = %error, "heartbeat failed")
            }
            Err(_) => tracing::warn!(worker.id = worker, "heartbeat timed out"),
        }
        conn = None;
        pause = (every / 10).min(Duration::from_secs(1));
    }
}

async fn beat(
    options: &PgConnectOptions,
    conn: &mut Option<PgConnection>,
    worker: i64,
    lease: Duration,
) -> Result<bool, sqlx::Error> {
    let conn = match conn {
        Some(conn) => conn,
        None => conn.insert(options.connect().await?),
    };
    let beaten = sqlx::query(
        "update worker set lease_until = clock_timestamp() + make_interval(secs => $2)
         where id = $1 and state <> 'gone' and lease_until > clock_timestamp()",
    )
    .bind(worker)
    .bind(lease.as_secs_f64())
    .execute(conn)
    .await?
    .rows_affected();
    Ok(beaten == 1)
}

/// Takes back the jobs of incarnations whose lease ran out; answers how many.
///
/// Two statements: the second must see each claim that was committed before the worker's row was locked.
pub(crate) async fn reap(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let gone = sqlx::query(
        "update worker set state = 'gone', gone_at = clock_timestamp()
         where id = any(array(select id from worker where state <> 'gone' and lease_until < clock_timestamp()
                              order by id for update skip locked))",
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    let jobs: i64 = sqlx::query_scalar(
        "with lost as materialized (
             select j.id, j.worker as worked,
                    case when j.cancel_requested then 'cancelled'
                         when j.crash >= j.max_crashes then 'held' else 'available' end as state
             from job j
             where j.state = 'running' and j.worker in (select id from worker where state = 'gone')
             order by j.id
             limit $1
             for no key update of j skip locked
         ), moved as (
             update job j
             set state = l.state, worker = null, token = null, cancel_requested = false, crash = j.crash + 1,
                 outcome = case l.state when 'cancelled' then 'cancelled' else 'lease_expired' end,
                 error = 'the lease of the worker that ran it expired',
                 hint = case l.state when 'held' then
                     'it took ' || (j.crash + 1) || ' workers down in a row: look at it before releasing it' end,
                 finished_at = case l.state when 'cancelled' then clock_timestamp() end
             from lost l
             where j.id = l.id
             returning j.id, j.kind, j.state, j.outcome, j.error, j.parent, j.trigger, j.run, j.step, j.finished_at,
                       j.started_at, j.attempt, l.worked
         ), finished as (
             insert into job_finished (job, kind, state, outcome, parent, trigger, run, step, finished_at)
             select id, kind, state, outcome, parent, trigger, run, step, finished_at from moved where state = 'cancelled'
         ), logged as (
             insert into job_attempt (job, attempt, worker, node, started_at, finished_at, outcome, error)
             select m.id, m.attempt, m.worked, w.node, m.started_at, clock_timestamp(), 'lease_expired', m.error
             from moved m join worker w on w.id = m.worked
         ), counted as (
             insert into job_delta
             select d.* from (select kind, state, count(*) as n from moved group by 1, 2) k
             cross join lateral (values (k.kind, 'running', -k.n), (k.kind, k.state, k.n)) as d(kind, state, n)
         )
         select count(*) from moved",
    )
    .bind(REAP_BATCH)
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    if gone > 0 || jobs > 0 {
        tracing::warn!(workers.count = gone, jobs.count = jobs, "expired leases reaped");
    }
    Ok(u64::try_from(jobs).unwrap_or(0))
}
