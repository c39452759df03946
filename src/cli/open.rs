//! Opening what commands need: the record (its schema checked), the accounts, the index, the workflows.

use std::sync::Arc;

use anyhow::Context;
use sqlx::PgPool;

use super::exit::mistake;
use crate::{
    MIGRATOR,
    account::Accounts,
    config::Config,
    jobs,
    projection::Elasticsearch,
    record::{self, SchemaState},
    workflow::{self, Workflows},
};

/// The record, if its schema is this version's.
pub async fn record(config: &Config) -> anyhow::Result<PgPool> {
    let pool = record::connect(config.database_url()?).await?;
    match record::schema_state(&pool, &MIGRATOR).await? {
        SchemaState::Current => Ok(pool),
        state => mistake(schema_remedy(&state)),
    }
}

/// What to do about a schema that is not this version's.
pub fn schema_remedy(state: &SchemaState) -> String {
    state.to_string()
}

/// The accounts of this process.
pub fn accounts(config: &Config, pool: &PgPool) -> anyhow::Result<Arc<Accounts>> {
    Ok(Arc::new(Accounts::new(pool.clone(), config)?))
}

/// Elasticsearch, where it is configured; it need not be reachable yet.
pub fn elasticsearch(config: &Config) -> anyhow::Result<Option<Elasticsearch>> {
    config
        .elasticsearch_url
        .as_ref()
        .map(|url| Elasticsearch::connect(url.reveal(), &config.index.prefix, config.index.shards))
        .transpose()
        .context("ELASTICSEARCH_URL")
}

/// The workflows of the configured folder.
pub fn workflows(config: &Config) -> anyhow::Result<Workflows> {
    Ok(workflow::file::load(&config.workflows, jobs::KINDS)?)
}
