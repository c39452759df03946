//! Messages that belong together: one history over a migration, the comments of a post, a topic, a thread of replies, an album.
//!
//! A reader asks [`chain`] or [`thread`] which messages there are, then pages through them with [`history`] or [`of_ids`]. Each message
//! keeps its chat and its id; the order is by chat of the chain, then by id, with the parts of an album beside each other.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::document::{self, MESSAGE, MessageRow};
use super::{BoxId, ChatId, Error, boxes};

/// How many ids the parts of an album may lie apart. Telegram numbers the ten at most that are sent together one after the other, with
/// what others say at the same moment in between.
const ALBUM_SPAN: i64 = 200;
/// More migrations than this are a circle: Telegram knows one.
const LONGEST_CHAIN: usize = 8;
/// The topic of a forum that messages outside of any topic are in, <https://core.telegram.org/api/forum>.
const GENERAL_TOPIC: i64 = 1;

/// A chat as one reader has it: several accounts may have a basic group's or private chat's messages, each under ids of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub chat: ChatId,
    pub held: BoxId,
}

/// Where paging stands: the first message of the album, or the message, and the message.
pub type Place = (i64, i64);
/// Before everything.
pub const START: Place = (i64::MIN, i64::MIN);

/// The chat, and before it the basic group that it was, as far as the record has messages of them; oldest first.
pub async fn chain(conn: &mut PgConnection, chat: ChatId) -> Result<Vec<Part>, Error> {
    let mut chats = vec![chat];
    while let Some(before) = predecessor(conn, chats[chats.len() - 1]).await? {
        if chats.contains(&before) || chats.len() == LONGEST_CHAIN {
            break;
        }
        chats.push(before);
    }
    let mut parts = Vec::new();
    for chat in chats.into_iter().rev() {
        parts.extend(part(conn, chat).await?);
    }
    Ok(parts)
}

/// What the chat was before its migration: as its description says, the group's own, or its first message.
async fn predecessor(conn: &mut PgConnection, chat: ChatId) -> Result<Option<ChatId>, Error> {
    let found: Option<i64> = sqlx::query_scalar(
        "select coalesce(
            (select (body->>'migrate_from_chat_id')::bigint from chat where chat_id = $1),
            (select chat_id from chat where (body->>'migrate_to_chat_id')::bigint = $1 order by chat_id limit 1),
            (select (body->'service'->>'chat_id')::bigint from message
             where chat_id = $1 and message_id <= 10 and body->'service'->>'action' = 'channel_migrate_from' order by message_id limit 1))",
    )
    .bind(chat.0)
    .fetch_one(conn)
    .await?;
    Ok(found.filter(|id| *id != 0).map(ChatId))
}

/// The box that a chat is read from: the channel's; of several accounts' the one of the chat's reader, else the oldest.
pub async fn part(conn: &mut PgConnection, chat: ChatId) -> Result<Option<Part>, Error> {
    if chat.is_channel() {
        return Ok(Some(Part { chat, held: boxes::box_of_channel(conn, chat).await? }));
    }
    let held: Option<i64> = sqlx::query_scalar(
        "select c.box_id from coverage c left join watch w on w.chat_id = c.chat_id
        where c.chat_id = $1 order by c.account_id is not distinct from w.reader_id desc, c.box_id limit 1",
    )
    .bind(chat.0)
    .fetch_optional(conn)
    .await?;
    Ok(held.map(|held| Part { chat, held: BoxId(held) }))
}

/// The next messages of one part after a place, with the places that they end at.
pub async fn history(pool: &PgPool, part: Part, after: Place, limit: i64) -> Result<Vec<(Place, MessageRow)>, sqlx::Error> {
    // A message's album began at most a span before it, so that what comes next by album is among the next by id.
    let statement = format!(
        "select head, m.* from (
            select case when m.body ? 'media_group_id' then (
                    select min(a.message_id) from message a
                    where a.box_id = m.box_id and a.chat_id = m.chat_id and a.message_id between m.message_id - {ALBUM_SPAN} and m.message_id
                        and a.body->'media_group_id' = m.body->'media_group_id')
                else m.message_id end as head, m.message_id as id, m.box_id as held
            from message m where m.box_id = $1 and m.chat_id = $2 and m.message_id > $3
            order by m.message_id limit $5 + 2 * {ALBUM_SPAN}
        ) k join lateral ({MESSAGE} where m.box_id = k.held and m.message_id = k.id) m on true
        where (head, m.message_id) > ($3, $4) order by head, m.message_id limit $5"
    );
    let rows: Vec<Placed> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(part.held.0)
        .bind(part.chat.0)
        .bind(after.0)
        .bind(after.1)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    Ok(rows.into_iter().map(|placed| ((placed.head, placed.row.message_id), placed.row)).collect())
}

#[derive(sqlx::FromRow)]
struct Placed {
    head: i64,
    #[sqlx(flatten)]
    row: MessageRow,
}

/// Messages that answer one, with it; ids ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    pub part: Part,
    pub ids: Vec<i64>,
}

/// Why there is no such thread.
#[derive(Debug, thiserror::Error)]
pub enum NoThread {
    #[error(transparent)]
    Record(#[from] Error),
    /// Comments are in a group of their own.
    #[error(
        "channel {0} has no linked group that is known here: `telekeep job enqueue chat_refresh` learns it, where it has comments"
    )]
    NoGroup(ChatId),
    #[error("the comments of channel {channel} are in group {group}, which is not watched: `telekeep chat watch {group}` begins")]
    GroupNotWatched { channel: ChatId, group: ChatId },
    #[error("the copy of post {id} in the linked group {group} is not collected yet, or the post has no comments")]
    NoCopy { id: i64, group: ChatId },
    #[error("message {id} of chat {chat} is not in the record")]
    NoMessage { chat: ChatId, id: i64 },
}

impl From<sqlx::Error> for NoThread {
    fn from(error: sqlx::Error) -> Self {
        Self::Record(error.into())
    }
}

/// The conversation that a message began: the comments of a channel's post, a forum's topic, else whatever answers the message, or
/// answers that.
pub async fn thread(conn: &mut PgConnection, chat: ChatId, id: i64) -> Result<Thread, NoThread> {
    let about: Option<(String, Option<i64>)> =
        sqlx::query_as("select type, (body->>'link_chat_id')::bigint from chat where chat_id = $1")
            .bind(chat.0)
            .fetch_optional(&mut *conn)
            .await?;
    let (kind, linked) = about.unwrap_or_default();
    if kind == "channel" {
        return comments(conn, chat, linked.map(ChatId), id).await;
    }
    let found = part(conn, chat).await?.ok_or(NoThread::NoMessage { chat, id })?;
    let is_there: bool =
        sqlx::query_scalar("select exists (select from message where box_id = $1 and chat_id = $2 and message_id = $3)")
            .bind(found.held.0)
            .bind(chat.0)
            .bind(id)
            .fetch_one(&mut *conn)
            .await?;
    let is_general = kind == "forum" && id == GENERAL_TOPIC;
    if !is_there && !is_general {
        return Err(NoThread::NoMessage { chat, id });
    }
    if is_general {
        let ids = sqlx::query_scalar(
            "select message_id from message where box_id = $1 and chat_id = $2
                and coalesce((body->>'thread_id')::bigint, $3) = $3
                and coalesce(body->'service'->>'action', '') <> 'topic_create' order by message_id",
        )
        .bind(found.held.0)
        .bind(chat.0)
        .bind(GENERAL_TOPIC)
        .fetch_all(conn)
        .await?;
        return Ok(Thread { part: found, ids });
    }
    Ok(answers(conn, found, &[id]).await?)
}

/// Comments answer the copy of the post that Telegram puts into the linked group; of an album, the copy of one of its parts.
async fn comments(conn: &mut PgConnection, channel: ChatId, linked: Option<ChatId>, id: i64) -> Result<Thread, NoThread> {
    let group = match linked {
        Some(group) => group,
        None => sqlx::query_scalar("select chat_id from chat where (body->>'link_chat_id')::bigint = $1 order by chat_id limit 1")
            .bind(channel.0)
            .fetch_optional(&mut *conn)
            .await?
            .map(ChatId)
            .ok_or(NoThread::NoGroup(channel))?,
    };
    if super::watch::show(conn, group).await?.is_none() {
        return Err(NoThread::GroupNotWatched { channel, group });
    }
    let copies: Vec<i64> = sqlx::query_scalar(
        "with post as (
            select $3::bigint as id union
            select b.message_id from message a join message b on b.box_id = a.box_id and b.chat_id = a.chat_id
                and b.message_id between a.message_id - $4 and a.message_id + $4 and b.body->'media_group_id' = a.body->'media_group_id'
            where a.chat_id = $2 and a.message_id = $3
        )
        select m.message_id from message m join post on (m.body->>'forward_from_message_id')::bigint = post.id
        where m.chat_id = $1 and (m.body->>'forward_from_chat_id')::bigint = $2
            and (m.body->>'sender_chat_id')::bigint is not distinct from $2
        order by 1",
    )
    .bind(group.0)
    .bind(channel.0)
    .bind(id)
    .bind(ALBUM_SPAN)
    .fetch_all(&mut *conn)
    .await?;
    let found = part(conn, group).await?.filter(|_| !copies.is_empty()).ok_or(NoThread::NoCopy { id, group })?;
    Ok(answers(conn, found, &copies).await?)
}

/// These messages, and what answers them, or answers that. An answer is newer than what it answers, so that one pass finds all.
async fn answers(conn: &mut PgConnection, part: Part, roots: &[i64]) -> Result<Thread, Error> {
    let mut ids: BTreeSet<i64> = roots.iter().copied().collect();
    let mut rows = sqlx::query_as::<_, (i64, Option<i64>, Option<i64>)>(
        "select message_id, (body->>'thread_id')::bigint,
            case when (body->>'reply_to_chat_id')::bigint is null or (body->>'reply_to_chat_id')::bigint = $2
                then (body->>'reply_to_message_id')::bigint end
        from message where box_id = $1 and chat_id = $2 and message_id > $3
            and (body ? 'thread_id' or body ? 'reply_to_message_id') order by message_id",
    )
    .bind(part.held.0)
    .bind(part.chat.0)
    .bind(roots.iter().min())
    .fetch(conn);
    while let Some((id, thread, answered)) = rows.try_next().await? {
        // A service message that pins one answers nothing, but has its id: it is part of what happened to it.
        if thread.is_some_and(|thread| roots.contains(&thread)) || answered.is_some_and(|answered| ids.contains(&answered)) {
            ids.insert(id);
        }
    }
    Ok(Thread { part, ids: ids.into_iter().collect() })
}

/// The messages of a thread with these ids, by id.
pub async fn of_ids(pool: &PgPool, part: Part, ids: &[i64]) -> Result<Vec<MessageRow>, sqlx::Error> {
    let mut rows = document::messages(pool, &vec![part.held.0; ids.len()], ids).await?;
    rows.sort_unstable_by_key(|row| row.message_id);
    Ok(rows)
}
