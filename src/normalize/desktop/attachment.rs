//! What a message of an export carries besides text. Files themselves stay where they are.

use serde_json::{Map, Value, json};

use super::LeftOut;
use super::object::Object;
use super::words::Words;

/// Adds media to a message's fields.
pub(super) fn fill(body: &mut Map<String, Value>, told: &mut Object, left_out: &mut LeftOut) {
    let kind = kind(body, told, left_out);
    body.insert("media".into(), kind.is_some().into());
    if let Some(kind) = kind {
        body.insert("media_type".into(), kind.into());
    }
}

fn kind(body: &mut Map<String, Value>, told: &mut Object, left_out: &mut LeftOut) -> Option<&'static str> {
    // A file that is gone, or destroyed itself, keeps its size alone.
    if told.has(&["photo", "photo_file_size"]) {
        return Some("photo");
    }
    if told.has(&["file", "file_size", "mime_type", "media_type"]) {
        return Some(match told.text("media_type").as_deref() {
            Some("sticker") => "sticker",
            Some("video_file") => "video",
            Some("video_message") => "video_note",
            Some("animation") => "animation",
            Some("voice_message") => "voice",
            Some("audio_file") => "audio",
            None => "document",
            Some(other) => {
                left_out.add(format!("media type `{other}` (kept as document)"));
                "document"
            }
        });
    }
    if told.has(&["location_information", "place_name", "live_location_period_seconds"]) {
        place(body, told);
        return Some("location");
    }
    if let Some(mut contact) = told.object("contact_information") {
        let mut word = |name: &str| contact.text(name).unwrap_or_default();
        body.insert("contact".into(), json!({"first_name": word("first_name"), "last_name": word("last_name")}));
        // Phone numbers, and the card that repeats them, stay in the file.
        contact.count_rest("contact_information.", left_out);
        return Some("contact");
    }
    if let Some(poll) = told.object("poll") {
        body.insert("poll".into(), self::poll(poll, left_out));
        return Some("poll");
    }
    let named = [
        ("game_title", "game"),
        ("invoice_information", "invoice"),
        ("dice_emoji", "dice"),
        ("todo_list", "todo"),
        ("giveaway_information", "giveaway"),
        ("giveaway_results", "giveaway_results"),
        ("paid_stars_amount", "paid_media"),
    ];
    named.iter().find(|(name, _)| told.has(&[name])).map(|(_, kind)| *kind)
}

fn place(body: &mut Map<String, Value>, told: &mut Object) {
    let mut place = Map::new();
    if let Some(mut point) = told.object("location_information") {
        let mut degrees = |name: &str| match point.take(name) {
            Some(Value::String(text)) => text.parse::<f64>().ok(),
            Some(value) => value.as_f64(),
            None => None,
        };
        if let (Some(lat), Some(lon)) = (degrees("latitude"), degrees("longitude")) {
            place.extend([("lat".to_owned(), lat.into()), ("lon".to_owned(), lon.into())]);
        }
    }
    for (name, field) in [("place_name", "title"), ("address", "address")] {
        if let Some(text) = told.text(name) {
            place.insert(field.to_owned(), text.into());
        }
    }
    if !place.is_empty() {
        body.insert("location".into(), place.into());
    }
}

fn poll(mut told: Object, left_out: &mut LeftOut) -> Value {
    let question = Words::of(told.take("question"), left_out).plain("a poll", left_out);
    let mut answers = Vec::new();
    for answer in told.list("answers") {
        let Value::Object(answer) = answer else {
            left_out.add("answer of a poll of unknown form");
            continue;
        };
        let mut answer = Object(answer);
        let text = Words::of_message(&mut answer, left_out).plain("a poll", left_out);
        answers.push(match answer.number("voters") {
            Some(voters) => json!({"text": text, "voters": voters}),
            None => json!({"text": text}),
        });
        answer.count_rest("poll.answers.", left_out);
    }
    let closed = told.take("closed") == Some(Value::Bool(true));
    let mut poll = json!({"question": question, "answers": answers, "closed": closed});
    if let Some(total) = told.number("total_voters") {
        poll["total_voters"] = total.into();
    }
    told.count_rest("poll.", left_out);
    poll
}

/// Buttons under a message: {text, url}, as the record has them.
pub(super) fn buttons(told: &mut Object, left_out: &mut LeftOut) -> Vec<Value> {
    let rows = told.list("inline_bot_buttons");
    let rows = rows.into_iter().filter_map(|row| if let Value::Array(row) = row { Some(row) } else { None });
    let mut buttons = Vec::new();
    for button in rows.flatten() {
        let Value::Object(button) = button else {
            left_out.add("button of unknown form");
            continue;
        };
        let mut button = Object(button);
        let text = button.text("text").unwrap_or_default();
        let leads = matches!(button.text("type").as_deref(), Some("url" | "auth" | "web_view"));
        let data = button.text("data");
        buttons.push(match data.filter(|_| leads) {
            Some(url) => json!({"text": text, "url": url}),
            None => json!({"text": text}),
        });
    }
    buttons
}
