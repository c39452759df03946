//! Secrets: after a whole run none of them is in the database, the logs, what was printed, the arguments of processes or the files.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use sqlx::PgPool;
use telekeep::account::{Format, SessionFile, session_string};
use telekeep_simulator::world::{ChatKind, GeneratedChat};
use telekeep_simulator::{AccountRequest, Fault, Simulator, World};

use crate::installation::{Worker, until};
use crate::installed::{Installed, datacentre};
use crate::talk::Talk;

const PHONE: &str = "+99966123456";
const DIGITS: &str = "99966123456";
const PASSWORD: &str = "correct horse battery staple";
const WRONG_PASSWORD: &str = "wrong horse battery staple";
const API_HASH: &str = "5f0c7b1e9d2a4c6880fbe1d3a5c7e942";
const TOKEN: &str = "7712345678:AAH-right-token-of-the-robot";
const WEBHOOK: &str = "hook-41c2f8e7a0b96d35";
const SIGNING: &str = "sign-9d1e6b7a3f2c8450";
const RECEIVER: &str = "otlp-7b3e9a5d1c8f2046";
const WRONG_TOKEN: &str = "7712345678:AAH-wrong-token-of-the-robot";

/// A secret, and how it would look.
struct Secret {
    name: &'static str,
    forms: Vec<Vec<u8>>,
    /// Only where nothing but it stands between other signs: a code of five digits is part of many numbers.
    alone: bool,
}

impl Secret {
    fn text(name: &'static str, text: &str) -> Self {
        let forms = vec![text.into(), hex(text.as_bytes()).into(), STANDARD.encode(text).trim_end_matches('=').into()];
        Self { name, forms, alone: false }
    }

    fn code(code: &str) -> Self {
        Self { name: "code", forms: vec![code.into()], alone: true }
    }

    /// 256 bytes: as they are, as hexadecimal digits, and as base64 at each place of a longer text.
    fn key(name: &'static str, digits: &str) -> Self {
        let key = hex_bytes(digits);
        assert_eq!(key.len(), 256);
        let mut forms = vec![key[..24].to_vec(), key[100..124].to_vec(), digits[..48].into(), digits[..48].to_uppercase().into()];
        // As Rust prints bytes.
        forms.push(format!("{:?}", &key[..8]).trim_matches(['[', ']']).into());
        for shift in 0..3 {
            for engine in [STANDARD, URL_SAFE] {
                let text = engine.encode(&key[shift..shift + 48]);
                forms.push(text[..60].into());
            }
        }
        Self { name, forms, alone: false }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        let digit = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric);
        self.forms.iter().any(|form| {
            let mut hits = text.windows(form.len()).enumerate().filter(|(_, window)| window == form);
            hits.any(|(at, _)| !self.alone || (!digit(at.checked_sub(1)) && !digit(Some(at + form.len()))))
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The arguments of every telekeep process that runs while this is there.
struct Arguments {
    seen: Arc<Mutex<BTreeSet<Vec<u8>>>>,
    over: Arc<AtomicBool>,
}

impl Arguments {
    fn watched() -> Self {
        let it = Self { seen: Arc::default(), over: Arc::default() };
        let (seen, over) = (it.seen.clone(), it.over.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let numbers = std::fs::read_dir("/proc").unwrap().flatten();
                for process in numbers.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()) {
                    let Ok(arguments) = std::fs::read(process.path().join("cmdline")) else { continue };
                    let program = arguments.split(|byte| *byte == 0).next().unwrap_or_default();
                    if program == env!("CARGO_BIN_EXE_telekeep").as_bytes() {
                        seen.lock().unwrap().insert(arguments);
                    }
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        it
    }

    fn all(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().iter().cloned().collect()
    }
}

impl Drop for Arguments {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A run of Telekeep of which everything is kept.
struct Run {
    telekeep: Installed,
    /// What was printed, and by what.
    printed: Vec<(String, Vec<u8>)>,
    arguments: Arguments,
    /// Files that the operator wrote: they hold secrets by their nature.
    own_files: BTreeSet<String>,
}

impl Run {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.telekeep.command(arguments);
        command.env("TELEKEEP_LOG", "warn,telekeep=trace,telekeep_queue=trace").env("RUST_BACKTRACE", "full");
        command
    }

    fn writes(&mut self, name: &str, text: &[u8]) {
        std::fs::write(self.telekeep.path(name), text).unwrap();
        self.own_files.insert(name.to_owned());
    }

    fn runs(&mut self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        self.printed.push((format!("{arguments:?} on stdout"), output.stdout.clone()));
        self.printed.push((format!("{arguments:?} on stderr"), output.stderr.clone()));
        output
    }

    fn does(&mut self, arguments: &[&str]) {
        let output = self.runs(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn talked(&mut self, name: &str, talk: Talk) -> Option<i32> {
        let (status, said) = talk.ends().await;
        self.printed.push((name.to_owned(), said.into_bytes()));
        status
    }

    /// Where which secret is found.
    async fn found(&self, pool: &PgPool, secrets: &[Secret]) -> Vec<String> {
        let mut places = self.printed.clone();
        let arguments = self.arguments.all();
        assert!(!arguments.is_empty());
        places.extend(arguments.into_iter().map(|arguments| ("arguments of a process".to_owned(), arguments)));
        files(self.telekeep.path("").as_path(), &mut places);
        places.retain(|(place, _)| !self.own_files.iter().any(|own| place.ends_with(&format!("/{own}"))));
        let tables: Vec<String> = sqlx::query_scalar("select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in ('pg_catalog', 'information_schema')")
            .fetch_all(pool)
            .await
            .unwrap();
        assert!(tables.len() > 30, "{tables:?}");
        for table in tables {
            // A bytea is shown as its hexadecimal digits: each form of a secret is looked for in that form too.
            let rows: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select t::text from {table} t"))).fetch_all(pool).await.unwrap();
            places.push((format!("table {table}"), rows.join("\n").into_bytes()));
        }
        let mut found = Vec::new();
        for (place, text) in &places {
            for secret in secrets {
                let in_bytea = place.starts_with("table") && !secret.alone;
                let as_bytea =
                    Secret { name: secret.name, forms: secret.forms.iter().map(|form| hex(form).into()).collect(), alone: false };
                if secret.is_in(text) || (in_bytea && as_bytea.is_in(text)) {
                    found.push(format!("{} in {place}", secret.name));
                }
            }
        }
        found
    }
}

fn files(folder: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, places);
        } else {
            places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

async fn code(datacentre: &Simulator) -> String {
    until("a code", || async { datacentre.code(DIGITS).is_some() }).await;
    datacentre.code(DIGITS).unwrap()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_whole_run_leaves_no_secret_anywhere(pool: PgPool) {
    let world = World::generated(7, [GeneratedChat::new(ChatKind::Channel, "Harbour", 250).named("harbour")]);
    let datacentre = datacentre(world).await;
    let request = AccountRequest {
        signed_in: Some(false),
        phone: Some(PHONE.into()),
        password: Some(PASSWORD.into()),
        ..AccountRequest::named("newcomer")
    };
    let start = datacentre.account_with(&request).unwrap();
    let keeper = datacentre.account("keeper").unwrap();
    let bot = AccountRequest { signed_in: Some(false), bot_token: Some(TOKEN.into()), ..AccountRequest::named("robot") };
    let bot = datacentre.account_with(&bot).unwrap();
    let session = SessionFile::parse(Path::new("x"), &serde_json::to_vec(&keeper).unwrap()).unwrap();
    let string = |format| session_string::write(&session.session(), format, session.address, 1).unwrap();
    let (telethon, pyrogram) = (string(Format::Telethon), string(Format::Pyrogram));

    let telekeep = Installed::empty(&pool);
    let mut run =
        Run { telekeep, printed: Vec::new(), arguments: Arguments::watched(), own_files: ["telekeep.key".to_owned()].into() };
    let configuration = |start: &str| {
        format!(
            "[telegram]\napi_id = 1\napi_hash = \"{API_HASH}\"\ndatacentre = \"{start}\"\n[worker]\nlease_seconds = 3\n[alerts]\nevery_seconds = 1\n[[alert]]\nname = \"hook\"\nwebhook = \"http://127.0.0.1:9/{WEBHOOK}\"\nsecret_file = \"signing\"\n[telemetry]\notlp = \"http://u:{RECEIVER}@127.0.0.1:9\"\n"
        )
    };
    run.writes("signing", SIGNING.as_bytes());
    run.writes("start.json", &serde_json::to_vec(&start).unwrap());
    run.writes("robot.json", &serde_json::to_vec(&bot).unwrap());
    run.writes("telekeep.toml", configuration("start.json").as_bytes());
    run.writes("keeper.txt", format!("keeper {telethon}\n").as_bytes());
    run.writes("damaged.txt", format!("keeper {}\n", &pyrogram[..300]).as_bytes());
    run.writes("cut.json", &serde_json::to_vec(&keeper).unwrap()[..560]);

    // Signing in: each answer wrong first.
    let mut talk = Talk::begins(run.command(&["account", "login", "--label", "main"]));
    talk.asks("phone number").await;
    talk.answer(PHONE);
    talk.asks("code (nothing").await;
    let sent = code(&datacentre).await;
    talk.answer(if sent == "00000" { "11111" } else { "00000" });
    talk.asks("not right").await;
    talk.answer(&sent);
    talk.asks("password").await;
    talk.answer(WRONG_PASSWORD);
    talk.asks("not right").await;
    // What waits for its next step is in the database now.
    let mut secrets = vec![
        Secret::text("phone", DIGITS),
        Secret::text("password", PASSWORD),
        Secret::text("wrong password", WRONG_PASSWORD),
        Secret::code(&sent),
        Secret::text("api_hash", API_HASH),
        Secret::text("bot token", TOKEN),
        Secret::text("wrong bot token", WRONG_TOKEN),
        Secret::text("the webhook's address", WEBHOOK),
        Secret::text("what signs alerts", SIGNING),
        Secret::text("the receiver of traces", RECEIVER),
        Secret::text("Telethon's string", &telethon[40..120]),
        Secret::text("Pyrogram's string", &pyrogram[40..120]),
        Secret::key("newcomer's key", &start.key),
        Secret::key("keeper's key", &keeper.key),
        Secret::key("robot's key", &bot.key),
    ];
    assert_eq!(run.found(&pool, &secrets).await, Vec::<String>::new());
    talk.answer(PASSWORD);
    assert_eq!(run.talked("login by phone", talk).await, Some(0));
    run.writes("telekeep.toml", configuration("robot.json").as_bytes());
    for (token, ends) in [(WRONG_TOKEN, Some(2)), (TOKEN, Some(0))] {
        let mut talk = Talk::begins(run.command(&["account", "login", "--bot", "--label", "robot"]));
        talk.asks("token").await;
        talk.answer(token);
        assert_eq!(run.talked("login of a bot", talk).await, ends);
    }
    run.does(&["account", "import", "keeper.txt"]);
    for damaged in ["damaged.txt", "cut.json"] {
        assert_eq!(run.runs(&["account", "import", damaged]).status.code(), Some(2));
    }
    assert_eq!(run.runs(&["account", "export", "keeper"]).status.code(), Some(2), "nobody said yes");
    run.does(&["account", "hold", "robot"]);
    for arguments in [
        &["account", "list"][..],
        &["account", "list", "--json"],
        &["account", "show", "main"],
        &["account", "show", "main", "--json"],
        &["doctor"],
        &["doctor", "--telegram", "--json"],
        &["alert", "test"],
        &["alert", "list", "--json"],
        &["top"],
        &["top", "--json"],
    ] {
        run.runs(arguments);
    }

    // Collecting, with a job that fails for good and connections that break; then a working process.
    let chat = datacentre.world().chats()[0].id.to_string();
    datacentre.fail(Fault::error(400, "NOBODY_KNOWS_THIS").of("messages.getHistory").times(1));
    assert_eq!(run.runs(&["collect", &chat, "--account", "main"]).status.code(), Some(1), "the job is held");
    run.does(&["job", "list"]);
    run.does(&["job", "release", "--all"]);
    run.does(&["collect", &chat]);
    let log = std::fs::File::create(run.telekeep.path("log.json")).unwrap();
    let mut json = run.command(&["run"]);
    json.env("TELEKEEP_LOG_FORMAT", "json").stdout(log.try_clone().unwrap()).stderr(log);
    let worker = Worker(json.spawn().unwrap());
    tokio::time::sleep(Duration::from_secs(4)).await;
    datacentre.cut();
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.kill();
    let lines = std::fs::read_to_string(run.telekeep.path("log.json")).unwrap();
    assert!(lines.lines().count() > 10 && lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    let log = std::fs::File::create(run.telekeep.path("log")).unwrap();
    let worker = Worker(run.command(&["run"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    tokio::time::sleep(Duration::from_secs(4)).await;
    datacentre.cut();
    datacentre.revoke("keeper", telekeep_simulator::Ended::Revoked).unwrap();
    until("the lost account", || async {
        sqlx::query_scalar("select exists (select from account where state = 'lost')").fetch_one(&pool).await.unwrap()
    })
    .await;
    worker.kill();
    run.does(&["key", "rotate"]);
    run.does(&["chat", "show", &chat]);
    assert!(std::fs::read(run.telekeep.path("log")).unwrap().len() > 1_000, "the log says something");
    assert_eq!(run.found(&pool, &secrets).await, Vec::<String>::new());

    // The key file's keys are secrets of their own.
    let seal = std::fs::read_to_string(run.telekeep.path("telekeep.key")).unwrap();
    secrets.push(Secret::text("the sealing key", seal.trim()));
    assert_eq!(run.found(&pool, &secrets).await, Vec::<String>::new());

    // The scan finds what is planted, in each place and each form.
    sqlx::query("insert into kind_paused (kind) values ($1)").bind(&keeper.key).execute(&pool).await.unwrap();
    let raw: Vec<u8> = hex_bytes(&start.key);
    sqlx::query("update account set session = $1 where label = 'main'").bind(&raw).execute(&pool).await.unwrap();
    std::fs::write(run.telekeep.path("crash"), format!("phone={DIGITS} code={sent} {}", URL_SAFE.encode(&raw[1..]))).unwrap();
    run.printed.push(("planted".into(), format!("at {PASSWORD}.").into_bytes()));
    for _ in 0..20 {
        run.telekeep.runs(&["account", "show", TOKEN]);
    }
    let found = run.found(&pool, &secrets).await.join("\n");
    for planted in [
        "keeper's key in table public.kind_paused",
        "newcomer's key in table public.account",
        "bot token in arguments of a process",
        "password in planted",
    ] {
        assert!(found.contains(planted), "{planted} in\n{found}");
    }
    for name in ["phone", "code", "newcomer's key"] {
        assert!(
            found.lines().any(|line| line.starts_with(&format!("{name} in")) && line.ends_with("/crash")),
            "{name} in\n{found}"
        );
    }
}

fn hex_bytes(digits: &str) -> Vec<u8> {
    digits.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}
