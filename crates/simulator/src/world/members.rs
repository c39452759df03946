//! Who is in a chat, who was, and who may not be: computed from the seed, and what has changed since.
//!
//! A hundred thousand members cost nothing until they change. Accounts of the server that a world does not know are added by the
//! server.

mod crowd;
mod rights;
mod told;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};

pub(super) use crowd::Crowd;
pub use crowd::{Membership, OwnRole};
pub use rights::{AdminRights, BannedRights};

/// What somebody is in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Role {
    Creator { rank: Option<String> },
    Admin { rights: AdminRights, rank: Option<String>, promoted_by: i64 },
    Member,
    Restricted { rights: BannedRights, by: i64 },
    Banned { rights: BannedRights, by: i64 },
    Left,
}

/// One person's standing in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub user_id: i64,
    #[serde(flatten)]
    pub role: Role,
    /// Unix time: of joining, or of what took the person's place in the chat away.
    pub date: i32,
    pub inviter_id: Option<i64>,
}

impl Member {
    /// Whether the person is in the chat.
    pub fn is_present(&self) -> bool {
        !matches!(self.role, Role::Banned { .. } | Role::Left)
    }

    /// Whether the person administers the chat.
    pub fn is_admin(&self) -> bool {
        matches!(self.role, Role::Creator { .. } | Role::Admin { .. })
    }

    /// The same at a moment (unix time): a ban or restriction whose time is over is none.
    pub fn at(mut self, now: i32) -> Self {
        match self.role {
            Role::Banned { rights, .. } if rights.is_over(now) => self.role = Role::Left,
            Role::Restricted { rights, .. } if rights.is_over(now) => self.role = Role::Member,
            _ => {}
        }
        self
    }
}

/// The members of one chat.
#[derive(Debug)]
pub struct Members {
    base: Base,
    changes: RwLock<Changes>,
    /// What searches found, by their names.
    found: Mutex<BTreeMap<String, Found>>,
}

/// What a search found at a version of the members.
#[derive(Debug, Clone)]
struct Found {
    version: u64,
    users: Arc<[i64]>,
}

/// So many searches are remembered.
const REMEMBERED: usize = 32;

#[derive(Debug)]
pub(super) enum Base {
    Computed(Crowd),
    /// As far as an export's messages tell.
    Told(Vec<Member>),
}

/// What happened since the world began.
#[derive(Debug, Default)]
struct Changes {
    by_user: BTreeMap<i64, Change>,
    /// Those who joined since, in their order.
    joined: BTreeMap<u64, i64>,
    next: u64,
    /// How many more are present than in the base.
    surplus: i64,
}

#[derive(Debug, Clone)]
struct Change {
    member: Member,
    /// Where in the order of joining; none: where the base has the person.
    place: Option<u64>,
}

impl Members {
    pub(super) fn new(base: Base) -> Self {
        Members { base, changes: RwLock::default(), found: Mutex::default() }
    }

    /// How many are present.
    pub fn count(&self) -> usize {
        let born = i64::try_from(self.base.present()).unwrap_or(i64::MAX);
        usize::try_from(born + self.read().surplus).unwrap_or(0)
    }

    /// How often something has changed: as long as this stays, so do the lists.
    pub fn version(&self) -> u64 {
        self.read().next
    }

    /// What somebody is in this chat; `None` for one who was never in it.
    pub fn get(&self, user: i64) -> Option<Member> {
        match self.read().by_user.get(&user) {
            Some(change) => Some(change.member.clone()),
            None => self.base.get(user),
        }
    }

    /// Whether somebody is in this chat.
    pub fn contains(&self, user: i64) -> bool {
        self.get(user).is_some_and(|member| member.is_present())
    }

    /// All who are present, who joined last first.
    pub fn newest_first(&self) -> impl Iterator<Item = Member> + '_ {
        let changes = self.read();
        let joined: Vec<Member> =
            changes.joined.values().rev().filter_map(|user| Some(changes.by_user.get(user)?.member.clone())).collect();
        let changed: BTreeMap<i64, Change> = changes.by_user.clone();
        drop(changes);
        let born = (0..self.base.present()).rev().filter_map(move |at| self.base.at(at).map(|user| (at, user)));
        let born = born.filter_map(move |(at, user)| match changed.get(&user) {
            None => self.base.member(at),
            Some(change) => (change.place.is_none() && change.member.is_present()).then(|| change.member.clone()),
        });
        joined.into_iter().chain(born)
    }

    /// Who of those who are present fits a search, who joined last first. A search of the same name is done again only when
    /// something has changed: pages of a large chat cost one search, not one each.
    pub(crate) fn found(&self, name: &str, wanted: impl Fn(&Member) -> bool) -> Arc<[i64]> {
        let lock = || self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let version = self.version();
        if let Some(found) = lock().get(name).filter(|found| found.version == version) {
            return found.users.clone();
        }
        let users: Arc<[i64]> = self.newest_first().filter(wanted).map(|member| member.user_id).collect();
        let mut remembered = lock();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(name.to_owned(), Found { version, users: users.clone() });
        users
    }

    /// Everyone who is or was in this chat or is banned from it, in the order of joining.
    pub fn iter(&self) -> impl Iterator<Item = Member> + '_ {
        let changes = self.read();
        let changed: BTreeMap<i64, Change> = changes.by_user.clone();
        let here: Vec<Member> =
            changes.joined.values().filter_map(|user| Some(changes.by_user.get(user)?.member.clone())).collect();
        drop(changes);
        let absent: Vec<Member> = changed
            .values()
            .filter(|change| change.place.is_none() && self.base.place(change.member.user_id).is_none())
            .map(|change| change.member.clone())
            .collect();
        let born = (0..self.base.known()).filter_map(move |at| {
            let user = self.base.at(at)?;
            match changed.get(&user) {
                None => self.base.member(at),
                Some(change) => change.place.is_none().then(|| change.member.clone()),
            }
        });
        born.chain(here).chain(absent)
    }

    /// All administrators, the creator first.
    pub fn admins(&self) -> Vec<Member> {
        self.with(Member::is_admin, self.base.admins())
    }

    /// All who are removed and may not come back.
    pub fn banned(&self) -> Vec<Member> {
        self.with(|member| matches!(member.role, Role::Banned { .. }), self.base.banned())
    }

    /// All who may not do everything that others may.
    pub fn restricted(&self) -> Vec<Member> {
        self.with(|member| matches!(member.role, Role::Restricted { .. }), self.base.restricted())
    }

    /// All who are present elsewhere come in as they are there.
    pub(super) fn take_over(&self, other: &Members) {
        other.iter().filter(Member::is_present).for_each(|member| drop(self.set(member)));
    }

    /// Somebody comes in, or comes back. Gives what the person was.
    pub fn join(&self, user: i64, date: i32, inviter: Option<i64>) -> Option<Member> {
        self.set(Member { user_id: user, role: Role::Member, date, inviter_id: inviter })
    }

    /// Somebody leaves. Gives what the person was.
    pub fn leave(&self, user: i64, date: i32) -> Option<Member> {
        self.set(Member { user_id: user, role: Role::Left, date, inviter_id: None })
    }

    /// Somebody is removed and may not come back before `until` (unix time; 0: ever). Gives what the person was.
    pub fn ban(&self, user: i64, by: i64, date: i32, until: i32) -> Option<Member> {
        let rights = BannedRights::everything(until);
        self.set(Member { user_id: user, role: Role::Banned { rights, by }, date, inviter_id: None })
    }

    /// Somebody may no longer do all that others may. Gives what the person was.
    pub fn restrict(&self, user: i64, by: i64, rights: BannedRights) -> Option<Member> {
        self.change(user, Role::Restricted { rights, by })
    }

    /// A ban is lifted: the person is outside, and may come back. Gives what the person was.
    pub fn unban(&self, user: i64, date: i32) -> Option<Member> {
        self.leave(user, date)
    }

    /// Somebody becomes an administrator, or gets other rights. Gives what the person was.
    pub fn promote(&self, user: i64, by: i64, rights: AdminRights, rank: Option<String>) -> Option<Member> {
        self.change(user, Role::Admin { rights, rank, promoted_by: by })
    }

    /// The chat gets another creator, or a creator at all. Gives what the person was.
    pub fn crown(&self, user: i64) -> Option<Member> {
        self.change(user, Role::Creator { rank: None })
    }

    /// An administrator or restricted member is one like the others again. Gives what the person was.
    pub fn demote(&self, user: i64) -> Option<Member> {
        self.change(user, Role::Member)
    }

    /// The same person in another role; one who is outside comes in at the time of the chat's beginning.
    fn change(&self, user: i64, role: Role) -> Option<Member> {
        let now = self.get(user).filter(Member::is_present);
        let (date, inviter_id) = now.map_or((self.base.began(), None), |member| (member.date, member.inviter_id));
        self.set(Member { user_id: user, role, date, inviter_id })
    }

    fn set(&self, member: Member) -> Option<Member> {
        let before = self.get(member.user_id);
        let was_present = before.as_ref().is_some_and(Member::is_present);
        let user = member.user_id;
        let mut changes = self.changes.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let order = changes.next;
        changes.next += 1;
        let held = changes.by_user.get(&user).and_then(|change| change.place);
        let place = match (was_present, member.is_present()) {
            (true, true) => held,
            (false, true) => {
                changes.surplus += 1;
                changes.joined.insert(order, user);
                Some(order)
            }
            (true, false) => {
                changes.surplus -= 1;
                None
            }
            (false, false) => None,
        };
        if let Some(held) = held.filter(|_| place != held) {
            changes.joined.remove(&held);
        }
        changes.by_user.insert(user, Change { member, place });
        before
    }

    fn with(&self, wanted: impl Fn(&Member) -> bool, born: Vec<Member>) -> Vec<Member> {
        let changes = self.read();
        let born = born.into_iter().filter(|member| !changes.by_user.contains_key(&member.user_id));
        let changed = changes.by_user.values().map(|change| change.member.clone());
        let mut found: Vec<Member> = born.chain(changed.filter(|member| wanted(member))).collect();
        found.sort_by_key(|member| !matches!(member.role, Role::Creator { .. }));
        found
    }

    fn read(&self) -> RwLockReadGuard<'_, Changes> {
        self.changes.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Base {
    /// How many are present.
    fn present(&self) -> usize {
        match self {
            Base::Computed(crowd) => crowd.present(),
            Base::Told(members) => members.len(),
        }
    }

    /// How many are known: the banned come after those who are present.
    fn known(&self) -> usize {
        match self {
            Base::Computed(crowd) => crowd.known(),
            Base::Told(members) => members.len(),
        }
    }

    /// Who is at a place.
    fn at(&self, at: usize) -> Option<i64> {
        match self {
            Base::Computed(crowd) => crowd.at(at),
            Base::Told(members) => members.get(at).map(|member| member.user_id),
        }
    }

    /// At which place somebody is.
    fn place(&self, user: i64) -> Option<usize> {
        match self {
            Base::Computed(crowd) => crowd.place(user),
            Base::Told(members) => members.iter().position(|member| member.user_id == user),
        }
    }

    fn member(&self, at: usize) -> Option<Member> {
        match self {
            Base::Computed(crowd) => crowd.member(at),
            Base::Told(members) => members.get(at).cloned(),
        }
    }

    fn get(&self, user: i64) -> Option<Member> {
        self.member(self.place(user)?)
    }

    fn admins(&self) -> Vec<Member> {
        match self {
            Base::Computed(crowd) => crowd.admin_places().filter_map(|at| crowd.member(at)).filter(Member::is_admin).collect(),
            Base::Told(members) => members.iter().filter(|member| member.is_admin()).cloned().collect(),
        }
    }

    fn restricted(&self) -> Vec<Member> {
        match self {
            Base::Computed(crowd) => crowd.restricted_places().filter_map(|at| crowd.member(at)).collect(),
            Base::Told(_) => Vec::new(),
        }
    }

    fn banned(&self) -> Vec<Member> {
        match self {
            Base::Computed(crowd) => (crowd.present()..crowd.known()).filter_map(|at| crowd.member(at)).collect(),
            Base::Told(_) => Vec::new(),
        }
    }

    fn began(&self) -> i32 {
        self.member(0).map_or(0, |first| first.date)
    }
}

#[cfg(test)]
mod tests;
