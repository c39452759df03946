//! Who asks, and whether they may: bearer tokens and browser sessions, roles, CSRF, rates.
//!
//! [`known`] finds out who asks and lets nobody else through; what a request needs stands in its function's signature, as [`Viewer`],
//! [`Operator`] or [`Admin`]. A change by a browser's session needs the session's CSRF token beside the cookie.

pub mod link;
pub mod rate;
pub mod secret;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::{HeaderMap, header, request::Parts};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;
use uuid::Uuid;

use super::{Http, problem::Problem};
use crate::record::{
    audit_log::{self, Change},
    session::{self, Session},
    token::{self, Role, Token},
};
use secret::Hash;

/// The cookie of a browser's session.
pub const COOKIE: &str = "telekeep_session";
/// The header that repeats the session's CSRF token.
pub const CSRF: &str = "x-csrf-token";

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// As the audit log names them: `token:NAME`, or `link`.
    pub who: String,
    pub role: Role,
    pub by: By,
    /// The request.
    pub request: Uuid,
}

/// How they proved it.
#[derive(Debug, Clone)]
pub enum By {
    Token(Token),
    Session { hash: Hash, session: Session },
}

impl Caller {
    /// What is noted of a change that they made.
    pub fn change<'a>(&'a self, what: &'a str, target: &'a str, detail: Value) -> Change<'a> {
        Change { who: &self.who, what, target, detail, request: Some(self.request) }
    }

    /// Notes a change that they made.
    pub async fn note(&self, conn: &mut sqlx::PgConnection, what: &str, target: &str, detail: Value) -> Result<(), Problem> {
        Ok(audit_log::note(conn, &self.change(what, target, detail)).await?)
    }

    fn needs(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        Err(Problem::forbidden(format!("this needs the role {}, and {} has {}", role.as_str(), self.who, self.role.as_str()))
            .remedy("ask with another token, or have an admin make one"))
    }
}

/// The request's id, made here for each.
#[derive(Debug, Clone, Copy)]
pub struct RequestId(pub Uuid);

/// Where a request came from.
pub fn address(parts: &axum::http::Extensions) -> IpAddr {
    let address = parts.get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4([0, 0, 0, 0].into()), |info| info.0.ip());
    match address {
        // Who has one address of IPv6 has its whole network.
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_none() => IpAddr::V6(Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX))),
        ip => ip.to_canonical(),
    }
}

/// Lets through who is known, as [`Caller`], at their rate.
pub async fn known(State(http): State<Http>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let from = address(request.extensions());
    let id = request.extensions().get::<RequestId>().map_or_else(Uuid::nil, |id| id.0);
    let caller = match caller(&http, request.headers(), id).await {
        Ok(caller) => caller,
        Err(problem) => {
            if problem.status == axum::http::StatusCode::UNAUTHORIZED {
                http.rates.stranger(from)?;
            }
            return Err(problem);
        }
    };
    http.rates.caller(&caller)?;
    if let By::Session { session, .. } = &caller.by
        && !request.method().is_safe()
    {
        same_origin(&http, request.headers())?;
        let given = request.headers().get(CSRF).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !secret::same(given, &session.csrf) {
            return Err(Problem::forbidden("a change from a browser needs its CSRF token")
                .remedy("send the `csrf` of `GET /api/v1/session` as the header `X-CSRF-Token`"));
        }
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Who asks, by the token or the session that the request carries.
pub async fn caller(http: &Http, headers: &HeaderMap, request: Uuid) -> Result<Caller, Problem> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let given =
            value.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let hash = given.and_then(|(_, token)| secret::hash_of(secret::TOKEN, token.trim()));
        let found = match hash {
            Some(hash) => token::of_hash(&http.pool, &hash.0).await?,
            None => None,
        };
        let token = found.ok_or_else(|| Problem::unauthenticated("the token is wrong, expired or revoked"))?;
        return Ok(Caller { who: format!("token:{}", token.name), role: token.role, by: By::Token(token), request });
    }
    let hash = cookie(headers).and_then(|value| secret::hash_of(secret::SESSION, value));
    let Some(hash) = hash else { return Err(Problem::unauthenticated("the request carries no token")) };
    let session = session::of_hash(&http.pool, &hash.0).await?;
    let session = session.ok_or_else(|| Problem::unauthenticated("the session is over"))?;
    let who = session.token.as_ref().map_or_else(|| "link".to_owned(), |name| format!("token:{name}"));
    Ok(Caller { who, role: session.role, by: By::Session { hash, session }, request })
}

/// The value of our cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// The cookie that begins a session, or with an empty value ends it.
pub fn set_cookie(http: &Http, value: &str, seconds: u64) -> String {
    let secure = if http.is_tls() { "; Secure" } else { "" };
    // Lax, so that a link from elsewhere opens a page signed in; changes need the CSRF token besides.
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// A browser says which page a change comes from: it is to be one of ours.
pub fn same_origin(http: &Http, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let host = text(header::HOST).unwrap_or_default();
    let ours = origin.split_once("://").is_some_and(|(_, authority)| authority == host);
    let public = http.config.http.public_url.as_deref().is_some_and(|url| url.trim_end_matches('/') == origin);
    if ours || public { Ok(()) } else { Err(Problem::forbidden("the change comes from a page of another origin")) }
}

fn called(parts: &Parts) -> Result<Caller, Problem> {
    parts.extensions.get::<Caller>().cloned().ok_or_else(|| Problem::unauthenticated("the request carries no token"))
}

macro_rules! role {
    ($name:ident, $role:expr, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone)]
        pub struct $name(pub Caller);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                let caller = called(parts)?;
                caller.needs($role)?;
                Ok(Self(caller))
            }
        }
    };
}

role!(Viewer, Role::Viewer, "Who asks, and may read.");
role!(Operator, Role::Operator, "Who asks, and may change what is collected.");
role!(Admin, Role::Admin, "Who asks, and may change who may.");
