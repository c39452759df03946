//! Worlds loaded from an export of Telegram Desktop: `result.json` of one chat or of a whole account, and the files beside it.
//!
//! What cannot be represented is counted and named in [`Notes`], never silently dropped.

mod action;
mod attachment;
mod buttons;
mod fields;
mod message;
mod poll;
mod reading;
mod repair;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::chat::ChatKind;
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

/// What loading gathers beside the chats.
struct Loading {
    folder: PathBuf,
    /// The user whose export it is.
    me: i64,
    people: BTreeMap<i64, Person>,
    /// The id of the first user met under a name.
    by_name: HashMap<String, i64>,
    files: HashMap<i64, PathBuf>,
    notes: Notes,
}

impl World {
    /// Loads `result.json` of a folder that Telegram Desktop exported (machine-readable JSON), or that file itself.
    pub fn from_export(path: &Path) -> Result<World, WorldError> {
        let file = if path.is_dir() { path.join("result.json") } else { path.to_owned() };
        let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
        let mut loading = Loading {
            folder,
            me: people::ME,
            people: BTreeMap::new(),
            by_name: HashMap::new(),
            files: HashMap::new(),
            notes: Notes::default(),
        };
        loading.owner(&Map::new());
        let chats = reading::chats(&file, &mut loading)?;
        if chats.is_empty() {
            return Err(WorldError::NoChats { path: file });
        }
        let me = loading.me;
        let mut world = World::of_parts(chats, loading.people, loading.files, loading.notes);
        world.me = me;
        Ok(world)
    }
}

impl World {
    /// The world of an export as it was when its channels and supergroups had nothing newer than this id: each [`Event::Publish`]
    /// posts the next of their messages. Other chats share their ids with others, and are whole.
    ///
    /// [`Event::Publish`]: super::Event::Publish
    pub fn from_export_until(path: &Path, id: i32) -> Result<World, WorldError> {
        let mut world = World::from_export(path)?;
        world.chats.iter_mut().filter(|chat| chat.kind.is_channel()).for_each(|chat| chat.begin_with(id));
        Ok(world)
    }
}

impl Loading {
    /// The user whose export it is; nothing is told of them in the export of a single chat.
    fn owner(&mut self, told: &Map<String, Value>) {
        let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
        let first = if text("first_name").is_empty() { "Keeper" } else { text("first_name") };
        let mut person = Person::named(self.me, first);
        if let Some(id) = told.get("user_id").and_then(Value::as_i64) {
            self.people.remove(&self.me);
            (person.id, self.me) = (id, id);
        }
        person.last_name = Some(text("last_name").to_owned()).filter(|name| !name.is_empty());
        person.username = Some(text("username").trim_start_matches('@').to_owned()).filter(|name| !name.is_empty());
        self.by_name.entry([text("first_name"), text("last_name")].join(" ").trim().to_owned()).or_insert(person.id);
        self.people.insert(person.id, person);
        let known = ["user_id", "first_name", "last_name", "username"];
        for name in told.keys().filter(|name| !known.contains(&name.as_str())) {
            self.notes.add(format!("`{name}` of the account"));
        }
    }

    /// `contacts`: those with an id are users of the world.
    fn contacts(&mut self, told: Value) {
        for contact in entries(&told) {
            let text = |name: &str| contact.get(name).and_then(Value::as_str).unwrap_or_default();
            match contact.get("user_id").and_then(Value::as_i64) {
                Some(id) => self.meet(id, Some(format!("{} {}", text("first_name"), text("last_name")).trim())),
                None => self.notes.add("contact without a user's id"),
            }
            if !text("phone_number").is_empty() {
                self.notes.add("phone number and date of a contact");
            }
        }
    }

    /// A part of an account's export that is no chat: sessions, stories, profile pictures and others.
    fn other_part(&mut self, name: &str, told: &Value) {
        let is_list = told.is_array() || told.get("list").is_some();
        let count = if is_list { entries(told).len() } else { 1 };
        self.notes.add_many(format!("entry of `{name}`"), count as u64);
    }

    /// The partner of a private chat is a user.
    fn met_in(&mut self, id: i64, kind: ChatKind, title: &str, bot: bool) {
        if kind == ChatKind::Private {
            let person = self.people.entry(id).or_insert_with(|| Person::named(id, title));
            person.bot |= bot;
            self.by_name.entry(title.to_owned()).or_insert(id);
        }
    }

    /// The user whose full name this is, if the export told of one so far.
    fn named(&self, name: &str) -> Option<i64> {
        self.by_name.get(name).copied()
    }

    /// Names what was not read of an object.
    fn left_over(&mut self, within: &str, fields: &fields::Fields) {
        for (name, value) in &fields.0 {
            if !value.is_null() {
                self.notes.add(format!("{within} `{name}`"));
            }
        }
    }

    /// Notes a user by the name that the export shows.
    fn meet(&mut self, id: i64, name: Option<&str>) {
        if id <= 0 {
            return;
        }
        let person = self.people.entry(id).or_insert_with(|| Person { deleted: true, ..Person::named(id, "") });
        if let Some(name) = name.filter(|name| !name.is_empty() && person.deleted) {
            *person = Person::named(id, name);
            self.by_name.entry(name.to_owned()).or_insert(id);
        }
    }
}

/// The entries of a part: those of its `list`, or its own if it is a list.
fn entries(part: &Value) -> &[Value] {
    part.get("list").unwrap_or(part).as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests;
