//! One update stream for each account: what Telegram tells on its own, and what it tells when asked for what was missed.
//!
//! A stream hears, puts in order ([`crate::telegram::updates`]) and commits: facts, ledger and positions in one transaction, after at
//! most half a second. Whatever goes wrong, it begins again from what is stored: the difference tells the rest. A stream never waits
//! for a slow database with open hands: what does not fit is dropped, and asked for later.

mod pending;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::lease::Held;
use super::{Account, AccountState, Accounts, Error};
use crate::clock;
use crate::normalize;
use crate::record::{self, AccountId, ChatId, Via, boxes, coverage, event, stream as table};
use crate::telegram::updates::{Batch, Sequence, Sequencer, Source};
use crate::telegram::{self, Connection, Heard, Hearing, InputChat, budget};
use crate::telemetry::{metrics, traces};
use pending::Pending;

/// How a stream is paced.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Each followed channel, and the account's own box, is asked for its difference this often: big channels may be silent, and
    /// what was lost on the way is not announced.
    pub round: Duration,
}

/// Between two looks at which accounts and followed chats there are.
const LOOK: Duration = Duration::from_secs(2);
/// Pauses before a stream that failed begins again, from the first to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Account(#[from] Error),
    #[error(transparent)]
    Telegram(#[from] telegram::Error),
    #[error(transparent)]
    Record(#[from] record::Error),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// Keeps a stream for each account of this process until told to stop.
pub async fn run(accounts: Arc<Accounts>, pace: Pace, shutdown: CancellationToken) {
    let mut streams: BTreeMap<AccountId, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut database_away = false;
    while !shutdown.is_cancelled() {
        match accounts.list().await {
            Ok(all) => {
                database_away = false;
                let kept = accounts.leases.kept();
                for account in all {
                    if !matches!(account.state, AccountState::Active | AccountState::Limited) {
                        // Held or lost by another process' word too: its connection goes, and nothing asks again.
                        if let Some(stream) = streams.remove(&account.id) {
                            stream.abort();
                            accounts.close_one(account.id).await;
                        }
                        continue;
                    }
                    if streams.get(&account.id).is_none_or(tokio::task::AbortHandle::is_finished)
                        && let Some(held) = kept.iter().find(|held| held.account == account.id)
                    {
                        let id = account.id;
                        let stream = keep(accounts.clone(), account, pace.clone(), held.clone(), shutdown.clone());
                        streams.insert(id, tasks.spawn(stream));
                    }
                }
            }
            Err(error) if !database_away => {
                database_away = true;
                tracing::warn!(%error, "the streams wait for the database");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = accounts.leases.taken.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
}

/// One account's stream, begun again after each failure; ends when the account may not be used any more.
async fn keep(accounts: Arc<Accounts>, account: Account, pace: Pace, held: Arc<Held>, shutdown: CancellationToken) {
    let (mut pause, mut told) = (PAUSE.0, String::new());
    let ends = shutdown.child_token();
    let (leaving, end) = (held.clone(), ends.clone());
    let _watch = AbortOnDropHandle::new(tokio::spawn(async move {
        leaving.leaves().await;
        end.cancel();
    }));
    loop {
        let began = clock::mark();
        if ends.is_cancelled() {
            return;
        }
        let ended = listen(&accounts, &account, &pace, &ends).await;
        let Err(ended) = ended else { return };
        if began.elapsed() > PAUSE.1 {
            (pause, told) = (PAUSE.0, String::new());
        }
        let wait = match &ended {
            Ended::Record(record::Error::Moved) => PAUSE.0,
            Ended::Account(Error::NotActive { .. } | Error::Unknown(_) | Error::LeaseOver(_) | Error::InUse { .. }) => return,
            Ended::Telegram(failed) | Ended::Account(Error::Telegram(failed)) => {
                if let Err(error) = accounts.learn(account.id, failed).await {
                    tracing::warn!(account.label = %account.label, %error, "what the failure says of the account is not recorded");
                }
                if matches!(
                    failed,
                    telegram::Error::AccountLost { .. } | telegram::Error::KeyDuplicated | telegram::Error::KeyRefused
                ) {
                    return;
                }
                failed.wait().unwrap_or(pause).max(pause)
            }
            Ended::Account(_) | Ended::Record(_) | Ended::Database(_) => pause,
        };
        let now = crate::error::chain(&ended);
        if now != told {
            tracing::warn!(account.label = %account.label, wait_s = wait.as_secs_f64(), "the stream begins again: {now}");
            told = now;
        }
        pause = (pause * 2).min(PAUSE.1);
        tokio::select! { () = ends.cancelled() => return, () = tokio::time::sleep(wait) => {} }
    }
}

async fn listen(accounts: &Accounts, account: &Account, pace: &Pace, shutdown: &CancellationToken) -> Result<(), Ended> {
    let connection = accounts.open(account.id).await?;
    let hearing = connection.listen();
    let mut conn = accounts.pool().acquire().await?;
    let state = match table::state(&mut conn, account.id).await? {
        Some(state) => state,
        None => {
            accounts.permit(account.id, "updates.getState").await?;
            let state = pending::stored(connection.update_state().await?);
            let mut tx = accounts.pool().begin().await?;
            accounts.fence(&mut tx, account.id).await?;
            table::begin(&mut tx, account.id, state).await?;
            tx.commit().await?;
            tracing::info!(account.label = %account.label, "the stream begins");
            state
        }
    };
    drop(conn);
    let me = account.user_id.unwrap_or(0);
    let mut sequencer = Sequencer::new(me, pending::heard(state));
    sequencer.doubt_all();
    let mut stream = Stream {
        accounts,
        account: account.id,
        me,
        pace,
        connection,
        hearing,
        sequencer,
        follows: BTreeMap::new(),
        followed_at: None,
        pending: Pending::new(state.pts),
        checked: BTreeMap::new(),
        asked: BTreeMap::new(),
        resting: BTreeMap::new(),
        failures: 0,
    };
    stream.follow().await?;
    stream.list_dialogs().await?;
    stream.work(shutdown).await
}

struct Stream<'a> {
    accounts: &'a Accounts,
    account: AccountId,
    /// The account's own user.
    me: i64,
    pace: &'a Pace,
    connection: Connection,
    hearing: Hearing,
    sequencer: Sequencer,
    /// The chats that this account reads, each with its access hash.
    follows: BTreeMap<ChatId, Option<i64>>,
    followed_at: Option<Instant>,
    pending: Pending,
    /// When Telegram last said that nothing is missing.
    checked: BTreeMap<Sequence, Instant>,
    asked: BTreeMap<Sequence, Instant>,
    /// What is not asked for before.
    resting: BTreeMap<Sequence, Instant>,
    /// Calls in a row that failed.
    failures: u32,
}

impl Stream<'_> {
    fn pool(&self) -> &PgPool {
        self.accounts.pool()
    }

    async fn work(&mut self, shutdown: &CancellationToken) -> Result<(), Ended> {
        loop {
            if shutdown.is_cancelled() {
                return self.commit().await;
            }
            if self.followed_at.is_none_or(|at| at.elapsed() >= LOOK) {
                self.follow().await?;
            }
            while !self.pending.is_full()
                && let Some(heard) = self.hearing.already()
            {
                self.hear(heard);
            }
            let now = clock::mark();
            self.sequencer.lose_patience(now);
            self.doubt_by_turns(now);
            if self.pending.is_due(now) {
                self.commit().await?;
                continue;
            }
            if let Some(sequence) = self.next_wanted(now) {
                self.asked.insert(sequence, now);
                self.ask(sequence).await?;
                continue;
            }
            let wake = self.wakes_at(now);
            tokio::select! {
                () = shutdown.cancelled() => {}
                heard = self.hearing.next() => self.hear(heard),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// The difference to ask for next: of those that do not rest, the one that was asked for longest ago, so that none waits for ever
    /// behind busier ones.
    fn next_wanted(&self, now: Instant) -> Option<Sequence> {
        let rests = |it: &Sequence| self.resting.get(it).is_some_and(|until| now < *until);
        self.sequencer.wanted().filter(|it| !rests(it)).min_by_key(|it| self.asked.get(it).copied())
    }

    /// When there is something to do, if nothing is heard.
    fn wakes_at(&self, now: Instant) -> Instant {
        let mut at = now + LOOK;
        at = at.min(self.pending.due_at().unwrap_or(at)).min(self.sequencer.patience_ends().unwrap_or(at));
        self.resting.values().copied().filter(|until| *until > now).fold(at, Instant::min)
    }

    /// Each sequence has its turn once in a round.
    fn doubt_by_turns(&mut self, now: Instant) {
        let all: Vec<Sequence> =
            std::iter::once(Sequence::Common).chain(self.sequencer.channels().map(Sequence::Channel)).collect();
        for sequence in all {
            if self.checked.get(&sequence).is_some_and(|at| now.duration_since(*at) >= self.pace.round) {
                self.checked.insert(sequence, now);
                self.sequencer.doubt(sequence);
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Interrupted => self.sequencer.doubt_all(),
            Heard::Updates(updates) => {
                let batch = self.sequencer.push(clock::mark(), *updates);
                self.take(batch);
            }
        }
    }

    /// Adds a batch to what waits for its commit.
    fn take(&mut self, batch: Batch) {
        if batch.is_empty() && batch.jumped.is_none() {
            return;
        }
        let via = match batch.source {
            Source::Pushed => Via::Live,
            Source::Difference => Via::Difference,
        };
        let happened = normalize::update::happened(&batch.updates, &batch.chats, &batch.users, self.me);
        self.pending.add(clock::mark(), via, happened, &batch);
    }

    async fn commit(&mut self) -> Result<(), Ended> {
        let Some(taken) = self.pending.take() else { return Ok(()) };
        let follows = self.follows.keys().copied().collect();
        let began = clock::mark();
        let commit = async {
            let mut tx = self.pool().begin().await?;
            self.accounts.fence(&mut tx, self.account).await?;
            let written = table::commit(&mut tx, self.account, &follows, &taken.heard, &taken.advance).await?;
            tx.commit().await?;
            Ok::<_, Ended>(written)
        };
        let heard = taken.heard.iter().map(|(_, happened)| happened.messages.len()).sum();
        let written = commit.instrument(traces::commit(heard)).await?;
        metrics::COMMIT_DURATION.took(began.elapsed(), &[]);
        metrics::FACTS_COMMITTED.add(written.new.len() as u64, &["new"]);
        metrics::FACTS_COMMITTED.add(written.revised.len() as u64, &["revised"]);
        self.pending.committed(&taken.advance);
        tracing::debug!(
            account.id = self.account.0,
            message.new = written.new.len(),
            message.revised = written.revised.len(),
            "committed"
        );
        Ok(())
    }

    /// Which chats this account reads now. A channel is followed from where its box stands; one that nobody has described yet is not.
    async fn follow(&mut self) -> Result<(), Ended> {
        let followed = table::followed(&mut *self.pool().acquire().await?, self.account).await?;
        let now: BTreeMap<ChatId, Option<i64>> = followed.iter().map(|it| (ChatId(it.chat_id), it.access_hash)).collect();
        if now.keys().ne(self.follows.keys()) {
            self.commit().await?;
        }
        self.follows = now;
        let mut channels = BTreeMap::new();
        for it in &followed {
            if let (InputChat::Channel { id, .. }, Some(pts)) = (InputChat::new(ChatId(it.chat_id), None), it.pts) {
                channels.insert(id, pts);
            }
        }
        let gone: Vec<i64> = self.sequencer.channels().filter(|channel| !channels.contains_key(channel)).collect();
        for channel in gone {
            self.sequencer.unfollow(channel);
            self.checked.remove(&Sequence::Channel(channel));
            self.asked.remove(&Sequence::Channel(channel));
            self.resting.remove(&Sequence::Channel(channel));
        }
        for (channel, pts) in channels {
            if self.sequencer.follow(channel, pts) {
                self.sequencer.doubt(Sequence::Channel(channel));
            }
        }
        self.followed_at = Some(clock::mark());
        Ok(())
    }

    /// Asks for a difference.
    async fn ask(&mut self, sequence: Sequence) -> Result<(), Ended> {
        let asked = match sequence {
            Sequence::Common => self.ask_common().await,
            Sequence::Channel(channel) => self.ask_channel(channel).await,
        };
        metrics::DIFFERENCES.add(1, &[if asked.is_ok() { "ok" } else { "failed" }]);
        let failed = match asked {
            Ok(batch) => {
                self.failures = 0;
                if batch.verified == Some(sequence) {
                    self.checked.insert(sequence, clock::mark());
                }
                self.take(batch);
                return Ok(());
            }
            Err(Ended::Telegram(failed) | Ended::Account(Error::Telegram(failed))) => failed,
            Err(ended) => return Err(ended),
        };
        self.failed(sequence, failed).await
    }

    async fn ask_common(&mut self) -> Result<Batch, Ended> {
        self.accounts.permit(self.account, budget::DIFFERENCE).await?;
        let answer = self.connection.difference(&self.sequencer.ask_common()).await?;
        Ok(self.sequencer.common_difference(answer))
    }

    async fn ask_channel(&mut self, channel: i64) -> Result<Batch, Ended> {
        self.accounts.permit(self.account, budget::CHANNEL_DIFFERENCE).await?;
        let id = ChatId::channel(channel);
        let chat = InputChat::new(id, self.follows.get(&id).copied().flatten());
        let pts = self.sequencer.pts_of(channel).unwrap_or(0);
        let Some(answer) = self.connection.channel_difference(&chat, pts).await? else {
            return Err(telegram::Error::Unexpected { method: "updates.getChannelDifference", found: "no channel" }.into());
        };
        Ok(self.sequencer.channel_difference(channel, answer))
    }

    /// What is done about a difference that was not to be had. Nothing is asked again at once.
    async fn failed(&mut self, sequence: Sequence, failed: telegram::Error) -> Result<(), Ended> {
        use telegram::Error as Failed;
        self.failures += 1;
        let backoff = (PAUSE.0 * 2_u32.saturating_pow(self.failures.min(8))).min(PAUSE.1);
        match (&failed, sequence) {
            (Failed::Flood { wait, .. } | Failed::OverBudget { wait, .. }, _) => {
                self.accounts.learn(self.account, &failed).await?;
                self.rest_all(sequence, *wait);
            }
            (Failed::Transient { .. } | Failed::NotOurs { .. }, _) => {
                tracing::debug!(account.id = self.account.0, error = %failed, wait_s = backoff.as_secs_f64(), "a difference failed");
                self.rest_all(Sequence::Common, backoff);
                self.rest_all(Sequence::Channel(0), backoff);
            }
            (Failed::Inaccessible { name, .. }, Sequence::Channel(channel)) => self.lost_sight(channel, name).await?,
            // What cannot be decoded is passed over: history reads it, and keeps what it does not understand.
            (Failed::PositionLost { .. } | Failed::Undecodable { .. }, Sequence::Channel(channel)) => {
                self.lost_position(channel, &failed).await?;
            }
            (Failed::PositionLost { .. } | Failed::Undecodable { .. }, Sequence::Common) => {
                tracing::warn!(account.id = self.account.0, error = %failed, "the account's own box is read again from its newest ids");
                let state = pending::stored(self.connection.update_state().await?);
                self.commit().await?;
                let advance = pending::jump(self.pending.committed_pts(), state);
                let follows = self.follows.keys().copied().collect();
                let mut tx = self.pool().begin().await?;
                self.accounts.fence(&mut tx, self.account).await?;
                table::commit(&mut tx, self.account, &follows, &[], &advance).await?;
                tx.commit().await?;
                return Err(record::Error::Moved.into());
            }
            _ => return Err(failed.into()),
        }
        Ok(())
    }

    /// Nothing of this kind is asked for until then.
    fn rest_all(&mut self, kind: Sequence, wait: Duration) {
        let until = clock::mark() + wait;
        match kind {
            Sequence::Common => drop(self.resting.insert(Sequence::Common, until)),
            Sequence::Channel(_) => {
                self.resting.extend(self.sequencer.channels().map(|channel| (Sequence::Channel(channel), until)));
            }
        }
    }

    /// The account may not see the channel any more: it stands in the ledger, and another account may take over.
    async fn lost_sight(&mut self, channel: i64, reason: &str) -> Result<(), Ended> {
        let chat = ChatId::channel(channel);
        self.commit().await?;
        let mut tx = self.pool().begin().await?;
        self.accounts.fence(&mut tx, self.account).await?;
        let visible_from = coverage::visible_from(&mut tx, chat, self.account).await?;
        let access = coverage::Access { readable: false, visible_from, reason: Some(reason.to_owned()) };
        match coverage::set_access(&mut tx, chat, self.account, &access).await {
            Ok(()) => event::note(&mut tx, chat, event::LEFT, Some(self.account)).await?,
            Err(record::Error::NotWatched(_)) => {}
            Err(error) => return Err(error.into()),
        }
        record::membership::note_absence(&mut tx, self.account, &[chat]).await?;
        tx.commit().await?;
        tracing::warn!(
            account.id = self.account.0,
            chat.id = chat.0,
            reason,
            "the channel is no longer accessible for this account"
        );
        self.sequencer.unfollow(channel);
        self.follows.remove(&chat);
        Ok(())
    }

    /// There is no way on from the pts that we stand at: the newest ids are read again, and the channel is described anew.
    async fn lost_position(&mut self, channel: i64, failed: &telegram::Error) -> Result<(), Ended> {
        let chat = ChatId::channel(channel);
        self.commit().await?;
        let mut tx = self.pool().begin().await?;
        self.accounts.fence(&mut tx, self.account).await?;
        for ledger in coverage::list(&mut tx, Some(chat)).await? {
            coverage::mark_newest_stale(&mut tx, ledger.id, table::STALE_AFTER_JUMP).await?;
        }
        boxes::forget_pts(&mut tx, chat).await?;
        event::note(&mut tx, chat, event::CHANGED, Some(self.account)).await?;
        tx.commit().await?;
        tracing::warn!(
            account.id = self.account.0,
            chat.id = chat.0,
            error = %failed,
            "the channel is read again from its newest ids"
        );
        self.sequencer.unfollow(channel);
        Ok(())
    }

    /// Once for each account: which chats it knows, and how it addresses them. From then on the database knows.
    async fn list_dialogs(&mut self) -> Result<(), Ended> {
        if table::dialogs_listed(&mut *self.pool().acquire().await?, self.account).await? {
            return Ok(());
        }
        let dialogs = match self.accounts.dialogs(self.account).await {
            Ok(dialogs) => dialogs,
            // Collecting does not depend on it; the next start asks again.
            Err(Error::Telegram(failed)) if failed.wait().is_some() || matches!(failed, telegram::Error::Transient { .. }) => {
                tracing::warn!(account.id = self.account.0, error = %failed, "the dialogs are not listed yet");
                return Ok(self.accounts.learn(self.account, &failed).await?);
            }
            Err(failed) => return Err(failed.into()),
        };
        let mut tx = self.pool().begin().await?;
        self.accounts.fence(&mut tx, self.account).await?;
        record::account::note_peers(&mut tx, self.account, &normalize::peers(&dialogs.chats, &dialogs.users)).await?;
        table::set_dialogs_listed(&mut tx, self.account).await?;
        tx.commit().await?;
        tracing::info!(account.id = self.account.0, dialog.count = dialogs.dialogs.len(), "the dialogs are listed");
        self.follow().await
    }
}
