//! For the operator: what is there, what happened to it, and what to do with it.

mod paused;
mod within;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection, FromRow, PgConnection, PgPool};

use crate::enqueue::PRIORITIES;
use crate::listing::list;
use crate::news::{News, announce};
use crate::{Error, State};

pub use paused::{
    PartitionRest, PartitionRow, PartitionSettings, partition, partitions, pass_holder, pause_kind, pause_partition, paused_kinds,
    rest, resume_kind, resume_kind_within, set_holder, set_partition,
};
pub use within::{Struck, act_alone_within, act_within, refusal};

/// How often a statement that lost a unique key to another is tried again.
const TRIES: u32 = 20;

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
    /// The workflow run that it belongs to.
    pub run: Option<i64>,
    /// The step of that run.
    pub step: Option<String>,
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
    /// How fast, while it runs: per second since its start.
    pub progress_per_second: Option<f64>,
    /// How long, at that pace, in seconds.
    pub remaining_seconds: Option<f64>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// Its last start.
    pub started_at: Option<DateTime<Utc>>,
    /// Its end.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Which jobs are meant; what is `None` does not matter, so that the default means all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// These jobs only.
    pub ids: Option<Vec<i64>>,
    /// One kind only.
    pub kind: Option<String>,
    /// One state only.
    pub state: Option<State>,
    /// One partition only.
    pub partition: Option<i64>,
    /// Those that one job enqueued.
    pub parent: Option<i64>,
    /// Those of one trigger.
    pub trigger: Option<String>,
    /// Those of one workflow run.
    pub run: Option<i64>,
    /// Only those that have not ended; held ones count as unfinished.
    pub unfinished: bool,
    /// Those whose payload has this field with this value, as text; a field is a name of letters and `_`.
    pub payload: Option<(&'static str, String)>,
    /// Those whose error has this text in it, in upper or lower case.
    pub told: Option<String>,
    /// Lists: older ones than this job.
    pub before: Option<i64>,
    /// At most so many. Lists: newest first, 100 by default; actions: oldest first, all by default.
    pub limit: Option<i64>,
}

impl Filter {
    /// One job.
    pub fn one(id: i64) -> Self {
        Filter { ids: Some(vec![id]), ..Filter::default() }
    }

    /// These jobs.
    pub fn ids(ids: impl Into<Vec<i64>>) -> Self {
        Filter { ids: Some(ids.into()), ..Filter::default() }
    }
}

/// The jobs that a [`Filter`] means; its values are the first eleven that are bound.
macro_rules! matches {
    () => {
        "($1::bigint[] is null or j.id = any($1)) and ($2::text is null or j.kind = $2)
           and ($3::text is null or j.state = $3) and ($4::bigint is null or j.partition = $4)
           and ($5::bigint is null or j.parent = $5) and ($6::text is null or j.trigger = $6)
           and ($7::bigint is null or j.run = $7) and (not $8 or j.state not in ('done', 'dead', 'cancelled'))
           and ($9::text is null or j.payload ->> $9 = $10::text)
           and ($11::text is null or strpos(lower(j.error), lower($11)) > 0)"
    };
}

macro_rules! bind {
    ($query:expr, $filter:expr, $limit:expr) => {
        $query
            .bind(&$filter.ids)
            .bind(&$filter.kind)
            .bind($filter.state.map(State::as_str))
            .bind($filter.partition)
            .bind($filter.parent)
            .bind(&$filter.trigger)
            .bind($filter.run)
            .bind($filter.unfinished)
            .bind($filter.payload.as_ref().map(|(field, _)| *field))
            .bind($filter.payload.as_ref().map(|(_, value)| value))
            .bind(&$filter.told)
            .bind($limit)
    };
}

/// One job.
pub async fn show(pool: &PgPool, id: i64) -> Result<Option<JobRow>, Error> {
    Ok(list(pool, Filter::one(id)).await?.pop())
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
        "select attempt, started_at, finished_at, node, outcome, error from job_attempt where job = $1
         union all
         select j.attempt, j.started_at, null, w.node, null, null
         from job j join worker w on w.id = j.worker where j.id = $1 and j.state = 'running'
         order by attempt",
    )
    .bind(job)
    .fetch_all(pool)
    .await?)
}

/// Jobs by kind and state: from running sums, without a look at the jobs.
pub async fn counts(pool: &PgPool) -> Result<Vec<(String, State, i64)>, Error> {
    Ok(sqlx::query_as(
        "select kind, state, sum(n)::bigint from (select * from job_count union all select * from job_delta) c
         group by kind, state having sum(n) <> 0 order by kind, state",
    )
    .fetch_all(pool)
    .await?)
}

/// Folds what the statements added into the sums of [`counts`]. Workers do it by themselves; one at a time.
pub(crate) async fn fold_counts(pool: &PgPool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let mine: bool =
        sqlx::query_scalar("select pg_try_advisory_xact_lock(hashtext('telekeep_queue.job_count'))").fetch_one(&mut *tx).await?;
    if mine {
        sqlx::query(
            "with taken as (delete from job_delta returning kind, state, n)
             insert into job_count as c
             select kind, state, sum(n) from taken group by kind, state
             on conflict (kind, state) do update set n = c.n + excluded.n",
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// An arrow that the operator draws, for all that match and nobody has locked, and for one at a time.
struct Arrow {
    together: &'static str,
    alone: &'static str,
    /// Which jobs it would touch.
    meant: &'static str,
}

/// From which states, what it sets, and under which further condition.
macro_rules! arrow {
    ($from:literal, $set:literal, $only:literal) => {
        Arrow {
            together: arrow!($from, $set, $only, "skip locked"),
            alone: arrow!($from, $set, $only, ""),
            meant: concat!(
                "select j.id from job j where j.state in (",
                $from,
                ") and ",
                matches!(),
                " and ",
                $only,
                " order by j.id limit $12"
            ),
        }
    };
    ($from:literal, $set:literal, $only:literal, $lock:literal) => {
        concat!(
            "with meant as materialized (
                 select j.id from job j where j.state in (",
            $from,
            ") and ",
            matches!(),
            " and ",
            $only,
            " order by j.id limit $12
             ), hit as materialized (
                 select j.id, j.state as was from job j
                 where j.id = any(array(select id from meant)) and j.state in (",
            $from,
            ") and ",
            $only,
            " order by j.id for no key update of j ",
            $lock,
            "
             ), moved as (
                 update job j set ",
            $set,
            " from hit h where j.id = h.id
                 returning j.id, j.kind, j.state, h.was, j.outcome, j.parent, j.trigger, j.run, j.step, j.finished_at
             ), finished as (
                 insert into job_finished (job, kind, state, outcome, parent, trigger, run, step, finished_at)
                 select id, kind, state, outcome, parent, trigger, run, step, finished_at from moved
                 where state in ('done', 'dead', 'cancelled') and state <> was
             ), counted as (
                 insert into job_delta
                 select d.* from (select kind, was, state, count(*) as n from moved where was <> state group by 1, 2, 3) k
                 cross join lateral (values (k.kind, k.was, -k.n), (k.kind, k.state, k.n)) as d(kind, state, n)
             )
             select (select count(*) from moved), array(select id from meant except select id from hit)"
        )
    };
}

/// Draws an arrow for what matches; answers how many jobs it touched.
///
/// What others have locked is waited for one by one, holding nothing: a job that writes may wait for what this would hold.
///
/// # Errors
/// Where one job alone is meant and not touched: that there is none, or that no such arrow leads from its state.
async fn draw(pool: &PgPool, filter: &Filter, action: &'static str, arrow: Arrow, value: Option<i64>) -> Result<u64, Error> {
    let mut conn = pool.acquire().await?;
    let (mut touched, locked) = strike(&mut conn, filter, arrow.together, value).await?;
    for id in locked {
        touched += strike(&mut conn, &Filter { ids: Some(vec![id]), ..filter.clone() }, arrow.alone, value).await?.0;
    }
    drop(conn);
    if touched == 0
        && let Some([id]) = filter.ids.as_deref()
    {
        return Err(why_untouched(pool, *id, action).await?);
    }
    Ok(u64::try_from(touched).unwrap_or(0))
}

async fn why_untouched(pool: &PgPool, id: i64, action: &'static str) -> Result<Error, Error> {
    Ok(match show(pool, id).await? {
        None => Error::NoJob { job: id },
        Some(row) => Error::Arrow { job: id, state: row.state, action },
    })
}

/// One statement of an arrow, in the caller's transaction if there is one: how many it touched, and what others have locked.
async fn strike(conn: &mut PgConnection, filter: &Filter, sql: &'static str, value: Option<i64>) -> Result<(i64, Vec<i64>), Error> {
    let mut tries = 0;
    loop {
        let mut query = bind!(sqlx::query_as(sql), filter, filter.limit);
        if let Some(value) = value {
            query = query.bind(value);
        }
        // What fails takes back this step alone.
        let mut step = conn.begin().await?;
        match query.fetch_one(&mut *step).await {
            // a key was taken meanwhile: the next look leaves its job out
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() && tries < TRIES => {
                step.rollback().await?;
                tries += 1;
            }
            told => {
                let told = told?;
                step.commit().await?;
                return Ok(told);
            }
        }
    }
}

const RELEASE: Arrow = arrow!(
    "'held'",
    "state = case when j.not_before > now() then 'scheduled' else 'available' end,
     run_at = greatest(now(), j.not_before), crash = 0, hint = null",
    "true"
);

const RETRY: Arrow = arrow!(
    "'dead', 'held', 'cancelled'",
    "state = case when j.not_before > now() then 'scheduled' else 'available' end,
     run_at = greatest(now(), j.not_before), failure = 0, crash = 0, hint = null, finished_at = null",
    "(j.unique_key is null or j.state = 'held' or not exists (
        select 1 from job o
        where o.kind = j.kind and o.unique_key = j.unique_key and o.id <> j.id
          and (o.state in ('scheduled', 'available', 'running', 'held')
               or (o.id > j.id and o.state in ('dead', 'cancelled')))))"
);

const CANCEL: Arrow = arrow!(
    "'scheduled', 'available', 'held', 'running'",
    "cancel_requested = h.was = 'running',
     state = case when h.was = 'running' then j.state else 'cancelled' end,
     outcome = case when h.was = 'running' then j.outcome else 'cancelled' end,
     finished_at = case when h.was = 'running' then null else clock_timestamp() end",
    "true"
);

const PAUSE: Arrow = arrow!(
    "'scheduled', 'available'",
    "state = 'held', outcome = 'paused', hint = 'paused by the operator; resume lets it go on'",
    "true"
);

const RESUME: Arrow = arrow!(
    "'held'",
    "state = case when j.run_at > now() then 'scheduled' else 'available' end, outcome = null, hint = null",
    "j.outcome = 'paused'"
);

const REPRIORITISE: Arrow = arrow!("'scheduled', 'available', 'held', 'running'", "priority = $13::bigint", "true");

/// What an operator can do with jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// See [`release`].
    Release,
    /// See [`retry`].
    Retry,
    /// See [`cancel`].
    Cancel,
    /// See [`pause`].
    Pause,
    /// See [`resume`].
    Resume,
    /// See [`reprioritise`]: 1 to 4.
    Priority(i16),
}

impl Action {
    /// What it is called, as `job.retry`.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Release => "job.release",
            Action::Retry => "job.retry",
            Action::Cancel => "job.cancel",
            Action::Pause => "job.pause",
            Action::Resume => "job.resume",
            Action::Priority(_) => "job.priority",
        }
    }

    fn arrow(self) -> (Arrow, Option<i64>) {
        match self {
            Action::Release => (RELEASE, None),
            Action::Retry => (RETRY, None),
            Action::Cancel => (CANCEL, None),
            Action::Pause => (PAUSE, None),
            Action::Resume => (RESUME, None),
            Action::Priority(priority) => (REPRIORITISE, Some(priority.into())),
        }
    }

    /// What the arrow is called where it cannot be drawn.
    const fn word(self) -> &'static str {
        match self {
            Action::Release => "release",
            Action::Retry => "retry",
            Action::Cancel => "cancel",
            Action::Pause => "pause",
            Action::Resume => "resume",
            Action::Priority(_) => "reprioritise",
        }
    }
}

/// The jobs that an action would touch now, oldest first: for whoever asks before.
pub async fn meant(pool: &PgPool, filter: &Filter, action: Action) -> Result<Vec<i64>, Error> {
    let (arrow, _) = action.arrow();
    Ok(bind!(sqlx::query_scalar(arrow.meant), filter, filter.limit).fetch_all(pool).await?)
}

/// Does it, for all that match. Answers how many.
pub async fn act(pool: &PgPool, filter: &Filter, action: Action) -> Result<u64, Error> {
    match action {
        Action::Release => release(pool, filter).await,
        Action::Retry => retry(pool, filter).await,
        Action::Cancel => cancel(pool, filter).await,
        Action::Pause => pause(pool, filter).await,
        Action::Resume => resume(pool, filter).await,
        Action::Priority(priority) => reprioritise(pool, filter, priority).await,
    }
}

/// Held jobs go on, crashes forgotten. Answers how many.
pub async fn release(pool: &PgPool, filter: &Filter) -> Result<u64, Error> {
    woken(pool, draw(pool, filter, "release", RELEASE, None).await?).await
}

/// Dead, held and cancelled jobs start over, failures and crashes forgotten. A job whose unique key has been taken
/// by an unfinished one, or by a newer one that may be retried, stays as it is. Answers how many.
///
/// A `job_finished` row that the earlier end left stays with whoever follows it; the new end leaves another.
pub async fn retry(pool: &PgPool, filter: &Filter) -> Result<u64, Error> {
    woken(pool, draw(pool, filter, "retry", RETRY, None).await?).await
}

/// Unfinished jobs are cancelled; a running one is told through its token, and is cancelled when its start ends in
/// anything but done or dead. Answers how many.
pub async fn cancel(pool: &PgPool, filter: &Filter) -> Result<u64, Error> {
    let cancelled = draw(pool, filter, "cancel", CANCEL, None).await?;
    if cancelled > 0 {
        announce(pool, &News::Cancel).await;
    }
    Ok(cancelled)
}

/// Jobs that wait are held until they are [resumed](resume). Answers how many.
pub async fn pause(pool: &PgPool, filter: &Filter) -> Result<u64, Error> {
    draw(pool, filter, "pause", PAUSE, None).await
}

/// Paused jobs wait again, for the time they waited for. Answers how many.
pub async fn resume(pool: &PgPool, filter: &Filter) -> Result<u64, Error> {
    woken(pool, draw(pool, filter, "resume", RESUME, None).await?).await
}

/// Unfinished jobs get another priority, 1 to 4. Answers how many.
pub async fn reprioritise(pool: &PgPool, filter: &Filter, priority: i16) -> Result<u64, Error> {
    if !PRIORITIES.contains(&priority) {
        return Err(Error::Priority { kind: filter.kind.clone(), priority });
    }
    draw(pool, filter, "reprioritise", REPRIORITISE, Some(priority.into())).await
}

/// Jobs that wait go to another partition. Answers how many.
pub async fn relocate(pool: &PgPool, filter: &Filter, partition: i64) -> Result<u64, Error> {
    const RELOCATE: Arrow = arrow!("'scheduled', 'available', 'held'", "partition = $13", "true");
    sqlx::query("insert into partition (id) values ($1) on conflict do nothing").bind(partition).execute(pool).await?;
    woken(pool, draw(pool, filter, "relocate", RELOCATE, Some(partition)).await?).await
}

/// Jobs that wait go to another partition, where the wait that the first one asked of them ends. Answers how many.
pub async fn hand_over(pool: &PgPool, filter: &Filter, partition: i64) -> Result<u64, Error> {
    const HAND_OVER: Arrow = arrow!(
        "'scheduled', 'available', 'held'",
        "partition = $13,
         state = case when j.state = 'scheduled' and j.not_before is not null then 'available' else j.state end,
         run_at = case when j.not_before is null then j.run_at else now() end, not_before = null",
        "true"
    );
    sqlx::query("insert into partition (id) values ($1) on conflict do nothing").bind(partition).execute(pool).await?;
    woken(pool, draw(pool, filter, "hand_over", HAND_OVER, Some(partition)).await?).await
}

async fn woken(pool: &PgPool, touched: u64) -> Result<u64, Error> {
    wake(pool, touched).await;
    Ok(touched)
}

async fn wake(pool: &PgPool, touched: u64) {
    if touched > 0 {
        announce(pool, &News::Later).await;
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
