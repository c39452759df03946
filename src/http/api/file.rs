//! Files: lists, what the rules would do, wishes, and what is stored.
//!
//! What Telegram tells of a file (its name, its type) is not trusted: only pictures of known types are shown in a page, and everything
//! else is an attachment whose bytes say nothing to a browser.

use std::ops::Range;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::{Operator, Viewer},
    extract::{Json, Path, Query},
    page::{self, Limit, Page},
    problem::Problem,
};
use crate::media::Content;
use crate::record::{
    ChatId,
    file::{
        self, deciding,
        dry_run::{self, Count},
        listing::{self, Listed, Total},
    },
    media::{self, MediaId},
    outbox::Kind,
};

/// Messages that are told of one file.
const SOURCES: i64 = 50;
/// Types that browsers show, and that hold no script.
const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "image/gif"];
/// What a file's name may have in a header as it is, <https://www.rfc-editor.org/rfc/rfc8187#section-3.2.1>.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(totals))
        .routes(routes!(want))
        .routes(routes!(rules))
        .routes(routes!(show))
        .routes(routes!(content))
}

/// How a file stands.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    Wanted,
    Fetching,
    Held,
    Skipped,
    Unavailable,
    Stored,
}

impl From<FileState> for file::State {
    fn from(state: FileState) -> Self {
        match state {
            FileState::Wanted => Self::Wanted,
            FileState::Fetching => Self::Fetching,
            FileState::Held => Self::Held,
            FileState::Skipped => Self::Skipped,
            FileState::Unavailable => Self::Unavailable,
            FileState::Stored => Self::Stored,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    #[param(inline)]
    pub state: Option<FileState>,
    /// Those that messages of this chat carry.
    pub chat: Option<i64>,
    pub cursor: Option<String>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Limit,
}

/// Files, the newest first, with their progress in bytes.
#[utoipa::path(get, path = "/files", tag = "files", params(Wanted), responses((status = 200, body = Page<Listed>)))]
pub async fn list(State(http): State<Http>, _: Viewer, Query(wanted): Query<Wanted>) -> Result<Json<Page<Listed>>, Problem> {
    let before = page::key(wanted.cursor.as_deref())?;
    let (state, chat) = (wanted.state.map(file::State::from), wanted.chat.map(ChatId));
    let files = listing::list(&mut *http.pool.acquire().await?, state, chat, before, wanted.limit.and_one()).await?;
    Ok(Json(Page::of(files, wanted.limit, |file| file.id)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OfChat {
    /// Those that messages of this chat carry.
    pub chat: Option<i64>,
}

/// How many files there are in each state, and their bytes.
#[utoipa::path(get, path = "/file-totals", tag = "files", params(OfChat), responses((status = 200, body = Page<Total>)))]
pub async fn totals(State(http): State<Http>, _: Viewer, Query(of): Query<OfChat>) -> Result<Json<Page<Total>>, Problem> {
    Ok(Json(Page::whole(listing::totals(&mut *http.pool.acquire().await?, of.chat.map(ChatId)).await?)))
}

/// Files that are wanted: named, or all of a chat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FileWants)]
pub struct Wants {
    /// Numbers, or `photo_ID` and `document_ID`.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub files: Vec<String>,
    /// All files that messages of this chat carry.
    pub chat: Option<i64>,
}

/// What is wanted now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FilesWanted)]
pub struct Wished {
    /// Files that were meant.
    pub files: usize,
    /// Those that are wanted now and were not.
    pub wanted: usize,
}

/// Fetches files whatever the rules say: again, where they are held or unavailable.
#[utoipa::path(post, path = "/files/wants", tag = "files", request_body = Wants, responses((status = 200, body = Wished)))]
pub async fn want(State(http): State<Http>, Operator(caller): Operator, Json(wish): Json<Wants>) -> Result<Json<Wished>, Problem> {
    if wish.files.is_empty() == wish.chat.is_none() || wish.files.len() > 1_000 {
        return Err(Problem::invalid("files", "1 to 1,000 files, or a chat in their place"));
    }
    let mut tx = http.pool.begin().await?;
    let mut files = Vec::new();
    for name in &wish.files {
        let found = deciding::named(&mut tx, name).await?;
        files.push(found.ok_or_else(|| Problem::invalid("files", "one of these files is not known"))?);
    }
    if let Some(chat) = wish.chat {
        files = deciding::of_chat(&mut tx, ChatId(chat)).await?;
        if files.is_empty() {
            return Err(Problem::not_found("no file of this chat is known"));
        }
    }
    let wanted = deciding::want(&mut tx, &files).await?.len();
    let detail = serde_json::json!({ "files": wish.files, "chat": wish.chat, "wanted": wanted });
    caller.note(&mut tx, "file.want", "files", detail).await?;
    tx.commit().await?;
    Ok(Json(Wished { files: files.len(), wanted }))
}

/// What the rules would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FileDryRun)]
pub struct DryRun {
    pub rules: Vec<RuleCount>,
    pub chats: Vec<ChatCount>,
    /// What would be fetched in all.
    pub fetched: Count,
}

/// What one rule would do with files of one type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FileRuleCount)]
pub struct RuleCount {
    /// fetch or skip
    pub action: String,
    /// – where none covers them
    pub rule: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub count: Count,
}

/// What would be fetched of one chat.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FileChatCount)]
pub struct ChatCount {
    pub chat_id: i64,
    pub count: Count,
}

/// What the rules of this node's configuration would do with every file that is known. Nothing is fetched by asking.
#[utoipa::path(get, path = "/file-rules/dry-run", tag = "files", params(OfChat), responses((status = 200, body = DryRun)))]
async fn rules(State(http): State<Http>, _: Viewer, Query(of): Query<OfChat>) -> Result<Json<DryRun>, Problem> {
    let told = dry_run::dry_run(&http.pool, &http.config.files.rules(), of.chat.map(ChatId)).await?;
    let rule = |((action, rule, kind), count)| RuleCount { action, rule, kind, count };
    let chats = told.chats.into_iter().map(|(chat_id, count)| ChatCount { chat_id, count }).collect();
    Ok(Json(DryRun { rules: told.rules.into_iter().map(rule).collect(), chats, fetched: told.fetched }))
}

/// A file in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct FileShown {
    pub file: Listed,
    /// As Telegram told it: data, never a path.
    pub file_name: Option<String>,
    /// Messages that carry it, those learned of last first.
    pub sources: Vec<Source>,
}

/// A message that carries a file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FileSource)]
pub struct Source {
    pub chat_id: i64,
    pub message_id: i64,
    pub protected: bool,
    pub self_destructing: bool,
    pub deleted: bool,
}

/// One file, by its number, `photo_ID` or `document_ID`.
#[utoipa::path(get, path = "/files/{file}", tag = "files", params(("file" = String, Path)), responses((status = 200, body = FileShown)))]
pub async fn show(State(http): State<Http>, _: Viewer, Path(name): Path<String>) -> Result<Json<FileShown>, Problem> {
    let (file, file_name) = known(&http, &name).await?;
    let sources = media::sources_of(&mut *http.pool.acquire().await?, MediaId(file.id), SOURCES).await?;
    let source = |it: media::Source| Source {
        chat_id: it.chat.0,
        message_id: it.message_id,
        protected: it.protected,
        self_destructing: it.ttl,
        deleted: it.deleted,
    };
    Ok(Json(FileShown { file, file_name, sources: sources.into_iter().map(source).collect() }))
}

/// The file of a name, and the name that Telegram told.
async fn known(http: &Http, name: &str) -> Result<(Listed, Option<String>), Problem> {
    let none = || Problem::not_found("there is no such file");
    let mut conn = http.pool.acquire().await?;
    let id = deciding::named(&mut conn, name).await?.ok_or_else(none)?;
    let file = listing::show(&mut conn, id).await?.ok_or_else(none)?;
    drop(conn);
    let document = super::document::rows(http, Kind::Media, &[id.0]).await?.pop();
    let told = document.and_then(|it| it.document["file_name"].as_str().map(str::to_owned));
    Ok((file, told))
}

/// The bytes of a stored file, or of a part of it (`Range: bytes=…`). Pictures are shown, everything else is an attachment.
#[utoipa::path(get, path = "/files/{file}/content", tag = "files", params(("file" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = 206, content_type = "application/octet-stream", body = Vec<u8>)))]
async fn content(State(http): State<Http>, _: Viewer, Path(name): Path<String>, asked: HeaderMap) -> Result<Response, Problem> {
    let (file, told) = known(&http, &name).await?;
    let (Some(sha256), "stored") = (&file.sha256, file.state.as_str()) else {
        return Err(Problem::conflict(format!("the file is {}, not stored", file.state)));
    };
    let store = http.config.files.open_store()?;
    let size = file.size.and_then(|size| u64::try_from(size).ok());
    let content = size
        .and_then(|size| Content::of_hex(sha256, size))
        .ok_or_else(|| Problem::conflict("the size of the file is not known"))?;
    if !store.has(&content).await? {
        return Err(Problem::away("store-away", "The store of files is away", "the store does not have it"));
    }
    let part = match asked.get(header::RANGE).map(|value| range(value, content.size)) {
        None | Some(Asked::All) => None,
        Some(Asked::Part(part)) => Some(part),
        Some(Asked::None) => {
            let mut refused = Problem::of_status(StatusCode::RANGE_NOT_SATISFIABLE).into_response();
            refused.headers_mut().insert(header::CONTENT_RANGE, text(format!("bytes */{}", content.size)));
            return Ok(refused);
        }
    };
    let span = part.clone().unwrap_or(0..content.size);
    let bytes = store.read(&content, span.clone()).await?;
    let mut headers = HeaderMap::new();
    let mime = file.mime_type.as_deref().or((file.r#type == "photo" || file.r#type == "avatar").then_some("image/jpeg"));
    let picture = mime.and_then(|mime| PICTURES.into_iter().find(|picture| *picture == mime));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(picture.unwrap_or("application/octet-stream")));
    let how = if picture.is_some() { "inline" } else { "attachment" };
    let name = told.unwrap_or_else(|| file.media_id.clone());
    headers.insert(header::CONTENT_DISPOSITION, text(format!("{how}; filename*=UTF-8''{}", utf8_percent_encode(&name, NAME))));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(span.end - span.start));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, text(format!("\"{sha256}\"")));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    // Whatever it is, it loads and runs nothing.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    let status = match &part {
        Some(part) => {
            headers.insert(header::CONTENT_RANGE, text(format!("bytes {}-{}/{}", part.start, part.end - 1, content.size)));
            StatusCode::PARTIAL_CONTENT
        }
        None => StatusCode::OK,
    };
    Ok((status, headers, Body::from_stream(bytes)).into_response())
}

/// Of numbers, hashes and what is percent-encoded: always a header's value.
fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("attachment"))
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    All,
    Part(Range<u64>),
    /// Nothing of it is there.
    None,
}

/// One range of bytes; several are answered whole, as the standard allows: <https://www.rfc-editor.org/rfc/rfc9110#section-14.2>.
fn range(value: &HeaderValue, size: u64) -> Asked {
    let part = value.to_str().ok().and_then(|text| text.strip_prefix("bytes=")).filter(|text| !text.contains(','));
    let Some((first, last)) = part.and_then(|part| part.split_once('-')) else { return Asked::All };
    let number = |text: &str| text.trim().parse::<u64>();
    let (from, to) = match (number(first), number(last)) {
        (Ok(from), Ok(to)) if from <= to => (from, to.saturating_add(1).min(size)),
        (Ok(from), Err(_)) if last.trim().is_empty() => (from, size),
        // the last so many
        (Err(_), Ok(count)) if first.trim().is_empty() && count > 0 => (size.saturating_sub(count), size),
        (Err(_), Ok(0)) if first.trim().is_empty() => return Asked::None,
        _ => return Asked::All,
    };
    if from < size && from < to { Asked::Part(from..to) } else { Asked::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_the_standard_says() {
        let of = |text: &'static str| range(&HeaderValue::from_static(text), 100);
        assert_eq!(of("bytes=0-9"), Asked::Part(0..10));
        assert_eq!(of("bytes=90-"), Asked::Part(90..100));
        assert_eq!(of("bytes=-5"), Asked::Part(95..100));
        assert_eq!(of("bytes=-500"), Asked::Part(0..100));
        assert_eq!(of("bytes=50-18446744073709551615"), Asked::Part(50..100));
        assert_eq!(of("bytes=100-"), Asked::None);
        assert_eq!(of("bytes=-0"), Asked::None);
        for all in ["bytes=9-0", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=", "bytes=-"] {
            assert_eq!(of(all), Asked::All, "{all}");
        }
    }
}
