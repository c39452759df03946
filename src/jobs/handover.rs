//! What becomes of the work of an account that is away: its chats get other readers, and the jobs that wait go where they can be done.
//!
//! May run anywhere and at any time, twice at once: the watch's row is locked for each chat, and what is in its place is left there.

use std::collections::BTreeMap;

use sqlx::PgPool;
use telekeep_queue as queue;

use super::{Job, NO_ACCOUNT, NO_READER, PlanError, chat_refresh::ChatRefresh};
use crate::{
    account::reader::reading,
    record::{
        ChatId,
        account::{self, AccountState},
        reader::{self as table, Handover},
    },
};

/// Jobs that are moved in one go; the next ones in the next.
const AT_ONCE: i64 = 1_000;

/// Why work could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// Gives each chat whose reader is away to the next that can read it, and moves the jobs that wait. Gives how many chats changed hands.
pub async fn round(pool: &PgPool) -> Result<usize, HandoverError> {
    let orphans = table::orphans(&mut *pool.acquire().await?).await?;
    let mut handed = 0;
    for chat in orphans {
        handed += usize::from(hand_over(pool, chat).await?.is_some());
    }
    move_jobs(pool).await?;
    Ok(handed)
}

/// Jobs that were held for want of an account go on, once an account became active after their start.
pub async fn release(pool: &PgPool) -> Result<(), HandoverError> {
    if !queue::counts(pool).await?.iter().any(|(_, state, count)| *state == queue::State::Held && *count > 0) {
        return Ok(());
    }
    let held = queue::Filter { state: Some(queue::State::Held), limit: Some(AT_ONCE), ..Default::default() };
    let mut jobs = queue::list(pool, held).await?;
    jobs.retain(|job| matches!(job.hint.as_deref(), Some(NO_READER | NO_ACCOUNT)));
    let accounts = account::list(&mut *pool.acquire().await?).await?;
    let newest = accounts.iter().filter(|it| it.state == AccountState::Active).map(|it| it.state_at).max();
    jobs.retain(|job| job.started_at < newest);
    let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    match queue::release(pool, &queue::Filter::ids(ids)).await {
        // one that the operator released meanwhile: the others in the next round
        Err(queue::Error::Arrow { .. } | queue::Error::NoJob { .. }) => {}
        released => tracing::info!(job.count = released?, "jobs that were held for want of an account go on"),
    }
    Ok(())
}

/// Gives one chat to the next that can read it, if its reader is away. What the new reader sees of it is asked first.
async fn hand_over(pool: &PgPool, chat: ChatId) -> Result<Option<Handover>, HandoverError> {
    let mut tx = pool.begin().await?;
    let Some(done) = table::hand_over(&mut tx, chat, reading()).await? else { return Ok(None) };
    let refresh = ChatRefresh { chat }.enqueueable(Some(done.to))?.priority(1).trigger("handover");
    let (_, wake) = queue::enqueue(&mut tx, &[refresh]).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    tracing::warn!(
        chat.id = chat.0,
        account.from = done.from.map(|account| account.0),
        account.id = done.to.0,
        "another account reads the chat from now on"
    );
    Ok(Some(done))
}

/// Moves the jobs that wait for an account which cannot do them to the one that reads their chat now.
async fn move_jobs(pool: &PgPool) -> Result<(), HandoverError> {
    let mut conn = pool.acquire().await?;
    let misplaced = table::misplaced(&mut conn, AT_ONCE).await?;
    if misplaced.is_empty() {
        return Ok(());
    }
    let mut readers: BTreeMap<i64, Option<i64>> = BTreeMap::new();
    let mut moves: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for job in &misplaced {
        let reader = match readers.get(&job.chat.0) {
            Some(known) => *known,
            None => {
                let found = table::reader_of(&mut conn, job.chat, None, reading()).await?.map(|reader| reader.account.0);
                readers.insert(job.chat.0, found);
                found
            }
        };
        if let Some(reader) = reader.filter(|reader| *reader != job.partition) {
            moves.entry(reader).or_default().push(job.job);
        }
    }
    drop(conn);
    for (reader, jobs) in moves {
        let count = match queue::hand_over(pool, &queue::Filter::ids(jobs), reader).await {
            // one that began or ended meanwhile is looked at again when it waits
            Err(queue::Error::Arrow { .. } | queue::Error::NoJob { .. }) => continue,
            moved => moved?,
        };
        tracing::info!(account.id = reader, job.count = count, "jobs are handed over");
    }
    Ok(())
}
