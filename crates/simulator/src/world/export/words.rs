//! Text of an export: a string, or a list of strings and marked pieces.

use grammers_tl_types as tl;
use serde_json::Value;

use super::Notes;
use super::fields::Fields;
use crate::world::text::{Composer, Mark, mix};

/// Reads `text_entities` (newer exports) or `text`.
pub(super) fn read(fields: &mut Fields, notes: &mut Notes) -> Composer {
    let plain = fields.take("text");
    let pieces = fields.take("text_entities");
    let told = match pieces {
        // An old or edited export may have the one and not the other.
        Some(Value::Array(pieces)) if !pieces.is_empty() => Some(Value::Array(pieces)),
        _ => plain,
    };
    of(told, notes)
}

/// Reads one text, in either form.
pub(super) fn of(told: Option<Value>, notes: &mut Notes) -> Composer {
    let mut words = Composer::default();
    match told {
        None => {}
        Some(Value::String(text)) => {
            words.say(&text);
        }
        Some(Value::Array(pieces)) => {
            for piece in pieces {
                match piece {
                    Value::String(text) => {
                        words.say(&text);
                    }
                    Value::Object(piece) => say_piece(&mut words, Fields(piece), notes),
                    _ => notes.add("piece of text of unknown form"),
                }
            }
        }
        Some(_) => notes.add("text of unknown form"),
    }
    words
}

/// Reads a text that the schema keeps together with its entities.
pub(super) fn with_entities(told: Option<Value>, notes: &mut Notes) -> tl::enums::TextWithEntities {
    let (text, entities) = of(told, notes).finish();
    tl::types::TextWithEntities { text, entities: entities.unwrap_or_default() }.into()
}

fn say_piece(words: &mut Composer, mut piece: Fields, notes: &mut Notes) {
    let kind = piece.text("type").unwrap_or_default();
    let text = piece.text("text").unwrap_or_default();
    let mark = match kind.as_str() {
        "plain" => {
            words.say(&text);
            return;
        }
        "unknown" => Mark::Unknown,
        "mention" => Mark::Mention,
        "hashtag" => Mark::Hashtag,
        "bot_command" => Mark::BotCommand,
        "link" => Mark::Url,
        "email" => Mark::Email,
        "bold" => Mark::Bold,
        "italic" => Mark::Italic,
        "code" => Mark::Code,
        "pre" => Mark::Pre { language: piece.text("language").unwrap_or_default() },
        "text_link" => Mark::TextUrl { url: piece.text("href").unwrap_or_default() },
        "mention_name" => match piece.number("user_id") {
            Some(user_id) if user_id > 0 => Mark::MentionName { user_id },
            _ => {
                notes.add("mention of a user without id");
                Mark::Unknown
            }
        },
        "phone" => Mark::Phone,
        "cashtag" => Mark::Cashtag,
        "underline" => Mark::Underline,
        "strikethrough" => Mark::Strike,
        "blockquote" => Mark::Blockquote { collapsed: piece.flag("collapsed") },
        "bank_card" => Mark::BankCard,
        "spoiler" => Mark::Spoiler,
        "custom_emoji" => Mark::CustomEmoji { document_id: document(&piece.text("document_id").unwrap_or_default()) },
        other => {
            notes.add(format!("text entity `{other}`"));
            Mark::Unknown
        }
    };
    words.mark(&text, mark);
}

/// The plain text of a `rich_message`: what its blocks say, one after the other. Gives nothing for one without text.
pub(super) fn of_rich(told: &Value) -> String {
    fn gather(value: &Value, pieces: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    match value {
                        Value::String(text) if name == "text" && !text.is_empty() => pieces.push(text.clone()),
                        _ => gather(value, pieces),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|value| gather(value, pieces)),
            _ => {}
        }
    }
    let blocks = told.get("blocks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let lines = blocks.iter().map(|block| {
        let mut pieces = Vec::new();
        gather(block, &mut pieces);
        pieces.concat()
    });
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// A custom emoji's document: its id, or the path of the file that the export put in its place.
pub(super) fn document(told: &str) -> i64 {
    told.parse().unwrap_or_else(|_| named_file(told))
}

/// A stable id for a file that an export knows by its path only.
pub(super) fn named_file(path: &str) -> i64 {
    let hash = path.bytes().fold(0, |hash, byte| mix(hash, byte.into(), 0, 8));
    // Below the ids of generated files, and above zero.
    i64::try_from(hash >> 2).unwrap_or(1).max(1)
}
