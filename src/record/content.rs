//! Content as such: when two contents are equal, and how text is cut into words for the record's own search.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Message;

/// SHA-256 over the fields in a canonical order, whatever order they came in.
pub fn content_hash(date: Option<DateTime<Utc>>, edit_date: Option<DateTime<Utc>>, body: &Map<String, Value>) -> Vec<u8> {
    let mut hash = Sha256::new();
    for date in [date, edit_date] {
        hash.update(date.map_or(i64::MIN, |date| date.timestamp()).to_be_bytes());
    }
    hash_fields(&mut hash, body);
    hash.finalize().to_vec()
}

/// Feeds fields to a hash in a canonical order.
pub(super) fn hash_fields(hash: &mut Sha256, map: &Map<String, Value>) {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    hash.update(b"{");
    for key in keys {
        string(hash, key);
        value(hash, &map[key.as_str()]);
    }
    hash.update(b"}");
}

fn value(hash: &mut Sha256, it: &Value) {
    match it {
        Value::Null => hash.update(b"n"),
        Value::Bool(true) => hash.update(b"t"),
        Value::Bool(false) => hash.update(b"f"),
        Value::Number(number) => {
            hash.update(b"#");
            string(hash, &number.to_string());
        }
        Value::String(text) => string(hash, text),
        Value::Array(items) => {
            hash.update(b"[");
            items.iter().for_each(|item| value(hash, item));
            hash.update(b"]");
        }
        Value::Object(map) => hash_fields(hash, map),
    }
}

/// Length first, so that no two sequences of strings look alike.
fn string(hash: &mut Sha256, text: &str) {
    hash.update(b"\"");
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

/// The message with U+FFFD where a string held NUL, which Postgres cannot keep.
pub fn without_nul(message: &Message) -> Cow<'_, Message> {
    if !message.body.values().any(holds_nul) && !message.links.iter().any(|link| link.url.contains('\0')) {
        return Cow::Borrowed(message);
    }
    let mut clean = message.clone();
    clean.links.iter_mut().for_each(|link| link.url = link.url.replace('\0', "\u{fffd}"));
    clean.body.values_mut().for_each(replace_nul);
    Cow::Owned(clean)
}

fn holds_nul(it: &Value) -> bool {
    match it {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(map) => map.values().any(holds_nul),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Replaces NUL in each string of a value.
pub fn replace_nul(it: &mut Value) {
    match it {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(map) => map.values_mut().for_each(replace_nul),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Text with spaces put between characters of scripts that write none (Han, kana, Thai, …), so that each is a word.
pub fn spaced(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut alone = false;
    for character in text.chars() {
        let now = writes_no_spaces(character);
        if (now || alone) && !out.is_empty() && !out.ends_with(char::is_whitespace) && !character.is_whitespace() {
            out.push(' ');
        }
        // Postgres' text has no NUL.
        out.push(if character == '\0' { ' ' } else { character });
        alone = now;
    }
    out
}

/// Whether a character belongs to a script that sets no spaces between words.
pub fn writes_no_spaces(character: char) -> bool {
    matches!(u32::from(character),
        0x0E00..=0x0EFF        // Thai, Lao
        | 0x1000..=0x109F      // Burmese
        | 0x1780..=0x17FF      // Khmer
        | 0x3040..=0x30FF      // kana
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2FA1F) // Han
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn the_order_of_fields_is_no_content() {
        let one: Map<String, Value> = [("a".into(), json!(1)), ("b".into(), json!({"x": 1, "y": [1, 2]}))].into_iter().collect();
        let two: Map<String, Value> = [("b".into(), json!({"y": [1, 2], "x": 1})), ("a".into(), json!(1))].into_iter().collect();
        assert_eq!(content_hash(None, None, &one), content_hash(None, None, &two));
    }

    #[test]
    fn neighbouring_values_do_not_blend() {
        let one = map(json!({"a": ["bc", ""]}));
        let two = map(json!({"a": ["b", "c"]}));
        assert_ne!(content_hash(None, None, &one), content_hash(None, None, &two));
    }

    #[test]
    fn chinese_characters_are_words() {
        assert_eq!(spaced("ab 图书馆 x"), "ab 图 书 馆 x");
        assert_eq!(spaced("ab图c"), "ab 图 c");
        assert_eq!(spaced("plain words"), "plain words");
    }
}
