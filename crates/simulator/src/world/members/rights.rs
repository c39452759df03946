//! What administrators may and restricted members may not, as the flags that Telegram's schema numbers.

use grammers_tl_types as tl;
use serde::{Deserialize, Serialize};
use tl::Deserializable;

/// What an administrator may (<https://core.telegram.org/constructor/chatAdminRights>), by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<String>", from = "Vec<String>")]
pub struct AdminRights(u32);

/// What a restricted member may not (<https://core.telegram.org/constructor/chatBannedRights>), and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Told", from = "Told")]
pub struct BannedRights {
    flags: u32,
    /// Unix time; 0: for ever.
    until: i32,
}

#[derive(Serialize, Deserialize)]
struct Told {
    denied: Vec<String>,
    until_date: i32,
}

const MAY: [(&str, u32); 19] = [
    ("change_info", 0),
    ("post_messages", 1),
    ("edit_messages", 2),
    ("delete_messages", 3),
    ("ban_users", 4),
    ("invite_users", 5),
    ("pin_messages", 7),
    ("add_admins", 9),
    ("anonymous", 10),
    ("manage_call", 11),
    ("other", 12),
    ("manage_topics", 13),
    ("post_stories", 14),
    ("edit_stories", 15),
    ("delete_stories", 16),
    ("manage_direct_messages", 17),
    ("manage_ranks", 18),
    ("manage_linked_peers", 19),
    ("manage_welcome_messages", 20),
];

const MAY_NOT: [(&str, u32); 20] = [
    ("view_messages", 0),
    ("send_messages", 1),
    ("send_media", 2),
    ("send_stickers", 3),
    ("send_gifs", 4),
    ("send_games", 5),
    ("send_inline", 6),
    ("embed_links", 7),
    ("send_polls", 8),
    ("change_info", 10),
    ("invite_users", 15),
    ("pin_messages", 17),
    ("manage_topics", 18),
    ("send_photos", 19),
    ("send_videos", 20),
    ("send_roundvideos", 21),
    ("send_audios", 22),
    ("send_voices", 23),
    ("send_docs", 24),
    ("send_plain", 25),
];

impl AdminRights {
    /// These rights, by their names in the schema; names that it has not are left out.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        AdminRights(flags(&MAY, names))
    }

    /// All but being anonymous: what a creator has.
    pub fn all() -> Self {
        AdminRights::of(MAY.into_iter().map(|(name, _)| name).filter(|name| *name != "anonymous"))
    }

    /// Whether this right is among them.
    pub fn has(self, name: &str) -> bool {
        MAY.iter().any(|(known, bit)| *known == name && self.0 & (1 << bit) != 0)
    }

    /// As answers tell them.
    pub fn to_tl(self) -> tl::enums::ChatAdminRights {
        // Any flags are readable: each stands for itself alone.
        let read = tl::types::ChatAdminRights::from_bytes(&self.0.to_le_bytes());
        read.map_or_else(|_| AdminRights(0).to_tl(), Into::into)
    }
}

impl BannedRights {
    /// What these names say is denied until a unix time (0: for ever); names that the schema has not are left out.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>, until: i32) -> Self {
        BannedRights { flags: flags(&MAY_NOT, names), until }
    }

    /// All but to read.
    pub fn silence(until: i32) -> Self {
        BannedRights::of(MAY_NOT.into_iter().map(|(name, _)| name).filter(|name| *name != "view_messages"), until)
    }

    /// Everything denied, seeing the chat too.
    pub fn everything(until: i32) -> Self {
        BannedRights::of(MAY_NOT.into_iter().map(|(name, _)| name), until)
    }

    /// Whether they no longer hold at a unix time.
    pub fn is_over(self, now: i32) -> bool {
        self.until > 0 && self.until <= now
    }

    /// As answers tell them.
    pub fn to_tl(self) -> tl::enums::ChatBannedRights {
        let bytes = [self.flags.to_le_bytes(), self.until.to_le_bytes()].concat();
        let read = tl::types::ChatBannedRights::from_bytes(&bytes);
        read.map_or_else(|_| BannedRights { flags: 0, until: 0 }.to_tl(), Into::into)
    }
}

fn flags<'a>(known: &[(&str, u32)], names: impl IntoIterator<Item = &'a str>) -> u32 {
    names.into_iter().filter_map(|name| known.iter().find(|(known, _)| *known == name)).fold(0, |flags, (_, bit)| flags | 1 << bit)
}

fn names(known: &[(&str, u32)], flags: u32) -> Vec<String> {
    known.iter().filter(|(_, bit)| flags & (1 << bit) != 0).map(|(name, _)| (*name).to_owned()).collect()
}

impl From<AdminRights> for Vec<String> {
    fn from(rights: AdminRights) -> Self {
        names(&MAY, rights.0)
    }
}

impl From<Vec<String>> for AdminRights {
    fn from(names: Vec<String>) -> Self {
        AdminRights::of(names.iter().map(String::as_str))
    }
}

impl From<BannedRights> for Told {
    fn from(rights: BannedRights) -> Self {
        Told { denied: names(&MAY_NOT, rights.flags), until_date: rights.until }
    }
}

impl From<Told> for BannedRights {
    fn from(told: Told) -> Self {
        BannedRights::of(told.denied.iter().map(String::as_str), told.until_date)
    }
}
