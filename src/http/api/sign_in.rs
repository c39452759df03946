//! Signing an account in, step by step. What is given here, codes and passwords, is in no log and in no answer.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::account::{How, Step};
use crate::http::{
    Http,
    access::{Admin, Caller},
    extract::{Json, Path},
    problem::Problem,
    sign_in::{self, Given},
};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new()
        .routes(routes!(begin))
        .routes(routes!(show, end))
        .routes(routes!(code))
        .routes(routes!(another_code))
        .routes(routes!(password))
}

/// How somebody signs in.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, tag = "by")]
#[schema(as = SignIn)]
pub enum By {
    /// A code goes to the phone or to an app.
    Phone {
        /// What the account is called here.
        label: String,
        /// In international form, as +49….
        phone: String,
    },
    /// A picture for an app that is signed in already.
    Qr { label: String },
    /// A bot.
    Bot { label: String, token: String },
}

/// What a sign-in waits for.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum SignInStep {
    /// Give the code that was sent.
    Code {
        label: String,
        /// Where it went, in words.
        delivery: String,
    },
    /// Give the password of two-step verification.
    Password {
        label: String,
        /// As the account's owner once wrote it.
        hint: Option<String>,
    },
    /// Show this address as a QR code, and ask again: it changes twice a minute.
    Scan {
        label: String,
        address: String,
    },
    Done {
        label: String,
        user_id: Option<i64>,
    },
}

fn told(label: String, step: Step) -> SignInStep {
    match step {
        Step::Code { delivery } => SignInStep::Code { label, delivery },
        Step::Password { hint } => SignInStep::Password { label, hint },
        Step::Scan(qr) => SignInStep::Scan { label, address: qr.0 },
        Step::Done(account) => SignInStep::Done { label: account.label, user_id: account.user_id },
    }
}

async fn answered(http: &Http, caller: &Caller, label: String, step: Step) -> Result<Json<SignInStep>, Problem> {
    if let Step::Done(account) = &step {
        let target = format!("account {}", account.label);
        caller.note(&mut *http.pool.acquire().await?, "account.sign_in", &target, serde_json::json!({})).await?;
    }
    Ok(Json(told(label, step)))
}

/// Begins a sign-in; it is to be finished within ten minutes.
#[utoipa::path(post, path = "/sign-ins", tag = "accounts", request_body = By, responses((status = 200, body = SignInStep)))]
pub async fn begin(State(http): State<Http>, Admin(caller): Admin, Json(by): Json<By>) -> Result<Json<SignInStep>, Problem> {
    let (label, how, way) = match by {
        By::Phone { label, phone } => (label, How::Phone(phone), "phone"),
        By::Qr { label } => (label, How::Qr, "qr"),
        By::Bot { label, token } => (label, How::Bot(token), "bot"),
    };
    let named = (1..=64).contains(&label.chars().count()) && !label.chars().any(char::is_control);
    if !named {
        return Err(Problem::invalid("label", "1 to 64 characters"));
    }
    if let How::Phone(phone) = &how
        && !(phone.starts_with('+')
            && (7..=20).contains(&phone.len())
            && phone[1..].chars().all(|c| c.is_ascii_digit() || c == ' '))
    {
        return Err(Problem::invalid("phone", "in international form: + and digits"));
    }
    let target = format!("account {label}");
    caller.note(&mut *http.pool.acquire().await?, "account.sign_in_begins", &target, serde_json::json!({ "by": way })).await?;
    let step = sign_in::begin(&http, &label, how).await?;
    answered(&http, &caller, label, step).await
}

/// What a sign-in waits for now.
#[utoipa::path(get, path = "/sign-ins/{label}", tag = "accounts", params(("label" = String, Path)),
    responses((status = 200, body = SignInStep)))]
pub async fn show(State(http): State<Http>, _: Admin, Path(label): Path<String>) -> Result<Json<SignInStep>, Problem> {
    let step = http.sign_ins.step(&label)?;
    Ok(Json(told(label, step)))
}

/// Ends a sign-in that is not finished.
#[utoipa::path(delete, path = "/sign-ins/{label}", tag = "accounts", params(("label" = String, Path)), responses((status = 204)))]
pub async fn end(State(http): State<Http>, _: Admin, Path(label): Path<String>) -> Result<StatusCode, Problem> {
    match http.sign_ins.forget(&label) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("no sign-in is under way")),
    }
}

/// The code that was sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignInCode)]
pub struct Code {
    #[schema(max_length = 32)]
    pub code: String,
}

/// Gives the code; a wrong one may be given again.
#[utoipa::path(post, path = "/sign-ins/{label}/code", tag = "accounts", params(("label" = String, Path)), request_body = Code,
    responses((status = 200, body = SignInStep)))]
pub async fn code(
    State(http): State<Http>,
    Admin(caller): Admin,
    Path(label): Path<String>,
    Json(given): Json<Code>,
) -> Result<Json<SignInStep>, Problem> {
    let step = sign_in::go_on(&http, &label, Given::Code(given.code)).await?;
    answered(&http, &caller, label, step).await
}

/// Asks for another code, by the next way that Telegram has.
#[utoipa::path(post, path = "/sign-ins/{label}/another-code", tag = "accounts", params(("label" = String, Path)),
    responses((status = 200, body = SignInStep)))]
pub async fn another_code(
    State(http): State<Http>,
    Admin(caller): Admin,
    Path(label): Path<String>,
) -> Result<Json<SignInStep>, Problem> {
    let step = sign_in::go_on(&http, &label, Given::AnotherCode).await?;
    answered(&http, &caller, label, step).await
}

/// The password of two-step verification.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignInPassword)]
pub struct Password {
    #[schema(max_length = 1000)]
    pub password: String,
}

/// Gives the password; a wrong one may be given again.
#[utoipa::path(post, path = "/sign-ins/{label}/password", tag = "accounts", params(("label" = String, Path)), request_body = Password,
    responses((status = 200, body = SignInStep)))]
pub async fn password(
    State(http): State<Http>,
    Admin(caller): Admin,
    Path(label): Path<String>,
    Json(given): Json<Password>,
) -> Result<Json<SignInStep>, Problem> {
    let step = sign_in::go_on(&http, &label, Given::Password(given.password)).await?;
    answered(&http, &caller, label, step).await
}
