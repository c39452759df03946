//! The queue: counts, kinds and partitions that may be paused, workers.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use telekeep_queue as queue;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::job::JobState;
use crate::http::{
    Http,
    access::{Operator, Viewer},
    extract::{Json, Path},
    page::Page,
    problem::Problem,
};
use crate::jobs::KINDS;

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new()
        .routes(routes!(kinds))
        .routes(routes!(pause_kind))
        .routes(routes!(partitions))
        .routes(routes!(pause_partition))
        .routes(routes!(workers))
}

/// A kind of job.
#[derive(Debug, Clone, Serialize, ToSchema, async_graphql::SimpleObject)]
pub struct JobKind {
    pub kind: String,
    /// Nothing of it starts.
    pub paused: bool,
    /// How many jobs there are, by state; what is 0 is left out.
    #[graphql(skip)]
    pub jobs: BTreeMap<String, i64>,
}

/// How many jobs there are of a kind and state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, async_graphql::SimpleObject)]
pub struct JobCount {
    pub kind: String,
    pub state: JobState,
    pub jobs: i64,
}

/// Jobs by kind and state: from the queue's running sums.
pub async fn counts(http: &Http) -> Result<Vec<JobCount>, Problem> {
    let counts = queue::counts(&http.pool).await?;
    Ok(counts.into_iter().map(|(kind, state, jobs)| JobCount { kind, state: state.into(), jobs }).collect())
}

/// All kinds, those of which there is no job too.
#[utoipa::path(get, path = "/kinds", tag = "jobs", responses((status = 200, body = Page<JobKind>)))]
pub async fn kinds(State(http): State<Http>, _: Viewer) -> Result<Json<Page<JobKind>>, Problem> {
    let paused = queue::paused_kinds(&http.pool).await?;
    let mut jobs: BTreeMap<String, BTreeMap<String, i64>> =
        KINDS.iter().map(|kind| ((*kind).to_owned(), BTreeMap::new())).collect();
    for (kind, state, count) in queue::counts(&http.pool).await? {
        jobs.entry(kind).or_default().insert(state.to_string(), count);
    }
    let kinds = jobs.into_iter().map(|(kind, jobs)| JobKind { paused: paused.contains(&kind), kind, jobs });
    Ok(Json(Page::whole(kinds.collect())))
}

/// Whether something is paused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    pub paused: bool,
}

/// Lets nothing of a kind start, or lets it start again. What runs goes on.
#[utoipa::path(put, path = "/kinds/{kind}/pause", tag = "jobs", params(("kind" = String, Path)), request_body = Pause,
    responses((status = 204)))]
pub async fn pause_kind(
    State(http): State<Http>,
    Operator(caller): Operator,
    Path(kind): Path<String>,
    Json(wish): Json<Pause>,
) -> Result<StatusCode, Problem> {
    if !KINDS.contains(&kind.as_str()) {
        return Err(Problem::not_found("there is no such kind").remedy(format!("known are {}", KINDS.join(", "))));
    }
    let what = if wish.paused { "kind.pause" } else { "kind.resume" };
    let mut tx = http.pool.begin().await?;
    let wake = if wish.paused {
        queue::pause_kind(&mut *tx, &kind).await?;
        None
    } else {
        Some(queue::resume_kind_within(&mut tx, &kind).await?.1)
    };
    caller.note(&mut tx, what, &format!("kind {kind}"), serde_json::json!({})).await?;
    tx.commit().await?;
    if let Some(wake) = wake {
        wake.fire(&http.pool).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// An account's queue; 0 is the one of jobs without an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Partition {
    pub id: i64,
    pub paused: bool,
    /// Jobs of it that run at once, in place of the workers' limit.
    pub running_limit: Option<i32>,
    /// Only this node's workers take its jobs.
    pub holder: Option<String>,
    pub available: i64,
    pub running: i64,
    pub rests: Vec<PartitionRest>,
}

/// A method that rests.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartitionRest {
    /// `*` for all; a kind's name means that kind.
    pub method: String,
    pub until: DateTime<Utc>,
    pub reason: String,
}

/// Partitions: one an account, and what rests in each.
#[utoipa::path(get, path = "/partitions", tag = "jobs", responses((status = 200, body = Page<Partition>)))]
pub async fn partitions(State(http): State<Http>, _: Viewer) -> Result<Json<Page<Partition>>, Problem> {
    let partition = |row: queue::PartitionRow| Partition {
        id: row.id,
        paused: row.settings.paused,
        running_limit: row.settings.running_limit,
        holder: row.settings.holder,
        available: row.available,
        running: row.running,
        rests: row.rests.0.into_iter().map(|it| PartitionRest { method: it.method, until: it.until, reason: it.reason }).collect(),
    };
    Ok(Json(Page::whole(queue::partitions(&http.pool).await?.into_iter().map(partition).collect())))
}

/// Lets nothing of a partition start, or lets it start again. What runs goes on.
#[utoipa::path(put, path = "/partitions/{id}/pause", tag = "jobs", params(("id" = i64, Path)), request_body = Pause,
    responses((status = 204)))]
pub async fn pause_partition(
    State(http): State<Http>,
    Operator(caller): Operator,
    Path(id): Path<i64>,
    Json(wish): Json<Pause>,
) -> Result<StatusCode, Problem> {
    let mut tx = http.pool.begin().await?;
    let (is_there, wake) = queue::pause_partition(&mut tx, id, wish.paused).await?;
    if !is_there {
        return Err(Problem::not_found("there is no such partition"));
    }
    let what = if wish.paused { "partition.pause" } else { "partition.resume" };
    caller.note(&mut tx, what, &format!("partition {id}"), serde_json::json!({})).await?;
    tx.commit().await?;
    wake.fire(&http.pool).await;
    Ok(StatusCode::NO_CONTENT)
}

/// A process that works.
#[derive(Debug, Serialize, ToSchema)]
pub struct Worker {
    pub id: i64,
    pub name: String,
    /// name@host/process
    pub node: String,
    /// live, draining or gone
    pub state: String,
    /// Negative once its lease is over.
    pub lease_remaining_seconds: f64,
    pub running: i64,
}

/// Processes that run jobs, and those that ended during the last hour.
#[utoipa::path(get, path = "/workers", tag = "jobs", responses((status = 200, body = Page<Worker>)))]
pub async fn workers(State(http): State<Http>, _: Viewer) -> Result<Json<Page<Worker>>, Problem> {
    let worker = |row: queue::WorkerRow| {
        let queue::WorkerRow { id, name, node, state, lease_remaining_seconds, running } = row;
        Worker { id, name, node, state, lease_remaining_seconds, running }
    };
    Ok(Json(Page::whole(queue::workers(&http.pool).await?.into_iter().map(worker).collect())))
}
