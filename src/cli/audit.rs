//! `telekeep audit` and `telekeep dead-letter`: does the index hold what the record holds, and the record what Telegram holds?

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use super::{changed, chat, open, output};
use crate::{
    account::audit::{ChatReport, Report, TelegramAudit},
    config::Config,
    error::JobError,
    projection::AuditOptions,
    record::outbox,
};

#[derive(Debug, Args)]
pub struct Audit {
    /// Compare whole documents, not only ids and versions
    #[arg(long)]
    pub deep: bool,
    /// Read a sample again at Telegram and compare it with the record, in place of the index. No other process may use the accounts
    #[arg(long, conflicts_with = "deep")]
    pub telegram: bool,
    /// With --telegram: link, @name or id; all watched chats when not given
    #[arg(allow_negative_numbers = true, requires = "telegram")]
    pub chat: Option<String>,
    /// With --telegram: how many ids of each chat, spread over what is settled; 100 cost one call
    #[arg(long, default_value_t = 500, requires = "telegram")]
    pub sample: usize,
    /// Only look; else what differs is repaired: the index from the record, the record from Telegram
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
    if command.telegram {
        return telegram(command, config).await;
    }
    let pool = open::record(&config).await?;
    let projector = open::index(&config, &pool)?;
    let options = AuditOptions { deep: command.deep, repair: !command.no_repair, wait: !command.no_repair };
    let report = projector.audit(options, &CancellationToken::new()).await?;
    if report.repaired() > 0 {
        let detail = serde_json::json!({ "deep": command.deep, "repaired": report.repaired() });
        changed::note(&pool, "audit.repair", "index", detail).await?;
    }
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

async fn telegram(command: Audit, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let chat = match &command.chat {
        Some(text) => Some(chat::known(&pool, text).await?),
        None => None,
    };
    let accounts = open::accounts(&config, &pool)?;
    let bar = output::spinner("reading again");
    let audit = TelegramAudit { sample: command.sample, repair: !command.no_repair };
    let report = accounts
        .audit(chat, audit, |asked| {
            bar.inc(asked);
            bar.set_message(format!("reading again: {} ids", bar.position()));
        })
        .await;
    bar.finish_and_clear();
    accounts.close().await;
    // An account in use is told as everywhere.
    let report = report.map_err(|error| match error {
        JobError::Account(error) => anyhow::Error::from(error),
        other => other.into(),
    })?;
    // What is only named is kept as lost: a change, too.
    let sum = |of: fn(&ChatReport) -> u64| report.chats.iter().map(of).sum::<u64>();
    let (repaired, named) = (sum(|chat| chat.repaired), sum(|chat| chat.named));
    if !command.no_repair && repaired + named > 0 {
        let target = chat.map_or_else(|| "record".to_owned(), |chat| format!("chat {chat}"));
        changed::note(&pool, "audit.repair", &target, serde_json::json!({ "repaired": repaired, "named": named })).await?;
    }
    if command.json {
        output::json(&report)?;
    } else {
        tell(&report, command.no_repair);
    }
    Ok(ExitCode::from(u8::from(report.faults() > 0)))
}

fn tell(report: &Report, only_looked: bool) {
    let rows = report.chats.iter().map(|c| {
        let numbers = [c.asked, c.removed, c.differs, c.undeleted, c.deleted, c.lost, c.repaired, c.named];
        [c.chat_id.to_string()].into_iter().chain(numbers.map(|n| n.to_string())).collect()
    });
    let headings = ["chat", "asked", "removed", "differs", "undeleted", "deleted", "lost", "repaired", "named"];
    output::table(&headings, rows, "nothing is collected yet; `telekeep chat watch LINK` begins");
    for finding in report.findings.iter().take(10) {
        let what = format!("{:?}", finding.what).to_lowercase();
        output::line(&format!("{} {}: {what}", finding.chat_id, finding.message_id));
    }
    for chat in &report.chats {
        if let Some(why) = &chat.unread {
            output::line(&format!("{} was not read: {why}", chat.chat_id));
        }
    }
    output::line(match report.faults() {
        0 => "the record holds what Telegram told of the sample",
        _ if only_looked => "audit failed: the record differs from Telegram; without --no-repair it is mended",
        _ if report.is_repaired() => "audit failed: the record differed from Telegram; what was found is mended",
        _ => "audit failed: the record differs from Telegram, and not all of it could be mended",
    });
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
        DeadLetter::Retry => {
            let sent = outbox::retry_dead_letters(&pool, None).await?;
            changed::note(&pool, "dead_letter.retry", "dead letters", serde_json::json!({ "documents": sent })).await?;
            output::line(&format!("{sent} documents are sent again"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
