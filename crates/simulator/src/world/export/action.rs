//! Service messages of an export.

mod gift;
mod group;
mod other;

use grammers_tl_types as tl;
use serde_json::Value;
use tl::enums::MessageAction as Action;

use super::Loading;
use super::fields::Fields;

/// Reads a service message's action. What has no representation here becomes a custom action that holds the export's own words,
/// and is counted.
pub(super) fn read(loading: &mut Loading, fields: &mut Fields, date: i32) -> Action {
    let name = fields.text("action").unwrap_or_default();
    if name.is_empty()
        && let Some(message) = fields.text("information_text")
    {
        return tl::types::MessageActionCustomAction { message }.into();
    }
    group::read(loading, fields, &name, date)
        .or_else(|| gift::read(loading, fields, &name))
        .or_else(|| other::read(loading, fields, &name, date))
        .unwrap_or_else(|| custom(loading, fields, &name))
}

fn custom(loading: &mut Loading, fields: &mut Fields, name: &str) -> Action {
    loading.notes.add(format!("service action `{name}` (kept as a custom action)"));
    let mut values = serde_json::Map::new();
    values.insert("action".to_owned(), Value::String(name.to_owned()));
    // What the rest of the message still needs stays.
    let needed = ["text", "text_entities", "reactions", "message_id", "reply_to_message_id", "reply_to_peer_id"];
    let names: Vec<String> = fields.0.keys().filter(|name| !needed.contains(&name.as_str())).cloned().collect();
    for name in names {
        if let Some(value) = fields.take(&name) {
            values.insert(name, value);
        }
    }
    tl::types::MessageActionCustomAction { message: Value::Object(values).to_string() }.into()
}

fn title(fields: &mut Fields) -> String {
    fields.text("title").unwrap_or_default()
}

/// `members` are names without ids: those of people already met get theirs.
fn members(loading: &mut Loading, fields: &mut Fields) -> Vec<i64> {
    let mut ids = Vec::new();
    for name in fields.list("members").unwrap_or_default() {
        match name.as_str().and_then(|name| loading.named(name)) {
            Some(id) => ids.push(id),
            None => loading.notes.add("member of a service message without an id"),
        }
    }
    ids
}

/// Someone told by name alone; 0 if nobody of that name was met.
fn someone(loading: &mut Loading, fields: &mut Fields, field: &str) -> i64 {
    let id = fields.text(field).and_then(|name| loading.named(&name));
    if id.is_none() {
        loading.notes.add(format!("id of the `{field}` of a service message (0)"));
    }
    id.unwrap_or_default()
}

/// Notes what Telegram tells and an export does not; it is 0 here.
fn untold(loading: &mut Loading, what: &str) -> i64 {
    loading.notes.add(format!("{what} (0)"));
    0
}
