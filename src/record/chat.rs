//! The `chat` table. Only watched chats have a row.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::avatar::Shown;
use super::entity::{Table, Told, merge_all};
use super::name::Bearer;
use super::outbox::Kind;
use super::{Chat, ChatId, Error, Observation, Peer, avatar, media, watch};

const CHAT: Table = Table {
    kind: Kind::Chat,
    bearer: Bearer::Chat,
    read: "select chat_id, type, body from chat where chat_id = any($1)",
    lock: "insert into chat as c (chat_id, type, body, content_hash, account_id, via, job)
        select n.id, coalesce(n.kind, 'group'), n.body, n.hash, $5, $6, $7
        from unnest($1::bigint[], $2::text[], $3::jsonb[], $4::bytea[]) n (id, kind, body, hash) order by n.id
        on conflict (chat_id) do update set chat_id = excluded.chat_id
        returning c.chat_id, c.type, c.body, c.content_hash, xmax = 0",
    write: "update chat c set type = coalesce(n.kind, c.type), body = n.body, content_hash = n.hash, revision = c.revision + 1,
            last_seen = greatest(c.last_seen, now()), account_id = $5, via = $6, job = $7
        from unnest($1::bigint[], $2::text[], $3::jsonb[], $4::bytea[]) n (id, kind, body, hash) where c.chat_id = n.id
        returning c.chat_id, c.revision",
    touch: "update chat set last_seen = now() where chat_id in (
        select chat_id from chat where chat_id = any($1) and last_seen < now() - interval '1 hour'
        order by chat_id for update skip locked)",
};

/// Merges what was told of chats; those that are not watched leave no row. Answers the ids that are new or changed.
pub async fn merge_chats(conn: &mut PgConnection, chats: &[Chat], seen: &Observation) -> Result<Vec<i64>, Error> {
    let ids: Vec<i64> = chats.iter().map(|chat| chat.id.0).collect();
    let watched = watch::watched(conn, &ids).await?;
    let mut told: BTreeMap<i64, Told> = BTreeMap::new();
    for chat in chats.iter().filter(|chat| watched.binary_search(&chat.id.0).is_ok()) {
        // Of a chat told twice, the full one is merged over the partial one.
        let entry = told.entry(chat.id.0).or_insert_with(|| Told { kind: None, min: true, body: serde_json::Map::new() });
        if chat.min {
            for (key, value) in &chat.body {
                entry.body.entry(key.clone()).or_insert_with(|| value.clone());
            }
            entry.kind.get_or_insert_with(|| chat.kind.clone());
        } else {
            entry.body.extend(chat.body.clone());
            entry.min = false;
            entry.kind = Some(chat.kind.clone());
        }
    }
    let changed = merge_all(conn, &CHAT, told, seen).await?;
    let photos = chats.iter().filter(|chat| watched.binary_search(&chat.id.0).is_ok());
    let photos = photos.filter_map(|chat| Some(Shown { peer: chat.id.0, photo: chat.avatar.clone()?, at: None }));
    avatar::observe(conn, photos.collect(), seen).await?;
    media::restricting::of_chats(conn, &changed).await?;
    Ok(changed)
}

/// What the account that saw these chats needs to address them; `min` hashes are not kept.
pub fn peers(chats: &[Chat]) -> Vec<Peer> {
    chats
        .iter()
        .filter(|chat| !chat.min)
        .map(|chat| Peer {
            id: chat.id.0,
            access_hash: chat.access_hash,
            username: chat.body.get("username").and_then(|name| name.as_str()).map(str::to_owned),
        })
        .collect()
}

/// One chat as the record has it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, sqlx::FromRow)]
pub struct ChatRow {
    pub chat_id: i64,
    #[sqlx(rename = "type")]
    #[serde(rename = "type")]
    pub kind: String,
    pub body: serde_json::Value,
    pub revision: i64,
    pub first_seen: chrono::DateTime<chrono::Utc>,
    pub last_seen: chrono::DateTime<chrono::Utc>,
}

/// One chat, if it has a row.
pub async fn show(conn: &mut PgConnection, chat: ChatId) -> Result<Option<ChatRow>, Error> {
    Ok(sqlx::query_as("select chat_id, type, body, revision, first_seen, last_seen from chat where chat_id = $1")
        .bind(chat.0)
        .fetch_optional(conn)
        .await?)
}
