//! Members of a chat, as they were told last, and the lists that told them.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::Viewer,
    extract::{Json, Path, Query},
    page::{self, Limit, Page},
    problem::Problem,
};
use crate::record::{
    ChatId,
    member::Status,
    member_list::{self, Member},
    member_snapshot::{self, Snapshot},
};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(counts)).routes(routes!(snapshots))
}

/// What somebody is in a chat.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MemberStatus)]
pub enum Standing {
    Creator,
    Administrator,
    Member,
    Restricted,
    Banned,
    Left,
}

impl From<Standing> for Status {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Creator => Self::Creator,
            Standing::Administrator => Self::Administrator,
            Standing::Member => Self::Member,
            Standing::Restricted => Self::Restricted,
            Standing::Banned => Self::Banned,
            Standing::Left => Self::Left,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    #[param(inline)]
    pub status: Option<Standing>,
    pub cursor: Option<String>,
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Limit,
}

/// Members of a chat, in the order of their ids.
#[utoipa::path(get, path = "/chats/{id}/members", tag = "chats", params(("id" = i64, Path), Wanted),
    responses((status = 200, body = Page<Member>)))]
pub async fn list(
    State(http): State<Http>,
    _: Viewer,
    Path(id): Path<i64>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<Member>>, Problem> {
    let after = page::key(wanted.cursor.as_deref())?.unwrap_or(i64::MIN);
    let status = wanted.status.map(Status::from);
    let members = member_list::list(&mut *http.pool.acquire().await?, ChatId(id), status, after, wanted.limit.and_one()).await?;
    Ok(Json(Page::of(members, wanted.limit, |member| member.user_id)))
}

/// One member of a chat.
#[utoipa::path(get, path = "/chats/{id}/members/{user}", tag = "chats", params(("id" = i64, Path), ("user" = i64, Path)),
    responses((status = 200, body = Member)))]
pub async fn show(State(http): State<Http>, _: Viewer, Path((id, user)): Path<(i64, i64)>) -> Result<Json<Member>, Problem> {
    let member = member_list::show(&mut *http.pool.acquire().await?, ChatId(id), user).await?;
    member.map(Json).ok_or_else(|| Problem::not_found("nobody of this id is known in the chat"))
}

/// How many members there are of a status.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberCount {
    /// None: seen writing, and nobody told more.
    pub status: Option<String>,
    pub members: i64,
}

/// How many members of a chat there are of each status.
#[utoipa::path(get, path = "/chats/{id}/member-counts", tag = "chats", params(("id" = i64, Path)),
    responses((status = 200, body = Page<MemberCount>)))]
pub async fn counts(State(http): State<Http>, _: Viewer, Path(id): Path<i64>) -> Result<Json<Page<MemberCount>>, Problem> {
    let counts = member_list::counts(&mut *http.pool.acquire().await?, ChatId(id)).await?;
    Ok(Json(Page::whole(counts.into_iter().map(|(status, members)| MemberCount { status, members }).collect())))
}

/// Lists of members that were read of a chat, the newest first.
#[utoipa::path(get, path = "/chats/{id}/member-lists", tag = "chats", params(("id" = i64, Path)),
    responses((status = 200, body = Page<Snapshot>)))]
pub async fn snapshots(State(http): State<Http>, _: Viewer, Path(id): Path<i64>) -> Result<Json<Page<Snapshot>>, Problem> {
    Ok(Json(Page::whole(member_snapshot::list(&mut *http.pool.acquire().await?, ChatId(id)).await?)))
}
