//! A chat as one reads it: messages around a place, the versions of one.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::conversation::{self, Part};
use super::document::{MESSAGE, MessageRow};
use super::{BoxId, ChatId, Error};

/// From where, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The newest.
    End,
    /// Older than this id.
    Before(i64),
    /// Newer than this id.
    After(i64),
}

/// Where a chat's messages are; none where the record has none. Nothing is made by asking.
pub async fn part(conn: &mut PgConnection, chat: ChatId) -> Result<Option<Part>, Error> {
    if !chat.is_channel() {
        return conversation::part(conn, chat).await;
    }
    let held: Option<i64> =
        sqlx::query_scalar("select id from box where channel_id = $1").bind(chat.0).fetch_optional(conn).await?;
    Ok(held.map(|held| Part { chat, held: BoxId(held) }))
}

/// Messages of a chat from a place on, the nearest first.
pub async fn messages(pool: &PgPool, part: Part, from: From, limit: i64) -> sqlx::Result<Vec<MessageRow>> {
    let (condition, order, id) = match from {
        From::End => ("<=", "desc", i64::MAX),
        From::Before(id) => ("<", "desc", id),
        From::After(id) => (">", "", id),
    };
    let statement = format!(
        "{MESSAGE} where m.box_id = $1 and m.chat_id = $2 and m.message_id {condition} $3 order by m.message_id {order} limit $4"
    );
    sqlx::query_as(AssertSqlSafe(statement)).bind(part.held.0).bind(part.chat.0).bind(id).bind(limit).fetch_all(pool).await
}

/// The first message of a day, or of what comes after it; none: there is nothing so late.
pub async fn at(pool: &PgPool, part: Part, date: DateTime<Utc>) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "select message_id from message where chat_id = $1 and date >= $2 and box_id = $3 order by date, message_id limit 1",
    )
    .bind(part.chat.0)
    .bind(date)
    .bind(part.held.0)
    .fetch_optional(pool)
    .await
}

/// The rows of a message's versions, the oldest first.
pub async fn versions(pool: &PgPool, part: Part, message: i64) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(
        "select id from message_version where box_id = $1 and message_id = $2 order by coalesce(edit_date, date) nulls first, id",
    )
    .bind(part.held.0)
    .bind(message)
    .fetch_all(pool)
    .await
}

/// How many versions each of these messages has; those that have none are left out.
pub async fn version_counts(pool: &PgPool, part: Part, messages: &[i64]) -> sqlx::Result<Vec<(i64, i64)>> {
    sqlx::query_as("select message_id, count(*) from message_version where box_id = $1 and message_id = any($2) group by 1")
        .bind(part.held.0)
        .bind(messages)
        .fetch_all(pool)
        .await
}

/// The box of an account's messages of a chat, by the number in the document's `_id`: the account's user, or its own below zero.
pub async fn box_of_owner(conn: &mut PgConnection, owner: i64) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "select b.id from box b join account a on a.id = b.account_id where coalesce(a.user_id, -a.id) = $1 order by b.id limit 1",
    )
    .bind(owner)
    .fetch_optional(conn)
    .await
}
