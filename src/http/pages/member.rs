//! Members of a chat, as they were told last.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use super::drawn;
use super::fields::Fields;
use super::visit::{Frame, Visit};
use crate::http::access::Viewer;
use crate::http::api::chat;
use crate::http::api::member::{self, Wanted};
use crate::http::extract::{Path, Query};
use crate::http::page::Limit;
use crate::http::{Http, problem::Problem};
use crate::record::member_list::Member;

/// What somebody is in a chat, as the API calls it.
const STATUSES: [&str; 6] = ["creator", "administrator", "member", "restricted", "banned", "left"];

pub fn router() -> Router<Http> {
    Router::new().route("/chats/{id}/members", get(list))
}

#[derive(Template)]
#[template(path = "members.html")]
struct MembersPage {
    frame: Frame,
    id: i64,
    fields: Fields,
    statuses: [&'static str; 6],
    counts: Vec<(String, i64)>,
    members: Vec<Row>,
    next: Option<String>,
}

struct Row {
    member: Member,
    /// An administrator's own title.
    title: String,
    /// In UTC; empty: nobody told.
    joined: String,
}

fn row(member: Member) -> Row {
    let text = |name: &str| member.fields.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let joined = chrono::DateTime::parse_from_rfc3339(text("joined_date")).map(|at| at.to_utc().format("%F %T").to_string());
    Row { title: text("title").to_owned(), joined: joined.unwrap_or_default(), member }
}

async fn list(
    State(http): State<Http>,
    visit: Visit,
    viewer: Viewer,
    Path(id): Path<i64>,
    fields: Fields,
) -> Result<Response, Problem> {
    let watch = chat::show(State(http.clone()), viewer.clone(), Path(id)).await?.0.watch;
    let wanted = Wanted { status: fields.word("status")?, cursor: fields.owned("cursor"), limit: Limit::default() };
    let page = member::list(State(http.clone()), viewer.clone(), Path(id), Query(wanted)).await?.0;
    let counts = member::counts(State(http), viewer, Path(id)).await?.0.items;
    let title = watch.title.unwrap_or_else(|| format!("chat {id}"));
    drawn(&MembersPage {
        frame: visit.frame("chats", format!("Members of {title}")),
        id,
        statuses: STATUSES,
        counts: counts.into_iter().map(|it| (it.status.unwrap_or_else(|| "seen writing".into()), it.members)).collect(),
        members: page.items.into_iter().map(row).collect(),
        next: page.next.as_deref().map(|cursor| fields.with("cursor", cursor)),
        fields,
    })
}
