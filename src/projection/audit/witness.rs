//! Documents that the index has and the record does not: what they tell of a message goes back to the record before they go.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{Difference, Suspect, pages};
use crate::projection::{Error, Projector};
use crate::record::{
    outbox::{Key, Kind},
    restore::{self, Told},
};

/// What a message's document holds beside the row's body.
const BESIDE: [&str; 11] = [
    "chat_id",
    "message_id",
    "date",
    "edit_date",
    "insert_date",
    "deleted_at",
    "deleted_between",
    "content_hash",
    "raw_reason",
    "lost_reason",
    "seen",
];

/// What the record took back.
#[derive(Debug, Default)]
pub(super) struct TakenBack {
    /// Rows to be raised above these documents' versions.
    pub rows: Vec<(Key, i64)>,
    /// Ids of documents that these rows replace.
    pub replaced: Vec<String>,
}

impl Projector {
    /// Hands what extra documents tell of messages to the record.
    pub(super) async fn take_back(&self, kind: Kind, alias: &str, suspects: &[Suspect]) -> Result<TakenBack, Error> {
        let mut taken = TakenBack::default();
        // The others hang on no message.
        if !matches!(kind, Kind::Message | Kind::Version | Kind::Link | Kind::Metric) {
            return Ok(taken);
        }
        let extra: Vec<&str> =
            suspects.iter().filter(|suspect| suspect.what == Difference::Extra).map(|suspect| suspect.id.as_str()).collect();
        for hit in pages::by_ids(&self.client, alias, &extra, true).await? {
            let Some(told) = told(kind, &hit.id, &hit.source) else { continue };
            let key = restore::take_back(&self.pool, &told).await?;
            if let (Some(key), Kind::Message) = (key, kind) {
                taken.rows.push((key, hit.version));
                taken.replaced.push(hit.id);
            }
        }
        Ok(taken)
    }
}

/// What a document tells of the message that it is, or hangs on.
fn told(kind: Kind, id: &str, source: &Map<String, Value>) -> Option<Told> {
    let number = |field: &str| source.get(field).and_then(Value::as_i64);
    let (chat, message_id) = (number("chat_id")?, number("message_id")?);
    let time = |value: Option<&Value>| -> Option<DateTime<Utc>> { value?.as_str()?.parse().ok() };
    let seen = source.get("seen");
    let place = format!("{chat}_{message_id}");
    let told = Told {
        chat,
        message_id,
        owner: owner(id, &place)?,
        first_at: time(seen.and_then(|seen| seen.get("first_at"))),
        last_at: time(seen.and_then(|seen| seen.get("last_at"))),
        account: seen.and_then(|seen| seen.get("account")).and_then(Value::as_str).map(str::to_owned),
        ..Told::default()
    };
    if kind != Kind::Message {
        return Some(Told { lost_reason: Some(format!("the index had a {kind} of it")), ..told });
    }
    let text = |field: &str| source.get(field).and_then(Value::as_str).map(str::to_owned);
    let between = source.get("deleted_between");
    let content_hash = text("content_hash").and_then(|hash| bytes(&hash));
    let body: Map<String, Value> = source
        .iter()
        .filter(|(field, _)| !BESIDE.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    Some(Told {
        date: time(source.get("date")),
        edit_date: time(source.get("edit_date")),
        body: (content_hash.is_some() || !body.is_empty()).then_some(body),
        content_hash,
        raw_reason: text("raw_reason"),
        lost_reason: text("lost_reason"),
        deleted_at: time(source.get("deleted_at")).or(time(between.and_then(|between| between.get("lte")))),
        deleted_after: time(between.and_then(|between| between.get("gte"))),
        ..told
    })
}

/// Whose box a document's `_id` names: it is `[owner_]chat_message`, with a hash or a moment around it. None: no such `_id`.
fn owner(id: &str, place: &str) -> Option<Option<i64>> {
    let (at, _) = id.match_indices(place).find(|(at, _)| *at == 0 || id[..*at].ends_with('_'))?;
    // A link's hash in this place is longer than any number.
    Some(id[..at].trim_end_matches('_').rsplit('_').next().and_then(|last| last.parse().ok()))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_the_box() {
        assert_eq!(owner("-1001_7", "-1001_7"), Some(None));
        assert_eq!(owner("42_-5_7", "-5_7"), Some(Some(42)));
        assert_eq!(owner("42_-5_7_ffee", "-5_7"), Some(Some(42)));
        let hash = "ab".repeat(32);
        assert_eq!(owner(&format!("{hash}_-1001_7"), "-1001_7"), Some(None));
        assert_eq!(owner(&format!("{hash}_42_-5_7"), "-5_7"), Some(Some(42)));
        assert_eq!(owner("1_2_3", "-5_7"), None);
    }
}
