//! How accounts fare: the lost and the limited are out of the way at once, the others go on as before, and nobody comes before its time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use telekeep_simulator::world::{ChatKind, GeneratedChat};
use telekeep_simulator::{Ended, Fault, Simulator, Standing, World};

use crate::installation::{Worker, until};
use crate::installed::{Installed, datacentre};

const ACCOUNTS: usize = 10;
const HISTORY: &str = "messages.getHistory";
/// Calls are counted for so long before and after.
const COUNTED: Duration = Duration::from_secs(30);
/// By when who is lost must be out of the way.
const QUARANTINE: Duration = Duration::from_secs(5);
/// Longer than what is slept through: a schedule.
const FLOOD_SECONDS: u64 = 12;

fn name(number: usize) -> String {
    format!("account-{number}")
}

fn works(telekeep: &Installed) -> Worker {
    let log = std::fs::File::options().append(true).create(true).open(telekeep.path("log")).unwrap();
    Worker(telekeep.command(&["run"]).stdout(std::process::Stdio::null()).stderr(log).spawn().unwrap())
}

/// Pages of history that each account asked for.
fn pages(datacentre: &Simulator) -> BTreeMap<String, u64> {
    let counts = datacentre.call_counts();
    counts.accounts.into_iter().map(|(name, methods)| (name, methods.get(HISTORY).copied().unwrap_or(0))).collect()
}

/// Every call of an account.
fn calls(datacentre: &Simulator, account: &str) -> u64 {
    datacentre.call_counts().accounts.get(account).map_or(0, |methods| methods.values().sum())
}

/// Pages that these accounts ask for while it is counted.
async fn counted(datacentre: &Simulator, accounts: &[String]) -> u64 {
    let before = pages(datacentre);
    tokio::time::sleep(COUNTED).await;
    let after = pages(datacentre);
    accounts.iter().map(|name| after[name] - before[name]).sum()
}

async fn state(pool: &PgPool, label: &str) -> (String, Option<String>) {
    sqlx::query_as("select state, state_reason from account where label = $1").bind(label).fetch_one(pool).await.unwrap()
}

fn listed(telekeep: &Installed) -> BTreeMap<String, Value> {
    let all: Vec<Value> = serde_json::from_str(&telekeep.does(&["account", "list", "--json"])).unwrap();
    all.into_iter().map(|account| (account["label"].as_str().unwrap().to_owned(), account)).collect()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn ten_accounts_of_which_three_fall_and_all_are_flooded(pool: PgPool) {
    let world = World::generated(5, [GeneratedChat::new(ChatKind::Channel, "Harbour", 400_000).named("harbour")]);
    let datacentre = datacentre(world).await;
    let chat = datacentre.world().chats()[0].id;
    let telekeep = Installed::at(&datacentre, &pool);
    // Telegram's own pace: what is called in a second is the budget's word, not the machine's.
    let configuration = "[telegram]\npace = 1\n[worker]\nlease_seconds = 5\nconcurrency = 24\nper_account = 2\n";
    std::fs::write(telekeep.path("telekeep.toml"), configuration).unwrap();
    let names: Vec<String> = (0..ACCOUNTS).map(name).collect();
    telekeep.does(&["account", "hold", "keeper", "--reason", "only ten"]);
    for name in &names {
        telekeep.adds(&datacentre, name);
    }
    std::fs::create_dir_all(telekeep.path("workflows")).unwrap();
    let workflow = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/new-chat.toml");
    std::fs::copy(workflow, telekeep.path("workflows/new-chat.toml")).unwrap();
    telekeep.does(&["chat", "watch", &chat.to_string(), "--account", &names[0]]);
    let _worker = works(&telekeep);
    until("all accounts to read", || async {
        let pages = pages(&datacentre);
        // What a quiet account may ask for at once is used up.
        names.iter().all(|name| pages.get(name).is_some_and(|count| *count >= 10))
    })
    .await;

    let (revoked, banned, limited) = (&names[0], &names[1], &names[2]);
    let others = &names[3..];
    let before = counted(&datacentre, others).await;

    datacentre.revoke(revoked, Ended::Revoked).unwrap();
    datacentre.set_standing(banned, Standing::Banned).unwrap();
    let refused = Fault { account: Some(limited.clone()), ..Fault::error(400, "PEER_FLOOD").of(HISTORY).times(1) };
    datacentre.fail(refused);
    let began = telekeep::clock::mark();
    until("who is lost to be out of the way", || async {
        state(&pool, revoked).await.0 == "lost" && state(&pool, banned).await.0 == "lost"
    })
    .await;
    let took = began.elapsed();
    println!("quarantined after {:.1} s", took.as_secs_f64());
    assert!(took < QUARANTINE, "it took {took:?}");
    until("the limited one to rest", || async {
        sqlx::query_scalar("select exists (select from account_rest where method = '*')").fetch_one(&pool).await.unwrap()
    })
    .await;
    tokio::time::sleep(QUARANTINE.saturating_sub(began.elapsed())).await;
    let silent: Vec<(&String, u64)> = [revoked, banned, limited].map(|name| (name, calls(&datacentre, name))).to_vec();
    let after = counted(&datacentre, others).await;
    println!("calls of the other {} in {} s: {before} before, {after} after", others.len(), COUNTED.as_secs());
    assert!(after as f64 >= before as f64 * 0.95, "{after} calls after {before}");
    for (name, then) in &silent {
        assert_eq!(calls(&datacentre, name), *then, "{name} was asked again");
    }
    let told = listed(&telekeep);
    assert_eq!((&told[revoked]["state"], &told[banned]["state"]), (&"lost".into(), &"lost".into()));
    assert!(told[banned]["state_reason"].as_str().unwrap().contains("USER_DEACTIVATED_BAN"), "{}", told[banned]);
    assert_eq!(told[limited]["state"], "limited");
    assert!(told[limited]["until"].is_string() && told[limited]["state_reason"].as_str().unwrap().contains("PEER_FLOOD"));
    assert_eq!(told[&names[9]]["state"], "active");

    let shown: Value = serde_json::from_str(&telekeep.does(&["account", "show", &names[9], "--json"])).unwrap();
    let budget = shown["budgets"].as_array().unwrap().iter().find(|budget| budget["method"] == HISTORY).unwrap();
    assert_eq!((&budget["capacity"], &budget["per_second"]), (&4.0.into(), &0.75.into()));
    assert!(budget["left"].as_f64().unwrap() < 2.0, "{budget}");

    // A storm: whoever asks next is told to wait.
    for name in &names {
        let wait = Fault::error(420, &format!("FLOOD_WAIT_{FLOOD_SECONDS}")).of(HISTORY).times(1);
        datacentre.fail(Fault { account: Some(name.clone()), ..wait });
    }
    until("all to be flooded", || async {
        let told = listed(&telekeep);
        others.iter().filter(|name| told[*name]["state"] == "flooded").count() == others.len()
    })
    .await;
    let stopped = pages(&datacentre);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(pages(&datacentre), stopped, "nobody reads during the storm");
    until("all to read again", || async {
        let now = pages(&datacentre);
        others.iter().all(|name| now[name] >= stopped[name] + 3)
    })
    .await;
    for (name, then) in &silent {
        assert_eq!(calls(&datacentre, name), *then, "{name} was asked again");
    }
    assert!(datacentre.violations().is_empty(), "{:?}", datacentre.violations());
    let (failures, held, misplaced): (i64, i64, i64) = sqlx::query_as(
        "select coalesce(sum(failure), 0)::bigint, count(*) filter (where state = 'held'),
                count(*) filter (where state in ('scheduled', 'available') and partition in (select id from account where state <> 'active'))
           from job",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!((failures, held, misplaced), (0, 0, 0), "failures burned, jobs held, jobs left where nobody does them");
    let reader: String =
        sqlx::query_scalar("select a.label from watch w join account a on a.id = w.reader_id").fetch_one(&pool).await.unwrap();
    // Whoever took it over may have been limited later: that is no reason to give a chat away.
    assert!(![revoked, banned].contains(&&reader), "{reader} reads the chat");
    let log = std::fs::read_to_string(telekeep.path("log")).unwrap();
    assert_eq!(log.matches("the account is stopped").count(), 2, "told once each:\n{log}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_held_account_is_silent_and_goes_on_when_it_is_released(pool: PgPool) {
    let world = World::generated(5, [GeneratedChat::new(ChatKind::Channel, "Harbour", 300).named("harbour")]);
    let datacentre = datacentre(world).await;
    let telekeep = Installed::at(&datacentre, &pool);
    std::fs::write(telekeep.path("telekeep.toml"), "[worker]\nlease_seconds = 5\n[live]\nround_seconds = 1\n").unwrap();
    let chat = datacentre.world().chats()[0].id;
    telekeep.does(&["collect", &chat.to_string()]);
    let _worker = works(&telekeep);
    let asked = || calls(&datacentre, "keeper");
    let start = asked();
    until("the stream to ask", || async { asked() > start + 3 }).await;

    telekeep.does(&["account", "hold", "keeper", "--reason", "the owner is away"]);
    tokio::time::sleep(QUARANTINE).await;
    let silent = asked();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(asked(), silent, "a held account is not asked");
    let shown: Value = serde_json::from_str(&telekeep.does(&["account", "show", "keeper", "--json"])).unwrap();
    assert_eq!((&shown["state"], &shown["state_reason"]), (&"held".into(), &"the owner is away".into()));
    assert_eq!((&shown["reads"], &shown["can_read"]), (&1.into(), &1.into()));
    assert_eq!((&shown["chats"][0]["chat_id"], &shown["chats"][0]["readable"]), (&chat.into(), &true.into()));
    let covered = telekeep.coverage(chat);
    assert_eq!(covered["collected"], 300, "what is collected stays collected");

    telekeep.does(&["account", "release", "keeper"]);
    until("the stream to ask again", || async { asked() > silent + 2 }).await;
    assert!(telekeep.refuses(&["account", "release", "keeper"]).contains("it is not held"));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_cannot_be_released_says_what_to_do(pool: PgPool) {
    let channel = |title: &str, name: &str| GeneratedChat::new(ChatKind::Channel, title, 30).named(name);
    let datacentre = datacentre(World::generated(5, [channel("Harbour", "harbour"), channel("Quay", "quayside")])).await;
    let telekeep = Installed::at(&datacentre, &pool);
    let [chat, another] = [0, 1].map(|at| datacentre.world().chats()[at].id.to_string());
    telekeep.does(&["chat", "watch", &chat]);
    datacentre.revoke("keeper", Ended::Duplicated).unwrap();
    let output = telekeep.runs(&["collect", &chat]);
    assert!(!output.status.success());
    let (state, reason) = state(&pool, "keeper").await;
    assert_eq!(state, "held");
    assert!(reason.unwrap().contains("AUTH_KEY_DUPLICATED"));
    let told = telekeep.refuses(&["account", "release", "keeper"]);
    assert!(told.contains("needs a new login (`telekeep account login --label keeper`)"), "{told}");

    telekeep.adds(&datacentre, "other");
    datacentre.revoke("other", Ended::Revoked).unwrap();
    let output = telekeep.runs(&["collect", &another, "--account", "other"]);
    assert!(!output.status.success());
    let told = telekeep.refuses(&["account", "release", "other"]);
    assert!(told.contains("stays lost") && told.contains("sign in again") && told.contains("import"), "{told}");
    let told = telekeep.refuses(&["account", "hold", "other"]);
    assert!(told.contains("stays lost"), "{told}");
}
