//! Rows of the record → documents of the index. Equal rows give equal documents.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use sqlx::PgPool;

use crate::record::document::{MemberRow, MessageRow, PeerRow, message_document_id};
use crate::record::outbox::{Key, Kind};
use crate::record::series::SeriesRow;
use crate::record::{document as rows, series};

/// Fields that move without a change of the row's content, so that the index keeps them as of the last change.
pub const AS_OF_LAST_CHANGE: [&str; 3] = ["seen", "first_seen", "last_seen"];

/// A document, its `_id`, and the revision that becomes its version.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub id: String,
    pub revision: i64,
    pub body: Map<String, Value>,
}

impl Document {
    /// The job that wrote its row last; none: it came otherwise.
    pub fn job(&self) -> Option<i64> {
        self.body.get("seen")?.get("job")?.as_i64()
    }
}

/// The document of a message; None while no watched chat has named its chat.
pub fn of_message(row: MessageRow) -> Option<Document> {
    let chat = row.chat_id?;
    let id = message_document_id(row.owner, chat, row.message_id);
    let mut body = object(row.body);
    body.insert("chat_id".into(), chat.into());
    body.insert("message_id".into(), row.message_id.into());
    put(&mut body, "date", row.date.map(time));
    put(&mut body, "edit_date", row.edit_date.map(time));
    put(&mut body, "insert_date", Some(time(row.first_seen)));
    match (row.deleted_after, row.deleted_at) {
        (Some(after), Some(at)) => put(&mut body, "deleted_between", Some(json!({ "gte": time(after), "lte": time(at) }))),
        (_, at) => put(&mut body, "deleted_at", at.map(time)),
    }
    put(&mut body, "content_hash", row.content_hash.map(|hash| hex(&hash).into()));
    put(&mut body, "raw_reason", row.raw_reason.map(Value::from));
    put(&mut body, "lost_reason", row.lost_reason.map(Value::from));
    body.insert("seen".into(), seen(row.first_seen, row.last_seen, row.account, &row.via, row.job));
    Some(Document { id, revision: row.revision, body })
}

/// The document of a chat.
pub fn of_chat(row: PeerRow) -> Document {
    let mut body = object(Some(row.body));
    body.insert("chat_id".into(), row.id.into());
    put(&mut body, "type", row.kind.map(Value::from));
    body.insert("content_hash".into(), hex(&row.content_hash).into());
    body.insert("seen".into(), seen(row.first_seen, row.last_seen, row.account, &row.via, row.job));
    Document { id: row.id.to_string(), revision: row.revision, body }
}

/// The document of a user.
pub fn of_user(row: PeerRow) -> Document {
    let mut body = object(Some(row.body));
    body.insert("user_id".into(), row.id.into());
    body.insert("first_seen".into(), time(row.first_seen));
    body.insert("last_seen".into(), time(row.last_seen));
    body.insert("content_hash".into(), hex(&row.content_hash).into());
    body.insert("seen".into(), seen(row.first_seen, row.last_seen, row.account, &row.via, row.job));
    Document { id: row.id.to_string(), revision: row.revision, body }
}

/// The document of a member.
pub fn of_member(row: MemberRow) -> Document {
    let mut body = object(Some(row.body));
    body.insert("chat_id".into(), row.chat_id.into());
    body.insert("user_id".into(), row.user_id.into());
    put(&mut body, "status", row.status.map(Value::from));
    put(&mut body, "is_member", row.present.map(Value::from));
    put(&mut body, "left", row.present.map(|present| Value::from(!present)));
    put(&mut body, "snapshot", row.snapshot.map(Value::from));
    body.insert("update_time".into(), time(row.updated_at));
    body.insert("first_seen".into(), time(row.first_seen));
    body.insert("last_seen".into(), time(row.last_seen));
    body.insert("content_hash".into(), hex(&row.content_hash).into());
    body.insert("seen".into(), seen(row.first_seen, row.last_seen, row.account, &row.via, row.job));
    Document { id: format!("{}_{}", row.chat_id, row.user_id), revision: row.revision, body }
}

/// The document of a link, a file, a metric, a name or a version.
pub fn of_series(kind: Kind, row: SeriesRow) -> Document {
    let mut body = object(Some(row.body));
    put(&mut body, "chat_id", row.chat_id.map(Value::from));
    put(&mut body, "message_id", row.message_id.map(Value::from));
    put(&mut body, "date", row.date.map(time));
    put(&mut body, "edit_date", row.edit_date.map(time));
    if kind == Kind::Name {
        body.insert("first_seen".into(), time(row.first_seen));
        body.insert("last_seen".into(), time(row.last_seen));
    }
    if kind == Kind::Media {
        body.insert("insert_date".into(), time(row.first_seen));
    }
    let mut seen = seen(row.first_seen, row.last_seen, row.account, &row.via, row.job);
    seen["row"] = row.id.into();
    body.insert("seen".into(), seen);
    Document { id: row.document_id, revision: row.revision, body }
}

/// The documents of these keys (all of one kind) by key; a row that has none yet is there with None, one that is gone is not.
pub async fn of_keys(pool: &PgPool, kind: Kind, keys: &[(i64, i64)]) -> Result<HashMap<Key, Option<Document>>, sqlx::Error> {
    let firsts: Vec<i64> = keys.iter().map(|key| key.0).collect();
    let key = |key1, key2| Key { kind, key1, key2 };
    Ok(match kind {
        Kind::Message => {
            let seconds: Vec<i64> = keys.iter().map(|key| key.1).collect();
            let found = rows::messages(pool, &firsts, &seconds).await?;
            found.into_iter().map(|row| (key(row.box_id, row.message_id), of_message(row))).collect()
        }
        Kind::Member => {
            let seconds: Vec<i64> = keys.iter().map(|key| key.1).collect();
            let found = rows::members(pool, &firsts, &seconds).await?;
            found.into_iter().map(|row| (key(row.chat_id, row.user_id), Some(of_member(row)))).collect()
        }
        Kind::Chat => rows::chats(pool, &firsts).await?.into_iter().map(|row| (key(row.id, 0), Some(of_chat(row)))).collect(),
        Kind::User => rows::users(pool, &firsts).await?.into_iter().map(|row| (key(row.id, 0), Some(of_user(row)))).collect(),
        Kind::Link | Kind::Media | Kind::Metric | Kind::Name | Kind::Version => {
            let found = series::rows(pool, kind, &firsts).await?;
            found.into_iter().map(|row| (key(row.id, 0), Some(of_series(kind, row)))).collect()
        }
    })
}

/// Whether the index holds what the record says, apart from what moves without a change.
pub fn is_same(expected: &Map<String, Value>, found: &Map<String, Value>) -> bool {
    let content = |body: &Map<String, Value>| -> Map<String, Value> {
        body.iter()
            .filter(|(name, _)| !AS_OF_LAST_CHANGE.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    content(expected) == content(found)
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn put(body: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value);
    }
}

fn seen(first: DateTime<Utc>, last: DateTime<Utc>, account: Option<String>, via: &str, job: Option<i64>) -> Value {
    let mut seen = object(Some(json!({ "first_at": time(first), "last_at": time(last), "via": via })));
    put(&mut seen, "account", account.map(Value::from));
    put(&mut seen, "job", job.map(Value::from));
    Value::Object(seen)
}

fn time(at: DateTime<Utc>) -> Value {
    Value::String(at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing into a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
