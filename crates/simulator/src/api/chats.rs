//! Lists of chats and what is known of one.

use grammers_tl_types as tl;

use super::full;
use super::peers::Named;
use super::updates::participant;
use super::{Caller, Failure};
use crate::access;
use crate::account::Sight;
use crate::clock;
use crate::world::{Chat, ChatKind, Standing};

/// <https://core.telegram.org/method/messages.getDialogs>: a page is at most this long.
const PAGE: usize = 100;

/// A chat as the list orders it.
struct Line<'a> {
    chat: &'a Chat,
    top: i32,
    date: i32,
    message: Option<tl::enums::Message>,
}

impl Caller<'_> {
    /// Newest first; the next page begins below the offset's chat.
    pub(super) fn dialogs(&self, call: tl::functions::messages::GetDialogs) -> Result<tl::enums::messages::Dialogs, Failure> {
        // Folder 1 is the archive: nothing is in it.
        let mut lines: Vec<Line<'_>> = match call.folder_id {
            None | Some(0) => self.visible_chats().filter(|(_, sight)| sight.member).map(|seen| self.line(seen)).collect(),
            Some(_) => Vec::new(),
        };
        lines.sort_by_key(|line| std::cmp::Reverse((line.date, line.top, line.chat.id)));
        let count = lines.len();
        let offset_chat = match &call.offset_peer {
            tl::enums::InputPeer::Empty => None,
            peer => Some(self.peer(peer)?.0.id),
        };
        let from = match lines.iter().position(|line| Some(line.chat.id) == offset_chat) {
            Some(at) => at + 1,
            None if call.offset_date > 0 => lines.partition_point(|line| line.date >= call.offset_date),
            None => 0,
        };
        let limit = usize::try_from(call.limit).unwrap_or(0).min(PAGE);
        let page: Vec<Line<'_>> = lines.into_iter().skip(from).take(limit).collect();

        let mut named = Named::default();
        let mut dialogs = Vec::with_capacity(page.len());
        let mut messages = Vec::with_capacity(page.len());
        for line in page {
            named.chat(line.chat);
            let peer = self.peer_of(line.chat);
            named.peer(Some(&peer));
            dialogs.push(full::dialog(line.chat, peer, line.top));
            if let Some(message) = line.message {
                named.message(&message);
                messages.push(message);
            }
        }
        let (chats, users) = named.told(self);
        Ok(if dialogs.len() == count {
            tl::types::messages::Dialogs { dialogs, messages, chats, users }.into()
        } else {
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            tl::types::messages::DialogsSlice { count, dialogs, messages, chats, users }.into()
        })
    }

    pub(super) fn channels(&self, call: tl::functions::channels::GetChannels) -> Result<tl::enums::messages::Chats, Failure> {
        let chats = call.id.iter().map(|input| self.channel(input));
        let chats = chats.map(|found| found.map(|(chat, _)| self.chat(chat)));
        let chats: Vec<_> = chats.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        Ok(tl::types::messages::Chats { chats }.into())
    }

    pub(super) fn groups(&self, call: tl::functions::messages::GetChats) -> Result<tl::enums::messages::Chats, Failure> {
        let groups = call.id.iter().map(|id| self.group(*id)).collect::<Result<Vec<_>, _>>()?;
        let chats = groups.into_iter().filter_map(|group| self.chat(group)).collect();
        Ok(tl::types::messages::Chats { chats }.into())
    }

    pub(super) fn full_channel(
        &self,
        call: tl::functions::channels::GetFullChannel,
    ) -> Result<tl::enums::messages::ChatFull, Failure> {
        let (chat, sight) = self.channel(&call.channel)?;
        let mut full = full::channel(chat, sight);
        if let (tl::enums::ChatFull::ChannelFull(full), Some((group, last))) = (&mut full, chat.migrated_from()) {
            full.migrated_from_chat_id = Some(-group);
            full.migrated_from_max_id = self.mailbox(|mailbox| mailbox.own(last));
        }
        Ok(self.full(chat, full))
    }

    pub(super) fn full_group(&self, call: tl::functions::messages::GetFullChat) -> Result<tl::enums::messages::ChatFull, Failure> {
        let chat = self.group(call.chat_id)?;
        Ok(self.full(chat, full::group(chat)))
    }

    /// The caller's own membership; of others nothing is known.
    pub(super) fn participant(
        &self,
        call: tl::functions::channels::GetParticipant,
    ) -> Result<tl::enums::channels::ChannelParticipant, Failure> {
        let (chat, sight) = self.channel(&call.channel)?;
        let me = self.account.user_id;
        let asks_self = match &call.participant {
            tl::enums::InputPeer::PeerSelf => true,
            tl::enums::InputPeer::User(user) => user.user_id == me,
            _ => return Err(Failure::bad("PARTICIPANT_ID_INVALID")),
        };
        let is_hidden = chat.kind == ChatKind::Channel || chat.hides_members();
        if !asks_self && is_hidden && !access::is_admin(&self.account, chat) {
            return Err(Failure::bad("CHAT_ADMIN_REQUIRED"));
        }
        if !asks_self || !sight.member {
            return Err(Failure::bad("USER_NOT_PARTICIPANT"));
        }
        let stood = chat.stands(me);
        let participant = match stood.as_ref().map(|stood| &stood.standing) {
            None | Some(Standing::Member) => tl::types::ChannelParticipantSelf {
                via_request: false,
                user_id: me,
                inviter_id: stood.as_ref().map_or(me, |stood| stood.by),
                date: stood.as_ref().map_or(chat.created.min(clock::unix_now()), |stood| stood.date),
                subscription_until_date: None,
                rank: None,
            }
            .into(),
            Some(_) => {
                let told = stood.as_ref().and_then(participant);
                told.ok_or_else(|| Failure::bad("USER_NOT_PARTICIPANT"))?
            }
        };
        let mut named = Named::default();
        named.chat(chat);
        named.user(me);
        let (chats, users) = named.told(self);
        Ok(tl::types::channels::ChannelParticipant { participant, chats, users }.into())
    }

    fn group(&self, bare: i64) -> Result<&Chat, Failure> {
        let chat = self.datacentre.world.chat(ChatKind::Group.marked(bare));
        chat.filter(|chat| chat.kind == ChatKind::Group && self.sight(chat).is_some())
            .ok_or_else(|| Failure::bad("CHAT_ID_INVALID"))
    }

    fn full(&self, chat: &Chat, full_chat: tl::enums::ChatFull) -> tl::enums::messages::ChatFull {
        let mut named = Named::default();
        named.chat(chat);
        let (chats, users) = named.told(self);
        tl::types::messages::ChatFull { full_chat, chats, users }.into()
    }
}

impl<'a> Caller<'a> {
    fn line(&self, (chat, sight): (&'a Chat, Sight)) -> Line<'a> {
        let message = Some(chat.top()).filter(|top| *top >= sight.from).and_then(|top| chat.message(top));
        let message = message.and_then(|message| self.tell(chat, message));
        let (top, date) = match &message {
            Some(tl::enums::Message::Message(message)) => (message.id, message.date),
            Some(tl::enums::Message::Service(message)) => (message.id, message.date),
            Some(tl::enums::Message::Empty(_)) | None => (0, chat.created),
        };
        Line { chat, top, date, message }
    }
}
