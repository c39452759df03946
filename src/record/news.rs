//! What moved lately, for whoever watches: jobs, runs. Each look costs a few probes of small indices, whatever the tables' size.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// More held jobs than these are not watched one by one.
const HELD: i64 = 500;
/// More jobs than these in one look are told as "look again".
pub const MOST: i64 = 500;

/// Where a look stands.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Mark {
    /// The newest job.
    pub job: i64,
    /// The newest run.
    pub run: i64,
    /// The database's clock.
    pub at: DateTime<Utc>,
}

/// Where things stand now.
pub async fn mark(pool: &PgPool) -> sqlx::Result<Mark> {
    sqlx::query_as(
        "select coalesce((select max(id) from job), 0) as job, coalesce((select max(id) from workflow_run), 0) as run,
                clock_timestamp() as at",
    )
    .fetch_one(pool)
    .await
}

/// Jobs that are new or ended since the mark (some seconds before it, for transactions that were open then), by id.
pub async fn jobs_since(pool: &PgPool, mark: &Mark) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(
        "(select id from job where id > $1 order by id desc limit $3)
         union
         (select id from job where state in ('done', 'dead', 'cancelled') and finished_at > $2 - interval '3 seconds'
          order by finished_at desc limit $3)
         order by id desc limit $3",
    )
    .bind(mark.job)
    .bind(mark.at)
    .bind(MOST)
    .fetch_all(pool)
    .await
}

/// The jobs that run, and those that are held: what leaves this list has moved.
pub async fn jobs_under_way(pool: &PgPool) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(
        "(select id from job where state = 'running' limit $1) union all (select id from job where state = 'held' order by id desc limit $2)",
    )
    .bind(MOST)
    .bind(HELD)
    .fetch_all(pool)
    .await
}

/// Runs that are new, or that run.
pub async fn runs_since(pool: &PgPool, mark: &Mark) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(
        "(select id from workflow_run where id > $1 order by id desc limit $2)
         union (select id from workflow_run where state = 'running' order by id desc limit $2)",
    )
    .bind(mark.run)
    .bind(MOST)
    .fetch_all(pool)
    .await
}
