//! `telekeep export` and `telekeep raw`: what is taken away says what it lacks; what belongs together stands together; what was kept raw
//! becomes whole.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use telekeep::telegram::tl::Serializable;
use telekeep_simulator::world::{ChatKind, Event, GeneratedChat, Post};
use telekeep_simulator::{Simulator, World};

use super::installed::{Installed, datacentre};

const ANN: i64 = 5_100_000_003;

async fn quay() -> Simulator {
    let world = World::generated(
        7,
        [
            GeneratedChat::new(ChatKind::Channel, "Harbour", 250).deleted(0.2).named("harbour"),
            GeneratedChat::new(ChatKind::Supergroup, "Quay", 60).named("quay"),
            GeneratedChat::new(ChatKind::Group, "Night shift", 40),
        ],
    );
    datacentre(world).await
}

fn ids(datacentre: &Simulator) -> [i64; 3] {
    let ids: Vec<i64> = datacentre.world().chats().iter().map(|chat| chat.id).collect();
    [ids[0], ids[1], ids[2]]
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn message_ids(documents: &[Value]) -> Vec<i64> {
    documents.iter().map(|document| document["message_id"].as_i64().unwrap()).collect()
}

fn says(datacentre: &Simulator, chat: i64, text: &str, post: Post) -> i32 {
    let post = Post { from: Some(ANN), text: text.to_owned(), ..post };
    datacentre.play(Event::Post { chat, post }).unwrap().posted().next().unwrap().1
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_export_says_what_it_holds_and_what_it_lacks(pool: PgPool) {
    let datacentre = quay().await;
    let telekeep = Installed::at(&datacentre, &pool);
    let [harbour, ..] = ids(&datacentre);
    let chat = harbour.to_string();
    telekeep.does(&["collect", &chat]);
    // Ids 101 to 110 were never answered for, 201 to 205 may have changed, 1 to 9 nobody can see.
    for statement in [
        "delete from message where message_id between 101 and 110 or message_id < 10",
        "update coverage set settled = settled - '{[1,10),[101,111)}', stale = '{[201,206)}'",
        "update coverage_access set visible_from = 10",
        "insert into message_version (box_id, message_id, hash, chat_id, body, via)
            select box_id, message_id, '\\x0a', chat_id, '{\"text\": \"before\"}', 'live' from message where message_id > 240",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let versions: i64 = sqlx::query_scalar("select count(*) from message_version").fetch_one(&pool).await.unwrap();
    let gone = telekeep.documents(harbour)[0]["message_id"].as_i64().unwrap();
    let deletion = "update message set deleted_at = now(), revision = revision + 1 where message_id = $1";
    sqlx::query(deletion).bind(gone).execute(&pool).await.unwrap();

    telekeep.does(&["export", &chat, "--output", "taken"]);
    let manifest: Value = serde_json::from_slice(&std::fs::read(telekeep.path("taken/manifest.json")).unwrap()).unwrap();
    let ranges = &manifest["chats"][0]["ranges"][0];
    assert_eq!(ranges["missing"], json!([[101, 110]]));
    assert_eq!(ranges["stale"], json!([[201, 205]]));
    assert_eq!(ranges["inaccessible"], json!([[1, 9]]));
    assert_eq!(ranges["settled"], json!([[10, 100], [111, 200], [206, ranges["top"]]]));
    assert_eq!(manifest["chats"][0]["coverage"][0], telekeep.coverage(harbour));
    let documents = lines(&telekeep.does(&["export", &chat]));
    assert_eq!(lines(&std::fs::read_to_string(telekeep.path("taken/messages.ndjson")).unwrap()), documents);
    let counts = ["messages", "deletions", "versions", "links"].map(|name| manifest[name].as_i64().unwrap());
    let links: i64 = sqlx::query_scalar("select count(*) from link").fetch_one(&pool).await.unwrap();
    assert_eq!(counts, [documents.len() as i64, 1, versions, links]);
    let files: BTreeMap<&str, &Value> =
        manifest["files"].as_array().unwrap().iter().map(|file| (file["name"].as_str().unwrap(), file)).collect();
    let names: Vec<&str> = files.keys().copied().collect();
    assert_eq!(names, ["links.ndjson", "messages.ndjson", "metrics.ndjson", "names.ndjson", "versions.ndjson"]);
    for (name, file) in files {
        let bytes = std::fs::read(telekeep.path("taken").join(name)).unwrap();
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(file["sha256"], hash.as_str(), "{name}");
        let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!((file["bytes"].as_u64(), file["lines"].as_u64()), (Some(bytes.len() as u64), Some(ends as u64)), "{name}");
    }
    let version = &lines(&std::fs::read_to_string(telekeep.path("taken/versions.ndjson")).unwrap())[0];
    assert_eq!((&version["body"]["text"], &version["hash"], &version["box_id"]), (&json!("before"), &json!("0a"), &Value::Null));

    let refused = telekeep.refuses(&["export", &chat, "--output", "taken"]);
    assert!(refused.contains("taken holds an export already"), "{refused}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_flat_table_has_the_same_documents(pool: PgPool) {
    let datacentre = quay().await;
    let telekeep = Installed::at(&datacentre, &pool);
    let [_, quay, _] = ids(&datacentre);
    says(&datacentre, quay, "a \"ship\";,\nand = a line", Post::default());
    telekeep.does(&["collect", &quay.to_string()]);
    telekeep.does(&["export", &quay.to_string(), "--format", "csv", "--output", "flat"]);
    let mut table = csv::Reader::from_path(telekeep.path("flat/messages.csv")).unwrap();
    let headings = table.headers().unwrap().clone();
    let documents = lines(&telekeep.does(&["export", &quay.to_string()]));
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), documents.len() > 30), (documents.len(), true));
    for (row, document) in rows.iter().zip(&documents) {
        let mut told = document.as_object().unwrap().clone();
        for (heading, cell) in headings.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
            match (heading, told.remove(heading)) {
                ("other", _) => {
                    for (name, value) in serde_json::from_str::<BTreeMap<String, Value>>(cell).unwrap() {
                        assert_eq!(told.remove(&name), Some(value));
                    }
                }
                (_, Some(Value::String(text))) => assert_eq!(cell, text),
                (_, value) => assert_eq!(serde_json::from_str::<Value>(cell).ok(), value, "{heading}"),
            }
        }
        told.retain(|_, value| *value != json!(""));
        assert!(told.is_empty(), "left out: {told:?}");
    }
    let last = rows.last().unwrap();
    assert_eq!(&last[headings.iter().position(|heading| heading == "text").unwrap()], "a \"ship\";,\nand = a line");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_group_and_the_supergroup_that_it_became_read_as_one_history(pool: PgPool) {
    let datacentre = quay().await;
    let telekeep = Installed::at(&datacentre, &pool);
    let [.., group] = ids(&datacentre);
    says(&datacentre, group, "the last words here", Post::default());
    telekeep.does(&["collect", &group.to_string()]);
    datacentre.play(Event::Migrate { chat: group, to: None }).unwrap();
    let supergroup = datacentre.world().chat(group).unwrap().migrated_to().unwrap();
    says(&datacentre, supergroup, "in the new room", Post::default());
    // The account's chats are listed again.
    telekeep.adds(&datacentre, "keeper");
    telekeep.does(&["collect", &group.to_string()]);
    telekeep.does(&["collect", &supergroup.to_string()]);

    let (before, after) =
        (lines(&telekeep.does(&["export", &group.to_string()])), lines(&telekeep.does(&["export", &supergroup.to_string()])));
    assert!(before.len() > 20 && after.len() >= 2);
    assert!(before.iter().any(|old| after.iter().any(|new| new["message_id"] == old["message_id"])), "their numbers clash");
    let whole = lines(&telekeep.does(&["export", &supergroup.to_string(), "--with-predecessor"]));
    assert_eq!(whole, [before.clone(), after.clone()].concat());
    let dates: Vec<&str> = whole.iter().map(|document| document["date"].as_str().unwrap()).collect();
    assert!(dates.is_sorted(), "one history");
    // The group's own view ends where it ended.
    assert_eq!(lines(&telekeep.does(&["export", &group.to_string(), "--with-predecessor"])), before);

    telekeep.does(&["export", &supergroup.to_string(), "--with-predecessor", "--output", "both"]);
    let manifest: Value = serde_json::from_slice(&std::fs::read(telekeep.path("both/manifest.json")).unwrap()).unwrap();
    assert_eq!(
        manifest["chats"].as_array().unwrap().iter().map(|chat| chat["chat_id"].as_i64().unwrap()).collect::<Vec<_>>(),
        [group, supergroup]
    );
    // Where its description does not say so, its first message does.
    sqlx::query("update chat set body = body - '{migrate_to_chat_id,migrate_from_chat_id}'::text[]").execute(&pool).await.unwrap();
    assert_eq!(lines(&telekeep.does(&["export", &supergroup.to_string(), "--with-predecessor"])), whole);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_parts_of_an_album_stand_together(pool: PgPool) {
    let datacentre = quay().await;
    let telekeep = Installed::at(&datacentre, &pool);
    let [harbour, ..] = ids(&datacentre);
    telekeep.does(&["collect", &harbour.to_string()]);
    let all = message_ids(&telekeep.documents(harbour));
    // Pages of an export end at 500 rows; here two albums are mixed with each other and with something else.
    let (one, two) = ([all[3], all[5], all[8]], [all[4], all[7]]);
    for (album, ids) in [("71", one.as_slice()), ("72", &two)] {
        let statement =
            "update message set body = body || jsonb_build_object('media_group_id', $1::bigint) where message_id = any($2)";
        sqlx::query(statement).bind(album.parse::<i64>().unwrap()).bind(ids).execute(&pool).await.unwrap();
    }
    let mut wanted = all[..3].to_vec();
    wanted.extend(one);
    wanted.extend(two);
    wanted.push(all[6]);
    wanted.extend(&all[9..]);
    let told = lines(&telekeep.does(&["export", &harbour.to_string(), "--with-predecessor"]));
    assert_eq!(message_ids(&told), wanted);

    // The same, page by page, with the smallest pages.
    use telekeep::record::{ChatId, conversation};
    let part = conversation::part(&mut pool.acquire().await.unwrap(), ChatId(harbour)).await.unwrap().unwrap();
    let (mut after, mut paged) = (conversation::START, Vec::new());
    while let Some((place, row)) = conversation::history(&pool, part, after, 1).await.unwrap().pop() {
        after = place;
        paged.push(row.message_id);
    }
    assert_eq!(paged, wanted);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn comments_topics_and_replies_are_threads(pool: PgPool) {
    let datacentre = quay().await;
    let telekeep = Installed::at(&datacentre, &pool);
    let [harbour, quay, group] = ids(&datacentre);
    datacentre.play(Event::Link { chat: harbour, group: quay }).unwrap();
    let posted = datacentre.play(Event::Post { chat: harbour, post: Post::text("a post") }).unwrap();
    let posted: Vec<(i64, i32)> = posted.posted().collect();
    let (post, copy) = (posted[0].1, posted[1].1);
    let comment = |text: &str| {
        let event = Event::Comment { chat: harbour, id: post, from: ANN, text: text.to_owned() };
        datacentre.play(event).unwrap().posted().next().unwrap().1
    };
    let first = comment("a comment");
    says(&datacentre, quay, "something else", Post::default());
    let answer = says(&datacentre, quay, "an answer to the comment", Post { reply_to: Some(first), ..Post::default() });
    let second = comment("another comment");

    let thread = |chat: i64, id: i32| lines(&telekeep.does(&["export", &chat.to_string(), "--thread", &id.to_string()]));
    telekeep.does(&["collect", &harbour.to_string()]);
    let refused = telekeep.refuses(&["export", &harbour.to_string(), "--thread", &post.to_string()]);
    assert!(refused.contains(&format!("are in group {quay}, which is not watched")), "{refused}");
    telekeep.does(&["collect", &quay.to_string()]);
    let comments = thread(harbour, post);
    assert_eq!(message_ids(&comments), [copy, first, answer, second].map(i64::from));
    assert!(comments.iter().all(|document| document["chat_id"] == quay));
    let refused = telekeep.refuses(&["export", &harbour.to_string(), "--thread", "3"]);
    assert!(refused.contains("the copy of post 3 in the linked group"), "{refused}");

    // A thread of replies, in a basic group.
    let root = says(&datacentre, group, "who is awake?", Post::default());
    says(&datacentre, group, "unrelated", Post::default());
    let me = says(&datacentre, group, "me", Post { reply_to: Some(root), ..Post::default() });
    let so = says(&datacentre, group, "so am I", Post { reply_to: Some(me), ..Post::default() });
    telekeep.does(&["collect", &group.to_string()]);
    assert_eq!(message_ids(&thread(group, root)), [root, me, so].map(i64::from));
    let refused = telekeep.refuses(&["export", &group.to_string(), "--thread", "999999"]);
    assert!(refused.contains("message 999999 of chat"), "{refused}");

    // Topics of a forum.
    datacentre.play(Event::Forum { chat: quay, on: true }).unwrap();
    let event = Event::Topic { chat: quay, title: "Ropes".to_owned(), by: ANN };
    let topic = datacentre.play(event).unwrap().posted().next().unwrap().1;
    let knot = says(&datacentre, quay, "a knot", Post { topic: Some(topic), ..Post::default() });
    let outside = says(&datacentre, quay, "outside of it", Post::default());
    let reply = says(&datacentre, quay, "a better knot", Post { topic: Some(topic), reply_to: Some(knot), ..Post::default() });
    telekeep.does(&["collect", &quay.to_string()]);
    assert_eq!(message_ids(&thread(quay, topic)), [topic, knot, reply].map(i64::from));
    let general = message_ids(&thread(quay, 1));
    assert!(
        general.contains(&i64::from(outside)) && !general.contains(&i64::from(knot)) && !general.contains(&i64::from(topic)),
        "{general:?}"
    );
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_was_kept_raw_is_listed_without_its_text_and_becomes_whole(pool: PgPool) {
    let datacentre = quay().await;
    let telekeep = Installed::at(&datacentre, &pool);
    let [harbour, ..] = ids(&datacentre);
    telekeep.does(&["collect", &harbour.to_string()]);
    let whole = telekeep.documents(harbour);
    assert_eq!(telekeep.does(&["raw", "list"]), "every message was understood in full\n");

    // As an older version stored two of them: in part, with their bytes; and one whose bytes are of a form not known yet.
    let world = datacentre.world().chat(harbour).unwrap();
    let ids = message_ids(&whole);
    let keep_raw = async |id: i64, bytes: Vec<u8>| {
        let statement = "update message set raw = $2, raw_reason = 'poll is not represented', body = '{\"text\": \"in part\"}', content_hash = '\\x00',
            last_seen = '2020-01-01T00:00:00Z', order_pts = 7 where message_id = $1";
        sqlx::query(statement).bind(id).bind(bytes).execute(&pool).await.unwrap();
    };
    for id in [ids[3], ids[9]] {
        keep_raw(id, world.message(i32::try_from(id).unwrap()).unwrap().to_bytes()).await;
    }
    keep_raw(ids[12], vec![1, 2, 3, 4]).await;

    let listed: Value = serde_json::from_str(&telekeep.does(&["raw", "list", "--chat", &harbour.to_string(), "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(listed[2], json!({"chat_id": harbour, "message_id": ids[12], "reason": "poll is not represented", "bytes": 4}));
    let coverage = telekeep.coverage(harbour);
    assert_eq!((&coverage["dead"], &coverage["raw"], &coverage["refused"]), (&json!(3), &json!(3), &json!(0)));
    assert!(telekeep.does(&["coverage"]).contains("3 raw"));

    let told = telekeep.does(&["raw", "retry", "--chat", &harbour.to_string()]);
    assert_eq!(told, "2 are whole now, 0 are kept raw still, 1 are in a form that this version cannot read\n");
    let after = telekeep.documents(harbour);
    for place in [3, 9] {
        assert_eq!(after[place], whole[place], "as if it had been understood at once");
    }
    assert_eq!(after[12]["raw_reason"], "poll is not represented");
    let kept: Vec<(i64, Option<i32>, bool)> = sqlx::query_as(
        "select message_id, order_pts, last_seen = '2020-01-01T00:00:00Z' from message where order_pts = 7 order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(kept, [ids[3], ids[9], ids[12]].map(|id| (id, Some(7), true)), "nobody saw them again");
    let again = telekeep.does(&["raw", "retry"]);
    assert!(again.starts_with("0 are whole now, 0 are kept raw still, 1 "), "{again}");
}
