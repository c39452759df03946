//! The `message` table: batched reading under lock, merging, and writing with outbox entries.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::boxes::BoxRow;
use super::change::{Change, announce};
use super::content::{spaced, without_nul};
use super::message_merge::{Effect, Row, delete, merge};
use super::outbox::Kind;
use super::{BoxId, ChatId, Error, Message, Observation};

/// What a commit did to the messages' rows; ids ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Ids that had no row.
    pub new: Vec<i64>,
    /// Ids whose row got a further revision.
    pub revised: Vec<i64>,
    /// How many observations changed no revision.
    pub unchanged: usize,
}

impl Written {
    /// Adds what a later commit of the same transaction did.
    pub fn extend(&mut self, later: Written) {
        self.new.extend(later.new);
        self.revised.extend(later.revised);
        self.unchanged += later.unchanged;
    }
}

/// Merges messages of a locked box into the record. The caller has checked that their chats are watched.
pub async fn commit(conn: &mut PgConnection, held: &BoxRow, messages: &[Message], seen: &Observation) -> Result<Written, Error> {
    let ids: Vec<i64> = messages.iter().map(|message| message.id).collect();
    let mut batch = Batch::read(conn, held.id, &ids).await?;
    for message in messages {
        let clean = without_nul(message);
        let seen = Observation { pts: message.pts.or(seen.pts), ..*seen };
        batch.apply(message.id, |row| merge(row, clean.as_ref(), &seen));
    }
    batch.write(conn, seen).await
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counts {
    pub id: i64,
    pub views: Option<i64>,
    pub forwards: Option<i64>,
    pub reply_count: Option<i64>,
    pub reactions: Option<Vec<Value>>,
    pub pinned: Option<bool>,
}

impl Counts {
    pub fn of(id: i64) -> Self {
        Self { id, ..Self::default() }
    }
}

pub async fn commit_counts(_: &mut PgConnection, _: &BoxRow, _: &[Counts], _: &Observation) -> Result<Written, Error> {
    Ok(Written::default())
}

/// One deletion: its id, and when the message was last seen if it is inferred from absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    pub id: i64,
    pub after: Option<DateTime<Utc>>,
}

/// Marks ids of a locked box as deleted. An id never seen gets a row without content.
pub async fn commit_deletions(
    conn: &mut PgConnection,
    held: &BoxRow,
    deletions: &[Deletion],
    seen: &Observation,
) -> Result<Written, Error> {
    if deletions.is_empty() {
        return Ok(Written::default());
    }
    let ids: Vec<i64> = deletions.iter().map(|deletion| deletion.id).collect();
    let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&mut *conn).await?;
    let mut batch = Batch::read(conn, held.id, &ids).await?;
    for deletion in deletions {
        batch.apply(deletion.id, |row| delete(row, held.channel, now, deletion.after, seen));
    }
    batch.write(conn, seen).await
}

/// Rows under their lock, with what was done to them.
struct Batch {
    held: BoxId,
    rows: BTreeMap<i64, Row>,
    effects: BTreeMap<i64, Effect>,
}

#[derive(sqlx::FromRow)]
struct Stored {
    message_id: i64,
    chat_id: Option<i64>,
    date: Option<DateTime<Utc>>,
    edit_date: Option<DateTime<Utc>>,
    body: Option<Value>,
    content_hash: Option<Vec<u8>>,
    revision: i64,
    order_pts: Option<i32>,
    deleted_at: Option<DateTime<Utc>>,
    deleted_after: Option<DateTime<Utc>>,
    raw: Option<Vec<u8>>,
    raw_reason: Option<String>,
    imported: bool,
}

impl Batch {
    async fn read(conn: &mut PgConnection, held: BoxId, ids: &[i64]) -> Result<Self, Error> {
        let ids: Vec<i64> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let stored: Vec<Stored> = sqlx::query_as(
            "select message_id, chat_id, date, edit_date, body, content_hash, revision, order_pts, deleted_at, deleted_after,
                raw, raw_reason, via = 'import' and order_pts is null as imported
            from message where box_id = $1 and message_id = any($2) order by message_id for update",
        )
        .bind(held.0)
        .bind(&ids)
        .fetch_all(conn)
        .await?;
        let rows = stored.into_iter().map(|stored| (stored.message_id, stored.into_row())).collect();
        Ok(Self { held, rows, effects: BTreeMap::new() })
    }

    /// Later facts of one call build on earlier ones of it.
    fn apply(&mut self, id: i64, change: impl FnOnce(Option<&Row>) -> super::message_merge::Merged) {
        let merged = change(self.rows.get(&id));
        self.rows.insert(id, merged.row);
        let effect = self.effects.entry(id).or_insert(Effect::Nothing);
        *effect = (*effect).max(merged.effect);
    }

    async fn write(self, conn: &mut PgConnection, seen: &Observation) -> Result<Written, Error> {
        let mut written = Written::default();
        let mut columns = Columns::default();
        let mut unchanged = Vec::new();
        let mut changes = Vec::new();
        for (&id, &effect) in &self.effects {
            let row = &self.rows[&id];
            match effect {
                Effect::New => written.new.push(id),
                Effect::Revised => written.revised.push(id),
                Effect::Advanced | Effect::Nothing => {
                    unchanged.push(id);
                    continue;
                }
            }
            columns.push(id, row);
            // Without a chat there is no document yet.
            if row.chat.is_some() {
                changes.push(Change { key1: self.held.0, key2: id, revision: row.revision });
            }
        }
        written.unchanged = unchanged.len();
        columns.upsert(conn, self.held, seen).await?;
        if !unchanged.is_empty() {
            sqlx::query(
                "update message set last_seen = now(), order_pts = greatest(order_pts, $3)
                where box_id = $1 and message_id = any($2)",
            )
            .bind(self.held.0)
            .bind(&unchanged)
            .bind(seen.pts)
            .execute(&mut *conn)
            .await?;
        }
        announce(conn, Kind::Message, &changes).await?;
        Ok(written)
    }
}

impl Stored {
    fn into_row(self) -> Row {
        let body = match self.body {
            Some(Value::Object(map)) => Some(map),
            _ => None,
        };
        Row {
            chat: self.chat_id.map(ChatId),
            date: self.date,
            edit_date: self.edit_date,
            body,
            content_hash: self.content_hash,
            revision: self.revision,
            order_pts: self.order_pts,
            deleted_at: self.deleted_at,
            deleted_after: self.deleted_after,
            raw: self.raw,
            raw_reason: self.raw_reason,
            imported: self.imported,
        }
    }
}

/// One statement's columns.
#[derive(Default)]
struct Columns {
    ids: Vec<i64>,
    chats: Vec<Option<i64>>,
    dates: Vec<Option<DateTime<Utc>>>,
    edit_dates: Vec<Option<DateTime<Utc>>>,
    bodies: Vec<Option<Value>>,
    hashes: Vec<Option<Vec<u8>>>,
    revisions: Vec<i64>,
    orders: Vec<Option<i32>>,
    deleted_at: Vec<Option<DateTime<Utc>>>,
    deleted_after: Vec<Option<DateTime<Utc>>>,
    raws: Vec<Option<Vec<u8>>>,
    reasons: Vec<Option<String>>,
    texts: Vec<Option<String>>,
}

impl Columns {
    fn push(&mut self, id: i64, row: &Row) {
        self.ids.push(id);
        self.chats.push(row.chat.map(|chat| chat.0));
        self.dates.push(row.date);
        self.edit_dates.push(row.edit_date);
        self.bodies.push(row.body.clone().map(Value::Object));
        self.hashes.push(row.content_hash.clone());
        self.revisions.push(row.revision);
        self.orders.push(row.order_pts);
        self.deleted_at.push(row.deleted_at);
        self.deleted_after.push(row.deleted_after);
        self.raws.push(row.raw.clone());
        self.reasons.push(row.raw_reason.clone());
        self.texts.push(row.body.as_ref().and_then(searchable));
    }

    async fn upsert(self, conn: &mut PgConnection, held: BoxId, seen: &Observation) -> Result<(), Error> {
        if self.ids.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into message as m (box_id, message_id, chat_id, date, edit_date, body, content_hash, revision, order_pts,
                deleted_at, deleted_after, raw, raw_reason, search, account_id, via, job)
            select $1, n.id, n.chat, n.date, n.edit_date, n.body, n.hash, n.revision, n.pts,
                n.deleted_at, n.deleted_after, n.raw, n.reason, to_tsvector('simple', n.text), $15, $16, $17
            from unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::jsonb[], $7::bytea[], $8::bigint[],
                $9::int[], $10::timestamptz[], $11::timestamptz[], $12::bytea[], $13::text[], $14::text[])
                n (id, chat, date, edit_date, body, hash, revision, pts, deleted_at, deleted_after, raw, reason, text)
            on conflict (box_id, message_id) do update set
                chat_id = excluded.chat_id, date = excluded.date, edit_date = excluded.edit_date, body = excluded.body,
                content_hash = excluded.content_hash, revision = excluded.revision, order_pts = excluded.order_pts,
                received_at = case when m.content_hash is distinct from excluded.content_hash then now() else m.received_at end,
                deleted_at = excluded.deleted_at, deleted_after = excluded.deleted_after, raw = excluded.raw,
                raw_reason = excluded.raw_reason, search = excluded.search, last_seen = now(),
                account_id = excluded.account_id, via = excluded.via, job = excluded.job",
        )
        .bind(held.0)
        .bind(self.ids)
        .bind(self.chats)
        .bind(self.dates)
        .bind(self.edit_dates)
        .bind(self.bodies)
        .bind(self.hashes)
        .bind(self.revisions)
        .bind(self.orders)
        .bind(self.deleted_at)
        .bind(self.deleted_after)
        .bind(self.raws)
        .bind(self.reasons)
        .bind(self.texts)
        .bind(seen.account.0)
        .bind(seen.via.as_str())
        .bind(seen.job)
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// The text that the record's own search looks through.
fn searchable(body: &Map<String, Value>) -> Option<String> {
    body.get("text").and_then(Value::as_str).filter(|text| !text.is_empty()).map(spaced)
}
