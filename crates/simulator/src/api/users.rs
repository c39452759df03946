//! Users, and what a username belongs to.

use grammers_tl_types as tl;

use super::full;
use super::peers::Named;
use super::{Caller, Failure};

/// A page of photos is at most this long.
const PHOTOS: usize = 100;

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
        let photo = self.photos_of(user.id()).into_iter().next().map(|photo| self.profile_photo(user.id(), photo));
        Ok(tl::types::users::UserFull { full_user: full::user(user.id(), photo), chats: Vec::new(), users: vec![user] }.into())
    }

    /// Newest first; `max_id` 0 or the id of a photo, below which the page begins
    /// (<https://core.telegram.org/method/photos.getUserPhotos>).
    pub(super) fn user_photos(&self, call: tl::functions::photos::GetUserPhotos) -> Result<tl::enums::photos::Photos, Failure> {
        let user = self.user_by_input(&call.user_id).ok_or_else(|| Failure::bad("USER_ID_INVALID"))?;
        let all = self.photos_of(user.id());
        let below = all.iter().copied().filter(|photo| call.max_id == 0 || *photo < call.max_id);
        let offset = usize::try_from(call.offset).unwrap_or(0);
        let limit = usize::try_from(call.limit).unwrap_or(0).min(PHOTOS);
        let photos: Vec<_> = below.skip(offset).take(limit).map(|photo| self.profile_photo(user.id(), photo)).collect();
        let users = vec![user];
        Ok(if photos.len() == all.len() {
            tl::types::photos::Photos { photos, users }.into()
        } else {
            tl::types::photos::PhotosSlice { count: i32::try_from(all.len()).unwrap_or(i32::MAX), photos, users }.into()
        })
    }

    fn photos_of(&self, user: i64) -> Vec<i64> {
        self.datacentre.world.person(user).map(|person| person.photo_ids().collect()).unwrap_or_default()
    }

    fn profile_photo(&self, user: i64, photo: i64) -> tl::enums::Photo {
        // Somewhere in 2025, a week after the one before.
        let date = 1_735_689_600 + (photo & 0xff) as i32 * 7 * 86_400;
        self.portrait(user, photo, date)
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
