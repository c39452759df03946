//! Exports as Telegram Desktop writes them, from the smallest that show something.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::*;

fn told(file: &str, owner: Option<i64>) -> (Vec<Told>, LeftOut) {
    let survey = survey(file.as_bytes()).unwrap();
    let mut messages = Vec::new();
    let mut left_out = survey.left_out.clone();
    let rest = read(file.as_bytes(), &survey, owner, |_, told| {
        messages.push(told);
        true
    });
    left_out.extend(rest.unwrap());
    (messages, left_out)
}

/// A file of one chat with these messages; each gets an id and a date.
fn file(kind: &str, messages: &[Value]) -> String {
    let messages: Vec<Value> = (1..)
        .zip(messages)
        .map(|(id, message)| {
            let mut whole = json!({"id": id, "type": "message", "date": "2024-01-12T10:00:05", "date_unixtime": (1_705_053_605 + id).to_string()});
            whole.as_object_mut().unwrap().extend(message.as_object().unwrap().clone());
            whole
        })
        .collect();
    json!({"name": "Quay", "type": kind, "id": 7, "messages": messages}).to_string()
}

/// The fields of each message, a line each, and what was left out.
fn shown(file: &str, owner: Option<i64>) -> String {
    let (messages, left_out) = told(file, owner);
    let mut lines: Vec<String> = messages.iter().map(|told| Value::Object(told.message.body.clone()).to_string()).collect();
    lines.extend(left_out.iter().map(|(what, count)| format!("{count} × {what}")));
    lines.join("\n")
}

#[test]
fn every_kind_of_chat_has_its_marked_id() {
    let chats =
        ["public_channel", "private_supergroup", "private_group", "personal_chat", "bot_chat", "saved_messages", "hologram"];
    let list: Vec<Value> = chats.iter().map(|kind| json!({"type": kind, "id": 7, "messages": [{}, {}]})).collect();
    let whole = json!({"about": "x", "personal_information": {"user_id": 5}, "contacts": {"about": "x", "list": [{}, {}]},
        "chats": {"about": "x", "list": list}, "left_chats": {"list": [{"type": "private_channel", "id": 8, "messages": []}]}});
    let survey = survey(whole.to_string().as_bytes()).unwrap();
    let marked: Vec<_> =
        survey.chats.iter().map(|head| head.as_ref().map(|head| (head.chat.0, head.kind, head.messages))).collect();
    assert_eq!(
        marked,
        [
            Some((-1_000_000_000_007, "channel", 2)),
            Some((-1_000_000_000_007, "supergroup", 2)),
            Some((-7, "group", 2)),
            Some((7, "private", 2)),
            Some((7, "bot", 2)),
            Some((7, "private", 2)),
            None,
            Some((-1_000_000_000_008, "channel", 0)),
        ]
    );
    assert_eq!(survey.owner, Some(5));
    let left_out: Vec<_> = survey.left_out.iter().collect();
    assert_eq!(left_out, [("contacts", 2), ("message of a chat that cannot be placed (hologram)", 2), ("personal_information", 1)]);
}

#[test]
fn keys_in_another_order_change_nothing() {
    let sorted = r#"{"id": 7, "messages": [{"date_unixtime": "1705053605", "from_id": "user5", "id": 3, "text": "a", "type": "message"}],
        "name": "Quay", "type": "private_supergroup"}"#;
    let (messages, _) = told(sorted, None);
    assert_eq!((messages[0].message.chat.0, messages[0].message.id), (-1_000_000_000_007, 3));
}

#[test]
fn text_has_all_its_entities_in_utf16_units() {
    let simple = ["mention", "hashtag", "bot_command", "link", "email", "bold", "italic", "code", "phone", "cashtag", "underline"];
    let mut pieces = vec![json!("🚢 "), json!({"type": "plain", "text": "é "})];
    pieces.extend(simple.iter().map(|kind| json!({"type": kind, "text": "x"})));
    pieces.extend(["strikethrough", "spoiler", "bank_card", "hologram"].iter().map(|kind| json!({"type": kind, "text": "y"})));
    pieces.push(json!({"type": "text_link", "text": "here", "href": "https://a.example"}));
    pieces.push(json!({"type": "mention_name", "text": "Ann", "user_id": 9}));
    pieces.push(json!({"type": "pre", "text": "let", "language": "rust"}));
    pieces.push(json!({"type": "blockquote", "text": "said", "collapsed": true}));
    pieces.push(json!({"type": "custom_emoji", "text": "😀", "document_id": "5"}));
    pieces.push(json!({"type": "custom_emoji", "text": "😀", "document_id": "stickers/e.webp"}));
    let one = json!({"from": "Ann", "from_id": "user9", "text": pieces});
    let both = json!({"from": "Ann", "from_id": "user9", "text": "🚢", "text_entities": pieces});
    let (messages, left_out) = told(&file("private_supergroup", &[one, both]), None);
    assert_eq!(messages[0].message.body, messages[1].message.body);
    let body = &messages[0].message.body;
    assert_snapshot!(body["text"].as_str().unwrap(), @"🚢 é xxxxxxxxxxxyyyyhereAnnletsaid😀😀");
    let entities: Vec<String> = body["entities"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert_snapshot!(entities.join("\n"), @r#"
    {"length":1,"offset":5,"type":"mention"}
    {"length":1,"offset":6,"type":"hashtag"}
    {"length":1,"offset":7,"type":"bot_command"}
    {"length":1,"offset":8,"type":"url"}
    {"length":1,"offset":9,"type":"email"}
    {"length":1,"offset":10,"type":"bold"}
    {"length":1,"offset":11,"type":"italic"}
    {"length":1,"offset":12,"type":"code"}
    {"length":1,"offset":13,"type":"phone"}
    {"length":1,"offset":14,"type":"cashtag"}
    {"length":1,"offset":15,"type":"underline"}
    {"length":1,"offset":16,"type":"strike"}
    {"length":1,"offset":17,"type":"spoiler"}
    {"length":1,"offset":18,"type":"bank_card"}
    {"length":1,"offset":19,"type":"unknown"}
    {"length":4,"offset":20,"type":"text_url","url":"https://a.example"}
    {"length":3,"offset":24,"type":"mention_name","user_id":9}
    {"language":"rust","length":3,"offset":27,"type":"pre"}
    {"collapsed":true,"length":4,"offset":30,"type":"blockquote"}
    {"document_id":5,"length":2,"offset":34,"type":"custom_emoji"}
    "#);
    assert_eq!(body["links"], json!(["x", "https://a.example"]));
    let left_out: Vec<_> = left_out.iter().collect();
    assert_eq!(left_out, [("custom emoji told by a file", 2), ("text entity `hologram`", 2)]);
}

#[test]
fn a_message_has_its_parts_and_what_has_no_place_is_named() {
    let reactions = json!([{"type": "emoji", "emoji": "👍", "count": 2, "recent": [{"from": "Bob"}]},
        {"type": "custom_emoji", "document_id": "77", "count": 1}, {"type": "paid", "count": 3}]);
    let messages = [
        json!({"from": "Ann", "from_id": "user9", "author": "A. N.", "text": "hi", "reply_to_message_id": 3, "reply_to_peer_id": "channel8",
            "edited": "2024-01-12T11:00:05", "edited_unixtime": "1705057205", "reactions": reactions, "via_bot": "@helper"}),
        json!({"from": "Ann", "from_id": "user9", "text": "", "forwarded_from": "News", "forwarded_from_id": "channel8",
            "photo": "photos/a.jpg", "photo_file_size": 9, "width": 2, "height": 1}),
        json!({"from": "Quay", "from_id": "channel7", "text": "", "forwarded_from": "Somebody", "file": "files/a.pdf", "file_name": "a.pdf",
            "mime_type": "application/pdf", "file_size": 10}),
        json!({"from": "Ann", "from_id": "user9", "text": "", "media_type": "video_message", "file": "v.mp4", "self_destruct_period_seconds": 7,
            "inline_bot_buttons": [[{"type": "url", "text": "Go", "data": "https://g.example"}, {"type": "callback", "text": "More", "data": "1"}]]}),
        json!({"from": "Ann", "from_id": "user9", "text": "", "place_name": "Pier", "address": "Way 1",
            "location_information": {"latitude": 1.5, "longitude": "2.5"}}),
        json!({"from": "Ann", "from_id": "user9", "text": "",
            "contact_information": {"first_name": "Bo", "last_name": "", "phone_number": "+15550100"}}),
        json!({"from": "Ann", "from_id": "user9", "text": "", "poll": {"question": "Q?", "closed": true, "total_voters": 2,
            "answers": [{"text": "Yes", "voters": 2, "chosen": true}]}}),
        json!({"from": "Ann", "from_id": "user9", "text": "", "giveaway_information": {"quantity": 3}}),
        json!({"from_id": null, "text": "nobody"}),
    ];
    assert_snapshot!(shown(&file("private_supergroup", &messages), None), @r#"
    {"author_signature":"A. N.","from_user_id":9,"media":false,"reactions":[{"count":1,"reaction":"custom:77"},{"count":3,"reaction":"paid"},{"count":2,"reaction":"👍"}],"reply_to_chat_id":-1000000000008,"reply_to_message_id":3,"text":"hi"}
    {"forward_from_chat_id":-1000000000008,"from_user_id":9,"media":true,"media_type":"photo"}
    {"forward_send_name":"Somebody","media":true,"media_type":"document","sender_chat_id":-1000000000007}
    {"buttons":[{"text":"Go","url":"https://g.example"},{"text":"More"}],"from_user_id":9,"media":true,"media_type":"video_note"}
    {"from_user_id":9,"location":{"address":"Way 1","lat":1.5,"lon":2.5,"title":"Pier"},"media":true,"media_type":"location"}
    {"contact":{"first_name":"Bo","last_name":""},"from_user_id":9,"media":true,"media_type":"contact"}
    {"from_user_id":9,"media":true,"media_type":"poll","poll":{"answers":[{"text":"Yes","voters":2}],"closed":true,"question":"Q?","total_voters":2}}
    {"from_user_id":9,"media":true,"media_type":"giveaway"}
    {"media":false,"text":"nobody"}
    1 × contact_information.phone_number
    2 × file
    1 × file_name
    1 × file_size
    1 × giveaway_information
    1 × height
    1 × mime_type
    1 × photo
    1 × photo_file_size
    1 × poll.answers.chosen
    1 × reactions.recent
    1 × self_destruct_period_seconds
    1 × sender without an id
    1 × via_bot
    1 × width
    "#);
    let (messages, _) = told(&file("private_supergroup", &messages), None);
    assert_eq!(messages[0].message.edit_date.unwrap().timestamp(), 1_705_057_205);
    assert_eq!(messages[0].users[0].body, *json!({"first_name": "Ann"}).as_object().unwrap());
    assert!(!format!("{messages:?}").contains("5550100"), "a phone number is nobody's business");
}

#[test]
fn service_messages_have_telegrams_names_for_what_happened() {
    let service = |rest: Value| {
        let mut message = json!({"type": "service", "actor": "Ann", "actor_id": "user9", "text": ""});
        message.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        message
    };
    let messages = [
        service(json!({"action": "pin_message", "message_id": 4})),
        service(json!({"action": "create_group", "title": "Quay", "members": ["Ann", "Bob"]})),
        service(json!({"action": "set_messages_ttl", "period": 86400})),
        service(json!({"action": "topic_edit", "new_title": "New"})),
        service(json!({"action": "build_hologram", "depth": 3})),
        service(json!({"information_text": "words"})),
    ];
    assert_snapshot!(shown(&file("private_supergroup", &messages), None), @r#"
    {"from_user_id":9,"media":false,"reply_to_message_id":4,"service":{"action":"pin_message"}}
    {"from_user_id":9,"media":false,"service":{"action":"chat_create","title":"Quay"}}
    {"from_user_id":9,"media":false,"service":{"action":"set_messages_ttl","period":86400}}
    {"from_user_id":9,"media":false,"service":{"action":"topic_edit","title":"New"}}
    {"from_user_id":9,"media":false,"service":{"action":"build_hologram"}}
    {"from_user_id":9,"media":false,"service":{"action":"custom_action","message":"words"}}
    1 × depth
    2 × member of a service message, told without an id
    1 × values of the service action `build_hologram`
    "#);
}

#[test]
fn a_private_chat_tells_who_spoke() {
    let messages = [
        json!({"from": "Ann", "from_id": "user7", "text": "in"}),
        json!({"from": "Me", "from_id": "user5", "text": "out"}),
        json!({"id": -3, "text": "old"}),
        json!({"type": "unsupported"}),
        json!({"date": "2015-01-12T10:00:05", "date_unixtime": null, "from_id": "user7", "text": "before zones"}),
    ];
    assert_snapshot!(shown(&file("personal_chat", &messages), Some(5)), @r#"
    {"from_user_id":7,"media":false,"outgoing":false,"text":"in"}
    {"from_user_id":5,"media":false,"outgoing":true,"text":"out"}
    {"from_user_id":7,"media":false,"outgoing":false,"text":"before zones"}
    1 × message of the group before its migration (export that group itself)
    1 × message of type `unsupported`
    1 × zone of `date` (taken as UTC)
    "#);
}

#[test]
fn what_is_no_export_and_what_is_cut_off_is_told_with_its_place() {
    let refused = |text: &str| survey(text.as_bytes()).unwrap_err().to_string();
    let whole = file("private_supergroup", &[json!({"text": "a"}), json!({"text": "b"})]).replace("},", "},\n");
    assert_snapshot!(refused(&whole[..whole.len() - 20]), @"line 2, column 118: the file ends here, in the middle (EOF while parsing a string): it was cut off, export it again");
    assert_snapshot!(refused("{}"), @"it is JSON, but no export of Telegram Desktop: there are no chats in it (export as machine-readable JSON, with messages)");
    assert_snapshot!(refused("[1, 2]"), @"line 1, column 1: invalid type: sequence, expected the object that an export of Telegram Desktop is");
    assert_snapshot!(refused("<html>"), @"line 1, column 1: expected value");
    assert_snapshot!(refused(""), @"line 1, column 0: the file ends here, in the middle (EOF while parsing a value): it was cut off, export it again");
}
