//! Photos of chats and users: those that the rules want become jobs, newest first and so many at once.

use sqlx::PgPool;
use telekeep_queue as queue;

use crate::{
    jobs::{
        Job,
        avatar_download::{self, AvatarDownload},
    },
    record::{avatar, file::deciding},
    workflow::run::RunError,
};

/// As other files have it.
const PRIORITY: i16 = 3;

/// Makes jobs of wanted photos while fewer than so many wait or run; `earlier`: which also note what users showed before. Gives how many
/// were made.
pub async fn round(pool: &PgPool, at_once: usize, earlier: bool) -> Result<usize, RunError> {
    let limit = i64::try_from(at_once).unwrap_or(i64::MAX);
    let filter =
        queue::Filter { kind: Some(AvatarDownload::KIND.into()), unfinished: true, limit: Some(limit), ..Default::default() };
    let waiting = queue::list(pool, filter).await?.into_iter().filter(|job| job.state != queue::State::Held).count();
    let free = at_once.saturating_sub(waiting);
    let mut tx = pool.begin().await?;
    let wanted = avatar::fetching::next_wanted(&mut tx, None, i64::try_from(free).unwrap_or(i64::MAX)).await?;
    if wanted.is_empty() {
        return Ok(0);
    }
    let jobs = avatar_download::jobs_for(&mut tx, &wanted, earlier).await?;
    let jobs: Vec<_> = jobs.into_iter().map(|job| job.priority(PRIORITY).trigger("rules")).collect();
    let (enqueued, wake) = queue::enqueue(&mut tx, &jobs).await?;
    deciding::asked(&mut tx, &wanted).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    Ok(enqueued.iter().filter(|job| matches!(job, queue::Enqueued::Created(_))).count())
}
