//! Photos that users show, and showed before.

use grammers_tl_types as tl;

use super::{Connection, InputChat, Result};

/// The method that tells them.
pub const USER_PHOTOS: &str = "photos.getUserPhotos";
/// Most photos of one answer (<https://core.telegram.org/method/photos.getUserPhotos>).
pub const PHOTOS_PAGE: i32 = 100;

impl Connection {
    /// A page of a user's photos, the newest first, from this one on, and the users that come with it. Chats have none here.
    pub async fn user_photos(&self, of: &InputChat, offset: i32) -> Result<(Vec<tl::enums::Photo>, Vec<tl::enums::User>)> {
        let InputChat::User { id, access_hash } = *of else { return Ok((Vec::new(), Vec::new())) };
        let user_id = tl::types::InputUser { user_id: id, access_hash }.into();
        let ask = tl::functions::photos::GetUserPhotos { user_id, offset, max_id: 0, limit: PHOTOS_PAGE };
        Ok(match self.invoke(&ask).await? {
            tl::enums::photos::Photos::Photos(all) => (all.photos, all.users),
            tl::enums::photos::Photos::Slice(page) => (page.photos, page.users),
        })
    }
}
