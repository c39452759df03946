//! The `member` table: who stands where in a watched chat. Rows are merged as they are told, in lists and one by one.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection};

use super::change::{Change, announce};
use super::content::{content_hash, replace_nul};
use super::outbox::Kind;
use super::{ChatId, Error, Observation};

pub use super::member_merge::{Relation, Row, Said, Standing, Status, When, merge as merged};

/// A key: chat and user.
type Key = (i64, i64);

#[derive(FromRow)]
struct Stored {
    chat_id: i64,
    user_id: i64,
    status: Option<String>,
    present: Option<bool>,
    body: Value,
    told_date: Option<DateTime<Utc>>,
    told_id: i64,
    told_at: Option<DateTime<Utc>>,
    snapshot: Option<i64>,
    first_seen: DateTime<Utc>,
    last_seen: DateTime<Utc>,
}

impl From<Stored> for (Key, Row) {
    fn from(it: Stored) -> Self {
        let row = Row {
            status: it.status.as_deref().and_then(Status::parse),
            present: it.present,
            body: if let Value::Object(body) = it.body { body } else { Map::new() },
            told_date: it.told_date,
            told_id: it.told_id,
            told_at: it.told_at,
            snapshot: it.snapshot,
            first_seen: it.first_seen,
            last_seen: it.last_seen,
        };
        ((it.chat_id, it.user_id), row)
    }
}

const READ: &str = "select chat_id, user_id, status, present, body, told_date, told_id, told_at, snapshot, first_seen, last_seen
    from unnest($1::bigint[], $2::bigint[]) k (chat_id, user_id) join member using (chat_id, user_id)";

const LOCK: &str = "select chat_id, user_id, status, present, body, told_date, told_id, told_at, snapshot, first_seen, last_seen
    from member where (chat_id, user_id) in (select * from unnest($1::bigint[], $2::bigint[]))
    order by chat_id, user_id for update";

/// Merges relations in the order in which they were told. The caller has checked that their chats are watched, and holds their boxes:
/// a chat's members are written under the lock of its box. Gives how many members are new or changed.
pub async fn merge(conn: &mut PgConnection, relations: &[Relation], seen: &Observation) -> Result<usize, Error> {
    if relations.is_empty() {
        return Ok(0);
    }
    let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&mut *conn).await?;
    let mut told: BTreeMap<Key, Vec<&Relation>> = BTreeMap::new();
    for relation in relations {
        told.entry((relation.chat.0, relation.user)).or_default().push(relation);
    }
    let after = |known: Option<&Row>, key: &Key| -> Option<Row> {
        let row = told[key].iter().fold(known.cloned(), |row, relation| Some(merged(row.as_ref(), relation, now)))?;
        Some(cleaned(row, known))
    };
    // Most of what is told again and again is known: that costs one read and no lock.
    let known = rows(conn, READ, told.keys()).await?;
    let news: BTreeSet<Key> = told.keys().filter(|key| after(known.get(key), key).as_ref() != known.get(key)).copied().collect();
    let fresh: Vec<(Key, Row)> =
        news.iter().filter(|key| !known.contains_key(key)).filter_map(|key| Some((*key, after(None, key)?))).collect();
    let mut changes = insert(conn, fresh, seen).await?;
    let left: Vec<Key> = news.iter().filter(|key| !changes.iter().any(|it| (it.key1, it.key2) == **key)).copied().collect();
    let mut next = Columns::default();
    for (key, row) in rows(conn, LOCK, left.iter()).await? {
        if let Some(merged) = after(Some(&row), &key).filter(|merged| *merged != row) {
            next.push(key, &merged, !merged.says_the_same(&row));
        }
    }
    changes.extend(update(conn, next, seen).await?);
    changes.sort_unstable();
    announce(conn, Kind::Member, &changes).await?;
    Ok(changes.len())
}

/// As it can be stored; which list told it is kept as of the last change.
fn cleaned(mut row: Row, known: Option<&Row>) -> Row {
    row.body.values_mut().for_each(replace_nul);
    if let Some(known) = known.filter(|known| known.says_the_same(&row)) {
        row.snapshot = known.snapshot;
    }
    row
}

/// Those who were known to be in a chat before a moment of the database's clock and of whom nothing was told since, locked.
pub(super) async fn unheard_since(conn: &mut PgConnection, chat: ChatId, since: DateTime<Utc>) -> Result<Vec<i64>, Error> {
    Ok(sqlx::query_scalar(
        "select user_id from member where chat_id = $1 and present and told_at < $2 and last_seen < $2 order by user_id for update",
    )
    .bind(chat.0)
    .bind(since)
    .fetch_all(conn)
    .await?)
}

/// Those who were known to be banned before a moment of the database's clock and of whom nothing was told since, locked.
pub(super) async fn bans_unheard_since(conn: &mut PgConnection, chat: ChatId, since: DateTime<Utc>) -> Result<Vec<i64>, Error> {
    Ok(sqlx::query_scalar(
        "select user_id from member where chat_id = $1 and status = 'banned' and told_at < $2 order by user_id for update",
    )
    .bind(chat.0)
    .bind(since)
    .fetch_all(conn)
    .await?)
}

async fn rows<'k>(
    conn: &mut PgConnection,
    statement: &'static str,
    keys: impl Iterator<Item = &'k Key>,
) -> Result<BTreeMap<Key, Row>, Error> {
    let (chats, users): (Vec<i64>, Vec<i64>) = keys.copied().unzip();
    if chats.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<Stored> = sqlx::query_as(statement).bind(chats).bind(users).fetch_all(conn).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Inserts what has no row; gives those that had none even now.
async fn insert(conn: &mut PgConnection, rows: Vec<(Key, Row)>, seen: &Observation) -> Result<Vec<Change>, Error> {
    let mut columns = Columns::default();
    rows.iter().for_each(|(key, row)| columns.push(*key, row, true));
    const INSERT: &str = "insert into member (chat_id, user_id, status, present, body, content_hash, told_date, told_id, told_at, snapshot,
            first_seen, last_seen, account_id, via, job)
        select n.chat, n.user_id, n.status, n.present, n.body, n.hash, n.told_date, n.told_id, n.told_at, n.snapshot, n.first_seen,
            n.last_seen, $1, $2, $3
        from unnest($4::bigint[], $5::bigint[], $6::text[], $7::boolean[], $8::jsonb[], $9::bytea[], $10::timestamptz[], $11::bigint[],
            $12::timestamptz[], $13::bigint[], $14::timestamptz[], $15::timestamptz[], $16::boolean[])
            n (chat, user_id, status, present, body, hash, told_date, told_id, told_at, snapshot, first_seen, last_seen, changed)
        order by n.chat, n.user_id
        on conflict (chat_id, user_id) do nothing
        returning chat_id, user_id, revision";
    columns.run(conn, INSERT, seen).await
}

/// Writes locked rows; gives those with a new revision.
async fn update(conn: &mut PgConnection, columns: Columns, seen: &Observation) -> Result<Vec<Change>, Error> {
    const UPDATE: &str = "with n as (
            select * from unnest($4::bigint[], $5::bigint[], $6::text[], $7::boolean[], $8::jsonb[], $9::bytea[], $10::timestamptz[],
                $11::bigint[], $12::timestamptz[], $13::bigint[], $14::timestamptz[], $15::timestamptz[], $16::boolean[])
                n (chat, user_id, status, present, body, hash, told_date, told_id, told_at, snapshot, first_seen, last_seen, changed)
        ), written as (
            update member m set status = n.status, present = n.present, body = n.body, content_hash = n.hash, told_date = n.told_date,
                told_id = n.told_id, told_at = n.told_at, snapshot = n.snapshot, first_seen = n.first_seen, last_seen = n.last_seen,
                revision = m.revision + n.changed::int, updated_at = case when n.changed then now() else m.updated_at end,
                account_id = case when n.changed then $1 else m.account_id end, via = case when n.changed then $2 else m.via end,
                job = case when n.changed then $3 else m.job end
            from n where m.chat_id = n.chat and m.user_id = n.user_id
            returning m.chat_id, m.user_id, m.revision, n.changed
        )
        select chat_id, user_id, revision from written where changed";
    columns.run(conn, UPDATE, seen).await
}

/// One statement's columns.
#[derive(Default)]
struct Columns {
    chats: Vec<i64>,
    users: Vec<i64>,
    statuses: Vec<Option<&'static str>>,
    present: Vec<Option<bool>>,
    bodies: Vec<Value>,
    hashes: Vec<Vec<u8>>,
    told_dates: Vec<Option<DateTime<Utc>>>,
    told_ids: Vec<i64>,
    told_at: Vec<Option<DateTime<Utc>>>,
    snapshots: Vec<Option<i64>>,
    first_seen: Vec<DateTime<Utc>>,
    last_seen: Vec<DateTime<Utc>>,
    changed: Vec<bool>,
}

impl Columns {
    fn push(&mut self, (chat, user): Key, row: &Row, changed: bool) {
        self.chats.push(chat);
        self.users.push(user);
        self.statuses.push(row.status.map(Status::as_str));
        self.present.push(row.present);
        self.hashes.push(hash(row));
        self.bodies.push(Value::Object(row.body.clone()));
        self.told_dates.push(row.told_date);
        self.told_ids.push(row.told_id);
        self.told_at.push(row.told_at);
        self.snapshots.push(row.snapshot);
        self.first_seen.push(row.first_seen);
        self.last_seen.push(row.last_seen);
        self.changed.push(changed);
    }

    async fn run(self, conn: &mut PgConnection, statement: &'static str, seen: &Observation) -> Result<Vec<Change>, Error> {
        if self.chats.is_empty() {
            return Ok(Vec::new());
        }
        let written: Vec<(i64, i64, i64)> = sqlx::query_as(statement)
            .bind(seen.account.0)
            .bind(seen.via.as_str())
            .bind(seen.job)
            .bind(self.chats)
            .bind(self.users)
            .bind(self.statuses)
            .bind(self.present)
            .bind(self.bodies)
            .bind(self.hashes)
            .bind(self.told_dates)
            .bind(self.told_ids)
            .bind(self.told_at)
            .bind(self.snapshots)
            .bind(self.first_seen)
            .bind(self.last_seen)
            .bind(self.changed)
            .fetch_all(conn)
            .await?;
        Ok(written.into_iter().map(|(key1, key2, revision)| Change { key1, key2, revision }).collect())
    }
}

/// Of what a document shows of the relation.
fn hash(row: &Row) -> Vec<u8> {
    let mut content = row.body.clone();
    content.insert("status".into(), row.status.map(Status::as_str).into());
    content.insert("is_member".into(), row.present.into());
    content_hash(None, None, &content)
}
