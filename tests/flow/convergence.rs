//! Convergence: whatever happens to connections, updates, Elasticsearch and the process, at the end record and index are what the
//! datacentre holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt;
use serde_json::{Value, json};
use sqlx::PgPool;
use telekeep::clock;
use telekeep_simulator::world::{ChatKind, Content, GeneratedChat, Rules, Truth};
use telekeep_simulator::{AccountRequest, Fault, FaultKind, PushFaults, Simulator, World};

use crate::faulty_elasticsearch::FaultyElasticsearch;
use crate::installation::{Telekeep, datacentre, outbox, until};
use crate::playing::Play;

/// How much faster than Telegram's the time of this test goes.
const MULTIPLE: f64 = 5.0;
/// A round of reconciling is at most 30 s of Telegram's time.
const ROUND: Duration = Duration::from_secs(6);
const EVENTS: u64 = 20_000;
const KILLS: usize = 3;
/// One at a time: each takes the machine that it is measured on.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// A version that stood so long while an account was connected is there.
const STOOD: i64 = 5;

fn world(seed: u64) -> World {
    use ChatKind::{Channel, Group, Private, Supergroup};
    let chats = [
        (Channel, "Harbour"),
        (Channel, "Tides"),
        (Channel, "Lights"),
        (Supergroup, "Quay"),
        (Supergroup, "Sailors"),
        (Supergroup, "Ropes"),
        (Group, "Night shift"),
        (Group, "Day shift"),
        (Private, "Maren"),
        (Private, "Jonas"),
    ];
    World::generated(seed, chats.map(|(kind, title)| GeneratedChat::new(kind, title, 250).deleted(0.1).members(40)))
        .under(Rules { multiple: MULTIPLE, ..Rules::default() })
}

/// Which account reads which chat: each has some, the world's own user the private ones.
fn readers(datacentre: &Simulator) -> BTreeMap<i64, &'static str> {
    let labels = ["keeper", "second", "third"];
    let chats = datacentre.world().chats();
    chats
        .iter()
        .enumerate()
        .map(|(at, chat)| (chat.id, if chat.kind == ChatKind::Private { "keeper" } else { labels[at % 3] }))
        .collect()
}

async fn converges(pool: PgPool, seed: u64) {
    let seed = std::env::var("TELEKEEP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(seed);
    println!("seed {seed}: TELEKEEP_SEED={seed} repeats it");
    let _turn = TURN.lock().await;
    let datacentre = datacentre(world(seed)).await;
    datacentre.count_told();
    let proxy = FaultyElasticsearch::start().await;
    let mut telekeep = Telekeep::at(&datacentre, &pool);
    telekeep.server = Some(proxy.address.clone());
    telekeep.configures("[live]\nround_seconds = 2\n[reconcile]\nevery_seconds = 2\n[telegram]\npace = 5\ntimeout_seconds = 5\n");
    telekeep.has_workflow("new-chat");
    telekeep.has_workflow("chat-changed");
    let mut accounts = vec![datacentre.world().me];
    for name in ["second", "third"] {
        let session = datacentre.account_with(&AccountRequest::named(name)).unwrap();
        accounts.extend(session.user_id);
        std::fs::write(telekeep.path(&format!("{name}.json")), serde_json::to_vec(&session).unwrap()).unwrap();
        telekeep.does(&["account", "import", &format!("{name}.json")]);
    }
    let mut worker = Some(telekeep.works());
    until("the streams", || async { count(&pool, "select count(*) from account_stream where dialogs_at is not null").await == 3 })
        .await;
    worker.take();
    let mut watched = readers(&datacentre);
    for (chat, reader) in &watched {
        telekeep.does(&["chat", "watch", &chat.to_string(), "--account", reader, "--purpose", "a test"]);
    }
    worker = Some(telekeep.works());
    let mut up = vec![(tokio::spawn(connected(pool.clone())), i64::MAX)];

    // While the histories are still read, the world goes on.
    let mut play = Play::new(&datacentre, seed, &accounts);
    proxy.troubled.store(true, Ordering::SeqCst);
    let silent: Vec<i64> =
        datacentre.world().chats().iter().filter(|chat| chat.kind.is_channel()).map(|chat| chat.id).skip(1).step_by(2).collect();
    let began = clock::mark();
    let steps = 200;
    let mut kills = 0;
    let mut cuts = 0;
    for step in 0..steps {
        play.goes_on(EVENTS / steps);
        match step % 20 {
            3 => datacentre.fault_pushes(PushFaults { drop: 5, ..PushFaults::default() }),
            6 => datacentre.fault_pushes(PushFaults { duplicate: 5, reorder: 5, ..PushFaults::default() }),
            9 => {
                datacentre.cut();
                cuts += 1;
            }
            12 => datacentre.fault_pushes(PushFaults { too_long: 1, drop: 3, ..PushFaults::default() }),
            15 => datacentre.fail(Fault::new(FaultKind::Reset).of("updates.getChannelDifference").times(1)),
            18 => datacentre.fail(Fault::new(FaultKind::Cut).of("messages.getHistory").times(1)),
            _ => {}
        }
        match step {
            40 => silent.iter().for_each(|chat| datacentre.silence(*chat, true)),
            60 => {
                let (from, to) = play.migrates();
                let reader = watched[&from];
                watched.insert(to, reader);
            }
            50 | 100 | 150 => {
                worker.take();
                kills += 1;
                up.last_mut().unwrap().1 = unix_now();
            }
            54 | 104 | 154 => {
                worker = Some(telekeep.works());
                up.push((tokio::spawn(connected(pool.clone())), i64::MAX));
            }
            _ => {}
        }
        // About so many events a second.
        let at = Duration::from_millis(200 * (step + 1));
        tokio::time::sleep(at.saturating_sub(began.elapsed())).await;
    }
    assert_eq!(kills, KILLS);
    let played = began.elapsed();
    datacentre.heal();
    proxy.troubled.store(false, Ordering::SeqCst);
    assert!(play.played >= EVENTS);

    let stopped = clock::mark();
    let mut differs = String::from("nothing was compared");
    while stopped.elapsed() < 2 * ROUND {
        differs = differences(&pool, &datacentre, &watched).await;
        if differs.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let took = stopped.elapsed();
    if !differs.is_empty() {
        println!("{}", std::fs::read_to_string(telekeep.path("log")).unwrap_or_default());
    }
    assert!(differs.is_empty(), "after {took:?}: {differs}");
    // scripts/chaos reads this line.
    println!("figures: {}", json!({ "events": play.played, "played_s": tenths(played), "converged_s": tenths(took) }));

    tokio::time::sleep(Duration::from_millis(1_500)).await; // the index's refresh interval
    for (chat, reader) in &watched {
        let found = hashes(telekeep.documents(*chat, "index").into_values());
        assert_eq!(found, truth(&datacentre, reader, *chat), "the index of {chat}");
    }
    let mut since = Vec::new();
    for (connected, until) in up {
        since.push((connected.await.unwrap(), until));
    }
    versions_are_there(&pool, &datacentre, &watched, &since).await;
    assert_eq!(datacentre.violations(), []);
    told_once(&pool, &datacentre, kills, cuts).await;
    assert!(proxy.refused.load(Ordering::SeqCst) > 20);
}

fn tenths(it: Duration) -> f64 {
    (it.as_secs_f64() * 10.0).round() / 10.0
}

fn unix_now() -> i64 {
    clock::now().timestamp()
}

/// When the process that has just begun was told of each channel that nothing is missing: from then on its accounts hear them.
async fn connected(pool: PgPool) -> i64 {
    let began: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(&pool).await.unwrap();
    const SILENT: &str = "select b.channel_id, b.verified_at::text, a.label, a.state, l.closed_at::text, n.name, n.works
        from box b left join watch w on w.chat_id = b.channel_id left join account a on a.id = w.reader_id
        left join account_lease l on l.account_id = a.id left join node n on n.id = l.node_id
        where b.channel_id is not null and coalesce(b.verified_at < $1, true)";
    let silent = || sqlx::query(SILENT).bind(began).fetch_all(&pool);
    for _ in 0..600 {
        let followed = count(&pool, "select count(*) from box where channel_id is not null").await;
        if followed >= 6 && silent().await.unwrap().is_empty() {
            return unix_now() + 1;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("since {began} nobody was told of these that nothing is missing: {:?}", silent().await.unwrap());
}

async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

fn truth(datacentre: &Simulator, reader: &str, chat: i64) -> BTreeMap<i64, String> {
    let truth = datacentre.truth_of(reader, chat).unwrap();
    truth.into_iter().map(|it| (i64::from(it.content.message_id), it.content_hash)).collect()
}

/// Of those that exist.
fn hashes(documents: impl Iterator<Item = Value>) -> BTreeMap<i64, String> {
    documents
        .filter(|document| document["deleted_at"].is_null() && document["deleted_between"].is_null())
        .filter(|document| !document["date"].is_null())
        .map(|document| (document["message_id"].as_i64().unwrap(), Truth::hash_of(&Content::of_document(&document).unwrap())))
        .collect()
}

/// What is not as it should be yet.
async fn differences(pool: &PgPool, datacentre: &Simulator, watched: &BTreeMap<i64, &str>) -> String {
    let mut told = String::new();
    for (chat, reader) in watched {
        let documents: Vec<_> = telekeep::projection::documents_of_record(pool, *chat).try_collect().await.unwrap();
        let (found, truth) = (hashes(documents.into_iter().map(Value::Object)), truth(datacentre, reader, *chat));
        let wrong: Vec<_> = truth.iter().filter(|(id, hash)| found.get(id) != Some(hash)).map(|(id, _)| id).collect();
        let beyond: Vec<_> = found.keys().filter(|id| !truth.contains_key(id)).collect();
        if !wrong.is_empty() || !beyond.is_empty() {
            told += &format!(
                "{chat} of {reader}: {} of {} lack or differ, as {:?}, {} are too many, as {:?}\n",
                wrong.len(),
                truth.len(),
                wrong.iter().take(5).collect::<Vec<_>>(),
                beyond.len(),
                beyond.iter().take(5).collect::<Vec<_>>()
            );
            if let Some(id) = wrong.first().or(beyond.first()) {
                let lines = datacentre.world().versions(*chat).unwrap();
                let lines =
                    lines.iter().filter(|line| i64::from(line.message_id) == **id).map(|line| (line.event, line.what, line.date));
                told += &format!("  what happened to {id}: {:?}\n", lines.collect::<Vec<_>>());
            }
        }
    }
    let mut conn = pool.acquire().await.unwrap();
    for row in telekeep::record::report::coverage_report(&mut conn, None).await.unwrap() {
        if row.missing + row.stale + row.dead > 0 {
            told += &format!("{}: missing {}, stale {}, dead {}\n", row.chat_id, row.missing, row.stale, row.dead);
        }
    }
    let left = outbox(pool).await;
    if left > 0 {
        told += &format!("{left} documents wait in the outbox\n");
    }
    told
}

/// Each version that stood long enough while its reader was connected.
async fn versions_are_there(pool: &PgPool, datacentre: &Simulator, watched: &BTreeMap<i64, &str>, up: &[(i64, i64)]) {
    let (mut expected, mut lacking) = (0, Vec::new());
    for chat in watched.keys() {
        // Ids of an account's own box are not the world's: only channels are compared by id.
        if !datacentre.world().chat(*chat).unwrap().kind.is_channel() {
            continue;
        }
        let kept: BTreeSet<(i64, String)> = sqlx::query_as::<_, (i64, String)>(
            "select message_id, body->>'text' from message_version where chat_id = $1 and body ? 'text'
            union select message_id, body->>'text' from message where chat_id = $1 and body ? 'text'",
        )
        .bind(chat)
        .fetch_all(pool)
        .await
        .unwrap()
        .into_iter()
        .collect();
        let mut of_message: BTreeMap<i32, Vec<_>> = BTreeMap::new();
        for line in datacentre.world().versions(*chat).unwrap() {
            of_message.entry(line.message_id).or_default().push(line);
        }
        for lines in of_message.values() {
            for (at, line) in lines.iter().enumerate() {
                let Some(truth) = &line.truth else { continue };
                if line.what == "born" || truth.content.text.is_empty() {
                    continue;
                }
                let ended = lines.get(at + 1).map_or(i64::MAX, |next| next.date);
                // Before the first connection there was no state to go on from: the history reads what stands when it comes there.
                let since_first = line.date >= up[0].0;
                // Dates are whole seconds.
                let stood = since_first && up.iter().any(|(from, to)| ended.min(*to) - line.date.max(*from) > STOOD);
                if stood {
                    expected += 1;
                    let version = (i64::from(line.message_id), truth.content.text.clone());
                    if !kept.contains(&version) {
                        lacking.push(format!("{chat}: {version:?} stood from {} to {ended}", line.date));
                    }
                }
            }
        }
    }
    assert!(lacking.is_empty(), "connected in {up:?}, but of {expected} versions these lack:\n{}", lacking.join("\n"));
    assert!(expected > 1_000, "{expected} versions stood long enough");
}

/// No message was told twice by a history, but for each fault, kill and refresh.
async fn told_once(pool: &PgPool, datacentre: &Simulator, kills: usize, cuts: usize) {
    let again: u64 = datacentre.told().values().map(|times| u64::from(times - 1)).sum();
    let refreshes = count(pool, "select coalesce(sum(attempt), 0)::bigint from job where kind = 'chat_refresh'").await as u64;
    // Two jobs of each account may be at a page.
    let pages = (kills * 3 * 2 + cuts * 3 * 2 + 10) as u64;
    println!("told again: {again}; {refreshes} refreshes, {pages} pages may be asked for twice");
    assert!(again <= refreshes + pages * 100);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn record_and_index_become_what_the_datacentre_holds(pool: PgPool) {
    converges(pool, 1).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn record_and_index_become_what_the_datacentre_holds_by_another_seed(pool: PgPool) {
    converges(pool, 2).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn record_and_index_become_what_the_datacentre_holds_by_a_third_seed(pool: PgPool) {
    converges(pool, 3).await;
}
