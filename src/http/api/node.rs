//! Nodes: the processes that use accounts.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::{Admin, Viewer},
    extract::{Json, Path},
    page::Page,
    problem::Problem,
};
use crate::record::node::{self, Node};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(drain))
}

/// Nodes that live or hold something, and those that ended during the last hour.
#[utoipa::path(get, path = "/nodes", tag = "system", responses((status = 200, body = Page<Node>)))]
pub async fn list(State(http): State<Http>, _: Viewer) -> Result<Json<Page<Node>>, Problem> {
    Ok(Json(Page::whole(node::list(&http.pool).await?)))
}

/// Whether a node gives its accounts away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NodeDrain)]
pub struct Drain {
    pub draining: bool,
}

/// Lets a node give its accounts to the others and take no more, or take some again.
#[utoipa::path(put, path = "/nodes/{name}/drain", tag = "system", params(("name" = String, Path)), request_body = Drain,
    responses((status = 204)))]
pub async fn drain(
    State(http): State<Http>,
    Admin(caller): Admin,
    Path(name): Path<String>,
    Json(wish): Json<Drain>,
) -> Result<StatusCode, Problem> {
    let mut tx = http.pool.begin().await?;
    if node::set_draining(&mut tx, &name, wish.draining).await? == 0 {
        return Err(Problem::not_found("no node of this name takes accounts"));
    }
    let what = if wish.draining { "node.drain" } else { "node.resume" };
    caller.note(&mut tx, what, &format!("node {name}"), serde_json::json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
