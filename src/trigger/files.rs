//! Files: the rules decide of what was told, and wanted files become jobs, newest first and so many at once.

use std::collections::BTreeMap;

use sqlx::PgPool;
use telekeep_queue as queue;

use crate::{
    jobs::{
        Job,
        file_download::{self, FileDownload},
    },
    media::Rules,
    record::{
        self,
        file::{self, deciding},
        media::MediaId,
    },
    workflow::run::RunError,
};

/// Files that one transaction decides of.
const BATCH: i64 = 500;
/// Transactions of one round: the next round goes on.
const BATCHES: usize = 10;
/// Behind what a chat's history needs, and before what reconcile asks for.
const PRIORITY: i16 = 3;

/// Decides of what was told since the last round, or of everything where the rules changed, and makes jobs of wanted files while fewer
/// than so many wait or run. Gives how many were made.
pub async fn round(pool: &PgPool, rules: &Rules, at_once: usize) -> Result<usize, RunError> {
    decide(pool, rules).await?;
    let free = super::free(pool, FileDownload::KIND, at_once).await?;
    if free == 0 {
        return Ok(0);
    }
    let mut tx = pool.begin().await?;
    let wanted = deciding::next_wanted(&mut tx, None, free).await?;
    if wanted.is_empty() {
        return Ok(0);
    }
    let jobs = file_download::jobs_for(&mut tx, &wanted).await?;
    let jobs: Vec<_> = jobs.into_iter().map(|job| job.priority(PRIORITY).trigger("rules")).collect();
    let (enqueued, wake) = queue::enqueue(&mut tx, &jobs).await?;
    deciding::asked(&mut tx, &wanted).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    Ok(enqueued.iter().filter(|job| matches!(job, queue::Enqueued::Created(_))).count())
}

async fn decide(pool: &PgPool, rules: &Rules) -> Result<(), RunError> {
    let mut tx = pool.begin().await?;
    if deciding::rules_are(&mut tx, &rules.digest()).await? {
        let count = deciding::undecided(&mut tx).await?;
        tracing::info!(file.undecided = count, "the rules for files are new: every file that is not stored is looked at again");
    }
    tx.commit().await?;
    for _ in 0..BATCHES {
        let mut tx = pool.begin().await?;
        let (looked, _) = deciding::next(&mut tx, rules, BATCH).await?;
        tx.commit().await?;
        if looked == 0 {
            break;
        }
    }
    Ok(())
}

/// Gives the downloads of accounts that were lost or held to others, and wants files again whose job is gone.
pub async fn forsaken(pool: &PgPool) -> Result<(), RunError> {
    let mut conn = pool.acquire().await?;
    let again = deciding::forsaken(&mut conn, FileDownload::KIND).await?;
    if again > 0 {
        tracing::info!(file.count = again, "files whose job is gone are wanted again");
    }
    let active: Vec<i64> = record::account::list(&mut conn)
        .await?
        .into_iter()
        .filter(|account| account.state == record::account::AccountState::Active)
        .map(|account| account.id.0)
        .collect();
    let all =
        queue::Filter { kind: Some(FileDownload::KIND.into()), unfinished: true, limit: Some(i64::MAX), ..Default::default() };
    let misplaced: Vec<_> = queue::list(pool, all)
        .await?
        .into_iter()
        .filter(|job| matches!(job.state, queue::State::Scheduled | queue::State::Available) && !active.contains(&job.partition))
        .filter_map(|job| Some((job.id, job.partition, MediaId(job.payload.get("media")?.as_i64()?))))
        .collect();
    let files: Vec<MediaId> = misplaced.iter().map(|(_, _, file)| *file).collect();
    let mut moves: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let carriers = file::carriers(&mut conn, &files).await?;
    drop(conn);
    for (job, partition, file) in misplaced {
        let best = carriers.iter().filter(|carrier| carrier.media == file).min_by_key(|carrier| carrier.load);
        if let Some(best) = best.filter(|best| best.account.0 != partition) {
            moves.entry(best.account.0).or_default().push(job);
        }
    }
    for (account, jobs) in moves {
        match queue::hand_over(pool, &queue::Filter::ids(jobs), account).await {
            // One that began or ended meanwhile is looked at again when it waits.
            Ok(_) | Err(queue::Error::Arrow { .. } | queue::Error::NoJob { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
