//! One chat: which message ids exist, and what each holds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use grammers_tl_types as tl;

use super::content::Content;
use super::generated::{Generated, Numbering};
use super::live::{Entry, Live, Restriction, Standing, Stood, Topic};
use super::members::{AdminRights, BannedRights, Base, Members, Membership};
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

/// One chat of the world. Its fields tell how it began; events change what the methods of the same name tell.
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
    /// Whether an event made it.
    made: bool,
    source: Source,
    /// Messages of the export that are not posted yet, with their ids, oldest first.
    to_come: Mutex<VecDeque<(i32, tl::enums::Message)>>,
    roster: OnceLock<Members>,
    live: RwLock<Live>,
    alive: OnceLock<usize>,
    /// What was counted from an id on, and at which pts.
    counts: Mutex<HashMap<i32, (i32, usize)>>,
}

#[derive(Debug)]
pub(super) enum Source {
    Generated(Generated),
    Stored(Stored),
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
            made: false,
            source,
            to_come: Mutex::default(),
            roster: OnceLock::new(),
            live: RwLock::default(),
            alive: OnceLock::new(),
            counts: Mutex::default(),
        }
    }

    /// A chat that an event makes, without messages yet.
    pub(super) fn made(id: i64, kind: ChatKind, title: String, created: i32) -> Self {
        let source = Source::Stored(Stored::default());
        Chat { created, made: true, ..Chat::new(id, kind, title, source) }
    }

    /// Keeps what is newer than an id back, to be posted by events; nothing of a generated chat.
    pub(super) fn begin_with(&mut self, id: i32) {
        if let Source::Stored(stored) = &mut self.source {
            self.to_come = Mutex::new(stored.split_off(id).into());
            (self.alive, self.roster) = (OnceLock::new(), OnceLock::new());
        }
    }

    /// The next message that was kept back, with its id.
    pub(super) fn next_to_come(&self) -> Option<(i32, tl::enums::Message)> {
        self.to_come.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front()
    }

    /// Whether an event made it.
    pub(crate) fn is_made(&self) -> bool {
        self.made
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

    /// What it is called now.
    pub fn title(&self) -> String {
        self.read().profile.title.clone().unwrap_or_else(|| self.title.clone())
    }

    /// Its username now, without `@`.
    pub fn username(&self) -> Option<String> {
        self.read().profile.username.clone().unwrap_or_else(|| self.username.clone())
    }

    /// Its description now.
    pub fn about(&self) -> String {
        self.read().profile.about.clone().unwrap_or_else(|| self.about.clone())
    }

    /// Its picture now, a file of the world.
    pub fn photo(&self) -> Option<i64> {
        self.read().profile.photo.unwrap_or(self.photo)
    }

    /// Whether those who join see nothing of what came before.
    pub fn hides_history(&self) -> bool {
        self.read().profile.hidden_history
    }

    /// Whether only administrators see its list of members.
    pub fn hides_members(&self) -> bool {
        self.read().profile.hidden_members.unwrap_or(self.hidden_members)
    }

    /// Whether its messages may be neither forwarded nor saved.
    pub fn is_protected(&self) -> bool {
        self.read().profile.protected
    }

    /// Whether it is divided into topics.
    pub fn is_forum(&self) -> bool {
        self.read().profile.forum
    }

    /// Why it is not shown to everyone.
    pub fn restriction(&self) -> Option<Restriction> {
        self.read().profile.restriction.clone()
    }

    /// Marked id of the group that discusses this channel, or of the channel that this group discusses.
    pub fn linked(&self) -> Option<i64> {
        self.read().profile.linked
    }

    /// Marked id of the supergroup that this group became.
    pub fn migrated_to(&self) -> Option<i64> {
        self.read().profile.migrated_to
    }

    /// Marked id of the group that this was, and that group's newest message.
    pub fn migrated_from(&self) -> Option<(i64, i32)> {
        self.read().profile.migrated_from
    }

    /// How often its list of members changed, counted from 1.
    pub(crate) fn version(&self) -> i32 {
        self.read().profile.version.saturating_add(1)
    }

    /// Ids that were there at the beginning, from one on, ascending.
    pub(crate) fn born_ids_from(&self, id: i32) -> Box<dyn Iterator<Item = i32> + Send + '_> {
        match &self.source {
            Source::Generated(generated) => Box::new(generated.ids_from(id)),
            Source::Stored(stored) => Box::new(stored.ids_from(id)),
        }
    }

    /// Whether an invite link with this hash is good.
    pub fn invites(&self, hash: &str) -> bool {
        self.read().profile.invites.contains_key(hash)
    }

    /// Whether who comes by this invite link must be let in by an administrator.
    pub fn asks_approval(&self, hash: &str) -> bool {
        self.read().profile.invites.get(hash).copied().unwrap_or(false)
    }

    /// Who asked to be let in, and neither was nor came otherwise.
    pub fn requests(&self) -> Vec<i64> {
        self.read().profile.requests.iter().copied().collect()
    }

    /// The newest pinned message.
    pub fn pinned(&self) -> Vec<i32> {
        self.read().pinned.iter().rev().copied().collect()
    }

    /// Where a user stands since events changed it; `None`: as at the beginning.
    pub fn stands(&self, user: i64) -> Option<Stood> {
        self.read().stands(user).cloned()
    }

    /// The newest existing message id, 0 if none.
    pub fn top(&self) -> i32 {
        self.ids_below(0).next().unwrap_or(0)
    }

    /// The newest id ever given out, existing or not.
    pub fn last_id(&self) -> i32 {
        self.born_last().max(self.read().last)
    }

    /// The newest id that it had at the beginning.
    pub(crate) fn born_last(&self) -> i32 {
        match &self.source {
            Source::Generated(generated) => generated.last_id(),
            Source::Stored(stored) => stored.last_id(),
        }
    }

    /// The pts with which it began: one for each message ever posted until then.
    pub(crate) fn born_pts(&self) -> i32 {
        self.born_last().saturating_add(1)
    }

    /// The channel's pts: one for each message ever posted, and what each later event took.
    pub fn pts(&self) -> i32 {
        self.born_pts().saturating_add(self.read().pts)
    }

    /// When the channel's pts last grew by an event (unix time, of the server's clock); 0: never.
    pub(crate) fn logged(&self) -> i32 {
        self.read().logged
    }

    /// How many messages exist.
    pub fn count(&self) -> usize {
        let (posted, deleted) = self.read().balance();
        self.born_count() + posted - deleted
    }

    fn born_count(&self) -> usize {
        *self.alive.get_or_init(|| match &self.source {
            Source::Generated(generated) => generated.ids_from(1).count(),
            Source::Stored(stored) => stored.count(),
        })
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
        self.read().exists(id).unwrap_or_else(|| self.was_born(id))
    }

    /// One message, as a server tells it to one who may see all; `None` for a deleted or unknown id.
    pub fn message(&self, id: i32) -> Option<tl::enums::Message> {
        let live = self.read().message(id);
        live.unwrap_or_else(|| self.born_message(id))
    }

    /// One message as it was at the beginning.
    pub(super) fn born_message(&self, id: i32) -> Option<tl::enums::Message> {
        match &self.source {
            Source::Generated(generated) => generated.message(id),
            Source::Stored(stored) => stored.message(id),
        }
    }

    /// Existing ids below `offset`, newest first; `offset` 0 begins at the newest.
    pub fn ids_below(&self, offset: i32) -> Box<dyn Iterator<Item = i32> + Send + '_> {
        let below = if offset <= 0 { i32::MAX } else { offset };
        let posted = std::iter::successors(self.read().posted_below(below), |id| self.read().posted_below(*id));
        let there = |id: &i32| self.read().exists(*id).unwrap_or(true);
        match &self.source {
            Source::Generated(generated) => Box::new(posted.chain(generated.ids_below(below).filter(there))),
            Source::Stored(stored) => Box::new(posted.chain(stored.ids_below(below).filter(there))),
        }
    }

    /// Existing ids from `id` on, itself included, oldest first.
    pub fn ids_from(&self, id: i32) -> Box<dyn Iterator<Item = i32> + Send + '_> {
        let next = move |id: i32| self.read().posted_from(id);
        let mut at = Some(id);
        let posted = std::iter::from_fn(move || {
            let found = next(at?)?;
            at = found.checked_add(1);
            Some(found)
        });
        let there = |id: &i32| self.read().exists(*id).unwrap_or(true);
        match &self.source {
            Source::Generated(generated) => Box::new(generated.ids_from(id).filter(there).chain(posted)),
            Source::Stored(stored) => Box::new(stored.ids_from(id).filter(there).chain(posted)),
        }
    }

    /// The lowest id whose message is not older than `date` (unix time): what `offset_date` means as an `offset_id`.
    /// One above the newest if all are older.
    pub fn first_id_at(&self, date: i32) -> i32 {
        let born = match &self.source {
            Source::Generated(generated) => generated.first_id_at(date),
            Source::Stored(stored) => stored.first_id_at(date),
        };
        if born <= self.born_last() {
            return born;
        }
        let live = self.read();
        live.first_posted_at(date).unwrap_or_else(|| born.max(live.last.saturating_add(1)))
    }

    /// Lines of the channel's log after a pts, oldest first, as many as wanted. What happened before the world began is computed:
    /// there each message took one pts, that after its id.
    pub(crate) fn log_after(&self, pts: i32, wanted: usize) -> Vec<Entry> {
        use super::live::Change;
        let born_pts = self.born_pts();
        let mut entries = Vec::new();
        if pts < born_pts {
            let born = self.born_ids_from(pts.max(1)).take(wanted);
            entries.extend(born.map(|id| Entry { pts: id.saturating_add(1), change: Change::New(id) }));
        }
        let live = self.read();
        let from = live.log.partition_point(|entry| entry.pts <= pts);
        let room = wanted - entries.len();
        entries.extend(live.log[from..].iter().take(room).cloned());
        entries
    }

    /// A forum's topics, by the id of the message that began each.
    pub(crate) fn topics(&self) -> Vec<(i32, Topic)> {
        self.read().topics.iter().map(|(id, topic)| (*id, topic.clone())).collect()
    }

    /// Ids of a thread's answers that exist, ascending; `None` where no event made one.
    pub(crate) fn thread(&self, first: i32) -> Option<Vec<i32>> {
        let live = self.read();
        let answers = live.threads.get(&first)?;
        Some(answers.iter().copied().filter(|id| live.exists(*id).unwrap_or(true)).collect())
    }

    /// The copy of a channel's post in the linked group.
    pub(crate) fn discussion(&self, post: i32) -> Option<i32> {
        self.read().discussions.get(&post).copied()
    }

    /// The chat as a list of chats tells it; `None` for a private chat (that is a user).
    pub fn to_tl(&self, access_hash: i64) -> Option<tl::enums::Chat> {
        let photo = match self.photo() {
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

    /// Takes over what an event says of somebody's place in the chat.
    pub(super) fn enroll(&self, stood: Stood) {
        let Stood { user_id, date, by, standing, .. } = stood;
        let roster = self.roster();
        let comes_in = standing.is_member() && !roster.contains(user_id);
        if comes_in {
            roster.join(user_id, date, (by != user_id).then_some(by));
        }
        match standing {
            Standing::Creator => roster.crown(user_id),
            Standing::Admin { rank } => roster.promote(user_id, by, AdminRights::all(), rank),
            Standing::Member if comes_in => None,
            Standing::Member => roster.demote(user_id),
            Standing::Restricted { until } => roster.restrict(user_id, by, BannedRights::silence(until)),
            Standing::Left => roster.leave(user_id, date),
            Standing::Banned { until } => roster.ban(user_id, by, date, until),
        };
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

    /// Gives a generated chat its place in the id space that it shares with others.
    pub(super) fn renumber(&mut self, numbering: Numbering) {
        if let Source::Generated(generated) = &mut self.source {
            generated.numbering = numbering;
            self.created = generated.date(numbering.first);
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// For events only.
    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Live> {
        let mut live = self.live.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        live.born_until = self.born_last();
        live
    }
}
