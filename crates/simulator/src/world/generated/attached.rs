//! Files of generated messages: which message has which, what it is like, what it holds.

use grammers_tl_types as tl;
use serde::Deserialize;
use tl::enums::{DocumentAttribute as Attribute, MessageMedia};

use super::Generated;
use super::compose::{self, Extra, small};
use crate::world::chat::ChatKind;
use crate::world::content::{Blob, Content, Form};
use crate::world::text::mix;
use crate::world::{media, phrases, picture};

/// Question numbers of what a message holds; the file ids of a message come from the same.
const PHOTO: u64 = 20;
/// See [`PHOTO`].
const DOCUMENT: u64 = 21;

/// Below this roll of a thousand, messages are service messages.
const MEDIA_FROM: u64 = 30;
/// The first roll after the media that chats have where nothing else is asked for.
const REST_FROM: u64 = 200;
const MIB: u64 = 1 << 20;

/// How large a share of a generated chat's messages carries files of each kind, and how large these are.
///
/// Shares lie between 0 and 1, and so does their sum. 3 messages of 100 are never media.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaMix {
    pub photos: f64,
    pub documents: f64,
    pub stickers: f64,
    pub voices: f64,
    pub videos: f64,
    /// Silent videos that loop.
    pub animations: f64,
    /// From the smallest to the largest document in bytes; half of the documents are short text files, unless this is set.
    pub document_bytes: Option<[u64; 2]>,
    /// The same of videos; absent: as their length in seconds would have it.
    pub video_bytes: Option<[u64; 2]>,
}

impl Default for MediaMix {
    fn default() -> Self {
        MediaMix {
            photos: 0.12,
            documents: 0.015,
            stickers: 0.015,
            voices: 0.01,
            videos: 0.01,
            animations: 0.004,
            document_bytes: None,
            video_bytes: None,
        }
    }
}

impl MediaMix {
    /// No files at all.
    pub fn none() -> Self {
        MediaMix { photos: 0.0, documents: 0.0, stickers: 0.0, voices: 0.0, videos: 0.0, animations: 0.0, ..MediaMix::default() }
    }

    fn shares(&self) -> [(f64, Extra); 6] {
        [
            (self.photos, Extra::Photo),
            (self.documents, Extra::Document),
            (self.stickers, Extra::Sticker),
            (self.voices, Extra::Voice),
            (self.videos, Extra::Video),
            (self.animations, Extra::Animation),
        ]
    }

    /// What cannot be.
    pub(in crate::world) fn problem(&self) -> Option<String> {
        let shares = self.shares().map(|(share, _)| share);
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) || shares.iter().sum::<f64>() > 1.0 + f64::EPSILON {
            return Some(format!("shares lie between 0 and 1, and so does their sum; these are {shares:?}"));
        }
        let ranges = [self.document_bytes, self.video_bytes];
        let wrong = ranges.into_iter().flatten().find(|[smallest, largest]| smallest > largest || *largest > 1 << 40);
        wrong.map(|range| format!("{range:?} are no sizes from the smallest to the largest, 1 TiB at most"))
    }
}

/// What a message of this roll of a thousand carries, or the roll that decides what else it is.
pub(super) fn kind(chat: &Generated, roll: u64) -> Result<Extra, u64> {
    if roll < MEDIA_FROM {
        return Err(roll);
    }
    let mut from = MEDIA_FROM;
    for (share, extra) in chat.media.shares() {
        let end = from + (share * 1000.0).round() as u64;
        if (from..end).contains(&roll) {
            // In channels nobody sends stickers.
            let sent = extra != Extra::Sticker || chat.kind != ChatKind::Channel;
            return Ok(if sent { extra } else { Extra::Nothing });
        }
        from = end;
    }
    Err(REST_FROM + roll - from)
}

/// The file as a message's media.
pub(super) fn media(chat: &Generated, id: i32, date: i32, extra: Extra) -> Option<MessageMedia> {
    if extra == Extra::Photo {
        let number = chat.roll(id, PHOTO);
        let computed = picture::sizes(number);
        let sizes = std::iter::once(media::stripped(number)).chain(computed.iter().map(media::size)).collect();
        return Some(media::photo_media(media::photo_in_sizes(chat.file_id(id, PHOTO), date, sizes), false, None));
    }
    let File { content, mime, attributes } = file(chat, id, extra)?;
    let thumbs = thumb(chat, id, extra).map(|size| {
        let number = chat.roll(id, DOCUMENT);
        let tiny = if extra == Extra::Sticker { media::outline(number) } else { media::stripped(number) };
        vec![tiny, media::size(&size)]
    });
    let told = media::File {
        id: chat.file_id(id, DOCUMENT),
        date,
        mime_type: mime.to_owned(),
        bytes: content.size().and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(0),
        attributes,
        spoiler: false,
        ttl: None,
    };
    Some(told.media_with(thumbs))
}

/// What the file of this id in message `id` holds, or a preview of it.
pub(super) fn content(chat: &Generated, id: i32, file_id: i64, thumb_kind: &str) -> Option<Content> {
    let extra = compose::extra(chat, id);
    if file_id == chat.file_id(id, PHOTO) && extra == Extra::Photo {
        let number = chat.roll(id, PHOTO);
        let mut sizes = picture::sizes(number);
        let size = if thumb_kind.is_empty() { sizes.pop() } else { sizes.into_iter().find(|size| size.kind == thumb_kind) };
        return size.map(|size| Content::Picture(number, size));
    }
    if file_id != chat.file_id(id, DOCUMENT) {
        return None;
    }
    if thumb_kind.is_empty() {
        return file(chat, id, extra).map(|file| file.content);
    }
    let size = thumb(chat, id, extra).filter(|size| size.kind == thumb_kind)?;
    Some(Content::Picture(chat.roll(id, DOCUMENT), size))
}

struct File {
    content: Content,
    mime: &'static str,
    attributes: Vec<Attribute>,
}

fn file(chat: &Generated, id: i32, extra: Extra) -> Option<File> {
    let roll = chat.roll(id, 23);
    let blob = |form: Form, size: u64, attributes: Vec<Attribute>| {
        let content = Content::Blob(Blob { seed: chat.roll(id, DOCUMENT), size, form });
        File { content, mime: form.mime(), attributes }
    };
    let seconds = |most: u64| 1 + small(roll % most);
    let video_size = |seconds: i32| match chat.media.video_bytes {
        Some(range) => between(range, roll),
        None => u64::from(seconds.unsigned_abs()) * 120_000,
    };
    Some(match extra {
        Extra::Document if chat.media.document_bytes.is_none() && roll.is_multiple_of(2) => {
            let lines = 3 + chat.roll(id, 60) % 40;
            let language = compose::language(chat, id);
            let text: String = (0..lines).map(|line| compose::sentence(chat, id, 61 + line, language) + "\n").collect();
            File { content: Content::Text(text), mime: "text/plain", attributes: vec![media::file_name(&format!("log-{id}.txt"))] }
        }
        Extra::Document => {
            let size = between(chat.media.document_bytes.unwrap_or([1, 2 * MIB]), chat.roll(id, 24));
            let form = chat.pick(id, 25, &[Form::Pdf, Form::Zip, Form::Png, Form::Mp3]);
            let mut attributes = match form {
                Form::Png => vec![media::image_size(1024, 768)],
                Form::Mp3 => vec![media::audio(false, seconds(300), Some("Low tide".to_owned()), Some("The Pilots".to_owned()))],
                _ => Vec::new(),
            };
            attributes.push(media::file_name(&format!("harbour-{id}.{}", form.ending())));
            blob(form, size, attributes)
        }
        Extra::Sticker => {
            let attributes = vec![
                media::image_size(512, 512),
                media::sticker(chat.pick(id, 24, &phrases::EMOJI)),
                media::file_name("sticker.webp"),
            ];
            blob(Form::Webp, 20_000 + roll % 9_000, attributes)
        }
        Extra::Voice => {
            let seconds = seconds(120);
            blob(Form::Ogg, u64::from(seconds.unsigned_abs()) * 4_000, vec![media::voice(seconds, chat.roll(id, 26))])
        }
        Extra::Video => {
            let seconds = 4 + seconds(600);
            let round = roll.is_multiple_of(5);
            let (w, h) = if round { (384, 384) } else { (848, 480) };
            let attributes = vec![media::video(round, seconds.into(), w, h), media::file_name(&format!("clip-{id}.mp4"))];
            blob(Form::Mp4, video_size(seconds), attributes)
        }
        Extra::Animation => {
            let attributes =
                vec![media::video(false, seconds(8).into(), 320, 240), media::file_name("waves.mp4"), Attribute::Animated];
            blob(Form::Mp4, 50_000 + roll % 900_000, attributes)
        }
        _ => return None,
    })
}

/// The preview that can be downloaded.
fn thumb(chat: &Generated, id: i32, extra: Extra) -> Option<picture::Size> {
    let (width, height) = match extra {
        Extra::Video if chat.roll(id, 23).is_multiple_of(5) => (240, 240),
        Extra::Video => (320, 181),
        Extra::Animation => (320, 240),
        Extra::Sticker => (128, 128),
        _ => return None,
    };
    Some(picture::only_size(chat.roll(id, DOCUMENT), "m", width, height))
}

/// A size of the range; each power of two is as likely as the next.
fn between([smallest, largest]: [u64; 2], roll: u64) -> u64 {
    let (low, high) = ((smallest.max(1) as f64).ln(), (largest.max(1) as f64).ln());
    let share = (mix(roll, 0, 0, 12) >> 11) as f64 / (1_u64 << 53) as f64;
    ((low + share * (high - low)).exp() as u64).clamp(smallest, largest)
}
