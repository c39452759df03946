//! Accounts in Postgres: sealed sessions, states, known peers, and the waits that Telegram asked for.
//!
//! Sessions arrive sealed and leave sealed: no key is ever seen here. Time is the database's.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use super::{AccountId, ChatId, Peer};

/// The method under which a rest of the whole account is kept.
pub const ALL_METHODS: &str = "*";

/// Whether an account can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    Active,
    /// Stopped until an operator looks at it.
    Held,
    /// Limited by Telegram for a time.
    Limited,
    /// Its authorisation is gone.
    Lost,
}

impl AccountState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Held => "held",
            Self::Limited => "limited",
            Self::Lost => "lost",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Held, Self::Limited, Self::Lost].into_iter().find(|state| state.as_str() == text)
    }
}

/// An account without its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    pub id: AccountId,
    pub label: String,
    pub user_id: Option<i64>,
    pub state: AccountState,
    pub state_reason: Option<String>,
    pub state_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for Account {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let state: String = row.try_get("state")?;
        let state = AccountState::parse(&state).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: "state".into(),
            source: format!("unknown account state {state:?}").into(),
        })?;
        Ok(Self {
            id: AccountId(row.try_get("id")?),
            label: row.try_get("label")?,
            user_id: row.try_get("user_id")?,
            state,
            state_reason: row.try_get("state_reason")?,
            state_at: row.try_get("state_at")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

/// An account with what is needed to open it.
#[derive(Debug, Clone)]
pub struct SealedAccount {
    pub account: Account,
    pub session: Sealed,
    pub device: serde_json::Value,
}

/// A sealed session, and the key that sealed it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub bytes: Vec<u8>,
    pub key_id: String,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes, key {})", self.bytes.len(), self.key_id)
    }
}

/// The account that reads a chat, and its own access hash for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    pub account: AccountId,
    pub access_hash: Option<i64>,
}

/// Adds an account.
pub async fn insert(
    conn: &mut PgConnection,
    label: &str,
    user_id: Option<i64>,
    session: &Sealed,
    device: &serde_json::Value,
) -> sqlx::Result<AccountId> {
    sqlx::query_scalar(
        "insert into account (label, user_id, session, session_key_id, device) values ($1, $2, $3, $4, $5) returning id",
    )
    .bind(label)
    .bind(user_id)
    .bind(&session.bytes)
    .bind(&session.key_id)
    .bind(device)
    .fetch_one(conn)
    .await
    .map(AccountId)
}

/// Gives an account a new session, and makes it active again.
pub async fn renew(conn: &mut PgConnection, account: AccountId, user_id: Option<i64>, session: &Sealed) -> sqlx::Result<()> {
    sqlx::query(
        "update account set session = $2, session_key_id = $3, user_id = coalesce($4, user_id),
                state = 'active', state_reason = null, state_at = now(), needs_login = false
          where id = $1",
    )
    .bind(account.0)
    .bind(&session.bytes)
    .bind(&session.key_id)
    .bind(user_id)
    .execute(conn)
    .await
    .map(drop)
}

/// Saves a session that changed in use.
pub async fn save_session(conn: &mut PgConnection, account: AccountId, session: &Sealed) -> sqlx::Result<()> {
    sqlx::query("update account set session = $2, session_key_id = $3 where id = $1")
        .bind(account.0)
        .bind(&session.bytes)
        .bind(&session.key_id)
        .execute(conn)
        .await
        .map(drop)
}

/// All accounts, oldest first.
pub async fn list(conn: &mut PgConnection) -> sqlx::Result<Vec<Account>> {
    sqlx::query_as("select id, label, user_id, state, state_reason, state_at, created_at from account order by id")
        .fetch_all(conn)
        .await
}

/// The account of this label, or else of this user.
pub async fn find(conn: &mut PgConnection, label: &str, user_id: Option<i64>) -> sqlx::Result<Option<Account>> {
    sqlx::query_as(
        "select id, label, user_id, state, state_reason, state_at, created_at from account
          where user_id = $2 or label = $1 order by user_id is not distinct from $2 desc limit 1",
    )
    .bind(label)
    .bind(user_id)
    .fetch_optional(conn)
    .await
}

/// One account with its sealed session.
pub async fn sealed(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Option<SealedAccount>> {
    let row = sqlx::query(
        "select id, label, user_id, state, state_reason, state_at, created_at, session, session_key_id, device
           from account where id = $1",
    )
    .bind(account.0)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(SealedAccount {
            account: Account::from_row(&row)?,
            session: Sealed { bytes: row.try_get("session")?, key_id: row.try_get("session_key_id")? },
            device: row.try_get("device")?,
        })
    })
    .transpose()
}

/// How the account of this label presents itself to Telegram; none: there is no such account yet.
pub async fn device(conn: &mut PgConnection, label: &str) -> sqlx::Result<Option<serde_json::Value>> {
    sqlx::query_scalar("select device from account where label = $1").bind(label).fetch_optional(conn).await
}

/// How many sessions and proxy passwords are sealed: with none, a key may be made.
pub async fn sealed_count(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("select (select count(*) from account) + (select count(*) from proxy where password is not null)")
        .fetch_one(conn)
        .await
}

/// Sets an account's state with its reason. A lost account stays lost until it is renewed. Answers whether the state is another one now.
pub async fn set_state(
    conn: &mut PgConnection,
    account: AccountId,
    state: AccountState,
    reason: Option<&str>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "with before as (select state from account where id = $1 for no key update)
         update account a set state = $2, state_reason = $3, state_at = now() from before b
          where a.id = $1 and b.state <> 'lost' returning b.state <> $2",
    )
    .bind(account.0)
    .bind(state.as_str())
    .bind(reason)
    .fetch_optional(conn)
    .await
    .map(|changed| changed.unwrap_or(false))
}

/// Notes that the account's key is spent: only a new login or import makes the account active.
pub async fn spend_key(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<()> {
    sqlx::query("update account set needs_login = true where id = $1").bind(account.0).execute(conn).await.map(drop)
}

/// Makes a held account active again, if its key is good. Answers whether it was so.
pub async fn release(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<bool> {
    let released = sqlx::query(
        "update account set state = 'active', state_reason = null, state_at = now()
          where id = $1 and state = 'held' and not needs_login",
    );
    Ok(released.bind(account.0).execute(conn).await?.rows_affected() > 0)
}

/// Notes how an account addresses peers. What is absent erases nothing.
pub async fn note_peers(conn: &mut PgConnection, account: AccountId, peers: &[Peer]) -> sqlx::Result<()> {
    // Sorted against deadlocks; once each, because one statement must not touch a row twice.
    let mut peers: Vec<&Peer> = peers.iter().collect();
    peers.sort_by_key(|peer| (peer.id, peer.access_hash.is_none()));
    peers.dedup_by_key(|peer| peer.id);
    let ids: Vec<i64> = peers.iter().map(|peer| peer.id).collect();
    let hashes: Vec<Option<i64>> = peers.iter().map(|peer| peer.access_hash).collect();
    let names: Vec<Option<&str>> = peers.iter().map(|peer| peer.username.as_deref()).collect();
    sqlx::query(
        "insert into account_peer as known (account_id, peer_id, access_hash, username)
         select $1, peer.* from unnest($2::bigint[], $3::bigint[], $4::text[]) as peer (id, access_hash, username)
          -- What is known is not touched: a conflict would lock the row, and wait for the disk, for nothing.
          where not exists (
            select from account_peer k where k.account_id = $1 and k.peer_id = peer.id
               and (peer.access_hash is null or peer.access_hash = k.access_hash)
               and (peer.username is null or peer.username = k.username))
         on conflict (account_id, peer_id) do update
            set access_hash = coalesce(excluded.access_hash, known.access_hash),
                username = coalesce(excluded.username, known.username), updated_at = now()
          where (excluded.access_hash is not null and excluded.access_hash is distinct from known.access_hash)
             or (excluded.username is not null and excluded.username is distinct from known.username)",
    )
    .bind(account.0)
    .bind(ids)
    .bind(hashes)
    .bind(names)
    .execute(conn)
    .await
    .map(drop)
}

/// What an account knows of a peer.
pub async fn peer(conn: &mut PgConnection, account: AccountId, peer: ChatId) -> sqlx::Result<Option<Peer>> {
    let row = sqlx::query("select access_hash, username from account_peer where account_id = $1 and peer_id = $2")
        .bind(account.0)
        .bind(peer.0)
        .fetch_optional(conn)
        .await?;
    row.map(|row| Ok(Peer { id: peer.0, access_hash: row.try_get("access_hash")?, username: row.try_get("username")? })).transpose()
}

/// Every active account that can read a chat, with the oldest id that it sees, by account; those that Telegram limits only where there
/// are no others. Of a chat in an account's own box, none: its ids are its reader's alone.
pub async fn readers_of(conn: &mut PgConnection, chat: ChatId) -> sqlx::Result<Vec<(AccountId, i64)>> {
    if !chat.is_channel() {
        return Ok(Vec::new());
    }
    let rows: Vec<(i64, i64, bool)> = sqlx::query_as(
        "select a.id, coalesce(c.visible_from, 1),
                exists (select from account_rest r where r.account_id = a.id and r.method = $2 and r.until > now())
           from account a
           left join coverage_access c on c.account_id = a.id and c.chat_id = $1
           join account_peer p on p.account_id = a.id and p.peer_id = $1 and p.access_hash is not null
          where a.state = 'active' and coalesce(c.readable, true) order by a.id",
    )
    .bind(chat.0)
    .bind(ALL_METHODS)
    .fetch_all(conn)
    .await?;
    let limited_too = rows.iter().all(|(_, _, limited)| *limited);
    Ok(rows.into_iter().filter(|(_, _, limited)| limited_too || !limited).map(|(id, from, _)| (AccountId(id), from)).collect())
}

/// An active account that was told more than a minute ago that it cannot read a chat: the one that was told so longest ago.
pub async fn refused_reader_of(conn: &mut PgConnection, chat: ChatId) -> sqlx::Result<Option<Reader>> {
    let row = sqlx::query(
        "select a.id, p.access_hash
           from coverage_access c join account a on a.id = c.account_id
           left join account_peer p on p.account_id = a.id and p.peer_id = $1
          where c.chat_id = $1 and not c.readable and a.state = 'active' and c.checked_at < now() - interval '1 minute'
          order by c.checked_at limit 1",
    )
    .bind(chat.0)
    .fetch_optional(conn)
    .await?;
    row.map(|row| Ok(Reader { account: AccountId(row.try_get("id")?), access_hash: row.try_get("access_hash")? })).transpose()
}

/// Lets a method of an account rest from now; an earlier, longer rest stays.
pub async fn rest(conn: &mut PgConnection, account: AccountId, method: &str, wait: Duration, reason: &str) -> sqlx::Result<()> {
    sqlx::query(
        "insert into account_rest as known (account_id, method, until, reason)
         values ($1, $2, now() + make_interval(secs => $3), $4)
         on conflict (account_id, method) do update set until = excluded.until, reason = excluded.reason
          where known.until < excluded.until",
    )
    .bind(account.0)
    .bind(method)
    .bind(wait.as_secs_f64())
    .bind(reason)
    .execute(conn)
    .await
    .map(drop)
}

/// How long a method of an account still rests; none when it may be called.
pub async fn resting(conn: &mut PgConnection, account: AccountId, method: &str) -> sqlx::Result<Option<Duration>> {
    let seconds: Option<f64> = sqlx::query_scalar(
        "select extract(epoch from max(until) - now())::float8 from account_rest
          where account_id = $1 and method in ($2, $3) and until > now()",
    )
    .bind(account.0)
    .bind(method)
    .bind(ALL_METHODS)
    .fetch_one(conn)
    .await?;
    Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
}

/// An active account that knows a public name, and the name's chat.
pub async fn peer_named(conn: &mut PgConnection, name: &str) -> sqlx::Result<Option<(AccountId, ChatId)>> {
    let row: Option<(i64, i64)> = sqlx::query_as(
        "select p.account_id, p.peer_id from account_peer p join account a on a.id = p.account_id
          where lower(p.username) = lower($1) and a.state = 'active' order by p.updated_at desc limit 1",
    )
    .bind(name)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(account, chat)| (AccountId(account), ChatId(chat))))
}

/// Keeps a login under way, in place of an earlier one of this label.
pub async fn keep_login(conn: &mut PgConnection, label: &str, state: &Sealed) -> sqlx::Result<()> {
    sqlx::query(
        "insert into account_login (label, state, state_key_id) values ($1, $2, $3)
         on conflict (label) do update set state = excluded.state, state_key_id = excluded.state_key_id, at = now()",
    )
    .bind(label)
    .bind(&state.bytes)
    .bind(&state.key_id)
    .execute(conn)
    .await
    .map(drop)
}

/// A login under way. After an hour it is none: codes do not live as long.
pub async fn login(conn: &mut PgConnection, label: &str) -> sqlx::Result<Option<Sealed>> {
    let row: Option<(Vec<u8>, String)> =
        sqlx::query_as("select state, state_key_id from account_login where label = $1 and at > now() - interval '1 hour'")
            .bind(label)
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|(bytes, key_id)| Sealed { bytes, key_id }))
}

/// Forgets a login that is over, and those that nobody went on with.
pub async fn forget_login(conn: &mut PgConnection, label: &str) -> sqlx::Result<()> {
    sqlx::query("delete from account_login where label = $1 or at < now() - interval '1 hour'")
        .bind(label)
        .execute(conn)
        .await
        .map(drop)
}

/// Forgets the logins that are sealed with another key.
pub async fn forget_logins_but(conn: &mut PgConnection, key_id: &str) -> sqlx::Result<()> {
    sqlx::query("delete from account_login where state_key_id <> $1").bind(key_id).execute(conn).await.map(drop)
}

/// Claims the keys for one process: a connection of its own whose advisory lock lasts as long as it does. None: another process has them.
pub async fn hold_keys(pool: &sqlx::PgPool) -> sqlx::Result<Option<PgConnection>> {
    use sqlx::ConnectOptions;
    let mut conn = pool.connect_options().as_ref().clone().connect().await?;
    let held: bool =
        sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('telekeep keys', 0))").fetch_one(&mut conn).await?;
    Ok(held.then_some(conn))
}

/// Keeps a change of keys from beginning until this transaction ends; false where one is under way.
pub async fn share_keys(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select pg_try_advisory_xact_lock_shared(hashtextextended('telekeep keys', 0))").fetch_one(conn).await
}
