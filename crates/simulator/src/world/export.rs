//! Worlds loaded from an export of Telegram Desktop: `result.json` of one chat or of a whole account, and the files beside it.
//!
//! What cannot be represented is counted and named in [`Notes`], never silently dropped.

mod action;
mod attachment;
mod fields;
mod message;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::chat::{Chat, ChatKind, Source};
use super::stored::Stored;
use super::{Person, World, WorldError, people};

/// What an export held that the world lacks, or tells differently: a count for each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes(BTreeMap<String, u64>);

impl Notes {
    fn add(&mut self, what: impl Into<String>) {
        self.add_many(what, 1);
    }

    fn add_many(&mut self, what: impl Into<String>, count: u64) {
        if count > 0 {
            *self.0.entry(what.into()).or_insert(0) += count;
        }
    }

    /// What was noted, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (what.as_str(), *count))
    }

    /// How often one thing was noted.
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Whether all of the export is in the world.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (what, count)) in self.iter().enumerate() {
            write!(f, "{}{count} × {what}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// `result.json`: an account has `chats` (and `left_chats`), a single chat has `messages`.
#[derive(Debug, Deserialize)]
struct Export {
    personal_information: Option<Map<String, Value>>,
    chats: Option<List>,
    left_chats: Option<List>,
    #[serde(flatten)]
    single: ChatExport,
}

#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    list: Vec<ChatExport>,
}

#[derive(Debug, Deserialize)]
struct ChatExport {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<i64>,
    messages: Option<Vec<Map<String, Value>>>,
}

/// What loading gathers beside the chats.
struct Loading {
    folder: PathBuf,
    /// The user whose export it is.
    me: i64,
    people: BTreeMap<i64, Person>,
    files: HashMap<i64, PathBuf>,
    notes: Notes,
}

impl World {
    /// Loads `result.json` of a folder that Telegram Desktop exported (machine-readable JSON), or that file itself.
    pub fn from_export(path: &Path) -> Result<World, WorldError> {
        let file = if path.is_dir() { path.join("result.json") } else { path.to_owned() };
        let bytes = std::fs::read(&file).map_err(|source| WorldError::Unreadable { path: file.clone(), source })?;
        let export: Export = serde_json::from_slice(&bytes).map_err(|error| WorldError::Json {
            path: file.clone(),
            line: error.line(),
            column: error.column(),
            problem: problem(&error),
        })?;
        drop(bytes);
        let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
        let mut loading =
            Loading { folder, me: people::ME, people: BTreeMap::new(), files: HashMap::new(), notes: Notes::default() };
        loading.owner(export.personal_information.as_ref());
        let lists = export.chats.into_iter().chain(export.left_chats).flat_map(|list| list.list);
        let single = export.single.messages.is_some().then_some(export.single);
        let mut chats: Vec<Chat> = Vec::new();
        for told in lists.chain(single) {
            if let Some(chat) = loading.chat(told) {
                if chats.iter().any(|other| other.id == chat.id) {
                    loading.notes.add("chat told twice");
                } else {
                    chats.push(chat);
                }
            }
        }
        if chats.is_empty() {
            return Err(WorldError::NoChats { path: file });
        }
        let me = loading.me;
        let mut world = World::of_parts(chats, loading.people, loading.files, loading.notes);
        world.me = me;
        Ok(world)
    }
}

/// serde_json's words without its own " at line … column …", which the error tells in front.
fn problem(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let end = told.rfind(" at line ").unwrap_or(told.len());
    if error.is_eof() { format!("the file ends too early ({})", &told[..end]) } else { told[..end].to_owned() }
}

impl Loading {
    fn owner(&mut self, told: Option<&Map<String, Value>>) {
        let text = |name: &str| told.and_then(|told| told.get(name)).and_then(Value::as_str).unwrap_or_default();
        let first = if text("first_name").is_empty() { "Keeper" } else { text("first_name") };
        let mut person = Person::named(self.me, first);
        if let Some(id) = told.and_then(|told| told.get("user_id")).and_then(Value::as_i64) {
            (person.id, self.me) = (id, id);
        }
        person.last_name = Some(text("last_name").to_owned()).filter(|name| !name.is_empty());
        person.username = Some(text("username").trim_start_matches('@').to_owned()).filter(|name| !name.is_empty());
        self.people.insert(person.id, person);
    }

    fn chat(&mut self, told: ChatExport) -> Option<Chat> {
        let (Some(bare), Some(messages)) = (told.id, told.messages) else {
            self.notes.add("chat without id or messages");
            return None;
        };
        let kind = match told.kind.as_deref().unwrap_or_default() {
            "public_channel" | "private_channel" => ChatKind::Channel,
            "public_supergroup" | "private_supergroup" => ChatKind::Supergroup,
            "private_group" => ChatKind::Group,
            "personal_chat" | "bot_chat" | "saved_messages" | "replies" | "verify_codes" => ChatKind::Private,
            other => {
                self.notes.add(format!("chat of kind `{other}`"));
                return None;
            }
        };
        let bare = if told.kind.as_deref() == Some("saved_messages") { self.me } else { bare };
        let id = kind.marked(bare);
        let title = told.name.unwrap_or_else(|| {
            self.notes.add("chat without a name (deleted account)");
            "Deleted Account".to_owned()
        });
        let mut kept = Vec::with_capacity(messages.len());
        for message in messages {
            kept.extend(message::read(self, id, kind, message));
        }
        if kind == ChatKind::Private {
            let person = self.people.entry(id).or_insert_with(|| Person::named(id, &title));
            person.bot |= told.kind.as_deref() == Some("bot_chat");
        }
        let (stored, left_out) = Stored::new(kept);
        self.notes.add_many("message told twice", left_out.doubled);
        self.notes.add_many("message that Telegram's schema cannot tell", left_out.unreadable);
        let mut chat = Chat::new(id, kind, title, Source::Stored(stored));
        chat.photo = message::last_chat_photo(&chat);
        // An export does not say how many there are.
        chat.members = if kind == ChatKind::Private { 2 } else { 1 };
        Some(chat)
    }

    /// Notes a user by the name that the export shows.
    fn meet(&mut self, id: i64, name: Option<&str>) {
        if id <= 0 {
            return;
        }
        let person = self.people.entry(id).or_insert_with(|| Person { deleted: true, ..Person::named(id, "") });
        if let Some(name) = name.filter(|name| !name.is_empty() && person.deleted) {
            *person = Person::named(id, name);
        }
    }
}

#[cfg(test)]
mod tests;
