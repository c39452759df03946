//! `telekeep export`: a chat's message documents, to standard output or into a folder with a manifest of what is whole and what lacks.

mod columns;
mod files;
mod manifest;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use futures::{TryStreamExt, stream::BoxStream};
use serde_json::{Map, Value};
use sqlx::PgPool;

use super::{
    chat,
    exit::{Mistake, mistake},
    open, output,
};
use crate::{
    config::Config,
    projection::{self, Source, documents_of_chain, documents_of_record, documents_of_thread},
    record::{
        ChatId,
        conversation::{self, NoThread},
    },
};

#[derive(Debug, Args)]
pub struct Export {
    /// Link, @name or id
    #[arg(allow_negative_numbers = true)]
    pub chat: String,
    /// Where the documents are read from
    #[arg(long, value_enum, default_value = "record")]
    pub from: From,
    /// One JSON object a line, or a flat table
    #[arg(long, value_enum, default_value = "ndjson")]
    pub format: Format,
    /// A folder for documents, versions, links, counts over time, names, and manifest.json; standard output when not given
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Begin with the basic group that this supergroup was
    #[arg(long)]
    pub with_predecessor: bool,
    /// Only what belongs to this message: the comments of a channel's post, a forum's topic, a group's thread of replies
    #[arg(long, value_name = "MESSAGE_ID", conflicts_with = "with_predecessor")]
    pub thread: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum From {
    Record,
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Ndjson,
    Csv,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}

type Documents = BoxStream<'static, Result<Map<String, Value>, projection::Error>>;

pub async fn run(command: Export, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let chat = chat::known(&pool, &command.chat).await?;
    let Some(folder) = &command.output else {
        let (documents, _) = documents(&command, &config, &pool, chat).await?;
        write(documents, command.format, Quiet(std::io::stdout().lock())).await?;
        return Ok(ExitCode::SUCCESS);
    };
    // What is claimed to be whole was so before the first document was read.
    let mut manifest = manifest::begin(&pool, &command, chat).await?;
    let (documents, chats) = documents(&command, &config, &pool, chat).await?;
    manifest.add_chats(&pool, &chats).await?;
    let mut folder = files::Folder::new(folder)?;
    let mut file = folder.create(&format!("messages.{}", command.format.name()))?;
    manifest.messages = write(documents, command.format, &mut file).await?;
    folder.end(file)?;
    // What stands beside messages is the chats', so a thread alone has none of it.
    if command.thread.is_none() {
        manifest.add_beside(&pool, &chats, &mut folder).await?;
    }
    manifest.files = folder.files();
    let told =
        format!("{} messages in {}; manifest.json says what is whole and what lacks", manifest.messages, folder.path().display());
    folder.write_last("manifest.json", &serde_json::to_vec_pretty(&manifest)?)?;
    output::line(&told);
    Ok(ExitCode::SUCCESS)
}

/// The documents that were asked for, and the chats that they are of.
async fn documents(command: &Export, config: &Config, pool: &PgPool, chat: ChatId) -> anyhow::Result<(Documents, Vec<ChatId>)> {
    if command.from == From::Index {
        if command.with_predecessor || command.thread.is_some() {
            return mistake("--with-predecessor and --thread read the record: leave --from index away");
        }
        return Ok((open::index(config, pool)?.documents_of(chat.0, Source::Index).await?, vec![chat]));
    }
    if let Some(id) = command.thread {
        let thread = match conversation::thread(&mut *pool.acquire().await?, chat, id).await {
            Ok(thread) => thread,
            Err(NoThread::Record(e)) => return Err(e.into()),
            Err(e) => return Err(Mistake(e.to_string()).into()),
        };
        let of = thread.part.chat;
        return Ok((Box::pin(documents_of_thread(pool, thread)), vec![of]));
    }
    if command.with_predecessor {
        let parts = conversation::chain(&mut *pool.acquire().await?, chat).await?;
        let chats = parts.iter().map(|part| part.chat).collect();
        return Ok((Box::pin(documents_of_chain(pool, parts)), chats));
    }
    Ok((Box::pin(documents_of_record(pool, chat.0)), vec![chat]))
}

/// Writes documents one after the other; gives how many.
async fn write(mut documents: Documents, format: Format, mut to: impl Write) -> anyhow::Result<u64> {
    let mut count = 0;
    match format {
        Format::Ndjson => {
            while let Some(document) = documents.try_next().await? {
                serde_json::to_writer(&mut to, &document)?;
                to.write_all(b"\n")?;
                count += 1;
            }
        }
        Format::Csv => {
            let mut table = csv::Writer::from_writer(&mut to);
            table.write_record(columns::headings())?;
            while let Some(document) = documents.try_next().await? {
                table.write_record(columns::row(document)?)?;
                count += 1;
            }
            table.flush()?;
        }
    }
    to.flush()?;
    Ok(count)
}

/// Standard output whose reader may go away, as `head` does: that ends the process quietly.
struct Quiet<W>(W);

impl<W: Write> Quiet<W> {
    fn or_end<T>(result: std::io::Result<T>) -> std::io::Result<T> {
        match result {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            result => result,
        }
    }
}

impl<W: Write> Write for Quiet<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Self::or_end(self.0.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Self::or_end(self.0.flush())
    }
}
