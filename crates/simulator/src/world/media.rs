//! Photos, files, polls, places and contacts as TL objects.

use grammers_tl_types as tl;
use tl::enums::DocumentAttribute as Attribute;

use super::text::mix;
use super::{DC_ID, picture};

/// A number for a photo's or document's access hash and file reference: stable, and not its id.
pub(crate) fn secret(id: i64) -> i64 {
    mix(0x5ec7, id.unsigned_abs(), 0, 9) as i64
}

/// A photo in one size.
pub(super) fn photo(id: i64, date: i32, size: PhotoSize) -> tl::enums::Photo {
    let size = tl::types::PhotoSize { r#type: "x".to_owned(), w: size.width, h: size.height, size: size.bytes };
    photo_in_sizes(id, date, vec![size.into()])
}

/// A photo in all of its sizes, the smallest first.
pub(super) fn photo_in_sizes(id: i64, date: i32, sizes: Vec<tl::enums::PhotoSize>) -> tl::enums::Photo {
    tl::types::Photo {
        has_stickers: false,
        id,
        access_hash: secret(id),
        file_reference: reference(id),
        date,
        sizes,
        video_sizes: None,
        dc_id: DC_ID,
    }
    .into()
}

/// A computed picture's size.
pub(super) fn size(size: &picture::Size) -> tl::enums::PhotoSize {
    let (r#type, w, h) = (size.kind.to_owned(), size.width, size.height);
    if size.steps.is_empty() {
        tl::types::PhotoSize { r#type, w, h, size: size.bytes }.into()
    } else {
        tl::types::PhotoSizeProgressive { r#type, w, h, sizes: size.steps.clone() }.into()
    }
}

/// The tiny picture that is sent along.
pub(super) fn stripped(number: u64) -> tl::enums::PhotoSize {
    tl::types::PhotoStrippedSize { r#type: "i".to_owned(), bytes: picture::stripped(number) }.into()
}

/// A sticker's outline (<https://core.telegram.org/api/files#vector-thumbnails>).
pub(super) fn outline(number: u64) -> tl::enums::PhotoSize {
    // Bytes below 192 are numbers: relative curves in six of them.
    let bytes = (0..24).map(|at| (mix(number, at, 0, 10) % 120) as u8).collect();
    tl::types::PhotoPathSize { r#type: "j".to_owned(), bytes }.into()
}

/// Measures of a photo: pixels and bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PhotoSize {
    pub width: i32,
    pub height: i32,
    pub bytes: i32,
}

/// A message's photo.
pub(super) fn photo_media(photo: tl::enums::Photo, spoiler: bool, ttl: Option<i32>) -> tl::enums::MessageMedia {
    tl::types::MessageMediaPhoto { spoiler, live_photo: false, photo: Some(photo), ttl_seconds: ttl, video: None }.into()
}

/// A file: what Telegram calls a document, be it a video, a sticker or a voice message.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub id: i64,
    pub date: i32,
    pub mime_type: String,
    pub bytes: i64,
    pub attributes: Vec<Attribute>,
    pub spoiler: bool,
    pub ttl: Option<i32>,
}

impl File {
    /// The file as a message's media, without previews.
    pub fn media(self) -> tl::enums::MessageMedia {
        self.media_with(None)
    }

    /// The file as a message's media.
    pub fn media_with(self, thumbs: Option<Vec<tl::enums::PhotoSize>>) -> tl::enums::MessageMedia {
        let video = self.attributes.iter().any(|attribute| matches!(attribute, Attribute::Video(_)))
            && !self.attributes.iter().any(|attribute| matches!(attribute, Attribute::Animated));
        let round = self.attributes.iter().any(|attribute| matches!(attribute, Attribute::Video(video) if video.round_message));
        let voice = self.attributes.iter().any(|attribute| matches!(attribute, Attribute::Audio(audio) if audio.voice));
        let document = tl::types::Document {
            id: self.id,
            access_hash: secret(self.id),
            file_reference: reference(self.id),
            date: self.date,
            mime_type: self.mime_type,
            size: self.bytes,
            thumbs,
            video_thumbs: None,
            dc_id: DC_ID,
            attributes: self.attributes,
        };
        tl::types::MessageMediaDocument {
            nopremium: false,
            spoiler: self.spoiler,
            video,
            round,
            voice,
            document: Some(document.into()),
            alt_documents: None,
            video_cover: None,
            video_timestamp: None,
            ttl_seconds: self.ttl,
        }
        .into()
    }
}

/// The file reference that the world itself tells; the server gives each account its own.
pub(crate) fn reference(id: i64) -> Vec<u8> {
    let mut reference = vec![1];
    reference.extend(secret(id).rotate_left(17).to_be_bytes());
    reference
}

/// A number that only who knows the secret can give for these bytes about a file; not cryptography, but no client guesses it.
pub(crate) fn seal(secret: i64, file: i64, bytes: &[u8]) -> u64 {
    let key = mix(secret as u64, file.unsigned_abs(), bytes.len() as u64, 13);
    bytes.chunks(8).fold(key, |sealed, chunk| {
        let word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        mix(sealed, word, 0, 13)
    })
}

pub(super) fn file_name(name: &str) -> Attribute {
    tl::types::DocumentAttributeFilename { file_name: name.to_owned() }.into()
}

pub(super) fn image_size(w: i32, h: i32) -> Attribute {
    tl::types::DocumentAttributeImageSize { w, h }.into()
}

pub(super) fn video(round_message: bool, seconds: f64, w: i32, h: i32) -> Attribute {
    tl::types::DocumentAttributeVideo {
        round_message,
        supports_streaming: true,
        nosound: false,
        duration: seconds,
        w,
        h,
        preload_prefix_size: None,
        video_start_ts: None,
        video_codec: None,
    }
    .into()
}

pub(super) fn audio(voice: bool, seconds: i32, title: Option<String>, performer: Option<String>) -> Attribute {
    tl::types::DocumentAttributeAudio { voice, duration: seconds, title, performer, waveform: None }.into()
}

/// A voice message of a length in seconds; the waveform is 100 numbers of 5 bits
/// (<https://core.telegram.org/constructor/documentAttributeAudio>).
pub(super) fn voice(seconds: i32, number: u64) -> Attribute {
    let waveform = (0..8).flat_map(|at| mix(number, at, 0, 11).to_le_bytes()).take(63).collect();
    tl::types::DocumentAttributeAudio { voice: true, duration: seconds, title: None, performer: None, waveform: Some(waveform) }
        .into()
}

pub(super) fn sticker(emoji: &str) -> Attribute {
    tl::types::DocumentAttributeSticker {
        mask: false,
        alt: emoji.to_owned(),
        stickerset: tl::enums::InputStickerSet::Empty,
        mask_coords: None,
    }
    .into()
}

/// One answer of a poll, with its votes.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub text: String,
    pub voters: i32,
    pub chosen: bool,
}

pub(super) fn poll(id: i64, question: String, closed: bool, total: i32, answers: Vec<Answer>) -> tl::enums::MessageMedia {
    let words = |text: String| tl::enums::TextWithEntities::Entities(tl::types::TextWithEntities { text, entities: Vec::new() });
    let option = |at: usize| at.to_string().into_bytes();
    let results = answers
        .iter()
        .enumerate()
        .map(|(at, answer)| {
            tl::types::PollAnswerVoters {
                chosen: answer.chosen,
                correct: false,
                option: option(at),
                voters: Some(answer.voters),
                // Present together with the count: one flag stands for both.
                recent_voters: Some(Vec::new()),
            }
            .into()
        })
        .collect();
    let answers = answers
        .into_iter()
        .enumerate()
        .map(|(at, answer)| {
            tl::types::PollAnswer { text: words(answer.text), option: option(at), media: None, added_by: None, date: None }.into()
        })
        .collect();
    let poll = tl::types::Poll {
        id,
        closed,
        public_voters: false,
        multiple_choice: false,
        quiz: false,
        open_answers: false,
        revoting_disabled: false,
        shuffle_answers: false,
        hide_results_until_close: false,
        creator: false,
        subscribers_only: false,
        question: words(question),
        answers,
        close_period: None,
        close_date: None,
        countries_iso2: None,
        hash: secret(id),
    };
    let results = tl::types::PollResults {
        min: false,
        has_unread_votes: false,
        can_view_stats: false,
        results: Some(results),
        total_voters: Some(total),
        recent_voters: None,
        solution: None,
        solution_entities: None,
        solution_media: None,
    };
    tl::types::MessageMediaPoll { poll: poll.into(), results: results.into(), attached_media: None }.into()
}

pub(super) fn point(lat: f64, long: f64) -> tl::enums::GeoPoint {
    tl::types::GeoPoint { long, lat, access_hash: 0, accuracy_radius: None }.into()
}

pub(super) fn place(lat: f64, long: f64) -> tl::enums::MessageMedia {
    tl::types::MessageMediaGeo { geo: point(lat, long) }.into()
}

pub(super) fn venue(lat: f64, long: f64, title: String, address: String) -> tl::enums::MessageMedia {
    tl::types::MessageMediaVenue {
        geo: point(lat, long),
        title,
        address,
        provider: String::new(),
        venue_id: String::new(),
        venue_type: String::new(),
    }
    .into()
}

pub(super) fn contact(phone_number: String, first_name: String, last_name: String, user_id: i64) -> tl::enums::MessageMedia {
    tl::types::MessageMediaContact { phone_number, first_name, last_name, vcard: String::new(), user_id }.into()
}

/// A link's preview.
pub(super) fn web_page(id: i64, url: &str, site_name: &str, title: &str, description: &str) -> tl::enums::MessageMedia {
    let page = tl::types::WebPage {
        has_large_media: false,
        video_cover_photo: false,
        id,
        url: url.to_owned(),
        display_url: url.trim_start_matches("https://").to_owned(),
        hash: 0,
        r#type: Some("article".to_owned()),
        site_name: Some(site_name.to_owned()),
        title: Some(title.to_owned()),
        description: Some(description.to_owned()),
        photo: None,
        embed_url: None,
        embed_type: None,
        embed_width: None,
        embed_height: None,
        duration: None,
        author: None,
        document: None,
        cached_page: None,
        attributes: None,
    };
    tl::types::MessageMediaWebPage {
        force_large_media: false,
        force_small_media: false,
        manual: false,
        safe: false,
        webpage: page.into(),
    }
    .into()
}
