//! A chat as one reads it: messages around a place, and one with its versions.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::document::{self, Document};
use crate::http::{
    Http,
    access::Viewer,
    extract::{Json, Path, Query},
    page::Limit,
    problem::Problem,
};
use crate::projection::document::of_message;
use crate::record::{
    ChatId,
    conversation::Part,
    document::MessageRow,
    outbox::Kind,
    reading::{self, From},
};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Place {
    /// Messages older than this id.
    pub before: Option<i64>,
    /// Messages newer than this id.
    pub after: Option<i64>,
    /// Messages on both sides of this id, with it.
    pub around: Option<i64>,
    /// Messages on both sides of this moment.
    pub date: Option<DateTime<Utc>>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Limit,
}

/// A message in its chat.
#[derive(Debug, Clone, Serialize, ToSchema, async_graphql::SimpleObject)]
pub struct Message {
    /// The document's id.
    pub id: String,
    pub message_id: i64,
    pub revision: i64,
    /// How many texts of it were replaced by edits.
    pub versions: i64,
    /// Fields as in the index.
    #[schema(value_type = Object)]
    pub document: Value,
}

/// Messages of a chat, the oldest of them first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Messages {
    pub items: Vec<Message>,
    /// There are older ones: ask with this as `before`.
    pub older: Option<i64>,
    /// There may be newer ones: ask with this as `after`.
    pub newer: Option<i64>,
}

/// Messages of a chat: the newest, or those around a place. Deleted ones are there, marked.
#[utoipa::path(get, path = "/chats/{id}/messages", tag = "chats", params(("id" = i64, Path), Place),
    responses((status = 200, body = Messages)))]
pub async fn list(
    State(http): State<Http>,
    _: Viewer,
    Path(id): Path<i64>,
    Query(place): Query<Place>,
) -> Result<Json<Messages>, Problem> {
    let part = part(&http, id).await?;
    let limit = place.limit.get();
    let mut found = match (place.before, place.after, place.around, place.date) {
        (None, None, None, None) => beside(&http, part, From::End, limit).await?,
        (Some(id), None, None, None) => beside(&http, part, From::Before(id), limit).await?,
        (None, Some(id), None, None) => beside(&http, part, From::After(id), limit).await?,
        (None, None, Some(id), None) => around(&http, part, id, limit).await?,
        (None, None, None, Some(date)) => match reading::at(&http.pool, part, date).await? {
            Some(id) => around(&http, part, id, limit).await?,
            // nothing is so late: the newest
            None => beside(&http, part, From::End, limit).await?,
        },
        _ => return Err(Problem::invalid("before", "only one of before, after, around and date")),
    };
    found.rows.sort_unstable_by_key(|row| row.message_id);
    let (first, last) = (found.rows.first().map(|row| row.message_id), found.rows.last().map(|row| row.message_id));
    let items = with_versions(&http, part, found.rows).await?;
    Ok(Json(Messages { items, older: first.filter(|_| found.older), newer: last.filter(|_| found.newer) }))
}

pub struct Stretch {
    pub rows: Vec<MessageRow>,
    pub older: bool,
    pub newer: bool,
}

async fn beside(http: &Http, part: Part, from: From, limit: i64) -> Result<Stretch, Problem> {
    let mut rows = reading::messages(&http.pool, part, from, limit + 1).await?;
    let more = i64::try_from(rows.len()).is_ok_and(|count| count > limit);
    rows.truncate(usize::try_from(limit).unwrap_or(0));
    let (older, newer) = match from {
        From::End => (more, false),
        From::Before(_) => (more, true),
        From::After(_) => (true, more),
    };
    Ok(Stretch { rows, older, newer })
}

async fn around(http: &Http, part: Part, id: i64, limit: i64) -> Result<Stretch, Problem> {
    let half = (limit / 2).max(1);
    let mut before = beside(http, part, From::Before(id), half).await?;
    let after = beside(http, part, From::After(id.saturating_sub(1)), (limit - half).max(1)).await?;
    before.rows.extend(after.rows);
    Ok(Stretch { rows: before.rows, older: before.older, newer: after.newer })
}

async fn with_versions(http: &Http, part: Part, rows: Vec<MessageRow>) -> Result<Vec<Message>, Problem> {
    let ids: Vec<i64> = rows.iter().map(|row| row.message_id).collect();
    let counts = reading::version_counts(&http.pool, part, &ids).await?;
    let message = |row: MessageRow| {
        let message_id = row.message_id;
        let versions = counts.iter().find(|(id, _)| *id == message_id).map_or(0, |(_, count)| *count);
        let document = of_message(row)?;
        Some(Message { id: document.id, message_id, revision: document.revision, versions, document: Value::Object(document.body) })
    };
    Ok(rows.into_iter().filter_map(message).collect())
}

/// The newest messages of a chat before one, the oldest of them first.
pub async fn before(http: &Http, chat: i64, before: Option<i64>, limit: i64) -> Result<Vec<Message>, Problem> {
    let part = part(http, chat).await?;
    let mut rows = reading::messages(&http.pool, part, before.map_or(From::End, From::Before), limit).await?;
    rows.reverse();
    with_versions(http, part, rows).await
}

/// A message with its versions.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageShown {
    pub message: Message,
    /// What it said before, the oldest first.
    pub versions: Vec<Document>,
}

/// One message of a chat, with what it said before.
#[utoipa::path(get, path = "/chats/{id}/messages/{message}", tag = "chats", params(("id" = i64, Path), ("message" = i64, Path)),
    responses((status = 200, body = MessageShown)))]
pub async fn show(
    State(http): State<Http>,
    _: Viewer,
    Path((id, message)): Path<(i64, i64)>,
) -> Result<Json<MessageShown>, Problem> {
    let none = || Problem::not_found("the record has no such message").remedy("its chat's coverage says whether it was read");
    let part = part(&http, id).await?;
    let after = message.checked_sub(1).ok_or_else(none)?;
    let rows = reading::messages(&http.pool, part, From::After(after), 1).await?;
    let rows = rows.into_iter().filter(|row| row.message_id == message).collect();
    let message = with_versions(&http, part, rows).await?.pop().ok_or_else(none)?;
    let versions = reading::versions(&http.pool, part, message.message_id).await?;
    let versions = document::rows(&http, Kind::Version, &versions).await?;
    Ok(Json(MessageShown { message, versions }))
}

async fn part(http: &Http, chat: i64) -> Result<Part, Problem> {
    let part = reading::part(&mut *http.pool.acquire().await?, ChatId(chat)).await?;
    part.ok_or_else(|| Problem::not_found("the record has nothing of such a chat"))
}
