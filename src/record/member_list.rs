//! Members for people, read only.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use super::member::Status;
use super::{ChatId, Error};

/// A member with a name.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct Member {
    pub chat_id: i64,
    pub user_id: i64,
    pub name: Option<String>,
    pub username: Option<String>,
    /// None: seen writing, and nobody told more.
    pub status: Option<String>,
    #[sqlx(rename = "present")]
    pub is_member: Option<bool>,
    /// title, rights, dates and who invited, promoted, restricted or removed
    #[sqlx(rename = "body")]
    #[schema(value_type = Object)]
    pub fields: Value,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    /// The list that brought the last change.
    pub snapshot: Option<i64>,
    pub update_time: DateTime<Utc>,
}

const LIST: &str = "select m.chat_id, m.user_id,
        coalesce(nullif(concat_ws(' ', u.body->>'first_name', u.body->>'last_name'), ''), c.body->>'title') as name,
        coalesce(u.body->>'username', c.body->>'username') as username, m.status, m.present, m.body, m.first_seen, m.last_seen,
        m.snapshot, m.updated_at as update_time
    from member m left join telegram_user u on u.user_id = m.user_id left join chat c on c.chat_id = m.user_id
    where m.chat_id = $1 and ($2::bigint is null or m.user_id = $2) and ($3::text is null or m.status = $3) and m.user_id > $4
    order by m.user_id limit $5";

/// Members of a chat beyond a user's id, in the order of their ids, of one status or all.
pub async fn list(
    conn: &mut PgConnection,
    chat: ChatId,
    status: Option<Status>,
    after: i64,
    limit: i64,
) -> Result<Vec<Member>, Error> {
    Ok(sqlx::query_as(LIST)
        .bind(chat.0)
        .bind(None::<i64>)
        .bind(status.map(Status::as_str))
        .bind(after)
        .bind(limit)
        .fetch_all(conn)
        .await?)
}

/// One member.
pub async fn show(conn: &mut PgConnection, chat: ChatId, user: i64) -> Result<Option<Member>, Error> {
    Ok(sqlx::query_as(LIST).bind(chat.0).bind(user).bind(None::<&str>).bind(i64::MIN).bind(1_i64).fetch_optional(conn).await?)
}

/// How many members of a chat there are of each status.
pub async fn counts(conn: &mut PgConnection, chat: ChatId) -> Result<Vec<(Option<String>, i64)>, Error> {
    Ok(sqlx::query_as("select status, count(*) from member where chat_id = $1 group by status order by count(*) desc, status")
        .bind(chat.0)
        .fetch_all(conn)
        .await?)
}

/// The user of a public name, among those whom the record knows.
pub async fn named(conn: &mut PgConnection, username: &str) -> Result<Option<i64>, Error> {
    Ok(sqlx::query_scalar(
        "select user_id from telegram_user where lower(body->>'username') = lower($1) order by last_seen desc limit 1",
    )
    .bind(username)
    .fetch_optional(conn)
    .await?)
}
