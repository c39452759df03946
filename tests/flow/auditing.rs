//! Audits: of the record against Telegram, of the index against the record; and an index that went and came back.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use telekeep::projection::{Projector, Settings};
use telekeep::record::coverage::{self, Window};
use telekeep::record::outbox::Kind;
use telekeep_simulator::world::{ChatKind, Event, GeneratedChat, Post};
use telekeep_simulator::{Simulator, World};

use crate::installation::{Telekeep, Worker, datacentre, outbox, until};
use crate::installed::Installed;
use crate::playing::Play;
use crate::projection::in_world;
use crate::record::{LIBRARY, report};
use crate::series::loses;
use crate::series_index::{all, documents, fills};

/// A channel and a basic group, collected.
async fn collected(pool: &PgPool) -> (Simulator, Installed, i64, i64) {
    let world = World::generated(
        31,
        [
            GeneratedChat::new(ChatKind::Channel, "Harbour", 250).deleted(0.2).named("harbour"),
            GeneratedChat::new(ChatKind::Group, "Night shift", 40),
        ],
    );
    let datacentre = crate::installed::datacentre(world).await;
    let telekeep = Installed::at(&datacentre, pool);
    let [channel, group] = [0, 1].map(|at| datacentre.world().chats()[at].id);
    for chat in [channel, group] {
        telekeep.does(&["collect", &chat.to_string()]);
    }
    (datacentre, telekeep, channel, group)
}

/// What `audit --telegram` told, and whether it found nothing.
fn audits(telekeep: &Installed, more: &[&str]) -> (Value, bool) {
    let arguments: Vec<&str> = ["audit", "--telegram", "--json"].into_iter().chain(more.iter().copied()).collect();
    let output = telekeep.runs(&arguments);
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (told, output.status.success())
}

/// (removed, differs, undeleted, deleted, lost, repaired) of a chat. What is only named by answers is apart.
fn numbers(told: &Value, chat: i64) -> [i64; 6] {
    let chats = told["chats"].as_array().unwrap();
    let row = chats.iter().find(|row| row["chat_id"] == chat).unwrap();
    ["removed", "differs", "undeleted", "deleted", "lost", "repaired"].map(|name| row[name].as_i64().unwrap())
}

/// The coverage's states; each id of the chat is in one of them.
fn states(telekeep: &Installed, chat: i64) -> BTreeMap<String, i64> {
    let row = telekeep.coverage(chat);
    let names = ["collected", "deleted", "lost", "empty", "inaccessible", "stale", "dead", "missing"];
    let states: BTreeMap<String, i64> = names.iter().map(|name| ((*name).to_owned(), row[*name].as_i64().unwrap())).collect();
    assert_eq!(states.values().sum::<i64>(), row["top"].as_i64().unwrap(), "{row}");
    states
}

async fn runs(pool: &PgPool, statement: &'static str, chat: i64, ids: &[i64]) {
    let done = sqlx::query(statement).bind(chat).bind(ids).execute(pool).await.unwrap();
    assert_eq!(done.rows_affected(), ids.len() as u64, "{statement}");
}

const REMOVE: &str = "delete from message where chat_id = $1 and message_id = any($2)";

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_row_removed_from_the_record_is_found_and_comes_back(pool: PgPool) {
    let (datacentre, telekeep, channel, group) = collected(&pool).await;
    let (told, good) = audits(&telekeep, &[]);
    assert!(good, "{told}");
    // Answers name messages that were gone before anybody here could read them.
    assert!(told["chats"][0]["named"].as_i64().unwrap() > 0 && states(&telekeep, channel)["lost"] > 0);
    assert_eq!((numbers(&told, channel), numbers(&told, group)), ([0; 6], [0; 6]));
    let (before, covered) =
        ([channel, group].map(|chat| telekeep.documents(chat)), [channel, group].map(|chat| states(&telekeep, chat)));

    let of = |chat: usize, nth: usize| before[chat][nth]["message_id"].as_i64().unwrap();
    let gone = [of(0, 0), of(0, 90), of(0, 91)];
    runs(&pool, REMOVE, channel, &gone).await;
    runs(&pool, REMOVE, group, &[of(1, 5)]).await;
    assert_eq!(states(&telekeep, channel)["empty"], covered[0]["empty"] + 3, "the ledger believes what it was told");
    // Its content hash stays: only the comparison with Telegram tells.
    let altered = "update message set body = jsonb_set(body, '{text}', '\"forged\"') where chat_id = $1 and message_id = any($2)";
    let forged = of(0, 40);
    runs(&pool, altered, channel, &[forged]).await;

    let (told, good) = audits(&telekeep, &["--no-repair"]);
    assert!(!good);
    assert_eq!((numbers(&told, channel), numbers(&told, group)), ([3, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]));
    assert!(
        told["findings"]
            .as_array()
            .unwrap()
            .contains(&json!({"chat_id": channel, "message_id": forged, "what": "differs", "repaired": false}))
    );
    assert_eq!(telekeep.documents(channel).len(), before[0].len() - 3, "only looked");

    let (told, good) = audits(&telekeep, &["--sample", "250", &channel.to_string()]);
    assert!(!good, "something was wrong");
    assert_eq!(numbers(&told, channel), [3, 1, 0, 0, 0, 4]);
    assert_eq!(told["chats"].as_array().unwrap().len(), 1);
    let (told, _) = audits(&telekeep, &[]);
    assert_eq!((numbers(&told, channel), numbers(&told, group)), ([0; 6], [1, 0, 0, 0, 0, 1]));
    assert!(audits(&telekeep, &[]).1);
    assert_eq!([channel, group].map(|chat| states(&telekeep, chat)), covered);
    for (at, chat) in [channel, group].into_iter().enumerate() {
        assert_eq!(telekeep.documents(chat), before[at]);
    }
    assert_eq!(datacentre.violations(), []);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_telegram_no_longer_has_is_deleted_or_lost_and_never_empty(pool: PgPool) {
    let (datacentre, telekeep, channel, _) = collected(&pool).await;
    let posts = |post: Post| i64::from(datacentre.play(Event::Post { chat: channel, post }).unwrap().posted().next().unwrap().1);
    let [kept, answered, unknown, counted] = ["kept", "answered", "unknown", "counted"].map(|text| posts(Post::text(text)));
    let answer = posts(Post { reply_to: Some(answered as i32), ..Post::text("to that") });
    telekeep.does(&["collect", &channel.to_string(), "--force"]);
    let point = "insert into metric (box_id, message_id, scheduled_at, chat_id, date, via)
        select box_id, message_id, now(), chat_id, now(), 'history' from message where chat_id = $1 and message_id = any($2)";
    runs(&pool, point, channel, &[counted]).await;
    audits(&telekeep, &[]);
    let covered = states(&telekeep, channel);

    datacentre.delete(channel, &[kept, answered, unknown, counted].map(|id| id as i32)).unwrap();
    runs(&pool, REMOVE, channel, &[answered, unknown, counted]).await;
    let (told, good) = audits(&telekeep, &["--no-repair"]);
    assert!(!good);
    assert_eq!(numbers(&told, channel), [0, 0, 0, 1, 1, 0]);
    assert_eq!((states(&telekeep, channel)["lost"], states(&telekeep, channel)["deleted"]), (covered["lost"], covered["deleted"]));
    assert_eq!(told["chats"][0]["named"], 1);

    let (told, good) = audits(&telekeep, &[]);
    assert!(!good);
    assert_eq!(numbers(&told, channel), [0, 0, 0, 1, 1, 2]);
    let after = states(&telekeep, channel);
    assert_eq!((after["lost"], after["deleted"]), (covered["lost"] + 2, covered["deleted"] + 1));
    // Of what nothing names nobody can say that it was there.
    assert_eq!((after["empty"], after["collected"]), (covered["empty"] + 1, covered["collected"] - 4));
    let documents = telekeep.documents(channel);
    let of = |id: i64| documents.iter().find(|document| document["message_id"] == id);
    let deleted = of(kept).unwrap();
    assert!(deleted["deleted_between"].is_object() && (deleted["text"].is_string() || deleted["media"] == true), "{deleted}");
    for (id, reason) in [(answered, format!("message {answer} answers it")), (counted, "its counts were sampled".to_owned())] {
        let lost = of(id).unwrap();
        assert!(lost["deleted_between"].is_object() && lost["date"].is_null() && lost["text"].is_null(), "{lost}");
        assert_eq!(lost["lost_reason"], reason);
    }
    assert!(of(unknown).is_none());
    assert!(telekeep.does(&["coverage", &channel.to_string()]).contains("lost"));
    assert!(audits(&telekeep, &[]).1, "what is known to be lost is no news");
    // Read again as history, it stays what it is.
    telekeep.does(&["collect", &channel.to_string(), "--force"]);
    assert_eq!(states(&telekeep, channel), after);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_account_that_is_in_use_is_not_used_twice(pool: PgPool) {
    let (_datacentre, telekeep, channel, _) = collected(&pool).await;
    let running = Worker(telekeep.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until("the stream", || async {
        sqlx::query_scalar("select exists (select from account_stream)").fetch_one(&pool).await.unwrap()
    })
    .await;
    let told = telekeep.refuses(&["audit", "--telegram", &channel.to_string()]);
    running.kill();
    assert!(told.contains("account keeper is in use by") && told.contains("let that process do the work"), "{told}");
    let told = telekeep.refuses(&["audit", "--sample", "5"]);
    assert!(told.contains("--telegram"), "{told}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_was_deleted_or_altered_in_the_index_is_repaired_whatever_it_is(pool: PgPool) {
    in_world(pool, async |world| {
        let (mut conn, node) = fills(&world).await;
        // 3 is deleted, with its content; 9 was deleted before anybody saw it.
        loses(&mut conn, node, &[3, 9]).await;
        world.projects().await;
        let before = all(&world).await;
        let tombstone = format!("{LIBRARY}_9");
        assert!(before["message"][&tombstone]["deleted_at"].is_string() && before["message"][&tombstone]["date"].is_null());

        // Each document of each kind is altered, as it would be by another writer with the version that stands there.
        for kind in Kind::ALL {
            for (id, document) in &before[kind.as_str()] {
                let mut forged = document.clone();
                forged["seen"]["via"] = "live".into();
                let field = match kind {
                    Kind::Link => "url",
                    Kind::Metric => "views",
                    Kind::Media => "file_name",
                    Kind::Chat | Kind::Member | Kind::Name => "title",
                    Kind::User => "first_name",
                    Kind::Message | Kind::Version => "text",
                };
                forged[field] = if kind == Kind::Metric { 77.into() } else { "forged".into() };
                forged.as_object_mut().unwrap().remove("deleted_at");
                let answer = world.index.client().get(&world.path(kind, &format!("/_doc/{id}")), &[]).await.expect("asked");
                let version = &answer.body["_version"];
                let path = world.path(kind, &format!("/_doc/{id}?version={version}&version_type=external_gte"));
                assert!(world.index.client().put(&path, &forged).await.expect("forged").is_ok(), "{path}");
            }
        }
        let documents: u64 = before.values().map(|of_kind| of_kind.len() as u64).sum();
        let found = world.audit(true, false).await;
        let altered: Vec<u64> = found.kinds.iter().map(|kind| kind.altered).collect();
        assert_eq!(altered, Kind::ALL.map(|kind| before[kind.as_str()].len() as u64), "{found:?}");
        let found = world.audit(true, true).await;
        assert_eq!((found.repaired(), found.holds_after_repair), (documents, Some(true)));
        assert_eq!(all(&world).await, before);

        // And each is deleted.
        for kind in Kind::ALL {
            for id in before[kind.as_str()].keys() {
                let path = world.path(kind, &format!("/_doc/{id}"));
                assert!(world.index.client().delete(&path, None).await.expect("deleted").is_ok(), "{path}");
            }
        }
        let found = world.audit(false, true).await;
        let missing: Vec<u64> = found.kinds.iter().map(|kind| kind.missing).collect();
        assert_eq!((missing, found.holds_after_repair), (altered, Some(true)), "{found:?}");
        assert_eq!(all(&world).await, before);
    })
    .await;
}

async fn row_of(conn: &mut PgConnection, id: i64) -> (Option<String>, Option<String>, String, bool) {
    sqlx::query_as(
        "select body->>'text', lost_reason, via, deleted_at is not null from message where chat_id = $1 and message_id = $2",
    )
    .bind(LIBRARY.0)
    .bind(id)
    .fetch_one(conn)
    .await
    .expect("a row")
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_document_without_a_row_is_the_last_witness_of_its_message(pool: PgPool) {
    in_world(pool, async |world| {
        let (mut conn, node) = fills(&world).await;
        loses(&mut conn, node, &[3, 9]).await;
        world.projects().await;
        // The ledger knows ids up to 10, and was told of all of them.
        let ledger = crate::record::open(&mut conn, node).await;
        coverage::confirm_top(&mut conn, ledger.id, 10).await.expect("a top");
        sqlx::query("update coverage set settled = '{[1,11)}'").execute(&mut *conn).await.expect("settled");
        let before = all(&world).await;
        let covered = report(&mut conn).await;

        sqlx::query("delete from message where chat_id = $1").bind(LIBRARY.0).execute(&mut *conn).await.expect("removed");
        sqlx::query("delete from message_version where message_id = 1").execute(&mut *conn).await.expect("removed");
        assert_eq!(report(&mut conn).await.empty, 10);
        // What others wrote: one that proves nothing, one beyond what is known, one of a chat that nobody watches.
        for (chat, id) in [(LIBRARY.0, 5), (LIBRARY.0, 11), (-1_000_000_000_099, 1)] {
            let forged = json!({ "text": "never said", "chat_id": chat, "message_id": id, "content_hash": "00" });
            let path = world.path(Kind::Message, &format!("/_doc/{chat}_{id}"));
            assert!(world.index.client().put(&path, &forged).await.expect("put").is_ok());
        }
        let found = world.audit(true, false).await;
        assert_eq!(found.differences(), 4 + 3 + 1, "{found:?}");
        assert_eq!(report(&mut conn).await.empty, 10, "only looked");
        let found = world.audit(true, true).await;
        assert_eq!((found.repaired(), found.holds_after_repair), (8, Some(true)), "{found:?}");

        let via = || "index".to_owned();
        assert_eq!(row_of(&mut conn, 1).await, (Some("second 1".into()), None, via(), false));
        assert_eq!(row_of(&mut conn, 3).await, (Some("second 3".into()), None, via(), true));
        assert_eq!(row_of(&mut conn, 9).await, (None, None, via(), true));
        assert_eq!(row_of(&mut conn, 5).await, (None, Some("the index had a document of it".into()), via(), false));
        // What is not known to be deleted is asked for once more.
        let after = report(&mut conn).await;
        assert_eq!((after.stale, after.deleted, after.lost, after.empty), (3, covered.deleted, 0, 5));
        assert_eq!(after.holes, [(1, 2), (5, 5)]);
        let messages = documents(&world, Kind::Message).await;
        let ids: Vec<&str> = messages.keys().map(String::as_str).collect();
        assert_eq!(ids, [1, 2, 3, 5, 9].map(|id| format!("{LIBRARY}_{id}")));
        for id in [1, 2, 3, 9] {
            let id = format!("{LIBRARY}_{id}");
            let without = |document: &Value| {
                let mut document = document.clone();
                document.as_object_mut().unwrap().remove("seen");
                document
            };
            assert_eq!(without(&messages[&id]), without(&before["message"][&id]), "{id}");
        }

        // Telegram has 1 and 2, and nothing in the place of 5: one that was known once, and so is lost.
        let ledger = crate::record::open(&mut conn, node).await;
        let request = telekeep::record::ledger::PageRequest::new(&ledger, 11, Window { from: 1, to: 10 });
        let answer = [2, 1].map(|id| crate::series::pushed(30, id, &format!("second {id}")));
        let seen = crate::record::observation(node, telekeep::record::Via::History, Some(30));
        telekeep::record::ledger::commit_page(&mut conn, &request, &answer, &[1], &seen).await.expect("committed");
        let after = report(&mut conn).await;
        assert_eq!((after.collected, after.deleted, after.lost, after.empty, after.stale), (2, 2, 1, 5, 0));
        let heard: bool = sqlx::query_scalar("select order_pts = 30 from message where chat_id = $1 and message_id = 1")
            .bind(LIBRARY.0)
            .fetch_one(&mut *conn)
            .await
            .expect("a row");
        assert!(heard && row_of(&mut conn, 5).await.3);
        world.projects().await;
        assert_eq!(world.audit(true, false).await.differences(), 0);
    })
    .await;
}

/// The documents of all kinds in an installation's index with their versions, what moves without a change apart.
async fn indexed(pool: &PgPool, telekeep: &Telekeep) -> BTreeMap<(Kind, String), (i64, Value)> {
    let settings = Settings { prefix: telekeep.prefix.clone(), ..Settings::new(std::env::var("ELASTICSEARCH_URL").unwrap()) };
    let index = Projector::new(pool.clone(), settings).unwrap();
    let mut found = BTreeMap::new();
    for kind in Kind::ALL {
        let alias = format!("{}-{kind}", telekeep.prefix);
        index.client().refresh(&alias).await.unwrap();
        let ask = json!({ "size": 10_000, "version": true, "track_total_hits": true });
        let answer = index.client().post(&format!("/{alias}/_search"), &[], &ask).await.unwrap();
        let hits = answer.body["hits"]["hits"].as_array().unwrap();
        assert_eq!(answer.body["hits"]["total"]["value"].as_u64(), Some(hits.len() as u64), "{kind}");
        for hit in hits {
            let mut document = hit["_source"].clone();
            for field in ["seen", "insert_date", "first_seen", "last_seen"] {
                document.as_object_mut().unwrap().remove(field);
            }
            found.insert((kind, hit["_id"].as_str().unwrap().to_owned()), (hit["_version"].as_i64().unwrap(), document));
        }
    }
    found
}

/// Removes the concrete indices of a number; gives how many there were.
fn removes(telekeep: &Telekeep, version: u32) -> usize {
    let server = std::env::var("ELASTICSEARCH_URL").unwrap();
    let index = |kind| format!("{server}/{}-{kind}-v{version}", telekeep.prefix);
    let remove = |url: &String| Command::new("curl").args(["-fsS", "-o", "/dev/null", "-X", "DELETE", url]).status().unwrap();
    Kind::ALL.into_iter().map(index).filter(|url| remove(url).success()).count()
}

async fn quiet(pool: &PgPool) {
    until("the outbox to be empty", || async { outbox(pool).await == 0 }).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_index_that_went_in_the_middle_of_live_events_comes_back_the_same(pool: PgPool) {
    let world = World::generated(
        41,
        [
            GeneratedChat::new(ChatKind::Channel, "Harbour", 200).named("harbour"),
            GeneratedChat::new(ChatKind::Supergroup, "Quay", 200).deleted(0.2).members(20).named("quay"),
        ],
    );
    let datacentre = datacentre(world).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    telekeep.configures("[live]\nround_seconds = 2\n[reconcile]\nevery_seconds = 2\n");
    telekeep.has_workflow("new-chat");
    let chats: Vec<i64> = datacentre.world().chats().iter().map(|chat| chat.id).collect();
    for chat in &chats {
        telekeep.does(&["chat", "watch", &chat.to_string()]);
    }
    let _worker = telekeep.works();
    until("the histories", || async {
        let done: i64 =
            sqlx::query_scalar("select count(*) from workflow_run where state = 'done'").fetch_one(&pool).await.unwrap();
        done >= 2
    })
    .await;
    // The streams look every two seconds for what they follow.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let mut play = Play::new(&datacentre, 41, &[datacentre.world().me]);
    for _ in 0..20 {
        play.goes_on(30);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let heard = async || {
        let told: i64 =
            sqlx::query_scalar("select count(*) from message where via in ('live', 'difference')").fetch_one(&pool).await.unwrap();
        told
    };
    until("live messages", || async { heard().await > 100 }).await;
    quiet(&pool).await;
    let before = indexed(&pool, &telekeep).await;
    let count = |kind: Kind| before.keys().filter(|(of, _)| *of == kind).count();
    assert!(count(Kind::Version) > 20 && count(Kind::Link) > 50, "{} versions", count(Kind::Version));
    let tombstones = before.values().filter(|(_, document)| document["deleted_at"].is_string()).count();
    assert!(tombstones > 20, "{tombstones} tombstones");

    // The world goes on while the index is gone, and while it is rebuilt.
    assert_eq!(removes(&telekeep, 1), Kind::ALL.len());
    play.goes_on(200);
    let mut reindex = telekeep.command(&["reindex"]).stdout(Stdio::null()).spawn().unwrap();
    let ended = loop {
        if let Some(ended) = reindex.try_wait().unwrap() {
            break ended;
        }
        play.goes_on(5);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(ended.success());
    play.goes_on(50);
    until("the end of the play in the record", || async {
        let truth = |chat: i64| -> BTreeMap<i64, String> {
            datacentre.truth(chat).unwrap().into_iter().map(|it| (i64::from(it.content.message_id), it.content.text)).collect()
        };
        for chat in &chats {
            let rows: Vec<(i64, Option<String>)> = sqlx::query_as(
                "select message_id, body->>'text' from message where chat_id = $1 and deleted_at is null and body is not null",
            )
            .bind(chat)
            .fetch_all(&pool)
            .await
            .unwrap();
            let found: BTreeMap<i64, String> = rows.into_iter().map(|(id, text)| (id, text.unwrap_or_default())).collect();
            if found != truth(*chat) {
                return false;
            }
        }
        true
    })
    .await;
    quiet(&pool).await;
    for chat in &chats {
        telekeep.holds_the_truth(&datacentre, *chat);
    }
    let audited: Value = serde_json::from_str(&telekeep.does(&["audit", "--deep", "--no-repair", "--json"])).unwrap();
    assert_eq!(audited["findings"], json!([]), "every document of every kind is as the record has it");
    let after = indexed(&pool, &telekeep).await;
    let mut same = 0;
    for (key, (version, document)) in &before {
        let (now, found) = after.get(key).unwrap_or_else(|| panic!("{key:?} is not there any more"));
        assert!(now >= version, "{key:?}");
        if now == version {
            assert_eq!(found, document, "{key:?}");
            same += 1;
        } else {
            // A name that comes back is the newest again, and a member comes and goes.
            assert!(matches!(key.0, Kind::Message | Kind::Chat | Kind::User | Kind::Name | Kind::Member), "{key:?} never changes");
        }
    }
    assert!(same * 2 > before.len(), "{same} of {} did not change meanwhile", before.len());

    // Once more in the quiet: not one document differs, nor is there one more or less.
    telekeep.does(&["reindex"]);
    quiet(&pool).await;
    assert_eq!(indexed(&pool, &telekeep).await, after);
    // The installation removes only what it began with.
    removes(&telekeep, 2);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_real_channel_heard_live_gives_the_documents_that_its_history_gives(pool: PgPool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/trantor-library");
    if !folder.exists() {
        println!("SKIPPED: the export of a real channel is not here");
        return;
    }
    let alive = datacentre(World::from_export_until(&folder, 1).unwrap()).await;
    let chat = alive.world().chats()[0].id;
    let telekeep = Telekeep::at(&alive, &pool);
    telekeep.configures("[live]\nround_seconds = 2\n");
    telekeep.has_workflow("new-chat");
    telekeep.does(&["chat", "watch", &chat.to_string()]);
    let worker = telekeep.works();
    until("the history", || async {
        let done: i64 =
            sqlx::query_scalar("select count(*) from workflow_run where state = 'done'").fetch_one(&pool).await.unwrap();
        done >= 1
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let born = alive.world().chats()[0].count();
    let pages = alive.calls("messages.getHistory");
    while alive.play(Event::Publish { chat }).is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    until("the last message", || async {
        let rows: i64 = sqlx::query_scalar("select count(*) from message where body is not null").fetch_one(&pool).await.unwrap();
        rows == 924
    })
    .await;
    quiet(&pool).await;
    let heard: i64 =
        sqlx::query_scalar("select count(*) from message where via in ('live', 'difference')").fetch_one(&pool).await.unwrap();
    assert_eq!(heard, 924 - born as i64);
    assert_eq!(alive.calls("messages.getHistory"), pages, "nothing of it was read as history");
    let live = indexed(&pool, &telekeep).await;
    worker.kill();
    drop(telekeep);

    // History alone, from nothing.
    sqlx::raw_sql("drop schema public cascade; create schema public").execute(&pool).await.unwrap();
    let whole = datacentre(World::from_export(&folder).unwrap()).await;
    let telekeep = Telekeep::at(&whole, &pool);
    telekeep.does(&["collect", &chat.to_string()]);
    quiet(&pool).await;
    let history = indexed(&pool, &telekeep).await;

    assert_eq!(live.keys().collect::<Vec<_>>(), history.keys().collect::<Vec<_>>());
    for (key, (_, document)) in &live {
        assert_eq!(document, &history[key].1, "{key:?}");
    }
    assert_eq!(live.keys().filter(|(kind, _)| *kind == Kind::Message).count(), 924);
    assert!(live.keys().filter(|(kind, _)| *kind == Kind::Link).count() > 100);
}
