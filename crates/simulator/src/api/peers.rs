//! Whom a call means, whether the caller may, and who is named in an answer.

use std::collections::BTreeSet;

use grammers_tl_types as tl;

use super::{Caller, Failure};
use crate::access;
use crate::account::Sight;
use crate::world::{Chat, ChatKind, Person, Standing};

impl<'a> Caller<'a> {
    /// All chats that the account is in or may read, in the world's order.
    pub(super) fn visible_chats(&self) -> impl Iterator<Item = (&'a Chat, Sight)> {
        let world = &self.datacentre.world;
        let account = self.account.clone();
        world.all_chats().filter_map(move |chat| Some((chat, access::sight(&account, chat, world)?)))
    }

    pub(super) fn sight(&self, chat: &Chat) -> Option<Sight> {
        access::sight(&self.account, chat, &self.datacentre.world)
    }

    /// A channel or supergroup by its input form.
    pub(super) fn channel(&self, input: &tl::enums::InputChannel) -> Result<(&'a Chat, Sight), Failure> {
        match input {
            tl::enums::InputChannel::Channel(channel) => self.channel_by_hash(channel.channel_id, channel.access_hash),
            tl::enums::InputChannel::FromMessage(from) => {
                self.peer(&from.peer)?;
                self.channel_by_hash(from.channel_id, self.channel_hash(from.channel_id))
            }
            tl::enums::InputChannel::Empty => Err(Failure::bad("CHANNEL_INVALID")),
        }
    }

    /// Any chat by its input form.
    pub(super) fn peer(&self, input: &tl::enums::InputPeer) -> Result<(&'a Chat, Sight), Failure> {
        let own_chat = |marked: i64| {
            let chat = self.datacentre.world.chat(marked);
            chat.and_then(|chat| Some((chat, self.sight(chat)?))).ok_or_else(|| Failure::bad("PEER_ID_INVALID"))
        };
        match input {
            tl::enums::InputPeer::Channel(channel) => self.channel_by_hash(channel.channel_id, channel.access_hash),
            tl::enums::InputPeer::ChannelFromMessage(from) => {
                self.peer(&from.peer)?;
                self.channel_by_hash(from.channel_id, self.channel_hash(from.channel_id))
            }
            tl::enums::InputPeer::Chat(group) => own_chat(ChatKind::Group.marked(group.chat_id)),
            tl::enums::InputPeer::User(user) => {
                if user.access_hash != self.account.access_hash(user.user_id) {
                    return Err(Failure::bad("PEER_ID_INVALID"));
                }
                own_chat(self.private_with(user.user_id))
            }
            tl::enums::InputPeer::UserFromMessage(from) => own_chat(self.private_with(from.user_id)),
            tl::enums::InputPeer::PeerSelf => own_chat(self.account.user_id),
            tl::enums::InputPeer::Empty => Err(Failure::bad("PEER_ID_INVALID")),
        }
    }

    /// The private chat with a user. That with the world's own user is the one which is named after the caller.
    fn private_with(&self, user: i64) -> i64 {
        if user == self.datacentre.world.me { self.account.user_id } else { user }
    }

    fn channel_hash(&self, bare: i64) -> i64 {
        self.account.access_hash(ChatKind::Channel.marked(bare))
    }

    fn channel_by_hash(&self, bare: i64, hash: i64) -> Result<(&'a Chat, Sight), Failure> {
        let chat = self.datacentre.world.chat(ChatKind::Channel.marked(bare));
        let chat = chat
            .filter(|chat| chat.kind.is_channel() && hash == self.channel_hash(bare))
            .ok_or_else(|| Failure::bad("CHANNEL_INVALID"))?;
        let sight = self.sight(chat).ok_or_else(|| Failure::bad("CHANNEL_PRIVATE"))?;
        Ok((chat, sight))
    }

    /// The caller as a user.
    pub(super) fn me(&self) -> tl::enums::User {
        let id = self.account.user_id;
        self.user(id).unwrap_or(tl::enums::User::Empty(tl::types::UserEmpty { id }))
    }

    /// A user of the world, or one of the accounts.
    pub(super) fn user(&self, id: i64) -> Option<tl::enums::User> {
        let is_self = id == self.account.user_id;
        let person = match self.datacentre.world.person(id) {
            Some(person) => person,
            None => {
                let accounts = self.datacentre.accounts.all();
                Person::named(id, &accounts.iter().find(|account| account.user_id == id)?.name)
            }
        };
        let mut user = person.to_tl(self.account.access_hash(id), is_self);
        if let tl::enums::User::User(tl::types::User { photo: Some(tl::enums::UserProfilePhoto::Photo(photo)), .. }) = &mut user {
            photo.dc_id = self.datacentre.world.file_dc(photo.photo_id);
        }
        if is_self && let tl::enums::User::User(user) = &mut user {
            user.bot = self.account.bot_token.is_some();
            user.bot_info_version = user.bot.then_some(1);
            user.phone = (!user.bot).then(|| self.account.phone.clone());
        }
        Some(user)
    }

    /// A chat as this caller is told of it; one that it cannot see, by name only.
    pub(super) fn chat(&self, chat: &Chat) -> Option<tl::enums::Chat> {
        let access_hash = self.account.access_hash(chat.id);
        match self.sight(chat) {
            Some(sight) => {
                let mut told = chat.to_tl(access_hash)?;
                self.mark(chat, sight, &mut told);
                self.tell_membership(chat, &mut told);
                Some(told)
            }
            None if chat.kind.is_channel() => Some(
                tl::types::ChannelForbidden {
                    broadcast: chat.kind == ChatKind::Channel,
                    megagroup: chat.kind == ChatKind::Supergroup,
                    monoforum: false,
                    id: chat.bare_id(),
                    access_hash,
                    title: chat.title(),
                    until_date: match chat.stands(self.account.user_id).map(|stood| stood.standing) {
                        Some(Standing::Banned { until }) if until > 0 => Some(until),
                        _ => None,
                    },
                }
                .into(),
            ),
            None if chat.kind == ChatKind::Group => {
                Some(tl::types::ChatForbidden { id: chat.bare_id(), title: chat.title() }.into())
            }
            None => None,
        }
    }

    /// Where the caller stands in a chat, and where the chat went.
    fn mark(&self, chat: &Chat, sight: Sight, told: &mut tl::enums::Chat) {
        match told {
            tl::enums::Chat::Channel(channel) => channel.left = !sight.member,
            tl::enums::Chat::Chat(group) => {
                group.left = !sight.member;
                let migrated = chat.migrated_to().and_then(|id| self.datacentre.world.chat(id));
                group.migrated_to = migrated.map(|to| {
                    let access_hash = self.account.access_hash(to.id);
                    tl::types::InputChannel { channel_id: to.bare_id(), access_hash }.into()
                });
            }
            _ => {}
        }
    }
}

/// Everyone and everything that an answer's messages name.
#[derive(Debug, Default)]
pub(super) struct Named {
    users: BTreeSet<i64>,
    chats: BTreeSet<i64>,
}

impl Named {
    pub(super) fn chat(&mut self, chat: &Chat) {
        if chat.kind == ChatKind::Private {
            self.users.insert(chat.id);
        } else {
            self.chats.insert(chat.id);
        }
    }

    pub(super) fn user(&mut self, id: i64) {
        self.users.insert(id);
    }

    pub(super) fn message(&mut self, message: &tl::enums::Message) {
        match message {
            tl::enums::Message::Empty(_) => {}
            tl::enums::Message::Message(message) => {
                self.peer(Some(&message.peer_id));
                self.peer(message.from_id.as_ref());
                self.users.extend(message.via_bot_id);
                if let Some(tl::enums::MessageFwdHeader::Header(forward)) = &message.fwd_from {
                    self.peer(forward.from_id.as_ref());
                    self.peer(forward.saved_from_peer.as_ref());
                }
                self.reply(message.reply_to.as_ref());
                for entity in message.entities.iter().flatten() {
                    if let tl::enums::MessageEntity::MentionName(mention) = entity {
                        self.users.insert(mention.user_id);
                    }
                }
            }
            tl::enums::Message::Service(message) => {
                self.peer(Some(&message.peer_id));
                self.peer(message.from_id.as_ref());
                self.reply(message.reply_to.as_ref());
                self.action(&message.action);
            }
        }
    }

    fn reply(&mut self, reply: Option<&tl::enums::MessageReplyHeader>) {
        if let Some(tl::enums::MessageReplyHeader::Header(reply)) = reply {
            self.peer(reply.reply_to_peer_id.as_ref());
        }
    }

    fn action(&mut self, action: &tl::enums::MessageAction) {
        use tl::enums::MessageAction as A;
        match action {
            A::ChatCreate(action) => self.users.extend(&action.users),
            A::ChatAddUser(action) => self.users.extend(&action.users),
            A::InviteToGroupCall(action) => self.users.extend(&action.users),
            A::ChatDeleteUser(action) => drop(self.users.insert(action.user_id)),
            A::ChatJoinedByLink(action) => drop(self.users.insert(action.inviter_id)),
            A::ChatMigrateTo(action) => {
                self.chats.insert(ChatKind::Channel.marked(action.channel_id));
            }
            A::ChannelMigrateFrom(action) => {
                self.chats.insert(ChatKind::Group.marked(action.chat_id));
            }
            _ => {}
        }
    }

    pub(super) fn peer(&mut self, peer: Option<&tl::enums::Peer>) {
        match peer {
            None => {}
            Some(tl::enums::Peer::User(user)) => drop(self.users.insert(user.user_id)),
            Some(tl::enums::Peer::Chat(group)) => {
                self.chats.insert(ChatKind::Group.marked(group.chat_id));
            }
            Some(tl::enums::Peer::Channel(channel)) => {
                self.chats.insert(ChatKind::Channel.marked(channel.channel_id));
            }
        }
    }

    /// The lists that go with an answer. What the world does not know is left out.
    pub(super) fn told(self, caller: &Caller<'_>) -> (Vec<tl::enums::Chat>, Vec<tl::enums::User>) {
        let chats = self.chats.iter().filter_map(|id| caller.chat(caller.datacentre.world.chat(*id)?));
        let users = self.users.iter().filter_map(|id| caller.user(*id));
        (chats.collect(), users.collect())
    }
}
