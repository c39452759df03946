//! What Telegram's objects become, on templates built from the fewest bytes that decode.

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::*;
use tl::{Deserializable, Serializable, enums, types};

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn peer_channel() -> enums::Peer {
    types::PeerChannel { channel_id: 42 }.into()
}

/// A bare `message` with no flags: flags, flags2, id, peer, date, text.
fn message_template() -> types::Message {
    let zero = [0_u8; 8];
    let raw = bytes(&[&zero, &7_i32.to_le_bytes(), &peer_channel().to_bytes(), &1_700_000_000_i32.to_le_bytes(), &[0; 4]]);
    types::Message::from_bytes(&raw).expect("a minimal message")
}

fn service_template(action: enums::MessageAction) -> types::MessageService {
    let raw =
        bytes(&[&[0; 4], &7_i32.to_le_bytes(), &peer_channel().to_bytes(), &1_700_000_000_i32.to_le_bytes(), &action.to_bytes()]);
    types::MessageService::from_bytes(&raw).expect("a minimal service message")
}

fn user_template() -> types::User {
    types::User::from_bytes(&bytes(&[&[0; 8], &9_i64.to_le_bytes()])).expect("a minimal user")
}

fn channel_template() -> types::Channel {
    let photo = enums::ChatPhoto::Empty.to_bytes();
    let raw = bytes(&[&[0; 8], &42_i64.to_le_bytes(), &"Library".to_owned().to_bytes(), &photo, &1_600_000_000_i32.to_le_bytes()]);
    types::Channel::from_bytes(&raw).expect("a minimal channel")
}

fn poll_template() -> types::MessageMediaPoll {
    let text = |text: &str| -> enums::TextWithEntities { types::TextWithEntities { text: text.into(), entities: vec![] }.into() };
    let answer: enums::PollAnswer =
        types::PollAnswer { text: text("yes"), option: vec![1], media: None, added_by: None, date: None }.into();
    let poll =
        bytes(&[&5_i64.to_le_bytes(), &[0; 4], &text("Is it so?").to_bytes(), &vec![answer].to_bytes(), &0_i64.to_le_bytes()]);
    let results = types::PollResults::from_bytes(&[0; 4]).expect("minimal results");
    let voters = types::PollAnswerVoters { chosen: false, correct: false, option: vec![1], voters: Some(3), recent_voters: None };
    types::MessageMediaPoll {
        poll: types::Poll::from_bytes(&poll).expect("a minimal poll").into(),
        results: types::PollResults { results: Some(vec![voters.into()]), total_voters: Some(3), ..results }.into(),
        attached_media: None,
    }
}

fn document(attributes: Vec<enums::DocumentAttribute>) -> enums::MessageMedia {
    let raw = bytes(&[
        &[0; 4],
        &8_i64.to_le_bytes(),
        &0_i64.to_le_bytes(),
        &[0; 4],
        &[0; 4],
        &"x/y".to_owned().to_bytes(),
        &0_i64.to_le_bytes(),
        &[0; 4],
        &attributes.to_bytes(),
    ]);
    let document = types::Document::from_bytes(&raw).expect("a minimal document");
    let media = types::MessageMediaDocument::from_bytes(&[0; 4]).expect("minimal media");
    types::MessageMediaDocument { document: Some(document.into()), ..media }.into()
}

fn fact(told: types::Message) -> Message {
    message::message(&told.into()).expect("a fact")
}

fn media_type(media: enums::MessageMedia) -> Value {
    fact(types::Message { media: Some(media), ..message_template() }).body["media_type"].clone()
}

#[test]
fn a_post_with_all_its_marks() {
    let forward =
        types::MessageFwdHeader::from_bytes(&bytes(&[&[0; 4], &1_600_000_000_i32.to_le_bytes()])).expect("a minimal header");
    let reply = types::MessageReplyHeader::from_bytes(&[0; 4]).expect("a minimal header");
    let count = |reaction: enums::Reaction, count| -> enums::ReactionCount {
        types::ReactionCount { chosen_order: Some(1), reaction, count }.into()
    };
    let told = types::Message {
        post: true,
        message: "𝕏 see #books at https://x.org or here, @hari $TON: the old library of Trantor is open again".into(),
        entities: Some(vec![
            types::MessageEntityHashtag { offset: 7, length: 6 }.into(),
            types::MessageEntityUrl { offset: 17, length: 13 }.into(),
            types::MessageEntityTextUrl { offset: 34, length: 4, url: "https://y.org".into() }.into(),
            types::MessageEntityMention { offset: 40, length: 5 }.into(),
            types::MessageEntityCashtag { offset: 46, length: 4 }.into(),
            types::MessageEntityBold { offset: 4_000, length: 9_000 }.into(),
        ]),
        post_author: Some("Hari".into()),
        views: Some(10),
        forwards: Some(2),
        edit_date: Some(1_700_000_100),
        reply_to: Some(types::MessageReplyHeader { forum_topic: true, reply_to_msg_id: Some(3), ..reply }.into()),
        fwd_from: Some(types::MessageFwdHeader { from_id: Some(peer_channel()), channel_post: Some(5), ..forward }.into()),
        reactions: Some(
            types::MessageReactions {
                min: false,
                can_see_list: false,
                reactions_as_tags: false,
                results: vec![count(types::ReactionEmoji { emoticon: "👍".into() }.into(), 4), count(enums::Reaction::Paid, 1)],
                recent_reactions: None,
                top_reactors: None,
            }
            .into(),
        ),
        ..message_template()
    };
    let fact = fact(told);
    assert_eq!((fact.chat, fact.id, fact.raw.is_none()), (ChatId(-1_000_000_000_042), 7, true));
    assert_eq!(fact.edit_date.map(|date| date.timestamp()), Some(1_700_000_100));
    let links: Vec<&str> = fact.links.iter().map(|link| link.url.as_str()).collect();
    assert_eq!(links, ["https://t.me/hari", "https://x.org/", "https://y.org/"]);
    let mut body = Value::Object(fact.body);
    body["entities"] = json!(body["entities"].as_array().map(Vec::len));
    assert_json_snapshot!(body, @r#"
    {
      "author_signature": "Hari",
      "cashtags": [
        "TON"
      ],
      "entities": 6,
      "forward_date": "2020-09-13T12:26:40Z",
      "forward_from_chat_id": -1000000000042,
      "forward_from_message_id": 5,
      "forwards": 2,
      "hashtags": [
        "books"
      ],
      "links": [
        "https://x.org",
        "https://y.org"
      ],
      "media": false,
      "mentions": [
        "hari"
      ],
      "post": true,
      "reactions": [
        {
          "count": 1,
          "reaction": "paid"
        },
        {
          "count": 4,
          "reaction": "👍"
        }
      ],
      "reply_to_message_id": 3,
      "sender_chat_id": -1000000000042,
      "text": "𝕏 see #books at https://x.org or here, @hari $TON: the old library of Trantor is open again",
      "text_language": "eng",
      "thread_id": 3,
      "views": 10
    }
    "#);
}

#[test]
fn what_a_viewer_sees_is_kept_in_account_boxes_alone() {
    let told = types::Message { out: true, ..message_template() };
    assert_eq!(fact(told.clone()).body.get("outgoing"), None);
    let private = fact(types::Message { peer_id: types::PeerUser { user_id: 9 }.into(), out: false, ..told });
    assert_eq!((private.chat, &private.body["outgoing"], &private.body["from_user_id"]), (ChatId(9), &json!(false), &json!(9)));
}

#[test]
fn documents_are_named_by_what_they_are() {
    let video = |round_message| -> enums::DocumentAttribute {
        let raw = types::DocumentAttributeVideo::from_bytes(&[0; 20]).expect("a minimal attribute");
        types::DocumentAttributeVideo { round_message, ..raw }.into()
    };
    let audio = |voice| -> enums::DocumentAttribute {
        types::DocumentAttributeAudio { voice, duration: 1, title: None, performer: None, waveform: None }.into()
    };
    assert_eq!(media_type(document(vec![])), "document");
    assert_eq!(media_type(document(vec![video(false)])), "video");
    assert_eq!(media_type(document(vec![video(true)])), "video_note");
    assert_eq!(media_type(document(vec![video(false), enums::DocumentAttribute::Animated])), "animation");
    assert_eq!(media_type(document(vec![audio(true)])), "voice");
    assert_eq!(media_type(document(vec![audio(false)])), "audio");
}

#[test]
fn a_contact_goes_without_its_phone() {
    let contact = types::MessageMediaContact {
        phone_number: "+15550100".into(),
        first_name: "Hari".into(),
        last_name: String::new(),
        vcard: "TEL:+15550100".into(),
        user_id: 9,
    };
    let fact = fact(types::Message { media: Some(contact.into()), ..message_template() });
    assert!(!Value::Object(fact.body.clone()).to_string().contains("5550100"));
    assert_eq!(fact.body["contact"], json!({"first_name": "Hari", "last_name": "", "user_id": 9}));
}

#[test]
fn a_poll_keeps_its_answers_and_voters() {
    let fact = fact(types::Message { media: Some(poll_template().into()), ..message_template() });
    assert_eq!(fact.body["poll"]["answers"], json!([{"text": "yes", "voters": 3}]));
    assert_eq!(fact.body["poll"]["total_voters"], 3);
}

#[test]
fn what_is_not_represented_is_kept_raw_with_its_reason() {
    let told = types::Message { media: Some(enums::MessageMedia::Unsupported), message: "new".into(), ..message_template() };
    let fact = fact(told.clone());
    let raw = fact.raw.expect("raw");
    assert_eq!(raw.reason, "messageMediaUnsupported is not represented");
    assert_eq!(enums::Message::from_bytes(&raw.bytes).expect("decodes"), told.into());
    assert_eq!((&fact.body["text"], &fact.body["media_type"]), (&json!("new"), &json!("unsupported")));
}

#[test]
fn service_messages_name_their_action() {
    let service = |action| message::message(&service_template(action).into()).expect("a fact");
    let title = service(types::MessageActionChatEditTitle { title: "New".into() }.into());
    assert_eq!((&title.body["service"], title.raw), (&json!({"action": "chat_edit_title", "title": "New"}), None));
    assert_eq!(service(enums::MessageAction::PinMessage).body["service"], json!({"action": "pin_message"}));
    let refund = service(types::MessageActionPaidMessagesRefunded { count: 1, stars: 5 }.into());
    assert_eq!(refund.body["service"], json!({"action": "paid_messages_refunded"}));
    assert_eq!(
        refund.raw.map(|raw| raw.reason),
        Some("the values of messageActionPaidMessagesRefunded are not represented".into())
    );
}

#[test]
fn a_users_phone_is_dropped_and_absence_is_told_by_full_constructors_alone() {
    let told =
        types::User { phone: Some("15550100".into()), first_name: Some("Hari".into()), access_hash: Some(5), ..user_template() };
    let full = user::user(&told.clone().into()).expect("a fact");
    assert!(!Value::Object(full.body.clone()).to_string().contains("5550100"));
    assert_eq!((full.body.get("username"), full.body.get("is_bot")), (Some(&Value::Null), Some(&json!(false))));
    let partial = user::user(&types::User { min: true, ..told }.into()).expect("a fact");
    assert_eq!(Value::Object(partial.body), json!({"first_name": "Hari"}));
    assert_eq!(user::private_chat(&full).body["title"], "Hari");
}

#[test]
fn a_page_tells_messages_empty_ids_and_peers() {
    let channel = types::Channel { broadcast: true, username: Some("library".into()), access_hash: Some(5), ..channel_template() };
    let answer = types::messages::ChannelMessages {
        inexact: false,
        pts: 12,
        count: 2,
        offset_id_offset: None,
        messages: vec![message_template().into(), types::MessageEmpty { id: 6, peer_id: None }.into()],
        topics: vec![],
        chats: vec![channel.into()],
        users: vec![types::User { min: true, access_hash: Some(1), ..user_template() }.into()],
    };
    let page = page(&answer.into());
    assert_eq!((page.pts, page.count, page.shown()), (Some(12), Some(2), vec![7, 6]));
    assert_eq!(page.chats[0].kind, "channel");
    let library = Peer { id: -1_000_000_000_042, access_hash: Some(5), username: Some("library".into()) };
    assert_eq!(page.peers(), [library]);
}

#[test]
fn a_full_channel_tells_what_is_hidden() {
    let raw = bytes(&[
        &[0; 8],
        &42_i64.to_le_bytes(),
        &"Old books".to_owned().to_bytes(),
        &[0; 12],
        &enums::Photo::Empty(types::PhotoEmpty { id: 0 }).to_bytes(),
        &notify_settings(),
        &Vec::<enums::BotInfo>::new().to_bytes(),
        &33_i32.to_le_bytes(),
    ]);
    let told = types::ChannelFull::from_bytes(&raw).expect("a minimal channel");
    let told = types::ChannelFull { available_min_id: Some(99), linked_chat_id: Some(43), ..told };
    let answer = types::messages::ChatFull { full_chat: told.into(), chats: vec![channel_template().into()], users: vec![] };
    let full = chat::full(&answer.into()).expect("a fact");
    assert_eq!((full.visible_from, full.pts, full.id), (100, Some(33), ChatId(-1_000_000_000_042)));
    assert_eq!(full.chats[0].body["description"], "Old books");
    assert_eq!(full.chats[0].body["link_chat_id"], -1_000_000_000_043_i64);
}

fn notify_settings() -> Vec<u8> {
    let settings = types::PeerNotifySettings::from_bytes(&[0; 4]).expect("minimal settings");
    enums::PeerNotifySettings::from(settings).to_bytes()
}
