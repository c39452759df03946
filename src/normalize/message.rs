//! Messages and service messages → the fields of the `message` document.

use serde_json::{Map, Value, json};

use super::{chat_id, date, date_text, file, link, media, service, text};
use crate::record::media::MediaType;
use crate::record::{ChatId, Message, Raw};
use crate::telegram::tl;
use tl::enums::{MessageFwdHeader, MessageReactions, MessageReplies, MessageReplyHeader, Peer, Reaction, ReactionCount};
use tl::{Deserializable, Serializable};

/// One message as a fact; None for an empty one.
pub fn message(told: &tl::enums::Message) -> Option<Message> {
    let (mut message, reasons) = match told {
        tl::enums::Message::Empty(_) => return None,
        tl::enums::Message::Message(it) => ordinary(it),
        tl::enums::Message::Service(it) => action(it),
    };
    if !reasons.is_empty() {
        message.raw = Some(Raw { bytes: told.to_bytes(), reason: reasons.join("; ") });
    }
    Some(message)
}

/// A message that was kept raw, as a fact; None where its bytes are in a form that this build cannot read.
pub fn again(raw: &[u8]) -> Option<Message> {
    message(&tl::enums::Message::from_bytes(raw).ok()?)
}

fn ordinary(it: &tl::types::Message) -> (Message, Vec<String>) {
    let chat = chat_id(&it.peer_id);
    let mut body = Map::new();
    let mut reasons = Vec::new();
    sender(&mut body, chat, it.from_id.as_ref(), it.post, it.out);
    text::fill(&mut body, &it.message, it.entities.as_deref().unwrap_or_default());
    flags(&mut body, &[("silent", it.silent), ("post", it.post), ("pinned", it.pinned), ("noforwards", it.noforwards)]);
    viewer(&mut body, chat, it.out, it.mentioned);
    put(&mut body, "author_signature", it.post_author.clone());
    put(&mut body, "via_bot_id", it.via_bot_id);
    put(&mut body, "media_group_id", it.grouped_id);
    put(&mut body, "views", it.views);
    put(&mut body, "forwards", it.forwards);
    put(&mut body, "ttl", it.ttl_period);
    if let Some(markup) = &it.reply_markup {
        let buttons = text::buttons(markup);
        if !buttons.is_empty() {
            body.insert("buttons".into(), buttons.into());
        }
    }
    if let Some(header) = &it.reply_to {
        reply(&mut body, header);
    }
    if let Some(header) = &it.fwd_from {
        forward(&mut body, header);
    }
    if let Some(MessageReplies::Replies(replies)) = &it.replies {
        body.insert("reply_count".into(), replies.replies.into());
    }
    if let Some(all) = &it.reactions {
        reactions(&mut body, all);
    }
    reasons.extend(it.media.as_ref().and_then(|media| media::fill(&mut body, media)));
    body.entry("media").or_insert(false.into());
    if it.rich_message.is_some() {
        reasons.push("richMessage is not represented".into());
    }
    let edit_date = it.edit_date.and_then(date);
    let links = link::of_body(&body);
    let media = it.media.as_ref().map(file::files).unwrap_or_default();
    (
        Message { chat, id: it.id.into(), date: date(it.date), edit_date, body, raw: None, pts: None, links, media },
        reasons,
    )
}

fn action(it: &tl::types::MessageService) -> (Message, Vec<String>) {
    let chat = chat_id(&it.peer_id);
    let mut body = Map::new();
    sender(&mut body, chat, it.from_id.as_ref(), it.post, it.out);
    flags(&mut body, &[("silent", it.silent), ("post", it.post)]);
    viewer(&mut body, chat, it.out, it.mentioned);
    put(&mut body, "ttl", it.ttl_period);
    if let Some(header) = &it.reply_to {
        reply(&mut body, header);
    }
    if let Some(all) = &it.reactions {
        reactions(&mut body, all);
    }
    let (service, reason) = service::service(&it.action);
    body.insert("service".into(), Value::Object(service));
    body.insert("media".into(), false.into());
    let media = match &it.action {
        tl::enums::MessageAction::ChatEditPhoto(it) => file::photo(&it.photo, MediaType::Avatar).into_iter().collect(),
        _ => Vec::new(),
    };
    let message = Message {
        chat,
        id: it.id.into(),
        date: date(it.date),
        edit_date: None,
        body,
        raw: None,
        pts: None,
        links: Vec::new(),
        media,
    };
    (message, reason.into_iter().collect())
}

fn put(body: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(key.into(), value.into());
    }
}

/// Flags that are set; one that is not is absent.
fn flags(body: &mut Map<String, Value>, flags: &[(&str, bool)]) {
    for (key, _) in flags.iter().filter(|(_, set)| *set) {
        body.insert((*key).into(), true.into());
    }
}

/// What depends on the viewer is kept only where the viewer owns the box.
fn viewer(body: &mut Map<String, Value>, chat: ChatId, out: bool, mentioned: bool) {
    if !chat.is_channel() {
        body.insert("outgoing".into(), out.into());
        body.insert("mentioned".into(), mentioned.into());
    }
}

fn sender(body: &mut Map<String, Value>, chat: ChatId, from: Option<&Peer>, post: bool, out: bool) {
    match from {
        Some(Peer::User(user)) => put(body, "from_user_id", Some(user.user_id)),
        Some(peer) => put(body, "sender_chat_id", Some(chat_id(peer).0)),
        // A post comes from its channel; in a private chat what is not ours comes from the other.
        None if post => put(body, "sender_chat_id", Some(chat.0)),
        None if chat.is_private() && !out => put(body, "from_user_id", Some(chat.0)),
        None => {}
    }
}

fn reply(body: &mut Map<String, Value>, header: &MessageReplyHeader) {
    let MessageReplyHeader::Header(header) = header else {
        return;
    };
    put(body, "reply_to_message_id", header.reply_to_msg_id);
    put(body, "reply_to_chat_id", header.reply_to_peer_id.as_ref().map(|peer| chat_id(peer).0));
    // In a forum a message outside any reply names its topic as what it replies to.
    put(body, "thread_id", header.reply_to_top_id.or(header.reply_to_msg_id.filter(|_| header.forum_topic)));
}

fn forward(body: &mut Map<String, Value>, header: &MessageFwdHeader) {
    let MessageFwdHeader::Header(header) = header;
    match &header.from_id {
        Some(Peer::User(user)) => put(body, "forward_from_id", Some(user.user_id)),
        Some(peer) => put(body, "forward_from_chat_id", Some(chat_id(peer).0)),
        None => {}
    }
    put(body, "forward_from_message_id", header.channel_post);
    put(body, "forward_send_name", header.from_name.clone());
    put(body, "forward_signature", header.post_author.clone());
    put(body, "forward_date", date_text(header.date));
}

/// The `reactions` field. An empty list is told: there are none, which differs from a message that tells nothing of them.
fn reactions(body: &mut Map<String, Value>, all: &MessageReactions) {
    body.insert("reactions".into(), reaction_counts(all).into());
}

/// Reactions as a body has them, in a stable order, so that equal counts are equal content.
pub fn reaction_counts(all: &MessageReactions) -> Vec<Value> {
    let MessageReactions::Reactions(all) = all;
    let mut counts: Vec<(String, i32)> = all
        .results
        .iter()
        .filter_map(|ReactionCount::Count(it)| {
            let name = match &it.reaction {
                Reaction::Empty => return None,
                Reaction::Emoji(emoji) => emoji.emoticon.clone(),
                Reaction::CustomEmoji(custom) => format!("custom:{}", custom.document_id),
                Reaction::Paid => "paid".to_owned(),
            };
            Some((name, it.count))
        })
        .collect();
    counts.sort();
    counts.iter().map(|(reaction, count)| json!({"reaction": reaction, "count": count})).collect()
}
