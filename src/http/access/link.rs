//! One-time links: how the first browser gets in, before there is a token.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sqlx::PgConnection;

use super::secret::{self, Secret};
use super::{RequestId, address, set_cookie};
use crate::config::{self, Config};
use crate::http::{Http, extract::Path, problem::Problem};
use crate::record::audit_log::{self, Change};
use crate::record::session;

/// A link is good for so long, once.
pub const GOOD: Duration = Duration::from_secs(15 * 60);
/// A browser that came by a link stays for so long.
const STAYS: Duration = Duration::from_secs(12 * 60 * 60);
/// Where a link leads, before its secret.
const PATH: &str = "/first/";

/// Makes a link, in place of those before; gives its whole address.
pub async fn make(conn: &mut PgConnection, config: &Config) -> sqlx::Result<String> {
    let link = Secret::new(secret::LINK);
    session::add_link(conn, &link.hash().0, GOOD).await?;
    Ok(format!("{}{PATH}{}", base(&config.http), link.reveal()))
}

/// How browsers reach this.
pub fn base(http: &config::Http) -> String {
    if let Some(url) = &http.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let address = http.listen.unwrap_or(config::http::DEFAULT);
    let scheme = if http.certificate.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}")
}

pub fn router() -> Router<Http> {
    Router::new().route("/first/{secret}", get(use_up))
}

/// Signs the browser in, once.
async fn use_up(
    State(http): State<Http>,
    method: Method,
    Path(given): Path<String>,
    extensions: axum::extract::Extension<RequestId>,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    // What only looks at the link must not use it up.
    if method != Method::GET {
        return Err(Problem::of_status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let over = || {
        Problem::not_found("this link was used already, or its quarter of an hour is over")
            .remedy("`telekeep token link` prints another one")
    };
    let from = address(request.extensions());
    let refused = || http.rates.stranger(from).err().unwrap_or_else(over);
    let Some(hash) = secret::hash_of(secret::LINK, &given) else { return Err(refused()) };
    let mut tx = http.pool.begin().await?;
    if !session::use_link(&mut tx, &hash.0).await? {
        return Err(refused());
    }
    let cookie = begin(&mut tx, &http, None, STAYS).await?;
    let change =
        Change { who: "link", what: "session.begin", target: "", detail: serde_json::json!({}), request: Some(extensions.0.0) };
    audit_log::note(&mut tx, &change).await?;
    tx.commit().await?;
    let headers: HeaderMap = [(header::SET_COOKIE, cookie), (header::LOCATION, "/".to_owned())]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Begins a browser's session; gives its cookie.
pub async fn begin(conn: &mut PgConnection, http: &Http, token: Option<i64>, lasts: Duration) -> Result<String, Problem> {
    let value = Secret::new(secret::SESSION);
    session::begin(conn, &value.hash().0, token, &secret::random(), lasts).await?;
    Ok(set_cookie(http, value.reveal(), lasts.as_secs()))
}
