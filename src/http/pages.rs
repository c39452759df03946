//! The dashboard: pages drawn on the server, that read by the functions of the API and change by them.
//!
//! What must never be here: a query, a change that the API does not have, markup out of a text (templates escape whatever they show; only
//! our own drawings, made of numbers and escaped names, go in as they are). Without JavaScript everything can be read and done.

mod account;
mod asset;
mod audit_log;
mod chat;
mod drawing;
mod fields;
mod file;
mod job;
mod member;
mod node;
mod overview;
mod reader;
mod search;
mod settings;
mod sign_in;
mod token;
mod visit;
mod way_in;
mod workflow;

use askama::Template;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::access::link;
use super::{Http, problem::Problem};
use visit::Frame;

/// On a response that says in full what went wrong, as a page.
#[derive(Debug, Clone, Copy)]
pub struct Written;

/// All pages, what they load, and the way in.
pub fn router(http: &Http) -> Router<Http> {
    Router::new()
        .merge(overview::router())
        .merge(job::router())
        .merge(chat::router())
        .merge(member::router())
        .merge(reader::router())
        .merge(search::router())
        .merge(account::router())
        .merge(sign_in::router())
        .merge(workflow::router())
        .merge(node::router())
        .merge(file::router())
        .merge(audit_log::router())
        .merge(token::router())
        .merge(settings::router())
        .layer(middleware::from_fn_with_state(http.clone(), visit::known))
        .merge(way_in::router(http))
        .merge(link::router())
        .layer(middleware::from_fn(told_as_page))
        .merge(asset::router())
}

/// What has no address, told to people as a page and to programs as a problem.
pub async fn nothing(uri: Uri, headers: HeaderMap) -> Response {
    let problem = Problem::not_found("nothing has such an address").remedy("/api shows what there is");
    if uri.path().starts_with("/api") || !wants_page(&headers) { problem.into_response() } else { written(&problem) }
}

/// Whether whoever asks shows pages.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html") || headers.contains_key("hx-request")
}

/// A problem as a page, for those who show pages.
async fn told_as_page(request: Request, next: Next) -> Response {
    let page = wants_page(request.headers());
    let mut response = next.run(request).await;
    if !page {
        return response;
    }
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) => written(&problem),
        None => response,
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: Frame,
    problem: &'a Problem,
    /// Seconds after which the browser asks again by itself.
    again: Option<u32>,
}

fn written(problem: &Problem) -> Response {
    let again = problem.retry_after.filter(|_| problem.status == StatusCode::SERVICE_UNAVAILABLE);
    let page = ProblemPage { frame: Frame::of_nobody(problem.title), problem, again };
    let mut response = match page.render() {
        Ok(text) => (problem.status, Html(text)).into_response(),
        Err(error) => return super::problem::failed(&error).into_response(),
    };
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response.extensions_mut().insert(Written);
    response
}

/// A page, drawn.
fn drawn(page: &impl Template) -> Result<Response, Problem> {
    page.render().map(|text| Html(text).into_response()).map_err(|error| super::problem::failed(&error))
}

/// Back to a page, which says what was done: [`visit::DONE`] has the words.
fn back_to(path: &str, done: &str, count: u64) -> Response {
    // Only to a page of ours.
    let path =
        if path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '\r', '\n', '\t']) { path } else { "/" };
    let (place, query) = path.split_once('?').unwrap_or((path, ""));
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "done" && name != "n") {
        pairs.append_pair(&name, &value);
    }
    pairs.append_pair("done", done).append_pair("n", &count.to_string());
    Redirect::to(&format!("{place}?{}", pairs.finish())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_stays_here() {
        let to = |path| back_to(path, "retry", 2).headers()[header::LOCATION].to_str().unwrap().to_owned();
        assert_eq!(to("/jobs?state=dead&n=7&done=x"), "/jobs?state=dead&done=retry&n=2");
        assert_eq!(to("/jobs/7"), "/jobs/7?done=retry&n=2");
        for elsewhere in ["//elsewhere.example", "https://elsewhere.example", "/\\elsewhere", "", "javascript:x"] {
            assert_eq!(to(elsewhere), "/?done=retry&n=2", "{elsewhere}");
        }
    }
}
