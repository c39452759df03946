//! The `audit_log` table: each change that somebody asked for, with who, when, what. Append only; no secret ever comes here.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

/// A change, as it is noted.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// `token:NAME`, `link`, `cli:USER@HOST` or `node:NAME`.
    pub who: &'a str,
    /// As `job.retry`.
    pub what: &'a str,
    /// On what, as `job 7`.
    pub target: &'a str,
    /// What was asked for.
    pub detail: Value,
    pub request: Option<Uuid>,
}

/// A change that was noted.
#[derive(Debug, Clone, Serialize, FromRow, utoipa::ToSchema)]
#[schema(as = AuditEntry)]
pub struct Entry {
    pub id: i64,
    pub at: DateTime<Utc>,
    /// token:NAME, link, cli:USER@HOST or node:NAME
    pub who: String,
    /// As job.retry.
    pub what: String,
    pub target: String,
    #[schema(value_type = Object)]
    pub detail: Value,
    /// Of the HTTP request that asked for it.
    pub request_id: Option<Uuid>,
}

/// Which entries are meant; what is none does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub who: Option<String>,
    /// A whole name, as `job.retry`, or a group, as `job`.
    pub what: Option<String>,
    /// Older than this one.
    pub before: Option<i64>,
}

/// Notes a change, in the transaction that makes it where there is one.
pub async fn note(conn: &mut PgConnection, change: &Change<'_>) -> sqlx::Result<()> {
    sqlx::query("insert into audit_log (who, what, target, detail, request_id) values ($1, $2, $3, $4, $5)")
        .bind(change.who)
        .bind(change.what)
        .bind(change.target)
        .bind(&change.detail)
        .bind(change.request)
        .execute(conn)
        .await
        .map(drop)
}

/// Entries, the newest first.
pub async fn list(pool: &PgPool, filter: &Filter, limit: i64) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as(
        "select id, at, who, what, target, detail, request_id from audit_log
          where ($1::text is null or who = $1) and ($2::text is null or what = $2 or starts_with(what, $2 || '.'))
            and ($3::bigint is null or id < $3)
          order by id desc limit $4",
    )
    .bind(&filter.who)
    .bind(&filter.what)
    .bind(filter.before)
    .bind(limit)
    .fetch_all(pool)
    .await
}
