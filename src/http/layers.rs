//! What surrounds each request: its id, which stands in all that is logged meanwhile; its time limit, problems written out, headers
//! that keep browsers safe, one line in the log.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer, timeout::TimeoutLayer};
use tracing::Instrument;
use uuid::Uuid;

use super::access::RequestId;
use super::{Http, pages, problem::Problem};
use crate::clock;

/// Longer than anything that people wait for: a chat that Telegram is asked for takes a minute at most.
const LONGEST: Duration = Duration::from_secs(75);
/// The largest body: a workflow's file, a session, a filter.
pub const LARGEST_BODY: usize = 1 << 20;

/// Nothing inline, nothing from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; \
     font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All layers around all routes.
pub fn around(router: Router<Http>, http: &Http) -> Router<Http> {
    router
        .method_not_allowed_fallback(|| async { Problem::of_status(StatusCode::METHOD_NOT_ALLOWED) })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(CompressionLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, LONGEST))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            tracing::error!("http: a request panicked");
            Problem::internal().into_response()
        }))
        .layer(middleware::from_fn_with_state(http.clone(), answered))
}

/// Gives the request its id, and the response what each has.
async fn answered(State(http): State<Http>, mut request: Request, next: Next) -> Response {
    // None is taken from outside: it would let a caller write into the log.
    let id = Uuid::now_v7();
    request.extensions_mut().insert(RequestId(id));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "-".to_owned(), |path| path.as_str().to_owned());
    let began = clock::mark();
    // At the level of errors, so that no filter that shows an error hides whose it is.
    let span = tracing::error_span!("request", http.request_id = %id);
    let mut response = next.run(request).instrument(span).await;
    let failed = response.status().is_client_error() || response.status().is_server_error();
    if failed && response.extensions().get::<pages::Written>().is_none() {
        response = told(response, id, &method);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    safe(headers, http.is_tls());
    let (status, took_ms) = (response.status().as_u16(), began.elapsed().as_millis() as u64);
    // The route, never the address: what somebody searches for is no text for a log.
    tracing::debug!(http.request_id = %id, http.method = %method, http.route = route, http.status = status, http.took_ms = took_ms, "http");
    response
}

/// The response with its problem written out; one that nobody explained is explained by its status.
fn told(mut response: Response, id: Uuid, method: &Method) -> Response {
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>().unwrap_or_else(|| Problem::of_status(status));
    let body = match serde_json::to_vec(&problem.body(id)) {
        Ok(body) if method != Method::HEAD => Body::from(body),
        _ => Body::empty(),
    };
    let (mut parts, _) = response.into_parts();
    for gone in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::TRANSFER_ENCODING, header::ETAG] {
        parts.headers.remove(gone);
    }
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::from_parts(parts, body)
}

/// Headers for browsers.
fn safe(headers: &mut HeaderMap, tls: bool) {
    let always = [
        ("content-security-policy", CONTENT_SECURITY_POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        // With `no-referrer` browsers would not say where a form of ours comes from.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    for (name, value) in always {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

/// Tags what is read with a hash of what it says, and says only that it is the same where the caller has it already.
pub async fn tagged(request: Request, next: Next) -> Response {
    let reads = request.method() == Method::GET;
    let had = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !reads || !is_json || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // It is whole already: nothing that streams is of this type.
    let Ok(bytes) = to_bytes(body, usize::MAX).await else { return Problem::internal().into_response() };
    let hash: String = Sha256::digest(&bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("W/\"{hash}\"");
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    let same = had.as_ref().and_then(|value| value.to_str().ok()).is_some_and(|tags| tags.split(',').any(|it| it.trim() == tag));
    if same {
        parts.status = StatusCode::NOT_MODIFIED;
        for gone in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            parts.headers.remove(gone);
        }
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}
