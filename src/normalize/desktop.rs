//! `result.json` as Telegram Desktop exports it → facts. Read as a stream, twice: which chats there are, then message by message, so
//! that an export of gigabytes takes no more memory than one message.
//!
//! Format: what <https://github.com/telegramdesktop/tdesktop> writes in `Telegram/SourceFiles/export/output/export_output_json.cpp`.
//! What a file has and the record has no place for is counted by its name, never silently dropped.

mod attachment;
mod damage;
mod message;
mod object;
mod service;
mod walk;
mod words;

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::{Map, Value};

use crate::record::{Chat, ChatId, Message, User};

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("line {line}, column {column}: {problem}")]
    Json { line: usize, column: usize, problem: String },
    /// A JSON file of something else.
    #[error(
        "it is JSON, but no export of Telegram Desktop: there are no chats in it (export as machine-readable JSON, with messages)"
    )]
    NoExport,
    #[error("it cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// Whoever takes the messages wants no more.
    #[error("reading was stopped")]
    Stopped,
}

/// What a file has and the record has no place for: how often, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut(BTreeMap<String, u64>);

impl LeftOut {
    fn add(&mut self, what: impl Into<String>) {
        self.add_many(what, 1);
    }

    fn add_many(&mut self, what: impl Into<String>, count: u64) {
        if count > 0 {
            *self.0.entry(what.into()).or_default() += count;
        }
    }

    /// Each thing with its count, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (what.as_str(), *count))
    }

    /// Adds what another part left out.
    pub fn extend(&mut self, other: Self) {
        for (what, count) in other.0 {
            self.add_many(what, count);
        }
    }
}

/// One chat of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub chat: ChatId,
    /// As the record calls it: private, bot, group, supergroup, channel
    pub kind: &'static str,
    /// None: a deleted account's.
    pub title: Option<String>,
    /// How many the file has.
    pub messages: u64,
}

impl Head {
    /// What the file tells of the chat itself.
    pub fn fact(&self) -> Chat {
        let body = self.title.iter().map(|title| ("title".to_owned(), Value::from(title.as_str()))).collect::<Map<_, _>>();
        Chat { id: self.chat, kind: self.kind.to_owned(), body, access_hash: None, min: true, avatar: None }
    }
}

/// What is in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The user whose export it is; a single chat's does not say.
    pub owner: Option<i64>,
    /// In the order of the file; none for one that cannot be placed.
    pub chats: Vec<Option<Head>>,
    pub left_out: LeftOut,
}

/// One message, with the users that it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub message: Message,
    pub users: Vec<User>,
}

/// Reads a whole file for the chats that are in it; fails where the file is damaged beyond what Telegram Desktop is known to do.
pub fn survey(file: impl Read) -> Result<Survey, Error> {
    let survey = walk::survey(file)?;
    if survey.chats.is_empty() { Err(Error::NoExport) } else { Ok(survey) }
}

/// Reads the messages of a file whose [`survey`] this is; `owner` is the user whose export it is. `each` gets the chat's place in the
/// survey, and answers whether it wants more. Gives what was left out.
pub fn read(
    file: impl Read,
    survey: &Survey,
    owner: Option<i64>,
    mut each: impl FnMut(usize, Told) -> bool,
) -> Result<LeftOut, Error> {
    walk::messages(file, survey, |at, told, left_out| {
        let Some(head) = survey.chats.get(at).and_then(Option::as_ref) else { return true };
        match message::message(head, owner, told, left_out) {
            Some(told) => each(at, told),
            None => true,
        }
    })
}

#[cfg(test)]
#[path = "desktop/tests.rs"]
mod tests;
