//! What was changed, by whom and when.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::Viewer,
    extract::{Json, Query},
    page::{self, Limit, Page},
    problem::Problem,
};
use crate::record::audit_log::{self, Entry, Filter};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wish {
    /// By whom, as `token:NAME` or `cli:USER@HOST`.
    pub who: Option<String>,
    /// What, as `job.retry`, or all of a group, as `job`.
    pub what: Option<String>,
    pub cursor: Option<String>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Limit,
}

/// Changes, the newest first.
#[utoipa::path(get, path = "/audit-log", tag = "system", params(Wish), responses((status = 200, body = Page<Entry>)))]
pub async fn list(State(http): State<Http>, _: Viewer, Query(wish): Query<Wish>) -> Result<Json<Page<Entry>>, Problem> {
    let filter = Filter { who: wish.who, what: wish.what, before: page::key(wish.cursor.as_deref())? };
    let entries = audit_log::list(&http.pool, &filter, wish.limit.and_one()).await?;
    Ok(Json(Page::of(entries, wish.limit, |entry| entry.id)))
}
