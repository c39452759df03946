//! The way through a file: an account's has `chats` and `left_chats`, a single chat's is the chat.

use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::damage::Mended;
use super::object::Object;
use super::{Error, Head, LeftOut, Survey};
use crate::record::ChatId;

/// What is done on the way.
enum Task<'a> {
    /// Messages are counted.
    Survey,
    /// Messages are handed on; the answer says whether more are wanted.
    Messages(&'a mut dyn FnMut(usize, Object, &mut LeftOut) -> bool),
}

struct Walk<'a> {
    task: Task<'a>,
    owner: Option<i64>,
    chats: Vec<Option<Head>>,
    /// How many chats began.
    begun: usize,
    left_out: LeftOut,
    stopped: bool,
}

pub(super) fn survey(file: impl Read) -> Result<Survey, Error> {
    let mut walk = Walk::new(Task::Survey);
    walk.through(file)?;
    Ok(Survey { owner: walk.owner, chats: walk.chats, left_out: walk.left_out })
}

pub(super) fn messages(
    file: impl Read,
    survey: &Survey,
    mut each: impl FnMut(usize, Object, &mut LeftOut) -> bool,
) -> Result<LeftOut, Error> {
    let mut walk = Walk::new(Task::Messages(&mut each));
    walk.through(file)?;
    debug_assert_eq!(walk.begun, survey.chats.len());
    Ok(walk.left_out)
}

impl<'a> Walk<'a> {
    fn new(task: Task<'a>) -> Self {
        Self { task, owner: None, chats: Vec::new(), begun: 0, left_out: LeftOut::default(), stopped: false }
    }

    fn through(&mut self, file: impl Read) -> Result<(), Error> {
        let mut mended = Mended::new(file);
        let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 * 1024, &mut mended));
        let walked = json.deserialize_map(Top(self)).and_then(|()| json.end());
        drop(json);
        if matches!(self.task, Task::Survey) {
            self.left_out.add_many("byte that is no UTF-8 (replaced)", mended.replaced);
        }
        match walked {
            Ok(()) => Ok(()),
            Err(_) if self.stopped => Err(Error::Stopped),
            Err(error) if error.is_io() => Err(Error::Unreadable(error.into())),
            Err(error) => Err(Error::Json { line: error.line(), column: error.column(), problem: problem(&error) }),
        }
    }

    /// Counted once, on the first way.
    fn leave_out(&mut self, what: String, count: u64) {
        if matches!(self.task, Task::Survey) {
            self.left_out.add_many(what, count);
        }
    }

    fn ends(&mut self, told: Telling) {
        if !matches!(self.task, Task::Survey) {
            return;
        }
        let head = told.head(self.owner);
        if head.is_none() {
            let kind = told.kind.as_deref().unwrap_or("unknown kind");
            self.left_out.add_many(format!("message of a chat that cannot be placed ({kind})"), told.messages.unwrap_or(0).max(1));
        }
        self.chats.push(head);
    }
}

/// serde_json's words, without the place, which the error tells itself.
fn problem(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let told = told.rsplit_once(" at line ").map_or(told.as_str(), |(words, _)| words);
    if error.is_eof() {
        format!("the file ends here, in the middle ({told}): it was cut off, export it again")
    } else {
        told.to_owned()
    }
}

/// A chat as far as it was read.
#[derive(Default)]
struct Telling {
    id: Option<i64>,
    kind: Option<String>,
    title: Option<String>,
    messages: Option<u64>,
}

impl Telling {
    const FIELDS: [&str; 4] = ["name", "type", "id", "messages"];

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, walk: &mut Walk<'_>, map: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => self.title = map.next_value::<Option<String>>()?.filter(|title| !title.is_empty()),
            "type" => self.kind = map.next_value()?,
            "id" => {
                self.id = map
                    .next_value::<Option<Value>>()?
                    .and_then(|id| Object([("id".to_owned(), id)].into_iter().collect()).number("id"))
            }
            _ => self.messages = Some(map.next_value_seed(Messages(walk))?),
        }
        Ok(())
    }

    fn head(&self, owner: Option<i64>) -> Option<Head> {
        let id = self.id;
        let (chat, kind) = match self.kind.as_deref()? {
            "public_channel" | "private_channel" => (ChatId::channel(id?), "channel"),
            // Every public group is a supergroup.
            "public_supergroup" | "private_supergroup" | "public_group" => (ChatId::channel(id?), "supergroup"),
            "private_group" => (ChatId::group(id?), "group"),
            "personal_chat" | "replies" | "verification_codes" => (ChatId::user(id?), "private"),
            "bot_chat" => (ChatId::user(id?), "bot"),
            "saved_messages" => (ChatId::user(id.or(owner)?), "private"),
            _ => return None,
        };
        Some(Head { chat, kind, title: self.title.clone(), messages: self.messages? })
    }
}

struct Top<'w, 'a>(&'w mut Walk<'a>);

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object that an export of Telegram Desktop is")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let walk = self.0;
        let mut single = Telling::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "about" => drop(map.next_value::<IgnoredAny>()?),
                "personal_information" => {
                    let mut told = Object(map.next_value::<Option<Map<String, Value>>>()?.unwrap_or_default());
                    walk.owner = told.number("user_id");
                    walk.leave_out("personal_information".to_owned(), 1);
                }
                "chats" | "left_chats" => map.next_value_seed(Chats(walk))?,
                name if Telling::FIELDS.contains(&name) => single.field(name, walk, &mut map)?,
                name => {
                    let part = map.next_value::<Value>()?;
                    let entries = part.get("list").unwrap_or(&part).as_array().map_or(1, Vec::len);
                    walk.leave_out(name.to_owned(), entries as u64);
                }
            }
        }
        if single.messages.is_some() {
            walk.ends(single);
        }
        Ok(())
    }
}

/// `{"about": …, "list": [chat, …]}`
struct Chats<'w, 'a>(&'w mut Walk<'a>);

impl<'de> DeserializeSeed<'de> for Chats<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Chats<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of chats")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == "list" {
                map.next_value_seed(Chats(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(OneChat(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

struct OneChat<'w, 'a>(&'w mut Walk<'a>);

impl<'de> DeserializeSeed<'de> for OneChat<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneChat<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a chat")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut told = Telling::default();
        while let Some(name) = map.next_key::<String>()? {
            if Telling::FIELDS.contains(&name.as_str()) {
                told.field(&name, self.0, &mut map)?;
            } else {
                map.next_value::<IgnoredAny>()?;
                self.0.leave_out(format!("chat.{name}"), 1);
            }
        }
        // A chat without messages is a chat all the same: it takes its place.
        if told.messages.is_none() {
            told.messages = Some(0);
            self.0.begun += 1;
        }
        self.0.ends(told);
        Ok(())
    }
}

/// A chat's messages; gives how many there are.
struct Messages<'w, 'a>(&'w mut Walk<'a>);

impl<'de> DeserializeSeed<'de> for Messages<'_, '_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_, '_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u64, A::Error> {
        let walk = self.0;
        let (at, mut count) = (walk.begun, 0);
        walk.begun += 1;
        match &mut walk.task {
            Task::Survey => {
                while list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
            }
            Task::Messages(each) => {
                while let Some(told) = list.next_element::<Map<String, Value>>()? {
                    count += 1;
                    if !each(at, Object(told), &mut walk.left_out) {
                        walk.stopped = true;
                        return Err(A::Error::custom("stopped"));
                    }
                }
            }
        }
        Ok(count)
    }
}
