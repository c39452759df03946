//! Users, and what a username belongs to.

use grammers_tl_types as tl;

use super::full;
use super::peers::Named;
use super::{Caller, Failure};

impl Caller<'_> {
    /// Those that exist and whose access hash is right; the others are left out, as Telegram does.
    pub(super) fn users_by_input(&self, input: &[tl::enums::InputUser]) -> Vec<tl::enums::User> {
        input.iter().filter_map(|input| self.user_by_input(input)).collect()
    }

    fn user_by_input(&self, input: &tl::enums::InputUser) -> Option<tl::enums::User> {
        if self.account.is_self(input) {
            return Some(self.me());
        }
        match input {
            tl::enums::InputUser::User(user) => {
                (user.access_hash == self.account.access_hash(user.user_id)).then(|| self.user(user.user_id))?
            }
            tl::enums::InputUser::FromMessage(from) => {
                self.peer(&from.peer).ok()?;
                self.user(from.user_id)
            }
            tl::enums::InputUser::UserSelf | tl::enums::InputUser::Empty => None,
        }
    }

    pub(super) fn full_user(&self, call: tl::functions::users::GetFullUser) -> Result<tl::enums::users::UserFull, Failure> {
        let user = self.user_by_input(&call.id).ok_or_else(|| Failure::bad("USER_ID_INVALID"))?;
        Ok(tl::types::users::UserFull { full_user: full::user(user.id()), chats: Vec::new(), users: vec![user] }.into())
    }

    pub(super) fn resolve(
        &self,
        call: tl::functions::contacts::ResolveUsername,
    ) -> Result<tl::enums::contacts::ResolvedPeer, Failure> {
        let name = call.username.trim_start_matches('@');
        let well_formed =
            (2..=32).contains(&name.len()) && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !well_formed {
            return Err(Failure::bad("USERNAME_INVALID"));
        }
        let world = &self.datacentre.world;
        let mut named = Named::default();
        let peer = if let Some(chat) = world.chat_named(name) {
            named.chat(chat);
            chat.peer()
        } else {
            let person = world.person_named(name).ok_or_else(|| Failure::bad("USERNAME_NOT_OCCUPIED"))?;
            named.user(person.id);
            tl::types::PeerUser { user_id: person.id }.into()
        };
        let (chats, users) = named.told(self);
        Ok(tl::types::contacts::ResolvedPeer { peer, chats, users }.into())
    }
}
