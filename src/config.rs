//! Configuration: one struct a concern, the environment over the file, secrets never printed.
//!
//! The file is `telekeep.toml` in the working folder, or what `TELEKEEP_CONFIG` names. None is needed when the environment says enough.

pub mod alert;
mod files;
pub mod http;
pub mod telemetry;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub use alert::{Alert, Alerts};
pub use files::Files;
pub use http::Http;
pub use telemetry::Telemetry;

use crate::account::seal::{self, KeySource};
use crate::telegram::Device;

/// A value that is never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// All of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Postgres, as `postgres://user@host:port/database`; `DATABASE_URL` wins.
    pub database_url: Option<Secret>,
    /// Elasticsearch, as `http://host:9200`; `ELASTICSEARCH_URL` wins. Without it, search runs on the record.
    pub elasticsearch_url: Option<Secret>,
    /// Seals session keys; made at first use, readable by its owner alone. `TELEKEEP_KEY_FILE` wins.
    pub key_file: PathBuf,
    /// The folder of workflow files; `TELEKEEP_WORKFLOWS` wins.
    pub workflows: PathBuf,
    pub telegram: Telegram,
    pub index: Index,
    pub node: Node,
    pub worker: Worker,
    pub live: Live,
    pub reconcile: Reconcile,
    pub members: Members,
    pub files: Files,
    pub http: Http,
    pub telemetry: Telemetry,
    pub alerts: Alerts,
    /// Who is told of incidents.
    pub alert: Vec<Alert>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: None,
            elasticsearch_url: None,
            key_file: PathBuf::from("telekeep.key"),
            workflows: PathBuf::from("workflows"),
            telegram: Telegram::default(),
            index: Index::default(),
            node: Node::default(),
            worker: Worker::default(),
            live: Live::default(),
            reconcile: Reconcile::default(),
            members: Members::default(),
            files: Files::default(),
            http: Http::default(),
            telemetry: Telemetry::default(),
            alerts: Alerts::default(),
            alert: Vec::new(),
        }
    }
}

/// How we appear to Telegram.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telegram {
    /// From https://my.telegram.org; `TELEKEEP_API_ID` wins.
    pub api_id: Option<i32>,
    /// From https://my.telegram.org; `TELEKEEP_API_HASH` wins.
    pub api_hash: Option<Secret>,
    /// A session file that names a datacentre other than Telegram's own to sign in at: a simulated one.
    pub datacentre: Option<PathBuf>,
    /// After so many seconds without an answer a call counts as failed.
    pub timeout_seconds: u64,
    /// Calls are spread so that no flood is provoked, this many times faster than Telegram's own pace (1). More than 1, and 0 (not
    /// spread), are for a simulated datacentre alone, where the calls of an account are not spread unless this is set.
    #[serde(deserialize_with = "pace")]
    pub pace: Option<f64>,
    /// How new accounts present themselves. An account keeps what it began with for its life.
    pub device: Device,
}

fn pace<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let pace = f64::deserialize(from)?;
    if pace.is_finite() && pace >= 0.0 {
        return Ok(Some(pace));
    }
    Err(serde::de::Error::custom(format!("pace = {pace} is no pace; write a number from 0, as 1.0")))
}

impl Default for Telegram {
    fn default() -> Self {
        Self { api_id: None, api_hash: None, datacentre: None, timeout_seconds: 30, pace: None, device: Device::default() }
    }
}

/// The index.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Index {
    /// Names are `{prefix}-{kind}`; `TELEKEEP_INDEX_PREFIX` wins.
    pub prefix: String,
    /// Primary shards of each index.
    pub shards: u32,
}

impl Default for Index {
    fn default() -> Self {
        Self { prefix: "telekeep".into(), shards: 1 }
    }
}

/// This process as a worker.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Jobs at once.
    pub concurrency: usize,
    /// Jobs at once for one account.
    pub per_account: i32,
    /// A killed worker's jobs are free after so many seconds.
    pub lease_seconds: u64,
    /// On SIGTERM running jobs have so many seconds to end.
    pub grace_seconds: u64,
}

impl Default for Worker {
    fn default() -> Self {
        Self { concurrency: 8, per_account: 2, lease_seconds: 30, grace_seconds: 20 }
    }
}

/// What this machine is to the others.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// This node's name, for people and for pins; the host's when not given.
    pub name: Option<String>,
    /// This machine's address that connections to Telegram leave from; the system chooses when not given.
    pub source_address: Option<std::net::IpAddr>,
}

/// Live listening.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Live {
    /// Every followed channel is asked for what was missed at least this often. Telegram asks for 15 minutes at the most:
    /// <https://core.telegram.org/api/updates>.
    pub round_seconds: u64,
}

impl Default for Live {
    fn default() -> Self {
        Self { round_seconds: 15 * 60 }
    }
}

/// The scan that turns what the ledger misses into jobs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reconcile {
    /// Seconds from one round to the next.
    pub every_seconds: u64,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self { every_seconds: 30 }
    }
}

/// Lists of members.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Members {
    /// A list that Telegram cuts is searched by the beginnings of names with at most so many calls, where a snapshot is to be widened:
    /// 1,000 are a quarter of an hour at the pace that is assumed to provoke no flood.
    pub widen_calls: i64,
}

impl Default for Members {
    fn default() -> Self {
        Self { widen_calls: 1_000 }
    }
}

/// What is wrong with the configuration: a user's mistake.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: {message}")]
    Invalid { path: PathBuf, line: usize, message: String },
    #[error("{name}={value} is not a number; set it as on https://my.telegram.org")]
    NotANumber { name: &'static str, value: String },
    #[error("{name}={path} cannot be read: {source}")]
    SecretFile { name: String, path: String, source: std::io::Error },
    #[error("TELEKEEP_LOG_FORMAT={value}: write text or json")]
    LogFormat { value: String },
    #[error(
        "no database is configured; set DATABASE_URL (as postgres://user@host:5432/telekeep) or database_url in {path}; `eval \"$(scripts/up)\"` starts one here"
    )]
    NoDatabase { path: PathBuf },
    #[error(
        "no api_id or api_hash is configured; get both at https://my.telegram.org (API development tools), then set TELEKEEP_API_ID and TELEKEEP_API_HASH, or api_id and api_hash below [telegram] in {path}"
    )]
    NoApi { path: PathBuf },
}

/// The file that is read: `TELEKEEP_CONFIG`, else `telekeep.toml`.
pub fn path() -> PathBuf {
    std::env::var_os("TELEKEEP_CONFIG").map_or_else(|| PathBuf::from("telekeep.toml"), PathBuf::from)
}

impl Config {
    /// Reads the file, if there is one, then the environment over it.
    pub fn load() -> Result<Self, ConfigError> {
        let path = path();
        let mut config = match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && std::env::var_os("TELEKEEP_CONFIG").is_none() => Self::default(),
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        };
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        if let Some(v) = secret("DATABASE_URL")? {
            config.database_url = Some(v);
        }
        if let Some(v) = secret("ELASTICSEARCH_URL")? {
            config.elasticsearch_url = Some(v);
        }
        if let Some(v) = set("TELEKEEP_KEY_FILE") {
            config.key_file = v.into();
        }
        if let Some(v) = set("TELEKEEP_WORKFLOWS") {
            config.workflows = v.into();
        }
        if let Some(v) = set("TELEKEEP_INDEX_PREFIX") {
            config.index.prefix = v;
        }
        if let Some(v) = set("TELEKEEP_FILES") {
            config.files.store = Some(v);
        }
        if let Some(v) = secret("TELEKEEP_API_HASH")? {
            config.telegram.api_hash = Some(v);
        }
        if let Some(value) = set("TELEKEEP_API_ID") {
            let id = value.parse().map_err(|_| ConfigError::NotANumber { name: "TELEKEEP_API_ID", value })?;
            config.telegram.api_id = Some(id);
        }
        config.telemetry.environment(set)?;
        Ok(config)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|e| ConfigError::Invalid {
            path: path.to_owned(),
            line: line_of(text, e.span()),
            message: e.message().to_owned(),
        })
    }

    /// Postgres' address, or what to do about its absence.
    pub fn database_url(&self) -> Result<&str, ConfigError> {
        self.database_url.as_ref().map(Secret::reveal).ok_or_else(|| ConfigError::NoDatabase { path: path() })
    }

    /// What seals sessions: `TELEKEEP_KEY`, or the key file.
    pub fn key_source(&self) -> KeySource {
        match std::env::var(seal::ENVIRONMENT) {
            Ok(keys) if !keys.trim().is_empty() => KeySource::Environment(keys),
            _ => self.key_file.clone().into(),
        }
    }

    /// The application's identity at Telegram, or where one gets it.
    pub fn api(&self) -> Result<(i32, &str), ConfigError> {
        match (self.telegram.api_id, &self.telegram.api_hash) {
            (Some(id), Some(hash)) => Ok((id, hash.reveal())),
            _ => Err(ConfigError::NoApi { path: path() }),
        }
    }
}

/// A secret of the environment: `NAME` itself, or the file that `NAME_FILE` names, as containers get theirs.
fn secret(name: &str) -> Result<Option<Secret>, ConfigError> {
    if let Some(value) = std::env::var(name).ok().filter(|v| !v.is_empty()) {
        return Ok(Some(Secret(value)));
    }
    let name = format!("{name}_FILE");
    let Some(path) = std::env::var(&name).ok().filter(|v| !v.is_empty()) else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Secret(text.trim().to_owned()))),
        Err(source) => Err(ConfigError::SecretFile { name, path, source }),
    }
}

/// The line, from 1, at which a span of a text begins.
pub fn line_of(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    let start = span.map_or(0, |s| s.start.min(text.len()));
    text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_a_number_from_zero() {
        let read = |text: &str| Config::parse(Path::new("telekeep.toml"), text);
        assert_eq!(read("[telegram]\npace = 20").unwrap().telegram.pace, Some(20.0));
        assert_eq!(read("[telegram]\npace = 0").unwrap().telegram.pace, Some(0.0));
        assert_eq!(read("[telegram]\ntimeout_seconds = 5").unwrap().telegram.pace, None);
        let refused = read("[telegram]\npace = -1").unwrap_err().to_string();
        assert_eq!(refused, "telekeep.toml:2: pace = -1 is no pace; write a number from 0, as 1.0");
    }
}
