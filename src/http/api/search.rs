//! Search: in the index, or in the record while there is none.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::Viewer,
    extract::{Json, Query},
    page::{self, Limit},
    problem::Problem,
};
use crate::projection;
use crate::record::finding::{self, Found, MARKS, Sort, Wish};
use crate::record::search::Hit;

/// Characters of a search.
const LONGEST: usize = 500;

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(search))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Words; all must occur. `"…"` is a phrase, `-word` excludes. Empty: all messages.
    #[serde(default)]
    #[param(max_length = 500)]
    pub text: String,
    /// A chat's marked id.
    pub chat: Option<i64>,
    /// A user's id, or the chat that signs.
    pub sender: Option<i64>,
    /// Written at this moment or later.
    pub since: Option<DateTime<Utc>>,
    /// Written before this moment.
    pub until: Option<DateTime<Utc>>,
    /// photo, video, voice, document, poll …
    pub media_type: Option<String>,
    /// By ISO 639-3, as `eng`; a message has one where its text leaves no doubt.
    pub language: Option<String>,
    #[serde(default)]
    #[param(inline)]
    pub sort: Sort,
    pub cursor: Option<String>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Limit,
}

/// A page of what was found.
#[derive(Debug, Serialize, ToSchema, async_graphql::SimpleObject)]
pub struct SearchPage {
    pub items: Vec<SearchHit>,
    pub next: Option<String>,
    pub total: u64,
    /// Else there are more than `total`.
    pub total_is_exact: bool,
    /// `index`, or `record` where the index is away. A page goes on where it began.
    pub place: String,
}

/// A message that matches.
#[derive(Debug, Serialize, ToSchema, async_graphql::SimpleObject)]
pub struct SearchHit {
    /// The document's id.
    pub id: String,
    pub chat_id: i64,
    pub message_id: i64,
    pub date: Option<DateTime<Utc>>,
    /// Pieces of the text, in order. Text as it was written: markup in it is text.
    pub highlight: Vec<Piece>,
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, async_graphql::SimpleObject)]
#[schema(as = SearchPiece)]
pub struct Piece {
    pub text: String,
    /// It is what was looked for.
    pub found: bool,
}

/// A text with marks, in pieces.
fn pieces(marked: &str) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut found = false;
    for piece in marked.split_inclusive([MARKS.0, MARKS.1]) {
        let text = piece.trim_end_matches([MARKS.0, MARKS.1]);
        if !text.is_empty() {
            all.push(Piece { text: text.to_owned(), found });
        }
        if let Some(last) = piece.chars().last().filter(|last| [MARKS.0, MARKS.1].contains(last)) {
            found = last == MARKS.0;
        }
    }
    all
}

impl std::convert::From<Hit> for SearchHit {
    fn from(hit: Hit) -> Self {
        let Hit { id, chat_id, message_id, date, text: _, highlight } = hit;
        Self { id, chat_id, message_id, date, highlight: pieces(&highlight) }
    }
}

/// Messages that match, by what they say and what they are. Later pages cost what the first does.
#[utoipa::path(get, path = "/search", tag = "documents", params(Wanted), responses((status = 200, body = SearchPage)))]
async fn search(State(http): State<Http>, _: Viewer, Query(wanted): Query<Wanted>) -> Result<Json<SearchPage>, Problem> {
    Ok(Json(page_of(&http, wanted).await?))
}

/// See [`search`].
pub async fn page_of(http: &Http, wanted: Wanted) -> Result<SearchPage, Problem> {
    if wanted.text.chars().count() > LONGEST {
        return Err(Problem::invalid("text", format!("at most {LONGEST} characters")));
    }
    for (field, text) in [("media_type", &wanted.media_type), ("language", &wanted.language)] {
        if text.as_ref().is_some_and(|text| text.len() > 64) {
            return Err(Problem::invalid(field, "at most 64 characters"));
        }
    }
    let Wanted { text, chat, sender, since, until, media_type, language, sort, cursor, limit } = wanted;
    let wish = Wish { text: text.trim().replace('\0', " "), chat, sender, since, until, media_type, language, sort };
    let place: Option<(String, Vec<Value>)> = page::key(cursor.as_deref())?;
    let wrong = || Problem::invalid("cursor", "this cursor is none of ours").remedy("take `next` of the page before, unchanged");
    if place.as_ref().is_some_and(|(_, values)| values.iter().any(|value| value.is_object() || value.is_array())) {
        return Err(wrong());
    }
    let (began, after) = place.map_or((None, None), |(began, after)| (Some(began), Some(after)));
    let (place, found) = match (&http.projector, began.as_deref()) {
        (Some(projector), None | Some("index")) => match projector.find(&wish, after.as_deref(), limit.get()).await {
            Ok(found) => ("index", found),
            Err(projection::Error::Refused { status: 400, .. }) if after.is_some() => return Err(wrong()),
            // a page of the index goes on nowhere else
            Err(error) if after.is_some() || matches!(error, projection::Error::Refused { status: 400, .. }) => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::debug!(error = %crate::error::chain(&error), "http: search runs on the record");
                ("record", finding::find(&http.pool, &wish, None, limit.get()).await?)
            }
        },
        (_, None | Some("record")) => match finding::find(&http.pool, &wish, after.as_deref(), limit.get()).await {
            Err(sqlx::Error::Decode(_)) if after.is_some() => return Err(wrong()),
            found => ("record", found?),
        },
        _ => return Err(wrong()),
    };
    let Found { total, total_is_exact, hits, after } = found;
    let next = after.map(|after| page::cursor(&(place, after)));
    Ok(SearchPage { items: hits.into_iter().map(SearchHit::from).collect(), next, total, total_is_exact, place: place.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_highlight_is_pieces_and_markup_in_it_is_text() {
        let piece = |text: &str, found| Piece { text: text.into(), found };
        assert_eq!(pieces("a \u{E000}ship\u{E001} <b>"), [piece("a ", false), piece("ship", true), piece(" <b>", false)]);
        assert_eq!(pieces("nothing"), [piece("nothing", false)]);
        assert_eq!(pieces(""), []);
    }
}
