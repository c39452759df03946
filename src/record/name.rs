//! The `name` table: the names that chats and users had, each combination with the time it was first and last told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::change::{Change, announce};
use super::content::hash_fields;
use super::outbox::Kind;
use super::{Error, Observation};

/// Whose names they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearer {
    Chat,
    User,
}

impl Bearer {
    fn as_str(self) -> &'static str {
        match self {
            Bearer::Chat => "chat",
            Bearer::User => "user",
        }
    }

    /// The fields that make the name.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Bearer::Chat => &["title", "username"],
            Bearer::User => &["first_name", "last_name", "username"],
        }
    }

    /// None: without any name, as a deleted account is.
    fn names(self, body: &Map<String, Value>) -> Option<Map<String, Value>> {
        let told = self.fields().iter().filter_map(|field| {
            let name = body.get(*field)?.as_str().filter(|name| !name.is_empty())?;
            Some(((*field).to_owned(), Value::from(name)))
        });
        Some(told.collect::<Map<String, Value>>()).filter(|names| !names.is_empty())
    }
}

/// What is known of a chat or user after it was told again.
#[derive(Debug, Clone)]
pub(super) struct Merged {
    /// All that is known, not only what was told now.
    pub body: Map<String, Value>,
    /// Told in part: it may lack a name that its bearer has, and begins no history.
    pub min: bool,
}

struct Known {
    hash: Vec<u8>,
    /// Last told more than an hour ago.
    old: bool,
    newest: bool,
}

/// Keeps the names that were told: a combination that is new gets a row, one that came back is the last seen again.
pub(super) async fn observe(
    conn: &mut PgConnection,
    bearer: Bearer,
    told: &BTreeMap<i64, Merged>,
    seen: &Observation,
) -> Result<(), Error> {
    // A private chat has its user's names.
    let told: BTreeMap<i64, (&Merged, Map<String, Value>)> = told
        .iter()
        .filter(|(id, _)| bearer == Bearer::User || **id < 0)
        .filter_map(|(id, told)| Some((*id, (told, bearer.names(&told.body)?))))
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    let known = known(conn, bearer, &told.keys().copied().collect::<Vec<_>>()).await?;
    let mut columns = Columns::default();
    let mut touched = BTreeSet::new();
    for (id, (told, names)) in told {
        let hash = hash(bearer, &names);
        let of_it = known.get(&id).map_or(&[][..], Vec::as_slice);
        match of_it.iter().find(|known| known.hash == hash) {
            Some(known) if known.newest => {
                if known.old {
                    touched.insert((id, hash));
                }
            }
            // Another name was told last: this one is back.
            Some(_) => columns.push(id, hash, &names),
            None if told.min && of_it.is_empty() => {}
            None => columns.push(id, hash, &names),
        }
    }
    touch(conn, bearer, touched).await?;
    columns.upsert(conn, bearer, seen).await
}

async fn known(conn: &mut PgConnection, bearer: Bearer, ids: &[i64]) -> Result<BTreeMap<i64, Vec<Known>>, Error> {
    let rows: Vec<(i64, Vec<u8>, bool, bool)> = sqlx::query_as(
        "select peer_id, hash, last_seen < now() - interval '1 hour',
            row_number() over (partition by peer_id order by last_seen desc, id desc) = 1
        from name where kind = $1 and peer_id = any($2)",
    )
    .bind(bearer.as_str())
    .bind(ids)
    .fetch_all(conn)
    .await?;
    let mut known: BTreeMap<i64, Vec<Known>> = BTreeMap::new();
    for (id, hash, old, newest) in rows {
        known.entry(id).or_default().push(Known { hash, old, newest });
    }
    Ok(known)
}

/// The kind is part of it: a user's and a private chat's id are one number.
fn hash(bearer: Bearer, names: &Map<String, Value>) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(bearer.as_str());
    hash_fields(&mut hash, names);
    hash.finalize().to_vec()
}

/// Moves last_seen; one that is locked moves next time.
async fn touch(conn: &mut PgConnection, bearer: Bearer, names: BTreeSet<(i64, Vec<u8>)>) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    let (ids, hashes): (Vec<i64>, Vec<Vec<u8>>) = names.into_iter().unzip();
    sqlx::query(
        "update name set last_seen = now() where id in (
            select n.id from name n join unnest($2::bigint[], $3::bytea[]) k (peer_id, hash) using (peer_id, hash)
            where n.kind = $1 order by n.id for update of n skip locked)",
    )
    .bind(bearer.as_str())
    .bind(ids)
    .bind(hashes)
    .execute(conn)
    .await?;
    Ok(())
}

#[derive(Default)]
struct Columns {
    ids: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    first_names: Vec<Option<String>>,
    last_names: Vec<Option<String>>,
    titles: Vec<Option<String>>,
    usernames: Vec<Option<String>>,
}

impl Columns {
    fn push(&mut self, id: i64, hash: Vec<u8>, names: &Map<String, Value>) {
        let name = |field: &str| names.get(field).and_then(Value::as_str).map(str::to_owned);
        self.ids.push(id);
        self.hashes.push(hash);
        self.first_names.push(name("first_name"));
        self.last_names.push(name("last_name"));
        self.titles.push(name("title"));
        self.usernames.push(name("username"));
    }

    async fn upsert(self, conn: &mut PgConnection, bearer: Bearer, seen: &Observation) -> Result<(), Error> {
        if self.ids.is_empty() {
            return Ok(());
        }
        // clock_timestamp: two names within one transaction have an order.
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "insert into name as t (kind, peer_id, hash, first_name, last_name, title, username, first_seen, last_seen, account_id, via, job)
            select $1, n.id, n.hash, n.first_name, n.last_name, n.title, n.username, clock_timestamp(), clock_timestamp(), $8, $9, $10
            from unnest($2::bigint[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[])
                n (id, hash, first_name, last_name, title, username)
            order by n.id
            on conflict (kind, peer_id, hash) do update set last_seen = excluded.last_seen, revision = t.revision + 1,
                account_id = excluded.account_id, via = excluded.via, job = excluded.job
            returning id, revision",
        )
        .bind(bearer.as_str())
        .bind(self.ids)
        .bind(self.hashes)
        .bind(self.first_names)
        .bind(self.last_names)
        .bind(self.titles)
        .bind(self.usernames)
        .bind(seen.account.0)
        .bind(seen.via.as_str())
        .bind(seen.job)
        .fetch_all(&mut *conn)
        .await?;
        let mut changes: Vec<Change> = rows.into_iter().map(|(id, revision)| Change { key1: id, key2: 0, revision }).collect();
        changes.sort_unstable();
        announce(conn, Kind::Name, &changes).await
    }
}
