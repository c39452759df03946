//! Chats and users: documents that are told again and again, often in part. An absent field never erases one;
//! a field that is told to be none (JSON null) is removed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::change::{Change, announce};
use super::content::{content_hash, replace_nul};
use super::name::{self, Bearer, Merged};
use super::outbox::Kind;
use super::{Error, Observation};

/// One thing that was told, ready to merge.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub kind: Option<String>,
    /// Told in part: what is known of the kind stays.
    pub min: bool,
    pub body: Map<String, Value>,
}

/// The statements of one table.
pub(super) struct Table {
    pub kind: Kind,
    pub bearer: Bearer,
    /// $1 ids → (id, kind, body)
    pub read: &'static str,
    /// Inserts what is absent and locks what is there, in key order: → (id, kind, body, content_hash, inserted)
    pub lock: &'static str,
    /// Writes merged rows: → (id, revision)
    pub write: &'static str,
    /// $1 ids: moves last_seen, at most hourly.
    pub touch: &'static str,
}

/// Merges what was told, with the names that it tells; answers the ids that are new or changed.
pub(super) async fn merge_all(
    conn: &mut PgConnection,
    table: &Table,
    told: BTreeMap<i64, Told>,
    seen: &Observation,
) -> Result<Vec<i64>, Error> {
    if told.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = told.keys().copied().collect();
    let known: Vec<(i64, Option<String>, Value)> = sqlx::query_as(table.read).bind(&ids).fetch_all(&mut *conn).await?;
    let known: BTreeMap<i64, (Option<String>, Map<String, Value>)> =
        known.into_iter().map(|(id, kind, body)| (id, (kind, object(body)))).collect();
    // Most of what a page tells is known: that costs one read and no lock.
    let (mut same, mut news) = (Vec::new(), BTreeMap::new());
    let mut after: BTreeMap<i64, Merged> = BTreeMap::new();
    for (id, told) in told {
        match known.get(&id) {
            Some((kind, body)) if merged(kind.as_deref(), body, &told) == (kind.clone(), body.clone()) => {
                after.insert(id, Merged { body: body.clone(), min: told.min });
                same.push(id);
            }
            _ => {
                news.insert(id, told);
            }
        }
    }
    let mut changes = store(conn, table, news, seen, &mut after).await?;
    sqlx::query(table.touch).bind(&same).execute(&mut *conn).await?;
    changes.sort();
    announce(conn, table.kind, &changes).await?;
    name::observe(conn, table.bearer, &after, seen).await?;
    Ok(changes.into_iter().map(|change| change.key1).collect())
}

async fn store(
    conn: &mut PgConnection,
    table: &Table,
    news: BTreeMap<i64, Told>,
    seen: &Observation,
    after: &mut BTreeMap<i64, Merged>,
) -> Result<Vec<Change>, Error> {
    if news.is_empty() {
        return Ok(Vec::new());
    }
    let empty = Map::new();
    let mut first = Columns::default();
    for (id, told) in &news {
        let (kind, body) = merged(None, &empty, told);
        after.insert(*id, Merged { body: body.clone(), min: told.min });
        first.push(*id, kind, body);
    }
    let locked: Vec<Locked> = first.bind(sqlx::query_as(table.lock), seen).fetch_all(&mut *conn).await?;
    let mut changes = Vec::new();
    let mut next = Columns::default();
    for (id, kind, body, hash, inserted) in locked {
        if inserted {
            changes.push(Change { key1: id, key2: 0, revision: 1 });
            continue;
        }
        let told = &news[&id];
        let (became, merged) = merged(kind.as_deref(), &object(body), told);
        after.insert(id, Merged { body: merged.clone(), min: told.min });
        if became != kind || content_hash(None, None, &merged) != hash {
            next.push(id, became, merged);
        }
    }
    if !next.ids.is_empty() {
        let written: Vec<(i64, i64)> = next.bind(sqlx::query_as(table.write), seen).fetch_all(&mut *conn).await?;
        changes.extend(written.into_iter().map(|(id, revision)| Change { key1: id, key2: 0, revision }));
    }
    Ok(changes)
}

/// What is known after more was told.
fn merged(kind: Option<&str>, body: &Map<String, Value>, told: &Told) -> (Option<String>, Map<String, Value>) {
    let mut body = body.clone();
    for (key, value) in &told.body {
        if value.is_null() {
            body.remove(key);
        } else {
            let mut value = value.clone();
            replace_nul(&mut value);
            body.insert(key.clone(), value);
        }
    }
    let known = kind.map(str::to_owned);
    let kind = if told.min { known.or_else(|| told.kind.clone()) } else { told.kind.clone().or(known) };
    (kind, body)
}

fn object(body: Value) -> Map<String, Value> {
    match body {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// id, kind, body, content hash, and whether the row is new.
type Locked = (i64, Option<String>, Value, Vec<u8>, bool);

#[derive(Default)]
struct Columns {
    ids: Vec<i64>,
    kinds: Vec<Option<String>>,
    bodies: Vec<Value>,
    hashes: Vec<Vec<u8>>,
}

type Query<'q, T> = sqlx::query::QueryAs<'q, sqlx::Postgres, T, sqlx::postgres::PgArguments>;

impl Columns {
    fn push(&mut self, id: i64, kind: Option<String>, body: Map<String, Value>) {
        self.ids.push(id);
        self.kinds.push(kind);
        self.hashes.push(content_hash(None, None, &body));
        self.bodies.push(Value::Object(body));
    }

    /// $1 ids, $2 kinds, $3 bodies, $4 hashes, $5 account, $6 via, $7 job
    fn bind<'q, T>(self, query: Query<'q, T>, seen: &Observation) -> Query<'q, T> {
        query
            .bind(self.ids)
            .bind(self.kinds)
            .bind(self.bodies)
            .bind(self.hashes)
            .bind(seen.account.0)
            .bind(seen.via.as_str())
            .bind(seen.job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(body: Value) -> Told {
        Told { kind: None, min: false, body: object(body) }
    }

    #[test]
    fn an_absent_field_never_erases_one() {
        let before = object(json!({"title": "Library", "description": "old books"}));
        let (_, after) = merged(Some("channel"), &before, &told(json!({"title": "The Library"})));
        assert_eq!(Value::Object(after), json!({"title": "The Library", "description": "old books"}));
    }

    #[test]
    fn a_field_told_to_be_none_is_removed() {
        let before = object(json!({"title": "Library", "username": "library"}));
        let (kind, after) = merged(Some("channel"), &before, &told(json!({"username": null})));
        assert_eq!((kind.as_deref(), Value::Object(after)), (Some("channel"), json!({"title": "Library"})));
    }
}
