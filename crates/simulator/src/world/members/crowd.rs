//! Members that exist only as a number: the n-th of a chat is computed.
//!
//! In their order of joining: the creator, the world's own user, the authors, the crowd; behind them those who are banned.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{AdminRights, BannedRights, Member, Role};
use crate::world::people::{self, AUTHOR_COUNT, CROWD_COUNT, ME};
use crate::world::text::mix;

/// What the world's own user is in a generated chat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnRole {
    Creator,
    Admin,
    #[default]
    Member,
}

/// Who is in a generated chat, besides how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// Administrators, the creator included; absent: five, or as many as there are members.
    pub admins: Option<u32>,
    /// Present, but not allowed everything.
    pub restricted: u32,
    /// Removed for good.
    pub banned: u32,
    /// Whether only administrators see the list.
    pub hidden: bool,
    /// What the world's own user is.
    pub role: OwnRole,
}

/// The members of a generated chat.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    seed: u64,
    /// Marked id.
    chat: i64,
    present: u64,
    admins: u64,
    restricted: u64,
    banned: u64,
    role: OwnRole,
    /// Unix times of the first and the last joining.
    first: i32,
    last: i32,
}

/// Where the authors begin.
const AUTHORS_FROM: u64 = 2;

impl Crowd {
    pub fn new(seed: u64, chat: i64, present: i32, plan: &Membership, (first, last): (i32, i32)) -> Self {
        let present = u64::try_from(present).unwrap_or(0).min(CROWD_COUNT / 2);
        let admins = plan.admins.map_or(5, u64::from).clamp(1, present.max(1));
        let restricted = u64::from(plan.restricted).min(present.saturating_sub(admins + 2));
        Crowd { seed, chat, present, admins, restricted, banned: plan.banned.into(), role: plan.role, first, last: last.max(first) }
    }

    pub fn present(&self) -> usize {
        usize::try_from(self.present).unwrap_or(usize::MAX)
    }

    pub fn known(&self) -> usize {
        usize::try_from(self.present + self.banned).unwrap_or(usize::MAX)
    }

    pub fn at(&self, at: usize) -> Option<i64> {
        let at = u64::try_from(at).ok().filter(|at| *at < self.present + self.banned)?;
        Some(match (at, self.role) {
            (0, OwnRole::Creator) => ME,
            (0, _) => people::author(0),
            (1, OwnRole::Creator) => people::author(0),
            (1, _) => ME,
            _ if at - 1 < AUTHOR_COUNT => people::author(at - 1),
            _ => people::reader(self.shift() + at),
        })
    }

    pub fn place(&self, user: i64) -> Option<usize> {
        let at = match (people::author_number(user), people::reader_number(user)) {
            (Some(0), _) => u64::from(self.role == OwnRole::Creator),
            (Some(author), _) => author + 1,
            (_, Some(reader)) => (reader + CROWD_COUNT - self.shift()) % CROWD_COUNT,
            _ if user == ME => u64::from(self.role != OwnRole::Creator),
            _ => return None,
        };
        let at = usize::try_from(at).ok()?;
        (self.at(at) == Some(user)).then_some(at)
    }

    pub fn member(&self, at: usize) -> Option<Member> {
        let user_id = self.at(at)?;
        let number = u64::try_from(at).ok()?;
        let creator = self.at(0)?;
        let roll = mix(self.seed, self.chat.unsigned_abs(), number, 90);
        let role = match number {
            0 => Role::Creator { rank: None },
            _ if number >= self.present => Role::Banned { rights: BannedRights::everything(self.until(roll)), by: creator },
            1 if self.role == OwnRole::Admin => self.admin(0, creator),
            _ if self.admin_numbers().contains(&number) => self.admin(roll, creator),
            _ if self.restricted_numbers().contains(&number) => {
                let rights = BannedRights::of(["send_media", "send_stickers", "send_gifs", "embed_links"], self.until(roll));
                Role::Restricted { rights, by: creator }
            }
            _ => Role::Member,
        };
        let inviter_id = (number > 0 && roll.is_multiple_of(4)).then_some(creator);
        Some(Member { user_id, role, date: self.date(number, roll), inviter_id })
    }

    /// Where administrators may be.
    pub fn admin_places(&self) -> impl Iterator<Item = usize> {
        let end = self.admin_numbers().end.max(AUTHORS_FROM).min(self.present);
        0..usize::try_from(end).unwrap_or(0)
    }

    /// Where restricted members are.
    pub fn restricted_places(&self) -> impl Iterator<Item = usize> {
        let Range { start, end } = self.restricted_numbers();
        usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0)
    }

    /// Administrators besides the creator and the world's own user.
    fn admin_numbers(&self) -> Range<u64> {
        let others = self.admins - 1 - u64::from(self.role == OwnRole::Admin && self.admins > 1);
        // Where the world's own user created the chat, nobody is between the creator and the authors.
        let from = if self.role == OwnRole::Creator { 1 } else { AUTHORS_FROM };
        from..(from + others).min(self.present)
    }

    fn restricted_numbers(&self) -> Range<u64> {
        let from = self.admin_numbers().end.max(AUTHORS_FROM);
        from..(from + self.restricted).min(self.present)
    }

    fn admin(&self, roll: u64, promoted_by: i64) -> Role {
        let rights = match roll % 3 {
            0 => AdminRights::all(),
            1 => AdminRights::of(["delete_messages", "ban_users", "pin_messages", "other"]),
            _ => AdminRights::of(["change_info", "post_messages", "edit_messages", "invite_users", "other"]),
        };
        let rank = (roll % 4 == 1).then(|| "pilot".to_owned());
        Role::Admin { rights, rank, promoted_by }
    }

    /// Growing with the number.
    fn date(&self, number: u64, roll: u64) -> i32 {
        let span = u64::from((self.last - self.first).unsigned_abs());
        let step = span / (self.present + self.banned).max(1);
        let after = (step * number + roll % step.max(1)).min(span);
        self.first.saturating_add(i32::try_from(if number == 0 { 0 } else { after }).unwrap_or(0))
    }

    /// Half of what is forbidden is so for ever, the rest long after the world's last message.
    fn until(&self, roll: u64) -> i32 {
        if roll.is_multiple_of(2) { 0 } else { self.last.saturating_add(5 * 365 * 86_400) }
    }

    /// Which of the crowd come first: chats share some of their readers.
    fn shift(&self) -> u64 {
        mix(self.seed, self.chat.unsigned_abs(), 0, 91) % (CROWD_COUNT / 4)
    }
}
