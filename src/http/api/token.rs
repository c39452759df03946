//! Tokens: made, listed and revoked over HTTP by an admin.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::{
        Admin,
        secret::{self, Secret},
    },
    extract::{Json, Path},
    page::Page,
    problem::Problem,
};
use crate::record::token::{self, NewToken, Role, Token};

/// The longest time that a token can have, in days: a hundred years.
const LONGEST: u32 = 36_500;

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// Tokens, revoked ones too. None is shown again.
#[utoipa::path(get, path = "/tokens", tag = "system", responses((status = 200, body = Page<Token>)))]
pub async fn list(State(http): State<Http>, _: Admin) -> Result<Json<Page<Token>>, Problem> {
    Ok(Json(Page::whole(token::list(&mut *http.pool.acquire().await?).await?)))
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken)]
pub struct Wish {
    /// 1 to 64 letters, digits, `-`, `_`, `.`, `@`.
    #[schema(pattern = "^[A-Za-z0-9._@-]{1,64}$")]
    pub name: String,
    pub role: Role,
    /// It ends after so many days; never when not given.
    #[schema(minimum = 1, maximum = 36500)]
    pub expires_days: Option<u32>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenMade)]
pub struct Made {
    /// The token itself: told now, and never again.
    pub secret: String,
    pub token: Token,
}

/// Makes a token. Its answer is the only one that ever has it.
#[utoipa::path(post, path = "/tokens", tag = "system", request_body = Wish, responses((status = 201, body = Made)))]
pub async fn create(
    State(http): State<Http>,
    Admin(caller): Admin,
    Json(wish): Json<Wish>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let named = (1..=64).contains(&wish.name.len()) && wish.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    if !named {
        return Err(Problem::invalid("name", "a name has 1 to 64 letters, digits, - _ . @"));
    }
    if wish.expires_days.is_some_and(|days| !(1..=LONGEST).contains(&days)) {
        return Err(Problem::invalid("expires_days", format!("1 to {LONGEST}")));
    }
    let secret = Secret::new(secret::TOKEN);
    let hash = secret.hash();
    let expires_in = wish.expires_days.map(|days| f64::from(days) * 86_400.0);
    let new = NewToken { name: &wish.name, role: wish.role, hash: &hash.0, prefix: secret.prefix(), expires_in };
    let mut tx = http.pool.begin().await?;
    let Some(token) = token::insert(&mut tx, &new).await? else {
        return Err(Problem::conflict(format!("there is a token {} already", wish.name)));
    };
    let detail = serde_json::json!({ "role": wish.role, "expires_days": wish.expires_days });
    caller.note(&mut tx, "token.create", &format!("token {}", wish.name), detail).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(Made { secret: secret.reveal().to_owned(), token })))
}

/// Ends a token, and the browsers that signed in by it.
#[utoipa::path(delete, path = "/tokens/{name}", tag = "system", params(("name" = String, Path)), responses((status = 204)))]
pub async fn revoke(State(http): State<Http>, Admin(caller): Admin, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let mut tx = http.pool.begin().await?;
    if !token::revoke(&mut tx, &name).await? {
        return Err(Problem::not_found("there is no token of this name that has not ended"));
    }
    caller.note(&mut tx, "token.revoke", &format!("token {name}"), serde_json::json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
