//! A file from Telegram into the store, whoever asked for it: what file_download and avatar_download share.
//!
//! May be killed at any moment: what is on disk is known by the record's position, what lies beyond it is proved before it counts, and
//! a file that was whole is not fetched again.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use telekeep_queue as queue;
use tokio::sync::Mutex;

use super::{JobContext, Progress};
use crate::{
    clock,
    error::{Action, JobError},
    media::{Content, Staged, Store, StoreError, Syncing, staging},
    normalize,
    record::{
        self, AccountId, Observation, Via, boxes,
        coverage::{self, Window},
        file::{
            self,
            progress::{self, Begun, Cost},
        },
        ledger::{self, PageRequest},
        media::{self, MediaId, Reference, Space},
    },
    telegram::{
        self, Connection,
        transfer::{self, Counts, File, Location, Owner, Sink},
    },
};

/// The position begins to be made durable after so many bytes, or so long; twice as much is lost at the most.
const COMMIT_BYTES: u64 = 32 << 20;
const COMMIT_EVERY: Duration = Duration::from_secs(2);
/// What lies beyond the position is proved in stretches of so many bytes.
const PROVED_AT_ONCE: usize = 4 << 20;
/// Messages that are read in turn for a fresh reference.
const MOST_SOURCES: i64 = 5;

/// By whom and how a file is addressed.
pub struct Addressed {
    pub account: AccountId,
    pub connection: Connection,
    pub location: Location,
    pub dc: i32,
}

/// Fetches a file, or goes on with it, for as long as the slice lasts. A failure that waits for the operator holds the file too.
pub async fn fetch(cx: &JobContext, file: MediaId, from: Addressed) -> Result<Progress, JobError> {
    let counts = Counts::default();
    let work = Work { cx, file, from: &from, counts: &counts, noted: Mutex::default(), dc: AtomicI32::new(from.dc) };
    let done = work.run().await;
    let Err(error) = done else { return done };
    match error.action() {
        Action::Hold { .. } => {
            let reason = error.chain();
            work.fenced(async |tx, cost| Ok(progress::hold(tx, file, &reason, &cost).await?)).await?;
        }
        Action::Leave => {}
        // What is there of a file that nobody wants is of no use.
        Action::Discard => staging::discard(cx.settings.files.store()?.staging(), file.0).await?,
        _ => work.fenced(async |tx, cost| Ok(progress::spent(tx, file, &cost).await?)).await?,
    }
    Err(error)
}

struct Work<'a> {
    cx: &'a JobContext,
    file: MediaId,
    from: &'a Addressed,
    counts: &'a Counts,
    /// What the record knows of the costs.
    noted: Mutex<Cost>,
    dc: AtomicI32,
}

impl Work<'_> {
    async fn run(&self) -> Result<Progress, JobError> {
        let store = self.cx.settings.files.store()?;
        let node = self.cx.settings.files.node();
        let begun = self.fenced(async |tx, _| Ok(progress::begin(tx, self.file, node).await?)).await?;
        let Some(begun) = begun else {
            staging::discard(store.staging(), self.file.0).await?;
            return Ok(Progress::Finished);
        };
        if let Some(content) = begun.whole
            && store.has(&content).await?
        {
            return self.stored(&content).await;
        }
        self.has_room(&begun).await?;
        let mut staged = Staged::open(store.staging(), self.file.0, begun.position).await?;
        self.prove_tail(&begun, &mut staged).await?;
        let file = File {
            location: self.from.location.clone(),
            dc: self.dc.load(Ordering::Relaxed),
            size: begun.size,
            from: staged.position(),
        };
        let mut sink =
            Committing { work: self, staged: &mut staged, size: begun.size, unsynced: 0, began: clock::mark(), syncing: None };
        let reached = self.from.connection.download(&file, self, &mut sink, self.counts).await;
        // What came before an error is kept as well.
        let kept = sink.commit().await;
        let reached = reached?;
        kept?;
        if !reached.whole {
            return Ok(Progress::MoreToDo);
        }
        self.keep(store, staged).await
    }

    /// Gives a whole file to the store. From here on a kill costs nothing any more.
    async fn keep(&self, store: &Store, staged: Staged) -> Result<Progress, JobError> {
        let content = staged.content();
        self.fenced(async |tx, _| Ok(progress::whole(tx, self.file, &content).await?)).await?;
        store.keep(staged, &content).await?;
        self.stored(&content).await
    }

    async fn stored(&self, content: &Content) -> Result<Progress, JobError> {
        self.fenced(async |tx, cost| {
            progress::stored(tx, self.file, content, &cost).await?;
            let size = i64::try_from(content.size).unwrap_or(i64::MAX);
            queue::progress(tx, self.cx.job.token, size, Some(size), None).await?;
            Ok(())
        })
        .await?;
        Ok(Progress::Finished)
    }

    async fn has_room(&self, begun: &Begun) -> Result<(), JobError> {
        let Some(allowed) = self.cx.settings.files.quota() else { return Ok(()) };
        let used = progress::used(&mut *self.cx.pool.acquire().await?, self.cx.settings.files.node()).await?;
        let used = used + begun.size.unwrap_or(0).saturating_sub(begun.position);
        if used > allowed { Err(StoreError::Quota { used, allowed }.into()) } else { Ok(()) }
    }

    /// What a kill left beyond the position counts as far as Telegram's hashes prove it.
    async fn prove_tail(&self, begun: &Begun, staged: &mut Staged) -> Result<(), JobError> {
        loop {
            let mut tail = staged.beyond(PROVED_AT_ONCE).await?;
            if tail.is_empty() {
                break;
            }
            let file = File { location: self.from.location.clone(), dc: self.from.dc, size: begun.size, from: staged.position() };
            let good = self.from.connection.prove(&file, self, &tail).await?;
            let all = good == tail.len() as u64;
            tail.truncate(usize::try_from(good).unwrap_or(0));
            staged.accept(tail).await?;
            if !all {
                break;
            }
        }
        Ok(staged.cut().await?)
    }

    /// A transaction of this job and its account; it is told what came since the last one.
    async fn fenced<T>(&self, work: impl AsyncFnOnce(&mut sqlx::PgConnection, Cost) -> Result<T, JobError>) -> Result<T, JobError> {
        let mut noted = self.noted.lock().await;
        let now = Cost {
            fetched: self.counts.fetched(),
            refetched: self.counts.refetched(),
            damaged: self.counts.damaged(),
            renewed: self.counts.renewed(),
        };
        let mut tx = self.cx.pool.begin().await?;
        queue::fence(&mut tx, self.cx.job.token).await?;
        self.cx.accounts.fence(&mut tx, self.from.account).await?;
        let done = work(&mut tx, now.since(&noted)).await?;
        tx.commit().await?;
        *noted = now;
        Ok(done)
    }
}

impl Owner for Work<'_> {
    type Error = JobError;

    async fn permit(&self, method: &'static str) -> Result<(), JobError> {
        Ok(self.cx.accounts.permit(self.from.account, method).await?)
    }

    async fn renew(&self, expired: &Location) -> Result<Location, JobError> {
        let fresh = read_again(self.cx, self.file, self.from.account).await?;
        let Some(fresh) = fresh.filter(|_| !matches!(expired, Location::Portrait { .. })) else {
            return Err(no_source().into());
        };
        self.dc.store(fresh.dc, Ordering::Relaxed);
        Ok(expired.with_reference(fresh.access_hash, fresh.file_reference))
    }

    fn goes_on(&self) -> bool {
        !self.cx.job.slice_is_over()
    }
}

/// The answer that this account sees no message any more that carries the file.
pub fn no_source() -> telegram::Error {
    telegram::Error::Inaccessible { method: transfer::GET_FILE.into(), name: "no message that carries the file".into() }
}

/// Where an account finds a file that it was told of; none for a photo without sizes.
pub fn located(reference: &Reference) -> Option<Location> {
    let Reference { file_id: id, access_hash, file_reference, .. } = reference.clone();
    match reference.space {
        Space::Photo if reference.thumb_size.is_empty() => None,
        Space::Photo => Some(Location::Photo { id, access_hash, file_reference, size: reference.thumb_size.clone() }),
        Space::Document => Some(Location::Document { id, access_hash, file_reference }),
    }
}

/// Reads a message that carries the file again, the newest first that this account sees, so that it is told a fresh reference; none:
/// no such message is there any more.
pub async fn read_again(cx: &JobContext, file: MediaId, account: AccountId) -> Result<Option<Reference>, JobError> {
    let sources = file::sources_for(&mut *cx.pool.acquire().await?, file, account, MOST_SOURCES).await?;
    for (chat, message) in sources {
        let Ok(id) = i32::try_from(message) else { continue };
        let reader = cx.accounts.reader_for(chat, Some(account)).await?;
        if reader.account != account {
            continue;
        }
        let reading = cx.reading(chat, reader, &[]).await?;
        let (coverage, held) = cx.ledger(chat, account).await?;
        let mut conn = cx.pool.acquire().await?;
        let known = coverage::get(&mut conn, coverage).await?;
        let pts = boxes::pts(&mut conn, held).await?;
        drop(conn);
        let request = PageRequest::new(&known, 0, Window { from: 1, to: known.top });
        cx.accounts.permit(account, reading.chat.by_id_method()).await?;
        let page = match reading.connection.messages_by_id(&reading.chat, &[id]).await {
            Ok(page) => normalize::page(&page),
            Err(telegram::Error::Inaccessible { name, .. }) => {
                tracing::info!(chat.id = chat.0, account.id = account.0, reason = name, "a message with a wanted file is not read");
                continue;
            }
            Err(failed) => return Err(failed.into()),
        };
        cx.accounts.note_peers(account, &page.peers()).await?;
        let seen = Observation { account, via: Via::History, job: Some(cx.job.id), pts: page.pts.or(pts) };
        let mut tx = cx.pool.begin().await?;
        queue::fence(&mut tx, cx.job.token).await?;
        cx.accounts.fence(&mut tx, account).await?;
        ledger::commit_by_id(&mut tx, &request, &[message], &page.messages, &seen).await?;
        record::commit_people(&mut tx, &page.chats, &page.users, &seen).await?;
        let fresh = media::reference_of(&mut tx, file, account).await?;
        tx.commit().await?;
        let carries = |it: &Reference| {
            page.messages.iter().flat_map(|message| &message.media).any(|told| (told.space, told.file_id) == (it.space, it.file_id))
        };
        // It may be the one that was there: that it does not help shows when it is used.
        if let Some(fresh) = fresh.filter(carries) {
            return Ok(Some(fresh));
        }
    }
    Ok(None)
}

/// Writes to staging, and lets the record know from time to time: bytes go to the disk while the next ones come.
struct Committing<'a> {
    work: &'a Work<'a>,
    staged: &'a mut Staged,
    size: Option<u64>,
    /// Bytes that came since the last sync began.
    unsynced: u64,
    began: Instant,
    syncing: Option<Syncing>,
}

impl Committing<'_> {
    /// Everything so far is on disk, and the record knows.
    async fn commit(&mut self) -> Result<(), JobError> {
        self.settle().await?;
        self.sync()?;
        self.settle().await
    }

    /// Begins to bring what came to the disk.
    fn sync(&mut self) -> Result<(), JobError> {
        if self.unsynced > 0 {
            self.syncing = Some(self.staged.sync()?);
            (self.unsynced, self.began) = (0, clock::mark());
        }
        Ok(())
    }

    /// Waits for what is on its way to the disk, and lets the record know.
    async fn settle(&mut self) -> Result<(), JobError> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        let position = syncing.ends().await?;
        let (size, work) = (self.size, self.work);
        let wanted = work
            .fenced(async |tx, cost| {
                let whole = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
                let wanted = progress::advance(tx, work.file, position, &cost).await?;
                queue::progress(tx, work.cx.job.token, whole(position), size.map(whole), Some("bytes")).await?;
                Ok(wanted)
            })
            .await?;
        if wanted { Ok(()) } else { Err(JobError::Unwanted) }
    }
}

impl Sink for Committing<'_> {
    type Error = JobError;

    async fn write(&mut self, _offset: u64, bytes: Vec<u8>) -> Result<(), JobError> {
        self.unsynced += bytes.len() as u64;
        self.staged.write(bytes).await?;
        let due = self.unsynced >= COMMIT_BYTES || self.began.elapsed() >= COMMIT_EVERY;
        if due || self.syncing.as_ref().is_some_and(Syncing::is_over) {
            self.settle().await?;
        }
        if due {
            self.sync()?;
        }
        Ok(())
    }
}
