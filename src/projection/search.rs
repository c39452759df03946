//! Search in the index, with the words that were found marked.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Error, Projector, mapping};
use crate::record::{
    outbox::Kind,
    search::{HIGHLIGHT, Hit, Hits, phrased},
};

impl Projector {
    /// Messages that match, best first: words are joined by AND, `"…"` is a phrase, `|` is OR, `-word` excludes. Errors: Elasticsearch
    /// is away, or there is no index.
    pub async fn search(&self, query: &str, limit: u32) -> Result<Hits, Error> {
        let alias = mapping::alias(&self.settings.prefix, Kind::Message);
        let body = json!({
            "size": limit,
            "track_total_hits": true,
            "query": { "simple_query_string": {
                "query": phrased(query), "fields": ["text", "text.cjk"], "default_operator": "and",
            } },
            "_source": ["chat_id", "message_id", "date", "text"],
            "sort": ["_score", { "date": { "order": "desc", "missing": "_last", "unmapped_type": "date" } }],
            "highlight": {
                "pre_tags": [HIGHLIGHT.0], "post_tags": [HIGHLIGHT.1],
                "fields": { "text": { "matched_fields": ["text", "text.cjk"], "number_of_fragments": 2, "fragment_size": 160 } },
            },
        });
        let answer = self.client.post(&format!("/{alias}/_search"), &[], &body).await?;
        if answer.status == 404 {
            return Err(Error::NotPrepared { alias });
        }
        if !answer.is_ok() {
            return Err(self.client.refused("a search", &answer));
        }
        let found = &answer.body["hits"];
        Ok(Hits {
            total: found["total"]["value"].as_u64().unwrap_or(0),
            hits: found["hits"].as_array().into_iter().flatten().map(hit).collect(),
        })
    }
}

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
