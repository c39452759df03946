//! One object of an export, taken apart field by field: what nobody took is left over, with its name.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value};

use super::LeftOut;
use crate::record::ChatId;

/// An object whose fields are taken one after the other. A field that is null counts as absent.
#[derive(Debug, Clone, Default)]
pub(super) struct Object(pub Map<String, Value>);

impl Object {
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Whether it has any of these.
    pub fn has(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.0.get(*name).is_some_and(|value| !value.is_null()))
    }

    /// A text that is not empty.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A whole number, which some versions write as text.
    pub fn number(&mut self, name: &str) -> Option<i64> {
        match self.take(name)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub fn list(&mut self, name: &str) -> Vec<Value> {
        match self.take(name) {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        }
    }

    pub fn object(&mut self, name: &str) -> Option<Object> {
        match self.take(name)? {
            Value::Object(map) => Some(Object(map)),
            // Some are written as text that holds them.
            Value::String(text) => serde_json::from_str(&text).ok().map(Object),
            _ => None,
        }
    }

    /// `NAME_unixtime`, else `NAME`: local time without a zone in old exports, taken as UTC.
    pub fn time(&mut self, name: &str, left_out: &mut LeftOut) -> Option<DateTime<Utc>> {
        let local = self.text(name);
        let exact = self.number(&format!("{name}_unixtime")).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let time = exact.or_else(|| {
            let time = NaiveDateTime::parse_from_str(&local?, "%Y-%m-%dT%H:%M:%S").ok()?.and_utc();
            left_out.add(format!("zone of `{name}` (taken as UTC)"));
            Some(time)
        })?;
        // Old versions write the beginning of time, in whatever zone, for what never was.
        (time.timestamp() > 86_400).then_some(time)
    }

    /// A peer: `user5`, `chat6`, `channel7`.
    pub fn peer(&mut self, name: &str) -> Option<ChatId> {
        peer(&self.text(name)?)
    }

    /// Names what was not taken.
    pub fn count_rest(self, within: &str, left_out: &mut LeftOut) {
        for (name, value) in self.0 {
            let is_nothing = value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty);
            if !is_nothing {
                left_out.add(format!("{within}{name}"));
            }
        }
    }
}

/// A peer as newer exports write it, in marked form.
fn peer(text: &str) -> Option<ChatId> {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let id = digits.parse().ok()?;
    match &text[..text.len() - digits.len()] {
        "user" => Some(ChatId::user(id)),
        "channel" => Some(ChatId::channel(id)),
        "chat" => Some(ChatId::group(id)),
        _ => None,
    }
}
