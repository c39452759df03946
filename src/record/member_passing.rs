//! What a message tells of its chat's members as it passes: who wrote it, and who came or went by it. Pure; no SQL here.

use serde_json::{Map, Value};

use super::Message;
use super::member_merge::{Relation, Said, Standing, Status, When};

/// The relations that a message shows. Private chats have no members; a channel's own posts and those under another chat's name
/// show nobody, whatever their signature.
pub fn of_message(message: &Message) -> Vec<Relation> {
    let Some(date) = message.date.filter(|_| message.chat.0 < 0) else { return Vec::new() };
    let number = |fields: &Map<String, Value>, field: &str| fields.get(field).and_then(Value::as_i64);
    let is_post = message.body.get("post").and_then(Value::as_bool).unwrap_or(false);
    let writer = number(&message.body, "from_user_id").filter(|_| !is_post);
    let relation =
        |user: i64, said: Said| Relation { chat: message.chat, user, said, when: When::Dated { date, message: Some(message.id) } };
    let mut relations: Vec<Relation> = writer.map(|user| relation(user, Said::Seen)).into_iter().collect();
    let Some(service) = message.body.get("service").and_then(Value::as_object) else { return relations };
    let named: Vec<i64> = match service.get("user_ids") {
        Some(Value::Array(users)) => users.iter().filter_map(Value::as_i64).collect(),
        _ => Vec::new(),
    };
    let other = |user: i64| writer.filter(|by| *by != user);
    let creator = |user: i64| {
        let standing = Standing { status: Status::Creator, present: true, fields: Map::new(), joined: None, invited_by: None };
        relation(user, Said::Is(standing))
    };
    match service.get("action").and_then(Value::as_str).unwrap_or_default() {
        "chat_add_user" => relations.extend(named.iter().map(|user| relation(*user, Said::Came { by: other(*user) }))),
        "chat_joined_by_link" | "chat_joined_by_request" | "chat_joined_via_community" => {
            relations.extend(writer.map(|user| relation(user, Said::Came { by: None })));
        }
        "chat_delete_user" => relations.extend(named.iter().map(|user| relation(*user, Said::Left { by: other(*user) }))),
        "chat_create" => {
            let others = named.iter().filter(|user| Some(**user) != writer);
            relations.extend(others.map(|user| relation(*user, Said::Came { by: writer })));
            relations.extend(writer.map(creator));
        }
        "channel_create" => relations.extend(writer.map(creator)),
        "change_creator" => relations.extend(named.iter().map(|user| creator(*user))),
        _ => {}
    }
    relations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ChatId;
    use chrono::DateTime;
    use serde_json::json;

    const QUAY: ChatId = ChatId(-1_001_000_000_005);

    fn told(body: Value) -> Vec<(i64, Said)> {
        let Value::Object(body) = body else { panic!("an object") };
        let date = DateTime::from_timestamp(1_700_000_000, 0);
        let message =
            Message { chat: QUAY, id: 7, date, edit_date: None, body, raw: None, pts: None, links: Vec::new(), media: Vec::new() };
        of_message(&message).into_iter().map(|relation| (relation.user, relation.said)).collect()
    }

    #[test]
    fn a_writer_is_seen_and_a_chat_that_writes_is_nobody() {
        assert_eq!(told(json!({"from_user_id": 5, "text": "a ship"})), [(5, Said::Seen)]);
        assert_eq!(told(json!({"sender_chat_id": QUAY.0, "text": "a ship", "author_signature": "Maren"})), []);
        assert_eq!(told(json!({"from_user_id": 5, "post": true, "text": "a ship"})), []);
    }

    #[test]
    fn who_comes_and_goes_is_told_with_who_did_it() {
        let service = |from: i64, action: &str, users: Value| {
            told(json!({"from_user_id": from, "service": {"action": action, "user_ids": users}}))
        };
        assert_eq!(service(5, "chat_add_user", json!([5])), [(5, Said::Seen), (5, Said::Came { by: None })]);
        let added = [(5, Said::Seen), (6, Said::Came { by: Some(5) }), (7, Said::Came { by: Some(5) })];
        assert_eq!(service(5, "chat_add_user", json!([6, 7])), added);
        assert_eq!(service(5, "chat_delete_user", json!([5]))[1], (5, Said::Left { by: None }));
        assert_eq!(service(5, "chat_delete_user", json!([6]))[1], (6, Said::Left { by: Some(5) }));
        let joined = told(json!({"from_user_id": 5, "service": {"action": "chat_joined_by_link", "inviter_id": 9}}));
        assert_eq!(joined[1], (5, Said::Came { by: None }), "whose link it was did not bring the person in");
        let made = service(5, "chat_create", json!([5, 6]));
        assert_eq!(made[1], (6, Said::Came { by: Some(5) }));
        assert!(matches!(&made[2], (5, Said::Is(standing)) if standing.status == Status::Creator), "{made:?}");
        assert_eq!(service(5, "pin_message", json!([])), [(5, Said::Seen)]);
    }

    #[test]
    fn a_private_chat_has_no_members() {
        let Value::Object(body) = json!({"from_user_id": 5, "text": "a ship"}) else { panic!("an object") };
        let date = DateTime::from_timestamp(1_700_000_000, 0);
        let message = Message {
            chat: ChatId(5),
            id: 7,
            date,
            edit_date: None,
            body,
            raw: None,
            pts: None,
            links: Vec::new(),
            media: Vec::new(),
        };
        assert_eq!(of_message(&message), []);
    }
}
