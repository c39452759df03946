//! Reconcile: what the ledger misses becomes jobs, on the same path as everything else. It repairs what other triggers overlooked.
//!
//! Two nodes that do it at once find each other's jobs by their unique keys. What does not help is not repeated at each round.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sqlx::PgPool;
use telekeep_queue::{self as queue, Recent, State};

use crate::{
    jobs::{Job, chat_refresh::ChatRefresh, history_fetch::HistoryFetch},
    record::{
        account, coverage,
        reconcile::{self as table, Due},
        stream::STALE_AFTER_JUMP,
    },
    workflow::run::RunError,
};

/// The last of the queue's priorities: whatever else the account has to do comes first.
const PRIORITY: i16 = 4;

/// A dead or cancelled job is not made anew for so long, and a chat is not refreshed again; a held one keeps its key anyhow.
const BACK_OFF: Duration = Duration::from_secs(3600);

/// Jobs of a window that found nothing which their account could read, before they wait [`FRUITLESS_BACK_OFF`]. They cost no call.
const FRUITLESS: usize = 3;

/// How long a window waits that its account cannot read.
const FRUITLESS_BACK_OFF: Duration = Duration::from_secs(300);

/// After a jump a chat's older ids are read again so many seconds apart, [`STALE_AFTER_JUMP`] at a time: 100 calls in ten minutes, one
/// sixth of what an account may read (3,000 messages per 30 s), so that a million ids take 17 hours.
const REVISIT_EVERY: Duration = Duration::from_secs(600);

/// Windows of a chat that wait or run at once; the next ones come when these end. So that a chat of millions of ids does not fill
/// the queue.
const WINDOWS_AT_ONCE: usize = 50;

/// One round over all watched chats. Gives how many jobs were enqueued; another node's round under way leaves it nothing.
pub async fn round(pool: &PgPool) -> Result<usize, RunError> {
    table::fold(&mut *pool.acquire().await?).await?;
    let mut tx = pool.begin().await?;
    if !table::begin(&mut tx).await? {
        return Ok(0);
    }
    coverage::revisit(&mut tx, STALE_AFTER_JUMP, REVISIT_EVERY).await?;
    let due = table::due(&mut tx).await?;
    if due.is_empty() {
        tx.commit().await?;
        return Ok(0);
    }
    let mut jobs = Vec::new();
    let refreshes = wanted(&due, |d| d.refresh.then_some(ChatRefresh { chat: d.chat }).into_iter().collect());
    let past = recent::<ChatRefresh>(&mut tx, &refreshes).await?;
    for (d, refresh) in refreshes {
        if !past.contains_key(&refresh.unique_key()) {
            jobs.push(refresh.enqueueable(d.reader)?.priority(PRIORITY).trigger("reconcile"));
        }
    }
    let windows = wanted(&due, |d| d.windows.iter().map(|window| HistoryFetch { chat: d.chat, window: *window }).collect());
    let past = recent::<HistoryFetch>(&mut tx, &windows).await?;
    let mut at_once: BTreeMap<i64, usize> = BTreeMap::new();
    for (d, window) in &windows {
        if past
            .get(&window.unique_key())
            .is_some_and(|jobs| jobs.iter().any(|j| j.ended_seconds.is_none() && j.state != State::Held))
        {
            *at_once.entry(d.chat.0).or_default() += 1;
        }
    }
    let mut readers = BTreeMap::new();
    for (d, _) in &windows {
        if let std::collections::btree_map::Entry::Vacant(entry) = readers.entry(d.chat) {
            entry.insert(account::readers_of(&mut tx, d.chat).await?);
        }
    }
    for (d, window) in windows {
        let under_way = at_once.entry(d.chat.0).or_default();
        if *under_way < WINDOWS_AT_ONCE && past.get(&window.unique_key()).is_none_or(|jobs| may_help(jobs)) {
            *under_way += 1;
            let reader = window.share(&readers[&d.chat]).or(d.reader);
            jobs.push(window.enqueueable(reader)?.priority(PRIORITY).trigger("reconcile"));
        }
    }
    let (enqueued, wake) = queue::enqueue(&mut tx, &jobs).await?;
    tx.commit().await?;
    let created = enqueued.iter().filter(|e| matches!(e, queue::Enqueued::Created(_))).count();
    if created > 0 {
        let chats: BTreeSet<_> = due.iter().map(|d| d.chat).collect();
        tracing::info!(job.created = created, chat.count = chats.len(), "reconcile");
    }
    wake.fire(pool).await;
    Ok(created)
}

/// Whether another job of a window may do what those before it did not.
fn may_help(past: &[Recent]) -> bool {
    let stopped = |job: &Recent| job.ended_seconds.is_none() || matches!(job.state, State::Dead | State::Cancelled);
    if past.iter().any(stopped) {
        return false;
    }
    let mut fruitless = past.iter().filter(|job| !job.progressed).filter_map(|job| job.ended_seconds).collect::<Vec<_>>();
    fruitless.sort_by(f64::total_cmp);
    fruitless.len() < FRUITLESS || fruitless[0] > FRUITLESS_BACK_OFF.as_secs_f64()
}

fn wanted<J>(due: &[Due], jobs: impl Fn(&Due) -> Vec<J>) -> Vec<(&Due, J)> {
    due.iter().flat_map(|d| jobs(d).into_iter().map(move |job| (d, job))).collect()
}

/// What became of jobs with these keys within the time that anything here looks back, by key.
async fn recent<J: Job>(conn: &mut sqlx::PgConnection, jobs: &[(&Due, J)]) -> Result<BTreeMap<String, Vec<Recent>>, RunError> {
    let mut by_key: BTreeMap<String, Vec<Recent>> = BTreeMap::new();
    if !jobs.is_empty() {
        let keys: Vec<String> = jobs.iter().map(|(_, job)| job.unique_key()).collect();
        for job in queue::recent(conn, J::KIND, &keys, BACK_OFF).await? {
            by_key.entry(job.unique_key.clone()).or_default().push(job);
        }
    }
    Ok(by_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: State, progressed: bool, ended_seconds: Option<f64>) -> Recent {
        Recent { unique_key: "1:1-5000".into(), state, progressed, ended_seconds }
    }

    #[test]
    fn what_helped_is_repeated_at_once_and_what_did_not_waits() {
        assert!(may_help(&[job(State::Done, true, Some(1.0)), job(State::Done, true, Some(2.0))]));
        assert!(!may_help(&[job(State::Dead, true, Some(3_000.0))]));
        assert!(!may_help(&[job(State::Held, false, None)]));
        let fruitless = |last: f64| [last, last + 30.0, last + 60.0].map(|at| job(State::Done, false, Some(at)));
        assert!(may_help(&fruitless(1.0)[..2]));
        assert!(!may_help(&fruitless(1.0)));
        assert!(may_help(&fruitless(400.0)));
    }
}
