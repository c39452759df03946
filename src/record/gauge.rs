//! Counts for whoever watches the whole: metrics, `telekeep top` and the rules of alerts. Each is one query; which of them look at
//! many rows is said.

use sqlx::PgConnection;

/// How a sink stands.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct SinkGauge {
    pub sink: String,
    /// active, waiting or held
    pub state: String,
    pub detail: Option<String>,
    /// How long it has been so, in seconds.
    pub for_s: f64,
    pub dead_letters: i64,
}

/// The sinks, by name. Looks at every dead letter.
pub async fn sinks(conn: &mut PgConnection) -> sqlx::Result<Vec<SinkGauge>> {
    sqlx::query_as(
        "select s.name as sink, s.state, s.detail, extract(epoch from clock_timestamp() - s.updated_at)::float8 as for_s,
                (select count(*) from dead_letter d where d.sink = s.name) as dead_letters
           from sink s order by s.name",
    )
    .fetch_all(conn)
    .await
}

/// What a sink has still to be told.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Backlog {
    pub sink: String,
    pub entries: i64,
    /// How long the oldest entry waits, in seconds; 0: there is none.
    pub oldest_s: f64,
}

/// What the sinks have still to be told. Looks at every entry of the outbox.
pub async fn backlogs(conn: &mut PgConnection) -> sqlx::Result<Vec<Backlog>> {
    sqlx::query_as(
        "select s.name as sink, count(o.sink) as entries,
                coalesce(greatest(extract(epoch from clock_timestamp() - min(o.created_at)), 0), 0)::float8 as oldest_s
           from sink s left join outbox o on o.sink = s.name group by s.name order by s.name",
    )
    .fetch_all(conn)
    .await
}

/// How many watched chats there are.
pub async fn watched(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from watch").fetch_one(conn).await
}

/// Messages of watched chats that are kept raw. Looks at every message that is: there is an index of these.
pub async fn raw(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select count(*) from message m join watch w using (chat_id) where m.raw_reason is not null and m.deleted_at is null",
    )
    .fetch_one(conn)
    .await
}

/// Files by state, without those that are skipped. Looks at every file.
pub async fn files(conn: &mut PgConnection) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as("select state, count(*) from media where state <> 'skipped' group by state order by state").fetch_all(conn).await
}

/// Bytes that the file store holds. Looks at every stored object.
pub async fn stored_bytes(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("select coalesce(sum(size), 0)::bigint from stored_object").fetch_one(conn).await
}
