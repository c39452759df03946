//! The control port's part about members and files: the truth, references that expire, damaged bytes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{Refusal, Shared, lines, ndjson};
use crate::datacentre::Datacentre;
use crate::files::{DamageRequest, ReferenceRules};
use crate::world::WorldError;

/// Messages whose files are hashed at once.
const FILES_CHUNK: usize = 50;
/// Members that are serialized at once.
const MEMBERS_CHUNK: usize = 1000;

pub(super) fn routes() -> Router<Arc<Datacentre>> {
    Router::new()
        .route("/chats/{chat}/members", get(members))
        .route("/chats/{chat}/files", get(files))
        .route("/files/references", post(references))
        .route("/files/expire", post(expire))
        .route("/files/damage", post(damage))
        .route("/files/heal", post(heal))
}

/// NDJSON: everyone who is or was in the chat or is banned from it, in the order of joining.
async fn members(State(datacentre): Shared, Path(chat): Path<i64>) -> Result<Response, Refusal> {
    let chat = datacentre.world.chat(chat).ok_or_else(|| unknown(chat))?;
    let members: Vec<_> = datacentre.present(chat).everyone().collect();
    let pieces = futures::stream::unfold(members.into_iter(), |mut rest| async move {
        let piece: String = lines(rest.by_ref().take(MEMBERS_CHUNK));
        (!piece.is_empty()).then_some((Ok::<_, std::io::Error>(piece), rest))
    });
    Ok(ndjson(Body::from_stream(pieces)))
}

/// NDJSON: the files of the messages that exist now, oldest first; hashed while they are told.
async fn files(State(datacentre): Shared, Path(chat): Path<i64>) -> Result<Response, Refusal> {
    datacentre.world.chat(chat).ok_or_else(|| unknown(chat))?;
    let pieces = futures::stream::unfold((datacentre, 1), move |(datacentre, from)| async move {
        let hashing = tokio::task::spawn_blocking(move || (files_piece(&datacentre, chat, from), datacentre));
        let (piece, datacentre) = hashing.await.ok()?;
        let (lines, next) = piece?;
        Some((Ok::<_, std::io::Error>(lines), (datacentre, next)))
    });
    Ok(ndjson(Body::from_stream(pieces)))
}

/// Some lines, and the id to go on with; none at the end.
fn files_piece(datacentre: &Datacentre, chat: i64, from: i32) -> Option<(String, i32)> {
    let chat = datacentre.world.chat(chat)?;
    let ids: Vec<i32> = chat.ids_from(from).take(FILES_CHUNK).collect();
    let next = ids.last()?.checked_add(1)?;
    let told = ids.into_iter().filter_map(|id| datacentre.world.file_of(chat.id, &chat.message(id)?));
    Some((lines(told), next))
}

async fn references(State(datacentre): Shared, Json(rules): Json<ReferenceRules>) -> StatusCode {
    datacentre.files.set_rules(rules);
    StatusCode::NO_CONTENT
}

async fn expire(State(datacentre): Shared) -> StatusCode {
    datacentre.files.expire();
    StatusCode::NO_CONTENT
}

async fn damage(State(datacentre): Shared, Json(request): Json<DamageRequest>) -> StatusCode {
    datacentre.files.damage(request);
    StatusCode::NO_CONTENT
}

async fn heal(State(datacentre): Shared) -> StatusCode {
    datacentre.files.heal();
    StatusCode::NO_CONTENT
}

fn unknown(chat: i64) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, WorldError::NoChat(chat).to_string())
}
