//! Who is in a chat as the server knows it: the world's members, and the accounts, which the world does not know.

use super::Datacentre;
use crate::world::{Chat, ChatKind, Member, Role};
use crate::{access, clock};

/// The members of one chat at this moment.
pub(crate) struct Present<'a> {
    chat: &'a Chat,
    /// Accounts that are in the chat, but not among the world's members.
    surplus: Vec<Member>,
    /// Accounts that the world has among the members, but are not in the chat.
    missing: Vec<i64>,
}

impl Datacentre {
    /// Everyone who is in a chat now, accounts included.
    pub(crate) fn present<'a>(&'a self, chat: &'a Chat) -> Present<'a> {
        let (mut surplus, mut missing) = (Vec::new(), Vec::new());
        if chat.kind == ChatKind::Private {
            return Present { chat, surplus, missing };
        }
        for account in self.accounts.all() {
            let user_id = account.user_id;
            let is_in = access::sight(&account, chat, &self.world).is_some_and(|sight| sight.member);
            let known = chat.roster().get(user_id);
            match (is_in, known.is_some_and(|member| member.is_present())) {
                (true, false) if surplus.iter().all(|other: &Member| other.user_id != user_id) => {
                    surplus.push(Member { user_id, role: Role::Member, date: chat.created, inviter_id: None });
                }
                (false, true) => missing.push(user_id),
                _ => {}
            }
        }
        Present { chat, surplus, missing }
    }
}

impl Present<'_> {
    pub(crate) fn count(&self) -> usize {
        (self.chat.roster().count() + self.surplus.len()).saturating_sub(self.missing.len())
    }

    /// Who joined last comes first; then the accounts that the world does not know.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = Member> + '_ {
        let known = self.chat.roster().newest_first().filter(|member| !self.missing.contains(&member.user_id));
        known.chain(self.surplus.iter().cloned())
    }

    /// Who fits a search, in the same order. The name stands for the search: the same one is not done again for each page.
    pub(crate) fn found(&self, name: &str, wanted: impl Fn(&Member) -> bool) -> Vec<i64> {
        let known = self.chat.roster().found(name, &wanted);
        let known = known.iter().copied().filter(|user| !self.missing.contains(user));
        known.chain(self.surplus.iter().filter(|member| wanted(member)).map(|member| member.user_id)).collect()
    }

    /// Everyone who is or was in the chat or is banned from it, in the order of joining.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = Member> + '_ {
        let known = self.chat.roster().iter().filter(|member| self.surplus.iter().all(|other| other.user_id != member.user_id));
        known.map(|member| self.or_left(member)).chain(self.surplus.iter().cloned())
    }

    pub(crate) fn admins(&self) -> Vec<Member> {
        let mut admins = self.chat.roster().admins();
        admins.retain(|member| !self.missing.contains(&member.user_id));
        admins
    }

    /// What somebody is in the chat; `None` for one who was never in it.
    pub(crate) fn get(&self, user: i64) -> Option<Member> {
        let surplus = self.surplus.iter().find(|member| member.user_id == user).cloned();
        let member = surplus.or_else(|| self.chat.roster().get(user).map(|member| self.or_left(member)))?;
        Some(member.at(clock::unix_now()))
    }

    fn or_left(&self, member: Member) -> Member {
        if self.missing.contains(&member.user_id) { Member { role: Role::Left, ..member } } else { member }
    }
}
