//! Jobs: one file a kind, and the explicit list of them. The work of a kind is a free function that tests drive without a queue.

pub mod avatar_download;
pub mod chat_find;
pub mod chat_join;
pub mod chat_leave;
pub mod chat_refresh;
pub mod count_sample;
pub mod fetching;
pub mod file_download;
pub mod handover;
pub mod history_fetch;
mod measured;
pub mod member_snapshot;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{PgConnection, PgPool};
use telekeep_queue::{self as queue, Conflict, NewJob, Outcome, Policy, Worker};
use tracing::Instrument;

use crate::{
    account::{self, Accounts},
    config,
    error::{Action, JobError},
    media::Keeping,
    record::{
        self, AccountId, ChatId,
        account::Reader,
        coverage::{self, Access},
    },
    telegram::{self, Connection, InputChat},
};
use avatar_download::AvatarDownload;
use chat_find::ChatFind;
use chat_join::ChatJoin;
use chat_leave::ChatLeave;
use chat_refresh::ChatRefresh;
use count_sample::CountSample;
use file_download::FileDownload;
use history_fetch::HistoryFetch;
use member_snapshot::MemberSnapshot;

/// Every job kind; permanent strings.
pub const KINDS: &[&str] = &[
    ChatRefresh::KIND,
    HistoryFetch::KIND,
    CountSample::KIND,
    MemberSnapshot::KIND,
    AvatarDownload::KIND,
    FileDownload::KIND,
    ChatFind::KIND,
    ChatJoin::KIND,
    ChatLeave::KIND,
];

/// One kind of job: its payload, and what is done with it. May run twice.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    const KIND: &'static str;
    const POLICY: Policy = Policy::DEFAULT;

    /// The chat that it serves, by whichever account reads it; none: it serves the account of its partition.
    fn chat(&self) -> Option<ChatId>;

    /// Unique among the kind's unfinished jobs.
    fn unique_key(&self) -> String;

    /// The work.
    fn run(&self, cx: &JobContext) -> impl Future<Output = Result<Progress, JobError>> + Send;

    /// The row to enqueue, in its chat's partition.
    fn enqueueable(&self, reader: Option<AccountId>) -> Result<NewJob, PlanError> {
        let mut job = NewJob::new(Self::KIND, serde_json::to_value(self)?);
        job.partition = reader.map_or(0, |r| r.0);
        job.unique_key = Some(self.unique_key());
        // A job that a schedule spread over hours begins as soon as somebody waits for it.
        job.on_conflict = Conflict::Earlier;
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

/// What the configuration says to jobs.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub members: config::Members,
    pub files: Keeping,
}

/// What a running job may use.
pub struct JobContext {
    pub pool: PgPool,
    pub accounts: Arc<Accounts>,
    pub settings: Arc<Settings>,
    pub job: queue::Job,
    /// Whom it asked last: what fails says something of that account, and of no other.
    asked: Mutex<Option<AccountId>>,
}

/// The account that reads a chat, connected.
pub struct Reading {
    pub account: AccountId,
    pub connection: Connection,
    pub chat: InputChat,
}

impl JobContext {
    /// The account whose job this is, or, where it cannot read this chat, the one that does; unless Telegram asked it to rest from
    /// one of these methods. Each call then asks [`Accounts::permit`].
    pub async fn reader(&self, chat: ChatId, methods: &[&str]) -> Result<Reading, JobError> {
        let reader = self.reader_of(chat).await?;
        self.reading(chat, reader, methods).await
    }

    async fn reader_of(&self, chat: ChatId) -> Result<Reader, account::Error> {
        let own = (self.job.partition > 0).then_some(AccountId(self.job.partition));
        self.accounts.reader_for(chat, own).await
    }

    /// Whom it asks now, where that is not the reader of a chat.
    fn asks(&self, account: AccountId) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(account);
    }

    fn asked(&self) -> Option<AccountId> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An account that was told some time ago that it cannot read this chat, where no account can: it may be told otherwise now.
    pub async fn second_look(&self, chat: ChatId, methods: &[&str]) -> Result<Option<Reading>, JobError> {
        match self.accounts.refused_reader_of(chat).await? {
            Some(reader) => self.reading(chat, reader, methods).await.map(Some),
            None => Ok(None),
        }
    }

    async fn reading(&self, chat: ChatId, reader: Reader, methods: &[&str]) -> Result<Reading, JobError> {
        self.asks(reader.account);
        for method in methods {
            if let Some(wait) = self.accounts.resting(reader.account, method).await? {
                return Err(telegram::Error::Flood { method: (*method).into(), wait }.into());
            }
        }
        let connection = self.accounts.open(reader.account).await?;
        Ok(Reading { account: reader.account, connection, chat: InputChat::new(chat, reader.access_hash) })
    }

    /// The ledger row of a chat as an account reads it, and its box.
    pub async fn ledger(&self, chat: ChatId, account: AccountId) -> Result<(i64, record::BoxId), JobError> {
        let ledger = coverage::open(&mut *self.pool.acquire().await?, chat, account).await?;
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

/// Downloads that one step of a workflow makes of a chat's wanted files; the trigger makes the others.
const FILES_AT_ONCE: i64 = 1_000;

/// The jobs of a kind that a chat needs now: none, when nothing is missing.
pub async fn plan(conn: &mut PgConnection, kind: &str, chat: ChatId) -> Result<Vec<NewJob>, PlanError> {
    let Some(watch) = record::watch::show(conn, chat).await? else { return Ok(Vec::new()) };
    let reader = watch.reader_id.map(AccountId);
    match kind {
        ChatRefresh::KIND => Ok(vec![ChatRefresh { chat }.enqueueable(reader)?]),
        HistoryFetch::KIND => {
            let readers = record::account::readers_of(conn, chat).await.map_err(record::Error::from)?;
            let jobs = history_fetch::windows(conn, chat).await?;
            jobs.iter().map(|j| j.enqueueable(j.share(&readers).or(reader))).collect()
        }
        CountSample::KIND => {
            let due = record::sampling::due(conn, chat, 1).await?;
            due.iter().map(|_| CountSample { chat }.enqueueable(reader)).collect()
        }
        MemberSnapshot::KIND if chat.is_private() => Ok(Vec::new()),
        MemberSnapshot::KIND => Ok(vec![MemberSnapshot { chat, admins_only: false, widen: false }.enqueueable(reader)?]),
        FileDownload::KIND => {
            let wanted = record::file::deciding::next_wanted(conn, Some(chat), FILES_AT_ONCE).await?;
            file_download::jobs_for(conn, &wanted).await
        }
        AvatarDownload::KIND => {
            let wanted = record::avatar::fetching::next_wanted(conn, Some(chat), FILES_AT_ONCE).await?;
            avatar_download::jobs_for(conn, &wanted, false).await
        }
        _ => Err(PlanError::UnknownKind { kind: kind.into() }),
    }
}

/// A worker with every kind registered.
pub fn worker(pool: PgPool, accounts: Arc<Accounts>, settings: Settings, config: queue::WorkerConfig) -> Worker {
    let settings = Arc::new(settings);
    let worker = Worker::new(pool.clone(), config);
    let worker = register::<ChatRefresh>(worker, &pool, &accounts, &settings);
    let worker = register::<HistoryFetch>(worker, &pool, &accounts, &settings);
    let worker = register::<CountSample>(worker, &pool, &accounts, &settings);
    let worker = register::<MemberSnapshot>(worker, &pool, &accounts, &settings);
    let worker = register::<AvatarDownload>(worker, &pool, &accounts, &settings);
    let worker = register::<FileDownload>(worker, &pool, &accounts, &settings);
    let worker = register::<ChatFind>(worker, &pool, &accounts, &settings);
    let worker = register::<ChatJoin>(worker, &pool, &accounts, &settings);
    register::<ChatLeave>(worker, &pool, &accounts, &settings)
}

fn register<J: Job>(worker: Worker, pool: &PgPool, accounts: &Arc<Accounts>, settings: &Arc<Settings>) -> Worker {
    let (pool, accounts, settings) = (pool.clone(), accounts.clone(), settings.clone());
    worker.register(J::KIND, J::POLICY, move |job: queue::Job| {
        let (pool, accounts, settings) = (pool.clone(), accounts.clone(), settings.clone());
        let cx = JobContext { pool, accounts, settings, job, asked: Mutex::default() };
        let span = measured::span(&cx.job);
        measured::start(J::KIND, async move {
            let payload: J = match serde_json::from_value(cx.job.payload.clone()) {
                Ok(payload) => payload,
                Err(e) => return settle(&cx, None, JobError::Payload(e)).await,
            };
            match payload.run(&cx).await {
                Ok(Progress::Finished) => Outcome::Done,
                Ok(Progress::MoreToDo) => Outcome::MoreToDo,
                Err(e) => settle(&cx, payload.chat(), e).await,
            }
        })
        .instrument(span)
    })
}

/// Does what an error asks for, and says what becomes of the job.
async fn settle(cx: &JobContext, chat: Option<ChatId>, error: JobError) -> Outcome {
    let text = error.chain();
    match decide(cx, chat, &error, &text).await {
        Ok(outcome) => outcome,
        Err(e) => Outcome::Retry { error: format!("{text}; and what that asked for failed: {}", e.chain()) },
    }
}

async fn decide(cx: &JobContext, chat: Option<ChatId>, error: &JobError, text: &str) -> Result<Outcome, JobError> {
    let action = error.action();
    // A job without a chat works for its own account.
    let own = || (chat.is_none() && cx.job.partition > 0).then_some(AccountId(cx.job.partition));
    let asked = cx.asked().or_else(own);
    if let (Some(account), JobError::Telegram(failed) | JobError::Account(account::Error::Telegram(failed))) = (asked, error) {
        cx.accounts.learn(account, failed).await?;
    }
    let (Some(chat), Some(asked)) = (chat, asked) else { return without_reader(cx, chat, &action, text).await };
    if let Action::Inaccessible { reason } = &action {
        let mut tx = cx.pool.begin().await?;
        let visible_from = coverage::visible_from(&mut tx, chat, asked).await?;
        let access = Access { readable: false, visible_from, reason: Some(reason.clone()) };
        coverage::set_access(&mut tx, chat, asked, &access).await?;
        tx.commit().await?;
        tracing::warn!(account.id = asked.0, chat.id = chat.0, reason, "the chat is not accessible for this account");
    }
    let another = match action {
        Action::AccountStopped | Action::Inaccessible { .. } => {
            if let Err(e) = handover::round(&cx.pool).await {
                tracing::warn!("the work of an account waits to be handed over: {}", crate::error::chain(&e));
            }
            cx.reader_of(chat).await.is_ok_and(|next| next.account != asked)
        }
        // Who is limited as a whole gives way; who waits with one method keeps its work.
        Action::Snooze { .. } => cx.reader_of(chat).await.is_ok_and(|next| next.account != asked),
        _ => false,
    };
    if another {
        return Ok(Outcome::Snooze { until: Duration::from_secs(1), reason: format!("another account takes over: {text}") });
    }
    Ok(match action {
        Action::Snooze { wait } => Outcome::Snooze { until: wait, reason: text.into() },
        Action::AccountStopped => return without_reader(cx, Some(chat), &Action::AccountStopped, text).await,
        // An answer, not a failure: it stands in the ledger.
        Action::Inaccessible { .. } => Outcome::Done,
        Action::Hold { hint } => Outcome::Hold { error: text.into(), hint: hint.into() },
        Action::Discard => Outcome::Discard { reason: text.into() },
        Action::Retry | Action::Leave => Outcome::Retry { error: text.into() },
    })
}

const NO_READER: &str = "no other account reads this chat: import, sign in or release one that does, and the job goes on";

const NO_ACCOUNT: &str = "only this account can do it: sign it in, import it again or release it, and the job goes on";

/// What becomes of a job whose chat nobody reads: done where the ledger says why, else held.
async fn without_reader(cx: &JobContext, chat: Option<ChatId>, action: &Action, text: &str) -> Result<Outcome, JobError> {
    Ok(match (action, chat) {
        (Action::AccountStopped, Some(chat)) if coverage::is_inaccessible(&mut *cx.pool.acquire().await?, chat).await? => {
            Outcome::Done
        }
        (Action::AccountStopped | Action::Inaccessible { .. }, Some(_)) => {
            Outcome::Hold { error: text.into(), hint: NO_READER.into() }
        }
        (Action::AccountStopped | Action::Inaccessible { .. }, None) => {
            Outcome::Hold { error: text.into(), hint: NO_ACCOUNT.into() }
        }
        (Action::Hold { hint }, _) => Outcome::Hold { error: text.into(), hint: (*hint).into() },
        (Action::Discard, _) => Outcome::Discard { reason: text.into() },
        (Action::Snooze { wait }, _) => Outcome::Snooze { until: *wait, reason: text.into() },
        (Action::Retry | Action::Leave, _) => Outcome::Retry { error: text.into() },
    })
}
