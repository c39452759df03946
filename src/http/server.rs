//! Listening: TLS by certificate files, or plain on loopback; and a graceful end.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Http, probe::Probe, router};
use crate::config;

/// Requests under way have so long to end.
const GRACE: Duration = Duration::from_secs(10);
/// The head of a request is to be here after so long: who sends it a byte a minute holds no connection.
const HEAD: Duration = Duration::from_secs(15);
/// Between two looks at the certificate's files.
const LOOK: Duration = Duration::from_secs(60);

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{address} cannot be listened on: {source}. Is another process there? Set another one: `[http] listen`")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{0} is not loopback, and without TLS all that is sent there can be read on the way: set `certificate` and `key` below [http], or \
         `plain = true` where a proxy in front has TLS"
    )]
    Plain(SocketAddr),
    #[error("`certificate` and `key` below [http] belong together: one of them is missing")]
    Half,
    #[error("{} holds no usable {what}: {reason}", path.display())]
    File { path: PathBuf, what: &'static str, reason: String },
    #[error("the server ended: {0}")]
    Io(#[from] std::io::Error),
}

/// A listening server, not yet answering.
pub struct Listening {
    listener: TcpListener,
    tls: Option<Tls>,
    /// Where it listens.
    pub address: SocketAddr,
}

struct Tls {
    config: RustlsConfig,
    certificate: PathBuf,
    key: PathBuf,
}

/// Listens, and reads the certificate.
pub fn listen(http: &config::Http, address: SocketAddr) -> Result<Listening, Error> {
    let tls = match (&http.certificate, &http.key) {
        (Some(certificate), Some(key)) => {
            let config = RustlsConfig::from_config(Arc::new(read(certificate, key)?));
            Some(Tls { config, certificate: certificate.clone(), key: key.clone() })
        }
        (None, None) if address.ip().is_loopback() || http.plain => None,
        (None, None) => return Err(Error::Plain(address)),
        _ => return Err(Error::Half),
    };
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Listening { listener, tls, address })
}

/// Answers until the shutdown; then requests under way have a few seconds to end.
pub async fn serve(http: Http, probe: Probe, listening: Listening) -> Result<(), Error> {
    let handle = Handle::new();
    let (stop, shutdown) = (handle.clone(), http.shutdown.clone());
    let ending = tokio::spawn(async move {
        shutdown.cancelled().await;
        stop.graceful_shutdown(Some(GRACE));
    });
    let service = router(http, probe).into_make_service_with_connect_info::<SocketAddr>();
    let served = match listening.tls {
        Some(tls) => {
            let watch = tokio::spawn(reread(tls.config.clone(), tls.certificate, tls.key));
            let mut server = axum_server::from_tcp_rustls(listening.listener, tls.config)?.handle(handle);
            server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
            let served = server.serve(service).await;
            watch.abort();
            served
        }
        None => {
            let mut server = axum_server::from_tcp(listening.listener)?.handle(handle);
            server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
            server.serve(service).await
        }
    };
    ending.abort();
    Ok(served?)
}

/// Takes a renewed certificate over; one that cannot be used leaves the old one, and is told once.
async fn reread(config: RustlsConfig, certificate: PathBuf, key: PathBuf) {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|it| it.modified()).ok();
    let stamp = || -> (Option<SystemTime>, Option<SystemTime>) { (changed(&certificate), changed(&key)) };
    let mut known = stamp();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = stamp();
        if now == known {
            continue;
        }
        known = now;
        match read(&certificate, &key) {
            Ok(new) => {
                config.reload_from_config(Arc::new(new));
                tracing::info!("http: the certificate was read anew");
            }
            Err(error) => tracing::error!(%error, "http: the new certificate is not used, the old one stays"),
        }
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, Error> {
    let wrong = |path: &Path, what, reason: String| Error::File { path: path.to_owned(), what, reason };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificate, "certificate", error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "certificate", "it has none".into()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, "key", error.to_string()))?;
    // The provider is named, because a process could have several.
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(certificate, "certificate", error.to_string()))?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| wrong(certificate, "certificate for this key", error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
