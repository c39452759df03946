//! Accounts behind SOCKS5 proxies: which way each goes, and that none goes another way.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use sqlx::PgPool;
use telekeep::account::proxy::{self, Address, Binding, Routes};
use telekeep::account::{Error, KeySource};
use telekeep::telegram::dial::{DialError, Route, dial};
use telekeep_simulator::world::{ChatKind, Event, GeneratedChat, Post};
use telekeep_simulator::{Simulator, World};

use crate::installation::{Telekeep, datacentre, until};
use crate::socks::{Socks, USER};

const PASSWORD: &str = "0pen-sesame-42";
const WRONG: &str = "wr0ng-sesame-43";

async fn world() -> Simulator {
    datacentre(World::generated(31, [GeneratedChat::new(ChatKind::Channel, "Harbour", 250).named("harbour")])).await
}

fn routes(pool: &PgPool, folder: &tempfile::TempDir) -> Routes {
    Routes::new(pool.clone(), KeySource::File(folder.path().join("seal.key")), None)
}

fn address(socks: &Socks, password: Option<&str>) -> Address {
    let (user, password) = (password.map(|_| USER.to_owned()), password.map(str::to_owned));
    Address { host: socks.at.ip().to_string(), port: socks.at.port(), user, password }
}

fn bound(name: &str) -> Binding {
    Binding::Bound { proxy: name.to_owned() }
}

const POOL: Binding = Binding::Pool { proxy: None };

/// What the relay does for each connection.
async fn connects(routes: &Routes, label: &str, to: SocketAddr) -> Result<Route, Error> {
    let route = routes.route_of(label, to).await?;
    let opened = dial(&route, to, Duration::from_secs(5)).await;
    routes.used(label, &route, opened.as_ref().map(|_| Duration::from_millis(1))).await;
    Ok(route)
}

fn through(route: &Route) -> &str {
    route.proxy.as_ref().map_or("none", |proxy| &proxy.name)
}

async fn known(routes: &Routes) -> BTreeMap<String, proxy::Proxy> {
    routes.list().await.unwrap().into_iter().map(|proxy| (proxy.name.clone(), proxy)).collect()
}

/// Passes over the time that a proxy rests after failures, and over which an account does not return to it.
async fn later(pool: &PgPool) {
    sqlx::query("update proxy set tried_at = tried_at - interval '2 minutes'").execute(pool).await.unwrap();
    sqlx::query("update account_route_left set left_at = left_at - interval '2 minutes'").execute(pool).await.unwrap();
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_bound_account_goes_through_its_proxy_or_not_at_all(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let routes = routes(&pool, &folder);
    let telegram = world().await;
    let socks = Socks::leaving_from(9, Some(PASSWORD)).await;
    routes.add("berlin", &address(&socks, Some(PASSWORD)), false).await.unwrap();
    assert_eq!(through(&routes.route_of("anna", telegram.addr()).await.unwrap()), "none", "nobody said otherwise");

    routes.bind("anna", &bound("berlin")).await.unwrap();
    let route = connects(&routes, "anna", telegram.addr()).await.unwrap();
    assert_eq!(through(&route), "berlin");
    assert!(!format!("{route:?}").contains(PASSWORD));
    let (again, checks) = (connects(&routes, "anna", telegram.addr()).await.unwrap(), socks.carried());
    assert_eq!((through(&again), checks), ("berlin", 3), "checked once, then used twice");
    let berlin = &known(&routes).await["berlin"];
    assert_eq!((berlin.successes, berlin.failures, berlin.success_rate), (3, 0, Some(1.0)));
    assert!(berlin.latency_ms.is_some() && berlin.good_at.is_some() && berlin.bound == ["anna"]);

    socks.dies();
    later(&pool).await;
    sqlx::query("update proxy set good_at = good_at - interval '1 hour'").execute(&pool).await.unwrap();
    for _ in 0..3 {
        let failed = connects(&routes, "anna", telegram.addr()).await.unwrap_err();
        assert!(
            matches!(&failed, Error::Proxy(e @ proxy::Error::Down { proxy, .. }) if proxy == "berlin" && e.passes()),
            "{failed}"
        );
        assert!(!format!("{failed} {failed:?}").contains(PASSWORD));
    }
    assert_eq!(known(&routes).await["berlin"].failures, 1, "it rests after a failure: nothing hammers it");
    later(&pool).await;
    connects(&routes, "anna", telegram.addr()).await.unwrap_err();
    assert_eq!(known(&routes).await["berlin"].failures, 2);
    assert_eq!(telegram.connections().get(&IpAddr::from([127, 0, 0, 1])), None, "no connection without the proxy");

    let revived = Socks::listening_at(socks.at, 9, Some(PASSWORD)).await;
    later(&pool).await;
    assert_eq!(through(&connects(&routes, "anna", telegram.addr()).await.unwrap()), "berlin");
    assert_eq!(known(&routes).await["berlin"].error, None);
    assert!(telegram.connections()[&revived.from] >= 5);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_wrong_password_is_told_and_shown_nowhere(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let routes = routes(&pool, &folder);
    let telegram = world().await;
    let socks = Socks::leaving_from(9, Some(PASSWORD)).await;
    routes.add("berlin", &address(&socks, Some(WRONG)), false).await.unwrap();
    routes.add("open", &address(&socks, None), false).await.unwrap();
    for name in ["berlin", "open"] {
        let told = routes.check(name, telegram.addr()).await.unwrap().outcome.unwrap_err();
        assert_eq!(
            told,
            format!("the proxy {name} does not accept its user and password: remove it, and add it again with the right ones")
        );
    }
    let listed = format!("{:?} {}", routes.list().await.unwrap(), serde_json::to_string(&routes.list().await.unwrap()).unwrap());
    assert!(listed.contains(USER) && !listed.contains(WRONG));
    assert_eq!(telegram.connections(), BTreeMap::new());
    let stored: Vec<u8> = sqlx::query_scalar("select password from proxy where name = 'berlin'").fetch_one(&pool).await.unwrap();
    assert!(!stored.windows(WRONG.len()).any(|bytes| bytes == WRONG.as_bytes()));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_pool_gives_what_works_keeps_it_and_goes_on_when_it_dies(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let routes = routes(&pool, &folder);
    let telegram = world().await;
    let (first, second) = (Socks::leaving_from(9, None).await, Socks::leaving_from(10, Some(PASSWORD)).await);
    let dead = Socks::leaving_from(11, None).await;
    dead.dies();
    routes.bind("anna", &POOL).await.unwrap();
    let empty = routes.route_of("anna", telegram.addr()).await.unwrap_err();
    assert!(matches!(&empty, Error::Proxy(e @ proxy::Error::EmptyPool { .. }) if e.passes()), "{empty}");
    routes.add("own", &address(&first, None), false).await.unwrap();
    routes.route_of("anna", telegram.addr()).await.unwrap_err();

    for (name, socks, password) in [("dead", &dead, None), ("first", &first, None), ("second", &second, Some(PASSWORD))] {
        routes.add(name, &address(socks, password), true).await.unwrap();
    }
    assert_eq!(through(&connects(&routes, "anna", telegram.addr()).await.unwrap()), "first");
    assert_eq!(known(&routes).await["dead"].failures, 1);
    for label in ["bert", "carl"] {
        routes.bind(label, &POOL).await.unwrap();
        connects(&routes, label, telegram.addr()).await.unwrap();
    }
    let keeps: Vec<_> = known(&routes).await.into_values().map(|proxy| (proxy.name, proxy.keeps.len())).collect();
    assert_eq!(keeps, [("dead".into(), 0), ("first".into(), 2), ("own".into(), 0), ("second".into(), 1)], "they share the work");

    let anna = connects(&routes, "anna", telegram.addr()).await.unwrap();
    assert_eq!(through(&anna), "first", "what works is kept");
    first.dies();
    let used = connects(&routes, "anna", telegram.addr()).await.unwrap();
    assert_eq!(through(&used), "first", "it worked a moment ago: the use itself finds that it does not");
    assert_eq!(through(&connects(&routes, "anna", telegram.addr()).await.unwrap()), "second");
    let (binding, reason) = routes.binding("anna").await.unwrap();
    assert_eq!(binding, Binding::Pool { proxy: Some("second".into()) });
    assert!(reason.as_deref().is_some_and(|reason| reason.starts_with("first: the proxy first (127.0.0.1:")), "{reason:?}");
    assert!(!routes.is_still("anna", &anna).await.unwrap(), "what it has open through the first one is to be closed");
    assert_eq!(known(&routes).await["first"].failures, 1);

    let revived = Socks::listening_at(first.at, 9, None).await;
    second.dies();
    connects(&routes, "anna", telegram.addr()).await.unwrap();
    let failed = connects(&routes, "anna", telegram.addr()).await.unwrap_err();
    assert!(matches!(&failed, Error::Proxy(proxy::Error::NoneWorks { .. })), "not back so soon: {failed}");
    later(&pool).await;
    assert_eq!(through(&connects(&routes, "anna", telegram.addr()).await.unwrap()), "first");
    assert!(!telegram.connections().contains_key(&IpAddr::from([127, 0, 0, 1])), "{:?}", telegram.connections());
    drop(revived);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_proxy_that_cannot_reach_telegram_says_so(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let routes = routes(&pool, &folder);
    let socks = Socks::leaving_from(9, None).await;
    routes.add("berlin", &address(&socks, None), false).await.unwrap();
    routes.bind("anna", &bound("berlin")).await.unwrap();
    let away = "127.0.0.1:1".parse().unwrap();
    let told = routes.route_of("anna", away).await.unwrap_err().to_string();
    assert!(told.contains("the proxy berlin cannot reach Telegram at 127.0.0.1:1"), "{told}");
    let route = Route { source: None, proxy: None };
    assert!(matches!(dial(&route, away, Duration::from_secs(1)).await.unwrap_err(), DialError::NotReached { .. }));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_rotation_of_the_key_seals_passwords_anew_and_goes_on_where_it_was_stopped(pool: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let config = telekeep::telegram::TelegramConfig::new(1, "hash");
    let accounts = telekeep::account::Accounts::new(pool.clone(), config, folder.path().join("seal.key"));
    let telegram = world().await;
    let socks = Socks::leaving_from(9, Some(PASSWORD)).await;
    let routes = accounts.routes();
    for name in ["one", "two"] {
        routes.add(name, &address(&socks, Some(PASSWORD)), false).await.unwrap();
    }
    let key = std::fs::read_to_string(folder.path().join("seal.key")).unwrap();
    let first = accounts.rotate_key().await.unwrap();
    assert_eq!((first.proxies.sealed, first.old_forgotten), (2, true));
    // As if that one had been stopped after the first proxy: both keys are there, and one password is as it was.
    let (rotated, old) = (std::fs::read_to_string(folder.path().join("seal.key")).unwrap(), key.trim());
    std::fs::write(folder.path().join("seal.key"), format!("{}\n{old}\n", rotated.trim())).unwrap();
    let before = accounts.rotate_key().await.unwrap();
    assert_eq!((before.key_id, before.proxies.sealed), (first.key_id, 0), "what is sealed with the new key is left alone");
    assert!(routes.check("one", telegram.addr()).await.unwrap().outcome.is_ok());

    // Another key altogether: told by name, and never taken for no password.
    std::fs::write(folder.path().join("seal.key"), "ab".repeat(32)).unwrap();
    let told = routes.check("two", telegram.addr()).await.unwrap().outcome.unwrap_err();
    assert!(told.contains("its password cannot be opened") && !told.contains(PASSWORD), "{told}");
    assert_eq!(accounts.rotate_key().await.unwrap().proxies.unreadable, ["one", "two"]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_operator_adds_imports_checks_binds_and_removes(pool: PgPool) {
    let telegram = world().await;
    let telekeep = Telekeep::at(&telegram, &pool);
    let socks = Socks::leaving_from(9, Some(PASSWORD)).await;
    let (url, with_user) = (socks.url(), socks.url().replace("//", &format!("//{USER}@")));
    let told = |arguments: &[&str]| {
        let output = telekeep.command(arguments).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap() + String::from_utf8(output.stdout).unwrap().as_str();
        (output.status.code().unwrap(), said)
    };

    let (code, said) = told(&["proxy", "add", "berlin", &with_user.replace('@', &format!(":{PASSWORD}@"))]);
    assert!(code == 2 && said.contains("seen by everybody on this machine") && !said.contains(PASSWORD), "{said}");
    std::fs::write(telekeep.path("password"), format!("{PASSWORD}\n")).unwrap();
    let file = telekeep.path("password").display().to_string();
    telekeep.does(&["proxy", "add", "berlin", &with_user, "--password-file", &file]);
    let (code, said) = told(&["proxy", "add", "berlin", &url]);
    assert!(code == 2 && said.contains("there is a proxy berlin already"), "{said}");
    let (code, said) = told(&["proxy", "add", "pool", &url]);
    assert!(code == 2 && said.contains("a name has no spaces"), "{said}");

    let lines = format!("# bought in May\n{url}\nparis http://u:{WRONG}@h:1\n\nrome socks5://{USER}@h:1\nberlin {url}\n");
    std::fs::write(telekeep.path("proxies.txt"), &lines).unwrap();
    let (code, said) = told(&["proxy", "import", "proxies.txt", "--pool"]);
    assert!(code == 2 && !said.contains(WRONG), "{said}");
    assert!(said.contains("line 3: only SOCKS5") && said.contains("line 5: a user needs a password"), "{said}");
    assert!(said.contains("line 6: there is a proxy berlin already"), "{said}");
    assert!(!telekeep.does(&["proxy", "list"]).contains(&format!("{} ", socks.at.port() + 1)));
    assert_eq!(telekeep.does(&["proxy", "list", "--json"]).matches("\"name\"").count(), 1, "nothing of a bad file is kept");
    std::fs::write(telekeep.path("proxies.txt"), format!("rome {}", with_user.replace('@', &format!(":{WRONG}@")))).unwrap();
    telekeep.does(&["proxy", "import", "proxies.txt", "--pool"]);

    assert!(telekeep.does(&["proxy", "check", "berlin"]).starts_with(&format!("ok  berlin: Telegram at {} in ", telegram.addr())));
    let (code, said) = told(&["proxy", "check"]);
    assert!(code == 1 && said.contains("ok  berlin") && said.contains("BAD rome: the proxy rome does not accept"), "{said}");

    assert!(telekeep.does(&["account", "proxy", "keeper"]).contains("goes straight to Telegram"));
    let said = telekeep.does(&["account", "proxy", "keeper", "berlin"]);
    assert_eq!(said, "account keeper goes through the proxy berlin, and never without it\n");
    assert!(telekeep.does(&["account", "proxy", "nobody", "pool"]).contains("there is no account nobody yet"));
    let (code, said) = told(&["account", "proxy", "keeper", "madrid"]);
    assert!(code == 2 && said.contains("there is no proxy madrid"), "{said}");
    let (code, said) = told(&["proxy", "remove", "berlin"]);
    assert!(code == 2 && said.contains("the proxy berlin stays: these accounts are bound to it: keeper;"), "{said}");
    let list = telekeep.does(&["proxy", "list"]) + telekeep.does(&["proxy", "list", "--json"]).as_str();
    assert!(
        list.contains("100 % (2 of 2)") && list.contains("keeper") && !list.contains(PASSWORD) && !list.contains(WRONG),
        "{list}"
    );
    telekeep.does(&["account", "proxy", "keeper", "none"]);
    telekeep.does(&["proxy", "remove", "berlin"]);
    let (code, said) = told(&["proxy", "remove", "berlin"]);
    assert!(code == 2 && said.contains("there is no proxy berlin"), "{said}");
}

/// Whether these words stand in any row of the database.
async fn is_in_the_database(pool: &PgPool, words: &str) -> bool {
    let tables: Vec<String> = sqlx::query_scalar("select quote_ident(tablename) from pg_tables where schemaname = 'public'")
        .fetch_all(pool)
        .await
        .unwrap();
    assert!(tables.len() > 20);
    for table in tables {
        // sealed bytes are shown in hexadecimal, and so would a password be in them
        let hex: String = words.bytes().map(|byte| format!("{byte:02x}")).collect();
        let found: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "select exists (select from {table} t where strpos(t::text, $1) > 0 or strpos(t::text, $2) > 0)"
        )))
        .bind(words)
        .bind(hex)
        .fetch_one(pool)
        .await
        .unwrap();
        if found {
            return true;
        }
    }
    false
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_bound_account_collects_through_its_proxy_and_waits_while_it_is_dead(pool: PgPool) {
    let telegram = world().await;
    let telekeep = Telekeep::at(&telegram, &pool);
    let here = IpAddr::from([127, 0, 0, 1]);
    let direct = || telegram.connections().get(&here).copied();
    let imported = direct();
    let chat = telegram.world().chats()[0].id;
    let socks = Socks::leaving_from(9, Some(PASSWORD)).await;
    std::fs::write(telekeep.path("password"), PASSWORD).unwrap();
    let file = telekeep.path("password").display().to_string();
    telekeep.does(&["proxy", "add", "berlin", &socks.url().replace("//", &format!("//{USER}@")), "--password-file", &file]);
    telekeep.does(&["account", "proxy", "keeper", "berlin"]);
    std::fs::remove_file(telekeep.path("password")).unwrap();

    telekeep.does(&["collect", &chat.to_string()]);
    telekeep.holds_the_truth(&telegram, chat);
    assert!(telegram.connections()[&socks.from] >= 1 && direct() == imported, "{:?}", telegram.connections());

    socks.dies();
    let through = telegram.connections()[&socks.from];
    let worker = telekeep.works();
    let record = telegram.play(Event::Post { chat, post: Post::text("a ship") }).unwrap();
    let id = record.posted().next().unwrap().1;
    until("the proxy's failures", || async { known_failures(&pool, "berlin").await >= 2 }).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((direct(), telegram.connections()[&socks.from]), (imported, through), "no connection at all");

    let _revived = Socks::listening_at(socks.at, 9, Some(PASSWORD)).await;
    until("the ship", || async { is_known(&pool, chat, id).await }).await;
    drop(worker);
    assert_eq!(direct(), imported, "{:?}", telegram.connections());
    assert_eq!(telegram.violations(), []);

    let log = std::fs::read_to_string(telekeep.path("log")).unwrap();
    assert!(log.contains("account keeper is bound to the proxy berlin, which does not work"), "{log}");
    let exported = telekeep.does(&["export", &chat.to_string(), "--from", "record"]);
    for shown in [log, exported, telekeep.does(&["proxy", "list", "--json"]), telekeep.does(&["account", "list", "--json"])] {
        assert!(!shown.contains(PASSWORD));
    }
    assert!(is_in_the_database(&pool, "berlin").await && !is_in_the_database(&pool, PASSWORD).await);
}

async fn known_failures(pool: &PgPool, name: &str) -> i64 {
    sqlx::query_scalar("select failures from proxy where name = $1").bind(name).fetch_one(pool).await.unwrap()
}

async fn is_known(pool: &PgPool, chat: i64, id: i32) -> bool {
    sqlx::query_scalar("select exists (select from message where chat_id = $1 and message_id = $2)")
        .bind(chat)
        .bind(i64::from(id))
        .fetch_one(pool)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn work_goes_on_through_another_of_the_pool_when_one_dies(pool: PgPool) {
    let telegram = world().await;
    let telekeep = Telekeep::at(&telegram, &pool);
    let here = IpAddr::from([127, 0, 0, 1]);
    let imported = telegram.connections().get(&here).copied();
    let chat = telegram.world().chats()[0].id;
    let (first, second) = (Socks::leaving_from(9, None).await, Socks::leaving_from(10, None).await);
    std::fs::write(telekeep.path("proxies.txt"), format!("first {}\nsecond {}\n", first.url(), second.url())).unwrap();
    telekeep.does(&["proxy", "import", "proxies.txt", "--pool"]);
    telekeep.does(&["account", "proxy", "keeper", "pool"]);
    telekeep.does(&["collect", &chat.to_string()]);
    telekeep.holds_the_truth(&telegram, chat);
    let _worker = telekeep.works();
    until("the stream", || async { first.carried() >= 2 }).await;
    assert_eq!(second.carried(), 0, "what works is kept");

    let said = telegram.play(Event::Post { chat, post: Post::text("a ship") }).unwrap();
    let id = said.posted().next().unwrap().1;
    until("the ship", || async { is_known(&pool, chat, id).await }).await;
    first.dies();
    // What was on its way when it died may still arrive.
    until("the other way", || async { second.carried() >= 1 && known_failures(&pool, "first").await >= 1 }).await;
    let said = telegram.play(Event::Post { chat, post: Post::text("a second ship") }).unwrap();
    let id = said.posted().next().unwrap().1;
    until("the second ship", || async { is_known(&pool, chat, id).await }).await;
    let said = telekeep.does(&["account", "proxy", "keeper"]);
    assert!(said.contains("(now second), and never without one; it left the one before because of first: "), "{said}");
    assert_eq!(telegram.connections().get(&here).copied(), imported, "{:?}", telegram.connections());
    assert_eq!(telegram.violations(), []);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_account_that_is_connected_moves_when_it_is_bound_elsewhere(pool: PgPool) {
    let telegram = world().await;
    let telekeep = Telekeep::at(&telegram, &pool);
    let chat = telegram.world().chats()[0].id;
    telekeep.does(&["collect", &chat.to_string()]);
    let _worker = telekeep.works();
    let here = IpAddr::from([127, 0, 0, 1]);
    let before = telegram.connections()[&here];
    until("the stream", || async { telegram.connections()[&here] > before || telegram.calls("updates.getDifference") > 0 }).await;
    let socks = Socks::leaving_from(9, None).await;
    telekeep.does(&["proxy", "add", "berlin", &socks.url()]);
    telekeep.does(&["account", "proxy", "keeper", "berlin"]);
    // one is the check
    until("the move", || async { socks.carried() >= 2 }).await;
    let direct = telegram.connections()[&here];
    let said = telegram.play(Event::Post { chat, post: Post::text("a ship") }).unwrap();
    let id = said.posted().next().unwrap().1;
    until("the ship", || async { is_known(&pool, chat, id).await }).await;
    assert_eq!(telegram.connections()[&here], direct);
    assert_eq!(telegram.violations(), []);
}
