//! Joining and leaving: <https://core.telegram.org/api/invites>.

use grammers_tl_types as tl;

use super::peers::Named;
use super::{Caller, Failure};
use crate::world::events::Way;
use crate::world::{Chat, ChatKind, Event, Standing};

impl Caller<'_> {
    pub(super) fn join(
        &self,
        call: tl::functions::channels::JoinChannel,
    ) -> Result<tl::enums::messages::ChatInviteJoinResult, Failure> {
        let (chat, sight) = self.channel(&call.channel)?;
        if sight.member {
            return Err(Failure::bad("USER_ALREADY_PARTICIPANT"));
        }
        self.enter(chat, Way::Own)
    }

    pub(super) fn leave(&self, call: tl::functions::channels::LeaveChannel) -> Result<tl::enums::Updates, Failure> {
        let (chat, sight) = self.channel(&call.channel)?;
        if !sight.member {
            return Err(Failure::bad("USER_NOT_PARTICIPANT"));
        }
        self.happens(Event::Leave { chat: chat.id, user: self.account.user_id })
    }

    /// A basic group is left by removing oneself: <https://core.telegram.org/method/messages.deleteChatUser>
    pub(super) fn leave_group(&self, call: tl::functions::messages::DeleteChatUser) -> Result<tl::enums::Updates, Failure> {
        let own = match &call.user_id {
            tl::enums::InputUser::UserSelf => true,
            tl::enums::InputUser::User(user) => user.user_id == self.account.user_id,
            _ => false,
        };
        if !own {
            return Err(Failure::bad("CHAT_ADMIN_REQUIRED"));
        }
        let chat = self.datacentre.world.chat(ChatKind::Group.marked(call.chat_id));
        let chat = chat.filter(|chat| chat.kind == ChatKind::Group).ok_or_else(|| Failure::bad("CHAT_ID_INVALID"))?;
        if !self.sight(chat).is_some_and(|sight| sight.member) {
            return Err(Failure::bad("USER_NOT_PARTICIPANT"));
        }
        self.happens(Event::Leave { chat: chat.id, user: self.account.user_id })
    }

    pub(super) fn check_invite(&self, call: tl::functions::messages::CheckChatInvite) -> Result<tl::enums::ChatInvite, Failure> {
        let chat = self.invited(&call.hash)?;
        if self.sight(chat).is_some_and(|sight| sight.member)
            && let Some(chat) = self.chat(chat)
        {
            return Ok(tl::types::ChatInviteAlready { chat }.into());
        }
        Ok(tl::types::ChatInvite {
            channel: chat.kind.is_channel(),
            broadcast: chat.kind == ChatKind::Channel,
            public: chat.username().is_some(),
            megagroup: chat.kind == ChatKind::Supergroup,
            request_needed: chat.asks_approval(&call.hash),
            verified: false,
            scam: false,
            fake: false,
            can_refulfill_subscription: false,
            title: chat.title(),
            about: Some(chat.about()).filter(|about| !about.is_empty()),
            photo: tl::types::PhotoEmpty { id: chat.photo().unwrap_or(0) }.into(),
            participants_count: chat.member_count(),
            participants: None,
            color: 0,
            subscription_pricing: None,
            subscription_form_id: None,
            bot_verification: None,
        }
        .into())
    }

    pub(super) fn import_invite(
        &self,
        call: tl::functions::messages::ImportChatInvite,
    ) -> Result<tl::enums::messages::ChatInviteJoinResult, Failure> {
        let chat = self.invited(&call.hash)?;
        if self.sight(chat).is_some_and(|sight| sight.member) {
            return Err(Failure::bad("USER_ALREADY_PARTICIPANT"));
        }
        if chat.asks_approval(&call.hash) && !self.is_banned(chat) {
            self.happens(Event::Request { chat: chat.id, user: self.account.user_id })?;
            return Err(Failure::bad("INVITE_REQUEST_SENT"));
        }
        self.enter(chat, Way::Link)
    }

    fn invited(&self, hash: &str) -> Result<&Chat, Failure> {
        if hash.is_empty() {
            return Err(Failure::bad("INVITE_HASH_EMPTY"));
        }
        let chat = self.datacentre.world.all_chats().find(|chat| chat.invites(hash));
        chat.ok_or_else(|| Failure::bad("INVITE_HASH_EXPIRED"))
    }

    fn is_banned(&self, chat: &Chat) -> bool {
        matches!(chat.stands(self.account.user_id).map(|stood| stood.standing), Some(Standing::Banned { .. }))
    }

    fn enter(&self, chat: &Chat, by: Way) -> Result<tl::enums::messages::ChatInviteJoinResult, Failure> {
        let user = self.account.user_id;
        if self.is_banned(chat) {
            return Err(Failure::bad("INVITE_HASH_EXPIRED"));
        }
        let updates = self.happens(Event::Join { chat: chat.id, user, by })?;
        Ok(tl::types::messages::ChatInviteJoinResultOk { updates }.into())
    }

    /// Lets it happen; the caller's own session learns of it by this answer.
    fn happens(&self, event: Event) -> Result<tl::enums::Updates, Failure> {
        let chat = match &event {
            Event::Join { chat, .. } | Event::Leave { chat, .. } | Event::Request { chat, .. } => *chat,
            _ => 0,
        };
        let record = self.datacentre.play(event.into(), Some(&self.origin.session)).map_err(|error| {
            tracing::debug!(error = %error, "a call asked for what cannot happen");
            Failure::bad("USER_NOT_PARTICIPANT")
        })?;
        Ok(self.news(&record).into_iter().next().unwrap_or_else(|| {
            let mut named = Named::default();
            if let Some(chat) = self.datacentre.world.chat(chat) {
                named.chat(chat);
            }
            let (chats, users) = named.told(self);
            tl::types::Updates { updates: Vec::new(), users, chats, date: record.date, seq: 0 }.into()
        }))
    }
}
