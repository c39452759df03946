//! Connections beside an account's first one, to the datacentres where its files lie: a few to each, opened when needed and closed when
//! idle. They pass the same relay, so that the same gate shuts them.
//!
//! Each lane is a pool of grammers' of its own, because a pool has one connection to a datacentre. A datacentre that is not the home
//! makes a key with the first lane; the account's authorisation is exported to that key once, when Telegram says that nobody is signed in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use grammers_mtsender::{InvocationError, SenderPool, SenderPoolFatHandle};
use grammers_tl_types as tl;
use grammers_tl_types::Serializable;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clock;
use crate::record::lease::DISCONNECT_DELAY;
use crate::telegram::client::{TelegramConfig, as_refused, new_pool};
use crate::telegram::session::LiveSession;
use crate::telegram::wire::Wire;
use crate::telegram::{Cause, Error, Result, flood};

/// A lane without work closes after so long.
const IDLE: Duration = Duration::from_secs(20);

/// How much of Telegram's files one account fetches at a time from one datacentre.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections to each datacentre.
    pub connections: usize,
    /// Parts that are asked for on each of them before the first is there.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 2, in_flight: 4 }
    }
}

impl Limits {
    /// Parts that are asked for at once.
    pub fn parts(&self) -> usize {
        self.connections.max(1) * self.in_flight.max(1)
    }
}

/// One account's lanes.
pub struct Lanes {
    shared: Arc<Shared>,
    datacentres: Mutex<HashMap<i32, Arc<Datacentre>>>,
}

struct Shared {
    config: TelegramConfig,
    session: Arc<LiveSession>,
    wire: Arc<Wire>,
    closed: CancellationToken,
    rests: Arc<flood::Rests>,
}

/// The lanes to one datacentre.
pub struct Datacentre {
    pub dc: i32,
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    slots: Semaphore,
    /// How often the account's authorisation was brought here; held while it is.
    pub signing_in: tokio::sync::Mutex<u64>,
    /// Held while a first key is made.
    making_key: tokio::sync::Mutex<()>,
    watched: AtomicBool,
}

struct Lane {
    pool: Mutex<Option<Pool>>,
    started: AtomicU64,
    busy: AtomicUsize,
    /// When something last came on it, or was first asked.
    alive: Mutex<Instant>,
}

struct Pool {
    handle: SenderPoolFatHandle,
    number: u64,
    _runner: AbortOnDropHandle<()>,
}

/// A place on a lane; given back when dropped.
pub struct Slot<'a> {
    datacentre: &'a Datacentre,
    lane: &'a Lane,
    _place: SemaphorePermit<'a>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.lane.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lanes {
    pub fn new(
        config: TelegramConfig,
        session: Arc<LiveSession>,
        wire: Arc<Wire>,
        closed: CancellationToken,
        rests: Arc<flood::Rests>,
    ) -> Self {
        Self { shared: Arc::new(Shared { config, session, wire, closed, rests }), datacentres: Mutex::default() }
    }

    /// The lanes to a datacentre; none is open yet.
    pub fn to(&self, dc: i32) -> Arc<Datacentre> {
        let mut datacentres = lock(&self.datacentres);
        let there = datacentres.entry(dc).or_insert_with(|| Arc::new(Datacentre::new(dc, Arc::clone(&self.shared))));
        Arc::clone(there)
    }

    pub fn home(&self) -> i32 {
        self.shared.session.home_dc()
    }

    pub fn limits(&self) -> Limits {
        self.shared.config.lanes
    }

    /// Ends all of them; calls under way fail as closed.
    pub fn close(&self) {
        for there in lock(&self.datacentres).values() {
            there.lanes.iter().for_each(Lane::close);
        }
    }
}

impl Lane {
    fn close(&self) {
        if let Some(pool) = lock(&self.pool).take() {
            pool.handle.quit();
        }
    }

    /// Ends the pool of this number, if it is still the current one.
    fn discard(&self, number: u64, reason: &str) {
        let mut pool = lock(&self.pool);
        if pool.as_ref().is_some_and(|pool| pool.number == number) {
            tracing::debug!(reason, "ending a connection for files; the next part opens another");
            *pool = None;
        }
    }

    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0 && lock(&self.alive).elapsed() > IDLE
    }
}

impl Datacentre {
    fn new(dc: i32, shared: Arc<Shared>) -> Self {
        let limits = shared.config.lanes;
        let lane = |_| Lane {
            pool: Mutex::default(),
            started: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            alive: Mutex::new(clock::mark()),
        };
        Self {
            dc,
            shared,
            lanes: (0..limits.connections.max(1)).map(lane).collect(),
            slots: Semaphore::new(limits.parts()),
            signing_in: tokio::sync::Mutex::default(),
            making_key: tokio::sync::Mutex::default(),
            watched: AtomicBool::new(false),
        }
    }

    /// A place on the lane that has least to do. Waits while all of them have as much as they may.
    pub async fn slot(&self) -> Result<Slot<'_>> {
        let closed = || Error::transient("connect", Cause::Closed);
        let place = tokio::select! {
            () = self.shared.closed.cancelled() => return Err(closed()),
            place = self.slots.acquire() => place.map_err(|_| closed())?,
        };
        let lane = self.lanes.iter().min_by_key(|lane| lane.busy.load(Ordering::Relaxed)).ok_or_else(closed)?;
        lane.busy.fetch_add(1, Ordering::Relaxed);
        Ok(Slot { datacentre: self, lane, _place: place })
    }

    /// Lets one lane alone make the key of a datacentre that this session was never at.
    pub async fn ready(self: &Arc<Self>) -> Result<()> {
        let known = || self.shared.session.has_key(self.dc);
        if known() {
            return Ok(());
        }
        let _alone = self.making_key.lock().await;
        if known() {
            return Ok(());
        }
        let slot = self.slot().await?;
        slot.call(self, "help.getNearestDc", &tl::functions::help::GetNearestDc {}.to_bytes()).await.map(drop)
    }

    /// Closes what is idle, until nothing is open any more.
    fn watch(self: &Arc<Self>) {
        if self.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let weak: Weak<Self> = Arc::downgrade(self);
        let closed = self.shared.closed.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = closed.cancelled() => return,
                    () = tokio::time::sleep(IDLE / 2) => {}
                }
                let Some(there) = weak.upgrade() else { return };
                there.lanes.iter().filter(|lane| lane.is_idle()).for_each(Lane::close);
                if there.lanes.iter().all(|lane| lock(&lane.pool).is_none()) {
                    there.watched.store(false, Ordering::Release);
                    return;
                }
            }
        });
    }
}

impl Slot<'_> {
    /// Makes a call on this lane, sleeping through short floods.
    pub async fn call(&self, there: &Arc<Datacentre>, method: &str, body: &[u8]) -> Result<Vec<u8>> {
        flood::sleep_short(&self.datacentre.shared.rests, method, || self.attempt(there, method, body)).await
    }

    async fn attempt(&self, there: &Arc<Datacentre>, method: &str, body: &[u8]) -> Result<Vec<u8>> {
        let shared = &self.datacentre.shared;
        let dc = self.datacentre.dc;
        if shared.closed.is_cancelled() {
            return Err(Error::transient(method, Cause::Closed));
        }
        if shared.session.home_key_replaced() {
            return Err(Error::KeyRefused);
        }
        let (handle, number, fresh) = self.pool();
        there.watch();
        let asked = clock::mark();
        let answer = tokio::select! {
            () = shared.closed.cancelled() => return Err(Error::transient(method, Cause::Closed)),
            answer = self.within_time(asked, handle.raw_invoke_in_dc(dc, body.to_vec())) => answer,
        };
        let failed = match answer {
            Some(Ok(bytes)) => {
                *lock(&self.lane.alive) = clock::mark();
                if fresh {
                    self.ping(handle);
                }
                return Ok(bytes);
            }
            Some(Err(failed)) => failed,
            None => {
                self.lane.discard(number, "nothing came in time");
                return Err(Error::transient(method, Cause::Timeout(shared.config.request_timeout)));
            }
        };
        if !matches!(failed, InvocationError::Rpc(_)) {
            // A connection that failed once is begun anew with all that belongs to it.
            self.lane.discard(number, "a call failed on the way");
        } else {
            *lock(&self.lane.alive) = clock::mark();
        }
        let home = dc == shared.session.home_dc();
        let error = Error::from_invocation(method, failed, home && shared.session.has_home_key());
        let error = match error {
            // Abroad a key may be lost without harm: the next connection makes another.
            Error::KeyRefused if !home => {
                Error::transient(method, Cause::Server { code: -404, name: "the datacentre does not know this key".into() })
            }
            Error::KeyRefused => {
                shared.session.refuse();
                Error::KeyRefused
            }
            error => error,
        };
        Err(as_refused(error, &shared.wire))
    }

    /// None where neither this answer nor another one came on this lane for as long as a call may take: a slow lane is no stuck one.
    async fn within_time<T>(&self, asked: Instant, call: impl Future<Output = T>) -> Option<T> {
        let limit = self.datacentre.shared.config.request_timeout;
        let mut call = std::pin::pin!(call);
        let mut left = limit;
        loop {
            if let Ok(answer) = tokio::time::timeout(left, &mut call).await {
                return Some(answer);
            }
            let silent = lock(&self.lane.alive).elapsed().min(asked.elapsed());
            left = limit.checked_sub(silent)?;
            if left.is_zero() {
                return None;
            }
        }
    }

    /// The lane's pool and its number; whether it was just begun.
    fn pool(&self) -> (SenderPoolFatHandle, u64, bool) {
        let mut pool = lock(&self.lane.pool);
        if let Some(pool) = pool.as_ref().filter(|pool| !pool._runner.is_finished()) {
            return (pool.handle.clone(), pool.number, false);
        }
        let shared = &self.datacentre.shared;
        // What Telegram tells on its own is the first connection's to hear.
        let SenderPool { runner, handle, updates: _ } = new_pool(&shared.config, &shared.session, &shared.wire);
        let number = self.lane.started.fetch_add(1, Ordering::Relaxed) + 1;
        let runner = AbortOnDropHandle::new(tokio::spawn(runner.run()));
        *pool = Some(Pool { handle: handle.clone(), number, _runner: runner });
        (handle, number, true)
    }

    /// Lets Telegram close the connection some time after this process falls silent.
    fn ping(&self, handle: SenderPoolFatHandle) {
        let (dc, limit) = (self.datacentre.dc, self.datacentre.shared.config.request_timeout);
        let ping = tl::functions::PingDelayDisconnect {
            ping_id: i64::try_from(self.lane.started.load(Ordering::Relaxed)).unwrap_or(0),
            disconnect_delay: DISCONNECT_DELAY.as_secs() as i32,
        };
        tokio::spawn(async move {
            // Where it fails the connection is gone.
            let _ = tokio::time::timeout(limit, handle.raw_invoke_in_dc(dc, ping.to_bytes())).await;
        });
    }
}
