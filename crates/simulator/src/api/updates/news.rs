//! What an event is to one account: updates, and the containers in which the server pushes them.

use grammers_tl_types as tl;
use tl::enums::Update;

use crate::access;
use crate::account::Sight;
use crate::api::Caller;
use crate::api::peers::Named;
use crate::mailbox::{Letter, Mailbox, Order, Seq};
use crate::world::events::{Effect, Notice};
use crate::world::live::{Change, Stood};
use crate::world::{Chat, ChatKind, Record, Standing};

/// The icon of a chat's type says nothing here: a participant's rights are those that administrators have by default.
const ADMIN_RIGHTS: tl::types::ChatAdminRights = tl::types::ChatAdminRights {
    change_info: true,
    post_messages: true,
    edit_messages: true,
    delete_messages: true,
    ban_users: true,
    invite_users: true,
    pin_messages: true,
    add_admins: false,
    anonymous: false,
    manage_call: true,
    other: true,
    manage_topics: true,
    post_stories: false,
    edit_stories: false,
    delete_stories: false,
    manage_direct_messages: false,
    manage_ranks: false,
    manage_linked_peers: false,
    manage_welcome_messages: false,
};

impl Caller<'_> {
    /// The containers by which the account learns of an event, in their order.
    pub(crate) fn news(&self, record: &Record) -> Vec<tl::enums::Updates> {
        let mut updates = Vec::new();
        let mut named = Named::default();
        for effect in &record.effects {
            self.of_effect(record, effect, &mut updates, &mut named);
        }
        let mut ordered = Vec::new();
        let mut ordered_named = Named::default();
        let mut seqs = Vec::new();
        self.mailbox(|mailbox| {
            for letter in mailbox.of_event(record.number) {
                match letter.order {
                    Order::Seq { seq, .. } => {
                        seqs.push(seq);
                        ordered.extend(self.of_letter(mailbox, letter, &mut ordered_named));
                    }
                    _ => updates.extend(self.of_letter(mailbox, letter, &mut named)),
                }
            }
        });
        let mut containers = Vec::new();
        if !updates.is_empty() {
            containers.push(self.contained(record.date, updates, named));
        }
        if let (Some(&seq_start), Some(&seq)) = (seqs.first(), seqs.last()) {
            let (chats, users) = ordered_named.told(self);
            let (date, updates) = (record.date, ordered);
            containers.push(if seq_start == seq {
                tl::types::Updates { updates, users, chats, date, seq }.into()
            } else {
                tl::types::UpdatesCombined { updates, users, chats, date, seq_start, seq }.into()
            });
        }
        containers
    }

    /// A lone update that needs no users and chats beside it travels in a short form
    /// (<https://core.telegram.org/constructor/updateShort>).
    fn contained(&self, date: i32, mut updates: Vec<Update>, named: Named) -> tl::enums::Updates {
        if let [update] = &updates[..] {
            if let Some(short) = self.short(update) {
                return short;
            }
            let alone = matches!(
                update,
                Update::DeleteMessages(_)
                    | Update::DeleteChannelMessages(_)
                    | Update::ChannelMessageViews(_)
                    | Update::ChannelMessageForwards(_)
            );
            if alone && let Some(update) = updates.pop() {
                return tl::types::UpdateShort { update, date }.into();
            }
        }
        let (chats, users) = named.told(self);
        // Channels and the account's own box are ordered by pts alone.
        tl::types::Updates { updates, users, chats, date, seq: 0 }.into()
    }

    /// Plain words in a private chat or basic group.
    fn short(&self, update: &Update) -> Option<tl::enums::Updates> {
        let Update::NewMessage(tl::types::UpdateNewMessage { message: tl::enums::Message::Message(message), pts, pts_count }) =
            update
        else {
            return None;
        };
        let plain = message.media.is_none() && message.grouped_id.is_none() && message.reactions.is_none() && !message.noforwards;
        let (pts, pts_count) = (*pts, *pts_count);
        let told = message.clone();
        match (&message.peer_id, &message.from_id) {
            (tl::enums::Peer::User(peer), _) if plain => Some(
                tl::types::UpdateShortMessage {
                    out: told.out,
                    mentioned: false,
                    media_unread: false,
                    silent: told.silent,
                    id: told.id,
                    user_id: peer.user_id,
                    message: told.message,
                    pts,
                    pts_count,
                    date: told.date,
                    fwd_from: told.fwd_from,
                    via_bot_id: told.via_bot_id,
                    reply_to: told.reply_to,
                    entities: told.entities,
                    ttl_period: None,
                }
                .into(),
            ),
            (tl::enums::Peer::Chat(peer), Some(tl::enums::Peer::User(from))) if plain => Some(
                tl::types::UpdateShortChatMessage {
                    out: told.out,
                    mentioned: false,
                    media_unread: false,
                    silent: told.silent,
                    id: told.id,
                    from_id: from.user_id,
                    chat_id: peer.chat_id,
                    message: told.message,
                    pts,
                    pts_count,
                    date: told.date,
                    fwd_from: told.fwd_from,
                    via_bot_id: told.via_bot_id,
                    reply_to: told.reply_to,
                    entities: told.entities,
                    ttl_period: None,
                }
                .into(),
            ),
            _ => None,
        }
    }

    /// What is not in the account's own box: channels, and what no pts orders.
    fn of_effect(&self, record: &Record, effect: &Effect, updates: &mut Vec<Update>, named: &mut Named) {
        let world = &self.datacentre.world;
        match effect {
            Effect::Change { chat, pts, change } => {
                let Some(chat) = world.chat(*chat).filter(|chat| chat.kind.is_channel()) else {
                    return;
                };
                let Some(sight) = self.hears(chat) else { return };
                named.chat(chat);
                match change {
                    Change::New(id) => {
                        if let Some(message) = chat.message(*id).filter(|_| *id >= sight.from) {
                            let message = self.stamped(self.tell_channel(message));
                            named.message(&message);
                            updates.push(tl::types::UpdateNewChannelMessage { message, pts: *pts, pts_count: 1 }.into());
                        }
                    }
                    change => updates.extend(self.of_channel(chat, sight, *pts, change, named)),
                }
            }
            Effect::Notice { chat, notice } => {
                let Some(chat) = world.chat(*chat) else { return };
                let heard = match notice {
                    // Those who are shut out learn that they are.
                    Notice::Chat => {
                        access::was_in(&self.account, chat, world, record.number).then_some(Sight { from: 1, member: true })
                    }
                    _ => self.hears(chat),
                };
                if heard.is_some() {
                    named.chat(chat);
                    updates.extend(self.of_notice(chat, notice, named));
                }
            }
            Effect::Stands { chat, user, .. } if *user == self.account.user_id => {
                let Some(chat) = world.chat(*chat) else { return };
                named.chat(chat);
                updates.push(if chat.kind.is_channel() {
                    tl::types::UpdateChannel { channel_id: chat.bare_id() }.into()
                } else {
                    tl::types::UpdateChat { chat_id: chat.bare_id() }.into()
                });
            }
            Effect::Stands { .. } | Effect::Renamed { .. } | Effect::UserDeleted { .. } => {}
        }
    }

    /// What the account sees of a chat whose news are pushed to it.
    fn hears(&self, chat: &Chat) -> Option<Sight> {
        let sight = self.sight(chat).filter(|sight| sight.member)?;
        (!self.datacentre.pushes.is_silent(&self.account.name, chat.id)).then_some(sight)
    }

    fn of_notice(&self, chat: &Chat, notice: &Notice, named: &mut Named) -> Option<Update> {
        let channel_id = chat.bare_id();
        let message = |id: &i32| match chat.message(*id) {
            Some(tl::enums::Message::Message(message)) => Some(message),
            _ => None,
        };
        let own_id = |id: i32| if chat.kind.is_channel() { Some(id) } else { self.mailbox(|mailbox| mailbox.own(id)) };
        Some(match notice {
            Notice::Chat => match chat.kind {
                ChatKind::Private => return None,
                ChatKind::Group => tl::types::UpdateChat { chat_id: channel_id }.into(),
                _ => tl::types::UpdateChannel { channel_id }.into(),
            },
            Notice::Views(id) if chat.kind.is_channel() => {
                tl::types::UpdateChannelMessageViews { channel_id, id: *id, views: message(id)?.views? }.into()
            }
            Notice::Forwards(id) if chat.kind.is_channel() => {
                tl::types::UpdateChannelMessageForwards { channel_id, id: *id, forwards: message(id)?.forwards? }.into()
            }
            Notice::Views(_) | Notice::Forwards(_) => return None,
            Notice::Reactions(id) => self.reactions_of(chat, *id, own_id(*id)?, named)?,
            Notice::Poll(id) => {
                let tl::enums::MessageMedia::Poll(poll) = message(id)?.media? else { return None };
                let tl::enums::Poll::Poll(told) = &poll.poll;
                tl::types::UpdateMessagePoll {
                    peer: Some(self.peer_of(chat)),
                    msg_id: Some(own_id(*id)?),
                    top_msg_id: None,
                    poll_id: told.id,
                    poll: Some(poll.poll),
                    results: poll.results,
                }
                .into()
            }
        })
    }

    /// The reactions to a message as an update, `own` being its id for this account.
    pub(in crate::api) fn reactions_of(&self, chat: &Chat, id: i32, own: i32, named: &mut Named) -> Option<Update> {
        let reactions = match chat.message(id)? {
            tl::enums::Message::Message(message) => message.reactions,
            tl::enums::Message::Service(message) => message.reactions,
            tl::enums::Message::Empty(_) => None,
        };
        let reactions = reactions.unwrap_or_else(|| {
            tl::types::MessageReactions {
                min: false,
                can_see_list: false,
                reactions_as_tags: false,
                results: Vec::new(),
                recent_reactions: None,
                top_reactors: None,
            }
            .into()
        });
        let tl::enums::MessageReactions::Reactions(told) = &reactions;
        for tl::enums::MessagePeerReaction::Reaction(one) in told.recent_reactions.iter().flatten() {
            named.peer(Some(&one.peer_id));
        }
        Some(
            tl::types::UpdateMessageReactions {
                peer: self.peer_of(chat),
                msg_id: own,
                top_msg_id: None,
                saved_peer_id: None,
                reactions,
            }
            .into(),
        )
    }

    /// A change in a channel that is no new message.
    pub(super) fn of_channel(&self, chat: &Chat, sight: Sight, pts: i32, change: &Change, named: &mut Named) -> Option<Update> {
        let channel_id = chat.bare_id();
        let pts_count = change.pts_count();
        Some(match change {
            Change::New(id) | Change::Edited(id) => {
                let message = self.stamped(self.tell_channel(chat.message(*id).filter(|_| *id >= sight.from)?));
                named.message(&message);
                tl::types::UpdateEditChannelMessage { message, pts, pts_count }.into()
            }
            Change::Deleted(ids) => {
                tl::types::UpdateDeleteChannelMessages { channel_id, messages: ids.clone(), pts, pts_count }.into()
            }
            Change::Pinned { ids, pinned } => {
                let messages = ids.clone();
                tl::types::UpdatePinnedChannelMessages { pinned: *pinned, channel_id, messages, pts, pts_count }.into()
            }
        })
    }

    /// A letter of the account's own box as an update.
    pub(super) fn of_letter(&self, mailbox: &Mailbox, letter: &Letter, named: &mut Named) -> Option<Update> {
        match &letter.order {
            Order::Pts { pts, chat, change } => self.of_own(mailbox, *pts, self.datacentre.world.chat(*chat)?, change, named),
            Order::Seq { news, .. } => self.of_seq(*news, letter.date, named),
            Order::Qts { qts, chat, before, now } => {
                self.of_qts(*qts, self.datacentre.world.chat(*chat)?, before.as_deref(), now, named)
            }
        }
    }

    fn of_own(&self, mailbox: &Mailbox, pts: i32, chat: &Chat, change: &Change, named: &mut Named) -> Option<Update> {
        let pts_count = change.pts_count();
        let own = |ids: &[i32]| ids.iter().filter_map(|id| mailbox.own(*id)).collect::<Vec<_>>();
        let mut told = |id: &i32| {
            let message = self.stamped(self.tell_own(mailbox, chat, chat.message(*id)?)?);
            named.message(&message);
            Some(message)
        };
        Some(match change {
            Change::New(id) => tl::types::UpdateNewMessage { message: told(id)?, pts, pts_count }.into(),
            Change::Edited(id) => tl::types::UpdateEditMessage { message: told(id)?, pts, pts_count }.into(),
            Change::Deleted(ids) => tl::types::UpdateDeleteMessages { messages: own(ids), pts, pts_count }.into(),
            Change::Pinned { ids, pinned } => {
                let peer = self.peer_of(chat);
                tl::types::UpdatePinnedMessages { pinned: *pinned, peer, messages: own(ids), pts, pts_count }.into()
            }
        })
    }

    fn of_seq(&self, news: Seq, date: i32, named: &mut Named) -> Option<Update> {
        Some(match news {
            Seq::Renamed(user_id) => {
                named.user(user_id);
                let person = self.datacentre.world.person(user_id)?;
                let usernames = person.username.map(|username| {
                    tl::types::Username {
                        editable: user_id == self.account.user_id,
                        active: true,
                        deletable: false,
                        expired: false,
                        username,
                    }
                    .into()
                });
                tl::types::UpdateUserName {
                    user_id,
                    first_name: person.first_name,
                    last_name: person.last_name.unwrap_or_default(),
                    usernames: usernames.into_iter().collect(),
                }
                .into()
            }
            Seq::UserDeleted(user_id) => {
                named.user(user_id);
                tl::types::UpdateUser { user_id }.into()
            }
            Seq::Participant { chat, user } => {
                let chat = self.datacentre.world.chat(chat)?;
                named.chat(chat);
                named.user(user);
                let (chat_id, user_id, version) = (chat.bare_id(), user, chat.version());
                let stood = chat.stands(user)?;
                if stood.standing.is_member() {
                    let inviter_id = stood.by;
                    tl::types::UpdateChatParticipantAdd { chat_id, user_id, inviter_id, date, version }.into()
                } else {
                    tl::types::UpdateChatParticipantDelete { chat_id, user_id, version }.into()
                }
            }
        })
    }

    /// Bots learn who comes and goes: <https://core.telegram.org/constructor/updateChannelParticipant>.
    fn of_qts(&self, qts: i32, chat: &Chat, before: Option<&Stood>, now: &Stood, named: &mut Named) -> Option<Update> {
        named.chat(chat);
        named.user(now.user_id);
        named.user(now.by);
        let (actor_id, user_id, date) = (now.by, now.user_id, now.date);
        if chat.kind.is_channel() {
            return Some(
                tl::types::UpdateChannelParticipant {
                    via_chatlist: false,
                    channel_id: chat.bare_id(),
                    date,
                    actor_id,
                    user_id,
                    prev_participant: before.and_then(participant),
                    new_participant: participant(now),
                    invite: None,
                    qts,
                }
                .into(),
            );
        }
        let in_group = |stood: &Stood| -> Option<tl::enums::ChatParticipant> {
            let (inviter_id, date) = (stood.by, stood.date);
            stood.standing.is_member().then(|| tl::types::ChatParticipant { user_id, inviter_id, date, rank: None }.into())
        };
        Some(
            tl::types::UpdateChatParticipant {
                chat_id: chat.bare_id(),
                date,
                actor_id,
                user_id,
                prev_participant: before.and_then(in_group),
                new_participant: in_group(now),
                invite: None,
                qts,
            }
            .into(),
        )
    }
}

/// Where somebody stands, as a participant of a channel; `None` for those who left.
pub(in crate::api) fn participant(stood: &Stood) -> Option<tl::enums::ChannelParticipant> {
    let (user_id, date) = (stood.user_id, stood.date);
    Some(match &stood.standing {
        Standing::Creator => tl::types::ChannelParticipantCreator { user_id, admin_rights: ADMIN_RIGHTS.into(), rank: None }.into(),
        Standing::Admin { rank } => tl::types::ChannelParticipantAdmin {
            can_edit: false,
            is_self: false,
            user_id,
            inviter_id: None,
            promoted_by: stood.by,
            date,
            admin_rights: ADMIN_RIGHTS.into(),
            rank: rank.clone(),
        }
        .into(),
        Standing::Member => tl::types::ChannelParticipant { user_id, date, subscription_until_date: None, rank: None }.into(),
        Standing::Restricted { until } | Standing::Banned { until } => tl::types::ChannelParticipantBanned {
            left: !stood.standing.is_member(),
            peer: tl::types::PeerUser { user_id }.into(),
            kicked_by: stood.by,
            date,
            banned_rights: banned_rights(&stood.standing, *until),
            rank: None,
        }
        .into(),
        Standing::Left => return None,
    })
}

/// What a banned or restricted user may not do.
pub(in crate::api) fn banned_rights(standing: &Standing, until_date: i32) -> tl::enums::ChatBannedRights {
    tl::types::ChatBannedRights {
        view_messages: !standing.is_member(),
        send_messages: true,
        send_media: true,
        send_stickers: true,
        send_gifs: true,
        send_games: true,
        send_inline: true,
        embed_links: true,
        send_polls: true,
        change_info: true,
        invite_users: true,
        pin_messages: true,
        manage_topics: true,
        send_photos: true,
        send_videos: true,
        send_roundvideos: true,
        send_audios: true,
        send_voices: true,
        send_docs: true,
        send_plain: true,
        edit_rank: true,
        send_reactions: true,
        manage_linked_peers: true,
        until_date,
    }
    .into()
}
