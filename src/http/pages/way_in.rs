//! The way in, by a token; and out.

use askama::Template;
use axum::Router;
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::drawn;
use super::fields::{Fields, Sent};
use super::visit::{self, Frame};
use crate::http::access::{RequestId, Viewer, address, same_origin};
use crate::http::api::session;
use crate::http::{Http, problem::Problem};

/// Routes for nobody that is known; the way out, which is among them, looks itself.
pub fn router(http: &Http) -> Router<Http> {
    let out = Router::new().route("/sign-out", post(end)).layer(middleware::from_fn_with_state(http.clone(), visit::known));
    Router::new().route("/sign-in", get(show).post(begin)).merge(out)
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    /// Where it goes on.
    then: String,
    refused: Option<String>,
}

fn page(then: String, refused: Option<String>) -> SignInPage {
    SignInPage { frame: Frame::of_nobody("Sign in"), then, refused }
}

async fn show(fields: Fields) -> Result<Response, Problem> {
    drawn(&page(fields.shown("then"), None))
}

async fn begin(State(http): State<Http>, Extension(id): Extension<RequestId>, request: Request) -> Result<Response, Problem> {
    same_origin(&http, request.headers())?;
    let from = address(request.extensions());
    let Sent(fields) = Sent::from_request(request, &http).await?;
    match session::by_token(&http, from, Some(id.0), fields.text("token").unwrap_or_default()).await {
        Ok(cookie) => {
            let then = fields.text("then").unwrap_or("/");
            let ours = then.starts_with('/') && !then.starts_with("//") && !then.contains(['\\', '\r', '\n', '\t']);
            let there = Redirect::to(if ours { then } else { "/" });
            Ok(([(header::SET_COOKIE, cookie)], there).into_response())
        }
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
            let mut response = drawn(&page(fields.shown("then"), Some(problem.detail)))?;
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response.extensions_mut().insert(super::Written);
            Ok(response)
        }
        Err(problem) => Err(problem),
    }
}

async fn end(State(http): State<Http>, viewer: Viewer) -> Result<Response, Problem> {
    let ended = session::end(State(http), viewer).await?;
    let cookie = ended.headers().get(header::SET_COOKIE).cloned();
    let mut response = Redirect::to("/sign-in").into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
