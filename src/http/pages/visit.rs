//! Who visits a page: a browser's session, or the way in. A form carries the session's CSRF token as `csrf`.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{StatusCode, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::fields::Fields;
use crate::http::access::{self, By, CSRF, Caller, RequestId, secret};
use crate::http::layers::LARGEST_BODY;
use crate::http::{Http, problem::Problem};
use crate::record::token::Role;

/// What a page says after something was done; `#` is how many. Only these words come from an address.
const DONE: &[(&str, &str)] = &[
    ("retry", "Jobs that start over: #."),
    ("cancel", "Jobs that end: #."),
    ("hold", "Jobs that are held: #."),
    ("resume", "Jobs that wait again: #."),
    ("release", "Jobs that go on: #."),
    ("priority", "Jobs with another priority: #."),
    ("fetch", "Jobs that fetch what is missing: #."),
    ("watch", "The chat is watched."),
    ("unwatched", "The chat is not watched any more. What was collected stays."),
    ("tagged", "The chat has these tags now."),
    ("run", "Runs that began: #."),
    ("paused", "It is paused."),
    ("resumed", "It goes on."),
    ("account-held", "The account is held."),
    ("account-released", "The account goes on."),
    ("pinned", "It is noted which nodes may have the account; it moves where it must."),
    ("bound", "The account goes this way from now on."),
    ("proxy-added", "The proxy is there."),
    ("proxy-removed", "The proxy is gone."),
    ("drain", "The node gives its accounts away."),
    ("undrain", "The node takes accounts again."),
    ("files", "Files that are wanted now: #."),
    ("signed-in", "The account is signed in."),
    ("ended", "The sign-in is ended."),
    ("revoked", "The token is revoked, and who came by it is out."),
];

/// What surrounds each page.
#[derive(Debug, Clone)]
pub struct Frame {
    pub title: String,
    /// The entry of the menu that it belongs to.
    pub here: &'static str,
    /// Empty: nobody is signed in.
    pub who: String,
    pub role: Role,
    pub csrf: String,
    /// What was just done.
    pub told: Option<String>,
}

impl Frame {
    /// For a page that anybody sees.
    pub fn of_nobody(title: &str) -> Self {
        Self { title: title.to_owned(), here: "", who: String::new(), role: Role::Viewer, csrf: String::new(), told: None }
    }

    /// Whether buttons of operators are shown.
    pub fn operates(&self) -> bool {
        self.role >= Role::Operator
    }

    /// Whether buttons of admins are shown.
    pub fn administers(&self) -> bool {
        self.role >= Role::Admin
    }

    /// An attribute that says where one is.
    pub fn current(&self, entry: &str) -> bool {
        self.here == entry
    }
}

/// A visit of somebody who is known.
#[derive(Debug, Clone)]
pub struct Visit {
    caller: Caller,
    told: Option<String>,
}

impl Visit {
    /// The frame of a page.
    pub fn frame(&self, here: &'static str, title: impl Into<String>) -> Frame {
        let csrf = match &self.caller.by {
            By::Session { session, .. } => session.csrf.clone(),
            By::Token(_) => String::new(),
        };
        let Self { caller, told } = self;
        Frame { title: title.into(), here, who: caller.who.clone(), role: caller.role, csrf, told: told.clone() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Problem::unauthenticated("nobody is signed in"))?;
        let fields = Fields::of(parts.uri.query().unwrap_or_default().as_bytes());
        let count = fields.number("n").ok().flatten().unwrap_or(0);
        let words = DONE.iter().find(|(name, _)| fields.text("done") == Some(*name));
        Ok(Self { caller, told: words.map(|(_, words)| words.replace('#', &count.to_string())) })
    }
}

/// Lets through who is known; others are shown the way in.
pub async fn known(State(http): State<Http>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let from = access::address(request.extensions());
    let id = request.extensions().get::<RequestId>().map_or_else(Uuid::nil, |id| id.0);
    let caller = match access::caller(&http, request.headers(), id).await {
        Ok(caller) => caller,
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
            http.stranger(from)?;
            if !request.method().is_safe() {
                return Err(problem);
            }
            let wanted = request.uri().path_and_query().map_or("/", |it| it.as_str());
            let wanted: String = url::form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
            return Ok(Redirect::to(&format!("/sign-in?then={wanted}")).into_response());
        }
        Err(problem) => return Err(problem),
    };
    http.rates.caller(&caller)?;
    if let By::Session { session, .. } = &caller.by
        && !request.method().is_safe()
    {
        access::same_origin(&http, request.headers())?;
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, LARGEST_BODY).await.map_err(|_| Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE))?;
        let header = parts.headers.get(CSRF).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let given = header.or_else(|| Fields::of(&bytes).text("csrf").map(str::to_owned)).unwrap_or_default();
        if !secret::same(&given, &session.csrf) {
            return Err(
                Problem::forbidden("the form is of another session").remedy("load the page again, then send the form again")
            );
        }
        request = Request::from_parts(parts, Body::from(bytes));
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}
