//! Opening what commands need: the record (its schema checked), the accounts, the index, the workflows.

use std::sync::Arc;

use sqlx::PgPool;

use super::exit::mistake;
use crate::{
    MIGRATOR,
    account::{Accounts, Identity},
    config::Config,
    jobs,
    media::Keeping,
    projection::{Projector, Settings},
    record::{self, SchemaState},
    telegram::TelegramConfig,
    telemetry::traces,
    workflow::{self, Workflows},
};

/// The record, if its schema is this version's.
pub async fn record(config: &Config) -> anyhow::Result<PgPool> {
    let pool = record::connect(config.database_url()?).await?;
    match record::schema_state(&pool, &MIGRATOR).await? {
        SchemaState::Current => {
            if config.telemetry.otlp.is_some() {
                traces::of_record(record::database::identity(&pool).await?);
            }
            Ok(pool)
        }
        state => mistake(state.to_string()),
    }
}

/// This node's name: as given, as configured, or the host's.
pub fn node_name(config: &Config, given: Option<&str>) -> String {
    given.map(str::to_owned).or_else(|| config.node.name.clone()).unwrap_or_else(|| Identity::default().name)
}

/// The accounts of this process.
pub fn accounts(config: &Config, pool: &PgPool) -> anyhow::Result<Arc<Accounts>> {
    accounts_of(config, pool, &node_name(config, None))
}

/// The accounts of this process, which has this name.
pub fn accounts_of(config: &Config, pool: &PgPool, name: &str) -> anyhow::Result<Arc<Accounts>> {
    // Without an identity only sessions at a simulated datacentre can be opened: `Accounts` says so.
    let (api_id, api_hash) = config.api().unwrap_or((0, ""));
    let request_timeout = std::time::Duration::from_secs(config.telegram.timeout_seconds.max(1));
    let device = config.telegram.device.clone();
    let (pace, lanes) = (config.telegram.pace, config.files.limits());
    let telegram = TelegramConfig { request_timeout, pace, device, lanes, ..TelegramConfig::new(api_id, api_hash) };
    let identity = Identity { name: name.to_owned(), source: config.node.source_address };
    Ok(Arc::new(Accounts::new(pool.clone(), telegram, config.key_source()).known_as(identity)))
}

/// What the configuration says to jobs, under this node's name.
pub fn settings(config: &Config, name: Option<&str>) -> jobs::Settings {
    let files = Keeping::new(config.files.open_store(), config.files.quota_bytes, &node_name(config, name));
    jobs::Settings { members: config.members.clone(), files }
}

/// The projection, where Elasticsearch is configured; it need not be reachable yet.
pub fn projector(config: &Config, pool: &PgPool) -> anyhow::Result<Option<Projector>> {
    let Some(url) = &config.elasticsearch_url else { return Ok(None) };
    let settings = Settings { prefix: config.index.prefix.clone(), shards: config.index.shards, ..Settings::new(url.reveal()) };
    Ok(Some(Projector::new(pool.clone(), settings)?))
}

/// The projection, for commands that work on the index alone.
pub fn index(config: &Config, pool: &PgPool) -> anyhow::Result<Projector> {
    match projector(config, pool)? {
        Some(projector) => Ok(projector),
        None => mistake("ELASTICSEARCH_URL is not set: there is no index; `eval \"$(scripts/up)\"` starts one here"),
    }
}

/// The workflows of the configured folder.
pub fn workflows(config: &Config) -> anyhow::Result<Workflows> {
    Ok(workflow::file::load(&config.workflows, jobs::KINDS)?)
}
