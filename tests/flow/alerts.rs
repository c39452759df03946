//! Alerts: what the rules find, and who is told of it how often.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use sqlx::PgPool;
use telekeep::alert::rules::Look;
use telekeep::alert::{self, Target};
use telekeep::config::Config;
use telekeep::record::alert as table;
use telekeep_simulator::{Ended, World};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::installation::until;
use crate::installed::{Installed, datacentre};

const SECRET: &str = "a secret of at least sixteen characters";

/// Who receives: what came, and how it answers.
#[derive(Clone)]
struct Receiver {
    address: String,
    answers: Arc<AtomicU16>,
    came: Arc<Mutex<Vec<Value>>>,
    refused: Arc<Mutex<usize>>,
    /// Where its secret is.
    folder: Arc<tempfile::TempDir>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers["telekeep-signature"].to_str().unwrap();
    let (time, digits) = signature.split_once(",v1=").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{}.", time.strip_prefix("t=").unwrap()).as_bytes());
    mac.update(&body);
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, expected, "anybody with the secret can prove who sent it");
    let answer = StatusCode::from_u16(receiver.answers.load(Ordering::SeqCst)).unwrap();
    if answer.is_success() {
        receiver.came.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    } else {
        *receiver.refused.lock().unwrap() += 1;
    }
    answer
}

impl Receiver {
    async fn listens() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}/hook", listener.local_addr().unwrap());
        let it = Self {
            address,
            answers: Arc::new(AtomicU16::new(200)),
            came: Arc::default(),
            refused: Arc::default(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        };
        let router = Router::new().route("/hook", post(receive)).with_state(it.clone());
        crate::installed::beside(async move {
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await.unwrap()
        });
        it
    }

    fn came(&self) -> Vec<Value> {
        self.came.lock().unwrap().clone()
    }

    /// How often each incident was told as open and as recovered.
    fn told(&self) -> BTreeMap<(i64, String), usize> {
        let mut told = BTreeMap::new();
        for message in self.came() {
            for incident in message["incidents"].as_array().unwrap() {
                let key = (incident["id"].as_i64().unwrap(), incident["status"].as_str().unwrap().to_owned());
                *told.entry(key).or_default() += 1;
            }
        }
        told
    }

    fn count(&self, status: &str) -> usize {
        let field = if status == "open" { "opened" } else { "recovered" };
        self.came().iter().map(|message| usize::try_from(message[field].as_u64().unwrap()).unwrap()).sum()
    }
}

fn config(receiver: &Receiver, more: &str) -> Config {
    let secret = receiver.folder.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let text = format!(
        "[alerts]\nevery_seconds = 1\nrecovers_after_seconds = 2\ngroup_seconds = 1\nretry_seconds = 1\nholes_stay_seconds = 0\ndisk_free_percent = 0\nelasticsearch_away_seconds = 2\n{more}\n[[alert]]\nname = \"hook\"\nwebhook = \"{}\"\nsecret_file = \"{}\"\n",
        receiver.address,
        secret.display()
    );
    toml::from_str(&text).unwrap()
}

/// Nodes that look and tell, until they go.
struct Nodes(CancellationToken, Vec<JoinHandle<()>>);

impl Nodes {
    fn run(pool: &PgPool, config: &Config, names: &[&str]) -> Self {
        let stop = CancellationToken::new();
        let run = |name: &&str| {
            let targets: Vec<Target> = alert::targets(&config.alert).unwrap();
            tokio::spawn(alert::run(pool.clone(), config.clone(), (*name).to_owned(), targets, stop.clone()))
        };
        let tasks = names.iter().map(run).collect();
        Self(stop, tasks)
    }

    async fn end(self) {
        self.0.cancel();
        for task in self.1 {
            task.await.unwrap();
        }
    }
}

async fn execute(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(pool).await.unwrap();
}

async fn refuses(pool: &PgPool) {
    execute(pool, "insert into sink (name) values ('elasticsearch') on conflict do nothing; insert into dead_letter (sink, kind, key1, revision, reason) values ('elasticsearch', 'chat', 1, 1, 'x')").await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn each_incident_is_told_once_and_its_end_once_whichever_of_two_nodes_does_it(pool: PgPool) {
    let receiver = Receiver::listens().await;
    let config = config(&receiver, "");
    let nodes = Nodes::run(&pool, &config, &["one", "two"]);
    refuses(&pool).await;
    until("the opening", || async { receiver.count("open") == 1 }).await;
    let first = &receiver.came()[0];
    assert_eq!((&first["version"], &first["test"], &first["more"]), (&1.into(), &false.into(), &0.into()));
    let incident = &first["incidents"][0];
    assert_eq!(
        (&incident["rule"], &incident["subject"], &incident["closed_at"]),
        (&"dead_letters".into(), &"elasticsearch".into(), &Value::Null)
    );
    assert!(incident["hint"].as_str().unwrap().contains("telekeep dead-letter list"));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((receiver.count("open"), receiver.count("recovered")), (1, 0), "told once, while it is open");

    execute(&pool, "delete from dead_letter").await;
    until("the end", || async { receiver.count("recovered") == 1 }).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((receiver.count("open"), receiver.count("recovered")), (1, 1));

    // The one that looks goes; the other goes on, and nobody is told anew of what is known.
    refuses(&pool).await;
    until("the second incident", || async { receiver.count("open") == 2 }).await;
    nodes.end().await;
    let nodes = Nodes::run(&pool, &config, &["three"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    execute(&pool, "delete from dead_letter").await;
    until("its end", || async { receiver.count("recovered") == 2 }).await;
    assert!(receiver.told().values().all(|count| *count == 1), "{:?}", receiver.told());
    nodes.end().await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn who_is_away_is_told_later_also_of_what_is_over_by_then(pool: PgPool) {
    let receiver = Receiver::listens().await;
    receiver.answers.store(503, Ordering::SeqCst);
    let config = config(&receiver, "");
    let nodes = Nodes::run(&pool, &config, &["one"]);
    refuses(&pool).await;
    until("tries", || async { *receiver.refused.lock().unwrap() >= 2 }).await;
    let deaf = table::deaf(&mut pool.acquire().await.unwrap()).await.unwrap();
    assert_eq!((deaf[0].target.as_str(), deaf[0].error.as_deref()), ("hook", Some("it answered with status 503")));
    // What waits survives the process.
    nodes.end().await;
    let nodes = Nodes::run(&pool, &config, &["two"]);
    execute(&pool, "delete from dead_letter").await;
    until("the end of the incident", || async { table::list(&mut pool.acquire().await.unwrap(), None).await.unwrap().is_empty() })
        .await;
    receiver.answers.store(200, Ordering::SeqCst);
    until("both", || async { (receiver.count("open"), receiver.count("recovered")) == (1, 1) }).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(receiver.told().values().all(|count| *count == 1));
    assert!(table::deaf(&mut pool.acquire().await.unwrap()).await.unwrap().is_empty());
    nodes.end().await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_thousand_chats_make_no_thousand_calls_and_a_rule_may_be_left_out(pool: PgPool) {
    let receiver = Receiver::listens().await;
    let mut config = config(&receiver, "");
    config.alert[0].rules = Some(vec!["holes_stay".into()]);
    execute(
        &pool,
        "insert into watch (chat_id) select -1000000000000 - n from generate_series(1, 1000) n;
         insert into box (channel_id) select chat_id from watch;
         insert into coverage (chat_id, box_id, top) select w.chat_id, b.id, 10 from watch w join box b on b.channel_id = w.chat_id",
    )
    .await;
    refuses(&pool).await;
    let nodes = Nodes::run(&pool, &config, &["one", "two"]);
    until("all", || async { receiver.count("open") >= 1000 }).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let came = receiver.came();
    assert!(came.len() <= 3, "{} calls", came.len());
    assert_eq!(receiver.count("open"), 1000, "dead letters are not among them");
    assert!(came.iter().all(|message| message["incidents"].as_array().unwrap().len() <= 50));
    let listed: u64 =
        came.iter().map(|message| message["more"].as_u64().unwrap() + message["incidents"].as_array().unwrap().len() as u64).sum();
    assert_eq!(listed, 1000);
    nodes.end().await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_command_that_hangs_keeps_nobody_waiting(pool: PgPool) {
    let receiver = Receiver::listens().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("told.json");
    let mut config = config(&receiver, "");
    let more = format!(
        "[[alert]]\nname = \"hangs\"\ncommand = [\"sleep\", \"300\"]\ntimeout_seconds = 1\n[[alert]]\nname = \"writes\"\ncommand = [\"dd\", \"status=none\", \"of={}\"]\n",
        file.display()
    );
    let more: Config = toml::from_str(&more).unwrap();
    config.alert.extend(more.alert);
    let nodes = Nodes::run(&pool, &config, &["one"]);
    refuses(&pool).await;
    until("the others", || async { receiver.count("open") == 1 && file.exists() }).await;
    until("what became of the one", || async {
        let deaf = table::deaf(&mut pool.acquire().await.unwrap()).await.unwrap();
        deaf.iter().any(|it| it.target == "hangs" && it.error.as_deref() == Some("the program was ended after 1 s"))
    })
    .await;
    until("the whole message", || async {
        let told = std::fs::read(&file).unwrap();
        serde_json::from_slice::<Value>(&told).is_ok_and(|told| told["incidents"][0]["rule"] == "dead_letters")
    })
    .await;
    nodes.end().await;
}

async fn found(pool: &PgPool, config: &Config) -> Vec<String> {
    let (_, findings) = Look::new(config.clone(), "here".into()).findings(pool).await;
    findings.into_iter().map(|it| format!("{} {}: {}", it.rule, it.subject, it.says)).collect()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn each_rule_finds_what_it_is_for_and_nothing_else(pool: PgPool) {
    let receiver = Receiver::listens().await;
    let config = config(&receiver, "");
    assert_eq!(found(&pool, &config).await, Vec::<String>::new());
    let cases = [
        (
            "insert into account (label, session, session_key_id, state, state_reason) values ('gone', '', 'k', 'lost', 'SESSION_REVOKED'), ('left', '', 'k', 'lost', 'logged out with x'), ('spent', '', 'k', 'held', 'AUTH_KEY_DUPLICATED'), ('stopped', '', 'k', 'held', 'by hand'); update account set needs_login = true where label = 'spent'",
            "account_lost gone: account gone is lost: SESSION_REVOKED|account_lost spent: account spent is held: AUTH_KEY_DUPLICATED",
            "delete from account",
        ),
        (
            "insert into watch (chat_id) values (-1000000000005); insert into box (channel_id) values (-1000000000005); insert into coverage (chat_id, box_id, top, settled, stale) select -1000000000005, id, 10, '{[1,5)}', '{[3,5)}' from box",
            "holes_stay -1000000000005: chat -1000000000005 lacks 8 ids (6 missing, 2 stale), no fewer for 0 s",
            "update coverage set settled = '{[1,11)}', stale = '{}'",
        ),
        (
            "insert into sink (name, state) values ('elasticsearch', 'waiting')",
            "elasticsearch_away elasticsearch: elasticsearch takes nothing for 2 s; the outbox keeps everything",
            "update sink set state = 'active'",
        ),
        (
            "insert into dead_letter (sink, kind, key1, revision, reason) values ('elasticsearch', 'chat', 1, 1, 'x')",
            "dead_letters elasticsearch: elasticsearch refuses 1 documents",
            "delete from dead_letter",
        ),
        (
            "update sink set detail = 'waiting: index blocked: disk usage exceeded flood-stage watermark'",
            "disk_low elasticsearch: the disks of elasticsearch are over their flood-stage watermark",
            "update sink set detail = null",
        ),
        (
            "insert into account (label, session, session_key_id) values ('main', '', 'k'); insert into account_lease_taken (account_id, node) select id, case n % 2 when 0 then 'a' else 'b' end from account, generate_series(1, 6) n",
            "leases_restless main: account main was taken 6 times within 30 min, by a, b",
            "delete from account_lease_taken",
        ),
        (
            "insert into node (name, version, host, boot, pid_space, pid, pid_start, source, schema_version) values ('old', '0', 'h', '', '', 1, 1, 'h', 1)",
            "schema_newer old: node old runs a telekeep that knows migrations up to 1; the schema is at NEWEST",
            "update node set stopped_at = now()",
        ),
    ];
    let newest = telekeep::MIGRATOR.iter().map(|migration| migration.version).max().unwrap().to_string();
    for (so, says, no_longer) in cases {
        execute(&pool, so).await;
        assert_eq!(found(&pool, &config).await.join("|"), says.replace("NEWEST", &newest));
        execute(&pool, no_longer).await;
        assert_eq!(found(&pool, &config).await, Vec::<String>::new(), "after {no_longer}");
    }
    // Disks: the threshold alone decides.
    let mut full = config.clone();
    full.alerts.disk_free_percent = 100.0;
    let mut look = Look::new(full, "here".into());
    look.note_disks(&mut pool.acquire().await.unwrap()).await.unwrap();
    let (_, findings) = look.findings(&pool).await;
    assert!(findings.iter().any(|it| it.rule == "disk_low" && it.subject == "here working folder"), "{findings:?}");
    execute(&pool, "update node_disk set seen_at = now() - interval '1 hour'").await;
    assert_eq!(look.findings(&pool).await.1.iter().filter(|it| it.rule == "disk_low").count(), 0, "an old look counts no more");

    // Jobs: the one that waits longest, unless it may not run.
    let job = telekeep_queue::NewJob::new("chat_refresh", serde_json::json!({}));
    let mut conn = pool.acquire().await.unwrap();
    let _ = telekeep_queue::enqueue(&mut conn, &[job]).await.unwrap();
    drop(conn);
    assert_eq!(found(&pool, &config).await, Vec::<String>::new());
    execute(&pool, "update job set run_at = now() - interval '11 minutes'").await;
    let waits = found(&pool, &config).await.join("|");
    assert!(
        waits.starts_with("jobs_wait queue: the oldest job that could run (#") && waits.ends_with("chat_refresh) waits for 11 min"),
        "{waits}"
    );
    telekeep_queue::pause_kind(&pool, "chat_refresh").await.unwrap();
    assert_eq!(found(&pool, &config).await, Vec::<String>::new());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn silence_is_measured_by_the_chats_own_habit(pool: PgPool) {
    let receiver = Receiver::listens().await;
    let config = config(&receiver, "");
    // Three weeks: one chat talks by day and night, one by day alone, one seldom; all are silent for five hours, the first again later.
    execute(
        &pool,
        "insert into watch (chat_id) values (-1), (-2), (-3);
         insert into chat_hour_mark (chat_id, message_id, since) select chat_id, 0, date_trunc('hour', now()) - interval '21 days' from watch;
         insert into chat_hour (chat_id, hour, messages)
         select -1, h, 8 from generate_series(date_trunc('hour', now()) - interval '21 days', date_trunc('hour', now()) - interval '6 hours', interval '1 hour') h
         union all
         select -2, h, 20 from generate_series(date_trunc('hour', now()) - interval '21 days', date_trunc('hour', now()) - interval '6 hours', interval '1 hour') h
         where extract(epoch from date_trunc('hour', now()) - h)::bigint / 3600 % 24 not between 0 and 9
            or h = date_trunc('hour', now()) - interval '6 hours'
         union all
         select -3, h, 1 from generate_series(date_trunc('hour', now()) - interval '21 days', date_trunc('hour', now()) - interval '6 hours', interval '10 hours') h",
    )
    .await;
    let silent = found(&pool, &config).await.join("|");
    assert!(silent.starts_with("chat_silent -1: chat -1 is silent since") && !silent.contains('|'), "{silent}");
    assert!(silent.contains("it would have had 40 messages"), "{silent}");
    execute(&pool, "insert into chat_hour values (-1, date_trunc('hour', now()), 1)").await;
    assert_eq!(found(&pool, &config).await, Vec::<String>::new());

    // Hours are counted from messages, each once.
    execute(
        &pool,
        "insert into box (channel_id) values (-1);
         insert into message (box_id, message_id, chat_id, date, via) select id, n, -1, date_trunc('hour', now()) - interval '3 hours' - n % 2 * interval '10 minutes' - interval '1 minute', 'live' from box, generate_series(1, 10) n",
    )
    .await;
    found(&pool, &config).await;
    found(&pool, &config).await;
    let counted: i32 = sqlx::query_scalar(
        "select messages from chat_hour where chat_id = -1 and hour = date_trunc('hour', now()) - interval '4 hours'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(counted, 10);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_gets_on_is_no_incident(pool: PgPool) {
    let finding = |measure| table::Finding {
        rule: "holes_stay",
        subject: "-1".into(),
        says: "x".into(),
        hint: "y".into(),
        lasts: Duration::from_secs(3600),
        measure: Some(measure),
    };
    let observe = async |findings: &[table::Finding]| {
        let mut tx = pool.begin().await.unwrap();
        let changed = table::observe(&mut tx, &["holes_stay"], findings, &[], Duration::ZERO, Duration::ZERO).await.unwrap();
        tx.commit().await.unwrap();
        (changed.opened, changed.closed)
    };
    let later = async |minutes: i32| {
        execute(&pool, &format!("update incident_pending set since = since - interval '{minutes} minutes'")).await
    };
    assert_eq!(observe(&[finding(10)]).await, (0, 0));
    later(59).await;
    assert_eq!(observe(&[finding(12)]).await, (0, 0));
    later(2).await;
    assert_eq!(observe(&[finding(10)]).await, (1, 0), "more and then as few as before is no progress");
    assert_eq!(observe(&[finding(10)]).await, (0, 0));
    assert_eq!(observe(&[finding(9)]).await, (0, 1), "fewer is");
    later(61).await;
    assert_eq!(observe(&[finding(9)]).await, (1, 0));
    assert_eq!(observe(&[]).await, (0, 1));
    // Who does not look changes nothing.
    assert_eq!(observe(&[finding(9)]).await, (0, 0));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_lost_account_is_told_by_the_real_program_and_a_test_message_arrives(pool: PgPool) {
    let datacentre = datacentre(World::generated(3, [])).await;
    let telekeep = Installed::at(&datacentre, &pool);
    let receiver = Receiver::listens().await;
    let refused = telekeep.refuses(&["alert", "test"]);
    assert!(refused.contains("no [[alert]] is configured"), "{refused}");
    std::fs::write(telekeep.path("secret"), SECRET).unwrap();
    let written = format!(
        "[worker]\nlease_seconds = 3\n[live]\nround_seconds = 1\n[alerts]\nevery_seconds = 1\nrecovers_after_seconds = 1\ngroup_seconds = 1\ndisk_free_percent = 0\n[[alert]]\nname = \"hook\"\nwebhook = \"{}\"\nsecret_file = \"secret\"\n[[alert]]\nname = \"broken\"\ncommand = [\"false\"]\nrules = [\"disk_low\"]\n",
        receiver.address
    );
    std::fs::write(telekeep.path("telekeep.toml"), written).unwrap();
    let tested = telekeep.runs(&["alert", "test", "--json"]);
    assert_eq!(tested.status.code(), Some(1), "one of them was not told");
    let tested: Value = serde_json::from_slice(&tested.stdout).unwrap();
    assert_eq!(
        (&tested[0]["told"], &tested[1]["error"]),
        (&true.into(), &"the program ended with exit status: 1".into()),
        "{tested}"
    );
    assert_eq!(telekeep.does(&["alert", "test", "hook"]).trim(), "hook (webhook) was told");
    assert!(receiver.came().iter().all(|message| message["test"] == true && message["incidents"] == serde_json::json!([])));
    telekeep.refuses(&["alert", "test", "nobody"]);
    assert_eq!(telekeep.does(&["alert", "list"]).trim(), "nothing is wrong");

    let start = |name: &str| crate::installation::Worker(telekeep.command(&["run", "--name", name]).spawn().unwrap());
    let workers = [start("one"), start("two")];
    until("somebody has the account", || async {
        sqlx::query_scalar("select exists (select from account_lease where closed_at is null)").fetch_one(&pool).await.unwrap()
    })
    .await;
    datacentre.revoke("keeper", Ended::Revoked).unwrap();
    until("the alert", || async { receiver.count("open") == 1 }).await;
    let listed = telekeep.does(&["alert", "list"]);
    assert!(listed.contains("account_lost since") && listed.contains("telekeep account login --label keeper"), "{listed}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(receiver.count("open"), 1, "one of two processes told it");
    execute(&pool, "update account set state = 'held', state_reason = 'by hand'").await;
    until("the recovery", || async { receiver.count("recovered") == 1 }).await;
    assert!(receiver.told().values().all(|count| *count == 1));
    drop(workers);
    let json: Value = serde_json::from_str(&telekeep.does(&["alert", "list", "--days", "1", "--json"])).unwrap();
    assert_eq!((json["incidents"].as_array().unwrap().len(), &json["incidents"][0]["rule"]), (1, &"account_lost".into()));
}
