//! What a message of an export carries besides text.

use grammers_tl_types as tl;
use serde_json::Value;

use super::fields::Fields;
use super::{Loading, poll, words};
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
    if let Some(media) = destroyed(loading, fields, ttl, spoiler) {
        return Some(media);
    }
    if let Some(mut told) = fields.object("poll") {
        return Some(poll::read(loading, &mut told, date));
    }
    if let Some(mut told) = fields.object("todo_list") {
        return Some(poll::todo(loading, &mut told));
    }
    if let Some(media) = place(fields) {
        return Some(media);
    }
    if let Some(mut contact) = fields.object("contact_information") {
        let mut word = |name: &str| contact.text(name).unwrap_or_default();
        let vcard = vcard(loading, fields);
        let told = tl::types::MessageMediaContact {
            phone_number: word("phone_number"),
            first_name: word("first_name"),
            last_name: word("last_name"),
            vcard,
            user_id: 0,
        };
        loading.left_over("contact field", &contact);
        return Some(told.into());
    }
    if let Some(title) = fields.text("game_title") {
        // `https://t.me/NAME_OF_BOT?game=SHORT_NAME`
        let link = fields.text("game_link").unwrap_or_default();
        let game = tl::types::Game {
            id: words::named_file(&title),
            access_hash: 0,
            short_name: link.split_once("?game=").map(|(_, name)| name.to_owned()).unwrap_or_default(),
            title,
            description: fields.text("game_description").unwrap_or_default(),
            photo: tl::types::PhotoEmpty { id: 0 }.into(),
            document: None,
        };
        return Some(tl::types::MessageMediaGame { game: game.into() }.into());
    }
    if let Some(mut invoice) = fields.object("invoice_information") {
        let receipt_msg_id = invoice.int("receipt_message_id");
        let total_amount = invoice.number("amount").unwrap_or_default();
        let mut word = |name: &str| invoice.text(name).unwrap_or_default();
        let told = tl::types::MessageMediaInvoice {
            shipping_address_requested: false,
            test: false,
            title: word("title"),
            description: word("description"),
            photo: None,
            receipt_msg_id,
            currency: word("currency"),
            total_amount,
            start_param: String::new(),
            extended_media: None,
        };
        loading.left_over("invoice field", &invoice);
        return Some(told.into());
    }
    if let Some(mut told) = fields.object("giveaway_information") {
        return Some(giveaway(loading, &mut told));
    }
    if let Some(mut told) = fields.object("giveaway_results") {
        return Some(giveaway_results(loading, &mut told));
    }
    if let Some(stars_amount) = fields.number("paid_stars_amount") {
        loading.notes.add("what paid media shows");
        return Some(tl::types::MessageMediaPaidMedia { stars_amount, extended_media: Vec::new() }.into());
    }
    if let Some(emoticon) = fields.text("dice_emoji") {
        let value = fields.int("dice_value").unwrap_or_default();
        return Some(tl::types::MessageMediaDice { value, emoticon, game_outcome: None }.into());
    }
    None
}

/// Media that destroyed itself before the export: its kind is told, and no file.
fn destroyed(loading: &mut Loading, fields: &mut Fields, ttl: Option<i32>, spoiler: bool) -> Option<tl::enums::MessageMedia> {
    if fields.take("photo_file_size").is_some() {
        fields.take("width");
        fields.take("height");
        loading.notes.add("photo that is gone");
        let told = tl::types::MessageMediaPhoto { spoiler, live_photo: false, photo: None, ttl_seconds: ttl, video: None };
        return Some(told.into());
    }
    if !["file_size", "media_type", "mime_type"].into_iter().any(|name| fields.has(name)) {
        return None;
    }
    let kind = fields.text("media_type").unwrap_or_default();
    for name in ["file_name", "file_size", "thumbnail", "thumbnail_file_size", "mime_type", "duration_seconds", "width", "height"] {
        fields.take(name);
    }
    loading.notes.add("file that is gone");
    let told = tl::types::MessageMediaDocument {
        nopremium: false,
        spoiler,
        video: kind == "video_file",
        round: kind == "video_message",
        voice: kind == "voice_message",
        document: None,
        alt_documents: None,
        video_cover: None,
        video_timestamp: None,
        ttl_seconds: ttl,
    };
    Some(told.into())
}

/// A point, a place with a name, or a point that moves. The point itself may be unknown.
fn place(fields: &mut Fields) -> Option<tl::enums::MessageMedia> {
    if !["location_information", "place_name", "live_location_period_seconds"].into_iter().any(|name| fields.has(name)) {
        return None;
    }
    let point = fields
        .object("location_information")
        .map(|mut point| (point.float("latitude").unwrap_or_default(), point.float("longitude").unwrap_or_default()));
    let geo = point.map_or(tl::enums::GeoPoint::Empty, |(lat, long)| media::point(lat, long));
    if let Some(title) = fields.text("place_name") {
        let (lat, long) = point.unwrap_or_default();
        let mut venue = media::venue(lat, long, title, fields.text("address").unwrap_or_default());
        if let tl::enums::MessageMedia::Venue(venue) = &mut venue {
            venue.geo = geo;
        }
        return Some(venue);
    }
    if let Some(period) = fields.int("live_location_period_seconds") {
        let proximity_notification_radius = None;
        return Some(tl::types::MessageMediaGeoLive { geo, heading: None, period, proximity_notification_radius }.into());
    }
    Some(tl::types::MessageMediaGeo { geo }.into())
}

/// What a contact's card says, if the export holds it.
fn vcard(loading: &mut Loading, fields: &mut Fields) -> String {
    fields.take("contact_vcard_file_size");
    let Some(path) = fields.text("contact_vcard") else { return String::new() };
    let (id, found) = loading.file(&path, 0);
    if found.is_none() {
        return String::new();
    }
    // It is part of the message, and no file of the world.
    let place = loading.files.remove(&id).unwrap_or_default();
    std::fs::read_to_string(place).unwrap_or_else(|_| {
        loading.notes.add("contact's card that cannot be read");
        String::new()
    })
}

fn giveaway(loading: &mut Loading, told: &mut Fields) -> tl::enums::MessageMedia {
    let countries = told.list("countries").unwrap_or_default();
    let countries: Vec<String> = countries.iter().filter_map(|country| country.as_str().map(str::to_owned)).collect();
    let media = tl::types::MessageMediaGiveaway {
        only_new_subscribers: told.flag("is_only_new_subscribers"),
        winners_are_visible: false,
        channels: numbers(told, "channels"),
        countries_iso2: (!countries.is_empty()).then_some(countries),
        prize_description: told.text("additional_prize").filter(|prize| !prize.is_empty()),
        quantity: told.int("quantity").unwrap_or_default(),
        months: told.int("months").filter(|&months| months > 0),
        stars: told.number("stars").filter(|&stars| stars > 0),
        until_date: until(told),
    };
    loading.left_over("giveaway field", told);
    media.into()
}

fn giveaway_results(loading: &mut Loading, told: &mut Fields) -> tl::enums::MessageMedia {
    let media = tl::types::MessageMediaGiveawayResults {
        only_new_subscribers: told.flag("is_only_new_subscribers"),
        refunded: told.flag("is_refunded"),
        channel_id: told.number("channel").unwrap_or_default(),
        additional_peers_count: told.int("additional_peers_count").filter(|&count| count > 0),
        launch_msg_id: told.int("launch_message_id").unwrap_or_default(),
        winners_count: told.int("winners_count").unwrap_or_default(),
        unclaimed_count: told.int("unclaimed_count").unwrap_or_default(),
        winners: numbers(told, "winners"),
        months: told.int("months").filter(|&months| months > 0),
        stars: told.number("stars").filter(|&stars| stars > 0),
        prize_description: told.text("additional_prize").filter(|prize| !prize.is_empty()),
        until_date: until(told),
    };
    loading.left_over("giveaway field", told);
    media.into()
}

fn until(told: &mut Fields) -> i32 {
    told.time("until_date").map_or(0, |(date, _)| date)
}

fn numbers(told: &mut Fields, name: &str) -> Vec<i64> {
    told.list(name).unwrap_or_default().iter().filter_map(Value::as_i64).collect()
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
    if fields.take("thumbnail").is_some() {
        loading.notes.add("small picture of a file");
    }
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
