//! Tables chat_join, membership and account_room: what is to be joined and what came of it, who is in which chat, and who has room.
//!
//! Invite hashes arrive sealed and leave sealed. Time is the database's.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};

use super::account::{ALL_METHODS, Sealed};
use super::{AccountId, ChatId, Error, Peer, membership};

/// How far a join came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its turn comes.
    Waiting,
    /// An administrator of the chat decides.
    Requested,
    Joined,
    /// Telegram said no: it is not asked again.
    Refused,
    /// Joined once, and left by command.
    Left,
}

impl State {
    /// The name in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Requested => "requested",
            Self::Joined => "joined",
            Self::Refused => "refused",
            Self::Left => "left",
        }
    }

    /// Whether something is still to be done.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Requested)
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Requested, Self::Joined, Self::Refused, Self::Left].into_iter().find(|s| s.as_str() == text)
    }
}

/// What is to be joined: one of name, invite and chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aim {
    /// For people; it tells no invite hash.
    pub shown: String,
    /// A public name, in small letters, without `@`.
    pub name: Option<String>,
    pub invite: Option<Sealed>,
    pub chat: Option<ChatId>,
    /// SHA-256 of the target.
    pub digest: Vec<u8>,
}

/// What becomes of a chat once it is joined, and on whose word it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// `operator`, or `workflow NAME`.
    pub asked_by: String,
    /// It is watched from then on.
    pub watch: bool,
    pub purpose: Option<String>,
    pub tags: Vec<String>,
}

/// One join.
#[derive(Debug, Clone, Serialize)]
pub struct Join {
    pub id: i64,
    #[serde(rename = "target")]
    pub shown: String,
    #[serde(skip)]
    pub name: Option<String>,
    #[serde(skip)]
    pub invite: Option<Sealed>,
    #[serde(skip)]
    pub digest: Vec<u8>,
    pub chat_id: Option<i64>,
    pub account_id: i64,
    /// The account's label.
    pub account: String,
    /// The operator named the account.
    pub pinned: bool,
    pub state: State,
    pub reason: Option<String>,
    pub asked_by: String,
    pub watch: bool,
    pub purpose: Option<String>,
    pub tags: Vec<String>,
    pub look_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub state_at: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for Join {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let state: String = row.try_get("state")?;
        let state = State::parse(&state).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: "state".into(),
            source: format!("unknown state of a join {state:?}").into(),
        })?;
        let invite: Option<Vec<u8>> = row.try_get("invite")?;
        let key_id: Option<String> = row.try_get("invite_key_id")?;
        Ok(Self {
            id: row.try_get("id")?,
            shown: row.try_get("shown")?,
            name: row.try_get("name")?,
            invite: invite.zip(key_id).map(|(bytes, key_id)| Sealed { bytes, key_id }),
            digest: row.try_get("digest")?,
            chat_id: row.try_get("chat_id")?,
            account_id: row.try_get("account_id")?,
            account: row.try_get("label")?,
            pinned: row.try_get("pinned")?,
            state,
            reason: row.try_get("reason")?,
            asked_by: row.try_get("asked_by")?,
            watch: row.try_get("watch")?,
            purpose: row.try_get("purpose")?,
            tags: row.try_get("tags")?,
            look_at: row.try_get("look_at")?,
            created_at: row.try_get("created_at")?,
            state_at: row.try_get("state_at")?,
        })
    }
}

/// An account that may join, with its load.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Candidate {
    pub id: i64,
    pub label: String,
    /// Channels and supergroups that it is known to be in.
    pub chats: i64,
    /// Joins that wait for their turn.
    pub waiting: i64,
    /// Joins that an administrator decides on.
    pub requested: i64,
    pub premium: bool,
    /// Telegram said so within a week, and it left no chat since.
    pub full: bool,
    /// Seconds until it may join.
    pub wait_s: f64,
}

/// The active accounts. `method` is the joins' bucket, which gains `rate` a second; `also` are methods whose rests count as well.
pub async fn candidates(conn: &mut PgConnection, method: &str, rate: f64, also: &[&str]) -> Result<Vec<Candidate>, Error> {
    let rests: Vec<&str> = also.iter().copied().chain([method, ALL_METHODS]).collect();
    Ok(sqlx::query_as(
        "select a.id, a.label,
            (select count(*) from membership m where m.account_id = a.id and m.member and m.chat_id < -1000000000000) as chats,
            (select count(*) from chat_join j where j.account_id = a.id and j.state = 'waiting') as waiting,
            (select count(*) from chat_join j where j.account_id = a.id and j.state = 'requested') as requested,
            coalesce(r.premium, false) as premium,
            coalesce(r.full_at > now() - interval '7 days', false) as full,
            greatest(0,
                (select extract(epoch from max(t.until) - clock_timestamp())::float8 from account_rest t
                 where t.account_id = a.id and t.method = any($3)),
                (1 - b.tokens) / $2 - extract(epoch from clock_timestamp() - b.updated_at)::float8) as wait_s
        from account a
        left join account_room r on r.account_id = a.id
        left join account_budget b on b.account_id = a.id and b.method = $1
        where a.state = 'active' order by a.id",
    )
    .bind(method)
    .bind(rate)
    .bind(rests)
    .fetch_all(conn)
    .await?)
}

/// The chat that a target led to once, or that a public name belongs to as far as the accounts know.
pub async fn chat_of(conn: &mut PgConnection, aim: &Aim) -> Result<Option<ChatId>, Error> {
    if aim.chat.is_some() {
        return Ok(aim.chat);
    }
    let chat: Option<i64> = sqlx::query_scalar(
        "select chat_id from (
            select chat_id, 1 as place, state_at as at from chat_join where digest = $1 and chat_id is not null
            union all
            select peer_id, 2, updated_at from account_peer where lower(username) = $2 and peer_id < 0
        ) known order by place, at desc limit 1",
    )
    .bind(&aim.digest)
    .bind(&aim.name)
    .fetch_optional(conn)
    .await?;
    Ok(chat.map(ChatId))
}

/// The accounts that had a chat before, also those that left it or were removed: those in it first, then those that joined it once,
/// then those that read it.
pub async fn had(conn: &mut PgConnection, digest: &[u8], chat: Option<ChatId>) -> Result<Vec<AccountId>, Error> {
    let had: Vec<i64> = sqlx::query_scalar(
        "select account_id from (
            select account_id, case when member then 4 else 3 end as rank from membership where chat_id = $2
            union all
            select account_id, 2 from chat_join where (digest = $1 or chat_id = $2) and state in ('joined', 'left')
            union all
            select account_id, 1 from coverage_access where chat_id = $2
        ) had group by account_id order by max(rank) desc, account_id",
    )
    .bind(digest)
    .bind(chat.map(|chat| chat.0))
    .fetch_all(conn)
    .await?;
    Ok(had.into_iter().map(AccountId).collect())
}

/// An open join of this target: of one account, or of any.
pub async fn open(conn: &mut PgConnection, digest: &[u8], account: Option<AccountId>) -> Result<Option<Join>, Error> {
    Ok(sqlx::query_as(
        "select j.*, a.label from chat_join j join account a on a.id = j.account_id
        where j.digest = $1 and j.state in ('waiting', 'requested') and ($2::bigint is null or j.account_id = $2)
        order by j.id limit 1",
    )
    .bind(digest)
    .bind(account.map(|id| id.0))
    .fetch_optional(conn)
    .await?)
}

/// Adds a join that waits for its turn; none: another one of this target and account was added meanwhile.
pub async fn add(
    conn: &mut PgConnection,
    aim: &Aim,
    account: AccountId,
    pinned: bool,
    terms: &Terms,
) -> Result<Option<i64>, Error> {
    Ok(sqlx::query_scalar(
        "insert into chat_join (shown, name, invite, invite_key_id, digest, chat_id, account_id, pinned, asked_by, watch, purpose, tags)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        on conflict (digest, account_id) where state in ('waiting', 'requested') do nothing returning id",
    )
    .bind(&aim.shown)
    .bind(&aim.name)
    .bind(aim.invite.as_ref().map(|sealed| &sealed.bytes))
    .bind(aim.invite.as_ref().map(|sealed| &sealed.key_id))
    .bind(&aim.digest)
    .bind(aim.chat.map(|chat| chat.0))
    .bind(account.0)
    .bind(pinned)
    .bind(&terms.asked_by)
    .bind(terms.watch)
    .bind(&terms.purpose)
    .bind(&terms.tags)
    .fetch_optional(conn)
    .await?)
}

/// One join.
pub async fn get(conn: &mut PgConnection, id: i64) -> Result<Option<Join>, Error> {
    Ok(sqlx::query_as("select j.*, a.label from chat_join j join account a on a.id = j.account_id where j.id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await?)
}

/// Joins, the newest first: these, or all.
pub async fn list(conn: &mut PgConnection, ids: Option<&[i64]>, limit: i64) -> Result<Vec<Join>, Error> {
    Ok(sqlx::query_as(
        "select j.*, a.label from chat_join j join account a on a.id = j.account_id
        where $1::bigint[] is null or j.id = any($1) order by j.id desc limit $2",
    )
    .bind(ids)
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// What came of an open join. Answers whether it was still open, at this account.
pub async fn settle(
    conn: &mut PgConnection,
    id: i64,
    account: AccountId,
    state: State,
    chat: Option<ChatId>,
    reason: Option<&str>,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "update chat_join set state = $3, chat_id = coalesce($4, chat_id), reason = $5,
            state_at = case when state = $3 then state_at else now() end,
            look_at = case when $3 = 'requested' then coalesce(look_at, now() + interval '10 minutes') end
        where id = $1 and account_id = $2 and state in ('waiting', 'requested')",
    )
    .bind(id)
    .bind(account.0)
    .bind(state.as_str())
    .bind(chat.map(|chat| chat.0))
    .bind(reason)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Another account takes an open join over. Answers whether that was possible.
pub async fn move_to(conn: &mut PgConnection, id: i64, from: AccountId, to: AccountId) -> Result<bool, Error> {
    let done = sqlx::query(
        "update chat_join j set account_id = $3, state = 'waiting', state_at = now(), look_at = null, looks = 0
        where id = $1 and account_id = $2 and state in ('waiting', 'requested') and not pinned
          and not exists (select from chat_join o
                          where o.digest = j.digest and o.account_id = $3 and o.state in ('waiting', 'requested'))",
    )
    .bind(id)
    .bind(from.0)
    .bind(to.0)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// The requested joins that are to be looked at now, by id and account. Each has its next look after a pause that doubles, from ten
/// minutes to a day.
pub async fn due_looks(conn: &mut PgConnection, limit: i64) -> Result<Vec<(i64, AccountId)>, Error> {
    let due: Vec<(i64, i64)> = sqlx::query_as(
        "update chat_join j set looks = looks + 1, looked_at = now(),
            look_at = now() + least(interval '10 minutes' * power(2, least(looks + 1, 10)), interval '1 day')
        where id = any(array(
            select j.id from chat_join j join account a on a.id = j.account_id
            where j.state = 'requested' and j.look_at <= now() and a.state = 'active'
            order by j.look_at limit $1 for update of j skip locked))
        returning id, account_id",
    )
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(due.into_iter().map(|(id, account)| (id, AccountId(account))).collect())
}

/// An account seems to be in a chat that it was not known to be in: its requests are looked at soon, each once in a minute at most.
pub async fn look_soon(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<()> {
    sqlx::query(
        "update chat_join set look_at = least(look_at, greatest(now() + interval '1 second', looked_at + interval '1 minute'))
        where account_id = $1 and state = 'requested'",
    )
    .bind(account.0)
    .execute(conn)
    .await
    .map(drop)
}

/// Open joins whose account can no longer be used, and that any other may take over.
pub async fn orphans(conn: &mut PgConnection) -> Result<Vec<Join>, Error> {
    Ok(sqlx::query_as(
        "select j.*, a.label from chat_join j join account a on a.id = j.account_id
        where j.state in ('waiting', 'requested') and not j.pinned and a.state in ('held', 'lost') order by j.id",
    )
    .fetch_all(conn)
    .await?)
}

/// The newest invite that once led into a chat, with its digest.
pub async fn invite_into(conn: &mut PgConnection, chat: ChatId) -> Result<Option<(Sealed, Vec<u8>)>, Error> {
    let found: Option<(Vec<u8>, String, Vec<u8>)> = sqlx::query_as(
        "select invite, invite_key_id, digest from chat_join
        where chat_id = $1 and invite is not null and state in ('joined', 'left') order by id desc limit 1",
    )
    .bind(chat.0)
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|(bytes, key_id, digest)| (Sealed { bytes, key_id }, digest)))
}

/// The sealed invites that another key than this one sealed, by id and digest.
pub async fn sealed_otherwise(conn: &mut PgConnection, key_id: &str) -> sqlx::Result<Vec<(i64, Vec<u8>, Sealed)>> {
    let rows: Vec<(i64, Vec<u8>, Vec<u8>, String)> =
        sqlx::query_as("select id, digest, invite, invite_key_id from chat_join where invite_key_id <> $1 order by id for update")
            .bind(key_id)
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().map(|(id, digest, bytes, key_id)| (id, digest, Sealed { bytes, key_id })).collect())
}

/// Keeps an invite that was sealed anew.
pub async fn reseal(conn: &mut PgConnection, id: i64, invite: &Sealed) -> sqlx::Result<()> {
    sqlx::query("update chat_join set invite = $2, invite_key_id = $3 where id = $1")
        .bind(id)
        .bind(&invite.bytes)
        .bind(&invite.key_id)
        .execute(conn)
        .await
        .map(drop)
}

/// An account left a chat: its joins of it are over, and there is room again.
pub async fn left(conn: &mut PgConnection, account: AccountId, chat: ChatId) -> Result<(), Error> {
    membership::note_membership(conn, account, &[chat], false).await?;
    sqlx::query(
        "update chat_join set state = 'left', state_at = now() where account_id = $1 and chat_id = $2 and state = 'joined'",
    )
    .bind(account.0)
    .bind(chat.0)
    .execute(&mut *conn)
    .await?;
    sqlx::query("update account_room set full_at = null where account_id = $1").bind(account.0).execute(conn).await?;
    Ok(())
}

/// The chat that an account knows by a public name, with its access hash.
pub async fn peer_named(conn: &mut PgConnection, account: AccountId, name: &str) -> sqlx::Result<Option<Peer>> {
    let row: Option<(i64, Option<i64>, Option<String>)> = sqlx::query_as(
        "select peer_id, access_hash, username from account_peer
        where account_id = $1 and lower(username) = lower($2) and peer_id < 0 and access_hash is not null
        order by updated_at desc limit 1",
    )
    .bind(account.0)
    .bind(name)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(id, access_hash, username)| Peer { id, access_hash, username }))
}

/// Seconds as a duration.
pub fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
