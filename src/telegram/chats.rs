//! Chats and users: how they are addressed, and the calls that describe them.

use std::collections::HashSet;
use std::fmt;

use futures::future::BoxFuture;
use grammers_tl_types as tl;

use super::{Connection, Error, Result};
use crate::record::ChatId;

/// Most entries of one page of dialogs.
const DIALOGS_PAGE: i32 = 100;
/// Most users in one question: <https://core.telegram.org/method/users.getUsers>.
const USERS_PAGE: usize = 100;
/// Channels' marked ids lie below this.
const CHANNEL_MARK: i64 = -1_000_000_000_000;

/// How one account addresses a chat. The access hash belongs to that account alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum InputChat {
    Channel { id: i64, access_hash: i64 },
    Group { id: i64 },
    User { id: i64, access_hash: i64 },
}

impl fmt::Debug for InputChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InputChat({})", self.id().0)
    }
}

impl InputChat {
    /// From a marked id and what the account knows of it. Without an access hash (0 is sent), Telegram answers only to bots
    /// and to accounts that it deems to know the chat.
    pub fn new(chat: ChatId, access_hash: Option<i64>) -> Self {
        let access_hash = access_hash.unwrap_or(0);
        match chat.0 {
            marked if marked <= CHANNEL_MARK => Self::Channel { id: CHANNEL_MARK - marked, access_hash },
            marked if marked < 0 => Self::Group { id: -marked },
            id => Self::User { id, access_hash },
        }
    }

    /// The chat's marked id.
    pub fn id(&self) -> ChatId {
        match self {
            Self::Channel { id, .. } => ChatId(CHANNEL_MARK - id),
            Self::Group { id } => ChatId(-id),
            Self::User { id, .. } => ChatId(*id),
        }
    }

    /// The chat as an `InputPeer`.
    pub fn peer(&self) -> tl::enums::InputPeer {
        match *self {
            Self::Channel { id, access_hash } => tl::types::InputPeerChannel { channel_id: id, access_hash }.into(),
            Self::Group { id } => tl::types::InputPeerChat { chat_id: id }.into(),
            Self::User { id, access_hash } => tl::types::InputPeerUser { user_id: id, access_hash }.into(),
        }
    }

    /// The method that gives messages of this chat by their ids.
    pub fn by_id_method(&self) -> &'static str {
        if self.channel().is_some() { "channels.getMessages" } else { "messages.getMessages" }
    }

    /// The method that describes this chat in full.
    pub fn describing_method(&self) -> &'static str {
        match self {
            Self::Channel { .. } => "channels.getFullChannel",
            Self::Group { .. } => "messages.getFullChat",
            Self::User { .. } => "users.getFullUser",
        }
    }

    /// The chat as an `InputChannel`; none for users and basic groups.
    pub fn channel(&self) -> Option<tl::enums::InputChannel> {
        match *self {
            Self::Channel { id, access_hash } => Some(tl::types::InputChannel { channel_id: id, access_hash }.into()),
            Self::Group { .. } | Self::User { .. } => None,
        }
    }
}

/// The marked id of a peer.
pub fn chat_id(peer: &tl::enums::Peer) -> ChatId {
    match peer {
        tl::enums::Peer::User(user) => ChatId(user.user_id),
        tl::enums::Peer::Chat(chat) => ChatId(-chat.chat_id),
        tl::enums::Peer::Channel(channel) => ChatId(CHANNEL_MARK - channel.channel_id),
    }
}

/// A chat in full, in the form of its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum FullChat {
    Chat(Box<tl::types::messages::ChatFull>),
    User(Box<tl::types::users::UserFull>),
}

/// All dialogs of an account, and what they name.
#[derive(Debug, Default)]
pub struct Dialogs {
    pub dialogs: Vec<tl::enums::Dialog>,
    pub chats: Vec<tl::enums::Chat>,
    pub users: Vec<tl::enums::User>,
}

/// One page of dialogs, whichever form it came in.
struct DialogPage {
    dialogs: Vec<tl::enums::Dialog>,
    messages: Vec<tl::enums::Message>,
    chats: Vec<tl::enums::Chat>,
    users: Vec<tl::enums::User>,
    last: bool,
}

impl Connection {
    /// Describes a chat in full.
    pub async fn full_chat(&self, chat: &InputChat) -> Result<FullChat> {
        let described = match *chat {
            InputChat::Channel { id, access_hash } => {
                let channel = tl::types::InputChannel { channel_id: id, access_hash };
                self.invoke(&tl::functions::channels::GetFullChannel { channel: channel.into() }).await?
            }
            InputChat::Group { id } => self.invoke(&tl::functions::messages::GetFullChat { chat_id: id }).await?,
            InputChat::User { id, access_hash } => {
                let user = tl::types::InputUser { user_id: id, access_hash };
                let tl::enums::users::UserFull::Full(full) =
                    self.invoke(&tl::functions::users::GetFullUser { id: user.into() }).await?;
                return Ok(FullChat::User(Box::new(full)));
            }
        };
        let tl::enums::messages::ChatFull::Full(full) = described;
        Ok(FullChat::Chat(Box::new(full)))
    }

    /// Lists all dialogs. Listing again and again gets accounts penalised: do it once, and keep the chats in the record.
    pub async fn dialogs(&self) -> Result<Dialogs> {
        self.dialogs_with(|| Box::pin(std::future::ready(Ok(())))).await
    }

    /// Lists all dialogs, asking for leave before each page.
    pub async fn dialogs_with<'a, E: From<Error>>(
        &self,
        leave: impl Fn() -> BoxFuture<'a, std::result::Result<(), E>>,
    ) -> std::result::Result<Dialogs, E> {
        let mut all = Dialogs::default();
        let mut seen = HashSet::new();
        let mut offset = Offset::default();
        loop {
            leave().await?;
            let page = self.dialog_page(&offset).await?;
            let next = Offset::after(&page);
            let before = all.dialogs.len();
            all.dialogs.extend(page.dialogs.into_iter().filter(|dialog| match dialog {
                tl::enums::Dialog::Dialog(dialog) => seen.insert(chat_id(&dialog.peer)),
                tl::enums::Dialog::Folder(_) | tl::enums::Dialog::Community(_) => false,
            }));
            all.chats.extend(page.chats);
            all.users.extend(page.users);
            match next {
                Some(next) if !page.last && all.dialogs.len() > before => offset = next,
                Some(_) | None => return Ok(all),
            }
        }
    }

    async fn dialog_page(&self, offset: &Offset) -> Result<DialogPage> {
        let answer = self
            .invoke(&tl::functions::messages::GetDialogs {
                exclude_pinned: offset.id != 0,
                folder_id: None,
                offset_date: offset.date,
                offset_id: offset.id,
                offset_peer: offset.peer.clone(),
                limit: DIALOGS_PAGE,
                hash: 0,
            })
            .await?;
        match answer {
            tl::enums::messages::Dialogs::Dialogs(page) => {
                Ok(DialogPage { dialogs: page.dialogs, messages: page.messages, chats: page.chats, users: page.users, last: true })
            }
            tl::enums::messages::Dialogs::Slice(page) => {
                Ok(DialogPage { dialogs: page.dialogs, messages: page.messages, chats: page.chats, users: page.users, last: false })
            }
            tl::enums::messages::Dialogs::NotModified(_) => {
                Err(Error::Unexpected { method: "messages.getDialogs", found: "messages.dialogsNotModified" })
            }
        }
    }

    /// Resolves a public name, without its `@`. Telegram allows about 200 a day: prefer a stored id and access hash.
    pub async fn resolve(&self, username: &str) -> Result<tl::types::contacts::ResolvedPeer> {
        let tl::enums::contacts::ResolvedPeer::Peer(resolved) = self
            .invoke(&tl::functions::contacts::ResolveUsername {
                username: username.trim_start_matches('@').to_owned(),
                referer: None,
            })
            .await?;
        Ok(resolved)
    }

    /// Users by id and access hash.
    pub async fn users(&self, users: &[(i64, i64)]) -> Result<Vec<tl::enums::User>> {
        let mut described = Vec::with_capacity(users.len());
        for page in users.chunks(USERS_PAGE) {
            let id = page.iter().map(|&(user_id, access_hash)| tl::types::InputUser { user_id, access_hash }.into()).collect();
            described.extend(self.invoke(&tl::functions::users::GetUsers { id }).await?);
        }
        Ok(described)
    }

    /// The account's own user. Fails with [`Error::AccountLost`] where nobody is signed in.
    pub async fn me(&self) -> Result<tl::types::User> {
        let id = vec![tl::enums::InputUser::UserSelf];
        let mut found = self.invoke(&tl::functions::users::GetUsers { id }).await?;
        match found.pop() {
            Some(tl::enums::User::User(user)) => Ok(user),
            Some(tl::enums::User::Empty(_)) | None => {
                Err(Error::Unexpected { method: "users.getUsers", found: "no user for self" })
            }
        }
    }
}

/// Where the next page of dialogs starts: at the last dialog whose top message was told.
struct Offset {
    date: i32,
    id: i32,
    peer: tl::enums::InputPeer,
}

impl Default for Offset {
    fn default() -> Self {
        Self { date: 0, id: 0, peer: tl::enums::InputPeer::Empty }
    }
}

impl Offset {
    fn after(page: &DialogPage) -> Option<Self> {
        page.dialogs.iter().rev().find_map(|dialog| {
            let tl::enums::Dialog::Dialog(dialog) = dialog else {
                return None;
            };
            let date = page.messages.iter().find_map(|message| {
                let (id, peer, date) = match message {
                    tl::enums::Message::Message(message) => (message.id, &message.peer_id, message.date),
                    tl::enums::Message::Service(message) => (message.id, &message.peer_id, message.date),
                    tl::enums::Message::Empty(_) => return None,
                };
                (id == dialog.top_message && *peer == dialog.peer).then_some(date)
            })?;
            let hash = access_hash(&dialog.peer, &page.chats, &page.users);
            Some(Self { date, id: dialog.top_message, peer: InputChat::new(chat_id(&dialog.peer), hash).peer() })
        })
    }
}

/// The access hash that an answer tells of a peer; hashes of `min` constructors do not count.
pub fn access_hash(peer: &tl::enums::Peer, chats: &[tl::enums::Chat], users: &[tl::enums::User]) -> Option<i64> {
    match peer {
        tl::enums::Peer::Chat(_) => None,
        tl::enums::Peer::User(wanted) => users.iter().find_map(|user| match user {
            tl::enums::User::User(user) if user.id == wanted.user_id && !user.min => user.access_hash,
            tl::enums::User::User(_) | tl::enums::User::Empty(_) => None,
        }),
        tl::enums::Peer::Channel(wanted) => chats.iter().find_map(|chat| match chat {
            tl::enums::Chat::Channel(channel) if channel.id == wanted.channel_id && !channel.min => channel.access_hash,
            tl::enums::Chat::ChannelForbidden(channel) if channel.id == wanted.channel_id => Some(channel.access_hash),
            _ => None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_ids_name_the_kind_both_ways() {
        for (marked, expected) in [
            (-1_001_234_567_890, InputChat::Channel { id: 1_234_567_890, access_hash: 5 }),
            (-42, InputChat::Group { id: 42 }),
            (77, InputChat::User { id: 77, access_hash: 5 }),
        ] {
            let chat = InputChat::new(ChatId(marked), Some(5));
            assert_eq!(chat, expected);
            assert_eq!(chat.id(), ChatId(marked));
        }
        assert_eq!(format!("{:?}", InputChat::new(ChatId(77), Some(123_456))), "InputChat(77)");
    }
}
