//! How accounts fare, and what an operator does about it: look, hold, release.

use serde::Serialize;
use sqlx::PgConnection;

use super::{Account, AccountState, Accounts, Error, LostKey, Result, table, unseal_session};
use crate::record::AccountId;
use crate::record::health::{self, ChatOfAccount, Health};
use crate::telegram::budget;

/// What an account has left of a budget now.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct BudgetLeft {
    /// Telegram's own name.
    pub method: String,
    /// Calls that may be made at once; below zero, so many are waited for.
    pub left: f64,
    /// The most that it gets to.
    pub capacity: f64,
    /// Calls that it gains a second.
    pub per_second: f64,
}

/// All that there is to tell of one account.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = AccountInFull)]
pub struct Shown {
    #[serde(flatten)]
    pub health: Health,
    /// Of the methods that it used; others are full.
    pub budgets: Vec<BudgetLeft>,
    pub chats: Vec<ChatOfAccount>,
}

impl Accounts {
    /// All accounts and how they fare, oldest first.
    pub async fn health(&self) -> Result<Vec<Health>> {
        Ok(health::list(&mut *self.pool.acquire().await?, None).await?)
    }

    /// One account in full. Its phone is not among it: see [`Self::phone`].
    pub async fn show(&self, account: &Account) -> Result<Shown> {
        let mut conn = self.pool.acquire().await?;
        let health = health::list(&mut conn, Some(account.id)).await?.pop().ok_or(Error::Unknown(account.id))?;
        // Without its session it is taken for one of Telegram's own, whose pace is the slower.
        let pinned = match self.session_of(account.id).await {
            Ok(session) => session.pinned,
            Err(_) => false,
        };
        let pace = budget::pace(self.telegram.pace, pinned).unwrap_or(0.0);
        let left = |bucket: health::Bucket| {
            let budget = budget::of(&bucket.method);
            let per_second = budget.rate * pace;
            let left = (bucket.tokens + per_second * bucket.age).min(budget.capacity);
            BudgetLeft { method: bucket.method, left, capacity: budget.capacity, per_second }
        };
        let budgets = health::buckets(&mut conn, account.id).await?.into_iter().map(left).collect();
        Ok(Shown { health, budgets, chats: health::chats(&mut conn, account.id).await? })
    }

    /// The phone number of the account's owner, as Telegram told it at the sign-in. None: it was not told.
    pub async fn phone(&self, id: AccountId) -> Result<Option<String>> {
        Ok(self.session_of(id).await?.phone.map(|phone| phone.0))
    }

    async fn session_of(&self, id: AccountId) -> Result<crate::telegram::SessionData> {
        let mut conn = self.pool.acquire().await?;
        let row = table::sealed(&mut conn, id).await?.ok_or(Error::Unknown(id))?;
        unseal_session(&self.seal_key(&mut conn, LostKey::Refuse).await?, &row.account.label, &row.session)
    }

    /// Stops an account until it is released. The processes that use it close it within seconds.
    pub async fn hold(&self, account: &Account, reason: &str) -> Result<()> {
        let held = hold_within(&mut *self.pool.acquire().await?, account.id, reason).await;
        // Also where it was held before; not where the record does not say so.
        if !matches!(held, Err(Error::Database(_))) {
            self.close_one(account.id).await;
        }
        held
    }

    /// Makes a held account active again. One that is lost, or whose key is spent, is refused with what to do.
    pub async fn release(&self, account: &Account) -> Result<()> {
        release_within(&mut *self.pool.acquire().await?, account.id).await
    }
}

/// [`Accounts::hold`] in the caller's transaction, by who uses no account.
pub async fn hold_within(conn: &mut PgConnection, id: AccountId, reason: &str) -> Result<()> {
    match table::set_state(conn, id, AccountState::Held, Some(reason)).await? {
        true => Ok(()),
        false => refused(conn, id).await,
    }
}

/// [`Accounts::release`] in the caller's transaction.
pub async fn release_within(conn: &mut PgConnection, id: AccountId) -> Result<()> {
    match table::release(conn, id).await? {
        true => Ok(()),
        false => refused(conn, id).await,
    }
}

async fn refused(conn: &mut PgConnection, id: AccountId) -> Result<()> {
    let Some(now) = health::list(conn, Some(id)).await?.pop() else { return Err(Error::Unknown(id)) };
    Err(Error::Stays { label: now.label, state: now.state.as_str(), needs_login: now.needs_login, reason: now.state_reason })
}
