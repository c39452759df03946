//! Messages: history by offset, and by id.

use grammers_tl_types as tl;

use super::peers::Named;
use super::{Caller, Failure};
use crate::account::Sight;
use crate::violation::Limit;
use crate::world::Chat;

/// <https://core.telegram.org/method/messages.getHistory>: a page is at most this long.
const PAGE: usize = 100;
/// Ids in one call by id.
const IDS: usize = 100;

/// Where in a history a page lies.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Offsets {
    pub(crate) offset_id: i32,
    pub(crate) offset_date: i32,
    pub(crate) add_offset: i32,
    pub(crate) limit: i32,
    pub(crate) max_id: i32,
    pub(crate) min_id: i32,
}

/// The ids of a page, newest first (<https://core.telegram.org/api/offsets>).
///
/// Of the messages between `min_id` and `max_id` (both exclusive), newest first, those from `offset_id` down, or, where there is none,
/// from `offset_date` down (both exclusive) begin the page; `add_offset` moves its beginning towards older messages, or, negative, newer ones. What then
/// lies above the newest message shortens the page.
pub(crate) fn page(chat: &Chat, from: i32, offsets: Offsets) -> Vec<i32> {
    let Bounds { lowest, above, cut } = Bounds::of(chat, from, &offsets);
    let older = chat.ids_below(cut.min(above).max(1)).take_while(|&id| id >= lowest);
    let newer = chat.ids_from(cut.max(lowest)).take_while(|&id| id < above);
    around(&offsets, older, newer)
}

/// The same of some of a chat's messages, given by ascending ids.
pub(crate) fn page_of(chat: &Chat, ids: &[i32], from: i32, offsets: Offsets) -> Vec<i32> {
    let Bounds { lowest, above, cut } = Bounds::of(chat, from, &offsets);
    let older = &ids[..ids.partition_point(|&id| id < cut.min(above))];
    let newer = &ids[ids.partition_point(|&id| id < cut.max(lowest))..];
    let older = older.iter().rev().copied().take_while(|&id| id >= lowest);
    let newer = newer.iter().copied().take_while(|&id| id < above);
    around(&offsets, older, newer)
}

/// Between which ids a page lies, and where it begins.
struct Bounds {
    lowest: i32,
    above: i32,
    cut: i32,
}

impl Bounds {
    fn of(chat: &Chat, from: i32, offsets: &Offsets) -> Self {
        let positive = |bound: i32| if bound > 0 { bound } else { i32::MAX };
        let mut cut = positive(offsets.offset_id);
        if offsets.offset_id <= 0 && offsets.offset_date > 0 {
            cut = cut.min(chat.first_id_at(offsets.offset_date));
        }
        Bounds { lowest: from.max(offsets.min_id.saturating_add(1)), above: positive(offsets.max_id), cut }
    }
}

/// A page that begins, `add_offset` moved, where the older messages begin.
fn around(offsets: &Offsets, older: impl Iterator<Item = i32>, newer: impl Iterator<Item = i32>) -> Vec<i32> {
    let limit = usize::try_from(offsets.limit).unwrap_or(0).min(PAGE);
    let add_offset = offsets.add_offset;
    let Ok(newer_wanted) = usize::try_from(add_offset.saturating_neg()) else {
        let skipped = usize::try_from(add_offset).unwrap_or(0);
        return older.skip(skipped).take(limit).collect();
    };
    let mut newer: Vec<i32> = newer.take(newer_wanted).collect();
    newer.reverse();
    let length = limit.saturating_sub(newer_wanted - newer.len());
    newer.into_iter().chain(older).take(length).collect()
}

impl Caller<'_> {
    pub(super) fn history(&self, call: tl::functions::messages::GetHistory) -> Result<tl::enums::messages::Messages, Failure> {
        let (chat, sight) = self.peer(&call.peer)?;
        let offsets = Offsets {
            offset_id: call.offset_id,
            offset_date: call.offset_date,
            add_offset: call.add_offset,
            limit: call.limit,
            max_id: call.max_id,
            min_id: call.min_id,
        };
        let ids = page(chat, sight.from, self.offsets_in(chat, offsets));
        self.datacentre.calls.tells(chat.id, &ids);
        let messages = self.told_all(chat, ids);
        self.datacentre.conduct.served(&self.account.name, Limit::History, messages.len() as u64);
        Ok(self.messages(chat, sight, messages))
    }

    pub(super) fn channel_messages_by_id(
        &self,
        call: tl::functions::channels::GetMessages,
    ) -> Result<tl::enums::messages::Messages, Failure> {
        let (chat, sight) = self.channel(&call.channel)?;
        let visible = |id: i32| chat.message(id).filter(|_| id >= sight.from);
        let meant = ids(&call.id, |id| visible(id).as_ref().and_then(replied), || chat.pinned().first().copied())?;
        let messages =
            meant.into_iter().map(|id| visible(id).map_or_else(|| empty(id), |message| self.tell_channel(message))).collect();
        Ok(self.messages(chat, sight, messages))
    }

    /// In private chats and basic groups, which share one id space.
    pub(super) fn messages_by_id(
        &self,
        call: tl::functions::messages::GetMessages,
    ) -> Result<tl::enums::messages::Messages, Failure> {
        let own = self.own_chats();
        let mut messages: Vec<_> = self.mailbox(|mailbox| {
            let told = |id: i32| {
                let at = mailbox.world(id)?;
                let seen = own.iter().filter(|(_, sight)| at >= sight.from);
                seen.filter_map(|(chat, _)| self.tell_own(mailbox, chat, chat.message(at)?)).next()
            };
            // Without a chat there is no pinned message.
            let meant = ids(&call.id, |id| told(id).as_ref().and_then(replied), || None)?;
            Ok(meant.into_iter().map(|id| told(id).unwrap_or_else(|| empty(id))).collect())
        })?;
        self.stamp(&mut messages);
        let (chats, users) = self.named(&messages);
        Ok(tl::types::messages::Messages { messages, topics: Vec::new(), chats, users }.into())
    }

    /// A message as this account sees it; `None` where it has it not.
    pub(super) fn tell(&self, chat: &Chat, message: tl::enums::Message) -> Option<tl::enums::Message> {
        if chat.kind.is_channel() {
            return Some(self.tell_channel(message));
        }
        self.mailbox(|mailbox| self.tell_own(mailbox, chat, message))
    }

    /// The messages with these ids of the world, as this account sees them.
    pub(super) fn told_all(&self, chat: &Chat, ids: impl IntoIterator<Item = i32>) -> Vec<tl::enums::Message> {
        let messages = ids.into_iter().filter_map(|id| chat.message(id));
        if chat.kind.is_channel() {
            return messages.map(|message| self.tell_channel(message)).collect();
        }
        self.mailbox(|mailbox| messages.filter_map(|message| self.tell_own(mailbox, chat, message)).collect())
    }

    /// Offsets in the ids of the world: private chats and basic groups are numbered per account.
    pub(super) fn offsets_in(&self, chat: &Chat, offsets: Offsets) -> Offsets {
        if chat.kind.is_channel() {
            return offsets;
        }
        self.mailbox(|mailbox| {
            let above = |id: i32| if id > 0 { mailbox.world_from(id) } else { id };
            let min_id = match offsets.min_id {
                ..=0 => offsets.min_id,
                id => mailbox.world_from(id.saturating_add(1)).saturating_sub(1),
            };
            Offsets { offset_id: above(offsets.offset_id), max_id: above(offsets.max_id), min_id, ..offsets }
        })
    }

    pub(super) fn messages(&self, chat: &Chat, sight: Sight, messages: Vec<tl::enums::Message>) -> tl::enums::messages::Messages {
        self.messages_of(chat, chat.count_from(sight.from), messages)
    }

    /// Some messages of a chat, of `count` that there are.
    pub(super) fn messages_of(
        &self,
        chat: &Chat,
        count: usize,
        mut messages: Vec<tl::enums::Message>,
    ) -> tl::enums::messages::Messages {
        self.stamp(&mut messages);
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let (chats, users) = self.named_with(chat, &messages);
        if chat.kind.is_channel() {
            tl::types::messages::ChannelMessages {
                inexact: false,
                pts: chat.pts(),
                count,
                offset_id_offset: None,
                messages,
                topics: Vec::new(),
                chats,
                users,
            }
            .into()
        } else {
            tl::types::messages::MessagesSlice {
                inexact: false,
                count,
                next_rate: None,
                offset_id_offset: None,
                search_flood: None,
                messages,
                topics: Vec::new(),
                chats,
                users,
            }
            .into()
        }
    }

    fn named(&self, messages: &[tl::enums::Message]) -> (Vec<tl::enums::Chat>, Vec<tl::enums::User>) {
        let mut named = Named::default();
        messages.iter().for_each(|message| named.message(message));
        named.told(self)
    }

    fn named_with(&self, chat: &Chat, messages: &[tl::enums::Message]) -> (Vec<tl::enums::Chat>, Vec<tl::enums::User>) {
        let mut named = Named::default();
        named.chat(chat);
        messages.iter().for_each(|message| named.message(message));
        named.told(self)
    }
}

fn empty(id: i32) -> tl::enums::Message {
    tl::types::MessageEmpty { id, peer_id: None }.into()
}

/// Which messages are meant: by id, as what a message replies to, or as the pinned one
/// (<https://core.telegram.org/type/InputMessage>); 0 where there is none.
fn ids(
    input: &[tl::enums::InputMessage],
    replied: impl Fn(i32) -> Option<i32>,
    pinned: impl Fn() -> Option<i32>,
) -> Result<Vec<i32>, Failure> {
    if input.is_empty() {
        return Err(Failure::bad("MESSAGE_IDS_EMPTY"));
    }
    if input.len() > IDS {
        return Err(Failure::bad("LIMIT_INVALID"));
    }
    input
        .iter()
        .map(|input| match input {
            tl::enums::InputMessage::Id(input) => Ok(input.id),
            tl::enums::InputMessage::ReplyTo(input) => Ok(replied(input.id).unwrap_or(0)),
            tl::enums::InputMessage::Pinned => Ok(pinned().unwrap_or(0)),
            tl::enums::InputMessage::CallbackQuery(_) => Err(Failure::bad("MSG_ID_INVALID")),
        })
        .collect()
}

/// The message that another answers.
fn replied(message: &tl::enums::Message) -> Option<i32> {
    let header = match message {
        tl::enums::Message::Message(message) => message.reply_to.as_ref(),
        tl::enums::Message::Service(message) => message.reply_to.as_ref(),
        tl::enums::Message::Empty(_) => None,
    };
    match header {
        Some(tl::enums::MessageReplyHeader::Header(header)) => header.reply_to_msg_id,
        _ => None,
    }
}
