//! Worlds made in code: for tests, and what world files are turned into.

use std::collections::{BTreeMap, HashMap};

use super::chat::{Chat, ChatKind, Source};
use super::generated::{Generated, GeneratedChat, Numbering};
use super::{Notes, Rules, World, people, portrait, text};

/// Ids of generated chats without one of their own begin here, without the mark.
const FIRST_CHANNEL: i64 = 1_500_000_001;
const FIRST_GROUP: i64 = 4_000_001;
const FIRST_PARTNER: i64 = 5_200_000_001;

impl World {
    /// A world without chats and people.
    pub fn empty(seed: u64) -> World {
        World {
            seed,
            chats: Vec::new(),
            by_id: HashMap::new(),
            people: BTreeMap::new(),
            files: HashMap::new(),
            notes: Notes::default(),
            happened: super::events::Happened::default(),
            hashes: std::sync::Mutex::default(),
            generated: false,
            file_dcs: Vec::new(),
            rules: None,
            me: people::ME,
        }
    }

    /// A world of these chats; equal arguments give an equal world.
    pub fn generated(seed: u64, chats: impl IntoIterator<Item = GeneratedChat>) -> World {
        chats.into_iter().fold(World::empty(seed), World::with)
    }

    /// One channel, `@harbour`, of this many ids, none deleted.
    pub fn channel(messages: i32) -> World {
        World::empty(1).with(GeneratedChat::new(ChatKind::Channel, "harbour", messages).named("harbour"))
    }

    /// The same world with a supergroup of this many ids, a share of them deleted.
    pub fn supergroup(self, messages: i32, deleted: f64) -> World {
        self.with(GeneratedChat::new(ChatKind::Supergroup, "quayside", messages).deleted(deleted))
    }

    /// The same world with a private chat of this many messages.
    pub fn private(self, messages: i32) -> World {
        self.with(GeneratedChat::new(ChatKind::Private, "Maren", messages))
    }

    /// The same world with one more generated chat. A marked id that is taken gets the next free one.
    pub fn with(mut self, wanted: GeneratedChat) -> World {
        let mut id = wanted.id.unwrap_or_else(|| {
            wanted.kind.marked(match wanted.kind {
                ChatKind::Channel | ChatKind::Supergroup => FIRST_CHANNEL,
                ChatKind::Group => FIRST_GROUP,
                ChatKind::Private => FIRST_PARTNER,
            })
        });
        while self.by_id.contains_key(&id) {
            id += if id < 0 { -1 } else { 1 };
        }
        for (id, person) in people::everyone(self.seed) {
            self.people.entry(id).or_insert(person);
        }
        self.generated = true;
        let generated = Generated::new(self.seed, id, &wanted);
        let mut chat = Chat::new(id, wanted.kind, wanted.title, Source::Generated(generated));
        chat.username = wanted.username;
        chat.about = wanted.about;
        chat.members = match wanted.kind {
            ChatKind::Private => 2,
            ChatKind::Group => wanted.members.unwrap_or(12),
            ChatKind::Channel | ChatKind::Supergroup => {
                let made_up = 500 + text::mix(self.seed, id.unsigned_abs(), 0, 5) % 40_000;
                wanted.members.unwrap_or_else(|| i32::try_from(made_up).unwrap_or(i32::MAX))
            }
        };
        chat.people(&wanted.membership);
        if chat.kind != ChatKind::Private {
            chat.photo = Some(portrait::of_chat(chat.kind, chat.bare_id(), 0));
        }
        if chat.kind == ChatKind::Private {
            let mut person = super::Person::named(id, &chat.title);
            person.username.clone_from(&chat.username);
            self.people.insert(id, person);
        }
        self.push(chat);
        self.number();
        self
    }

    /// The same world, limiting calls.
    pub fn under(mut self, rules: Rules) -> World {
        self.rules = Some(rules);
        self
    }

    /// The same world with its files spread over these datacentres.
    pub fn files_in(mut self, datacentres: impl IntoIterator<Item = i32>) -> World {
        self.file_dcs = datacentres.into_iter().collect();
        self
    }

    pub(super) fn push(&mut self, chat: Chat) {
        self.by_id.insert(chat.id, self.chats.len());
        self.chats.push(chat);
    }

    pub(super) fn of_parts(
        chats: Vec<Chat>,
        people: BTreeMap<i64, super::Person>,
        files: HashMap<i64, std::path::PathBuf>,
        notes: Notes,
    ) -> World {
        let mut world = World { people, files, notes, ..World::empty(0) };
        for chat in chats {
            world.push(chat);
        }
        world
    }

    /// Gives the generated private chats and groups their ids: in turn, in one space.
    fn number(&mut self) {
        let shared = self.chats.iter().filter(|chat| !chat.kind.is_channel()).count();
        let step = i32::try_from(shared).unwrap_or(1).max(1);
        for (first, chat) in (1..).zip(self.chats.iter_mut().filter(|chat| !chat.kind.is_channel())) {
            chat.renumber(Numbering { first, step });
        }
    }
}
