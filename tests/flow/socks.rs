//! A SOCKS5 proxy that a test holds in its hands: it leaves from a loopback address of its own, so that the datacentre sees from where.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::installation::DATACENTRE;

pub(crate) const USER: &str = "keeper";

pub(crate) struct Socks {
    pub(crate) at: SocketAddr,
    pub(crate) from: IpAddr,
    carried: Arc<AtomicU64>,
    serving: tokio::task::AbortHandle,
}

impl Socks {
    /// A proxy that leaves from 127.0.0.`last`, and asks [`USER`] for this password, if there is one.
    pub(crate) async fn leaving_from(last: u8, password: Option<&'static str>) -> Self {
        Self::listening_at(([127, 0, 0, 1], 0).into(), last, password).await
    }

    pub(crate) async fn listening_at(at: SocketAddr, last: u8, password: Option<&'static str>) -> Self {
        let from = IpAddr::from([127, 0, 0, last]);
        let carried = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&carried);
        let (told, listens) = tokio::sync::oneshot::channel();
        let serving = DATACENTRE.spawn(async move {
            let listener = TcpListener::bind(at).await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            // ended with the listener
            let mut open = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let count = Arc::clone(&count);
                open.spawn(async move {
                    if let Ok((client, server)) = opens(client, from, password).await {
                        count.fetch_add(1, Ordering::SeqCst);
                        let _ = carries(client, server).await;
                    }
                });
            }
        });
        Self { at: listens.await.unwrap(), from, carried, serving: serving.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("socks5://{}", self.at)
    }

    /// How many connections went through it.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }

    /// Refuses connections from now on, and cuts those that are open.
    pub(crate) fn dies(&self) {
        self.serving.abort();
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        self.dies();
    }
}

async fn carries(mut client: TcpStream, mut server: TcpStream) -> std::io::Result<(u64, u64)> {
    tokio::io::copy_bidirectional(&mut client, &mut server).await
}

/// RFC 1928 and 1929, as far as CONNECT to an IPv4 address.
async fn opens(mut client: TcpStream, from: IpAddr, password: Option<&str>) -> std::io::Result<(TcpStream, TcpStream)> {
    let refused = || std::io::Error::other("refused");
    let [_, methods] = read(&mut client).await?;
    let mut offered = vec![0; usize::from(methods)];
    client.read_exact(&mut offered).await?;
    let method = if password.is_some() { 2 } else { 0 };
    if !offered.contains(&method) {
        client.write_all(&[5, 0xff]).await?;
        return Err(refused());
    }
    client.write_all(&[5, method]).await?;
    if let Some(password) = password {
        let [_] = read(&mut client).await?;
        let given = [word(&mut client).await?, word(&mut client).await?];
        let right = given == [USER.as_bytes(), password.as_bytes()];
        client.write_all(&[1, u8::from(!right)]).await?;
        if !right {
            return Err(refused());
        }
    }
    let [_, _, _, _, a, b, c, d, high, low] = read(&mut client).await?;
    let to = SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])));
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let connected = socket.connect(to).await;
    client.write_all(&[5, if connected.is_ok() { 0 } else { 5 }, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok((client, connected?))
}

async fn read<const N: usize>(stream: &mut TcpStream) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map(|_| bytes)
}

async fn word(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let [length] = read(stream).await?;
    let mut word = vec![0; usize::from(length)];
    stream.read_exact(&mut word).await.map(|_| word)
}
