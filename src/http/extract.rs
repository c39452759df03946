//! What a request says, read: a field that is wrong is named, whatever it is in.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{header, request::Parts};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The query of an address.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = parts.uri.query().unwrap_or_default();
        let form = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(text.as_bytes()));
        serde_path_to_error::deserialize(form).map(Self).map_err(|error| {
            let told = error.inner().to_string();
            Problem::invalid(field(error.path().to_string(), &told), told)
        })
    }
}

/// Parts of the path. One that cannot be read names nothing: 404, as for what is unknown.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(read)) => Ok(Self(read)),
            Err(_) => Err(Problem::not_found("nothing has such an address")),
        }
    }
}

/// A JSON body.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // A page of another origin cannot send this type without being asked first.
        if kind.split(';').next().unwrap_or_default().trim() != "application/json" {
            return Err(Problem {
                detail: "the body is to be application/json".into(),
                ..Problem::of_status(axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE)
            });
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| Problem::of_status(rejection.status()))?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let told = error.inner();
            if told.is_data() {
                let text = told.to_string();
                Problem::invalid(field(error.path().to_string(), &text), text)
            } else {
                Problem::unreadable(format!("the body is not JSON: {told}"))
            }
        })?;
        json.end().map_err(|error| Problem::unreadable(format!("the body is not JSON: {error}")))?;
        Ok(Self(read))
    }
}

impl<T: serde::Serialize> axum::response::IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}

/// The field that an error is about: its path, or the name that serde quotes of a missing or unknown one.
fn field(path: String, told: &str) -> String {
    let quoted = || told.split('`').nth(1).filter(|_| told.contains("field")).map(str::to_owned);
    if path.is_empty() || path == "." || path == "?" { quoted().unwrap_or_default() } else { path }
}
