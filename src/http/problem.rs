//! Errors as people and programs get them: `application/problem+json` (RFC 9457), with a remedy and the request's id.
//!
//! Nothing internal leaves: what the database or a library said goes to the log, under the same id.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use telekeep_queue as queue;
use uuid::Uuid;

use crate::{account, error::chain, jobs::PlanError, media::StoreError, overview, projection, record, workflow::run::RunError};

/// What a client is told to wait while the database is away, in seconds.
const AGAIN: u32 = 5;

/// Why a request was not done.
#[derive(Debug, Clone)]
pub struct Problem {
    pub status: StatusCode,
    /// What it is called: the end of its `type`.
    pub kind: &'static str,
    pub title: &'static str,
    pub detail: String,
    /// What the caller can do.
    pub remedy: Option<String>,
    /// The part of the request that is wrong.
    pub field: Option<String>,
    /// Seconds after which the same request may work.
    pub retry_after: Option<u32>,
}

/// A problem as it is sent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// `urn:telekeep:problem:…`: one for each kind of problem.
    #[serde(rename = "type")]
    #[schema(rename = "type")]
    pub kind: String,
    /// The same for each problem of the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The field of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Names this request in the log.
    pub request_id: Uuid,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, title, detail: detail.into(), remedy: None, field: None, retry_after: None }
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }

    /// 409: it is there, but not so that this could be done.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "It cannot be done as things stand", detail)
    }

    /// 422: a field has a value that it cannot have.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "A field has a value that it cannot have", detail);
        Self { field: Some(field.into()), ..problem }
    }

    /// 400: what was sent cannot be read.
    pub fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unreadable", "What was sent cannot be read", detail)
    }

    /// 401: nobody is known to ask.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Nobody is known to ask", detail)
            .remedy("send `Authorization: Bearer TOKEN`; `telekeep token create NAME --role R` makes one")
    }

    /// 403: who asks may not do it.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Who asks may not do it", detail)
    }

    /// 429: too much was asked for.
    pub fn too_many(seconds: u64) -> Self {
        let problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too much was asked for", "the limit is reached");
        Self { retry_after: Some(at_most(seconds).max(1)), ..problem }
            .remedy("ask more slowly, or raise `[http] requests_per_second`")
    }

    /// 503: something that is needed is away for now.
    pub fn away(kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { retry_after: Some(AGAIN), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, title, detail) }
    }

    /// 500: the cause stays in the log.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Telekeep failed", "the log tells more under this request's id")
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// For a status that nobody explained: a body too large, a method that is not there.
    pub fn of_status(status: StatusCode) -> Self {
        let (kind, title) = match status {
            StatusCode::NOT_FOUND => ("not-found", "There is no such thing"),
            StatusCode::METHOD_NOT_ALLOWED => ("method", "This cannot be done there"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "What was sent is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("media-type", "What was sent is of another type"),
            StatusCode::REQUEST_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE => ("too-long", "It took too long"),
            StatusCode::RANGE_NOT_SATISFIABLE => ("range", "There is no such part of it"),
            status if status.is_client_error() => ("unreadable", "What was sent cannot be read"),
            _ => ("internal", "Telekeep failed"),
        };
        Self::new(status, kind, title, "")
    }

    /// As it is sent for a request.
    pub fn body(&self, request: Uuid) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:telekeep:problem:{}", self.kind),
            title: self.title.into(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            remedy: self.remedy.clone(),
            field: self.field.clone(),
            request_id: request,
        }
    }
}

/// A number of seconds as it is told; more than a century is that.
fn at_most(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

impl IntoResponse for Problem {
    /// The body is written where the request's id is known: by [`super::layers`].
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The database is away: it may be back soon.
fn database_away() -> Problem {
    Problem::away("database-away", "The database is away", "the database does not answer")
        .remedy("ask again soon; `telekeep doctor` says what is wrong")
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Io(_) | E::PoolTimedOut | E::PoolClosed | E::Tls(_) | E::Protocol(_) | E::WorkerCrashed => {
                tracing::warn!(error = %chain(&error), "http: the database is away");
                database_away()
            }
            E::Database(told) => match told.code().as_deref() {
                // query_canceled: the statement's time limit
                Some("57014") => Problem::away("too-long", "It took too long", "the database took too long for this")
                    .remedy("ask for less: another filter, a smaller range"),
                // shutting down, starting, no connection left, and failures of the connection
                Some(code) if code.starts_with("57P") || code.starts_with("08") || code == "53300" => {
                    tracing::warn!(error = %chain(&error), "http: the database is away");
                    database_away()
                }
                // what was sent cannot be stored as text, number or date
                Some(code) if code.starts_with("22") => Problem::invalid("", "a value that the record cannot hold"),
                _ => failed(&error),
            },
            _ => failed(&error),
        }
    }
}

/// Notes what went wrong, and tells only that something did.
pub fn failed(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error = %chain(error), "http: a request failed");
    Problem::internal()
}

impl From<record::Error> for Problem {
    fn from(error: record::Error) -> Self {
        use record::Error as E;
        match error {
            E::Database(error) => error.into(),
            E::NotWatched(_) => Problem::not_found(error.to_string()),
            E::PurposeRequired(chat) => Problem::invalid("purpose", format!("chat {chat} is private: say why it is collected")),
            E::UnknownCoverage(_) | E::UnknownBox(_) | E::Moved => Problem::conflict(error.to_string()),
            E::Address(_) | E::Unreachable { .. } => database_away(),
        }
    }
}

impl From<queue::Error> for Problem {
    fn from(error: queue::Error) -> Self {
        use queue::Error as E;
        match error {
            E::Database(error) => error.into(),
            E::NoJob { .. } => Problem::not_found(error.to_string()),
            E::Arrow { .. } => Problem::conflict(error.to_string()),
            E::Priority { .. } => Problem::invalid("priority", error.to_string()),
            E::UnknownState(_) => Problem::invalid("state", error.to_string()),
            error => failed(&error),
        }
    }
}

impl From<overview::Error> for Problem {
    fn from(error: overview::Error) -> Self {
        match error {
            overview::Error::Record(error) => error.into(),
            overview::Error::Queue(error) => error.into(),
        }
    }
}

impl From<RunError> for Problem {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Database(error) => error.into(),
            RunError::Record(error) => error.into(),
            RunError::Queue(error) => error.into(),
            error => failed(&error),
        }
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Record(error) => error.into(),
            error => failed(&error),
        }
    }
}

impl From<account::Error> for Problem {
    fn from(error: account::Error) -> Self {
        use account::Error as E;
        match error {
            E::Database(error) => error.into(),
            E::Queue(error) => error.into(),
            E::Unknown(_) | E::NoLabel { .. } | E::NoLogin { .. } => Problem::not_found(error.to_string()),
            E::UnknownChat(told) => Problem::invalid("chat", told),
            E::Proxy(account::proxy::Error::Unknown(_)) => Problem::not_found(error.to_string()),
            E::Proxy(account::proxy::Error::Address(_)) => Problem::invalid("url", error.to_string()),
            E::NotActive { .. }
            | E::NoReader(_)
            | E::LabelTaken { .. }
            | E::OtherStep
            | E::NotSignedIn
            | E::ResolvesSpent { .. }
            | E::InUse { .. }
            | E::Pinned { .. }
            | E::JustLeft { .. }
            | E::LeaseOver(_)
            | E::Stays { .. }
            | E::Rotating
            | E::NoApi(_)
            | E::Proxy(_) => Problem::conflict(error.to_string()),
            E::Telegram(told) => of_telegram(&told),
            // The key file's place is the operator's, not the client's.
            E::Seal(_) | E::NotUnderstood { .. } => {
                tracing::error!(error = %chain(&error), "http: a session cannot be opened");
                Problem::conflict("the session cannot be opened on this node").remedy("`telekeep doctor` there says why")
            }
        }
    }
}

fn of_telegram(error: &crate::telegram::Error) -> Problem {
    use crate::telegram::Error as E;
    match error {
        E::Login(refusal) => Problem::conflict(refusal.to_string()),
        E::Inaccessible { .. } => Problem::conflict(error.to_string()),
        E::Flood { wait, .. } | E::OverBudget { wait, .. } | E::SlowMode { wait, .. } | E::TakeoutDelay { wait, .. } => {
            let problem = Problem::away("telegram-waits", "Telegram asks to wait", error.to_string());
            Problem { retry_after: Some(at_most(wait.as_secs()).saturating_add(1)), ..problem }
        }
        error => {
            tracing::warn!(error = %chain(error), "http: Telegram did not answer as it should");
            Problem::away("telegram-away", "Telegram does not answer", "Telegram did not answer as it should")
        }
    }
}

impl From<projection::Error> for Problem {
    fn from(error: projection::Error) -> Self {
        match error {
            projection::Error::Database(error) => error.into(),
            projection::Error::Record(error) => error.into(),
            projection::Error::Refused { status: 400, .. } => {
                Problem::invalid("query", "the index does not understand this search").remedy("ask with fewer words and signs")
            }
            error => {
                tracing::warn!(error = %chain(&error), "http: the index is away");
                Problem::away("index-away", "The index is away", "Elasticsearch does not answer as it should")
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = %chain(&error), "http: the store of files");
        match error {
            StoreError::NotConfigured | StoreError::Misconfigured(_) => {
                Problem::conflict("no store of files is configured on this node").remedy("set `store` below `[files]`")
            }
            _ => Problem::away("store-away", "The store of files is away", "the store of files cannot be read"),
        }
    }
}
