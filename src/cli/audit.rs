//! `telekeep audit` and `telekeep dead-letter`: does the index hold what the record holds?

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use super::{open, output};
use crate::{config::Config, projection::AuditOptions, record::outbox};

#[derive(Debug, Args)]
pub struct Audit {
    /// Compare whole documents, not only ids and versions
    #[arg(long)]
    pub deep: bool,
    /// Only look; else the index is repaired from the record, and looked at again
    #[arg(long)]
    pub no_repair: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum DeadLetter {
    /// Documents that the index refused, and why
    List {
        #[arg(long, default_value_t = 100)]
        limit: i64,
        #[arg(long)]
        json: bool,
    },
    /// Send them again, all of them
    Retry,
}

pub async fn run(command: Audit, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let projector = open::index(&config, &pool)?;
    let options = AuditOptions { deep: command.deep, repair: !command.no_repair, wait: !command.no_repair };
    let report = projector.audit(options, &CancellationToken::new()).await?;
    if command.json {
        output::json(&report)?;
    } else {
        let rows = report.kinds.iter().map(|k| {
            let numbers = [k.checked, k.missing, k.extra, k.stale, k.altered, k.repaired];
            [format!("{:?}", k.kind).to_lowercase()].into_iter().chain(numbers.map(|n| n.to_string())).collect()
        });
        output::table(&["kind", "checked", "missing", "extra", "stale", "altered", "repaired"], rows, "nothing to compare");
        for f in report.findings.iter().take(10) {
            output::line(&format!("{} is {}", f.id, format!("{:?}", f.what).to_lowercase()));
        }
        output::line(match (report.differences(), report.holds()) {
            (0, _) => "the index holds what the record holds",
            (_, true) => "audit failed: differences were found; they are repaired, and a second look found none",
            (_, false) => "audit failed: the index differs from the record",
        });
    }
    Ok(ExitCode::from(u8::from(!report.holds())))
}

pub async fn dead_letters(command: DeadLetter, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    match command {
        DeadLetter::List { limit, json } => {
            let letters = outbox::dead_letters(&pool, limit).await?;
            if json {
                output::json(&letters)?;
            } else {
                let rows = letters.into_iter().map(|l| {
                    let place = match (l.chat_id, l.message_id) {
                        (Some(chat), Some(message)) => format!("{chat} {message}"),
                        _ => l.key1.to_string(),
                    };
                    vec![l.kind.as_str().into(), place, l.revision.to_string(), l.reason]
                });
                output::table(&["kind", "document", "revision", "reason"], rows, "no dead letters");
            }
        }
        DeadLetter::Retry => output::line(&format!("{} documents are sent again", outbox::retry_dead_letters(&pool, None).await?)),
    }
    Ok(ExitCode::SUCCESS)
}
