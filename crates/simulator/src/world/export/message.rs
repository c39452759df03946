//! One message of an export as Telegram would tell it.

use grammers_tl_types as tl;
use serde_json::{Map, Value};

use super::fields::Fields;
use super::{Loading, action, attachment, words};
use crate::world::chat::{Chat, ChatKind};
use crate::world::wire;

/// Reads a message: its id, its date, and itself. `None` if it cannot be one; that is counted.
pub(super) fn read(
    loading: &mut Loading,
    chat: i64,
    kind: ChatKind,
    message: Map<String, Value>,
) -> Option<(i32, i32, tl::enums::Message)> {
    let mut fields = Fields(message);
    let Some(id) = fields.number("id") else {
        loading.notes.add("message without id");
        return None;
    };
    let Ok(id @ 1..) = i32::try_from(id) else {
        // A supergroup's export gives the messages of the group it once was ids below zero.
        loading.notes.add("message of the group before its migration");
        return None;
    };
    let Some((date, exact)) = fields.time("date") else {
        loading.notes.add("message without date");
        return None;
    };
    if !exact {
        loading.notes.add("date without `date_unixtime` (taken as UTC)");
    }
    let told = fields.text("type").unwrap_or_default();
    let message = match told.as_str() {
        "message" => said(loading, chat, kind, id, date, &mut fields),
        "service" => service(loading, chat, kind, id, date, &mut fields),
        other => {
            loading.notes.add(format!("message of type `{other}`"));
            return None;
        }
    };
    for (name, value) in &fields.0 {
        if !value.is_null() {
            loading.notes.add(format!("message field `{name}`"));
        }
    }
    Some((id, date, message))
}

fn said(loading: &mut Loading, chat: i64, kind: ChatKind, id: i32, date: i32, fields: &mut Fields) -> tl::enums::Message {
    let mut message = wire::message(chat, id, date);
    let sender = sender(loading, chat, kind, fields, "from");
    (message.from_id, message.out, message.post) = (sender.from, sender.out, sender.post);
    message.edit_date = fields.time("edited").map(|(date, _)| date);
    message.post_author = fields.text("author");
    message.media = attachment::read(loading, fields, date);
    (message.message, message.entities) = words::read(fields, &mut loading.notes).finish();
    message.reply_to = reply(fields);
    message.fwd_from = forward(loading, fields, date);
    message.reactions = reactions(loading, fields);
    message.into()
}

fn service(loading: &mut Loading, chat: i64, kind: ChatKind, id: i32, date: i32, fields: &mut Fields) -> tl::enums::Message {
    let sender = sender(loading, chat, kind, fields, "actor");
    if fields.time("edited").is_some() {
        loading.notes.add("edit of a service message");
    }
    let action = action::read(loading, fields, date);
    let mut message = wire::service(chat, id, date, action);
    (message.from_id, message.out, message.post) = (sender.from, sender.out, sender.post);
    message.reply_to = match fields.int("message_id") {
        Some(pinned) => Some(wire::reply(pinned, None)),
        None => reply(fields),
    };
    message.reactions = reactions(loading, fields);
    if !words::read(fields, &mut loading.notes).is_empty() {
        loading.notes.add("text of a service message");
    }
    message.into()
}

struct Sender {
    from: Option<tl::enums::Peer>,
    out: bool,
    post: bool,
}

fn sender(loading: &mut Loading, chat: i64, kind: ChatKind, fields: &mut Fields, role: &str) -> Sender {
    let name = fields.text(role);
    let id = fields.peer(&format!("{role}_id"));
    if let Some(id) = id {
        loading.meet(id, name.as_deref());
    }
    let post = kind == ChatKind::Channel && (id.is_none() || id == Some(chat));
    let out = kind == ChatKind::Private && id == Some(loading.me) && loading.me != chat;
    let from = match id {
        _ if post => None,
        None if kind == ChatKind::Private => Some(chat),
        None => {
            loading.notes.add("message without a sender's id");
            None
        }
        // A single private chat's export has no owner: whoever is not the partner is.
        Some(id) if kind == ChatKind::Private && id > 0 && id != chat && id != loading.me => {
            return Sender { from: Some(wire::peer(id)), out: true, post: false };
        }
        id => id,
    };
    Sender { from: from.map(wire::peer), out, post }
}

fn reply(fields: &mut Fields) -> Option<tl::enums::MessageReplyHeader> {
    let elsewhere = fields.peer("reply_to_peer_id").map(wire::peer);
    fields.int("reply_to_message_id").map(|id| wire::reply(id, elsewhere))
}

fn forward(loading: &mut Loading, fields: &mut Fields, date: i32) -> Option<tl::enums::MessageFwdHeader> {
    let told = fields.0.contains_key("forwarded_from") || fields.0.contains_key("forwarded_from_id");
    let name = fields.text("forwarded_from");
    let id = fields.peer("forwarded_from_id");
    let saved = fields.text("saved_from");
    let when = fields.time("forwarded_date").map_or(date, |(date, _)| date);
    if !told && saved.is_none() {
        return None;
    }
    if let Some(id) = id {
        loading.meet(id, name.as_deref());
    } else {
        loading.notes.add("forward without an id (name only)");
    }
    let name = name.or_else(|| saved.clone());
    let mut header = wire::forward(id.map(wire::peer), name.filter(|_| id.is_none()), when);
    header.saved_from_name = saved;
    Some(header.into())
}

fn reactions(loading: &mut Loading, fields: &mut Fields) -> Option<tl::enums::MessageReactions> {
    let mut counts = Vec::new();
    for reaction in fields.list("reactions")? {
        let Value::Object(reaction) = reaction else {
            loading.notes.add("reaction of unknown form");
            continue;
        };
        let mut reaction = Fields(reaction);
        let count = reaction.int("count").unwrap_or(1);
        let kind = reaction.text("type").unwrap_or_default();
        let told = match kind.as_str() {
            "emoji" => tl::types::ReactionEmoji { emoticon: reaction.text("emoji").unwrap_or_default() }.into(),
            "custom_emoji" => {
                let document_id = words::document(&reaction.text("document_id").unwrap_or_default());
                tl::types::ReactionCustomEmoji { document_id }.into()
            }
            "paid" => tl::enums::Reaction::Paid,
            other => {
                loading.notes.add(format!("reaction of type `{other}`"));
                continue;
            }
        };
        if reaction.take("recent").is_some() {
            loading.notes.add("who reacted");
        }
        counts.push((told, count));
    }
    Some(wire::reactions(counts))
}

/// The picture that the chat was last given, as far as its messages tell.
pub(super) fn last_chat_photo(chat: &Chat) -> Option<i64> {
    let mut services = chat.ids_below(0).filter_map(|id| match chat.message(id) {
        Some(tl::enums::Message::Service(service)) => Some(service.action),
        _ => None,
    });
    services.find_map(|action| match action {
        tl::enums::MessageAction::ChatEditPhoto(edit) => match edit.photo {
            tl::enums::Photo::Photo(photo) => Some(Some(photo.id)),
            tl::enums::Photo::Empty(_) => Some(None),
        },
        tl::enums::MessageAction::ChatDeletePhoto => Some(None),
        _ => None,
    })?
}
