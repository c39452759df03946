//! One object of an export, read field by field: what nobody asked for can be named afterwards.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Fields not yet read.
#[derive(Debug, Default)]
pub(super) struct Fields(pub Map<String, Value>);

/// What a list of objects holds, in a file that another program may have written.
pub(super) enum Element {
    Object(Fields),
    Other,
}

/// Telegram Desktop gives one object two fields of one name (`text` of `send_webview_data`): the first is kept under this name.
pub(super) fn first(name: &str) -> String {
    format!("{name} (the first of two)")
}

impl Fields {
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
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
        Self::number_of(self.take(name)?)
    }

    /// A whole number; one above TL's long is the unsigned form of a negative one.
    pub fn number_of(value: Value) -> Option<i64> {
        match value {
            Value::Number(number) => number
                .as_i64()
                .or_else(|| number.as_u64().map(u64::cast_signed))
                .or_else(|| number.as_f64().map(|number| number as i64)),
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

    /// An object of its own; Telegram Desktop writes some as text that holds one (`invoice_information`).
    pub fn object(&mut self, name: &str) -> Option<Fields> {
        match self.take(name)? {
            Value::Object(map) => Some(Fields(map)),
            Value::String(text) => serde_json::from_str(&text).ok().map(Fields),
            _ => None,
        }
    }

    /// A list, or text that holds one (`peers`).
    pub fn list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(list) => Some(list),
            Value::String(text) => serde_json::from_str(&text).ok(),
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

    /// A peer as a marked id: `user5`, `channel7`, `chat9`, or a bare number in old exports.
    pub fn peer(&mut self, name: &str) -> Option<i64> {
        match self.take(name)? {
            Value::Number(number) => number.as_i64().map(old_peer),
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
        text.parse().ok().map(old_peer)
    }
}

/// Telegram Desktop before user ids outgrew 32 bits wrote its own number of a peer: the kind in the bits above those.
fn old_peer(number: i64) -> i64 {
    packed_peer(number, 32)
}

/// A peer whose kind (0 user, 1 group, 2 channel) stands above this many bits; any other kind is taken as a user's id.
pub(super) fn packed_peer(number: i64, bits: u32) -> i64 {
    let id = number & ((1 << bits) - 1);
    match number >> bits {
        1 => -id,
        2 => -1_000_000_000_000 - id,
        _ => number,
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Element;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Element, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if let Some(before) = fields.insert(name.clone(), value) {
                        fields.insert(first(&name), before);
                    }
                }
                Ok(Element::Object(Fields(fields)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Element, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Element::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Element, E> {
                Ok(Element::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Element, E> {
                Ok(Element::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Element, E> {
                Ok(Element::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Element, E> {
                Ok(Element::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Element, E> {
                Ok(Element::Other)
            }

            fn visit_unit<E>(self) -> Result<Element, E> {
                Ok(Element::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
