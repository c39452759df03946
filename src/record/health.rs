//! How accounts fare: state and rests with their reasons, what is left of their budgets, which chats they read and can read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::AccountId;
use super::account::{ALL_METHODS, Account, AccountState};

/// How an account fares now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema, async_graphql::Enum)]
#[serde(rename_all = "snake_case")]
#[schema(as = AccountFares)]
pub enum Fares {
    Active,
    /// Telegram asked one or more of its methods to rest; the others go on.
    Flooded,
    /// Telegram limits the account as a whole for a time.
    Limited,
    /// Stopped until an operator looks at it.
    Held,
    /// Its authorisation is gone.
    Lost,
}

impl Fares {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Flooded => "flooded",
            Self::Limited => "limited",
            Self::Held => "held",
            Self::Lost => "lost",
        }
    }
}

/// A wait that Telegram asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema, async_graphql::SimpleObject)]
#[schema(as = AccountRest)]
pub struct Rest {
    /// Telegram's own name; `*`: all.
    pub method: String,
    pub until: DateTime<Utc>,
    pub reason: String,
}

/// What an account has left of a budget, as it was when it was last used.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Bucket {
    pub method: String,
    pub tokens: f64,
    /// Seconds since then.
    pub age: f64,
}

/// An account and how it fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema, async_graphql::SimpleObject)]
#[graphql(name = "Account")]
#[schema(as = Account)]
pub struct Health {
    pub id: AccountId,
    pub label: String,
    pub user_id: Option<i64>,
    pub state: Fares,
    pub state_reason: Option<String>,
    /// Since when it is held or lost; else when it last became active.
    pub state_at: DateTime<Utc>,
    /// When what keeps it from working in full ends by itself.
    pub until: Option<DateTime<Utc>>,
    /// Only a new login or import makes it active.
    pub needs_login: bool,
    pub rests: Vec<Rest>,
    /// Watched chats that it reads.
    pub reads: i64,
    /// Watched chats that it is known to be able to read.
    pub can_read: i64,
    pub created_at: DateTime<Utc>,
}

impl Health {
    /// Whether only signing in again brings it back. One that an operator signed out is left alone.
    pub fn needs_sign_in(&self) -> bool {
        let by_operator = self.state_reason.as_deref().is_some_and(|why| why.starts_with("logged out"));
        (self.state == Fares::Lost && !by_operator) || (self.state == Fares::Held && self.needs_login)
    }
}

/// All accounts and how they fare, oldest first; or one.
pub async fn list(conn: &mut PgConnection, account: Option<AccountId>) -> sqlx::Result<Vec<Health>> {
    let accounts = super::account::list(conn).await?.into_iter().filter(|one| account.is_none_or(|id| id == one.id));
    let more: Vec<More> = sqlx::query_as(
        "select a.id, a.needs_login,
                coalesce((select jsonb_agg(jsonb_build_object('method', r.method, 'until', r.until, 'reason', r.reason)
                                           order by r.method <> $2, r.until desc, r.method)
                    from account_rest r where r.account_id = a.id and r.until > now()), '[]') as rests,
                (select count(*) from watch w where w.reader_id = a.id) as reads,
                (select count(*) from watch w
                    left join coverage_access c on c.chat_id = w.chat_id and c.account_id = a.id
                    left join account_peer p on p.peer_id = w.chat_id and p.account_id = a.id
                    where coalesce(c.readable, p.peer_id is not null)) as can_read
           from account a where $1::bigint is null or a.id = $1",
    )
    .bind(account.map(|id| id.0))
    .bind(ALL_METHODS)
    .fetch_all(conn)
    .await?;
    let mut more: BTreeMap<i64, More> = more.into_iter().map(|row| (row.id, row)).collect();
    Ok(accounts.filter_map(|one| more.remove(&one.id.0).map(|more| health(one, more))).collect())
}

#[derive(sqlx::FromRow)]
struct More {
    id: i64,
    needs_login: bool,
    rests: Json<Vec<Rest>>,
    reads: i64,
    can_read: i64,
}

fn health(account: Account, more: More) -> Health {
    let More { needs_login, rests: Json(rests), reads, can_read, .. } = more;
    let Account { id, label, user_id, state, mut state_reason, state_at, created_at } = account;
    let (fares, rest) = match state {
        AccountState::Held => (Fares::Held, None),
        AccountState::Lost => (Fares::Lost, None),
        // Rests of all methods come first, then the longest.
        AccountState::Active | AccountState::Limited => match rests.first() {
            Some(rest) if rest.method == ALL_METHODS => (Fares::Limited, Some(rest)),
            Some(rest) => (Fares::Flooded, Some(rest)),
            None => (Fares::Active, None),
        },
    };
    let until = rest.map(|rest| rest.until);
    state_reason = rest.map(|rest| rest.reason.clone()).or(state_reason);
    Health { id, label, user_id, state: fares, state_reason, state_at, until, needs_login, rests, reads, can_read, created_at }
}

/// What an account has left of its budgets, by method.
pub async fn buckets(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Vec<Bucket>> {
    sqlx::query_as(
        "select method, tokens, greatest(extract(epoch from clock_timestamp() - updated_at)::float8, 0) as age
           from account_budget where account_id = $1 order by method",
    )
    .bind(account.0)
    .fetch_all(conn)
    .await
}

/// A watched chat as an account stands to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct ChatOfAccount {
    pub chat_id: i64,
    pub title: Option<String>,
    /// It is the chat's reader.
    pub reads: bool,
    /// As it was last told; none: it was never asked.
    pub readable: Option<bool>,
    /// The oldest id that it sees.
    pub visible_from: Option<i64>,
    pub reason: Option<String>,
    pub checked_at: Option<DateTime<Utc>>,
}

/// The watched chats that an account reads, knows, or was asked about.
pub async fn chats(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Vec<ChatOfAccount>> {
    sqlx::query_as(
        "select w.chat_id, t.body->>'title' as title, coalesce(w.reader_id = $1, false) as reads,
                c.readable, c.visible_from, c.reason, c.checked_at
           from watch w
           left join chat t using (chat_id)
           left join coverage_access c on c.chat_id = w.chat_id and c.account_id = $1
           left join account_peer p on p.peer_id = w.chat_id and p.account_id = $1
          where w.reader_id = $1 or c.chat_id is not null or p.peer_id is not null order by w.chat_id",
    )
    .bind(account.0)
    .fetch_all(conn)
    .await
}
