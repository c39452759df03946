//! Tells one target what waits for it, again and again until it took it.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::message::Message;
use super::target::Target;
use crate::record::alert as table;
use crate::telemetry::metrics;

/// Between two looks at what waits.
const LOOK: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(600);

pub(super) async fn run(pool: PgPool, target: Target, node: String, retry: Duration, shutdown: CancellationToken) {
    let mut failing = false;
    while !shutdown.is_cancelled() {
        match tell(&pool, &target, &node, retry).await {
            Ok(None) => {}
            Ok(Some(Ok(()))) => {
                if failing {
                    tracing::info!(alert.target = %target.name, "the alert target takes messages again");
                }
                failing = false;
            }
            Ok(Some(Err(why))) => {
                if !failing {
                    tracing::warn!(alert.target = %target.name, "the alert target does not take messages, they wait: {why}");
                }
                failing = true;
            }
            // The looks say that the database is away.
            Err(error) => tracing::debug!(%error, "nothing is told"),
        }
        tokio::select! { () = shutdown.cancelled() => {}, () = tokio::time::sleep(LOOK) => {} }
    }
}

/// Tells what is due in one message. None: nothing is. Its rows stay locked meanwhile, so that no other process tells the same; one
/// that is killed between the answer and the commit tells it twice, under the same ids.
async fn tell(pool: &PgPool, target: &Target, node: &str, retry: Duration) -> sqlx::Result<Option<Result<(), String>>> {
    let mut tx = pool.begin().await?;
    let notes = table::due(&mut tx, &target.name).await?;
    if notes.is_empty() {
        return Ok(None);
    }
    let told = target.tell(&Message::of(&notes, node)).await.map_err(|error| crate::error::chain(&error));
    metrics::ALERTS_SENT.add(1, &[target.kind(), if told.is_ok() { "told" } else { "failed" }]);
    match &told {
        Ok(()) => table::told(&mut tx, &target.name, &notes).await?,
        Err(why) => {
            let failures = notes.iter().map(|note| note.failures).max().unwrap_or(0);
            let again = retry.saturating_mul(1 << failures.clamp(0, 10)).min(LONGEST);
            table::not_told(&mut tx, &target.name, &notes, why, again).await?;
        }
    }
    tx.commit().await?;
    Ok(Some(told))
}
