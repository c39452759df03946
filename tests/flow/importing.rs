//! `telekeep import`: what Telegram Desktop exported becomes part of the record, and history closes the rest.

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use serde_json::{Value, json};
use sqlx::PgPool;
use telekeep_simulator::world::{ChatKind, GeneratedChat};
use telekeep_simulator::{Simulator, World};

use super::installed::{Installed, datacentre};

/// The export of a real channel, where it is.
fn trantor() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/trantor-library");
    if folder.exists() {
        return Some(folder);
    }
    println!("SKIPPED: the export of a real channel is not here");
    None
}

/// The export with its first messages alone; gives its folder's name.
fn first_half(of: &Path, within: &Installed) -> usize {
    let mut told: Value = serde_json::from_slice(&std::fs::read(of.join("result.json")).unwrap()).unwrap();
    let messages = told["messages"].as_array_mut().unwrap();
    let half = messages.len() / 2;
    messages.truncate(half);
    std::fs::create_dir(within.path("half")).unwrap();
    std::fs::write(within.path("half/result.json"), serde_json::to_vec_pretty(&told).unwrap()).unwrap();
    half
}

/// What was told of a chat: in the file, new, filled, unchanged.
fn counts(told: &str, chat: i64) -> Vec<usize> {
    let row = told.lines().find(|line| line.contains(&chat.to_string())).unwrap();
    row.split_whitespace().filter_map(|cell| cell.parse().ok()).collect()
}

async fn peers(pool: &PgPool) -> Vec<(i64, Value)> {
    sqlx::query_as("select chat_id, body from chat union all select user_id, body from telegram_user order by 1")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn half_an_import_and_then_history_is_history_alone(pool: PgPool) {
    let Some(folder) = trantor() else { return };
    let datacentre = datacentre(World::from_export(&folder).unwrap()).await;
    let telekeep = Installed::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    let half = first_half(&folder, &telekeep);
    let told = telekeep.does(&["import", "half", "--watch"]);
    assert_eq!(counts(&told, chat), [half, half, 0, 0], "{told}");
    assert!(told.contains("191 × photo, ") && told.contains("3 × file_name"), "what has no place is named: {told}");

    // A file answers for the ids in it alone, and less fully than Telegram: holes are missing, the rest is to be read again.
    let before = telekeep.coverage(chat);
    let top = telekeep.documents(chat).last().unwrap()["message_id"].as_i64().unwrap();
    assert_eq!((before["top"].as_i64(), before["stale"].as_i64()), (Some(top), Some(half as i64)));
    assert_eq!(before["missing"].as_i64(), Some(top - half as i64));
    let rows: i64 = sqlx::query_scalar("select count(*) from message where via = 'import'").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, half as i64);

    telekeep.does(&["collect", &chat.to_string()]);
    let both = (telekeep.documents(chat), peers(&pool).await);
    let after = telekeep.coverage(chat);
    assert_eq!((after["missing"].as_i64(), after["stale"].as_i64(), after["deleted"].as_i64()), (Some(0), Some(0), Some(0)));

    for table in ["coverage", "coverage_access", "message", "chat", "telegram_user", "job", "outbox"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}"))).execute(&pool).await.unwrap();
    }
    telekeep.does(&["collect", &chat.to_string()]);
    let alone = (telekeep.documents(chat), peers(&pool).await);
    assert_eq!(alone.0.len(), 924);
    assert_eq!(both, alone);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_import_after_history_changes_nothing_that_telegram_told(pool: PgPool) {
    let Some(folder) = trantor() else { return };
    let datacentre = datacentre(World::from_export(&folder).unwrap()).await;
    let telekeep = Installed::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    telekeep.does(&["collect", &chat.to_string()]);
    let (documents, people) = (telekeep.documents(chat), peers(&pool).await);
    let gone =
        "delete from message where message_id in (select message_id from message order by message_id desc offset 40 limit 1)";
    sqlx::query(gone).execute(&pool).await.unwrap();
    let told = telekeep.does(&["import", folder.to_str().unwrap()]);
    assert_eq!(counts(&told, chat), [924, 1, 0, 923], "{told}");
    let after = telekeep.documents(chat);
    let differ: Vec<_> = documents.iter().zip(&after).filter(|(one, two)| one != two).map(|(one, _)| &one["message_id"]).collect();
    assert_eq!((after.len(), differ.len()), (924, 1), "{differ:?}");
    assert_eq!(peers(&pool).await, people);

    let again = telekeep.does(&["import", folder.join("result.json").to_str().unwrap()]);
    assert_eq!(counts(&again, chat), [924, 0, 0, 924], "again changes nothing");
    assert_eq!(telekeep.documents(chat), after);
}

/// A datacentre with a channel, a basic group and a private chat.
async fn quay() -> Simulator {
    let world = World::generated(
        7,
        [
            GeneratedChat::new(ChatKind::Channel, "Harbour", 30),
            GeneratedChat::new(ChatKind::Group, "Night shift", 40),
            GeneratedChat::new(ChatKind::Private, "Maren", 30),
        ],
    );
    datacentre(world).await
}

fn exported(telekeep: &Installed, name: &str, whole: &Value) {
    std::fs::create_dir_all(telekeep.path(name)).unwrap();
    std::fs::write(telekeep.path(name).join("result.json"), serde_json::to_vec_pretty(whole).unwrap()).unwrap();
}

fn says(id: i64, from: i64, text: &str) -> Value {
    json!({"id": id, "type": "message", "date_unixtime": (1_700_000_000 + id).to_string(), "from": "Ann", "from_id": format!("user{from}"), "text": text})
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_cannot_be_imported_is_refused_with_what_to_do(pool: PgPool) {
    let telekeep = Installed::at(&quay().await, &pool);
    let messages: Vec<Value> = (1..=3).map(|id| says(id, 9, "a ship")).collect();
    let group = json!({"name": "Quay", "type": "private_supergroup", "id": 77, "messages": messages});
    exported(&telekeep, "group", &group);
    assert_snapshot!(telekeep.refuses(&["import", "group"]), @r#"
    error: not watched, so nothing of it is stored:
      -1000000000077 (supergroup, Quay): 3 messages
    `telekeep chat watch -1000000000077` watches a chat that an account can read; `telekeep import group --watch` watches all that are in the file
    "#);

    let whole = std::fs::read(telekeep.path("group/result.json")).unwrap();
    std::fs::write(telekeep.path("half.json"), &whole[..whole.len() / 2]).unwrap();
    assert_snapshot!(telekeep.refuses(&["import", "half.json", "--watch"]), @"error: half.json: line 16, column 2: the file ends here, in the middle (EOF while parsing an object): it was cut off, export it again; nothing was imported");
    std::fs::write(telekeep.path("other.json"), "{\"name\": \"package\"}").unwrap();
    assert_snapshot!(telekeep.refuses(&["import", "other.json", "--watch"]), @"error: other.json: it is JSON, but no export of Telegram Desktop: there are no chats in it (export as machine-readable JSON, with messages); nothing was imported");
    assert_snapshot!(telekeep.refuses(&["import", "nowhere", "--watch"]), @"error: nowhere cannot be read (No such file or directory (os error 2)); give the folder that Telegram Desktop exported to as machine-readable JSON: it holds result.json");

    exported(&telekeep, "private", &json!({"name": "Ann", "type": "personal_chat", "id": 9, "messages": messages}));
    assert_snapshot!(telekeep.refuses(&["import", "private", "--watch"]), @"error: chat 9 is private: say why it is collected with --purpose TEXT");
    let whole = json!({"personal_information": {"user_id": 4}, "chats": {"list": [
        {"name": "Ann", "type": "personal_chat", "id": 9, "messages": messages}, group]}});
    exported(&telekeep, "whole", &whole);
    let refused = telekeep.refuses(&["import", "whole", "--watch", "--purpose", "research"]);
    assert!(refused.contains("the file is the export of user 4, and account keeper is user"), "{refused}");
    let stored: i64 = sqlx::query_scalar("select count(*) from message").fetch_one(&pool).await.unwrap();
    let watched: i64 = sqlx::query_scalar("select count(*) from watch").fetch_one(&pool).await.unwrap();
    assert_eq!((stored, watched), (0, 0));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_whole_accounts_export_fills_the_chats_that_are_watched_and_names_the_others(pool: PgPool) {
    let datacentre = quay().await;
    let telekeep = Installed::at(&datacentre, &pool);
    let me: i64 = sqlx::query_scalar("select user_id from account").fetch_one(&pool).await.unwrap();
    let chats: Vec<i64> = datacentre.world().chats().iter().map(|chat| chat.id).collect();
    let (group, private) = (chats[1], chats[2]);
    let list = json!([
        {"name": "Night shift", "type": "private_group", "id": -group, "messages": [says(900_001, me, "mine"), says(900_003, 9, "hers")]},
        {"name": "Maren", "type": "personal_chat", "id": private, "messages": [says(900_002, private, "hello")]},
        {"name": "Elsewhere", "type": "public_channel", "id": 5, "messages": [says(1, 9, "x")]},
    ]);
    exported(&telekeep, "whole", &json!({"personal_information": {"user_id": me}, "chats": {"list": list}}));
    telekeep.does(&["chat", "watch", &group.to_string()]);
    let told = telekeep.does(&["import", "whole"]);
    assert!(
        told.contains("not watched, so nothing of it is stored")
            && told.contains(&format!("{private} (private, Maren): 1 messages")),
        "{told}"
    );
    let rows: Vec<(i64, i64, bool)> = sqlx::query_as(
        "select message_id, m.chat_id, (m.body->>'outgoing')::bool from message m join box b on b.id = m.box_id where b.account_id is not null order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(rows, [(900_001, group, true), (900_003, group, false)], "in the box of the account that exported it");
    assert_eq!(telekeep.documents(group)[0]["_id"], format!("{me}_{group}_900001"));

    // What Telegram does not have any more went after it was written, and not after it was imported.
    telekeep.does(&["collect", &group.to_string()]);
    let coverage = telekeep.coverage(group);
    assert_eq!(
        (coverage["missing"].as_i64(), coverage["stale"].as_i64(), coverage["deleted"].as_i64()),
        (Some(0), Some(0), Some(2))
    );
    let documents = telekeep.documents(group);
    let gone = documents.iter().find(|document| document["message_id"] == 900_001).unwrap();
    assert_eq!((&gone["text"], &gone["deleted_between"]["gte"]), (&json!("mine"), &gone["date"]));
}
