//! Table metric: counts of a message at a scheduled moment, once each.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::{ChatId, Error, Observation, boxes::BoxRow};

/// Counts of one message at one moment of its schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub message_id: i64,
    pub chat: ChatId,
    pub scheduled_at: DateTime<Utc>,
    pub views: Option<i64>,
    pub forwards: Option<i64>,
    pub reply_count: Option<i64>,
    pub reactions: Option<Value>,
}

/// Keeps points of a locked box; one that is there already stays as it is. Answers how many are new.
pub async fn insert(conn: &mut PgConnection, held: &BoxRow, points: &[Point], seen: &Observation) -> Result<usize, Error> {
    let reactions: Vec<Option<Value>> = points.iter().map(|p| p.reactions.clone()).collect();
    let inserted = sqlx::query(
        "insert into metric (box_id, message_id, scheduled_at, chat_id, date, views, forwards, reply_count, reactions, account_id, via, job)
         select $1, p.id, p.at, p.chat, now(), p.views, p.forwards, p.replies, p.reactions, $9, $10, $11
         from unnest($2::bigint[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::jsonb[])
             p (id, at, chat, views, forwards, replies, reactions)
         order by p.id, p.at
         on conflict (box_id, message_id, scheduled_at) do nothing",
    )
    .bind(held.id.0)
    .bind(points.iter().map(|p| p.message_id).collect::<Vec<_>>())
    .bind(points.iter().map(|p| p.scheduled_at).collect::<Vec<_>>())
    .bind(points.iter().map(|p| p.chat.0).collect::<Vec<_>>())
    .bind(points.iter().map(|p| p.views).collect::<Vec<_>>())
    .bind(points.iter().map(|p| p.forwards).collect::<Vec<_>>())
    .bind(points.iter().map(|p| p.reply_count).collect::<Vec<_>>())
    .bind(reactions)
    .bind(seen.account.0)
    .bind(seen.via.as_str())
    .bind(seen.job)
    .execute(conn)
    .await?;
    Ok(usize::try_from(inserted.rows_affected()).unwrap_or(0))
}
