//! One bulk: sent, split, retried, and each item's answer turned into exactly one fate.

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    elasticsearch::{BulkAnswer, Elasticsearch, Item},
};
use crate::record::outbox::Entry;

/// A document ready to be sent: its lines, and the entry that it answers with the revision that is sent.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub entry: Entry,
    pub lines: Vec<u8>,
}

impl Prepared {
    /// The whole document under its version: a late or repeated write never overwrites a newer one.
    pub fn index(entry: Entry, id: &str, body: &serde_json::Map<String, serde_json::Value>) -> Result<Self, Error> {
        let action = json!({ "index": { "_id": id, "version": entry.revision, "version_type": "external_gte" } });
        let mut lines = action.to_string().into_bytes();
        lines.push(b'\n');
        serde_json::to_writer(&mut lines, body).map_err(|source| Error::Answer { what: "a document", source })?;
        lines.push(b'\n');
        Ok(Self { entry, lines })
    }

    /// The removal of a document whose row is gone.
    pub fn delete(entry: Entry, id: &str) -> Self {
        let action = json!({ "delete": { "_id": id, "version": entry.revision, "version_type": "external_gte" } });
        Self { entry, lines: format!("{action}\n").into_bytes() }
    }
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The index holds it.
    Done,
    /// The index holds a later version, if it says which.
    Stale(Option<i64>),
    /// This item again, later.
    Retry(String),
    /// This document can never be indexed as it is.
    Refused(String),
    /// The index takes nothing: wait, drop nothing.
    Unavailable(String),
}

/// The fate of one item.
pub fn fate(item: &Item) -> Fate {
    let (kind, reason) =
        item.error.as_ref().map_or(("", ""), |error| (error.kind.as_str(), error.reason.as_deref().unwrap_or_default()));
    let told = || format!("{kind}: {}", reason.chars().take(1000).collect::<String>());
    match item.status {
        200..=299 => Fate::Done,
        // A deletion of what is not there.
        404 if item.error.is_none() => Fate::Done,
        409 => Fate::Stale(current_version(reason)),
        400 if kind == "index_closed_exception" || reason.contains("no write index") => Fate::Unavailable(told()),
        400 | 413 => Fate::Refused(told()),
        404 if reason.contains("require_alias") => Fate::Unavailable(format!("{}; run `telekeep migrate`", told())),
        401 | 403 | 404 => Fate::Unavailable(told()),
        429 | 500..=599 => Fate::Retry(told()),
        _ => Fate::Retry(format!("status {}: {}", item.status, told())),
    }
}

/// The version that the index holds, from "version conflict, current version [7] is higher than the one provided [5]".
fn current_version(reason: &str) -> Option<i64> {
    reason.split_once("current version [")?.1.split_once(']')?.0.parse().ok()
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    pub done: Vec<Entry>,
    pub stale: Vec<(Entry, Option<i64>)>,
    pub refused: Vec<(Entry, String)>,
    /// Why what is missing above has to wait; it stays in the outbox.
    pub waiting: Option<String>,
}

/// How often items are sent again before the whole sink waits.
const TRIES: u32 = 4;

/// Sends a batch: only items that may succeed are sent again, with backoff; a request that is too large is halved.
pub async fn send(client: &Elasticsearch, alias: &str, batch: Vec<Prepared>, cancel: &CancellationToken) -> Outcome {
    let mut outcome = Outcome::default();
    let mut stack = vec![(batch, 0)];
    while let Some((mut batch, tried)) = stack.pop() {
        if batch.is_empty() {
            continue;
        }
        if cancel.is_cancelled() {
            outcome.waiting = Some("shutting down".to_owned());
            break;
        }
        let lines: Vec<u8> = batch.iter().flat_map(|prepared| prepared.lines.iter().copied()).collect();
        // A request that is dropped on the way is as one that was never answered: the outbox keeps its entries.
        let answer = tokio::select! {
            answer = client.bulk(alias, lines, batch.len()) => answer,
            () = cancel.cancelled() => Err(Error::Cancelled),
        };
        let reason = match answer {
            Ok(BulkAnswer::Items(items)) => match sort(batch, &items, &mut outcome) {
                Sorted::Settled => continue,
                Sorted::Unavailable(reason) => {
                    outcome.waiting = Some(reason);
                    break;
                }
                Sorted::Again(again, reason) => {
                    batch = again;
                    reason
                }
            },
            Ok(BulkAnswer::Refused(answer)) => match answer.status {
                413 if batch.len() > 1 => {
                    let rest = batch.split_off(batch.len() / 2);
                    stack.push((rest, tried));
                    stack.push((batch, tried));
                    continue;
                }
                413 => {
                    outcome
                        .refused
                        .extend(batch.into_iter().map(|prepared| (prepared.entry, "too large for one request (413)".to_owned())));
                    continue;
                }
                429 | 500..=599 => answer.reason(),
                _ => {
                    outcome.waiting = Some(format!("status {}: {}", answer.status, answer.reason()));
                    break;
                }
            },
            Err(Error::Cancelled) => {
                outcome.waiting = Some("shutting down".to_owned());
                break;
            }
            Err(error) => error.to_string(),
        };
        if tried + 1 >= TRIES {
            outcome.waiting = Some(reason);
            break;
        }
        let pause = backoff(tried, Duration::from_millis(200), Duration::from_secs(10));
        tokio::select! { () = cancel.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
        stack.push((batch, tried + 1));
    }
    outcome
}

enum Sorted {
    Settled,
    Again(Vec<Prepared>, String),
    Unavailable(String),
}

fn sort(batch: Vec<Prepared>, items: &[Item], outcome: &mut Outcome) -> Sorted {
    let (mut again, mut retry, mut unavailable) = (Vec::new(), String::new(), None);
    for (prepared, item) in batch.into_iter().zip(items) {
        match fate(item) {
            Fate::Done => outcome.done.push(prepared.entry),
            Fate::Stale(version) => outcome.stale.push((prepared.entry, version)),
            Fate::Refused(reason) => outcome.refused.push((prepared.entry, reason)),
            Fate::Unavailable(reason) => unavailable = Some(reason),
            Fate::Retry(reason) => {
                retry = reason;
                again.push(prepared);
            }
        }
    }
    match unavailable {
        Some(reason) => Sorted::Unavailable(reason),
        None if again.is_empty() => Sorted::Settled,
        None => Sorted::Again(again, retry),
    }
}

/// Doubling from `base` up to `cap`, ±20 %.
pub fn backoff(tried: u32, base: Duration, cap: Duration) -> Duration {
    base.saturating_mul(1 << tried.min(16)).min(cap).mul_f64(rand::random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::elasticsearch::ItemError;

    fn item(status: u16, kind: &str, reason: &str) -> Item {
        let error = (!kind.is_empty()).then(|| ItemError { kind: kind.to_owned(), reason: Some(reason.to_owned()) });
        Item { status, error }
    }

    #[test]
    fn each_answer_has_one_fate() {
        assert_eq!(fate(&item(201, "", "")), Fate::Done);
        let conflict = "[1]: version conflict, current version [7] is higher than the one provided [5]";
        assert_eq!(fate(&item(409, "version_conflict_engine_exception", conflict)), Fate::Stale(Some(7)));
        assert!(matches!(fate(&item(400, "document_parsing_exception", "x")), Fate::Refused(_)));
        assert!(matches!(fate(&item(400, "index_closed_exception", "closed")), Fate::Unavailable(_)));
        assert!(matches!(fate(&item(403, "cluster_block_exception", "blocked")), Fate::Unavailable(_)));
        assert!(matches!(fate(&item(404, "index_not_found_exception", "gone")), Fate::Unavailable(_)));
        assert_eq!(fate(&item(404, "", "")), Fate::Done);
        assert!(matches!(fate(&item(429, "es_rejected_execution_exception", "full")), Fate::Retry(_)));
        assert!(matches!(fate(&item(503, "unavailable_shards_exception", "x")), Fate::Retry(_)));
    }
}
