//! How long jobs wait that could run.

use serde::Serialize;
use sqlx::{FromRow, PgPool};

use crate::Error;

/// The longest wait in a partition.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow)]
pub struct Wait {
    /// The partition; 0 for none.
    pub partition: i64,
    /// The job that waits longest there.
    pub job: i64,
    /// Which work it is.
    pub kind: String,
    /// How long it could have run already, in seconds.
    pub seconds: f64,
}

/// The longest wait of each partition where a job waits; longest first. What is paused, or rests as a whole, does not count.
///
/// By probes of the index of ready jobs, one for each partition, kind and priority: however many jobs wait.
pub async fn waits(pool: &PgPool) -> Result<Vec<Wait>, Error> {
    Ok(sqlx::query_as(
        "with kinds as materialized (
             select distinct kind from job_count where kind not in (select kind from kind_paused)
             union select distinct kind from job_delta where kind not in (select kind from kind_paused)
         )
         select distinct on (p.id) p.id as partition, j.id as job, k.kind,
             greatest(extract(epoch from clock_timestamp() - j.run_at), 0)::float8 as seconds
         from partition p cross join kinds k cross join generate_series(1, 4) level(value)
         cross join lateral (
             select j.id, j.run_at from job j
             where j.partition = p.id and j.kind = k.kind and j.priority = level.value::smallint and j.state = 'available'
             order by j.run_at, j.id limit 1
         ) j
         where not p.paused
           and not exists (select from partition_rest r where r.partition = p.id and r.until > now() and r.method in ('*', k.kind))
         order by p.id, j.run_at",
    )
    .fetch_all(pool)
    .await
    .map(|mut all: Vec<Wait>| {
        all.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        all
    })?)
}
