//! Messages that are kept raw, because something in them could not be normalised: which they are, and how they become whole.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::{AccountId, BoxId, ChatId, Error, Message, Observation, Via, boxes, media, message, watch};

/// One message that is kept raw. Its text is not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct RawRow {
    pub chat_id: i64,
    pub message_id: i64,
    pub reason: String,
    /// How long its TL form is.
    pub bytes: i64,
}

/// The messages of one chat, or of all, that are kept raw and were not deleted.
pub async fn list(conn: &mut PgConnection, chat: Option<ChatId>) -> Result<Vec<RawRow>, Error> {
    Ok(sqlx::query_as(
        "select chat_id, message_id, raw_reason as reason, coalesce(octet_length(raw), 0)::bigint as bytes from message
        where raw_reason is not null and chat_id is not null and deleted_at is null and ($1::bigint is null or chat_id = $1)
        order by chat_id, message_id",
    )
    .bind(chat.map(|chat| chat.0))
    .fetch_all(conn)
    .await?)
}

/// One message in its TL form, to be normalised again.
#[derive(Debug, Clone, FromRow)]
pub struct RawMessage {
    pub box_id: i64,
    pub chat_id: i64,
    pub message_id: i64,
    pub raw: Vec<u8>,
    pub raw_reason: String,
}

/// The next raw messages of watched chats after a key (box, message id).
pub async fn next(conn: &mut PgConnection, chat: Option<ChatId>, after: (i64, i64), limit: i64) -> Result<Vec<RawMessage>, Error> {
    Ok(sqlx::query_as(
        "select box_id, chat_id, message_id, raw, raw_reason from message join watch using (chat_id)
        where raw is not null and raw_reason is not null and ($1::bigint is null or chat_id = $1) and (box_id, message_id) > ($2, $3)
        order by box_id, message_id limit $4",
    )
    .bind(chat.map(|chat| chat.0))
    .bind(after.0)
    .bind(after.1)
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// What a row keeps when it becomes whole.
#[derive(FromRow)]
struct Kept {
    account_id: Option<i64>,
    via: String,
    job: Option<i64>,
    order_pts: Option<i32>,
    last_seen: DateTime<Utc>,
}

/// Puts what was understood in the place of what was kept raw, unless the message was told anew meanwhile. The order key and the
/// provenance stay: nobody saw it again. Answers whether it was done.
pub async fn commit(conn: &mut PgConnection, kept: &RawMessage, understood: &Message) -> Result<bool, Error> {
    watch::require(conn, ChatId(kept.chat_id)).await?;
    let held = boxes::lock(conn, BoxId(kept.box_id)).await?;
    let found: Option<Kept> = sqlx::query_as(
        "select account_id, via, job, order_pts, last_seen from message
        where box_id = $1 and message_id = $2 and raw = $3 for update",
    )
    .bind(kept.box_id)
    .bind(kept.message_id)
    .bind(&kept.raw)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(found) = found else { return Ok(false) };
    let via =
        [Via::Live, Via::History, Via::Import, Via::Difference, Via::Index].into_iter().find(|known| known.as_str() == found.via);
    let account = AccountId(found.account_id.unwrap_or_default());
    let seen = Observation { account, via: via.unwrap_or(Via::History), job: found.job, pts: found.order_pts };
    let written = message::commit(conn, &held, std::slice::from_ref(understood), &seen).await?;
    let mut carrying = understood.clone();
    // What it tells of how to address files is as old as its bytes.
    carrying.media.iter_mut().for_each(|told| told.access_hash = None);
    media::merge(conn, &held, &[carrying], &seen).await?;
    sqlx::query("update message set last_seen = $3 where box_id = $1 and message_id = $2")
        .bind(kept.box_id)
        .bind(kept.message_id)
        .bind(found.last_seen)
        .execute(conn)
        .await?;
    Ok(!written.revised.is_empty())
}
