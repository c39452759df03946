//! Tables browser_session and first_link: browsers that signed in, and the links by which the first one does. Only hashes are kept.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};

use super::token::Role;

/// A browser that signed in.
#[derive(Debug, Clone, FromRow)]
pub struct Session {
    /// Of the token that it signed in by; none: by a first link.
    pub token_id: Option<i64>,
    pub token: Option<String>,
    pub role: Role,
    pub csrf: String,
    pub expires_at: DateTime<Utc>,
}

/// Begins a session, which ends after so long at the latest; with its token, if it has one. Forgets sessions and links that are over.
pub async fn begin(
    conn: &mut PgConnection,
    hash: &[u8],
    token: Option<i64>,
    csrf: &str,
    lasts: Duration,
) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query("delete from browser_session where expires_at < now()").execute(&mut *conn).await?;
    sqlx::query("delete from first_link where expires_at < now() - interval '1 day'").execute(&mut *conn).await?;
    sqlx::query_scalar(
        "insert into browser_session (hash, token_id, csrf, expires_at)
         values ($1, $2, $3, least(now() + make_interval(secs => $4), (select expires_at from api_token where id = $2)))
         returning expires_at",
    )
    .bind(hash)
    .bind(token)
    .bind(csrf)
    .bind(lasts.as_secs_f64())
    .fetch_one(conn)
    .await
}

/// The session of this hash, while it and its token are good.
pub async fn of_hash(pool: &PgPool, hash: &[u8]) -> sqlx::Result<Option<Session>> {
    sqlx::query_as(
        "select s.token_id, t.name as token, coalesce(t.role, 'admin') as role, s.csrf, s.expires_at
           from browser_session s left join api_token t on t.id = s.token_id
          where s.hash = $1 and s.expires_at > now() and t.revoked_at is null and (t.expires_at is null or t.expires_at > now())",
    )
    .bind(hash)
    .fetch_optional(pool)
    .await
}

/// Ends a session.
pub async fn end(conn: &mut PgConnection, hash: &[u8]) -> sqlx::Result<()> {
    sqlx::query("delete from browser_session where hash = $1").bind(hash).execute(conn).await.map(drop)
}

/// Adds a first link. Those before it end.
pub async fn add_link(conn: &mut PgConnection, hash: &[u8], lasts: Duration) -> sqlx::Result<()> {
    sqlx::query("update first_link set expires_at = now() where expires_at > now()").execute(&mut *conn).await?;
    sqlx::query("insert into first_link (hash, expires_at) values ($1, now() + make_interval(secs => $2))")
        .bind(hash)
        .bind(lasts.as_secs_f64())
        .execute(conn)
        .await
        .map(drop)
}

/// Uses a link up. Answers whether it was good.
pub async fn use_link(conn: &mut PgConnection, hash: &[u8]) -> sqlx::Result<bool> {
    let used = sqlx::query("update first_link set used_at = now() where hash = $1 and used_at is null and expires_at > now()")
        .bind(hash)
        .execute(conn)
        .await?;
    Ok(used.rows_affected() == 1)
}
