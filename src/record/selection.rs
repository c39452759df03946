//! Which watched chats a workflow means.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{ChatId, Error, reconcile, sampling};

/// What a workflow selects by; an empty list means all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection<'a> {
    /// Chat types. A chat whose type is not known yet is meant as well.
    pub kinds: &'a [String],
    pub chats: &'a [i64],
    /// One of them.
    pub tags: &'a [String],
    /// Only those with missing or stale ids, or a top that was not confirmed since then.
    pub incomplete_since: Option<DateTime<Utc>>,
    /// Only those with messages whose counts are due.
    pub uncounted: bool,
}

/// The watched chats that a selection means, by id; of these `only`, where they are given.
pub async fn selected(conn: &mut PgConnection, selection: &Selection<'_>, only: Option<&[ChatId]>) -> Result<Vec<ChatId>, Error> {
    let only: Option<Vec<i64>> = only.map(|chats| chats.iter().map(|chat| chat.0).collect());
    let mut ids: Vec<i64> = sqlx::query_scalar(
        "select w.chat_id from watch w left join chat c using (chat_id)
         where (cardinality($1::text[]) = 0 or c.type = any($1) or c.type is null)
           and (cardinality($2::bigint[]) = 0 or w.chat_id = any($2))
           and (cardinality($3::text[]) = 0 or w.tags && $3)
           and ($4::bigint[] is null or w.chat_id = any($4))
         order by w.chat_id",
    )
    .bind(selection.kinds)
    .bind(selection.chats)
    .bind(selection.tags)
    .bind(only)
    .fetch_all(&mut *conn)
    .await?;
    if selection.incomplete_since.is_some() || selection.uncounted {
        reconcile::without_jit(conn).await?;
    }
    if let Some(since) = selection.incomplete_since {
        ids = reconcile::incomplete(conn, &ids, since).await?;
    }
    if selection.uncounted {
        ids = sampling::with_due(conn, &ids).await?;
    }
    Ok(ids.into_iter().map(ChatId).collect())
}
