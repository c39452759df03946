//! A message's media: its type, its document's id, and what stands in the message itself (poll, location, contact, web page).

use serde_json::{Map, Value, json};

use super::text::plain;
use super::{chat_id, date_text, file, offer};
use crate::record::media::{MediaType, Told};
use crate::telegram::tl;
use tl::Serializable;
use tl::enums::{Document, GeoPoint, MessageMedia, Photo, WebPage};

/// Adds media to a message's fields; answers why its raw form must be kept, if it must.
pub fn fill(body: &mut Map<String, Value>, media: &MessageMedia) -> Option<String> {
    let kind = match media {
        MessageMedia::Empty => return None,
        MessageMedia::Photo(it) => {
            set_id(body, it.photo.as_ref().and_then(photo_id));
            "photo"
        }
        MessageMedia::Document(it) => {
            set_id(body, it.document.as_ref().and_then(document_id));
            document_kind(it)
        }
        MessageMedia::Geo(it) => location(body, &it.geo, None),
        MessageMedia::GeoLive(it) => location(body, &it.geo, None),
        MessageMedia::Venue(it) => location(body, &it.geo, Some((&it.title, &it.address))),
        MessageMedia::Contact(it) => {
            // The phone number and the vcard, which repeats it, are left where they are.
            let mut contact = json!({"first_name": it.first_name, "last_name": it.last_name});
            if it.user_id != 0 {
                contact["user_id"] = it.user_id.into();
            }
            body.insert("contact".into(), contact);
            "contact"
        }
        MessageMedia::Poll(it) => {
            body.insert("poll".into(), poll(&it.poll, &it.results));
            "poll"
        }
        MessageMedia::WebPage(it) => return web_page(body, &it.webpage),
        MessageMedia::Game(it) => {
            let tl::enums::Game::Game(it) = &it.game;
            let fields = json!({"id": it.id, "short_name": it.short_name, "title": it.title, "description": it.description});
            body.insert("game".into(), fields);
            "game"
        }
        MessageMedia::Invoice(it) => {
            body.insert("invoice".into(), offer::invoice(it));
            "invoice"
        }
        MessageMedia::Dice(it) => {
            body.insert("dice".into(), json!({"emoji": it.emoticon, "value": it.value}));
            "dice"
        }
        MessageMedia::Story(it) => {
            body.insert("story".into(), json!({"chat_id": chat_id(&it.peer), "id": it.id}));
            "story"
        }
        MessageMedia::Giveaway(it) => {
            body.insert("giveaway".into(), offer::giveaway(it));
            "giveaway"
        }
        MessageMedia::GiveawayResults(it) => {
            body.insert("giveaway".into(), offer::giveaway_results(it));
            "giveaway_results"
        }
        MessageMedia::PaidMedia(it) => {
            body.insert("paid_media".into(), offer::paid_media(it));
            "paid_media"
        }
        MessageMedia::ToDo(it) => {
            body.insert("todo".into(), todo(it));
            "todo"
        }
        MessageMedia::VideoStream(_) => "video_stream",
        MessageMedia::Unsupported => "unsupported",
    };
    // What is inside of something else names the message's file, too.
    if !body.contains_key("media_id") {
        set_id(body, file::files(media).first().map(Told::document_id));
    }
    body.insert("media".into(), true.into());
    body.insert("media_type".into(), kind.into());
    (kind == "unsupported").then(|| format!("{} is not represented", constructor(media)))
}

/// The name of an object's constructor, as Telegram writes it.
pub(super) fn constructor(object: &impl Serializable) -> &'static str {
    let bytes = object.to_bytes();
    bytes.first_chunk().map_or("an empty object", |id| tl::name_for_id(u32::from_le_bytes(*id)))
}

fn set_id(body: &mut Map<String, Value>, id: Option<String>) {
    if let Some(id) = id {
        body.insert("media_id".into(), id.into());
    }
}

/// `photo_ID`, as the media document is named.
pub fn photo_id(photo: &Photo) -> Option<String> {
    match photo {
        Photo::Empty(_) => None,
        Photo::Photo(it) => Some(format!("photo_{}", it.id)),
    }
}

/// `document_ID`, as the media document is named.
pub fn document_id(document: &Document) -> Option<String> {
    match document {
        Document::Empty(_) => None,
        Document::Document(it) => Some(format!("document_{}", it.id)),
    }
}

/// A document says by its attributes what it is; the message's own flags stay after it expired.
fn document_kind(media: &tl::types::MessageMediaDocument) -> &'static str {
    let told = match &media.document {
        Some(Document::Document(it)) => file::kind(&it.attributes),
        _ => None,
    };
    match told {
        Some(kind) => kind,
        None if media.round => MediaType::VideoNote,
        None if media.voice => MediaType::Voice,
        None if media.video => MediaType::Video,
        None => MediaType::Document,
    }
    .as_str()
}

fn location(body: &mut Map<String, Value>, geo: &GeoPoint, venue: Option<(&str, &str)>) -> &'static str {
    if let GeoPoint::Point(point) = geo {
        let mut place = json!({"lat": point.lat, "lon": point.long});
        if let Some((title, address)) = venue {
            place["title"] = title.into();
            place["address"] = address.into();
        }
        body.insert("location".into(), place);
    }
    "location"
}

fn poll(poll: &tl::enums::Poll, results: &tl::enums::PollResults) -> Value {
    use tl::enums::{PollAnswer, PollAnswerVoters};
    let tl::enums::Poll::Poll(poll) = poll;
    let tl::enums::PollResults::Results(results) = results;
    let voters = |option: &[u8]| {
        results.results.iter().flatten().find_map(|PollAnswerVoters::Voters(it)| if it.option == option { it.voters } else { None })
    };
    let answers: Vec<Value> = poll
        .answers
        .iter()
        .map(|answer| match answer {
            PollAnswer::Answer(it) => match voters(&it.option) {
                Some(voters) => json!({"text": plain(&it.text), "voters": voters}),
                None => json!({"text": plain(&it.text)}),
            },
            PollAnswer::InputPollAnswer(it) => json!({"text": plain(&it.text)}),
        })
        .collect();
    let mut out = json!({
        "id": poll.id, "question": plain(&poll.question), "answers": answers, "closed": poll.closed, "quiz": poll.quiz,
        "multiple_choice": poll.multiple_choice, "public_voters": poll.public_voters,
    });
    if let Some(total) = results.total_voters {
        out["total_voters"] = total.into();
    }
    out
}

/// A checklist: who ticked an item is told by id.
fn todo(it: &tl::types::MessageMediaToDo) -> Value {
    use tl::enums::{TodoCompletion, TodoItem};
    let tl::enums::TodoList::List(list) = &it.todo;
    let done = |id: i32| {
        it.completions.iter().flatten().find_map(|TodoCompletion::Completion(it)| (it.id == id).then_some(it))
    };
    let items: Vec<Value> = list
        .list
        .iter()
        .map(|TodoItem::Item(item)| match done(item.id) {
            Some(done) => json!({
                "id": item.id, "text": plain(&item.title), "completed_by_id": chat_id(&done.completed_by),
                "completed_date": date_text(done.date),
            }),
            None => json!({"id": item.id, "text": plain(&item.title)}),
        })
        .collect();
    json!({
        "title": plain(&list.title), "items": items, "others_can_append": list.others_can_append,
        "others_can_complete": list.others_can_complete,
    })
}

/// A preview of a link. A message that had one, empty now, is a plain text.
fn web_page(body: &mut Map<String, Value>, page: &WebPage) -> Option<String> {
    let mut preview = Map::new();
    match page {
        WebPage::Empty(it) => {
            let url = it.url.clone()?;
            preview.insert("url".into(), url.into());
        }
        WebPage::Pending(it) => {
            let url = it.url.clone()?;
            preview.insert("url".into(), url.into());
        }
        WebPage::Page(it) => {
            preview.insert("url".into(), it.url.clone().into());
            let fields = [
                ("display_url", Some(&it.display_url)),
                ("type", it.r#type.as_ref()),
                ("site_name", it.site_name.as_ref()),
                ("title", it.title.as_ref()),
                ("description", it.description.as_ref()),
                ("author", it.author.as_ref()),
            ];
            for (key, value) in fields {
                if let Some(value) = value {
                    preview.insert(key.into(), value.clone().into());
                }
            }
            set_id(body, it.document.as_ref().and_then(document_id).or_else(|| it.photo.as_ref().and_then(photo_id)));
        }
        WebPage::NotModified(_) => return None,
    }
    body.insert("webpage".into(), preview.into());
    body.insert("media".into(), true.into());
    body.insert("media_type".into(), "webpage".into());
    None
}
