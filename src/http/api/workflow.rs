//! Workflows: the files, a text checked, runs with their steps and jobs; started, paused and resumed.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::{Operator, Viewer},
    api,
    extract::{Json, Path, Query},
    page::{self, Limit, Page},
    problem::Problem,
};
use crate::jobs::KINDS;
use crate::record::workflow::{self as table, PauseRow, Runs, StepJob};
use crate::workflow::view::{RunView, View};
use crate::workflow::{Workflow, by_hand, file, view};

/// Jobs that are told of one run.
const JOBS: i64 = 1_000;
/// Runs that are told of one workflow.
const RUNS: i64 = 20;

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(validate))
        .routes(routes!(show))
        .routes(routes!(start))
        .routes(routes!(pause))
        .routes(routes!(runs))
        .routes(routes!(run))
}

/// A workflow's file, and whether it is paused.
#[derive(Debug, Serialize, ToSchema, async_graphql::SimpleObject)]
#[graphql(name = "Workflow")]
#[schema(as = Workflow)]
pub struct Listed {
    pub name: String,
    pub description: String,
    /// `"manual"`, or one of `cron` and `listener`.
    #[schema(value_type = Value)]
    pub trigger: Value,
    pub select: Value,
    pub steps: Vec<StepShown>,
    pub paused: Option<PauseRow>,
}

/// A step of a workflow.
#[derive(Debug, Serialize, ToSchema, async_graphql::SimpleObject)]
#[graphql(name = "WorkflowStep")]
#[schema(as = WorkflowStep)]
pub struct StepShown {
    pub name: String,
    /// The kind of its jobs.
    pub job: String,
    /// Steps that it waits for.
    pub after: Vec<String>,
    pub priority: Option<i16>,
    pub spread_seconds: Option<u32>,
}

fn step(step: &crate::workflow::Step) -> StepShown {
    let crate::workflow::Step { name, job, after, priority, spread_seconds, .. } = step.clone();
    StepShown { name, job, after, priority, spread_seconds }
}

fn json(value: &impl Serialize) -> Value {
    // Plain data with text keys: it always becomes JSON.
    serde_json::to_value(value).unwrap_or_default()
}

/// The workflows of the configured folder.
pub async fn all(http: &Http) -> Result<Vec<Listed>, Problem> {
    let workflows = api::workflows(&http.config.workflows)?;
    let mut paused = table::paused(&mut *http.pool.acquire().await?).await?;
    let listed = |workflow: Workflow| Listed {
        paused: paused.iter().position(|it| it.workflow == workflow.name).map(|place| paused.swap_remove(place)),
        trigger: json(&workflow.trigger),
        select: json(&workflow.select),
        steps: workflow.steps.iter().map(step).collect(),
        name: workflow.name,
        description: workflow.description,
    };
    Ok(workflows.into_values().map(listed).collect())
}

/// The workflows of the configured folder, by name.
#[utoipa::path(get, path = "/workflows", tag = "workflows", responses((status = 200, body = Page<Listed>)))]
pub async fn list(State(http): State<Http>, _: Viewer) -> Result<Json<Page<Listed>>, Problem> {
    Ok(Json(Page::whole(all(&http).await?)))
}

/// A file's text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WorkflowText)]
pub struct FileText {
    /// TOML, as in `workflows/`.
    #[schema(max_length = 200000)]
    pub text: String,
}

/// What is to be said of a file's text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WorkflowCheck)]
pub struct Checked {
    pub valid: bool,
    /// The workflow's name, where it is valid.
    pub name: Option<String>,
    pub faults: Vec<Fault>,
}

/// A fault in a file's text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WorkflowFault)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// Checks a file's text. Nothing is kept.
#[utoipa::path(post, path = "/workflow-checks", tag = "workflows", request_body = FileText, responses((status = 200, body = Checked)))]
async fn validate(_: Viewer, Json(file): Json<FileText>) -> Result<Json<Checked>, Problem> {
    if file.text.chars().count() > 200_000 {
        return Err(Problem::invalid("text", "at most 200,000 characters"));
    }
    Ok(Json(match file::parse(FilePath::new("workflow.toml"), &file.text, KINDS) {
        Ok(workflow) => Checked { valid: true, name: Some(workflow.name), faults: Vec::new() },
        Err(faults) => {
            let faults = faults.into_iter().map(|fault| Fault { line: fault.line, message: fault.message }).collect();
            Checked { valid: false, name: None, faults }
        }
    }))
}

/// A workflow as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowShown {
    pub name: String,
    pub description: String,
    #[schema(value_type = Value)]
    pub trigger: Value,
    pub select: Value,
    /// In an order in which they may run.
    pub steps: Vec<StepShown>,
    /// Of a cron trigger; none while it is paused.
    pub next_ticks: Vec<DateTime<Utc>>,
    pub paused: Option<PauseRow>,
    /// How many watched chats it means now.
    pub selected_chats: usize,
    /// Chats with an event that waits for the end of an open run, or of the pause.
    pub waiting_chats: i64,
    /// Of all runs that are kept, by state or outcome.
    pub jobs: BTreeMap<String, i64>,
    /// The newest.
    pub runs: Vec<RunView>,
}

fn named(http: &Http, name: &str) -> Result<Workflow, Problem> {
    let found = api::workflows(&http.config.workflows)?.remove(name);
    found.ok_or_else(|| Problem::not_found("there is no such workflow"))
}

/// One workflow: its next ticks, the chats that it means now, its steps, its newest runs and what blocks them.
#[utoipa::path(get, path = "/workflows/{name}", tag = "workflows", params(("name" = String, Path)),
    responses((status = 200, body = WorkflowShown)))]
pub async fn show(State(http): State<Http>, _: Viewer, Path(name): Path<String>) -> Result<Json<WorkflowShown>, Problem> {
    let workflow = named(&http, &name)?;
    let View { description, trigger, next_ticks, paused, select, selected_chats, waiting_chats, steps, jobs, runs, .. } =
        view::view(&http.pool, &workflow, RUNS).await?;
    let steps = steps.into_iter().map(step).collect();
    let (trigger, select, description) = (json(trigger), json(select), description.to_owned());
    Ok(Json(WorkflowShown {
        name,
        description,
        trigger,
        select,
        steps,
        next_ticks,
        paused,
        selected_chats,
        waiting_chats,
        jobs,
        runs,
    }))
}

/// Chats to run for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RunFor)]
pub struct For {
    /// Marked ids; none: those that it selects.
    #[serde(default)]
    #[schema(max_items = 10000)]
    pub chats: Vec<i64>,
}

/// What was started.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunsStarted)]
pub struct Started {
    pub runs: Vec<i64>,
    /// Chats of which a run is still open.
    pub skipped: usize,
}

impl From<by_hand::Error> for Problem {
    fn from(error: by_hand::Error) -> Self {
        match error {
            by_hand::Error::Run(error) => error.into(),
            by_hand::Error::Paused(_) | by_hand::Error::NoChat => Problem::conflict(error.to_string()),
        }
    }
}

/// Starts a workflow now.
#[utoipa::path(post, path = "/workflows/{name}/runs", tag = "workflows", params(("name" = String, Path)), request_body = For,
    responses((status = 200, body = Started)))]
pub async fn start(
    State(http): State<Http>,
    Operator(caller): Operator,
    Path(name): Path<String>,
    Json(wish): Json<For>,
) -> Result<Json<Started>, Problem> {
    let workflow = named(&http, &name)?;
    let target = format!("workflow {name}");
    let change = caller.change("workflow.run", &target, serde_json::json!({ "chats": wish.chats }));
    let by_hand::Started { runs, skipped } = by_hand::start(&http.pool, &workflow, &wish.chats, &change).await?;
    http.events.touch();
    Ok(Json(Started { runs, skipped }))
}

/// Whether a workflow is paused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WorkflowPause)]
pub struct Pause {
    pub paused: bool,
    /// Shown wherever the pause is.
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

/// Lets a workflow open no runs, or some again. What is open goes on; one whose file is gone can be resumed, too.
#[utoipa::path(put, path = "/workflows/{name}/pause", tag = "workflows", params(("name" = String, Path)), request_body = Pause,
    responses((status = 204)))]
pub async fn pause(
    State(http): State<Http>,
    Operator(caller): Operator,
    Path(name): Path<String>,
    Json(wish): Json<Pause>,
) -> Result<StatusCode, Problem> {
    let mut tx = http.pool.begin().await?;
    let what = if wish.paused {
        named(&http, &name)?;
        table::pause(&mut tx, &name, wish.reason.as_deref()).await?;
        "workflow.pause"
    } else {
        if !table::resume(&mut tx, &name).await? {
            named(&http, &name)?;
        }
        "workflow.resume"
    };
    caller.note(&mut tx, what, &format!("workflow {name}"), serde_json::json!({ "reason": wish.reason })).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Running,
    Done,
    Failed,
    Skipped,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    pub workflow: Option<String>,
    /// A chat's marked id.
    pub chat: Option<i64>,
    /// Runs that are shown as `blocked` are `running`.
    #[param(inline)]
    pub state: Option<RunState>,
    pub cursor: Option<String>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Limit,
}

/// Runs, the newest first. One that waits for a held job is `blocked`.
#[utoipa::path(get, path = "/runs", tag = "workflows", params(Wanted), responses((status = 200, body = Page<RunView>)))]
pub async fn runs(State(http): State<Http>, _: Viewer, Query(wanted): Query<Wanted>) -> Result<Json<Page<RunView>>, Problem> {
    let state = wanted.state.map(|state| match state {
        RunState::Running => "running".to_owned(),
        RunState::Done => "done".into(),
        RunState::Failed => "failed".into(),
        RunState::Skipped => "skipped".into(),
    });
    let before = page::key(wanted.cursor.as_deref())?;
    let which = Runs { ids: None, workflow: wanted.workflow, chat: wanted.chat, state, before };
    Ok(Json(page_of(&http, &which, wanted.limit).await?))
}

/// A page of runs.
pub async fn page_of(http: &Http, which: &Runs, limit: Limit) -> Result<Page<RunView>, Problem> {
    let rows = table::runs_of(&mut *http.pool.acquire().await?, which, limit.and_one()).await?;
    Ok(Page::of(view::with_steps(&http.pool, rows).await?, limit, |run| run.run.id))
}

/// A run in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunShown {
    pub run: RunView,
    /// The jobs that its steps waited for; the first thousand.
    pub jobs: Vec<StepJob>,
}

/// One run, with its steps and jobs.
#[utoipa::path(get, path = "/runs/{id}", tag = "workflows", params(("id" = i64, Path)), responses((status = 200, body = RunShown)))]
pub async fn run(State(http): State<Http>, _: Viewer, Path(id): Path<i64>) -> Result<Json<RunShown>, Problem> {
    let mut conn = http.pool.acquire().await?;
    let which = Runs { ids: Some(vec![id]), ..Runs::default() };
    let rows = table::runs_of(&mut conn, &which, 1).await?;
    let jobs = table::jobs_of(&mut conn, id, JOBS).await?;
    drop(conn);
    let run = view::with_steps(&http.pool, rows).await?.pop().ok_or_else(|| Problem::not_found("there is no such run"))?;
    Ok(Json(RunShown { run, jobs }))
}
