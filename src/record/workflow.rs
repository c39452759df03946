//! Tables workflow_run, workflow_step, step_job, workflow_tick, workflow_pause: which runs exist and how far each has come.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use super::ChatId;

/// What came of starting a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It runs, under this id.
    Run(i64),
    /// A run of this workflow and chat is still open: the tick is recorded as skipped.
    Skipped,
    /// This tick had its run already: another node was first.
    Exists,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct StepRow {
    pub step: String,
    /// waiting, running, done, failed, skipped
    pub state: String,
    /// Jobs of the step that have not ended.
    pub unfinished: i64,
    /// Jobs that ended otherwise than done.
    pub failed: i64,
}

/// One run, for people.
#[derive(Debug, Clone, Serialize, FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct RunRow {
    pub id: i64,
    pub workflow: String,
    pub tick: DateTime<Utc>,
    pub chat_id: i64,
    pub trigger: String,
    /// running, done, failed, skipped (a run was still open); shown as blocked where a held job keeps it from going on
    pub state: String,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// The database's time.
pub async fn now(conn: &mut PgConnection) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar("select now()").fetch_one(conn).await
}

/// Waits its turn for a workflow until the transaction ends, then gives its last tick; the first time, now.
pub async fn lock_tick(conn: &mut PgConnection, workflow: &str) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query("insert into workflow_tick values ($1, now()) on conflict do nothing").bind(workflow).execute(&mut *conn).await?;
    sqlx::query_scalar("select last_tick from workflow_tick where workflow = $1 for update").bind(workflow).fetch_one(conn).await
}

/// A workflow's last tick; none if it never had one.
pub async fn last_tick(conn: &mut PgConnection, workflow: &str) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar("select last_tick from workflow_tick where workflow = $1").bind(workflow).fetch_optional(conn).await
}

/// Notes that ticks up to this one had their runs.
pub async fn set_tick(conn: &mut PgConnection, workflow: &str, tick: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("update workflow_tick set last_tick = $2 where workflow = $1").bind(workflow).bind(tick).execute(conn).await?;
    Ok(())
}

/// Opens a run with its steps waiting; exactly one for (workflow, tick, chat). The caller holds `lock_tick`.
pub async fn open_run(
    conn: &mut PgConnection,
    workflow: &str,
    tick: DateTime<Utc>,
    chat: ChatId,
    trigger: &str,
    definition: &Value,
    steps: &[String],
) -> sqlx::Result<Started> {
    let row: Option<(i64, String)> = sqlx::query_as(
        "insert into workflow_run (workflow, tick, chat_id, trigger, definition, state)
         select $1, $2, $3, $4, $5, case when exists
             (select from workflow_run where workflow = $1 and chat_id = $3 and state = 'running') then 'skipped' else 'running' end
         on conflict (workflow, tick, chat_id) do nothing returning id, state",
    )
    .bind(workflow)
    .bind(tick)
    .bind(chat.0)
    .bind(trigger)
    .bind(definition)
    .fetch_optional(&mut *conn)
    .await?;
    let Some((id, state)) = row else { return Ok(Started::Exists) };
    if state == "skipped" {
        return Ok(Started::Skipped);
    }
    sqlx::query("insert into workflow_step (run_id, step) select $1, unnest($2::text[])")
        .bind(id)
        .bind(steps)
        .execute(conn)
        .await?;
    Ok(Started::Run(id))
}

/// Locks a run until the transaction ends and gives its chat and definition; none if it is no longer running.
pub async fn lock_run(conn: &mut PgConnection, run: i64) -> sqlx::Result<Option<(ChatId, Value)>> {
    let row: Option<(i64, Value)> =
        sqlx::query_as("select chat_id, definition from workflow_run where id = $1 and state = 'running' for update")
            .bind(run)
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|(chat, definition)| (ChatId(chat), definition)))
}

/// The steps of a run, with the count of their jobs.
pub async fn steps(conn: &mut PgConnection, run: i64) -> sqlx::Result<Vec<StepRow>> {
    Ok(steps_of(conn, &[run]).await?.remove(&run).unwrap_or_default())
}

/// The steps of these runs, by run.
pub async fn steps_of(conn: &mut PgConnection, runs: &[i64]) -> sqlx::Result<BTreeMap<i64, Vec<StepRow>>> {
    let rows: Vec<(i64, String, String, i64, i64)> = sqlx::query_as(
        "select s.run_id, s.step, s.state,
                count(j.job_id) filter (where j.outcome is null) as unfinished,
                count(j.job_id) filter (where j.outcome <> 'done') as failed
         from workflow_step s left join step_job j on j.run_id = s.run_id and j.step = s.step
         where s.run_id = any($1) group by s.run_id, s.step, s.state order by s.run_id, s.step",
    )
    .bind(runs)
    .fetch_all(conn)
    .await?;
    let mut steps: BTreeMap<i64, Vec<StepRow>> = BTreeMap::new();
    for (run, step, state, unfinished, failed) in rows {
        steps.entry(run).or_default().push(StepRow { step, state, unfinished, failed });
    }
    Ok(steps)
}

/// A job that a run waits for.
#[derive(Debug, Clone, FromRow)]
pub struct Unfinished {
    pub run_id: i64,
    pub step: String,
    pub job_id: i64,
}

/// The jobs that these runs wait for.
pub async fn unfinished_jobs(conn: &mut PgConnection, runs: &[i64]) -> sqlx::Result<Vec<Unfinished>> {
    sqlx::query_as("select run_id, step, job_id from step_job where run_id = any($1) and outcome is null order by run_id, job_id")
        .bind(runs)
        .fetch_all(conn)
        .await
}

/// The jobs that any open run of a workflow waits for, each once.
pub async fn open_jobs(conn: &mut PgConnection, workflow: &str) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(
        "select distinct j.job_id from workflow_run r join step_job j on j.run_id = r.id
         where r.workflow = $1 and r.state = 'running' and j.outcome is null",
    )
    .bind(workflow)
    .fetch_all(conn)
    .await
}

/// How the jobs of a workflow's runs ended, with counts.
pub async fn outcomes(conn: &mut PgConnection, workflow: &str) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "select j.outcome, count(*) from workflow_run r join step_job j on j.run_id = r.id
         where r.workflow = $1 and j.outcome is not null group by 1 order by 1",
    )
    .bind(workflow)
    .fetch_all(conn)
    .await
}

/// Moves a step to a state.
pub async fn set_step(conn: &mut PgConnection, run: i64, step: &str, state: &str) -> sqlx::Result<()> {
    sqlx::query("update workflow_step set state = $3 where run_id = $1 and step = $2")
        .bind(run)
        .bind(step)
        .bind(state)
        .execute(conn)
        .await?;
    Ok(())
}

/// Hangs jobs on a step.
pub async fn attach(conn: &mut PgConnection, run: i64, step: &str, jobs: &[i64]) -> sqlx::Result<()> {
    sqlx::query("insert into step_job (run_id, step, job_id) select $1, $2, unnest($3::bigint[]) on conflict do nothing")
        .bind(run)
        .bind(step)
        .bind(jobs)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes that a job ended; gives the runs that waited for it.
pub async fn job_ended(conn: &mut PgConnection, job: i64, outcome: &str) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar("update step_job set outcome = $2 where job_id = $1 and outcome is null returning run_id")
        .bind(job)
        .bind(outcome)
        .fetch_all(conn)
        .await
}

/// Ends a run.
pub async fn close_run(conn: &mut PgConnection, run: i64, state: &str) -> sqlx::Result<()> {
    sqlx::query("update workflow_run set state = $2, finished_at = now() where id = $1")
        .bind(run)
        .bind(state)
        .execute(conn)
        .await?;
    Ok(())
}

/// The newest runs, of one workflow or all.
pub async fn runs(conn: &mut PgConnection, workflow: Option<&str>, limit: i64) -> sqlx::Result<Vec<RunRow>> {
    runs_of(conn, &Runs { workflow: workflow.map(str::to_owned), ..Runs::default() }, limit).await
}

/// Which runs are meant; what is none does not matter.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    pub ids: Option<Vec<i64>>,
    pub workflow: Option<String>,
    pub chat: Option<i64>,
    /// running, done, failed or skipped
    pub state: Option<String>,
    /// Older than this one.
    pub before: Option<i64>,
}

/// Runs, the newest first.
pub async fn runs_of(conn: &mut PgConnection, which: &Runs, limit: i64) -> sqlx::Result<Vec<RunRow>> {
    sqlx::query_as(
        "select id, workflow, tick, chat_id, trigger, state, created_at, finished_at from workflow_run
          where ($1::bigint[] is null or id = any($1)) and ($2::text is null or workflow = $2)
            and ($3::bigint is null or chat_id = $3) and ($4::text is null or state = $4) and ($5::bigint is null or id < $5)
          order by id desc limit $6",
    )
    .bind(&which.ids)
    .bind(&which.workflow)
    .bind(which.chat)
    .bind(&which.state)
    .bind(which.before)
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// A job that a step of a run waited for.
#[derive(Debug, Clone, Serialize, FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct StepJob {
    pub step: String,
    pub job: i64,
    /// None while it is unfinished: done, dead, cancelled, discarded.
    pub outcome: Option<String>,
}

/// The jobs of a run, in the order of their numbers.
pub async fn jobs_of(conn: &mut PgConnection, run: i64, limit: i64) -> sqlx::Result<Vec<StepJob>> {
    sqlx::query_as("select step, job_id as job, outcome from step_job where run_id = $1 order by job_id limit $2")
        .bind(run)
        .bind(limit)
        .fetch_all(conn)
        .await
}

/// A workflow that the operator paused.
#[derive(Debug, Clone, Serialize, FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
#[schema(as = WorkflowPaused)]
pub struct PauseRow {
    pub workflow: String,
    pub reason: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// The workflow opens no runs from now on. Answers whether that is new; the newer reason is kept.
pub async fn pause(conn: &mut PgConnection, workflow: &str, reason: Option<&str>) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "insert into workflow_pause as p (workflow, reason) values ($1, $2)
         on conflict (workflow) do update set reason = coalesce(excluded.reason, p.reason) returning xmax = 0",
    )
    .bind(workflow)
    .bind(reason)
    .fetch_one(conn)
    .await
}

/// The workflow opens runs again. Answers whether it was paused.
pub async fn resume(conn: &mut PgConnection, workflow: &str) -> sqlx::Result<bool> {
    let gone = sqlx::query("delete from workflow_pause where workflow = $1").bind(workflow).execute(conn).await?;
    Ok(gone.rows_affected() > 0)
}

/// The paused workflows, by name.
pub async fn paused(conn: &mut PgConnection) -> sqlx::Result<Vec<PauseRow>> {
    sqlx::query_as("select workflow, reason, created_at from workflow_pause order by workflow").fetch_all(conn).await
}

/// Whether a workflow is paused.
pub async fn is_paused(conn: &mut PgConnection, workflow: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("select exists (select from workflow_pause where workflow = $1)").bind(workflow).fetch_one(conn).await
}
