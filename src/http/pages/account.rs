//! Accounts: how they fare, one of them, and the proxies that they go through.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};

use super::fields::Sent;
use super::visit::{Frame, Visit};
use super::{back_to, drawn};
use crate::http::access::{Admin, Operator, Viewer};
use crate::http::api::account::{self, AccountShown, Bind, Hold, Pin};
use crate::http::api::proxy::{self, NewProxy};
use crate::http::api::queue::{self, Pause};
use crate::http::extract::{Json, Path};
use crate::http::{Http, problem::Problem};
use crate::record::health::{ChatOfAccount, Fares, Health};
use crate::record::proxy::Proxy;

pub fn router() -> Router<Http> {
    Router::new()
        .route("/accounts", get(list))
        .route("/accounts/{label}", get(show))
        .route("/accounts/{label}/hold", post(hold))
        .route("/accounts/{label}/release", post(release))
        .route("/accounts/{label}/pause", post(pause))
        .route("/accounts/{label}/nodes", post(pin))
        .route("/accounts/{label}/proxy", post(bind))
        .route("/proxies", get(proxies).post(add_proxy))
        .route("/proxies/{name}/remove", post(remove_proxy))
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
    /// What is chosen for the way: none, pool, or a proxy's name.
    chosen: String,
    /// The names of all proxies.
    proxies: Vec<String>,
    /// The nodes that alone may have it, with commas.
    pins: String,
    paused: bool,
    reason: Option<String>,
    node: Option<String>,
    /// Method, what is left, the most, what it gains a second.
    budgets: Vec<(String, String, String, String)>,
    chats: Vec<ChatOfAccount>,
    lost: bool,
    held: bool,
}

async fn show(State(http): State<Http>, visit: Visit, viewer: Viewer, Path(label): Path<String>) -> Result<Response, Problem> {
    let AccountShown { account, route, node, pins } = account::show(State(http.clone()), viewer.clone(), Path(label)).await?.0;
    let partitions = queue::partitions(State(http.clone()), viewer.clone()).await?.0.items;
    let proxies = proxy::list(State(http), viewer).await?.0.items;
    let health = account.health;
    let budget = |it: &crate::account::health::BudgetLeft| {
        (it.method.clone(), format!("{:.1}", it.left), format!("{:.0}", it.capacity), format!("{:.2}", it.per_second))
    };
    drawn(&AccountPage {
        frame: visit.frame("accounts", format!("Account {}", health.label)),
        chosen: match (route.way, &route.proxy) {
            ("direct", _) => "none".into(),
            ("proxy", Some(proxy)) => proxy.clone(),
            _ => "pool".into(),
        },
        proxies: proxies.into_iter().map(|it| it.name).collect(),
        pins: pins.join(", "),
        paused: partitions.iter().any(|it| it.id == health.id.0 && it.paused),
        way: match route.proxy {
            Some(proxy) => format!("{} {proxy}", route.way),
            None => route.way.to_owned(),
        },
        reason: route.reason,
        node,
        budgets: account.budgets.iter().map(budget).collect(),
        chats: account.chats,
        lost: health.needs_login || health.state == Fares::Lost,
        held: health.state == Fares::Held,
        health,
    })
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

async fn pause(
    State(http): State<Http>,
    operator: Operator,
    Path(label): Path<String>,
    Sent(fields): Sent,
) -> Result<Response, Problem> {
    let id = http.accounts()?.labelled(&label).await?.id;
    let paused = fields.text("paused") == Some("true");
    queue::pause_partition(State(http), operator, Path(id.0), Json(Pause { paused })).await?;
    Ok(back_to(&address(&label), if paused { "paused" } else { "resumed" }, 1))
}

async fn pin(State(http): State<Http>, admin: Admin, Path(label): Path<String>, Sent(fields): Sent) -> Result<Response, Problem> {
    let there = address(&label);
    account::pin(State(http), admin, Path(label), Json(Pin { nodes: fields.list("nodes") })).await?;
    Ok(back_to(&there, "pinned", 1))
}

async fn bind(State(http): State<Http>, admin: Admin, Path(label): Path<String>, Sent(fields): Sent) -> Result<Response, Problem> {
    let there = address(&label);
    let to = fields.owned("to").ok_or_else(|| Problem::invalid("to", "none, pool, or a proxy's name"))?;
    account::bind(State(http), admin, Path(label), Json(Bind { to })).await?;
    Ok(back_to(&there, "bound", 1))
}

#[derive(Template)]
#[template(path = "proxies.html")]
struct ProxiesPage {
    frame: Frame,
    proxies: Vec<Proxy>,
}

async fn proxies(State(http): State<Http>, visit: Visit, viewer: Viewer) -> Result<Response, Problem> {
    let proxies = proxy::list(State(http), viewer).await?.0.items;
    drawn(&ProxiesPage { frame: visit.frame("accounts", "Proxies"), proxies })
}

async fn add_proxy(State(http): State<Http>, admin: Admin, Sent(fields): Sent) -> Result<Response, Problem> {
    let new = NewProxy {
        name: fields.owned("name").unwrap_or_default(),
        url: fields.owned("url").unwrap_or_default(),
        // As it was typed: spaces may belong to it.
        password: fields.text("password").map(str::to_owned),
        pool: fields.text("pool").is_some(),
    };
    proxy::add(State(http), admin, Json(new)).await?;
    Ok(back_to("/proxies", "proxy-added", 1))
}

async fn remove_proxy(State(http): State<Http>, admin: Admin, Path(name): Path<String>) -> Result<Response, Problem> {
    proxy::remove(State(http), admin, Path(name)).await?;
    Ok(back_to("/proxies", "proxy-removed", 1))
}

/// Where an account's page is.
pub fn address(label: &str) -> String {
    format!("/accounts/{}", percent_encoding::utf8_percent_encode(label, percent_encoding::NON_ALPHANUMERIC))
}
