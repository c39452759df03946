//! The `api_token` table: who may ask over HTTP, and as what. Tokens themselves never come here, only their hashes.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool};

/// What somebody may do. Each may all that those before it may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    sqlx::Type,
    clap::ValueEnum,
    utoipa::ToSchema,
    async_graphql::Enum,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Role {
    /// Reads
    Viewer,
    /// Changes what is collected: chats, jobs, workflows, files
    Operator,
    /// Changes who may: accounts, proxies, nodes, tokens
    Admin,
}

impl Role {
    /// The name in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// A token, for people. The token itself is kept nowhere.
#[derive(Debug, Clone, Serialize, FromRow, utoipa::ToSchema)]
pub struct Token {
    pub id: i64,
    pub name: String,
    pub role: Role,
    /// Its first characters.
    pub prefix: String,
    pub created_at: DateTime<Utc>,
    /// None: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// To the minute.
    pub used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A token that is to be added.
#[derive(Debug, Clone)]
pub struct NewToken<'a> {
    pub name: &'a str,
    pub role: Role,
    pub hash: &'a [u8],
    pub prefix: &'a str,
    /// Seconds from now, by the database's clock.
    pub expires_in: Option<f64>,
}

/// Adds a token; none where another that is not revoked has its name.
pub async fn insert(conn: &mut PgConnection, token: &NewToken<'_>) -> sqlx::Result<Option<Token>> {
    sqlx::query_as(
        "insert into api_token (name, role, hash, prefix, expires_at) values ($1, $2, $3, $4, now() + make_interval(secs => $5))
         on conflict (name) where revoked_at is null do nothing
         returning id, name, role, prefix, created_at, expires_at, used_at, revoked_at",
    )
    .bind(token.name)
    .bind(token.role.as_str())
    .bind(token.hash)
    .bind(token.prefix)
    .bind(token.expires_in)
    .fetch_optional(conn)
    .await
}

/// All tokens, oldest first; revoked ones too.
pub async fn list(conn: &mut PgConnection) -> sqlx::Result<Vec<Token>> {
    sqlx::query_as("select id, name, role, prefix, created_at, expires_at, used_at, revoked_at from api_token order by id")
        .fetch_all(conn)
        .await
}

/// Whether there is a token that lets an admin in.
pub async fn has_admin(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select exists (select from api_token where role = 'admin' and revoked_at is null and (expires_at is null or expires_at > now()))",
    )
    .fetch_one(conn)
    .await
}

/// Ends a token, and the browsers that signed in by it. Answers whether there was one of this name that had not ended.
pub async fn revoke(conn: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    let revoked = sqlx::query(
        "with revoked as (update api_token set revoked_at = now() where name = $1 and revoked_at is null returning id),
              gone as (delete from browser_session s using revoked r where s.token_id = r.id)
         select id from revoked",
    )
    .bind(name)
    .fetch_optional(conn)
    .await?;
    Ok(revoked.is_some())
}

/// The token of this hash, while it is good. That it was used is noted once a minute.
pub async fn of_hash(pool: &PgPool, hash: &[u8]) -> sqlx::Result<Option<Token>> {
    sqlx::query_as(
        "with found as (
             select id, name, role, prefix, created_at, expires_at, used_at, revoked_at from api_token
             where hash = $1 and revoked_at is null and (expires_at is null or expires_at > now())
         ), noted as (
             update api_token t set used_at = date_trunc('minute', now()) from found f
             where t.id = f.id and (f.used_at is null or f.used_at < date_trunc('minute', now()))
         )
         select * from found",
    )
    .bind(hash)
    .fetch_optional(pool)
    .await
}
