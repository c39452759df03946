//! `telekeep export`: a chat's message documents, one JSON object a line.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use futures::TryStreamExt;

use super::{chat, open, output};
use crate::{
    config::Config,
    projection::{Source, documents_of_record},
};

#[derive(Debug, Args)]
pub struct Export {
    /// Link, @name or id
    #[arg(allow_negative_numbers = true)]
    pub chat: String,
    /// Where the documents are read from
    #[arg(long, value_enum, default_value = "record")]
    pub from: From,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum From {
    Record,
    Index,
}

pub async fn run(command: Export, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let chat = chat::known(&pool, &command.chat).await?;
    let mut documents = match command.from {
        From::Record => Box::pin(documents_of_record(&pool, chat.0)),
        From::Index => open::index(&config, &pool)?.documents_of(chat.0, Source::Index).await?,
    };
    while let Some(document) = documents.try_next().await? {
        output::json(&document)?;
    }
    Ok(ExitCode::SUCCESS)
}
