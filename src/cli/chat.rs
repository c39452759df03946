//! `telekeep chat`: which chats are collected.

mod join;

use std::process::ExitCode;

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Subcommand};
use sqlx::PgPool;

use super::{
    changed,
    exit::{Mistake, mistake},
    open, output,
};
use crate::{
    account::{
        Accounts,
        find::{Target, not_a_target, target},
    },
    config::Config,
    record::{
        self, ChatId,
        audit_log::Change,
        report,
        watch::{self, OnDelete},
    },
    trigger::watching::{self, Wish},
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
    /// Give a watched chat these tags in place of those that it has, for workflows to select by
    Tag {
        /// Link, @name or id
        #[arg(allow_negative_numbers = true)]
        chat: String,
        #[arg(required_unless_present = "none", value_name = "TAG", value_parser = tag)]
        tags: Vec<String>,
        /// No tags any more
        #[arg(long, conflicts_with = "tags")]
        none: bool,
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

fn tag(text: &str) -> Result<String, String> {
    if watch::is_tag(text) { Ok(text.to_owned()) } else { Err("a tag has 1 to 64 characters, no spaces and no commas".into()) }
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
        Chat::Tag { chat, tags, none: _ } => {
            if tags.len() > watch::MOST_TAGS {
                return mistake(format!("a chat has at most {} tags", watch::MOST_TAGS));
            }
            let chat = known(&pool, &chat).await?;
            let mut tx = pool.begin().await?;
            if !watch::set_tags(&mut tx, chat, &tags).await? {
                return Err(record::Error::NotWatched(chat).into());
            }
            changed::note_in(&mut tx, "chat.tags", &format!("chat {chat}"), serde_json::json!({ "tags": tags })).await?;
            tx.commit().await?;
            output::line(&match &tags[..] {
                [] => format!("chat {chat} has no tags any more"),
                _ => format!("the tags of chat {chat} are {}", tags.join(" ")),
            });
        }
        Chat::Join(args) => return join::join(&config, &pool, args).await,
        Chat::Leave(args) => return join::leave(&config, &pool, args).await,
        Chat::Joins(args) => join::list(&pool, args).await?,
        Chat::Unwatch { chat } => {
            let chat = known(&pool, &chat).await?;
            let mut tx = pool.begin().await?;
            let was = watch::unwatch(&mut tx, chat).await?;
            if was {
                changed::note_in(&mut tx, "chat.unwatch", &format!("chat {chat}"), serde_json::json!({})).await?;
            }
            tx.commit().await?;
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
    let detail = serde_json::json!({ "purpose": args.purpose, "tags": args.tags, "since": args.since, "account": args.account });
    let who = changed::who();
    let change = Change { who: &who, what: "chat.watch", target: "", detail, request: None };
    let WatchArgs { chat, purpose, account, tags, since, on_delete } = args;
    let wish = Wish { chat, purpose, account, tags, since, on_delete };
    let begun = watching::begin(pool, accounts, &workflows, wish, &change, |told| eprintln!("{told}")).await;
    let begun = begun.map_err(|error| match error {
        // as they are told elsewhere, and with their exit codes
        watching::Error::Account(error) => error.into(),
        watching::Error::Record(error) => error.into(),
        watching::Error::Refused(told) => Mistake(told).into(),
        error => anyhow::Error::from(error),
    })?;
    output::line(&format!("chat {} is {}watched", begun.chat, if begun.is_new { "" } else { "already " }));
    Ok(begun.chat)
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
