//! The `message` table: batched reading under lock, merging, and writing with outbox entries.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use super::boxes::BoxRow;
use super::change::{Change, announce};
use super::content::{spaced, without_nul};
use super::counts::FieldOrder;
use super::link::{self, Occurrence};
use super::member::{self, Relation};
use super::message_merge::{Effect, Merged, Row, count, delete, merge};
use super::outbox::Kind;
use super::version::{self, NewVersion, Teller};
use super::{BoxId, ChatId, Error, Message, Observation, erase, member_passing};

pub use super::counts::Counts;

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

/// Merges messages of a locked box into the record, with their versions and links, and what they tell of members. The caller has
/// checked that their chats are watched.
pub async fn commit(conn: &mut PgConnection, held: &BoxRow, messages: &[Message], seen: &Observation) -> Result<Written, Error> {
    let ids: Vec<i64> = messages.iter().map(|message| message.id).collect();
    let chats: Vec<ChatId> = messages.iter().map(|message| message.chat).collect();
    let mut batch = Batch::read(conn, held, &ids, &chats).await?;
    for message in messages {
        let clean = without_nul(message);
        batch.apply(message.id, seen, |row, erasing| {
            let erases = erasing.contains(&row.and_then(|row| row.chat).unwrap_or(message.chat));
            merge(row, clean.as_ref(), seen, erases)
        });
        batch.add_beside(clean.as_ref());
    }
    batch.write(conn, seen).await
}

/// Merges what was pushed of messages without their content, in a locked box. An id without a row, or with none but a tombstone, is
/// passed over; counts make no version.
pub async fn commit_counts(
    conn: &mut PgConnection,
    held: &BoxRow,
    counts: &[Counts],
    seen: &Observation,
) -> Result<Written, Error> {
    if counts.is_empty() {
        return Ok(Written::default());
    }
    let ids: Vec<i64> = counts.iter().map(|told| told.id).collect();
    let mut batch = Batch::read(conn, held, &ids, &[]).await?;
    for told in counts {
        if let Some(row) = batch.rows.get(&told.id).filter(|row| row.body.is_some()) {
            let merged = count(row, told, seen);
            batch.apply(told.id, seen, |_, _| merged);
        }
    }
    batch.write(conn, seen).await
}

/// One deletion: its id, and when the message was last seen if it is inferred from absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    pub id: i64,
    pub after: Option<DateTime<Utc>>,
}

/// Marks ids of a locked box as deleted. An id never seen gets a row without content. Where the chat's watch says so, what was stored is
/// erased.
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
    let mut batch = Batch::read(conn, held, &ids, &[]).await?;
    for deletion in deletions {
        batch.apply(deletion.id, seen, |row, erasing| {
            let erases = row.and_then(|row| row.chat).or(held.channel).is_some_and(|chat| erasing.contains(&chat));
            delete(row, held.channel, now, deletion.after, seen, erases)
        });
    }
    let erased: BTreeSet<i64> = ids.into_iter().filter(|id| batch.rows[id].erased).collect();
    let erased: Vec<(i64, i64)> = erased.into_iter().map(|id| (id, batch.rows[&id].revision)).collect();
    let written = batch.write(conn, seen).await?;
    erase::remove(conn, held, &erased).await?;
    Ok(written)
}

/// Rows under their lock, with what was done to them.
struct Batch<'a> {
    held: &'a BoxRow,
    /// Chats of these rows whose watch says that a deletion erases.
    erasing: Vec<ChatId>,
    rows: BTreeMap<i64, Row>,
    /// Who told what the rows held before.
    tellers: BTreeMap<i64, Teller>,
    effects: BTreeMap<i64, Effect>,
    versions: Vec<NewVersion>,
    links: Vec<Occurrence>,
    relations: Vec<Relation>,
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
    field_pts: Option<sqlx::types::Json<FieldOrder>>,
    version_pts: Option<i32>,
    other_pts: Option<i32>,
    erased: bool,
    account_id: Option<i64>,
    via: String,
    job: Option<i64>,
}

impl<'a> Batch<'a> {
    async fn read(conn: &mut PgConnection, held: &'a BoxRow, ids: &[i64], chats: &[ChatId]) -> Result<Self, Error> {
        let ids: Vec<i64> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let stored: Vec<Stored> = sqlx::query_as(
            "select message_id, chat_id, date, edit_date, body, content_hash, revision, order_pts, deleted_at, deleted_after,
                raw, raw_reason, via = 'import' and order_pts is null as imported, field_pts, version_pts, other_pts, erased,
                account_id, via, job
            from message where box_id = $1 and message_id = any($2) order by message_id for update",
        )
        .bind(held.id.0)
        .bind(&ids)
        .fetch_all(&mut *conn)
        .await?;
        let mut batch = Self {
            held,
            erasing: Vec::new(),
            rows: BTreeMap::new(),
            tellers: BTreeMap::new(),
            effects: BTreeMap::new(),
            versions: Vec::new(),
            links: Vec::new(),
            relations: Vec::new(),
        };
        for row in stored {
            let teller = Teller { account: row.account_id, via: row.via.clone(), job: row.job };
            batch.tellers.insert(row.message_id, teller);
            batch.rows.insert(row.message_id, row.into_row());
        }
        let of_rows = batch.rows.values().filter_map(|row| row.chat);
        let chats: BTreeSet<ChatId> = of_rows.chain(held.channel).chain(chats.iter().copied()).collect();
        batch.erasing = erase::erasing(conn, &chats.into_iter().collect::<Vec<_>>()).await?;
        Ok(batch)
    }

    /// Later facts of one call build on earlier ones of it.
    fn apply(&mut self, id: i64, seen: &Observation, change: impl FnOnce(Option<&Row>, &[ChatId]) -> Merged) {
        let Merged { row, effect, versions } = change(self.rows.get(&id), &self.erasing);
        let now = Teller { account: Some(seen.account.0), via: seen.via.as_str().to_owned(), job: seen.job };
        let touched = self.effects.get(&id).is_some_and(|effect| *effect >= Effect::Revised);
        for stood in versions {
            let before = self.tellers.get(&id).filter(|_| stood.from_row && !touched);
            let teller = before.unwrap_or(&now).clone();
            let chat = row.chat.map_or(0, |chat| chat.0);
            self.versions.push(NewVersion { message_id: id, chat, revision: row.revision, stood, teller });
        }
        self.rows.insert(id, row);
        let known = self.effects.entry(id).or_insert(Effect::Nothing);
        *known = (*known).max(effect);
    }

    /// Links of a message that was applied, and the members whom it shows, whether it was the newest or not: they occurred.
    fn add_beside(&mut self, message: &Message) {
        let Some(row) = self.rows.get(&message.id).filter(|row| !row.erased) else { return };
        for link in &message.links {
            self.links.push(Occurrence {
                message_id: message.id,
                chat: message.chat.0,
                revision: row.revision,
                user_id: message.body.get("from_user_id").and_then(Value::as_i64),
                date: message.date,
                link: link.clone(),
            });
        }
        self.relations.extend(member_passing::of_message(message));
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
                    unchanged.push((id, row));
                    continue;
                }
            }
            columns.push(id, row);
            // Without a chat there is no document yet.
            if row.chat.is_some() {
                changes.push(Change { key1: self.held.id.0, key2: id, revision: row.revision });
            }
        }
        written.unchanged = unchanged.len();
        columns.upsert(conn, self.held.id, seen).await?;
        advance(conn, self.held.id, &unchanged).await?;
        announce(conn, Kind::Message, &changes).await?;
        version::keep(conn, self.held, self.versions).await?;
        link::insert(conn, self.held, &self.links, seen).await?;
        member::merge(conn, &self.relations, seen).await?;
        Ok(written)
    }
}

/// Stores that rows were seen again, with their order keys.
async fn advance(conn: &mut PgConnection, held: BoxId, rows: &[(i64, &Row)]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update message m set last_seen = now(), order_pts = n.pts, field_pts = n.fields, version_pts = n.version,
            other_pts = n.other, erased = n.erased
        from unnest($2::bigint[], $3::int[], $4::jsonb[], $5::int[], $6::int[], $7::boolean[])
            n (id, pts, fields, version, other, erased)
        where m.box_id = $1 and m.message_id = n.id",
    )
    .bind(held.0)
    .bind(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, row)| row.order_pts).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, row)| field_pts(row)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, row)| row.version_pts).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, row)| row.other_pts).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, row)| row.erased).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Most rows have none.
fn field_pts(row: &Row) -> Option<Value> {
    (!row.field_pts.is_empty()).then(|| json!(row.field_pts))
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
            field_pts: self.field_pts.map(|fields| fields.0).unwrap_or_default(),
            version_pts: self.version_pts,
            other_pts: self.other_pts,
            erased: self.erased,
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
    fields: Vec<Option<Value>>,
    versions: Vec<Option<i32>>,
    others: Vec<Option<i32>>,
    erased: Vec<bool>,
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
        self.fields.push(field_pts(row));
        self.versions.push(row.version_pts);
        self.others.push(row.other_pts);
        self.erased.push(row.erased);
    }

    async fn upsert(self, conn: &mut PgConnection, held: BoxId, seen: &Observation) -> Result<(), Error> {
        if self.ids.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into message as m (box_id, message_id, chat_id, date, edit_date, body, content_hash, revision, order_pts,
                deleted_at, deleted_after, raw, raw_reason, search, account_id, via, job, field_pts, version_pts, other_pts, erased)
            select $1, n.id, n.chat, n.date, n.edit_date, n.body, n.hash, n.revision, n.pts,
                n.deleted_at, n.deleted_after, n.raw, n.reason, to_tsvector('simple', n.text), $15, $16, $17,
                n.fields, n.version, n.other, n.erased
            from unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::jsonb[], $7::bytea[], $8::bigint[],
                $9::int[], $10::timestamptz[], $11::timestamptz[], $12::bytea[], $13::text[], $14::text[],
                $18::jsonb[], $19::int[], $20::int[], $21::boolean[])
                n (id, chat, date, edit_date, body, hash, revision, pts, deleted_at, deleted_after, raw, reason, text,
                    fields, version, other, erased)
            on conflict (box_id, message_id) do update set
                chat_id = excluded.chat_id, date = excluded.date, edit_date = excluded.edit_date, body = excluded.body,
                content_hash = excluded.content_hash, revision = excluded.revision, order_pts = excluded.order_pts,
                received_at = case when m.content_hash is distinct from excluded.content_hash then now() else m.received_at end,
                deleted_at = excluded.deleted_at, deleted_after = excluded.deleted_after, raw = excluded.raw,
                raw_reason = excluded.raw_reason, search = excluded.search, last_seen = now(),
                account_id = excluded.account_id, via = excluded.via, job = excluded.job,
                field_pts = excluded.field_pts, version_pts = excluded.version_pts, other_pts = excluded.other_pts,
                erased = excluded.erased,
                lost_reason = case when excluded.body is null and excluded.raw is null then m.lost_reason end",
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
        .bind(self.fields)
        .bind(self.versions)
        .bind(self.others)
        .bind(self.erased)
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// The text that the record's own search looks through.
fn searchable(body: &Map<String, Value>) -> Option<String> {
    body.get("text").and_then(Value::as_str).filter(|text| !text.is_empty()).map(spaced)
}
