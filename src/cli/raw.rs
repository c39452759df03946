//! `telekeep raw`: messages that are kept raw, because a version did not understand all of them.

use std::process::ExitCode;

use clap::Subcommand;
use sqlx::PgPool;

use super::{changed, chat, open, output};
use crate::{
    config::Config,
    normalize,
    record::{ChatId, raw},
};

/// Messages of one transaction.
const BATCH: i64 = 200;

#[derive(Debug, Subcommand)]
pub enum Raw {
    /// Messages that are kept raw, and why; never their text
    List {
        /// Link, @name or id; all chats when not given
        #[arg(long, allow_negative_numbers = true)]
        chat: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Try again to understand them, as after an update of Telekeep
    Retry {
        /// Link, @name or id; all watched chats when not given
        #[arg(long, allow_negative_numbers = true)]
        chat: Option<String>,
    },
}

pub async fn run(command: Raw, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    match command {
        Raw::List { chat, json } => {
            let chat = known(&pool, chat).await?;
            let rows = raw::list(&mut *pool.acquire().await?, chat).await?;
            if json {
                output::json(&rows)?;
                return Ok(ExitCode::SUCCESS);
            }
            let rows = rows
                .into_iter()
                .map(|row| vec![row.chat_id.to_string(), row.message_id.to_string(), row.bytes.to_string(), row.reason]);
            output::table(&["chat", "message", "bytes", "reason"], rows, "every message was understood in full");
        }
        Raw::Retry { chat } => {
            let chat = known(&pool, chat).await?;
            let Retried { whole, still, unreadable } = retry(&pool, chat).await?;
            output::line(&format!(
                "{whole} are whole now, {still} are kept raw still, {unreadable} are in a form that this version cannot read"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn known(pool: &PgPool, chat: Option<String>) -> anyhow::Result<Option<ChatId>> {
    match chat {
        Some(text) => Ok(Some(chat::known(pool, &text).await?)),
        None => Ok(None),
    }
}

#[derive(Debug, Default)]
struct Retried {
    whole: u64,
    still: u64,
    unreadable: u64,
}

async fn retry(pool: &PgPool, chat: Option<ChatId>) -> anyhow::Result<Retried> {
    let mut retried = Retried::default();
    let mut after = (i64::MIN, i64::MIN);
    let mut is_noted = false;
    loop {
        let mut tx = pool.begin().await?;
        let batch = raw::next(&mut tx, chat, after, BATCH).await?;
        let Some(last) = batch.last() else { return Ok(retried) };
        after = (last.box_id, last.message_id);
        let mut written = false;
        for kept in &batch {
            match normalize::message::again(&kept.raw).filter(|it| (it.chat.0, it.id) == (kept.chat_id, kept.message_id)) {
                Some(understood) => {
                    let is_whole = understood.raw.is_none();
                    let says_the_same = understood.raw.as_ref().is_some_and(|raw| raw.reason == kept.raw_reason);
                    if !says_the_same {
                        if !raw::commit(&mut tx, kept, &understood).await? {
                            // It was told anew meanwhile, whole or not.
                            continue;
                        }
                        written = true;
                    }
                    if is_whole { retried.whole += 1 } else { retried.still += 1 }
                }
                None => retried.unreadable += 1,
            }
        }
        if written && !is_noted {
            let target = chat.map_or_else(|| "messages kept raw".to_owned(), |chat| format!("chat {chat}"));
            changed::note_in(&mut tx, "raw.retry", &target, serde_json::json!({})).await?;
            is_noted = true;
        }
        tx.commit().await?;
    }
}
