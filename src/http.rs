//! HTTP: the API, its documentation, events, GraphQL, and who may.
//!
//! One router, served by `telekeep serve` alone, or by `telekeep run` beside its work where `[http] listen` is set. Requests read by the
//! functions of `record`, `projection` and `crates/queue` that commands read by, and change by those that commands change by; each change
//! is noted in the audit log. What must never be here: SQL, grammers, secrets in an answer or a log, and anything internal in an error.

pub mod access;
pub mod api;
pub mod events;
pub mod extract;
mod graphql;
mod layers;
pub mod page;
mod pages;
pub mod probe;
pub mod problem;
pub mod server;
mod sign_in;
mod statistics;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::account::Accounts;
use crate::config::Config;
use crate::projection::Projector;
use access::rate::Rates;
use problem::Problem;

/// Opens the accounts of this process, as a command does: fresh each time, because a request ends what it opened.
pub type OpenAccounts = Box<dyn Fn() -> anyhow::Result<Arc<Accounts>> + Send + Sync>;

/// What all requests share. Cloning shares it.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

/// See [`Http`].
pub struct Inner {
    /// The record, by connections of its own with time limits that suit people.
    pub pool: PgPool,
    pub config: Arc<Config>,
    /// The index, where one is configured.
    pub projector: Option<Projector>,
    /// Ends streams and logins.
    pub shutdown: CancellationToken,
    rates: Rates,
    events: events::Hub,
    sign_ins: sign_in::SignIns,
    statistics: statistics::Kept,
    open_accounts: OpenAccounts,
}

impl Deref for Http {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Http {
    pub fn new(
        pool: PgPool,
        config: Arc<Config>,
        projector: Option<Projector>,
        open_accounts: OpenAccounts,
        shutdown: CancellationToken,
    ) -> Self {
        let rates = Rates::new(&config.http);
        let events = events::Hub::new(config.http.event_streams);
        let (sign_ins, statistics) = (sign_in::SignIns::default(), statistics::Kept::default());
        Self(Arc::new(Inner { pool, config, projector, shutdown, rates, events, sign_ins, statistics, open_accounts }))
    }

    /// The accounts, as a command opens them; to be closed by whoever opened them.
    fn accounts(&self) -> Result<Arc<Accounts>, Problem> {
        (self.open_accounts)().map_err(|error| problem::failed(error.as_ref()))
    }

    /// Counts a request of nobody that is known.
    fn stranger(&self, from: std::net::IpAddr) -> Result<(), Problem> {
        self.rates.stranger(from)
    }

    /// Whether browsers reach it by TLS, here or at a proxy in front.
    fn is_tls(&self) -> bool {
        let http = &self.config.http;
        http.certificate.is_some() || http.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}

/// Everything that is served.
pub fn router(http: Http, probe: probe::Probe) -> Router {
    let (api, document) = api::router(&http);
    let document = Arc::new(document);
    let router = api.merge(api::browse::router(document)).merge(pages::router(&http)).fallback(pages::nothing);
    // Probes answer as machines expect, without the layers: their errors are no problem documents.
    layers::around(router, &http).with_state(http).merge(probe::router(probe))
}
