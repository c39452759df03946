//! What the rules say of a call, and the answers to calls that a collector should not make.

use grammers_tl_types as tl;
use tl::Identifiable;

use super::{Caller, Failure, read};
use crate::conduct::{Attempt, joins};
use crate::violation::Offence;
use crate::wire::message::constructor;

impl Caller<'_> {
    /// Refuses what the rules forbid at this moment; lists violations.
    pub(super) fn within_rules(&self, method: &str, body: &[u8]) -> Result<(), Failure> {
        let datacentre = self.datacentre;
        let account = &self.account.name;
        if constructor(body) == tl::functions::messages::GetMessagesViews::CONSTRUCTOR_ID
            && read::<tl::functions::messages::GetMessagesViews>(body)?.increment
        {
            datacentre.violations.add(account, method, Offence::Conspicuous);
        }
        let chats = if joins(method) {
            self.visible_chats().filter(|(chat, sight)| sight.member && chat.kind.is_channel()).count()
        } else {
            0
        };
        let attempt = Attempt { account, method, chats, latency: datacentre.latency() };
        let rules = datacentre.rules();
        datacentre.conduct.check(attempt, rules.as_deref(), &datacentre.violations).inspect_err(|failure| {
            if failure.wait().is_some() {
                datacentre.calls.flooded(method);
            }
        })
    }

    pub(super) fn takeout(&self) -> tl::enums::account::Takeout {
        tl::types::account::Takeout { id: rand::random() }.into()
    }

    /// Nothing was affected, as far as updates go.
    pub(super) fn affected(&self) -> tl::enums::messages::AffectedMessages {
        let tl::enums::updates::State::State(state) = self.updates_state();
        tl::types::messages::AffectedMessages { pts: state.pts, pts_count: 0 }.into()
    }
}
