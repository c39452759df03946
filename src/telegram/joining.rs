//! Joining and leaving: what a target is, the calls, and what their answers mean.

use std::fmt;

use grammers_tl_types as tl;
use tl::enums::messages::ChatInviteJoinResult;

use super::{Connection, Dialogs, Error, InputChat, Result, chats};
use crate::record::ChatId;

/// Channels and supergroups that an account may be in, without and with Premium:
/// <https://core.telegram.org/api/config#channels-limit-default>
const MOST_CHATS: (i64, i64) = (500, 1_000);
/// So many of them are left to the account's owner.
const LEFT_FREE: i64 = 20;

/// How many channels and supergroups an account is let into here.
pub fn most_chats(premium: bool) -> i64 {
    (if premium { MOST_CHATS.1 } else { MOST_CHATS.0 }) - LEFT_FREE
}

/// The part of an invite link behind `t.me/+`: whoever has it may enter, so that it is no text for a log.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteHash(pub String);

impl fmt::Debug for InviteHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteHash(hidden)")
    }
}

/// A chat as one account is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub chat: ChatId,
    /// Whether the account is in it.
    pub member: bool,
    /// The chat itself, with the access hash of this account.
    pub told: tl::enums::Chat,
}

impl Seen {
    fn of(told: tl::enums::Chat) -> Option<Self> {
        let (chat, member) = match &told {
            tl::enums::Chat::Channel(it) => (ChatId::channel(it.id), !it.left),
            tl::enums::Chat::Chat(it) => (ChatId::group(it.id), !it.left && !it.deactivated),
            _ => return None,
        };
        Some(Self { chat, member, told })
    }
}

/// What asking to be let in came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Joined {
    /// The account is in the chat; none: Telegram did not name it.
    In(Option<Box<Seen>>),
    /// An administrator decides.
    Requested,
    /// The account is in as many chats as it may be.
    AccountFull,
    /// Nothing will come of it, in Telegram's words.
    Refused(String),
}

impl InputChat {
    /// The method by which an account leaves this chat.
    pub fn leaving_method(&self) -> &'static str {
        if self.channel().is_some() { "channels.leaveChannel" } else { "messages.deleteChatUser" }
    }
}

impl Dialogs {
    /// The chats among them that the account is in.
    pub fn memberships(&self) -> Vec<ChatId> {
        self.chats.iter().cloned().filter_map(Seen::of).filter(|seen| seen.member).map(|seen| seen.chat).collect()
    }
}

impl Connection {
    /// Joins a channel or supergroup: <https://core.telegram.org/method/channels.joinChannel>
    pub async fn join_channel(&self, chat: &InputChat) -> Result<Joined> {
        let Some(channel) = chat.channel() else { return Ok(Joined::Refused("CHANNEL_INVALID".into())) };
        answer(self.invoke(&tl::functions::channels::JoinChannel { channel }).await, Some(chat.id()))
    }

    /// Joins by an invite link: <https://core.telegram.org/method/messages.importChatInvite>
    pub async fn import_invite(&self, invite: &InviteHash) -> Result<Joined> {
        answer(self.invoke(&tl::functions::messages::ImportChatInvite { hash: invite.0.clone() }).await, None)
    }

    /// Where an invite link leads: the chat, where the account is in it or may look at it; none: there is one.
    ///
    /// <https://core.telegram.org/method/messages.checkChatInvite>
    pub async fn check_invite(&self, invite: &InviteHash) -> Result<Option<Seen>> {
        let led = self.invoke(&tl::functions::messages::CheckChatInvite { hash: invite.0.clone() }).await?;
        Ok(match led {
            // Telegram's word for being a member
            tl::enums::ChatInvite::Already(it) => Seen::of(it.chat).map(|seen| Seen { member: true, ..seen }),
            tl::enums::ChatInvite::Peek(it) => Seen::of(it.chat).map(|seen| Seen { member: false, ..seen }),
            tl::enums::ChatInvite::Invite(_) => None,
        })
    }

    /// A channel or supergroup as this account is told of it now; none: not at all.
    pub async fn look_at(&self, chat: &InputChat) -> Result<Option<Seen>> {
        let told = match *chat {
            InputChat::Group { id } => self.invoke(&tl::functions::messages::GetChats { id: vec![id] }).await?,
            InputChat::Channel { id, access_hash } => {
                let channel = tl::types::InputChannel { channel_id: id, access_hash }.into();
                self.invoke(&tl::functions::channels::GetChannels { id: vec![channel] }).await?
            }
            InputChat::User { .. } => return Ok(None),
        };
        let told = match told {
            tl::enums::messages::Chats::Chats(it) => it.chats,
            tl::enums::messages::Chats::Slice(it) => it.chats,
        };
        Ok(told.into_iter().filter_map(Seen::of).find(|seen| seen.chat == chat.id()))
    }

    /// A public name's chat; none: it is a person's, or a bot's. Telegram allows about 200 a day.
    pub async fn resolve_chat(&self, name: &str) -> Result<Option<Seen>> {
        let resolved = self.resolve(name).await?;
        let wanted = chats::chat_id(&resolved.peer);
        Ok(resolved.chats.into_iter().filter_map(Seen::of).find(|seen| seen.chat == wanted))
    }

    /// Leaves a chat. An account that is in it no more has left it.
    ///
    /// <https://core.telegram.org/method/channels.leaveChannel>, <https://core.telegram.org/method/messages.deleteChatUser>
    pub async fn leave(&self, chat: &InputChat) -> Result<()> {
        let left = match (chat, chat.channel()) {
            (_, Some(channel)) => self.invoke(&tl::functions::channels::LeaveChannel { channel }).await,
            (InputChat::Group { id }, None) => {
                let user_id = tl::enums::InputUser::UserSelf;
                self.invoke(&tl::functions::messages::DeleteChatUser { revoke_history: false, chat_id: *id, user_id }).await
            }
            (_, None) => return Ok(()),
        };
        match left {
            Ok(_) => Ok(()),
            Err(Error::Inaccessible { name, .. }) if matches!(name.as_str(), "USER_NOT_PARTICIPANT" | "CHANNEL_PRIVATE") => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What an answer to a join means. Names: <https://core.telegram.org/method/channels.joinChannel#possible-errors>,
/// <https://core.telegram.org/method/messages.importChatInvite#possible-errors>
fn answer(answer: Result<ChatInviteJoinResult>, wanted: Option<ChatId>) -> Result<Joined> {
    let (error, name) = match answer {
        Ok(ChatInviteJoinResult::Ok(it)) => return Ok(Joined::In(seen(it.updates, wanted).map(Box::new))),
        Ok(ChatInviteJoinResult::WebView(_)) => return Ok(Joined::Refused("a bot of the chat asks for more in a web page".into())),
        Err(Error::Inaccessible { name, method }) => (Error::Inaccessible { name: name.clone(), method }, name),
        Err(Error::UnknownRpc { name, method, code }) => (Error::UnknownRpc { name: name.clone(), method, code }, name),
        Err(error) => return Err(error),
    };
    Ok(match name.as_str() {
        "USER_ALREADY_PARTICIPANT" => Joined::In(None),
        "INVITE_REQUEST_SENT" => Joined::Requested,
        "CHANNELS_TOO_MUCH" | "USER_CHANNELS_TOO_MUCH" => Joined::AccountFull,
        "CHANNEL_PRIVATE"
        | "CHAT_INVALID"
        | "INVITE_HASH_EMPTY"
        | "INVITE_HASH_EXPIRED"
        | "INVITE_HASH_INVALID"
        | "USERS_TOO_MUCH"
        | "USER_BANNED_IN_CHANNEL"
        | "USER_KICKED"
        | "CHANNEL_MONOFORUM_UNSUPPORTED"
        | "STARS_PAYMENT_REQUIRED" => Joined::Refused(name),
        _ => return Err(error),
    })
}

/// The chat that an answer's updates name: the wanted one, else the only one that the account is in.
fn seen(updates: tl::enums::Updates, wanted: Option<ChatId>) -> Option<Seen> {
    let told = match updates {
        tl::enums::Updates::Updates(it) => it.chats,
        tl::enums::Updates::Combined(it) => it.chats,
        _ => return None,
    };
    let mut seen = told.into_iter().filter_map(Seen::of).filter(|seen| seen.member);
    match wanted {
        Some(chat) => seen.find(|seen| seen.chat == chat),
        None => seen.next().filter(|_| seen.next().is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> Result<Joined> {
        answer(Err(Error::UnknownRpc { method: "channels.joinChannel".into(), code: 400, name: name.into() }), None)
    }

    #[test]
    fn what_telegram_refuses_is_an_answer_and_what_nobody_knows_an_error() {
        assert_eq!(refused("USER_ALREADY_PARTICIPANT").unwrap(), Joined::In(None));
        assert_eq!(refused("INVITE_REQUEST_SENT").unwrap(), Joined::Requested);
        assert_eq!(refused("USER_CHANNELS_TOO_MUCH").unwrap(), Joined::AccountFull);
        assert_eq!(refused("USERS_TOO_MUCH").unwrap(), Joined::Refused("USERS_TOO_MUCH".into()));
        assert!(matches!(refused("FROBNICATION_REFUSED"), Err(Error::UnknownRpc { .. })));
        // a stale access hash says nothing of the chat
        let stale = Error::Inaccessible { method: "channels.joinChannel".into(), name: "CHANNEL_INVALID".into() };
        assert!(matches!(answer(Err(stale), None), Err(Error::Inaccessible { .. })));
    }

    #[test]
    fn an_invite_hash_is_not_printed() {
        assert_eq!(format!("{:?}", InviteHash("AbCdEf".into())), "InviteHash(hidden)");
    }
}
