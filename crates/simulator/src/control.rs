//! The HTTP control port: the truth, counters, floods and other incidents, accounts.
//!
//! Never for clients of the datacentre: it tells what no account may see.

mod accounts;
mod events;
mod media;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::account::{AccountRequest, SessionFile, digits};
use crate::calls::CallCounts;
use crate::datacentre::{Datacentre, DeleteError};
use crate::fault::Fault;
use crate::world::{ChatKind, Rules};

type Shared = State<Arc<Datacentre>>;

/// Messages of truth that are serialized at once.
const TRUTH_CHUNK: usize = 1000;

/// One chat, as `GET /chats` lists it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChatLine {
    /// Marked id.
    pub chat_id: i64,
    pub kind: ChatKind,
    pub title: String,
    pub username: Option<String>,
    /// The newest id ever given out.
    pub last_id: i32,
    /// The newest existing id.
    pub top: i32,
    /// How many messages exist.
    pub count: usize,
    pub pts: i32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteRequest {
    chat_id: i64,
    message_ids: Vec<i32>,
}

/// The next calls of a method answer FLOOD_WAIT.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FloodRequest {
    method: String,
    seconds: u32,
    #[serde(default = "once")]
    calls: u64,
    account: Option<String>,
}

fn once() -> u64 {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LatencyRequest {
    ms: u64,
}

/// Serves until the task is aborted.
pub(crate) async fn serve(listener: TcpListener, datacentre: Arc<Datacentre>) {
    let routes = Router::new()
        .route("/health", get(health))
        .route("/chats", get(chats))
        .route("/truth/{chat}", get(truth))
        .route("/calls", get(calls))
        .route("/connections", get(connections))
        .route("/code/{phone}", get(code))
        .route("/flood", post(flood))
        .route("/faults", get(faults).post(fail).delete(heal))
        .route("/cut", post(cut))
        .route("/latency", post(latency))
        .route("/violations", get(violations))
        .route("/rules", get(rules).post(set_rules).delete(lift_rules))
        .route("/account", post(account))
        .route("/delete", post(delete))
        .merge(accounts::routes())
        .merge(events::routes())
        .merge(media::routes())
        .with_state(datacentre);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(error = %error, "the control port ended");
    }
}

/// A refusal with one line that says why.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

fn ndjson(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body.into()).into_response()
}

/// A line of JSON for each; what is told here always serialises.
fn lines<T: Serialize>(values: impl IntoIterator<Item = T>) -> String {
    let mut lines = String::new();
    for line in values.into_iter().filter_map(|value| serde_json::to_string(&value).ok()) {
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

async fn health(State(datacentre): Shared) -> Json<Value> {
    Json(json!({
        "mtproto": datacentre.address.to_string(),
        "chats": datacentre.world.all_chats().count(),
        "accounts": datacentre.accounts.all().len(),
    }))
}

async fn chats(State(datacentre): Shared) -> Json<Vec<ChatLine>> {
    let lines = datacentre.world.all_chats().map(|chat| ChatLine {
        chat_id: chat.id,
        kind: chat.kind,
        title: chat.title(),
        username: chat.username(),
        last_id: chat.last_id(),
        top: chat.top(),
        count: chat.count(),
        pts: chat.pts(),
    });
    Json(lines.collect())
}

/// NDJSON, oldest first; made in pieces, so that a chat of a million needs no memory.
async fn truth(State(datacentre): Shared, Path(chat): Path<i64>) -> Result<Response, Refusal> {
    datacentre.world.truth(chat).map(drop).map_err(|error| Refusal(StatusCode::NOT_FOUND, error.to_string()))?;
    let pieces = futures::stream::unfold((datacentre, 1), move |(datacentre, from)| async move {
        let (lines, next) = truth_piece(&datacentre, chat, from)?;
        Some((Ok::<_, std::io::Error>(lines), (datacentre, next)))
    });
    Ok(ndjson(Body::from_stream(pieces)))
}

/// Some lines, and the id to go on with; none at the end.
fn truth_piece(datacentre: &Datacentre, chat: i64, from: i32) -> Option<(String, i32)> {
    let chat = datacentre.world.chat(chat)?;
    let ids: Vec<i32> = chat.ids_from(from).take(TRUTH_CHUNK).collect();
    let next = ids.last()?.checked_add(1)?;
    let told = ids.into_iter().filter_map(|id| crate::world::Truth::of(chat.id, &chat.message(id)?));
    Some((lines(told), next))
}

async fn connections(State(datacentre): Shared) -> Json<BTreeMap<IpAddr, u64>> {
    Json(datacentre.sources.connections())
}

async fn calls(State(datacentre): Shared) -> Json<CallCounts> {
    Json(datacentre.calls.snapshot())
}

async fn code(State(datacentre): Shared, Path(phone): Path<String>) -> Result<Json<Value>, Refusal> {
    let phone = digits(&phone);
    match datacentre.code(&phone) {
        Some(code) => Ok(Json(json!({ "phone": phone, "code": code }))),
        None => Err(Refusal(StatusCode::NOT_FOUND, "no code was asked for with auth.sendCode".to_owned())),
    }
}

async fn flood(State(datacentre): Shared, Json(request): Json<FloodRequest>) -> StatusCode {
    let FloodRequest { method, seconds, calls, account } = request;
    let fault = Fault::error(420, &format!("FLOOD_WAIT_{seconds}")).of(&method).times(calls);
    datacentre.faults.add(Fault { account, ..fault });
    StatusCode::NO_CONTENT
}

async fn faults(State(datacentre): Shared) -> Json<Vec<Fault>> {
    Json(datacentre.faults.all())
}

async fn fail(State(datacentre): Shared, Json(fault): Json<Fault>) -> Result<StatusCode, Refusal> {
    if let Some(problem) = fault.problem() {
        return Err(Refusal(StatusCode::BAD_REQUEST, problem));
    }
    datacentre.faults.add(fault);
    Ok(StatusCode::NO_CONTENT)
}

async fn heal(State(datacentre): Shared) -> StatusCode {
    datacentre.faults.clear();
    StatusCode::NO_CONTENT
}

/// NDJSON, oldest first.
async fn violations(State(datacentre): Shared) -> Response {
    ndjson(lines(datacentre.violations.all()))
}

async fn rules(State(datacentre): Shared) -> Json<Option<Rules>> {
    Json(datacentre.rules().map(|rules| Rules::clone(&rules)))
}

async fn set_rules(State(datacentre): Shared, Json(rules): Json<Rules>) -> Result<StatusCode, Refusal> {
    if let Some(problem) = rules.problem() {
        return Err(Refusal(StatusCode::BAD_REQUEST, problem));
    }
    datacentre.set_rules(Some(rules));
    Ok(StatusCode::NO_CONTENT)
}

async fn lift_rules(State(datacentre): Shared) -> StatusCode {
    datacentre.set_rules(None);
    StatusCode::NO_CONTENT
}

async fn cut(State(datacentre): Shared) -> StatusCode {
    datacentre.cut();
    StatusCode::NO_CONTENT
}

async fn latency(State(datacentre): Shared, Json(request): Json<LatencyRequest>) -> StatusCode {
    datacentre.set_latency(Duration::from_millis(request.ms));
    StatusCode::NO_CONTENT
}

async fn account(State(datacentre): Shared, Json(request): Json<AccountRequest>) -> Result<Json<SessionFile>, Refusal> {
    if request.name.is_empty() {
        return Err(Refusal(StatusCode::BAD_REQUEST, "`name` is empty".to_owned()));
    }
    let hidden = request.hidden_before.iter().flat_map(|hidden| hidden.keys());
    if let Some(dc) = request.dc.filter(|dc| !datacentre.addresses.contains_key(dc)) {
        let told = format!("`dc` {dc}: the datacentres are {:?}; see --datacentres", datacentre.addresses.keys());
        return Err(Refusal(StatusCode::BAD_REQUEST, told));
    }
    for chat in request.chats.iter().flatten().chain(hidden) {
        if datacentre.world.chat(*chat).is_none() {
            let unknown = crate::world::WorldError::NoChat(*chat);
            return Err(Refusal(StatusCode::BAD_REQUEST, unknown.to_string()));
        }
    }
    match datacentre.accounts.upsert(&request) {
        Ok(account) => Ok(Json(datacentre.session_file(&account))),
        Err(error) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

async fn delete(State(datacentre): Shared, Json(request): Json<DeleteRequest>) -> Result<Json<Value>, Refusal> {
    match datacentre.delete(request.chat_id, &request.message_ids) {
        Ok(deleted) => Ok(Json(json!({ "deleted": deleted }))),
        Err(DeleteError::World(error)) => Err(Refusal(StatusCode::NOT_FOUND, error.to_string())),
        Err(DeleteError::State(error)) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}
