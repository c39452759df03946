//! Normalisation: pure functions from Telegram's objects to facts of the record. No clock, no I/O, no state.
//!
//! What a fact cannot represent is kept raw with a reason; a phone number never becomes part of one.

pub mod chat;
pub mod desktop;
mod entity;
pub mod file;
pub mod link;
pub mod media;
pub mod member;
pub mod message;
mod offer;
pub mod service;
pub mod text;
pub mod update;
pub mod user;

use chrono::{DateTime, Utc};

use crate::record::media::MediaType;
use crate::record::{Chat, ChatId, Message, Peer, User};
use crate::telegram::tl;

/// One answer that carries messages, as facts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// In the order of the answer.
    pub messages: Vec<Message>,
    pub chats: Vec<Chat>,
    pub users: Vec<User>,
    /// Ids that the answer names as empty: seen, without a message.
    pub empty: Vec<i64>,
    /// A channel's state that the answer belongs to.
    pub pts: Option<i32>,
    /// How many messages Telegram says there are in all.
    pub count: Option<i64>,
}

impl Page {
    /// All ids that the answer carried.
    pub fn shown(&self) -> Vec<i64> {
        self.messages.iter().map(|message| message.id).chain(self.empty.iter().copied()).collect()
    }

    /// What the account that got this answer needs to address the chats and users in it.
    pub fn peers(&self) -> Vec<Peer> {
        let mut peers = crate::record::chat::peers(&self.chats);
        peers.extend(crate::record::user::peers(&self.users));
        peers
    }
}

/// The facts of an answer to getHistory, getMessages or search.
pub fn page(answer: &tl::enums::messages::Messages) -> Page {
    use tl::enums::messages::Messages as Answer;
    let (messages, chats, users, pts, count) = match answer {
        Answer::Messages(all) => (&all.messages, &all.chats, &all.users, None, i64::try_from(all.messages.len()).ok()),
        Answer::Slice(slice) => (&slice.messages, &slice.chats, &slice.users, None, Some(slice.count.into())),
        Answer::ChannelMessages(slice) => (&slice.messages, &slice.chats, &slice.users, Some(slice.pts), Some(slice.count.into())),
        Answer::NotModified(same) => return Page { count: Some(same.count.into()), ..Page::default() },
    };
    let mut page = Page { chats: chat::chats(chats), users: user::users(users), pts, count, ..Page::default() };
    for told in messages {
        match message::message(told) {
            Some(fact) => page.messages.push(fact),
            None => page.empty.push(i64::from(told.id())),
        }
    }
    page
}

/// What a full description tells of the chat that was asked.
pub fn full_chat(asked: ChatId, answer: &crate::telegram::FullChat) -> chat::FullChat {
    let nothing = || chat::FullChat { chats: Vec::new(), users: Vec::new(), id: asked, visible_from: 1, pts: None };
    match answer {
        crate::telegram::FullChat::Chat(full) => {
            chat::full(&tl::enums::messages::ChatFull::Full((**full).clone())).unwrap_or_else(nothing)
        }
        crate::telegram::FullChat::User(full) => {
            let mut users = user::users(&full.users);
            let tl::enums::UserFull::Full(of_them) = &full.full_user;
            if let Some(user) = users.iter_mut().find(|user| user.id == asked.0) {
                let photo = of_them.profile_photo.as_ref().and_then(|photo| file::photo(photo, MediaType::Avatar));
                user.avatar = photo.or(user.avatar.take());
            }
            let chats = users.iter().filter(|u| u.id == asked.0).map(user::private_chat).collect();
            chat::FullChat { chats, users, ..nothing() }
        }
    }
}

/// What an account needs to address these chats and users.
pub fn peers(chats: &[tl::enums::Chat], users: &[tl::enums::User]) -> Vec<Peer> {
    let mut peers = crate::record::chat::peers(&chat::chats(chats));
    peers.extend(crate::record::user::peers(&user::users(users)));
    peers
}

/// A peer's id in marked form.
pub fn chat_id(peer: &tl::enums::Peer) -> ChatId {
    match peer {
        tl::enums::Peer::User(user) => ChatId::user(user.user_id),
        tl::enums::Peer::Chat(group) => ChatId::group(group.chat_id),
        tl::enums::Peer::Channel(channel) => ChatId::channel(channel.channel_id),
    }
}

/// Telegram's seconds; 0 and less are no date.
pub(crate) fn date(seconds: i32) -> Option<DateTime<Utc>> {
    if seconds <= 0 { None } else { DateTime::from_timestamp(seconds.into(), 0) }
}

/// A date as documents carry it.
pub(crate) fn date_text(seconds: i32) -> Option<String> {
    date(seconds).map(|date| date.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
}

#[cfg(test)]
#[path = "normalize/tests.rs"]
mod tests;
