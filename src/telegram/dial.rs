//! How bytes leave this machine towards Telegram: one TCP connection, direct or through a SOCKS5 proxy.
//!
//! Nothing here chooses a route, tries another or falls back: who asked for a proxy gets that proxy or an error.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_socks::tcp::Socks5Stream;

use crate::clock;

/// Bytes that nobody acknowledges for so long end the connection (`TCP_USER_TIMEOUT`, tcp(7)): what a dead peer left open must not
/// outlive an account's lease of 30 s.
pub const UNACKNOWLEDGED: Duration = Duration::from_secs(15);
/// On a silent connection the peer is asked after so long, and then so often, whether it is still there.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(5));

/// The way that a connection takes. The default is the direct one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// This machine's address to leave from; none: the system chooses.
    pub source: Option<IpAddr>,
    /// None: straight to Telegram.
    pub proxy: Option<Proxy>,
}

/// A SOCKS5 proxy (RFC 1928), where it asks so with user and password (RFC 1929).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// As the operator named it; stands in errors and logs.
    pub name: String,
    /// An address or a name, which is looked up at each connection.
    pub host: String,
    pub port: u16,
    pub login: Option<Login>,
}

/// What a proxy is told of us. 1 to 255 bytes each.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("password", &"hidden").finish()
    }
}

/// Why there is no connection. Names the proxy, never its password.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the proxy {proxy} ({at}) is not reached: is it running, and is its address right? See `telekeep proxy check {proxy}`")]
    ProxyNotReached {
        proxy: String,
        at: String,
        #[source]
        source: io::Error,
    },
    #[error("the proxy {proxy} does not accept its user and password: remove it, and add it again with the right ones")]
    ProxyRefusedPassword { proxy: String },
    #[error("what answers at the proxy {proxy} ({at}) does not speak SOCKS5: is the port right?")]
    ProxyNotSocks {
        proxy: String,
        at: String,
        #[source]
        source: tokio_socks::Error,
    },
    #[error("the proxy {proxy} cannot reach Telegram at {to}")]
    ProxyCannotReach {
        proxy: String,
        to: SocketAddr,
        #[source]
        source: tokio_socks::Error,
    },
    #[error("Telegram is not reached at {to}: is this machine connected, and is Telegram blocked here?")]
    NotReached {
        to: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// Opens a connection to Telegram at `to`, within `limit` in all.
pub async fn dial(route: &Route, to: SocketAddr, limit: Duration) -> Result<TcpStream, DialError> {
    let begun = clock::mark();
    let Some(proxy) = &route.proxy else {
        return within(limit, connect(route.source, to)).await.map_err(|source| DialError::NotReached { to, source });
    };
    let (name, at) = (|| proxy.name.clone(), || format!("{}:{}", proxy.host, proxy.port));
    let stream = within(limit, reach(route.source, proxy)).await.map_err(|source| DialError::ProxyNotReached {
        proxy: name(),
        at: at(),
        source,
    })?;
    let left = limit.saturating_sub(begun.elapsed());
    let asked = match &proxy.login {
        Some(login) => {
            let opening = Socks5Stream::connect_with_password_and_socket(stream, to, &login.user, &login.password);
            tokio::time::timeout(left, opening).await
        }
        None => tokio::time::timeout(left, Socks5Stream::connect_with_socket(stream, to)).await,
    };
    use tokio_socks::Error as Socks;
    let failed = match asked {
        Ok(Ok(opened)) => return Ok(opened.into_inner()),
        Ok(Err(failed)) => failed,
        Err(_) => Socks::Io(too_late(limit)),
    };
    Err(match failed {
        Socks::PasswordAuthFailure(_)
        | Socks::NoAcceptableAuthMethods
        | Socks::AuthorizationRequired
        | Socks::InvalidAuthValues(_)
        | Socks::IdentdAuthFailure
        | Socks::InvalidUserIdAuthFailure => DialError::ProxyRefusedPassword { proxy: name() },
        source @ (Socks::InvalidResponseVersion
        | Socks::UnknownAuthMethod
        | Socks::InvalidReservedByte
        | Socks::UnknownAddressType
        | Socks::ParseError(_)) => DialError::ProxyNotSocks { proxy: name(), at: at(), source },
        source @ (Socks::Io(_)
        | Socks::InvalidTargetAddress(_)
        | Socks::ProxyServerUnreachable
        | Socks::GeneralSocksServerFailure
        | Socks::ConnectionNotAllowedByRuleset
        | Socks::NetworkUnreachable
        | Socks::HostUnreachable
        | Socks::ConnectionRefused
        | Socks::TtlExpired
        | Socks::CommandNotSupported
        | Socks::AddressTypeNotSupported
        | Socks::UnknownError) => DialError::ProxyCannotReach { proxy: name(), to, source },
    })
}

/// The proxy itself, at the first of its addresses that answers.
async fn reach(source: Option<IpAddr>, proxy: &Proxy) -> io::Result<TcpStream> {
    let host = proxy.host.trim_start_matches('[').trim_end_matches(']');
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for at in lookup_host((host, proxy.port)).await? {
        match connect(source, at).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn connect(source: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    let options = SockRef::from(&socket);
    options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    options.set_tcp_keepalive(&KEEPALIVE)?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0)).map_err(|error| {
            io::Error::new(error.kind(), format!("the source address {source} cannot be used to reach {to}: {error}"))
        })?;
    }
    socket.connect(to).await
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(too_late(limit)))
}

fn too_late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_millis(500);

    fn through(at: SocketAddr, password: Option<&str>) -> Route {
        let login = password.map(|password| Login { user: "keeper".into(), password: password.into() });
        Route { source: None, proxy: Some(Proxy { name: "berlin".into(), host: at.ip().to_string(), port: at.port(), login }) }
    }

    /// A listener that plays one side of a dialogue: reads so many bytes, then writes these, again and again.
    async fn plays(lines: &'static [(usize, &'static [u8])]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for (read, write) in lines {
                let mut heard = vec![0; *read];
                stream.read_exact(&mut heard).await.unwrap();
                stream.write_all(write).await.unwrap();
            }
            let _ = stream.read(&mut [0]).await;
        });
        at
    }

    async fn nowhere() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    const TO: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(149, 154, 167, 50)), 443);

    #[tokio::test]
    async fn a_direct_connection_leaves_from_the_source_address_and_notices_a_dead_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let route = Route { source: Some("127.0.0.7".parse().unwrap()), proxy: None };
        let stream = dial(&route, listener.local_addr().unwrap(), LIMIT).await.unwrap();
        let (_, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip().to_string(), "127.0.0.7");
        let options = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap() && options.keepalive().unwrap());
        assert_eq!(options.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));

        let nowhere = nowhere().await;
        let failed = dial(&Route::default(), nowhere, LIMIT).await.unwrap_err();
        assert!(matches!(failed, DialError::NotReached { to, .. } if to == nowhere));
        let other = Route { source: Some("::1".parse().unwrap()), proxy: None };
        assert!(matches!(dial(&other, nowhere, LIMIT).await.unwrap_err(), DialError::NotReached { .. }));
    }

    #[tokio::test]
    async fn a_proxy_that_takes_the_password_carries_the_bytes() {
        // method: password; accepted; connected to 0.0.0.0:0, and a first word from beyond
        let at = plays(&[(4, &[5, 2]), (3 + 6 + 6, &[1, 0]), (10, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0, b'h', b'i'])]).await;
        let mut stream = dial(&through(at, Some("secret")), TO, LIMIT).await.unwrap();
        let mut heard = [0; 2];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hi", "what Telegram says first is not swallowed");
    }

    #[tokio::test]
    async fn each_failure_of_a_proxy_has_its_name() {
        let dead = nowhere().await;
        let failed = dial(&through(dead, None), TO, LIMIT).await.unwrap_err();
        assert!(matches!(&failed, DialError::ProxyNotReached { proxy, .. } if proxy == "berlin"), "{failed:?}");

        let at = plays(&[(4, &[5, 2]), (3 + 6 + 6, &[1, 1])]).await;
        let failed = dial(&through(at, Some("wr0ng!")), TO, LIMIT).await.unwrap_err();
        assert!(matches!(failed, DialError::ProxyRefusedPassword { .. }), "{failed:?}");
        assert!(!format!("{failed} {failed:?}").contains("wr0ng!"));

        let at = plays(&[(3, &[5, 0xff])]).await;
        let failed = dial(&through(at, None), TO, LIMIT).await.unwrap_err();
        assert!(matches!(failed, DialError::ProxyRefusedPassword { .. }), "it asks for a password: {failed:?}");

        let at = plays(&[(3, &[5, 0]), (10, &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0])]).await;
        let failed = dial(&through(at, None), TO, LIMIT).await.unwrap_err();
        assert!(matches!(failed, DialError::ProxyCannotReach { to: TO, .. }), "{failed:?}");

        let at = plays(&[(3, b"HTTP/1.1 400")]).await;
        let failed = dial(&through(at, None), TO, LIMIT).await.unwrap_err();
        assert!(matches!(failed, DialError::ProxyNotSocks { .. }), "{failed:?}");

        let at = plays(&[(3, &[])]).await;
        let failed = dial(&through(at, None), TO, LIMIT).await.unwrap_err();
        assert!(matches!(failed, DialError::ProxyCannotReach { .. }), "it never answers: {failed:?}");
    }

    #[test]
    fn a_password_is_not_printed() {
        let route = through(TO, Some("tops3cret"));
        assert!(!format!("{route:?}").contains("tops3cret"));
    }
}
