//! What a complete collector must hold of a message, as plain data, with a hash to compare it by.

use grammers_tl_types as tl;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The compared fields of one message, named as in Telekeep's documents. The order of the fields is part of the hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Marked id.
    pub chat_id: i64,
    pub message_id: i32,
    /// Unix time.
    pub date: i64,
    pub edit_date: Option<i64>,
    /// Message text or caption; empty for service messages.
    pub text: String,
    /// The user who sent it; absent for channel posts and anonymous administrators.
    pub from_user_id: Option<i64>,
    pub reply_to_message_id: Option<i32>,
    /// photo, video, animation, video_note, voice, audio, sticker, document, poll, location, contact, webpage, game, invoice, dice,
    /// story, giveaway, giveaway_results, paid_media, todo, video_stream or unsupported.
    pub media_type: Option<Media>,
    /// The action of a service message: Telegram's constructor without `messageAction`, in snake case.
    pub service: Option<String>,
}

/// Kinds of media, as documents name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    Photo,
    Video,
    Animation,
    VideoNote,
    Voice,
    Audio,
    Sticker,
    Document,
    Poll,
    Location,
    Contact,
    Webpage,
    Game,
    Invoice,
    Dice,
    Story,
    Giveaway,
    GiveawayResults,
    PaidMedia,
    Todo,
    VideoStream,
    Unsupported,
}

/// One existing message and the hash of its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    #[serde(flatten)]
    pub content: Content,
    /// SHA-256 in hex over the content as JSON.
    pub content_hash: String,
}

impl Truth {
    /// The truth about one message of the chat with this marked id; `None` for `messageEmpty`.
    pub fn of(chat_id: i64, message: &tl::enums::Message) -> Option<Truth> {
        let content = Content::of(chat_id, message)?;
        let content_hash = Self::hash_of(&content);
        Some(Truth { content, content_hash })
    }

    /// SHA-256 in hex over the content as JSON with fixed order of fields.
    pub fn hash_of(content: &Content) -> String {
        // A struct of numbers and strings always serialises.
        let json = serde_json::to_vec(content).unwrap_or_default();
        Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Content {
    /// The content of a message; `None` for `messageEmpty`.
    pub fn of(chat_id: i64, message: &tl::enums::Message) -> Option<Content> {
        match message {
            tl::enums::Message::Empty(_) => None,
            tl::enums::Message::Message(message) => Some(Content {
                chat_id,
                message_id: message.id,
                date: message.date.into(),
                edit_date: message.edit_date.map(i64::from),
                text: message.message.clone(),
                from_user_id: sender(message.from_id.as_ref()),
                reply_to_message_id: replied(message.reply_to.as_ref()),
                media_type: message.media.as_ref().and_then(Media::of),
                service: None,
            }),
            tl::enums::Message::Service(message) => Some(Content {
                chat_id,
                message_id: message.id,
                date: message.date.into(),
                edit_date: None,
                text: String::new(),
                from_user_id: sender(message.from_id.as_ref()),
                reply_to_message_id: replied(message.reply_to.as_ref()),
                media_type: None,
                service: Some(action_name(&message.action)),
            }),
        }
    }

    /// The same fields out of a document of the index or record: dates as unix time or RFC 3339, `service` as a name or as an object
    /// with `action`; what is absent or null counts as nothing. An error names the field.
    pub fn of_document(document: &Value) -> Result<Content, String> {
        let number = |name: &str| match document.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| format!("`{name}` is no whole number")),
        };
        let date = |name: &str| match document.get(name) {
            Some(Value::String(text)) => match chrono::DateTime::parse_from_rfc3339(text) {
                Ok(date) => Ok(Some(date.timestamp())),
                Err(error) => Err(format!("`{name}` is no date: {error}")),
            },
            _ => number(name),
        };
        let message_number = |name: &str| match number(name)? {
            None => Ok(None),
            Some(number) => i32::try_from(number).map(Some).map_err(|_| format!("`{name}` is no message id")),
        };
        let service = match document.get("service") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(service) => Some(service.get("action").and_then(Value::as_str).ok_or("`service` has no `action`")?.to_owned()),
        };
        let media_type = match document.get("media_type") {
            None | Some(Value::Null) => None,
            Some(kind) => Some(Media::deserialize(kind).map_err(|error| format!("`media_type`: {error}"))?),
        };
        Ok(Content {
            chat_id: number("chat_id")?.ok_or("`chat_id` is missing")?,
            message_id: message_number("message_id")?.ok_or("`message_id` is missing")?,
            date: date("date")?.ok_or("`date` is missing")?,
            edit_date: date("edit_date")?,
            text: document.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
            from_user_id: number("from_user_id")?,
            reply_to_message_id: message_number("reply_to_message_id")?,
            media_type,
            service,
        })
    }
}

fn sender(peer: Option<&tl::enums::Peer>) -> Option<i64> {
    match peer {
        Some(tl::enums::Peer::User(user)) => Some(user.user_id),
        _ => None,
    }
}

fn replied(header: Option<&tl::enums::MessageReplyHeader>) -> Option<i32> {
    match header {
        Some(tl::enums::MessageReplyHeader::Header(header)) => header.reply_to_msg_id,
        _ => None,
    }
}

impl Media {
    /// What a message's media is called; `None` for `messageMediaEmpty`.
    pub fn of(media: &tl::enums::MessageMedia) -> Option<Media> {
        use tl::enums::MessageMedia as M;
        Some(match media {
            M::Empty => return None,
            M::Photo(_) => Media::Photo,
            M::Document(media) => match &media.document {
                Some(tl::enums::Document::Document(document)) => Media::of_document(&document.attributes),
                _ if media.round => Media::VideoNote,
                _ if media.voice => Media::Voice,
                _ if media.video => Media::Video,
                _ => Media::Document,
            },
            M::Geo(_) | M::GeoLive(_) | M::Venue(_) => Media::Location,
            M::Contact(_) => Media::Contact,
            M::WebPage(_) => Media::Webpage,
            M::Game(_) => Media::Game,
            M::Invoice(_) => Media::Invoice,
            M::Poll(_) => Media::Poll,
            M::Dice(_) => Media::Dice,
            M::Story(_) => Media::Story,
            M::Giveaway(_) => Media::Giveaway,
            M::GiveawayResults(_) => Media::GiveawayResults,
            M::PaidMedia(_) => Media::PaidMedia,
            M::ToDo(_) => Media::Todo,
            M::VideoStream(_) => Media::VideoStream,
            M::Unsupported => Media::Unsupported,
        })
    }

    /// Attributes may come together (an animation has a video's); the more special one names the file.
    fn of_document(attributes: &[tl::enums::DocumentAttribute]) -> Media {
        use tl::enums::DocumentAttribute as A;
        let mut kind = Media::Document;
        for attribute in attributes {
            kind = match attribute {
                A::Sticker(_) => return Media::Sticker,
                A::Animated => Media::Animation,
                A::Video(video) if video.round_message => Media::VideoNote,
                A::Video(_) if kind == Media::Document => Media::Video,
                A::Audio(audio) if audio.voice => Media::Voice,
                A::Audio(_) => Media::Audio,
                _ => kind,
            };
        }
        kind
    }
}

/// The constructor's name of an action without `messageAction`, in snake case, as Telegram's schema has it.
fn action_name(action: &tl::enums::MessageAction) -> String {
    let shown = format!("{action:?}");
    let variant = shown.split(['(', ' ']).next().unwrap_or_default();
    let mut name = String::with_capacity(variant.len() + 4);
    for letter in variant.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn a_document_with_the_same_fields_has_the_same_hash() {
        let world = World::channel(300);
        let chat = world.chats()[0].id;
        for truth in world.truth(chat).expect("the chat exists") {
            let mut document = serde_json::to_value(&truth).expect("serialises");
            let date = chrono::DateTime::from_timestamp(truth.content.date, 0).expect("in range");
            document["date"] = Value::String(date.to_rfc3339());
            if let Some(name) = truth.content.service.clone() {
                document["service"] = serde_json::json!({ "action": name });
            }
            let content = Content::of_document(&document).expect("is complete");
            assert_eq!(Truth::hash_of(&content), truth.content_hash, "message {}", truth.content.message_id);
        }
    }

    #[test]
    fn the_hash_is_that_of_the_json_in_fixed_order() {
        let content = Content {
            chat_id: -1,
            message_id: 2,
            date: 3,
            edit_date: None,
            text: "α".to_owned(),
            from_user_id: Some(4),
            reply_to_message_id: None,
            media_type: Some(Media::VideoNote),
            service: None,
        };
        let json = r#"{"chat_id":-1,"message_id":2,"date":3,"edit_date":null,"text":"α","from_user_id":4,"reply_to_message_id":null,"media_type":"video_note","service":null}"#;
        assert_eq!(serde_json::to_string(&content).expect("serialises"), json);
    }

    #[test]
    fn actions_are_named_as_in_the_schema() {
        assert_eq!(action_name(&tl::enums::MessageAction::PinMessage), "pin_message");
        let create = tl::types::MessageActionChannelCreate { title: "a (b)".to_owned() };
        assert_eq!(action_name(&create.into()), "channel_create");
    }
}
