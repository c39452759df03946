//! `telekeep audit-log`: what was changed, by whom and when.

use std::process::ExitCode;

use clap::Subcommand;

use super::{open, output};
use crate::{
    config::Config,
    record::audit_log::{self, Entry, Filter},
};

#[derive(Debug, Subcommand)]
pub enum AuditLog {
    /// Changes, the newest first
    List {
        /// By whom, as token:NAME, link, cli:USER@HOST or node:NAME
        #[arg(long)]
        who: Option<String>,
        /// What, as job.retry, or all of a group, as job
        #[arg(long)]
        what: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: i64,
        /// Older ones than this: the last of the list before
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(command: AuditLog, config: Config) -> anyhow::Result<ExitCode> {
    let AuditLog::List { who, what, limit, before, json } = command;
    let pool = open::record(&config).await?;
    let entries = audit_log::list(&pool, &Filter { who, what, before }, limit.max(0)).await?;
    if json {
        output::json(&entries)?;
    } else {
        output::table(&["id", "when (UTC)", "who", "what", "on what", "asked for"], entries.into_iter().map(row), "no changes");
    }
    Ok(ExitCode::SUCCESS)
}

fn row(entry: Entry) -> Vec<String> {
    let at = entry.at.format("%Y-%m-%d %H:%M:%S").to_string();
    let asked = match entry.detail.as_object() {
        Some(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            said.map(|(field, value)| format!("{field}={value}")).collect::<Vec<_>>().join(" ")
        }
        None => entry.detail.to_string(),
    };
    vec![entry.id.to_string(), at, entry.who, entry.what, entry.target, asked]
}
