//! `[http]`: where the API and the dashboard are, and what they allow.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

/// HTTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port, as `127.0.0.1:8420`; `telekeep run` serves there too. None: `telekeep serve` alone serves, on that address.
    pub listen: Option<SocketAddr>,
    /// PEM files: the chain, its own certificate first, and its key. They are read again when they change.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Without TLS only loopback is served, unless this is true: then what is sent can be read on the way, or a proxy in front has TLS.
    pub plain: bool,
    /// How browsers reach it, as `https://telekeep.example.org`, where that is not the address: behind a proxy.
    pub public_url: Option<String>,
    /// Requests of one token, or browser, a second in the long run; 0: not limited.
    pub requests_per_second: u32,
    /// Requests of one token, or browser, at once.
    pub burst: u32,
    /// Requests of one address a minute that no token is good for; 0: not limited.
    pub strangers_per_minute: u32,
    /// Event streams that are open at once, over all.
    pub event_streams: usize,
}

/// Where `telekeep serve` is when nothing else is said.
pub const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8420);

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: None,
            certificate: None,
            key: None,
            plain: false,
            public_url: None,
            requests_per_second: 50,
            burst: 200,
            strangers_per_minute: 60,
            event_streams: 1_000,
        }
    }
}
