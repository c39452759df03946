//! The audit: every id and version in the index against the record, block by block in key order, and the repair.
//!
//! The record goes on moving meanwhile. So a difference counts only after a second look: the row again, then the document itself
//! (real-time, without refresh), with nothing of it left in the outbox.

mod pages;
mod repair;
mod witness;

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use pages::Hit;
pub(super) use pages::Pages;

use super::{Error, Projector, document, mapping};
use crate::record::{
    audit::{self as record, Expected, Place},
    outbox::{Key, Kind},
};

/// Rows compared at a time.
const BLOCK: i64 = 2_000;
/// Findings that a report names; all are counted.
const NAMED: usize = 50;

/// What an audit does.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditOptions {
    /// Compares whole documents, not only ids and versions.
    pub deep: bool,
    /// Repairs the index from the record.
    pub repair: bool,
    /// After a repair, waits until it is written and looks again.
    pub wait: bool,
}

/// How a document differs from the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The record has it, the index does not.
    Missing,
    /// The index has it, the record does not.
    Extra,
    /// Another version than the row's revision.
    Stale,
    /// The right version, other content (deep audits only).
    Altered,
}

/// One difference, by the document's `_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    pub id: String,
    pub what: Difference,
}

/// What an audit found of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KindReport {
    pub kind: Kind,
    /// Rows of the record that were compared.
    pub checked: u64,
    /// Chats that these rows belong to; for other kinds the same as `checked`.
    pub chats: u64,
    pub missing: u64,
    pub extra: u64,
    pub stale: u64,
    pub altered: u64,
    /// Differences that the outbox will still settle.
    pub pending: u64,
    /// Documents that the index refused, see `telekeep dead-letter list`.
    pub dead: u64,
    pub repaired: u64,
}

impl KindReport {
    fn new(kind: Kind) -> Self {
        Self { kind, checked: 0, chats: 0, missing: 0, extra: 0, stale: 0, altered: 0, pending: 0, dead: 0, repaired: 0 }
    }

    /// All differences.
    pub fn differences(&self) -> u64 {
        self.missing + self.extra + self.stale + self.altered
    }
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    pub deep: bool,
    pub kinds: Vec<KindReport>,
    /// The first differences by name.
    pub findings: Vec<Finding>,
    /// After a repair that was waited for: whether a further look found no difference.
    pub holds_after_repair: Option<bool>,
}

impl AuditReport {
    /// All differences of all kinds.
    pub fn differences(&self) -> u64 {
        self.kinds.iter().map(KindReport::differences).sum()
    }

    /// All repairs of all kinds.
    pub fn repaired(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.repaired).sum()
    }

    /// Whether record and index agree: nothing found, or all repaired and looked at again.
    pub fn holds(&self) -> bool {
        self.holds_after_repair.unwrap_or(self.differences() == 0)
    }
}

/// A difference with what a repair needs.
pub(super) struct Suspect {
    pub(super) id: String,
    /// The row's key; None: the record has no such row.
    pub(super) key: Option<Key>,
    /// The version that the index holds, 0 for none.
    pub(super) version: i64,
    pub(super) what: Difference,
}

impl Projector {
    /// Compares the index with the record. Errors: Elasticsearch is away, or there is no index; differences are no error.
    pub async fn audit(&self, options: AuditOptions, cancel: &CancellationToken) -> Result<AuditReport, Error> {
        let mut report = self.look(options, cancel).await?;
        if options.repair && options.wait && report.repaired() > 0 {
            let stop = cancel.child_token();
            let _guard = stop.clone().drop_guard();
            let (worked, holds) = tokio::join!(self.run(stop.clone()), async {
                let holds = self.settles(options, cancel).await;
                stop.cancel();
                holds
            });
            worked?;
            report.holds_after_repair = Some(holds?);
        }
        Ok(report)
    }

    async fn look(&self, options: AuditOptions, cancel: &CancellationToken) -> Result<AuditReport, Error> {
        let mut report = AuditReport { deep: options.deep, ..AuditReport::default() };
        for kind in Kind::ALL {
            let alias = mapping::alias(&self.settings.prefix, kind);
            if mapping::concrete(&self.client, &alias).await?.is_empty() {
                return Err(Error::NotPrepared { alias });
            }
            self.client.refresh(&alias).await?;
            let mut pages = Pages::open(&self.client, &alias, kind, json!({ "match_all": {} }), options.deep).await?;
            let looked = self.look_at(kind, &alias, &mut pages, options, &mut report, cancel).await;
            pages.close().await;
            report.kinds.push(looked?);
        }
        Ok(report)
    }

    async fn look_at(
        &self,
        kind: Kind,
        alias: &str,
        pages: &mut Pages,
        options: AuditOptions,
        report: &mut AuditReport,
        cancel: &CancellationToken,
    ) -> Result<KindReport, Error> {
        let mut found = KindReport::new(kind);
        let (mut after, mut last_chat): (Place, Option<i64>) = ((i64::MIN, i64::MIN), None);
        loop {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let end = record::block_end(&self.pool, kind, after, BLOCK).await?;
            let until = end.unwrap_or((i64::MAX, i64::MAX));
            let mut rows = record::expected(&self.pool, super::SINK, kind, after, until).await?;
            rows.sort_unstable_by_key(|row| (row.first, row.second));
            for row in &rows {
                found.checked += 1;
                found.dead += u64::from(row.dead);
                if last_chat != Some(row.first) {
                    last_chat = Some(row.first);
                    found.chats += 1;
                }
            }
            let wanted = if options.deep { self.documents(kind, &rows).await? } else { HashMap::new() };
            let mut rows: HashMap<String, Expected> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
            // Ids to look at again, with the row's key where there is one.
            let mut again: Vec<(String, Option<Key>)> = Vec::new();
            while let Some(hit) = pages.next_until(until).await? {
                match rows.remove(&hit.id) {
                    None => again.push((hit.id, None)),
                    Some(row) => {
                        let same = hit.version == row.revision
                            && wanted.get(&hit.id).is_none_or(|wanted| document::is_same(wanted, &hit.source));
                        if !same {
                            again.push((hit.id, Some(key_of(kind, &row))));
                        }
                    }
                }
                if again.len() >= BLOCK as usize {
                    self.judge(kind, alias, std::mem::take(&mut again), options, &mut found, report).await?;
                }
            }
            again.extend(rows.into_iter().map(|(id, row)| (id, Some(key_of(kind, &row)))));
            self.judge(kind, alias, again, options, &mut found, report).await?;
            match end {
                Some(end) => after = end,
                None => return Ok(found),
            }
        }
    }

    /// The second look at what seemed to differ; counts, names and repairs what does.
    async fn judge(
        &self,
        kind: Kind,
        alias: &str,
        again: Vec<(String, Option<Key>)>,
        options: AuditOptions,
        found: &mut KindReport,
        report: &mut AuditReport,
    ) -> Result<(), Error> {
        for part in again.chunks(500) {
            let suspects = self.suspects(kind, alias, part, options.deep, found).await?;
            for suspect in &suspects {
                match suspect.what {
                    Difference::Missing => found.missing += 1,
                    Difference::Extra => found.extra += 1,
                    Difference::Stale => found.stale += 1,
                    Difference::Altered => found.altered += 1,
                }
                if report.findings.len() < NAMED {
                    report.findings.push(Finding { kind, id: suspect.id.clone(), what: suspect.what });
                }
            }
            if options.repair {
                found.repaired += self.repair(kind, alias, &suspects).await?;
            }
        }
        Ok(())
    }

    async fn suspects(
        &self,
        kind: Kind,
        alias: &str,
        part: &[(String, Option<Key>)],
        deep: bool,
        found: &mut KindReport,
    ) -> Result<Vec<Suspect>, Error> {
        let keys: Vec<(i64, i64)> = part.iter().filter_map(|(_, key)| key.map(|key| (key.key1, key.key2))).collect();
        let rows: HashMap<(i64, i64), Expected> = record::expected_of(&self.pool, super::SINK, kind, &keys)
            .await?
            .into_iter()
            .map(|row| ((row.key1, row.key2), row))
            .collect();
        let wanted = if deep { self.documents(kind, &rows.values().cloned().collect::<Vec<_>>()).await? } else { HashMap::new() };
        let ids: Vec<&str> = part.iter().map(|(id, _)| id.as_str()).collect();
        let mut held: HashMap<String, Hit> =
            pages::by_ids(&self.client, alias, &ids, deep).await?.into_iter().map(|hit| (hit.id.clone(), hit)).collect();
        let mut suspects = Vec::new();
        for (id, key) in part {
            let row = key.and_then(|key| rows.get(&(key.key1, key.key2)));
            let hit = held.remove(id);
            if row.is_some_and(|row| row.dead) {
                continue;
            }
            if row.is_some_and(|row| row.pending) {
                found.pending += 1;
                continue;
            }
            let what = match (row, &hit) {
                (None, None) => continue,
                (None, Some(_)) => Difference::Extra,
                (Some(_), None) => Difference::Missing,
                // A later version may be a row that moved between the two looks: its entry is being acknowledged.
                (Some(row), Some(hit)) if hit.version != row.revision => {
                    let now = record::expected_of(&self.pool, super::SINK, kind, &[(row.key1, row.key2)]).await?;
                    if now.iter().any(|now| now.pending || now.revision == hit.version) {
                        continue;
                    }
                    Difference::Stale
                }
                (Some(_), Some(hit)) if wanted.get(id).is_some_and(|wanted| !document::is_same(wanted, &hit.source)) => {
                    Difference::Altered
                }
                (Some(_), Some(_)) => continue,
            };
            suspects.push(Suspect { id: id.clone(), key: *key, version: hit.map_or(0, |hit| hit.version), what });
        }
        Ok(suspects)
    }

    /// The documents that the index should hold of these rows.
    async fn documents(&self, kind: Kind, expected: &[Expected]) -> Result<HashMap<String, Map<String, Value>>, Error> {
        let keys: Vec<(i64, i64)> = expected.iter().map(|row| (row.key1, row.key2)).collect();
        let documents = document::of_keys(&self.pool, kind, &keys).await?;
        Ok(documents.into_values().flatten().map(|found| (found.id, found.body)).collect())
    }
}

fn key_of(kind: Kind, row: &Expected) -> Key {
    Key { kind, key1: row.key1, key2: row.key2 }
}
