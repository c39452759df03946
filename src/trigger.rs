//! Triggers: they only enqueue. A periodic scan repairs what they missed, on the same path.

use sqlx::PgPool;
use telekeep_queue as queue;

pub mod avatars;
pub mod cron;
pub mod files;
pub mod joining;
pub mod listener;
pub mod reconcile;
pub mod watching;

/// How many more jobs of a kind there may be, of so many. What waits for the operator keeps nobody else from being fetched.
async fn free(pool: &PgPool, kind: &str, at_once: usize) -> Result<i64, queue::Error> {
    let under_way: i64 = queue::counts(pool)
        .await?
        .into_iter()
        .filter(|(of, state, _)| {
            of == kind && matches!(state, queue::State::Scheduled | queue::State::Available | queue::State::Running)
        })
        .map(|(_, _, count)| count)
        .sum();
    Ok(i64::try_from(at_once).unwrap_or(i64::MAX).saturating_sub(under_way).max(0))
}
