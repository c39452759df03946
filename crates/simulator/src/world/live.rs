//! What happened to one chat since the world began: versions of messages, its channel's log, who is in it, what it is called now.
//!
//! What a generated chat said before stays computed; only what events touched is kept here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use grammers_tl_types::{self as tl, Deserializable, Serializable};
use serde::{Deserialize, Serialize};

/// A change that an update box orders: it takes pts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A message that was not there before.
    New(i32),
    Edited(i32),
    Deleted(Vec<i32>),
    Pinned {
        ids: Vec<i32>,
        pinned: bool,
    },
}

impl Change {
    /// How much pts it takes (<https://core.telegram.org/api/updates#update-handling>): one for each message.
    pub(crate) fn pts_count(&self) -> i32 {
        match self {
            Change::New(_) | Change::Edited(_) => 1,
            Change::Deleted(ids) | Change::Pinned { ids, .. } => i32::try_from(ids.len()).unwrap_or(i32::MAX),
        }
    }
}

/// One line of a channel's log.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The pts after it.
    pub(crate) pts: i32,
    pub(crate) change: Change,
}

/// What became of a message at one event.
#[derive(Debug, Clone)]
pub(super) struct Version {
    /// Number of the event.
    pub event: u64,
    /// Unix time.
    pub date: i32,
    pub what: What,
}

/// See [`Version`].
#[derive(Debug, Clone)]
pub(super) enum What {
    Posted(Box<[u8]>),
    Edited(Box<[u8]>),
    /// Counters, reactions, votes, pins: not what is compared as content.
    Touched(Box<[u8]>),
    Deleted,
}

impl Version {
    fn bytes(&self) -> Option<&[u8]> {
        match &self.what {
            What::Posted(bytes) | What::Edited(bytes) | What::Touched(bytes) => Some(bytes),
            What::Deleted => None,
        }
    }

    pub(super) fn message(&self) -> Option<tl::enums::Message> {
        tl::enums::Message::from_bytes(self.bytes()?).ok()
    }
}

/// Where a user stands in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Standing {
    Creator,
    Admin {
        #[serde(default)]
        rank: Option<String>,
    },
    Member,
    /// In the chat, but may not write until then (unix time; 0: for ever).
    Restricted {
        until: i32,
    },
    Left,
    /// May not even read until then (unix time; 0: for ever).
    Banned {
        until: i32,
    },
}

impl Standing {
    /// Whether they are in the chat.
    pub fn is_member(&self) -> bool {
        matches!(self, Standing::Creator | Standing::Admin { .. } | Standing::Member | Standing::Restricted { .. })
    }

    /// Whether they have an administrator's rights.
    pub fn is_admin(&self) -> bool {
        matches!(self, Standing::Creator | Standing::Admin { .. })
    }
}

/// Since when a user stands where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stood {
    pub user_id: i64,
    /// Number of the event.
    pub event: u64,
    /// Unix time.
    pub date: i32,
    /// Who let them in, promoted or banned them.
    pub by: i64,
    #[serde(flatten)]
    pub standing: Standing,
    /// The newest message id at that moment: what came before may be hidden from those who join.
    #[serde(skip)]
    pub after: i32,
}

/// A forum's topic.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) title: String,
    pub(crate) icon_color: i32,
    pub(crate) closed: bool,
    pub(crate) hidden: bool,
    pub(crate) pinned: bool,
    pub(crate) date: i32,
    /// Marked id.
    pub(crate) by: i64,
    pub(crate) top: i32,
}

/// Why a chat is not open to everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restriction {
    /// Such as `all` or `ios`.
    pub platform: String,
    /// Such as `porn`, `terms` or `copyright`.
    pub reason: String,
    pub text: String,
}

/// What events changed of a chat's own description; absent: as it began.
#[derive(Debug, Clone, Default)]
pub(super) struct Profile {
    pub title: Option<String>,
    pub username: Option<Option<String>>,
    pub about: Option<String>,
    pub photo: Option<Option<i64>>,
    pub hidden_history: bool,
    pub hidden_members: Option<bool>,
    pub protected: bool,
    pub forum: bool,
    pub restriction: Option<Restriction>,
    /// Marked ids.
    pub linked: Option<i64>,
    pub migrated_to: Option<i64>,
    pub migrated_from: Option<(i64, i32)>,
    /// Hashes of invite links that are good, and whether who comes by one must be let in.
    pub invites: BTreeMap<String, bool>,
    /// Who asked to be let in.
    pub requests: BTreeSet<i64>,
    /// How often its list of members changed.
    pub version: i32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Of every message that an event touched, oldest first.
    versions: BTreeMap<i32, Vec<Version>>,
    /// The newest id that the source gave out: what is above was posted by events.
    pub born_until: i32,
    posted: usize,
    deleted: usize,
    /// The newest id that an event gave out; 0: none.
    pub last: i32,
    /// pts that events took.
    pub pts: i32,
    pub log: Vec<Entry>,
    /// Unix time, of the server's clock, of the newest line in the log; 0: none.
    pub logged: i32,
    pub profile: Profile,
    pub standing: HashMap<i64, Vec<Stood>>,
    pub pinned: BTreeSet<i32>,
    pub topics: BTreeMap<i32, Topic>,
    /// Answers below a message, by the thread's first message.
    pub threads: BTreeMap<i32, Vec<i32>>,
    /// The emoji that a user gave a message.
    pub reacted: HashMap<(i32, i64), String>,
    /// Of a channel's posts: the copy in the linked group.
    pub discussions: BTreeMap<i32, i32>,
}

impl Live {
    /// Whether the message is there now; `None` where no event touched it.
    pub fn exists(&self, id: i32) -> Option<bool> {
        if self.versions.is_empty() {
            return None;
        }
        self.versions.get(&id).and_then(|versions| versions.last()).map(|version| version.bytes().is_some())
    }

    /// The newest version; the outer `None` where no event touched it.
    pub fn message(&self, id: i32) -> Option<Option<tl::enums::Message>> {
        if self.versions.is_empty() {
            return None;
        }
        Some(self.versions.get(&id)?.last()?.message())
    }

    pub fn versions(&self, id: i32) -> &[Version] {
        self.versions.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Every id that events touched, ascending.
    pub fn touched(&self) -> impl Iterator<Item = (&i32, &Vec<Version>)> {
        self.versions.iter()
    }

    /// Existing messages beyond those that were there at the beginning; negative where more were deleted.
    pub fn balance(&self) -> (usize, usize) {
        (self.posted, self.deleted)
    }

    /// The next older message below `below` that an event posted and that exists.
    pub fn posted_below(&self, below: i32) -> Option<i32> {
        let from = self.born_until.saturating_add(1);
        if below <= from {
            return None;
        }
        self.versions.range(from..below).rev().find(|(_, versions)| alive(versions)).map(|(id, _)| *id)
    }

    /// The next newer one from `id` on.
    pub fn posted_from(&self, id: i32) -> Option<i32> {
        let from = self.born_until.saturating_add(1).max(id);
        self.versions.range(from..).find(|(_, versions)| alive(versions)).map(|(id, _)| *id)
    }

    /// The lowest posted id that is not older than `date`.
    pub fn first_posted_at(&self, date: i32) -> Option<i32> {
        let from = self.born_until.saturating_add(1);
        self.versions
            .range(from..)
            .find(|(_, versions)| versions.first().is_some_and(|version| version.date >= date))
            .map(|(id, _)| *id)
    }

    pub fn post(&mut self, id: i32, event: u64, date: i32, message: &tl::enums::Message) {
        self.posted += 1;
        self.last = self.last.max(id);
        self.push(id, Version { event, date, what: What::Posted(message.to_bytes().into()) });
    }

    pub fn edit(&mut self, id: i32, event: u64, date: i32, message: &tl::enums::Message) {
        self.push(id, Version { event, date, what: What::Edited(message.to_bytes().into()) });
    }

    /// A change that content does not show; of many in a row the last is kept.
    pub fn touch(&mut self, id: i32, event: u64, date: i32, message: &tl::enums::Message) {
        let version = Version { event, date, what: What::Touched(message.to_bytes().into()) };
        let versions = self.versions.entry(id).or_default();
        match versions.last_mut() {
            Some(last) if matches!(last.what, What::Touched(_)) => last.what = version.what,
            _ => versions.push(version),
        }
    }

    pub fn delete(&mut self, id: i32, event: u64, date: i32) {
        if id > self.born_until {
            self.posted -= 1
        } else {
            self.deleted += 1
        }
        self.pinned.remove(&id);
        self.push(id, Version { event, date, what: What::Deleted });
    }

    /// Adds a line to the channel's log; `base` is the pts with which it began.
    pub fn log(&mut self, base: i32, change: Change) -> i32 {
        self.pts = self.pts.saturating_add(change.pts_count());
        let pts = base.saturating_add(self.pts);
        self.log.push(Entry { pts, change });
        self.logged = crate::clock::unix_now();
        pts
    }

    /// Where a user stands by events; `None`: as at the beginning.
    pub fn stands(&self, user: i64) -> Option<&Stood> {
        self.standing.get(&user)?.last()
    }

    fn push(&mut self, id: i32, version: Version) {
        self.versions.entry(id).or_default().push(version);
    }
}

fn alive(versions: &[Version]) -> bool {
    versions.last().is_some_and(|version| version.bytes().is_some())
}
