//! One small type around the `elasticsearch` crate, which has no time limits, no retries and no typed bulk answer of its own. The
//! only file that names the crate.

use std::time::Duration;

use elasticsearch::{
    auth::Credentials,
    http::{
        Method, Url,
        headers::{CONTENT_TYPE, HeaderMap, HeaderValue},
        transport::{SingleNodeConnectionPool, Transport, TransportBuilder},
    },
};
use serde::Deserialize;
use serde_json::Value;

use super::{Error, Settings};

/// A connection to Elasticsearch (7.17 to 9) or OpenSearch.
#[derive(Debug, Clone)]
pub struct Elasticsearch {
    transport: Transport,
    address: String,
    timeout: Duration,
}

/// An answer of any status.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error's type as Elasticsearch names it, as `index_not_found_exception`.
    pub fn error_type(&self) -> &str {
        self.body["error"]["type"].as_str().unwrap_or_default()
    }

    /// The error's reason.
    pub fn reason(&self) -> String {
        let error = &self.body["error"];
        let text = error["root_cause"][0]["reason"].as_str().or(error["reason"].as_str()).or(error.as_str());
        text.map_or_else(|| format!("status {}", self.status), |text| text.chars().take(500).collect())
    }
}

/// What came back for one item of a bulk.
#[derive(Debug, Clone, Deserialize)]
pub struct Item {
    pub status: u16,
    pub error: Option<ItemError>,
}

/// Why an item failed.
#[derive(Debug, Clone, Deserialize)]
pub struct ItemError {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub reason: Option<String>,
}

/// One bulk's answer: items in the order they were sent, or the status of a request that was refused whole.
#[derive(Debug)]
pub enum BulkAnswer {
    Items(Vec<Item>),
    Refused(Answer),
}

#[derive(Deserialize)]
struct BulkBody {
    items: Vec<BulkItem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum BulkItem {
    Index(Item),
    Delete(Item),
}

impl Elasticsearch {
    /// A client for one address. Sends nothing yet.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Address { reason };
        let mut url = Url::parse(&settings.url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("scheme {:?}: only http and https are known", url.scheme())));
        }
        let credentials = match (&settings.api_key, url.password()) {
            (Some(key), _) => Some(Credentials::EncodedApiKey(key.clone())),
            (None, Some(password)) => Some(Credentials::Basic(url.username().to_owned(), password.to_owned())),
            (None, None) => None,
        };
        // Credentials go into a header, never into an address that may be printed.
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(wrong("it has no host".to_owned()));
        }
        let address = url.as_str().trim_end_matches('/').to_owned();
        let mut builder =
            TransportBuilder::new(SingleNodeConnectionPool::new(url)).request_body_compression(true).enable_meta_header(false);
        if let Some(credentials) = credentials {
            builder = builder.auth(credentials);
        }
        let transport = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { transport, address, timeout: settings.timeout })
    }

    /// The address, without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
        content: &'static str,
    ) -> Result<Answer, Error> {
        let unreachable = |source| Error::Unreachable { address: self.address.clone(), source };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
        let response =
            self.transport.send(method, path, headers, Some(query), body, Some(self.timeout)).await.map_err(unreachable)?;
        let status = response.status_code().as_u16();
        let text = response.text().await.map_err(unreachable)?;
        // A proxy in between may answer with a page instead of JSON.
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }

    /// GET, whatever the status.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Error> {
        self.send(Method::Get, path, query, None, "application/json").await
    }

    /// PUT, whatever the status.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer, Error> {
        self.send(Method::Put, path, &[], Some(body.to_string().into_bytes()), "application/json").await
    }

    /// POST, whatever the status. Null sends no body: some requests refuse one.
    pub async fn post(&self, path: &str, query: &[(&str, &str)], body: &Value) -> Result<Answer, Error> {
        let body = (!body.is_null()).then(|| body.to_string().into_bytes());
        self.send(Method::Post, path, query, body, "application/json").await
    }

    /// DELETE, whatever the status.
    pub async fn delete(&self, path: &str, body: Option<&Value>) -> Result<Answer, Error> {
        self.send(Method::Delete, path, &[], body.map(|body| body.to_string().into_bytes()), "application/json").await
    }

    /// Makes all that was written visible to searches.
    pub async fn refresh(&self, alias: &str) -> Result<(), Error> {
        let answer = self.post(&format!("/{alias}/_refresh"), &[], &Value::Null).await?;
        if answer.is_ok() { Ok(()) } else { Err(self.refused("refreshing the index", &answer)) }
    }

    /// The server's version, as `9.2.4`.
    pub async fn version(&self) -> Result<String, Error> {
        let root = self.get("/", &[]).await?;
        if let Some(version) = root.body["version"]["number"].as_str() {
            let name = if root.body["version"]["distribution"] == "opensearch" { "OpenSearch" } else { "Elasticsearch" };
            return Ok(format!("{name} {version}"));
        }
        // Servers without their optional modules do not answer at the root.
        let nodes = self.get("/_nodes", &[("filter_path", "nodes.*.version")]).await?;
        let version =
            nodes.body["nodes"].as_object().and_then(|nodes| nodes.values().next()).and_then(|node| node["version"].as_str());
        match version {
            Some(version) => Ok(format!("Elasticsearch {version}")),
            None => Err(self.refused("asking for the version", &nodes)),
        }
    }

    /// The cluster's health: green, yellow or red.
    pub async fn health(&self) -> Result<String, Error> {
        let answer = self.get("/_cluster/health", &[]).await?;
        match answer.body["status"].as_str() {
            Some(status) => Ok(status.to_owned()),
            None => Err(self.refused("asking for the health", &answer)),
        }
    }

    /// Sends one bulk to an alias, which must exist: nothing is created by accident.
    pub async fn bulk(&self, alias: &str, lines: Vec<u8>, count: usize) -> Result<BulkAnswer, Error> {
        let query =
            [("require_alias", "true"), ("filter_path", "items.*.status,items.*.error.type,items.*.error.reason,error,status")];
        let answer = self.send(Method::Post, &format!("/{alias}/_bulk"), &query, Some(lines), "application/x-ndjson").await?;
        if !answer.is_ok() {
            return Ok(BulkAnswer::Refused(answer));
        }
        let body: BulkBody = serde_json::from_value(answer.body).map_err(|source| Error::Answer { what: "a bulk", source })?;
        let items: Vec<Item> = body
            .items
            .into_iter()
            .map(|item| match item {
                BulkItem::Index(item) | BulkItem::Delete(item) => item,
            })
            .collect();
        if items.len() == count {
            return Ok(BulkAnswer::Items(items));
        }
        Err(Error::Count { sent: count, answered: items.len() })
    }

    /// An answer as an error.
    pub fn refused(&self, what: &'static str, answer: &Answer) -> Error {
        Error::Refused { what, address: self.address.clone(), status: answer.status, reason: answer.reason() }
    }
}
