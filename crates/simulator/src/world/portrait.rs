//! Pictures of users and chats. Their ids say whose they are, so that nothing need be remembered.
//!
//! The ids begin with 0x2 (a user's) or 0x3 (a chat's); those of files in messages begin with 0x4 to 0x7.

use grammers_tl_types as tl;

use super::chat::ChatKind;
use super::{DC_ID, picture};

const USERS: i64 = 2 << 60;
const CHATS: i64 = 3 << 60;
const KIND: i64 = 0xf << 60;
const AT_BITS: u32 = 8;
const BARE_BITS: u32 = 48;

/// Sides of the square sizes in pixels: `a` for lists, `b` and `c` for the profile
/// (<https://core.telegram.org/api/files#image-thumbnail-types>).
pub(super) const SIDES: [(&str, i32); 3] = [("a", 160), ("b", 320), ("c", 640)];

/// Whose picture a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    User(i64),
    /// By marked id.
    Chat(i64),
}

/// The id of a user's photo; `at` counts from the oldest.
pub(super) fn of_user(user: i64, at: u8) -> i64 {
    USERS | bare(user) << AT_BITS | i64::from(at)
}

/// The id of a chat's photo; `at` counts from the oldest.
pub(super) fn of_chat(kind: ChatKind, bare_id: i64, at: u8) -> i64 {
    let kind = match kind {
        ChatKind::Channel | ChatKind::Supergroup => 1,
        ChatKind::Group | ChatKind::Private => 0,
    };
    CHATS | kind << (AT_BITS + BARE_BITS) | bare(bare_id) << AT_BITS | i64::from(at)
}

/// Whose picture this is, and which, counted from the oldest; `None` for other files.
pub(super) fn whose(file: i64) -> Option<(Whose, u8)> {
    let bare_id = (file >> AT_BITS) & ((1 << BARE_BITS) - 1);
    let is_channel = (file >> (AT_BITS + BARE_BITS)) & 1 == 1;
    let whose = match file & KIND {
        USERS => Whose::User(bare_id),
        CHATS if is_channel => Whose::Chat(ChatKind::Channel.marked(bare_id)),
        CHATS => Whose::Chat(ChatKind::Group.marked(bare_id)),
        _ => return None,
    };
    Some((whose, (file & 0xff) as u8))
}

/// A user's photo as lists of users tell it.
pub(super) fn of_profile(photo_id: i64) -> tl::enums::UserProfilePhoto {
    tl::types::UserProfilePhoto {
        has_video: false,
        personal: false,
        photo_id,
        stripped_thumb: Some(picture::stripped(photo_id as u64)),
        dc_id: DC_ID,
    }
    .into()
}

fn bare(id: i64) -> i64 {
    id & ((1 << BARE_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_whose_picture_it_is() {
        assert_eq!(whose(of_user(5_400_099_999, 2)), Some((Whose::User(5_400_099_999), 2)));
        let channel = of_chat(ChatKind::Supergroup, 1_500_000_001, 0);
        assert_eq!(whose(channel), Some((Whose::Chat(-1_001_500_000_001), 0)));
        assert_eq!(whose(of_chat(ChatKind::Group, 4_000_001, 7)), Some((Whose::Chat(-4_000_001), 7)));
        assert_eq!(whose(0x4000_0000 << 32 | 17), None);
    }
}
