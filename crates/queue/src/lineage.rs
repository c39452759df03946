//! Where jobs come from.

use sqlx::{FromRow, PgPool};

use crate::Error;

/// Most jobs of a family that are told of those that one job led to.
const FAMILY: i64 = 200;

/// A job, the workflow run that it belongs to, and the job that enqueued it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Lineage {
    /// The job's id.
    pub id: i64,
    /// The workflow run that it belongs to.
    pub run: Option<i64>,
    /// The job that enqueued it.
    pub parent: Option<i64>,
}

/// Where these jobs come from, as far as they are still known.
pub async fn lineages(pool: &PgPool, jobs: &[i64]) -> Result<Vec<Lineage>, Error> {
    Ok(sqlx::query_as("select id, run, parent from job where id = any($1) order by id").bind(jobs).fetch_all(pool).await?)
}

/// The jobs that led to one, itself, and those that it led to: (job, distance), the oldest ancestor first. Distances are below zero
/// upwards, and end at 50 generations.
pub async fn family(pool: &PgPool, id: i64) -> Result<Vec<(i64, i32)>, Error> {
    Ok(sqlx::query_as(
        "with recursive up as (
            select id, parent, 0 as distance from job where id = $1
            union all
            select j.id, j.parent, u.distance - 1 from up u join job j on j.id = u.parent where u.distance > -50
        ), down as (
            select id, 0 as distance from job where id = $1
            union all
            select j.id, d.distance + 1 from down d join job j on j.parent = d.id where d.distance < 50
        )
        (select id, distance from up where distance < 0)
        union all
        (select id, distance from down limit $2)
        order by distance, id",
    )
    .bind(id)
    .bind(FAMILY)
    .fetch_all(pool)
    .await?)
}
