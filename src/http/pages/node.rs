//! Nodes, the processes that work, and the sinks that documents go to.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};

use super::fields::Sent;
use super::visit::{Frame, Visit};
use super::{back_to, drawn};
use crate::http::access::{Admin, Viewer};
use crate::http::api::node::{self, Drain};
use crate::http::api::queue::{self, Worker};
use crate::http::extract::{Json, Path};
use crate::http::{Http, problem::Problem};
use crate::record::node::Node;
use crate::record::outbox::{self, Sink};

pub fn router() -> Router<Http> {
    Router::new().route("/nodes", get(list)).route("/nodes/{name}/drain", post(drain))
}

#[derive(Template)]
#[template(path = "nodes.html")]
struct NodesPage {
    frame: Frame,
    nodes: Vec<Node>,
    workers: Vec<Worker>,
    sinks: Vec<Sink>,
}

async fn list(State(http): State<Http>, visit: Visit, viewer: Viewer) -> Result<Response, Problem> {
    let nodes = node::list(State(http.clone()), viewer.clone()).await?.0.items;
    let workers = queue::workers(State(http.clone()), viewer).await?.0.items;
    let sinks = outbox::sinks(&http.pool).await?;
    drawn(&NodesPage { frame: visit.frame("nodes", "Nodes"), nodes, workers, sinks })
}

async fn drain(State(http): State<Http>, admin: Admin, Path(name): Path<String>, Sent(fields): Sent) -> Result<Response, Problem> {
    let draining = fields.text("draining") == Some("true");
    node::drain(State(http), admin, Path(name), Json(Drain { draining })).await?;
    Ok(back_to("/nodes", if draining { "drain" } else { "undrain" }, 1))
}
