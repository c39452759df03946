//! What the API endures: large bodies, thousands of streams, a database that goes and comes back; files, sign-ins, TLS.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use http_body_util::Full;
use serde_json::{Value, json};
use sqlx::PgPool;
use telekeep::config::Config;
use telekeep_queue as queue;
use telekeep_simulator::world::{ChatKind, GeneratedChat};
use telekeep_simulator::{AccountRequest, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::asking::{Api, Wish};
use crate::installation::until;
use crate::installed::{Installed, datacentre};

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_is_too_large_or_cannot_be_read_is_told_and_nothing_leaks(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let send = |body: String, kind: &'static str| {
        let request = api.request(Method::POST, "/api/v1/jobs/actions", Some(&api.admin)).header("content-type", kind);
        api.sends(request.body(Full::from(Bytes::from(body))).unwrap())
    };
    let large = format!("{{\"action\": \"{}\"}}", "a".repeat(2 << 20));
    assert_eq!(send(large, "application/json").await.problem().1, "too-large");
    assert_eq!(send("{}".into(), "text/plain").await.problem().0, 415);
    assert_eq!(send("{".into(), "application/json").await.problem(), (400, "unreadable".into(), String::new()));
    assert_eq!(
        send("{\"action\": \"hold\", \"filter\": {}, \"expected\": 0} {}".into(), "application/json").await.problem().1,
        "unreadable"
    );
    assert_eq!(send("[]".into(), "application/json").await.status, 422);
    assert_eq!(send("[".repeat(100_000), "application/json").await.status, 400);
    assert_eq!(
        send("{\"action\": \"hold\", \"filter\": {\"kind\": \"a\\u0000b\"}, \"expected\": 0}".into(), "application/json")
            .await
            .problem()
            .2,
        "kind"
    );
    for (method, path, kind) in [
        (Method::GET, "/api/v1/jobs?limit=-1", "invalid"),
        (Method::GET, "/api/v1/jobs?state=everything", "invalid"),
        (Method::GET, "/api/v1/jobs?cursor=%00", "invalid"),
        (Method::GET, "/api/v1/jobs?colour=red", "invalid"),
        (Method::GET, "/api/v1/jobs?account=99999999999999999999", "invalid"),
        (Method::GET, "/api/v1/jobs?kind=%00", "invalid"),
        (Method::GET, "/api/v1/chats?text=%00", "invalid"),
        (Method::GET, "/api/v1/jobs/7%20or%201=1", "not-found"),
        (Method::GET, "/api/v1/accounts/%00", "not-found"),
        (Method::GET, "/api/v1/files/..%2f..%2fetc%2fpasswd/content", "not-found"),
        (Method::GET, "/api/v1/nothing", "not-found"),
        (Method::PUT, "/api/v1/jobs", "method"),
    ] {
        let answer = api.sends(api.request(method, path, Some(&api.admin)).body(Full::default()).unwrap()).await;
        assert_eq!(answer.problem().1, kind, "{path}: {}", answer.text());
        let told = answer.text().to_lowercase();
        for inner in ["sqlx", "postgres", "select ", "relation", "src/", "panicked", "constraint"] {
            assert!(!told.contains(inner), "{path}: {told}");
        }
    }
    // A failure of the record's own is told as a failure, and no more.
    sqlx::query("alter table audit_log rename column what to something").execute(&pool).await.unwrap();
    let failed = api.asks(Method::GET, "/audit-log", Some(&api.viewer), None).await;
    assert_eq!(failed.problem(), (500, "internal".into(), String::new()));
    assert!(!failed.text().contains("column") && !failed.text().contains("what\\\""), "{}", failed.text());
}

/// A way to Postgres that can be cut.
pub(crate) async fn way(pool: &PgPool) -> (std::net::SocketAddr, tokio::sync::watch::Sender<bool>) {
    let options = pool.connect_options();
    let there = (options.get_host().to_owned(), options.get_port());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (open, is_open) = tokio::sync::watch::channel(true);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (there, mut is_open) = (there.clone(), is_open.clone());
            if !*is_open.borrow() {
                continue;
            }
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(there).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = async { drop(is_open.wait_for(|open| !open).await) } => {}
                }
            });
        }
    });
    (address, open)
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_database_that_is_away_is_told_and_comes_back_by_itself(pool: PgPool) {
    let (address, open) = way(&pool).await;
    let database = (*pool.connect_options()).clone().host("127.0.0.1").port(address.port());
    let api = Api::as_wished(&pool, Wish { database: Some(database), ..Wish::default() }).await;
    assert_eq!(api.asks(Method::GET, "/jobs", Some(&api.viewer), None).await.status, 200);
    open.send(false).unwrap();
    for path in ["/jobs", "/statistics", "/accounts"] {
        let answer = api.asks(Method::GET, path, Some(&api.viewer), None).await;
        assert_eq!(answer.problem(), (503, "database-away".into(), String::new()), "{path}");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    let described = api.sends(api.request(Method::GET, "/api/v1/openapi.json", None).body(Full::default()).unwrap()).await;
    assert_eq!(described.status, 200, "what needs no database is there");
    open.send(true).unwrap();
    until("the database", || async { api.asks(Method::GET, "/jobs", Some(&api.viewer), None).await.status == 200 }).await;
}

/// Opens a stream; gives its status line, and the stream.
async fn stream(api: &Api) -> (u16, TcpStream) {
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    let head = format!("GET /api/v1/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\r\n", api.address, api.viewer);
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    socket.read_exact(&mut start).await.unwrap();
    (std::str::from_utf8(&start[9..]).unwrap().parse().unwrap(), socket)
}

/// Reads until a text came.
async fn hears(socket: &mut TcpStream, text: &str) -> String {
    let mut heard = String::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while !heard.contains(text) {
            let count = socket.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the stream ended: {heard}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap_or_else(|_| panic!("{text:?} was not heard"));
    heard
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn events_tell_what_moves_and_ten_thousand_streams_kill_nothing(pool: PgPool) {
    let configure: fn(&mut Config) = |config| config.http.event_streams = 2_000;
    let api = Api::as_wished(&pool, Wish { configure, ..Wish::default() }).await;
    let (status, mut first) = stream(&api).await;
    assert_eq!(status, 200);
    hears(&mut first, "event: counts").await;
    let (made, wake) =
        queue::enqueue(&mut pool.acquire().await.unwrap(), &[queue::NewJob::new("chat_refresh", json!({}))]).await.unwrap();
    wake.fire(&pool).await;
    let id = made[0].id();
    let heard = hears(&mut first, &format!("\"id\":{id}")).await;
    assert!(heard.contains("event: jobs") && heard.contains("\"state\":\"available\""), "{heard}");
    queue::pause(&pool, &queue::Filter::one(id)).await.unwrap();
    hears(&mut first, "\"state\":\"held\"").await;
    queue::release(&pool, &queue::Filter::one(id)).await.unwrap();
    hears(&mut first, "\"state\":\"available\"").await;

    // 10,000 or as many as this machine lets one process open: both ends are in it.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = 10_000.min(usize::try_from(limit.saturating_sub(500) / 2).unwrap());
    let api = Arc::new(api);
    let (mut open, mut all, mut refused) = (JoinSet::new(), Vec::new(), 0);
    for n in 0..count {
        let api = api.clone();
        open.spawn(async move { stream(&api).await });
        if n % 200 == 199 || n + 1 == count {
            while let Some(opened) = open.join_next().await {
                match opened.unwrap() {
                    (200, socket) => all.push(socket),
                    (503, _) => refused += 1,
                    (status, _) => panic!("{status}"),
                }
            }
        }
    }
    assert_eq!((all.len(), refused), (1_999, count - 1_999));
    assert_eq!(api.asks(Method::GET, "/jobs", Some(&api.viewer), None).await.status, 200, "the rest goes on");
    let refusal = api.sends(api.request(Method::GET, "/api/v1/events", Some(&api.viewer)).body(Full::default()).unwrap()).await;
    assert_eq!(refusal.problem().1, "too-many-streams");
    drop(all);
    until("free places", || async { stream(&api).await.0 == 200 }).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_stored_file_is_read_in_parts_and_shown_only_where_it_is_a_picture(pool: PgPool) {
    let configure: fn(&mut Config) = |config| {
        let folder = std::env::temp_dir().join(format!("telekeep-files-{}", std::process::id()));
        config.files.store = Some(folder.display().to_string());
    };
    let mut config = Config::default();
    configure(&mut config);
    let folder = std::path::PathBuf::from(config.files.store.clone().unwrap());
    let api = Api::as_wished(&pool, Wish { configure, ..Wish::default() }).await;
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    let hash: Vec<u8> = sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), &bytes)).to_vec();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let place = folder.join(format!("sha256/{}/{}", &hex[..2], &hex[2..4]));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join(&hex), &bytes).unwrap();
    for (id, mime, name) in [
        (1, "image/png", "a ship.png"),
        (2, "text/html", "<script>alert(1)</script>\r\nset-cookie: a=b.html"),
        (3, "image/svg+xml", "x.svg"),
    ] {
        sqlx::query(
            "insert into media (space, file_id, type, mime_type, size, body, content_hash, state, sha256, location, via)
             values ('document', $1, 'document', $2, $3, jsonb_build_object('file_name', $4::text), '\\x00', 'stored', $5, 'x', 'live')",
        )
        .bind(i64::from(id))
        .bind(mime)
        .bind(bytes.len() as i64)
        .bind(name)
        .bind(&hash)
        .execute(&pool)
        .await
        .unwrap();
    }
    let content = |file: &'static str, range: &'static str| {
        let request = api.request(Method::GET, &format!("/api/v1/files/{file}/content"), Some(&api.viewer));
        let request = if range.is_empty() { request } else { request.header("range", range) };
        api.sends(request.body(Full::default()).unwrap())
    };
    let whole = content("document_1", "").await;
    assert_eq!((whole.status.as_u16(), whole.bytes.len()), (200, bytes.len()));
    assert!(whole.bytes == bytes);
    assert_eq!((whole.header("content-type"), whole.header("x-content-type-options")), ("image/png", "nosniff"));
    assert_eq!(whole.header("content-disposition"), "inline; filename*=UTF-8''a%20ship.png");
    let part = content("document_1", "bytes=100-199").await;
    assert_eq!((part.status.as_u16(), &part.bytes[..]), (206, &bytes[100..200]));
    assert_eq!(part.header("content-range"), format!("bytes 100-199/{}", bytes.len()));
    assert_eq!(&content("document_1", "bytes=-4").await.bytes[..], &bytes[bytes.len() - 4..]);
    let beyond = content("document_1", "bytes=99999999-").await;
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, format!("bytes */{}", bytes.len()).as_str()));
    for file in ["document_2", "document_3"] {
        let hostile = content(file, "").await;
        assert_eq!(hostile.header("content-type"), "application/octet-stream", "{file}");
        assert!(hostile.header("content-disposition").starts_with("attachment; "), "{file}");
        assert!(hostile.header("content-security-policy").contains("sandbox"));
        assert_eq!(hostile.header("set-cookie"), "");
    }
    let shown = api.reads("/files/document_2").await;
    assert_eq!(shown["file"]["state"], "stored");
    assert_eq!(api.reads("/files?state=stored&limit=2").await["items"].as_array().unwrap().len(), 2);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(content("document_1", "").await.problem().1, "store-away");
    sqlx::query("update media set state = 'wanted', sha256 = null").execute(&pool).await.unwrap();
    assert_eq!(content("document_1", "").await.problem().1, "conflict");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_account_signs_in_by_code_and_password_over_http(pool: PgPool) {
    const PHONE: &str = "+99966123456";
    const PASSWORD: &str = "correct horse";
    let datacentre = datacentre(World::generated(7, [GeneratedChat::new(ChatKind::Channel, "Harbour", 50).named("harbour")])).await;
    let request = AccountRequest {
        phone: Some(PHONE.into()),
        password: Some(PASSWORD.into()),
        password_hint: Some("what xkcd said".into()),
        ..AccountRequest::named("newcomer")
    };
    let start = datacentre.account_with(&AccountRequest { signed_in: Some(false), ..request }).unwrap();
    let file = std::env::temp_dir().join(format!("telekeep-start-{}.json", std::process::id()));
    std::fs::write(&file, serde_json::to_vec(&start).unwrap()).unwrap();
    let configure: fn(&mut Config) = |config| {
        config.telegram.datacentre = Some(std::env::temp_dir().join(format!("telekeep-start-{}.json", std::process::id())));
        config.telegram.api_id = Some(1);
        config.telegram.api_hash = serde_json::from_value(json!("0123456789abcdef0123456789abcdef")).ok();
    };
    let api = Api::as_wished(&pool, Wish { configure, ..Wish::default() }).await;
    let ask = |path: &'static str, body: Value| api.asks(Method::POST, path, Some(&api.admin), Some(body));
    assert_eq!(ask("/sign-ins", json!({ "by": "phone", "label": "main", "phone": "12" })).await.problem().2, "phone");
    assert_eq!(ask("/sign-ins/main/code", json!({ "code": "1" })).await.problem().1, "not-found");
    let begun = ask("/sign-ins", json!({ "by": "phone", "label": "main", "phone": PHONE })).await;
    assert_eq!((begun.status.as_u16(), &begun.json()["step"]), (200, &json!("code")), "{}", begun.text());
    until("a code", || async { datacentre.code(&PHONE[1..]).is_some() }).await;
    let code = datacentre.code(&PHONE[1..]).unwrap();
    let wrong = if code == "00000" { "11111" } else { "00000" };
    assert_eq!(ask("/sign-ins/main/code", json!({ "code": wrong })).await.problem().1, "conflict");
    let password = ask("/sign-ins/main/code", json!({ "code": code })).await.json();
    assert_eq!(password, json!({ "step": "password", "label": "main", "hint": "what xkcd said" }));
    assert_eq!(api.asks(Method::GET, "/sign-ins/main", Some(&api.admin), None).await.json()["step"], "password");
    assert_eq!(api.asks(Method::GET, "/sign-ins/main", Some(&api.operator), None).await.status, 403);
    assert_eq!(ask("/sign-ins/main/password", json!({ "password": "wrong horse" })).await.problem().1, "conflict");
    let done = ask("/sign-ins/main/password", json!({ "password": PASSWORD })).await;
    assert_eq!(done.json()["step"], "done", "{}", done.text());
    assert_eq!(api.reads("/accounts").await["items"][0]["label"], "main");
    until("its chats", || async {
        sqlx::query_scalar::<_, i64>("select count(*) from account_peer").fetch_one(&api.pool).await.unwrap() > 0
    })
    .await;
    let log = api.reads("/audit-log").await.to_string();
    assert!(
        log.contains("account.sign_in") && !log.contains(&PHONE[1..]) && !log.contains(PASSWORD) && !log.contains(&code),
        "{log}"
    );

    // A picture to scan, scanned by nobody, and given up.
    let scan = ask("/sign-ins", json!({ "by": "qr", "label": "second" })).await.json();
    assert!(scan["address"].as_str().unwrap().starts_with("tg://login?token="), "{scan}");
    assert_eq!(api.asks(Method::DELETE, "/sign-ins/second", Some(&api.admin), None).await.status, 204);
    assert_eq!(api.asks(Method::GET, "/sign-ins/second", Some(&api.admin), None).await.problem().1, "not-found");
    std::fs::remove_file(file).unwrap();
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn tls_by_certificate_files(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let telekeep = Installed::empty(&pool);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(telekeep.path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(telekeep.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let configuration = format!("[http]\nlisten = \"127.0.0.1:{port}\"\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n");
    std::fs::write(telekeep.path("telekeep.toml"), configuration).unwrap();
    let out = std::fs::File::create(folder.path().join("out")).unwrap();
    let mut serving = telekeep.command(&["serve"]).stdout(out).spawn().unwrap();
    let ask = |path: &str| {
        let mut command = std::process::Command::new("curl");
        command.args(["-sS", "-i", "--noproxy", "*", "--cacert"]).arg(telekeep.path("cert.pem"));
        let output = command.arg(format!("https://localhost:{port}{path}")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    until("the server", || async { ask("/api/v1/openapi.json").contains("200") }).await;
    let first = std::fs::read_to_string(folder.path().join("out")).unwrap();
    let link = first.split_whitespace().find(|word| word.starts_with("https://")).unwrap().to_owned();
    let path = link.strip_prefix(&format!("https://127.0.0.1:{port}")).unwrap();
    let signed_in = ask(path).to_lowercase();
    assert!(
        signed_in.contains("303") && signed_in.contains("; secure") && signed_in.contains("strict-transport-security"),
        "{signed_in}"
    );
    assert!(ask(path).contains("404"), "once");
    let plain = std::process::Command::new("curl")
        .args(["-s", "--noproxy", "*", &format!("http://127.0.0.1:{port}/api")])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&plain.stdout).contains("browse"), "no plain HTTP there");
    // It ends as a service does.
    let term = std::process::Command::new("kill").args(["-TERM", &serving.id().to_string()]).status().unwrap();
    assert!(term.success());
    until("its end", || {
        let ended = serving.try_wait().unwrap();
        async move { ended.is_some_and(|status| status.success()) }
    })
    .await;
    // Plain elsewhere than on loopback is refused, with what to do.
    std::fs::write(telekeep.path("telekeep.toml"), "[http]\nlisten = \"0.0.0.0:0\"\n").unwrap();
    assert!(telekeep.refuses(&["serve"]).contains("plain = true"));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_log_tells_of_a_failure_under_the_id_that_the_problem_has(pool: PgPool) {
    let telekeep = Installed::empty(&pool);
    let token = telekeep.does(&["token", "create", "boss", "--role", "admin"]);
    sqlx::raw_sql("alter table proxy rename to elsewhere").execute(&pool).await.unwrap();
    for format in ["json", "text"] {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let configuration = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n[telemetry]\nlog = \"{format}\"\n");
        std::fs::write(telekeep.path("telekeep.toml"), configuration).unwrap();
        let log = std::fs::File::create(telekeep.path("log")).unwrap();
        // Where errors alone are logged, too.
        let serving = telekeep.command(&["serve"]).env("TELEKEEP_LOG", "error").stderr(log).spawn().unwrap();
        let serving = crate::installation::Worker(serving);
        let ask = |path: &str| {
            let mut command = std::process::Command::new("curl");
            command.args(["-sS", "--noproxy", "*", "-H", &format!("Authorization: Bearer {}", token.trim())]);
            command.arg(format!("http://127.0.0.1:{port}/api/v1{path}")).output().unwrap().stdout
        };
        until("the server", || async { !ask("/openapi.json").is_empty() }).await;
        let problem: Value = serde_json::from_slice(&ask("/proxies")).unwrap();
        assert_eq!(
            (&problem["status"], problem["detail"].as_str().unwrap().contains("elsewhere")),
            (&json!(500), false),
            "{problem}"
        );
        let id = problem["request_id"].as_str().unwrap();
        let lines = || std::fs::read_to_string(telekeep.path("log")).unwrap();
        until("the line", || async { lines().contains("a request failed") }).await;
        let told = lines();
        let line = told.lines().find(|line| line.contains("a request failed")).unwrap();
        assert!(line.contains(id) && line.contains("proxy") && line.contains("http.request_id"), "{id} in\n{told}");
        serving.kill();
    }
}

#[test]
fn the_description_is_printed_without_a_database_and_names_what_the_router_has() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_telekeep"))
        .args(["serve", "--openapi"])
        .env_remove("DATABASE_URL")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 50, "{}", paths.len());
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["responses"]["default"].is_object(), "{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path} says what it does");
            assert!(operation["tags"][0].is_string(), "{method} {path}");
        }
    }
    assert!(document["components"]["securitySchemes"]["token"].is_object());
}
