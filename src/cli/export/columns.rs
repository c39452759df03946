//! A message document as one row of a flat table.

use serde_json::{Map, Value};

/// Fields with a column each, named as in the document. Lists and objects are JSON in their column.
const COLUMNS: &[&str] = &[
    "_id",
    "chat_id",
    "message_id",
    "date",
    "edit_date",
    "deleted_at",
    "deleted_between",
    "from_user_id",
    "sender_chat_id",
    "author_signature",
    "post",
    "outgoing",
    "text",
    "text_language",
    "links",
    "mentions",
    "hashtags",
    "cashtags",
    "reply_to_message_id",
    "reply_to_chat_id",
    "thread_id",
    "forward_from_id",
    "forward_from_chat_id",
    "forward_from_message_id",
    "forward_send_name",
    "forward_signature",
    "forward_date",
    "media_type",
    "media_id",
    "media_group_id",
    "poll",
    "location",
    "contact",
    "webpage",
    "service",
    "buttons",
    "views",
    "forwards",
    "reply_count",
    "reactions",
    "pinned",
    "raw_reason",
    "content_hash",
    "insert_date",
    "seen",
];
/// What a document has and the table no column for, as one JSON object.
const OTHER: &str = "other";

/// The names of the columns.
pub(super) fn headings() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().copied().chain([OTHER])
}

/// One row: as many values as there are headings, empty where the document has none.
pub(super) fn row(mut document: Map<String, Value>) -> serde_json::Result<Vec<String>> {
    let mut row = Vec::with_capacity(COLUMNS.len() + 1);
    for name in COLUMNS {
        row.push(match document.remove(*name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(value) => serde_json::to_string(&value)?,
        });
    }
    row.push(if document.is_empty() { String::new() } else { serde_json::to_string(&document)? });
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_of_a_document_is_lost_in_a_row() {
        let document = json!({"_id": "-100_5", "message_id": 5, "text": "a \"ship\",\nhere", "hashtags": ["a", "b"], "media": false, "ttl": 9});
        let row = row(document.as_object().unwrap().clone()).unwrap();
        let told: Vec<(&str, &str)> =
            headings().zip(row.iter().map(String::as_str)).filter(|(_, value)| !value.is_empty()).collect();
        assert_eq!(
            told,
            [
                ("_id", "-100_5"),
                ("message_id", "5"),
                ("text", "a \"ship\",\nhere"),
                ("hashtags", "[\"a\",\"b\"]"),
                ("other", "{\"media\":false,\"ttl\":9}"),
            ]
        );
        assert_eq!(row.len(), headings().count());
    }
}
