//! The merge rules of one message: what a row becomes when something more is heard of it. Pure; no SQL here.
//!
//! Content is ordered by Telegram (pts, then edit_date, then receipt), never by arrival.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::content::content_hash;
use super::{ChatId, Message, Observation, Via};

/// A message row, provenance apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// None: a deletion of an unseen id in an account box.
    pub chat: Option<ChatId>,
    pub date: Option<DateTime<Utc>>,
    pub edit_date: Option<DateTime<Utc>>,
    /// None: a tombstone, or raw bytes only.
    pub body: Option<Map<String, Value>>,
    pub content_hash: Option<Vec<u8>>,
    pub revision: i64,
    /// The order key of the content.
    pub order_pts: Option<i32>,
    pub deleted_at: Option<DateTime<Utc>>,
    /// Set when the deletion was inferred from absence: last seen then.
    pub deleted_after: Option<DateTime<Utc>>,
    pub raw: Option<Vec<u8>>,
    pub raw_reason: Option<String>,
    /// The content came from an import and was not heard from Telegram since.
    pub imported: bool,
}

/// What a merge did, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing new was learned.
    Nothing,
    /// Equal content under a newer order key: stored, without a revision.
    Advanced,
    /// A real change: the revision grew.
    Revised,
    /// The first row of this id.
    New,
}

/// A row after a merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    pub row: Row,
    pub effect: Effect,
}

/// Merges content into what is known of its id.
pub fn merge(existing: Option<&Row>, incoming: &Message, seen: &Observation) -> Merged {
    let import = seen.via == Via::Import;
    let mut row = existing.cloned().unwrap_or_default();
    row.chat = row.chat.or(Some(incoming.chat));
    if existing.is_none() || row.body.is_none() && (!import || row.raw.is_none() || row.imported) {
        take(&mut row, incoming);
        row.imported = import;
    } else if import {
        fill(&mut row, incoming);
    } else if is_newer(&row, incoming, seen) {
        take(&mut row, incoming);
        row.imported = false;
        // Absence was the only witness of this deletion, and a later page contradicts it.
        if row.deleted_after.is_some() && seen.pts > row.order_pts {
            row.deleted_at = None;
            row.deleted_after = None;
        }
    }
    if !import {
        row.order_pts = row.order_pts.max(seen.pts);
    }
    finish(existing, row)
}

/// Merges a deletion: content stays. `after` is set when it is inferred from absence, and the id was last seen then.
pub fn delete(
    existing: Option<&Row>,
    chat: Option<ChatId>,
    at: DateTime<Utc>,
    after: Option<DateTime<Utc>>,
    seen: &Observation,
) -> Merged {
    let mut row = existing.cloned().unwrap_or_default();
    row.chat = row.chat.or(chat);
    if row.deleted_at.is_none() {
        row.deleted_at = Some(at);
        row.deleted_after = after;
        if after.is_some() {
            row.order_pts = row.order_pts.max(seen.pts);
        }
    } else if after.is_none() {
        // Told after it was inferred: certain now, and the first time stays.
        row.deleted_after = None;
    }
    finish(existing, row)
}

fn finish(existing: Option<&Row>, mut row: Row) -> Merged {
    let Some(before) = existing else {
        row.revision = 1;
        return Merged { row, effect: Effect::New };
    };
    let same = before.chat == row.chat
        && before.content_hash == row.content_hash
        && before.body.is_some() == row.body.is_some()
        && before.deleted_at == row.deleted_at
        && before.deleted_after == row.deleted_after
        && before.raw_reason == row.raw_reason;
    let effect = if !same {
        row.revision = before.revision + 1;
        Effect::Revised
    } else if before.order_pts != row.order_pts || before.imported != row.imported {
        Effect::Advanced
    } else {
        Effect::Nothing
    };
    Merged { row, effect }
}

fn is_newer(row: &Row, incoming: &Message, seen: &Observation) -> bool {
    if row.imported {
        return true;
    }
    match (row.order_pts, seen.pts) {
        (Some(before), Some(now)) if before != now => now > before,
        (None, Some(_)) => true,
        _ => incoming.edit_date >= row.edit_date,
    }
}

/// Content replaces content. What is partial (kept raw) erases nothing.
fn take(row: &mut Row, incoming: &Message) {
    row.date = incoming.date.or(row.date);
    row.edit_date = incoming.edit_date.or(row.edit_date);
    match &incoming.raw {
        None => {
            row.body = Some(incoming.body.clone());
            row.raw = None;
            row.raw_reason = None;
        }
        Some(raw) => {
            if !incoming.body.is_empty() {
                row.body.get_or_insert_default().extend(incoming.body.clone());
            }
            row.raw = Some(raw.bytes.clone());
            row.raw_reason = Some(raw.reason.clone());
        }
    }
    rehash(row);
}

/// An import adds what is absent, and only to the same version of the content.
fn fill(row: &mut Row, incoming: &Message) {
    if incoming.raw.is_some() || row.body.is_some() && row.edit_date != incoming.edit_date {
        return;
    }
    let body = row.body.get_or_insert_default();
    for (key, value) in &incoming.body {
        if !body.contains_key(key) {
            body.insert(key.clone(), value.clone());
        }
    }
    row.date = row.date.or(incoming.date);
    row.edit_date = row.edit_date.or(incoming.edit_date);
    rehash(row);
}

fn rehash(row: &mut Row) {
    row.content_hash = row.body.as_ref().map(|body| content_hash(row.date, row.edit_date, body));
}

#[cfg(test)]
#[path = "message_merge_tests.rs"]
mod tests;
