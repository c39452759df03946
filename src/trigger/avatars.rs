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
    let free = super::free(pool, AvatarDownload::KIND, at_once).await?;
    if free == 0 {
        return Ok(0);
    }
    let mut tx = pool.begin().await?;
    let wanted = avatar::fetching::next_wanted(&mut tx, None, free).await?;
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
