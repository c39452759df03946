//! Documents, by kind and key: what stands in the index, out of the record.

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::Viewer,
    extract::{Json, Path},
    problem::Problem,
};
use crate::projection::document;
use crate::record::{ChatId, outbox::Kind, reading};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(show))
}

/// A document.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Document {
    /// As in the index.
    pub id: String,
    pub kind: String,
    /// Grows with each change of its content.
    pub revision: i64,
    /// Fields as in the index.
    #[schema(value_type = Object)]
    pub document: Value,
}

impl Document {
    /// Out of the projection's.
    pub fn of(kind: Kind, document: document::Document) -> Self {
        Self { id: document.id, kind: kind.as_str().into(), revision: document.revision, document: Value::Object(document.body) }
    }
}

/// One document. Its key: of a chat or user its id; of a member `CHAT_USER`; of a message `CHAT_MESSAGE`, in a basic group or private
/// chat `OWNER_CHAT_MESSAGE`, as its `id`; of a link, media, metric, name or version the number in its `seen.row`.
#[utoipa::path(get, path = "/documents/{kind}/{key}", tag = "documents",
    params(("kind" = String, Path, description = "chat, link, media, member, message, metric, name, user, version"), ("key" = String, Path)),
    responses((status = 200, body = Document)))]
pub async fn show(
    State(http): State<Http>,
    _: Viewer,
    Path((kind, key)): Path<(String, String)>,
) -> Result<Json<Document>, Problem> {
    let none = || Problem::not_found("there is no such document");
    let kind = Kind::parse(&kind).ok_or_else(none)?;
    let numbers: Vec<i64> = key.split('_').map(str::parse).collect::<Result<_, _>>().map_err(|_| none())?;
    let key = match (kind, &numbers[..]) {
        (Kind::Message, [chat, message]) => {
            let part = reading::part(&mut *http.pool.acquire().await?, ChatId(*chat)).await?.ok_or_else(none)?;
            (part.held.0, *message)
        }
        (Kind::Message, [owner, _, message]) => {
            let held = reading::box_of_owner(&mut *http.pool.acquire().await?, *owner).await?.ok_or_else(none)?;
            (held, *message)
        }
        (Kind::Member, [chat, user]) => (*chat, *user),
        (Kind::Message | Kind::Member, _) => return Err(none()),
        (_, [id]) => (*id, 0),
        _ => return Err(none()),
    };
    let found = of_key(&http, kind, key).await?.ok_or_else(none)?;
    Ok(Json(Document::of(kind, found)))
}

async fn of_key(http: &Http, kind: Kind, key: (i64, i64)) -> Result<Option<document::Document>, Problem> {
    Ok(document::of_keys(&http.pool, kind, &[key]).await?.into_values().next().flatten())
}

/// A chat's document.
pub async fn chat(http: &Http, id: i64) -> Result<Option<Value>, Problem> {
    Ok(of_key(http, Kind::Chat, (id, 0)).await?.map(|found| Value::Object(found.body)))
}

/// Documents of the series kinds, in the order of their rows.
pub async fn rows(http: &Http, kind: Kind, ids: &[i64]) -> Result<Vec<Document>, Problem> {
    let keys: Vec<(i64, i64)> = ids.iter().map(|id| (*id, 0)).collect();
    let mut found = document::of_keys(&http.pool, kind, &keys).await?;
    let of = |id: &i64| {
        let key = found.keys().find(|key| key.key1 == *id).copied()?;
        found.remove(&key)?.map(|document| Document::of(kind, document))
    };
    Ok(ids.iter().filter_map(of).collect())
}

/// Documents whose key is one id, with it; those that are not there are left out.
pub async fn of_ids(http: &Http, kind: Kind, ids: &[i64]) -> Result<Vec<(i64, Value)>, Problem> {
    let keys: Vec<(i64, i64)> = ids.iter().map(|id| (*id, 0)).collect();
    let found = document::of_keys(&http.pool, kind, &keys).await?;
    Ok(found.into_iter().filter_map(|(key, document)| Some((key.key1, Value::Object(document?.body)))).collect())
}
