//! `telekeep migrate` and `telekeep reindex`: tables and indices.

use std::process::ExitCode;

use super::{exit::mistake, open, output};
use crate::{
    MIGRATOR,
    config::Config,
    projection,
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
    match open::elasticsearch(&config)? {
        Some(elasticsearch) => {
            projection::prepare(&pool, &elasticsearch).await?;
            output::line(&format!("indices: {}-* are ready", config.index.prefix));
        }
        None => output::line("indices: none, for ELASTICSEARCH_URL is not set; search runs on the record"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Rebuilds the index from the record, beside the old one, then swaps.
pub async fn reindex(config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let Some(elasticsearch) = open::elasticsearch(&config)? else {
        return mistake("ELASTICSEARCH_URL is not set: there is no index to rebuild");
    };
    let bar = output::bar(0, "documents").with_message("reindexing");
    projection::reindex(&pool, &elasticsearch, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })
    .await?;
    bar.finish_and_clear();
    output::line("the index is rebuilt from the record");
    Ok(ExitCode::SUCCESS)
}
