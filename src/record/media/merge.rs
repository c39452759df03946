//! Files that were told, merged into what is known of them: a field that is absent never erases one.
//!
//! A file that is known and told as before costs reads alone: a sticker that everybody sends is no row that everybody waits for. Rows
//! are inserted, then locked, each in one order.

mod columns;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use columns::Columns;

use super::{Carried, LISTED, MediaType, Restriction, Space, Told};
use crate::record::avatar::{self, Shown};
use crate::record::content::{hash_fields, replace_nul};
use crate::record::{Error, Observation};

type Key = (Space, i64);

/// What is known of a file, its row's numbers apart.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    kind: MediaType,
    body: Map<String, Value>,
    size: Option<i64>,
    mime_type: Option<String>,
    dc: Option<i32>,
    date: Option<DateTime<Utc>>,
    user_id: Option<i64>,
}

impl Known {
    fn new(told: &Told, user_id: Option<i64>) -> Self {
        let (body, mime_type) = (Map::new(), None);
        let mut known = Known { kind: told.kind, body, size: None, mime_type, dc: None, date: None, user_id };
        known.learn(told, user_id);
        known
    }

    fn learn(&mut self, told: &Told, user_id: Option<i64>) {
        // What a message carries is more than somebody's photo.
        if told.kind != MediaType::Avatar {
            self.kind = told.kind;
        }
        for (field, value) in &told.body {
            let mut value = value.clone();
            replace_nul(&mut value);
            self.body.insert(field.clone(), value);
        }
        self.size = told.size.or(self.size);
        self.mime_type = told.mime_type.as_ref().map(|mime| mime.replace('\0', "\u{fffd}")).or(self.mime_type.take());
        self.dc = told.dc.or(self.dc);
        // A file is uploaded once: of two dates the later one is not that.
        self.date = self.date.into_iter().chain(told.date).min();
        self.user_id = self.user_id.or(user_id);
    }

    fn hash(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(self.kind.as_str());
        hash.update(self.size.unwrap_or(-1).to_be_bytes());
        hash.update(self.date.map_or(i64::MIN, |date| date.timestamp()).to_be_bytes());
        let mime = self.mime_type.as_deref().unwrap_or_default();
        hash.update((mime.len() as u64).to_be_bytes());
        hash.update(mime);
        hash_fields(&mut hash, &self.body);
        hash.finalize().to_vec()
    }
}

/// One file of a batch: what was told of it, and by which messages.
struct Entry {
    told: Vec<(Told, Option<i64>)>,
    /// By box and message; the last word of each.
    sources: BTreeMap<(i64, i64), Place>,
    seen: Observation,
}

impl Entry {
    /// What it is at first.
    fn first(&self) -> Option<Known> {
        let mut told = self.told.iter();
        let mut known = told.next().map(|(told, user)| Known::new(told, *user))?;
        told.for_each(|(told, user)| known.learn(told, *user));
        Some(known)
    }
}

#[derive(Clone, Copy)]
struct Place {
    chat: i64,
    protected: bool,
    ttl: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    space: String,
    file_id: i64,
    #[sqlx(rename = "type")]
    kind: String,
    body: Value,
    size: Option<i64>,
    mime_type: Option<String>,
    dc: Option<i32>,
    date: Option<DateTime<Utc>>,
    user_id: Option<i64>,
    restricted: Option<String>,
    listed: i32,
    erased: bool,
    /// Last told more than an hour ago.
    old: bool,
}

impl Row {
    fn key(&self) -> Key {
        (space_of(&self.space), self.file_id)
    }

    fn known(&self) -> Known {
        Known {
            kind: MediaType::parse(&self.kind).unwrap_or(MediaType::Document),
            body: self.body.as_object().cloned().unwrap_or_default(),
            size: self.size,
            mime_type: self.mime_type.clone(),
            dc: self.dc,
            date: self.date,
            user_id: self.user_id,
        }
    }

    fn restriction(&self) -> Option<Restriction> {
        self.restricted.as_deref().and_then(Restriction::parse)
    }

    /// What it becomes; what was erased is told anew.
    fn after(&self, entry: &Entry) -> Known {
        let anew = if self.erased { entry.first() } else { None };
        let mut known = anew.unwrap_or_else(|| self.known());
        entry.told.iter().for_each(|(told, user)| known.learn(told, *user));
        known
    }
}

fn space_of(name: &str) -> Space {
    if name == Space::Photo.as_str() { Space::Photo } else { Space::Document }
}

/// Merges files with the messages that carry them; those of erased messages leave no trace.
pub(super) async fn all(conn: &mut PgConnection, carried: Vec<Carried>) -> Result<(), Error> {
    if carried.is_empty() {
        return Ok(());
    }
    let erased = erased_messages(conn, &carried).await?;
    let mut entries: BTreeMap<Key, Entry> = BTreeMap::new();
    let (mut shown, mut showing) = (Vec::new(), None);
    for one in carried.into_iter().filter(|one| !erased.contains(&(one.held.0, one.message_id))) {
        if one.told.kind == MediaType::Avatar {
            let avatar = Shown { peer: one.chat.0, photo: one.told.clone(), at: one.date };
            shown.push(avatar);
            showing = Some(one.seen);
        }
        let key = (one.told.space, one.told.file_id);
        let entry = entries.entry(key).or_insert_with(|| Entry { told: Vec::new(), sources: BTreeMap::new(), seen: one.seen });
        let place = Place { chat: one.chat.0, protected: one.protected, ttl: one.told.ttl };
        entry.sources.insert((one.held.0, one.message_id), place);
        entry.told.push((one.told, one.user_id));
        entry.seen = one.seen;
    }
    store(conn, entries).await?;
    match showing {
        Some(seen) => avatar::observe(conn, shown, &seen).await,
        None => Ok(()),
    }
}

/// Merges photos that are told as a chat's or a user's own.
pub(super) async fn avatars(conn: &mut PgConnection, told: &[Told], seen: &Observation) -> Result<(), Error> {
    let mut entries: BTreeMap<Key, Entry> = BTreeMap::new();
    for one in told {
        let key = (one.space, one.file_id);
        let entry = entries.entry(key).or_insert_with(|| Entry { told: Vec::new(), sources: BTreeMap::new(), seen: *seen });
        entry.told.push((one.clone(), None));
    }
    store(conn, entries).await
}

async fn store(conn: &mut PgConnection, entries: BTreeMap<Key, Entry>) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let keys: Vec<Key> = entries.keys().copied().collect();
    let mut rows = read(conn, &keys).await?;
    let protecting = protecting(conn, &entries).await?;
    let inserted = insert(conn, &entries, &rows, &protecting).await?;
    if inserted.len() + rows.len() < entries.len() {
        // Another transaction was faster with some; it is over, since inserting waited for it.
        rows = read(conn, &keys).await?;
        rows.retain(|key, _| !inserted.contains_key(key));
    }
    let ids: BTreeMap<Key, i64> = rows.iter().map(|(key, row)| (*key, row.id)).chain(inserted.clone()).collect();
    let mut sources = insert_sources(conn, &entries, &ids).await?;
    sources.retain(|id, _| !inserted.values().any(|new| new == id));
    let (mut touched, mut changing) = (Vec::new(), Vec::new());
    for (key, row) in &rows {
        let learned = sources.get(&row.id);
        let listing = learned.is_some_and(|learned| learned.new > 0 && (row.listed as usize) < LISTED);
        let restricting = learned.is_some_and(|learned| learned.new > 0 && row.restricted.is_some());
        if row.erased || listing || restricting || row.after(&entries[key]) != row.known() {
            changing.push(row.id);
        } else if row.old {
            touched.push(row.id);
        }
    }
    let mut raised: BTreeMap<i64, i64> = inserted.values().map(|id| (*id, 1)).collect();
    raised.extend(revise(conn, &changing, &entries, &sources, &protecting).await?);
    raised.extend(reconsider(conn, &sources).await?);
    touch(conn, &touched).await?;
    refer(conn, &entries, &ids).await?;
    super::tell(conn, raised.into_iter().collect()).await
}

async fn erased_messages(conn: &mut PgConnection, carried: &[Carried]) -> Result<BTreeSet<(i64, i64)>, Error> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "select m.box_id, m.message_id from unnest($1::bigint[], $2::bigint[]) k (box_id, message_id)
        join message m using (box_id, message_id) where m.erased",
    )
    .bind(carried.iter().map(|one| one.held.0).collect::<Vec<_>>())
    .bind(carried.iter().map(|one| one.message_id).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().collect())
}

fn columns(keys: &[Key]) -> (Vec<&'static str>, Vec<i64>) {
    keys.iter().map(|(space, id)| (space.as_str(), *id)).unzip()
}

const READ: &str = "m.id, m.space, m.file_id, m.type, m.body, m.size, m.mime_type, m.dc, m.date, m.user_id, m.restricted, m.listed,
    m.erased, m.last_seen < now() - interval '1 hour' as old";

async fn read(conn: &mut PgConnection, keys: &[Key]) -> Result<BTreeMap<Key, Row>, Error> {
    let (spaces, ids) = columns(keys);
    let statement =
        format!("select {READ} from unnest($1::text[], $2::bigint[]) k (space, file_id) join media m using (space, file_id)");
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(statement)).bind(spaces).bind(ids).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.key(), row)).collect())
}

/// Inserts what is unknown; answers the rows that are new. Whatever messages are told of a file that is new are new, too.
async fn insert(
    conn: &mut PgConnection,
    entries: &BTreeMap<Key, Entry>,
    rows: &BTreeMap<Key, Row>,
    protecting: &BTreeSet<i64>,
) -> Result<BTreeMap<Key, i64>, Error> {
    let mut keys = Vec::new();
    let mut columns = Columns::default();
    for (key, entry) in entries.iter().filter(|(key, _)| !rows.contains_key(*key)) {
        let places: Vec<Place> = entry.sources.values().copied().collect();
        if let Some(known) = entry.first() {
            keys.push(*key);
            columns.push(key.1, known, restriction(true, None, &places, protecting), places.len(), &entry.seen);
        }
    }
    columns.insert(conn, &keys).await
}

/// What became of one file's sources.
#[derive(Default)]
struct Learned {
    new: usize,
    /// Flags of one that was known are others now.
    changed: bool,
    places: Vec<Place>,
}

async fn insert_sources(
    conn: &mut PgConnection,
    entries: &BTreeMap<Key, Entry>,
    ids: &BTreeMap<Key, i64>,
) -> Result<BTreeMap<i64, Learned>, Error> {
    let mut places: BTreeMap<(i64, i64, i64), Place> = BTreeMap::new();
    for (key, entry) in entries {
        if let Some(id) = ids.get(key) {
            places.extend(entry.sources.iter().map(|((held, message), place)| ((*id, *held, *message), *place)));
        }
    }
    if places.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(i64, i64, i64, bool)> = sqlx::query_as(
        "insert into media_source as s (media, box_id, message_id, chat_id, protected, ttl)
        select n.media, n.held, n.message, n.chat, n.protected, n.ttl
        from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], $6::boolean[])
            n (media, held, message, chat, protected, ttl)
        order by n.media, n.held, n.message
        on conflict (media, box_id, message_id) do update set protected = excluded.protected, ttl = excluded.ttl
            where (s.protected, s.ttl) <> (excluded.protected, excluded.ttl)
        returning s.media, s.box_id, s.message_id, xmax = 0",
    )
    .bind(places.keys().map(|key| key.0).collect::<Vec<_>>())
    .bind(places.keys().map(|key| key.1).collect::<Vec<_>>())
    .bind(places.keys().map(|key| key.2).collect::<Vec<_>>())
    .bind(places.values().map(|place| place.chat).collect::<Vec<_>>())
    .bind(places.values().map(|place| place.protected).collect::<Vec<_>>())
    .bind(places.values().map(|place| place.ttl).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    let mut learned: BTreeMap<i64, Learned> = BTreeMap::new();
    for (media, held, message, new) in rows {
        let of_it = learned.entry(media).or_default();
        if new {
            of_it.new += 1;
            of_it.places.push(places[&(media, held, message)]);
        } else {
            of_it.changed = true;
        }
    }
    Ok(learned)
}

/// Those of the chats whose content may not be saved.
async fn protecting(conn: &mut PgConnection, entries: &BTreeMap<Key, Entry>) -> Result<BTreeSet<i64>, Error> {
    let chats: BTreeSet<i64> = entries.values().flat_map(|entry| entry.sources.values()).map(|place| place.chat).collect();
    let found: Vec<i64> = sqlx::query_scalar("select chat_id from chat where chat_id = any($1) and (body->>'noforwards')::boolean")
        .bind(chats.into_iter().collect::<Vec<_>>())
        .fetch_all(conn)
        .await?;
    Ok(found.into_iter().collect())
}

/// Writes what changed, under the rows' locks.
async fn revise(
    conn: &mut PgConnection,
    ids: &[i64],
    entries: &BTreeMap<Key, Entry>,
    sources: &BTreeMap<i64, Learned>,
    protecting: &BTreeSet<i64>,
) -> Result<Vec<(i64, i64)>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let statement = format!("select {READ} from media m where m.id = any($1) order by m.id for update");
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(statement)).bind(ids).fetch_all(&mut *conn).await?;
    let none = Learned::default();
    let mut columns = Columns::default();
    for row in &rows {
        let Some(entry) = entries.get(&row.key()) else { continue };
        let learned = sources.get(&row.id).unwrap_or(&none);
        let begins = row.erased || row.listed == 0;
        let restricted = restriction(begins, row.restriction(), &learned.places, protecting);
        columns.push(row.id, row.after(entry), restricted, learned.new, &entry.seen);
    }
    columns.update(conn).await
}

/// What is true of all sources: of those before, and of the new ones.
fn restriction(begins: bool, before: Option<Restriction>, new: &[Place], protecting: &BTreeSet<i64>) -> Option<Restriction> {
    // From the strictest to none: the least strict word of all counts.
    let mut of_new = new.iter().map(|place| {
        let protected = place.protected || protecting.contains(&place.chat);
        if place.ttl { Some(Restriction::SelfDestructing) } else { protected.then_some(Restriction::Protected) }
    });
    let start = if begins { of_new.next()? } else { before };
    of_new.fold(start, |before, now| before.zip(now).map(|(before, now)| before.max(now)))
}

/// Where a known source's flags are others now, all sources are asked again.
async fn reconsider(conn: &mut PgConnection, sources: &BTreeMap<i64, Learned>) -> Result<Vec<(i64, i64)>, Error> {
    let ids: Vec<i64> = sources.iter().filter(|(_, learned)| learned.changed).map(|(id, _)| *id).collect();
    super::restricting::of_files(conn, &ids).await
}

/// Moves last_seen; one that is locked moves next time.
async fn touch(conn: &mut PgConnection, ids: &[i64]) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update media set last_seen = now() where id in (
            select id from media where id = any($1) order by id for update skip locked)",
    )
    .bind(ids)
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps what each account needs to address the files: the newest wins.
async fn refer(conn: &mut PgConnection, entries: &BTreeMap<Key, Entry>, ids: &BTreeMap<Key, i64>) -> Result<(), Error> {
    type Found<'a> = (&'a Told, i64, i32, Option<(i64, i64)>);
    let mut found: BTreeMap<(i64, i64), Found<'_>> = BTreeMap::new();
    for (key, entry) in entries {
        let Some(id) = ids.get(key) else { continue };
        let source = entry.sources.keys().next_back().copied();
        for (told, _) in &entry.told {
            if let (Some(access_hash), Some(dc)) = (told.access_hash, told.dc) {
                found.insert((*id, entry.seen.account.0), (told, access_hash, dc, source));
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into media_reference as r (media, account_id, access_hash, file_reference, dc, box_id, message_id)
        select n.media, n.account, n.hash, n.reference, n.dc, n.held, n.message
        from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::int[], $6::bigint[], $7::bigint[])
            n (media, account, hash, reference, dc, held, message)
        order by n.media, n.account
        on conflict (media, account_id) do update set access_hash = excluded.access_hash, file_reference = excluded.file_reference,
            dc = excluded.dc, box_id = excluded.box_id, message_id = excluded.message_id, told_at = now()
            where (r.access_hash, r.file_reference, r.dc) <> (excluded.access_hash, excluded.file_reference, excluded.dc)",
    )
    .bind(found.keys().map(|key| key.0).collect::<Vec<_>>())
    .bind(found.keys().map(|key| key.1).collect::<Vec<_>>())
    .bind(found.values().map(|one| one.1).collect::<Vec<_>>())
    .bind(found.values().map(|one| one.0.file_reference.as_slice()).collect::<Vec<_>>())
    .bind(found.values().map(|one| one.2).collect::<Vec<_>>())
    .bind(found.values().map(|one| one.3.map(|source| source.0)).collect::<Vec<_>>())
    .bind(found.values().map(|one| one.3.map(|source| source.1)).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}
