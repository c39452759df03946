//! Figures of the whole installation, and what needs attention first.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::queue::{JobCount, counts};
use crate::http::{Http, access::Viewer, extract::Json, page::Page, problem::Problem, statistics};
use crate::overview::attention::{Attention, Seen};
use crate::record::{
    outbox::{self, Sink},
    statistics::{Hour, Now},
};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(attention)).routes(routes!(sinks))
}

/// Figures.
#[derive(Debug, Serialize, ToSchema, async_graphql::SimpleObject)]
pub struct Statistics {
    /// Over the last minute.
    pub now: Now,
    /// The last 24 hours, the oldest first.
    pub hours: Vec<Hour>,
    /// From the queue's running sums.
    pub jobs: Vec<JobCount>,
}

/// Rates now and over the last day, and jobs by state. Rates are some seconds old.
#[utoipa::path(get, path = "/statistics", tag = "system", responses((status = 200, body = Statistics)))]
async fn show(State(http): State<Http>, _: Viewer) -> Result<Json<Statistics>, Problem> {
    Ok(Json(of(&http).await?))
}

/// See [`show`].
pub async fn of(http: &Http) -> Result<Statistics, Problem> {
    let statistics::Rates { now, hours } = statistics::rates(http).await?;
    Ok(Statistics { now, hours, jobs: counts(http).await? })
}

/// What needs attention, the worst first, each with its hint.
#[utoipa::path(get, path = "/attention", tag = "system", responses((status = 200, body = Page<Attention>)))]
async fn attention(State(http): State<Http>, _: Viewer) -> Result<Json<Page<Attention>>, Problem> {
    Ok(Json(Page::whole(all(&http).await?)))
}

/// See [`attention`].
pub async fn all(http: &Http) -> Result<Vec<Attention>, Problem> {
    Ok(Seen::read(&http.pool).await?.attention(&http.config.alerts))
}

/// Where documents go to, and whether they get there.
#[utoipa::path(get, path = "/sinks", tag = "system", responses((status = 200, body = Page<Sink>)))]
async fn sinks(State(http): State<Http>, _: Viewer) -> Result<Json<Page<Sink>>, Problem> {
    Ok(Json(Page::whole(outbox::sinks(&http.pool).await?)))
}
