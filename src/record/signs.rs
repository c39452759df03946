//! Signs of trouble that rules ask for: disks, silent chats, restless leases, binaries that are behind the schema.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// A disk of a node.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Disk {
    pub node: String,
    /// What is on it: store, staging, working folder.
    pub role: String,
    /// Bytes, for users that are not root.
    pub free: i64,
    /// Bytes.
    pub size: i64,
}

/// Notes what a node sees of its disks.
pub async fn note_disks(conn: &mut PgConnection, node: &str, disks: &[(&str, u64, u64)]) -> sqlx::Result<()> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    for (role, free, size) in disks {
        sqlx::query(
            "insert into node_disk (node, role, free, size) values ($1, $2, $3, $4)
             on conflict (node, role) do update set free = excluded.free, size = excluded.size, seen_at = now()",
        )
        .bind(node)
        .bind(role)
        .bind(signed(*free))
        .bind(signed(*size))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// The disks that nodes saw within this time.
pub async fn disks(conn: &mut PgConnection, within: Duration) -> sqlx::Result<Vec<Disk>> {
    sqlx::query_as(
        "select node, role, free, size from node_disk where seen_at > now() - make_interval(secs => $1) order by node, role",
    )
    .bind(within.as_secs_f64())
    .fetch_all(conn)
    .await
}

/// An account that went from node to node.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Restless {
    pub account_id: i64,
    pub label: String,
    pub taken: i64,
    pub nodes: Vec<String>,
}

/// The accounts that working nodes took at least so often within this time.
pub async fn restless(conn: &mut PgConnection, often: i64, within: Duration) -> sqlx::Result<Vec<Restless>> {
    sqlx::query_as(
        "select t.account_id, a.label, count(*) as taken, array_agg(distinct t.node order by t.node) as nodes
           from account_lease_taken t join account a on a.id = t.account_id
          where t.taken_at > now() - make_interval(secs => $2)
          group by t.account_id, a.label having count(*) >= $1 order by t.account_id",
    )
    .bind(often)
    .bind(within.as_secs_f64())
    .fetch_all(conn)
    .await
}

/// The living nodes whose binary does not know the newest migration: name, its migration, the schema's.
pub async fn behind_the_schema(conn: &mut PgConnection) -> sqlx::Result<Vec<(String, i64, i64)>> {
    sqlx::query_as(
        "select n.name, min(n.schema_version), s.version
           from node n cross join (select max(version) as version from _sqlx_migrations) s
          where n.stopped_at is null and n.seen_at > clock_timestamp() - interval '1 minute' and n.schema_version < s.version
          group by n.name, s.version order by n.name",
    )
    .fetch_all(conn)
    .await
}

/// Hours that silence is measured by are counted from so many messages before the newest, where a chat is counted first.
const FIRST_COUNT: i64 = 20_000;
/// Four weeks, and the one in which it may be silent.
const KEPT_DAYS: i32 = 36;

/// Counts what came since the last count into hours: each message is read once. Forgets hours that no rule asks for any more.
pub async fn count_hours(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(
        "insert into chat_hour_mark (chat_id, message_id, since)
         select w.chat_id, coalesce(m.message_id, 0), coalesce(date_trunc('hour', m.date), date_trunc('hour', now()))
         from watch w left join lateral (
             select message_id, date from (
                 select message_id, date from message where chat_id = w.chat_id and date is not null order by message_id desc limit $1
             ) newest order by message_id limit 1
         ) m on true
         where not exists (select from chat_hour_mark k where k.chat_id = w.chat_id)
         on conflict do nothing",
    )
    .bind(FIRST_COUNT)
    .execute(&mut *conn)
    .await?;
    // Only hours that are over: a message that comes later within its hour is counted with it. Ids grow with time.
    sqlx::query(
        "with fresh as materialized (
             select m.chat_id, m.message_id, date_trunc('hour', m.date) as hour from chat_hour_mark k
             cross join lateral (
                 select m.chat_id, m.message_id, m.date from message m
                 where m.chat_id = k.chat_id and m.message_id > k.message_id and m.date < date_trunc('hour', now()) - interval '2 minutes'
                 order by m.message_id limit 100000 offset 0
             ) m
         ), counted as (
             insert into chat_hour as h (chat_id, hour, messages)
             select chat_id, hour, count(*) from fresh group by 1, 2
             on conflict (chat_id, hour) do update set messages = h.messages + excluded.messages
         )
         update chat_hour_mark k set message_id = f.newest
         from (select chat_id, max(message_id) as newest from fresh group by 1) f where k.chat_id = f.chat_id",
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query("delete from chat_hour where hour < now() - make_interval(days => $1)")
        .bind(KEPT_DAYS)
        .execute(conn)
        .await
        .map(drop)
}

/// A chat that is silent against its habit.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Silent {
    pub chat_id: i64,
    pub title: Option<String>,
    /// The end of the hour of its last message.
    pub since: DateTime<Utc>,
    /// How many messages it had on average in the same hours of the week, over up to four weeks before.
    pub expected: f64,
}

/// The watched chats from which nothing came for so long that, by the same hours of the week in up to four weeks before (at least
/// one), at least `expected` messages would have come, and longer than it was ever silent in that time.
///
/// Messages of a chat come in bursts: where 20 are expected, none by chance is rare even then, and the longest pause catches the rest.
pub async fn silent(conn: &mut PgConnection, expected: f64) -> sqlx::Result<Vec<Silent>> {
    sqlx::query_as(
        "with habit as materialized (
             select k.chat_id, max(h.hour) + interval '1 hour' as since, date_trunc('hour', now()) as until,
                 greatest(k.since, now() - interval '28 days') as known
             from chat_hour_mark k join chat_hour h using (chat_id) group by k.chat_id, k.since
         ), quiet as (
             select chat_id, since, least(until, since + interval '7 days') as until,
                 least(floor(extract(epoch from since - known) / 604800), 4)::int as weeks, until - since as pause
             from habit where until > since and since - known >= interval '7 days'
         ), usual as (
             select q.chat_id, q.since, q.pause,
                 (select coalesce(sum(h.messages), 0)::float8 / q.weeks from generate_series(1, q.weeks) week
                  join chat_hour h on h.chat_id = q.chat_id
                      and h.hour >= q.since - week * interval '7 days' and h.hour < q.until - week * interval '7 days') as expected,
                 (select max(p.pause) from (
                      select h.hour - lag(h.hour) over (order by h.hour) - interval '1 hour' as pause
                      from chat_hour h where h.chat_id = q.chat_id and h.hour > now() - interval '28 days') p) as longest
             from quiet q
         )
         select u.chat_id, c.body->>'title' as title, u.since, u.expected
         from usual u left join chat c using (chat_id)
         where u.expected >= $1 and u.pause > coalesce(u.longest, interval '0') order by u.chat_id",
    )
    .bind(expected)
    .fetch_all(conn)
    .await
}
