//! Who is in a chat: pages of a channel's or supergroup's lists. Basic groups tell their members with their description.

use grammers_tl_types as tl;
use tl::enums::ChannelParticipantsFilter;

use super::{Connection, Error, InputChat, Result};

/// Most members of one answer: <https://core.telegram.org/method/channels.getParticipants>.
pub const PAGE: i32 = 200;

/// One of the lists that a channel or supergroup has: <https://core.telegram.org/type/ChannelParticipantsFilter>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members<'a> {
    /// Everybody; Telegram cuts it at about 10,000.
    Recent,
    Admins,
    Bots,
    /// Who was removed and may not come back.
    Kicked,
    /// Who may not do all that others may.
    Restricted,
    /// Who has a name or public name that begins so.
    Search(&'a str),
}

impl Members<'_> {
    fn filter(&self) -> ChannelParticipantsFilter {
        match self {
            Members::Recent => ChannelParticipantsFilter::ChannelParticipantsRecent,
            Members::Admins => ChannelParticipantsFilter::ChannelParticipantsAdmins,
            Members::Bots => ChannelParticipantsFilter::ChannelParticipantsBots,
            Members::Kicked => tl::types::ChannelParticipantsKicked { q: String::new() }.into(),
            Members::Restricted => tl::types::ChannelParticipantsBanned { q: String::new() }.into(),
            Members::Search(q) => tl::types::ChannelParticipantsSearch { q: (*q).to_owned() }.into(),
        }
    }
}

/// What Telegram answers to a question for a list.
#[derive(Debug, Clone, PartialEq)]
pub enum Listed {
    Page(tl::types::channels::ChannelParticipants),
    /// Not shown to this account: an answer, not a failure.
    Hidden,
}

const METHOD: &str = "channels.getParticipants";

impl Connection {
    /// A page of a list, from an offset. A short page is not the last: the list ends where its count is reached, or with an empty one.
    pub async fn members(&self, chat: &InputChat, list: Members<'_>, offset: i32) -> Result<Listed> {
        let Some(channel) = chat.channel() else {
            return Err(Error::Unexpected { method: METHOD, found: "a chat that has no list of its own" });
        };
        let filter = list.filter();
        let answer = self.invoke(&tl::functions::channels::GetParticipants { channel, filter, offset, limit: PAGE, hash: 0 }).await;
        match answer {
            Ok(tl::enums::channels::ChannelParticipants::Participants(page)) => Ok(Listed::Page(page)),
            Ok(tl::enums::channels::ChannelParticipants::NotModified) => {
                Err(Error::Unexpected { method: METHOD, found: "channels.channelParticipantsNotModified" })
            }
            Err(Error::Inaccessible { name, .. }) if name == "CHAT_ADMIN_REQUIRED" => Ok(Listed::Hidden),
            Err(error) => Err(error),
        }
    }
}
