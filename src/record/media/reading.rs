//! What is asked of a file's rows, read only.

use serde_json::Value;
use sqlx::PgConnection;

use super::{MediaId, Space};
use crate::record::{AccountId, BoxId, ChatId, Error};

/// How one account addresses a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    pub space: Space,
    pub file_id: i64,
    pub dc: i32,
    pub access_hash: i64,
    pub file_reference: Vec<u8>,
    /// Bytes, as told.
    pub size: Option<i64>,
    /// A photo's largest size, by its letter; empty for a document.
    pub thumb_size: String,
    /// A message that this account saw with it; none for a chat's or a user's photo.
    pub source: Option<(ChatId, i64)>,
}

type Row = (String, i64, i32, i64, Vec<u8>, Option<i64>, Value, Option<i64>, Option<i64>);

/// How this account addresses a file; none: nothing told it.
pub async fn reference_of(conn: &mut PgConnection, media: MediaId, account: AccountId) -> Result<Option<Reference>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "select m.space, m.file_id, r.dc, r.access_hash, r.file_reference, m.size, m.body, s.chat_id, s.message_id
        from media m join media_reference r on r.media = m.id
        left join media_source s on s.media = m.id and s.box_id = r.box_id and s.message_id = r.message_id
        where m.id = $1 and r.account_id = $2 and not m.erased",
    )
    .bind(media.0)
    .bind(account.0)
    .fetch_optional(conn)
    .await?;
    let Some((space, file_id, dc, access_hash, file_reference, size, body, chat, message)) = row else { return Ok(None) };
    let space = if space == "photo" { Space::Photo } else { Space::Document };
    Ok(Some(Reference {
        space,
        file_id,
        dc,
        access_hash,
        file_reference,
        size,
        thumb_size: if space == Space::Photo { largest(&body) } else { String::new() },
        source: chat.map(ChatId).zip(message),
    }))
}

/// The letter of a photo's largest size; empty where none is known.
fn largest(body: &Value) -> String {
    let area = |size: &&Value| size["width"].as_i64().unwrap_or(0).saturating_mul(size["height"].as_i64().unwrap_or(0));
    let sizes = body["sizes"].as_array().map_or(&[][..], Vec::as_slice);
    sizes.iter().max_by_key(area).and_then(|size| size["type"].as_str()).unwrap_or_default().to_owned()
}

/// A message that carries a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub chat: ChatId,
    pub held: BoxId,
    pub message_id: i64,
    /// By its own word or its chat's.
    pub protected: bool,
    /// Self-destructing.
    pub ttl: bool,
    /// It was deleted since.
    pub deleted: bool,
}

/// The messages that carry a file, those learned of last first.
pub async fn sources_of(conn: &mut PgConnection, media: MediaId, limit: i64) -> Result<Vec<Source>, Error> {
    let rows: Vec<(i64, i64, i64, bool, bool, bool)> = sqlx::query_as(
        "select s.chat_id, s.box_id, s.message_id, s.protected or coalesce((c.body->>'noforwards')::boolean, false) as protected, s.ttl,
            t.deleted_at is not null as deleted
        from media_source s
        left join chat c on c.chat_id = s.chat_id
        left join message t on t.box_id = s.box_id and t.message_id = s.message_id
        where s.media = $1 order by s.seq desc limit $2",
    )
    .bind(media.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    let source = |(chat, held, message_id, protected, ttl, deleted)| Source {
        chat: ChatId(chat),
        held: BoxId(held),
        message_id,
        protected,
        ttl,
        deleted,
    };
    Ok(rows.into_iter().map(source).collect())
}
