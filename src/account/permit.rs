//! Leave to call: each call of an account passes here, so that no flood is provoked and none that was told is ignored.

use std::time::Duration;

use super::{Accounts, Result};
use crate::record::{
    AccountId,
    budget::{self as table, Filling, Taken},
    join, membership,
};
use crate::telegram::{self, Dialogs, budget, flood};

/// A database that says so often that a method rests is believed.
const MOST_RESTS: u32 = 3;

impl Accounts {
    /// Waits until this account may call this method once, for a few seconds at most ([`flood::LONGEST_SLEEP`]).
    ///
    /// Errors: [`telegram::Error::Flood`] while Telegram wants a longer rest, [`telegram::Error::OverBudget`] while the account's own
    /// budget is spent for longer. Nothing was called then: a job snoozes, and the wait holds on every node.
    pub async fn permit(&self, id: AccountId, method: &str) -> Result<()> {
        for _ in 0..MOST_RESTS {
            match self.take(id, method).await? {
                Taken::After(Duration::ZERO) => return Ok(()),
                Taken::After(wait) => {
                    tokio::time::sleep(wait).await;
                    // Telegram may have asked for a rest in the meantime.
                    match self.resting(id, method).await? {
                        None => return Ok(()),
                        Some(rest) => sleep_short(method, rest).await?,
                    }
                }
                Taken::Resting(rest) => sleep_short(method, rest).await?,
                Taken::Spent(wait) => return Err(telegram::Error::OverBudget { method: method.to_owned(), wait }.into()),
            }
        }
        Err(telegram::Error::Flood { method: method.to_owned(), wait: flood::LONGEST_SLEEP }.into())
    }

    /// Lists all dialogs of an account. Once is enough: what it learns stays in the record.
    pub async fn dialogs(&self, id: AccountId) -> Result<Dialogs> {
        let connection = self.open(id).await?;
        let dialogs = connection.dialogs_with(|| Box::pin(self.permit(id, budget::DIALOGS))).await?;
        let mut conn = self.pool.acquire().await?;
        membership::note_membership(&mut conn, id, &dialogs.memberships(), true).await?;
        // A request may have been granted while nobody listened.
        join::look_soon(&mut conn, id).await?;
        Ok(dialogs)
    }

    /// Gives a permitted call back that was not made.
    pub async fn refund(&self, id: AccountId, method: &str) -> Result<()> {
        Ok(table::refund(&mut *self.pool.acquire().await?, id, method).await?)
    }

    /// Lets a method's budget begin empty from now, short of so many calls more.
    pub async fn empty(&self, id: AccountId, method: &str, more: f64) -> Result<()> {
        Ok(table::empty(&mut *self.pool.acquire().await?, id, method, more).await?)
    }

    async fn take(&self, id: AccountId, method: &str) -> Result<Taken> {
        let pace = match self.open.lock().await.get(&id) {
            Some(open) => open.pace,
            // Whose session is not known is taken for Telegram's own.
            None => budget::pace(self.telegram.pace, false),
        };
        let Some(pace) = pace else {
            return Ok(self.resting(id, method).await?.map_or(Taken::After(Duration::ZERO), Taken::Resting));
        };
        let budget = budget::of(method);
        let filling = Filling { capacity: budget.capacity, rate: budget.rate * pace };
        // The pause after a join begins with its answer: a place in the queue before that would be too early.
        let patience = if method == budget::JOIN { Duration::ZERO } else { flood::LONGEST_SLEEP };
        Ok(table::take(&mut *self.pool.acquire().await?, id, method, filling, patience).await?)
    }
}

async fn sleep_short(method: &str, rest: Duration) -> Result<()> {
    if rest > flood::LONGEST_SLEEP {
        return Err(telegram::Error::Flood { method: method.to_owned(), wait: rest }.into());
    }
    tokio::time::sleep(rest).await;
    Ok(())
}
