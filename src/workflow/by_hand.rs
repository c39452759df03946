//! A workflow that somebody starts, for the chats that it selects or for those that are named.

use sqlx::{PgConnection, PgPool};

use super::Workflow;
use super::run::{self, RunError};
use crate::record::audit_log::{self, Change};
use crate::record::selection::{self, Selection};
use crate::record::workflow as table;

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{0} is paused; `telekeep workflow resume {0}` lets it go on")]
    Paused(String),
    #[error("no watched chat is selected; `telekeep chat watch` adds one")]
    NoChat,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Run(error.into())
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Started {
    pub runs: Vec<i64>,
    /// Chats of which a run is still open.
    pub skipped: usize,
}

/// Starts it for these chats, or where there are none for those that it selects.
pub async fn start(pool: &PgPool, workflow: &Workflow, chats: &[i64], change: &Change<'_>) -> Result<Started, Error> {
    let mut tx = pool.begin().await?;
    let opened = open(&mut tx, workflow, chats).await?;
    audit_log::note(&mut tx, change).await?;
    tx.commit().await?;
    let started = Started { runs: opened.runs.clone(), skipped: opened.skipped };
    opened.wake(pool).await;
    Ok(started)
}

async fn open(tx: &mut PgConnection, workflow: &Workflow, chats: &[i64]) -> Result<run::Opened, Error> {
    table::lock_tick(tx, &workflow.name).await?;
    if table::is_paused(tx, &workflow.name).await? {
        return Err(Error::Paused(workflow.name.clone()));
    }
    let (select, ids) = (&workflow.select, if chats.is_empty() { &workflow.select.chats[..] } else { chats });
    let kinds: &[String] = if chats.is_empty() { &select.kinds } else { &[] };
    let tags: &[String] = if chats.is_empty() { &select.tags } else { &[] };
    let selection = Selection { kinds, chats: ids, tags, ..Selection::default() };
    let chats = selection::selected(tx, &selection, None).await.map_err(RunError::from)?;
    if chats.is_empty() {
        return Err(Error::NoChat);
    }
    let now = table::now(tx).await?;
    Ok(run::open(tx, workflow, now, "manual", &chats).await?)
}
