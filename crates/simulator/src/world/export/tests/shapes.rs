//! Each shape that Telegram Desktop writes, from the smallest export that has it.

use super::*;

const CHAT: i64 = -1_000_000_000_007;

/// A supergroup's export of these messages: each gets an id in turn, a date and a sender.
fn shapes(name: &str, messages: &[&str]) -> World {
    let heads = (1..).zip(messages).map(|(id, rest)| {
        format!(r#"{{"id": {id}, "date": "2024-01-12T10:00:05", "date_unixtime": "{}", {rest}}}"#, 1_705_053_605 + id)
    });
    let list: Vec<String> = heads.collect();
    let json = format!(r#"{{"name": "g", "type": "private_supergroup", "id": 7, "messages": [{}]}}"#, list.join(",\n"));
    load(name, &json).unwrap_or_else(|error| panic!("{error}"))
}

fn said(rest: &str) -> String {
    format!(r#""type": "message", "from": "Ann", "from_id": "user100", "text": "", {rest}"#)
}

fn media(world: &World, id: i32) -> tl::enums::MessageMedia {
    message(world, CHAT, id).media.expect("has media")
}

fn action(world: &World, id: i32) -> tl::enums::MessageAction {
    match world.chat(CHAT).expect("the chat").message(id) {
        Some(tl::enums::Message::Service(service)) => service.action,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_of_text_entity_is_told() {
    let plain = ["unknown", "mention", "hashtag", "bot_command", "link", "email", "bold", "italic", "code", "phone", "cashtag"];
    let more = ["underline", "strikethrough", "bank_card", "spoiler"];
    let mut pieces: Vec<String> = plain.iter().chain(&more).map(|kind| format!(r#"{{"type": "{kind}", "text": "x"}}"#)).collect();
    pieces.push(r#"{"type": "pre", "text": "x", "language": "rust"}"#.to_owned());
    pieces.push(r#"{"type": "text_link", "text": "x", "href": "https://a.example"}"#.to_owned());
    pieces.push(r#"{"type": "mention_name", "text": "x", "user_id": 5}"#.to_owned());
    pieces.push(r#"{"type": "blockquote", "text": "x", "collapsed": true}"#.to_owned());
    pieces.push(r#"{"type": "custom_emoji", "text": "x", "document_id": "stickers/e.webp"}"#.to_owned());
    let message_of = |text: String| format!(r#""type": "message", "from_id": "user100", {text}"#);
    let listed = message_of(format!(r#""text": [{}]"#, pieces.join(",")));
    let doubled = message_of(format!(r#""text": "x", "text_entities": [{}]"#, pieces.join(",")));
    let strange = message_of(r#""text": [{"type": "hologram", "text": "x"}, 5]"#.to_owned());
    let world = shapes("entities", &[&listed, &doubled, &strange]);
    for id in [1, 2] {
        let message = message(&world, CHAT, id);
        assert_eq!((message.message, message.entities.map(|entities| entities.len())), ("x".repeat(20), Some(20)));
    }
    let notes: Vec<_> = world.notes().iter().collect();
    assert_eq!(notes, [("piece of text of unknown form", 1), ("text entity `hologram`", 1)]);
}

#[test]
fn every_kind_of_media_is_told() {
    let rests = [
        r#""photo": "(File not included. Change data exporting settings to download.)", "photo_file_size": 9, "width": 2, "height": 1"#,
        r#""photo_file_size": 0, "self_destruct_period_seconds": 10"#,
        r#""file_size": 0, "media_type": "video_message", "mime_type": "video/mp4", "duration_seconds": 3, "self_destruct_period_seconds": 7"#,
        r#""file": "(File unavailable, please try again later)", "file_name": "a.bin", "file_size": 10, "mime_type": "app/x""#,
        r#""location_information": {"latitude": 55.755800, "longitude": 37.617300}"#,
        r#""location_information": null, "live_location_period_seconds": 60"#,
        r#""place_name": "V", "address": "A", "location_information": {"latitude": 1.5, "longitude": 2.5}"#,
        r#""place_name": "V", "address": "A""#,
        r#""contact_information": {"first_name": "A", "last_name": "B", "phone_number": "+1"}, "contact_vcard": "contacts/none.vcard", "contact_vcard_file_size": 3"#,
        r#""game_title": "G", "game_description": "d", "game_link": "https://t.me/helper?game=g1""#,
        r#""invoice_information": "{\n \"title\": \"T\",\n \"description\": \"D\",\n \"amount\": 150,\n \"currency\": \"USD\",\n \"receipt_message_id\": 9\n}""#,
        r#""invoice_information": {"title": "T", "description": "D", "amount": 150, "currency": "USD"}"#,
        r#""poll": {"question": [{"type": "bold", "text": "Q"}, "?"], "closed": true, "total_voters": 2, "answers": [{"text": "Yes", "voters": 2, "chosen": true}]}"#,
        r#""todo_list": {"title": "Do", "others_can_append": true, "others_can_complete": false, "answers": [{"text": "a", "id": 1}]}"#,
        r#""giveaway_information": {"quantity": 3, "months": 6, "until_date": "2024-01-12T10:00:05", "channels": [9], "countries": ["DE"], "additional_prize": "", "stars": 0, "is_only_new_subscribers": false}"#,
        r#""giveaway_results": {"channel": 9, "winners": [100], "additional_prize": "P", "until_date": "2024-01-12T10:00:05", "launch_message_id": 3, "additional_peers_count": 1, "winners_count": 2, "unclaimed_count": 0, "months": 3, "stars": 0, "is_refunded": true, "is_only_new_subscribers": true}"#,
        r#""paid_stars_amount": 5"#,
        r#""dice_emoji": "🎲", "dice_value": 6"#,
    ];
    let messages: Vec<String> = rests.iter().map(|rest| said(rest)).collect();
    let world = shapes("media", &messages.iter().map(String::as_str).collect::<Vec<_>>());
    let kinds: Vec<_> = contents(&world, CHAT).iter().map(|content| content.media_type.expect("has media")).collect();
    use Media as M;
    let wanted = [
        M::Photo,
        M::Photo,
        M::VideoNote,
        M::Document,
        M::Location,
        M::Location,
        M::Location,
        M::Location,
        M::Contact,
        M::Game,
        M::Invoice,
        M::Invoice,
        M::Poll,
        M::Todo,
        M::Giveaway,
        M::GiveawayResults,
        M::PaidMedia,
        M::Dice,
    ];
    assert_eq!(kinds, wanted);
    let tl::enums::MessageMedia::Photo(gone) = media(&world, 2) else { panic!("a photo") };
    assert_eq!((gone.photo, gone.ttl_seconds), (None, Some(10)));
    let tl::enums::MessageMedia::GeoLive(live) = media(&world, 6) else { panic!("a live location") };
    assert_eq!((live.geo, live.period), (tl::enums::GeoPoint::Empty, 60));
    let tl::enums::MessageMedia::Invoice(invoice) = media(&world, 11) else { panic!("an invoice") };
    assert_eq!((invoice.title.as_str(), invoice.total_amount, invoice.receipt_msg_id), ("T", 150, Some(9)));
    let tl::enums::MessageMedia::Game(game) = media(&world, 10) else { panic!("a game") };
    let tl::enums::Game::Game(game) = game.game;
    assert_eq!(game.short_name, "g1");
    let tl::enums::MessageMedia::Giveaway(giveaway) = media(&world, 15) else { panic!("a giveaway") };
    assert_eq!((giveaway.channels, giveaway.months, giveaway.until_date), (vec![9], Some(6), 1_705_053_605));
    let tl::enums::MessageMedia::ToDo(todo) = media(&world, 14) else { panic!("a checklist") };
    let tl::enums::TodoList::List(todo) = todo.todo;
    assert_eq!((todo.list.len(), todo.others_can_append), (1, true));
    let notes: Vec<_> = world.notes().iter().collect();
    assert_eq!(
        notes,
        [
            ("file that is gone", 1),
            ("file that is missing", 1),
            ("file that was not exported", 2),
            ("marks in a poll's text", 1),
            ("photo that is gone", 1),
            ("what paid media shows", 1),
        ]
    );
}

#[test]
fn a_message_that_the_export_tells_by_its_id_alone_is_there() {
    let json = r#"{"name": "g", "type": "private_supergroup", "id": 7, "messages": [
        {"id": 1, "type": "message", "date_unixtime": "50", "from_id": "user100", "text": "a"}, {"id": 2, "type": "unsupported"}]}"#;
    let world = load("unsupported", json).expect("is valid");
    let message = message(&world, CHAT, 2);
    assert_eq!((message.date, message.media), (50, Some(tl::enums::MessageMedia::Unsupported)));
    assert_eq!(world.notes().count("message that the export tells as unsupported (date of the one before)"), 1);
}

/// Name of the action in the export, its other fields, and what it is called in Telegram's schema.
const ACTIONS: &[(&str, &str, &str)] = &[
    ("create_group", r#""title": "Club", "members": ["Ann", null]"#, "chat_create"),
    ("edit_group_title", r#""title": "T""#, "chat_edit_title"),
    ("edit_group_photo", r#""photo": "photos/none.jpg", "photo_file_size": 5, "width": 10, "height": 20"#, "chat_edit_photo"),
    ("edit_group_photo", r#""photo_file_size": 0, "media_spoiler": true"#, "chat_edit_photo"),
    (
        "suggest_profile_photo",
        r#""photo": "(File unavailable, please try again later)", "photo_file_size": 0"#,
        "suggest_profile_photo",
    ),
    ("delete_group_photo", "", "chat_delete_photo"),
    ("invite_members", r#""members": ["Ann"]"#, "chat_add_user"),
    ("remove_members", r#""members": ["Ann"]"#, "chat_delete_user"),
    ("join_group_by_link", r#""inviter": "Ann""#, "chat_joined_by_link"),
    ("join_group_by_request", "", "chat_joined_by_request"),
    ("join_group_via_community", r#""community_id": 77"#, "chat_joined_via_community"),
    ("create_channel", r#""title": "C""#, "channel_create"),
    ("migrate_to_supergroup", "", "chat_migrate_to"),
    ("migrate_from_group", r#""title": "Old""#, "channel_migrate_from"),
    ("pin_message", r#""message_id": 4, "reply_to_peer_id": "chat6""#, "pin_message"),
    ("clear_history", "", "history_clear"),
    ("score_in_game", r#""game_message_id": 3, "score": 0"#, "game_score"),
    ("send_payment", r#""amount": 150, "currency": "USD", "invoice_message_id": 2, "recurring": "init""#, "payment_sent"),
    (
        "refunded_payment",
        r#""amount": 99, "currency": "EUR", "peer_name": "Bot", "peer_id": "user300", "charge_id": "tx1""#,
        "payment_refunded",
    ),
    ("phone_call", r#""duration_seconds": 9, "discard_reason": "busy""#, "phone_call"),
    ("phone_call", r#""discard_reason": "migrate_conference_all""#, "phone_call"),
    ("conference_call", r#""is_active": false, "is_missed": true"#, "conference_call"),
    ("group_call", r#""duration": 30"#, "group_call"),
    ("group_call_scheduled", r#""schedule_date": 1705053605"#, "group_call_scheduled"),
    ("invite_to_group_call", r#""members": [null]"#, "invite_to_group_call"),
    ("take_screenshot", "", "screenshot_taken"),
    ("joined_telegram", "", "contact_sign_up"),
    ("attach_menu_bot_allowed", "", "bot_allowed"),
    ("web_app_bot_allowed", "", "bot_allowed"),
    ("allow_sending_messages", r#""reason_app_id": 18446744073709551615, "reason_app_name": "App""#, "bot_allowed"),
    ("allow_sending_messages", r#""reason_domain": "x.org""#, "bot_allowed"),
    ("send_passport_values", r#""values": ["passport", "email"]"#, "secure_values_sent"),
    ("send_webview_data", r#""text": "btn""#, "web_view_data_sent"),
    ("managed_bot_created", r#""bot": "Bot""#, "managed_bot_created"),
    (
        "proximity_reached",
        r#""from": "Ann", "from_id": "user100", "to": "News", "to_id": "channel9", "distance": 20"#,
        "geo_proximity_reached",
    ),
    ("set_messages_ttl", r#""period": 86400"#, "set_messages_ttl"),
    ("edit_chat_theme", r#""emoticon": "❤""#, "set_chat_theme"),
    ("set_chat_wallpaper", "", "set_chat_wall_paper"),
    ("set_same_chat_wallpaper", r#""message_id": 4"#, "set_chat_wall_paper"),
    ("topic_created", r#""title": "T""#, "topic_create"),
    ("topic_edit", r#""new_title": "New", "new_icon_emoji_id": 5"#, "topic_edit"),
    ("boost_apply", r#""boosts": 2"#, "boost_apply"),
    ("no_forwards_toggle", r#""new_value": true"#, "no_forwards_toggle"),
    ("no_forwards_request", r#""expired": true, "new_value": false"#, "no_forwards_request"),
    ("new_creator_pending", r#""new_creator": "Ann""#, "new_creator_pending"),
    ("change_creator", r#""new_creator": null"#, "change_creator"),
    ("send_premium_gift", r#""cost": "$5", "days": 30"#, "gift_premium"),
    ("send_premium_gift", r#""cost": "$5", "months": 3"#, "gift_premium"),
    (
        "gift_code_prize",
        r#""gift_code": "CODE", "boost_peer_id": "channel9", "days": 90, "unclaimed": false, "via_giveaway": true"#,
        "gift_code",
    ),
    ("giveaway_launch", "", "giveaway_launch"),
    ("giveaway_results", r#""winners": 3, "unclaimed": 1, "stars": true"#, "giveaway_results"),
    ("send_ton_gift", r#""cost": "$1", "amount_whole": 2, "amount_nano": 500000000"#, "gift_ton"),
    ("send_stars_gift", r#""amount_whole": 2, "amount_nano": 0"#, "gift_stars"),
    (
        "stars_prize",
        r#""boost_peer_id": "channel9", "boost_peer_name": "News", "stars": 50, "is_unclaimed": true, "giveaway_msg_id": 12, "transaction_id": "tx""#,
        "prize_stars",
    ),
    (
        "send_star_gift",
        r#""gift_id": 18446744073709551614, "stars": 25, "is_limited": true, "is_anonymous": true, "gift_text": "hi""#,
        "star_gift",
    ),
    ("paid_messages_refund", r#""messages_count": 3, "stars_count": 30"#, "paid_messages_refunded"),
    ("paid_messages_price_change", r#""price_stars": 10, "is_broadcast_messages_allowed": true"#, "paid_messages_price"),
    ("todo_completions", r#""completed": [1,2], "incompleted": []"#, "todo_completions"),
    ("todo_append_tasks", r#""items": [{"text": [{"type": "bold", "text": "b"}], "id": 2}]"#, "todo_append_tasks"),
    ("poll_append_answer", r#""option": "Yes""#, "poll_append_answer"),
    ("poll_delete_answer", r#""option": "No""#, "poll_delete_answer"),
    ("process_suggested_post", r#""rejected": true, "comment": "no""#, "suggested_post_approval"),
    (
        "process_suggested_post",
        r#""price_amount_whole": "5", "price_amount_nano": "0", "price_currency": "Stars", "scheduled_date": 1705053605"#,
        "suggested_post_approval",
    ),
    (
        "suggested_post_success",
        r#""price_amount_whole": "1", "price_amount_nano": "5", "price_currency": "TON""#,
        "suggested_post_success",
    ),
    ("suggested_post_refund", r#""user_initiated": true"#, "suggested_post_refund"),
    ("suggest_birthday", r#""day": 2, "month": 3, "year": 1990"#, "suggest_birthday"),
    ("requested_peer", r#""button_id": 3, "peers": "[\n 5,\n 562949953421321\n]""#, "requested_peer"),
    ("requested_phone_number", "", "custom_action"),
    ("", r#""information_text": "hi""#, "custom_action"),
];

#[test]
fn every_service_action_that_telegram_desktop_writes_is_told() {
    let messages: Vec<String> = ACTIONS
        .iter()
        .map(|(name, rest, _)| {
            let action = if name.is_empty() { String::new() } else { format!(r#""action": "{name}", "#) };
            let comma = if rest.is_empty() { "" } else { ", " };
            let head = r#""type": "service", "actor": "Ann", "actor_id": "user100""#;
            format!(r#"{head}, {action}"words": null{comma}{rest}, "text": "", "text_entities": []"#)
        })
        .collect();
    let world = shapes("actions", &messages.iter().map(String::as_str).collect::<Vec<_>>());
    let told: Vec<_> = contents(&world, CHAT).into_iter().map(|content| content.service.expect("is a service message")).collect();
    assert_eq!(told, ACTIONS.iter().map(|(_, _, wanted)| *wanted).collect::<Vec<_>>());
    let notes: Vec<_> = world.notes().iter().collect();
    assert_eq!(
        notes,
        [
            ("cost of a gift (as text, in place of a currency)", 3),
            ("file that is missing", 1),
            ("file that was not exported", 1),
            ("id of a game (0)", 1),
            ("id of a group call (0)", 3),
            ("id of a wallpaper (0)", 2),
            ("id of the `new_creator` of a service message (0)", 1),
            ("id of the group that a supergroup was (0)", 1),
            ("id of the supergroup that a group became (0)", 1),
            ("member of a service message without an id", 2),
            ("photo of a service message without a file", 1),
            ("service action `requested_phone_number` (kept as a custom action)", 1),
            ("sticker of a gift (0)", 1),
        ]
    );
    let at = |name: &str| i32::try_from(ACTIONS.iter().position(|action| action.0 == name).expect("is listed")).expect("fits") + 1;
    let tl::enums::MessageAction::WebViewDataSent(sent) = action(&world, at("send_webview_data")) else { panic!("data") };
    assert_eq!(sent.text, "btn");
    let tl::enums::MessageAction::RequestedPeer(requested) = action(&world, at("requested_peer")) else { panic!("peers") };
    let peers: Vec<_> = requested.peers.iter().map(crate::world::marked).collect();
    assert_eq!(peers, [5, -1_000_000_000_009]);
    let tl::enums::MessageAction::StarGift(gift) = action(&world, at("send_star_gift")) else { panic!("a gift") };
    let tl::enums::StarGift::Gift(gift) = gift.gift else { panic!("a gift") };
    assert_eq!(gift.id, -2);
    let tl::enums::MessageAction::GeoProximityReached(reached) = action(&world, at("proximity_reached")) else { panic!() };
    assert_eq!(crate::world::marked(&reached.to_id), -1_000_000_000_009);
    let Some(tl::enums::Message::Service(pin)) = world.chats()[0].message(at("pin_message")) else { panic!("a pin") };
    let Some(tl::enums::MessageReplyHeader::Header(reply)) = pin.reply_to else { panic!("a reply") };
    assert_eq!((reply.reply_to_msg_id, reply.reply_to_peer_id.as_ref().map(crate::world::marked)), (Some(4), Some(-6)));
}

#[test]
fn forwards_buttons_reactions_and_rich_messages_are_told() {
    let world = shapes(
        "parts",
        &[
            &said(r#""forwarded_from": "Anon""#),
            &said(r#""forwarded_from": null, "forwarded_from_id": "channel9", "saved_from": "News", "via_bot": "@helper""#),
            &said(
                r#""inline_bot_buttons": [[{"type": "callback", "text": "Go", "dataBase64": "-_8B", "data": ""},
                {"type": "url", "text": "Site", "data": "https://e.x"}], [{"type": "request_phone"}],
                [{"type": "auth", "text": "In", "data": "https://a", "forward_text": "fwd", "button_id": 3}]]"#,
            ),
            &said(
                r#""reactions": [{"type": "emoji", "count": 2, "emoji": "❤", "recent": [{"from": "Bob", "from_id": "user101",
                "date": "2024-01-12T10:00:05"}]}, {"type": "custom_emoji", "count": 2, "document_id": "stickers/e.webp"},
                {"type": "paid", "count": 1}]"#,
            ),
            r#""type": "message", "from_id": "user100", "rich_message": {"rtl": false, "part": false, "blocks": [
                {"type": "paragraph", "text": {"type": "plain", "text": "Hi"}}, {"type": "photo", "photo_id": "77"},
                {"type": "paragraph", "text": {"type": "concat", "children": [{"text": "you"}, {"text": " there"}]}}]}"#,
        ],
    );
    let Some(tl::enums::MessageFwdHeader::Header(forward)) = message(&world, CHAT, 1).fwd_from else { panic!("a forward") };
    assert_eq!((forward.from_id, forward.from_name.as_deref()), (None, Some("Anon")));
    let Some(tl::enums::MessageFwdHeader::Header(forward)) = message(&world, CHAT, 2).fwd_from else { panic!("a forward") };
    assert_eq!((forward.from_id.is_some(), forward.saved_from_name.as_deref()), (true, Some("News")));
    let Some(tl::enums::ReplyMarkup::ReplyInlineMarkup(markup)) = message(&world, CHAT, 3).reply_markup else { panic!("buttons") };
    assert_eq!(markup.rows.len(), 2);
    let tl::enums::KeyboardInlineButtonRow::Row(row) = &markup.rows[0];
    let tl::enums::KeyboardInlineButton::Button(button) = &row.buttons[0];
    let wanted = tl::types::InlineButtonTypeCallback { requires_password: false, data: vec![0xfb, 0xff, 1] };
    assert_eq!(button.r#type, wanted.into());
    let Some(tl::enums::MessageReactions::Reactions(reactions)) = message(&world, CHAT, 4).reactions else { panic!("reactions") };
    assert_eq!((reactions.results.len(), reactions.recent_reactions.map(|recent| recent.len())), (3, Some(1)));
    assert_eq!(world.user(101).map(|person| person.first_name.as_str()), Some("Bob"));
    assert_eq!(message(&world, CHAT, 5).message, "Hi\nyou there");
    let notes: Vec<_> = world.notes().iter().collect();
    assert_eq!(
        notes,
        [
            ("bot through which a message was sent (a name without an id)", 1),
            ("button of type `request_phone`", 1),
            ("date of a reaction without zone (taken as UTC)", 1),
            ("forward without an id (name only)", 1),
            ("rich message (its text only)", 1),
        ]
    );
}

#[test]
fn old_exports_without_unixtime_and_with_bare_numbers_are_told() {
    let json = r#"{"name": "g", "type": "public_supergroup", "id": 7, "messages": [
      {"id": 1, "type": "message", "date": "2019-05-31T21:28:30", "edited": "1970-01-01T03:00:00", "from": "Ann", "from_id": 100, "text": "a"},
      {"id": 2, "type": "message", "date": "2019-05-31T21:28:31", "edited": "2019-06-01T21:28:31", "from": "g", "from_id": 8589934599, "text": "b"},
      {"id": 3, "type": "message", "date": "2019-05-31T21:28:32", "from": "old", "from_id": 4294967301, "text": "c"}]}"#;
    let world = load("old", json).expect("is valid");
    let told = |id| message(&world, CHAT, id);
    assert_eq!((told(1).date, told(1).edit_date, told(2).edit_date), (1_559_338_110, None, Some(1_559_424_511)));
    let senders: Vec<_> = (1..=3).map(|id| told(id).from_id.as_ref().map(crate::world::marked)).collect();
    assert_eq!(senders, [Some(100), Some(CHAT), Some(-5)]);
    assert_eq!(world.notes().count("date without `date_unixtime` (taken as UTC)"), 3);
}

#[test]
fn what_is_no_json_but_real_is_read() {
    let folder = folder("damaged-strings");
    let bytes = b"{\"name\": \"g\", \"type\": \"private_supergroup\", \"id\": 7, \"messages\": [\n\
        {\"id\": 1, \"type\": \"message\", \"date_unixtime\": \"5\", \"from_id\": \"user1\", \"text\": \"a\\x01b\\u2028\x80\xa8c\"},\n\
        {\"id\": 2, \"type\": \"message\", \"date_unixtime\": \"6\", \"from_id\": \"user1\", \"text\": [{\"type\": \"custom_emoji\",\n\
        \"text\": \"x\",\n\"document_id\": video_files/sticker (2).webm\n}, \"\xff\"]}]}";
    std::fs::write(folder.join("result.json"), bytes).expect("writes");
    let world = World::from_export(&folder).expect("is read");
    assert_eq!(message(&world, CHAT, 1).message, "a\u{1}b\u{2028}c");
    assert_eq!(message(&world, CHAT, 2).message, "x\u{fffd}");
    assert_eq!(world.notes().iter().collect::<Vec<_>>(), [("byte that is no UTF-8 (replaced)", 1)]);
}

#[test]
fn a_whole_account_has_parts_beside_its_chats() {
    let json = r#"{"about": "…", "personal_information": {"user_id": 42, "first_name": "Me", "last_name": "", "phone_number": "+1", "bio": "b"},
     "profile_pictures": [{"date": "2024-01-12T10:00:05", "photo": "p.jpg"}],
     "stories": [],
     "contacts": {"about": "…", "list": [{"user_id": 5, "first_name": "Ann", "last_name": "B", "phone_number": "+2", "date": ""},
      {"first_name": "Nobody", "last_name": "", "phone_number": "+3"}, {"date": ""}]},
     "frequent_contacts": {"about": "…", "list": [{"id": 5, "category": "people"}, {"id": 6, "category": "people"}]},
     "sessions": {"about": "…", "list": [{"last_ip": "1.1.1.1"}]},
     "other_data": {"created_stickers": []},
     "chats": {"about": "…", "list": [
      {"type": "saved_messages", "id": 42, "messages": [
       {"id": 1, "type": "message", "date_unixtime": "10", "from": "Me", "from_id": "user42", "text": "a"}]},
      {"type": "verification_codes", "id": 489000, "messages": [
       {"id": 2, "type": "message", "date_unixtime": "11", "from": null, "from_id": "user489000", "text": "123"}]},
      {"name": null, "type": "personal_chat", "id": 6, "messages": [7, "x",
       {"id": 3, "type": "message", "date_unixtime": "12", "from_id": "user6", "text": "b"}]},
      {"name": "?", "type": "secret", "id": 9, "messages": [{"id": 1}, {"id": 2}]},
      {"messages": [{"id": 9, "type": "message", "date_unixtime": "13", "from_id": "user5", "text": "sorted by key"}], "id": 10,
       "name": "sorted", "type": "private_group", "colour": 3}]},
     "left_chats": {"about": "…", "list": [{"name": "gone", "type": "public_channel", "id": 8, "messages": []}]}}"#;
    let world = load("parts-of-an-account", json).expect("is valid");
    let chats: Vec<_> = world.chats().iter().map(|chat| (chat.id, chat.title.as_str(), chat.count())).collect();
    assert_eq!(
        chats,
        [
            (42, "Saved Messages", 1),
            (489_000, "Verification Codes", 1),
            (6, "Deleted Account", 1),
            (-10, "sorted", 1),
            (-1_000_000_000_008, "gone", 0),
        ]
    );
    assert_eq!(world.user(5).map(|person| person.first_name.as_str()), Some("Ann B"));
    let notes: Vec<_> = world.notes().iter().collect();
    assert_eq!(
        notes,
        [
            ("`bio` of the account", 1),
            ("`phone_number` of the account", 1),
            ("chat field `colour`", 1),
            ("chat of kind `secret`", 1),
            ("chat that the account had left (told as if it had not)", 1),
            ("chat without a name (deleted account)", 1),
            ("contact without a user's id", 2),
            ("entry of `frequent_contacts`", 2),
            ("entry of `other_data`", 1),
            ("entry of `profile_pictures`", 1),
            ("entry of `sessions`", 1),
            ("message of a chat that was left out", 2),
            ("message of unknown form", 2),
            ("phone number and date of a contact", 2),
        ]
    );
}
