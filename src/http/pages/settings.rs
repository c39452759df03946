//! This node's settings. Secrets, and addresses that may hold one, are shown as set or not set.

use std::path::{Path, PathBuf};

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use super::drawn;
use super::visit::{Frame, Visit};
use crate::config::telemetry::{LogFormat, Telemetry};
use crate::config::{self, Alert, Alerts, Config, Files, Index, Live, Members, Node, Reconcile, Telegram, Worker};
use crate::http::access::Admin;
use crate::http::{Http, problem::Problem};
use crate::telegram::Device;

pub fn router() -> Router<Http> {
    Router::new().route("/settings", get(show))
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    settings: Settings,
}

async fn show(State(http): State<Http>, visit: Visit, _: Admin) -> Result<Response, Problem> {
    drawn(&SettingsPage { frame: visit.frame("settings", "Settings"), settings: settings(&http.config) })
}

fn is_set<T>(secret: Option<&T>) -> String {
    if secret.is_some() { "set, hidden".into() } else { "not set".into() }
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "not set".into(), |value| value.to_string())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn paths(place: Option<&PathBuf>) -> String {
    or_none(place.map(|place| path(place)))
}

/// An address that has a user in it may have a password too.
fn address(address: Option<&String>) -> String {
    match address {
        Some(address) if address.contains('@') => is_set(Some(address)),
        address => or_none(address),
    }
}

type Settings = Vec<(&'static str, String)>;

/// By name, as the file has them. All fields are named, here and below: what is added to the configuration does not compile before
/// somebody decided whether it may be shown.
fn settings(config: &Config) -> Settings {
    let Config {
        database_url,
        elasticsearch_url,
        key_file,
        workflows,
        telegram,
        index: Index { prefix, shards },
        node: Node { name, source_address },
        worker: Worker { concurrency, per_account, lease_seconds, grace_seconds },
        live: Live { round_seconds },
        reconcile: Reconcile { every_seconds },
        members: Members { widen_calls },
        files,
        http,
        telemetry: Telemetry { log, otlp },
        alerts,
        alert,
    } = config;
    let mut all = vec![
        ("database_url", is_set(database_url.as_ref())),
        ("elasticsearch_url", is_set(elasticsearch_url.as_ref())),
        ("key_file", path(key_file)),
        ("workflows", path(workflows)),
    ];
    all.extend(of_telegram(telegram));
    all.extend([
        ("index.prefix", prefix.clone()),
        ("index.shards", shards.to_string()),
        ("node.name", name.clone().unwrap_or_else(|| "not set: the host's".into())),
        ("node.source_address", or_none(*source_address)),
        ("worker.concurrency", concurrency.to_string()),
        ("worker.per_account", per_account.to_string()),
        ("worker.lease_seconds", lease_seconds.to_string()),
        ("worker.grace_seconds", grace_seconds.to_string()),
        ("live.round_seconds", round_seconds.to_string()),
        ("reconcile.every_seconds", every_seconds.to_string()),
        ("members.widen_calls", widen_calls.to_string()),
    ]);
    all.extend(of_files(files));
    all.extend(of_http(http));
    let log = match log {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    all.extend([("telemetry.log", log.into()), ("telemetry.otlp", is_set(otlp.as_ref()))]);
    all.extend(of_alerts(alerts));
    all.extend(alert.iter().map(|it| ("alert", target(it))));
    all
}

fn of_telegram(telegram: &Telegram) -> Settings {
    let Telegram { api_id, api_hash, datacentre, timeout_seconds, pace, device } = telegram;
    let Device { model, system_version, app_version, language } = device;
    vec![
        ("telegram.api_id", is_set(api_id.as_ref())),
        ("telegram.api_hash", is_set(api_hash.as_ref())),
        ("telegram.datacentre", paths(datacentre.as_ref())),
        ("telegram.timeout_seconds", timeout_seconds.to_string()),
        ("telegram.pace", or_none(*pace)),
        ("telegram.device.model", model.clone()),
        ("telegram.device.system_version", system_version.clone()),
        ("telegram.device.app_version", app_version.clone()),
        ("telegram.device.language", language.clone()),
    ]
}

fn of_files(files: &Files) -> Settings {
    let Files { store, staging, quota_bytes, connections, in_flight, at_once, earlier_avatars, rule } = files;
    let rules: Vec<&str> = rule.iter().map(|rule| rule.name.as_str()).collect();
    vec![
        ("files.store", address(store.as_ref())),
        ("files.staging", paths(staging.as_ref())),
        ("files.quota_bytes", or_none(*quota_bytes)),
        ("files.connections", connections.to_string()),
        ("files.in_flight", in_flight.to_string()),
        ("files.at_once", at_once.to_string()),
        ("files.earlier_avatars", earlier_avatars.to_string()),
        ("files.rule", if rules.is_empty() { "none".into() } else { rules.join(", ") }),
    ]
}

fn of_http(http: &config::Http) -> Settings {
    let config::Http {
        listen,
        certificate,
        key,
        plain,
        public_url,
        requests_per_second,
        burst,
        strangers_per_minute,
        event_streams,
    } = http;
    vec![
        ("http.listen", or_none(*listen)),
        ("http.certificate", paths(certificate.as_ref())),
        ("http.key", is_set(key.as_ref())),
        ("http.plain", plain.to_string()),
        ("http.public_url", address(public_url.as_ref())),
        ("http.requests_per_second", requests_per_second.to_string()),
        ("http.burst", burst.to_string()),
        ("http.strangers_per_minute", strangers_per_minute.to_string()),
        ("http.event_streams", event_streams.to_string()),
    ]
}

fn of_alerts(alerts: &Alerts) -> Settings {
    let Alerts {
        every_seconds,
        recovers_after_seconds,
        group_seconds,
        retry_seconds,
        jobs_wait_seconds,
        holes_stay_seconds,
        elasticsearch_away_seconds,
        dead_letters,
        disk_free_percent,
        lease_changes,
        lease_changes_within_seconds,
        silent_messages,
    } = alerts;
    vec![
        ("alerts.every_seconds", every_seconds.to_string()),
        ("alerts.recovers_after_seconds", recovers_after_seconds.to_string()),
        ("alerts.group_seconds", group_seconds.to_string()),
        ("alerts.retry_seconds", retry_seconds.to_string()),
        ("alerts.jobs_wait_seconds", jobs_wait_seconds.to_string()),
        ("alerts.holes_stay_seconds", holes_stay_seconds.to_string()),
        ("alerts.elasticsearch_away_seconds", elasticsearch_away_seconds.to_string()),
        ("alerts.dead_letters", dead_letters.to_string()),
        ("alerts.disk_free_percent", disk_free_percent.to_string()),
        ("alerts.lease_changes", lease_changes.to_string()),
        ("alerts.lease_changes_within_seconds", lease_changes_within_seconds.to_string()),
        ("alerts.silent_messages", silent_messages.to_string()),
    ]
}

/// Name and kind alone: an address may be a secret as a whole, and so may an argument.
fn target(alert: &Alert) -> String {
    let Alert { name, webhook, secret_file: _, secret_env: _, command: _, timeout_seconds: _, rules: _ } = alert;
    format!("{name} ({})", if webhook.is_some() { "webhook" } else { "command" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_each_section_is_there() {
        let text = r#"
            database_url = "postgres://user:hidden-word@host/database"
            elasticsearch_url = "http://user:hidden-word@host:9200"
            [telegram]
            api_id = 77001
            api_hash = "hidden-word"
            [files]
            store = "s3://user:hidden-word@bucket/prefix"
            [http]
            key = "hidden-word.pem"
            public_url = "https://user:hidden-word@host"
            [telemetry]
            log = "json"
            otlp = "http://user:hidden-word@host:4318"
            [node]
            name = "harbour"
            [[alert]]
            name = "hook"
            webhook = "https://host/hidden-word"
            secret_env = "hidden-word"
            [[alert]]
            name = "pager"
            command = ["page", "--key", "hidden-word"]
        "#;
        let shown = settings(&toml::from_str(text).unwrap());
        assert!(shown.iter().all(|(_, value)| !value.contains("hidden-word") && value != "77001"), "{shown:?}");
        assert_eq!(shown[0], ("database_url", "set, hidden".into()));
        let told = |name: &str| shown.iter().filter(|(it, _)| *it == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
        assert_eq!(told("alert"), ["hook (webhook)", "pager (command)"]);
        assert_eq!((told("telemetry.log"), told("telemetry.otlp")), (vec!["json"], vec!["set, hidden"]));
        for (section, name) in [
            ("index", "telekeep"),
            ("node", "harbour"),
            ("worker", "8"),
            ("live", "900"),
            ("reconcile", "30"),
            ("members", "1000"),
            ("alerts", "600"),
            ("telegram", "not set"),
            ("http", "set, hidden"),
            ("files", "set, hidden"),
        ] {
            let begins = format!("{section}.");
            assert!(shown.iter().any(|(it, value)| it.starts_with(&begins) && value == name), "{section} in {shown:?}");
        }
    }
}
