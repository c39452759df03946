//! `telekeep chat`: which chats are collected.

mod find;
mod join;

use std::process::ExitCode;

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Subcommand};
use sqlx::PgPool;

use super::{exit::mistake, open, output};
use crate::{
    account::{
        Accounts,
        find::{Target, not_a_target, target},
    },
    config::Config,
    record::{
        self, ChatId,
        coverage::{self},
        event, report,
        watch::{self, NewWatch, OnDelete},
    },
    trigger::listener,
};

#[derive(Debug, Subcommand)]
pub enum Chat {
    /// Watched chats
    List {
        #[arg(long)]
        json: bool,
    },
    /// One chat: its facts, its watch, its coverage
    Show {
        /// Link, @name or id
        #[arg(allow_negative_numbers = true)]
        chat: String,
        #[arg(long)]
        json: bool,
    },
    /// Collect a chat from now on; workflows that listen for chat.watched begin
    Watch(WatchArgs),
    /// Stop collecting a chat; what is stored stays
    Unwatch {
        #[arg(allow_negative_numbers = true)]
        chat: String,
    },
    /// Join chats: at their turn, minutes apart, each by the account that suits best
    Join(join::JoinArgs),
    /// Leave a chat; what is stored stays
    Leave(join::LeaveArgs),
    /// Joins and what came of them, the newest first
    Joins(join::ListArgs),
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Link, @name or id
    #[arg(allow_negative_numbers = true)]
    pub chat: String,
    /// Why; needed for private chats, and recorded
    #[arg(long)]
    pub purpose: Option<String>,
    /// The label of the account that reads it; any that can when not given
    #[arg(long)]
    pub account: Option<String>,
    /// For workflows to select by; may be repeated
    #[arg(long = "tag")]
    pub tags: Vec<String>,
    /// Nothing older than this day (UTC)
    #[arg(long, value_parser = day)]
    pub since: Option<DateTime<Utc>>,
    /// What a deletion on Telegram does to the content here, from now on [default: keep]
    #[arg(long, value_enum)]
    pub on_delete: Option<OnDelete>,
}

fn day(text: &str) -> Result<DateTime<Utc>, String> {
    let day: NaiveDate = text.parse().map_err(|_| format!("{text:?} is not a day; write it as 2025-12-31"))?;
    Ok(day.and_time(chrono::NaiveTime::MIN).and_utc())
}

pub async fn run(command: Chat, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    match command {
        Chat::List { json } => {
            let watches = watch::list(&mut *pool.acquire().await?).await?;
            if json {
                output::json(&watches)?;
            } else {
                let rows = watches.into_iter().map(|w| {
                    let name = w.username.map(|n| format!("@{n}")).unwrap_or_default();
                    vec![
                        w.chat_id.to_string(),
                        w.kind.unwrap_or_default(),
                        w.title.unwrap_or_default(),
                        name,
                        w.reader.unwrap_or_default(),
                        w.tags.join(" "),
                    ]
                });
                output::table(
                    &["chat", "type", "title", "name", "reader", "tags"],
                    rows,
                    "no watched chats; `telekeep chat watch LINK` adds one",
                );
            }
        }
        Chat::Show { chat, json } => {
            let chat = known(&pool, &chat).await?;
            let mut conn = pool.acquire().await?;
            let Some(watch) = watch::show(&mut conn, chat).await? else { return Err(record::Error::NotWatched(chat).into()) };
            let facts = record::chat::show(&mut conn, chat).await?;
            let coverage = report::coverage_report(&mut conn, Some(chat)).await?;
            let access = record::reader::sights(&mut conn, chat).await?;
            let photos = record::avatar::history(&mut conn, chat.0).await?;
            let value =
                serde_json::json!({ "watch": watch, "chat": facts, "photos": photos, "coverage": coverage, "access": access });
            if json { output::json(&value)? } else { output::line(&serde_json::to_string_pretty(&value)?) }
        }
        Chat::Watch(args) => {
            let accounts = open::accounts(&config, &pool)?;
            let watched = begin(&config, &pool, &accounts, args).await;
            accounts.close().await;
            watched?;
        }
        Chat::Join(args) => return join::join(&config, &pool, args).await,
        Chat::Leave(args) => return join::leave(&config, &pool, args).await,
        Chat::Joins(args) => join::list(&pool, args).await?,
        Chat::Unwatch { chat } => {
            let chat = known(&pool, &chat).await?;
            let was = watch::unwatch(&mut *pool.acquire().await?, chat).await?;
            output::line(&if was {
                format!("chat {chat} is no longer watched; what is stored stays")
            } else {
                format!("chat {chat} was not watched")
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Watches a chat, and lets the workflows that listen for it begin. Gives the chat.
pub async fn begin(config: &Config, pool: &PgPool, accounts: &Accounts, args: WatchArgs) -> anyhow::Result<ChatId> {
    let workflows = open::workflows(config)?;
    let found = find::named(pool, accounts, &args.chat, args.account.as_deref(), args.since).await?;
    let mut tx = pool.begin().await?;
    let wish = NewWatch {
        purpose: args.purpose,
        tags: args.tags,
        since: args.since,
        reader: Some(found.account),
        on_delete: args.on_delete,
        ..NewWatch::new(found.chat)
    };
    let new = watch::watch(&mut tx, &wish).await?;
    if let Some(floor) = found.floor {
        let ledger = coverage::open(&mut tx, found.chat, found.account).await?;
        coverage::set_floor(&mut tx, ledger.id, floor).await?;
    }
    if new {
        event::note(&mut tx, found.chat, event::WATCHED, Some(found.account)).await?;
    }
    let opened = listener::consume_now(&mut tx, &workflows, found.chat).await?;
    tx.commit().await?;
    output::line(&format!("chat {} is {}watched", found.chat, if new { "" } else { "already " }));
    opened.wake(pool).await;
    Ok(found.chat)
}

/// A chat that the record knows, by link, @name or id.
pub async fn known(pool: &PgPool, text: &str) -> anyhow::Result<ChatId> {
    match target(text) {
        Some(Target::Id(id)) => Ok(ChatId(id)),
        Some(Target::Name(name)) => {
            let watches = watch::list(&mut *pool.acquire().await?).await?;
            match watches.iter().find(|w| w.username.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(&name))) {
                Some(watch) => Ok(ChatId(watch.chat_id)),
                None => mistake(format!("no watched chat is named @{name}; `telekeep chat list` shows them")),
            }
        }
        None => mistake(not_a_target(text)),
    }
}
