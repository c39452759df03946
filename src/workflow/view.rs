//! What people see of a workflow: its next ticks, what it means now, its runs, and which held job blocks one.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use telekeep_queue::{self as queue, State};

use super::{Select, Step, Trigger, Workflow, run::RunError};
use crate::record::{
    event, selection,
    workflow::{self as table, PauseRow, RunRow, StepRow},
};

/// Ticks that are told ahead.
const NEXT: usize = 3;

/// A workflow as it stands.
#[derive(Debug, Serialize)]
pub struct View<'a> {
    pub name: &'a str,
    pub description: &'a str,
    pub trigger: &'a Trigger,
    /// Of a cron trigger; none while it is paused.
    pub next_ticks: Vec<DateTime<Utc>>,
    pub paused: Option<PauseRow>,
    pub select: &'a Select,
    /// How many watched chats the selection means now.
    pub selected_chats: usize,
    /// Chats with an event that waits for the end of an open run, or of the pause.
    pub waiting_chats: i64,
    /// In an order in which they may run.
    pub steps: Vec<&'a Step>,
    /// Of all runs that are kept, by state or outcome.
    pub jobs: BTreeMap<String, i64>,
    /// The newest, with their steps.
    pub runs: Vec<RunView>,
}

/// A run, its steps, and what blocks it.
#[derive(Debug, Serialize, utoipa::ToSchema, async_graphql::SimpleObject)]
#[graphql(name = "Run")]
#[schema(as = Run)]
pub struct RunView {
    #[serde(flatten)]
    #[graphql(flatten)]
    pub run: RunRow,
    pub steps: Vec<StepRow>,
    /// Held jobs that it waits for: the run's state is `blocked`.
    pub held: Vec<HeldJob>,
}

/// A job that waits for the operator.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct HeldJob {
    pub job: i64,
    pub kind: String,
    pub step: String,
    pub error: Option<String>,
    pub hint: Option<String>,
}

/// A workflow as it stands now, with its newest runs.
pub async fn view<'a>(pool: &PgPool, workflow: &'a Workflow, runs: i64) -> Result<View<'a>, RunError> {
    let mut conn = pool.acquire().await?;
    let now = table::now(&mut conn).await?;
    let paused = table::paused(&mut conn).await?.into_iter().find(|p| p.workflow == workflow.name);
    let last = table::last_tick(&mut conn, &workflow.name).await?.unwrap_or(now);
    let selected_chats = selection::selected(&mut conn, &workflow.select.selection(last), None).await?.len();
    let waiting_chats = event::wishes(&mut conn, &workflow.name).await?;
    let mut jobs: BTreeMap<String, i64> = table::outcomes(&mut conn, &workflow.name).await?.into_iter().collect();
    let open = table::open_jobs(&mut conn, &workflow.name).await?;
    let rows = table::runs(&mut conn, Some(&workflow.name), runs).await?;
    drop(conn);
    for job in queue::list(pool, by_id(open, None)).await? {
        *jobs.entry(job.state.to_string()).or_default() += 1;
    }
    Ok(View {
        name: &workflow.name,
        description: &workflow.description,
        trigger: &workflow.trigger,
        next_ticks: if paused.is_some() { Vec::new() } else { next_ticks(&workflow.trigger, now) },
        paused,
        select: &workflow.select,
        selected_chats,
        waiting_chats,
        steps: in_order(&workflow.steps),
        jobs,
        runs: with_steps(pool, rows).await?,
    })
}

/// Runs with their steps; one that waits for a held job is `blocked`.
pub async fn with_steps(pool: &PgPool, rows: Vec<RunRow>) -> Result<Vec<RunView>, RunError> {
    let mut conn = pool.acquire().await?;
    let running: Vec<i64> = rows.iter().filter(|r| r.state == "running").map(|r| r.id).collect();
    let waits = table::unfinished_jobs(&mut conn, &running).await?;
    let mut steps = table::steps_of(&mut conn, &rows.iter().map(|r| r.id).collect::<Vec<_>>()).await?;
    drop(conn);
    let held: BTreeMap<i64, queue::JobRow> = queue::list(pool, by_id(waits.iter().map(|w| w.job_id).collect(), Some(State::Held)))
        .await?
        .into_iter()
        .map(|job| (job.id, job))
        .collect();
    Ok(rows
        .into_iter()
        .map(|mut run| {
            let held: Vec<HeldJob> = waits
                .iter()
                .filter(|w| w.run_id == run.id)
                .filter_map(|w| {
                    let job = held.get(&w.job_id)?;
                    let (error, hint) = (job.error.clone(), job.hint.clone());
                    Some(HeldJob { job: job.id, kind: job.kind.clone(), step: w.step.clone(), error, hint })
                })
                .collect();
            if !held.is_empty() {
                run.state = "blocked".into();
            }
            RunView { steps: steps.remove(&run.id).unwrap_or_default(), run, held }
        })
        .collect())
}

fn by_id(ids: Vec<i64>, state: Option<State>) -> queue::Filter {
    queue::Filter { ids: Some(ids), state, limit: Some(i64::MAX), ..queue::Filter::default() }
}

fn next_ticks(trigger: &Trigger, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let Trigger::Cron { schedule, timezone, .. } = trigger else { return Vec::new() };
    let Ok(schedule) = schedule.parse::<cron::Schedule>() else { return Vec::new() }; // validated when the file was read
    schedule.after(&now.with_timezone(timezone)).take(NEXT).map(|tick| tick.with_timezone(&Utc)).collect()
}

/// Each step after those that it waits for.
fn in_order(steps: &[Step]) -> Vec<&Step> {
    let mut ordered: Vec<&Step> = Vec::new();
    while ordered.len() < steps.len() {
        let ready = |s: &&Step| !ordered.contains(s) && s.after.iter().all(|a| ordered.iter().any(|o| o.name == *a));
        match steps.iter().find(ready) {
            Some(step) => ordered.push(step),
            None => break, // a cycle: refused when the file was read
        }
    }
    ordered
}
