//! Joins whose time has come: requests that are to be looked at again, and joins whose account can no longer be used.

use sqlx::PgPool;
use telekeep_queue as queue;

use crate::{
    jobs::{
        Job,
        chat_join::{self, ChatJoin},
    },
    record::join as table,
    workflow::run::RunError,
};

/// Requests that one transaction takes.
const BATCH: i64 = 200;

/// Enqueues a look at each request that is due. Gives how many there were.
pub async fn looks(pool: &PgPool) -> Result<usize, RunError> {
    let mut tx = pool.begin().await?;
    let due = table::due_looks(&mut tx, BATCH).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let jobs = due.iter().map(|(join, account)| chat_join::new_job(*join, *account, "reconcile"));
    let jobs = jobs.collect::<Result<Vec<_>, _>>()?;
    let (_, wake) = queue::enqueue(&mut tx, &jobs).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    Ok(due.len())
}

/// Gives the joins of accounts that were lost or held to others. What no other account has room for waits.
pub async fn orphans(pool: &PgPool) -> Result<usize, RunError> {
    let mut moved = 0;
    for join in table::orphans(&mut *pool.acquire().await?).await? {
        let mut tx = pool.begin().await?;
        let Some((taken, job)) = chat_join::hand_over(&mut tx, &join, 1.0).await? else { continue };
        let (_, wake) = queue::enqueue(&mut tx, &[job]).await?;
        tx.commit().await?;
        wake.fire(pool).await;
        moved += 1;
        tracing::info!(join.id = join.id, account.from = %join.account, account.to = %taken.label, "another account joins");
        // Nobody runs a stopped account's jobs: the old one would wait for ever.
        let filter = queue::Filter {
            kind: Some(ChatJoin::KIND.into()),
            partition: Some(join.account_id),
            unfinished: true,
            limit: Some(i64::MAX),
            ..Default::default()
        };
        let key = ChatJoin { join: join.id, account: crate::record::AccountId(join.account_id) }.unique_key();
        let old = queue::list(pool, filter).await?.into_iter().filter(|job| job.unique_key.as_deref() == Some(&key));
        let old: Vec<i64> = old.map(|job| job.id).collect();
        if !old.is_empty() {
            queue::cancel(pool, &queue::Filter::ids(old)).await?;
        }
    }
    Ok(moved)
}
