//! What an operator has at hand: doctor, top, the manual, logs as JSON, and the way back from a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory;
use serde_json::Value;
use sqlx::{ConnectOptions, PgPool};
use telekeep::cli::Cli;
use telekeep_simulator::World;
use telekeep_simulator::world::{ChatKind, GeneratedChat};

use crate::installation::{Telekeep, Worker, datacentre, outbox, until};
use crate::installed::Installed;

/// Every command by its words, and whether it has `--json`.
fn commands(command: &clap::Command, words: &str, all: &mut BTreeMap<String, bool>) {
    let mut leaf = true;
    for below in command.get_subcommands().filter(|it| it.get_name() != "help") {
        leaf = false;
        commands(below, format!("{words} {}", below.get_name()).trim(), all);
    }
    if leaf {
        all.insert(words.to_owned(), command.get_arguments().any(|argument| argument.get_id() == "json"));
    }
}

#[test]
fn each_command_that_reads_prints_json() {
    // Those that do something, and those whose output is a format of its own already.
    let others = [
        "account export",
        "account hold",
        "account import",
        "account login",
        "account logout",
        "account pin",
        "account proxy",
        "account release",
        "chat join",
        "chat leave",
        "chat tag",
        "chat unwatch",
        "chat watch",
        "collect",
        "completion",
        "dead-letter retry",
        "export",
        "file want",
        "import",
        "job cancel",
        "job pause",
        "job pause-kind",
        "job pause-partition",
        "job priority",
        "job release",
        "job resume",
        "job resume-kind",
        "job resume-partition",
        "job retry",
        "job wait",
        "key rotate",
        "man",
        "member snapshot",
        "migrate",
        "node drain",
        "node resume",
        "proxy add",
        "proxy import",
        "proxy remove",
        "raw retry",
        "reindex",
        "run",
        "serve",
        "token create",
        "token link",
        "token revoke",
        "workflow pause",
        "workflow resume",
        "workflow run",
    ];
    let mut all = BTreeMap::new();
    commands(&Cli::command(), "", &mut all);
    let known: BTreeSet<&str> = all.keys().map(String::as_str).collect();
    let unknown: Vec<&&str> = others.iter().filter(|words| !known.contains(**words)).collect();
    assert!(unknown.is_empty(), "these are no commands any more: {unknown:?}");
    let silent: Vec<&String> = all
        .iter()
        .filter(|(words, json)| !**json && !others.contains(&words.as_str()) && !words.starts_with("job enqueue"))
        .map(|(words, _)| words)
        .collect();
    assert!(silent.is_empty(), "these read and have no --json: {silent:?}");
    assert!(all.len() > others.len() + 15);
}

fn program(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telekeep"));
    // What is about the program alone needs neither a database nor a sound configuration.
    std::fs::write(folder.join("telekeep.toml"), "nonsense").unwrap();
    command.args(arguments).current_dir(folder).env_remove("DATABASE_URL").env_remove("TELEKEEP_CONFIG");
    command.output().unwrap()
}

#[test]
fn completion_and_manual_name_each_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = program(&["completion", shell], folder.path());
        assert!(script.status.success());
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(["dead-letter", "coverage", "alert", "doctor"].iter().all(|word| script.contains(word)), "{shell}");
    }
    let bash = program(&["completion", "bash"], folder.path()).stdout;
    std::fs::write(folder.path().join("telekeep.bash"), bash).unwrap();
    let asks = "source telekeep.bash; COMP_WORDS=(telekeep al); COMP_CWORD=1; _telekeep telekeep al telekeep; printf '%s ' \"${COMPREPLY[@]}\"";
    let completed = Command::new("bash").args(["-c", asks]).current_dir(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8(completed.stdout).unwrap().trim(), "alert");

    let page = String::from_utf8(program(&["man"], folder.path()).stdout).unwrap();
    assert!(page.contains(".TH telekeep 1") && page.contains("Exit codes"), "{page}");
    assert!(program(&["man", "pages"], folder.path()).status.success());
    let mut all = BTreeMap::new();
    commands(&Cli::command(), "", &mut all);
    for words in all.keys().filter(|words| !words.starts_with("job enqueue")) {
        let page = folder.path().join(format!("pages/telekeep-{}.1", words.replace(' ', "-")));
        assert!(page.exists(), "{}", page.display());
    }
}

/// What doctor says of each thing: good, and in which words.
fn doctor(telekeep: &Installed, more: &[&str]) -> BTreeMap<String, (bool, String)> {
    let output = telekeep.runs(&[&["doctor", "--json"][..], more].concat());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(told["good"] == true, output.status.code() == Some(0), "{told}");
    let findings = told["findings"].as_array().unwrap().iter();
    findings.map(|it| (it["what"].as_str().unwrap().into(), (it["good"] == true, it["says"].as_str().unwrap().into()))).collect()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn doctor_looks_at_everything_and_says_what_to_do(pool: PgPool) {
    let datacentre = datacentre(World::generated(3, [])).await;
    let telekeep = Installed::at(&datacentre, &pool);
    let well = doctor(&telekeep, &["--telegram"]);
    let looked: Vec<&str> = well.keys().map(String::as_str).collect();
    assert_eq!(
        looked,
        [
            "accounts",
            "alerts",
            "clock",
            "database",
            "disk",
            "elasticsearch",
            "files",
            "incidents",
            "jobs",
            "key",
            "nodes",
            "postgres",
            "proxies",
            "telegram",
            "telegram api",
            "workflows"
        ]
    );
    // The server of the tests may be set to forget what it was told when the power goes, and its machine short of room.
    let bad: Vec<_> = well.iter().filter(|(what, (good, _))| !good && !["postgres", "disk"].contains(&what.as_str())).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert!(well["telegram"].1.contains("answers directly in"), "{:?}", well["telegram"]);
    assert!(well["key"].1.contains("opens all 1 sessions"));

    let bad = |what: &str, says: &str, more: &[&str]| {
        let told = doctor(&telekeep, more);
        assert!(!told[what].0 && told[what].1.contains(says), "{what}: {:?}", told[what]);
    };
    let configured = |text: &str| std::fs::write(telekeep.path("telekeep.toml"), text).unwrap();
    configured("[files]\nstore = \"/proc/nothing\"\n");
    bad("files", "/proc/nothing", &[]);
    configured("[[files.rule]]\nname = \"all\"\nfetch = true\n");
    bad("files", "set [files] store", &[]);
    configured("[alerts]\ndisk_free_percent = 100\n");
    bad("disk", "make room", &[]);
    configured("[[alert]]\nname = \"x\"\nwebhook = \"nowhere\"\n");
    bad("alerts", "[[alert]] x: webhook is no address", &[]);
    configured("[[alert]]\nname = \"x\"\nwebhook = \"https://example.org/hook\"\n");
    assert_eq!(doctor(&telekeep, &[])["alerts"].1, "x (webhook, not signed); `telekeep alert test` sends to them");
    configured("");

    let key = telekeep.path("telekeep.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::write(&key, format!("{}\n", "ab".repeat(32))).unwrap();
    bad("key", "sealed with key", &[]);
    std::fs::remove_file(&key).unwrap();
    bad("key", "is missing", &[]);
    std::fs::write(&key, kept).unwrap();
    bad("key", "chmod 600", &[]);
    Command::new("chmod").arg("600").arg(&key).status().unwrap();

    let execute = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    };
    execute("update account set state = 'lost', state_reason = 'SESSION_REVOKED'").await;
    bad("accounts", "telekeep account login --label keeper", &[]);
    execute("update account set state = 'active'; insert into proxy (name, host, port, pooled, error) values ('p', '127.0.0.1', 1, false, 'no answer')").await;
    bad("proxies", "telekeep proxy check", &[]);
    execute("insert into account_route (label, pooled, proxy_id) select 'keeper', false, id from proxy").await;
    bad("telegram", "the proxy p (127.0.0.1:1) is not reached", &["--telegram"]);
    execute("delete from account_route; delete from proxy; insert into incident (rule, subject, says, hint) values ('x', 'y', 'z', 'h')").await;
    bad("incidents", "telekeep alert list", &[]);
    execute("delete from incident; insert into job_count (kind, state, n) values ('chat_refresh', 'held', 2)").await;
    bad("jobs", "2 are held", &[]);
    execute("delete from job_count; insert into node (name, version, host, boot, pid_space, pid, pid_start, source, works, seen_at) values ('n', '0', 'h', '', '', 1, 1, 'h', true, now() - interval '5 minutes')").await;
    bad("nodes", "n fell silent", &[]);
    execute("delete from node").await;
    execute("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (29990101000000, 'x', true, '', 0)").await;
    bad("database", "install the newer telekeep", &[]);
    execute("delete from _sqlx_migrations where version > 29990000000000").await;

    let mut nowhere = telekeep.command(&["doctor", "--json"]);
    let output = nowhere.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/x").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("check that it runs"));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn top_prints_once_where_there_is_no_terminal(pool: PgPool) {
    let datacentre = datacentre(World::generated(3, [])).await;
    let telekeep = Installed::at(&datacentre, &pool);
    sqlx::raw_sql("insert into watch (chat_id) values (-1000000000007); insert into box (channel_id) values (-1000000000007); insert into coverage (chat_id, box_id, top) select -1000000000007, id, 12 from box")
        .execute(&pool)
        .await
        .unwrap();
    let told = telekeep.does(&["top"]);
    for line in [
        "accounts  1 active; 0 nodes work",
        "chats     1 watched; 12 ids missing, 0 stale",
        "warning: no node works. `telekeep run` starts one",
        "-1000000000007",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    assert_eq!(told, telekeep.does(&["top", "--once"]));
    let json: Value = serde_json::from_str(&telekeep.does(&["top", "--json"])).unwrap();
    assert_eq!((&json["chats"]["lacking"][0]["missing"], &json["accounts"][0]["state"]), (&12.into(), &"active".into()));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn logs_are_json_where_that_is_wanted(pool: PgPool) {
    let datacentre = datacentre(World::generated(3, [])).await;
    let telekeep = Installed::at(&datacentre, &pool);
    std::fs::write(telekeep.path("telekeep.toml"), "[telemetry]\nlog = \"json\"\n").unwrap();
    let log = std::fs::File::create(telekeep.path("log")).unwrap();
    let mut command = telekeep.command(&["run", "--name", "node-1"]);
    let worker = Worker(command.env("TELEKEEP_LOG", "info").stderr(log).stdout(Stdio::null()).spawn().unwrap());
    let lines = || std::fs::read_to_string(telekeep.path("log")).unwrap();
    until("the account", || async { lines().contains("this node has the account") }).await;
    worker.kill();
    let lines: Vec<Value> = lines().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let has = |field: &str| lines.iter().any(|line| !line[field].is_null());
    assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()));
    assert!(has("node.name") && has("account.id") && has("message"));
    let refused = telekeep.command(&["top"]).env("TELEKEEP_LOG_FORMAT", "xml").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_backup_is_restored_on_another_server_with_the_key_file_and_refused_without(pool: PgPool) {
    let world = World::generated(9, [GeneratedChat::new(ChatKind::Channel, "Harbour", 300).named("harbour")]);
    let datacentre = datacentre(world).await;
    let chat = datacentre.world().chats()[0].id;
    let telekeep = Telekeep::at(&datacentre, &pool);
    telekeep.does(&["collect", &chat.to_string()]);
    assert_eq!(outbox(&pool).await, 0);
    telekeep.holds_the_truth(&datacentre, chat);

    // As docs/OPERATING.md has it.
    let dump = telekeep.path("record.dump");
    let options = pool.connect_options();
    let copy = format!("restored_{:x}", rand::random::<u64>());
    let restored = (*options).clone().database(&copy).to_url_lossy().to_string();
    // Without what only our own driver understands.
    let plain =
        |database: &str| format!("postgres://{}@{}:{}/{database}", options.get_username(), options.get_host(), options.get_port());
    let tool = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    tool("pg_dump", &["--format=custom", "--no-owner", "--file", dump.to_str().unwrap(), &plain(options.get_database().unwrap())]);
    sqlx::query(sqlx::AssertSqlSafe(format!("create database {copy:?}"))).execute(&pool).await.unwrap();
    tool("pg_restore", &["--no-owner", "--exit-on-error", "--dbname", &plain(&copy), dump.to_str().unwrap()]);

    // Another machine: nothing but the dump and, later, the key file. An index of its own.
    let other = Telekeep {
        folder: tempfile::tempdir().unwrap(),
        database: restored,
        prefix: format!("flow-{:x}", rand::random::<u64>()),
        server: None,
    };
    let told = |arguments: &[&str]| {
        let output = other.command(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + String::from_utf8(output.stderr).unwrap().as_str())
    };
    other.does(&["migrate"]);
    other.does(&["reindex"]);
    other.holds_the_truth(&datacentre, chat);
    let (code, audit) = told(&["audit", "--deep"]);
    assert_eq!(code, Some(0), "{audit}");
    assert!(audit.contains("the index holds what the record holds"), "{audit}");
    assert_ne!(told(&["collect", &chat.to_string(), "--force"]).0, Some(0), "nobody can open the account");
    let without = told(&["doctor", "--json"]).1;
    assert!(
        without.contains("the key file telekeep.key is missing") && without.contains("restore it from your backup"),
        "{without}"
    );
    assert!(!other.path("telekeep.key").exists(), "no new key is made in its place");

    std::fs::copy(telekeep.path("telekeep.key"), other.path("telekeep.key")).unwrap();
    // What was held for want of the key is let go, as its hint says.
    other.does(&["job", "release", "--state", "held"]);
    other.does(&["collect", &chat.to_string(), "--force"]);
    assert!(told(&["doctor", "--json"]).1.contains("opens all 1 sessions"));
    drop(other);
    sqlx::query(sqlx::AssertSqlSafe(format!("drop database {copy:?} with (force)"))).execute(&pool).await.unwrap();
}

#[test]
fn what_runs_in_containers_prints_a_link_that_opens_and_its_secrets_can_be_written() {
    let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose");
    let config: telekeep::config::Config =
        toml::from_str(&std::fs::read_to_string(compose.join("telekeep.toml")).unwrap()).unwrap();
    let base = telekeep::http::access::link::base(&config.http);
    let published = std::fs::read_to_string(compose.join("compose.yaml")).unwrap();
    let address = base.strip_prefix("http://").unwrap();
    assert!(published.contains(&format!("\"{address}:{}\"", config.http.listen.unwrap().port())), "{base} is not published");

    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("secrets.sh");
    std::fs::copy(compose.join("secrets.sh"), &script).unwrap();
    let make = || assert!(Command::new("bash").arg(&script).stderr(Stdio::null()).status().unwrap().success());
    let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).unwrap()) & 0o777;
    make();
    let secrets = folder.path().join("secrets");
    assert_eq!(mode(&secrets), 0o700, "nobody else enters the folder");
    let hash = secrets.join("telegram_api_hash");
    std::fs::write(&hash, "as Telegram told it").unwrap();
    let files = || -> BTreeMap<String, String> {
        let all = std::fs::read_dir(&secrets).unwrap().map(|it| it.unwrap());
        all.map(|it| (it.file_name().into_string().unwrap(), std::fs::read_to_string(it.path()).unwrap())).collect()
    };
    let first = files();
    assert_eq!(first.len(), 4, "{:?}", first.keys());
    for name in first.keys() {
        assert_eq!(mode(&secrets.join(name)), 0o644, "{name}: its owner writes, the containers' users read");
    }
    make();
    assert_eq!(files(), first, "what is there stays");
}
