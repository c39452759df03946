//! What belongs to a chat's messages and stands in tables of its own, as plain JSON, for who takes a copy away.

use futures::{Stream, TryStreamExt};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::ChatId;

/// A table of what accumulates beside messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    Versions,
    Links,
    Metrics,
    Names,
}

impl Beside {
    pub const ALL: [Self; 4] = [Self::Versions, Self::Links, Self::Metrics, Self::Names];

    /// As files are named.
    pub fn name(self) -> &'static str {
        match self {
            Self::Versions => "versions",
            Self::Links => "links",
            Self::Metrics => "metrics",
            Self::Names => "names",
        }
    }

    /// Rows of these chats ($1), without what means something in this database alone.
    fn statement(self) -> &'static str {
        match self {
            Self::Versions => {
                "select to_jsonb(t) - '{id,box_id,account_id,job,hash,revision}'::text[] || jsonb_build_object('hash', encode(hash, 'hex'))
                from message_version t where chat_id = any($1) order by chat_id, message_id, id"
            }
            Self::Links => {
                "select to_jsonb(t) - '{id,box_id,account_id,job,hash,revision}'::text[]
                from link t where chat_id = any($1) order by chat_id, message_id, id"
            }
            Self::Metrics => {
                "select to_jsonb(t) - '{id,box_id,account_id,job,revision}'::text[]
                from metric t where chat_id = any($1) order by chat_id, message_id, scheduled_at"
            }
            Self::Names => {
                "select to_jsonb(t) - '{id,account_id,job,hash,revision}'::text[]
                from name t where kind = 'chat' and peer_id = any($1) order by peer_id, id"
            }
        }
    }
}

/// All rows of some chats, one after the other: never all of them in memory.
pub fn rows<'p>(pool: &'p PgPool, table: Beside, chats: &[ChatId]) -> impl Stream<Item = Result<Value, sqlx::Error>> + Send + 'p {
    let ids: Vec<i64> = chats.iter().map(|chat| chat.0).collect();
    sqlx::query_scalar(AssertSqlSafe(table.statement())).bind(ids).fetch(pool).map_ok(|row: Value| row)
}

/// How many messages of some chats are marked as deleted.
pub async fn deletions(conn: &mut PgConnection, chats: &[ChatId]) -> Result<i64, sqlx::Error> {
    let ids: Vec<i64> = chats.iter().map(|chat| chat.0).collect();
    sqlx::query_scalar("select count(*) from message where chat_id = any($1) and deleted_at is not null")
        .bind(ids)
        .fetch_one(conn)
        .await
}
