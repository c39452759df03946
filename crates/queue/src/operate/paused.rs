//! What is not claimed for now: kinds and partitions that are paused, held or rest.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool};

use crate::Error;
use crate::enqueue::Wake;
use crate::news::News;

/// Nothing of a kind is claimed until it is resumed; what runs goes on. Answers whether that is new.
pub async fn pause_kind(on: impl PgExecutor<'_>, kind: &str) -> Result<bool, Error> {
    let paused = sqlx::query("insert into kind_paused (kind) values ($1) on conflict do nothing").bind(kind).execute(on).await?;
    Ok(paused.rows_affected() > 0)
}

/// A paused kind is claimed again. Answers whether it was paused.
pub async fn resume_kind(pool: &PgPool, kind: &str) -> Result<bool, Error> {
    let (resumed, wake) = resume_kind_within(&mut *pool.acquire().await?, kind).await?;
    wake.fire(pool).await;
    Ok(resumed)
}

/// [`resume_kind`] in the caller's transaction; the wake is fired after the commit.
pub async fn resume_kind_within(conn: &mut PgConnection, kind: &str) -> Result<(bool, Wake), Error> {
    let resumed = sqlx::query("delete from kind_paused where kind = $1").bind(kind).execute(conn).await?.rows_affected() > 0;
    Ok((resumed, Wake { what: resumed.then_some(News::Later) }))
}

/// The kinds that are paused.
pub async fn paused_kinds(pool: &PgPool) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar("select kind from kind_paused order by kind").fetch_all(pool).await?)
}

/// Changes how a partition is claimed from, which is made if need be.
///
/// `running_limit` is in place of the workers' own limit; `holder` lets only workers of that holder claim.
pub async fn set_partition(conn: &mut PgConnection, id: i64, to: &PartitionSettings) -> Result<(), Error> {
    sqlx::query(
        "insert into partition (id, paused, running_limit, holder) values ($1, $2, $3, $4)
         on conflict (id) do update set paused = $2, running_limit = $3, holder = $4",
    )
    .bind(id)
    .bind(to.paused)
    .bind(to.running_limit)
    .bind(&to.holder)
    .execute(conn)
    .await?;
    Ok(())
}

/// Lets only workers of this holder claim from a partition, which is made if need be; the rest of its settings stays.
pub async fn set_holder(conn: &mut PgConnection, id: i64, holder: Option<&str>) -> sqlx::Result<()> {
    sqlx::query("insert into partition (id, holder) values ($1, $2) on conflict (id) do update set holder = $2")
        .bind(id)
        .bind(holder)
        .execute(conn)
        .await
        .map(drop)
}

/// Passes a partition from one holder to another; where somebody else has it already, it stays.
pub async fn pass_holder(conn: &mut PgConnection, id: i64, from: &str, to: &str) -> sqlx::Result<()> {
    sqlx::query("update partition set holder = $3 where id = $1 and holder = $2")
        .bind(id)
        .bind(from)
        .bind(to)
        .execute(conn)
        .await
        .map(drop)
}

/// How a partition is claimed from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, FromRow)]
pub struct PartitionSettings {
    /// Nothing is claimed from it.
    pub paused: bool,
    /// Jobs of it that run at once, in place of [`WorkerConfig::per_partition`](crate::WorkerConfig::per_partition).
    pub running_limit: Option<i32>,
    /// Only workers with this [`WorkerConfig::holder`](crate::WorkerConfig::holder) claim from it.
    pub holder: Option<String>,
}

/// How a partition is claimed from; the defaults where it was never set.
pub async fn partition(pool: &PgPool, id: i64) -> Result<PartitionSettings, Error> {
    let found = sqlx::query_as("select paused, running_limit, holder from partition where id = $1").bind(id);
    Ok(found.fetch_optional(pool).await?.unwrap_or_default())
}

/// A partition, its settings, what waits and runs in it, and what rests.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct PartitionRow {
    /// 0 for none.
    pub id: i64,
    #[sqlx(flatten)]
    #[serde(flatten)]
    pub settings: PartitionSettings,
    /// Jobs that may be claimed.
    pub available: i64,
    /// Jobs that run.
    pub running: i64,
    /// Methods that rest, each with its end and its reason.
    pub rests: sqlx::types::Json<Vec<PartitionRest>>,
}

/// A method that rests in a partition.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub struct PartitionRest {
    /// `*` for all; a kind's name means that kind.
    pub method: String,
    /// Until then.
    pub until: DateTime<Utc>,
    /// Why.
    pub reason: String,
}

/// All partitions.
pub async fn partitions(pool: &PgPool) -> Result<Vec<PartitionRow>, Error> {
    Ok(sqlx::query_as(
        "select p.id, p.paused, p.running_limit, p.holder,
                (select count(*) from job j where j.partition = p.id and j.state = 'available') as available,
                (select count(*) from job j where j.partition = p.id and j.state = 'running') as running,
                coalesce((select jsonb_agg(jsonb_build_object('method', r.method, 'until', r.until, 'reason', r.reason) order by r.until)
                    from partition_rest r where r.partition = p.id and r.until > now()), '[]') as rests
           from partition p order by p.id",
    )
    .fetch_all(pool)
    .await?)
}

/// Lets nothing of a partition be claimed, or lets it again, in the caller's transaction; the rest of its settings stays. Answers
/// whether there is one; the wake is fired after the commit.
pub async fn pause_partition(conn: &mut PgConnection, id: i64, paused: bool) -> Result<(bool, Wake), Error> {
    let done = sqlx::query("update partition set paused = $2 where id = $1").bind(id).bind(paused).execute(conn).await?;
    let is_there = done.rows_affected() > 0;
    Ok((is_there, Wake { what: (is_there && !paused).then_some(News::Later) }))
}

/// Keeps kinds that use a method (or all, with `*`; a kind's own name means that kind) from starting in a partition
/// until then; a later end is kept.
pub async fn rest(conn: &mut PgConnection, partition: i64, method: &str, until: DateTime<Utc>, reason: &str) -> Result<(), Error> {
    sqlx::query(
        "insert into partition_rest as r (partition, method, until, reason) values ($1, $2, $3, $4)
         on conflict (partition, method) do update
         set until = greatest(r.until, excluded.until),
             reason = case when excluded.until > r.until then excluded.reason else r.reason end",
    )
    .bind(partition)
    .bind(method)
    .bind(until)
    .bind(reason)
    .execute(conn)
    .await?;
    Ok(())
}
