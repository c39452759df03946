use grammers_tl_types as tl;

use super::*;
use crate::world::{Content, Media, tests::folder};

mod shapes;

fn load(name: &str, json: &str) -> Result<World, WorldError> {
    let folder = folder(name);
    std::fs::write(folder.join("result.json"), json).expect("writes");
    World::from_export(&folder)
}

fn contents(world: &World, chat: i64) -> Vec<Content> {
    world.truth(chat).expect("the chat exists").map(|truth| truth.content).collect()
}

fn message(world: &World, chat: i64, id: i32) -> tl::types::Message {
    match world.chat(chat).expect("the chat exists").message(id) {
        Some(tl::enums::Message::Message(message)) => message,
        other => panic!("{id} is {other:?}"),
    }
}

const CHANNEL: &str = r##"{
 "name": "港", "type": "public_channel", "id": 7,
 "messages": [
  {"id": 1, "type": "service", "date": "2023-07-18T00:23:39", "date_unixtime": "1689611019", "actor": "港", "actor_id": "channel7",
   "action": "create_channel", "title": "港", "text": "", "text_entities": []},
  {"id": 2, "type": "message", "date": "2023-07-18T00:24:19", "date_unixtime": "1689611059", "edited": "2023-07-18T00:25:19",
   "edited_unixtime": "1689611119", "from": "港", "from_id": "channel7", "author": "Mei",
   "text": ["🚢 ", {"type": "bold", "text": "你好👋"}, " ", {"type": "text_link", "text": "link", "href": "https://a.example"}],
   "reactions": [{"type": "emoji", "count": 12, "emoji": "👍"}, {"type": "paid", "count": 2}]},
  {"id": 4, "type": "message", "date": "2023-07-18T00:26:19", "date_unixtime": "1689611179", "from_id": "channel7",
   "reply_to_message_id": 2, "reply_to_peer_id": "channel8", "photo": "photos/none.jpg", "photo_file_size": 99, "width": 3, "height": 4,
   "text": "plain", "text_entities": [{"type": "plain", "text": "plain"}], "hologram": 3},
  {"id": 5, "type": "service", "date": "2023-07-18T00:27:19", "date_unixtime": "1689611239", "actor_id": "channel7",
   "action": "pin_message", "message_id": 2, "text": ""},
  {"id": 6, "type": "service", "date": "2023-07-18T00:28:19", "date_unixtime": "1689611299", "actor_id": "channel7",
   "action": "dance", "steps": 3, "text": ""},
  {"id": 7, "type": "message", "date": "2023-07-18T00:29:19", "from_id": "channel7", "poll": {"question": "?", "closed": false,
   "total_voters": 3, "answers": [{"text": "a", "voters": 1, "chosen": false}, {"text": "b", "voters": 2, "chosen": true}]}, "text": ""},
  {"id": 8, "type": "message", "date": "2023-07-18T00:30:19", "date_unixtime": "1689611419", "from_id": "channel7",
   "forwarded_from": "Ann", "location_information": {"latitude": 1.5, "longitude": 2.5}, "text": ""},
  {"id": 9, "type": "message", "date": "2023-07-18T00:31:19", "date_unixtime": "1689611479", "from_id": "channel7",
   "file": "(File not included. Change data exporting settings to download.)", "media_type": "voice_message",
   "mime_type": "audio/ogg", "duration_seconds": 4, "text": ""}
 ]}"##;

#[test]
fn a_channel_is_told_as_telegram_would() {
    let world = load("channel", CHANNEL).expect("is valid");
    let chat = -1_000_000_000_007;
    let told = contents(&world, chat);
    assert_eq!(told.iter().map(|content| content.message_id).collect::<Vec<_>>(), [1, 2, 4, 5, 6, 7, 8, 9]);
    assert!(told.iter().all(|content| content.from_user_id.is_none()));
    let services: Vec<_> = told.iter().filter_map(|content| content.service.as_deref()).collect();
    assert_eq!(services, ["channel_create", "pin_message", "custom_action"]);
    let media: Vec<_> = told.iter().filter_map(|content| content.media_type).collect();
    assert_eq!(media, [Media::Photo, Media::Poll, Media::Location, Media::Voice]);
    assert_eq!(told[3].reply_to_message_id, Some(2));
    assert_eq!(told[5].date, 1_689_640_159);

    let post = message(&world, chat, 2);
    assert_eq!(
        (post.message.as_str(), post.edit_date, post.post_author.as_deref()),
        ("🚢 你好👋 link", Some(1_689_611_119), Some("Mei"))
    );
    let wanted: Vec<tl::enums::MessageEntity> = vec![
        tl::types::MessageEntityBold { offset: 3, length: 4 }.into(),
        tl::types::MessageEntityTextUrl { offset: 8, length: 4, url: "https://a.example".to_owned() }.into(),
    ];
    assert_eq!(post.entities, Some(wanted));
    let Some(tl::enums::MessageReactions::Reactions(reactions)) = post.reactions else { panic!("reactions are kept") };
    assert_eq!(reactions.results.len(), 2);
    let Some(tl::enums::MessageReplyHeader::Header(reply)) = message(&world, chat, 4).reply_to else { panic!("a reply") };
    assert_eq!(reply.reply_to_peer_id, Some(tl::types::PeerChannel { channel_id: 8 }.into()));
}

#[test]
fn what_is_not_represented_is_counted_and_named() {
    let world = load("notes", CHANNEL).expect("is valid");
    let notes: Vec<_> = world.notes().iter().collect();
    assert_eq!(
        notes,
        [
            ("date without `date_unixtime` (taken as UTC)", 1),
            ("file that is missing", 1),
            ("file that was not exported", 1),
            ("forward without an id (name only)", 1),
            ("message field `hologram`", 1),
            ("service action `dance` (kept as a custom action)", 1),
        ]
    );
}

#[test]
fn a_whole_account_has_all_its_chats() {
    let json = r#"{"about": "…", "personal_information": {"user_id": 42, "first_name": "Me", "last_name": ""},
     "chats": {"about": "…", "list": [
      {"name": "Ann", "type": "personal_chat", "id": 5, "messages": [
       {"id": 10, "type": "message", "date_unixtime": "10", "date": "1970-01-01T00:00:10", "from": "Ann", "from_id": "user5", "text": "a"},
       {"id": 11, "type": "message", "date_unixtime": "11", "date": "1970-01-01T00:00:11", "from": "Me", "from_id": "user42", "text": "b"}]},
      {"name": "crew", "type": "private_supergroup", "id": 6, "messages": [
       {"id": -999999990, "type": "message", "date_unixtime": "1", "date": "", "from_id": "user5", "text": "old"},
       {"id": 3, "type": "service", "date_unixtime": "13", "date": "", "actor": "Me", "actor_id": "user42", "action": "invite_members",
        "members": ["Ann", "Nobody"], "text": ""}]}]},
     "left_chats": {"list": [{"name": "gone", "type": "public_channel", "id": 8, "messages": []}]}}"#;
    let world = load("account", json).expect("is valid");
    assert_eq!(world.chats().iter().map(|chat| chat.id).collect::<Vec<_>>(), [5, -1_000_000_000_006, -1_000_000_000_008]);
    assert_eq!(world.me, 42);
    let senders: Vec<_> = contents(&world, 5).iter().map(|content| content.from_user_id).collect();
    assert_eq!(senders, [Some(5), Some(42)]);
    assert_eq!((message(&world, 5, 10).out, message(&world, 5, 11).out), (false, true));
    assert_eq!(world.user(5).map(|person| person.first_name.as_str()), Some("Ann"));
    assert_eq!(world.notes().count("message of the group before its migration"), 1);
    assert_eq!(world.notes().count("member of a service message without an id"), 1);
    let Some(tl::enums::Message::Service(service)) = world.chats()[1].message(3) else { panic!("a service message") };
    assert_eq!(service.action, tl::types::MessageActionChatAddUser { users: vec![5] }.into());
}

#[test]
fn a_truncated_file_is_refused_with_its_place() {
    let end = CHANNEL.find("\"author\"").expect("is there");
    let error = load("truncated", &CHANNEL[..end]).expect_err("is refused");
    assert!(matches!(error, WorldError::Json { line: 7, column: 74, .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("result.json:7:74: the file ends too early") && told.contains("export the chat again"), "{told}");

    let damaged = CHANNEL.replacen("\"type\": \"service\"", "\"type\" \"service\"", 1);
    let error = load("damaged", &damaged).expect_err("is refused").to_string();
    assert!(error.contains("result.json:4:"), "{error}");
    assert!(matches!(load("other", "{\"a\": 1}"), Err(WorldError::NoChats { .. })));
    assert!(matches!(World::from_export(Path::new("/nonexistent")), Err(WorldError::Unreadable { .. })));
}

#[test]
fn a_file_of_the_export_is_served_and_one_outside_is_not() {
    let place = folder("files");
    std::fs::create_dir_all(place.join("photos")).expect("writes");
    std::fs::write(place.join("photos/p.jpg"), b"jpeg").expect("writes");
    let json = r#"{"name": "a", "type": "public_channel", "id": 7, "messages": [
      {"id": 1, "type": "message", "date_unixtime": "1", "from_id": "channel7", "photo": "photos/p.jpg", "text": ""},
      {"id": 2, "type": "message", "date_unixtime": "2", "from_id": "channel7", "file": "../../etc/passwd", "text": ""}]}"#;
    std::fs::write(place.join("result.json"), json).expect("writes");
    let world = World::from_export(&place).expect("is valid");
    let Some(tl::enums::MessageMedia::Photo(media)) = message(&world, -1_000_000_000_007, 1).media else { panic!("a photo") };
    let Some(tl::enums::Photo::Photo(photo)) = media.photo else { panic!("a photo") };
    assert_eq!(world.file(photo.id).as_deref(), Some(&b"jpeg"[..]));
    assert_eq!(world.notes().count("file outside of the export's folder"), 1);
    assert_eq!(world.files.len(), 1);
}

/// Reads a real export: `TELEKEEP_EXPORT`, else the trial data beside the repository.
#[test]
fn a_real_export_is_told_message_by_message() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/trantor-library");
    let folder = std::env::var_os("TELEKEEP_EXPORT").map_or(beside, PathBuf::from);
    if !folder.join("result.json").exists() {
        println!("skipped: no export in {} (set TELEKEEP_EXPORT to a folder with a result.json)", folder.display());
        return;
    }
    let json = std::fs::read(folder.join("result.json")).expect("is readable");
    let export: Value = serde_json::from_slice(&json).expect("is JSON");
    let world = World::from_export(&folder).expect("is valid");
    println!("notes: {}", world.notes());
    let Some(messages) = export["messages"].as_array() else {
        println!("skipped: not the export of a single chat");
        return;
    };
    let told = contents(&world, world.chats()[0].id);
    assert_eq!(told.len(), messages.len());
    for (content, wanted) in told.iter().zip(messages) {
        let text: String = match &wanted["text"] {
            Value::Array(pieces) => pieces.iter().filter_map(|piece| piece.as_str().or(piece["text"].as_str())).collect(),
            text => text.as_str().unwrap_or_default().to_owned(),
        };
        assert_eq!((i64::from(content.message_id), &content.text), (wanted["id"].as_i64().expect("an id"), &text));
        assert_eq!(Some(content.date.to_string().as_str()), wanted["date_unixtime"].as_str());
        assert_eq!(content.edit_date.map(|date| date.to_string()).as_deref(), wanted["edited_unixtime"].as_str());
        assert_eq!(content.service.is_some(), wanted["type"] == "service");
        let media = wanted.get("photo").or(wanted.get("file")).or(wanted.get("poll"));
        assert_eq!(content.media_type.is_some(), media.is_some() && content.service.is_none(), "message {}", content.message_id);
    }
}
