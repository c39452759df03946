//! Jobs: one file a kind, and the explicit list of them. The work of a kind is a free function that tests drive without a queue.

pub mod chat_refresh;
pub mod history_fetch;

use std::{future::Future, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{PgConnection, PgPool};
use telekeep_queue::{self as queue, NewJob, Outcome, Policy, Worker};

use crate::{
    account::{Accounts, Reader},
    error::{Action, JobError},
    record::{self, ChatId, account::AccountState, coverage::Access},
};
use chat_refresh::ChatRefresh;
use history_fetch::HistoryFetch;

/// Every job kind; permanent strings.
pub const KINDS: &[&str] = &[ChatRefresh::KIND, HistoryFetch::KIND];

/// One kind of job: its payload, and what is done with it. May run twice.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    const KIND: &'static str;
    const POLICY: Policy = Policy::DEFAULT;

    /// The chat that it serves.
    fn chat(&self) -> ChatId;

    /// Unique among the kind's unfinished jobs.
    fn unique_key(&self) -> String;

    /// The work.
    fn run(&self, cx: &JobContext) -> impl Future<Output = Result<Progress, JobError>> + Send;

    /// The row to enqueue, in its chat's partition.
    fn enqueueable(&self, reader: Option<record::AccountId>) -> Result<NewJob, PlanError> {
        let mut job = NewJob::new(Self::KIND, serde_json::to_value(self)?);
        job.partition = reader.map_or(0, |r| r.0);
        job.unique_key = Some(self.unique_key());
        Ok(job)
    }
}

/// How far the work came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Finished,
    /// The slice is over: run again, uncounted.
    MoreToDo,
}

/// What a running job may use.
pub struct JobContext {
    pub pool: PgPool,
    pub accounts: Arc<Accounts>,
    pub job: queue::Job,
}

impl JobContext {
    /// The account that reads this chat, unless Telegram asked it to rest from one of these methods.
    pub async fn reader(&self, chat: ChatId, methods: &[&str]) -> Result<Reader, JobError> {
        let reader = self.accounts.reader_of(chat).await?;
        let mut conn = self.pool.acquire().await?;
        for method in methods {
            if let Some(wait) = record::account::resting(&mut conn, reader.account, method).await? {
                return Err(crate::telegram::Error::Flood { method: (*method).into(), wait }.into());
            }
        }
        Ok(reader)
    }

    /// The ledger row of a chat as an account reads it, and its box.
    pub async fn ledger(&self, chat: ChatId, account: record::AccountId) -> Result<(i64, record::BoxId), JobError> {
        let ledger = record::coverage::open(&mut *self.pool.acquire().await?, chat, account).await?;
        Ok((ledger.id, ledger.held))
    }
}

/// A chat's marked id, from the command line.
fn chat_arg(text: &str) -> Result<ChatId, String> {
    text.parse().map(ChatId).map_err(|_| format!("{text:?} is not a chat id; they look like -1001234567890"))
}

/// Why jobs could not be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("unknown job kind {kind:?}; known are {}", KINDS.join(", "))]
    UnknownKind { kind: String },
    #[error("the payload cannot be written: {0}")]
    Payload(#[from] serde_json::Error),
    #[error(transparent)]
    Record(#[from] record::Error),
}

/// The jobs of a kind that a chat needs now: none, when nothing is missing.
pub async fn plan(conn: &mut PgConnection, kind: &str, chat: ChatId) -> Result<Vec<NewJob>, PlanError> {
    let Some(watch) = record::watch::show(conn, chat).await? else { return Ok(Vec::new()) };
    let reader = watch.reader_id.map(record::AccountId);
    match kind {
        ChatRefresh::KIND => Ok(vec![ChatRefresh { chat }.enqueueable(reader)?]),
        HistoryFetch::KIND => {
            let jobs = history_fetch::windows(conn, chat).await?;
            jobs.iter().map(|j| j.enqueueable(reader)).collect()
        }
        _ => Err(PlanError::UnknownKind { kind: kind.into() }),
    }
}

/// A worker with every kind registered.
pub fn worker(pool: PgPool, accounts: Arc<Accounts>, config: queue::WorkerConfig) -> Worker {
    let worker = Worker::new(pool.clone(), config);
    let worker = register::<ChatRefresh>(worker, &pool, &accounts);
    register::<HistoryFetch>(worker, &pool, &accounts)
}

fn register<J: Job>(worker: Worker, pool: &PgPool, accounts: &Arc<Accounts>) -> Worker {
    let (pool, accounts) = (pool.clone(), accounts.clone());
    worker.register(J::KIND, J::POLICY, move |job: queue::Job| {
        let cx = JobContext { pool: pool.clone(), accounts: accounts.clone(), job };
        async move {
            let payload: J = match serde_json::from_value(cx.job.payload.clone()) {
                Ok(payload) => payload,
                Err(e) => return settle(&cx, None, JobError::Payload(e)).await,
            };
            match payload.run(&cx).await {
                Ok(Progress::Finished) => Outcome::Done,
                Ok(Progress::MoreToDo) => Outcome::MoreToDo,
                Err(e) => settle(&cx, Some(payload.chat()), e).await,
            }
        }
    })
}

/// Does what an error asks for, and says what becomes of the job.
async fn settle(cx: &JobContext, chat: Option<ChatId>, error: JobError) -> Outcome {
    let (action, text) = (error.action(), error.chain());
    match apply(cx, chat, &action).await {
        Ok(outcome) => outcome.unwrap_or_else(|| match action {
            Action::Snooze { wait, .. } => Outcome::Snooze { until: wait, reason: text },
            Action::Hold { hint } => Outcome::Hold { error: text, hint: hint.into() },
            Action::Discard => Outcome::Discard { reason: text },
            Action::AccountLost { .. } | Action::AccountHeld { .. } => {
                Outcome::Hold { error: text, hint: "no other account reads this chat: sign in one that does, then `telekeep job release`".into() }
            }
            Action::Retry | Action::Leave | Action::Inaccessible { .. } => Outcome::Retry { error: text },
        }),
        Err(e) => Outcome::Retry { error: format!("{text}; and what that asked for failed: {}", e.chain()) },
    }
}

/// Writes what an action asks for; an outcome where that decides it.
async fn apply(cx: &JobContext, chat: Option<ChatId>, action: &Action) -> Result<Option<Outcome>, JobError> {
    let Some(chat) = chat else { return Ok(None) };
    let Ok(reader) = cx.accounts.reader_of(chat).await else { return Ok(None) };
    let mut tx = cx.pool.begin().await?;
    match action {
        Action::Snooze { wait, method: Some(method) } => {
            record::account::rest(&mut tx, reader.account, method, *wait, "asked for by Telegram").await?;
            tx.commit().await?;
            tracing::info!(account.label = %reader.label, telegram.method = %method, wait_seconds = wait.as_secs(), "rests as Telegram asked");
            return Ok(None);
        }
        Action::AccountLost { reason } => record::account::set_state(&mut tx, reader.account, AccountState::Lost, Some(reason)).await?,
        Action::AccountHeld { reason } => record::account::set_state(&mut tx, reader.account, AccountState::Held, Some(reason)).await?,
        Action::Inaccessible { reason } => {
            let visible_from = record::coverage::visible_from(&mut tx, chat, reader.account).await?;
            let access = Access { readable: false, visible_from, reason: Some(reason.clone()) };
            record::coverage::set_access(&mut tx, chat, reader.account, &access).await?;
        }
        Action::Retry | Action::Snooze { method: None, .. } | Action::Hold { .. } | Action::Discard | Action::Leave => return Ok(None),
    }
    tracing::error!(account.label = %reader.label, chat.id = chat.0, "{action:?}");
    record::watch::set_reader(&mut tx, chat, None).await?;
    tx.commit().await?;
    // Another account takes over; where none can, what is inaccessible stands in the ledger: an answer, not a failure.
    match (cx.accounts.reader_of(chat).await, action) {
        (Ok(_), _) => Ok(Some(Outcome::Snooze { until: Duration::from_secs(1), reason: "another account takes over".into() })),
        (Err(_), Action::Inaccessible { .. }) => Ok(Some(Outcome::Done)),
        (Err(_), _) => Ok(None),
    }
}
