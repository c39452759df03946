//! Rows of links, media, metrics, names and versions as their documents need them, read only.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{AssertSqlSafe, FromRow, PgPool};

use super::kind::Kind;

/// One row that accumulates beside messages, chats and users, with who saw it.
#[derive(Debug, Clone, FromRow)]
pub struct SeriesRow {
    pub id: i64,
    pub document_id: String,
    /// The chat and the message that it hangs on; a name and a file have neither.
    pub chat_id: Option<i64>,
    pub message_id: Option<i64>,
    pub date: Option<DateTime<Utc>>,
    pub edit_date: Option<DateTime<Utc>>,
    /// The other fields of the document.
    pub body: Value,
    pub revision: i64,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    pub account: Option<String>,
    pub via: String,
    pub job: Option<i64>,
}

/// The columns of a kind that [`SeriesRow`] has under other names; None for kinds that have rows of another form.
fn columns(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Link => {
            "t.chat_id, t.message_id, t.date, null::timestamptz as edit_date,
             jsonb_strip_nulls(jsonb_build_object('url', t.url, 'kind', t.kind, 'host', t.host, 'user_id', t.user_id)) as body"
        }
        Kind::Media => {
            "null::bigint as chat_id, null::bigint as message_id, t.date, null::timestamptz as edit_date,
             t.body || jsonb_strip_nulls(jsonb_build_object('media_id', t.space || '_' || t.file_id, 'type', t.type, 'file_size', t.size,
                'mime_type', t.mime_type, 'user_id', t.user_id, 'restricted', t.restricted, 'state', t.state,
                'state_reason', t.state_reason, 'sha256', encode(t.sha256, 'hex'), 'location', t.location,
                'content_hash', encode(t.content_hash, 'hex'), 'sources', (
                    select jsonb_agg(jsonb_build_object('chat_id', s.chat_id, 'message_id', s.message_id) order by s.chat_id, s.message_id)
                    from (select chat_id, message_id from media_source where media = t.id order by seq limit 100) s))) as body"
        }
        Kind::Metric => {
            "t.chat_id, t.message_id, t.date, null::timestamptz as edit_date,
             jsonb_strip_nulls(jsonb_build_object('views', t.views, 'forwards', t.forwards, 'reply_count', t.reply_count,
                'reactions', t.reactions)) as body"
        }
        Kind::Name => {
            "null::bigint as chat_id, null::bigint as message_id, null::timestamptz as date, null::timestamptz as edit_date,
             jsonb_strip_nulls(jsonb_build_object('id', t.peer_id, 'kind', t.kind, 'first_name', t.first_name,
                'last_name', t.last_name, 'title', t.title, 'username', t.username)) as body"
        }
        Kind::Version => "t.chat_id, t.message_id, t.date, t.edit_date, t.body",
        Kind::Chat | Kind::Member | Kind::Message | Kind::User => return None,
    })
}

/// The rows with these ids, in no order; those that are gone are left out. A kind that is no series has none.
pub async fn rows(pool: &PgPool, kind: Kind, ids: &[i64]) -> Result<Vec<SeriesRow>, sqlx::Error> {
    let Some(columns) = columns(kind) else { return Ok(Vec::new()) };
    let table = kind.table();
    let statement = format!(
        "select t.id, {} as document_id, {columns}, t.revision, t.first_seen, t.last_seen, seer.label as account, t.via, t.job
         from {} left join account seer on seer.id = t.account_id where t.id = any ($1) and {}",
        kind.document_id(),
        table.source(),
        table.documented,
    );
    sqlx::query_as(AssertSqlSafe(statement)).bind(ids).persistent(false).fetch_all(pool).await
}
