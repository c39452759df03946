//! Events by the control port, the truth at past moments, and what goes wrong with pushes.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, Shared, lines, ndjson};
use crate::datacentre::Datacentre;
use crate::push::{PushFaults, UpdateRules};
use crate::world::{Record, Timed, WorldError};

/// The routes of this file.
pub(super) fn routes() -> Router<Arc<Datacentre>> {
    Router::new()
        .route("/events", get(events).post(play))
        .route("/truth/{chat}/at", get(truth_at))
        .route("/versions/{chat}", get(versions))
        .route("/standings/{chat}", get(standings))
        .route("/push_faults", post(push_faults))
        .route("/silence", post(silence))
        .route("/update_rules", get(rules).post(set_rules))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    /// Number of the first event that is told.
    #[serde(default)]
    from: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Moment {
    /// After this event.
    event: Option<u64>,
    /// At this unix time.
    date: Option<i32>,
    /// What this account can know now, in its own ids.
    account: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Silence {
    chat_id: i64,
    silent: bool,
}

/// Plays NDJSON, an event a line, until one cannot happen.
async fn play(State(datacentre): Shared, body: String) -> Result<Response, Refusal> {
    let mut made = Vec::new();
    for (at, line) in body.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |problem: String| {
            let played = made.len();
            Refusal(StatusCode::BAD_REQUEST, format!("line {}: {problem} ({played} events before it happened)", at + 1))
        };
        let value: Value = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let timed = Timed::read(value).map_err(|error| wrong(error.to_string()))?;
        let record = datacentre.play(timed, None).map_err(|error| wrong(error.to_string()))?;
        made.push(told(&record));
    }
    Ok(ndjson(lines(made)))
}

async fn events(State(datacentre): Shared, Query(asked): Query<Since>) -> Response {
    ndjson(lines(datacentre.world.events_from(asked.from).iter().map(|record| told(record))))
}

/// An event that happened, with what it made.
fn told(record: &Record) -> Value {
    let posted: Vec<Value> = record.posted().map(|(chat, id)| json!({ "chat_id": chat, "message_id": id })).collect();
    let mut line = serde_json::to_value(&record.event).unwrap_or_default();
    if let Some(fields) = line.as_object_mut() {
        fields.insert("number".to_owned(), record.number.into());
        fields.insert("date".to_owned(), record.date.into());
        fields.insert("posted".to_owned(), posted.into());
    }
    line
}

async fn truth_at(State(datacentre): Shared, Path(chat): Path<i64>, Query(moment): Query<Moment>) -> Result<Response, Refusal> {
    let world = &datacentre.world;
    if let Some(account) = &moment.account {
        if datacentre.accounts.by_name(account).is_none() {
            return Err(Refusal(StatusCode::NOT_FOUND, format!("no account {account}")));
        }
        return Ok(ndjson(lines(datacentre.truth_of(account, chat).map_err(no_chat)?)));
    }
    let event = moment.event.or_else(|| moment.date.map(|date| world.event_at(date))).unwrap_or_else(|| world.event_count());
    Ok(ndjson(lines(world.truth_at(chat, event).map_err(no_chat)?)))
}

async fn versions(State(datacentre): Shared, Path(chat): Path<i64>) -> Result<Response, Refusal> {
    Ok(ndjson(lines(datacentre.world.versions(chat).map_err(no_chat)?)))
}

async fn standings(State(datacentre): Shared, Path(chat): Path<i64>) -> Result<Response, Refusal> {
    Ok(ndjson(lines(datacentre.world.standings(chat).map_err(no_chat)?)))
}

async fn push_faults(State(datacentre): Shared, Json(faults): Json<PushFaults>) -> StatusCode {
    datacentre.pushes.inject(faults);
    StatusCode::NO_CONTENT
}

async fn silence(State(datacentre): Shared, Json(asked): Json<Silence>) -> Result<StatusCode, Refusal> {
    if datacentre.world.chat(asked.chat_id).is_none() {
        return Err(no_chat(WorldError::NoChat(asked.chat_id)));
    }
    datacentre.pushes.silence(asked.chat_id, asked.silent);
    Ok(StatusCode::NO_CONTENT)
}

async fn rules(State(datacentre): Shared) -> Json<UpdateRules> {
    Json(datacentre.pushes.rules())
}

async fn set_rules(State(datacentre): Shared, Json(rules): Json<UpdateRules>) -> StatusCode {
    datacentre.pushes.set_rules(rules);
    StatusCode::NO_CONTENT
}

fn no_chat(error: WorldError) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, error.to_string())
}
