//! What machines ask: `/healthz` (the process lives), `/readyz` (it can work), `/metrics`. None of them needs a token, none names a
//! chat, an address or a cause beyond a word.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Serialize;
use sqlx::PgPool;

use crate::MIGRATOR;
use crate::account::Accounts;
use crate::record::{SchemaState, gauge, schema_state};
use crate::telemetry::metrics;

/// A database that does not answer within this time is away. Probes are given up after a second or a few.
const ANSWER: Duration = Duration::from_secs(2);

/// What readiness is judged by.
#[derive(Clone)]
pub struct Probe {
    pub pool: PgPool,
    /// Where this process uses accounts: their leases must be renewed.
    pub accounts: Option<Arc<Accounts>>,
}

/// `/healthz`, `/readyz` and `/metrics`.
pub fn router(probe: Probe) -> Router {
    Router::new()
        .route("/healthz", get(async || "lives\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(told))
        .with_state(probe)
}

/// What `/readyz` answers, with status 200 or 503.
#[derive(Debug, Serialize)]
struct Ready {
    ready: bool,
    /// answers, or away
    database: &'static str,
    /// current, older, newer, damaged or unknown
    schema: &'static str,
    /// renewed, overdue, or none where no account is used here
    leases: &'static str,
    /// active, waiting, held, or none. Not a reason to be unready: the outbox keeps what the index has still to be told.
    elasticsearch: String,
}

async fn ready(State(probe): State<Probe>) -> impl IntoResponse {
    let looked = tokio::time::timeout(ANSWER, look(&probe)).await.ok().and_then(Result::ok);
    let leases = match &probe.accounts {
        None => "none",
        Some(accounts) if accounts.leases_are_renewed() => "renewed",
        Some(_) => "overdue",
    };
    let (database, (schema, elasticsearch)) = match looked {
        Some(looked) => ("answers", looked),
        None => ("away", ("unknown", "unknown".to_owned())),
    };
    let ready = schema == "current" && leases != "overdue";
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(Ready { ready, database, schema, leases, elasticsearch }))
}

/// How the schema and the index stand.
async fn look(probe: &Probe) -> Result<(&'static str, String), crate::record::Error> {
    let schema = match schema_state(&probe.pool, &MIGRATOR).await? {
        SchemaState::Current => "current",
        SchemaState::Old { .. } => return Ok(("older", "unknown".into())),
        SchemaState::Newer { .. } => "newer",
        SchemaState::Dirty { .. } | SchemaState::Changed { .. } => "damaged",
    };
    let sinks = gauge::sinks(&mut *probe.pool.acquire().await?).await?;
    let index = sinks.into_iter().find(|sink| sink.sink == crate::projection::SINK);
    Ok((schema, index.map_or_else(|| "none".into(), |sink| sink.state)))
}

async fn told() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], metrics::render())
}
