//! Files: how many there are in each state, the newest, and those that an operator wants.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};

use super::fields::{Fields, Sent};
use super::job::lasting;
use super::visit::{Frame, Visit};
use super::{back_to, drawn};
use crate::http::access::{Operator, Viewer};
use crate::http::api::file::{self, OfChat, Wanted, Wants};
use crate::http::extract::{Json, Query};
use crate::http::page::Limit;
use crate::http::{Http, problem::Problem};
use crate::record::file::listing::{Listed, Total};

/// How a file stands, as the API calls it.
const STATES: [&str; 6] = ["wanted", "fetching", "held", "skipped", "unavailable", "stored"];

pub fn router() -> Router<Http> {
    Router::new().route("/files", get(list)).route("/files/wants", post(want))
}

#[derive(Template)]
#[template(path = "files.html")]
struct FilesPage {
    frame: Frame,
    fields: Fields,
    states: Vec<&'static str>,
    totals: Vec<(String, i64, String)>,
    files: Vec<Row>,
    next: Option<String>,
    here: String,
}

struct Row {
    file: Listed,
    kind: String,
    size: String,
    /// How far it is, in hundredths.
    share: Option<i64>,
    remaining: String,
}

/// Bytes in words.
fn sized(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

async fn list(State(http): State<Http>, visit: Visit, viewer: Viewer, fields: Fields) -> Result<Response, Problem> {
    let chat = fields.number("chat")?;
    let wanted = Wanted { state: fields.word("state")?, chat, cursor: fields.owned("cursor"), limit: Limit::default() };
    let page = file::list(State(http.clone()), viewer.clone(), Query(wanted)).await?.0;
    let totals: Vec<Total> = file::totals(State(http), viewer, Query(OfChat { chat })).await?.0.items;
    let row = |file: Listed| Row {
        kind: file.r#type.clone(),
        size: file.size.map(sized).unwrap_or_default(),
        share: file.size.filter(|size| *size > 0 && file.state == "fetching").map(|size| file.position.saturating_mul(100) / size),
        remaining: file.remaining_seconds.map(lasting).unwrap_or_default(),
        file,
    };
    drawn(&FilesPage {
        frame: visit.frame("files", "Files"),
        states: STATES.to_vec(),
        totals: totals.into_iter().map(|it| (it.state, it.files, sized(it.bytes))).collect(),
        files: page.items.into_iter().map(row).collect(),
        next: page.next.as_deref().map(|cursor| fields.with("cursor", cursor)),
        here: fields.with("", ""),
        fields,
    })
}

async fn want(State(http): State<Http>, operator: Operator, Sent(fields): Sent) -> Result<Response, Problem> {
    let wish = Wants { files: fields.owned("file").into_iter().collect(), chat: fields.number("chat")? };
    let wanted = file::want(State(http), operator, Json(wish)).await?.0.wanted;
    Ok(back_to(fields.text("back").unwrap_or("/files"), "files", wanted as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_words() {
        assert_eq!([0, 1023, 1024, 1_500_000, 5_000_000_000_000].map(sized), ["0 B", "1023 B", "1.0 KiB", "1.4 MiB", "4.5 TiB"]);
    }
}
