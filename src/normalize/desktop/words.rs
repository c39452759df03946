//! Text of an export: a string, or a list of strings and marked pieces; offsets count UTF-16 units, as everywhere in Telegram.

use serde_json::{Map, Value};

use super::LeftOut;
use super::object::Object;
use crate::normalize::text;
use crate::telegram::tl;
use tl::enums::MessageEntity as Entity;

/// A text and its entities.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub text: String,
    entities: Vec<Entity>,
    /// Length of the text in UTF-16 units.
    units: i32,
}

impl Words {
    /// Of `text_entities`, which newer exports have, else of `text`.
    pub fn of_message(told: &mut Object, left_out: &mut LeftOut) -> Self {
        let plain = told.take("text");
        match told.take("text_entities") {
            Some(Value::Array(pieces)) if !pieces.is_empty() => Self::of(Some(Value::Array(pieces)), left_out),
            _ => Self::of(plain, left_out),
        }
    }

    pub fn of(told: Option<Value>, left_out: &mut LeftOut) -> Self {
        let mut words = Self::default();
        match told {
            Some(Value::String(text)) => words.say(&text),
            Some(Value::Array(pieces)) => {
                for piece in pieces {
                    match piece {
                        Value::String(text) => words.say(&text),
                        Value::Object(piece) => words.piece(Object(piece), left_out),
                        _ => left_out.add("piece of a text of unknown form"),
                    }
                }
            }
            Some(_) => left_out.add("text of unknown form"),
            None => {}
        }
        words
    }

    /// Adds the text and what its entities say to a message's fields.
    pub fn fill(&self, body: &mut Map<String, Value>) {
        text::fill(body, &self.text, &self.entities);
    }

    /// Counts marks that the record has no place for.
    pub fn plain(self, within: &str, left_out: &mut LeftOut) -> String {
        left_out.add_many(format!("mark in {within}"), self.entities.len() as u64);
        self.text
    }

    fn say(&mut self, piece: &str) {
        self.text.push_str(piece);
        self.units = self.units.saturating_add(units(piece));
    }

    fn piece(&mut self, mut piece: Object, left_out: &mut LeftOut) {
        let covered = piece.text("text").unwrap_or_default();
        let kind = piece.text("type").unwrap_or_default();
        let (offset, length) = (self.units, units(&covered));
        if length > 0 && kind != "plain" {
            self.entities.extend(entity(&kind, offset, length, &mut piece, left_out));
        }
        self.say(&covered);
        piece.count_rest("entity.", left_out);
    }
}

fn units(text: &str) -> i32 {
    i32::try_from(text.encode_utf16().count()).unwrap_or(i32::MAX)
}

fn entity(kind: &str, offset: i32, length: i32, piece: &mut Object, left_out: &mut LeftOut) -> Option<Entity> {
    use tl::types as t;
    Some(match kind {
        "mention" => t::MessageEntityMention { offset, length }.into(),
        "hashtag" => t::MessageEntityHashtag { offset, length }.into(),
        "bot_command" => t::MessageEntityBotCommand { offset, length }.into(),
        "link" => t::MessageEntityUrl { offset, length }.into(),
        "email" => t::MessageEntityEmail { offset, length }.into(),
        "bold" => t::MessageEntityBold { offset, length }.into(),
        "italic" => t::MessageEntityItalic { offset, length }.into(),
        "code" => t::MessageEntityCode { offset, length }.into(),
        "pre" => t::MessageEntityPre { offset, length, language: piece.text("language").unwrap_or_default() }.into(),
        "text_link" => t::MessageEntityTextUrl { offset, length, url: piece.text("href").unwrap_or_default() }.into(),
        "mention_name" => match piece.number("user_id").filter(|id| *id > 0) {
            Some(user_id) => t::MessageEntityMentionName { offset, length, user_id }.into(),
            None => {
                left_out.add("mention of a user without id");
                t::MessageEntityUnknown { offset, length }.into()
            }
        },
        "phone" => t::MessageEntityPhone { offset, length }.into(),
        "cashtag" => t::MessageEntityCashtag { offset, length }.into(),
        "underline" => t::MessageEntityUnderline { offset, length }.into(),
        "strikethrough" => t::MessageEntityStrike { offset, length }.into(),
        "blockquote" => {
            let collapsed = piece.take("collapsed") == Some(Value::Bool(true));
            t::MessageEntityBlockquote { collapsed, offset, length }.into()
        }
        "bank_card" => t::MessageEntityBankCard { offset, length }.into(),
        "spoiler" => t::MessageEntitySpoiler { offset, length }.into(),
        // Where files were exported, a path stands in place of the id.
        "custom_emoji" => match piece.number("document_id") {
            Some(document_id) => t::MessageEntityCustomEmoji { offset, length, document_id }.into(),
            None => {
                left_out.add("custom emoji told by a file");
                return None;
            }
        },
        "unknown" => t::MessageEntityUnknown { offset, length }.into(),
        other => {
            left_out.add(format!("text entity `{other}`"));
            t::MessageEntityUnknown { offset, length }.into()
        }
    })
}
