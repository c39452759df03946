//! A real server on loopback, and whoever asks it: each answer is held against the API's own description.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use telekeep::account::{Accounts, Identity};
use telekeep::config::Config;
use telekeep::http::access::secret::{self, Secret};
use telekeep::http::{Http, api, probe::Probe, server};
use telekeep::projection::{Projector, Settings};
use telekeep::record::token::{self, NewToken, Role};
use telekeep::telegram::TelegramConfig;
use tokio_util::sync::CancellationToken;

/// A server in this process, on a port of its own, and a token of each role.
pub struct Api {
    pub pool: PgPool,
    pub address: SocketAddr,
    pub viewer: String,
    pub operator: String,
    pub admin: String,
    pub document: Value,
    client: Client<HttpConnector, Full<Bytes>>,
    shutdown: CancellationToken,
    _folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The problem's kind and field.
    pub fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let told = self.json();
        assert_eq!(told["request_id"].as_str(), Some(self.header("x-request-id")));
        let kind = told["type"].as_str().unwrap().trim_start_matches("urn:telekeep:problem:").to_owned();
        (self.status.as_u16(), kind, told["field"].as_str().unwrap_or_default().to_owned())
    }
}

/// How a server is made that is not the usual one.
pub struct Wish {
    pub configure: fn(&mut Config),
    /// The key file, where the record has secrets already.
    pub key_file: Option<PathBuf>,
    /// The way to Postgres, where it is not the direct one.
    pub database: Option<PgConnectOptions>,
    /// The prefix of the index, where search runs there.
    pub index: Option<(String, String)>,
}

impl Default for Wish {
    fn default() -> Self {
        Self { configure: |_| {}, key_file: None, database: None, index: None }
    }
}

impl Api {
    pub async fn serves(pool: &PgPool) -> Self {
        Self::as_wished(pool, Wish::default()).await
    }

    pub async fn as_wished(pool: &PgPool, wish: Wish) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            workflows: std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows"),
            key_file: wish.key_file.unwrap_or_else(|| folder.path().join("seal.key")),
            ..Config::default()
        };
        (config.http.requests_per_second, config.http.strangers_per_minute) = (0, 0);
        (wish.configure)(&mut config);
        let listening = server::listen(&config.http, "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listening.address;
        config.http.listen = Some(address);
        let options = wish.database.unwrap_or_else(|| (*pool.connect_options()).clone());
        let requests = telekeep::record::for_requests_to(options);
        let projector = wish.index.map(|(url, prefix)| {
            let settings = Settings { prefix, timeout: Duration::from_secs(10), ..Settings::new(url) };
            Projector::new(requests.clone(), settings).unwrap()
        });
        let opener = {
            let (pool, key, telegram) = (requests.clone(), config.key_source(), config.telegram.clone());
            Box::new(move || {
                let (id, hash) = (telegram.api_id.unwrap_or(0), telegram.api_hash.as_ref().map_or("", |it| it.reveal()));
                let config = TelegramConfig { device: telegram.device.clone(), ..TelegramConfig::new(id, hash) };
                let identity = Identity { name: "http".into(), source: None };
                Ok(Arc::new(Accounts::new(pool.clone(), config, key.clone()).known_as(identity)))
            })
        };
        let shutdown = CancellationToken::new();
        let http = Http::new(requests, Arc::new(config), projector, opener, shutdown.clone());
        let probe = Probe { pool: http.pool.clone(), accounts: None };
        tokio::spawn(server::serve(http, probe, listening));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let token = |name, role| token_of(pool, name, role, None);
        let (viewer, operator, admin) =
            (token("reader", Role::Viewer).await, token("operator", Role::Operator).await, token("boss", Role::Admin).await);
        let document = serde_json::to_value(api::document()).unwrap();
        Self { pool: pool.clone(), address, viewer, operator, admin, document, client, shutdown, _folder: folder }
    }

    pub async fn sends(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = self.client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, bytes: body.collect().await.unwrap().to_bytes() }
    }

    pub fn request(&self, method: Method, path: &str, token: Option<&str>) -> axum::http::request::Builder {
        let uri = format!("http://{}{path}", self.address);
        let request = Request::builder().method(method).uri(uri);
        match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Asks below `/api/v1`, and holds the answer against the description.
    pub async fn asks(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let request = self.request(method.clone(), &format!("/api/v1{path}"), token);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(Full::from(body.to_string())),
            None => request.body(Full::default()),
        };
        let answer = self.sends(request.unwrap()).await;
        self.describes(&method, path, &answer);
        answer
    }

    /// Reads as a viewer; it must succeed.
    pub async fn reads(&self, path: &str) -> Value {
        let answer = self.asks(Method::GET, path, Some(&self.viewer), None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Changes as the admin.
    pub async fn does(&self, method: Method, path: &str, body: Value) -> Answer {
        self.asks(method, path, Some(&self.admin), Some(body)).await
    }

    /// The description has this route, this status, and this form of the answer.
    fn describes(&self, method: &Method, path: &str, answer: &Answer) {
        let path = format!("/api/v1{}", path.split('?').next().unwrap());
        let paths = self.document["paths"].as_object().unwrap();
        let fits = |template: &str| {
            let (one, two): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
            one.len() == two.len() && one.iter().zip(&two).all(|(t, p)| t == p || t.starts_with('{'))
        };
        // what is written out goes before what has parameters
        let mut found: Vec<_> = paths.iter().filter(|(template, _)| fits(template)).collect();
        found.sort_by_key(|(template, _)| template.matches('{').count());
        let Some((_, item)) = found.first() else {
            assert_eq!(answer.status, 404, "{path} is not described");
            return;
        };
        let operation = &item[method.as_str().to_lowercase()];
        if operation.is_null() {
            assert_eq!(answer.status, 405, "{method} {path} is not described");
            return;
        }
        let responses = &operation["responses"];
        let response = match &responses[answer.status.as_str()] {
            Value::Null if answer.status.is_success() => panic!("{method} {path}: {} is not described", answer.status),
            Value::Null => &responses["default"],
            response => response,
        };
        let kind = answer.header("content-type").split(';').next().unwrap().to_owned();
        let schema = &response["content"][&kind]["schema"];
        if !kind.ends_with("json") {
            return;
        }
        assert!(schema.is_object(), "{method} {path}: {} as {kind} is not described", answer.status);
        let schema = json!({ "components": self.document["components"], "allOf": [schema] });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let told = answer.json();
        let faults: Vec<String> = validator.iter_errors(&told).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{method} {path}: {faults:?}\n{told:#}");
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A token of this name; with seconds that it has left.
pub async fn token_of(pool: &PgPool, name: &str, role: Role, expires_in: Option<f64>) -> String {
    let secret = Secret::new(secret::TOKEN);
    let hash = secret.hash();
    let new = NewToken { name, role, hash: &hash.0, prefix: secret.prefix(), expires_in };
    token::insert(&mut pool.acquire().await.unwrap(), &new).await.unwrap().unwrap();
    secret.reveal().to_owned()
}

/// What a value is made of: names and types, one of each list.
pub fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(_) => json!("number"),
        Value::String(text) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => json!("time"),
        Value::String(_) => json!("text"),
        Value::Array(items) => items.first().map_or_else(|| json!([]), |first| json!([shape(first)])),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
    }
}
