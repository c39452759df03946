//! One object of an export, read field by field: what nobody asked for can be named afterwards.

use serde_json::{Map, Value};

/// Fields not yet read.
pub(super) struct Fields(pub Map<String, Value>);

impl Fields {
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A text; a number or boolean is taken as it is written.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A whole number, written as such or as text.
    pub fn number(&mut self, name: &str) -> Option<i64> {
        match self.take(name)? {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A whole number in the range of TL's int.
    pub fn int(&mut self, name: &str) -> Option<i32> {
        self.number(name).and_then(|number| i32::try_from(number).ok())
    }

    pub fn float(&mut self, name: &str) -> Option<f64> {
        match self.take(name)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub fn flag(&mut self, name: &str) -> bool {
        matches!(self.take(name), Some(Value::Bool(true)))
    }

    /// An object of its own.
    pub fn object(&mut self, name: &str) -> Option<Fields> {
        match self.take(name)? {
            Value::Object(map) => Some(Fields(map)),
            _ => None,
        }
    }

    pub fn list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(list) => Some(list),
            _ => None,
        }
    }

    /// A time: `name_unixtime`, else `name` as local time without zone, taken as UTC (old exports have no other).
    pub fn time(&mut self, name: &str) -> Option<(i32, bool)> {
        let exact = self.int(&format!("{name}_unixtime"));
        let local = self.text(name);
        match (exact, local) {
            (Some(exact), _) => Some((exact, true)),
            (None, Some(local)) => {
                let time = chrono::NaiveDateTime::parse_from_str(&local, "%Y-%m-%dT%H:%M:%S").ok()?;
                i32::try_from(time.and_utc().timestamp()).ok().map(|time| (time, false))
            }
            (None, None) => None,
        }
    }

    /// A peer as a marked id: `user5`, `channel7`, `chat9`, or a bare number (a user, in old exports).
    pub fn peer(&mut self, name: &str) -> Option<i64> {
        match self.take(name)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => peer(&text),
            _ => None,
        }
    }
}

/// A peer as an export writes it, as a marked id.
pub(super) fn peer(text: &str) -> Option<i64> {
    if let Some(id) = text.strip_prefix("user") {
        id.parse().ok()
    } else if let Some(id) = text.strip_prefix("channel") {
        id.parse::<i64>().ok().map(|id| -1_000_000_000_000 - id)
    } else if let Some(id) = text.strip_prefix("chat") {
        id.parse::<i64>().ok().map(|id| -id)
    } else {
        text.parse().ok()
    }
}
