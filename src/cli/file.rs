//! `telekeep file`: which files are wanted, how far they are, and what the rules would fetch.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanDuration};
use sqlx::PgPool;
use telekeep_queue as queue;

use super::{changed, chat, exit::mistake, open, output};
use crate::{
    config::Config,
    jobs::{avatar_download, file_download},
    record::{
        ChatId,
        file::{
            State, deciding,
            dry_run::{Count, DryRun, dry_run},
            listing,
        },
        media::{self, MediaId, MediaType},
    },
};

/// Sources that `file show` names.
const SOURCES: i64 = 20;

#[derive(Debug, Subcommand)]
pub enum File {
    /// Files, newest first, with their progress in bytes, rate and remaining time
    List(List),
    /// Fetch files whatever the rules say: again, where they are held or unavailable
    Want(Want),
    /// The rules of the configuration
    #[command(subcommand)]
    Rules(Rules),
    /// One file: state, reason, sources, position, where it is stored
    Show {
        /// Its number, photo_ID or document_ID
        file: String,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct List {
    /// wanted, fetching, held, skipped, unavailable, stored
    #[arg(long)]
    pub state: Option<State>,
    /// Those that messages of this chat carry: link, @name or id
    #[arg(long, allow_negative_numbers = true)]
    pub chat: Option<String>,
    #[arg(long, default_value_t = 50)]
    pub limit: i64,
    #[arg(long)]
    pub json: bool,
    /// Show a bar until no file is wanted or fetching any more; exit code 1 where one is held then
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Want {
    /// Numbers, or photo_ID and document_ID, as `telekeep file list` shows them
    pub files: Vec<String>,
    /// All files that messages of this chat carry: link, @name or id
    #[arg(long, allow_negative_numbers = true)]
    pub chat: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Rules {
    /// What the rules would fetch of everything in the record, and how many bytes: nothing is fetched by this
    Test {
        /// Only files that messages of this chat carry: link, @name or id
        #[arg(long, allow_negative_numbers = true)]
        chat: Option<String>,
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(command: File, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    match command {
        File::List(list) if list.watch => return watch(&pool, known(&pool, list.chat.as_deref()).await?).await,
        File::List(list) => self::list(&pool, list).await?,
        File::Want(want) => self::want(&pool, want).await?,
        File::Rules(Rules::Test { chat, json }) => test(&pool, &config, known(&pool, chat.as_deref()).await?, json).await?,
        File::Show { file, json } => show(&pool, &file, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn known(pool: &PgPool, chat: Option<&str>) -> anyhow::Result<Option<ChatId>> {
    match chat {
        Some(text) => chat::known(pool, text).await.map(Some),
        None => Ok(None),
    }
}

fn bytes(count: i64) -> String {
    HumanBytes(u64::try_from(count).unwrap_or(0)).to_string()
}

async fn list(pool: &PgPool, list: List) -> anyhow::Result<()> {
    let chat = known(pool, list.chat.as_deref()).await?;
    let mut conn = pool.acquire().await?;
    let files = listing::list(&mut conn, list.state, chat, None, list.limit).await?;
    let totals = listing::totals(&mut conn, chat).await?;
    let undecided = deciding::undecided(&mut conn).await?;
    if list.json {
        return output::json(&serde_json::json!({ "files": files, "totals": totals, "undecided": undecided }));
    }
    let rows = files.into_iter().map(|file| {
        let progress = match file.state.as_str() {
            "stored" | "skipped" => String::new(),
            _ => format!("{} of {}", bytes(file.position), file.size.map_or("?".into(), bytes)),
        };
        let rate = file.rate.filter(|rate| *rate > 0.0).map_or(String::new(), |rate| format!("{}/s", bytes(rate as i64)));
        let left = file.remaining_seconds.and_then(|left| Duration::try_from_secs_f64(left).ok());
        vec![
            file.id.to_string(),
            file.media_id,
            file.r#type,
            file.size.map_or("?".into(), bytes),
            file.state,
            progress,
            rate,
            left.map_or(String::new(), |left| HumanDuration(left).to_string()),
            file.state_reason.unwrap_or_default(),
        ]
    });
    output::table(&["file", "id", "type", "size", "state", "progress", "rate", "left", "reason"], rows, "no files");
    let rows =
        totals.into_iter().map(|total| vec![total.state, total.files.to_string(), bytes(total.bytes), bytes(total.position)]);
    output::table(&["state", "files", "bytes", "of them here"], rows, "no files are known");
    if undecided > 0 {
        output::line(&format!("{undecided} entries wait for the rules; `telekeep run` looks at them"));
    }
    Ok(())
}

/// A bar over the bytes of all files that are wanted, until none is under way.
async fn watch(pool: &PgPool, chat: Option<ChatId>) -> anyhow::Result<ExitCode> {
    let bar = output::bar(0, "bytes").with_message("files");
    loop {
        let mut conn = pool.acquire().await?;
        let totals = listing::totals(&mut conn, chat).await?;
        let undecided = deciding::undecided(&mut conn).await?;
        drop(conn);
        let of = |state: State| totals.iter().find(|total| total.state == state.as_str());
        let under_way = [State::Wanted, State::Fetching].into_iter().filter_map(of);
        let (mut files, mut all, mut here) = (0, 0, 0);
        for total in under_way {
            (files, all, here) = (files + total.files, all + total.bytes, here + total.position);
        }
        let stored = of(State::Stored).map_or(0, |total| total.bytes);
        bar.set_length(u64::try_from(all + stored).unwrap_or(0));
        bar.set_position(u64::try_from(here + stored).unwrap_or(0));
        bar.set_message(format!("{files} files"));
        if files == 0 && undecided == 0 {
            bar.finish_and_clear();
            let held = of(State::Held).map_or(0, |total| total.files);
            output::line(&format!("{} files stored, {} held", of(State::Stored).map_or(0, |total| total.files), held));
            return Ok(ExitCode::from(u8::from(held > 0)));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn want(pool: &PgPool, want: Want) -> anyhow::Result<()> {
    let chat = known(pool, want.chat.as_deref()).await?;
    let mut tx = pool.begin().await?;
    let mut files = Vec::new();
    for name in &want.files {
        match deciding::named(&mut tx, name).await? {
            Some(file) => files.push(file),
            None => return mistake(format!("there is no file {name:?}; `telekeep file list` shows what is known")),
        }
    }
    if let Some(chat) = chat {
        files = deciding::of_chat(&mut tx, chat).await?;
        if files.is_empty() {
            return mistake(format!("no file of chat {chat} is known; `telekeep coverage {chat}` shows what was read of it"));
        }
    }
    let wanted = deciding::want(&mut tx, &files).await?;
    let detail = serde_json::json!({ "files": want.files, "chat": chat.map(|chat| chat.0), "wanted": wanted.len() });
    changed::note_in(&mut tx, "file.want", "files", detail).await?;
    tx.commit().await?;
    output::line(&format!(
        "{} of {} files are wanted now; `telekeep file list --watch` shows how far they are",
        wanted.len(),
        files.len()
    ));
    Ok(())
}

async fn test(pool: &PgPool, config: &Config, chat: Option<ChatId>, json: bool) -> anyhow::Result<()> {
    let DryRun { rules: by_rule, chats: by_chat, fetched: all } = dry_run(pool, &config.files.rules(), chat).await?;
    if json {
        let rules: Vec<_> = by_rule
            .iter()
            .map(|((what, rule, kind), count)| serde_json::json!({ "action": what, "rule": rule, "type": kind, "count": count }))
            .collect();
        let chats: Vec<_> = by_chat.iter().map(|(chat, count)| serde_json::json!({ "chat_id": chat, "count": count })).collect();
        return output::json(&serde_json::json!({ "rules": rules, "chats": chats, "fetched": all }));
    }
    let row = |count: &Count| vec![count.files.to_string(), HumanBytes(count.bytes).to_string(), count.unsized_files.to_string()];
    let rows =
        by_rule.iter().map(|((what, rule, kind), count)| [vec![what.clone(), rule.clone(), kind.clone()], row(count)].concat());
    output::table(&["would", "rule", "type", "files", "bytes", "of unknown size"], rows, "no files are known");
    let rows = by_chat.iter().map(|(chat, count)| [vec![chat.to_string()], row(count)].concat());
    output::table(&["chat", "files to fetch", "bytes", "of unknown size"], rows, "nothing would be fetched");
    if config.files.rule.is_empty() {
        output::line("there are no rules: add [[files.rule]] to telekeep.toml");
    }
    output::line(&format!("{} files, {} would be fetched in all", all.files, HumanBytes(all.bytes)));
    Ok(())
}

async fn show(pool: &PgPool, name: &str, json: bool) -> anyhow::Result<()> {
    let mut conn = pool.acquire().await?;
    let found = match deciding::named(&mut conn, name).await? {
        Some(file) => listing::show(&mut conn, file).await?,
        None => None,
    };
    let Some(file) = found else {
        return mistake(format!("there is no file {name:?}; `telekeep file list` shows what is known"));
    };
    let sources = media::sources_of(&mut conn, MediaId(file.id), SOURCES).await?;
    if json {
        let sources: Vec<_> = sources
            .iter()
            .map(|s| serde_json::json!({ "chat_id": s.chat, "message_id": s.message_id, "protected": s.protected, "deleted": s.deleted }))
            .collect();
        return output::json(&serde_json::json!({ "file": file, "sources": sources }));
    }
    output::line(&format!("file {} {} {}: {}", file.id, file.media_id, file.r#type, file.state));
    let none = || "–".to_owned();
    let lines = [
        ("reason", file.state_reason.unwrap_or_else(none)),
        ("rule", file.rule.unwrap_or_else(none)),
        ("restricted", file.restricted.unwrap_or_else(|| "no".into())),
        ("mime type", file.mime_type.unwrap_or_else(none)),
        ("size", file.size.map_or_else(none, |size| format!("{size} bytes"))),
        ("here", format!("{} bytes{}", file.position, file.node.map(|node| format!(" (node {node})")).unwrap_or_default())),
        (
            "cost",
            format!(
                "{} bytes fetched, {} parts again, {} of them damaged, {} references renewed",
                file.fetched, file.refetched, file.damaged, file.renewed
            ),
        ),
        ("sha-256", file.sha256.unwrap_or_else(none)),
        ("stored at", file.location.unwrap_or_else(none)),
        ("sources", file.sources.to_string()),
    ];
    for (what, text) in lines {
        output::line(&format!("{what:<11}{text}"));
    }
    let rows = sources.iter().map(|source| {
        let marks = [(source.protected, "protected"), (source.ttl, "self-destructing"), (source.deleted, "deleted")];
        let marks: Vec<&str> = marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect();
        vec![source.chat.to_string(), source.message_id.to_string(), marks.join(", ")]
    });
    output::table(&["chat", "message", ""], rows, "no message carries it");
    Ok(())
}

/// Wants one file, and enqueues its download.
pub async fn enqueue(pool: &PgPool, file: MediaId, earlier: bool) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    let Some(known) = listing::show(&mut tx, file).await? else {
        return mistake(format!("there is no file {file}; `telekeep file list` shows what is known"));
    };
    if known.state == State::Stored.as_str() && !earlier {
        output::line(&format!("file {file} is stored already"));
        return Ok(());
    }
    deciding::want(&mut tx, &[file]).await?;
    let jobs = if known.r#type == MediaType::Avatar.as_str() {
        avatar_download::jobs_for(&mut tx, &[file], earlier).await?
    } else {
        file_download::jobs_for(&mut tx, &[file]).await?
    };
    let jobs: Vec<_> = jobs.into_iter().map(|job| job.trigger("operator")).collect();
    let (enqueued, wake) = queue::enqueue(&mut tx, &jobs).await?;
    deciding::asked(&mut tx, &[file]).await?;
    let kinds: Vec<_> = jobs.iter().map(|job| &job.kind).collect();
    changed::note_in(&mut tx, "job.enqueue", &format!("file {file}"), serde_json::json!({ "kinds": kinds })).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    for job in enqueued {
        output::line(&match job {
            queue::Enqueued::Created(id) => format!("job {id} for file {file}"),
            queue::Enqueued::Deduplicated(id, state) => format!("job {id} for file {file} exists already ({state})"),
        });
    }
    Ok(())
}
