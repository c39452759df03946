//! The `metric` table: counts of messages at scheduled moments, each once.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::boxes::BoxRow;
use super::change::{Change, announce};
use super::outbox::Kind;
use super::{ChatId, Error, Observation};

/// Counts of one message, as Telegram told them now.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub message_id: i64,
    pub chat: ChatId,
    /// The moment that the schedule asked for: with the message the point's natural key. Parts of a second are cut.
    pub scheduled_at: DateTime<Utc>,
    pub views: Option<i64>,
    pub forwards: Option<i64>,
    pub reply_count: Option<i64>,
    /// As in a message's body: [{reaction, count}].
    pub reactions: Option<Value>,
}

/// Adds points of a locked box's messages, dated with the database's time; a moment that has its point keeps it. Gives how many are
/// new.
pub async fn insert(conn: &mut PgConnection, held: &BoxRow, points: &[Point], seen: &Observation) -> Result<usize, Error> {
    if points.is_empty() {
        return Ok(0);
    }
    let column = |of: fn(&Point) -> Option<i64>| -> Vec<Option<i64>> { points.iter().map(of).collect() };
    let new: Vec<(i64, i64)> = sqlx::query_as(
        "insert into metric (box_id, message_id, scheduled_at, chat_id, date, views, forwards, reply_count, reactions,
            account_id, via, job)
        select $1, n.id, date_trunc('second', n.at), n.chat, now(), n.views, n.forwards, n.replies, n.reactions, $9, $10, $11
        from unnest($2::bigint[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::jsonb[])
            n (id, at, chat, views, forwards, replies, reactions)
        order by 2, 3
        on conflict (box_id, message_id, scheduled_at) do nothing
        returning id, revision",
    )
    .bind(held.id.0)
    .bind(points.iter().map(|point| point.message_id).collect::<Vec<_>>())
    .bind(points.iter().map(|point| point.scheduled_at).collect::<Vec<_>>())
    .bind(points.iter().map(|point| point.chat.0).collect::<Vec<_>>())
    .bind(column(|point| point.views))
    .bind(column(|point| point.forwards))
    .bind(column(|point| point.reply_count))
    .bind(points.iter().map(|point| point.reactions.clone()).collect::<Vec<_>>())
    .bind(seen.account.0)
    .bind(seen.via.as_str())
    .bind(seen.job)
    .fetch_all(&mut *conn)
    .await?;
    let mut changes: Vec<Change> = new.iter().map(|&(id, revision)| Change { key1: id, key2: 0, revision }).collect();
    changes.sort_unstable();
    announce(conn, Kind::Metric, &changes).await?;
    Ok(changes.len())
}
