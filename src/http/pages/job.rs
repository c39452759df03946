//! Jobs: the list, what is done with many of them after a look at their number, and one of them.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::fields::{Fields, Sent};
use super::visit::{Frame, Visit};
use super::{back_to, drawn};
use crate::http::access::{Operator, Viewer};
use crate::http::api::job::{self, Action, Attempt, Batch, Job, JobFilter, JobShown, JobState, Relative, Single};
use crate::http::api::queue;
use crate::http::extract::{Json, Path};
use crate::http::page::Limit;
use crate::http::{Http, problem::Problem};

/// All states, as they are offered.
const STATES: [JobState; 7] = [
    JobState::Scheduled,
    JobState::Available,
    JobState::Running,
    JobState::Done,
    JobState::Held,
    JobState::Dead,
    JobState::Cancelled,
];
/// What is offered for many jobs: as the API calls it, and in words.
const ACTIONS: [(&str, &str); 6] = [
    ("retry", "Retry"),
    ("release", "Release"),
    ("hold", "Hold"),
    ("resume", "Resume"),
    ("cancel", "Cancel"),
    ("priority", "Set priority"),
];
/// The deepest indentation of the family.
const DEEPEST: usize = 6;

pub fn router() -> Router<Http> {
    Router::new()
        .route("/jobs", get(list))
        .route("/jobs/batch", get(confirm).post(act))
        .route("/jobs/{id}", get(show))
        .route("/jobs/{id}/actions", post(act_on_one))
        .route("/kinds/{kind}/pause", post(pause_kind))
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    frame: Frame,
    fields: Fields,
    jobs: Vec<Job>,
    kinds: Vec<String>,
    state: &'static str,
    states: Vec<&'static str>,
    actions: Vec<(&'static str, &'static str)>,
    /// The query of this list and of the next page of it.
    here: String,
    next: Option<String>,
}

fn filter(fields: &Fields) -> Result<JobFilter, Problem> {
    Ok(JobFilter {
        ids: None,
        state: fields.word("state")?,
        kind: fields.owned("kind"),
        chat: fields.number("chat")?,
        account: fields.number("account")?,
        run: fields.number("run")?,
        parent: fields.number("parent")?,
        error: fields.owned("error"),
    })
}

async fn list(State(http): State<Http>, visit: Visit, viewer: Viewer, fields: Fields) -> Result<Response, Problem> {
    let filter = filter(&fields)?;
    let state = filter.state.map_or("", JobState::as_str);
    let page = job::page_of(&http, filter, fields.text("cursor"), Limit::default()).await?;
    let kinds = queue::kinds(State(http), viewer).await?.0.items.into_iter().map(|it| it.kind).collect();
    drawn(&JobsPage {
        frame: visit.frame("jobs", "Jobs"),
        next: page.next.as_deref().map(|cursor| fields.with("cursor", cursor)),
        here: fields.with("cursor", ""),
        jobs: page.items,
        kinds,
        state,
        states: STATES.map(JobState::as_str).to_vec(),
        actions: ACTIONS.to_vec(),
        fields,
    })
}

#[derive(Template)]
#[template(path = "batch.html")]
struct BatchPage {
    frame: Frame,
    /// What is done, in words, and as the API calls it.
    words: &'static str,
    action: &'static str,
    priority: String,
    matched: u64,
    /// The filter, in words, and to be sent on.
    meant: Vec<(String, String)>,
    back: String,
}

fn batch(fields: &Fields, expected: Option<u64>) -> Result<Batch, Problem> {
    let action: Action = fields.word("action")?.ok_or_else(|| Problem::invalid("action", "say what is to be done"))?;
    let priority = fields.number("priority")?.filter(|_| action == Action::Priority);
    let priority = priority.map(i16::try_from).transpose().map_err(|_| Problem::invalid("priority", "1 (most urgent) to 4"))?;
    Ok(Batch { action, priority, filter: filter(fields)?, dry_run: expected.is_none(), expected })
}

/// How many jobs are meant: to be confirmed.
async fn confirm(State(http): State<Http>, visit: Visit, operator: Operator, fields: Fields) -> Result<Response, Problem> {
    let matched = job::act(State(http), operator, Json(batch(&fields, None)?)).await?.0.matched;
    let wanted = fields.shown("action");
    let (action, words) = ACTIONS.into_iter().find(|(name, _)| *name == wanted).unwrap_or(("", ""));
    let names = ["state", "kind", "chat", "account", "run", "parent", "error"];
    let meant = names.into_iter().filter_map(|name| Some((name.to_owned(), fields.owned(name)?))).collect();
    drawn(&BatchPage {
        frame: visit.frame("jobs", format!("{words}: {matched} jobs")),
        words,
        action,
        priority: fields.shown("priority"),
        matched,
        meant,
        back: fields.with("action", ""),
    })
}

async fn act(State(http): State<Http>, operator: Operator, Sent(fields): Sent) -> Result<Response, Problem> {
    let expected = fields.number("expected")?.and_then(|it| u64::try_from(it).ok());
    let expected = expected.ok_or_else(|| Problem::invalid("expected", "how many jobs are meant"))?;
    let touched = job::act(State(http), operator, Json(batch(&fields, Some(expected))?)).await?.0.touched;
    Ok(back_to(fields.text("back").unwrap_or("/jobs"), fields.text("action").unwrap_or_default(), touched))
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    job: Job,
    payload: String,
    /// Done of so many, in hundredths.
    share: Option<i64>,
    pace: String,
    remaining: String,
    attempts: Vec<Attempt>,
    family: Vec<Branch>,
    buttons: Vec<(&'static str, &'static str)>,
    /// Jobs of its kind and state may be meant at once.
    alike: bool,
    unfinished: bool,
}

struct Branch {
    /// 0 to 6.
    depth: usize,
    relative: Relative,
    is_self: bool,
}

async fn show(State(http): State<Http>, visit: Visit, viewer: Viewer, Path(id): Path<i64>) -> Result<Response, Problem> {
    let JobShown { job, attempts, lineage } = job::show(State(http), viewer, Path(id)).await?.0;
    let progress = &job.progress;
    let share = match (progress.done, progress.total) {
        (Some(done), Some(total)) if total > 0 => Some((done.saturating_mul(100) / total).clamp(0, 100)),
        _ => None,
    };
    use JobState as S;
    let buttons = match job.state {
        S::Dead | S::Cancelled => vec![("retry", "Retry")],
        S::Held if job.outcome.as_deref() == Some("paused") => vec![("resume", "Resume"), ("cancel", "Cancel")],
        S::Held => vec![("retry", "Retry"), ("release", "Release"), ("cancel", "Cancel")],
        S::Scheduled | S::Available => vec![("hold", "Hold"), ("cancel", "Cancel")],
        S::Running => vec![("cancel", "Cancel")],
        S::Done => Vec::new(),
    };
    drawn(&JobPage {
        frame: visit.frame("jobs", format!("Job {id}: {}", job.kind)),
        payload: serde_json::to_string_pretty(&job.payload).unwrap_or_default(),
        share,
        pace: progress.per_second.map(|pace| format!("{pace:.1} a second")).unwrap_or_default(),
        remaining: progress.remaining_seconds.map(lasting).unwrap_or_default(),
        attempts,
        family: family(lineage, id),
        alike: matches!(job.state, S::Dead | S::Held),
        unfinished: matches!(job.state, S::Scheduled | S::Available | S::Running | S::Held),
        buttons,
        job,
    })
}

/// Seconds in words.
pub fn lasting(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5_400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// A family in the order of a tree: each below the one that enqueued it.
fn family(relatives: Vec<Relative>, id: i64) -> Vec<Branch> {
    let known = |parent: Option<i64>| parent.is_some_and(|parent| relatives.iter().any(|it| it.id == parent));
    let mut open: Vec<(usize, usize)> =
        (0..relatives.len()).rev().filter(|n| !known(relatives[*n].parent)).map(|n| (n, 0)).collect();
    let mut order = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    while let Some((n, depth)) = open.pop() {
        if !seen.insert(n) {
            continue;
        }
        order.push((n, depth));
        let children = (0..relatives.len()).rev().filter(|it| relatives[*it].parent == Some(relatives[n].id));
        open.extend(children.map(|it| (it, depth + 1)));
    }
    let branch = |(n, depth): (usize, usize)| {
        let relative: Relative = relatives[n].clone();
        Branch { depth: depth.min(DEEPEST), is_self: relative.id == id, relative }
    };
    order.into_iter().map(branch).collect()
}

async fn act_on_one(
    State(http): State<Http>,
    operator: Operator,
    Path(id): Path<i64>,
    Sent(fields): Sent,
) -> Result<Response, Problem> {
    let Batch { action, priority, .. } = batch(&fields, None)?;
    let _ = job::act_on_one(State(http), operator, Path(id), Json(Single { action, priority })).await?;
    let there = format!("/jobs/{id}");
    Ok(back_to(fields.text("back").unwrap_or(&there), fields.text("action").unwrap_or_default(), 1))
}

async fn pause_kind(
    State(http): State<Http>,
    operator: Operator,
    Path(kind): Path<String>,
    Sent(fields): Sent,
) -> Result<Response, Problem> {
    let paused = fields.text("paused") == Some("true");
    queue::pause_kind(State(http), operator, Path(kind), Json(queue::Pause { paused })).await?;
    match fields.text("back") {
        Some(back) => Ok(back_to(back, if paused { "paused" } else { "resumed" }, 1)),
        None => Ok(Redirect::to("/jobs").into_response()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_tree() {
        let relative = |id, parent| Relative { id, kind: "chat_refresh".into(), state: JobState::Done, parent, distance: 0 };
        let all = vec![relative(1, Some(99)), relative(2, Some(1)), relative(3, Some(1)), relative(4, Some(2))];
        let drawn: Vec<(usize, i64)> = family(all, 2).into_iter().map(|it| (it.depth, it.relative.id)).collect();
        assert_eq!(drawn, [(0, 1), (1, 2), (2, 4), (1, 3)]);
        assert_eq!(lasting(45.0), "45 s");
        assert_eq!(lasting(7_200.0), "2.0 h");
    }
}
