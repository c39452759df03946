//! What chats and users have in common.

use serde_json::{Map, Value};

use crate::telegram::tl::enums::{RestrictionReason, Username};

/// What a partial constructor does not have says nothing.
pub(super) fn silence(body: &mut Map<String, Value>) {
    body.retain(|_, value| !value.is_null() && *value != Value::Bool(false));
}

/// An object as fields.
pub(super) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The name that is shown, and all active ones.
pub(super) fn names(username: Option<&str>, usernames: Option<&[Username]>) -> (Option<String>, Option<Vec<String>>) {
    let active: Vec<String> = usernames
        .unwrap_or_default()
        .iter()
        .filter(|Username::Username(it)| it.active)
        .map(|Username::Username(it)| it.username.clone())
        .collect();
    let first = username.map(str::to_owned).or_else(|| active.first().cloned());
    let all = if active.is_empty() { first.clone().into_iter().collect() } else { active };
    (first, (!all.is_empty()).then_some(all))
}

/// Reasons as one text a line: platform, reason, text.
pub(super) fn restriction(reasons: Option<&[RestrictionReason]>) -> Option<String> {
    let lines: Vec<String> =
        reasons?.iter().map(|RestrictionReason::Reason(it)| format!("{}-{}: {}", it.reason, it.platform, it.text)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
