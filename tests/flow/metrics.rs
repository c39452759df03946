//! Metrics and probes of real processes, against the document that lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use sqlx::{ConnectOptions, PgPool};
use telekeep::outward::Outward;
use telekeep_simulator::World;
use telekeep_simulator::world::{ChatKind, GeneratedChat};

use crate::installation::{Telekeep, datacentre, until};

/// A port that nobody listens at.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Status and body; none where nobody answers.
pub async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let request = http::Request::get(format!("http://127.0.0.1:{port}{path}")).body(Bytes::new()).unwrap();
    let answer = Outward::new().unwrap().send(request, Duration::from_secs(10)).await.ok()?;
    Some((answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap()))
}

async fn ready(port: u16) -> Option<(u16, Value)> {
    let (status, body) = get(port, "/readyz").await?;
    Some((status, serde_json::from_str(&body).unwrap()))
}

fn repository(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Names and their labels, as the document lists them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let document = repository("docs/METRICS.md");
    let rows = document.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").filter(|label| *label != "–").map(str::to_owned).collect();
        (cells[1].replace('`', ""), labels)
    });
    rows.collect()
}

/// Labels of a sample, and its value.
type Sample = (BTreeMap<String, String>, f64);

/// Samples by name.
fn samples(text: &str) -> BTreeMap<String, Vec<Sample>> {
    let mut all = BTreeMap::<String, Vec<_>>::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest.trim_end_matches('}')));
        let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
            let (name, value) = label.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        all.entry(name.to_owned()).or_default().push((labels.collect(), value.parse().unwrap()));
    }
    all
}

fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let all = samples(text);
    let fits = |found: &BTreeMap<String, String>| labels.iter().all(|(name, value)| found.get(*name).is_some_and(|it| it == value));
    let fitting: Vec<f64> = all.get(name)?.iter().filter(|(found, _)| fits(found)).map(|(_, value)| *value).collect();
    (!fitting.is_empty()).then(|| fitting.iter().sum())
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_is_told_is_what_is_documented_and_readiness_follows_the_database(pool: PgPool) {
    let world = World::generated(5, [GeneratedChat::new(ChatKind::Channel, "Harbour Bulletin", 400).named("harbour")]);
    let datacentre = datacentre(world).await;
    let chat = datacentre.world().chats()[0].id;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let port = free_port();
    telekeep.configures(&format!("[http]\nlisten = \"127.0.0.1:{port}\"\n[reconcile]\nevery_seconds = 1\n"));
    telekeep.does(&["chat", "watch", &chat.to_string()]);
    let _worker = telekeep.works();
    until("the process lives", || async { get(port, "/healthz").await == Some((200, "lives\n".into())) }).await;
    let told = |name: &'static str, labels: &'static [(&'static str, &'static str)], so: fn(f64) -> bool| async move {
        get(port, "/metrics").await.and_then(|(_, text)| value(&text, name, labels)).is_some_and(so)
    };
    until("all is collected and told", || async {
        told("telekeep_bulk_items_total", &[("sink", "elasticsearch"), ("outcome", "done")], |count| count >= 300.0).await
            && told("telekeep_coverage_ids", &[("state", "missing")], |count| count == 0.0).await
            && told("telekeep_jobs", &[("kind", "history_fetch"), ("state", "done")], |count| count >= 1.0).await
            && told("telekeep_outbox_entries", &[("sink", "elasticsearch")], |count| count == 0.0).await
    })
    .await;
    let (status, text) = get(port, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    let documented = documented();
    for (name, samples) in samples(&text) {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .filter(|base| documented.contains_key(*base));
        let base = base.unwrap_or(&name);
        let labels = documented.get(base).unwrap_or_else(|| panic!("{name} is not documented"));
        for (found, _) in samples {
            let found: BTreeSet<String> = found.into_keys().filter(|label| label != "le").collect();
            assert_eq!(&found, labels, "{name}");
        }
    }
    for (name, labels) in [
        ("telekeep_job_attempts_total", &[("kind", "history_fetch"), ("outcome", "done")][..]),
        ("telekeep_job_duration_seconds_count", &[("kind", "history_fetch")]),
        ("telekeep_telegram_calls_total", &[("method", "messages.getHistory"), ("outcome", "ok")]),
        ("telekeep_telegram_bytes_total", &[("kind", "received")]),
        ("telekeep_telegram_bytes_total", &[("kind", "sent")]),
        ("telekeep_telegram_connections", &[]),
        ("telekeep_telegram_connections_opened_total", &[("outcome", "ok")]),
        ("telekeep_differences_total", &[("outcome", "ok")]),
        ("telekeep_chats_watched", &[]),
        ("telekeep_sink_state", &[("state", "active")]),
        ("telekeep_bulk_duration_seconds_count", &[]),
        ("telekeep_account_state", &[("account", "1"), ("state", "active")]),
        ("telekeep_accounts_leased", &[]),
        ("telekeep_lease_takeovers_total", &[]),
        ("telekeep_nodes", &[("state", "works")]),
        ("telekeep_database_connections", &[("state", "most")]),
        ("process_resident_memory_bytes", &[]),
        ("process_open_fds", &[]),
        ("process_start_time_seconds", &[]),
    ] {
        assert!(value(&text, name, labels).is_some_and(|value| value > 0.0), "{name} {labels:?} in\n{text}");
    }
    for name in [
        "telekeep_dead_letters",
        "telekeep_updates_dropped_total",
        "telekeep_jobs_oldest_runnable_seconds",
        "telekeep_chats_incomplete",
    ] {
        assert_eq!(value(&text, name, &[]), Some(0.0), "{name} in\n{text}");
    }
    assert!(!text.contains("Harbour") && !text.contains("harbour") && !text.contains(&chat.to_string()), "no chat is named");

    let (status, body) = ready(port).await.unwrap();
    assert_eq!(
        (status, &body["ready"], &body["leases"], &body["elasticsearch"]),
        (200, &true.into(), &"renewed".into(), &"active".into())
    );
    // Elasticsearch away is said, and is no reason to be unready.
    sqlx::query("update sink set state = 'waiting'").execute(&pool).await.unwrap();
    let (status, body) = ready(port).await.unwrap();
    assert!(status == 200 && ["waiting", "active"].contains(&body["elasticsearch"].as_str().unwrap()), "{body}");
    sqlx::query("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (29990101000000, 'x', true, '', 0)")
        .execute(&pool)
        .await
        .unwrap();
    let (status, body) = ready(port).await.unwrap();
    assert_eq!((status, &body["schema"]), (503, &"newer".into()));
    sqlx::query("delete from _sqlx_migrations where version = 29990101000000").execute(&pool).await.unwrap();

    // The database goes away, and comes back.
    // Only from another one can a database be shut.
    let options = pool.connect_options();
    let name = options.get_database().unwrap().to_owned();
    let mut conn = (*options).clone().database("postgres").connect().await.unwrap();
    let allow = |yes: bool| sqlx::AssertSqlSafe(format!("alter database {name:?} with allow_connections {yes}"));
    sqlx::query(allow(false)).execute(&mut conn).await.unwrap();
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
    sqlx::query(end).bind(&name).execute(&mut conn).await.unwrap();
    until("the process says that it is not ready", || async {
        ready(port).await.is_some_and(|(status, body)| status == 503 && body["database"] == "away")
    })
    .await;
    assert_eq!(get(port, "/healthz").await.map(|(status, _)| status), Some(200));
    sqlx::query(allow(true)).execute(&mut conn).await.unwrap();
    until("it is ready again by itself", || async { ready(port).await.is_some_and(|(status, _)| status == 200) }).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn one_of_two_processes_tells_of_the_record_and_the_other_takes_over(pool: PgPool) {
    let datacentre = datacentre(World::generated(5, [])).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let (first, second) = (free_port(), free_port());
    let start = |port: u16, name: &str| {
        let file = telekeep.path(&format!("{name}.toml"));
        std::fs::write(&file, format!("[worker]\nlease_seconds = 3\n[http]\nlisten = \"127.0.0.1:{port}\"\n")).unwrap();
        let mut command = telekeep.command(&["run", "--name", name, "--roles", "projector"]);
        crate::installation::Worker(command.env("TELEKEEP_CONFIG", file).spawn().unwrap())
    };
    let tells = |port: u16| async move {
        get(port, "/metrics").await.is_some_and(|(_, text)| value(&text, "telekeep_chats_watched", &[]).is_some())
    };
    let one = start(first, "one");
    until("the first tells", || tells(first)).await;
    let two = start(second, "two");
    until("the second lives", || async { get(second, "/healthz").await.is_some() }).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(tells(first).await && !tells(second).await, "one of them tells");
    one.kill();
    until("the second takes over", || tells(second)).await;
    drop(two);
}

/// Every metric that a file names.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("telekeep_") || word.starts_with("process_"));
    words.map(str::to_owned).collect()
}

#[test]
fn dashboard_and_rules_name_documented_metrics_alone() {
    let documented = documented();
    for file in [
        "compose/grafana/dashboards/telekeep.json",
        "compose/prometheus/telekeep.rules.yml",
        "compose/prometheus/telekeep.rules.test.yml",
    ] {
        let names = named(&repository(file));
        assert!(names.len() > 5, "{file} names {names:?}");
        for name in names {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            assert!(documented.contains_key(&name) || documented.contains_key(base), "{name} of {file} is not documented");
        }
    }
}
