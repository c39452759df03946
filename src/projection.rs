//! The projection: what the record's outbox holds, to Elasticsearch, where results are searched.
//!
//! The index can be dropped and rebuilt at any time; nothing may live only there. The revision of a row is the external version of
//! its document, so that late and repeated writes never overwrite newer ones. An outbox entry goes only when the index acknowledged
//! it. What lives here: the client ([`elasticsearch`]), mappings and aliases, documents, bulks, the loop that works a sink, reindex,
//! audit, search and export. SQL is in `record/outbox.rs`, `record/document.rs` and `record/audit.rs`.

mod audit;
mod bulk;
pub mod document;
pub mod elasticsearch;
mod export;
mod fields;
mod finding;
mod mapping;
mod reindex;
mod worker;

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;

pub use audit::{AuditOptions, AuditReport, Difference, Finding, KindReport};
pub use export::{Source, documents_of_chain, documents_of_record, documents_of_thread};
pub use fields::FieldDifference;
pub use reindex::Progress;

use self::elasticsearch::Elasticsearch;
use crate::record::outbox::{self, Kind};

/// The name of the sink that the aliases belong to.
pub const SINK: &str = "elasticsearch";

/// How Elasticsearch is reached and used.
#[derive(Clone)]
pub struct Settings {
    /// `http(s)://[user:password@]host:port`
    pub url: String,
    /// An encoded API key; wins over a password in the address.
    pub api_key: Option<String>,
    /// Indices are named `{prefix}-{kind}-v{n}`.
    pub prefix: String,
    pub shards: u32,
    pub replicas: u32,
    /// As Elasticsearch writes it; live messages are to be found within a second.
    pub refresh_interval: String,
    /// For a whole request, a bulk included.
    pub timeout: Duration,
    /// Documents in one bulk, at most.
    pub bulk_documents: usize,
    /// Bytes in one bulk, at most, before compression.
    pub bulk_bytes: usize,
    /// Bulks on their way at once.
    pub in_flight: usize,
}

impl Settings {
    /// The defaults for one address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_key: None,
            prefix: "telekeep".to_owned(),
            shards: 1,
            replicas: 0,
            refresh_interval: "1s".to_owned(),
            timeout: Duration::from_secs(30),
            bulk_documents: 1_000,
            bulk_bytes: 5 * 1024 * 1024,
            in_flight: 2,
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may carry a password.
        f.debug_struct("Settings").field("prefix", &self.prefix).field("shards", &self.shards).finish_non_exhaustive()
    }
}

/// What can go wrong between the record and the index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the Elasticsearch address cannot be used: {reason}. Set ELASTICSEARCH_URL to http(s)://host:port")]
    Address { reason: String },
    #[error("Elasticsearch at {address} does not answer: {source}. Start it (scripts/up) or set ELASTICSEARCH_URL")]
    Unreachable { address: String, source: ::elasticsearch::Error },
    #[error("Elasticsearch at {address} refused {what} (status {status}): {reason}")]
    Refused { what: &'static str, address: String, status: u16, reason: String },
    #[error("the index behind {alias} has other field types than this version of Telekeep: {reason}. Run `telekeep reindex`")]
    Mapping { alias: String, reason: String },
    #[error("an index named {alias} stands where Telekeep's alias belongs. Remove it, or set another index prefix")]
    NameTaken { alias: String },
    #[error("there is no index behind {alias}. Run `telekeep migrate`")]
    NotPrepared { alias: String },
    #[error("Elasticsearch's answer to {what} cannot be read")]
    Answer { what: &'static str, source: serde_json::Error },
    #[error("Elasticsearch answered for {answered} of {sent} items")]
    Count { sent: usize, answered: usize },
    #[error("the index does not get on: {detail}")]
    Stuck { detail: String },
    #[error("stopped")]
    Cancelled,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Record(#[from] crate::record::Error),
}

/// The projection of one record into one Elasticsearch. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Projector {
    pool: PgPool,
    client: Elasticsearch,
    settings: Arc<Settings>,
}

impl Projector {
    /// Sends nothing yet. Errors: an address that cannot be used.
    pub fn new(pool: PgPool, settings: Settings) -> Result<Self, Error> {
        let client = Elasticsearch::new(&settings)?;
        Ok(Self { pool, client, settings: Arc::new(settings) })
    }

    /// The client, for `doctor`: version and health.
    pub fn client(&self) -> &Elasticsearch {
        &self.client
    }

    /// Makes indices, mappings and aliases as they must be, registers the sink, and releases what was held for a mapping's sake. Every
    /// row is enqueued for a new sink, and every row of a kind for its new index. Does nothing where all is so.
    pub async fn prepare(&self) -> Result<(), Error> {
        let created = mapping::prepare(&self.client, &self.settings).await?;
        let known = outbox::sink(&self.pool, SINK).await?.is_some();
        let empty = if known { created } else { Kind::ALL.to_vec() };
        if !empty.is_empty() {
            let registered = outbox::register(&self.pool, SINK).await?;
            reindex::enqueue_all(&self.pool, SINK, &registered, &empty, &|_| {}).await?;
        }
        outbox::set_state(&self.pool, SINK, "active", None).await?;
        Ok(())
    }

    /// Aliases that [`Projector::prepare`] has not made yet, or that were removed since.
    pub async fn missing_aliases(&self) -> Result<Vec<String>, Error> {
        let mut missing = Vec::new();
        for kind in Kind::ALL {
            let alias = mapping::alias(&self.settings.prefix, kind);
            if mapping::concrete(&self.client, &alias).await?.is_empty() {
                missing.push(alias);
            }
        }
        Ok(missing)
    }

    /// How many outbox entries the index has still to be told.
    pub async fn backlog(&self) -> Result<i64, Error> {
        Ok(outbox::backlog(&self.pool, SINK).await?)
    }

    /// The alias that a sink writes to: a reindex fills its indices behind aliases of their own.
    fn target(&self, sink: &str, kind: Kind) -> String {
        let alias = mapping::alias(&self.settings.prefix, kind);
        match sink.split_once(':') {
            Some((_, suffix)) => format!("{alias}-{suffix}-next"),
            None => alias,
        }
    }
}
