//! What an address or a form says, by name. A form sends what was left empty: that is as if it were not there.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::problem::Problem;

/// Names and values, in order, none of them empty.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Of a query, or of a form's body.
    pub fn of(bytes: &[u8]) -> Self {
        let all = url::form_urlencoded::parse(bytes).filter(|(_, value)| !value.trim().is_empty());
        Self(all.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// A value as it was written.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// The same, or nothing.
    pub fn shown(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    /// The same, as its own.
    pub fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(|text| text.trim().to_owned())
    }

    /// What commas part, each without the spaces around it.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.shown(name).split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Problem> {
        let read = |text: &str| text.trim().parse::<i64>().map_err(|_| Problem::invalid(name, "a whole number"));
        self.text(name).map(read).transpose()
    }

    /// A word out of a list, as the API writes it.
    pub fn word<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Problem> {
        let read = |text: &str| {
            serde_json::from_value::<T>(Value::String(text.to_owned())).map_err(|error| Problem::invalid(name, error.to_string()))
        };
        self.text(name).map(read).transpose()
    }

    /// A day, or a moment, in UTC.
    pub fn moment(&self, name: &str) -> Result<Option<DateTime<Utc>>, Problem> {
        let read = |text: &str| {
            let text = text.trim();
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
            let minute = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").ok();
            let exact = || DateTime::parse_from_rfc3339(text).ok().map(|it| it.with_timezone(&Utc));
            day.or_else(minute).map(|it| it.and_utc()).or_else(exact).ok_or_else(|| Problem::invalid(name, "a day, as 2026-01-31"))
        };
        self.text(name).map(read).transpose()
    }

    /// A query with these values and another one in place of its own; an empty one goes.
    pub fn with(&self, name: &str, value: &str) -> String {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        for (it, value) in self.0.iter().filter(|(it, _)| it != name && !matches!(it.as_str(), "done" | "n" | "csrf")) {
            pairs.append_pair(it, value);
        }
        if !value.is_empty() {
            pairs.append_pair(name, value);
        }
        pairs.finish()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Fields {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::of(parts.uri.query().unwrap_or_default().as_bytes()))
    }
}

/// A form that was sent.
#[derive(Debug, Clone)]
pub struct Sent(pub Fields);

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| Problem::of_status(rejection.status()))?;
        Ok(Self(Fields::of(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_not_there_and_a_link_keeps_the_rest() {
        let fields = Fields::of(b"state=dead&kind=&chat=-100&error=a%26b&n=3");
        assert_eq!((fields.text("state"), fields.text("kind"), fields.number("chat").unwrap()), (Some("dead"), None, Some(-100)));
        assert_eq!(fields.with("cursor", "x"), "state=dead&chat=-100&error=a%26b&cursor=x");
        assert_eq!(fields.with("state", ""), "chat=-100&error=a%26b");
        assert_eq!(Fields::of(b"tags=+a%2C%2Cb+c+%2C").list("tags"), ["a", "b c"]);
        assert_eq!(fields.number("state").unwrap_err().field.as_deref(), Some("state"));
        let at = |text: &str| Fields::of(format!("at={text}").as_bytes()).moment("at").map(|it| it.unwrap().to_rfc3339());
        assert_eq!(at("2026-01-31").unwrap(), "2026-01-31T00:00:00+00:00");
        assert_eq!(at("2026-01-31T12:30").unwrap(), "2026-01-31T12:30:00+00:00");
        assert!(at("soon").is_err());
    }
}
