//! Live: what happens while Telekeep runs, and what it missed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use telekeep_simulator::world::{ChatKind, Event, GeneratedChat, Post};
use telekeep_simulator::{AccountRequest, Fault, PushFaults, Simulator, UpdateRules, World};

use crate::installation::{Telekeep, datacentre, until};

/// A world of each kind of chat, watched and collected by a running Telekeep.
async fn world(seed: u64) -> Simulator {
    let world = World::generated(
        seed,
        [
            GeneratedChat::new(ChatKind::Channel, "Harbour", 40).named("harbour"),
            GeneratedChat::new(ChatKind::Supergroup, "Quay", 60).deleted(0.25).named("quay"),
            GeneratedChat::new(ChatKind::Group, "Night shift", 20),
            GeneratedChat::new(ChatKind::Private, "Maren", 15),
        ],
    );
    datacentre(world).await
}

fn watch_all(telekeep: &Telekeep, datacentre: &Simulator) -> Vec<i64> {
    telekeep.configures("[live]\nround_seconds = 2\n");
    telekeep.has_workflow("new-chat");
    let chats: Vec<i64> = datacentre.world().chats().iter().map(|chat| chat.id).collect();
    for chat in &chats {
        telekeep.does(&["chat", "watch", &chat.to_string(), "--purpose", "a test"]);
    }
    chats
}

async fn collected(pool: &PgPool, chats: usize) {
    until("the histories", || async {
        let whole: i64 =
            sqlx::query_scalar("select count(*) from workflow_run where state = 'done'").fetch_one(pool).await.unwrap();
        whole as usize >= chats
    })
    .await;
    // The streams look every two seconds for what they follow.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
}

async fn text_of(pool: &PgPool, chat: i64, id: i32) -> Option<String> {
    let body: Option<Value> =
        sqlx::query_scalar("select body from message where chat_id = $1 and message_id = $2 and deleted_at is null")
            .bind(chat)
            .bind(i64::from(id))
            .fetch_optional(pool)
            .await
            .unwrap()
            .flatten();
    Some(body?["text"].as_str()?.to_owned())
}

async fn says(pool: &PgPool, chat: i64, id: i32, text: &str) {
    until(&format!("{text:?} in {chat}"), || async { text_of(pool, chat, id).await.as_deref() == Some(text) }).await;
}

async fn has_field(pool: &PgPool, chat: i64, id: i32, field: &str, value: &str) {
    until(&format!("{field} = {value} of {id} in {chat}"), || async {
        let found: Option<String> = sqlx::query_scalar("select body->>$3 from message where chat_id = $1 and message_id = $2")
            .bind(chat)
            .bind(i64::from(id))
            .bind(field)
            .fetch_one(pool)
            .await
            .unwrap();
        found.as_deref() == Some(value)
    })
    .await;
}

async fn is_gone(pool: &PgPool, chat: i64, id: i32) {
    until(&format!("the deletion of {id} in {chat}"), || async {
        sqlx::query_scalar("select exists (select from message where chat_id = $1 and message_id = $2 and deleted_at is not null)")
            .bind(chat)
            .bind(i64::from(id))
            .fetch_one(pool)
            .await
            .unwrap()
    })
    .await;
}

fn posts(datacentre: &Simulator, chat: i64, text: &str) -> i32 {
    let from = datacentre.world().chat(chat).filter(|chat| chat.kind != ChatKind::Channel).and_then(|chat| {
        if chat.kind == ChatKind::Private { None } else { datacentre.members(chat.id).ok()?.first().map(|member| member.user_id) }
    });
    let post = Post { from, ..Post::text(text) };
    let record = datacentre.play(Event::Post { chat, post }).unwrap();
    record.posted().next().unwrap().1
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_is_posted_edited_and_deleted_is_kept_as_it_happens(pool: PgPool) {
    let datacentre = world(21).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chats = watch_all(&telekeep, &datacentre);
    let _worker = telekeep.works();
    collected(&pool, chats.len()).await;
    let pages = datacentre.calls("messages.getHistory");

    let mut posted = BTreeMap::new();
    for chat in &chats {
        posted.insert(*chat, (posts(&datacentre, *chat, "a ship"), posts(&datacentre, *chat, "a second ship")));
    }
    for (chat, (first, second)) in &posted {
        says(&pool, *chat, *first, "a ship").await;
        datacentre.play(Event::Edit { chat: *chat, id: *first, text: "two ships".into() }).unwrap();
        says(&pool, *chat, *first, "two ships").await;
        datacentre.play(Event::Delete { chat: *chat, ids: vec![*second] }).unwrap();
        is_gone(&pool, *chat, *second).await;
    }
    assert_eq!(datacentre.calls("messages.getHistory"), pages, "nothing of it was read as history");
    // Counts and reactions as they are pushed, and what becomes a job of the workflow that listens.
    let (channel, group) = (chats[0], chats[1]);
    datacentre.play(Event::Counts { chat: channel, id: posted[&channel].0, views: Some(77), forwards: Some(5) }).unwrap();
    has_field(&pool, channel, posted[&channel].0, "views", "77").await;
    has_field(&pool, channel, posted[&channel].0, "forwards", "5").await;
    let user = datacentre.members(group).unwrap()[0].user_id;
    datacentre.play(Event::React { chat: group, id: posted[&group].0, user, emoji: Some("👍".into()) }).unwrap();
    has_field(&pool, group, posted[&group].0, "reactions", r#"[{"count": 1, "reaction": "👍"}]"#).await;
    telekeep.has_workflow("chat-changed");
    tokio::time::sleep(Duration::from_millis(1_500)).await; // the files are read again
    datacentre.play(Event::Title { chat: group, title: "Quayside".into(), by: None }).unwrap();
    until("the refresh of what changed", || async {
        let done: i64 = sqlx::query_scalar(
            "select count(*) from workflow_run where workflow = 'chat-changed' and chat_id = $1 and state = 'done'",
        )
        .bind(group)
        .fetch_one(&pool)
        .await
        .unwrap();
        done > 0
    })
    .await;
    let title: String =
        sqlx::query_scalar("select body->>'title' from chat where chat_id = $1").bind(group).fetch_one(&pool).await.unwrap();
    assert_eq!(title, "Quayside");
    for chat in &chats {
        telekeep.has_in_the_record(&datacentre, *chat);
    }
    assert_eq!(datacentre.violations(), []);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_database_that_stands_still_loses_no_update(pool: PgPool) {
    let datacentre = datacentre(World::empty(26).with(GeneratedChat::new(ChatKind::Channel, "Harbour", 10))).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chat = watch_all(&telekeep, &datacentre)[0];
    let _worker = telekeep.works();
    collected(&pool, 1).await;
    let mut still = pool.begin().await.unwrap();
    sqlx::query("lock table message in access exclusive mode").execute(&mut *still).await.unwrap();
    // More than the stream keeps in memory.
    for number in 0..6_000 {
        posts(&datacentre, chat, &format!("ship {number}"));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    still.rollback().await.unwrap();
    until("all that was told meanwhile", || async {
        let there: i64 =
            sqlx::query_scalar("select count(*) from message where chat_id = $1").bind(chat).fetch_one(&pool).await.unwrap();
        there == 6_010
    })
    .await;
    telekeep.has_in_the_record(&datacentre, chat);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_was_pushed_in_vain_is_asked_for(pool: PgPool) {
    let datacentre = world(22).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chats = watch_all(&telekeep, &datacentre);
    let worker = telekeep.works();
    collected(&pool, chats.len()).await;

    // Lost, doubled, out of order; then the connection goes; then the process.
    datacentre.fault_pushes(PushFaults { drop: 6, ..PushFaults::default() });
    let lost: Vec<_> = chats.iter().map(|chat| (*chat, posts(&datacentre, *chat, "lost"))).collect();
    datacentre.fault_pushes(PushFaults { duplicate: 4, reorder: 4, too_long: 1, ..PushFaults::default() });
    let mixed: Vec<_> =
        (0..3).flat_map(|_| chats.iter().map(|chat| (*chat, posts(&datacentre, *chat, "mixed"))).collect::<Vec<_>>()).collect();
    for (chat, id) in &lost {
        says(&pool, *chat, *id, "lost").await;
    }
    datacentre.cut();
    let cut: Vec<_> = chats.iter().map(|chat| (*chat, posts(&datacentre, *chat, "cut"))).collect();
    for (chat, id) in mixed.iter().chain(&cut) {
        let text = if cut.contains(&(*chat, *id)) { "cut" } else { "mixed" };
        says(&pool, *chat, *id, text).await;
    }
    worker.kill();
    let (silent, edited) = (chats[1], cut[1].1);
    datacentre.silence(silent, true);
    let away: Vec<_> = chats.iter().map(|chat| (*chat, posts(&datacentre, *chat, "away"))).collect();
    datacentre.play(Event::Edit { chat: silent, id: edited, text: "edited meanwhile".into() }).unwrap();
    datacentre.play(Event::Delete { chat: chats[2], ids: vec![cut[2].1] }).unwrap();
    datacentre.play(Event::Delete { chat: chats[0], ids: vec![cut[0].1] }).unwrap();
    let _worker = telekeep.works();
    for (chat, id) in &away {
        says(&pool, *chat, *id, "away").await;
    }
    says(&pool, silent, edited, "edited meanwhile").await;
    is_gone(&pool, chats[2], cut[2].1).await;
    is_gone(&pool, chats[0], cut[0].1).await;
    for chat in &chats {
        telekeep.has_in_the_record(&datacentre, *chat);
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn live_delivers_105_while_101_to_104_are_unknown_and_all_five_are_there(pool: PgPool) {
    let datacentre = datacentre(World::empty(23).with(GeneratedChat::new(ChatKind::Channel, "Harbour", 100))).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chat = watch_all(&telekeep, &datacentre)[0];
    telekeep.configures("[reconcile]\nevery_seconds = 1\n");
    let worker = telekeep.works();
    collected(&pool, 1).await;
    worker.kill();
    // The difference is too long, and shows the newest twenty alone.
    datacentre.set_update_rules(UpdateRules { channel_too_long: 10, ..UpdateRules::default() });
    let ids: Vec<i32> = (101..=124).map(|id| posts(&datacentre, chat, &format!("ship {id}"))).collect();
    assert_eq!(ids, (101..=124).collect::<Vec<_>>());
    let _worker = telekeep.works();
    says(&pool, chat, 105, "ship 105").await;
    until("the end of all holes", || async {
        let mut conn = pool.acquire().await.unwrap();
        let report = telekeep::record::report::coverage_report(&mut conn, None).await.unwrap().remove(0);
        report.top == 124 && report.missing + report.stale == 0 && report.verified_at.is_some()
    })
    .await;
    for id in 101..=105 {
        assert_eq!(text_of(&pool, chat, id).await, Some(format!("ship {id}")));
    }
    telekeep.has_in_the_record(&datacentre, chat);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_changed_deep_in_the_past_behind_a_jump_is_found_by_a_slow_second_reading(pool: PgPool) {
    let datacentre = datacentre(World::empty(23).with(GeneratedChat::new(ChatKind::Channel, "Harbour", 10_400))).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    telekeep.configures("[reconcile]\nevery_seconds = 1\n[telegram]\npace = 100\n");
    let chat = watch_all(&telekeep, &datacentre)[0];
    let report = || async {
        let mut conn = pool.acquire().await.unwrap();
        telekeep::record::report::coverage_report(&mut conn, None).await.unwrap().pop()
    };
    let complete = |top| {
        let report = report();
        async move { report.await.is_some_and(|it| it.top == top && it.missing + it.stale == 0 && it.verified_at.is_some()) }
    };
    let worker = telekeep.works();
    until("the history", || complete(10_400)).await;
    worker.kill();
    datacentre.set_update_rules(UpdateRules { channel_too_long: 10, ..UpdateRules::default() });
    for n in 0..24 {
        posts(&datacentre, chat, &format!("ship {n}"));
    }
    datacentre.play(Event::Edit { chat, id: 50, text: "long ago".into() }).unwrap();
    datacentre.play(Event::Delete { chat, ids: vec![60] }).unwrap();
    let worker = telekeep.works();
    until("the newest to be read again", || complete(10_424)).await;
    assert_eq!(report().await.unwrap().revisit, 424, "all but the newest 10,000; the older ones are told to be open");
    assert_ne!(text_of(&pool, chat, 50).await.as_deref(), Some("long ago"), "not yet");

    sqlx::query("update coverage set revisited_at = now() - interval '601 seconds'").execute(&pool).await.unwrap();
    until("the oldest to be read again", || async { text_of(&pool, chat, 50).await.as_deref() == Some("long ago") }).await;
    until("the end", || complete(10_424)).await;
    assert_eq!(report().await.unwrap().revisit, 0);
    worker.kill();
    telekeep.has_in_the_record(&datacentre, chat);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn who_is_sent_away_is_followed_by_another_and_comes_back(pool: PgPool) {
    let datacentre = world(24).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let session = datacentre.account_with(&AccountRequest::named("second")).unwrap();
    std::fs::write(telekeep.path("second.json"), serde_json::to_vec(&session).unwrap()).unwrap();
    telekeep.does(&["account", "import", "second.json"]);
    telekeep.configures("[live]\nround_seconds = 2\n[reconcile]\nevery_seconds = 1\n");
    telekeep.has_workflow("new-chat");
    let private = datacentre.play(Event::Create {
        kind: ChatKind::Supergroup,
        chat: None,
        title: "Closed".into(),
        username: None,
        users: vec![datacentre.world().me, session.user_id.unwrap()],
    });
    drop(private.unwrap());
    let chat = datacentre.world().all_chats().find(|chat| chat.title() == "Closed").unwrap().id;
    let second = session.user_id.unwrap();
    let worker = telekeep.works();
    until("the dialogs", || async {
        let known: i64 =
            sqlx::query_scalar("select count(*) from account_peer where peer_id = $1").bind(chat).fetch_one(&pool).await.unwrap();
        known == 2
    })
    .await;
    telekeep.does(&["chat", "watch", &chat.to_string(), "--account", "second"]);
    collected(&pool, 1).await;
    let says_there = |text: &str| {
        let post = Post { from: Some(datacentre.world().me), ..Post::text(text) };
        datacentre.play(Event::Post { chat, post }).unwrap().posted().next().unwrap().1
    };
    let first = says_there("before");
    says(&pool, chat, first, "before").await;
    datacentre.play(Event::Ban { chat, user: second, by: datacentre.world().me, until: 0 }).unwrap();
    let after = says_there("after");
    says(&pool, chat, after, "after").await;
    let reader: String = sqlx::query_scalar(
        "select a.label from message m join account a on a.id = m.account_id where chat_id = $1 and message_id = $2",
    )
    .bind(chat)
    .bind(i64::from(after))
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(reader, "keeper");
    until("the ledger's word", || async {
        sqlx::query_scalar(
            "select exists (select from coverage_access where chat_id = $1 and not readable and reason = 'CHANNEL_PRIVATE')",
        )
        .bind(chat)
        .fetch_one(&pool)
        .await
        .unwrap()
    })
    .await;
    worker.kill();
    assert_eq!(datacentre.violations(), []);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_position_that_telegram_no_longer_knows_is_found_again_by_reading(pool: PgPool) {
    let datacentre = world(25).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chats = watch_all(&telekeep, &datacentre);
    telekeep.configures("[reconcile]\nevery_seconds = 1\n");
    telekeep.has_workflow("chat-changed");
    let worker = telekeep.works();
    collected(&pool, chats.len()).await;
    worker.kill();
    let channel = chats[0];
    datacentre.play(Event::Edit { chat: channel, id: 7, text: "nobody heard this".into() }).unwrap();
    for (method, times) in [("updates.getChannelDifference", 2), ("updates.getDifference", 1)] {
        datacentre.fail(Fault::error(400, "PERSISTENT_TIMESTAMP_INVALID").of(method).times(times));
    }
    let _worker = telekeep.works();
    says(&pool, channel, 7, "nobody heard this").await;
    let posted: Vec<_> = chats.iter().map(|chat| (*chat, posts(&datacentre, *chat, "and on"))).collect();
    for (chat, id) in posted {
        says(&pool, chat, id, "and on").await;
    }
    until("the end of all holes", || async {
        let mut conn = pool.acquire().await.unwrap();
        let report = telekeep::record::report::coverage_report(&mut conn, None).await.unwrap();
        report.iter().all(|row| row.missing + row.stale == 0)
    })
    .await;
    for chat in &chats {
        telekeep.has_in_the_record(&datacentre, *chat);
    }
}
