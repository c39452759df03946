//! Rows with all that a document of them needs, read only. The form of a document is the projection's; its `_id` is told here, since
//! the record answers searches with the same ids.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgPool};

/// A message's row, with whose box it is in and who saw it.
#[derive(Debug, Clone, FromRow)]
pub struct MessageRow {
    pub box_id: i64,
    pub message_id: i64,
    /// None: a deletion of an id that no watched chat has named. It has no document.
    pub chat_id: Option<i64>,
    /// The user id of the box's account; None in a channel's box.
    pub owner: Option<i64>,
    pub date: Option<DateTime<Utc>>,
    pub edit_date: Option<DateTime<Utc>>,
    pub body: Option<Value>,
    pub content_hash: Option<Vec<u8>>,
    pub revision: i64,
    pub deleted_at: Option<DateTime<Utc>>,
    pub deleted_after: Option<DateTime<Utc>>,
    pub raw_reason: Option<String>,
    /// Who knew of a message whose content nobody read.
    pub lost_reason: Option<String>,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    pub account: Option<String>,
    pub via: String,
    pub job: Option<i64>,
}

/// A chat's or a user's row, with who saw it.
#[derive(Debug, Clone, FromRow)]
pub struct PeerRow {
    pub id: i64,
    /// A chat's type; None for a user.
    pub kind: Option<String>,
    pub body: Value,
    pub content_hash: Vec<u8>,
    pub revision: i64,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    pub account: Option<String>,
    pub via: String,
    pub job: Option<i64>,
}

/// A member's row, with who told it.
#[derive(Debug, Clone, FromRow)]
pub struct MemberRow {
    pub chat_id: i64,
    pub user_id: i64,
    pub status: Option<String>,
    /// In the chat; None: not known.
    pub present: Option<bool>,
    pub body: Value,
    pub content_hash: Vec<u8>,
    /// The list that brought the last change.
    pub snapshot: Option<i64>,
    pub updated_at: DateTime<Utc>,
    pub revision: i64,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    pub account: Option<String>,
    pub via: String,
    pub job: Option<i64>,
}

/// Selects messages `m` as [`MessageRow`]; a condition may follow.
pub(super) const MESSAGE: &str =
    "select m.box_id, m.message_id, m.chat_id, coalesce(owner.user_id, -owner.id) as owner, m.date, m.edit_date, m.body,
                m.content_hash, m.revision, m.deleted_at, m.deleted_after, m.raw_reason, m.lost_reason, m.first_seen, m.last_seen,
                seer.label as account, m.via, m.job
         from message m
         join box b on b.id = m.box_id
         left join account owner on owner.id = b.account_id
         left join account seer on seer.id = m.account_id";

/// A message's `_id`: `{chat}_{message}`; in an account's box ids are that account's own, so `{account user}_{chat}_{message}`.
pub fn message_document_id(owner: Option<i64>, chat: i64, message: i64) -> String {
    match owner {
        Some(owner) => format!("{owner}_{chat}_{message}"),
        None => format!("{chat}_{message}"),
    }
}

/// The messages with these keys (box, message id), in no order; those that are gone are left out.
///
/// Like all reads by key for the sinks it is planned anew each time: a plan kept from when the table was small reads the whole of
/// it for each key.
pub async fn messages(pool: &PgPool, boxes: &[i64], ids: &[i64]) -> Result<Vec<MessageRow>, sqlx::Error> {
    sqlx::query_as(
        "select m.box_id, m.message_id, m.chat_id, coalesce(owner.user_id, -owner.id) as owner, m.date, m.edit_date, m.body,
                m.content_hash, m.revision, m.deleted_at, m.deleted_after, m.raw_reason, m.lost_reason, m.first_seen, m.last_seen,
                seer.label as account, m.via, m.job
         from unnest($1::bigint[], $2::bigint[]) as k (box_id, message_id)
         join message m on m.box_id = k.box_id and m.message_id = k.message_id
         join box b on b.id = m.box_id
         left join account owner on owner.id = b.account_id
         left join account seer on seer.id = m.account_id",
    )
    .bind(boxes)
    .bind(ids)
    .persistent(false)
    .fetch_all(pool)
    .await
}

/// The next messages of a chat after (message id, box), in that order.
pub async fn messages_of(pool: &PgPool, chat: i64, after: (i64, i64), limit: i64) -> Result<Vec<MessageRow>, sqlx::Error> {
    sqlx::query_as(
        "select m.box_id, m.message_id, m.chat_id, coalesce(owner.user_id, -owner.id) as owner, m.date, m.edit_date, m.body,
                m.content_hash, m.revision, m.deleted_at, m.deleted_after, m.raw_reason, m.lost_reason, m.first_seen, m.last_seen,
                seer.label as account, m.via, m.job
         from message m
         join box b on b.id = m.box_id
         left join account owner on owner.id = b.account_id
         left join account seer on seer.id = m.account_id
         where m.chat_id = $1 and (m.message_id, m.box_id) > ($2, $3)
         order by m.message_id, m.box_id limit $4",
    )
    .bind(chat)
    .bind(after.0)
    .bind(after.1)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// The chats with these ids, in no order.
pub async fn chats(pool: &PgPool, ids: &[i64]) -> Result<Vec<PeerRow>, sqlx::Error> {
    sqlx::query_as(
        "select c.chat_id as id, c.type as kind, c.body, c.content_hash, c.revision, c.first_seen, c.last_seen,
                seer.label as account, c.via, c.job
         from chat c left join account seer on seer.id = c.account_id where c.chat_id = any ($1)",
    )
    .bind(ids)
    .persistent(false)
    .fetch_all(pool)
    .await
}

/// The users with these ids, in no order.
pub async fn users(pool: &PgPool, ids: &[i64]) -> Result<Vec<PeerRow>, sqlx::Error> {
    sqlx::query_as(
        "select u.user_id as id, null::text as kind, u.body, u.content_hash, u.revision, u.first_seen, u.last_seen,
                seer.label as account, u.via, u.job
         from telegram_user u left join account seer on seer.id = u.account_id where u.user_id = any ($1)",
    )
    .bind(ids)
    .persistent(false)
    .fetch_all(pool)
    .await
}

/// The members with these keys (chat, user), in no order.
pub async fn members(pool: &PgPool, chats: &[i64], users: &[i64]) -> Result<Vec<MemberRow>, sqlx::Error> {
    sqlx::query_as(
        "select m.chat_id, m.user_id, m.status, m.present, m.body, m.content_hash, m.snapshot, m.updated_at, m.revision, m.first_seen,
                m.last_seen, seer.label as account, m.via, m.job
         from unnest($1::bigint[], $2::bigint[]) as k (chat_id, user_id)
         join member m on m.chat_id = k.chat_id and m.user_id = k.user_id
         left join account seer on seer.id = m.account_id",
    )
    .bind(chats)
    .bind(users)
    .fetch_all(pool)
    .await
}
