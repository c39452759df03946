//! Which way each account goes to Telegram: direct, through the proxy that it is bound to, or through one of the pool.
//!
//! An account that has a proxy, or the pool, never connects without: where none works there is an error, and no connection. A way
//! is given only through a proxy that has worked lately; one that failed rests, longer with each failure.

pub mod address;
mod stock;
mod way;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{PgConnection, PgPool};

pub use crate::record::proxy::{Binding, Proxy};
pub use address::Address;
pub(super) use stock::seal_anew;
pub use stock::{BadLine, Resealed, bind_within, remove_within};
pub(super) use way::Way;

use super::{KeySource, LostKey, Result, SealKey};
use crate::clock;
use crate::error::chain;
use crate::record::{account as accounts, proxy as table};
use crate::telegram::dial::{self, DialError, Login, Route, dial};

/// A proxy that worked within this time is not checked before it is used.
pub const LATELY: Duration = Duration::from_secs(5 * 60);
/// How long the way through a proxy may take to open. Longer is too slow to collect with.
pub const OPENS_WITHIN: Duration = Duration::from_secs(10);
/// How long an account without a way waits: the longest rest of a proxy.
pub const WAIT: Duration = Duration::from_secs(60);

/// Why an account has no way to Telegram, or proxies are not as they were asked to be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It passes: the proxy may work again.
    #[error(
        "account {label} is bound to the proxy {proxy}, which does not work, and makes no connection without it: {reason}; mend it, or \
         bind the account to another with `telekeep account proxy {label} NAME`"
    )]
    Down { label: String, proxy: String, reason: String },
    /// It passes: one of them may work again.
    #[error("account {label} goes through the pool, where no proxy works for it, and makes no connection without: {}", .reasons.join("; "))]
    NoneWorks { label: String, reasons: Vec<String> },
    /// It passes when somebody adds one.
    #[error("account {label} goes through the pool, which has no proxy for it: add one with `telekeep proxy add NAME URL --pool`")]
    EmptyPool { label: String },
    #[error("there is no proxy {0}: see `telekeep proxy list`")]
    Unknown(String),
    #[error("there is a proxy {0} already: choose another name, or remove that one first")]
    Taken(String),
    #[error(
        "the proxy {name} stays: these accounts are bound to it: {}; bind each elsewhere first with `telekeep account proxy LABEL \
         NAME|pool|none`",
        .labels.join(", ")
    )]
    Bound { name: String, labels: Vec<String> },
    #[error(transparent)]
    Address(#[from] address::Problem),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    BadLines(Vec<BadLine>),
}

impl Error {
    /// Whether waiting may mend it.
    pub fn passes(&self) -> bool {
        match self {
            Self::Down { .. } | Self::NoneWorks { .. } | Self::EmptyPool { .. } => true,
            Self::Unknown(_) | Self::Taken(_) | Self::Bound { .. } | Self::Address(_) | Self::BadLines(_) => false,
        }
    }
}

/// The ways of all accounts. Cloning shares it.
#[derive(Clone)]
pub struct Routes(Arc<Inner>);

struct Inner {
    pool: PgPool,
    key: KeySource,
    source: Option<IpAddr>,
    /// One check of a proxy at a time: those who wait take its answer.
    checking: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Labels without a way, which is told once.
    astray: Mutex<HashSet<String>>,
}

/// How a check went.
#[derive(Debug, Clone)]
pub struct Checked {
    pub proxy: String,
    /// How long the way to Telegram took to open, or why it did not.
    pub outcome: std::result::Result<Duration, String>,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("source", &self.0.source).finish_non_exhaustive()
    }
}

impl Routes {
    /// `source`: this machine's address that every connection leaves from; none: the system chooses.
    pub fn new(pool: PgPool, key: KeySource, source: Option<IpAddr>) -> Self {
        Self(Arc::new(Inner { pool, key, source, checking: Mutex::default(), astray: Mutex::default() }))
    }

    /// The way that the account of this label takes now to Telegram at `to`. Asked before each connection.
    ///
    /// A proxy that has not worked lately is checked first, at `to`. An account of the pool keeps its proxy while that works. Errors:
    /// [`Error::passes`] where there is no way at this moment; then nothing must be connected.
    pub async fn route_of(&self, label: &str, to: SocketAddr) -> Result<Route> {
        let binding = table::binding(&mut *self.connection().await?, label).await?;
        let found = match binding {
            Binding::Direct => Ok(Route { source: self.0.source, proxy: None }),
            Binding::Bound { proxy } => self.bound(label, &proxy, to).await,
            Binding::Pool { proxy } => self.pooled(label, proxy, to).await,
        };
        self.tell(label, &found);
        found
    }

    /// Whether the account of this label may go on as it was connected: false once it was bound elsewhere, or left that proxy of the
    /// pool. Asks Postgres.
    pub async fn is_still(&self, label: &str, route: &Route) -> Result<bool> {
        let binding = table::binding(&mut *self.connection().await?, label).await?;
        Ok(match (binding, &route.proxy) {
            (Binding::Direct, None) => true,
            (Binding::Bound { proxy } | Binding::Pool { proxy: Some(proxy) }, Some(used)) => proxy == used.name,
            (Binding::Pool { proxy: None }, Some(_)) => false,
            (Binding::Direct, Some(_)) | (Binding::Bound { .. } | Binding::Pool { .. }, None) => false,
        })
    }

    /// Notes how a connection went: how long it took to open, or why it did not. After a failure the proxy rests, and an account of the
    /// pool takes another.
    pub async fn used(&self, label: &str, route: &Route, outcome: std::result::Result<Duration, &DialError>) {
        let Some(proxy) = &route.proxy else { return };
        if let Err(error) = self.note(&proxy.name, outcome).await {
            tracing::warn!(proxy = proxy.name, account.label = label, %error, "how a proxy was found could not be noted");
        }
    }

    /// Tries the way through a proxy to Telegram at `to`, however it was found before.
    pub async fn check(&self, name: &str, to: SocketAddr) -> Result<Checked> {
        let mut conn = self.connection().await?;
        let row = table::dialled(&mut conn, name).await?.ok_or_else(|| Error::Unknown(name.to_owned()))?;
        let proxy = self.unsealed(&mut conn, row).await;
        drop(conn);
        let outcome = match proxy {
            Ok(proxy) => self.tried(&proxy, to).await?,
            Err(error) => Err(error),
        };
        Ok(Checked { proxy: name.to_owned(), outcome })
    }

    async fn bound(&self, label: &str, name: &str, to: SocketAddr) -> Result<Route> {
        match self.working(name, to).await? {
            Ok(proxy) => Ok(self.through(proxy)),
            Err(reason) => Err(Error::Down { label: label.to_owned(), proxy: name.to_owned(), reason }.into()),
        }
    }

    async fn pooled(&self, label: &str, current: Option<String>, to: SocketAddr) -> Result<Route> {
        let best = table::pool(&mut *self.connection().await?, label).await?;
        let others = best.into_iter().filter(|name| current.as_ref() != Some(name));
        let mut reasons = Vec::new();
        for name in current.iter().cloned().chain(others) {
            match self.working(&name, to).await? {
                Err(reason) => reasons.push(format!("{name}: {reason}")),
                Ok(proxy) if current.as_ref() == Some(&name) => return Ok(self.through(proxy)),
                Ok(proxy) => {
                    // why not the one that it had
                    let reason = reasons.first().filter(|_| current.is_some());
                    if !table::keep(&mut *self.connection().await?, label, &name, reason.map(String::as_str)).await? {
                        // bound elsewhere, or the proxy was removed, at this moment: as the next asking finds it
                        reasons.push(format!("{name}: it was changed at this moment"));
                        continue;
                    }
                    tracing::info!(account.label = label, proxy = name, reason, "the account goes through this proxy of the pool");
                    return Ok(self.through(proxy));
                }
            }
        }
        let label = label.to_owned();
        Err(if reasons.is_empty() { Error::EmptyPool { label } } else { Error::NoneWorks { label, reasons } }.into())
    }

    /// A proxy that worked lately, or works now; else why not.
    async fn working(&self, name: &str, to: SocketAddr) -> Result<std::result::Result<dial::Proxy, String>> {
        let alone = self.checking(name);
        let _alone = alone.lock().await;
        let mut conn = self.connection().await?;
        let Some(row) = table::dialled(&mut conn, name).await? else { return Ok(Err("it was removed".to_owned())) };
        if let Some(error) = row.rests {
            return Ok(Err(error));
        }
        let lately = row.worked.is_some_and(|ago| ago < LATELY);
        let proxy = match self.unsealed(&mut conn, row).await {
            Ok(proxy) => proxy,
            Err(reason) => return Ok(Err(reason)),
        };
        drop(conn);
        if lately {
            return Ok(Ok(proxy));
        }
        Ok(self.tried(&proxy, to).await?.map(|_| proxy))
    }

    /// Opens a way through a proxy, closes it again, and notes how that went.
    async fn tried(&self, proxy: &dial::Proxy, to: SocketAddr) -> Result<std::result::Result<Duration, String>> {
        let begun = clock::mark();
        let opened = dial(&self.through(proxy.clone()), to, OPENS_WITHIN).await;
        let outcome = opened.map(|_| begun.elapsed());
        self.note(&proxy.name, outcome.as_ref().copied()).await?;
        Ok(outcome.map_err(|failed| chain(&failed)))
    }

    async fn note(&self, name: &str, outcome: std::result::Result<Duration, &DialError>) -> sqlx::Result<()> {
        let mut conn = self.connection().await?;
        match outcome {
            Ok(latency) => table::succeeded(&mut conn, name, latency).await,
            Err(failed) => {
                let error = chain(failed);
                tracing::warn!(proxy = name, error, "a proxy failed");
                table::failed(&mut conn, name, &error).await
            }
        }
    }

    async fn unsealed(&self, conn: &mut PgConnection, row: table::Dialled) -> std::result::Result<dial::Proxy, String> {
        let login = match (row.login, row.password) {
            (Some(user), Some(sealed)) => {
                let lost = |error: &dyn std::error::Error| {
                    format!(
                        "its password cannot be opened ({}); restore the key, or remove the proxy and add it again",
                        chain(error)
                    )
                };
                let key = self.key(conn).await.map_err(|error| lost(&error))?;
                let bytes = key.unseal(&sealed_as(&row.name), &sealed).map_err(|error| lost(&error))?;
                Some(Login { user, password: String::from_utf8(bytes).map_err(|error| lost(&error.utf8_error()))? })
            }
            _ => None,
        };
        Ok(dial::Proxy { name: row.name, host: row.host, port: row.port, login })
    }

    fn through(&self, proxy: dial::Proxy) -> Route {
        Route { source: self.0.source, proxy: Some(proxy) }
    }

    fn checking(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut checking = self.0.checking.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(checking.entry(name.to_owned()).or_default())
    }

    /// Says once that an account has no way, and once that it has one again.
    fn tell(&self, label: &str, found: &Result<Route>) {
        let mut astray = self.0.astray.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(_) if astray.remove(label) => tracing::info!(account.label = label, "the account has a way to Telegram again"),
            Ok(_) => {}
            Err(super::Error::Proxy(error)) if astray.insert(label.to_owned()) => {
                tracing::error!(account.label = label, %error, "the account has no way to Telegram and waits");
            }
            Err(_) => {}
        }
    }

    async fn connection(&self) -> sqlx::Result<sqlx::pool::PoolConnection<sqlx::Postgres>> {
        self.0.pool.acquire().await
    }

    async fn key(&self, conn: &mut PgConnection) -> Result<SealKey> {
        Ok(SealKey::open(&self.0.key, accounts::sealed_count(conn).await?, LostKey::Refuse)?)
    }
}

/// What a proxy's password is sealed under; no label has such a form by accident.
fn sealed_as(name: &str) -> String {
    format!("proxy {name}")
}
