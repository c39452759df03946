//! All documents of an index in key order, page by page over one point in time, and documents by id, in real time.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use crate::{
    projection::{Error, elasticsearch::Elasticsearch, mapping},
    record::{audit::Place, outbox::Kind},
};

const PAGE: usize = 2_000;
/// Whole documents weigh more.
const DEEP_PAGE: usize = 500;
const KEEP_ALIVE: &str = "5m";

/// One document of the index.
pub(in crate::projection) struct Hit {
    pub(in crate::projection) id: String,
    pub(in crate::projection) version: i64,
    pub(in crate::projection) source: Map<String, Value>,
    place: Place,
}

/// The documents that match, in key order, as of one moment.
pub(in crate::projection) struct Pages {
    client: Elasticsearch,
    point_in_time: String,
    query: Value,
    sort: Vec<Value>,
    deep: bool,
    after: Option<Value>,
    ahead: VecDeque<Hit>,
    over: bool,
}

impl Pages {
    /// Opens a point in time. Errors: there is no such alias.
    pub(in crate::projection) async fn open(
        client: &Elasticsearch,
        alias: &str,
        kind: Kind,
        query: Value,
        deep: bool,
    ) -> Result<Self, Error> {
        let answer = client.post(&format!("/{alias}/_pit"), &[("keep_alive", KEEP_ALIVE)], &Value::Null).await?;
        let Some(point_in_time) = answer.body["id"].as_str() else {
            return Err(match answer.status {
                404 => Error::NotPrepared { alias: alias.to_owned() },
                _ => client.refused("opening a point in time", &answer),
            });
        };
        // A document without its keys comes last, as one that the record does not have.
        let sort = mapping::place(kind)
            .iter()
            .map(|field| json!({ *field: { "order": "asc", "missing": "_last" } }))
            .chain([json!({ "_shard_doc": "asc" })]);
        Ok(Self {
            client: client.clone(),
            point_in_time: point_in_time.to_owned(),
            query,
            sort: sort.collect(),
            deep,
            after: None,
            ahead: VecDeque::new(),
            over: false,
        })
    }

    /// The next document.
    pub(in crate::projection) async fn next(&mut self) -> Result<Option<Hit>, Error> {
        self.next_until((i64::MAX, i64::MAX)).await
    }

    /// The next document up to a place; None leaves what is beyond for later.
    pub(in crate::projection) async fn next_until(&mut self, until: Place) -> Result<Option<Hit>, Error> {
        if self.ahead.is_empty() && !self.over {
            self.fetch().await?;
        }
        match self.ahead.front() {
            Some(hit) if hit.place <= until => Ok(self.ahead.pop_front()),
            _ => Ok(None),
        }
    }

    async fn fetch(&mut self) -> Result<(), Error> {
        let size = if self.deep { DEEP_PAGE } else { PAGE };
        let mut body = json!({
            "size": size, "query": self.query, "sort": self.sort, "version": true, "_source": self.deep, "track_total_hits": false,
            "pit": { "id": self.point_in_time, "keep_alive": KEEP_ALIVE },
        });
        if let Some(after) = &self.after {
            body["search_after"] = after.clone();
        }
        let mut answer = self.client.post("/_search", &[], &body).await?;
        if !answer.is_ok() {
            return Err(self.client.refused("reading a page of the index", &answer));
        }
        // A shard that did not answer would look like missing documents.
        if answer.body["timed_out"] == true || answer.body["_shards"]["failed"].as_u64() != Some(0) {
            return Err(Error::Refused {
                what: "reading a page of the index",
                address: self.client.address().to_owned(),
                status: answer.status,
                reason: "not all shards answered".to_owned(),
            });
        }
        if let Some(id) = answer.body["pit_id"].as_str() {
            self.point_in_time = id.to_owned();
        }
        let hits = match answer.body["hits"]["hits"].take() {
            Value::Array(hits) => hits,
            _ => Vec::new(),
        };
        self.over = hits.len() < size;
        for mut hit in hits {
            let sort = hit["sort"].take();
            let keys = sort.as_array().map_or(0, Vec::len).saturating_sub(1);
            let number = |at: usize| if at < keys { sort[at].as_i64().unwrap_or(i64::MAX) } else { 0 };
            let place = (number(0), number(1));
            self.after = Some(sort);
            self.ahead.extend(read(hit, place));
        }
        Ok(())
    }

    /// Lets the server forget the point in time; where that fails it forgets by itself.
    pub(in crate::projection) async fn close(&self) {
        if let Err(error) = self.client.delete("/_pit", Some(&json!({ "id": self.point_in_time }))).await {
            tracing::debug!(%error, "the point in time stays open until it expires");
        }
    }
}

fn read(mut hit: Value, place: Place) -> Option<Hit> {
    let source = match hit["_source"].take() {
        Value::Object(source) => source,
        _ => Map::new(),
    };
    Some(Hit { id: hit["_id"].as_str()?.to_owned(), version: hit["_version"].as_i64()?, source, place })
}

/// The documents with these ids as they are now, refreshed or not.
pub(in crate::projection) async fn by_ids(
    client: &Elasticsearch,
    alias: &str,
    ids: &[&str],
    deep: bool,
) -> Result<Vec<Hit>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let source = if deep { "true" } else { "false" };
    let mut answer =
        client.post(&format!("/{alias}/_mget"), &[("realtime", "true"), ("_source", source)], &json!({ "ids": ids })).await?;
    let docs = match answer.body["docs"].take() {
        Value::Array(docs) if answer.is_ok() => docs,
        _ => return Err(client.refused("reading documents by id", &answer)),
    };
    if docs.iter().any(|doc| doc.get("error").is_some()) {
        return Err(client.refused("reading documents by id", &answer));
    }
    Ok(docs.into_iter().filter(|doc| doc["found"] == true).filter_map(|doc| read(doc, (0, 0))).collect())
}
