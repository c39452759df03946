//! Who reads a chat: one account at a time, chosen by health, sight, budget and load; another one when that one no longer can.
//!
//! A chat stays with its reader as long as it can read. Chats in an account's own box never move: their ids are that account's.

use sqlx::PgConnection;

use super::account::{ALL_METHODS, Reader};
use super::budget::Filling;
use super::{AccountId, ChatId};

/// The method by which a chat is read, and how its budget fills.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    pub method: &'a str,
    pub filling: Filling,
}

/// Who reads a chat: the preferred account, else the watch's reader; where both are away or limited, the best of the others. Only active
/// accounts, and none that was told that it may not.
pub async fn reader_of(
    conn: &mut PgConnection,
    chat: ChatId,
    preferred: Option<AccountId>,
    by: Reading<'_>,
) -> sqlx::Result<Option<Reader>> {
    let row: Option<(i64, Option<i64>)> = sqlx::query_as(
        "select a.id, p.access_hash
           from account a
           left join watch w on w.chat_id = $1
           left join coverage_access c on c.account_id = a.id and c.chat_id = $1
           left join account_peer p on p.account_id = a.id and p.peer_id = $1
           left join account_budget b on b.account_id = a.id and b.method = $3
           cross join lateral (
               select coalesce(bool_or(method = $4), false) as limited, coalesce(bool_or(method = $3), false) as flooded
                 from account_rest where account_id = a.id and until > now()
           ) rest
           cross join lateral (select count(*) as chats from watch r where r.reader_id = a.id) load
          where a.state = 'active' and coalesce(c.readable, true)
            and (w.reader_id = a.id or c.readable or p.peer_id is not null)
            and ($7 or w.reader_id is null or w.reader_id = a.id)
          order by rest.limited, a.id is not distinct from $2 desc, w.reader_id is not distinct from a.id desc, rest.flooded,
            coalesce(c.readable, false) desc, $7 and p.access_hash is null, coalesce(c.visible_from, 1),
            coalesce(b.tokens + $6 * extract(epoch from now() - b.updated_at)::float8, $5) < 1, load.chats, a.id
          limit 1",
    )
    .bind(chat.0)
    .bind(preferred.map(|id| id.0))
    .bind(by.method)
    .bind(ALL_METHODS)
    .bind(by.filling.capacity)
    .bind(by.filling.rate)
    .bind(chat.is_channel())
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(account, access_hash)| Reader { account: AccountId(account), access_hash }))
}

/// Watched channels whose reader is away, and that somebody else may be able to read.
pub async fn orphans(conn: &mut PgConnection) -> sqlx::Result<Vec<ChatId>> {
    let chats: Vec<i64> = sqlx::query_scalar(
        "select w.chat_id
           from watch w
           left join account a on a.id = w.reader_id
           left join coverage_access c on c.account_id = w.reader_id and c.chat_id = w.chat_id
          where w.chat_id < -1000000000000
            and (a.id is null or a.state <> 'active' or c.readable is false)
            and exists (
                select from account o
                  left join coverage_access oc on oc.account_id = o.id and oc.chat_id = w.chat_id
                  left join account_peer op on op.account_id = o.id and op.peer_id = w.chat_id
                 where o.state = 'active' and coalesce(oc.readable, true) and (oc.readable or op.peer_id is not null))
          order by w.chat_id",
    )
    .fetch_all(conn)
    .await?;
    Ok(chats.into_iter().map(ChatId).collect())
}

/// A chat that changed its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handover {
    pub from: Option<AccountId>,
    pub to: AccountId,
}

/// Gives a chat whose reader is away to the best of those who can read it. None: its reader reads it, or nobody can.
pub async fn hand_over(conn: &mut PgConnection, chat: ChatId, by: Reading<'_>) -> sqlx::Result<Option<Handover>> {
    let reader: Option<Option<i64>> = sqlx::query_scalar("select reader_id from watch where chat_id = $1 for no key update")
        .bind(chat.0)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(from) = reader.map(|id| id.map(AccountId)) else { return Ok(None) };
    let away: bool = match from {
        None => true,
        Some(id) => {
            sqlx::query_scalar(
                "select a.state <> 'active' or exists (
                    select from coverage_access c where c.account_id = a.id and c.chat_id = $2 and not c.readable)
                 from account a where a.id = $1",
            )
            .bind(id.0)
            .bind(chat.0)
            .fetch_one(&mut *conn)
            .await?
        }
    };
    if !away {
        return Ok(None);
    }
    let Some(next) = reader_of(conn, chat, None, by).await? else { return Ok(None) };
    let to = next.account;
    sqlx::query("update watch set reader_id = $2 where chat_id = $1").bind(chat.0).bind(to.0).execute(conn).await?;
    Ok(Some(Handover { from, to }))
}

/// A job that waits where nobody can do it: its chat's account is away, limited, or was told that it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misplaced {
    pub job: i64,
    pub chat: ChatId,
    pub partition: i64,
}

/// Jobs of channels that wait in the partition of an account that cannot do them now, and that another one can; at most so many.
pub async fn misplaced(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Misplaced>> {
    let away: Vec<(i64, bool)> = sqlx::query_as(
        "select a.id, a.state <> 'active'
                or exists (select from account_rest r where r.account_id = a.id and r.method = $1 and r.until > now()) as wholly
           from account a
          where a.state <> 'active'
             or exists (select from account_rest r where r.account_id = a.id and r.method = $1 and r.until > now())
             or exists (select from coverage_access c where c.account_id = a.id and not c.readable)",
    )
    .bind(ALL_METHODS)
    .fetch_all(&mut *conn)
    .await?;
    if away.is_empty() {
        return Ok(Vec::new());
    }
    // A state at a time: each has an index of its own, and what has ended is not looked at.
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "with away as (
             select * from unnest($2::bigint[], $3::bool[]) as a (id, wholly)
         ), waiting as (
             select id, partition, payload from job where state = 'available' and partition = any($2)
             union all select id, partition, payload from job where state = 'scheduled' and partition = any($2)
             union all select id, partition, payload from job where state = 'held' and partition = any($2)
         ), of_chat as (
             select id, partition, case when jsonb_typeof(payload->'chat') = 'number' then (payload->>'chat')::numeric end as chat
               from waiting
         )
         select j.id, j.chat::bigint, j.partition from of_chat j join away on away.id = j.partition
          where j.chat < -1000000000000 and j.chat > -9000000000000000000
            and (wholly or exists (
                select from coverage_access c where c.account_id = j.partition and c.chat_id = j.chat and not c.readable))
            and exists (
                select from account o
                  left join coverage_access c on c.account_id = o.id and c.chat_id = j.chat
                  left join account_peer p on p.account_id = o.id and p.peer_id = j.chat
                 where o.id <> j.partition and o.state = 'active' and coalesce(c.readable, true)
                   and (c.readable or p.peer_id is not null))
          order by j.id limit $1",
    )
    .bind(limit)
    .bind(away.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(away.iter().map(|(_, wholly)| *wholly).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(job, chat, partition)| Misplaced { job, chat: ChatId(chat), partition }).collect())
}

/// What an account can see of a chat, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, sqlx::FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct Sight {
    #[serde(skip)]
    pub account_id: i64,
    pub account: String,
    /// active, held or lost
    pub state: String,
    pub readable: bool,
    /// The oldest id that it sees.
    pub visible_from: i64,
    /// Why it cannot read the chat, or not all of it.
    pub reason: Option<String>,
    pub checked_at: chrono::DateTime<chrono::Utc>,
}

/// Which accounts could see what of a chat, and when that was last known.
pub async fn sights(conn: &mut PgConnection, chat: ChatId) -> sqlx::Result<Vec<Sight>> {
    sqlx::query_as(
        "select a.id as account_id, a.label as account, a.state, c.readable and a.state = 'active' as readable, c.visible_from,
                case when a.state = 'active' then c.reason else concat('the account is ', a.state, ': ' || a.state_reason) end as reason,
                case when a.state = 'active' then c.checked_at else greatest(c.checked_at, a.state_at) end as checked_at
           from coverage_access c join account a on a.id = c.account_id where c.chat_id = $1 order by a.id",
    )
    .bind(chat.0)
    .fetch_all(conn)
    .await
}
