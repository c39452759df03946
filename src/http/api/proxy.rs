//! Proxies. Their passwords come in, and never go out.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::account::proxy::{Address, Error, remove_within};
use crate::http::{
    Http,
    access::{Admin, Viewer},
    extract::{Json, Path},
    page::Page,
    problem::Problem,
};
use crate::record::proxy::{self, Proxy};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove))
}

/// Proxies: how they do, and which accounts go through them.
#[utoipa::path(get, path = "/proxies", tag = "system", responses((status = 200, body = Page<Proxy>)))]
pub async fn list(State(http): State<Http>, _: Viewer) -> Result<Json<Page<Proxy>>, Problem> {
    Ok(Json(Page::whole(proxy::list(&mut *http.pool.acquire().await?).await?)))
}

/// A proxy to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProxy {
    #[schema(max_length = 64)]
    pub name: String,
    /// socks5://host:port, or socks5://user@host:port
    #[schema(max_length = 500)]
    pub url: String,
    /// Of the user; 1 to 255 bytes.
    #[schema(max_length = 255)]
    pub password: Option<String>,
    /// Accounts of the pool may take it.
    #[serde(default)]
    pub pool: bool,
}

/// Adds a proxy.
#[utoipa::path(post, path = "/proxies", tag = "system", request_body = NewProxy, responses((status = 201)))]
pub async fn add(State(http): State<Http>, Admin(caller): Admin, Json(new): Json<NewProxy>) -> Result<StatusCode, Problem> {
    let mut address = Address::parse(&new.url).map_err(|error| Problem::invalid("url", error.to_string()))?;
    if let Some(password) = new.password {
        if address.user.is_none() || address.password.is_some() {
            return Err(Problem::invalid("password", "there is a user in `url` and no password"));
        }
        if !(1..=255).contains(&password.len()) {
            return Err(Problem::invalid("password", "1 to 255 bytes"));
        }
        address.password = Some(password);
    }
    let accounts = http.accounts()?;
    let mut tx = http.pool.begin().await?;
    match accounts.routes().add_within(&mut tx, &new.name, &address, new.pool).await {
        Err(crate::account::Error::Proxy(Error::Address(error))) => return Err(Problem::invalid("name", error.to_string())),
        added => added?,
    }
    let detail = serde_json::json!({ "pool": new.pool });
    caller.note(&mut tx, "proxy.add", &format!("proxy {}", new.name), detail).await?;
    tx.commit().await?;
    Ok(StatusCode::CREATED)
}

/// Removes a proxy to which no account is bound.
#[utoipa::path(delete, path = "/proxies/{name}", tag = "system", params(("name" = String, Path)), responses((status = 204)))]
pub async fn remove(State(http): State<Http>, Admin(caller): Admin, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let mut tx = http.pool.begin().await?;
    remove_within(&mut tx, &name).await?;
    caller.note(&mut tx, "proxy.remove", &format!("proxy {name}"), serde_json::json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
