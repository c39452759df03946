//! Outcomes on their way into the database: group-committed, fenced by the claim's token.
//!
//! One statement moves any number of jobs out of `running`: state, attempt log, `job_finished` and the
//! partitions' counts together. It waits for no job's row while it holds another's: a row that somebody has locked
//! is skipped and settled alone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, PgExecutor, PgPool};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::outcome::Move;
use crate::{Error, Outcome, Policy, Token};

const BATCH: usize = 512;
/// Batches under way at once: the next is put together while the disk has the last.
const TOGETHER: usize = 2;
/// Rows that wait alone for a lock, so that they cannot take all connections.
const ALONE: usize = 2;
/// Bytes kept of an error or hint.
const TEXT_BYTES: usize = 4096;
/// Ten years: a longer wait is a mistake, but one that must not overflow a timestamp.
const LONGEST_SECONDS: f64 = 315_360_000.0;

/// One job's way out of `running`.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub(crate) token: Token,
    pub(crate) to: Move,
    /// Answered after the commit.
    pub(crate) settled: oneshot::Sender<()>,
}

macro_rules! settle_sql {
    ($lock:literal, $only:literal, $found:literal, $answer:literal) => {
        concat!(
            "
with input as materialized (
    select * from unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::float8[], $6::bool[], $7::bool[],
                         $8::bool[], $9::bool[], $10::text[], $11::text[])
         as i(job, token, state, outcome, delay, failed, resting, unstarted, in_place, error, hint)
), mine as materialized (
    select j.id, j.at, j.worker, i.outcome as answer, i.delay, i.failed, i.resting, i.unstarted, i.in_place, i.error, i.hint,
           case when j.cancel_requested and i.state in ('available', 'scheduled', 'held')
                then 'cancelled' else i.state end as state
    from (select * from input order by job) i
    -- a probe of the key for each, whatever the planner thinks of the input; only a running job has a token
    cross join lateral (
        select j.id, j.ctid as at, j.worker, j.cancel_requested from job j
        where j.id = i.job and j.token = i.token ",
            $only,
            "
        for no key update of j ",
            $lock,
            "
    ) j
), moved as (
    update job j
    set state = m.state, worker = null, token = null, cancel_requested = false,
        outcome = case when m.unstarted then j.outcome
                       when m.state = 'cancelled' and m.answer <> 'discarded' then 'cancelled' else m.answer end,
        error = case when m.unstarted then j.error else m.error end,
        hint = case when m.unstarted then j.hint else m.hint end,
        attempt = j.attempt - m.unstarted::int,
        failure = j.failure + m.failed::int,
        crash = case when m.unstarted then j.crash else 0 end,
        run_at = case when m.in_place or m.state not in ('scheduled', 'available') then j.run_at
                      else m.now + make_interval(secs => m.delay) end,
        not_before = case when m.resting and m.state = 'scheduled'
                          then m.now + make_interval(secs => m.delay) end,
        finished_at = case when m.state in ('done', 'dead', 'cancelled') then m.now end
    from (select *, clock_timestamp() as now from mine) m
    where ",
            $found,
            "
    returning j.id, j.kind, j.state, j.outcome, j.parent, j.trigger, j.run, j.step, j.finished_at, j.started_at,
              j.attempt, m.worker as worked, m.answer, m.error as told, m.unstarted, m.now
), finished as (
    insert into job_finished (job, kind, state, outcome, parent, trigger, run, step, finished_at)
    select id, kind, state, outcome, parent, trigger, run, step, finished_at from moved
    where state in ('done', 'dead', 'cancelled')
), logged as (
    insert into job_attempt (job, attempt, worker, node, started_at, finished_at, outcome, error)
    select m.id, m.attempt, m.worked, w.node, m.started_at, m.now, m.answer, m.told
    from moved m join worker w on w.id = m.worked
    where not m.unstarted
), counted as (
    insert into job_delta
    select d.* from (select kind, state, count(*) as n from moved group by 1, 2) k
    cross join lateral (values (k.kind, 'running', -k.n), (k.kind, k.state, k.n)) as d(kind, state, n)
)
",
            $answer
        )
    };
}

// These answer what needs no further settling: what moved, and what had been ended by `finish`, or taken away, before.
const SETTLE_TOGETHER: &str = settle_sql!(
    "skip locked",
    "",
    // they are locked, and stay where they are; one that moved as it was locked is not found, and settled alone
    "j.ctid = m.at",
    "select id from moved
     union all
     select i.job from input i
     where i.job not in (select id from moved)
       and exists (select from job j where j.id = i.job and j.token is distinct from i.token)"
);
const SETTLE_ALONE: &str = settle_sql!("", "", "j.id = m.id", "select id from moved");
const FINISH: &str = settle_sql!(
    "",
    "and exists (select from worker w where w.id = j.worker and w.state <> 'gone' and w.lease_until > clock_timestamp())",
    "j.id = m.id",
    // as `fence` does: a stopped process must not hold its job for ever
    "select id from moved where set_config('idle_in_transaction_session_timeout', '60s', true) is not null"
);

/// Moves what still holds its token.
async fn settle<'e>(db: impl PgExecutor<'e>, sql: &'static str, batch: &[(Token, &Move)]) -> Result<Vec<i64>, sqlx::Error> {
    fn all<T>(batch: &[(Token, &Move)], get: impl Fn(Token, &Move) -> T) -> Vec<T> {
        batch.iter().map(|(token, to)| get(*token, to)).collect()
    }
    sqlx::query_scalar(sql)
        .bind(all(batch, |token, _| token.job))
        .bind(all(batch, |token, _| token.token))
        .bind(all(batch, |_, to| to.state.as_str()))
        .bind(all(batch, |_, to| to.outcome))
        .bind(all(batch, |_, to| to.delay.as_secs_f64().min(LONGEST_SECONDS)))
        .bind(all(batch, |_, to| to.failed))
        .bind(all(batch, |_, to| to.resting))
        .bind(all(batch, |_, to| to.unstarted))
        .bind(all(batch, |_, to| to.in_place))
        .bind(all(batch, |_, to| to.error.as_deref().map(storable)))
        .bind(all(batch, |_, to| to.hint.as_deref().map(storable)))
        .fetch_all(db)
        .await
}

/// Ends a job as done inside the caller's transaction: its writes and its end are one commit.
///
/// Fences like [`fence`](crate::fence), so that a transaction which ends with it needs no other fence; the work then answers [`Outcome::Done`], which finds the job ended already. Call it last.
pub async fn finish(conn: &mut PgConnection, token: Token) -> Result<(), Error> {
    let done = Move::after(Outcome::Done, &Policy::DEFAULT, 0, 0.5);
    let moved = settle(&mut *conn, FINISH, &[(token, &done)]).await?;
    if moved.is_empty() {
        return Err(Error::Stale { job: token.job });
    }
    Ok(())
}

/// Postgres takes no NUL, and an error's text no megabytes.
fn storable(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{fffd}")
}

/// Settles until the senders are gone. `over` ends the retries: without a lease the reaper has the jobs.
pub(crate) async fn run(pool: PgPool, mut rx: mpsc::UnboundedReceiver<Settlement>, over: CancellationToken) {
    let alone = Arc::new(Semaphore::new(ALONE));
    let together = Arc::new(Semaphore::new(TOGETHER));
    while let Ok(turn) = together.clone().acquire_owned().await {
        let mut batch = Vec::new();
        if rx.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let (pool, alone, over) = (pool.clone(), alone.clone(), over.clone());
        tokio::spawn(async move {
            settle_together(pool, batch, alone, over).await;
            drop(turn);
        });
    }
}

async fn settle_together(pool: PgPool, batch: Vec<Settlement>, alone: Arc<Semaphore>, over: CancellationToken) {
    let refs: Vec<_> = batch.iter().map(|one| (one.token, &one.to)).collect();
    let answer = tokio::select! {
        answer = settle(&pool, SETTLE_TOGETHER, &refs) => answer,
        () = over.cancelled() => return,
    };
    let moved = answer.unwrap_or_else(|error| {
        tracing::warn!(error = %error, jobs.count = batch.len(), "outcomes not settled together; one by one");
        Vec::new()
    });
    let moved: HashSet<i64> = moved.into_iter().collect();
    for settlement in batch {
        if moved.contains(&settlement.token.job) {
            // nobody waits for the answer of a worker that was dropped
            let _ = settlement.settled.send(());
        } else {
            tokio::spawn(settle_alone(pool.clone(), settlement, alone.clone(), over.clone()));
        }
    }
}

async fn settle_alone(pool: PgPool, settlement: Settlement, alone: Arc<Semaphore>, over: CancellationToken) {
    let mut wait = Duration::from_millis(50);
    let one = [(settlement.token, &settlement.to)];
    let current = loop {
        let answer = {
            let Ok(_turn) = alone.acquire().await else {
                return;
            };
            tokio::select! {
                answer = settle(&pool, SETTLE_ALONE, &one) => answer,
                () = over.cancelled() => return,
            }
        };
        match answer {
            // none: ended by `finish`, by the operator's hand in the database, or taken by the reaper
            Ok(moved) => break !moved.is_empty(),
            Err(error) => {
                tracing::warn!(job.id = settlement.token.job, error = %error, "outcome not settled; trying again");
                tokio::select! {
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
                    () = over.cancelled() => return,
                }
            }
        }
    };
    if !current {
        tracing::info!(job.id = settlement.token.job, outcome = settlement.to.outcome, "job was settled already");
    }
    let _ = settlement.settled.send(());
}
