//! Ends of jobs, for whoever follows them: consumed by deletion, never by a cursor.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};

use crate::{Error, State};

/// That a job ended.
#[derive(Debug, Clone, FromRow)]
pub struct Finished {
    /// The job.
    pub job_id: i64,
    /// Its kind.
    pub kind: String,
    /// Done, dead or cancelled.
    pub state: State,
    /// `done`, `dead`, `discarded` or `cancelled`.
    pub outcome: String,
    /// The job that enqueued it.
    pub parent: Option<i64>,
    /// What enqueued it.
    pub trigger: Option<String>,
    /// When.
    pub finished_at: DateTime<Utc>,
}

/// Takes up to `limit` ends, oldest first, in the caller's transaction: rolled back, they are there again. What
/// another follower is taking is left to it.
pub async fn take_finished(conn: &mut PgConnection, limit: i64) -> Result<Vec<Finished>, Error> {
    Ok(sqlx::query_as(
        "with taken as (
             delete from job_finished
             where id in (select id from job_finished order by id limit $1 for update skip locked)
             returning *
         )
         select job as job_id, kind, state, outcome, parent, trigger, finished_at from taken order by id",
    )
    .bind(limit)
    .fetch_all(conn)
    .await?)
}
