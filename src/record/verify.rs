//! What the record says of single messages, to be compared with what Telegram says now.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::boxes::BoxRow;
use super::counts::COUNTS;
use super::{ChatId, Error, Message};

/// A message's row as far as it is compared.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Held {
    pub message_id: i64,
    pub date: Option<DateTime<Utc>>,
    pub body: Option<Json<Map<String, Value>>>,
    pub is_raw: bool,
    /// From a file or the index, and not heard from Telegram since: less is known of it.
    pub is_poor: bool,
    pub is_deleted: bool,
}

/// The rows of a chat in a locked box, by message id.
pub async fn held(conn: &mut PgConnection, held: &BoxRow, chat: ChatId, ids: &[i64]) -> Result<HashMap<i64, Held>, Error> {
    let rows: Vec<Held> = sqlx::query_as(
        "select message_id, date, body, raw is not null as is_raw, order_pts is null and via in ('import', 'index') as is_poor,
            deleted_at is not null as is_deleted
        from message where box_id = $1 and chat_id = $2 and message_id = any($3) order by message_id for update",
    )
    .bind(held.id.0)
    .bind(chat.0)
    .bind(ids)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.message_id, row)).collect())
}

/// Forgets what the content's hash was, so that merging compares what stands in the row: it was altered behind the record's back.
pub async fn forget_hashes(conn: &mut PgConnection, held: &BoxRow, ids: &[i64]) -> Result<(), Error> {
    sqlx::query("update message set content_hash = null where box_id = $1 and message_id = any($2)")
        .bind(held.id.0)
        .bind(ids)
        .execute(conn)
        .await?;
    Ok(())
}

/// Beside counts: what Telegram makes or changes by itself, without an edit.
const OF_TELEGRAM: [&str; 4] = ["pinned", "poll", "webpage", "buttons"];
const OF_PREVIEW: [&str; 3] = ["media", "media_type", "media_id"];

impl Held {
    /// Whether there is anything of the message but that it was there.
    pub fn has_content(&self) -> bool {
        self.body.is_some() || self.is_raw
    }

    /// Whether Telegram tells the same content, counts and what it changes by itself apart. What is known in part cannot be compared.
    pub fn says(&self, told: &Message) -> bool {
        let Some(body) = &self.body else { return true };
        if self.is_raw || self.is_poor || told.raw.is_some() {
            return true;
        }
        self.date == told.date && content(&body.0) == content(&told.body)
    }
}

fn content(body: &Map<String, Value>) -> Map<String, Value> {
    let preview =
        body.get("media_type").and_then(Value::as_str) == Some("webpage") || body.get("media") == Some(&Value::Bool(false));
    let left_out = |field: &str| COUNTS.contains(&field) || OF_TELEGRAM.contains(&field) || preview && OF_PREVIEW.contains(&field);
    body.iter().filter(|(field, _)| !left_out(field)).map(|(field, value)| (field.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn held(body: Value) -> Held {
        let body = body.as_object().cloned().map(Json);
        Held { message_id: 1, date: None, body, is_raw: false, is_poor: false, is_deleted: false }
    }

    fn told(body: Value) -> Message {
        let body = body.as_object().cloned().unwrap_or_default();
        Message {
            chat: ChatId(-1),
            id: 1,
            date: None,
            edit_date: None,
            body,
            raw: None,
            pts: None,
            links: Vec::new(),
            media: Vec::new(),
        }
    }

    #[test]
    fn counts_pins_and_previews_are_no_content() {
        let row = held(json!({"text": "a", "media": false, "views": 3, "pinned": true}));
        assert!(row.says(&told(json!({"text": "a", "media": true, "media_type": "webpage", "media_id": "w_1", "webpage": {}}))));
        assert!(!row.says(&told(json!({"text": "b", "media": false}))));
        assert!(!row.says(&told(json!({"text": "a", "media": true, "media_type": "photo", "media_id": "photo_1"}))));
    }

    #[test]
    fn what_came_from_a_file_is_not_compared() {
        let row = Held { is_poor: true, ..held(json!({"text": "a"})) };
        assert!(row.says(&told(json!({"text": "a", "entities": []}))));
    }
}
