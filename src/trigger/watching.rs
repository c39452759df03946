//! A chat begins to be watched: which one is meant, its watch, its floor, and the workflows that listen for it. For commands as for HTTP.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use telekeep_queue::{self as queue, NewJob, State};

use super::listener;
use crate::{
    account::{self, Accounts, find},
    clock,
    jobs::{
        Job, PlanError,
        chat_find::{Answer, ChatFind},
    },
    record::{
        self, AccountId, ChatId, audit_log, coverage, event,
        watch::{self, NewWatch, OnDelete},
    },
    workflow::{Workflows, run::RunError},
};

/// What somebody wants to watch, and how.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Link, @name or id.
    pub chat: String,
    /// Why; needed for private chats.
    pub purpose: Option<String>,
    /// The label of the account that reads it; any that can when not given.
    pub account: Option<String>,
    pub tags: Vec<String>,
    /// Nothing older.
    pub since: Option<DateTime<Utc>>,
    pub on_delete: Option<OnDelete>,
}

/// A chat that is watched now.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    pub chat: ChatId,
    pub is_new: bool,
}

/// Why a chat is not watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Account(#[from] account::Error),
    #[error(transparent)]
    Record(#[from] record::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// Telegram, or the node that has the account, says no.
    #[error("{0}")]
    Refused(String),
    #[error("the answer of job {job} cannot be read")]
    Answer {
        job: i64,
        #[source]
        source: Option<serde_json::Error>,
    },
}

/// A chat, the account that reads it, and where it begins.
pub struct Named {
    pub chat: ChatId,
    pub account: AccountId,
    /// The id of the oldest message that is wanted; none: of all.
    pub floor: Option<i64>,
}

/// Between two looks at what a node answers.
const LOOK: Duration = Duration::from_millis(250);
/// A node that works answers within a few seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Watches a chat, and lets the workflows that listen for it begin, in one transaction with its entry in the audit log. `note` is told
/// whom it waits for.
pub async fn begin(
    pool: &PgPool,
    accounts: &Accounts,
    workflows: &Workflows,
    wish: Wish,
    change: &audit_log::Change<'_>,
    note: impl Fn(String),
) -> Result<Begun, Error> {
    let found = named(pool, accounts, &wish.chat, wish.account.as_deref(), wish.since, note).await?;
    let mut tx = pool.begin().await?;
    let watch = NewWatch {
        purpose: wish.purpose,
        tags: wish.tags,
        since: wish.since,
        reader: Some(found.account),
        on_delete: wish.on_delete,
        ..NewWatch::new(found.chat)
    };
    let is_new = watch::watch(&mut tx, &watch).await?;
    if let Some(floor) = found.floor {
        let ledger = coverage::open(&mut tx, found.chat, found.account).await?;
        coverage::set_floor(&mut tx, ledger.id, floor).await?;
    }
    if is_new {
        event::note(&mut tx, found.chat, event::WATCHED, Some(found.account)).await?;
    }
    let opened = listener::consume_now(&mut tx, workflows, found.chat).await?;
    audit_log::note(&mut tx, &audit_log::Change { target: &format!("chat {}", found.chat), ..change.clone() }).await?;
    tx.commit().await?;
    opened.wake(pool).await;
    Ok(Begun { chat: found.chat, is_new })
}

/// Finds a chat by link, public name or id; Telegram is asked only for what no account knows, by this process's accounts or by the
/// node that has the account.
pub async fn named(
    pool: &PgPool,
    accounts: &Accounts,
    text: &str,
    label: Option<&str>,
    since: Option<DateTime<Utc>>,
    note: impl Fn(String),
) -> Result<Named, Error> {
    let target = find::read(text)?;
    let known = find::known(accounts, &target).await?;
    let account = match (label, known) {
        (Some(label), _) => accounts.labelled(label).await?.id,
        (None, Some(found)) => found.account,
        (None, None) => find::any(accounts).await?.id,
    };
    if let (Some(found), None) = (known, since) {
        return Ok(Named { chat: found.chat, account, floor: None });
    }
    let target = known.map_or(target, |found| find::Target::Id(found.chat.0));
    let question = ChatFind { account, target, since };
    let answer = match question.ask(accounts).await {
        Err(account::Error::InUse { label, holder }) => through(pool, &question, &label, &holder.node, note).await?,
        answer => answer?,
    };
    match answer {
        Answer::Found { chat, floor } => Ok(Named { chat, account, floor }),
        Answer::Refused(reason) => Err(Error::Refused(reason)),
    }
}

/// Lets the node that has the account ask.
async fn through(pool: &PgPool, question: &ChatFind, label: &str, node: &str, note: impl Fn(String)) -> Result<Answer, Error> {
    let job = NewJob { trigger: Some("operator".into()), priority: 1, ..question.enqueueable(Some(question.account))? };
    let mut tx = pool.begin().await?;
    let (enqueued, wake) = queue::enqueue(&mut tx, &[job]).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    let Some(id) = enqueued.first().map(queue::Enqueued::id) else { return Err(Error::Refused("nothing was enqueued".into())) };
    note(format!("account {label} is at work in {node}, which is asked (job {id})"));
    let began = clock::mark();
    while began.elapsed() < LIMIT {
        let Some(job) = queue::show(pool, id).await? else { break };
        match job.state {
            State::Done => {
                let told = job.progress_note.ok_or(Error::Answer { job: id, source: None })?;
                return serde_json::from_str(&told).map_err(|error| Error::Answer { job: id, source: Some(error) });
            }
            State::Dead | State::Held | State::Cancelled => {
                let error = job.error.unwrap_or_else(|| format!("it is {}", job.state));
                return Err(Error::Refused(format!("job {id} was not answered: {error}")));
            }
            State::Scheduled | State::Available | State::Running => tokio::time::sleep(LOOK).await,
        }
    }
    queue::cancel(pool, &queue::Filter::one(id)).await?;
    Err(Error::Refused(format!(
        "{node} did not answer within {} s: `telekeep node list` and `telekeep job show {id}` say why; then ask again",
        LIMIT.as_secs()
    )))
}
