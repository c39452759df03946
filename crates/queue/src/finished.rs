//! Ends of jobs, for whoever follows them: consumed by deletion, never by a cursor.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};

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
    /// The workflow run that it belongs to.
    pub run: Option<i64>,
    /// The step of that run.
    pub step: Option<String>,
    /// When.
    pub finished_at: DateTime<Utc>,
}

/// Takes up to `limit` ends, those of the oldest jobs first, in the caller's transaction: rolled back, they are there again. What
/// another follower is taking is left to it.
pub async fn take_finished(conn: &mut PgConnection, limit: i64) -> Result<Vec<Finished>, Error> {
    Ok(sqlx::query_as(
        "with taken as (
             delete from job_finished
             -- an array is made once: a subquery may be run again for each row, and take more than its limit
             where ctid = any(array(select ctid from job_finished order by job, finished_at limit $1 for update skip locked))
             returning *
         )
         select job as job_id, kind, state, outcome, parent, trigger, run, step, finished_at from taken order by job, finished_at",
    )
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// Removes up to `limit` jobs that ended as done or cancelled longer than `kept` ago, with their attempts and with their
/// ends that nobody took by then, and the rows of workers long gone. Dead jobs stay, and so does a job of a workflow run
/// until its end was taken: the run waits for it. Answers how many jobs.
pub async fn remove_finished(pool: &PgPool, kept: Duration, limit: i64) -> Result<u64, Error> {
    let removed: i64 = sqlx::query_scalar(
        "with removed as (
             delete from job where id = any(array(
                 select j.id from job j
                 where j.state in ('done', 'cancelled') and j.finished_at < now() - make_interval(secs => $1)
                   and (j.run is null or not exists (select from job_finished f where f.job = j.id))
                 order by j.finished_at limit $2
                 for update skip locked))
             returning id, kind, state
         ), starts as (
             delete from job_attempt a using removed r where a.job = r.id
         ), unfollowed as (
             delete from job_finished f using removed r where f.job = r.id
         ), counted as (
             insert into job_delta select kind, state, -count(*) from removed group by 1, 2
         )
         select count(*) from removed",
    )
    .bind(kept.as_secs_f64())
    .bind(limit)
    .fetch_one(pool)
    .await?;
    sqlx::query(
        "delete from worker w
         where state = 'gone' and gone_at < now() - make_interval(secs => $1)
           and not exists (select 1 from job j where j.worker = w.id and j.state = 'running')",
    )
    .bind(kept.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(u64::try_from(removed).unwrap_or(0))
}
