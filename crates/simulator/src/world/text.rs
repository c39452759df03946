//! Text with entities, counted in UTF-16 code units as Telegram does, and the hash that all generated content comes from.

use grammers_tl_types as tl;

/// A number that depends on all four inputs alone: the source of everything that is generated.
pub(super) fn mix(seed: u64, a: u64, b: u64, salt: u64) -> u64 {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    for part in [a, b, salt] {
        // The finaliser of SplitMix64 (public domain, Vigna 2015).
        state = state.wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state
}

/// How a piece of text is marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    Bold,
    Italic,
    Underline,
    Strike,
    Code,
    Pre { language: String },
    Spoiler,
    Blockquote { collapsed: bool },
    Hashtag,
    Cashtag,
    Mention,
    MentionName { user_id: i64 },
    BotCommand,
    Url,
    TextUrl { url: String },
    Email,
    Phone,
    BankCard,
    CustomEmoji { document_id: i64 },
    Unknown,
}

/// Text that grows piece by piece.
#[derive(Debug, Default)]
pub(super) struct Composer {
    text: String,
    /// Length in UTF-16 code units.
    units: i32,
    entities: Vec<tl::enums::MessageEntity>,
}

impl Composer {
    /// Adds plain text.
    pub fn say(&mut self, piece: &str) -> &mut Self {
        self.text.push_str(piece);
        self.units = self.units.saturating_add(units(piece));
        self
    }

    /// Adds marked text; an empty piece adds nothing.
    pub fn mark(&mut self, piece: &str, mark: Mark) -> &mut Self {
        let (offset, length) = (self.units, units(piece));
        if length > 0 {
            self.entities.push(entity(offset, length, mark));
        }
        self.say(piece)
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text, and its entities if there are any.
    pub fn finish(self) -> (String, Option<Vec<tl::enums::MessageEntity>>) {
        (self.text, (!self.entities.is_empty()).then_some(self.entities))
    }
}

/// Length in UTF-16 code units, <https://core.telegram.org/api/entities#entity-length>.
pub(super) fn units(text: &str) -> i32 {
    i32::try_from(text.encode_utf16().count()).unwrap_or(i32::MAX)
}

fn entity(offset: i32, length: i32, mark: Mark) -> tl::enums::MessageEntity {
    use tl::types as t;
    match mark {
        Mark::Bold => t::MessageEntityBold { offset, length }.into(),
        Mark::Italic => t::MessageEntityItalic { offset, length }.into(),
        Mark::Underline => t::MessageEntityUnderline { offset, length }.into(),
        Mark::Strike => t::MessageEntityStrike { offset, length }.into(),
        Mark::Code => t::MessageEntityCode { offset, length }.into(),
        Mark::Pre { language } => t::MessageEntityPre { offset, length, language }.into(),
        Mark::Spoiler => t::MessageEntitySpoiler { offset, length }.into(),
        Mark::Blockquote { collapsed } => t::MessageEntityBlockquote { collapsed, offset, length }.into(),
        Mark::Hashtag => t::MessageEntityHashtag { offset, length }.into(),
        Mark::Cashtag => t::MessageEntityCashtag { offset, length }.into(),
        Mark::Mention => t::MessageEntityMention { offset, length }.into(),
        Mark::MentionName { user_id } => t::MessageEntityMentionName { offset, length, user_id }.into(),
        Mark::BotCommand => t::MessageEntityBotCommand { offset, length }.into(),
        Mark::Url => t::MessageEntityUrl { offset, length }.into(),
        Mark::TextUrl { url } => t::MessageEntityTextUrl { offset, length, url }.into(),
        Mark::Email => t::MessageEntityEmail { offset, length }.into(),
        Mark::Phone => t::MessageEntityPhone { offset, length }.into(),
        Mark::BankCard => t::MessageEntityBankCard { offset, length }.into(),
        Mark::CustomEmoji { document_id } => t::MessageEntityCustomEmoji { offset, length, document_id }.into(),
        Mark::Unknown => t::MessageEntityUnknown { offset, length }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_utf16_units() {
        let mut composer = Composer::default();
        composer.say("🚢港").mark("你好👋", Mark::Bold).say(" ").mark("#標籤", Mark::Hashtag).mark("", Mark::Italic);
        let (text, entities) = composer.finish();
        assert_eq!(text, "🚢港你好👋 #標籤");
        let wanted: Vec<tl::enums::MessageEntity> = vec![
            tl::types::MessageEntityBold { offset: 3, length: 4 }.into(),
            tl::types::MessageEntityHashtag { offset: 8, length: 3 }.into(),
        ];
        assert_eq!(entities, Some(wanted));
    }
}
