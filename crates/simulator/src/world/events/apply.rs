//! What each event does to the world. Everything is checked before anything is changed: an event happens whole or not at all.

mod checks;
mod people;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use elsa::sync::FrozenVec;
use grammers_tl_types as tl;
use tl::enums::MessageAction as Action;

use super::compose::{self, Drawn};
use super::{Event, EventError, Post, Timed};
use crate::clock;
use crate::world::chat::{Chat, ChatKind};
use crate::world::content::Content;
use crate::world::live::{Change, Stood, Topic};
use crate::world::{Person, World, wire};

/// Bare ids of chats that events make begin here.
const FIRST_MADE: i64 = 2_500_000_001;

/// What an event did, for those who must be told.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// Takes pts: of the channel (that after it is told), or of each account in a private chat or basic group.
    Change { chat: i64, pts: i32, change: Change },
    /// Told to those in the chat, but ordered by no pts.
    Notice { chat: i64, notice: Notice },
    /// A user came, went, rose or fell; before, they stood as told.
    Stands { chat: i64, user: i64, before: Option<Stood> },
    /// A user has another name.
    Renamed { user: i64 },
    /// A user's account was deleted.
    UserDeleted { user: i64 },
}

/// See [`Effect::Notice`].
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    Chat,
    Views(i32),
    Forwards(i32),
    Reactions(i32),
    Poll(i32),
}

/// An event that happened.
#[derive(Debug)]
pub struct Record {
    /// Counted from 1.
    pub number: u64,
    /// Unix time.
    pub date: i32,
    pub event: Event,
    pub(crate) effects: Vec<Effect>,
}

impl Record {
    /// Ids of the messages that the event made, with their chats.
    pub fn posted(&self) -> impl Iterator<Item = (i64, i32)> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Change { chat, change: Change::New(id), .. } => Some((*chat, *id)),
            _ => None,
        })
    }
}

impl Record {
    /// Ids of the messages that the event deleted.
    pub fn deleted(&self) -> Vec<i32> {
        let ids = self.effects.iter().filter_map(|effect| match effect {
            Effect::Change { change: Change::Deleted(ids), .. } => Some(ids.as_slice()),
            _ => None,
        });
        ids.flatten().copied().collect()
    }
}

/// All that happened since the world began, apart from the chats' own part.
#[derive(Debug, Default)]
pub(in crate::world) struct Happened {
    /// Held while an event happens, and, shared, by those who must not see half of one.
    moment: RwLock<()>,
    records: RwLock<Vec<Arc<Record>>>,
    /// Chats that events made.
    pub made: FrozenVec<Box<Chat>>,
    /// Versions of people, each from its event on.
    people: RwLock<HashMap<i64, Vec<(u64, Person)>>>,
    /// Users beside the world's own people: the accounts.
    guests: RwLock<BTreeSet<i64>>,
    drawn: RwLock<HashMap<i64, Drawn>>,
}

impl World {
    /// Lets an event happen: whole, or, where it cannot be, not at all.
    ///
    /// # Errors
    /// Names the field of the event that does not fit the world.
    pub fn play(&self, timed: impl Into<Timed>) -> Result<Arc<Record>, EventError> {
        let Timed { date, event } = timed.into();
        let _turn = write(&self.happened.moment);
        let last = read(&self.happened.records).last().map_or((0, 0), |record| (record.number, record.date));
        let date = match date {
            Some(date) if date < last.1 => {
                return Err(impossible("date", format!("{date} is before the last event, at {}", last.1)));
            }
            Some(date) => date,
            None => clock::unix_now().max(last.1),
        };
        let mut stage = Stage { world: self, number: last.0 + 1, date, effects: Vec::new() };
        stage.apply(&event)?;
        let record = Arc::new(Record { number: stage.number, date, event, effects: stage.effects });
        write(&self.happened.records).push(record.clone());
        Ok(record)
    }

    /// While this is held no event happens: what is read belongs together.
    pub(crate) fn moment(&self) -> RwLockReadGuard<'_, ()> {
        read(&self.happened.moment)
    }

    /// Events from a number on, oldest first.
    pub fn events_from(&self, number: u64) -> Vec<Arc<Record>> {
        let records = read(&self.happened.records);
        let from = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX).min(records.len());
        records[from..].to_vec()
    }

    /// How many events happened.
    pub fn event_count(&self) -> u64 {
        read(&self.happened.records).len() as u64
    }

    /// The number of the last event until a moment, that included.
    pub fn event_at(&self, date: i32) -> u64 {
        read(&self.happened.records).partition_point(|record| record.date <= date) as u64
    }

    /// A user as they are now.
    pub fn person(&self, id: i64) -> Option<Person> {
        let people = read(&self.happened.people);
        people.get(&id).and_then(|versions| versions.last()).map(|(_, person)| person.clone()).or_else(|| self.born_person(id))
    }

    /// The user who has a username now, in any case.
    pub fn person_named(&self, username: &str) -> Option<Person> {
        let has = |person: &Person| person.username.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(username));
        let changed = read(&self.happened.people);
        let now = changed.values().filter_map(|versions| versions.last()).map(|(_, person)| person).find(|person| has(person));
        now.cloned().or_else(|| self.born_person_named(username).filter(|person| !changed.contains_key(&person.id)))
    }

    /// Makes a user known who is none of the world's own people.
    pub(crate) fn welcome(&self, user: i64) {
        if !read(&self.happened.guests).contains(&user) {
            write(&self.happened.guests).insert(user);
        }
    }

    /// A file that an event brought, or one of its sizes; `None` where no event brought it.
    pub(in crate::world) fn drawn(&self, id: i64, kind: &str) -> Option<Option<Content>> {
        Some(read(&self.happened.drawn).get(&id)?.content(id, kind))
    }
}

/// One event at work.
pub(super) struct Stage<'a> {
    pub world: &'a World,
    pub number: u64,
    pub date: i32,
    effects: Vec<Effect>,
}

impl<'a> Stage<'a> {
    fn apply(&mut self, event: &Event) -> Result<(), EventError> {
        match event {
            Event::Create { kind, chat, title, username, users } => {
                return self.create(*kind, *chat, title, username.as_deref(), users);
            }
            Event::Post { chat, post } => {
                let chat = self.chat("chat", *chat)?;
                self.check(chat, post)?;
                self.post(chat, post, None);
            }
            Event::Publish { chat } => {
                let chat = self.channel("chat", *chat)?;
                let next = chat.next_to_come();
                let (id, message) = next.ok_or_else(|| impossible("chat", "all of its export is posted".to_owned()))?;
                self.put(chat, id, message);
            }
            Event::Album { chat, posts } => {
                let chat = self.chat("chat", *chat)?;
                if !(2..=10).contains(&posts.len()) {
                    return Err(impossible("posts", format!("an album has 2 to 10 messages, not {}", posts.len())));
                }
                posts.iter().try_for_each(|post| self.check(chat, post))?;
                let group = compose::group_of(self);
                posts.iter().for_each(|post| self.post(chat, post, Some(group)));
            }
            Event::Forward { chat, from, source_chat, source_id } => {
                let chat = self.chat("chat", *chat)?;
                let source = self.chat("source_chat", *source_chat)?;
                let original = self.message("source_id", source, *source_id)?;
                if source.is_protected() {
                    return Err(impossible("source_chat", "its messages may not be forwarded".to_owned()));
                }
                let from = self.author(chat, *from)?;
                let id = self.next_id(chat);
                let message = compose::forwarded(self, chat, id, from, source, original);
                let message = message.ok_or_else(|| impossible("source_id", "a service message cannot be forwarded".to_owned()))?;
                self.put(chat, id, message.into());
            }
            Event::Comment { chat, id, from, text } => {
                let channel = self.chat("chat", *chat)?;
                self.message("id", channel, *id)?;
                self.user("from", *from)?;
                let group = channel.linked().filter(|_| channel.kind == ChatKind::Channel);
                let group = self.chat("chat", group.ok_or_else(|| impossible("chat", "no group is linked with it".to_owned()))?)?;
                let first = channel.discussion(*id);
                let first = first.ok_or_else(|| impossible("id", "was posted before the group was linked".to_owned()))?;
                self.post(group, &Post { reply_to: Some(first), ..Post::said(*from, text) }, None);
            }
            Event::Edit { chat, id, text } => {
                let chat = self.chat("chat", *chat)?;
                let tl::enums::Message::Message(mut message) = self.message("id", chat, *id)? else {
                    return Err(impossible("id", "a service message cannot be edited".to_owned()));
                };
                message.message.clone_from(text);
                (message.entities, message.edit_date, message.edit_hide) = (None, Some(self.date), false);
                chat.write().edit(*id, self.number, self.date, &message.into());
                self.log(chat, Change::Edited(*id));
            }
            Event::Delete { chat, ids } => {
                let chat = self.chat("chat", *chat)?;
                self.delete(chat, ids);
            }
            Event::Join { .. }
            | Event::Request { .. }
            | Event::Invite { .. }
            | Event::Leave { .. }
            | Event::Kick { .. }
            | Event::Ban { .. }
            | Event::Unban { .. }
            | Event::Promote { .. } => return self.move_people(event),
            Event::Title { chat, title, by } => {
                let chat = self.chat("chat", *chat)?;
                let from = self.actor(chat, *by)?;
                chat.write().profile.title = Some(title.clone());
                let action = tl::types::MessageActionChatEditTitle { title: title.clone() };
                self.serve(chat, action.into(), from, None);
                self.notice(chat, Notice::Chat);
            }
            Event::Photo { chat, number, by } => {
                let chat = self.chat("chat", *chat)?;
                let from = self.actor(chat, *by)?;
                let photo = number.map(|number| compose::photo(self, 0, number));
                chat.write().profile.photo = Some(photo.as_ref().map(|(id, _)| *id));
                let action = match photo {
                    Some((_, photo)) => tl::types::MessageActionChatEditPhoto { photo }.into(),
                    None => Action::ChatDeletePhoto,
                };
                self.serve(chat, action, from, None);
                self.notice(chat, Notice::Chat);
            }
            Event::About { chat, about } => {
                let chat = self.chat("chat", *chat)?;
                chat.write().profile.about = Some(about.clone());
                self.notice(chat, Notice::Chat);
            }
            Event::Username { chat, username } => {
                let chat = self.channel("chat", *chat)?;
                if let Some(name) = username {
                    self.free("username", name)?;
                }
                chat.write().profile.username = Some(username.clone());
                self.notice(chat, Notice::Chat);
            }
            Event::Pin { chat, id, by, silent } => {
                let chat = self.chat("chat", *chat)?;
                let message = self.message("id", chat, *id)?;
                let from = self.actor(chat, *by)?;
                self.pin(chat, *id, message, true);
                if !silent {
                    self.serve(chat, Action::PinMessage, from, Some(*id));
                }
            }
            Event::Unpin { chat, id } => {
                let chat = self.chat("chat", *chat)?;
                let message = self.message("id", chat, *id)?;
                self.pin(chat, *id, message, false);
            }
            Event::React { chat, id, user, emoji } => {
                let chat = self.chat("chat", *chat)?;
                let message = self.message("id", chat, *id)?;
                self.user("user", *user)?;
                let before = match emoji {
                    Some(emoji) => chat.write().reacted.insert((*id, *user), emoji.clone()),
                    None => chat.write().reacted.remove(&(*id, *user)),
                };
                let mut message = message;
                compose::react(&mut message, chat, *user, self.date, before.as_deref(), emoji.as_deref());
                self.touch(chat, *id, &message);
                self.notice(chat, Notice::Reactions(*id));
            }
            Event::Counts { chat, id, views, forwards } => {
                let chat = self.chat("chat", *chat)?;
                let tl::enums::Message::Message(mut message) = self.message("id", chat, *id)? else {
                    return Err(impossible("id", "a service message has no counts".to_owned()));
                };
                // One flag of the schema stands for both.
                message.views = views.or(message.views).or(Some(0));
                message.forwards = forwards.or(message.forwards).or(Some(0));
                self.touch(chat, *id, &message.into());
                for notice in views.map(|_| Notice::Views(*id)).into_iter().chain(forwards.map(|_| Notice::Forwards(*id))) {
                    self.notice(chat, notice);
                }
            }
            Event::Vote { chat, id, option, votes } => {
                let chat = self.chat("chat", *chat)?;
                let mut message = self.message("id", chat, *id)?;
                compose::vote(&mut message, *option, *votes).map_err(|(field, problem)| impossible(field, problem))?;
                self.touch(chat, *id, &message);
                self.notice(chat, Notice::Poll(*id));
            }
            Event::Forum { chat, on } => {
                let chat = self.supergroup("chat", *chat)?;
                chat.write().profile.forum = *on;
                self.notice(chat, Notice::Chat);
            }
            Event::Topic { chat, title, by } => {
                let chat = self.supergroup("chat", *chat)?;
                self.user("by", *by)?;
                if !chat.is_forum() {
                    return Err(impossible("chat", "is no forum".to_owned()));
                }
                let icon_color = 0x6f_b9f0;
                let action = tl::types::MessageActionTopicCreate {
                    title_missing: false,
                    title: title.clone(),
                    icon_color,
                    icon_emoji_id: None,
                };
                let id = self.serve(chat, action.into(), Some(*by), None);
                let topic = Topic {
                    title: title.clone(),
                    icon_color,
                    closed: false,
                    hidden: false,
                    pinned: false,
                    date: self.date,
                    by: *by,
                    top: id,
                };
                chat.write().topics.insert(id, topic);
            }
            Event::TopicEdit { chat, topic, by, title, closed } => {
                let chat = self.supergroup("chat", *chat)?;
                self.user("by", *by)?;
                {
                    let mut live = chat.write();
                    let told = live.topics.get_mut(topic);
                    let told = told.ok_or_else(|| impossible("topic", format!("no topic {topic} in chat {}", chat.id)))?;
                    told.title = title.clone().unwrap_or_else(|| told.title.clone());
                    told.closed = closed.unwrap_or(told.closed);
                }
                let action =
                    tl::types::MessageActionTopicEdit { title: title.clone(), icon_emoji_id: None, closed: *closed, hidden: None };
                self.serve(chat, action.into(), Some(*by), Some(*topic));
            }
            Event::Link { chat, group } => {
                let channel = self.channel("chat", *chat)?;
                let group = self.supergroup("group", *group)?;
                if channel.kind != ChatKind::Channel {
                    return Err(impossible("chat", "only a channel is discussed in a group".to_owned()));
                }
                channel.write().profile.linked = Some(group.id);
                group.write().profile.linked = Some(channel.id);
                self.notice(channel, Notice::Chat);
                self.notice(group, Notice::Chat);
            }
            Event::Migrate { chat, to } => return self.migrate(*chat, *to),
            Event::InviteLink { chat, hash, revoked, approval } => {
                let chat = self.chat("chat", *chat)?;
                let mut live = chat.write();
                if *revoked {
                    live.profile.invites.remove(hash);
                } else {
                    live.profile.invites.insert(hash.clone(), *approval);
                }
            }
            Event::HideHistory { chat, on } => {
                let chat = self.channel("chat", *chat)?;
                chat.write().profile.hidden_history = *on;
                self.notice(chat, Notice::Chat);
            }
            Event::HideMembers { chat, on } => {
                let chat = self.channel("chat", *chat)?;
                chat.write().profile.hidden_members = Some(*on);
                self.notice(chat, Notice::Chat);
            }
            Event::Protect { chat, on } => {
                let chat = self.chat("chat", *chat)?;
                chat.write().profile.protected = *on;
                self.notice(chat, Notice::Chat);
            }
            Event::Restrict { chat, restriction } => {
                let chat = self.channel("chat", *chat)?;
                chat.write().profile.restriction.clone_from(restriction);
                self.notice(chat, Notice::Chat);
            }
            Event::Rename { user, first_name, last_name, username } => {
                let mut person = self.person("user", *user)?;
                if let Some(name) = username.as_ref().filter(|name| !name.is_empty()) {
                    self.free("username", name)?;
                }
                person.first_name = first_name.clone().unwrap_or(person.first_name);
                person.last_name = last_name.clone().or(person.last_name).filter(|name| !name.is_empty());
                person.username = username.clone().or(person.username).filter(|name| !name.is_empty());
                self.change_person(person);
                self.effects.push(Effect::Renamed { user: *user });
            }
            Event::DeleteUser { user } => {
                let person = self.person("user", *user)?;
                self.change_person(Person { deleted: true, username: None, ..person });
                self.effects.push(Effect::UserDeleted { user: *user });
            }
        }
        Ok(())
    }

    /// Deletes what exists; gives the ids.
    pub(super) fn delete(&mut self, chat: &Chat, ids: &[i32]) -> Vec<i32> {
        let mut gone: Vec<i32> = Vec::new();
        let mut threads = BTreeSet::new();
        for &id in ids {
            if let Some(message) = chat.message(id) {
                threads.extend(compose::thread_of(&message));
                chat.write().delete(id, self.number, self.date);
                gone.push(id);
            }
        }
        threads.into_iter().for_each(|first| self.count_answers(chat, first));
        if !gone.is_empty() {
            self.log(chat, Change::Deleted(gone.clone()));
        }
        gone
    }

    fn pin(&mut self, chat: &Chat, id: i32, mut message: tl::enums::Message, pinned: bool) {
        if let tl::enums::Message::Message(message) = &mut message {
            message.pinned = pinned;
        }
        self.touch(chat, id, &message);
        {
            let mut live = chat.write();
            if pinned {
                live.pinned.insert(id)
            } else {
                live.pinned.remove(&id)
            };
        }
        self.log(chat, Change::Pinned { ids: vec![id], pinned });
    }

    /// Says a message, and, in a channel with a group linked, its copy there
    /// (<https://core.telegram.org/api/discussion>).
    fn post(&mut self, chat: &'a Chat, post: &Post, group: Option<i64>) {
        let id = self.next_id(chat);
        let from = self.author(chat, post.from).unwrap_or(None);
        let (message, thread) = compose::said(self, chat, id, from, post, group);
        if let Some(topic) = post.topic
            && let Some(topic) = chat.write().topics.get_mut(&topic)
        {
            topic.top = id;
        }
        self.put(chat, id, message.clone().into());
        if let Some(first) = thread {
            chat.write().threads.entry(first).or_default().push(id);
            self.count_answers(chat, first);
        }
        let linked = chat.linked().filter(|_| chat.kind == ChatKind::Channel);
        if let Some(discussion) = linked.and_then(|group| self.world.chat(group)) {
            let copy = self.next_id(discussion);
            let mut told = compose::discussed(chat, discussion, copy, message);
            told.pinned = true;
            self.put(discussion, copy, told.into());
            discussion.write().pinned.insert(copy);
            chat.write().discussions.insert(id, copy);
            self.count_answers(discussion, copy);
        }
    }

    /// Writes how many answers a message has on it, and on the channel's post of which it is the copy.
    fn count_answers(&self, chat: &Chat, first: i32) {
        let answers = chat.thread(first).unwrap_or_default();
        if let Some(tl::enums::Message::Message(mut message)) = chat.message(first) {
            let (replies, post) = compose::answers(chat, &message, &answers);
            message.replies = Some(replies);
            self.touch(chat, first, &message.into());
            if let Some((channel, id, replies)) = post
                && let Some(channel) = self.world.chat(channel)
                && let Some(tl::enums::Message::Message(mut post)) = channel.message(id)
            {
                post.replies = Some(replies);
                self.touch(channel, id, &post.into());
            }
        }
    }

    /// A service message; gives its id.
    fn serve(&mut self, chat: &Chat, action: Action, from: Option<i64>, reply_to: Option<i32>) -> i32 {
        let id = self.next_id(chat);
        let mut message = wire::service(chat.id, id, self.date, action);
        message.from_id = from.map(wire::peer);
        message.out = from == Some(self.world.me);
        message.post = chat.kind == ChatKind::Channel;
        message.reply_to = reply_to.map(|id| wire::reply(id, None));
        self.put(chat, id, message.into());
        id
    }

    /// Channels tell nobody who comes and goes.
    fn serve_in_groups(&mut self, chat: &Chat, action: Action, from: i64) {
        if chat.kind != ChatKind::Channel {
            self.serve(chat, action, Some(from), None);
        }
    }

    fn put(&mut self, chat: &Chat, id: i32, message: tl::enums::Message) {
        chat.write().post(id, self.number, self.date, &message);
        self.log(chat, Change::New(id));
    }

    fn touch(&self, chat: &Chat, id: i32, message: &tl::enums::Message) {
        chat.write().touch(id, self.number, self.date, message);
    }

    fn log(&mut self, chat: &Chat, change: Change) {
        let pts = if chat.kind.is_channel() { chat.write().log(chat.born_pts(), change.clone()) } else { 0 };
        self.effects.push(Effect::Change { chat: chat.id, pts, change });
    }

    fn notice(&mut self, chat: &Chat, notice: Notice) {
        self.effects.push(Effect::Notice { chat: chat.id, notice });
    }

    /// The next id of the chat's space: its own, or that which private chats and basic groups share.
    fn next_id(&self, chat: &Chat) -> i32 {
        let last = if chat.kind.is_channel() {
            chat.last_id()
        } else {
            self.world.all_chats().filter(|chat| !chat.kind.is_channel()).map(Chat::last_id).max().unwrap_or(0)
        };
        last.saturating_add(1)
    }

    fn change_person(&mut self, person: Person) {
        write(&self.world.happened.people).entry(person.id).or_default().push((self.number, person));
    }

    pub(super) fn keep(&self, id: i64, drawn: Drawn) {
        write(&self.world.happened.drawn).insert(id, drawn);
    }
}

fn impossible(field: &'static str, problem: String) -> EventError {
    EventError::Impossible { field, problem }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}
