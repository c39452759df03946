//! The merge rules of one message: what a row becomes when something more is heard of it. Pure; no SQL here.
//!
//! Content is ordered by Telegram (pts, then edit_date, then receipt), never by arrival. What a newer content replaces, and what an older
//! one said, is a version: it stood once.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::content::content_hash;
use super::counts::{COUNTS, Counted, Counts, FieldOrder, is_empty};
use super::version::{Stood, says_the_same, version_hash};
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
    /// Order keys of the body's fields that were told apart from the content.
    pub field_pts: FieldOrder,
    /// The lowest order key under which this text with its media was seen.
    pub version_pts: Option<i32>,
    /// The highest order key under which another one was seen: above `version_pts`, this one stood before that, too.
    pub other_pts: Option<i32>,
    pub deleted_at: Option<DateTime<Utc>>,
    /// Set when the deletion was inferred from absence: last seen then.
    pub deleted_after: Option<DateTime<Utc>>,
    /// Deleted under a watch that erases: a tombstone for good.
    pub erased: bool,
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
    /// Versions to keep; one that is kept already may be among them.
    pub versions: Vec<Stood>,
}

/// Merges content into what is known of its id. `erases`: a deletion in this chat erases.
pub fn merge(existing: Option<&Row>, incoming: &Message, seen: &Observation, erases: bool) -> Merged {
    let import = seen.via == Via::Import;
    let pts = if import { None } else { incoming.pts.or(seen.pts) };
    let mut row = existing.cloned().unwrap_or_default();
    let mut versions = Vec::new();
    row.chat = row.chat.or(Some(incoming.chat));
    // Absence was the only witness of this deletion, and a later page contradicts it.
    let withdrawn = row.deleted_after.is_some() && pts > row.order_pts;
    let empty = row.body.is_none() && row.raw.is_none();
    if row.deleted_at.is_some() && !withdrawn && (row.erased || erases && empty) {
        row.erased = true;
        row.date = row.date.or(incoming.date);
    } else if existing.is_none() || empty || row.body.is_none() && row.imported {
        take(&mut row, incoming, pts);
        row.imported = import;
        row.version_pts = pts;
    } else if import {
        versions.extend(import_stood(&row, incoming));
        fill(&mut row, incoming);
    } else if is_newer(&row, incoming, pts) {
        versions.extend(replace(&mut row, incoming, pts));
    } else {
        versions = look_back(&mut row, incoming, pts);
    }
    if withdrawn {
        row.deleted_at = None;
        row.deleted_after = None;
        row.erased = false;
    }
    row.order_pts = row.order_pts.max(pts);
    finish(existing, row, versions)
}

/// Merges a deletion: content stays, or goes where the chat's watch `erases`. `after` is set when it is inferred from absence, and the
/// id was last seen then.
pub fn delete(
    existing: Option<&Row>,
    chat: Option<ChatId>,
    at: DateTime<Utc>,
    after: Option<DateTime<Utc>>,
    seen: &Observation,
    erases: bool,
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
    if erases {
        let Row { chat, date, revision, order_pts, deleted_at, deleted_after, .. } = row;
        row = Row { chat, date, revision, order_pts, deleted_at, deleted_after, erased: true, ..Row::default() };
    }
    finish(existing, row, Vec::new())
}

/// Merges pushed counts; a row without content has none.
pub fn count(existing: &Row, counts: &Counts, seen: &Observation) -> Merged {
    let mut row = existing.clone();
    if let Some(body) = row.body.take() {
        let mut counted = Counted { body, field_pts: std::mem::take(&mut row.field_pts) };
        counted.push(counts, row.order_pts, seen.pts);
        set(&mut row, counted);
    }
    finish(Some(existing), row, Vec::new())
}

fn finish(existing: Option<&Row>, mut row: Row, versions: Vec<Stood>) -> Merged {
    let Some(before) = existing else {
        row.revision = 1;
        return Merged { row, effect: Effect::New, versions };
    };
    let same = before.chat == row.chat
        && before.date == row.date
        && before.content_hash == row.content_hash
        && before.body.is_some() == row.body.is_some()
        && before.deleted_at == row.deleted_at
        && before.deleted_after == row.deleted_after
        && before.raw_reason == row.raw_reason;
    let effect = if !same {
        row.revision = before.revision + 1;
        Effect::Revised
    } else if *before != row {
        Effect::Advanced
    } else {
        Effect::Nothing
    };
    Merged { row, effect, versions }
}

fn is_newer(row: &Row, incoming: &Message, pts: Option<i32>) -> bool {
    if row.imported {
        return true;
    }
    match (row.order_pts, pts) {
        (Some(before), Some(now)) if before != now => now > before,
        (None, Some(_)) => true,
        _ => incoming.edit_date >= row.edit_date,
    }
}

/// Fields that a text brings with it, or has not.
const OF_TEXT: [&str; 6] = ["text_language", "entities", "links", "mentions", "hashtags", "cashtags"];

/// Content replaces content. What is partial (kept raw) erases nothing.
fn take(row: &mut Row, incoming: &Message, pts: Option<i32>) {
    row.date = incoming.date.or(row.date);
    let mut known = Counted { body: row.body.take().unwrap_or_default(), field_pts: std::mem::take(&mut row.field_pts) };
    match &incoming.raw {
        None => {
            row.edit_date = incoming.edit_date;
            // What Telegram does not tell, a file that is older need not tell either.
            let known = if row.imported { Counted::default() } else { known };
            set(row, known.replaced(row.order_pts, &incoming.body, pts, true));
            row.raw = None;
            row.raw_reason = None;
        }
        Some(raw) => {
            row.edit_date = incoming.edit_date.or(row.edit_date);
            if incoming.body.contains_key("text") {
                known.body.retain(|field, _| !OF_TEXT.contains(&field.as_str()));
            }
            if !incoming.body.is_empty() {
                known = known.replaced(row.order_pts, &incoming.body, pts, false);
            }
            if known.body.is_empty() {
                rehash(row)
            } else {
                set(row, known)
            }
            row.raw = Some(raw.bytes.clone());
            row.raw_reason = Some(raw.reason.clone());
        }
    }
}

fn set(row: &mut Row, counted: Counted) {
    row.body = Some(counted.body);
    row.field_pts = counted.field_pts;
    rehash(row);
}

/// Newer content: takes the row, and gives what stood there if it was another version.
fn replace(row: &mut Row, incoming: &Message, pts: Option<i32>) -> Option<Stood> {
    let before = row.clone();
    take(row, incoming, pts);
    row.imported = false;
    let (Some(old), Some(new)) = (&before.body, &row.body) else {
        row.version_pts = pts;
        return None;
    };
    if version_hash(old) == version_hash(new) {
        row.version_pts = lower(row.version_pts, pts);
        return None;
    }
    row.version_pts = pts;
    // The same, told in full now, is no other version.
    if is_poor(&before) && says_the_same(old, new) {
        return None;
    }
    row.other_pts = row.other_pts.max(before.order_pts);
    stood(&before)
}

/// Older content: changes nothing but counts that nothing newer told, and stood once.
fn look_back(row: &mut Row, incoming: &Message, pts: Option<i32>) -> Vec<Stood> {
    // Of what is partial nobody can say which version it was.
    if incoming.raw.is_some() {
        return Vec::new();
    }
    let Some(body) = row.body.take() else {
        // The newer content is there in raw bytes alone: this is the best that can be read of it.
        let (raw, reason) = (row.raw.take(), row.raw_reason.take());
        take(row, incoming, pts);
        row.version_pts = pts;
        (row.raw, row.raw_reason) = (raw, reason);
        return Vec::new();
    };
    let mut versions = Vec::new();
    if version_hash(&body) == version_hash(&incoming.body) {
        row.version_pts = lower(row.version_pts, pts);
    } else if !is_poor(row) || !says_the_same(&body, &incoming.body) {
        row.other_pts = row.other_pts.max(pts);
        versions.push(told(incoming, false));
    }
    let mut counted = Counted { body, field_pts: std::mem::take(&mut row.field_pts) };
    counted.fill(&incoming.body, pts);
    set(row, counted);
    if row.version_pts.is_some() && row.version_pts < row.other_pts {
        versions.extend(stood(row));
    }
    versions
}

/// An import that says something else than the row holds a version that stood when the file was written.
fn import_stood(row: &Row, incoming: &Message) -> Option<Stood> {
    let body = row.body.as_ref()?;
    (incoming.raw.is_none() && !says_the_same(body, &incoming.body)).then(|| told(incoming, true))
}

/// From an import, or normalised in part: entities and media ids may be missing.
fn is_poor(row: &Row) -> bool {
    row.imported || row.raw.is_some()
}

fn stood(row: &Row) -> Option<Stood> {
    let body = row.body.clone()?;
    Some(Stood { date: row.date, edit_date: row.edit_date, body, poor: is_poor(row), from_row: true })
}

fn told(message: &Message, poor: bool) -> Stood {
    Stood { date: message.date, edit_date: message.edit_date, body: message.body.clone(), poor, from_row: false }
}

/// The lower of two order keys; one that is absent says nothing.
fn lower(one: Option<i32>, two: Option<i32>) -> Option<i32> {
    one.into_iter().chain(two).min()
}

/// An import adds what is absent, and only to the same version of the content.
fn fill(row: &mut Row, incoming: &Message) {
    if incoming.raw.is_some() || row.body.is_some() && row.edit_date != incoming.edit_date {
        return;
    }
    let body = row.body.get_or_insert_default();
    for (key, value) in incoming.body.iter().filter(|(_, value)| !is_empty(Some(value))) {
        // A count that was told to be none is not absent.
        if !body.contains_key(key) && !row.field_pts.contains_key(key) {
            body.insert(key.clone(), value.clone());
            if COUNTS.contains(&key.as_str()) {
                row.field_pts.insert(key.clone(), None);
            }
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

#[cfg(test)]
#[path = "version_tests.rs"]
mod version_tests;
