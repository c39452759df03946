//! The claim: from the partitions that waited longest into their most urgent jobs, in one call.
//!
//! The statements are the function `queue_claim` of the migrations, because the last of them must see what was committed
//! before the partitions' locks were got. It skips what is locked, so that a claim waits for nobody but the reaper.

use std::time::Duration;

use sqlx::{FromRow, PgPool, Row};
use uuid::Uuid;

/// Whose claim it is, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Claimant {
    pub(crate) worker: i64,
    pub(crate) kinds: Vec<String>,
    pub(crate) max_crashes: Vec<i32>,
    /// Kinds and the methods they use, pair by pair.
    pub(crate) methods: (Vec<String>, Vec<String>),
    pub(crate) per_partition: i32,
    /// Claims also in partitions that are kept for this holder.
    pub(crate) holder: Option<String>,
}

/// A row that was claimed.
#[derive(Debug, FromRow)]
pub(crate) struct ClaimedRow {
    pub(crate) id: i64,
    pub(crate) kind: String,
    /// JSON text: one row that cannot be read must not spoil the claim.
    pub(crate) payload: String,
    pub(crate) partition: i64,
    pub(crate) priority: i16,
    pub(crate) unique_key: Option<String>,
    pub(crate) parent: Option<i64>,
    pub(crate) trigger: Option<String>,
    pub(crate) run: Option<i64>,
    pub(crate) step: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) attempt: i32,
    pub(crate) failure: i32,
    pub(crate) crash: i32,
}

/// What a claim brought.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) rows: Vec<ClaimedRow>,
    /// There is work, but another worker has its partitions at this moment.
    pub(crate) contended: bool,
}

const CLAIM: &str =
    "select candidates, id, kind, payload::text as payload, partition, priority, unique_key, parent, trigger, run, step,
        retry::text as retry, attempt, failure, crash
 from queue_claim($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// Claims up to `room` jobs under `token`, of the partitions that it was `told` of or of any.
///
/// Must not be dropped half-way: what it claimed would be held by nobody in this process.
pub(crate) async fn claim(
    pool: &PgPool,
    claimant: &Claimant,
    room: usize,
    token: Uuid,
    told: Option<&[i64]>,
) -> Result<Claim, sqlx::Error> {
    let begun = crate::clock::now();
    let rows = sqlx::query(CLAIM)
        .bind(claimant.worker)
        .bind(&claimant.holder)
        .bind(&claimant.kinds)
        .bind(&claimant.max_crashes)
        .bind(&claimant.methods.0)
        .bind(&claimant.methods.1)
        .bind(claimant.per_partition)
        .bind(i32::try_from(room).unwrap_or(i32::MAX))
        .bind(token)
        .bind(told)
        .fetch_all(pool)
        .await?;
    let mut claim = Claim { rows: Vec::with_capacity(rows.len()), contended: false };
    for row in rows {
        if row.try_get::<Option<i64>, _>("id")?.is_some() {
            claim.rows.push(ClaimedRow::from_row(&row)?);
        } else {
            claim.contended = true;
        }
    }
    tracing::trace!(jobs.count = claim.rows.len(), claim.ms = begun.elapsed().as_secs_f64() * 1000.0, "claimed");
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
             where id = any(array(select id from job where state = 'scheduled' and run_at <= now()
                                  order by run_at limit $1 for no key update skip locked))
             returning kind
         ), counted as (
             insert into job_delta
             select d.* from (select kind, count(*) as n from due group by 1) k
             cross join lateral (values (k.kind, 'scheduled', -k.n), (k.kind, 'available', k.n)) as d(kind, state, n)
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
