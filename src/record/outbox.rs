//! The outbox: what each sink has still to be told, and what a sink refused.
//!
//! An entry says "this sink must hold the document in at least this revision". It goes only when the sink acknowledged it, or moves
//! to `dead_letter` in the same statement. Writers upsert entries with the rows they change; nothing here knows what a sink is.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row, postgres::PgRow};

pub use super::kind::Kind;
use super::kind::Table;

/// A document's key: message = (box, message id); all others = (id, 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    pub kind: Kind,
    pub key1: i64,
    pub key2: i64,
}

/// One thing that a sink has still to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub revision: i64,
    /// The `_id` of a document that must be gone, since its row went.
    pub gone: Option<String>,
}

/// A place that documents go to.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Sink {
    pub name: String,
    /// active, waiting (the sink is away or refuses everything), held (a kind waits for the operator)
    pub state: String,
    pub detail: Option<String>,
    pub updated_at: DateTime<Utc>,
}

/// A document that a sink refused, and why.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    pub sink: String,
    pub kind: Kind,
    pub key1: i64,
    pub key2: i64,
    /// The chat and the message that the document is, or hangs on.
    pub chat_id: Option<i64>,
    pub message_id: Option<i64>,
    pub revision: i64,
    pub reason: String,
    pub created_at: DateTime<Utc>,
}

fn key_of(row: &PgRow) -> Result<Key, sqlx::Error> {
    let name: &str = row.try_get("kind")?;
    let kind =
        Kind::parse(name).ok_or_else(|| sqlx::Error::Decode(format!("unknown document kind {name:?} in the outbox").into()))?;
    Ok(Key { kind, key1: row.try_get("key1")?, key2: row.try_get("key2")? })
}

/// Keys as the parallel arrays that `unnest` takes.
pub(super) fn columns(keys: impl Iterator<Item = Key>) -> (Vec<&'static str>, Vec<i64>, Vec<i64>) {
    let (mut kinds, mut firsts, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    for key in keys {
        kinds.push(key.kind.as_str());
        firsts.push(key.key1);
        seconds.push(key.key2);
    }
    (kinds, firsts, seconds)
}

/// Registers a sink; one that exists stays as it is. Gives the id of the transaction, for [`older_transactions_are_over`].
pub async fn register(pool: &PgPool, sink: &str) -> Result<String, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("insert into sink (name) values ($1) on conflict (name) do nothing").bind(sink).execute(&mut *tx).await?;
    let id = sqlx::query_scalar("select pg_current_xact_id()::text").fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(id)
}

/// Whether every transaction that may not have seen the sink is over: what they wrote is now visible to [`enqueue_next`].
pub async fn older_transactions_are_over(pool: &PgPool, registered: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_snapshot_xmin(pg_current_snapshot()) > $1::xid8").bind(registered).fetch_one(pool).await
}

/// All sinks, by name.
pub async fn sinks(pool: &PgPool) -> Result<Vec<Sink>, sqlx::Error> {
    let rows = sqlx::query("select name, state, detail, updated_at from sink order by name").fetch_all(pool).await?;
    rows.iter().map(sink_of).collect()
}

/// One sink.
pub async fn sink(pool: &PgPool, name: &str) -> Result<Option<Sink>, sqlx::Error> {
    let row =
        sqlx::query("select name, state, detail, updated_at from sink where name = $1").bind(name).fetch_optional(pool).await?;
    row.as_ref().map(sink_of).transpose()
}

fn sink_of(row: &PgRow) -> Result<Sink, sqlx::Error> {
    Ok(Sink {
        name: row.try_get("name")?,
        state: row.try_get("state")?,
        detail: row.try_get("detail")?,
        updated_at: row.try_get("updated_at")?,
    })
}

/// Says how a sink stands. `active` releases what is held.
pub async fn set_state(pool: &PgPool, sink: &str, state: &str, detail: Option<&str>) -> Result<(), sqlx::Error> {
    sqlx::query("update sink set state = $2, detail = $3, updated_at = now() where name = $1")
        .bind(sink)
        .bind(state)
        .bind(detail)
        .execute(pool)
        .await?;
    Ok(())
}

/// Takes the lock that lets one process over all nodes work a sink. None: another one has it. It goes with the connection.
pub async fn lock(pool: &PgPool, sink: &str) -> Result<Option<PgConnection>, sqlx::Error> {
    let mut conn = pool.acquire().await?.detach();
    let taken: bool = sqlx::query_scalar("select pg_try_advisory_lock(hashtext('telekeep.projector'), hashtext($1))")
        .bind(sink)
        .fetch_one(&mut conn)
        .await?;
    if taken {
        return Ok(Some(conn));
    }
    conn.close().await?;
    Ok(None)
}

/// The next entries of a sink after a key, in key order: a reader that goes round and round starves none.
pub async fn take(pool: &PgPool, sink: &str, after: Option<Key>, held: &[Kind], limit: i64) -> Result<Vec<Entry>, sqlx::Error> {
    let after = after.map_or(("", 0, 0), |key| (key.kind.as_str(), key.key1, key.key2));
    let held: Vec<&str> = held.iter().map(|kind| kind.as_str()).collect();
    let rows = sqlx::query(
        "select kind, key1, key2, revision, gone from outbox
         where sink = $1 and (kind, key1, key2) > ($2, $3, $4) and kind <> all ($5)
         order by kind, key1, key2 limit $6",
    )
    .bind(sink)
    .bind(after.0)
    .bind(after.1)
    .bind(after.2)
    .bind(&held)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok(Entry { key: key_of(row)?, revision: row.try_get("revision")?, gone: row.try_get("gone")? })).collect()
}

/// Removes entries that the sink has acknowledged, each with the revision that was sent: a newer entry stays. Dead letters of the
/// same documents go too, since the sink now holds a later state. An entry that a writer has its hands on stays as well: waiting for
/// writers, whose locks come in another order, would end in deadlocks, and what is sent twice does no harm.
///
/// Each entry is found by its key, whatever the planner believes: the table is empty or has millions, and one that was vacuumed while
/// it was empty counts as empty, so that joins with it went over all of it for each of its rows.
pub async fn remove(pool: &PgPool, sink: &str, sent: &[Entry]) -> Result<(), sqlx::Error> {
    let (kinds, firsts, seconds) = columns(sent.iter().map(|entry| entry.key));
    let revisions: Vec<i64> = sent.iter().map(|entry| entry.revision).collect();
    // `<=`: an entry below what was sent asks for less than the sink has.
    sqlx::query(
        "with sent as materialized (
            select * from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) as s (kind, key1, key2, revision)),
              revived as (
                delete from dead_letter where ctid = any(array(
                    select d.ctid from sent s cross join lateral (
                        select d.ctid from dead_letter d
                        where d.sink = $1 and d.kind = s.kind and d.key1 = s.key1 and d.key2 = s.key2 and d.revision <= s.revision
                        offset 0) d)))
         delete from outbox where ctid = any(array(
            select o.ctid from sent s cross join lateral (
                select o.ctid from outbox o
                where o.sink = $1 and o.kind = s.kind and o.key1 = s.key1 and o.key2 = s.key2 and o.revision <= s.revision
                for update skip locked) o))",
    )
    .bind(sink)
    .bind(&kinds)
    .bind(&firsts)
    .bind(&seconds)
    .bind(&revisions)
    .persistent(false)
    .execute(pool)
    .await?;
    Ok(())
}

/// Moves entries that the sink refused to the dead letters, in one statement. Gives how many moved: a newer entry stays, and one that
/// a writer has its hands on.
pub async fn bury(pool: &PgPool, sink: &str, refused: &[(Entry, String)]) -> Result<u64, sqlx::Error> {
    let (kinds, firsts, seconds) = columns(refused.iter().map(|(entry, _)| entry.key));
    let revisions: Vec<i64> = refused.iter().map(|(entry, _)| entry.revision).collect();
    let reasons: Vec<&str> = refused.iter().map(|(_, reason)| reason.as_str()).collect();
    let done = sqlx::query(
        "with sent as materialized (
            select * from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])
                as s (kind, key1, key2, revision, reason)),
              refused as (
                delete from outbox where ctid = any(array(
                    select o.ctid from sent s cross join lateral (
                        select o.ctid from outbox o
                        where o.sink = $1 and o.kind = s.kind and o.key1 = s.key1 and o.key2 = s.key2 and o.revision <= s.revision
                        for update skip locked) o))
                returning kind, key1, key2, gone)
         insert into dead_letter (sink, kind, key1, key2, revision, reason, gone)
         select $1, kind, key1, key2, s.revision, s.reason, r.gone from refused r join sent s using (kind, key1, key2)
         on conflict (sink, kind, key1, key2)
         do update set revision = excluded.revision, reason = excluded.reason, gone = excluded.gone, created_at = now()",
    )
    .bind(sink)
    .bind(&kinds)
    .bind(&firsts)
    .bind(&seconds)
    .bind(&revisions)
    .bind(&reasons)
    .persistent(false)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// How many entries a sink has still to be told.
pub async fn backlog(pool: &PgPool, sink: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from outbox where sink = $1").bind(sink).fetch_one(pool).await
}

/// How many entries a sink has that are at least as old as that moment.
pub async fn backlog_until(pool: &PgPool, sink: &str, until: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from outbox where sink = $1 and created_at <= $2")
        .bind(sink)
        .bind(until)
        .fetch_one(pool)
        .await
}

/// The database's clock.
pub async fn now(pool: &PgPool) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await
}

/// Enqueues the next rows of a kind after a key, whatever the sink holds of them. Gives the last key and how many there were.
pub async fn enqueue_next(
    pool: &PgPool,
    sink: &str,
    kind: Kind,
    after: (i64, i64),
    limit: i64,
) -> Result<Option<((i64, i64), i64)>, sqlx::Error> {
    let table = kind.table();
    let (name, key1, key2, beyond) = (table.name, table.key.0, table.key2(), Table::beyond(table.key, 3));
    let statement = format!(
        "with page as (select t.{key1} as key1, {key2} as key2, t.revision from {name} t where {beyond} order by 1, 2 limit $5),
              entered as (
                insert into outbox (sink, kind, key1, key2, revision) select $1, $2, key1, key2, revision from page
                on conflict (sink, kind, key1, key2) do update set revision = greatest(outbox.revision, excluded.revision))
         select key1, key2, (select count(*) from page) as total from page order by key1 desc, key2 desc limit 1"
    );
    let row = sqlx::query(AssertSqlSafe(statement))
        .bind(sink)
        .bind(kind.as_str())
        .bind(after.0)
        .bind(after.1)
        .bind(limit)
        .fetch_optional(pool)
        .await?;
    row.map(|row| Ok(((row.try_get("key1")?, row.try_get("key2")?), row.try_get("total")?))).transpose()
}

/// Ends a sink: what it has still to be told, and what it refused, becomes `heir`'s.
pub async fn merge_into(pool: &PgPool, sink: &str, heir: &str) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    // Writers read `sink` and write `outbox` in one statement: past this lock they no longer see the sink that goes.
    sqlx::query("lock table outbox in share row exclusive mode").execute(&mut *tx).await?;
    sqlx::query(
        "insert into outbox (sink, kind, key1, key2, revision, gone) select $2, kind, key1, key2, revision, gone from outbox where sink = $1
         on conflict (sink, kind, key1, key2)
         do update set revision = greatest(outbox.revision, excluded.revision), gone = coalesce(outbox.gone, excluded.gone)",
    )
    .bind(sink)
    .bind(heir)
    .execute(&mut *tx)
    .await?;
    // What the heir's old index refused says nothing of the new one.
    sqlx::query("delete from dead_letter where sink = $1").bind(heir).execute(&mut *tx).await?;
    sqlx::query(
        "insert into dead_letter (sink, kind, key1, key2, revision, reason, created_at, gone)
         select $2, kind, key1, key2, revision, reason, created_at, gone from dead_letter where sink = $1",
    )
    .bind(sink)
    .bind(heir)
    .execute(&mut *tx)
    .await?;
    sqlx::query("delete from sink where name = $1").bind(sink).execute(&mut *tx).await?;
    sqlx::query("update sink set state = 'active', detail = null, updated_at = now() where name = $1")
        .bind(heir)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// Dead letters, oldest first.
pub async fn dead_letters(pool: &PgPool, limit: i64) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let places: Vec<String> = Kind::ALL
        .into_iter()
        .filter(|kind| kind.table().boxed)
        .map(|kind| {
            let table = kind.table();
            let (first, second) = (table.key.0, table.key2());
            format!(
                "select t.chat_id, t.message_id from {} t where d.kind = '{kind}' and t.{first} = d.key1 and {second} = d.key2",
                table.name
            )
        })
        .collect();
    let statement = format!(
        "select d.sink, d.kind, d.key1, d.key2, d.revision, d.reason, d.created_at, p.chat_id, p.message_id
         from dead_letter d left join lateral ({}) p on true
         order by d.created_at, d.sink, d.kind, d.key1, d.key2 limit $1",
        places.join(" union all ")
    );
    let rows = sqlx::query(AssertSqlSafe(statement)).bind(limit).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            let key = key_of(row)?;
            Ok(DeadLetter {
                sink: row.try_get("sink")?,
                kind: key.kind,
                key1: key.key1,
                key2: key.key2,
                chat_id: row.try_get("chat_id")?,
                message_id: row.try_get("message_id")?,
                revision: row.try_get("revision")?,
                reason: row.try_get("reason")?,
                created_at: row.try_get("created_at")?,
            })
        })
        .collect()
}

/// Puts dead letters back into the outbox, all or those of one kind, and releases held kinds. Gives how many.
pub async fn retry_dead_letters(pool: &PgPool, kind: Option<Kind>) -> Result<u64, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let done = sqlx::query(
        "with back as (delete from dead_letter where $1::text is null or kind = $1 returning sink, kind, key1, key2, revision, gone)
         insert into outbox (sink, kind, key1, key2, revision, gone) select sink, kind, key1, key2, revision, gone from back
         order by sink, kind, key1, key2
         on conflict (sink, kind, key1, key2)
         do update set revision = greatest(outbox.revision, excluded.revision), gone = coalesce(outbox.gone, excluded.gone)",
    )
    .bind(kind.map(Kind::as_str))
    .execute(&mut *tx)
    .await?;
    sqlx::query("update sink set state = 'active', detail = null, updated_at = now() where state = 'held'")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(done.rows_affected())
}
