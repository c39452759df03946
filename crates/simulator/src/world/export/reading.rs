//! `result.json`, read as a stream: one message at a time, so that an export of gigabytes needs no more memory than its world.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use grammers_tl_types::{self as tl, Deserializable, Serializable};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::fields::{Element, Fields};
use super::repair::Repaired;
use super::{Loading, message};
use crate::world::WorldError;
use crate::world::chat::{Chat, ChatKind, Source};
use crate::world::stored::Stored;

/// Reads all chats; what is beside them goes to `loading`.
pub(super) fn chats(path: &Path, loading: &mut Loading) -> Result<Vec<Chat>, WorldError> {
    let unreadable = |source| WorldError::Unreadable { path: path.to_owned(), source };
    let mut repaired = Repaired::new(File::open(path).map_err(unreadable)?);
    let mut chats = Vec::new();
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 * 1024, &mut repaired));
    let read = Top { loading, chats: &mut chats }.deserialize(&mut json).and_then(|()| json.end());
    drop(json);
    let replaced = repaired.replaced;
    loading.notes.add_many("byte that is no UTF-8 (replaced)", replaced);
    match read {
        Ok(()) => Ok(chats),
        Err(error) if error.is_io() => Err(unreadable(error.into())),
        Err(error) => {
            Err(WorldError::Json { path: path.to_owned(), line: error.line(), column: error.column(), problem: problem(&error) })
        }
    }
}

/// serde_json's words without its own " at line … column …", which the error tells in front.
fn problem(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let end = told.rfind(" at line ").unwrap_or(told.len());
    if error.is_eof() { format!("the file ends too early ({})", &told[..end]) } else { told[..end].to_owned() }
}

/// The whole file: an account has `chats` (and `left_chats`) and parts of its own, a single chat has `messages`.
struct Top<'a> {
    loading: &'a mut Loading,
    chats: &'a mut Vec<Chat>,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with `chats` or `messages`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Top { loading, chats } = self;
        let mut single = Telling::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "about" => {
                    let IgnoredAny = map.next_value()?;
                }
                "personal_information" => loading.owner(&map.next_value::<Option<Map<String, Value>>>()?.unwrap_or_default()),
                "chats" => map.next_value_seed(List { loading, chats, left: false })?,
                "left_chats" => map.next_value_seed(List { loading, chats, left: true })?,
                "contacts" => loading.contacts(map.next_value()?),
                name if Telling::has(name) => single.field(name, loading, &mut map)?,
                name => loading.other_part(name, &map.next_value()?),
            }
        }
        if single.messages.is_some() {
            keep(chats, single, loading);
        }
        Ok(())
    }
}

fn keep(chats: &mut Vec<Chat>, told: Telling, loading: &mut Loading) {
    let Some(chat) = told.finish(loading) else { return };
    if chats.iter().any(|other| other.id == chat.id) {
        loading.notes.add("chat told twice");
    } else {
        chats.push(chat);
    }
}

/// `{"about": …, "list": [chat, …]}`.
struct List<'a> {
    loading: &'a mut Loading,
    chats: &'a mut Vec<Chat>,
    left: bool,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of chats")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let List { loading, chats, left } = self;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "list" => map.next_value_seed(List { loading, chats, left })?,
                _ => {
                    let IgnoredAny = map.next_value()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let List { loading, chats, left } = self;
        while let Some(told) = list.next_element_seed(OneChat { loading, left })? {
            keep(chats, told, loading);
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

struct OneChat<'a> {
    loading: &'a mut Loading,
    left: bool,
}

impl<'de> DeserializeSeed<'de> for OneChat<'_> {
    type Value = Telling;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Telling, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneChat<'_> {
    type Value = Telling;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a chat")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Telling, A::Error> {
        let mut told = Telling { left: self.left, ..Telling::default() };
        while let Some(key) = map.next_key::<String>()? {
            if Telling::has(&key) {
                told.field(&key, self.loading, &mut map)?;
            } else {
                let IgnoredAny = map.next_value()?;
                self.loading.notes.add(format!("chat field `{key}`"));
            }
        }
        Ok(told)
    }
}

/// A chat as far as it was read.
#[derive(Default)]
struct Telling {
    name: Option<String>,
    kind: Option<String>,
    id: Option<i64>,
    left: bool,
    messages: Option<Gathered>,
    /// Messages that came before the chat's id or kind (a tool sorted the keys).
    waiting: Vec<Fields>,
}

impl Telling {
    fn has(name: &str) -> bool {
        matches!(name, "name" | "type" | "id" | "messages")
    }

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, loading: &mut Loading, map: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => self.name = map.next_value()?,
            "type" => self.kind = map.next_value()?,
            "id" => self.id = Fields::number_of(map.next_value()?),
            _ => map.next_value_seed(Messages { told: self, loading })?,
        }
        Ok(())
    }

    fn kind(&self) -> Option<ChatKind> {
        Some(match self.kind.as_deref()? {
            "public_channel" | "private_channel" => ChatKind::Channel,
            "public_supergroup" | "private_supergroup" | "public_group" => ChatKind::Supergroup,
            "private_group" => ChatKind::Group,
            "personal_chat" | "bot_chat" | "saved_messages" | "replies" | "verification_codes" => ChatKind::Private,
            _ => return None,
        })
    }

    /// The marked id and kind, once both are read.
    fn place(&self, loading: &Loading) -> Option<(i64, ChatKind)> {
        let kind = self.kind()?;
        let bare = if self.kind.as_deref() == Some("saved_messages") { loading.me } else { self.id? };
        Some((kind.marked(bare), kind))
    }

    fn message(&mut self, loading: &mut Loading, fields: Fields) {
        let Some((chat, kind)) = self.place(loading) else {
            self.waiting.push(fields);
            return;
        };
        let gathered = self.messages.get_or_insert_default();
        if let Some((id, date, message)) = message::read(loading, chat, kind, fields, gathered.last_date) {
            gathered.push(id, date, &message);
        }
    }

    fn finish(mut self, loading: &mut Loading) -> Option<Chat> {
        if self.messages.is_none() || self.id.is_none() {
            loading.notes.add("chat without id or messages");
            return None;
        }
        let Some((id, kind)) = self.place(loading) else {
            loading.notes.add(format!("chat of kind `{}`", self.kind.unwrap_or_default()));
            loading.notes.add_many("message of a chat that was left out", self.waiting.len() as u64);
            return None;
        };
        for fields in std::mem::take(&mut self.waiting) {
            self.message(loading, fields);
        }
        let title = match (self.name, self.kind.as_deref()) {
            (Some(name), _) => name,
            (None, Some("saved_messages")) => "Saved Messages".to_owned(),
            (None, Some("replies")) => "Replies".to_owned(),
            (None, Some("verification_codes")) => "Verification Codes".to_owned(),
            (None, _) => {
                loading.notes.add("chat without a name (deleted account)");
                "Deleted Account".to_owned()
            }
        };
        if self.left {
            loading.notes.add("chat that the account had left (told as if it had not)");
        }
        let gathered = self.messages.unwrap_or_default();
        let unreadable = gathered.unreadable;
        let (stored, left_out) = Stored::new(gathered.messages());
        loading.notes.add_many("message told twice", left_out.doubled);
        loading.notes.add_many("message that Telegram's schema cannot tell", left_out.unreadable + unreadable);
        loading.met_in(id, kind, &title, self.kind.as_deref() == Some("bot_chat"));
        let mut chat = Chat::new(id, kind, title, Source::Stored(stored));
        chat.photo = message::last_chat_photo(&chat);
        // An export does not say how many there are.
        chat.members = if kind == ChatKind::Private { 2 } else { 1 };
        Some(chat)
    }
}

/// Messages as bytes, in the order of the file.
#[derive(Default)]
struct Gathered {
    entries: Vec<(i32, i32, usize)>,
    bytes: Vec<u8>,
    /// Of the message before.
    last_date: i32,
    unreadable: u64,
}

impl Gathered {
    fn push(&mut self, id: i32, date: i32, message: &tl::enums::Message) {
        let start = self.bytes.len();
        message.serialize(&mut self.bytes);
        // Fields that share a flag make bytes that nobody can read; better found here than by a client.
        if tl::enums::Message::from_bytes(&self.bytes[start..]).as_ref() != Ok(message) {
            self.bytes.truncate(start);
            self.unreadable += 1;
            return;
        }
        self.entries.push((id, date, self.bytes.len()));
        self.last_date = date;
    }

    fn messages(self) -> impl Iterator<Item = (i32, i32, tl::enums::Message)> {
        let mut start = 0;
        self.entries.into_iter().filter_map(move |(id, date, end)| {
            let message = tl::enums::Message::from_bytes(&self.bytes[start..end]).ok();
            start = end;
            Some((id, date, message?))
        })
    }
}

/// The list of a chat's messages.
struct Messages<'a> {
    told: &'a mut Telling,
    loading: &'a mut Loading,
}

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.told.messages.get_or_insert_default();
        while let Some(element) = list.next_element::<Element>()? {
            match element {
                Element::Object(fields) => self.told.message(self.loading, fields),
                Element::Other => self.loading.notes.add("message of unknown form"),
            }
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
