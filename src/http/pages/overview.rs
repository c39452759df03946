//! What one sees first: what needs attention, with a button that helps; then rates, jobs, accounts.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use super::visit::{Frame, Visit};
use super::{drawing, drawn};
use crate::http::access::Viewer;
use crate::http::api::statistics::{self, Statistics};
use crate::http::api::{account, job::JobState};
use crate::http::{Http, problem::Problem};
use crate::overview::attention::Attention;
use crate::record::alert::{self, Incident};
use crate::record::health::Health;

/// Incidents that are over are shown for so long, in hours, and so many of them.
const OVER: (u32, i64) = (24, 10);

pub fn router() -> Router<Http> {
    Router::new().route("/", get(show))
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    attention: Vec<Item>,
    over: Vec<Incident>,
    messages_per_second: String,
    jobs_per_second: String,
    messages: i64,
    hours: String,
    states: Vec<(&'static str, i64)>,
    accounts: Vec<Health>,
}

/// Something that needs attention.
struct Item {
    severity: &'static str,
    rule: Option<String>,
    what: String,
    /// In UTC.
    since: Option<String>,
    hint: String,
    help: Option<Help>,
}

/// The button that helps: a link, or a form.
struct Help {
    words: &'static str,
    to: String,
    /// Of a form: a field's name and value.
    sends: Option<(&'static str, &'static str)>,
}

async fn show(State(http): State<Http>, visit: Visit, _: Viewer) -> Result<Response, Problem> {
    let frame = visit.frame("overview", "Overview");
    let Statistics { now, hours, jobs } = statistics::of(&http).await?;
    let attention = statistics::all(&http).await?.into_iter().map(|it| item(it, &frame)).collect();
    let over = alert::ended(&mut *http.pool.acquire().await?, OVER.0, OVER.1).await?;
    use JobState as S;
    let states = [S::Running, S::Available, S::Scheduled, S::Held, S::Dead, S::Done, S::Cancelled]
        .map(|state| (state.as_str(), jobs.iter().filter(|it| it.state == state).map(|it| it.jobs).sum()));
    drawn(&Overview {
        frame,
        attention,
        over,
        messages_per_second: format!("{:.1}", now.messages_per_second),
        jobs_per_second: format!("{:.1}", now.jobs_per_second),
        messages: hours.iter().map(|hour| hour.messages).sum(),
        hours: drawing::hours(&hours),
        states: states.to_vec(),
        accounts: account::all(&http).await?,
    })
}

fn item(it: Attention, frame: &Frame) -> Item {
    let link = |words, to: &str| Some(Help { words, to: to.to_owned(), sends: None });
    let form = |words, to: String, sends| Some(Help { words, to, sends: Some(sends) });
    let target: String = url::form_urlencoded::byte_serialize(it.target.as_deref().unwrap_or_default().as_bytes()).collect();
    // In a path a space is %20.
    let target = target.replace('+', "%20");
    let is_one = it.target.is_some();
    let help = match it.about.as_str() {
        "job" => link("See why, and retry", &format!("/jobs/{target}")),
        "account" if is_one => link("See the account", &format!("/accounts/{target}")),
        "account" => link("See the accounts", "/accounts"),
        "chat" if is_one => link("See the chat", &format!("/chats/{target}")),
        "chat" => link("See the chats", "/chats"),
        "kind" if frame.operates() => form("Resume", format!("/kinds/{target}/pause"), ("paused", "false")),
        "workflow" if frame.operates() => form("Resume", format!("/workflows/{target}/pause"), ("paused", "false")),
        "kind" => link("See its jobs", &format!("/jobs?kind={target}")),
        "workflow" => link("See the workflow", &format!("/workflows/{target}")),
        "queue" | "node" | "schema" => link("See the nodes", "/nodes"),
        "sink" | "dead_letter" => link("See the sinks", "/nodes#sinks"),
        _ => None,
    };
    let since = it.since.map(|at| at.format("%F %T").to_string());
    Item { severity: it.severity.as_str(), rule: it.rule, what: it.what, since, hint: it.hint, help }
}
