//! Tokens: listed, made and revoked by an admin. What a token is stands on one page alone, the one that answers to its making.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};

use super::fields::Sent;
use super::visit::{Frame, Visit};
use super::{back_to, drawn};
use crate::clock;
use crate::http::access::Admin;
use crate::http::api::token::{self, Made, Wish};
use crate::http::extract::{Json, Path};
use crate::http::{Http, problem::Problem};
use crate::record::token::{Role, Token};

pub fn router() -> Router<Http> {
    Router::new().route("/tokens", get(list).post(create)).route("/tokens/{name}/revoke", post(revoke))
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    frame: Frame,
    tokens: Vec<Row>,
    roles: [Role; 3],
}

struct Row {
    token: Token,
    /// good, expired or revoked
    state: &'static str,
}

fn row(token: Token) -> Row {
    let state = match (&token.revoked_at, &token.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if *at <= clock::now() => "expired",
        (None, _) => "good",
    };
    Row { token, state }
}

async fn list(State(http): State<Http>, visit: Visit, admin: Admin) -> Result<Response, Problem> {
    let tokens = token::list(State(http), admin).await?.0.items;
    drawn(&TokensPage {
        frame: visit.frame("tokens", "Tokens"),
        tokens: tokens.into_iter().map(row).collect(),
        roles: [Role::Viewer, Role::Operator, Role::Admin],
    })
}

#[derive(Template)]
#[template(path = "token_made.html")]
struct MadePage {
    frame: Frame,
    secret: String,
    token: Token,
}

async fn create(State(http): State<Http>, visit: Visit, admin: Admin, Sent(fields): Sent) -> Result<Response, Problem> {
    let days = fields.number("expires_days")?;
    let days = days.map(|days| u32::try_from(days).map_err(|_| Problem::invalid("expires_days", "a number of days from 1")));
    let wish = Wish {
        name: fields.owned("name").unwrap_or_default(),
        role: fields.word("role")?.ok_or_else(|| Problem::invalid("role", "viewer, operator or admin"))?,
        expires_days: days.transpose()?,
    };
    let Made { secret, token } = token::create(State(http), admin, Json(wish)).await?.1.0;
    drawn(&MadePage { frame: visit.frame("tokens", format!("Token {}", token.name)), secret, token })
}

async fn revoke(State(http): State<Http>, admin: Admin, Path(name): Path<String>) -> Result<Response, Problem> {
    token::revoke(State(http), admin, Path(name)).await?;
    Ok(back_to("/tokens", "revoked", 1))
}
