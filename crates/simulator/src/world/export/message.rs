//! One message of an export as Telegram would tell it.

use grammers_tl_types as tl;
use serde_json::Value;

use super::fields::Fields;
use super::{Loading, action, attachment, buttons, words};
use crate::world::chat::{Chat, ChatKind};
use crate::world::wire;

/// Very old exports wrote the beginning of time, in local time, for a message that was never edited.
const NEVER: i32 = 86_400;

/// Reads a message: its id, its date, and itself. `None` if it cannot be one; that is counted. `before`: the date of the message
/// before, for one that the export tells by its id alone.
pub(super) fn read(
    loading: &mut Loading,
    chat: i64,
    kind: ChatKind,
    mut fields: Fields,
    before: i32,
) -> Option<(i32, i32, tl::enums::Message)> {
    let Some(id) = fields.number("id") else {
        loading.notes.add("message without id");
        return None;
    };
    let Ok(id @ 1..) = i32::try_from(id) else {
        // A supergroup's export gives the messages of the group it once was ids below zero.
        loading.notes.add("message of the group before its migration");
        return None;
    };
    let told = fields.text("type").unwrap_or_default();
    if told == "unsupported" {
        // Stories and whatever the exporting program did not know: an id and nothing else.
        loading.notes.add("message that the export tells as unsupported (date of the one before)");
        let date = fields.time("date").map_or(before, |(date, _)| date);
        let mut message = wire::message(chat, id, date);
        message.post = kind == ChatKind::Channel;
        message.media = Some(tl::enums::MessageMedia::Unsupported);
        loading.left_over("message field", &fields);
        return Some((id, date, message.into()));
    }
    let Some((date, exact)) = fields.time("date") else {
        loading.notes.add("message without date");
        return None;
    };
    if !exact {
        loading.notes.add("date without `date_unixtime` (taken as UTC)");
    }
    let message = match told.as_str() {
        "message" => said(loading, chat, kind, id, date, &mut fields),
        "service" => service(loading, chat, kind, id, date, &mut fields),
        other => {
            loading.notes.add(format!("message of type `{other}`"));
            return None;
        }
    };
    loading.left_over("message field", &fields);
    Some((id, date, message))
}

fn said(loading: &mut Loading, chat: i64, kind: ChatKind, id: i32, date: i32, fields: &mut Fields) -> tl::enums::Message {
    let mut message = wire::message(chat, id, date);
    let sender = sender(loading, chat, kind, fields, "from");
    (message.from_id, message.out, message.post) = (sender.from, sender.out, sender.post);
    message.edit_date = fields.time("edited").map(|(date, _)| date).filter(|&date| date > NEVER);
    message.post_author = fields.text("author");
    message.media = attachment::read(loading, fields, date);
    (message.message, message.entities) = words::read(fields, &mut loading.notes).finish();
    if let Some(rich) = fields.take("rich_message") {
        loading.notes.add("rich message (its text only)");
        if message.message.is_empty() {
            message.message = words::of_rich(&rich);
        }
    }
    message.reply_to = reply(loading, fields);
    message.fwd_from = forward(loading, fields, date);
    message.reply_markup = buttons::read(loading, fields);
    message.reactions = reactions(loading, fields);
    if fields.take("via_bot").is_some() {
        loading.notes.add("bot through which a message was sent (a name without an id)");
    }
    message.into()
}

fn service(loading: &mut Loading, chat: i64, kind: ChatKind, id: i32, date: i32, fields: &mut Fields) -> tl::enums::Message {
    let sender = sender(loading, chat, kind, fields, "actor");
    if fields.time("edited").is_some_and(|(date, _)| date > NEVER) {
        loading.notes.add("edit of a service message");
    }
    let action = action::read(loading, fields, date);
    let mut message = wire::service(chat, id, date, action);
    (message.from_id, message.out, message.post) = (sender.from, sender.out, sender.post);
    message.reply_to = ["message_id", "game_message_id", "invoice_message_id", "reply_to_message_id"]
        .into_iter()
        .find_map(|name| fields.int(name))
        .map(|to| wire::reply(to, fields.peer("reply_to_peer_id").map(wire::peer)));
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

fn reply(loading: &mut Loading, fields: &mut Fields) -> Option<tl::enums::MessageReplyHeader> {
    let elsewhere = fields.peer("reply_to_peer_id").map(wire::peer);
    if elsewhere.is_some() && !fields.has("reply_to_message_id") {
        loading.notes.add("reply without a message's id");
    }
    fields.int("reply_to_message_id").map(|id| wire::reply(id, elsewhere))
}

fn forward(loading: &mut Loading, fields: &mut Fields, date: i32) -> Option<tl::enums::MessageFwdHeader> {
    let told = fields.has("forwarded_from") || fields.has("forwarded_from_id") || fields.has("saved_from");
    let name = fields.text("forwarded_from");
    let id = fields.peer("forwarded_from_id");
    let saved = fields.text("saved_from");
    let when = fields.time("forwarded_date").map_or(date, |(date, _)| date);
    if !told {
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
    let mut recent = Vec::new();
    for reaction in fields.list("reactions")? {
        let Value::Object(reaction) = reaction else {
            loading.notes.add("reaction of unknown form");
            continue;
        };
        let mut reaction = Fields(reaction);
        let count = reaction.int("count").unwrap_or(1);
        let kind = reaction.text("type").unwrap_or_default();
        let told: tl::enums::Reaction = match kind.as_str() {
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
        for one in reaction.list("recent").unwrap_or_default() {
            recent.extend(reacted(loading, one, &told));
        }
        loading.left_over("reaction field", &reaction);
        counts.push((told, count));
    }
    let mut told = wire::reactions(counts);
    if let tl::enums::MessageReactions::Reactions(told) = &mut told
        && !recent.is_empty()
    {
        told.can_see_list = true;
        told.recent_reactions = Some(recent);
    }
    Some(told)
}

/// Who gave a reaction, and when.
fn reacted(loading: &mut Loading, told: Value, reaction: &tl::enums::Reaction) -> Option<tl::enums::MessagePeerReaction> {
    let Value::Object(told) = told else {
        loading.notes.add("reaction of unknown form");
        return None;
    };
    let mut told = Fields(told);
    let name = told.text("from");
    let Some(id) = told.peer("from_id") else {
        loading.notes.add("reaction of someone without an id");
        return None;
    };
    loading.meet(id, name.as_deref());
    let (date, exact) = told.time("date").unwrap_or_default();
    if !exact {
        loading.notes.add("date of a reaction without zone (taken as UTC)");
    }
    let reaction = reaction.clone();
    let my = id == loading.me;
    Some(tl::types::MessagePeerReaction { big: false, unread: false, my, peer_id: wire::peer(id), date, reaction }.into())
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
