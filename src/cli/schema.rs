//! `telekeep migrate` and `telekeep reindex`: tables and indices.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::{changed, exit::mistake, open, output};
use crate::{
    MIGRATOR,
    config::Config,
    record::{self, SchemaState},
};

/// Prepares tables, and indices where Elasticsearch is configured.
pub async fn migrate(config: Config) -> anyhow::Result<ExitCode> {
    let pool = record::connect(config.database_url()?).await?;
    match record::schema_state(&pool, &MIGRATOR).await? {
        SchemaState::Current => output::line("tables: current"),
        SchemaState::Old { missing } => {
            MIGRATOR.run(&pool).await?;
            output::line(&format!("tables: {} migrations ran", missing.len()));
        }
        state => return mistake(state.to_string()),
    }
    match open::projector(&config, &pool)? {
        Some(projector) => {
            projector.prepare().await?;
            output::line(&format!("indices: {}-* are ready", config.index.prefix));
        }
        None => output::line("indices: none, for ELASTICSEARCH_URL is not set; search runs on the record"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Rebuilds the index from the record, beside the old one, then swaps.
pub async fn reindex(config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let projector = open::index(&config, &pool)?;
    // Before it begins: one that is interrupted has made an index, too.
    changed::note(&pool, "index.rebuild", "index", serde_json::json!({})).await?;
    let bar = output::spinner("reindexing");
    projector.reindex(&CancellationToken::new(), |progress| bar.set_message(format!("reindexing: {progress}"))).await?;
    bar.finish_and_clear();
    output::line("the index is rebuilt from the record");
    Ok(ExitCode::SUCCESS)
}
