//! Chats: which are watched, what is covered, and both changed.

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
use crate::record::{
    self, ChatId,
    coverage_bar::{self, Bar, Range},
    reader::Sight,
    report::{self, ChatCoverage},
    watch::{self, Filter, OnDelete, Watch},
};
use crate::trigger::watching::{self, Wish};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new()
        .routes(routes!(list, begin))
        .routes(routes!(show, end))
        .routes(routes!(tags))
        .routes(routes!(coverage))
        .routes(routes!(bars))
        .routes(routes!(fetch))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Those with this tag.
    pub tag: Option<String>,
    /// A part of the title or the name, in upper or lower case.
    #[param(max_length = 200)]
    pub text: Option<String>,
    pub cursor: Option<String>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Limit,
}

/// Watched chats, in the order of their ids.
#[utoipa::path(get, path = "/chats", tag = "chats", params(Wanted), responses((status = 200, body = Page<Watch>)))]
pub async fn list(State(http): State<Http>, _: Viewer, Query(wanted): Query<Wanted>) -> Result<Json<Page<Watch>>, Problem> {
    let after = page::key(wanted.cursor.as_deref())?;
    let filter = Filter { chat: None, after, tag: wanted.tag, text: wanted.text, limit: Some(wanted.limit.and_one()) };
    let chats = watch::page(&mut *http.pool.acquire().await?, &filter).await?;
    Ok(Json(Page::of(chats, wanted.limit, |chat| chat.chat_id)))
}

/// A chat in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatShown {
    pub watch: Watch,
    /// Its document; none: nothing was told of it yet.
    #[schema(value_type = Option<Object>)]
    pub chat: Option<Value>,
    /// Its photos, those seen last first.
    pub photos: Vec<Photo>,
    /// Which accounts can see what of it.
    pub access: Vec<Sight>,
    /// When its newest message was written.
    pub last_message_at: Option<DateTime<Utc>>,
}

/// A photo of a chat.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChatPhoto)]
pub struct Photo {
    /// The file, by this name.
    pub media_id: String,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    /// How far it is fetched.
    pub state: String,
    sha256: Option<String>,
}

/// One watched chat.
#[utoipa::path(get, path = "/chats/{id}", tag = "chats", params(("id" = i64, Path, description = "Marked, as -100…")),
    responses((status = 200, body = ChatShown)))]
pub async fn show(State(http): State<Http>, _: Viewer, Path(id): Path<i64>) -> Result<Json<ChatShown>, Problem> {
    let mut conn = http.pool.acquire().await?;
    let watch = watch::show(&mut conn, ChatId(id)).await?.ok_or(record::Error::NotWatched(ChatId(id)))?;
    let access = record::reader::sights(&mut conn, ChatId(id)).await?;
    let photos = record::avatar::history(&mut conn, id).await?;
    let part = record::reading::part(&mut conn, ChatId(id)).await?;
    drop(conn);
    let photos = photos
        .into_iter()
        .map(|it| Photo {
            media_id: it.media_id,
            first_seen: it.first_seen,
            last_seen: it.last_seen,
            state: it.state,
            sha256: it.sha256,
        })
        .collect();
    let chat = super::document::chat(&http, id).await?;
    let newest = match part {
        Some(part) => record::reading::messages(&http.pool, part, record::reading::From::End, 1).await?.pop(),
        None => None,
    };
    Ok(Json(ChatShown { watch, chat, photos, access, last_message_at: newest.and_then(|row| row.date) }))
}

/// A chat to be watched.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWatch {
    /// Link, @name or marked id.
    #[schema(max_length = 500)]
    pub chat: String,
    /// Why; needed for a private chat.
    #[schema(max_length = 2000)]
    pub purpose: Option<String>,
    /// The account that reads it; any that can when not given.
    pub account: Option<String>,
    #[serde(default)]
    #[schema(max_items = 50)]
    pub tags: Vec<String>,
    /// Nothing older.
    pub since: Option<DateTime<Utc>>,
    /// What a deletion on Telegram does to the content here, from now on; at first `keep`.
    pub on_delete: Option<OnDelete>,
    /// With `on_delete` as `erase`: said once more, because it cannot be undone.
    #[serde(default)]
    pub confirm_erase: bool,
}

/// A chat that is watched.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChatWatched)]
pub struct Begun {
    pub chat_id: i64,
    /// Else it was watched before; what was said now holds.
    pub is_new: bool,
}

fn tags_are_good(tags: &[String]) -> Result<(), Problem> {
    match tags.len() <= watch::MOST_TAGS && tags.iter().all(|tag| watch::is_tag(tag)) {
        true => Ok(()),
        false => Err(Problem::invalid(
            "tags",
            format!("at most {} tags of 1 to 64 characters without spaces and commas", watch::MOST_TAGS),
        )),
    }
}

/// Watches a chat; workflows that listen for it begin. Telegram is asked only for a name that no account knows.
#[utoipa::path(post, path = "/chats", tag = "chats", request_body = NewWatch, responses((status = 200, body = Begun)))]
pub async fn begin(
    State(http): State<Http>,
    Operator(caller): Operator,
    Json(new): Json<NewWatch>,
) -> Result<Json<Begun>, Problem> {
    tags_are_good(&new.tags)?;
    if new.chat.len() > 500 || new.chat.contains('\0') {
        return Err(Problem::invalid("chat", "a link, @name or id"));
    }
    if new.on_delete == Some(OnDelete::Erase) && !new.confirm_erase {
        return Err(Problem::invalid(
            "confirm_erase",
            "what is deleted on Telegram would be erased here, for good: say true to go on",
        ));
    }
    let workflows = api::workflows(&http.config.workflows)?;
    let detail = serde_json::json!({ "purpose": new.purpose, "tags": new.tags, "since": new.since, "account": new.account, "on_delete": new.on_delete });
    let NewWatch { chat, purpose, account, tags, since, on_delete, confirm_erase: _ } = new;
    let wish = Wish { chat, purpose, account, tags, since, on_delete };
    let accounts = http.accounts()?;
    // A task of its own: whoever asked may go, and what was opened is closed all the same.
    let pool = http.pool.clone();
    let begun = tokio::spawn(async move {
        let begun = watching::begin(&pool, &accounts, &workflows, wish, &caller.change("chat.watch", "", detail), |_| {}).await;
        accounts.close().await;
        begun
    });
    let begun = begun.await.map_err(|error| crate::http::problem::failed(&error))??;
    http.events.touch();
    Ok(Json(Begun { chat_id: begun.chat.0, is_new: begun.is_new }))
}

impl From<watching::Error> for Problem {
    fn from(error: watching::Error) -> Self {
        use watching::Error as E;
        match error {
            E::Account(error) => error.into(),
            E::Record(error) => error.into(),
            E::Queue(error) => error.into(),
            E::Run(error) => error.into(),
            E::Database(error) => error.into(),
            E::Refused(told) => Problem::conflict(told),
            error @ (E::Plan(_) | E::Answer { .. }) => crate::http::problem::failed(&error),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Confirmed {
    /// The chat's id once more.
    pub confirm: i64,
}

/// Stops watching a chat. What was collected stays.
#[utoipa::path(delete, path = "/chats/{id}", tag = "chats", params(("id" = i64, Path), Confirmed), responses((status = 204)))]
pub async fn end(
    State(http): State<Http>,
    Operator(caller): Operator,
    Path(id): Path<i64>,
    Query(confirmed): Query<Confirmed>,
) -> Result<StatusCode, Problem> {
    if confirmed.confirm != id {
        return Err(Problem::invalid("confirm", "the chat's id, once more"));
    }
    let mut tx = http.pool.begin().await?;
    if !watch::unwatch(&mut tx, ChatId(id)).await? {
        return Err(record::Error::NotWatched(ChatId(id)).into());
    }
    caller.note(&mut tx, "chat.unwatch", &format!("chat {id}"), serde_json::json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tags of a chat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChatTags)]
pub struct Tags {
    #[schema(max_items = 50)]
    pub tags: Vec<String>,
}

/// Gives a watched chat these tags, in place of those that it has.
#[utoipa::path(put, path = "/chats/{id}/tags", tag = "chats", params(("id" = i64, Path)), request_body = Tags,
    responses((status = 204)))]
pub async fn tags(
    State(http): State<Http>,
    Operator(caller): Operator,
    Path(id): Path<i64>,
    Json(wish): Json<Tags>,
) -> Result<StatusCode, Problem> {
    tags_are_good(&wish.tags)?;
    let mut tx = http.pool.begin().await?;
    if !watch::set_tags(&mut tx, ChatId(id), &wish.tags).await? {
        return Err(record::Error::NotWatched(ChatId(id)).into());
    }
    caller.note(&mut tx, "chat.tags", &format!("chat {id}"), serde_json::json!({ "tags": wish.tags })).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the ledger says of a chat, in numbers that add up: one entry, or one for each account that reads it. Every message is looked at:
/// for a large chat ask for its bars.
#[utoipa::path(get, path = "/chats/{id}/coverage", tag = "chats", params(("id" = i64, Path)),
    responses((status = 200, body = Page<ChatCoverage>)))]
pub async fn coverage(State(http): State<Http>, _: Viewer, Path(id): Path<i64>) -> Result<Json<Page<ChatCoverage>>, Problem> {
    let report = report::coverage_report(&mut *http.pool.acquire().await?, Some(ChatId(id))).await?;
    if report.is_empty() {
        return Err(Problem::not_found("nothing of this chat is covered yet"));
    }
    Ok(Json(Page::whole(report)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Zoom {
    /// The first id; the oldest in scope when not given.
    pub from: Option<i64>,
    /// The last id; the newest known when not given.
    pub to: Option<i64>,
    /// How many parts.
    #[serde(default = "parts")]
    #[param(minimum = 1, maximum = 200, default = 100)]
    pub parts: i64,
}

fn parts() -> i64 {
    100
}

/// A range of a chat's ids in equal parts, each with what it holds. The cost does not grow with the chat.
#[utoipa::path(get, path = "/chats/{id}/coverage/bars", tag = "chats", params(("id" = i64, Path), Zoom),
    responses((status = 200, body = Page<Bar>)))]
pub async fn bars(
    State(http): State<Http>,
    _: Viewer,
    Path(id): Path<i64>,
    Query(zoom): Query<Zoom>,
) -> Result<Json<Page<Bar>>, Problem> {
    if !(1..=coverage_bar::MOST).contains(&zoom.parts) {
        return Err(Problem::invalid("parts", format!("1 to {}", coverage_bar::MOST)));
    }
    if let (Some(from), Some(to)) = (zoom.from, zoom.to)
        && from > to
    {
        return Err(Problem::invalid("from", "not above `to`"));
    }
    let range = Range { from: zoom.from, to: zoom.to };
    let bars = coverage_bar::of(&mut *http.pool.acquire().await?, ChatId(id), range, zoom.parts).await?;
    if bars.is_empty() {
        return Err(Problem::not_found("nothing of this chat is covered yet"));
    }
    Ok(Json(Page::whole(bars)))
}

/// Jobs that fetch what is missing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChatFetching)]
pub struct Fetching {
    /// New jobs, and those that were there already.
    pub jobs: Vec<i64>,
}

/// Fetches what is missing or stale of a chat, now: one job for each window of ids.
#[utoipa::path(post, path = "/chats/{id}/fetch", tag = "chats", params(("id" = i64, Path)), responses((status = 200, body = Fetching)))]
pub async fn fetch(State(http): State<Http>, Operator(caller): Operator, Path(id): Path<i64>) -> Result<Json<Fetching>, Problem> {
    let mut tx = http.pool.begin().await?;
    if watch::show(&mut tx, ChatId(id)).await?.is_none() {
        return Err(record::Error::NotWatched(ChatId(id)).into());
    }
    let mut jobs = Vec::new();
    for kind in ["chat_refresh", "history_fetch"] {
        jobs.extend(crate::jobs::plan(&mut tx, kind, ChatId(id)).await?);
    }
    let jobs: Vec<_> =
        jobs.into_iter().map(|job| telekeep_queue::NewJob { priority: 1, trigger: Some("operator".into()), ..job }).collect();
    let (enqueued, wake) = telekeep_queue::enqueue(&mut tx, &jobs).await?;
    caller.note(&mut tx, "chat.fetch", &format!("chat {id}"), serde_json::json!({ "jobs": enqueued.len() })).await?;
    tx.commit().await?;
    wake.fire(&http.pool).await;
    http.events.touch();
    Ok(Json(Fetching { jobs: enqueued.iter().map(telekeep_queue::Enqueued::id).collect() }))
}
