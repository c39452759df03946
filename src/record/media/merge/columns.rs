//! Files as they become, a column an array: one statement writes them all.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::{Key, Known, space_of};
use crate::record::media::{LISTED, Restriction};
use crate::record::{Error, Observation};

/// Files as they become.
#[derive(Default)]
pub(super) struct Columns {
    /// The row's, or Telegram's where there is no row yet.
    ids: Vec<i64>,
    types: Vec<&'static str>,
    bodies: Vec<Value>,
    hashes: Vec<Vec<u8>>,
    sizes: Vec<Option<i64>>,
    mime_types: Vec<Option<String>>,
    dcs: Vec<Option<i32>>,
    dates: Vec<Option<DateTime<Utc>>>,
    users: Vec<Option<i64>>,
    restricted: Vec<Option<&'static str>>,
    /// Sources that are new.
    new: Vec<i64>,
    accounts: Vec<i64>,
    vias: Vec<&'static str>,
    jobs: Vec<Option<i64>>,
}

type Query<'q, T> = sqlx::query::QueryAs<'q, sqlx::Postgres, T, sqlx::postgres::PgArguments>;

impl Columns {
    pub(super) fn push(&mut self, id: i64, known: Known, restricted: Option<Restriction>, new: usize, seen: &Observation) {
        self.ids.push(id);
        self.hashes.push(known.hash());
        self.types.push(known.kind.as_str());
        self.bodies.push(Value::Object(known.body));
        self.sizes.push(known.size);
        self.mime_types.push(known.mime_type);
        self.dcs.push(known.dc);
        self.dates.push(known.date);
        self.users.push(known.user_id);
        self.restricted.push(restricted.map(Restriction::as_str));
        self.new.push(new.try_into().unwrap_or(i64::MAX));
        self.accounts.push(seen.account.0);
        self.vias.push(seen.via.as_str());
        self.jobs.push(seen.job);
    }

    /// Rows that somebody inserted meanwhile are left to [`revise`].
    pub(super) async fn insert(self, conn: &mut PgConnection, keys: &[Key]) -> Result<BTreeMap<Key, i64>, Error> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let new: Vec<(i64, String, i64)> = self
            .bind(sqlx::query_as(
                "insert into media (space, file_id, type, body, content_hash, size, mime_type, dc, date, user_id, restricted, listed,
                    account_id, via, job)
                select n.space, n.id, n.type, n.body, n.hash, n.size, n.mime_type, n.dc, n.date, n.user_id, n.restricted, least(n.new, $15),
                    n.account, n.via, n.job
                from unnest($1::bigint[], $2::text[], $3::jsonb[], $4::bytea[], $5::bigint[], $6::text[], $7::int[], $8::timestamptz[],
                    $9::bigint[], $10::text[], $11::bigint[], $12::bigint[], $13::text[], $14::bigint[], $16::text[])
                    n (id, type, body, hash, size, mime_type, dc, date, user_id, restricted, new, account, via, job, space)
                order by n.space, n.id
                on conflict (space, file_id) do nothing returning id, space, file_id",
            ))
            .bind(keys.iter().map(|(space, _)| space.as_str()).collect::<Vec<_>>())
            .fetch_all(conn)
            .await?;
        Ok(new.into_iter().map(|(id, space, file_id)| ((space_of(&space), file_id), id)).collect())
    }

    pub(super) async fn update(self, conn: &mut PgConnection) -> Result<Vec<(i64, i64)>, Error> {
        Ok(self
            .bind(sqlx::query_as(
                "update media m set type = n.type, body = n.body, content_hash = n.hash, size = n.size, mime_type = n.mime_type,
                    dc = n.dc, date = n.date, user_id = n.user_id, restricted = n.restricted, listed = least(m.listed + n.new, $15),
                    erased = false, revision = m.revision + 1, last_seen = now(), account_id = n.account, via = n.via, job = n.job
                from unnest($1::bigint[], $2::text[], $3::jsonb[], $4::bytea[], $5::bigint[], $6::text[], $7::int[], $8::timestamptz[],
                    $9::bigint[], $10::text[], $11::bigint[], $12::bigint[], $13::text[], $14::bigint[])
                    n (id, type, body, hash, size, mime_type, dc, date, user_id, restricted, new, account, via, job)
                where m.id = n.id returning m.id, m.revision",
            ))
            .fetch_all(conn)
            .await?)
    }

    fn bind<'q, T>(self, query: Query<'q, T>) -> Query<'q, T> {
        query
            .bind(self.ids)
            .bind(self.types)
            .bind(self.bodies)
            .bind(self.hashes)
            .bind(self.sizes)
            .bind(self.mime_types)
            .bind(self.dcs)
            .bind(self.dates)
            .bind(self.users)
            .bind(self.restricted)
            .bind(self.new)
            .bind(self.accounts)
            .bind(self.vias)
            .bind(self.jobs)
            .bind(LISTED as i64)
    }
}
