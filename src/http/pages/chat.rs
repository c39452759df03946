//! Chats: the list, and one with its coverage drawn as a bar, at any zoom.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};

use super::fields::{Fields, Sent};
use super::visit::{Frame, Visit};
use super::{back_to, drawing, drawn};
use crate::http::access::{Operator, Viewer};
use crate::http::api::chat::{self, ChatShown, Confirmed, NewWatch, Tags, Wanted, Zoom};
use crate::http::api::{member, message};
use crate::http::extract::{Json, Path, Query};
use crate::http::page::Limit;
use crate::http::{Http, problem::Problem};
use crate::record::coverage_bar::{Bar, Part};
use crate::record::reader::Sight;
use crate::record::watch::Watch;

/// Parts of a bar on a chat's own page, and in the list.
const PARTS: (i64, i64) = (100, 40);
/// Links that zoom into a range.
const ZOOMS: usize = 10;
/// The newest messages by which a chat's rate is told.
const NEWEST: i64 = 50;

pub fn router() -> Router<Http> {
    Router::new()
        .route("/chats", get(list).post(begin))
        .route("/chats/{id}", get(show))
        .route("/chats/{id}/bar", get(bar))
        .route("/chats/{id}/fetch", post(fetch))
        .route("/chats/{id}/tags", post(tag))
        .route("/chats/{id}/end", post(end))
}

#[derive(Template)]
#[template(path = "chats.html")]
struct ChatsPage {
    frame: Frame,
    fields: Fields,
    chats: Vec<Watch>,
    next: Option<String>,
}

async fn list(State(http): State<Http>, visit: Visit, viewer: Viewer, fields: Fields) -> Result<Response, Problem> {
    let wanted =
        Wanted { tag: fields.owned("tag"), text: fields.owned("text"), cursor: fields.owned("cursor"), limit: Limit::default() };
    let page = chat::list(State(http), viewer, Query(wanted)).await?.0;
    let next = page.next.as_deref().map(|cursor| fields.with("cursor", cursor));
    drawn(&ChatsPage { frame: visit.frame("chats", "Chats"), fields, chats: page.items, next })
}

async fn begin(State(http): State<Http>, operator: Operator, Sent(fields): Sent) -> Result<Response, Problem> {
    let wish = NewWatch {
        chat: fields.owned("chat").ok_or_else(|| Problem::invalid("chat", "a link, @name or id"))?,
        purpose: fields.owned("purpose"),
        account: None,
        tags: tags(&fields),
        since: fields.moment("since")?,
        on_delete: None,
        confirm_erase: false,
    };
    let begun = chat::begin(State(http), operator, Json(wish)).await?.0;
    Ok(back_to(&format!("/chats/{}", begun.chat_id), "watch", 1))
}

/// Tags, between commas or spaces.
fn tags(fields: &Fields) -> Vec<String> {
    fields.shown("tags").split([',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

#[derive(Template)]
#[template(path = "chat.html")]
struct ChatPage {
    frame: Frame,
    id: i64,
    title: String,
    watch: Watch,
    photo: Option<String>,
    access: Vec<Sight>,
    last_message_at: Option<DateTime<Utc>>,
    rate: String,
    members: Vec<(String, i64)>,
    bars: Vec<Drawn>,
}

/// A bar, drawn, with what leads into it.
struct Drawn {
    /// Of the account, in a basic group or private chat.
    account: Option<i64>,
    svg: String,
    exact: bool,
    from: i64,
    to: i64,
    sums: Vec<(&'static str, i64)>,
    missing: i64,
    zooms: Vec<(i64, i64)>,
    /// The whole of it is not seen.
    zoomed: bool,
}

fn drawn_bar(bar: &Bar) -> Drawn {
    let sum = |of: fn(&Part) -> i64| bar.parts.iter().map(of).sum::<i64>();
    let sums = vec![
        ("collected", sum(|it| it.collected)),
        ("deleted", sum(|it| it.deleted)),
        ("empty", sum(|it| it.empty)),
        ("inaccessible", sum(|it| it.inaccessible)),
        ("missing", sum(|it| it.missing)),
        ("stale", sum(|it| it.stale)),
        ("dead", sum(|it| it.dead)),
        ("lost", sum(|it| it.lost)),
    ];
    let (from, to) = match (bar.parts.first(), bar.parts.last()) {
        (Some(first), Some(last)) => (first.from, last.to),
        _ => (bar.floor, bar.top),
    };
    let zooms = match bar.parts.len() {
        0 | 1 => Vec::new(),
        parts => {
            let together = parts.div_ceil(ZOOMS);
            bar.parts.chunks(together).filter_map(|some| Some((some.first()?.from, some.last()?.to))).collect()
        }
    };
    Drawn {
        account: bar.account_id,
        svg: drawing::coverage(bar),
        exact: bar.exact,
        from,
        to,
        missing: sum(|it| it.missing) + sum(|it| it.stale),
        sums,
        zooms,
        zoomed: from > bar.floor || to < bar.top,
    }
}

/// The bars; a chat of which nothing is known yet has none.
async fn bars(http: &Http, viewer: Viewer, id: i64, zoom: Zoom) -> Result<Vec<Drawn>, Problem> {
    match chat::bars(State(http.clone()), viewer, Path(id), Query(zoom)).await {
        Ok(Json(page)) => Ok(page.items.iter().map(drawn_bar).collect()),
        Err(problem) if problem.status == axum::http::StatusCode::NOT_FOUND => Ok(Vec::new()),
        Err(problem) => Err(problem),
    }
}

async fn show(
    State(http): State<Http>,
    visit: Visit,
    viewer: Viewer,
    Path(id): Path<i64>,
    fields: Fields,
) -> Result<Response, Problem> {
    let zoom = Zoom { from: fields.number("from")?, to: fields.number("to")?, parts: PARTS.0 };
    let shown = chat::show(State(http.clone()), viewer.clone(), Path(id)).await?.0;
    let bars = bars(&http, viewer.clone(), id, zoom).await?;
    let members = member::counts(State(http.clone()), viewer, Path(id)).await?.0.items;
    let newest = match message::before(&http, id, None, NEWEST).await {
        Ok(newest) => newest,
        Err(problem) if problem.status == axum::http::StatusCode::NOT_FOUND => Vec::new(),
        Err(problem) => return Err(problem),
    };
    let ChatShown { watch, photos, access, last_message_at, .. } = shown;
    let title = watch.title.clone().unwrap_or_else(|| format!("Chat {id}"));
    drawn(&ChatPage {
        frame: visit.frame("chats", title.clone()),
        id,
        title,
        photo: photos.into_iter().find(|it| it.state == "stored").map(|it| it.media_id),
        watch,
        access,
        last_message_at,
        rate: rate(&newest),
        members: members.into_iter().map(|it| (it.status.unwrap_or_else(|| "seen writing".into()), it.members)).collect(),
        bars,
    })
}

/// Messages a day, as the newest tell it.
fn rate(newest: &[message::Message]) -> String {
    let dates = newest.iter().filter_map(|it| it.document["date"].as_str()).filter_map(|it| DateTime::parse_from_rfc3339(it).ok());
    let dates: Vec<_> = dates.collect();
    let (Some(first), Some(last)) = (dates.iter().min(), dates.iter().max()) else { return "none yet".into() };
    let days = (*last - *first).num_seconds() as f64 / 86_400.0;
    if dates.len() < 2 || days <= 0.0 {
        return "not known".into();
    }
    format!("{:.1} messages a day", (dates.len() - 1) as f64 / days)
}

#[derive(Template)]
#[template(path = "bar.html")]
struct BarPart {
    bars: Vec<Drawn>,
}

/// A chat's bars alone, for the list.
async fn bar(State(http): State<Http>, viewer: Viewer, Path(id): Path<i64>) -> Result<Response, Problem> {
    let zoom = Zoom { from: None, to: None, parts: PARTS.1 };
    drawn(&BarPart { bars: bars(&http, viewer, id, zoom).await? })
}

async fn fetch(State(http): State<Http>, operator: Operator, Path(id): Path<i64>) -> Result<Response, Problem> {
    let jobs = chat::fetch(State(http), operator, Path(id)).await?.0.jobs;
    Ok(back_to(&format!("/chats/{id}"), "fetch", jobs.len() as u64))
}

async fn tag(State(http): State<Http>, operator: Operator, Path(id): Path<i64>, Sent(fields): Sent) -> Result<Response, Problem> {
    chat::tags(State(http), operator, Path(id), Json(Tags { tags: tags(&fields) })).await?;
    Ok(back_to(&format!("/chats/{id}"), "tagged", 1))
}

async fn end(State(http): State<Http>, operator: Operator, Path(id): Path<i64>, Sent(fields): Sent) -> Result<Response, Problem> {
    let confirm = fields.number("confirm")?.ok_or_else(|| Problem::invalid("confirm", "the chat's id, once more"))?;
    chat::end(State(http), operator, Path(id), Query(Confirmed { confirm })).await?;
    Ok(back_to("/chats", "unwatched", 1))
}
