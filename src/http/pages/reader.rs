//! A chat as one reads it: albums together, answers under what they answer, forwards, what was edited and what was deleted.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;

use super::drawn;
use super::fields::Fields;
use super::visit::{Frame, Visit};
use crate::http::access::Viewer;
use crate::http::api::document;
use crate::http::api::message::{self, Message, MessageShown, Messages, Place};
use crate::http::extract::{Path, Query};
use crate::http::page::Limit;
use crate::http::{Http, problem::Problem};
use crate::record::file::deciding;
use crate::record::outbox::Kind;

/// Characters of an answered message that are shown.
const ANSWERED: usize = 120;

pub fn router() -> Router<Http> {
    Router::new().route("/chats/{id}/messages", get(list)).route("/chats/{id}/messages/{message}", get(show))
}

#[derive(Template)]
#[template(path = "reader.html")]
struct ReaderPage {
    frame: Frame,
    id: i64,
    bubbles: Vec<Bubble>,
    older: Option<i64>,
    newer: Option<i64>,
}

/// A message, or an album, as it is shown.
struct Bubble {
    id: i64,
    sender: String,
    date: String,
    edited: Option<String>,
    deleted: Option<String>,
    forward: Option<String>,
    answers: Option<Answered>,
    text: String,
    media: Vec<Media>,
    /// What is shown of media without a file, and of services, in words.
    note: Option<String>,
    /// Of the album's messages, with each one's id.
    versions: Vec<(i64, i64)>,
    reactions: Vec<(String, i64)>,
    views: Option<i64>,
    /// It was asked for.
    here: bool,
}

struct Answered {
    id: i64,
    said: Option<String>,
}

struct Media {
    file: String,
    kind: String,
    /// wanted, fetching, held, skipped, unavailable, stored; or nothing known.
    state: String,
    picture: bool,
}

/// What is known beside the messages themselves.
#[derive(Default)]
struct Known {
    names: BTreeMap<i64, String>,
    files: BTreeMap<String, String>,
}

fn text(document: &Value, name: &str) -> Option<String> {
    document[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A time of a document, to the second.
fn time(document: &Value, name: &str) -> Option<String> {
    text(document, name).map(|it| it.chars().take(19).collect::<String>().replace('T', " "))
}

async fn list(
    State(http): State<Http>,
    visit: Visit,
    viewer: Viewer,
    Path(id): Path<i64>,
    fields: Fields,
) -> Result<Response, Problem> {
    let around = fields.number("around")?;
    let (before, after) = (fields.number("before")?, fields.number("after")?);
    let date = fields.moment("date")?.filter(|_| around.is_none());
    let place = Place { before, after, around, date, limit: Limit::default() };
    let Messages { items, older, newer } = message::list(State(http.clone()), viewer, Path(id), Query(place)).await?.0;
    let known = known(&http, items.iter().map(|it| &it.document)).await?;
    let chats = document::chat(&http, id).await?;
    let title = chats.as_ref().and_then(|it| text(it, "title")).unwrap_or_else(|| format!("Chat {id}"));
    drawn(&ReaderPage { frame: visit.frame("chats", title), id, bubbles: bubbles(&items, &known, around), older, newer })
}

/// Names of those who wrote, and how the files stand.
async fn known(http: &Http, documents: impl Iterator<Item = &Value>) -> Result<Known, Problem> {
    let (mut users, mut chats, mut media) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for it in documents {
        users.extend(["from_user_id", "forward_from_id"].iter().filter_map(|name| it[*name].as_i64()));
        chats.extend(["sender_chat_id", "forward_from_chat_id"].iter().filter_map(|name| it[*name].as_i64()));
        media.extend(text(it, "media_id"));
    }
    let mut known = Known::default();
    for (kind, ids) in [(Kind::User, users), (Kind::Chat, chats)] {
        let ids: Vec<i64> = ids.into_iter().collect();
        for (id, found) in document::of_ids(http, kind, &ids).await? {
            let names = ["first_name", "last_name", "title"].iter().filter_map(|name| text(&found, name));
            let name = names.collect::<Vec<_>>().join(" ");
            if !name.is_empty() {
                known.names.insert(id, name);
            }
        }
    }
    let mut files = Vec::new();
    let mut conn = http.pool.acquire().await?;
    for name in &media {
        files.extend(deciding::named(&mut conn, name).await?.map(|it| it.0));
    }
    drop(conn);
    for found in document::rows(http, Kind::Media, &files).await? {
        if let (Some(id), Some(state)) = (text(&found.document, "media_id"), text(&found.document, "state")) {
            known.files.insert(id, state);
        }
    }
    Ok(known)
}

impl Known {
    fn name(&self, id: i64) -> String {
        self.names.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

/// Messages in their order; those of one album are one.
fn bubbles(messages: &[Message], known: &Known, here: Option<i64>) -> Vec<Bubble> {
    let said: BTreeMap<i64, String> = messages.iter().filter_map(|it| Some((it.message_id, text(&it.document, "text")?))).collect();
    let mut all: Vec<Bubble> = Vec::new();
    let mut album: Option<String> = None;
    for it in messages {
        let group =
            text(&it.document, "media_group_id").or_else(|| it.document["media_group_id"].as_i64().map(|id| id.to_string()));
        let one = bubble(it, known, &said, here);
        match all.last_mut().filter(|_| group.is_some() && group == album) {
            Some(last) => {
                last.media.extend(one.media);
                last.versions.extend(one.versions);
                last.here |= one.here;
                if last.text.is_empty() {
                    last.text = one.text;
                }
                last.deleted = last.deleted.take().or(one.deleted);
            }
            None => all.push(one),
        }
        album = group;
    }
    all
}

fn bubble(it: &Message, known: &Known, said: &BTreeMap<i64, String>, here: Option<i64>) -> Bubble {
    let document = &it.document;
    let id = |name: &str| document[name].as_i64();
    let sender = id("from_user_id").or_else(|| id("sender_chat_id")).map(|id| known.name(id));
    let forward = id("forward_from_id").or_else(|| id("forward_from_chat_id")).map(|id| known.name(id));
    let forward = forward.or_else(|| text(document, "forward_send_name"));
    let answers = id("reply_to_message_id").map(|id| {
        let said = said.get(&id).map(|text| text.chars().take(ANSWERED).collect());
        Answered { id, said }
    });
    let kind = text(document, "media_type").unwrap_or_default();
    let media = text(document, "media_id").map(|file| {
        let state = known.files.get(&file).cloned().unwrap_or_else(|| "not known".into());
        Media { picture: kind == "photo" && state == "stored", state, kind: kind.clone(), file }
    });
    let service = text(&document["service"], "action").map(|action| action.replace('_', " "));
    let note = service.or_else(|| (media.is_none() && !kind.is_empty()).then(|| kind.replace('_', " ")));
    let between = || time(&document["deleted_between"], "lte");
    let deleted = time(document, "deleted_at").or_else(between);
    let reactions = document["reactions"].as_array().into_iter().flatten();
    let reactions = reactions.filter_map(|it| Some((text(it, "reaction")?, it["count"].as_i64()?)));
    Bubble {
        id: it.message_id,
        sender: sender.or_else(|| text(document, "author_signature")).unwrap_or_else(|| "somebody".into()),
        date: time(document, "date").unwrap_or_default(),
        edited: time(document, "edit_date"),
        deleted,
        forward,
        answers,
        text: text(document, "text").unwrap_or_default(),
        media: media.into_iter().collect(),
        note,
        versions: (it.versions > 0).then_some((it.message_id, it.versions)).into_iter().collect(),
        reactions: reactions.collect(),
        views: id("views"),
        here: here == Some(it.message_id),
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    frame: Frame,
    id: i64,
    message: i64,
    /// The oldest first, what stands now last.
    sides: Vec<Side>,
    deleted: Option<String>,
    document: String,
}

struct Side {
    title: String,
    date: String,
    text: String,
    media: String,
}

async fn show(
    State(http): State<Http>,
    visit: Visit,
    viewer: Viewer,
    Path((id, message)): Path<(i64, i64)>,
) -> Result<Response, Problem> {
    let MessageShown { message: it, versions } = message::show(State(http), viewer, Path((id, message))).await?.0;
    let side = |title: String, document: &Value| Side {
        title,
        date: time(document, "edit_date").or_else(|| time(document, "date")).unwrap_or_default(),
        text: text(document, "text").unwrap_or_default(),
        media: text(document, "media_id").unwrap_or_default(),
    };
    let mut sides: Vec<Side> =
        versions.iter().enumerate().map(|(n, version)| side(format!("Version {}", n + 1), &version.document)).collect();
    sides.push(side("Now".into(), &it.document));
    let deleted = time(&it.document, "deleted_at").or_else(|| time(&it.document["deleted_between"], "lte"));
    let document = serde_json::to_string_pretty(&it.document).unwrap_or_default();
    drawn(&MessagePage { frame: visit.frame("chats", format!("Message {message}")), id, message, sides, deleted, document })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_album_is_one_and_what_is_answered_is_told() {
        let message =
            |id: i64, document: Value| Message { id: id.to_string(), message_id: id, revision: 1, versions: id % 2, document };
        let all = [
            message(1, json!({ "text": "<b>first</b>", "date": "2026-01-31T10:00:00Z", "from_user_id": 7 })),
            message(2, json!({ "media_group_id": "9", "media_id": "photo_1", "media_type": "photo" })),
            message(3, json!({ "media_group_id": "9", "media_id": "photo_2", "media_type": "photo", "text": "both" })),
            message(4, json!({ "reply_to_message_id": 1, "text": "yes", "deleted_at": "2026-02-01T00:00:00Z" })),
        ];
        let known = Known { names: [(7, "Ann".into())].into(), files: [("photo_1".to_owned(), "stored".to_owned())].into() };
        let drawn = bubbles(&all, &known, Some(4));
        assert_eq!(drawn.iter().map(|it| it.id).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!((drawn[0].sender.as_str(), drawn[0].date.as_str()), ("Ann", "2026-01-31 10:00:00"));
        assert_eq!((drawn[1].media.len(), drawn[1].text.as_str(), &drawn[1].versions), (2, "both", &vec![(3, 1)]));
        assert_eq!(drawn[1].media.iter().map(|it| it.picture).collect::<Vec<_>>(), [true, false]);
        assert_eq!(drawn[2].answers.as_ref().and_then(|it| it.said.as_deref()), Some("<b>first</b>"));
        assert!(drawn[2].here && drawn[2].deleted.as_deref() == Some("2026-02-01 00:00:00"));
    }
}
