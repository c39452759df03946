//! Signing an account in, step by step, by the steps of the API. No code, password or phone number is shown again or kept in an address.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::account::address;
use super::fields::{Fields, Sent};
use super::visit::{Frame, Visit};
use super::{back_to, drawing, drawn};
use crate::http::access::Admin;
use crate::http::api::sign_in::{self, By, Code, Password, SignInStep};
use crate::http::extract::{Json, Path};
use crate::http::{Http, problem::Problem};

pub fn router() -> Router<Http> {
    Router::new()
        .route("/sign-ins", get(form).post(begin))
        .route("/sign-ins/{label}", get(show))
        .route("/sign-ins/{label}/code", post(code))
        .route("/sign-ins/{label}/another-code", post(another_code))
        .route("/sign-ins/{label}/password", post(password))
        .route("/sign-ins/{label}/end", post(end))
}

#[derive(Template)]
#[template(path = "sign_in_begins.html")]
struct BeginPage {
    frame: Frame,
    label: String,
}

async fn form(visit: Visit, _: Admin, fields: Fields) -> Result<Response, Problem> {
    drawn(&BeginPage { frame: visit.frame("accounts", "Sign an account in"), label: fields.shown("label") })
}

fn step_of(label: &str) -> String {
    format!("/sign-ins/{}", utf8_percent_encode(label, NON_ALPHANUMERIC))
}

/// To the page of what is waited for.
fn on(label: &str, step: &SignInStep) -> Response {
    match step {
        SignInStep::Done { .. } => back_to(&address(label), "signed-in", 1),
        _ => Redirect::to(&step_of(label)).into_response(),
    }
}

async fn begin(State(http): State<Http>, admin: Admin, Sent(fields): Sent) -> Result<Response, Problem> {
    let label = fields.owned("label").ok_or_else(|| Problem::invalid("label", "1 to 64 characters"))?;
    let by = match fields.text("by") {
        Some("phone") => By::Phone { label: label.clone(), phone: fields.owned("phone").unwrap_or_default() },
        Some("qr") => By::Qr { label: label.clone() },
        Some("bot") => By::Bot { label: label.clone(), token: fields.owned("token").unwrap_or_default() },
        _ => return Err(Problem::invalid("by", "phone, qr or bot")),
    };
    let step = sign_in::begin(State(http), admin, Json(by)).await?.0;
    Ok(on(&label, &step))
}

#[derive(Template)]
#[template(path = "sign_in_step.html")]
struct StepPage {
    frame: Frame,
    path: String,
    /// code, password or scan
    step: &'static str,
    told: String,
    qr: Option<String>,
}

async fn show(State(http): State<Http>, visit: Visit, admin: Admin, Path(label): Path<String>) -> Result<Response, Problem> {
    let step = sign_in::show(State(http), admin, Path(label.clone())).await?.0;
    let (name, told, qr) = match step {
        SignInStep::Code { delivery, .. } => ("code", delivery, None),
        SignInStep::Password { hint, .. } => ("password", hint.unwrap_or_default(), None),
        SignInStep::Scan { address, .. } => ("scan", String::new(), drawing::squares(&address)),
        SignInStep::Done { .. } => return Ok(back_to(&address(&label), "signed-in", 1)),
    };
    let frame = visit.frame("accounts", format!("Signing {label} in"));
    drawn(&StepPage { frame, path: step_of(&label), step: name, told, qr })
}

async fn code(State(http): State<Http>, admin: Admin, Path(label): Path<String>, Sent(fields): Sent) -> Result<Response, Problem> {
    let code = Code { code: fields.owned("code").unwrap_or_default() };
    let step = sign_in::code(State(http), admin, Path(label.clone()), Json(code)).await?.0;
    Ok(on(&label, &step))
}

async fn another_code(State(http): State<Http>, admin: Admin, Path(label): Path<String>) -> Result<Response, Problem> {
    let step = sign_in::another_code(State(http), admin, Path(label.clone())).await?.0;
    Ok(on(&label, &step))
}

async fn password(
    State(http): State<Http>,
    admin: Admin,
    Path(label): Path<String>,
    Sent(fields): Sent,
) -> Result<Response, Problem> {
    // As it was typed: a password may begin or end with a space.
    let password = Password { password: fields.shown("password") };
    let step = sign_in::password(State(http), admin, Path(label.clone()), Json(password)).await?.0;
    Ok(on(&label, &step))
}

async fn end(State(http): State<Http>, admin: Admin, Path(label): Path<String>) -> Result<Response, Problem> {
    sign_in::end(State(http), admin, Path(label)).await?;
    Ok(back_to("/accounts", "ended", 1))
}
