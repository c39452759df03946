//! What pages load: style and scripts, in the program itself.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::http::{Http, extract::Path, problem::Problem};

/// Name, type, content. htmx is <https://www.npmjs.com/package/htmx.org>, 2.0.11, unchanged; its licence lies beside it.
const ALL: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("theme.js", "text/javascript; charset=utf-8", include_str!("assets/theme.js")),
    ("pages.js", "text/javascript; charset=utf-8", include_str!("assets/pages.js")),
    ("htmx.min.js", "text/javascript; charset=utf-8", include_str!("assets/htmx.min.js")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

pub fn router() -> Router<Http> {
    Router::new().route("/assets/{file}", get(show))
}

async fn show(Path(file): Path<String>) -> Result<Response, Problem> {
    let found = ALL.iter().find(|(name, ..)| *name == file).ok_or_else(|| Problem::not_found("nothing has such an address"))?;
    let (_, kind, text) = *found;
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=300")], text).into_response())
}
