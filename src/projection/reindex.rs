//! Reindex: new indices beside the old ones, filled from the record as a further sink, then the aliases swap in one step.
//!
//! May be interrupted at any point and started again: it goes on with the indices that it finds half filled.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{Error, Projector, SINK, mapping};
use crate::record::outbox::{self, Kind};

/// How far a reindex is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Waits until transactions that began before are over.
    Waiting,
    /// So many rows were enqueued.
    Enqueued(i64),
    /// So many documents are still to be written.
    Left(i64),
    /// The aliases point to the new indices; the old ones are gone.
    Swapped,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting => write!(f, "waiting for older transactions"),
            Self::Enqueued(count) => write!(f, "{count} documents enqueued"),
            Self::Left(count) => write!(f, "{count} documents left"),
            Self::Swapped => write!(f, "swapped"),
        }
    }
}

const PAGE: i64 = 5_000;

/// Enqueues every row of these kinds for a sink.
pub(super) async fn enqueue_all(
    pool: &PgPool,
    sink: &str,
    registered: &str,
    kinds: &[Kind],
    progress: &(impl Fn(Progress) + Sync),
) -> Result<i64, Error> {
    while !outbox::older_transactions_are_over(pool, registered).await? {
        progress(Progress::Waiting);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut total = 0;
    for &kind in kinds {
        let mut after = (i64::MIN, i64::MIN);
        while let Some((last, count)) = outbox::enqueue_next(pool, sink, kind, after, PAGE).await? {
            after = last;
            total += count;
            progress(Progress::Enqueued(total));
        }
    }
    Ok(total)
}

impl Projector {
    /// Rebuilds the index from the record while collecting and searching go on. Works the sinks itself where no other process does.
    pub async fn reindex(&self, cancel: &CancellationToken, progress: impl Fn(Progress) + Sync) -> Result<(), Error> {
        if outbox::sink(&self.pool, SINK).await?.is_none() {
            return self.prepare().await;
        }
        let stop = cancel.child_token();
        let _guard = stop.clone().drop_guard();
        let (worked, done) = tokio::join!(self.run(stop.clone()), async {
            let done = self.rebuild(cancel, &progress).await;
            stop.cancel();
            done
        });
        worked?;
        done
    }

    async fn rebuild(&self, cancel: &CancellationToken, progress: &(impl Fn(Progress) + Sync)) -> Result<(), Error> {
        let prefix = format!("{SINK}:v");
        let begun =
            outbox::sinks(&self.pool).await?.into_iter().find_map(|sink| sink.name.strip_prefix(&prefix)?.parse::<u32>().ok());
        let version = match begun {
            Some(version) => version,
            None => self.next_version().await?,
        };
        let sink = format!("{prefix}{version}");
        let cjk = mapping::has_cjk(&self.client).await?;
        for kind in Kind::ALL {
            let next = self.target(&sink, kind);
            if mapping::concrete(&self.client, &next).await?.is_empty() {
                let index = self.index(kind, version);
                mapping::create(&self.client, &self.settings, kind, &index, &next, cjk).await?;
            }
        }
        let registered = outbox::register(&self.pool, &sink).await?;
        enqueue_all(&self.pool, &sink, &registered, &Kind::ALL, progress).await?;
        // What is written from here on is as fresh in the new index as in the old one, and moves to the main sink below.
        let enqueued = outbox::now(&self.pool).await?;
        self.drained(&sink, enqueued, cancel, |left| progress(Progress::Left(left))).await?;
        self.swap(version).await?;
        outbox::merge_into(&self.pool, &sink, SINK).await?;
        for kind in Kind::ALL {
            let path = format!("/{}/_alias/{}", self.index(kind, version), self.target(&sink, kind));
            self.client.delete(&path, None).await?;
        }
        progress(Progress::Swapped);
        Ok(())
    }

    fn index(&self, kind: Kind, version: u32) -> String {
        format!("{}-v{version}", mapping::alias(&self.settings.prefix, kind))
    }

    async fn next_version(&self) -> Result<u32, Error> {
        let mut highest = 0;
        for kind in Kind::ALL {
            let versions = mapping::versions(&self.client, &mapping::alias(&self.settings.prefix, kind)).await?;
            highest = versions.into_iter().max().unwrap_or(0).max(highest);
        }
        Ok(highest + 1)
    }

    /// Points the aliases to the new indices and removes the old ones, in one step of the cluster's state.
    async fn swap(&self, version: u32) -> Result<(), Error> {
        let mut actions = Vec::new();
        for kind in Kind::ALL {
            let (alias, new) = (mapping::alias(&self.settings.prefix, kind), self.index(kind, version));
            let old = mapping::concrete(&self.client, &alias).await?;
            actions.extend(old.iter().filter(|old| **old != new).map(|old| json!({ "remove_index": { "index": old } })));
            actions.push(json!({ "add": { "index": new, "alias": alias } }));
        }
        let answer = self.client.post("/_aliases", &[], &json!({ "actions": actions })).await?;
        if answer.is_ok() { Ok(()) } else { Err(self.client.refused("swapping the aliases", &answer)) }
    }

    /// Waits until a sink has nothing left of before a moment. Errors: the sink waits or is held for longer than a minute.
    pub(super) async fn drained(
        &self,
        sink: &str,
        until: chrono::DateTime<chrono::Utc>,
        cancel: &CancellationToken,
        left: impl Fn(i64),
    ) -> Result<(), Error> {
        let mut without_progress = 0;
        let mut before = i64::MAX;
        loop {
            let backlog = outbox::backlog_until(&self.pool, sink, until).await?;
            left(backlog);
            if backlog == 0 {
                return Ok(());
            }
            let row = outbox::sink(&self.pool, sink).await?;
            if let Some(row) = row.filter(|row| row.state == "held" || (row.state == "waiting" && without_progress > 300)) {
                return Err(Error::Stuck { detail: row.detail.unwrap_or(row.state) });
            }
            without_progress = if backlog < before { 0 } else { without_progress + 1 };
            before = backlog;
            tokio::select! {
                () = cancel.cancelled() => return Err(Error::Cancelled),
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
    }
}
