//! `telekeep coverage`: what is collected, what is missing and why.

use std::process::ExitCode;

use clap::Args;

use super::{chat, open, output};
use crate::{config::Config, record::report};

#[derive(Debug, Args)]
pub struct Coverage {
    /// Link, @name or id; all watched chats when not given
    #[arg(allow_negative_numbers = true)]
    pub chat: Option<String>,
    #[arg(long)]
    pub json: bool,
}

pub async fn run(command: Coverage, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let chat = match command.chat {
        Some(text) => Some(chat::known(&pool, &text).await?),
        None => None,
    };
    let chats = report::coverage_report(&mut *pool.acquire().await?, chat).await?;
    if command.json {
        output::json(&serde_json::json!({ "chats": chats }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = chats.into_iter().map(|c| {
        let holes: Vec<_> =
            c.holes.iter().take(3).map(|(from, to)| if from == to { from.to_string() } else { format!("{from}–{to}") }).collect();
        let more = if c.holes.len() > 3 { format!(" and {} more", c.holes.len() - 3) } else { String::new() };
        let dead = match (c.raw, c.refused) {
            (0, 0) => "0".to_owned(),
            (raw, 0) => format!("{raw} raw"),
            (0, refused) => format!("{refused} refused"),
            (raw, refused) => format!("{raw} raw, {refused} refused"),
        };
        let numbers = [c.top, c.collected, c.deleted, c.lost, c.empty, c.inaccessible, c.stale, c.revisit].map(|n| n.to_string());
        let verified = c.verified_at.map_or_else(|| "never".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string());
        let last = [dead, c.missing.to_string(), c.pending.to_string(), verified, holes.join(", ") + more.as_str()];
        [c.chat_id.to_string(), c.title.unwrap_or_default()].into_iter().chain(numbers).chain(last).collect()
    });
    // In UTC.
    let headings = [
        "chat",
        "title",
        "top",
        "collected",
        "deleted",
        "lost",
        "empty",
        "inaccessible",
        "stale",
        "to revisit",
        "dead",
        "missing",
        "pending",
        "verified as of",
        "holes",
    ];
    output::table(&headings, rows, "nothing is collected yet; `telekeep chat watch LINK` begins");
    Ok(ExitCode::SUCCESS)
}
