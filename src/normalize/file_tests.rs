//! What the record keeps of each type of file, and what of a message's media that is more than a file.

use insta::assert_snapshot;
use serde_json::{Map, Value};

use super::*;
use crate::normalize::media;
use tl::{enums, types};

fn a_photo(id: i64, sizes: Vec<PhotoSize>) -> Photo {
    let video = types::VideoSize { r#type: "u".into(), w: 800, h: 800, size: 99, video_start_ts: None };
    types::Photo {
        has_stickers: true,
        id,
        access_hash: 71,
        file_reference: vec![7, 1],
        date: 1_600_000_000,
        sizes,
        video_sizes: Some(vec![video.into()]),
        dc_id: 4,
    }
    .into()
}

fn sized(letter: &str, w: i32, h: i32, size: i32) -> PhotoSize {
    types::PhotoSize { r#type: letter.into(), w, h, size }.into()
}

fn a_document(mime: &str, attributes: Vec<DocumentAttribute>) -> Document {
    types::Document {
        id: -8,
        access_hash: 81,
        file_reference: vec![8, 1],
        date: 1_600_000_000,
        mime_type: mime.into(),
        size: 5_000_000_000,
        thumbs: None,
        video_thumbs: None,
        dc_id: 2,
        attributes,
    }
    .into()
}

fn of_document(document: Document, ttl_seconds: Option<i32>) -> MessageMedia {
    types::MessageMediaDocument {
        nopremium: false,
        spoiler: false,
        video: false,
        round: false,
        voice: false,
        document: Some(document),
        alt_documents: None,
        video_cover: None,
        video_timestamp: None,
        ttl_seconds,
    }
    .into()
}

fn of_photo(photo: Option<Photo>, ttl_seconds: Option<i32>) -> MessageMedia {
    types::MessageMediaPhoto { spoiler: false, live_photo: false, photo, ttl_seconds, video: None }.into()
}

fn video(round_message: bool, nosound: bool) -> DocumentAttribute {
    types::DocumentAttributeVideo {
        round_message,
        supports_streaming: true,
        nosound,
        duration: 4.5,
        w: 640,
        h: 480,
        preload_prefix_size: None,
        video_start_ts: None,
        video_codec: Some("h265".into()),
    }
    .into()
}

fn audio(voice: bool) -> DocumentAttribute {
    let title = (!voice).then(|| "Low tide".to_owned());
    let performer = (!voice).then(|| "The Pilots".to_owned());
    types::DocumentAttributeAudio { voice, duration: 7, title, performer, waveform: Some(vec![1; 63]) }.into()
}

fn named(name: &str) -> DocumentAttribute {
    types::DocumentAttributeFilename { file_name: name.into() }.into()
}

fn words(text: &str) -> enums::TextWithEntities {
    types::TextWithEntities { text: text.into(), entities: vec![] }.into()
}

/// Files line by line, without what belongs to one account.
fn shown(media: &MessageMedia) -> String {
    let line = |told: &Told| {
        let (id, kind, mime) = (told.document_id(), told.kind.as_str(), told.mime_type.clone().unwrap_or_default());
        let body = Value::Object(told.body.clone());
        format!("{id} {kind} {mime} {:?} dc {:?} ttl {} {body}\n", told.size, told.dc, told.ttl)
    };
    files(media).iter().map(line).collect()
}

/// The fields of the message, and why it must be kept raw.
fn fields(media: &MessageMedia) -> (Value, Option<String>) {
    let mut body = Map::new();
    let reason = media::fill(&mut body, media);
    (Value::Object(body), reason)
}

#[test]
fn a_photo_is_its_sizes_and_the_largest_says_how_large_it_is() {
    let stripped = types::PhotoStrippedSize { r#type: "i".into(), bytes: vec![1; 20] };
    let progressive = types::PhotoSizeProgressive { r#type: "y".into(), w: 1280, h: 720, sizes: vec![100, 3_000, 200] };
    let media = of_photo(Some(a_photo(5, vec![stripped.into(), progressive.into(), sized("m", 320, 180, 900)])), None);
    assert_snapshot!(shown(&media), @r#"
    photo_5 photo image/jpeg Some(3000) dc Some(4) ttl false {"has_stickers":true,"height":720,"sizes":[{"height":720,"size":3000,"type":"y","width":1280},{"height":180,"size":900,"type":"m","width":320}],"video_sizes":[{"height":800,"size":99,"type":"u","width":800}],"width":1280}
    "#);
    let told = files(&media).remove(0);
    assert_eq!((told.access_hash, told.file_reference.as_slice()), (Some(71), &[7, 1][..]));
    assert_eq!(told.date.map(|date| date.timestamp()), Some(1_600_000_000));
    // Expired: nothing is left but that it was there.
    assert!(files(&of_photo(None, Some(10))).is_empty());
    assert!(files(&of_photo(Some(types::PhotoEmpty { id: 5 }.into()), None)).is_empty());
}

#[test]
fn each_document_has_the_fields_of_its_type() {
    let set = types::InputStickerSetId { id: 12, access_hash: 13 };
    let sticker = types::DocumentAttributeSticker { mask: false, alt: "🌊".into(), stickerset: set.into(), mask_coords: None };
    let emoji = types::DocumentAttributeCustomEmoji {
        free: false,
        text_color: false,
        alt: "⚓".into(),
        stickerset: types::InputStickerSetShortName { short_name: "Harbour".into() }.into(),
    };
    let image = || -> DocumentAttribute { types::DocumentAttributeImageSize { w: 512, h: 256 }.into() };
    let all = [
        a_document("video/mp4", vec![video(false, true), named("clip.mp4")]),
        a_document("video/mp4", vec![video(true, false)]),
        a_document("video/mp4", vec![video(false, true), named("waves.mp4"), DocumentAttribute::Animated]),
        a_document("audio/mpeg", vec![audio(false), named("tide.mp3")]),
        a_document("audio/ogg", vec![audio(true)]),
        a_document("image/webp", vec![image(), sticker.into(), named("sticker.webp")]),
        a_document("application/x-tgsticker", vec![image(), emoji.into()]),
        a_document("image/png", vec![image(), DocumentAttribute::HasStickers, named("plan.png")]),
        a_document("", vec![]),
    ];
    let lines: String = all.into_iter().map(|document| shown(&of_document(document, None))).collect();
    assert_snapshot!(lines, @r#"
    document_-8 video video/mp4 Some(5000000000) dc Some(2) ttl false {"duration":4.5,"file_name":"clip.mp4","height":480,"silent":true,"video_codec":"h265","width":640}
    document_-8 video_note video/mp4 Some(5000000000) dc Some(2) ttl false {"duration":4.5,"height":480,"video_codec":"h265","width":640}
    document_-8 animation video/mp4 Some(5000000000) dc Some(2) ttl false {"duration":4.5,"file_name":"waves.mp4","height":480,"silent":true,"video_codec":"h265","width":640}
    document_-8 audio audio/mpeg Some(5000000000) dc Some(2) ttl false {"duration":7.0,"file_name":"tide.mp3","performer":"The Pilots","title":"Low tide"}
    document_-8 voice audio/ogg Some(5000000000) dc Some(2) ttl false {"duration":7.0}
    document_-8 sticker image/webp Some(5000000000) dc Some(2) ttl false {"file_name":"sticker.webp","height":256,"sticker":{"alt":"🌊","set":"12"},"width":512}
    document_-8 sticker application/x-tgsticker Some(5000000000) dc Some(2) ttl false {"height":256,"sticker":{"alt":"⚓","set":"Harbour"},"width":512}
    document_-8 document image/png Some(5000000000) dc Some(2) ttl false {"file_name":"plan.png","has_stickers":true,"height":256,"width":512}
    document_-8 document  Some(5000000000) dc Some(2) ttl false {}
    "#);
}

#[test]
fn a_hostile_name_is_data_and_nothing_else() {
    let long = "x".repeat(300_000);
    for name in ["../../etc/passwd", "/etc/cron.d/x", "a\0b.pdf", "\u{202e}fdp.exe", "CON", "..", "", long.as_str()] {
        let told = files(&of_document(a_document("application/pdf", vec![named(name)]), None)).remove(0);
        assert_eq!(told.body["file_name"], name);
        assert_eq!((told.document_id().as_str(), told.kind), ("document_-8", MediaType::Document));
    }
}

#[test]
fn what_destroys_itself_says_so() {
    let photo = of_photo(Some(a_photo(5, vec![sized("x", 8, 8, 9)])), Some(10));
    let document = of_document(a_document("video/mp4", vec![video(true, false)]), Some(i32::MAX));
    assert!(files(&photo).iter().chain(&files(&document)).all(|told| told.ttl));
}

#[test]
fn files_inside_of_something_else_are_files_where_they_are_accessible() {
    let photo = || a_photo(5, vec![sized("x", 8, 6, 9)]);
    let game = types::Game {
        id: 1,
        access_hash: 2,
        short_name: "lumber".into(),
        title: "Lumber".into(),
        description: "Chop".into(),
        photo: photo(),
        document: Some(a_document("video/mp4", vec![video(false, true), DocumentAttribute::Animated])),
    };
    let game: MessageMedia = types::MessageMediaGame { game: game.into() }.into();
    assert_eq!(files(&game).iter().map(|told| told.kind.as_str()).collect::<Vec<_>>(), ["animation", "photo"]);
    assert_snapshot!(fields(&game).0, @r#"
    {"game":{"description":"Chop","id":1,"short_name":"lumber","title":"Lumber"},"media":true,"media_id":"document_-8","media_type":"game"}
    "#);

    let preview = types::MessageExtendedMediaPreview { w: Some(8), h: Some(6), thumb: None, video_duration: Some(3) };
    let paid = types::MessageExtendedMedia { media: of_photo(Some(photo()), None) };
    let media: MessageMedia =
        types::MessageMediaPaidMedia { stars_amount: 50, extended_media: vec![preview.clone().into(), paid.into()] }.into();
    assert_eq!(files(&media).len(), 1, "what was not paid for is no file");
    let (body, reason) = fields(&media);
    assert_eq!(reason, None);
    assert_snapshot!(body, @r#"
    {"media":true,"media_id":"photo_5","media_type":"paid_media","paid_media":{"items":[{"duration":3,"height":6,"preview":true,"width":8},{"media_id":"photo_5","type":"photo"}],"stars":50}}
    "#);

    let invoice: MessageMedia = types::MessageMediaInvoice {
        shipping_address_requested: false,
        test: true,
        title: "Chart".into(),
        description: "of the bay".into(),
        photo: None,
        receipt_msg_id: Some(9),
        currency: "EUR".into(),
        total_amount: 150,
        start_param: String::new(),
        extended_media: Some(preview.into()),
    }
    .into();
    assert!(files(&invoice).is_empty());
    assert_snapshot!(fields(&invoice).0, @r#"
    {"invoice":{"currency":"EUR","description":"of the bay","extended":{"duration":3,"height":6,"preview":true,"width":8},"receipt_message_id":9,"test":true,"title":"Chart","total_amount":150},"media":true,"media_type":"invoice"}
    "#);

    let story = |story| -> MessageMedia {
        types::MessageMediaStory { via_mention: false, peer: types::PeerUser { user_id: 9 }.into(), id: 4, story }.into()
    };
    let gone = story(Some(types::StoryItemDeleted { id: 4 }.into()));
    assert!(files(&gone).is_empty() && files(&story(None)).is_empty());
    assert_snapshot!(fields(&gone).0, @r#"
    {"media":true,"media_type":"story","story":{"chat_id":9,"id":4}}
    "#);
}

#[test]
fn what_is_offered_and_listed_is_represented() {
    let giveaway: MessageMedia = types::MessageMediaGiveaway {
        only_new_subscribers: true,
        winners_are_visible: false,
        channels: vec![42],
        countries_iso2: Some(vec!["DE".into()]),
        prize_description: None,
        quantity: 3,
        months: Some(6),
        stars: None,
        until_date: 1_700_000_000,
    }
    .into();
    let results: MessageMedia = types::MessageMediaGiveawayResults {
        only_new_subscribers: false,
        refunded: false,
        channel_id: 42,
        additional_peers_count: None,
        launch_msg_id: 7,
        winners_count: 3,
        unclaimed_count: 1,
        winners: vec![9, 10],
        months: None,
        stars: Some(500),
        prize_description: Some("charts".into()),
        until_date: 1_700_000_000,
    }
    .into();
    let item = |id, text: &str| -> enums::TodoItem { types::TodoItem { id, title: words(text) }.into() };
    let list = types::TodoList {
        others_can_append: true,
        others_can_complete: false,
        title: words("Before we sail"),
        list: vec![item(1, "water"), item(2, "charts")],
    };
    let done = types::TodoCompletion { id: 2, completed_by: types::PeerUser { user_id: 9 }.into(), date: 1_700_000_000 };
    let todo: MessageMedia = types::MessageMediaToDo { todo: list.into(), completions: Some(vec![done.into()]) }.into();
    let dice: MessageMedia = types::MessageMediaDice { value: 6, emoticon: "🎲".into(), game_outcome: None }.into();
    let lines: Vec<String> = [giveaway, results, todo, dice]
        .iter()
        .map(|media| {
            let (body, reason) = fields(media);
            assert!(reason.is_none() && files(media).is_empty());
            body.to_string()
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @r#"
    {"giveaway":{"chat_ids":[-1000000000042],"countries":["DE"],"months":6,"only_new_subscribers":true,"quantity":3,"until_date":"2023-11-14T22:13:20Z","winners_are_visible":false},"media":true,"media_type":"giveaway"}
    {"giveaway":{"chat_ids":[-1000000000042],"launch_message_id":7,"only_new_subscribers":false,"prize":"charts","refunded":false,"stars":500,"unclaimed_count":1,"until_date":"2023-11-14T22:13:20Z","winner_ids":[9,10],"winners_count":3},"media":true,"media_type":"giveaway_results"}
    {"media":true,"media_type":"todo","todo":{"items":[{"id":1,"text":"water"},{"completed_by_id":9,"completed_date":"2023-11-14T22:13:20Z","id":2,"text":"charts"}],"others_can_append":true,"others_can_complete":false,"title":"Before we sail"}}
    {"dice":{"emoji":"🎲","value":6},"media":true,"media_type":"dice"}
    "#);
    assert_eq!(fields(&MessageMedia::Unsupported).1.as_deref(), Some("messageMediaUnsupported is not represented"));
}
