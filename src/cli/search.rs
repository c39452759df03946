//! `telekeep search`: in the index, or in the record where there is none.

use std::process::ExitCode;

use clap::Args;

use super::{open, output};
use crate::{config::Config, record::search};

#[derive(Debug, Args)]
pub struct Search {
    /// Words; all must occur. "…" is a phrase, -word (after --) excludes
    #[arg(required = true)]
    pub query: Vec<String>,
    #[arg(long, default_value_t = 10)]
    pub limit: u32,
    #[arg(long)]
    pub json: bool,
}

pub async fn run(command: Search, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let query = command.query.join(" ");
    let (place, hits) = match open::projector(&config, &pool)? {
        Some(projector) => ("index", projector.search(&query, command.limit).await?),
        None => ("record", search::search(&pool, &query, command.limit.into()).await?),
    };
    if command.json {
        output::json(&hits)?;
        return Ok(ExitCode::SUCCESS);
    }
    for hit in &hits.hits {
        let date = hit.date.map_or(String::new(), |d| d.format("%Y-%m-%d %H:%M").to_string());
        output::line(&format!("{} {} {date}", hit.chat_id, hit.message_id));
        output::line(&format!("    {}", hit.highlight.replace('\n', " ")));
    }
    output::line(&format!("{} of {} hits, from the {place}", hits.hits.len(), hits.total));
    Ok(ExitCode::SUCCESS)
}
