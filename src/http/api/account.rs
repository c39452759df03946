//! Accounts: how they fare, and what an operator does about it. Secrets and phone numbers are not told.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Postgres, Transaction};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::account::{
    Account, Accounts, Shown, health as accounts,
    proxy::{self, Binding},
};
use crate::http::{
    Http,
    access::{Admin, Caller, Viewer},
    extract::{Json, Path},
    page::Page,
    problem::Problem,
};
use crate::record::{
    self,
    health::{self, Health},
};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(hold))
        .routes(routes!(release))
        .routes(routes!(pin))
        .routes(routes!(bind))
}

/// Accounts, the oldest first.
#[utoipa::path(get, path = "/accounts", tag = "accounts", responses((status = 200, body = Page<Health>)))]
pub async fn list(State(http): State<Http>, _: Viewer) -> Result<Json<Page<Health>>, Problem> {
    Ok(Json(Page::whole(all(&http).await?)))
}

/// All accounts.
pub async fn all(http: &Http) -> Result<Vec<Health>, Problem> {
    Ok(health::list(&mut *http.pool.acquire().await?, None).await?)
}

/// An account in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountShown {
    #[serde(flatten)]
    pub account: Shown,
    pub route: Route,
    /// The node that has it.
    pub node: Option<String>,
    /// The nodes that alone may have it; none: any may.
    pub pins: Vec<String>,
}

/// Which way an account goes to Telegram.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountRoute)]
pub struct Route {
    /// direct, proxy or pool
    pub way: &'static str,
    /// The proxy that it has now.
    pub proxy: Option<String>,
    /// Why it has this one instead of the one before.
    pub reason: Option<String>,
}

/// One account: its health, rests, budgets, the chats that it knows, its way to Telegram.
#[utoipa::path(get, path = "/accounts/{label}", tag = "accounts", params(("label" = String, Path)),
    responses((status = 200, body = AccountShown)))]
pub async fn show(State(http): State<Http>, _: Viewer, Path(label): Path<String>) -> Result<Json<AccountShown>, Problem> {
    let accounts = http.accounts()?;
    let account = accounts.show(&accounts.labelled(&label).await?).await?;
    let (binding, reason) = accounts.routes().binding(&label).await?;
    let (way, proxy) = match binding {
        Binding::Direct => ("direct", None),
        Binding::Bound { proxy } => ("proxy", Some(proxy)),
        Binding::Pool { proxy } => ("pool", proxy),
    };
    let nodes = record::node::list(&http.pool).await?;
    let node = nodes.into_iter().find(|node| node.accounts.contains(&label)).map(|node| node.name);
    let pins = record::lease::pins(&mut *http.pool.acquire().await?, account.health.id).await?;
    Ok(Json(AccountShown { account, route: Route { way, proxy, reason }, node, pins }))
}

/// Why an account is held.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountHold)]
pub struct Hold {
    /// Shown wherever the account is.
    #[schema(max_length = 500)]
    pub reason: String,
}

/// Stops an account until it is released.
#[utoipa::path(post, path = "/accounts/{label}/hold", tag = "accounts", params(("label" = String, Path)), request_body = Hold,
    responses((status = 204)))]
pub async fn hold(
    State(http): State<Http>,
    Admin(caller): Admin,
    Path(label): Path<String>,
    Json(wish): Json<Hold>,
) -> Result<StatusCode, Problem> {
    if wish.reason.trim().is_empty() || wish.reason.chars().count() > 500 {
        return Err(Problem::invalid("reason", "1 to 500 characters"));
    }
    let account = account(&*http.accounts()?, &label).await?;
    let mut tx = http.pool.begin().await?;
    accounts::hold_within(&mut tx, account.id, &wish.reason).await?;
    noted(&http, tx, &caller, "account.hold", &label, serde_json::json!({ "reason": wish.reason })).await
}

/// Lets a held account go on.
#[utoipa::path(post, path = "/accounts/{label}/release", tag = "accounts", params(("label" = String, Path)), responses((status = 204)))]
pub async fn release(State(http): State<Http>, Admin(caller): Admin, Path(label): Path<String>) -> Result<StatusCode, Problem> {
    let account = account(&*http.accounts()?, &label).await?;
    let mut tx = http.pool.begin().await?;
    accounts::release_within(&mut tx, account.id).await?;
    noted(&http, tx, &caller, "account.release", &label, serde_json::json!({})).await
}

/// Nodes that may have an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountNodes)]
pub struct Pin {
    /// None: any node may.
    #[schema(max_items = 100)]
    pub nodes: Vec<String>,
}

/// Keeps an account to some nodes, or frees it.
#[utoipa::path(put, path = "/accounts/{label}/nodes", tag = "accounts", params(("label" = String, Path)), request_body = Pin,
    responses((status = 204)))]
pub async fn pin(
    State(http): State<Http>,
    Admin(caller): Admin,
    Path(label): Path<String>,
    Json(wish): Json<Pin>,
) -> Result<StatusCode, Problem> {
    if wish.nodes.len() > 100 || wish.nodes.iter().any(|name| name.is_empty() || name.len() > 200) {
        return Err(Problem::invalid("nodes", "at most 100 names of nodes"));
    }
    let account = account(&*http.accounts()?, &label).await?;
    let mut tx = http.pool.begin().await?;
    record::lease::pin(&mut tx, account.id, &wish.nodes).await?;
    noted(&http, tx, &caller, "account.pin", &label, serde_json::json!({ "nodes": wish.nodes })).await
}

/// Which way an account is to go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountProxy)]
pub struct Bind {
    /// A proxy's name, `pool`, or `none` for the direct way.
    pub to: String,
}

/// Sends an account through a proxy, through the pool, or straight to Telegram.
#[utoipa::path(put, path = "/accounts/{label}/proxy", tag = "accounts", params(("label" = String, Path)), request_body = Bind,
    responses((status = 204)))]
pub async fn bind(
    State(http): State<Http>,
    Admin(caller): Admin,
    Path(label): Path<String>,
    Json(wish): Json<Bind>,
) -> Result<StatusCode, Problem> {
    account(&*http.accounts()?, &label).await?;
    let binding = match wish.to.as_str() {
        "none" => Binding::Direct,
        "pool" => Binding::Pool { proxy: None },
        name => Binding::Bound { proxy: name.to_owned() },
    };
    let mut tx = http.pool.begin().await?;
    proxy::bind_within(&mut tx, &label, &binding).await?;
    noted(&http, tx, &caller, "account.proxy", &label, serde_json::json!({ "to": wish.to })).await
}

async fn account(accounts: &Accounts, label: &str) -> Result<Account, Problem> {
    Ok(accounts.labelled(label).await?)
}

/// Notes a change in the transaction that made it, and ends that.
async fn noted(
    http: &Http,
    mut tx: Transaction<'_, Postgres>,
    caller: &Caller,
    what: &str,
    label: &str,
    detail: Value,
) -> Result<StatusCode, Problem> {
    caller.note(&mut tx, what, &format!("account {label}"), detail).await?;
    tx.commit().await?;
    http.events.touch();
    Ok(StatusCode::NO_CONTENT)
}
