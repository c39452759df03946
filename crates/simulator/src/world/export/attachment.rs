//! What a message of an export carries besides text.

use grammers_tl_types as tl;
use serde_json::Value;

use super::fields::Fields;
use super::{Loading, words};
use crate::world::media::{self, File, PhotoSize};

/// Reads a message's media; `None` if it has none.
pub(super) fn read(loading: &mut Loading, fields: &mut Fields, date: i32) -> Option<tl::enums::MessageMedia> {
    let ttl = fields.int("self_destruct_period_seconds");
    let spoiler = fields.flag("media_spoiler");
    if let Some(photo) = photo(loading, fields, date) {
        return Some(media::photo_media(photo, spoiler, ttl));
    }
    if let Some(file) = file(loading, fields, date) {
        return Some(File { spoiler, ttl, ..file }.media());
    }
    if let Some(mut poll) = fields.object("poll") {
        return Some(read_poll(loading, &mut poll, date));
    }
    if let Some(mut place) = fields.object("location_information") {
        let (lat, long) = (place.float("latitude").unwrap_or_default(), place.float("longitude").unwrap_or_default());
        if let Some(title) = fields.text("place_name") {
            return Some(media::venue(lat, long, title, fields.text("address").unwrap_or_default()));
        }
        if let Some(period) = fields.int("live_location_period_seconds") {
            let live = tl::types::MessageMediaGeoLive {
                geo: media::point(lat, long),
                heading: None,
                period,
                proximity_notification_radius: None,
            };
            return Some(live.into());
        }
        return Some(media::place(lat, long));
    }
    if let Some(mut contact) = fields.object("contact_information") {
        if fields.take("contact_vcard").is_some() {
            loading.notes.add("contact's vcard");
        }
        let mut word = |name: &str| contact.text(name).unwrap_or_default();
        return Some(media::contact(word("phone_number"), word("first_name"), word("last_name"), 0));
    }
    if let Some(title) = fields.text("game_title") {
        let game = tl::types::Game {
            id: words::named_file(&title),
            access_hash: 0,
            short_name: fields.text("game_link").unwrap_or_default(),
            title,
            description: fields.text("game_description").unwrap_or_default(),
            photo: tl::types::PhotoEmpty { id: 0 }.into(),
            document: None,
        };
        return Some(tl::types::MessageMediaGame { game: game.into() }.into());
    }
    if let Some(mut invoice) = fields.object("invoice_information") {
        let receipt_msg_id = invoice.int("receipt_message_id");
        let mut word = |name: &str| invoice.text(name).unwrap_or_default();
        let told = tl::types::MessageMediaInvoice {
            shipping_address_requested: false,
            test: false,
            title: word("title"),
            description: word("description"),
            photo: None,
            receipt_msg_id,
            currency: word("currency"),
            total_amount: word("amount").parse().unwrap_or_default(),
            start_param: String::new(),
            extended_media: None,
        };
        return Some(told.into());
    }
    for name in ["giveaway_information", "giveaway_results", "todo_list", "paid_stars_amount", "story"] {
        if fields.take(name).is_some() {
            loading.notes.add(format!("media `{name}`"));
            return Some(tl::enums::MessageMedia::Unsupported);
        }
    }
    None
}

/// Reads `photo` and its measures.
pub(super) fn photo(loading: &mut Loading, fields: &mut Fields, date: i32) -> Option<tl::enums::Photo> {
    let path = fields.text("photo")?;
    let told = fields.int("photo_file_size");
    let (id, found) = loading.file(&path, date);
    let bytes = found.and_then(|bytes| i32::try_from(bytes).ok()).or(told).unwrap_or_default();
    let size =
        PhotoSize { width: fields.int("width").unwrap_or_default(), height: fields.int("height").unwrap_or_default(), bytes };
    Some(media::photo(id, date, size))
}

fn file(loading: &mut Loading, fields: &mut Fields, date: i32) -> Option<File> {
    let path = fields.text("file")?;
    fields.take("thumbnail");
    fields.take("thumbnail_file_size");
    let told = fields.number("file_size");
    let (id, found) = loading.file(&path, date);
    let name = fields.text("file_name").or_else(|| {
        // Telegram's own names for files without one are made by the exporting program.
        (!path.starts_with('(')).then(|| path.rsplit('/').next().unwrap_or_default().to_owned())
    });
    let (width, height) = (fields.int("width"), fields.int("height"));
    let seconds = fields.float("duration_seconds").unwrap_or_default();
    let (w, h) = (width.unwrap_or_default(), height.unwrap_or_default());
    let mut attributes = Vec::new();
    let kind = fields.text("media_type");
    match kind.as_deref() {
        None => {
            if width.is_some() || height.is_some() {
                attributes.push(media::image_size(w, h));
            }
        }
        Some("sticker") => {
            attributes.push(media::image_size(w, h));
            attributes.push(media::sticker(&fields.text("sticker_emoji").unwrap_or_default()));
        }
        Some("video_file") => attributes.push(media::video(false, seconds, w, h)),
        Some("video_message") => attributes.push(media::video(true, seconds, w, h)),
        Some("animation") => {
            attributes.push(media::video(false, seconds, w, h));
            attributes.push(tl::enums::DocumentAttribute::Animated);
        }
        Some(audio @ ("voice_message" | "audio_file")) => {
            let voice = audio == "voice_message";
            attributes.push(media::audio(voice, seconds as i32, fields.text("title"), fields.text("performer")));
        }
        Some(other) => loading.notes.add(format!("media type `{other}` (kept as a file)")),
    }
    attributes.extend(name.as_deref().map(media::file_name));
    let mime_type = fields.text("mime_type").unwrap_or_else(|| "application/octet-stream".to_owned());
    let bytes = found.and_then(|bytes| i64::try_from(bytes).ok()).or(told).unwrap_or_default();
    Some(File { id, date, mime_type, bytes, attributes, spoiler: false, ttl: None })
}

fn read_poll(loading: &mut Loading, poll: &mut Fields, date: i32) -> tl::enums::MessageMedia {
    let mut answers = Vec::new();
    for answer in poll.list("answers").unwrap_or_default() {
        match answer {
            Value::Object(answer) => {
                let mut answer = Fields(answer);
                answers.push(media::Answer {
                    text: words::read(&mut answer, &mut loading.notes).finish().0,
                    voters: answer.int("voters").unwrap_or_default(),
                    chosen: answer.flag("chosen"),
                });
            }
            _ => loading.notes.add("poll answer of unknown form"),
        }
    }
    let question = poll.text("question").unwrap_or_default();
    let id = words::named_file(&format!("poll {date} {question}"));
    media::poll(id, question, poll.flag("closed"), poll.int("total_voters").unwrap_or_default(), answers)
}

impl Loading {
    /// A file's id, and its size if it is there; what is not there is counted.
    fn file(&mut self, path: &str, date: i32) -> (i64, Option<u64>) {
        // Instead of a path: "(File not included. Change data exporting settings to download.)"
        if path.starts_with('(') {
            self.notes.add("file that was not exported");
            return (words::named_file(&format!("{path} {date}")), None);
        }
        let id = words::named_file(path);
        let inside = std::path::Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            self.notes.add("file outside of the export's folder");
            return (id, None);
        }
        let place = self.folder.join(path);
        match std::fs::metadata(&place) {
            Ok(about) if about.is_file() => {
                self.files.insert(id, place);
                (id, Some(about.len()))
            }
            _ => {
                self.notes.add("file that is missing");
                (id, None)
            }
        }
    }
}
