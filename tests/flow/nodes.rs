//! Several nodes as real processes: an account is never in two places, and whoever is lost is followed by another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::{ConnectOptions, PgPool};
use telekeep::clock;
use telekeep::record::AccountId;
use telekeep::record::lease::{self, Taken};
use telekeep::record::node::{self, NewNode, NodeId, Process};
use telekeep_simulator::world::{ChatKind, Content, GeneratedChat, Rules, Truth};
use telekeep_simulator::{AccountRequest, Offence, Simulator, World};
use tokio::net::{TcpListener, TcpStream};

use crate::installation::{Telekeep, Worker, datacentre, until};
use crate::playing::Play;

/// How much faster than Telegram's the time of these tests goes.
const MULTIPLE: f64 = 5.0;

/// Chats that each of some accounts reads one of, by the accounts' labels.
async fn installed(pool: &PgPool, accounts: usize) -> (Simulator, Telekeep, BTreeMap<i64, String>, Vec<i64>) {
    let chats = (0..accounts).map(|at| {
        let kind = if at % 3 == 0 { ChatKind::Supergroup } else { ChatKind::Channel };
        GeneratedChat::new(kind, &format!("Pier {at}"), 400).deleted(0.1).members(20)
    });
    let world = World::generated(7, chats).under(Rules { multiple: MULTIPLE, ..Rules::default() });
    let datacentre = datacentre(world).await;
    let telekeep = Telekeep::at(&datacentre, pool);
    telekeep.configures("[live]\nround_seconds = 2\n[reconcile]\nevery_seconds = 2\n[telegram]\npace = 5\ntimeout_seconds = 5\n");
    telekeep.has_workflow("new-chat");
    let mut labels = vec!["keeper".to_owned()];
    let mut users = vec![datacentre.world().me];
    for at in 1..accounts {
        let label = format!("second-{at}");
        let session = datacentre.account_with(&AccountRequest::named(&label)).unwrap();
        users.extend(session.user_id);
        std::fs::write(telekeep.path("one.json"), serde_json::to_vec(&session).unwrap()).unwrap();
        telekeep.does(&["account", "import", "one.json", "--label", &label]);
        labels.push(label);
    }
    let watched = datacentre.world().chats().iter().map(|chat| chat.id).zip(labels).collect();
    (datacentre, telekeep, watched, users)
}

/// A node with a source address of its own.
struct Node {
    name: &'static str,
    config: PathBuf,
    database: String,
    clock: Option<PathBuf>,
}

impl Node {
    fn new(telekeep: &Telekeep, name: &'static str, last: u8) -> Self {
        let config = telekeep.path(&format!("{name}.toml"));
        let common = std::fs::read_to_string(telekeep.path("telekeep.toml")).unwrap();
        std::fs::write(&config, format!("{common}[node]\nname = \"{name}\"\nsource_address = \"127.0.0.{last}\"\n")).unwrap();
        Self { name, config, database: telekeep.database.clone(), clock: None }
    }

    fn starts(&self, telekeep: &Telekeep, environment: &[(&str, &str)]) -> Worker {
        let log = std::fs::File::options().append(true).create(true).open(telekeep.path(&format!("{}.log", self.name))).unwrap();
        let mut command = telekeep.command(&["run"]);
        command.env("TELEKEEP_CONFIG", &self.config).env("DATABASE_URL", &self.database).env("TELEKEEP_LOG", "info");
        if let Some(clock) = &self.clock {
            command.env("LD_PRELOAD", faketime()).env("FAKETIME_TIMESTAMP_FILE", clock).env("FAKETIME_NO_CACHE", "1");
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command.envs(environment.iter().copied());
        Worker(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

fn faketime() -> PathBuf {
    let architectures = std::fs::read_dir("/usr/lib").unwrap();
    let library = architectures.flatten().map(|it| it.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    library.expect("libfaketime is missing: `scripts/up --yes --python` installs what the tests need")
}

fn signal(worker: &Worker, name: &str) {
    let done = Command::new("kill").args([name, &worker.0.id().to_string()]).status().unwrap();
    assert!(done.success());
}

/// A way to Postgres that can be cut: bytes stay on the way, and nobody is told.
async fn cuttable(to: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = cut.clone();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let cut = is_cut.clone();
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(to).await else { return };
                let (client_reads, client_writes) = client.into_split();
                let (server_reads, server_writes) = server.into_split();
                tokio::join!(passes(client_reads, server_writes, cut.clone()), passes(server_reads, client_writes, cut));
            });
        }
    });
    (address, cut)
}

async fn passes(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, cut: Arc<AtomicBool>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        while cut.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Which node has which account: those that are held.
async fn places(pool: &PgPool) -> BTreeMap<i64, (String, i64)> {
    let rows: Vec<(i64, String, i64)> = sqlx::query_as(
        "select l.account_id, n.name, n.id from account_lease l join node n on n.id = l.node_id where l.closed_at is null",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().map(|(account, name, node)| (account, (name, node))).collect()
}

async fn of(pool: &PgPool, name: &str) -> BTreeSet<i64> {
    places(pool).await.into_iter().filter(|(_, (node, _))| node == name).map(|(account, _)| account).collect()
}

/// Waits until other nodes than these have all accounts; gives how long that took.
async fn taken_over(pool: &PgPool, accounts: usize, gone: &[i64], longest: Duration) -> Duration {
    let began = clock::mark();
    loop {
        let now = places(pool).await;
        if now.len() == accounts && now.values().all(|(_, node)| !gone.contains(node)) {
            return began.elapsed();
        }
        assert!(began.elapsed() < longest, "after {longest:?} there are {now:?}, and {gone:?} are gone");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn ids_of(pool: &PgPool, name: &str) -> Vec<i64> {
    sqlx::query_scalar("select id from node where name = $1").bind(name).fetch_all(pool).await.unwrap()
}

/// Waits until all nodes of these names have their part.
async fn shared(pool: &PgPool, accounts: usize, names: &[&str]) {
    let least = accounts / names.len();
    let began = clock::mark();
    loop {
        let all = places(pool).await;
        if all.len() == accounts && names.iter().all(|name| all.values().filter(|(node, _)| node == name).count() >= least) {
            return;
        }
        if began.elapsed() > Duration::from_secs(150) {
            let stopped: Vec<(i64, String, Option<String>)> =
                sqlx::query_as("select id, state, state_reason from account where state <> 'active'")
                    .fetch_all(pool)
                    .await
                    .unwrap();
            panic!("not shared evenly among {names:?}: {all:?}; stopped: {stopped:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the record lacks of the truth.
async fn lacks(pool: &PgPool, datacentre: &Simulator, watched: &BTreeMap<i64, String>) -> String {
    let mut told = String::new();
    for (chat, reader) in watched {
        let documents: Vec<_> = telekeep::projection::documents_of_record(pool, *chat).try_collect().await.unwrap();
        let exists = |it: &serde_json::Map<String, serde_json::Value>| {
            ["deleted_at", "deleted_between"].iter().all(|field| it.get(*field).is_none_or(serde_json::Value::is_null))
                && it.get("date").is_some_and(|date| !date.is_null())
        };
        let found: BTreeMap<i64, String> = documents
            .into_iter()
            .filter(exists)
            .map(|it| {
                let document = serde_json::Value::Object(it);
                (document["message_id"].as_i64().unwrap(), Truth::hash_of(&Content::of_document(&document).unwrap()))
            })
            .collect();
        let truth: BTreeMap<i64, String> = datacentre
            .truth_of(reader, *chat)
            .unwrap()
            .into_iter()
            .map(|it| (i64::from(it.content.message_id), it.content_hash))
            .collect();
        if found != truth {
            told += &format!("{chat}: {} of {} are there\n", found.len(), truth.len());
        }
    }
    let mut conn = pool.acquire().await.unwrap();
    for row in telekeep::record::report::coverage_report(&mut conn, None).await.unwrap() {
        if row.missing + row.stale + row.dead > 0 {
            told += &format!("{}: missing {}, stale {}, dead {}\n", row.chat_id, row.missing, row.stale, row.dead);
        }
    }
    told
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn three_nodes_share_ten_accounts_and_no_account_is_ever_in_two_places(pool: PgPool) {
    const ACCOUNTS: usize = 10;
    let (datacentre, telekeep, watched, users) = installed(&pool, ACCOUNTS).await;
    let options = pool.connect_options();
    let postgres: SocketAddr = format!("{}:{}", options.get_host(), options.get_port()).parse().unwrap();
    let (address, cut) = cuttable(postgres).await;
    let url = options.to_url_lossy();

    let mut first = Node::new(&telekeep, "first", 11);
    let mut second = Node::new(&telekeep, "second", 12);
    let third = Node::new(&telekeep, "third", 13);
    first.database = {
        let mut through = url.clone();
        through.set_host(Some("127.0.0.1")).unwrap();
        through.set_port(Some(address.port())).unwrap();
        through.to_string()
    };
    second.clock = Some(telekeep.path("clock"));
    std::fs::write(telekeep.path("clock"), "+0s").unwrap();
    let mut a = Some(first.starts(&telekeep, &[]));
    let mut b = Some(second.starts(&telekeep, &[]));
    let c = third.starts(&telekeep, &[]);
    shared(&pool, ACCOUNTS, &["first", "second", "third"]).await;
    for (chat, reader) in &watched {
        telekeep.does(&["chat", "watch", &chat.to_string(), "--account", reader, "--purpose", "a test"]);
    }

    // The world goes on, beside all that follows.
    let mut play = Play::new(&datacentre, 7, &users);
    let mut figures = BTreeMap::new();
    let story = async {
        tokio::time::sleep(Duration::from_secs(3)).await;

        // Killed: proved gone, on the same host.
        let gone = ids_of(&pool, "first").await;
        a.take();
        figures.insert("killed", taken_over(&pool, ACCOUNTS, &gone, Duration::from_secs(90)).await);
        a = Some(first.starts(&telekeep, &[]));
        shared(&pool, ACCOUNTS, &["first", "second", "third"]).await;

        // A clock that jumps an hour forth: Telegram would refuse every call. Then two back, and right again.
        let jumped = clock::mark();
        let ahead = ids_of(&pool, "second").await;
        std::fs::write(telekeep.path("clock"), "+3600s").unwrap();
        taken_over(&pool, ACCOUNTS, &ahead, Duration::from_secs(90)).await;
        figures.insert("clock ahead", jumped.elapsed());
        std::fs::write(telekeep.path("clock"), "-3600s").unwrap();
        shared(&pool, ACCOUNTS, &["first", "second", "third"]).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        std::fs::write(telekeep.path("clock"), "+0s").unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;

        // Stopped: nobody can prove anything. Meanwhile the others have troubles of their own.
        let silent = of(&pool, "second").await;
        let stopped = ids_of(&pool, "second").await;
        let began = clock::mark();
        signal(b.as_ref().unwrap(), "-STOP");

        let drained = clock::mark();
        telekeep.does(&["node", "drain", "third"]);
        assert!(of(&pool, "third").await.is_empty());
        figures.insert("drained", drained.elapsed());
        telekeep.does(&["node", "resume", "third"]);

        // Cut from Postgres for longer than a lease, and for less than others wait.
        let before = of(&pool, "first").await;
        cut.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(40)).await;
        cut.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!of(&pool, "first").await.is_disjoint(&before), "who was cut off for a while goes on with what nobody took");

        assert_eq!(of(&pool, "second").await, silent, "whoever may still be connected is left alone");
        taken_over(&pool, ACCOUNTS, &stopped, Duration::from_secs(120).saturating_sub(began.elapsed())).await;
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(95), "{took:?}: before Telegram closes what a stopped process left open");
        figures.insert("stopped", took);
        signal(b.as_ref().unwrap(), "-CONT");
        shared(&pool, ACCOUNTS, &["first", "second", "third"]).await;

        // Ended as an operator ends it.
        let gone = ids_of(&pool, "second").await;
        signal(b.as_ref().unwrap(), "-TERM");
        figures.insert("closed", taken_over(&pool, ACCOUNTS, &gone, Duration::from_secs(90)).await);
        b.take();
        tokio::time::sleep(Duration::from_secs(3)).await;
    };
    let ticks = async {
        loop {
            play.goes_on(4);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! { () = story => {}, () = ticks => {} }
    for (what, took) in &figures {
        println!("{what}: all accounts with other nodes after {:.1} s", took.as_secs_f64());
    }

    let stopped = clock::mark();
    let mut lacking = lacks(&pool, &datacentre, &watched).await;
    while !lacking.is_empty() && stopped.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        lacking = lacks(&pool, &datacentre, &watched).await;
    }
    if !lacking.is_empty() {
        for name in ["first", "second", "third"] {
            println!("== {name}\n{}", std::fs::read_to_string(telekeep.path(&format!("{name}.log"))).unwrap());
        }
    }
    assert_eq!(lacking, "");
    assert_eq!(datacentre.violations(), []);
    let failed: i64 =
        sqlx::query_scalar("select count(*) from job where state in ('held', 'dead')").fetch_one(&pool).await.unwrap();
    assert_eq!(failed, 0);
    drop((a, c));
}

/// A node is stopped, another one takes its account before Telegram has closed the connection (the record is told that more time has
/// passed), and the first goes on. Gives whether the account was in two places.
async fn goes_on_after_another_took_over(pool: &PgPool, environment: &[(&str, &str)]) -> bool {
    let (datacentre, telekeep, watched, _) = installed(pool, 1).await;
    let (first, second) = (Node::new(&telekeep, "first", 21), Node::new(&telekeep, "second", 22));
    let a = first.starts(&telekeep, environment);
    until("the first has the account", || async { of(pool, "first").await.len() == 1 }).await;
    let chat = *watched.keys().next().unwrap();
    telekeep.does(&["chat", "watch", &chat.to_string(), "--purpose", "a test"]);
    until("it listens", || async {
        sqlx::query_scalar::<_, i64>("select count(*) from box where verified_at is not null").fetch_one(pool).await.unwrap() > 0
    })
    .await;
    signal(&a, "-STOP");
    tokio::time::sleep(Duration::from_secs(31)).await;
    sqlx::query("update account_lease set renewed_at = renewed_at - interval '80 seconds'").execute(pool).await.unwrap();
    let b = second.starts(&telekeep, environment);
    until("the second has the account", || async { of(pool, "second").await.len() == 1 }).await;
    let connected = || datacentre.calls("updates.getDifference");
    let before = connected();
    until("the second listens", || async { connected() > before }).await;
    signal(&a, "-CONT");
    tokio::time::sleep(Duration::from_secs(8)).await;
    drop((a, b));
    datacentre.violations().iter().any(|violation| matches!(violation.offence, Offence::TwoPlaces))
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_stopped_node_that_goes_on_sends_nothing_of_what_another_has(pool: PgPool) {
    assert!(!goes_on_after_another_took_over(&pool, &[]).await);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn without_the_fence_the_account_would_be_in_two_places(pool: PgPool) {
    assert!(goes_on_after_another_took_over(&pool, &[("TELEKEEP_TEST_WITHOUT_FENCE", "1")]).await);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_account_stays_with_the_nodes_that_it_is_pinned_to(pool: PgPool) {
    let (_datacentre, telekeep, _, _) = installed(&pool, 2).await;
    let (first, second) = (Node::new(&telekeep, "first", 31), Node::new(&telekeep, "second", 32));
    telekeep.does(&["account", "pin", "keeper", "second"]);
    let a = first.starts(&telekeep, &[]);
    until("the first has what is not pinned", || async { of(&pool, "first").await.len() == 1 }).await;
    tokio::time::sleep(Duration::from_secs(18)).await;
    assert_eq!(places(&pool).await.len(), 1, "nobody has what is pinned to another, however long that lasts");
    let b = second.starts(&telekeep, &[]);
    until("the second has its own", || async { of(&pool, "second").await.len() == 1 }).await;
    let listed = telekeep.does(&["node", "list"]);
    assert!(listed.contains("keeper") && listed.contains("works"), "{listed}");
    telekeep.does(&["account", "pin", "keeper", "first"]);
    until("the first has both", || async { of(&pool, "first").await.len() == 2 }).await;
    drop((a, b));
}

/// Nodes that are rows alone, to try who may take an account, and when.
async fn node_of(pool: &PgPool, name: &str, source: &str) -> NodeId {
    let process = Process { boot: "a boot".into(), pid_space: "pid:[1]".into(), pid: 1, pid_start: 1 };
    let new = NewNode { name, host: "host", process: &process, source };
    let mut conn = pool.acquire().await.unwrap();
    let id = node::begin(&mut conn, &new).await.unwrap();
    node::set_works(&mut conn, id, true).await.unwrap();
    id
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_account_is_taken_where_nobody_can_have_it_any_more(pool: PgPool) {
    let account: i64 =
        sqlx::query_scalar("insert into account (label, session, session_key_id) values ('anna', '', 'k') returning id")
            .fetch_one(&pool)
            .await
            .unwrap();
    let account = AccountId(account);
    let (a, b) = (node_of(&pool, "a", "192.0.2.1").await, node_of(&pool, "b", "192.0.2.2").await);
    let mut conn = pool.acquire().await.unwrap();
    let silent = |seconds: i32| {
        let pool = pool.clone();
        async move {
            sqlx::query("update account_lease set renewed_at = clock_timestamp() - make_interval(secs => $1)")
                .bind(f64::from(seconds))
                .execute(&pool)
                .await
                .unwrap();
        }
    };

    let Taken::Token(first) = lease::take(&mut conn, account, a, &[]).await.unwrap() else { panic!("nobody has it") };
    let Taken::Held(holder) = lease::take(&mut conn, account, b, &[]).await.unwrap() else { panic!("a has it") };
    assert_eq!(holder.node, "a@host/1");
    assert!(holder.free_in > Duration::from_secs(100), "{holder:?}");
    silent(100).await;
    assert!(matches!(lease::take(&mut conn, account, b, &[]).await.unwrap(), Taken::Held(_)), "Telegram may still listen to it");
    silent(106).await;
    let Taken::Token(second) = lease::take(&mut conn, account, b, &[]).await.unwrap() else { panic!("it was silent for long") };
    assert!(second > first);

    // What the first holder still does has no effect.
    assert_eq!(lease::renew(&mut conn, a, &[(account, first)]).await.unwrap(), []);
    assert!(!lease::fence(&mut conn, account, first).await.unwrap());
    lease::release(&mut conn, account, first).await.unwrap();
    assert!(lease::fence(&mut conn, account, second).await.unwrap());
    assert_eq!(lease::renew(&mut conn, b, &[(account, second)]).await.unwrap(), [account]);

    // Back where it just was: not within a minute after another address began to use it, though it is free.
    let later = async |seconds: f64| {
        let passed = "update account_source set left_at = left_at - make_interval(secs => $1)";
        sqlx::query(passed).bind(seconds).execute(&pool).await.unwrap();
    };
    lease::used(&mut conn, account, a).await.unwrap();
    lease::used(&mut conn, account, b).await.unwrap();
    lease::release(&mut conn, account, second).await.unwrap();
    let Taken::JustLeft(wait) = lease::take(&mut conn, account, a, &[]).await.unwrap() else { panic!("it just left") };
    assert!(wait > Duration::from_secs(65) && wait <= Duration::from_secs(75), "{wait:?}");
    let Taken::Token(third) = lease::take(&mut conn, account, b, &[]).await.unwrap() else { panic!("it is where it was") };
    lease::release(&mut conn, account, third).await.unwrap();
    later(76.0).await;
    let Taken::Token(fourth) = lease::take(&mut conn, account, a, &[]).await.unwrap() else { panic!("long ago") };
    lease::release(&mut conn, account, fourth).await.unwrap();
    assert!(matches!(lease::take(&mut conn, account, b, &[]).await.unwrap(), Taken::Token(_)), "a took it and did not use it");

    // Proved gone: at once. Pinned: never by another.
    let c = node_of(&pool, "c", "192.0.2.3").await;
    assert!(matches!(lease::take(&mut conn, account, c, &[b]).await.unwrap(), Taken::Token(_)));
    lease::pin(&mut conn, account, &["a".into()]).await.unwrap();
    let d = node_of(&pool, "d", "192.0.2.4").await;
    assert_eq!(lease::take(&mut conn, account, d, &[c]).await.unwrap(), Taken::Pinned(vec!["a".into()]));
}
