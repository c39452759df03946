//! Search, with what was found marked; each hit opens in the reader.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use super::drawn;
use super::fields::Fields;
use super::visit::{Frame, Visit};
use crate::http::access::Viewer;
use crate::http::api::document;
use crate::http::api::search::{self, SearchPage, Wanted};
use crate::http::page::Limit;
use crate::http::{Http, problem::Problem};
use crate::record::finding::Sort;
use crate::record::outbox::Kind;

pub fn router() -> Router<Http> {
    Router::new().route("/search", get(show))
}

#[derive(Template)]
#[template(path = "search.html")]
struct Page {
    frame: Frame,
    fields: Fields,
    newest: bool,
    found: Option<Found>,
}

struct Found {
    page: SearchPage,
    /// Titles, in the order of the hits.
    titles: Vec<String>,
    next: Option<String>,
}

async fn show(State(http): State<Http>, visit: Visit, _: Viewer, fields: Fields) -> Result<Response, Problem> {
    let sort: Sort = fields.word("sort")?.unwrap_or_default();
    let asked = ["text", "chat", "sender", "since", "until", "media_type", "language"].iter().any(|it| fields.text(it).is_some());
    let found = match asked {
        false => None,
        true => {
            let wanted = Wanted {
                text: fields.shown("text"),
                chat: fields.number("chat")?,
                sender: fields.number("sender")?,
                since: fields.moment("since")?,
                until: fields.moment("until")?,
                media_type: fields.owned("media_type"),
                language: fields.owned("language"),
                sort,
                cursor: fields.owned("cursor"),
                limit: Limit::default(),
            };
            let page = search::page_of(&http, wanted).await?;
            let mut chats: Vec<i64> = page.items.iter().map(|hit| hit.chat_id).collect();
            chats.sort_unstable();
            chats.dedup();
            let known = document::of_ids(&http, Kind::Chat, &chats).await?;
            let title = |id: i64| {
                let found = known.iter().find(|(it, _)| *it == id).and_then(|(_, chat)| chat["title"].as_str());
                found.map_or_else(|| format!("Chat {id}"), str::to_owned)
            };
            let titles = page.items.iter().map(|hit| title(hit.chat_id)).collect();
            let next = page.next.as_deref().map(|cursor| fields.with("cursor", cursor));
            Some(Found { page, titles, next })
        }
    };
    drawn(&Page { frame: visit.frame("search", "Search"), newest: sort == Sort::Newest, fields, found })
}
