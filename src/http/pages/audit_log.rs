//! What was changed, by whom and when.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use super::drawn;
use super::fields::Fields;
use super::visit::{Frame, Visit};
use crate::http::access::Viewer;
use crate::http::api::audit_log::{self, Wish};
use crate::http::extract::Query;
use crate::http::page::Limit;
use crate::http::{Http, problem::Problem};
use crate::record::audit_log::Entry;

pub fn router() -> Router<Http> {
    Router::new().route("/audit-log", get(list))
}

#[derive(Template)]
#[template(path = "audit_log.html")]
struct AuditPage {
    frame: Frame,
    fields: Fields,
    entries: Vec<Entry>,
    next: Option<String>,
}

async fn list(State(http): State<Http>, visit: Visit, viewer: Viewer, fields: Fields) -> Result<Response, Problem> {
    let wish =
        Wish { who: fields.owned("who"), what: fields.owned("what"), cursor: fields.owned("cursor"), limit: Limit::default() };
    let page = audit_log::list(State(http), viewer, Query(wish)).await?.0;
    let next = page.next.as_deref().map(|cursor| fields.with("cursor", cursor));
    drawn(&AuditPage { frame: visit.frame("audit", "Audit log"), fields, entries: page.items, next })
}
