//! Lists of chats and what is known of one.

use grammers_tl_types as tl;

use super::full;
use super::peers::Named;
use super::{Caller, Failure};
use crate::account::Sight;
use crate::world::{Chat, ChatKind};

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
        self.stamp(&mut messages);
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
        let mut told = full::channel(chat, sight);
        self.complete(chat, &mut told);
        if let (tl::enums::ChatFull::ChannelFull(told), Some((group, last))) = (&mut told, chat.migrated_from()) {
            told.migrated_from_chat_id = Some(-group);
            told.migrated_from_max_id = self.mailbox(|mailbox| mailbox.own(last));
        }
        Ok(self.full(chat, told, Named::default()))
    }

    pub(super) fn full_group(&self, call: tl::functions::messages::GetFullChat) -> Result<tl::enums::messages::ChatFull, Failure> {
        let chat = self.group(call.chat_id)?;
        let mut named = Named::default();
        let participants = self.group_participants(chat, &mut named);
        let photo = chat.photo().map(|photo| self.portrait(chat.id, photo, chat.created));
        Ok(self.full(chat, full::group(chat, participants, photo), named))
    }

    fn group(&self, bare: i64) -> Result<&Chat, Failure> {
        let chat = self.datacentre.world.chat(ChatKind::Group.marked(bare));
        chat.filter(|chat| chat.kind == ChatKind::Group && self.sight(chat).is_some())
            .ok_or_else(|| Failure::bad("CHAT_ID_INVALID"))
    }

    /// What a full channel tells of its members and its picture.
    fn complete(&self, chat: &Chat, told: &mut tl::enums::ChatFull) {
        let tl::enums::ChatFull::ChannelFull(told) = told else { return };
        let is_admin = self.standing(chat).is_some_and(|own| own.is_admin());
        let number = |members: usize| is_admin.then(|| i32::try_from(members).unwrap_or(i32::MAX));
        told.participants_count = Some(self.member_count(chat));
        told.can_view_participants = self.sees_members(chat);
        told.participants_hidden = chat.hides_members();
        told.admins_count = number(chat.roster().admins().len());
        told.kicked_count = number(chat.roster().banned().len());
        told.banned_count = number(chat.roster().restricted().len());
        if let Some(photo) = chat.photo() {
            told.chat_photo = self.portrait(chat.id, photo, chat.created);
        }
    }

    fn full(&self, chat: &Chat, full_chat: tl::enums::ChatFull, mut named: Named) -> tl::enums::messages::ChatFull {
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
