//! The relay: each byte of an account passes here on its way between grammers and Telegram, in this process.
//!
//! A process can be stopped while its sockets stay open, and go on later where another one has taken its account. So the fence stands
//! where bytes leave: grammers connects to a listener on loopback, one for each datacentre, and nothing is passed on that the [`Gate`]
//! does not let through at that moment.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dial::{self, DialError, Route};
use super::meter;
use crate::clock;

/// How long a connection may take to open: a third of a call's time limit.
const DIAL: Duration = Duration::from_secs(10);
/// A connection on which nothing is sent is looked at this often: it closes when the gate does.
const LOOK: Duration = Duration::from_millis(500);
/// How long a connection that ends may take until the other side has read all of it.
const FAREWELL: Duration = Duration::from_secs(1);
const BUFFER: usize = 64 * 1024;
/// A wall clock that was set by more than this, in milliseconds, ends the connection. Messages are numbered by that clock; Telegram
/// refuses those from more than 30 s ahead (<https://core.telegram.org/mtproto/description#message-identifier-msg-id>), and grammers
/// would send them again and again under the next higher number.
const SET: i64 = 10_000;

/// Whether bytes may leave, and how.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Asked before each connection: the way that it takes, after proof that the account is this process's.
    fn open(&self) -> BoxFuture<'_, Result<Route, Refused>>;
    /// Asked before each write: whether bytes may leave at this moment.
    fn is_open(&self) -> bool;
    /// Told how each connection went: how long it took to open, or why it did not.
    fn dialled<'a>(&'a self, route: &'a Route, outcome: Result<Duration, &'a DialError>) -> BoxFuture<'a, ()>;
}

/// The gate of an account that nobody else can have yet, as during its login: straight to Telegram.
#[derive(Debug, Default)]
pub struct Ungated(pub Route);

impl Gate for Ungated {
    fn open(&self) -> BoxFuture<'_, Result<Route, Refused>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }

    fn is_open(&self) -> bool {
        true
    }

    fn dialled<'a>(&'a self, _: &'a Route, _: Result<Duration, &'a DialError>) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Why no byte left.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// The account is not this process's, or nobody can say that it is.
    #[error("{0}")]
    NotOurs(String),
    /// There is no way to Telegram.
    #[error("{0}")]
    NoRoute(String),
    /// None of the account's proxies works, and it takes no other way.
    #[error("{0}")]
    NoProxy(String),
}

/// One account's relay.
pub(super) struct Wire {
    gate: Arc<dyn Gate>,
    ways: Mutex<HashMap<i32, Way>>,
    tasks: TaskTracker,
    closing: CancellationToken,
    /// Why the last connection was refused or cut, until one opens.
    refused: Mutex<Option<Refused>>,
    opened: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// To one datacentre.
struct Way {
    listens: SocketAddr,
    leads: Arc<Mutex<SocketAddr>>,
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    pub fn new(gate: Arc<dyn Gate>) -> Arc<Self> {
        Arc::new(Self {
            gate,
            ways: Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            refused: Mutex::default(),
            opened: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        })
    }

    /// Where grammers connects to, to reach a datacentre at its real address.
    pub fn way_to(self: &Arc<Self>, dc: i32, real: SocketAddr) -> io::Result<SocketAddr> {
        let mut ways = lock(&self.ways);
        if let Some(way) = ways.get(&dc) {
            *lock(&way.leads) = real;
            return Ok(way.listens);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let way = Way { listens: listener.local_addr()?, leads: Arc::new(Mutex::new(real)) };
        let (listens, leads) = (way.listens, Arc::clone(&way.leads));
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let wire = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = wire.closing.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((client, _)) => {
                        let (connection, to) = (Arc::clone(&wire), *lock(&leads));
                        wire.tasks.spawn(async move { connection.carry(client, to).await });
                    }
                    // Out of file descriptors, as it may be for a while.
                    Err(error) => {
                        tracing::warn!(%error, "a connection within this process failed");
                        tokio::time::sleep(LOOK).await;
                    }
                }
            }
        });
        ways.insert(dc, way);
        Ok(listens)
    }

    /// The real address behind one of ours.
    pub fn real(&self, dc: i32, listens: SocketAddr) -> Option<SocketAddr> {
        lock(&self.ways).get(&dc).filter(|way| way.listens == listens).map(|way| *lock(&way.leads))
    }

    /// How many connections have been opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Why the last connection did not open, or was cut here.
    pub fn refused(&self) -> Option<Refused> {
        lock(&self.refused).clone()
    }

    /// Bytes that left and that arrived.
    pub fn traffic(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    /// Closes all connections soon.
    pub fn end(&self) {
        self.closing.cancel();
    }

    /// Closes all connections, and waits until Telegram has read what was sent, for a second at most.
    pub async fn close(&self) {
        self.end();
        self.tasks.close();
        let _ = tokio::time::timeout(FAREWELL + FAREWELL, self.tasks.wait()).await;
    }

    fn refuse(&self, why: Refused) {
        *lock(&self.refused) = Some(why);
    }

    async fn carry(&self, client: TcpStream, to: SocketAddr) {
        let opened = tokio::select! {
            () = self.closing.cancelled() => return,
            opened = self.open(to) => opened,
        };
        let server = match opened {
            Ok(server) => server,
            Err(why) => return self.refuse(why),
        };
        lock(&self.refused).take();
        self.opened.fetch_add(1, Ordering::Relaxed);
        let _open = meter::Open::begin();
        let _ = client.set_nodelay(true);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (mut from_server, mut to_server) = (from_server, to_server);
        let setting = clock::setting();
        let shut = tokio::select! {
            sent = self.send(from_client, &mut to_server, setting) => !sent,
            () = self.receive(&mut from_server, to_client) => false,
            () = self.shuts() => true,
            () = self.closing.cancelled() => false,
        };
        if shut {
            self.refuse(Refused::NotOurs("the account's lease is over, or it goes another way now".into()));
            // What the kernel still has of it does not leave either.
            let _ = SockRef::from(to_server.as_ref()).set_linger(Some(Duration::ZERO));
            return;
        }
        let _ = to_server.shutdown().await;
        let mut sink = [0; 1024];
        let rest = async { while matches!(from_server.read(&mut sink).await, Ok(1..)) {} };
        let _ = tokio::time::timeout(FAREWELL, rest).await;
    }

    async fn open(&self, to: SocketAddr) -> Result<TcpStream, Refused> {
        let route = self.gate.open().await?;
        let began = clock::mark();
        let dialled = dial::dial(&route, to, DIAL).await;
        meter::dialled(dialled.is_ok());
        self.gate.dialled(&route, dialled.as_ref().map(|_| began.elapsed())).await;
        dialled.map_err(|failed| Refused::NoRoute(crate::error::chain(&failed)))
    }

    /// Passes on what grammers sends. Answers false where the gate shut.
    async fn send(&self, mut client: OwnedReadHalf, server: &mut OwnedWriteHalf, setting: i64) -> bool {
        let mut buffer = vec![0; BUFFER];
        while let Ok(read @ 1..) = client.read(&mut buffer).await {
            if (clock::setting() - setting).abs() > SET {
                tracing::warn!("this machine's clock was set; the connection begins anew");
                return true;
            }
            let mut left = &buffer[..read];
            while !left.is_empty() {
                if server.writable().await.is_err() {
                    return true;
                }
                // As near to the write as can be: the process may have been stopped anywhere before.
                if !self.gate.is_open() {
                    return false;
                }
                match server.try_write(left) {
                    Ok(written) => {
                        self.sent.fetch_add(written as u64, Ordering::Relaxed);
                        meter::SENT.increment(written as u64);
                        left = &left[written..];
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return true,
                }
            }
        }
        true
    }

    async fn receive(&self, server: &mut OwnedReadHalf, mut client: OwnedWriteHalf) {
        let mut buffer = vec![0; BUFFER];
        while let Ok(read @ 1..) = server.read(&mut buffer).await {
            self.received.fetch_add(read as u64, Ordering::Relaxed);
            meter::RECEIVED.increment(read as u64);
            if client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    /// Completes when the gate is shut.
    async fn shuts(&self) {
        while self.gate.is_open() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, received) = self.traffic();
        f.debug_struct("Wire").field("sent", &sent).field("received", &received).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[derive(Debug, Default)]
    struct Door {
        shut: AtomicBool,
        refuses: AtomicBool,
    }

    impl Gate for Door {
        fn open(&self) -> BoxFuture<'_, Result<Route, Refused>> {
            let answer = match self.refuses.load(Ordering::SeqCst) {
                true => Err(Refused::NotOurs("another node has it".into())),
                false => Ok(Route::default()),
            };
            Box::pin(std::future::ready(answer))
        }

        fn is_open(&self) -> bool {
            !self.shut.load(Ordering::SeqCst)
        }

        fn dialled<'a>(&'a self, _: &'a Route, _: Result<Duration, &'a DialError>) -> BoxFuture<'a, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    /// A relay to a listener of the test's own.
    async fn relay() -> (Arc<Door>, Arc<Wire>, tokio::net::TcpListener, SocketAddr) {
        let door = Arc::new(Door::default());
        let wire = Wire::new(door.clone());
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = wire.way_to(2, server.local_addr().unwrap()).unwrap();
        (door, wire, server, way)
    }

    #[tokio::test]
    async fn nothing_leaves_once_the_gate_is_shut() {
        let (door, wire, server, way) = relay().await;
        let mut client = TcpStream::connect(way).await.unwrap();
        client.write_all(b"before").await.unwrap();
        let (mut telegram, _) = server.accept().await.unwrap();
        let mut heard = [0; 6];
        telegram.read_exact(&mut heard).await.unwrap();
        telegram.write_all(b"answer").await.unwrap();
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!((&heard, wire.traffic(), wire.opened()), (b"answer", (6, 6), 1));

        door.shut.store(true, Ordering::SeqCst);
        client.write_all(b"after").await.unwrap();
        let mut rest = Vec::new();
        let _ = telegram.read_to_end(&mut rest).await;
        assert_eq!(rest, b"", "what came after is not passed on");
        assert!(matches!(wire.refused(), Some(Refused::NotOurs(_))));
        assert_eq!(wire.traffic(), (6, 6));
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_with_the_gate_and_none_opens_without_leave() {
        let (door, wire, server, way) = relay().await;
        let client = TcpStream::connect(way).await.unwrap();
        let (mut telegram, _) = server.accept().await.unwrap();
        door.shut.store(true, Ordering::SeqCst);
        assert!(!matches!(telegram.read(&mut [0; 8]).await, Ok(1..)));
        drop(client);

        door.refuses.store(true, Ordering::SeqCst);
        let mut refused = TcpStream::connect(way).await.unwrap();
        assert!(!matches!(refused.read(&mut [0; 8]).await, Ok(1..)));
        assert_eq!(wire.opened(), 1);
        assert!(tokio::time::timeout(Duration::from_millis(200), server.accept()).await.is_err(), "nobody was called");
    }

    #[tokio::test]
    async fn after_the_close_no_connection_is_left() {
        let (_door, wire, server, way) = relay().await;
        let mut client = TcpStream::connect(way).await.unwrap();
        client.write_all(b"last words").await.unwrap();
        let (mut telegram, _) = server.accept().await.unwrap();
        let reads = tokio::spawn(async move {
            let mut all = Vec::new();
            telegram.read_to_end(&mut all).await.map(|_| all)
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        wire.close().await;
        assert_eq!(reads.await.unwrap().unwrap(), b"last words");
        assert!(!matches!(client.read(&mut [0; 8]).await, Ok(1..)));
        assert!(TcpStream::connect(way).await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn the_real_address_is_known_behind_ours_and_may_change() {
        let (_door, wire, server, way) = relay().await;
        assert_eq!(wire.real(2, way), server.local_addr().ok());
        assert_eq!(wire.real(2, "127.0.0.1:1".parse().unwrap()), None);
        let moved = "192.0.2.1:443".parse().unwrap();
        assert_eq!(wire.way_to(2, moved).unwrap(), way);
        assert_eq!(wire.real(2, way), Some(moved));
    }
}
