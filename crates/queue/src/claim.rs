//! The claim: from the partitions that waited longest into their most urgent jobs, in one statement.
//!
//! Locks, always in this order and never another: the worker's row (shared), partitions by id, jobs (skipping
//! locked ones). So a claim waits for no job, and claims, outcomes and the reaper cannot deadlock.

use std::time::Duration;

use serde_json::Value;
use sqlx::{FromRow, PgPool, Row};
use uuid::Uuid;

/// Whose claim it is, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Claimant {
    pub(crate) worker: i64,
    pub(crate) kinds: Vec<String>,
    pub(crate) max_crashes: Vec<i32>,
    pub(crate) per_partition: i32,
}

/// A row that was claimed.
#[derive(Debug, FromRow)]
pub(crate) struct ClaimedRow {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) payload: Value,
    pub(crate) partition: i64,
    pub(crate) priority: i16,
    pub(crate) unique_key: Option<String>,
    pub(crate) parent: Option<i64>,
    pub(crate) trigger: Option<String>,
    pub(crate) retry: Option<sqlx::types::Json<crate::Retry>>,
    pub(crate) token: Uuid,
    pub(crate) attempt: i32,
    pub(crate) failure: i32,
    pub(crate) crash: i32,
}

/// What a claim brought.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) rows: Vec<ClaimedRow>,
    /// Some partition had work when the statement began; with no rows, another worker was faster.
    pub(crate) contended: bool,
}

const CLAIM: &str = "
with me as materialized (
    select id, node from worker
    where id = $1 and state = 'live' and lease_until > clock_timestamp()
    for share
), candidate as materialized (
    select p.id
    from partition p
    -- a limit, so that it stays one probe of job_ready a partition and never becomes a scan of all that is ready
    cross join lateral (
        select 1 from job j
        where j.partition = p.id and j.state = 'available' and j.kind = any($2)
          and not exists (select 1 from partition_rest r
                          where r.partition = p.id and r.kind in (j.kind, '*') and r.until > now())
        order by j.priority, j.run_at, j.id
        limit 1
    ) ready
    where exists (select 1 from me)
      and not p.paused
      and p.running < case p.id when 0 then 2147483647 else coalesce(p.running_limit, $5) end
    order by p.last_claim_at, p.id
    limit $4
), locked as materialized (
    select p.id, case p.id when 0 then 2147483647 else coalesce(p.running_limit, $5) end - p.running as room
    from partition p
    where p.id = any(array(select id from candidate))
      and not p.paused
      and p.running < case p.id when 0 then 2147483647 else coalesce(p.running_limit, $5) end
    order by p.id
    for no key update
), picked as materialized (
    select ready.id
    from locked l
    cross join lateral (
        select j.id from job j
        where j.partition = l.id and j.state = 'available' and j.kind = any($2)
          and not exists (select 1 from partition_rest r
                          where r.partition = l.id and r.kind in (j.kind, '*') and r.until > now())
        order by j.priority, j.run_at, j.id
        limit least(l.room, greatest(1, $4 / (select count(*) from locked)))
        for no key update of j skip locked
    ) ready
), claimed as (
    update job j
    set state = 'running', worker = $1, token = $6, attempt = j.attempt + 1, max_crashes = k.max_crashes,
        started_at = clock_timestamp(), not_before = null, cancel_requested = false
    from picked p, unnest($2::text[], $3::int[]) as k(kind, max_crashes)
    where j.id = p.id and k.kind = j.kind
    returning j.id, j.kind, j.payload, j.partition, j.priority, j.unique_key, j.parent, j.trigger, j.retry, j.token,
              j.attempt, j.failure, j.crash, j.run_at, j.started_at
), counted as (
    update partition p
    set running = p.running + c.n, last_claim_at = clock_timestamp()
    from (select partition, count(*)::int as n from claimed group by 1) c
    where p.id = c.partition
), logged as (
    insert into job_attempt (job, attempt, worker, node, started_at)
    select c.id, c.attempt, me.id, me.node, c.started_at from claimed c, me
)
select (select count(*) from candidate) as candidates, c.*
from (values (1)) as always left join claimed c on true
order by c.priority, c.run_at, c.id";

/// Claims up to `room` jobs under `token`.
///
/// Must not be dropped half-way: what it claimed would be held by nobody in this process.
pub(crate) async fn claim(pool: &PgPool, claimant: &Claimant, room: usize, token: Uuid) -> Result<Claim, sqlx::Error> {
    let rows = sqlx::query(CLAIM)
        .bind(claimant.worker)
        .bind(&claimant.kinds)
        .bind(&claimant.max_crashes)
        .bind(i64::try_from(room).unwrap_or(i64::MAX))
        .bind(claimant.per_partition)
        .bind(token)
        .fetch_all(pool)
        .await?;
    let mut claim = Claim { rows: Vec::with_capacity(rows.len()), contended: false };
    for row in rows {
        claim.contended |= row.try_get::<i64, _>("candidates")? > 0;
        if row.try_get::<Option<i64>, _>("id")?.is_some() {
            claim.rows.push(ClaimedRow::from_row(&row)?);
        }
    }
    Ok(claim)
}

/// Jobs made available by one look.
pub(crate) const LOOK_MOST: i64 = 1000;

/// What a look at the clock brought.
#[derive(Debug)]
pub(crate) struct Look {
    /// Jobs that became available.
    pub(crate) promoted: i64,
    /// Until the next scheduled job is due.
    pub(crate) next_due: Option<Duration>,
}

/// Moves due jobs from scheduled to available, and says when the next one is due.
pub(crate) async fn look(pool: &PgPool) -> Result<Look, sqlx::Error> {
    let (promoted, seconds): (i64, Option<f64>) = sqlx::query_as(
        "with due as (
             update job set state = 'available'
             where id in (select id from job where state = 'scheduled' and run_at <= now()
                          order by run_at limit $1 for no key update skip locked)
             returning 1
         )
         select (select count(*) from due),
                extract(epoch from (select min(run_at) from job where state = 'scheduled' and run_at > now())
                                   - clock_timestamp())::float8",
    )
    .bind(LOOK_MOST)
    .fetch_one(pool)
    .await?;
    let next_due = seconds.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 3600.0)));
    Ok(Look { promoted, next_due })
}
