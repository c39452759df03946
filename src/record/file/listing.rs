//! Files as the operator sees them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::State;
use crate::record::media::MediaId;
use crate::record::{ChatId, Error};

/// One file and how far it is.
#[derive(Debug, Clone, Serialize, FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
#[graphql(name = "File")]
#[schema(as = File)]
pub struct Listed {
    pub id: i64,
    /// `photo_ID` or `document_ID`.
    pub media_id: String,
    pub r#type: String,
    pub mime_type: Option<String>,
    /// Bytes, as told.
    pub size: Option<i64>,
    pub state: String,
    pub state_reason: Option<String>,
    pub state_at: DateTime<Utc>,
    pub rule: Option<String>,
    pub by_operator: bool,
    pub restricted: Option<String>,
    /// Bytes that are on disk.
    pub position: i64,
    pub node: Option<String>,
    /// Bytes that were fetched in all attempts.
    pub fetched: i64,
    pub refetched: i32,
    pub damaged: i32,
    pub renewed: i32,
    /// Bytes a second since this attempt began; none: it is not under way.
    pub rate: Option<f64>,
    /// Seconds until it is whole, at that rate.
    pub remaining_seconds: Option<f64>,
    pub sha256: Option<String>,
    pub location: Option<String>,
    pub sources: i64,
}

const LISTED: &str = "select *, case when rate > 0 then greatest(size - position, 0) / rate end as remaining_seconds from (
    select m.id, m.space || '_' || m.file_id as media_id, m.type, m.mime_type, m.size, m.state, m.state_at, f.rule,
        coalesce(m.state_reason, case m.state when 'skipped' then 'the rules have not looked at it yet' end) as state_reason,
        coalesce(f.by_operator, false) as by_operator, m.restricted, coalesce(f.position, 0) as position, f.node,
        coalesce(f.fetched, 0) as fetched, coalesce(f.refetched, 0) as refetched, coalesce(f.damaged, 0) as damaged,
        coalesce(f.renewed, 0) as renewed,
        case when m.state = 'fetching' and f.begun_at < now() then
            (f.position - f.begun_from)::float8 / extract(epoch from now() - f.begun_at)::float8 end as rate,
        encode(m.sha256, 'hex') as sha256, m.location,
        (select count(*) from media_source s where s.media = m.id) as sources
      from media m left join file f on f.media = m.id where not m.erased";

/// Files, the newest first; those that are older than one, where it is given.
pub async fn list(
    conn: &mut PgConnection,
    state: Option<State>,
    chat: Option<ChatId>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Listed>, Error> {
    let statement = format!(
        "{LISTED} and ($1::text is null or m.state = $1)
            and ($2::bigint is null or exists (select from media_source s where s.media = m.id and s.chat_id = $2))
            and ($4::bigint is null or m.id < $4)
          order by m.id desc limit $3) listed order by id desc"
    );
    let query = sqlx::query_as(sqlx::AssertSqlSafe(statement)).bind(state.map(State::as_str)).bind(chat.map(|c| c.0)).bind(limit);
    let query = query.bind(before);
    Ok(query.fetch_all(conn).await?)
}

/// One file.
pub async fn show(conn: &mut PgConnection, file: MediaId) -> Result<Option<Listed>, Error> {
    let statement = format!("{LISTED} and m.id = $1) listed");
    Ok(sqlx::query_as(sqlx::AssertSqlSafe(statement)).bind(file.0).fetch_optional(conn).await?)
}

/// How many files are in a state, and their bytes.
#[derive(Debug, Clone, Serialize, FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
#[graphql(name = "FileTotal")]
#[schema(as = FileTotal)]
pub struct Total {
    pub state: String,
    pub files: i64,
    /// As told; of stored ones: each counted though its content may be kept once for several.
    pub bytes: i64,
    /// Bytes of them that are on disk.
    pub position: i64,
}

/// All files by state.
pub async fn totals(conn: &mut PgConnection, chat: Option<ChatId>) -> Result<Vec<Total>, Error> {
    let query = sqlx::query_as(
        "select m.state, count(*) as files, coalesce(sum(m.size), 0)::bigint as bytes,
                coalesce(sum(case when m.state = 'stored' then m.size else f.position end), 0)::bigint as position
           from media m left join file f on f.media = m.id
          where not m.erased and ($1::bigint is null or exists (select from media_source s where s.media = m.id and s.chat_id = $1))
          group by m.state order by m.state",
    );
    Ok(query.bind(chat.map(|c| c.0)).fetch_all(conn).await?)
}
