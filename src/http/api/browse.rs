//! The API's description, and a page to browse it: Swagger UI, vendored, with nothing inline and nothing from elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

use crate::http::{Http, extract::Path, problem::Problem};

/// Our own page around Swagger UI: its own has a style inline.
const PAGE: &str = include_str!("browse/index.html");
/// Begins Swagger UI with our description, and adds the CSRF token of a browser's session.
const BEGIN: &str = include_str!("browse/begin.js");

pub fn router(document: Arc<OpenApi>) -> Router<Http> {
    let told = axum::body::Bytes::from(document.to_json().unwrap_or_default());
    Router::new()
        .route("/api", get(|| async { Redirect::to("/api/browse/index.html") }))
        .route("/api/browse/{file}", get(asset))
        .route(
            "/api/v1/openapi.json",
            get(move || {
                let told = told.clone();
                async move { ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], told) }
            }),
        )
}

async fn asset(Path(file): Path<String>) -> Result<Response, Problem> {
    let ours = match file.as_str() {
        "index.html" => Some(("text/html; charset=utf-8", PAGE)),
        "begin.js" => Some(("text/javascript; charset=utf-8", BEGIN)),
        _ => None,
    };
    if let Some((kind, text)) = ours {
        return Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response());
    }
    let none = || Problem::not_found("nothing has such an address");
    if !matches!(file.as_str(), "swagger-ui.css" | "swagger-ui-bundle.js" | "favicon-32x32.png") {
        return Err(none());
    }
    match utoipa_swagger_ui::serve(&file, Arc::new(Config::from("/api/v1/openapi.json"))) {
        Ok(Some(found)) => {
            let headers = [(header::CONTENT_TYPE, found.content_type), (header::CACHE_CONTROL, "public, max-age=86400".into())];
            Ok((headers, found.bytes.into_owned()).into_response())
        }
        _ => Err(none()),
    }
}
