//! Runs: opened by a trigger, advanced by what `job_finished` tells. One advancer's transaction holds the run's row.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use telekeep_queue as queue;
use tracing::Instrument;

use super::{Step, Workflow};
use crate::{
    jobs::{
        self, Job,
        chat_join::{self, ChatJoin},
    },
    record::{
        self, ChatId,
        workflow::{self as table, Started},
    },
    telemetry::traces,
};

/// Why a run could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Record(#[from] record::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error(transparent)]
    Plan(#[from] jobs::PlanError),
    #[error("the stored definition of run {run} cannot be read: {source}")]
    Definition { run: i64, source: serde_json::Error },
}

/// What a tick did.
#[derive(Debug, Default)]
pub struct Opened {
    pub runs: Vec<i64>,
    pub skipped: usize,
    /// To fire after the commit.
    pub wakes: Vec<queue::Wake>,
}

impl Opened {
    /// Wakes the workers; after the commit.
    pub async fn wake(self, pool: &PgPool) {
        for wake in self.wakes {
            wake.fire(pool).await;
        }
    }
}

/// Opens a run for each chat and starts the steps that wait for none. The caller holds `lock_tick`.
pub async fn open(
    conn: &mut PgConnection,
    workflow: &Workflow,
    tick: DateTime<Utc>,
    trigger: &str,
    chats: &[ChatId],
) -> Result<Opened, RunError> {
    let mut opened = Opened::default();
    let definition = serde_json::to_value(workflow).map_err(|source| RunError::Definition { run: 0, source })?;
    let steps: Vec<String> = workflow.steps.iter().map(|s| s.name.clone()).collect();
    for chat in chats {
        match table::open_run(conn, &workflow.name, tick, *chat, trigger, &definition, &steps).await? {
            Started::Run(run) => {
                opened.runs.push(run);
                let span = tracing::info_span!(target: traces::TARGET, "trigger", otel.name = trigger, workflow.name = %workflow.name, workflow.run = run, chat.id = chat.0);
                traces::begin(&span, None, Some(traces::run_context(run)));
                opened.wakes.extend(advance(conn, run).instrument(span).await?);
            }
            Started::Skipped => opened.skipped += 1,
            Started::Exists => {}
        }
    }
    Ok(opened)
}

/// Consumes finished jobs and moves the runs that waited for them, until none is left. Gives how many were consumed.
pub async fn advance_all(pool: &PgPool) -> Result<usize, RunError> {
    let mut consumed = 0;
    loop {
        let mut tx = pool.begin().await?;
        let finished = queue::take_finished(&mut tx, 100).await?;
        if finished.is_empty() {
            return Ok(consumed);
        }
        consumed += finished.len();
        let mut runs = std::collections::BTreeSet::new();
        for job in &finished {
            runs.extend(table::job_ended(&mut tx, job.job_id, job.outcome.as_str()).await?);
        }
        let mut wakes = Vec::new();
        for run in runs {
            wakes.extend(advance(&mut tx, run).await?);
        }
        tx.commit().await?;
        for wake in wakes {
            wake.fire(pool).await;
        }
    }
}

/// Moves one run as far as its finished jobs allow.
async fn advance(conn: &mut PgConnection, run: i64) -> Result<Vec<queue::Wake>, RunError> {
    let mut wakes = Vec::new();
    let Some((chat, definition)) = table::lock_run(conn, run).await? else { return Ok(wakes) };
    let workflow: Workflow = serde_json::from_value(definition).map_err(|source| RunError::Definition { run, source })?;
    loop {
        let rows = table::steps(conn, run).await?;
        let state_of = |name: &str| rows.iter().find(|r| r.step == name).map_or("failed", |r| r.state.as_str());
        let mut moved = false;
        for step in &workflow.steps {
            let Some(row) = rows.iter().find(|r| r.step == step.name) else { continue };
            let state = match row.state.as_str() {
                "running" if row.unfinished == 0 => {
                    if row.failed > 0 {
                        "failed"
                    } else {
                        "done"
                    }
                }
                "waiting" if step.after.iter().any(|a| matches!(state_of(a), "failed" | "skipped")) => "skipped",
                "waiting" if step.after.iter().all(|a| state_of(a) == "done") => {
                    wakes.push(start(conn, run, chat, &workflow, step).await?);
                    "running"
                }
                _ => continue,
            };
            table::set_step(conn, run, &step.name, state).await?;
            moved = true;
        }
        if !moved {
            let ended = rows.iter().all(|r| matches!(r.state.as_str(), "done" | "failed" | "skipped"));
            if ended {
                let failed = rows.iter().any(|r| r.state != "done");
                table::close_run(conn, run, if failed { "failed" } else { "done" }).await?;
            }
            return Ok(wakes);
        }
    }
}

/// Enqueues the jobs of a step; one that exists already is attached to it.
async fn start(conn: &mut PgConnection, run: i64, chat: ChatId, workflow: &Workflow, step: &Step) -> Result<queue::Wake, RunError> {
    let mut planned = if step.job == ChatJoin::KIND {
        let is_allowed = |names: &[String]| workflow.allow.joins(chat, names);
        chat_join::rejoin(conn, chat, is_allowed, &workflow.name).await?
    } else {
        jobs::plan(conn, &step.job, chat).await?
    };
    let run_at = match step.delay_seconds(chat) {
        Some(seconds) => Some(table::now(conn).await? + chrono::Duration::seconds(seconds.into())),
        None => None,
    };
    for job in &mut planned {
        job.trigger = Some(format!("workflow {}", workflow.name));
        (job.run, job.step) = (Some(run), Some(step.name.clone()));
        if let Some(priority) = step.priority {
            job.priority = priority;
        }
        (job.retry, job.run_at) = (step.retry, run_at);
    }
    let (enqueued, wake) = queue::enqueue(conn, &planned).await?;
    let ids: Vec<i64> = enqueued.iter().map(queue::Enqueued::id).collect();
    table::attach(conn, run, &step.name, &ids).await?;
    Ok(wake)
}
