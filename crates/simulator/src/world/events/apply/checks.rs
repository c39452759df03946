//! What an event needs of the world, checked before anything is changed; each error names the field that it is about.

use grammers_tl_types as tl;

use super::{FIRST_MADE, Stage, impossible, read};
use crate::world::Person;
use crate::world::chat::{Chat, ChatKind};
use crate::world::events::{EventError, Post};
use crate::world::live::Standing;

impl<'a> Stage<'a> {
    pub(super) fn chat(&self, field: &'static str, id: i64) -> Result<&'a Chat, EventError> {
        self.world.chat(id).ok_or(EventError::NoChat { field, chat: id })
    }

    pub(super) fn channel(&self, field: &'static str, id: i64) -> Result<&'a Chat, EventError> {
        let chat = self.chat(field, id)?;
        if chat.kind.is_channel() { Ok(chat) } else { Err(impossible(field, format!("{id} is neither channel nor supergroup"))) }
    }

    pub(super) fn supergroup(&self, field: &'static str, id: i64) -> Result<&'a Chat, EventError> {
        let chat = self.chat(field, id)?;
        if chat.kind == ChatKind::Supergroup { Ok(chat) } else { Err(impossible(field, format!("{id} is no supergroup"))) }
    }

    pub(super) fn chat_of_many(&self, field: &'static str, id: i64) -> Result<&'a Chat, EventError> {
        let chat = self.chat(field, id)?;
        if chat.kind == ChatKind::Private { Err(impossible(field, format!("{id} is a private chat"))) } else { Ok(chat) }
    }

    pub(super) fn message(&self, field: &'static str, chat: &Chat, id: i32) -> Result<tl::enums::Message, EventError> {
        chat.message(id).ok_or(EventError::NoMessage { field, chat: chat.id, id })
    }

    pub(super) fn user(&self, field: &'static str, user: i64) -> Result<i64, EventError> {
        let known = self.world.person(user).is_some() || read(&self.world.happened.guests).contains(&user);
        if known { Ok(user) } else { Err(EventError::NoUser { field, user }) }
    }

    pub(super) fn person(&self, field: &'static str, user: i64) -> Result<Person, EventError> {
        self.user(field, user)?;
        Ok(self.world.person(user).unwrap_or_else(|| Person::named(user, "")))
    }

    /// A banned user comes back only when unbanned.
    pub(super) fn let_in(&self, chat: &Chat, field: &'static str, user: i64) -> Result<(), EventError> {
        match chat.stands(user).map(|stood| stood.standing) {
            Some(Standing::Banned { .. }) => Err(impossible(field, format!("{user} is banned from chat {}", chat.id))),
            Some(standing) if standing.is_member() => Err(impossible(field, format!("{user} is in chat {} already", chat.id))),
            _ => Ok(()),
        }
    }

    /// Who writes a message; `None` for a channel's post.
    pub(super) fn author(&self, chat: &Chat, from: Option<i64>) -> Result<Option<i64>, EventError> {
        match (chat.kind, from) {
            (ChatKind::Channel, _) => Ok(None),
            (ChatKind::Private, None) => Ok(Some(chat.id)),
            (_, None) => Err(impossible("from", "is missing: in a group somebody writes".to_owned())),
            (ChatKind::Supergroup, Some(from)) if from == chat.id => Ok(Some(from)),
            (ChatKind::Private, Some(from)) if from != chat.id && from != self.world.me => {
                Err(impossible("from", format!("{from} is not in this private chat")))
            }
            (_, Some(from)) => self.user("from", from).map(Some),
        }
    }

    /// Who does something to a chat; `None` for a channel, the world's own user by default.
    pub(super) fn actor(&self, chat: &Chat, by: Option<i64>) -> Result<Option<i64>, EventError> {
        match by {
            _ if chat.kind == ChatKind::Channel => Ok(None),
            Some(by) => self.user("by", by).map(Some),
            None => Ok(Some(self.world.me)),
        }
    }

    pub(super) fn check(&self, chat: &Chat, post: &Post) -> Result<(), EventError> {
        self.author(chat, post.from)?;
        if chat.migrated_to().is_some() {
            return Err(impossible("chat", "became a supergroup: nobody writes here any more".to_owned()));
        }
        if post.text.is_empty() && post.media.is_none() {
            return Err(impossible("text", "is empty, and there is no `media`".to_owned()));
        }
        if let Some(id) = post.reply_to {
            self.message("reply_to", chat, id)?;
        }
        match post.topic {
            Some(topic) if topic != 1 && !chat.read().topics.contains_key(&topic) => {
                Err(impossible("topic", format!("no topic {topic} in chat {}", chat.id)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn free(&self, field: &'static str, name: &str) -> Result<(), EventError> {
        if self.world.chat_named(name).is_some() || self.world.person_named(name).is_some() {
            return Err(impossible(field, format!("{name} is taken")));
        }
        Ok(())
    }

    pub(super) fn free_id(&self, field: &'static str, kind: ChatKind, wanted: Option<i64>) -> Result<i64, EventError> {
        match wanted {
            Some(id) if self.world.chat(id).is_some() => Err(impossible(field, format!("{id} is taken"))),
            Some(id) if id >= 0 || kind.is_channel() != (id < -1_000_000_000_000) => {
                Err(impossible(field, format!("{id} does not fit its kind (channels and supergroups have -100…)")))
            }
            Some(id) => Ok(id),
            None => Ok(kind.marked(FIRST_MADE + self.world.happened.made.len() as i64)),
        }
    }
}
