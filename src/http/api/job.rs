//! Jobs: lists by what they have in common, one with its attempts and its family, and what an operator does with them.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use telekeep_queue as queue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::{Caller, Operator, Viewer},
    extract::{Json, Path, Query},
    page::{self, Limit, Page},
    problem::Problem,
};

/// The longest text that errors are searched for.
const LONGEST_TEXT: usize = 200;
/// Attempts that are told of one job, the newest.
const ATTEMPTS: usize = 200;

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(act)).routes(routes!(show)).routes(routes!(act_on_one))
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, async_graphql::Enum)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Scheduled,
    Available,
    Running,
    Done,
    Held,
    Dead,
    Cancelled,
}

impl JobState {
    /// The name in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Available => "available",
            Self::Running => "running",
            Self::Done => "done",
            Self::Held => "held",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<queue::State> for JobState {
    fn from(state: queue::State) -> Self {
        use queue::State as S;
        match state {
            S::Scheduled => Self::Scheduled,
            S::Available => Self::Available,
            S::Running => Self::Running,
            S::Done => Self::Done,
            S::Held => Self::Held,
            S::Dead => Self::Dead,
            S::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobState> for queue::State {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Scheduled => Self::Scheduled,
            JobState::Available => Self::Available,
            JobState::Running => Self::Running,
            JobState::Done => Self::Done,
            JobState::Held => Self::Held,
            JobState::Dead => Self::Dead,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// A job.
#[derive(Debug, Clone, Serialize, ToSchema, async_graphql::SimpleObject)]
pub struct Job {
    pub id: i64,
    pub kind: String,
    pub state: JobState,
    /// The work's arguments.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// The account's number; 0 for none.
    pub partition: i64,
    /// 1 (most urgent) to 4.
    pub priority: i16,
    /// Its next start, or its last while it runs.
    pub run_at: DateTime<Utc>,
    /// The job that enqueued it.
    pub parent: Option<i64>,
    /// What enqueued it.
    pub trigger: Option<String>,
    /// The workflow run that it belongs to, and its step there.
    pub run: Option<i64>,
    pub step: Option<String>,
    /// Starts, failures, and leases that ran out in a row.
    pub attempt: i32,
    pub failure: i32,
    pub crash: i32,
    /// Who runs it.
    pub node: Option<String>,
    /// It runs, and was told to stop.
    pub cancel_requested: bool,
    /// What its last start came to.
    pub outcome: Option<String>,
    pub error: Option<String>,
    /// What the operator can do about it.
    pub hint: Option<String>,
    pub progress: JobProgress,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// How far a job is.
#[derive(Debug, Clone, Serialize, ToSchema, async_graphql::SimpleObject)]
pub struct JobProgress {
    pub done: Option<i64>,
    pub total: Option<i64>,
    pub note: Option<String>,
    /// While it runs.
    pub per_second: Option<f64>,
    /// At that pace.
    pub remaining_seconds: Option<f64>,
}

impl From<queue::JobRow> for Job {
    fn from(row: queue::JobRow) -> Self {
        let progress = JobProgress {
            done: row.progress_done,
            total: row.progress_total,
            note: row.progress_note,
            per_second: row.progress_per_second,
            remaining_seconds: row.remaining_seconds,
        };
        Self {
            id: row.id,
            kind: row.kind,
            state: row.state.into(),
            payload: row.payload,
            partition: row.partition,
            priority: row.priority,
            run_at: row.run_at,
            parent: row.parent,
            trigger: row.trigger,
            run: row.run,
            step: row.step,
            attempt: row.attempt,
            failure: row.failure,
            crash: row.crash,
            node: row.node,
            cancel_requested: row.cancel_requested,
            outcome: row.outcome,
            error: row.error,
            hint: row.hint,
            progress,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        }
    }
}

/// One start of a job.
#[derive(Debug, Clone, Serialize, ToSchema, async_graphql::SimpleObject)]
#[schema(as = JobAttempt)]
pub struct Attempt {
    pub attempt: i32,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub node: String,
    /// done, more_to_do, retry, snooze, held, dead, discarded, drained, lease_expired; none while it runs.
    pub outcome: Option<String>,
    pub error: Option<String>,
}

impl From<queue::Attempt> for Attempt {
    fn from(row: queue::Attempt) -> Self {
        let queue::Attempt { attempt, started_at, finished_at, node, outcome, error } = row;
        Self { attempt, started_at, finished_at, node, outcome, error }
    }
}

/// Which jobs are meant: all that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, async_graphql::InputObject)]
#[serde(deny_unknown_fields, default)]
#[graphql(name = "JobFilter")]
pub struct JobFilter {
    /// These; at most 10,000.
    #[schema(max_items = 10000)]
    pub ids: Option<Vec<i64>>,
    pub state: Option<JobState>,
    pub kind: Option<String>,
    /// A chat's marked id.
    pub chat: Option<i64>,
    /// An account's number.
    pub account: Option<i64>,
    /// A workflow's run.
    pub run: Option<i64>,
    /// The job that enqueued them.
    pub parent: Option<i64>,
    /// A part of their error, in upper or lower case.
    #[schema(max_length = 200)]
    pub error: Option<String>,
}

impl JobFilter {
    /// As the queue takes it.
    pub fn read(self) -> Result<queue::Filter, Problem> {
        let Self { ids, state, kind, chat, account, run, parent, error } = self;
        if ids.as_ref().is_some_and(|ids| ids.len() > 10_000) {
            return Err(Problem::invalid("ids", "at most 10,000 ids; filter by what they have in common instead"));
        }
        if error.as_ref().is_some_and(|text| text.chars().count() > LONGEST_TEXT) {
            return Err(Problem::invalid("error", format!("at most {LONGEST_TEXT} characters")));
        }
        for (field, text) in [("error", &error), ("kind", &kind)] {
            if text.as_ref().is_some_and(|text| text.contains('\0')) {
                return Err(Problem::invalid(field, "a text without NUL"));
            }
        }
        Ok(queue::Filter {
            ids,
            state: state.map(Into::into),
            kind,
            partition: account,
            run,
            parent,
            payload: chat.map(|chat| ("chat", chat.to_string())),
            told: error.filter(|text| !text.is_empty()),
            ..queue::Filter::default()
        })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wish {
    #[param(inline)]
    pub state: Option<JobState>,
    pub kind: Option<String>,
    /// A chat's marked id.
    pub chat: Option<i64>,
    /// An account's number.
    pub account: Option<i64>,
    /// A workflow's run.
    pub run: Option<i64>,
    /// The job that enqueued them.
    pub parent: Option<i64>,
    /// A part of their error, in upper or lower case.
    #[param(max_length = 200)]
    pub error: Option<String>,
    pub cursor: Option<String>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Limit,
}

/// Jobs, the newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(Wish), responses((status = 200, body = Page<Job>)))]
pub async fn list(State(http): State<Http>, _: Viewer, Query(wish): Query<Wish>) -> Result<Json<Page<Job>>, Problem> {
    let Wish { state, kind, chat, account, run, parent, error, cursor, limit } = wish;
    let filter = JobFilter { ids: None, state, kind, chat, account, run, parent, error };
    Ok(Json(page_of(&http, filter, cursor.as_deref(), limit).await?))
}

/// A page of jobs.
pub async fn page_of(http: &Http, filter: JobFilter, cursor: Option<&str>, limit: Limit) -> Result<Page<Job>, Problem> {
    let filter = queue::Filter { before: page::key(cursor)?, limit: Some(limit.and_one()), ..filter.read()? };
    let jobs = queue::list(&http.pool, filter).await?.into_iter().map(Job::from).collect();
    Ok(Page::of(jobs, limit, |job| job.id))
}

/// A job in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobShown {
    pub job: Job,
    /// Its starts, the oldest first; of very many the newest.
    pub attempts: Vec<Attempt>,
    /// The jobs that led to it and those that it led to, itself among them; the oldest ancestor first.
    pub lineage: Vec<Relative>,
}

/// A job's relative.
#[derive(Debug, Clone, Serialize, ToSchema, async_graphql::SimpleObject)]
#[schema(as = JobRelative)]
pub struct Relative {
    pub id: i64,
    pub kind: String,
    pub state: JobState,
    pub parent: Option<i64>,
    /// How many generations away: below zero for ancestors, 0 for the job itself.
    pub distance: i32,
}

/// One job, with its attempts and its family.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = i64, Path)), responses((status = 200, body = JobShown)))]
pub async fn show(State(http): State<Http>, _: Viewer, Path(id): Path<i64>) -> Result<Json<JobShown>, Problem> {
    let job = queue::show(&http.pool, id).await?.ok_or(queue::Error::NoJob { job: id })?;
    Ok(Json(JobShown { job: job.into(), attempts: attempts(&http, id).await?, lineage: lineage(&http, id).await? }))
}

/// The newest starts of a job, the oldest of them first.
pub async fn attempts(http: &Http, id: i64) -> Result<Vec<Attempt>, Problem> {
    let mut attempts = queue::attempts(&http.pool, id).await?;
    let newest = attempts.split_off(attempts.len().saturating_sub(ATTEMPTS));
    Ok(newest.into_iter().map(Attempt::from).collect())
}

/// A job's family.
pub async fn lineage(http: &Http, id: i64) -> Result<Vec<Relative>, Problem> {
    let family = queue::family(&http.pool, id).await?;
    let ids: Vec<i64> = family.iter().map(|(id, _)| *id).collect();
    let rows = queue::list(&http.pool, queue::Filter { limit: Some(i64::MAX), ..queue::Filter::ids(ids) }).await?;
    let relative = |(id, distance): (i64, i32)| {
        let row = rows.iter().find(|row| row.id == id)?;
        Some(Relative { id, kind: row.kind.clone(), state: row.state.into(), parent: row.parent, distance })
    };
    Ok(family.into_iter().filter_map(relative).collect())
}

/// What is done with jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobAction)]
pub enum Action {
    /// Dead, held and cancelled ones start over.
    Retry,
    /// Unfinished ones end.
    Cancel,
    /// Those that wait are held until they are resumed.
    Hold,
    /// Those that were held by an operator wait again.
    Resume,
    /// Held ones go on.
    Release,
    /// Unfinished ones get another priority.
    Priority,
}

fn action(action: Action, priority: Option<i16>) -> Result<queue::Action, Problem> {
    Ok(match (action, priority) {
        (Action::Retry, None) => queue::Action::Retry,
        (Action::Cancel, None) => queue::Action::Cancel,
        (Action::Hold, None) => queue::Action::Pause,
        (Action::Resume, None) => queue::Action::Resume,
        (Action::Release, None) => queue::Action::Release,
        (Action::Priority, Some(priority @ 1..=4)) => queue::Action::Priority(priority),
        (Action::Priority, _) => return Err(Problem::invalid("priority", "1 (most urgent) to 4")),
        (_, Some(_)) => return Err(Problem::invalid("priority", "only the action `priority` has one")),
    })
}

/// What is to be done with many jobs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobBatch)]
pub struct Batch {
    pub action: Action,
    #[schema(minimum = 1, maximum = 4)]
    pub priority: Option<i16>,
    pub filter: JobFilter,
    /// Count only.
    #[serde(default)]
    pub dry_run: bool,
    /// How many jobs a dry run told. Needed to do it: where there are more or fewer by now, nothing is done.
    #[schema(minimum = 0)]
    pub expected: Option<u64>,
}

/// What was done, or would be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobsTouched)]
pub struct Acted {
    /// Jobs that the filter means and the action can touch.
    pub matched: u64,
    /// Jobs that it touched; one whose state changed meanwhile is not.
    pub touched: u64,
    pub dry_run: bool,
}

/// Does something with all jobs of a filter: first with `dry_run`, then with the number that it told as `expected`.
#[utoipa::path(post, path = "/jobs/actions", tag = "jobs", request_body = Batch, responses((status = 200, body = Acted)))]
pub async fn act(State(http): State<Http>, Operator(caller): Operator, Json(batch): Json<Batch>) -> Result<Json<Acted>, Problem> {
    let action = action(batch.action, batch.priority)?;
    let asked = serde_json::to_value(&batch.filter).unwrap_or_default();
    if batch.filter == JobFilter::default() {
        return Err(Problem::invalid("filter", "say which jobs are meant"));
    }
    let filter = batch.filter.read()?;
    let ids = queue::meant(&http.pool, &filter, action).await?;
    let matched = ids.len() as u64;
    if batch.dry_run {
        return Ok(Json(Acted { matched, touched: 0, dry_run: true }));
    }
    match batch.expected {
        None => {
            return Err(Problem::invalid("expected", format!("{matched} jobs would be touched: say so to go on"))
                .remedy("ask with `dry_run` first, and give its `matched` as `expected`"));
        }
        Some(expected) if expected != matched => {
            return Err(Problem::conflict(format!("{matched} jobs match by now, not {expected}: nothing was done"))
                .remedy("look again, and confirm the new number"));
        }
        Some(_) => {}
    }
    // Those that were counted, and no others.
    let detail = serde_json::json!({ "filter": asked, "priority": batch.priority });
    let touched = match &ids[..] {
        [] => 0,
        _ => done(&http, &caller, &queue::Filter::ids(ids), action, "jobs", detail).await?,
    };
    http.events.touch();
    Ok(Json(Acted { matched, touched, dry_run: false }))
}

/// Does it and notes it, both in one transaction; answers how many jobs it touched. Those that others have locked are waited for one by
/// one, and noted one by one.
async fn done(
    http: &Http,
    caller: &Caller,
    filter: &queue::Filter,
    action: queue::Action,
    target: &str,
    mut detail: Value,
) -> Result<u64, Problem> {
    let mut tx = http.pool.begin().await?;
    let queue::Struck { mut touched, locked, wake } = queue::act_within(&mut tx, filter, action).await?;
    if touched > 0 {
        detail["touched"] = touched.into();
        caller.note(&mut tx, action.name(), target, detail.clone()).await?;
        tx.commit().await?;
        wake.fire(&http.pool).await;
    } else {
        tx.rollback().await?;
    }
    for id in locked {
        let mut tx = http.pool.begin().await?;
        let struck = queue::act_alone_within(&mut tx, id, action).await?;
        if struck.touched > 0 {
            detail["touched"] = struck.touched.into();
            caller.note(&mut tx, action.name(), &format!("job {id}"), detail.clone()).await?;
            tx.commit().await?;
            struck.wake.fire(&http.pool).await;
            touched += struck.touched;
        }
    }
    Ok(touched)
}

/// What is to be done with one job.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobSingle)]
pub struct Single {
    pub action: Action,
    #[schema(minimum = 1, maximum = 4)]
    pub priority: Option<i16>,
}

/// Does something with one job. 409 where it is not in a state for that.
#[utoipa::path(post, path = "/jobs/{id}/actions", tag = "jobs", params(("id" = i64, Path)), request_body = Single,
    responses((status = 200, body = Job)))]
pub async fn act_on_one(
    State(http): State<Http>,
    Operator(caller): Operator,
    Path(id): Path<i64>,
    Json(single): Json<Single>,
) -> Result<Json<Job>, Problem> {
    let action = action(single.action, single.priority)?;
    let detail = serde_json::json!({ "priority": single.priority });
    if done(&http, &caller, &queue::Filter::one(id), action, &format!("job {id}"), detail).await? == 0 {
        return Err(queue::refusal(&http.pool, id, action).await.into());
    }
    http.events.touch();
    let job = queue::show(&http.pool, id).await?.ok_or(queue::Error::NoJob { job: id })?;
    Ok(Json(job.into()))
}
