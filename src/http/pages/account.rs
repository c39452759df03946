//! Accounts: how they fare, and one of them.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};

use super::fields::Sent;
use super::visit::{Frame, Visit};
use super::{back_to, drawn};
use crate::http::access::{Admin, Viewer};
use crate::http::api::account::{self, AccountShown, Hold};
use crate::http::extract::{Json, Path};
use crate::http::{Http, problem::Problem};
use crate::record::health::{Fares, Health};

pub fn router() -> Router<Http> {
    Router::new()
        .route("/accounts", get(list))
        .route("/accounts/{label}", get(show))
        .route("/accounts/{label}/hold", post(hold))
        .route("/accounts/{label}/release", post(release))
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    frame: Frame,
    accounts: Vec<Health>,
}

async fn list(State(http): State<Http>, visit: Visit, _: Viewer) -> Result<Response, Problem> {
    drawn(&AccountsPage { frame: visit.frame("accounts", "Accounts"), accounts: account::all(&http).await? })
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    health: Health,
    way: String,
    reason: Option<String>,
    node: Option<String>,
    /// Method, what is left, the most, what it gains a second.
    budgets: Vec<(String, String, String, String)>,
    chats: Vec<String>,
    lost: bool,
    held: bool,
}

async fn show(State(http): State<Http>, visit: Visit, viewer: Viewer, Path(label): Path<String>) -> Result<Response, Problem> {
    let AccountShown { account, route, node } = account::show(State(http), viewer, Path(label)).await?.0;
    let health = account.health;
    let budget = |it: &crate::account::health::BudgetLeft| {
        (it.method.clone(), format!("{:.1}", it.left), format!("{:.0}", it.capacity), format!("{:.2}", it.per_second))
    };
    drawn(&AccountPage {
        frame: visit.frame("accounts", format!("Account {}", health.label)),
        way: match route.proxy {
            Some(proxy) => format!("{} {proxy}", route.way),
            None => route.way.to_owned(),
        },
        reason: route.reason,
        node,
        budgets: account.budgets.iter().map(budget).collect(),
        chats: account.chats.iter().filter_map(|it| serde_json::to_value(it).ok()).map(|it| chat(&it)).collect(),
        lost: health.needs_login || health.state == Fares::Lost,
        held: health.state == Fares::Held,
        health,
    })
}

/// A chat of an account, on one line.
fn chat(it: &serde_json::Value) -> String {
    let fields = it.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let one = |(name, value): (&String, &serde_json::Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{}: {value}", name.replace('_', " "))
    };
    fields.map(one).collect::<Vec<_>>().join(", ")
}

async fn hold(State(http): State<Http>, admin: Admin, Path(label): Path<String>, Sent(fields): Sent) -> Result<Response, Problem> {
    let there = address(&label);
    account::hold(State(http), admin, Path(label), Json(Hold { reason: fields.shown("reason") })).await?;
    Ok(back_to(&there, "account-held", 1))
}

async fn release(State(http): State<Http>, admin: Admin, Path(label): Path<String>) -> Result<Response, Problem> {
    let there = address(&label);
    account::release(State(http), admin, Path(label)).await?;
    Ok(back_to(&there, "account-released", 1))
}

/// Where an account's page is.
pub fn address(label: &str) -> String {
    format!("/accounts/{}", percent_encoding::utf8_percent_encode(label, percent_encoding::NON_ALPHANUMERIC))
}
