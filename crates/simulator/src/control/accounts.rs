//! The control port's routes for accounts, their authorizations and the server's keys.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, Shared};
use crate::account::authorization::Ended;
use crate::account::store::StateError;
use crate::account::{Account, SessionFile, Standing};
use crate::datacentre::Datacentre;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeRequest {
    #[serde(default = "revoked")]
    why: Ended,
}

fn revoked() -> Ended {
    Ended::Unregistered
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeactivateRequest {
    #[serde(default)]
    ban: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AbroadRequest {
    dc: i32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaltsRequest {
    seconds: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryRequest {
    times: u32,
}

pub(super) fn routes() -> Router<Arc<Datacentre>> {
    Router::new()
        .route("/rsa_key", get(rsa_key))
        .route("/datacentres", get(datacentres))
        .route("/accounts", get(accounts))
        .route("/accounts/{name}/authorizations", get(authorizations))
        .route("/accounts/{name}/revoke", post(revoke))
        .route("/accounts/{name}/deactivate", post(deactivate))
        .route("/accounts/{name}/reactivate", post(reactivate))
        .route("/accounts/{name}/abroad", post(abroad))
        .route("/codes/expire", post(expire_codes))
        .route("/key_exchanges/retry", post(retry))
        .route("/salts", post(salts))
}

/// Making the key takes about a second, once.
async fn rsa_key(State(datacentre): Shared) -> Result<Json<Value>, Refusal> {
    let told = tokio::task::spawn_blocking(move || {
        let key = datacentre.accounts.rsa_key();
        json!({ "pem": key.pem(), "fingerprint": key.fingerprint() })
    });
    told.await.map(Json).map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn datacentres(State(datacentre): Shared) -> Json<Value> {
    Json(json!(datacentre.addresses))
}

async fn accounts(State(datacentre): Shared) -> Json<Value> {
    let accounts = datacentre.accounts.all();
    let lines = accounts.iter().map(|account| {
        json!({
            "name": account.name,
            "user_id": account.user_id,
            "dc": account.dc,
            "standing": account.standing,
            "bot": account.bot_token.is_some(),
            "authorizations": datacentre.accounts.keys_of(&account.name).len(),
        })
    });
    Json(lines.collect())
}

async fn authorizations(State(datacentre): Shared, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    known(&datacentre, &name)?;
    let keys = datacentre.accounts.keys_of(&name);
    let lines = keys.iter().map(|key| {
        json!({
            "key_id": format!("{:016x}", key.key.id()),
            "hash": key.hash.to_string(),
            "dc": key.dc,
            "imported": key.imported_from.is_some(),
            "created": key.created,
            "signed_in": key.signed_in,
            "last_seen": key.last_seen,
            "address": key.address,
            "layer": key.layer,
            "device": key.device,
        })
    });
    Ok(Json(lines.collect()))
}

async fn revoke(
    State(datacentre): Shared,
    Path(name): Path<String>,
    request: Option<Json<RevokeRequest>>,
) -> Result<Json<Value>, Refusal> {
    known(&datacentre, &name)?;
    let why = request.map_or(Ended::Unregistered, |Json(request)| request.why);
    let ended = datacentre.accounts.revoke(&name, why).map_err(unwritten)?;
    Ok(Json(json!({ "ended": ended })))
}

async fn deactivate(
    State(datacentre): Shared,
    Path(name): Path<String>,
    request: Option<Json<DeactivateRequest>>,
) -> Result<StatusCode, Refusal> {
    let ban = request.is_some_and(|Json(request)| request.ban);
    stand(&datacentre, &name, if ban { Standing::Banned } else { Standing::Deactivated })
}

async fn reactivate(State(datacentre): Shared, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    stand(&datacentre, &name, Standing::Active)
}

fn stand(datacentre: &Datacentre, name: &str, standing: Standing) -> Result<StatusCode, Refusal> {
    known(datacentre, name)?;
    datacentre.accounts.change_account(name, |account| account.standing = standing).map_err(unwritten)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn abroad(
    State(datacentre): Shared,
    Path(name): Path<String>,
    Json(request): Json<AbroadRequest>,
) -> Result<Json<SessionFile>, Refusal> {
    let account = known(&datacentre, &name)?;
    if !datacentre.addresses.contains_key(&request.dc) || request.dc == account.dc {
        let told =
            format!("`dc` {}: the datacentres are {:?}, and {} is home", request.dc, datacentre.addresses.keys(), account.dc);
        return Err(Refusal(StatusCode::BAD_REQUEST, told));
    }
    let key = datacentre.accounts.foreign_key(&name, request.dc).map_err(unwritten)?;
    Ok(Json(datacentre.foreign_session_file(&account, &key)))
}

async fn expire_codes(State(datacentre): Shared) -> StatusCode {
    datacentre.logins.expire_codes();
    StatusCode::NO_CONTENT
}

async fn retry(State(datacentre): Shared, Json(request): Json<RetryRequest>) -> StatusCode {
    datacentre.retry_keys(request.times);
    StatusCode::NO_CONTENT
}

async fn salts(State(datacentre): Shared, Json(request): Json<SaltsRequest>) -> StatusCode {
    datacentre.salts.set_seconds(request.seconds);
    StatusCode::NO_CONTENT
}

fn known(datacentre: &Datacentre, name: &str) -> Result<Arc<Account>, Refusal> {
    let account = datacentre.accounts.by_name(name);
    account.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("there is no account `{name}`; make it with POST /account")))
}

fn unwritten(error: StateError) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
