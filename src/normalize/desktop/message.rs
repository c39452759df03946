//! One message of an export → the fields of the `message` document.

use serde_json::{Map, Value, json};

use super::object::Object;
use super::words::Words;
use super::{Head, LeftOut, Told, attachment, service};
use crate::normalize::link;
use crate::record::{ChatId, Message, User};

/// Told by itself or by another field.
const REPEATED: [&str; 1] = ["type"];

/// One message as a fact; none for one that cannot be, which is counted.
pub(super) fn message(head: &Head, owner: Option<i64>, told: Object, left_out: &mut LeftOut) -> Option<Told> {
    let mut told = told;
    let Some(id) = told.number("id") else {
        left_out.add("message without an id");
        return None;
    };
    if id <= 0 {
        // A supergroup's export gives the messages of the group it was numbers below zero, which are nobody's.
        left_out.add("message of the group before its migration (export that group itself)");
        return None;
    }
    let kind = told.text("type").unwrap_or_default();
    if kind != "message" && kind != "service" {
        left_out.add(format!("message of type `{kind}`"));
        return None;
    }
    let Some(date) = told.time("date", left_out) else {
        left_out.add("message without a date");
        return None;
    };
    let mut one = One { chat: head.chat, owner, is_channel: head.kind == "channel", body: Map::new(), users: Vec::new() };
    let edit_date = told.time("edited", left_out);
    if kind == "service" {
        one.service(&mut told, left_out);
    } else {
        one.said(&mut told, left_out);
    }
    one.reactions(&mut told, left_out);
    for name in REPEATED {
        told.take(name);
    }
    told.count_rest("", left_out);
    let links = link::of_body(&one.body);
    let message = Message {
        chat: head.chat,
        id,
        date: Some(date),
        edit_date,
        body: one.body,
        raw: None,
        pts: None,
        links,
        media: Vec::new(),
    };
    Some(Told { message, users: one.users })
}

/// A message as far as it was read.
struct One {
    chat: ChatId,
    owner: Option<i64>,
    is_channel: bool,
    body: Map<String, Value>,
    users: Vec<User>,
}

impl One {
    fn said(&mut self, told: &mut Object, left_out: &mut LeftOut) {
        self.sender(told, "from", left_out);
        self.put("author_signature", told.text("author"));
        attachment::fill(&mut self.body, told, left_out);
        Words::of_message(told, left_out).fill(&mut self.body);
        self.put("reply_to_message_id", told.number("reply_to_message_id"));
        self.put("reply_to_chat_id", told.peer("reply_to_peer_id").map(|chat| chat.0));
        self.forward(told, left_out);
        let buttons = attachment::buttons(told, left_out);
        self.put("buttons", (!buttons.is_empty()).then_some(buttons));
    }

    fn service(&mut self, told: &mut Object, left_out: &mut LeftOut) {
        self.sender(told, "actor", left_out);
        let service = service::service(told, left_out);
        self.put("service", Some(service));
        self.put("media", Some(false));
        let replied = ["message_id", "game_message_id", "invoice_message_id", "reply_to_message_id"];
        self.put("reply_to_message_id", replied.into_iter().find_map(|name| told.number(name)));
        self.put("reply_to_chat_id", told.peer("reply_to_peer_id").map(|chat| chat.0));
    }

    fn put(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.body.insert(name.to_owned(), value.into());
        }
    }

    fn sender(&mut self, told: &mut Object, role: &str, left_out: &mut LeftOut) {
        let name = told.text(role);
        let id = told.peer(&format!("{role}_id"));
        if !self.chat.is_channel()
            && let Some(owner) = self.owner
        {
            self.put("outgoing", id.map(|id| id.0 == owner));
        }
        match id {
            Some(id) if id.is_private() => {
                self.meet(id.0, name);
                self.put("from_user_id", Some(id.0));
            }
            Some(id) => self.put("sender_chat_id", Some(id.0)),
            // A post without a sender is the channel's.
            None if self.is_channel => self.put("sender_chat_id", Some(self.chat.0)),
            None => left_out.add("sender without an id"),
        }
        if self.is_channel && id.is_none_or(|id| id == self.chat) {
            self.put("post", Some(true));
        }
    }

    fn forward(&mut self, told: &mut Object, left_out: &mut LeftOut) {
        let name = told.text("forwarded_from");
        let id = told.peer("forwarded_from_id");
        let date = told.time("forwarded_date", left_out);
        self.put("forward_date", date.map(|date| date.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)));
        match id {
            Some(id) if id.is_private() => {
                self.meet(id.0, name);
                self.put("forward_from_id", Some(id.0));
            }
            Some(id) => self.put("forward_from_chat_id", Some(id.0)),
            None => self.put("forward_send_name", name),
        }
    }

    /// In the order of `normalize::message`, so that equal counts are equal content.
    fn reactions(&mut self, told: &mut Object, left_out: &mut LeftOut) {
        let mut counts: Vec<(String, i64)> = Vec::new();
        for reaction in told.list("reactions") {
            let Value::Object(reaction) = reaction else {
                left_out.add("reaction of unknown form");
                continue;
            };
            let mut reaction = Object(reaction);
            let count = reaction.number("count").unwrap_or(1);
            let name = match reaction.text("type").as_deref() {
                Some("emoji") => reaction.text("emoji"),
                Some("custom_emoji") => reaction.number("document_id").map(|id| format!("custom:{id}")),
                Some("paid") => Some("paid".to_owned()),
                _ => None,
            };
            match name {
                Some(name) => counts.push((name, count)),
                None => left_out.add("reaction told by a file or of an unknown type"),
            }
            reaction.take("document_id");
            reaction.count_rest("reactions.", left_out);
        }
        counts.sort();
        let list: Vec<Value> = counts.iter().map(|(reaction, count)| json!({"reaction": reaction, "count": count})).collect();
        self.put("reactions", (!list.is_empty()).then_some(list));
    }

    /// Of a user the export shows one name; a deleted account has none.
    fn meet(&mut self, id: i64, name: Option<String>) {
        if let Some(name) = name {
            let body = [("first_name".to_owned(), Value::from(name))].into_iter().collect();
            self.users.push(User { id, body, access_hash: None, min: true, avatar: None });
        }
    }
}
