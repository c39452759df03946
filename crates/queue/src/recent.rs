//! What became lately of jobs with these keys: for whoever enqueues again and again, and must not repeat what does not help.

use std::time::Duration;

use sqlx::{FromRow, PgConnection};

use crate::{Error, State};

/// A job that is unfinished, or that ended lately.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Recent {
    /// Its key.
    pub unique_key: String,
    /// Where it stands.
    pub state: State,
    /// Whether it ever told of [`progress`](crate::progress).
    pub progressed: bool,
    /// How long ago it ended, in seconds; none while it is unfinished.
    pub ended_seconds: Option<f64>,
}

/// The jobs of a kind with one of these keys that are unfinished (held ones too), or that ended within this time.
pub async fn recent(conn: &mut PgConnection, kind: &str, keys: &[String], within: Duration) -> Result<Vec<Recent>, Error> {
    Ok(sqlx::query_as(
        "select unique_key, state, progress_done is not null as progressed, null::float8 as ended_seconds
         from job where kind = $1 and unique_key = any($2) and state in ('scheduled', 'available', 'running', 'held')
         union all
         select unique_key, state, progress_done is not null, extract(epoch from clock_timestamp() - finished_at)::float8
         from job where kind = $1 and unique_key = any($2) and state in ('done', 'dead', 'cancelled')
           and finished_at > now() - make_interval(secs => $3)",
    )
    .bind(kind)
    .bind(keys)
    .bind(within.as_secs_f64())
    .fetch_all(conn)
    .await?)
}
