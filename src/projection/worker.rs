//! The loop that works the sinks: outbox → bulk → acknowledged, moved to the dead letters, or waiting.
//!
//! One process over all nodes works a sink, by an advisory lock; two at once would be wasteful, never wrong.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use futures::{StreamExt, stream};
use sqlx::{Connection, PgConnection};
use telekeep_queue as queue;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{
    Error, Projector, SINK,
    bulk::{self, Outcome, Prepared},
    document,
};
use crate::clock;
use crate::record::outbox::{self, Entry, Kind};
use crate::telemetry::{metrics, traces};

/// Idle polls, from the first to the slowest.
const IDLE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// Pauses while a sink waits.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// So many refused documents in one bulk are never more than an accident of theirs.
const HANDFUL: usize = 5;

/// How a sink stands, as this process sees it.
#[derive(Default)]
struct Standing {
    held: BTreeMap<Kind, String>,
    waiting: Option<String>,
    waits: u32,
    /// The last round brought something to its end.
    took_some: bool,
}

impl Projector {
    /// Works all sinks until cancelled. Never ends on an error of Elasticsearch or the database: it waits and says so once.
    pub async fn run(&self, cancel: CancellationToken) -> Result<(), Error> {
        let mut working: HashMap<String, tokio::task::AbortHandle> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut database_away = false;
        let mut unprepared = false;
        while !cancel.is_cancelled() {
            match outbox::sinks(&self.pool).await {
                Ok(sinks) => {
                    database_away = false;
                    if !sinks.iter().any(|sink| sink.name == SINK) {
                        // Elasticsearch was away when the tables were made: what is written meanwhile is enqueued then.
                        match self.prepare().await {
                            Err(error) if !unprepared => {
                                unprepared = true;
                                tracing::warn!(%error, "the index cannot be prepared yet; collecting goes on");
                            }
                            _ => {}
                        }
                    }
                    for sink in sinks.into_iter().filter(|sink| sink.name.split(':').next() == Some(SINK)) {
                        if working.get(&sink.name).is_none_or(tokio::task::AbortHandle::is_finished) {
                            let (projector, cancel, name) = (self.clone(), cancel.clone(), sink.name.clone());
                            let handle = tasks.spawn(async move { projector.work(&name, &cancel).await });
                            working.insert(sink.name, handle);
                        }
                    }
                }
                Err(error) if !database_away => {
                    database_away = true;
                    tracing::warn!(%error, "the projection waits for the database");
                }
                Err(_) => {}
            }
            tokio::select! { () = cancel.cancelled() => {}, () = tokio::time::sleep(IDLE.1) => {} }
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// Works one sink as long as its lock is ours; ends when another process has it, when the sink is gone, and on database errors.
    async fn work(&self, sink: &str, cancel: &CancellationToken) {
        let lock = match outbox::lock(&self.pool, sink).await {
            Ok(Some(lock)) => lock,
            Ok(None) => return,
            Err(error) => return tracing::debug!(%error, sink, "no lock on the sink"),
        };
        if let Err(error) = self.work_locked(sink, lock, cancel).await {
            tracing::warn!(%error, sink, "the projection starts anew");
        }
    }

    async fn work_locked(&self, sink: &str, mut lock: PgConnection, cancel: &CancellationToken) -> Result<(), Error> {
        let mut standing = Standing::default();
        let (mut after, mut idle, mut said) = (None, IDLE.0, None);
        while !cancel.is_cancelled() {
            lock.ping().await?;
            let Some(row) = outbox::sink(&self.pool, sink).await? else { break };
            if said.is_none() && row.state == "held" {
                standing.held = held_kinds(row.detail.as_deref());
            } else if said.is_some() && row.state == "active" && !standing.held.is_empty() {
                // The operator released it.
                standing = Standing::default();
            }
            said = Some((row.state, row.detail));
            let in_flight = if standing.waiting.is_some() { 1 } else { self.settings.in_flight };
            let limit = self.settings.bulk_documents * in_flight;
            let held: Vec<Kind> = standing.held.keys().copied().collect();
            let entries = outbox::take(&self.pool, sink, after, &held, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
            let started_over = after.is_none();
            after = if entries.len() < limit { None } else { entries.last().map(|entry| entry.key) };
            if entries.is_empty() {
                standing.waiting = None;
                self.say(sink, &standing, &mut said).await?;
                if started_over {
                    tokio::select! { () = cancel.cancelled() => {}, () = tokio::time::sleep(idle) => {} }
                    idle = (idle * 2).min(IDLE.1);
                }
                continue;
            }
            idle = IDLE.0;
            let waiting = self.send_all(sink, entries, in_flight, &mut standing, cancel).await?;
            // A sink that takes some is asked again soon.
            standing.waits = match (&waiting, standing.took_some) {
                (None, _) => 0,
                (Some(_), true) => 1,
                (Some(_), false) => standing.waits + 1,
            };
            standing.waiting = waiting;
            if cancel.is_cancelled() {
                break;
            }
            self.say(sink, &standing, &mut said).await?;
            if standing.waiting.is_some() {
                after = None;
                let pause = bulk::backoff(standing.waits - 1, WAIT.0, WAIT.1);
                tokio::select! { () = cancel.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
            }
        }
        lock.close().await?;
        Ok(())
    }

    /// Sends entries, a kind and a bulk at a time; gives why the sink has to wait, if it has to.
    async fn send_all(
        &self,
        sink: &str,
        entries: Vec<Entry>,
        in_flight: usize,
        standing: &mut Standing,
        cancel: &CancellationToken,
    ) -> Result<Option<String>, Error> {
        let mut batches: Vec<(Kind, Vec<Entry>)> = Vec::new();
        for entry in entries {
            match batches.last_mut() {
                Some((kind, batch)) if *kind == entry.key.kind && batch.len() < self.settings.bulk_documents => batch.push(entry),
                _ => batches.push((entry.key.kind, vec![entry])),
            }
        }
        let mut outcomes = stream::iter(batches)
            .map(|(kind, batch)| self.send_batch(sink, kind, batch, cancel))
            .buffer_unordered(in_flight.max(1));
        let mut waiting = None;
        standing.took_some = false;
        while let Some(outcome) = outcomes.next().await {
            let (kind, outcome) = outcome?;
            standing.took_some |= !outcome.done.is_empty();
            let total = outcome.done.len() + outcome.stale.len() + outcome.refused.len();
            outbox::remove(&self.pool, sink, &outcome.done).await?;
            self.settle_stale(sink, outcome.stale).await?;
            let share = HANDFUL.max(total / 100);
            if outcome.refused.len() > share {
                let reason = outcome.refused.first().map_or("", |(_, reason)| reason.as_str());
                standing.held.insert(kind, format!("{} of {total} refused: {}", outcome.refused.len(), one_line(reason)));
            } else if !outcome.refused.is_empty() {
                let moved = outbox::bury(&self.pool, sink, &outcome.refused).await?;
                // The reason may quote a message: it stays in the table.
                tracing::warn!(
                    sink,
                    kind = kind.as_str(),
                    documents = moved,
                    "documents were refused; see `telekeep dead-letter list`"
                );
            }
            waiting = outcome.waiting.or(waiting);
        }
        Ok(waiting)
    }

    async fn send_batch(
        &self,
        sink: &str,
        kind: Kind,
        batch: Vec<Entry>,
        cancel: &CancellationToken,
    ) -> Result<(Kind, Outcome), Error> {
        let (prepared, empty, jobs) = self.prepare_batch(kind, &batch).await?;
        let target = self.target(sink, kind);
        let span = self.span(sink, kind, prepared.len(), jobs).await;
        let mut all = Outcome { done: empty, ..Outcome::default() };
        let mut part = Vec::new();
        let mut bytes = 0;
        let mut parts = Vec::new();
        for one in prepared {
            if bytes + one.lines.len() > self.settings.bulk_bytes && !part.is_empty() {
                parts.push(std::mem::take(&mut part));
                bytes = 0;
            }
            bytes += one.lines.len();
            part.push(one);
        }
        parts.push(part);
        for part in parts {
            let (began, sent) = (clock::mark(), part.len());
            let one = bulk::send(&self.client, &target, part, cancel).instrument(span.clone()).await;
            measure(sink, began.elapsed(), sent, &one);
            all.done.extend(one.done);
            all.stale.extend(one.stale);
            all.refused.extend(one.refused);
            if one.waiting.is_some() {
                all.waiting = one.waiting;
                break;
            }
        }
        Ok((kind, all))
    }

    /// The span of a bulk, below the jobs that its rows come from.
    async fn span(&self, sink: &str, kind: Kind, documents: usize, jobs: BTreeSet<i64>) -> Span {
        let span = tracing::info_span!(
            target: traces::TARGET,
            "bulk",
            otel.kind = "client",
            db.system = "elasticsearch",
            sink,
            document.kind = kind.as_str(),
            document.count = documents,
            job.ids = ?jobs.iter().take(traces::MOST_LINKS).collect::<Vec<_>>(),
        );
        if !span.is_disabled() && !jobs.is_empty() {
            let jobs: Vec<i64> = jobs.into_iter().take(traces::MOST_LINKS).collect();
            // A trace that lacks a link is no reason not to send.
            let lineages = queue::lineages(&self.pool, &jobs).await.unwrap_or_default();
            let lineages: Vec<_> =
                lineages.into_iter().map(|it| traces::Lineage { job: it.id, run: it.run, parent: it.parent }).collect();
            traces::place_bulk(&span, &lineages);
        }
        span
    }

    /// Entries as documents under their rows' present revisions; second, entries of which the index needs to know nothing; third, the
    /// jobs that wrote the rows.
    async fn prepare_batch(&self, kind: Kind, batch: &[Entry]) -> Result<(Vec<Prepared>, Vec<Entry>, BTreeSet<i64>), Error> {
        let keys: Vec<(i64, i64)> = batch.iter().map(|entry| (entry.key.key1, entry.key.key2)).collect();
        let mut documents = document::of_keys(&self.pool, kind, &keys).await?;
        let (mut prepared, mut empty, mut jobs) = (Vec::with_capacity(batch.len()), Vec::new(), BTreeSet::new());
        for entry in batch.iter().cloned() {
            if let Some(id) = entry.gone.clone() {
                prepared.push(Prepared::delete(entry, &id));
                continue;
            }
            match documents.remove(&entry.key) {
                // An entry above its row (a record restored from an older copy) still needs its version.
                Some(Some(found)) => {
                    jobs.extend(found.job());
                    let entry = Entry { revision: found.revision.max(entry.revision), ..entry };
                    prepared.push(Prepared::index(entry, &found.id, &found.body)?);
                }
                Some(None) => empty.push(entry),
                None if matches!(kind, Kind::Chat | Kind::User) => {
                    let id = entry.key.key1.to_string();
                    prepared.push(Prepared::delete(entry, &id));
                }
                // The row is gone, and the document's `_id` went with it: an audit finds the document.
                None => empty.push(entry),
            }
        }
        Ok((prepared, empty, jobs))
    }

    /// A stale item is done if the record has reached the index's version; otherwise the index holds what the record never said.
    async fn settle_stale(&self, sink: &str, stale: Vec<(Entry, Option<i64>)>) -> Result<(), Error> {
        let (mut done, mut diverged) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            let of_kind: Vec<_> = stale.iter().filter(|(entry, _)| entry.key.kind == kind).collect();
            if of_kind.is_empty() {
                continue;
            }
            let keys: Vec<(i64, i64)> = of_kind.iter().map(|(entry, _)| (entry.key.key1, entry.key.key2)).collect();
            let now: HashMap<(i64, i64), i64> = crate::record::audit::expected_of(&self.pool, sink, kind, &keys)
                .await?
                .into_iter()
                .map(|row| ((row.key1, row.key2), row.revision))
                .collect();
            for (entry, version) in of_kind {
                let revision = now.get(&(entry.key.key1, entry.key.key2)).copied();
                match (revision, version) {
                    (Some(revision), Some(version)) if revision >= *version => done.push(entry.clone()),
                    // The index holds what the record never said, or does not tell.
                    (_, version) => {
                        let version = version.map_or_else(|| "a later version".to_owned(), |version| format!("version {version}"));
                        diverged.push((
                            entry.clone(),
                            format!(
                                "divergence: the index holds {version}, the record has revision {}; run `telekeep audit`",
                                revision.unwrap_or(0)
                            ),
                        ));
                    }
                }
            }
        }
        if !diverged.is_empty() {
            let count = outbox::bury(&self.pool, sink, &diverged).await?;
            tracing::warn!(sink, documents = count, "the index holds versions that the record never reached; run `telekeep audit`");
        }
        outbox::remove(&self.pool, sink, &done).await?;
        Ok(())
    }

    /// Writes how the sink stands where that changed, and logs it once.
    async fn say(&self, sink: &str, standing: &Standing, said: &mut Option<(String, Option<String>)>) -> Result<(), Error> {
        let mut lines: Vec<String> = standing.held.iter().map(|(kind, reason)| format!("{kind}: {reason}")).collect();
        let state = match (standing.held.is_empty(), &standing.waiting) {
            (false, _) => "held",
            (true, Some(_)) => "waiting",
            (true, None) => "active",
        };
        lines.extend(standing.waiting.as_ref().map(|reason| format!("waiting: {}", one_line(reason))));
        let detail = (!lines.is_empty()).then(|| lines.join("\n"));
        let now = (state.to_owned(), detail);
        if said.as_ref() == Some(&now) {
            return Ok(());
        }
        let before = said.as_ref().map_or("active", |(state, _)| state.as_str());
        match state {
            _ if before == state => {}
            "waiting" => tracing::warn!(
                sink,
                reason = standing.waiting.as_deref(),
                "Elasticsearch takes nothing: the outbox keeps everything and waits"
            ),
            "held" => {
                tracing::error!(sink, kinds = ?standing.held.keys().collect::<Vec<_>>(), "too many documents are refused: the kind is held; see `telekeep doctor`, then `telekeep migrate` or `reindex`")
            }
            _ => tracing::info!(sink, "Elasticsearch takes documents again"),
        }
        outbox::set_state(&self.pool, sink, state, now.1.as_deref()).await?;
        *said = Some(now);
        Ok(())
    }
}

/// Counts what came of a bulk.
fn measure(sink: &str, took: Duration, sent: usize, outcome: &Outcome) {
    if sent == 0 {
        return;
    }
    metrics::BULK_DURATION.took(took, &[sink]);
    let answered = [("done", outcome.done.len()), ("stale", outcome.stale.len()), ("refused", outcome.refused.len())];
    let unanswered = sent.saturating_sub(answered.iter().map(|(_, count)| count).sum());
    for (what, count) in answered.into_iter().chain([("unanswered", unanswered)]).filter(|(_, count)| *count > 0) {
        metrics::BULK_ITEMS.add(count as u64, &[sink, what]);
    }
}

fn one_line(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What a sink's detail says of held kinds, as [`Projector::say`] wrote it.
fn held_kinds(detail: Option<&str>) -> BTreeMap<Kind, String> {
    let lines = detail.unwrap_or_default().lines();
    lines
        .filter_map(|line| line.split_once(": "))
        .filter_map(|(kind, reason)| Some((Kind::parse(kind)?, reason.to_owned())))
        .collect()
}
