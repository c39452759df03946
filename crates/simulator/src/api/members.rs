//! channels.getParticipants and channels.getParticipant, and the members of basic groups.

use grammers_tl_types as tl;
use tl::enums::ChannelParticipantsFilter as Filter;

use super::peers::Named;
use super::{Caller, Failure};
use crate::clock;
use crate::datacentre::Present;
use crate::world::{AdminRights, Chat, ChatKind, Member, Role};

/// <https://core.telegram.org/method/channels.getParticipants>: a page is at most this long…
const PAGE: usize = 200;
/// …and lists of members are told up to here only, as clients report.
const CUT: usize = 10_000;

impl Caller<'_> {
    pub(super) fn participants(
        &self,
        call: tl::functions::channels::GetParticipants,
    ) -> Result<tl::enums::channels::ChannelParticipants, Failure> {
        let (chat, _) = self.channel(&call.channel)?;
        self.may_list(chat, &call.filter)?;
        let offset = usize::try_from(call.offset).map_err(|_| Failure::bad("OFFSET_INVALID"))?;
        let limit = usize::try_from(call.limit).unwrap_or(0).min(PAGE).min(CUT.saturating_sub(offset));
        let (count, page) = self.list(chat, &call.filter, offset, limit);
        let hash = hash(page.iter().map(|member| member.user_id));
        if call.hash != 0 && call.hash == hash {
            return Ok(tl::enums::channels::ChannelParticipants::NotModified);
        }
        let mut named = Named::default();
        named.chat(chat);
        page.iter().for_each(|member| name(&mut named, member));
        let (chats, users) = named.told(self);
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let participants = page.into_iter().map(|member| self.participant_of(chat, member)).collect();
        Ok(tl::types::channels::ChannelParticipants { count, participants, chats, users }.into())
    }

    pub(super) fn participant(
        &self,
        call: tl::functions::channels::GetParticipant,
    ) -> Result<tl::enums::channels::ChannelParticipant, Failure> {
        let (chat, _) = self.channel(&call.channel)?;
        let me = self.account.user_id;
        let user = match &call.participant {
            tl::enums::InputPeer::PeerSelf => me,
            tl::enums::InputPeer::User(user) if user.user_id == me => me,
            tl::enums::InputPeer::User(user) if user.access_hash == self.account.access_hash(user.user_id) => user.user_id,
            tl::enums::InputPeer::UserFromMessage(from) => from.user_id,
            _ => return Err(Failure::bad("PARTICIPANT_ID_INVALID")),
        };
        let is_admin = self.standing(chat).is_some_and(|own| own.is_admin());
        if user != me && !is_admin && (chat.kind == ChatKind::Channel || chat.hides_members()) {
            return Err(admin_required());
        }
        // Who left is known to administrators, who is banned to all.
        let found = self.present(chat).get(user).filter(|member| match member.role {
            Role::Left => is_admin && user != me,
            _ => true,
        });
        let member = found.ok_or_else(|| Failure::bad("USER_NOT_PARTICIPANT"))?;
        let mut named = Named::default();
        named.chat(chat);
        name(&mut named, &member);
        let (chats, users) = named.told(self);
        Ok(tl::types::channels::ChannelParticipant { participant: self.participant_of(chat, member), chats, users }.into())
    }

    /// What the account is in a chat; `None` where it never was.
    pub(super) fn standing(&self, chat: &Chat) -> Option<Member> {
        self.present(chat).get(self.account.user_id)
    }

    /// How many are in a chat, accounts of this server included.
    pub(super) fn member_count(&self, chat: &Chat) -> i32 {
        i32::try_from(self.present(chat).count()).unwrap_or(i32::MAX)
    }

    /// What a chat's entry in an answer tells of its members, the account among them, and of where its picture lies.
    pub(super) fn tell_membership(&self, chat: &Chat, told: &mut tl::enums::Chat) {
        let present = self.present(chat);
        let own = present.get(self.account.user_id).filter(Member::is_present).map(|own| own.role);
        let creator = matches!(own, Some(Role::Creator { .. }));
        let rights = match &own {
            Some(Role::Creator { .. }) => Some(AdminRights::all().to_tl()),
            Some(Role::Admin { rights, .. }) => Some(rights.to_tl()),
            _ => None,
        };
        let count = i32::try_from(present.count()).unwrap_or(i32::MAX);
        let photo = match told {
            tl::enums::Chat::Channel(channel) => {
                (channel.creator, channel.admin_rights, channel.participants_count) = (creator, rights, Some(count));
                if let Some(Role::Restricted { rights, .. }) = &own {
                    channel.banned_rights = Some(rights.to_tl());
                }
                &mut channel.photo
            }
            tl::enums::Chat::Chat(group) => {
                (group.creator, group.admin_rights, group.participants_count) = (creator, rights, count);
                &mut group.photo
            }
            _ => return,
        };
        if let tl::enums::ChatPhoto::Photo(photo) = photo {
            photo.dc_id = self.datacentre.world.file_dc(photo.photo_id);
        }
    }

    /// Whether the account may see the list of members at all.
    pub(super) fn sees_members(&self, chat: &Chat) -> bool {
        self.may_list(chat, &Filter::ChannelParticipantsRecent).is_ok()
    }

    /// The members of a basic group; outsiders are told that it is closed to them.
    pub(super) fn group_participants(&self, chat: &Chat, named: &mut Named) -> tl::enums::ChatParticipants {
        let chat_id = chat.bare_id();
        let present = self.present(chat);
        if !present.get(self.account.user_id).is_some_and(|own| own.is_present()) {
            return tl::types::ChatParticipantsForbidden { chat_id, self_participant: None }.into();
        }
        let participant = |member: Member| {
            name(named, &member);
            let (user_id, date) = (member.user_id, member.date);
            let inviter_id = member.inviter_id.unwrap_or(user_id);
            match member.role {
                Role::Creator { rank } => tl::types::ChatParticipantCreator { user_id, rank }.into(),
                Role::Admin { rank, .. } => tl::types::ChatParticipantAdmin { user_id, inviter_id, date, rank }.into(),
                _ => tl::types::ChatParticipant { user_id, inviter_id, date, rank: None }.into(),
            }
        };
        let participants = present.newest_first().map(participant).collect();
        let version = i32::try_from(1 + chat.roster().version()).unwrap_or(i32::MAX);
        tl::types::ChatParticipants { chat_id, participants, version }.into()
    }

    fn present<'a>(&'a self, chat: &'a Chat) -> Present<'a> {
        self.datacentre.present(chat)
    }

    /// Members of broadcasts and hidden lists are told to administrators only, and so is who was removed or restricted
    /// (<https://core.telegram.org/api/channel>, <https://core.telegram.org/method/channels.toggleParticipantsHidden>).
    fn may_list(&self, chat: &Chat, filter: &Filter) -> Result<(), Failure> {
        let open = match filter {
            Filter::ChannelParticipantsKicked(_) | Filter::ChannelParticipantsBanned(_) => false,
            _ if chat.kind == ChatKind::Channel => false,
            Filter::ChannelParticipantsAdmins | Filter::ChannelParticipantsBots => true,
            _ => !chat.hides_members(),
        };
        if open || self.standing(chat).is_some_and(|own| own.is_admin()) { Ok(()) } else { Err(admin_required()) }
    }

    /// How many fit a filter (<https://core.telegram.org/type/ChannelParticipantsFilter>), and some of them.
    fn list(&self, chat: &Chat, filter: &Filter, offset: usize, limit: usize) -> (usize, Vec<Member>) {
        let present = self.present(chat);
        let page = |members: Vec<Member>| (members.len(), members.into_iter().skip(offset).take(limit).collect());
        let world = &self.datacentre.world;
        let fits = |query: &str, member: &Member| world.person(member.user_id).is_some_and(|person| person.is_found_by(query));
        let found = |members: Vec<Member>, query: &str| {
            page(members.into_iter().filter(|member| query.is_empty() || fits(query, member)).collect())
        };
        let search = |name: &str, wanted: &dyn Fn(&Member) -> bool| {
            let found = present.found(name, wanted);
            let page = found.iter().skip(offset).take(limit).filter_map(|user| present.get(*user)).collect();
            (found.len(), page)
        };
        match filter {
            Filter::ChannelParticipantsSearch(filter) if !filter.q.is_empty() => {
                search(&format!("search {}", filter.q), &|member| fits(&filter.q, member))
            }
            Filter::ChannelParticipantsRecent | Filter::ChannelParticipantsSearch(_) => {
                (present.count(), present.newest_first().skip(offset).take(limit).collect())
            }
            Filter::ChannelParticipantsAdmins => page(present.admins()),
            Filter::ChannelParticipantsKicked(filter) => found(chat.roster().banned(), &filter.q),
            Filter::ChannelParticipantsBanned(filter) => found(chat.roster().restricted(), &filter.q),
            Filter::ChannelParticipantsBots => {
                search("bots", &|member| world.person(member.user_id).is_some_and(|person| person.bot))
            }
            Filter::ChannelParticipantsContacts(filter) => search(&format!("contacts {}", filter.q), &|member| {
                world.person(member.user_id).is_some_and(|person| person.contact && person.is_found_by(&filter.q))
            }),
            // Anonymous administrators are not to be mentioned.
            Filter::ChannelParticipantsMentions(filter) => {
                let query = filter.q.as_deref().unwrap_or_default();
                search(&format!("mentions {query}"), &|member| {
                    let anonymous = matches!(&member.role, Role::Admin { rights, .. } if rights.has("anonymous"));
                    !anonymous && (query.is_empty() || fits(query, member))
                })
            }
        }
    }

    fn participant_of(&self, chat: &Chat, member: Member) -> tl::enums::ChannelParticipant {
        let (user_id, date) = (member.user_id, member.date);
        let is_self = user_id == self.account.user_id;
        let peer = tl::types::PeerUser { user_id }.into();
        match member.at(clock::unix_now()) {
            Member { role: Role::Creator { rank }, .. } => {
                tl::types::ChannelParticipantCreator { user_id, admin_rights: AdminRights::all().to_tl(), rank }.into()
            }
            Member { role: Role::Admin { rights, rank, promoted_by }, inviter_id, .. } => tl::types::ChannelParticipantAdmin {
                can_edit: promoted_by == self.account.user_id
                    || chat.roster().admins().first().is_some_and(|creator| creator.user_id == self.account.user_id),
                is_self,
                user_id,
                // One flag stands for both.
                inviter_id: is_self.then(|| inviter_id.unwrap_or(promoted_by)),
                promoted_by,
                date,
                admin_rights: rights.to_tl(),
                rank,
            }
            .into(),
            Member { role: Role::Member, inviter_id, .. } if is_self => tl::types::ChannelParticipantSelf {
                via_request: false,
                user_id,
                inviter_id: inviter_id.unwrap_or(user_id),
                date,
                subscription_until_date: None,
                rank: None,
            }
            .into(),
            Member { role: Role::Member, .. } => {
                tl::types::ChannelParticipant { user_id, date, subscription_until_date: None, rank: None }.into()
            }
            Member { role: Role::Restricted { rights, by }, .. } => tl::types::ChannelParticipantBanned {
                left: false,
                peer,
                kicked_by: by,
                date,
                banned_rights: rights.to_tl(),
                rank: None,
            }
            .into(),
            Member { role: Role::Banned { rights, by }, .. } => tl::types::ChannelParticipantBanned {
                left: true,
                peer,
                kicked_by: by,
                date,
                banned_rights: rights.to_tl(),
                rank: None,
            }
            .into(),
            Member { role: Role::Left, .. } => tl::types::ChannelParticipantLeft { peer }.into(),
        }
    }
}

fn admin_required() -> Failure {
    Failure::new(403, "CHAT_ADMIN_REQUIRED")
}

/// Everyone whom a participant's entry names.
fn name(named: &mut Named, member: &Member) {
    named.user(member.user_id);
    match member.role {
        Role::Admin { promoted_by: by, .. } | Role::Restricted { by, .. } | Role::Banned { by, .. } => named.user(by),
        Role::Creator { .. } | Role::Member | Role::Left => {}
    }
}

/// <https://core.telegram.org/api/offsets#hash-generation>
fn hash(ids: impl Iterator<Item = i64>) -> i64 {
    let mix = |hash: u64, id: i64| {
        let mut hash = hash;
        hash ^= hash >> 21;
        hash ^= hash << 35;
        hash ^= hash >> 4;
        hash.wrapping_add(id as u64)
    };
    ids.fold(0, mix) as i64
}
