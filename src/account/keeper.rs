//! Which accounts this process has: those that nobody has, up to its share; given back one after the other where another node has too
//! few, and all of them when it is to drain. An account stays where it is as long as that can be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::lease::{self, Busy};
use super::{Accounts, Result};
use crate::clock;
use crate::record::AccountId;
use crate::record::lease::{self as table, Claimable};
use crate::record::node::{self, NodeId};
use telekeep_queue as queue;

/// Between two looks at which accounts there are.
const LOOK: Duration = Duration::from_secs(2);
/// An account that nobody takes for so long is taken beyond a node's share: the others may be unable to.
const NEGLECTED: Duration = Duration::from_secs(15);
/// How long the jobs of an account that is given back may take; a slice of work is a few seconds.
const JOBS_END: Duration = Duration::from_secs(30);

/// Keeps this process's share of the accounts until told to stop; they are given back by [`Accounts::close`].
pub async fn run(accounts: Arc<Accounts>, shutdown: CancellationToken) {
    let mut keeper = Keeper { works: None, free_since: BTreeMap::new(), told: String::new(), ahead: false };
    loop {
        let told = match keeper.look(&accounts).await {
            Ok(()) => String::new(),
            Err(error) => crate::error::chain(&error),
        };
        if !told.is_empty() && told != keeper.told {
            tracing::warn!("no account is taken or given back: {told}");
        }
        keeper.told = told;
        tokio::select! { () = shutdown.cancelled() => return, () = tokio::time::sleep(LOOK) => {} }
    }
}

struct Keeper {
    /// As which node this process said whether it takes accounts.
    works: Option<(NodeId, bool)>,
    /// Accounts that nobody has, as this process saw it.
    free_since: BTreeMap<i64, Instant>,
    told: String,
    /// It was told that the clock is wrong.
    ahead: bool,
}

impl Keeper {
    async fn look(&mut self, accounts: &Accounts) -> Result<()> {
        accounts.forget_lost().await;
        for id in accounts.leases.leaving() {
            accounts.give_back(id).await?;
        }
        let me = accounts.node().await?;
        let mut conn = accounts.pool().acquire().await?;
        let ahead = lease::clock_is_ahead(&mut conn).await?;
        let works = Some((me, ahead.is_none()));
        if self.works != works {
            // Who takes none is not waited for by the others.
            node::set_works(&mut conn, me, ahead.is_none()).await?;
            self.works = works;
        }
        let draining = node::is_draining(&mut conn, me).await?;
        let all = table::claimable(&mut conn, accounts.name()).await?;
        let gone = accounts.gone(&mut conn).await?;
        let mut shares = table::shares(&mut conn).await?;
        shares.retain(|(node, _)| !gone.contains(node));
        drop(conn);
        let mine: Vec<AccountId> = accounts.kept().collect();
        if draining {
            return self.give_back(accounts, &mine, "this node drains").await;
        }
        if let Some(ahead) = ahead {
            if !self.ahead {
                tracing::error!("no account is used here: {ahead}");
            }
            self.ahead = true;
            return self.give_back(accounts, &mine, "the clock is wrong").await;
        }
        self.ahead = false;
        // Pinned elsewhere meanwhile, or held by an operator.
        let not_mine: Vec<AccountId> = mine.iter().copied().filter(|id| all.iter().all(|it| it.account_id != id.0)).collect();
        self.give_back(accounts, &not_mine, "it is not for this node any more").await?;

        let has = mine.len() - not_mine.len();
        let others = shares.iter().filter(|(node, _)| *node != me).map(|(_, count)| usize::try_from(*count).unwrap_or(0));
        let poorest = others.min().unwrap_or(usize::MAX);
        let surplus = mine.iter().filter(|id| all.iter().any(|it| it.account_id == id.0 && !it.pinned)).max();
        if poorest.saturating_add(2) <= has
            && let Some(id) = surplus
        {
            return self.give_back(accounts, &[*id], "another node has fewer").await;
        }
        // Whoever has fewest comes first.
        let room = if has <= poorest { share(all.len(), shares.len()).saturating_sub(has) } else { 0 };
        self.take(accounts, &all, &gone, room).await
    }

    async fn take(&mut self, accounts: &Accounts, all: &[Claimable], gone: &[NodeId], room: usize) -> Result<()> {
        let now = clock::mark();
        let is_free = |it: &Claimable| it.free || it.node_id.is_some_and(|node| gone.contains(&node));
        let mut free: Vec<&Claimable> = all.iter().filter(|it| is_free(it)).collect();
        self.free_since.retain(|id, _| free.iter().any(|it| it.account_id == *id));
        // Those that are for this node alone, then those that it had.
        free.sort_by_key(|it| (!it.pinned, !it.had, it.account_id));
        let mut room = room;
        for it in free {
            let since = *self.free_since.entry(it.account_id).or_insert(now);
            if room == 0 && !it.pinned && now.duration_since(since) < NEGLECTED {
                continue;
            }
            match accounts.try_lease(AccountId(it.account_id)).await? {
                Ok(_) => {
                    self.free_since.remove(&it.account_id);
                    room = room.saturating_sub(1);
                    tracing::info!(account.id = it.account_id, "this node has the account");
                }
                // Somebody else was faster, or it is too early.
                Err(Busy::Held(_) | Busy::Pinned(_) | Busy::JustLeft(_)) => {}
            }
        }
        Ok(())
    }

    /// Gives accounts back once their jobs have ended, as far as they end soon.
    async fn give_back(&mut self, accounts: &Accounts, which: &[AccountId], why: &str) -> Result<()> {
        for id in which {
            accounts.begin_giving_back(*id).await?;
        }
        let began = clock::mark();
        for id in which {
            let running = queue::Filter { partition: Some(id.0), state: Some(queue::State::Running), ..queue::Filter::default() };
            while began.elapsed() < JOBS_END && !queue::list(accounts.pool(), running.clone()).await?.is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            accounts.give_back(*id).await?;
            tracing::info!(account.id = id.0, "the account is given back: {why}");
        }
        Ok(())
    }
}

/// How many accounts a node has at most, where all have about as many.
fn share(accounts: usize, nodes: usize) -> usize {
    accounts.div_ceil(nodes.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_no_account_out() {
        assert_eq!((share(10, 3), share(10, 1), share(0, 3), share(2, 5)), (4, 10, 0, 1));
        // This process is not in the list yet.
        assert_eq!(share(3, 0), 3);
    }
}
