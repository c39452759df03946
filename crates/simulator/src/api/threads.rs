//! Answers below messages, comments, topics, pinned messages: <https://core.telegram.org/api/threads>,
//! <https://core.telegram.org/api/discussion>, <https://core.telegram.org/api/forum>.

use grammers_tl_types as tl;

use super::history::{Offsets, page_of};
use super::peers::Named;
use super::{Caller, Failure, full};
use crate::account::Sight;
use crate::world::live::Topic;
use crate::world::{Chat, ChatKind, marked};

/// Answers to a message from before the world's first event are looked for among so many messages after it.
const REACH: usize = 1_000;
/// <https://core.telegram.org/method/messages.getForumTopics>: a page is at most this long.
const TOPICS: usize = 100;

/// A message below which there are answers, where they are.
struct Thread<'a> {
    chat: &'a Chat,
    sight: Sight,
    first: i32,
}

impl<'a> Caller<'a> {
    pub(super) fn replies(&self, call: tl::functions::messages::GetReplies) -> Result<tl::enums::messages::Messages, Failure> {
        let thread = self.thread(&call.peer, call.msg_id)?;
        let offsets = Offsets {
            offset_id: call.offset_id,
            offset_date: call.offset_date,
            add_offset: call.add_offset,
            limit: call.limit,
            max_id: call.max_id,
            min_id: call.min_id,
        };
        let answers = answers(&thread);
        let ids = page_of(thread.chat, &answers, thread.sight.from, offsets);
        let messages = self.told_all(thread.chat, ids);
        Ok(self.messages_of(thread.chat, answers.len(), messages))
    }

    /// The copy in the linked group of a channel's post.
    pub(super) fn discussion(
        &self,
        call: tl::functions::messages::GetDiscussionMessage,
    ) -> Result<tl::enums::messages::DiscussionMessage, Failure> {
        let thread = self.thread(&call.peer, call.msg_id)?;
        let message = thread.chat.message(thread.first).filter(|_| thread.first >= thread.sight.from);
        let message = message.and_then(|message| self.tell(thread.chat, message)).map(|message| self.stamped(message));
        let message = message.ok_or_else(|| Failure::bad("MSG_ID_INVALID"))?;
        let mut named = Named::default();
        named.chat(thread.chat);
        named.message(&message);
        let (chats, users) = named.told(self);
        let max_id = answers(&thread).last().copied();
        Ok(tl::types::messages::DiscussionMessage {
            messages: vec![message],
            max_id,
            read_inbox_max_id: max_id,
            read_outbox_max_id: None,
            unread_count: 0,
            chats,
            users,
        }
        .into())
    }

    /// A channel's post is answered in the group that is linked with it.
    fn thread(&self, peer: &tl::enums::InputPeer, id: i32) -> Result<Thread<'a>, Failure> {
        let (chat, sight) = self.peer(peer)?;
        let invalid = || Failure::bad("MSG_ID_INVALID");
        if !chat.exists(id) || id < sight.from {
            return Err(invalid());
        }
        if chat.kind != ChatKind::Channel {
            return Ok(Thread { chat, sight, first: id });
        }
        let first = chat.discussion(id).ok_or_else(invalid)?;
        let group = chat.linked().and_then(|group| self.datacentre.world.chat(group)).ok_or_else(invalid)?;
        // Comments are open to those who see the channel: <https://core.telegram.org/api/discussion>.
        let sight = self.sight(group).unwrap_or(Sight { from: 1, member: false });
        Ok(Thread { chat: group, sight, first })
    }

    /// Only what is pinned is looked for; words are not.
    pub(super) fn search(&self, call: tl::functions::messages::Search) -> Result<tl::enums::messages::Messages, Failure> {
        let (chat, sight) = self.peer(&call.peer)?;
        if !matches!(call.filter, tl::enums::MessagesFilter::InputMessagesFilterPinned) {
            return Err(Failure::bad("FILTER_NOT_SUPPORTED"));
        }
        let mut pinned: Vec<i32> = chat.pinned().into_iter().filter(|id| *id >= sight.from && chat.exists(*id)).collect();
        pinned.sort_unstable();
        let offsets = Offsets {
            offset_id: call.offset_id,
            offset_date: 0,
            add_offset: call.add_offset,
            limit: call.limit,
            max_id: call.max_id,
            min_id: call.min_id,
        };
        let ids = page_of(chat, &pinned, sight.from, self.offsets_in(chat, offsets));
        let messages = self.told_all(chat, ids);
        Ok(self.messages_of(chat, pinned.len(), messages))
    }

    pub(super) fn topics(
        &self,
        call: tl::functions::messages::GetForumTopics,
    ) -> Result<tl::enums::messages::ForumTopics, Failure> {
        let (chat, sight) = self.forum(&call.peer)?;
        let query = call.q.unwrap_or_default().to_lowercase();
        let mut topics: Vec<(i32, Topic)> =
            all_topics(chat).into_iter().filter(|(_, topic)| topic.title.to_lowercase().contains(&query)).collect();
        let count = topics.len();
        topics.sort_by_key(|(id, topic)| std::cmp::Reverse((topic.pinned, topic.top, *id)));
        let from = match topics.iter().position(|(id, _)| *id == call.offset_topic) {
            Some(at) => at + 1,
            None if call.offset_id > 0 => topics.partition_point(|(_, topic)| topic.top >= call.offset_id),
            None => 0,
        };
        let most = usize::try_from(call.limit).unwrap_or(0).min(TOPICS);
        let page: Vec<_> = topics.into_iter().skip(from).take(most).collect();
        Ok(self.forum_topics(chat, sight, count, page))
    }

    pub(super) fn topics_by_id(
        &self,
        call: tl::functions::messages::GetForumTopicsById,
    ) -> Result<tl::enums::messages::ForumTopics, Failure> {
        let (chat, sight) = self.forum(&call.peer)?;
        let page: Vec<_> = all_topics(chat).into_iter().filter(|(id, _)| call.topics.contains(id)).collect();
        Ok(self.forum_topics(chat, sight, page.len(), page))
    }

    fn forum(&self, peer: &tl::enums::InputPeer) -> Result<(&'a Chat, Sight), Failure> {
        let (chat, sight) = self.peer(peer)?;
        if chat.is_forum() { Ok((chat, sight)) } else { Err(Failure::bad("CHANNEL_FORUM_MISSING")) }
    }

    fn forum_topics(&self, chat: &Chat, sight: Sight, count: usize, page: Vec<(i32, Topic)>) -> tl::enums::messages::ForumTopics {
        let mut named = Named::default();
        named.chat(chat);
        let mut messages = Vec::new();
        let mut topics = Vec::with_capacity(page.len());
        for (id, topic) in page {
            if let Some(message) = chat.message(topic.top).filter(|_| topic.top >= sight.from) {
                let message = self.stamped(self.tell_channel(message));
                named.message(&message);
                messages.push(message);
            }
            let by = crate::world::peer(topic.by);
            named.peer(Some(&by));
            topics.push(full::topic(self.account.user_id == topic.by, chat, id, topic, by));
        }
        let (chats, users) = named.told(self);
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let pts = chat.pts();
        tl::types::messages::ForumTopics { order_by_create_date: false, count, topics, messages, chats, users, pts }.into()
    }

    /// <https://core.telegram.org/method/messages.getMessagesViews>
    pub(super) fn views(
        &self,
        call: tl::functions::messages::GetMessagesViews,
    ) -> Result<tl::enums::messages::MessageViews, Failure> {
        let (chat, sight) = self.peer(&call.peer)?;
        let none = || tl::types::MessageViews { views: None, forwards: None, replies: None };
        let views = call.id.iter().map(|id| match self.seen(chat, sight, *id).and_then(|id| chat.message(id)) {
            Some(tl::enums::Message::Message(message)) => {
                let (views, forwards, replies) = (message.views, message.forwards, message.replies);
                tl::types::MessageViews { views, forwards, replies }.into()
            }
            _ => none().into(),
        });
        let views = views.collect();
        let mut named = Named::default();
        named.chat(chat);
        let (chats, users) = named.told(self);
        Ok(tl::types::messages::MessageViews { views, chats, users }.into())
    }

    /// <https://core.telegram.org/method/messages.getMessagesReactions>
    pub(super) fn reactions(&self, call: tl::functions::messages::GetMessagesReactions) -> Result<tl::enums::Updates, Failure> {
        let (chat, sight) = self.peer(&call.peer)?;
        let mut named = Named::default();
        named.chat(chat);
        let mut updates = Vec::with_capacity(call.id.len());
        for own in call.id {
            let id = self.seen(chat, sight, own);
            updates.extend(id.and_then(|id| self.reactions_of(chat, id, own, &mut named)));
        }
        let (chats, users) = named.told(self);
        Ok(tl::types::Updates { updates, users, chats, date: crate::clock::unix_now(), seq: 0 }.into())
    }

    /// The world's id of a message that the caller knows by its own and may see.
    fn seen(&self, chat: &Chat, sight: Sight, own: i32) -> Option<i32> {
        let id = if chat.kind.is_channel() { Some(own) } else { self.mailbox(|mailbox| mailbox.world(own)) };
        id.filter(|id| *id >= sight.from)
    }
}

/// Ids of the answers in a thread, ascending.
fn answers(thread: &Thread<'_>) -> Vec<i32> {
    if let Some(answers) = thread.chat.thread(thread.first) {
        return answers;
    }
    let after = thread.chat.ids_from(thread.first.saturating_add(1)).take(REACH);
    after.filter(|id| thread.chat.message(*id).is_some_and(|message| replies_to(&message, thread))).collect()
}

fn replies_to(message: &tl::enums::Message, thread: &Thread<'_>) -> bool {
    let reply = match message {
        tl::enums::Message::Message(message) => message.reply_to.as_ref(),
        _ => None,
    };
    match reply {
        Some(tl::enums::MessageReplyHeader::Header(header)) => {
            let here = header.reply_to_peer_id.as_ref().is_none_or(|peer| marked(peer) == thread.chat.id);
            here && header.reply_to_top_id.or(header.reply_to_msg_id) == Some(thread.first)
        }
        _ => false,
    }
}

/// The general topic is always there: <https://core.telegram.org/api/forum#forum-topics>.
fn all_topics(chat: &Chat) -> Vec<(i32, Topic)> {
    let mut topics = chat.topics();
    let general = Topic {
        title: "General".to_owned(),
        icon_color: 0x6f_b9f0,
        closed: false,
        hidden: false,
        pinned: false,
        date: chat.created,
        by: chat.id,
        top: chat.ids_from(1).next().unwrap_or(1),
    };
    topics.insert(0, (1, general));
    topics
}
