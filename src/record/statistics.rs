//! Figures of the whole installation: what came in, what ended, what stands still. Each is a look at small indices.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgPool};

/// One hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
#[schema(as = StatisticsHour)]
pub struct Hour {
    /// Its beginning.
    pub at: DateTime<Utc>,
    /// Messages that were stored for the first time.
    pub messages: i64,
    /// Jobs that ended.
    pub jobs: i64,
}

/// What came in and what ended during the last day, by hour, the oldest first; an hour without anything is there.
pub async fn hours(pool: &PgPool) -> sqlx::Result<Vec<Hour>> {
    sqlx::query_as(
        "with h as (
            select generate_series(date_trunc('hour', now()) - interval '23 hours', date_trunc('hour', now()), interval '1 hour') as at
        ), m as (
            select date_trunc('hour', first_seen) as at, count(*) as n from message
            where first_seen >= date_trunc('hour', now()) - interval '23 hours' group by 1
        ), j as (
            select date_trunc('hour', finished_at) as at, count(*) as n from job
            where state in ('done', 'dead', 'cancelled') and finished_at >= date_trunc('hour', now()) - interval '23 hours' group by 1
        )
        select h.at, coalesce(m.n, 0) as messages, coalesce(j.n, 0) as jobs
        from h left join m using (at) left join j using (at) order by h.at",
    )
    .fetch_all(pool)
    .await
}

/// Messages stored and jobs ended a second, over the last minute.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
#[schema(as = StatisticsNow)]
pub struct Now {
    pub messages_per_second: f64,
    pub jobs_per_second: f64,
}

/// See [`Now`].
pub async fn now(pool: &PgPool) -> sqlx::Result<Now> {
    sqlx::query_as(
        "select (select count(*) from message where first_seen > now() - interval '1 minute') / 60.0::float8 as messages_per_second,
                (select count(*) from job where state in ('done', 'dead', 'cancelled') and finished_at > now() - interval '1 minute')
                    / 60.0::float8 as jobs_per_second",
    )
    .fetch_one(pool)
    .await
}

/// Jobs that wait for the operator, for one reason.
#[derive(Debug, Clone, FromRow)]
pub struct Stuck {
    pub kind: String,
    /// held or dead
    pub state: String,
    pub hint: Option<String>,
    /// Of the newest of them.
    pub error: Option<String>,
    pub jobs: i64,
    /// The newest.
    pub job: i64,
    pub since: Option<DateTime<Utc>>,
}

/// Held and dead jobs by kind and hint, the most first. Paused ones are left out: somebody wanted that.
pub async fn stuck(pool: &PgPool, limit: i64) -> sqlx::Result<Vec<Stuck>> {
    sqlx::query_as(
        "select kind, state, hint, (array_agg(error order by id desc))[1] as error, count(*) as jobs, max(id) as job,
                min(coalesce(finished_at, started_at, created_at)) as since
           from job where state in ('held', 'dead') and outcome is distinct from 'paused'
          group by kind, state, hint order by count(*) desc, kind limit $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await
}
