//! One chat: which message ids exist, and what each holds.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, OnceLock, RwLock};

use grammers_tl_types as tl;

use super::content::Content;
use super::generated::{Generated, Numbering};
use super::members::{Base, Members, Membership};
use super::stored::Stored;
use super::{DC_ID, picture, wire};

/// What a chat is, as far as ids and rights differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatKind {
    Channel,
    Supergroup,
    Group,
    Private,
}

impl ChatKind {
    /// The id as everybody writes it: `-100…` for channels and supergroups, negative for basic groups, positive for people.
    pub fn marked(self, bare: i64) -> i64 {
        match self {
            ChatKind::Channel | ChatKind::Supergroup => -1_000_000_000_000 - bare,
            ChatKind::Group => -bare,
            ChatKind::Private => bare,
        }
    }

    /// Whether the chat has an id space and a pts of its own (else it shares those of the account).
    pub fn is_channel(self) -> bool {
        matches!(self, ChatKind::Channel | ChatKind::Supergroup)
    }
}

/// One chat of the world.
#[derive(Debug)]
pub struct Chat {
    /// Marked id.
    pub id: i64,
    pub kind: ChatKind,
    pub title: String,
    /// Without `@`.
    pub username: Option<String>,
    /// The description, as the full chat tells it.
    pub about: String,
    /// Unix time of its creation.
    pub created: i32,
    /// How many members it claims.
    pub members: i32,
    /// Whether only administrators see who is in it.
    pub hidden_members: bool,
    /// The chat's picture, a file of the world.
    pub photo: Option<i64>,
    source: Source,
    roster: OnceLock<Members>,
    changes: RwLock<Changes>,
    alive: OnceLock<usize>,
    /// What was counted from an id on, and at which pts.
    counts: Mutex<HashMap<i32, (i32, usize)>>,
}

#[derive(Debug)]
pub(super) enum Source {
    Generated(Generated),
    Stored(Stored),
}

/// What happened since the world began.
#[derive(Debug, Default)]
struct Changes {
    deleted: HashSet<i32>,
}

impl Chat {
    pub(super) fn new(id: i64, kind: ChatKind, title: String, source: Source) -> Self {
        let created = match &source {
            Source::Generated(generated) => generated.date(1),
            Source::Stored(stored) => stored.first_date(),
        };
        Chat {
            id,
            kind,
            title,
            username: None,
            about: String::new(),
            created,
            members: 0,
            hidden_members: false,
            photo: None,
            source,
            roster: OnceLock::new(),
            changes: RwLock::default(),
            alive: OnceLock::new(),
            counts: Mutex::default(),
        }
    }

    /// Telegram's own id, without the mark.
    pub fn bare_id(&self) -> i64 {
        match self.kind {
            ChatKind::Channel | ChatKind::Supergroup => -1_000_000_000_000 - self.id,
            ChatKind::Group => -self.id,
            ChatKind::Private => self.id,
        }
    }

    /// The chat as a peer.
    pub fn peer(&self) -> tl::enums::Peer {
        wire::peer(self.id)
    }

    /// The newest existing message id, 0 if none.
    pub fn top(&self) -> i32 {
        self.ids_below(0).next().unwrap_or(0)
    }

    /// The newest id ever given out, existing or not.
    pub fn last_id(&self) -> i32 {
        match &self.source {
            Source::Generated(generated) => generated.last_id(),
            Source::Stored(stored) => stored.last_id(),
        }
    }

    /// The channel's pts: one for each message ever posted, and one for each deletion of this session.
    pub fn pts(&self) -> i32 {
        self.last_id().saturating_add(1).saturating_add(i32::try_from(self.changes().deleted.len()).unwrap_or(i32::MAX))
    }

    /// How many messages exist.
    pub fn count(&self) -> usize {
        let born = *self.alive.get_or_init(|| match &self.source {
            Source::Generated(generated) => generated.ids_from(1).count(),
            Source::Stored(stored) => stored.count(),
        });
        born - self.changes().deleted.len()
    }

    /// How many messages exist from this id on; counted again only when something has changed.
    pub fn count_from(&self, id: i32) -> usize {
        if id <= 1 {
            return self.count();
        }
        let lock = || self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let pts = self.pts();
        if let Some((_, count)) = lock().get(&id).filter(|(of, _)| *of == pts) {
            return *count;
        }
        let count = self.ids_from(id).count();
        lock().insert(id, (pts, count));
        count
    }

    /// Whether a message exists now.
    pub fn exists(&self, id: i32) -> bool {
        self.was_born(id) && !self.was_deleted(id)
    }

    /// One message, as a server tells it to one who may see all; `None` for a deleted or unknown id.
    pub fn message(&self, id: i32) -> Option<tl::enums::Message> {
        if !self.exists(id) {
            return None;
        }
        match &self.source {
            Source::Generated(generated) => generated.message(id),
            Source::Stored(stored) => stored.message(id),
        }
    }

    /// Existing ids below `offset`, newest first; `offset` 0 begins at the newest.
    pub fn ids_below(&self, offset: i32) -> Box<dyn Iterator<Item = i32> + Send + '_> {
        let below = if offset <= 0 { i32::MAX } else { offset };
        match &self.source {
            Source::Generated(generated) => Box::new(generated.ids_below(below).filter(|id| !self.was_deleted(*id))),
            Source::Stored(stored) => Box::new(stored.ids_below(below).filter(|id| !self.was_deleted(*id))),
        }
    }

    /// Existing ids from `id` on, itself included, oldest first.
    pub fn ids_from(&self, id: i32) -> Box<dyn Iterator<Item = i32> + Send + '_> {
        match &self.source {
            Source::Generated(generated) => Box::new(generated.ids_from(id).filter(|id| !self.was_deleted(*id))),
            Source::Stored(stored) => Box::new(stored.ids_from(id).filter(|id| !self.was_deleted(*id))),
        }
    }

    /// The lowest id whose message is not older than `date` (unix time): what `offset_date` means as an `offset_id`.
    /// One above the newest if all are older.
    pub fn first_id_at(&self, date: i32) -> i32 {
        match &self.source {
            Source::Generated(generated) => generated.first_id_at(date),
            Source::Stored(stored) => stored.first_id_at(date),
        }
    }

    /// Deletes messages; gives those that existed until now.
    pub fn delete(&self, ids: &[i32]) -> Vec<i32> {
        let mut changes = self.changes.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        ids.iter().copied().filter(|&id| self.was_born(id) && changes.deleted.insert(id)).collect()
    }

    /// The chat as a list of chats tells it; `None` for a private chat (that is a user).
    pub fn to_tl(&self, access_hash: i64) -> Option<tl::enums::Chat> {
        let photo = match self.photo {
            Some(photo_id) => tl::enums::ChatPhoto::Photo(tl::types::ChatPhoto {
                has_video: false,
                photo_id,
                stripped_thumb: Some(picture::stripped(photo_id as u64)),
                dc_id: DC_ID,
            }),
            None => tl::enums::ChatPhoto::Empty,
        };
        match self.kind {
            ChatKind::Private => None,
            ChatKind::Group => Some(wire::group(self, photo)),
            ChatKind::Channel | ChatKind::Supergroup => Some(wire::channel(self, photo, access_hash)),
        }
    }

    /// What a generated file of this chat holds, or a preview of it.
    pub(super) fn content(&self, file: i64, thumb: &str) -> Option<Content> {
        match &self.source {
            Source::Generated(generated) => {
                generated.content(file, thumb).filter(|(id, _)| self.exists(*id)).map(|(_, content)| content)
            }
            Source::Stored(_) => None,
        }
    }

    /// Who is in the chat, and who may not be.
    pub fn roster(&self) -> &Members {
        self.roster.get_or_init(|| Members::new(Base::told_by(self)))
    }

    /// How many are in it now.
    pub fn member_count(&self) -> i32 {
        i32::try_from(self.roster().count()).unwrap_or(i32::MAX)
    }

    /// Takes the computed members; a chat that is not generated has those that its messages tell of.
    pub(super) fn people(&mut self, plan: &Membership) {
        self.hidden_members = plan.hidden;
        if let Source::Generated(generated) = &self.source {
            self.roster = Members::new(Base::Computed(generated.crowd(self.members, plan))).into();
        }
    }

    fn was_born(&self, id: i32) -> bool {
        match &self.source {
            Source::Generated(generated) => generated.exists(id),
            Source::Stored(stored) => stored.exists(id),
        }
    }

    fn was_deleted(&self, id: i32) -> bool {
        self.changes().deleted.contains(&id)
    }

    /// Gives a generated chat its place in the id space that it shares with others.
    pub(super) fn renumber(&mut self, numbering: Numbering) {
        if let Source::Generated(generated) = &mut self.source {
            generated.numbering = numbering;
            self.created = generated.date(numbering.first);
        }
    }

    fn changes(&self) -> std::sync::RwLockReadGuard<'_, Changes> {
        self.changes.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
