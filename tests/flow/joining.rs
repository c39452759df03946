//! Joining and leaving, against a datacentre whose rules count who goes too fast.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use telekeep_simulator::world::events::Way;
use telekeep_simulator::world::{ChatKind, Event, GeneratedChat, Rules};
use telekeep_simulator::{AccountRequest, Ended, Fault, Simulator, World};

use crate::installation::until;
use crate::installed::{Installed, datacentre};

/// So many times faster than Telegram's goes the time of the rules, and so many times faster joins follow each other.
const MULTIPLE: f64 = 60.0;

/// Nine public channels and three private groups.
async fn world() -> Simulator {
    let public = (1..=9).map(|n| GeneratedChat::new(ChatKind::Channel, &format!("Pier {n}"), 20).named(&format!("pier_{n}")));
    let private = (1..=3).map(|n| GeneratedChat::new(ChatKind::Supergroup, &format!("Room {n}"), 20));
    let datacentre = datacentre(World::generated(11, public.chain(private))).await;
    datacentre.set_rules(Some(Rules { multiple: MULTIPLE, ..Rules::default() })).unwrap();
    for n in 1..=3 {
        opens(&datacentre, n, false);
    }
    datacentre
}

fn chat(datacentre: &Simulator, title: &str) -> i64 {
    datacentre.world().chats().iter().find(|chat| chat.title == title).unwrap().id
}

fn hash(room: usize) -> String {
    format!("RoOm{room}SeCrEtInViTe")
}

/// A room has an invite link.
fn opens(datacentre: &Simulator, room: usize, approval: bool) {
    let chat = chat(datacentre, &format!("Room {room}"));
    datacentre.play(Event::InviteLink { chat, hash: hash(room), revoked: false, approval }).unwrap();
}

/// Accounts that are in no chat.
fn installed(datacentre: &Simulator, pool: &PgPool, accounts: &[&str]) -> Installed {
    for name in accounts {
        datacentre.account_with(&AccountRequest { chats: Some(Vec::new()), ..AccountRequest::named(name) }).unwrap();
    }
    let telekeep = Installed::at(datacentre, pool);
    for name in accounts.iter().filter(|name| **name != "keeper") {
        telekeep.adds(datacentre, name);
    }
    let configuration = format!("[telegram]\npace = {MULTIPLE}\n[worker]\nlease_seconds = 3\n[live]\nround_seconds = 2\n");
    std::fs::write(telekeep.path("telekeep.toml"), configuration).unwrap();
    telekeep
}

/// A working process, killed at the latest when the test ends.
struct Worker(Child);

impl Worker {
    fn of(telekeep: &Installed) -> Self {
        let log = std::fs::File::options().append(true).create(true).open(telekeep.path("log")).unwrap();
        Self(telekeep.command(&["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn joins(telekeep: &Installed) -> Vec<Value> {
    serde_json::from_str(&telekeep.does(&["chat", "joins", "--json"])).unwrap()
}

fn state(telekeep: &Installed, target: &str) -> String {
    let joins = joins(telekeep);
    let newest = joins.iter().find(|join| join["target"] == target).unwrap_or_else(|| panic!("{target} in {joins:?}"));
    newest["state"].as_str().unwrap().to_owned()
}

async fn becomes(telekeep: &Installed, target: &str, wanted: &str) {
    until(&format!("{target} to be {wanted}"), || async { state(telekeep, target) == wanted }).await;
}

/// Who is in a chat, by account name.
fn is_in(datacentre: &Simulator, chat: i64) -> usize {
    let standings = datacentre.world().standings(chat).unwrap();
    let mut last = BTreeMap::new();
    for stood in standings {
        last.insert(stood.user_id, stood.standing);
    }
    last.values().filter(|standing| standing.is_member()).count()
}

async fn count(pool: &PgPool, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(pool).await.unwrap()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn twelve_joins_are_shared_by_three_accounts_and_provoke_nothing(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, &["keeper", "second", "third"]);
    let mut lines = String::from("# what was found\n\n@pier_1\nt.me/pier_2\n");
    for n in 3..=9 {
        lines.push_str(&format!("  https://t.me/pier_{n}\n"));
    }
    lines.push_str(&format!("https://t.me/+{}\ntg://join?invite={}\nt.me/joinchat/{}\n@PIER_1\n", hash(1), hash(2), hash(3)));
    std::fs::write(telekeep.path("wanted"), &lines).unwrap();

    let told = telekeep.does(&["chat", "join", "--file", "wanted", "--dry-run"]);
    for account in ["keeper", "second", "third"] {
        assert_eq!(told.matches(&format!(" {account} ")).count(), 4, "{told}");
    }
    assert!(told.contains("at once") && !told.contains(&hash(1)[..12]), "{told}");
    assert!(joins(&telekeep).is_empty() && count(&pool, "select count(*) from job").await == 0, "a dry run changes nothing");

    let asked = telekeep.runs(&["chat", "join", "--file", "wanted"]);
    assert!(String::from_utf8_lossy(&asked.stderr).contains("no worker is running"), "{asked:?}");
    assert_eq!(String::from_utf8_lossy(&asked.stdout).lines().count(), 12);
    let again = telekeep.does(&["chat", "join", "@pier_1"]);
    assert!(again.contains("was asked for before and is waiting"), "{again}");

    let _worker = Worker::of(&telekeep);
    until("all joins", || async { count(&pool, "select count(*) from chat_join where state = 'joined'").await == 12 }).await;
    let joins = joins(&telekeep);
    assert_eq!(joins.len(), 12);
    assert!(joins.iter().all(|join| join["state"] == "joined" && join["chat_id"].is_i64()), "{joins:?}");
    for account in ["keeper", "second", "third"] {
        assert_eq!(joins.iter().filter(|join| join["account"] == account).count(), 4, "{account}");
    }
    for one in datacentre.world().chats() {
        assert_eq!(is_in(&datacentre, one.id), 1, "{}", one.title);
    }
    assert!(datacentre.violations().is_empty(), "{:?}", datacentre.violations());
    assert_eq!(datacentre.calls("channels.joinChannel") + datacentre.calls("messages.importChatInvite"), 12);

    // Invites are in no table, log or answer.
    let log = std::fs::read_to_string(telekeep.path("log")).unwrap();
    let shown = telekeep.does(&["job", "list", "--kind", "chat_join", "--json"])
        + telekeep.does(&["chat", "joins"]).as_str()
        + log.as_str();
    assert!(!shown.contains(&hash(1)) && shown.contains("t.me/+RoOm…"), "{shown}");
    let plain: i64 = sqlx::query_scalar(
        "select count(*) from chat_join j where j::text like '%SeCrEt%' or position('SeCrEt'::bytea in invite) > 0",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(plain, 0);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_names_nothing_is_told_by_its_line_before_anything_is_asked(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, &["keeper"]);
    std::fs::write(telekeep.path("wanted"), "@pier_1\n\nwhat is this\nt.me/+4915112345678\n").unwrap();
    let told = telekeep.refuses(&["chat", "join", "--file", "wanted"]);
    assert!(told.contains("wanted:3: it names nothing to join") && told.contains("wanted:4: it names"), "{told}");
    let told = telekeep.refuses(&["chat", "join", "--file", "nowhere"]);
    assert!(told.contains("nowhere cannot be read"), "{told}");
    let told = telekeep.refuses(&["chat", "join", &format!("t.me/+{}", hash(1)), "--watch"]);
    assert!(told.contains("--purpose"), "{told}");
    assert!(joins(&telekeep).is_empty());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_joined_chat_is_watched_and_workflows_begin_and_it_is_left(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, &["keeper"]);
    std::fs::create_dir_all(telekeep.path("workflows")).unwrap();
    let workflow = "name = \"joined\"\n[trigger]\nlistener = [\"chat.joined\"]\n[[step]]\nname = \"refresh\"\njob = \"chat_refresh\"\n\
                    [[step]]\nname = \"history\"\njob = \"history_fetch\"\nafter = [\"refresh\"]\n";
    std::fs::write(telekeep.path("workflows/joined.toml"), workflow).unwrap();
    let _worker = Worker::of(&telekeep);
    let link = format!("https://t.me/+{}", hash(1));
    telekeep.does(&["chat", "join", &link, "--watch", "--purpose", "a test", "--tag", "rooms", "--wait"]);
    let room = chat(&datacentre, "Room 1");
    until("the history of what was joined", || async {
        count(&pool, "select count(*) from workflow_run where workflow = 'joined' and state = 'done'").await == 1
    })
    .await;
    assert_eq!(telekeep.documents(room).len(), datacentre.truth_of("keeper", room).unwrap().len());
    let watched: Value = serde_json::from_str(&telekeep.does(&["chat", "list", "--json"])).unwrap();
    assert_eq!(
        (&watched[0]["chat_id"], &watched[0]["purpose"], &watched[0]["tags"][0]),
        (&room.into(), &"a test".into(), &"rooms".into())
    );

    telekeep.does(&["chat", "leave", &room.to_string()]);
    becomes(&telekeep, "t.me/+RoOm…", "left").await;
    assert_eq!(is_in(&datacentre, room), 0);
    let told = telekeep.refuses(&["chat", "leave", &room.to_string()]);
    assert!(told.contains("no account is known to be in chat"), "{told}");
    assert!(datacentre.violations().is_empty(), "{:?}", datacentre.violations());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_request_is_granted_later(pool: PgPool) {
    let datacentre = world().await;
    opens(&datacentre, 2, true);
    let telekeep = installed(&datacentre, &pool, &["keeper"]);
    let _worker = Worker::of(&telekeep);
    let asked = telekeep.does(&["chat", "join", &format!("t.me/+{}", hash(2)), "--wait"]);
    assert!(asked.contains("is requested"), "{asked}");
    let room = chat(&datacentre, "Room 2");
    let [user] = datacentre.world().chat(room).unwrap().requests()[..] else { panic!("one asked") };
    // Looking is not asking again.
    sqlx::query("update chat_join set look_at = now()").execute(&pool).await.unwrap();
    until("a look", || async { count(&pool, "select count(*) from chat_join where looks = 1").await == 1 }).await;
    until("its end", || async { count(&pool, "select count(*) from job where kind = 'chat_join' and state <> 'done'").await == 0 })
        .await;
    assert_eq!(state(&telekeep, "t.me/+RoOm…"), "requested");
    assert_eq!(datacentre.calls("messages.importChatInvite"), 1);
    assert_eq!(
        count(&pool, "select count(*) from chat_join where look_at > now() + interval '15 minutes'").await,
        1,
        "pauses grow"
    );

    // Telegram tells the account that it is in: nobody waits for the pause's end. Looks are a minute apart, though.
    sqlx::query("update chat_join set looked_at = now() - interval '1 minute'").execute(&pool).await.unwrap();
    datacentre.play(Event::Join { chat: room, user, by: Way::Request }).unwrap();
    becomes(&telekeep, "t.me/+RoOm…", "joined").await;
    assert_eq!(joins(&telekeep)[0]["chat_id"], room);
    assert_eq!(datacentre.calls("messages.importChatInvite"), 1);
    assert!(datacentre.violations().is_empty(), "{:?}", datacentre.violations());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_full_account_hands_over_and_is_known_as_full(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, &["keeper", "second"]);
    let _worker = Worker::of(&telekeep);
    datacentre.fail(Fault::error(400, "CHANNELS_TOO_MUCH").of("channels.joinChannel").times(1));
    telekeep.does(&["chat", "join", "@pier_1", "--wait"]);
    let joined = &joins(&telekeep)[0];
    assert_eq!((joined["state"].as_str(), joined["account"].as_str()), (Some("joined"), Some("second")));
    assert_eq!(count(&pool, "select count(*) from chat_join").await, 1);
    // The next one does not even try, though it is in fewer chats.
    let told = telekeep.does(&["chat", "join", "@pier_2", "--dry-run"]);
    assert!(told.contains(" second "), "{told}");
    telekeep.does(&["chat", "join", "@pier_2", "--wait"]);
    assert_eq!(datacentre.calls("channels.joinChannel"), 3);

    // Named by the operator it is told the truth, and nobody else takes over.
    datacentre.fail(Fault::error(400, "USER_CHANNELS_TOO_MUCH").of("channels.joinChannel").times(1));
    let refused = telekeep.runs(&["chat", "join", "@pier_3", "--account", "keeper", "--wait"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stdout).contains("is refused: CHANNELS_TOO_MUCH"), "{refused:?}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn who_had_a_chat_joins_it_again(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, &["keeper", "second"]);
    let _worker = Worker::of(&telekeep);
    telekeep.does(&["chat", "join", "@pier_1", "@pier_2", "@pier_3", "--account", "second", "--wait"]);
    let pier = chat(&datacentre, "Pier 1");
    telekeep.does(&["chat", "leave", "@pier_1"]);
    becomes(&telekeep, "@pier_1", "left").await;
    // The other one has fewer chats, but the account that had it is to come back.
    let told = telekeep.does(&["chat", "join", "t.me/pier_1", "--dry-run"]);
    assert!(told.contains(" second ") && told.contains("it had the chat before"), "{told}");
    telekeep.does(&["chat", "join", "t.me/pier_1", "--wait"]);
    assert_eq!((state(&telekeep, "@pier_1").as_str(), is_in(&datacentre, pier)), ("joined", 1));
    assert!(joins(&telekeep).iter().all(|join| join["account"] == "second"));

    // Who is in a chat already has joined it, without asking for it.
    let calls = datacentre.calls("channels.joinChannel");
    telekeep.does(&["chat", "join", "@pier_2", "--wait"]);
    assert_eq!(datacentre.calls("channels.joinChannel"), calls);
    assert!(datacentre.violations().is_empty(), "{:?}", datacentre.violations());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_telegram_refuses_is_told_and_not_asked_again(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, &["keeper"]);
    let _worker = Worker::of(&telekeep);
    datacentre.fail(Fault::error(400, "CHANNEL_PRIVATE").of("channels.joinChannel").times(1));
    let told = telekeep.runs(&["chat", "join", "t.me/+NoSuchInviteAnywhere", "@nobody_here", "@pier_1", "--wait"]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for reason in ["INVITE_HASH_EXPIRED", "USERNAME_NOT_OCCUPIED", "CHANNEL_PRIVATE"] {
        assert!(told.contains(&format!("is refused: {reason}")), "{told}");
    }
    let calls = || {
        (
            datacentre.calls("messages.checkChatInvite"),
            datacentre.calls("contacts.resolveUsername"),
            datacentre.calls("channels.joinChannel"),
        )
    };
    let before = calls();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(calls(), before, "nothing is asked in a loop");
    assert_eq!(count(&pool, "select count(*) from job where kind = 'chat_join' and state <> 'done'").await, 0);
    assert_eq!(datacentre.calls("messages.importChatInvite"), 0, "what has expired is not tried");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_worker_killed_between_join_and_record_joins_once(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, &["keeper"]);
    // The answer does not reach the worker before it is killed.
    let worker = Worker::of(&telekeep);
    datacentre.set_latency(Duration::from_secs(4));
    telekeep.does(&["chat", "join", &format!("t.me/+{}", hash(3))]);
    let room = chat(&datacentre, "Room 3");
    until("the join at Telegram", || async { is_in(&datacentre, room) == 1 }).await;
    drop(worker);
    assert_eq!(state(&telekeep, "t.me/+RoOm…"), "waiting");
    datacentre.set_latency(Duration::ZERO);
    let _worker = Worker::of(&telekeep);
    becomes(&telekeep, "t.me/+RoOm…", "joined").await;
    assert_eq!(joins(&telekeep)[0]["chat_id"], room);
    assert_eq!(datacentre.calls("messages.importChatInvite"), 1);
    assert!(datacentre.violations().is_empty(), "{:?}", datacentre.violations());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_workflow_brings_back_only_what_its_allow_list_names(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, &["keeper"]);
    let (one, two) = (chat(&datacentre, "Room 1"), chat(&datacentre, "Room 2"));
    {
        let _worker = Worker::of(&telekeep);
        let links = [format!("t.me/+{}", hash(1)), format!("t.me/+{}", hash(2))];
        telekeep.does(&["chat", "join", &links[0], &links[1], "--watch", "--purpose", "a test", "--wait"]);
    }
    let user = datacentre.world().standings(one).unwrap()[0].user_id;
    let by = datacentre.world().me;
    for chat in [one, two] {
        datacentre.play(Event::Kick { chat, user, by }).unwrap();
    }
    std::fs::create_dir_all(telekeep.path("workflows")).unwrap();
    let step = "[[step]]\nname = \"again\"\njob = \"chat_join\"\n";
    let file = telekeep.path("workflows/again.toml");
    std::fs::write(&file, format!("name = \"again\"\n{step}")).unwrap();
    let told = telekeep.refuses(&["workflow", "validate"]);
    assert!(told.contains("again.toml:4: a step chat_join joins nothing that the file does not name"), "{told}");
    std::fs::write(&file, format!("name = \"again\"\n{step}[allow]\njoin = [77]\n")).unwrap();
    assert!(telekeep.refuses(&["workflow", "validate"]).contains("again.toml:6: not a chat that can be joined"));
    std::fs::write(&file, format!("name = \"again\"\n{}", step.replace("chat_join", "chat_leave"))).unwrap();
    assert!(telekeep.refuses(&["workflow", "validate"]).contains("chat_leave is an operator's alone"));
    std::fs::write(&file, format!("name = \"again\"\n{step}[allow]\njoin = [{one}, \"@pier_9\"]\n")).unwrap();

    let _worker = Worker::of(&telekeep);
    until("that the account lost both chats", || async {
        count(&pool, "select count(*) from coverage_access where not readable").await == 2
    })
    .await;
    telekeep.does(&["workflow", "run", "again"]);
    until("both runs", || async {
        count(&pool, "select count(*) from workflow_run where workflow = 'again' and state = 'done'").await == 2
    })
    .await;
    assert_eq!((is_in(&datacentre, one), is_in(&datacentre, two)), (1, 0));
    let again: Vec<Value> = joins(&telekeep).into_iter().filter(|join| join["asked_by"] == "workflow again").collect();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0]["chat_id"].as_i64(), again[0]["state"].as_str()), (Some(one), Some("joined")));
    until("that it is readable again", || async { count(&pool, "select count(*) from coverage_access where readable").await == 1 })
        .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_joins_that_a_lost_account_had_before_it_go_to_the_others(pool: PgPool) {
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, &["keeper", "second"]);
    telekeep.does(&["chat", "join", "@pier_1", "@pier_2", "@pier_3", "@pier_4", "@pier_5", "@pier_6"]);
    let of_keeper = "select count(*) from chat_join j join account a on a.id = j.account_id where a.label = 'keeper'";
    assert_eq!(count(&pool, of_keeper).await, 3);
    // Lost before its first call: some of its joins have jobs that nobody runs any more.
    datacentre.revoke("keeper", Ended::Revoked).unwrap();
    let _worker = Worker::of(&telekeep);
    until("all joins", || async { count(&pool, "select count(*) from chat_join where state = 'joined'").await == 6 }).await;
    assert_eq!(count(&pool, of_keeper).await, 0, "each is the other's now");
    until("no job to be left", || async {
        count(&pool, "select count(*) from job where kind = 'chat_join' and state not in ('done', 'cancelled')").await == 0
    })
    .await;
    assert_eq!(datacentre.calls("channels.joinChannel"), 6);
    assert_eq!(datacentre.violations(), []);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_flood_of_one_way_to_join_rests_the_other_too(pool: PgPool) {
    const FLOOD: Duration = Duration::from_secs(12);
    let datacentre = world().await;
    let telekeep = installed(&datacentre, &pool, &["keeper"]);
    let join = "channels.joinChannel";
    datacentre.fail(Fault::error(420, &format!("FLOOD_WAIT_{}", FLOOD.as_secs())).of(join).times(1));
    let _worker = Worker::of(&telekeep);
    telekeep.does(&["chat", "join", "@pier_1"]);
    until("the flood", || async { datacentre.calls(join) == 1 }).await;
    let refused = telekeep::clock::mark();
    telekeep.does(&["chat", "join", &format!("t.me/+{}", hash(1))]);
    let asked = || datacentre.calls(join) + datacentre.calls("messages.importChatInvite");
    while refused.elapsed() < FLOOD - Duration::from_secs(2) {
        assert_eq!(asked(), 1, "nobody joins while Telegram asks to wait");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    until("both joins", || async { count(&pool, "select count(*) from chat_join where state = 'joined'").await == 2 }).await;
    assert_eq!(
        count(&pool, "select coalesce(sum(failure), 0) from job where kind = 'chat_join'").await,
        0,
        "waiting is not failing"
    );
    assert_eq!(datacentre.violations(), []);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_basic_group_is_left(pool: PgPool) {
    let datacentre = datacentre(World::generated(4, [GeneratedChat::new(ChatKind::Group, "Night shift", 30).members(5)])).await;
    let telekeep = Installed::at(&datacentre, &pool);
    let group = chat(&datacentre, "Night shift");
    telekeep.does(&["collect", &group.to_string()]);
    let kept = telekeep.documents(group).len();
    let _worker = Worker::of(&telekeep);
    telekeep.does(&["chat", "leave", &group.to_string(), "--account", "keeper"]);
    until("the job's end", || async {
        count(&pool, "select count(*) from job where kind = 'chat_leave' and state = 'done'").await == 1
    })
    .await;
    let standings = datacentre.world().standings(group).unwrap();
    let last = standings.iter().rev().find(|it| it.user_id == datacentre.world().me).expect("the account was told to be out");
    assert!(!last.standing.is_member(), "{last:?}");
    assert!(telekeep.documents(group).len() >= kept && kept > 20, "what was collected stays");
    assert_eq!(count(&pool, "select count(*) from membership where member").await, 0);
}
