//! Incidents: what the rules of alerts found, since when, and until when. Open ones stand in `/attention` too, among all the rest.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::Viewer,
    extract::{Json, Query},
    page::{self, Limit, Page},
    problem::Problem,
};
use crate::record::alert::{self, Filter, Incident};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, async_graphql::Enum)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    Open,
    Ended,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wish {
    #[param(inline)]
    state: Option<IncidentState>,
    /// A rule's name, as `holes_stay`.
    rule: Option<String>,
    cursor: Option<String>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Limit,
}

/// Incidents, open ones and those that ended during the last month, the newest first.
#[utoipa::path(get, path = "/incidents", tag = "system", params(Wish), responses((status = 200, body = Page<Incident>)))]
async fn list(State(http): State<Http>, _: Viewer, Query(wish): Query<Wish>) -> Result<Json<Page<Incident>>, Problem> {
    let Wish { state, rule, cursor, limit } = wish;
    Ok(Json(page_of(&http, state, rule, cursor.as_deref(), limit).await?))
}

/// A page of incidents.
pub async fn page_of(
    http: &Http,
    state: Option<IncidentState>,
    rule: Option<String>,
    cursor: Option<&str>,
    limit: Limit,
) -> Result<Page<Incident>, Problem> {
    let filter = Filter { open: state.map(|state| state == IncidentState::Open), rule, before: page::key(cursor)? };
    let incidents = alert::page(&mut *http.pool.acquire().await?, &filter, limit.and_one()).await?;
    Ok(Page::of(incidents, limit, |incident| incident.id))
}
