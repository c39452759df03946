//! Several accounts, one chat: it is collected once, by the best; when that one can no longer, the next one goes on where it was.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use telekeep::account::{Accounts, LostKey, SessionFile, reader};
use telekeep::record::{AccountId, ChatId, reader as table};
use telekeep::telegram::TelegramConfig;
use telekeep_simulator::world::{ChatKind, Event, GeneratedChat, Post};
use telekeep_simulator::{Ended, Fault, Simulator, World};

use crate::installation::{Worker, until};
use crate::installed::{Installed, datacentre};

fn works(telekeep: &Installed) -> Worker {
    let log = std::fs::File::options().append(true).create(true).open(telekeep.path("log")).unwrap();
    Worker(telekeep.command(&["run"]).stdout(std::process::Stdio::null()).stderr(log).spawn().unwrap())
}

async fn reader_of(pool: &PgPool, chat: i64) -> Option<String> {
    sqlx::query_scalar("select a.label from watch w join account a on a.id = w.reader_id where w.chat_id = $1")
        .bind(chat)
        .fetch_optional(pool)
        .await
        .unwrap()
}

fn posts(datacentre: &Simulator, chat: i64, text: &str) -> i32 {
    let record = datacentre.play(Event::Post { chat, post: Post::text(text) }).unwrap();
    record.posted().next().unwrap().1
}

/// Who heard a message, once it is there.
async fn heard_by(pool: &PgPool, chat: i64, id: i32) -> String {
    let of = "select a.label from message m join account a on a.id = m.account_id where m.chat_id = $1 and m.message_id = $2 and m.body is not null";
    let find = || async { sqlx::query_scalar(of).bind(chat).bind(i64::from(id)).fetch_optional(pool).await.unwrap() };
    let mut found: Option<String> = None;
    for _ in 0..600 {
        found = find().await;
        if found.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    found.unwrap_or_else(|| panic!("message {id} of {chat} was not heard"))
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_next_reader_goes_on_where_the_last_one_stopped(pool: PgPool) {
    let world = World::generated(
        9,
        [
            GeneratedChat::new(ChatKind::Channel, "Harbour", 120).named("harbour"),
            GeneratedChat::new(ChatKind::Private, "Maren", 10),
        ],
    );
    let datacentre = datacentre(world).await;
    let telekeep = Installed::at(&datacentre, &pool);
    let configuration = "[worker]\nlease_seconds = 5\n[live]\nround_seconds = 1\n[reconcile]\nevery_seconds = 2\n";
    std::fs::write(telekeep.path("telekeep.toml"), configuration).unwrap();
    for name in ["bert", "carl"] {
        telekeep.adds(&datacentre, name);
    }
    let chats = datacentre.world().chats();
    let (chat, private) = (chats[0].id, chats[1].id);
    telekeep.does(&["collect", &chat.to_string(), "--account", "keeper"]);
    telekeep.does(&["chat", "watch", &private.to_string(), "--account", "keeper", "--purpose", "a test"]);
    let _worker = works(&telekeep);
    until("the stream to begin", || async {
        sqlx::query_scalar::<_, i64>("select count(*) from account_stream where dialogs_at is not null")
            .fetch_one(&pool)
            .await
            .unwrap()
            == 3
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(heard_by(&pool, chat, posts(&datacentre, chat, "one")).await, "keeper");

    datacentre.revoke("keeper", Ended::Revoked).unwrap();
    let missed = posts(&datacentre, chat, "while nobody listens");
    let began = telekeep::clock::mark();
    until("another reader", || async { reader_of(&pool, chat).await.as_deref() != Some("keeper") }).await;
    println!("another one reads after {:.1} s", began.elapsed().as_secs_f64());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(reader_of(&pool, chat).await.as_deref(), Some("bert"));
    assert_eq!(heard_by(&pool, chat, missed).await, "bert", "the difference from where the box stands tells it");
    assert_eq!(heard_by(&pool, chat, posts(&datacentre, chat, "two")).await, "bert");
    assert_eq!(reader_of(&pool, private).await.as_deref(), Some("keeper"), "an account's own box never moves");

    // Banned from the chat: the next one.
    let user = |name: &str| datacentre.account(name).unwrap().user_id.unwrap();
    let by = datacentre.members(chat).unwrap()[0].user_id;
    datacentre.play(Event::Ban { chat, user: user("bert"), by, until: 0 }).unwrap();
    until("the third reader", || async { reader_of(&pool, chat).await.as_deref() == Some("carl") }).await;
    assert_eq!(heard_by(&pool, chat, posts(&datacentre, chat, "three")).await, "carl");
    datacentre.play(Event::Ban { chat, user: user("carl"), by, until: 0 }).unwrap();

    // Nobody is left: the ledger says who could see what.
    until("nobody to read it", || async {
        sqlx::query_scalar::<_, i64>("select count(*) from coverage_access where not readable").fetch_one(&pool).await.unwrap() == 2
    })
    .await;
    let shown: Value = serde_json::from_str(&telekeep.does(&["chat", "show", &chat.to_string(), "--json"])).unwrap();
    let access: Vec<(&str, bool, &str)> = shown["access"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert!(one["checked_at"].is_string());
            (one["account"].as_str().unwrap(), one["readable"].as_bool().unwrap(), one["reason"].as_str().unwrap())
        })
        .collect();
    assert_eq!(access.len(), 3, "{access:?}");
    assert!(access[0].0 == "keeper" && !access[0].1 && access[0].2.contains("SESSION_REVOKED"), "{access:?}");
    for (at, name) in [(1, "bert"), (2, "carl")] {
        assert_eq!(access[at], (name, false, "CHANNEL_PRIVATE"));
    }
    let lost = posts(&datacentre, chat, "four");
    sqlx::query("update coverage set top = $1 where chat_id = $2").bind(i64::from(lost)).bind(chat).execute(&pool).await.unwrap();
    let covered = telekeep.coverage(chat);
    assert_eq!((&covered["inaccessible"], &covered["missing"]), (&1.into(), &0.into()), "{covered}");
    assert_eq!(covered["access"].as_array().unwrap().len(), 3);
    let failures: i64 = sqlx::query_scalar("select coalesce(sum(failure), 0)::bigint from job").fetch_one(&pool).await.unwrap();
    assert_eq!(failures, 0);
}

struct Choosing {
    accounts: Accounts,
    ids: Vec<AccountId>,
    _folder: tempfile::TempDir,
}

/// Three accounts that know a chat, the first of which is told its sight of it.
async fn choosing(pool: &PgPool, chat: ChatId) -> Choosing {
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(pool.clone(), TelegramConfig::new(1, "hash"), folder.path().join("seal.key"));
    let mut ids = Vec::new();
    for (user, label) in [(1, "anna"), (2, "bert"), (3, "carl")] {
        let text = serde_json::json!({"dc": 2, "address": "127.0.0.1", "port": 9, "key": "ab".repeat(256), "user_id": user});
        let file = SessionFile::parse(std::path::Path::new("test.json"), text.to_string().as_bytes()).unwrap();
        let id = accounts.import(label, &file.session(), LostKey::Refuse).await.unwrap().id;
        let known = telekeep::account::Peer { id: chat.0, access_hash: Some(5), username: None };
        telekeep::record::account::note_peers(&mut pool.acquire().await.unwrap(), id, &[known]).await.unwrap();
        ids.push(id);
    }
    Choosing { accounts, ids, _folder: folder }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_reader_is_chosen_by_health_then_sight_then_budget_then_load(pool: PgPool) {
    let chat = ChatId(-1_001_234_567_890);
    let it = choosing(&pool, chat).await;
    let [anna, bert, carl] = it.ids[..] else { panic!() };
    let chosen = || async { it.accounts.reader_of(chat).await.unwrap().account };
    let run = async |sql: &'static str, account: AccountId| {
        sqlx::query(sql).bind(account.0).bind(chat.0).execute(&pool).await.unwrap();
    };
    assert_eq!(chosen().await, anna, "ties by id");
    run("insert into watch (chat_id, reader_id) select $2 - 1, $1", anna).await;
    assert_eq!(chosen().await, bert, "the one that reads fewer chats");
    run("insert into account_budget (account_id, method, tokens) select $1, 'messages.getHistory', -30 where $2 < 0", bert).await;
    assert_eq!(chosen().await, carl, "one that may ask now");
    run("insert into coverage_access (account_id, chat_id, readable, visible_from) values ($1, $2, true, 50)", bert).await;
    assert_eq!(chosen().await, bert, "one that was told that it can");
    run("insert into coverage_access (account_id, chat_id, readable, visible_from) values ($1, $2, true, 1)", anna).await;
    assert_eq!(chosen().await, anna, "the one that sees further back");
    run("insert into account_rest (account_id, method, until, reason) select $1, 'messages.getHistory', now() + interval '1 hour', '' where $2 < 0", anna).await;
    assert_eq!(chosen().await, bert, "one that does not rest");
    run(
        "insert into account_rest (account_id, method, until, reason) select $1, '*', now() + interval '1 day', '' where $2 < 0",
        bert,
    )
    .await;
    assert_eq!(chosen().await, carl, "one that is neither flooded nor limited");
    // A chat stays with the reader that it has.
    run("insert into watch (chat_id, reader_id) values ($2, $1)", anna).await;
    assert_eq!(chosen().await, anna, "a flood is no reason to give a chat away");
    let handed = table::hand_over(&mut pool.acquire().await.unwrap(), chat, reader::reading()).await.unwrap();
    assert_eq!(handed, None);
    run("update account set state = 'held' where id = $1 and $2 < 0", anna).await;
    let handed = table::hand_over(&mut pool.acquire().await.unwrap(), chat, reader::reading()).await.unwrap().unwrap();
    assert_eq!((handed.from, handed.to), (Some(anna), carl));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_jobs_that_wait_go_with_the_chat(pool: PgPool) {
    let chat = ChatId(-1_001_234_567_890);
    let it = choosing(&pool, chat).await;
    let [anna, bert, carl] = it.ids[..] else { panic!() };
    sqlx::query("insert into watch (chat_id, reader_id) values ($1, $2)").bind(chat.0).bind(anna.0).execute(&pool).await.unwrap();
    let job = |window: i64, partition: AccountId| {
        let mut job = telekeep_queue::NewJob::new(
            "history_fetch",
            serde_json::json!({"chat": chat.0, "window": {"from": window * 5000 + 1, "to": (window + 1) * 5000}}),
        );
        (job.partition, job.unique_key) = (partition.0, Some(format!("{}:{window}", chat.0)));
        job
    };
    let mut conn = pool.acquire().await.unwrap();
    let _wake = telekeep_queue::enqueue(&mut conn, &[job(0, anna), job(1, anna), job(2, carl)]).await.unwrap();
    // One waits for a flood of the account that will be away: no wait of the next one.
    sqlx::query("update job set state = 'scheduled', not_before = now() + interval '1 hour', run_at = now() + interval '1 hour' where unique_key like '%:1'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(telekeep::jobs::handover::round(&pool).await.unwrap(), 0, "nobody is away");

    sqlx::query("update account set state = 'lost' where id = $1").bind(anna.0).execute(&pool).await.unwrap();
    assert_eq!(telekeep::jobs::handover::round(&pool).await.unwrap(), 1);
    let jobs = || async {
        sqlx::query_as::<_, (String, i64, String, bool)>(
            "select kind, partition, state::text, not_before is null from job order by kind desc, unique_key",
        )
        .fetch_all(&pool)
        .await
        .unwrap()
    };
    let window = |partition: AccountId| ("history_fetch".to_owned(), partition.0, "available".to_owned(), true);
    let refresh = ("chat_refresh".to_owned(), bert.0, "available".to_owned(), true);
    assert_eq!(jobs().await, [window(bert), window(bert), window(carl), refresh]);
    assert_eq!(telekeep::jobs::handover::round(&pool).await.unwrap(), 0, "done once");

    // Told that it may not: only this chat's jobs go.
    sqlx::query("insert into coverage_access (chat_id, account_id, readable, reason) values ($1, $2, false, 'CHANNEL_PRIVATE')")
        .bind(chat.0)
        .bind(bert.0)
        .execute(&pool)
        .await
        .unwrap();
    let other = telekeep_queue::NewJob {
        partition: bert.0,
        ..telekeep_queue::NewJob::new("chat_refresh", serde_json::json!({"chat": -1_007_i64}))
    };
    let _wake = telekeep_queue::enqueue(&mut conn, &[other]).await.unwrap();
    assert_eq!(telekeep::jobs::handover::round(&pool).await.unwrap(), 1);
    let left: Vec<i64> = sqlx::query_scalar("select (payload->>'chat')::bigint from job where partition = $1")
        .bind(bert.0)
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(left, [-1_007]);

    // With nobody left the jobs stay where they are.
    sqlx::query("update account set state = 'held' where id = $1").bind(carl.0).execute(&pool).await.unwrap();
    assert_eq!(telekeep::jobs::handover::round(&pool).await.unwrap(), 0);
    let stay: i64 =
        sqlx::query_scalar("select count(*) from job where partition = $1").bind(carl.0).fetch_one(&pool).await.unwrap();
    assert_eq!(stay, 4);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn work_that_was_held_for_want_of_an_account_goes_on_with_it(pool: PgPool) {
    let world = World::generated(9, [GeneratedChat::new(ChatKind::Channel, "Harbour", 20).named("harbour")]);
    let datacentre = datacentre(world).await;
    let telekeep = Installed::at(&datacentre, &pool);
    std::fs::write(telekeep.path("telekeep.toml"), "[reconcile]\nevery_seconds = 1\n").unwrap();
    let chat = datacentre.world().chats()[0].id.to_string();
    telekeep.does(&["collect", &chat]);
    datacentre.fail(Fault::error(401, "SESSION_REVOKED").of("messages.getHistory").times(1));
    telekeep.does(&["job", "enqueue", "chat_refresh", "--chat", &chat]);
    let _worker = works(&telekeep);
    let newest = || async {
        let row = "select state, attempt, coalesce(hint, '') from job where kind = 'chat_refresh' order by id desc limit 1";
        sqlx::query_as::<_, (String, i32, String)>(row).fetch_one(&pool).await.unwrap()
    };
    until("the job to be held", || async { newest().await.0 == "held" }).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (state, attempts, hint) = newest().await;
    assert_eq!((state.as_str(), attempts), ("held", 1), "it is not tried again and again");
    assert!(hint.contains("the job goes on"), "{hint}");
    telekeep.does(&["account", "import", "keeper.json"]);
    until("the job to be done", || async { newest().await.0 == "done" }).await;
}
