//! A chat whose messages are computed from (seed, chat, id) when asked for: a million of them need no memory.

mod attached;
mod compose;

use grammers_tl_types as tl;
use serde::{Deserialize, Serialize};

use super::chat::ChatKind;
use super::content::Content;
use super::members::{Crowd, Membership};
use super::people;
use super::text::mix;

pub use attached::MediaMix;

/// The newest possible generated message: 2026-01-01T00:00:00Z.
const END: i32 = 1_767_225_600;
/// Generated messages are at most this far apart, in seconds.
const STEP: i32 = 900;
/// …and a chat goes back eight years at most.
const SPAN: i32 = 8 * 365 * 86_400;

/// Languages that a generated chat is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    #[serde(alias = "en")]
    English,
    #[serde(alias = "ru")]
    Russian,
    #[serde(alias = "ar")]
    Arabic,
    #[serde(alias = "zh")]
    Chinese,
    #[serde(alias = "es")]
    Spanish,
    #[serde(alias = "hi")]
    Hindi,
    #[serde(alias = "ja")]
    Japanese,
    #[serde(alias = "de")]
    German,
}

impl Language {
    /// Every language there is.
    pub const ALL: [Language; 8] = [
        Language::English,
        Language::Russian,
        Language::Arabic,
        Language::Chinese,
        Language::Spanish,
        Language::Hindi,
        Language::Japanese,
        Language::German,
    ];
}

/// What a chat to be generated is like.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratedChat {
    pub kind: ChatKind,
    /// Marked id; absent: given by the world.
    pub id: Option<i64>,
    pub title: String,
    /// Without `@`.
    pub username: Option<String>,
    pub about: String,
    /// How many ids it has given out, deleted ones included.
    pub messages: i32,
    /// The share of ids whose messages are gone, from 0 to 1.
    pub deleted: f64,
    /// Empty: all.
    pub languages: Vec<Language>,
    /// How many members it claims; absent: made up.
    pub members: Option<i32>,
    /// Who they are.
    pub membership: Membership,
    /// How many messages carry files, and how large ones.
    pub media: MediaMix,
}

impl GeneratedChat {
    /// A chat with a title and a number of ids, none deleted, in all languages.
    pub fn new(kind: ChatKind, title: &str, messages: i32) -> Self {
        GeneratedChat {
            kind,
            id: None,
            title: title.to_owned(),
            username: None,
            about: String::new(),
            messages,
            deleted: 0.0,
            languages: Vec::new(),
            members: None,
            membership: Membership::default(),
            media: MediaMix::default(),
        }
    }

    /// The same with so many members.
    pub fn members(mut self, members: i32) -> Self {
        self.members = Some(members);
        self
    }

    /// The same with these people among its members.
    pub fn membership(mut self, membership: Membership) -> Self {
        self.membership = membership;
        self
    }

    /// The same with files in these shares of its messages.
    pub fn media(mut self, media: MediaMix) -> Self {
        self.media = media;
        self
    }

    /// The same with a share of its ids deleted.
    pub fn deleted(mut self, share: f64) -> Self {
        self.deleted = share.clamp(0.0, 1.0);
        self
    }

    /// The same with a username.
    pub fn named(mut self, username: &str) -> Self {
        self.username = Some(username.to_owned());
        self
    }
}

/// How the ids of a chat lie in their space: an account's private chats and basic groups share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbering {
    pub first: i32,
    pub step: i32,
}

/// A computed chat.
#[derive(Debug, Clone)]
pub(super) struct Generated {
    seed: u64,
    /// Marked id.
    chat: i64,
    kind: ChatKind,
    title: String,
    messages: i32,
    deleted: f64,
    languages: Vec<Language>,
    media: MediaMix,
    pub numbering: Numbering,
}

impl Generated {
    pub fn new(seed: u64, chat: i64, wanted: &GeneratedChat) -> Self {
        let languages = if wanted.languages.is_empty() { Language::ALL.to_vec() } else { wanted.languages.clone() };
        Generated {
            seed,
            chat,
            kind: wanted.kind,
            title: wanted.title.clone(),
            messages: wanted.messages.max(0),
            deleted: wanted.deleted,
            languages,
            media: wanted.media.clone(),
            numbering: Numbering { first: 1, step: 1 },
        }
    }

    pub fn last_id(&self) -> i32 {
        match self.messages {
            0 => 0,
            messages => (messages - 1).saturating_mul(self.numbering.step).saturating_add(self.numbering.first),
        }
    }

    /// Unix time of a message, growing with its id.
    pub fn date(&self, id: i32) -> i32 {
        let messages = self.messages.max(1);
        let step = (SPAN / messages).clamp(1, STEP);
        let at = self.place(id).unwrap_or_else(|| (id - self.numbering.first) / self.numbering.step.max(1));
        let jitter = self.roll(id, 1) % u64::from(step.unsigned_abs());
        END - (messages - at).saturating_mul(step) + i32::try_from(jitter).unwrap_or(0)
    }

    pub fn first_id_at(&self, date: i32) -> i32 {
        let (mut low, mut high) = (0, self.messages);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.date(self.id_at(middle)) < date { low = middle + 1 } else { high = middle }
        }
        self.id_at(low)
    }

    pub fn exists(&self, id: i32) -> bool {
        match self.place(id) {
            None => false,
            // A chat that has messages keeps its first: that of its creation.
            Some(0) => true,
            Some(_) => self.share(id, 2) >= self.deleted,
        }
    }

    /// The ids it has given out, newest first, from below `below`.
    pub fn ids_below(&self, below: i32) -> impl Iterator<Item = i32> + Send + '_ {
        let end = if below > self.last_id() {
            self.messages
        } else {
            (below - self.numbering.first).max(0).unsigned_abs().div_ceil(self.numbering.step.unsigned_abs()) as i32
        };
        (0..end.min(self.messages)).rev().map(|at| self.id_at(at)).filter(|&id| self.exists(id))
    }

    /// The ids it has given out from `id` on, oldest first.
    pub fn ids_from(&self, id: i32) -> impl Iterator<Item = i32> + Send + '_ {
        let start = (id - self.numbering.first).max(0).unsigned_abs().div_ceil(self.numbering.step.unsigned_abs()) as i32;
        (start..self.messages).map(|at| self.id_at(at)).filter(|&id| self.exists(id))
    }

    pub fn message(&self, id: i32) -> Option<tl::enums::Message> {
        self.exists(id).then(|| compose::message(self, id))
    }

    /// The message that holds a generated file, and what the file holds: itself, or a preview by its kind.
    pub fn content(&self, file: i64, thumb: &str) -> Option<(i32, Content)> {
        let id = i32::try_from(file & 0xffff_ffff).ok()?;
        if self.exists(id) { attached::content(self, id, file, thumb).map(|content| (id, content)) } else { None }
    }

    /// The chat's members; it was made when its first message was.
    pub fn crowd(&self, present: i32, plan: &Membership) -> Crowd {
        Crowd::new(self.seed, self.chat, present, plan, (self.date(self.numbering.first), END))
    }

    /// The id of a file in message `id`: says the chat and the message, so that nothing need be remembered.
    fn file_id(&self, id: i32, salt: u64) -> i64 {
        let tag = mix(self.seed, self.chat.unsigned_abs(), 0, salt) & 0x3fff_ffff | 0x4000_0000;
        i64::try_from(tag << 32 | u64::from(id.unsigned_abs())).unwrap_or(i64::MAX)
    }

    /// How many own messages came before this id; `None` if it is not an id of this chat.
    fn place(&self, id: i32) -> Option<i32> {
        let after = id.checked_sub(self.numbering.first)?;
        let at = after / self.numbering.step.max(1);
        (after >= 0 && after % self.numbering.step.max(1) == 0 && at < self.messages).then_some(at)
    }

    fn id_at(&self, at: i32) -> i32 {
        at.saturating_mul(self.numbering.step).saturating_add(self.numbering.first)
    }

    /// A number that this message and this question alone decide.
    fn roll(&self, id: i32, salt: u64) -> u64 {
        mix(self.seed, self.chat.unsigned_abs(), u64::from(id.unsigned_abs()), salt)
    }

    /// The same as a share, from 0 up to 1.
    fn share(&self, id: i32, salt: u64) -> f64 {
        (self.roll(id, salt) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pick<T: Copy>(&self, id: i32, salt: u64, from: &[T]) -> T {
        from[(self.roll(id, salt) % from.len() as u64) as usize]
    }

    /// The author of a message, as a number.
    fn author(&self, id: i32) -> u64 {
        // Squared, so that few people write much.
        let share = self.share(id, 3);
        (share * share * people::AUTHOR_COUNT as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;
    use tl::Serializable;

    #[test]
    fn the_same_seed_tells_the_same_world() {
        let one = World::channel(400).supergroup(400, 0.3);
        let two = World::channel(400).supergroup(400, 0.3);
        for (a, b) in one.chats().iter().zip(two.chats()) {
            assert_eq!(a.id, b.id);
            for id in 1..=400 {
                assert_eq!(a.message(id).map(|m| m.to_bytes()), b.message(id).map(|m| m.to_bytes()), "message {id}");
            }
        }
        let other = World::generated(2, [GeneratedChat::new(ChatKind::Channel, "harbour", 400)]);
        let same = (2..=400).filter(|&id| one.chats()[0].message(id) == other.chats()[0].message(id)).count();
        assert_eq!(same, 0);
    }

    #[test]
    fn about_the_wanted_share_is_deleted() {
        let world = World::empty(1).supergroup(20_000, 0.25);
        let chat = &world.chats()[0];
        let share = 1.0 - chat.count() as f64 / 20_000.0;
        assert!((0.24..0.26).contains(&share), "{share}");
        assert_eq!(chat.last_id(), 20_000);
        assert_eq!(chat.ids_below(0).count(), chat.count());
        assert_eq!(chat.ids_below(0).next(), Some(chat.top()));
        let mut below: Vec<i32> = chat.ids_below(5_000).collect();
        below.reverse();
        let from: Vec<i32> = chat.ids_from(1).take_while(|&id| id < 5_000).collect();
        assert_eq!(below, from);
    }

    #[test]
    fn dates_grow_and_are_found_again() {
        let world = World::empty(1).supergroup(3_000, 0.25);
        let chat = &world.chats()[0];
        let dates: Vec<i64> = world.truth(chat.id).expect("exists").map(|truth| truth.content.date).collect();
        assert!(dates.is_sorted());
        for truth in world.truth(chat.id).expect("exists").step_by(97) {
            let date = i32::try_from(truth.content.date).expect("fits");
            assert_eq!(chat.first_id_at(date), truth.content.message_id);
        }
        assert_eq!(chat.first_id_at(i32::MAX), 3_001);
    }

    #[test]
    fn private_chats_and_groups_share_one_id_space() {
        let world = World::generated(
            7,
            [
                GeneratedChat::new(ChatKind::Private, "Maren", 50),
                GeneratedChat::new(ChatKind::Channel, "news", 50),
                GeneratedChat::new(ChatKind::Group, "crew", 80),
            ],
        );
        let mut seen = std::collections::BTreeSet::new();
        for chat in world.chats().iter().filter(|chat| !chat.kind.is_channel()) {
            for id in chat.ids_from(1) {
                assert!(seen.insert(id), "{id} twice");
            }
            let mut backwards: Vec<i32> = chat.ids_below(40).collect();
            backwards.reverse();
            assert_eq!(backwards, chat.ids_from(1).take_while(|&id| id < 40).collect::<Vec<_>>());
        }
        assert_eq!(seen.len(), 130);
        assert_eq!(world.chats()[1].ids_from(1).count(), 50);
    }

    #[test]
    fn photos_have_the_bytes_they_promise() {
        let world = World::channel(500);
        let mut photos = 0;
        for id in world.chats()[0].ids_from(1) {
            let Some(tl::enums::Message::Message(message)) = world.chats()[0].message(id) else {
                continue;
            };
            let Some(tl::enums::MessageMedia::Photo(media)) = message.media else {
                continue;
            };
            let Some(tl::enums::Photo::Photo(photo)) = media.photo else { panic!("a photo without photo") };
            for size in &photo.sizes {
                let (kind, bytes) = match size {
                    tl::enums::PhotoSize::Size(size) => (&size.r#type, size.size),
                    tl::enums::PhotoSize::Progressive(size) => (&size.r#type, *size.sizes.last().expect("steps")),
                    _ => continue,
                };
                let content = world.content(photo.id, kind).expect("each size is there");
                assert_eq!(content.whole().map(|bytes| bytes.len()), usize::try_from(bytes).ok());
                if Some(size) == photo.sizes.last() {
                    assert_eq!(world.file(photo.id), content.whole());
                }
            }
            photos += 1;
        }
        assert!(photos > 20, "{photos}");
    }
}
