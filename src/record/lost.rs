//! Messages that were known once and are gone before anybody read them: lost. Who knew of them, and how the record keeps that.
//!
//! An id that nothing names is empty; one that something names held a message. Its row has no content but `lost_reason`, and is a
//! deletion in the interval from when it was last known to when Telegram no longer had it. Content that arrives after all (an import)
//! fills the row, and the reason goes.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::boxes::BoxRow;
use super::change::{Change, announce};
use super::coverage::Coverage;
use super::outbox::Kind;
use super::{Error, Observation};

/// A trace of a message that has no row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Trace {
    pub message_id: i64,
    /// When it was known to exist.
    pub known_at: DateTime<Utc>,
    /// What knew of it, as `lost_reason` tells it.
    pub reason: String,
    /// The record had it itself; else another message names it.
    pub ours: bool,
}

/// Ids of a ledger row, from an id on, that the record names and has no row of; newest first, at most so many. With `among` only
/// those of them.
pub async fn traces(
    conn: &mut PgConnection,
    ledger: &Coverage,
    from: i64,
    among: Option<&[i64]>,
    limit: i64,
) -> Result<Vec<Trace>, Error> {
    Ok(sqlx::query_as(
        "with c as (
            select box_id, chat_id, account_id, greatest(floor, $2, 1) as lo, top as hi from coverage where id = $1
        ), trace as (
            select t.message_id, t.last_seen as known_at, 'a version of it was kept' as reason, true as ours
            from c join message_version t using (box_id, chat_id)
            union all
            select t.message_id, t.last_seen, 'a link in it was kept', true from c join link t using (box_id, chat_id)
            union all
            select t.message_id, t.date, 'its counts were sampled', true from c join metric t using (box_id, chat_id)
            union all -- entries of an account's own box do not tell the chat
            select t.key2, t.created_at, 'its document was to be written', true
            from c join outbox t on c.account_id is null and t.kind = 'message' and t.key1 = c.box_id
            union all
            select t.key2, t.created_at, 'its document was refused', true
            from c join dead_letter t on c.account_id is null and t.kind = 'message' and t.key1 = c.box_id
            union all
            select (t.body->>'reply_to_message_id')::bigint, coalesce(t.date, t.first_seen), 'message ' || t.message_id || ' answers it', false
            from c join message t using (box_id, chat_id)
            where t.body ? 'reply_to_message_id' and coalesce((t.body->>'reply_to_chat_id')::bigint, c.chat_id) = c.chat_id
        )
        select distinct on (t.message_id) t.message_id, t.known_at, t.reason, t.ours from trace t, c
        where t.message_id between c.lo and c.hi and ($3::bigint[] is null or t.message_id = any($3))
            and not exists (select from message m where m.box_id = c.box_id and m.message_id = t.message_id)
        order by t.message_id desc, t.ours desc, t.known_at desc limit $4",
    )
    .bind(ledger.id)
    .bind(from)
    .bind(among)
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// Keeps traces as rows of a locked box; an id that has a row keeps it. `gone`: Telegram was asked, and has none of them any more.
/// Gives the ids that are new.
pub async fn keep(
    conn: &mut PgConnection,
    held: &BoxRow,
    ledger: &Coverage,
    traces: &[Trace],
    gone: bool,
    seen: &Observation,
) -> Result<Vec<i64>, Error> {
    if traces.is_empty() {
        return Ok(Vec::new());
    }
    let new: Vec<(i64, i64)> = sqlx::query_as(
        "insert into message (box_id, message_id, chat_id, lost_reason, deleted_at, deleted_after, last_seen, order_pts,
            account_id, via, job)
        select $1, n.id, $2, n.reason, case when $6 then now() end, case when $6 then least(n.at, now()) end, n.at, $7, $8, $9, $10
        from unnest($3::bigint[], $4::text[], $5::timestamptz[]) n (id, reason, at)
        order by n.id
        on conflict (box_id, message_id) do nothing
        returning message_id, revision",
    )
    .bind(held.id.0)
    .bind(ledger.chat.0)
    .bind(traces.iter().map(|trace| trace.message_id).collect::<Vec<_>>())
    .bind(traces.iter().map(|trace| trace.reason.as_str()).collect::<Vec<_>>())
    .bind(traces.iter().map(|trace| trace.known_at).collect::<Vec<_>>())
    .bind(gone)
    .bind(seen.pts.filter(|_| gone))
    .bind(seen.account.0)
    .bind(seen.via.as_str())
    .bind(seen.job)
    .fetch_all(&mut *conn)
    .await?;
    let mut changes: Vec<Change> = new.iter().map(|&(id, revision)| Change { key1: held.id.0, key2: id, revision }).collect();
    changes.sort_unstable();
    announce(conn, Kind::Message, &changes).await?;
    Ok(new.into_iter().map(|(id, _)| id).collect())
}
