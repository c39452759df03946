//! Who asks: a browser's session begins with a token, and ends.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::http::{
    Http,
    access::{By, RequestId, Viewer, address, link, secret, set_cookie},
    extract::Json,
    problem::Problem,
};
use crate::record::{
    audit_log::{self, Change},
    session,
    token::{self, Role},
};

/// A browser that signed in by a token stays for so long, and as long as the token at the most.
const STAYS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(show, end))
}

/// What a browser asks that is not yet known.
pub fn way_in() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(begin))
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct Me {
    /// As the audit log names them.
    pub who: String,
    pub role: Role,
    /// Of a browser's session: to be sent as `X-CSRF-Token` with each change.
    pub csrf: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Who asks, and what they may.
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = Me)))]
pub async fn show(Viewer(caller): Viewer) -> Json<Me> {
    let (csrf, expires_at) = match &caller.by {
        By::Session { session, .. } => (Some(session.csrf.clone()), Some(session.expires_at)),
        By::Token(token) => (None, token.expires_at),
    };
    Json(Me { who: caller.who, role: caller.role, csrf, expires_at })
}

/// Ends the browser's session.
#[utoipa::path(delete, path = "/session", tag = "session", responses((status = 204)))]
pub async fn end(State(http): State<Http>, Viewer(caller): Viewer) -> Result<Response, Problem> {
    let By::Session { hash, .. } = &caller.by else {
        return Err(Problem::conflict("a token has no session").remedy("revoke the token to end it"));
    };
    session::end(&mut *http.pool.acquire().await?, &hash.0).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie(&http, "", 0))]).into_response())
}

/// A browser that signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenGiven {
    /// As `telekeep token create` told it.
    pub token: String,
}

/// Begins a browser's session by a token; the answer sets its cookie. Programs send their token with each request instead.
#[utoipa::path(post, path = "/sessions", tag = "session", security(()), request_body = TokenGiven, responses((status = 204)))]
pub async fn begin(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    use axum::extract::FromRequest;
    let (from, id) = (address(request.extensions()), request.extensions().get::<RequestId>().map(|id| id.0));
    let Json(given) = Json::<TokenGiven>::from_request(request, &http).await?;
    let cookie = by_token(&http, from, id, &given.token).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Begins a session by a token; gives its cookie.
pub async fn by_token(http: &Http, from: IpAddr, request: Option<Uuid>, given: &str) -> Result<String, Problem> {
    let found = match secret::hash_of(secret::TOKEN, given.trim()) {
        Some(hash) => token::of_hash(&http.pool, &hash.0).await?,
        None => None,
    };
    let Some(token) = found else {
        http.stranger(from)?;
        return Err(Problem::unauthenticated("the token is wrong, expired or revoked"));
    };
    let mut tx = http.pool.begin().await?;
    let cookie = link::begin(&mut tx, http, Some(token.id), STAYS).await?;
    let who = format!("token:{}", token.name);
    let change = Change { who: &who, what: "session.begin", target: "", detail: serde_json::json!({}), request };
    audit_log::note(&mut tx, &change).await?;
    tx.commit().await?;
    Ok(cookie)
}
