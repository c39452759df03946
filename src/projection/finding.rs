//! Search in the index with filters and pages, the words that were found marked. The order is whole, so that a page goes on where the
//! last one ended, at the same cost however deep.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Error, Projector, mapping};
use crate::record::finding::{Found, MARKS, Sort, Wish};
use crate::record::outbox::Kind;
use crate::record::search::{Hit, phrased};

/// As Elasticsearch writes dates of an order, and reads them again.
const DATE: &str = "strict_date_optional_time_nanos";

impl Projector {
    /// One page of messages that match, beyond the place that the one before ended at. Words are joined by AND, `"…"` is a phrase, `|`
    /// is OR, `-word` excludes. Errors: Elasticsearch is away, there is no index, or a place that is none (refused with status 400).
    pub async fn find(&self, wish: &Wish, after: Option<&[Value]>, limit: i64) -> Result<Found, Error> {
        let alias = mapping::alias(&self.settings.prefix, Kind::Message);
        let answer = self.client.post(&format!("/{alias}/_search"), &[], &body(wish, after, limit)).await?;
        if answer.status == 404 {
            return Err(Error::NotPrepared { alias });
        }
        if !answer.is_ok() {
            return Err(self.client.refused("a search", &answer));
        }
        let found = &answer.body["hits"];
        let hits: &[Value] = found["hits"].as_array().map_or(&[], Vec::as_slice);
        let whole = i64::try_from(hits.len()).is_ok_and(|count| count == limit);
        Ok(Found {
            total: found["total"]["value"].as_u64().unwrap_or(0),
            total_is_exact: found["total"]["relation"] == "eq",
            after: hits.last().filter(|_| whole).and_then(|last| last["sort"].as_array().cloned()),
            hits: hits.iter().map(hit).collect(),
        })
    }
}

fn body(wish: &Wish, after: Option<&[Value]>, limit: i64) -> Value {
    let scored = wish.sort == Sort::Relevance && !wish.text.is_empty();
    // What has no date is a deletion of something never read: it matches no words, and has no place in the order.
    let mut filter = vec![json!({ "exists": { "field": "date" } })];
    let mut term = |field: &str, value: Option<Value>| filter.extend(value.map(|value| json!({ "term": { field: value } })));
    term("chat_id", wish.chat.map(Value::from));
    term("media_type", wish.media_type.clone().map(Value::from));
    term("text_language", wish.language.clone().map(Value::from));
    if let Some(sender) = wish.sender {
        filter.push(
            json!({ "bool": { "should": [{ "term": { "from_user_id": sender } }, { "term": { "sender_chat_id": sender } }] } }),
        );
    }
    if wish.since.is_some() || wish.until.is_some() {
        let mut range = serde_json::Map::new();
        let at = |date: DateTime<Utc>| Value::from(date.to_rfc3339());
        range.extend(wish.since.map(|since| ("gte".to_owned(), at(since))));
        range.extend(wish.until.map(|until| ("lt".to_owned(), at(until))));
        filter.push(json!({ "range": { "date": range } }));
    }
    let mut query = json!({ "bool": { "filter": filter } });
    if !wish.text.is_empty() {
        let words = json!({ "simple_query_string": {
            "query": phrased(&wish.text), "fields": ["text", "text.cjk"], "default_operator": "and",
        } });
        query["bool"]["must"] = json!([words]);
    }
    let mut order: Vec<Value> = scored.then(|| json!("_score")).into_iter().collect();
    order.extend([
        json!({ "date": { "order": "desc", "format": DATE } }),
        json!({ "chat_id": "desc" }),
        json!({ "message_id": "desc" }),
        // several accounts may have one message of a basic group
        json!({ "seen.account": { "order": "desc", "missing": "_last" } }),
    ]);
    let (open, close) = (MARKS.0.to_string(), MARKS.1.to_string());
    let mut body = json!({
        "size": limit,
        "track_total_hits": 10_000,
        "timeout": "5s",
        "query": query,
        "_source": ["chat_id", "message_id", "date", "text"],
        "sort": order,
        "highlight": {
            "pre_tags": [open], "post_tags": [close],
            "fields": { "text": { "matched_fields": ["text", "text.cjk"], "number_of_fragments": 2, "fragment_size": 160 } },
        },
    });
    if let Some(place) = after {
        body["search_after"] = json!(place);
    }
    body
}

/// A hit of an answer.
fn hit(hit: &Value) -> Hit {
    let source = &hit["_source"];
    let text = source["text"].as_str().unwrap_or_default().to_owned();
    let fragments: Vec<&str> = hit["highlight"]["text"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Hit {
        id: hit["_id"].as_str().unwrap_or_default().to_owned(),
        chat_id: source["chat_id"].as_i64().unwrap_or(0),
        message_id: source["message_id"].as_i64().unwrap_or(0),
        date: source["date"].as_str().and_then(|date| DateTime::parse_from_rfc3339(date).ok()).map(|date| date.with_timezone(&Utc)),
        highlight: if fragments.is_empty() { text.clone() } else { fragments.join(" … ") },
        text,
    }
}
