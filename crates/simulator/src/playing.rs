//! Events as they reach accounts: what is pushed to whom, and what each can know.

use std::sync::Arc;

use crate::access;
use crate::api::Caller;
use crate::datacentre::{Datacentre, lock};
use crate::session::Session;
use crate::wire::message::Outgoing;
use crate::world::{ChatKind, EventError, Record, Timed, Truth, WorldError};

impl Datacentre {
    /// Lets an event happen and tells those who must know, except the session that made it: that has it in its answer.
    pub(crate) fn play(&self, timed: Timed, except: Option<&Arc<Session>>) -> Result<Arc<Record>, EventError> {
        let _turn = lock(&self.playing);
        let accounts = self.accounts.all();
        accounts.iter().for_each(|account| self.world.welcome(account.user_id));
        let record = self.world.play(timed)?;
        for account in accounts {
            // those that are closed learn of it from the difference
            let sessions: Vec<_> = self.update_sessions(&account.name).into_iter().filter(|session| session.is_open()).collect();
            if sessions.is_empty() {
                continue;
            }
            let name = account.name.clone();
            let caller = Caller::told(self, account);
            for update in caller.news(&record).into_iter().flat_map(|update| self.pushes.pass(&name, update)) {
                for session in sessions.iter().filter(|session| except.is_none_or(|except| !Arc::ptr_eq(except, session))) {
                    session.send(None, Outgoing::notice(&update));
                }
            }
        }
        Ok(record)
    }

    /// What an account can know of a chat now, oldest first, in its own ids.
    pub(crate) fn truth_of(&self, account: &str, chat: i64) -> Result<Vec<Truth>, WorldError> {
        let chat = self.world.chat(chat).ok_or(WorldError::NoChat(chat))?;
        let account = self.accounts.by_name(account);
        let seen = account.and_then(|account| access::sight(&account, chat, &self.world).map(|sight| (account, sight)));
        let Some((account, sight)) = seen else {
            return Ok(Vec::new());
        };
        let messages = chat.ids_from(sight.from).filter_map(|id| chat.message(id));
        if chat.kind.is_channel() {
            return Ok(messages.filter_map(|message| Truth::of(chat.id, &message)).collect());
        }
        let me = self.world.me;
        let is_other_side = chat.kind == ChatKind::Private && account.user_id == chat.id;
        let id = if is_other_side { me } else { chat.id };
        let told = self.mailboxes.with(&self.world, &account, |mailbox| {
            messages.filter_map(|message| mailbox.tell(&account, chat, me, message)).collect::<Vec<_>>()
        });
        Ok(told.iter().filter_map(|message| Truth::of(id, message)).collect())
    }
}
