//! Files: photos and documents → what the record keeps of them. Names are data as they were told, and go nowhere near a path.

use serde_json::{Map, Value, json};

use super::date;
use crate::record::media::{MediaType, Space, Told};
use crate::telegram::tl;
use tl::enums::{
    Document, DocumentAttribute, InputStickerSet, MessageExtendedMedia, MessageMedia, Photo, PhotoSize, StoryItem, VideoSize, WebPage,
};

/// What Telegram makes of every photo.
const PHOTO_MIME: &str = "image/jpeg";

/// The files that a message's media carries; what is not accessible (not paid for, gone, expired) is no file.
pub fn files(media: &MessageMedia) -> Vec<Told> {
    let mut all = Vec::new();
    add(&mut all, media);
    all
}

fn add(all: &mut Vec<Told>, media: &MessageMedia) {
    let from = all.len();
    let photo = |told: Option<&Photo>| told.and_then(|it| self::photo(it, MediaType::Photo));
    match media {
        MessageMedia::Photo(it) => {
            all.extend(photo(it.photo.as_ref()));
            // A live photo moves.
            all.extend(it.video.as_ref().and_then(document));
            destroying(&mut all[from..], it.ttl_seconds);
        }
        MessageMedia::Document(it) => {
            all.extend(it.document.as_ref().and_then(document));
            destroying(&mut all[from..], it.ttl_seconds);
        }
        MessageMedia::WebPage(it) => {
            if let WebPage::Page(page) = &it.webpage {
                all.extend(page.document.as_ref().and_then(document));
                all.extend(photo(page.photo.as_ref()));
            }
        }
        MessageMedia::Game(it) => {
            let tl::enums::Game::Game(game) = &it.game;
            all.extend(game.document.as_ref().and_then(document));
            all.extend(photo(Some(&game.photo)));
        }
        MessageMedia::Invoice(it) => it.extended_media.iter().for_each(|media| extended(all, media)),
        MessageMedia::PaidMedia(it) => it.extended_media.iter().for_each(|media| extended(all, media)),
        MessageMedia::Story(it) => {
            if let Some(StoryItem::Item(story)) = &it.story {
                add(all, &story.media);
            }
        }
        MessageMedia::Poll(it) => {
            let tl::enums::Poll::Poll(poll) = &it.poll;
            let tl::enums::PollResults::Results(results) = &it.results;
            let answers = poll.answers.iter().filter_map(|answer| match answer {
                tl::enums::PollAnswer::Answer(it) => it.media.as_ref(),
                tl::enums::PollAnswer::InputPollAnswer(_) => None,
            });
            it.attached_media.iter().chain(answers).chain(&results.solution_media).for_each(|media| add(all, media));
        }
        MessageMedia::Empty
        | MessageMedia::Unsupported
        | MessageMedia::Geo(_)
        | MessageMedia::GeoLive(_)
        | MessageMedia::Venue(_)
        | MessageMedia::Contact(_)
        | MessageMedia::Dice(_)
        | MessageMedia::Giveaway(_)
        | MessageMedia::GiveawayResults(_)
        | MessageMedia::ToDo(_)
        | MessageMedia::VideoStream(_) => {}
    }
}

fn extended(all: &mut Vec<Told>, media: &MessageExtendedMedia) {
    match media {
        MessageExtendedMedia::Media(it) => add(all, &it.media),
        MessageExtendedMedia::Preview(_) => {}
    }
}

fn destroying(files: &mut [Told], ttl_seconds: Option<i32>) {
    files.iter_mut().for_each(|told| told.ttl = ttl_seconds.is_some());
}

/// A photo; None for an empty one.
pub fn photo(photo: &Photo, kind: MediaType) -> Option<Told> {
    let Photo::Photo(it) = photo else { return None };
    let mut body = Map::new();
    let sizes: Vec<Value> = it.sizes.iter().filter_map(size).collect();
    let largest = sizes.iter().max_by_key(|size| area(size));
    for field in ["width", "height"] {
        if let Some(told) = largest.and_then(|size| size.get(field)) {
            body.insert(field.into(), told.clone());
        }
    }
    let bytes = largest.and_then(|size| size["size"].as_i64());
    if !sizes.is_empty() {
        body.insert("sizes".into(), sizes.into());
    }
    let videos: Vec<Value> = it.video_sizes.iter().flatten().filter_map(video_size).collect();
    if !videos.is_empty() {
        body.insert("video_sizes".into(), videos.into());
    }
    if it.has_stickers {
        body.insert("has_stickers".into(), true.into());
    }
    Some(Told {
        space: Space::Photo,
        file_id: it.id,
        kind,
        body,
        size: bytes,
        mime_type: Some(PHOTO_MIME.to_owned()),
        dc: Some(it.dc_id),
        access_hash: Some(it.access_hash),
        file_reference: it.file_reference.clone(),
        date: date(it.date),
        ttl: false,
    })
}

/// A chat's or user's photo, of which only the id is told and where it lies.
pub(super) fn avatar(photo_id: i64, dc: i32) -> Told {
    Told {
        space: Space::Photo,
        file_id: photo_id,
        kind: MediaType::Avatar,
        body: Map::new(),
        size: None,
        mime_type: Some(PHOTO_MIME.to_owned()),
        dc: Some(dc),
        access_hash: None,
        file_reference: Vec::new(),
        date: None,
        ttl: false,
    }
}

fn area(size: &Value) -> i64 {
    size["width"].as_i64().unwrap_or(0).saturating_mul(size["height"].as_i64().unwrap_or(0))
}

/// A size that can be downloaded: outlines and stripped ones come with the message.
fn size(size: &PhotoSize) -> Option<Value> {
    Some(match size {
        PhotoSize::Size(it) => json!({"type": it.r#type, "width": it.w, "height": it.h, "size": it.size}),
        PhotoSize::Progressive(it) => {
            json!({"type": it.r#type, "width": it.w, "height": it.h, "size": it.sizes.iter().max()})
        }
        PhotoSize::PhotoCachedSize(it) => json!({"type": it.r#type, "width": it.w, "height": it.h, "size": it.bytes.len()}),
        PhotoSize::Empty(_) | PhotoSize::PhotoStrippedSize(_) | PhotoSize::PhotoPathSize(_) => return None,
    })
}

fn video_size(size: &VideoSize) -> Option<Value> {
    match size {
        VideoSize::Size(it) => Some(json!({"type": it.r#type, "width": it.w, "height": it.h, "size": it.size})),
        VideoSize::EmojiMarkup(_) | VideoSize::StickerMarkup(_) => None,
    }
}

/// A document; None for an empty one.
pub fn document(document: &Document) -> Option<Told> {
    let Document::Document(it) = document else { return None };
    Some(Told {
        space: Space::Document,
        file_id: it.id,
        kind: kind(&it.attributes).unwrap_or(MediaType::Document),
        body: attributes(&it.attributes),
        size: Some(it.size),
        mime_type: Some(it.mime_type.clone()).filter(|mime| !mime.is_empty()),
        dc: Some(it.dc_id),
        access_hash: Some(it.access_hash),
        file_reference: it.file_reference.clone(),
        date: date(it.date),
        ttl: false,
    })
}

/// What a document's attributes say that it is: they come together, and the more special one names it.
pub(super) fn kind(attributes: &[DocumentAttribute]) -> Option<MediaType> {
    let (mut animated, mut video, mut sound) = (false, false, None);
    for attribute in attributes {
        match attribute {
            DocumentAttribute::Sticker(_) | DocumentAttribute::CustomEmoji(_) => return Some(MediaType::Sticker),
            DocumentAttribute::Audio(it) => sound = Some(if it.voice { MediaType::Voice } else { MediaType::Audio }),
            DocumentAttribute::Video(it) if it.round_message => return Some(MediaType::VideoNote),
            DocumentAttribute::Video(_) => video = true,
            DocumentAttribute::Animated => animated = true,
            DocumentAttribute::ImageSize(_) | DocumentAttribute::Filename(_) | DocumentAttribute::HasStickers => {}
        }
    }
    if animated { Some(MediaType::Animation) } else { sound.or(video.then_some(MediaType::Video)) }
}

fn attributes(attributes: &[DocumentAttribute]) -> Map<String, Value> {
    let mut body = Map::new();
    let mut put = |field: &str, value: Value| body.insert(field.to_owned(), value);
    for attribute in attributes {
        match attribute {
            DocumentAttribute::ImageSize(it) => {
                put("width", it.w.into());
                put("height", it.h.into());
            }
            DocumentAttribute::Video(it) => {
                put("width", it.w.into());
                put("height", it.h.into());
                put("duration", seconds(it.duration));
                if it.nosound {
                    put("silent", true.into());
                }
                if let Some(codec) = &it.video_codec {
                    put("video_codec", codec.clone().into());
                }
            }
            // Without the waveform: a picture for players.
            DocumentAttribute::Audio(it) => {
                put("duration", f64::from(it.duration).into());
                for (field, told) in [("title", &it.title), ("performer", &it.performer)] {
                    if let Some(told) = told {
                        put(field, told.clone().into());
                    }
                }
            }
            DocumentAttribute::Filename(it) => {
                put("file_name", it.file_name.clone().into());
            }
            DocumentAttribute::Sticker(it) => {
                put("sticker", sticker(&it.alt, &it.stickerset));
            }
            DocumentAttribute::CustomEmoji(it) => {
                put("sticker", sticker(&it.alt, &it.stickerset));
            }
            DocumentAttribute::HasStickers => {
                put("has_stickers", true.into());
            }
            DocumentAttribute::Animated => {}
        }
    }
    body
}

/// What is no number is no duration.
fn seconds(duration: f64) -> Value {
    if duration.is_finite() { duration.into() } else { 0.0.into() }
}

/// The emoji that it stands for, and its set's id or name.
fn sticker(alt: &str, set: &InputStickerSet) -> Value {
    let set = match set {
        InputStickerSet::Id(it) => Some(it.id.to_string()),
        InputStickerSet::ShortName(it) => Some(it.short_name.clone()),
        _ => None,
    };
    match set {
        Some(set) => json!({"alt": alt, "set": set}),
        None => json!({"alt": alt}),
    }
}
