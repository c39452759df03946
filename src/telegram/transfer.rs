//! Files: read in parts over several connections, checked against Telegram's own hashes, delivered in order.
//!
//! Built on raw calls, because grammers' own iterators take an error for the end of a file, or ask for ever. Parts are of 512 KiB and lie in
//! one block of 1 MiB each (<https://core.telegram.org/api/files#downloading-files>). A part that fails on the way, or that comes
//! damaged, is asked for again, a few times; the parts beside it are kept meanwhile, also while an expired reference is renewed.

pub(super) mod lanes;

mod counts;
mod hashes;
mod location;

pub use counts::Counts;
pub use lanes::Limits;
pub use location::Location;

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use grammers_tl_types as tl;
use grammers_tl_types::{Deserializable, Serializable};
use tokio::sync::{Mutex, mpsc};

use super::client::method_name;
use super::{Cause, Connection, Error};
use hashes::{Hashes, Verdict};

/// One part: half of what Telegram gives at most, because grammers' reader takes no message of 1,044,456 bytes or more (it panics), and a
/// part of 1 MiB is one.
pub const PART: u64 = 1 << 19;
/// Parts do not cross its bounds; one answer has the hashes of one.
const BLOCK: u64 = 1 << 20;
/// upload.getFile.
pub const GET_FILE: &str = "upload.getFile";
/// upload.getFileHashes.
pub const GET_HASHES: &str = "upload.getFileHashes";
/// The methods that a download calls.
pub const METHODS: &[&str] = &[GET_FILE, GET_HASHES];

/// A part that came damaged so often is not asked for again.
const MOST_DAMAGED: u32 = 4;
/// A part that failed on the way so often is an error of the whole.
const MOST_FAILED: u32 = 5;
/// After the first failure on the way; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// References renewed in a row with no part in between.
const MOST_FRUITLESS: u32 = 2;
/// Answers that name another datacentre, or that nobody is signed in, in a row.
const MOST_MOVES: u32 = 3;
/// Parts that wait for the sink beside those that are under way.
const READY: usize = 2;

/// A file, and where to go on.
#[derive(Debug, Clone)]
pub struct File {
    pub location: Location,
    /// As told with the file; another one is followed where Telegram says so.
    pub dc: i32,
    /// In bytes. None: until a part is short.
    pub size: Option<u64>,
    /// The first byte that is wanted: a multiple of 1 KiB.
    pub from: u64,
}

/// Whose download it is: leave to call, and fresh references.
pub trait Owner: Sync {
    type Error: From<Error> + Send;

    /// Asked before each call.
    fn permit(&self, method: &'static str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The file under a reference that is good, once Telegram said that this one is not. It may lie in another datacentre by now.
    fn renew(&self, expired: &Location) -> impl Future<Output = Result<Location, Self::Error>> + Send;

    /// Whether further parts are to be asked for; those under way are delivered in any case.
    fn goes_on(&self) -> bool {
        true
    }
}

/// Takes the bytes, in order and without gaps.
pub trait Sink: Send {
    type Error;

    /// Takes the bytes at this offset.
    fn write(&mut self, offset: u64, bytes: Vec<u8>) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Where a download came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The offset behind the last byte that was delivered.
    pub offset: u64,
    /// Whether that is the file's end.
    pub whole: bool,
}

/// A failure: of Telegram, which may be dealt with here, or of the owner, which may not.
enum Failed<E> {
    Telegram(Error),
    Owner(E),
}

impl<E> From<Error> for Failed<E> {
    fn from(error: Error) -> Self {
        Self::Telegram(error)
    }
}

impl<E: From<Error>> Failed<E> {
    fn into_error(self) -> E {
        match self {
            Self::Telegram(error) => error.into(),
            Self::Owner(error) => error,
        }
    }
}

impl Connection {
    /// Downloads a file from an offset on, until its end or until the owner wants no more.
    ///
    /// What was delivered before an error stays delivered: the next call goes on behind it. Errors: floods that are not short (with
    /// the method upload.getFile), [`Error::FileReferenceExpired`] where fresh references do not help either, [`Error::Damaged`],
    /// and those of the owner and the sink.
    pub async fn download<O: Owner>(
        &self,
        file: &File,
        owner: &O,
        sink: &mut impl Sink<Error = O::Error>,
        counts: &Counts,
    ) -> Result<Reached, O::Error> {
        let parts = Parts::new(self, file, owner, counts);
        let window = self.lanes().limits().parts();
        let (ready, mut waiting) = mpsc::channel(READY);
        let ended = AtomicBool::new(false);
        let wanted = stream::iter(spans(file)).take_while(|_| {
            let goes_on = owner.goes_on() && !ended.load(Ordering::Relaxed);
            std::future::ready(goes_on)
        });
        let fetching = async {
            let mut coming = std::pin::pin!(wanted.map(|(from, to)| parts.fetch(from, to)).buffered(window));
            while let Some(part) = coming.next().await {
                let failed = part.is_err();
                if let Ok(part) = &part
                    && part.last
                {
                    ended.store(true, Ordering::Relaxed);
                }
                // Who takes them has failed.
                if ready.send(part).await.is_err() || failed {
                    break;
                }
            }
            drop(ready);
        };
        let delivering = async {
            let reached = async {
                let mut reached = Reached { offset: file.from, whole: file.size == Some(file.from) };
                while let Some(part) = waiting.recv().await
                    && !reached.whole
                {
                    let Part { from, bytes, last } = part?;
                    let to = from + bytes.len() as u64;
                    if !bytes.is_empty() {
                        sink.write(from, bytes).await?;
                    }
                    parts.hashes.forget(from, to);
                    reached = Reached { offset: to, whole: last };
                }
                Ok(reached)
            }
            .await;
            // Who fetches must not wait for who has ended.
            waiting.close();
            reached
        };
        let ((), reached) = tokio::join!(fetching, delivering);
        reached
    }

    /// How many of the bytes that somebody has from an offset on are as Telegram has them: whole pieces only, up to the first that is
    /// not. 0 where Telegram has no hashes of this file.
    pub async fn prove<O: Owner>(&self, file: &File, owner: &O, bytes: &[u8]) -> Result<u64, O::Error> {
        let counts = Counts::default();
        let parts = Parts::new(self, file, owner, &counts);
        let end = file.from + bytes.len() as u64;
        let mut good = file.from;
        loop {
            let rest = &bytes[(good - file.from) as usize..];
            if rest.is_empty() {
                return Ok(good - file.from);
            }
            parts.learn(good, end).await?;
            // Pieces are judged one by one, so that what comes before a wrong one counts.
            let Some(piece) = parts.hashes.piece(good) else { return Ok(good - file.from) };
            let Some(piece) = usize::try_from(piece).ok().and_then(|length| rest.get(..length)) else {
                return Ok(good - file.from);
            };
            if parts.hashes.judge(good, piece) != Verdict::Right {
                return Ok(good - file.from);
            }
            good += piece.len() as u64;
        }
    }

    /// Calls a function at a datacentre where files lie; brings the account's authorisation there where it is missing.
    async fn invoke_at<R: tl::RemoteCall, O: Owner>(&self, dc: i32, request: R, owner: &O) -> Result<R::Return, Failed<O::Error>> {
        let there = self.lanes().to(dc);
        there.ready().await?;
        // Nothing that Telegram tells on its own comes this way.
        let query = request.to_bytes();
        let method = method_name(&query);
        let body = tl::functions::InvokeWithoutUpdates { query: request }.to_bytes();
        for _ in 0..MOST_MOVES {
            let slot = there.slot().await?;
            let before = *there.signing_in.lock().await;
            let failed = match slot.call(&there, method, &body).await {
                Ok(answer) => {
                    let read = R::Return::from_bytes(&answer);
                    return Ok(read.map_err(|source| Error::Undecodable { method: method.to_owned(), source, bytes: answer })?);
                }
                Err(failed) => failed,
            };
            let Error::AccountLost { .. } = failed else { return Err(failed.into()) };
            if dc == self.lanes().home() {
                return Err(failed.into());
            }
            let mut times = there.signing_in.lock().await;
            // Another part may have brought it here meanwhile.
            if *times == before {
                self.sign_in_at(dc, &there, &slot, owner).await?;
                *times += 1;
            }
        }
        let name = "the authorisation was brought here, and nobody is signed in".to_owned();
        Err(Error::transient(method, Cause::Server { code: 401, name }).into())
    }

    /// <https://core.telegram.org/api/datacenter#authorization-transfer>
    async fn sign_in_at<O: Owner>(
        &self,
        dc: i32,
        there: &std::sync::Arc<lanes::Datacentre>,
        slot: &lanes::Slot<'_>,
        owner: &O,
    ) -> Result<(), Failed<O::Error>> {
        owner.permit("auth.exportAuthorization").await.map_err(Failed::Owner)?;
        let exported = self.invoke(&tl::functions::auth::ExportAuthorization { dc_id: dc }).await?;
        let tl::enums::auth::ExportedAuthorization::Authorization(exported) = exported;
        owner.permit("auth.importAuthorization").await.map_err(Failed::Owner)?;
        let import = tl::functions::auth::ImportAuthorization { id: exported.id, bytes: exported.bytes };
        match slot.call(there, "auth.importAuthorization", &import.to_bytes()).await {
            Ok(_) => {
                tracing::info!(
                    telegram.dc = dc,
                    "the account's authorisation was brought to another datacentre, where its files lie"
                );
                Ok(())
            }
            // Only at home does this say anything of the account.
            Err(Error::AccountLost { name }) => {
                Err(Error::transient("auth.importAuthorization", Cause::Server { code: 401, name }).into())
            }
            Err(failed) => Err(failed.into()),
        }
    }
}

/// The stretches that a file is asked for in: up to the end of each block.
fn spans(file: &File) -> impl Iterator<Item = (u64, u64)> + use<> {
    let (mut at, end) = (file.from, file.size.unwrap_or(u64::MAX));
    std::iter::from_fn(move || {
        let from = at;
        at = (from / PART + 1).saturating_mul(PART);
        (from < end).then_some((from, at))
    })
}

/// One part as it was delivered.
struct Part {
    from: u64,
    bytes: Vec<u8>,
    last: bool,
}

/// The reference in use, and how often it was renewed.
struct Addressed {
    location: Location,
    number: u32,
    /// Parts that had come when it was renewed last, and how often in a row none had come in between.
    parts: u64,
    fruitless: u32,
}

/// The parts of one file.
struct Parts<'a, O: Owner> {
    connection: &'a Connection,
    owner: &'a O,
    counts: &'a Counts,
    size: Option<u64>,
    dc: AtomicI32,
    addressed: Mutex<Addressed>,
    hashes: Hashes,
    /// Telegram has no hashes of this file.
    hashless: AtomicBool,
}

impl<'a, O: Owner> Parts<'a, O> {
    fn new(connection: &'a Connection, file: &File, owner: &'a O, counts: &'a Counts) -> Self {
        let parts = counts.parts.load(Ordering::Relaxed);
        Self {
            connection,
            owner,
            counts,
            size: file.size,
            dc: AtomicI32::new(file.dc),
            addressed: Mutex::new(Addressed { location: file.location.clone(), number: 0, parts, fruitless: 0 }),
            hashes: Hashes::default(),
            hashless: AtomicBool::new(false),
        }
    }

    /// One part, proved as far as Telegram's hashes go.
    async fn fetch(&self, from: u64, to: u64) -> Result<Part, O::Error> {
        let end = self.size.map_or(to, |size| to.min(size));
        let mut damaged = 0;
        loop {
            let bytes = self.bytes(from, to, end).await?;
            let what = self.fault(from, end, &bytes);
            let Some(what) = what else {
                let last = match self.size {
                    Some(size) => end == size,
                    None => (bytes.len() as u64) < to - from,
                };
                return Ok(Part { from, bytes, last });
            };
            damaged += 1;
            self.counts.damaged.fetch_add(1, Ordering::Relaxed);
            if damaged == MOST_DAMAGED {
                return Err(Error::Damaged { offset: from, times: damaged, what }.into());
            }
            tracing::warn!(file.offset = from, what, "a part of a file came damaged; it is asked for again");
            self.counts.refetched.fetch_add(1, Ordering::Relaxed);
            // It may be the hash that was wrong.
            self.hashes.forget(from, to);
        }
    }

    fn fault(&self, from: u64, end: u64, bytes: &[u8]) -> Option<&'static str> {
        if self.size.is_some() && bytes.len() as u64 != end - from {
            return Some("it has another length than the file has there");
        }
        match self.hashes.judge(from, bytes) {
            Verdict::Right => None,
            Verdict::Wrong => Some("Telegram's own hash is another"),
            Verdict::Unknown { .. } => {
                self.counts.unproved.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// The bytes and their hashes, asked for at the same time.
    async fn bytes(&self, from: u64, to: u64, end: u64) -> Result<Vec<u8>, O::Error> {
        let get = |location: &Location| tl::functions::upload::GetFile {
            // Only then may a part begin anywhere.
            precise: !from.is_multiple_of(PART),
            cdn_supported: false,
            location: location.input(),
            offset: i64::try_from(from).unwrap_or(i64::MAX),
            limit: i32::try_from(to - from).unwrap_or(0),
        };
        let fetched = async {
            let answer = self.ask(GET_FILE, get).await.map_err(Failed::into_error)?;
            let tl::enums::upload::File::File(file) = answer else {
                return Err(Error::Unexpected { method: GET_FILE, found: "upload.fileCdnRedirect, which was not offered" }.into());
            };
            self.counts.fetched.fetch_add(file.bytes.len() as u64, Ordering::Relaxed);
            super::meter::FILE_BYTES.increment(file.bytes.len() as u64);
            self.counts.parts.fetch_add(1, Ordering::Relaxed);
            Ok(file.bytes)
        };
        let (bytes, ()) = tokio::try_join!(fetched, self.learn(from, end))?;
        Ok(bytes)
    }

    /// Asks for the hashes of a stretch, unless they are known: first from the beginning of its block, for all parts there.
    async fn learn(&self, from: u64, to: u64) -> Result<(), O::Error> {
        let block = from - from % BLOCK;
        let asking = self.hashes.asking(block);
        let _alone = asking.lock().await;
        let mut asked = false;
        while let Some(gap) = self.hashes.gap(from, to).filter(|_| !self.hashless.load(Ordering::Relaxed)) {
            let offset = if asked { gap } else { block };
            let get = |location: &Location| tl::functions::upload::GetFileHashes {
                location: location.input(),
                offset: i64::try_from(offset).unwrap_or(i64::MAX),
            };
            match self.ask(GET_HASHES, get).await {
                Ok(told) => {
                    self.hashes.learn(told);
                    // Of an end that was not told, or of nothing.
                    if offset == gap && self.hashes.gap(from, to) == Some(gap) {
                        return Ok(());
                    }
                    asked = true;
                }
                // The part itself will say more where it is the file that is not there.
                Err(Failed::Telegram(failed @ (Error::NoFile { .. } | Error::UnknownRpc { .. }))) => {
                    tracing::debug!("Telegram has no hashes of a file: {failed}");
                    self.hashless.store(true, Ordering::Relaxed);
                }
                Err(failed) => return Err(failed.into_error()),
            }
        }
        Ok(())
    }

    /// One call, through expired references, moves, and failures on the way.
    async fn ask<R: tl::RemoteCall>(
        &self,
        method: &'static str,
        request: impl Fn(&Location) -> R,
    ) -> Result<R::Return, Failed<O::Error>> {
        let (mut failures, mut moves, mut pause) = (0, 0, FIRST_PAUSE);
        loop {
            let (location, number) = {
                let addressed = self.addressed.lock().await;
                (addressed.location.clone(), addressed.number)
            };
            self.owner.permit(method).await.map_err(Failed::Owner)?;
            let dc = self.dc.load(Ordering::Relaxed);
            match self.connection.invoke_at(dc, request(&location), self.owner).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Telegram(Error::FileReferenceExpired { method })) => self.renew(number, method).await?,
                Err(Failed::Telegram(Error::Migrate { dc, .. })) if moves < MOST_MOVES => {
                    moves += 1;
                    self.dc.store(dc, Ordering::Relaxed);
                }
                Err(Failed::Telegram(failed)) if may_pass(&failed) && failures < MOST_FAILED => {
                    failures += 1;
                    self.counts.refetched.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    /// A fresh reference, unless another part has got one since.
    async fn renew(&self, expired: u32, method: String) -> Result<(), Failed<O::Error>> {
        let mut addressed = self.addressed.lock().await;
        if addressed.number != expired {
            return Ok(());
        }
        let parts = self.counts.parts.load(Ordering::Relaxed);
        addressed.fruitless = if parts == addressed.parts && addressed.number > 0 { addressed.fruitless + 1 } else { 0 };
        addressed.parts = parts;
        // Every part that waits ends, not the first one alone.
        if addressed.fruitless >= MOST_FRUITLESS {
            return Err(Error::FileReferenceExpired { method }.into());
        }
        addressed.location = self.owner.renew(&addressed.location).await.map_err(Failed::Owner)?;
        addressed.number += 1;
        self.counts.renewed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether the next try, on another connection, may go better.
fn may_pass(error: &Error) -> bool {
    let Error::Transient { source, .. } = error else { return false };
    match source {
        Cause::Timeout(_) | Cause::Server { .. } | Cause::Connection(_) => true,
        Cause::NoRoute(_) | Cause::NoProxy(_) | Cause::Closed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(from: u64, size: Option<u64>) -> File {
        let location = Location::Document { id: 1, access_hash: 2, file_reference: vec![] };
        File { location, dc: 2, size, from }
    }

    #[test]
    fn spans_end_with_their_blocks_and_the_file() {
        let all = |from, size| spans(&file(from, size)).take(3).collect::<Vec<_>>();
        assert_eq!(all(0, Some(0)), []);
        assert_eq!(all(0, Some(1)), [(0, PART)]);
        assert_eq!(all(0, Some(PART)), [(0, PART)]);
        assert_eq!(all(131_072, Some(2 * PART)), [(131_072, PART), (PART, 2 * PART)]);
        assert_eq!(all(PART, None), [(PART, 2 * PART), (2 * PART, 3 * PART), (3 * PART, 4 * PART)]);
    }
}
