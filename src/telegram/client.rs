//! One account's connection, supervised: every call has a time limit, and a pool that is stuck or gone is replaced.
//!
//! grammers itself never gives up on a datacentre that accepts and does not answer, and a panic in its sender ends its runner
//! for good; both end here as an error that may pass, with a fresh pool for the next call. Calls are never repeated here,
//! except through the few seconds that `flood` sleeps.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grammers_mtsender::{ConnectionParams, InvocationError, NoRetries, SenderPool, SenderPoolFatHandle};
use grammers_tl_types as tl;
use grammers_tl_types::{Deserializable, Serializable};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::hearing::{Ears, Hearing};
use super::session::{LiveSession, Phone, Relayed, SessionData};
use super::transfer::lanes::{Lanes, Limits};
use super::wire::{Gate, Refused, Ungated, Wire};
use super::{Cause, Error, Result, flood};
use crate::record::lease::DISCONNECT_DELAY;

/// How long one call may take, unless configured otherwise. Telegram answers history within a second or two.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// grammers drops what does not fit between its connection and `hearing`, which takes it at once.
const PASSED_ON: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// What stays the same for an account's life: how it presents itself to Telegram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    pub model: String,
    pub system_version: String,
    pub app_version: String,
    pub language: String,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            model: "Telekeep".into(),
            system_version: "Linux".into(),
            app_version: env!("CARGO_PKG_VERSION").into(),
            language: "en".into(),
        }
    }
}

/// The application's identity at Telegram, and limits of our own.
#[derive(Clone)]
pub struct TelegramConfig {
    pub api_id: i32,
    pub api_hash: String,
    pub device: Device,
    pub request_timeout: Duration,
    /// How many times faster than Telegram's own pace calls are spread; see [`super::budget::pace`].
    pub pace: Option<f64>,
    /// Connections for files beside the one for everything else.
    pub lanes: Limits,
}

impl TelegramConfig {
    pub fn new(api_id: i32, api_hash: impl Into<String>) -> Self {
        Self {
            api_id,
            api_hash: api_hash.into(),
            device: Device::default(),
            request_timeout: REQUEST_TIMEOUT,
            pace: None,
            lanes: Limits::default(),
        }
    }
}

impl fmt::Debug for TelegramConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelegramConfig")
            .field("api_id", &self.api_id)
            .field("api_hash", &"hidden")
            .field("device", &self.device)
            .field("request_timeout", &self.request_timeout)
            .field("pace", &self.pace)
            .field("lanes", &self.lanes)
            .finish()
    }
}

/// A running pool of grammers: at most one at a time for a connection.
struct Pool {
    handle: SenderPoolFatHandle,
    runner: JoinHandle<()>,
    number: u64,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

#[derive(Default)]
struct Pools {
    current: Option<Pool>,
    /// How many were started; names the current one, so that a late failure of an old one does not end its successor.
    started: u64,
}

struct Inner {
    config: TelegramConfig,
    session: Arc<LiveSession>,
    wire: Arc<Wire>,
    /// The relay's connections that were pinged already.
    pinged: AtomicU64,
    pools: Mutex<Pools>,
    closed: CancellationToken,
    /// What Telegram tells on its own.
    ears: Arc<Ears>,
    /// Short waits that all calls sleep through.
    rests: Arc<flood::Rests>,
    /// Further connections, for files.
    lanes: Lanes,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.wire.end();
    }
}

/// An account's connection to Telegram. Cloning shares it; the last clone to go ends it.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("session", &self.0.session.data()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Prepares a connection straight to Telegram, of an account that nobody else can have; the socket opens with the first call.
    pub fn open(config: &TelegramConfig, session: SessionData) -> Self {
        Self::through(config, session, Arc::new(Ungated::default()))
    }

    /// Prepares a connection through a gate, which says of each byte whether it may leave.
    pub fn through(config: &TelegramConfig, session: SessionData, gate: Arc<dyn Gate>) -> Self {
        let (session, wire) = (Arc::new(LiveSession::new(session)), Wire::new(gate));
        let (closed, rests) = (CancellationToken::new(), Arc::<flood::Rests>::default());
        let lanes = Lanes::new(config.clone(), Arc::clone(&session), Arc::clone(&wire), closed.clone(), Arc::clone(&rests));
        Self(Arc::new(Inner {
            config: config.clone(),
            session,
            wire,
            pinged: AtomicU64::new(0),
            pools: Mutex::default(),
            closed,
            ears: Arc::default(),
            rests,
            lanes,
        }))
    }

    /// Calls a function of Telegram at the home datacentre.
    ///
    /// Dropping the future abandons the call without harm to others. Errors: see [`Error`]; waits up to
    /// [`flood::LONGEST_SLEEP`] are slept.
    pub async fn invoke<R: tl::RemoteCall>(&self, request: &R) -> Result<R::Return> {
        let body = request.to_bytes();
        let method = method_name(&body);
        let answer = flood::sleep_short(&self.0.rests, method, || self.attempt(method, &body)).await?;
        R::Return::from_bytes(&answer).map_err(|source| Error::Undecodable { method: method.to_owned(), source, bytes: answer })
    }

    async fn attempt(&self, method: &str, body: &[u8]) -> Result<Vec<u8>> {
        let inner = &*self.0;
        if inner.session.home_key_replaced() {
            return Err(Error::KeyRefused);
        }
        let had_key = inner.session.has_home_key();
        let (handle, number) = self.pool()?;
        let call = handle.raw_invoke_in_dc(inner.session.home_dc(), body.to_vec());
        let limit = inner.config.request_timeout;
        let answer = tokio::select! {
            () = inner.closed.cancelled() => return Err(Error::transient(method, Cause::Closed)),
            answer = tokio::time::timeout(limit, call) => answer,
        };
        let failed = match answer {
            Ok(Ok(bytes)) => {
                self.ping(handle);
                return Ok(bytes);
            }
            Ok(Err(failed)) => failed,
            Err(_) => {
                // One datacentre that never answers blocks the whole pool.
                self.discard(number, "a call got no answer in time");
                return Err(Error::transient(method, Cause::Timeout(limit)));
            }
        };
        if matches!(failed, InvocationError::Dropped(_)) {
            self.discard(number, "a call was dropped");
        }
        let error = Error::from_invocation(method, failed, had_key);
        if matches!(error, Error::KeyRefused) {
            inner.session.refuse();
            self.discard(number, "the home key was refused");
        }
        Err(as_refused(error, &inner.wire))
    }

    /// Lets Telegram close a connection that has just opened some time after this process falls silent. grammers would wait for a minute
    /// with that.
    fn ping(&self, handle: SenderPoolFatHandle) {
        let inner = &*self.0;
        let opened = inner.wire.opened();
        if inner.pinged.swap(opened, Ordering::Relaxed) == opened {
            return;
        }
        let (dc, limit) = (inner.session.home_dc(), inner.config.request_timeout);
        let ping = tl::functions::PingDelayDisconnect {
            ping_id: i64::try_from(opened).unwrap_or(0),
            disconnect_delay: DISCONNECT_DELAY.as_secs() as i32,
        };
        tokio::spawn(async move {
            // Where it fails the connection is gone.
            let _ = tokio::time::timeout(limit, handle.raw_invoke_in_dc(dc, ping.to_bytes())).await;
        });
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running pool, started or replaced when there is none.
    fn pool(&self) -> Result<(SenderPoolFatHandle, u64)> {
        let inner = &*self.0;
        let mut pools = self.pools();
        if inner.closed.is_cancelled() {
            return Err(Error::transient("connect", Cause::Closed));
        }
        match &pools.current {
            Some(pool) if !pool.runner.is_finished() => {
                return Ok((pool.handle.clone(), pool.number));
            }
            Some(_) => tracing::warn!("the connection's runner had ended; starting another"),
            None => {}
        }
        let SenderPool { runner, handle, updates } = new_pool(&inner.config, &inner.session, &inner.wire);
        tokio::spawn(Arc::clone(&inner.ears).pass_on(updates));
        pools.started += 1;
        let number = pools.started;
        pools.current = Some(Pool { handle: handle.clone(), runner: tokio::spawn(runner.run()), number });
        Ok((handle, number))
    }

    /// Ends the pool of this number, if it is still the current one.
    fn discard(&self, number: u64, reason: &str) {
        let mut pools = self.pools();
        if pools.current.as_ref().is_some_and(|pool| pool.number == number) {
            tracing::warn!(reason, "ending the connection; the next call opens another");
            pools.current = None;
        }
    }

    /// Makes another datacentre the home of this session, as a login asks for.
    pub(super) fn move_home(&self, dc: i32) {
        self.0.session.set_home_dc(dc);
    }

    pub(crate) fn signed_in_as(&self, user_id: i64, phone: Option<Phone>) {
        self.0.session.set_user(user_id, phone);
    }

    /// Completes when somebody has scanned the QR code of a login.
    pub async fn scanned(&self) {
        self.0.ears.scanned().await;
    }

    /// Listens to what Telegram tells on its own, in place of who listened before. The connection opens with the first call.
    pub fn listen(&self) -> Hearing {
        self.0.ears.listen()
    }

    /// The connections for files.
    pub(super) fn lanes(&self) -> &Lanes {
        &self.0.lanes
    }

    pub(super) fn config(&self) -> &TelegramConfig {
        &self.0.config
    }

    /// How the account presents itself to Telegram.
    pub fn device(&self) -> Device {
        self.0.config.device.clone()
    }

    /// The session as it is now.
    pub fn session(&self) -> SessionData {
        self.0.session.data()
    }

    /// Waits until the session has changed, and gives what is to be saved.
    pub async fn session_changed(&self) -> SessionData {
        self.0.session.changed().await
    }

    /// Ends the connection: calls under way and later ones fail as closed. When it returns, no socket to Telegram is open any more.
    pub async fn close(&self) {
        self.0.closed.cancel();
        let pool = self.pools().current.take();
        if let Some(mut pool) = pool {
            pool.handle.quit();
            // If it is stuck, it is ended when `pool` goes.
            let _ = tokio::time::timeout(Duration::from_secs(2), &mut pool.runner).await;
        }
        self.0.lanes.close();
        self.0.wire.close().await;
    }
}

/// A pool of grammers' that passes through the relay; its runner is still to be started.
pub(super) fn new_pool(config: &TelegramConfig, session: &Arc<LiveSession>, wire: &Arc<Wire>) -> SenderPool {
    let device = &config.device;
    let params = ConnectionParams {
        device_model: device.model.clone(),
        system_version: device.system_version.clone(),
        app_version: device.app_version.clone(),
        system_lang_code: device.language.clone(),
        lang_code: device.language.clone(),
        // To the relay, which goes on from there.
        use_ipv6: false,
        retry_policy: Box::new(NoRetries),
        updates_channel_capacity: PASSED_ON,
        ..ConnectionParams::default()
    };
    let relayed = Relayed { session: Arc::clone(session), wire: Arc::clone(wire) };
    SenderPool::with_configuration(Arc::new(relayed), config.api_id, params)
}

/// The relay knows better than grammers why a connection failed.
pub(super) fn as_refused(error: Error, wire: &Wire) -> Error {
    match (error, wire.refused()) {
        (Error::Transient { method, .. }, Some(Refused::NotOurs(why))) => Error::NotOurs { method, why },
        (Error::Transient { method, .. }, Some(Refused::NoRoute(why))) => Error::Transient { method, source: Cause::NoRoute(why) },
        (Error::Transient { method, .. }, Some(Refused::NoProxy(why))) => Error::Transient { method, source: Cause::NoProxy(why) },
        (error, _) => error,
    }
}

/// Telegram's own name of a serialised call, as `messages.getHistory`.
pub(super) fn method_name(body: &[u8]) -> &'static str {
    match body.first_chunk() {
        Some(id) => tl::name_for_id(u32::from_le_bytes(*id)),
        None => "nothing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telegram::AuthKey;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    fn connection_to(address: SocketAddr) -> Connection {
        let config = TelegramConfig { request_timeout: Duration::from_millis(200), ..TelegramConfig::new(1, "hash") };
        Connection::open(&config, SessionData::pinned(2, address, Some(AuthKey([7; 256])), None))
    }

    /// A server that does the same to each connection; gives its address and how many came.
    async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, Arc<std::sync::atomic::AtomicU32>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        (address, accepted)
    }

    #[tokio::test]
    async fn a_server_that_never_answers_costs_one_time_limit_a_call_and_a_fresh_pool() {
        let (address, accepted) = server(async |mut stream| {
            let mut sink = [0; 1024];
            while matches!(stream.read(&mut sink).await, Ok(1..)) {}
        })
        .await;
        let connection = connection_to(address);
        for _ in 0..2 {
            let error = connection.invoke(&tl::functions::updates::GetState {}).await.unwrap_err();
            assert!(matches!(&error, Error::Transient { method, source: Cause::Timeout(_) } if method == "updates.getState"));
        }
        assert_eq!(accepted.load(std::sync::atomic::Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_refused_connection_may_pass() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = connection_to(address).invoke(&tl::functions::updates::GetState {}).await.unwrap_err();
        assert!(matches!(error, Error::Transient { source: Cause::NoRoute(_), .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_key_that_the_server_does_not_know_is_reported_and_not_asked_again() {
        let (address, accepted) = server(async |mut stream| {
            let mut sink = [0; 1024];
            let _ = stream.read(&mut sink).await;
            let _ = stream.write_all(&(-404_i32).to_le_bytes()).await;
            let _ = stream.read(&mut sink).await;
        })
        .await;
        let connection = connection_to(address);
        let error = connection.invoke(&tl::functions::updates::GetState {}).await.unwrap_err();
        assert!(matches!(error, Error::KeyRefused), "{error:?}");
        let asked = accepted.load(std::sync::atomic::Ordering::SeqCst);
        let again = connection.invoke(&tl::functions::updates::GetState {}).await.unwrap_err();
        assert!(matches!(again, Error::KeyRefused));
        assert_eq!(accepted.load(std::sync::atomic::Ordering::SeqCst), asked);
    }

    #[tokio::test]
    async fn a_closed_connection_says_so() {
        let connection = connection_to("127.0.0.1:9".parse().unwrap());
        connection.close().await;
        let error = connection.invoke(&tl::functions::updates::GetState {}).await.unwrap_err();
        assert!(matches!(error, Error::Transient { source: Cause::Closed, .. }));
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = TelegramConfig::new(1, "0123abcd");
        assert!(!format!("{config:?}").contains("0123abcd"));
    }
}
