//! Workflows: their next ticks, their steps drawn, their last runs; started, paused and resumed.

use std::fmt::Display;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fields::Sent;
use super::visit::{Frame, Visit};
use super::{back_to, drawing, drawn};
use crate::http::access::{Operator, Viewer};
use crate::http::api::workflow::{self, For, Listed, Pause, RunShown, WorkflowShown};
use crate::http::extract::{Json, Path};
use crate::http::{Http, problem::Problem};
use crate::record::workflow::{PauseRow, StepJob};
use crate::workflow::{Select, Trigger, view::RunView};

pub fn router() -> Router<Http> {
    Router::new()
        .route("/workflows", get(list))
        .route("/workflows/{name}", get(show))
        .route("/workflows/{name}/runs", post(start))
        .route("/workflows/{name}/pause", post(pause))
        .route("/runs/{id}", get(run))
}

#[derive(Template)]
#[template(path = "workflows.html")]
struct WorkflowsPage {
    frame: Frame,
    workflows: Vec<Listed>,
}

impl WorkflowsPage {
    fn when(&self, it: &Listed) -> String {
        told::<Trigger>(&it.trigger)
    }
}

/// As the commands tell it.
fn told<T: DeserializeOwned + Display>(value: &Value) -> String {
    serde_json::from_value(value.clone()).map_or_else(|_| value.to_string(), |it: T| it.to_string())
}

async fn list(State(http): State<Http>, visit: Visit, _: Viewer) -> Result<Response, Problem> {
    drawn(&WorkflowsPage { frame: visit.frame("workflows", "Workflows"), workflows: workflow::all(&http).await? })
}

#[derive(Template)]
#[template(path = "workflow.html")]
struct WorkflowPage {
    frame: Frame,
    name: String,
    description: String,
    trigger: String,
    select: String,
    next_ticks: Vec<DateTime<Utc>>,
    paused: Option<PauseRow>,
    selected: usize,
    waiting: i64,
    jobs: Vec<(String, i64)>,
    runs: Vec<RunView>,
    steps: String,
}

async fn show(State(http): State<Http>, visit: Visit, viewer: Viewer, Path(name): Path<String>) -> Result<Response, Problem> {
    let shown = workflow::show(State(http), viewer, Path(name)).await?.0;
    let WorkflowShown { name, description, trigger, select, steps, next_ticks, paused, selected_chats, waiting_chats, jobs, runs } =
        shown;
    drawn(&WorkflowPage {
        frame: visit.frame("workflows", format!("Workflow {name}")),
        name,
        description,
        trigger: told::<Trigger>(&trigger),
        select: told::<Select>(&select),
        next_ticks,
        paused,
        selected: selected_chats,
        waiting: waiting_chats,
        jobs: jobs.into_iter().collect(),
        runs,
        steps: drawing::steps(&steps),
    })
}

fn address(name: &str) -> String {
    format!("/workflows/{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

async fn start(
    State(http): State<Http>,
    operator: Operator,
    Path(name): Path<String>,
    Sent(fields): Sent,
) -> Result<Response, Problem> {
    let there = address(&name);
    let chats = fields.number("chat")?.into_iter().collect();
    let started = workflow::start(State(http), operator, Path(name), Json(For { chats })).await?.0;
    Ok(back_to(&there, "run", started.runs.len() as u64))
}

async fn pause(
    State(http): State<Http>,
    operator: Operator,
    Path(name): Path<String>,
    Sent(fields): Sent,
) -> Result<Response, Problem> {
    let there = address(&name);
    let paused = fields.text("paused") == Some("true");
    let wish = Pause { paused, reason: fields.owned("reason").filter(|_| paused) };
    workflow::pause(State(http), operator, Path(name), Json(wish)).await?;
    Ok(back_to(fields.text("back").unwrap_or(&there), if paused { "paused" } else { "resumed" }, 1))
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    run: RunView,
    jobs: Vec<StepJob>,
}

async fn run(State(http): State<Http>, visit: Visit, viewer: Viewer, Path(id): Path<i64>) -> Result<Response, Problem> {
    let RunShown { run, jobs } = workflow::run(State(http), viewer, Path(id)).await?.0;
    drawn(&RunPage { frame: visit.frame("workflows", format!("Run {id} of {}", run.run.workflow)), run, jobs })
}
