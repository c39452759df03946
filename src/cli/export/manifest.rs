//! manifest.json: what an export holds, and what it lacks.

use std::io::Write;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde::Serialize;
use sqlx::PgPool;

use super::{
    Export,
    files::{FileRow, Folder},
};
use crate::{
    clock,
    record::{
        self, ChatId,
        report::{self, ChatCoverage},
        spans::{self, Spans},
        takeaway::{self, Beside},
    },
};

#[derive(Debug, Serialize)]
pub(super) struct Manifest {
    tool: String,
    exported_at: DateTime<Utc>,
    format: &'static str,
    /// record or index
    from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<i64>,
    /// Oldest first where one became the other.
    chats: Vec<ChatPart>,
    pub messages: u64,
    /// None for a thread, which is a part of its chat.
    #[serde(flatten)]
    beside: Option<Counts>,
    pub files: Vec<FileRow>,
}

/// What else there is of the chats.
#[derive(Debug, Default, Serialize)]
struct Counts {
    deletions: i64,
    versions: u64,
    links: u64,
    metrics: u64,
    names: u64,
}

/// One chat of an export.
#[derive(Debug, Serialize)]
struct ChatPart {
    chat_id: ChatId,
    #[serde(rename = "type")]
    kind: Option<String>,
    title: Option<String>,
    /// How many ids are in which state, as of the beginning.
    coverage: Vec<ChatCoverage>,
    /// Which ids are in which state, as of the beginning.
    ranges: Vec<Spans>,
}

/// What is said of the chat before its documents are read.
pub(super) async fn begin(pool: &PgPool, command: &Export, chat: ChatId) -> anyhow::Result<Manifest> {
    let manifest = Manifest {
        tool: format!("telekeep {}", env!("CARGO_PKG_VERSION")),
        exported_at: clock::now(),
        format: command.format.name(),
        from: match command.from {
            super::From::Record => "record",
            super::From::Index => "index",
        },
        thread: command.thread,
        chats: vec![part(pool, chat).await?],
        messages: 0,
        beside: None,
        files: Vec::new(),
    };
    Ok(manifest)
}

async fn part(pool: &PgPool, chat: ChatId) -> anyhow::Result<ChatPart> {
    let mut conn = pool.acquire().await?;
    let about = record::chat::show(&mut conn, chat).await?;
    let coverage = report::coverage_report(&mut conn, Some(chat)).await?;
    let ranges = spans::of(&mut conn, chat).await?;
    let kind = about.map(|row| row.kind);
    Ok(ChatPart { chat_id: chat, kind, title: coverage.iter().find_map(|row| row.title.clone()), coverage, ranges })
}

impl Manifest {
    /// Adds the chats that the documents are of besides, in the order of the documents.
    pub async fn add_chats(&mut self, pool: &PgPool, chats: &[ChatId]) -> anyhow::Result<()> {
        let asked: Vec<ChatPart> = std::mem::take(&mut self.chats);
        for chat in chats.iter().filter(|chat| asked.iter().all(|part| part.chat_id != **chat)) {
            self.chats.push(part(pool, *chat).await?);
        }
        self.chats.extend(asked);
        Ok(())
    }

    /// Writes what stands beside the messages of these chats, a file for each table.
    pub async fn add_beside(&mut self, pool: &PgPool, chats: &[ChatId], folder: &mut Folder) -> anyhow::Result<()> {
        let deletions = takeaway::deletions(&mut *pool.acquire().await?, chats).await?;
        let mut counts = Counts { deletions, ..Counts::default() };
        for table in Beside::ALL {
            let mut file = folder.create(&format!("{}.ndjson", table.name()))?;
            let mut rows = std::pin::pin!(takeaway::rows(pool, table, chats));
            let mut count = 0;
            while let Some(row) = rows.try_next().await? {
                serde_json::to_writer(&mut file, &row)?;
                file.write_all(b"\n")?;
                count += 1;
            }
            folder.end(file)?;
            match table {
                Beside::Versions => counts.versions = count,
                Beside::Links => counts.links = count,
                Beside::Metrics => counts.metrics = count,
                Beside::Names => counts.names = count,
            }
        }
        self.beside = Some(counts);
        Ok(())
    }
}
