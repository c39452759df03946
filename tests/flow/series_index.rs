//! What accumulates beside messages, as documents on a real Elasticsearch: made, refused, audited, rebuilt, erased.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use telekeep::projection::{SINK, Source};
use telekeep::record::member::{self, Relation, Said, When};
use telekeep::record::message::{self, Deletion};
use telekeep::record::metric::{self, Point};
use telekeep::record::outbox::{self, Kind};
use telekeep::record::{AccountId, Chat, Message, User, Via, boxes, chat, user};
use tokio_util::sync::CancellationToken;

use crate::projection::{World, in_world};
use crate::record::{LIBRARY, begin, observation};
use crate::series::{body, erases, hears, link, loses, pushed};

/// All documents of a kind in the index, by `_id`.
pub(crate) async fn documents(world: &World, kind: Kind) -> BTreeMap<String, Value> {
    let client = world.index.client();
    client.refresh(&format!("{}-{kind}", world.settings.prefix)).await.expect("refreshed");
    let answer = client.post(&world.path(kind, "/_search"), &[], &json!({ "size": 1_000 })).await.expect("an answer");
    let hits = answer.body["hits"]["hits"].as_array().cloned().unwrap_or_default();
    hits.into_iter().map(|hit| (hit["_id"].as_str().expect("an id").to_owned(), hit["_source"].clone())).collect()
}

/// A message of each kind's making: an edit, links, a point, names.
pub(crate) async fn fills(world: &World) -> (crate::record::Connection, AccountId) {
    world.index.prepare().await.expect("indices");
    sqlx::query("delete from sink where name = $1").bind(SINK).execute(&world.pool).await.expect("as begun");
    let (mut conn, node) = begin(&world.pool).await;
    for id in 1..=3 {
        let links = vec![link(&format!("https://example.org/{id}")), link("https://example.org/all")];
        hears(
            &mut conn,
            node,
            &[
                Message { links, ..pushed(1, id, &format!("first {id}")) },
                Message { media: vec![crate::media::file(7)], ..pushed(2, id, &format!("second {id}")) },
            ],
        )
        .await;
    }
    let held = boxes::box_of_channel(&mut conn, LIBRARY).await.expect("a box");
    let held = boxes::lock(&mut conn, held).await.expect("locked");
    let seen = observation(node, Via::Live, None);
    let scheduled_at = DateTime::from_timestamp(1_700_000_000, 500_000_000).expect("a time");
    let reactions = Some(json!([{"reaction": "👍", "count": 2}]));
    let point =
        Point { message_id: 1, chat: LIBRARY, scheduled_at, views: Some(5), forwards: Some(0), reply_count: None, reactions };
    assert_eq!(metric::insert(&mut conn, &held, &[point.clone(), point], &seen).await.expect("points"), 1);
    let chats = [Chat {
        id: LIBRARY,
        kind: "channel".into(),
        body: body(json!({"title": "Library"})),
        access_hash: None,
        min: false,
        avatar: None,
    }];
    chat::merge_chats(&mut conn, &chats, &seen).await.expect("merged");
    let users = [User {
        id: 9,
        body: body(json!({"first_name": "Hari", "username": "hari"})),
        access_hash: None,
        min: false,
        avatar: None,
    }];
    user::merge_users(&mut conn, &users, &seen).await.expect("merged");
    let when = When::Dated { date: DateTime::from_timestamp(1_700_000_000, 0).expect("a time"), message: Some(1) };
    let relation = Relation { chat: LIBRARY, user: 9, said: Said::Came { by: Some(5) }, when };
    assert_eq!(member::merge(&mut conn, &[relation], &seen).await.expect("merged"), 1);
    world.projects().await;
    (conn, node)
}

pub(crate) async fn all(world: &World) -> BTreeMap<&'static str, BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for kind in Kind::ALL {
        all.insert(kind.as_str(), documents(world, kind).await);
    }
    all
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn every_kind_has_its_documents(pool: PgPool) {
    in_world(pool, async |world| {
        let (mut conn, _) = fills(&world).await;
        let dead = outbox::dead_letters(&world.pool, 10).await.expect("dead letters");
        assert!(dead.is_empty(), "{dead:?}");
        let all = all(&world).await;
        let counts: Vec<(&str, usize)> = all.iter().map(|(kind, documents)| (*kind, documents.len())).collect();
        let wanted = [
            ("chat", 1),
            ("link", 6),
            ("media", 1),
            ("member", 1),
            ("message", 3),
            ("metric", 1),
            ("name", 2),
            ("user", 1),
            ("version", 3),
        ];
        assert_eq!(counts, wanted);
        let hash = async |conn: &mut PgConnection, table: &str| -> String {
            let statement = format!("select encode(hash, 'hex') from {table} order by id limit 1");
            sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(conn).await.expect("a hash")
        };
        let without_seen = |mut document: Value| {
            let row = document["seen"]["row"].is_i64();
            for field in ["seen", "first_seen", "last_seen"] {
                document.as_object_mut().expect("an object").remove(field);
            }
            (row, document)
        };
        let found = |kind: &str, id: String| without_seen(all[kind].get(&id).unwrap_or_else(|| panic!("{id} in {all:#?}")).clone());
        let url: String = sqlx::query_scalar("select url from link order by id limit 1").fetch_one(&mut *conn).await.expect("a url");
        assert_eq!(
            found("link", format!("{}_{LIBRARY}_1", hash(&mut conn, "link").await)),
            (
                true,
                json!({"url": url, "kind": "web", "host": "example.org", "chat_id": LIBRARY, "message_id": 1, "date": "2023-11-14T22:13:21Z"})
            )
        );
        assert_eq!(
            found("version", format!("{LIBRARY}_1_{}", hash(&mut conn, "message_version").await)),
            (true, json!({"text": "first 1", "media": false, "chat_id": LIBRARY, "message_id": 1, "date": "2023-11-14T22:13:21Z"}))
        );
        let (row, mut point) = found("metric", format!("{LIBRARY}_1_2023-11-14T22:13:20Z"));
        assert!(row && point["date"].take().is_string());
        assert_eq!(
            point,
            json!({"chat_id": LIBRARY, "message_id": 1, "date": null, "views": 5, "forwards": 0, "reactions": [{"reaction": "👍", "count": 2}]})
        );
        assert_eq!(
            found("name", format!("{LIBRARY}_{}", hash(&mut conn, "name").await)),
            (true, json!({"id": LIBRARY, "kind": "chat", "title": "Library"}))
        );
        assert_eq!(world.audit(true, false).await.differences(), 0);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn every_kind_is_audited_repaired_and_rebuilt(pool: PgPool) {
    in_world(pool, async |world| {
        fills(&world).await;
        let before = all(&world).await;
        for kind in Kind::ALL {
            let id = before[kind.as_str()].keys().next().expect("a document");
            let path = world.path(kind, &format!("/_doc/{id}"));
            assert!(world.index.client().delete(&path, None).await.expect("deleted").is_ok(), "{path}");
        }
        let id = before["link"].keys().next_back().expect("a link");
        let mut forged = before["link"][id].clone();
        forged["url"] = "https://forged.example.org/".into();
        let path = world.path(Kind::Link, &format!("/_doc/{id}?version=1&version_type=external_gte"));
        assert!(world.index.client().put(&path, &forged).await.expect("forged").is_ok());
        let extra = json!({ "text": "never said", "seen": { "row": 99 } });
        assert!(world.index.client().put(&world.path(Kind::Version, "/_doc/1_2_3"), &extra).await.expect("extra").is_ok());
        let report = world.audit(true, false).await;
        let missing: Vec<u64> = report.kinds.iter().map(|kind| kind.missing).collect();
        assert_eq!((missing, report.differences()), (vec![1; 9], 11), "{report:?}");
        let report = world.audit(true, true).await;
        assert_eq!((report.repaired(), report.holds_after_repair), (11, Some(true)));

        let same = |one: &BTreeMap<&str, BTreeMap<String, Value>>| one == &before;
        assert!(same(&all(&world).await));
        world.index.reindex(&CancellationToken::new(), |_| {}).await.expect("a reindex");
        assert!(same(&all(&world).await));
        assert_eq!(world.audit(true, false).await.differences(), 0);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_index_that_is_new_is_filled_and_no_other(pool: PgPool) {
    in_world(pool, async |world| {
        fills(&world).await;
        let before = all(&world).await;
        // As an installation stands that a release before this one made.
        for kind in [Kind::Link, Kind::Version] {
            assert!(world.index.client().delete(&world.path(kind, "-v1"), None).await.expect("gone").is_ok());
        }
        assert_eq!(world.index.missing_aliases().await.expect("aliases").len(), 2);
        world.index.prepare().await.expect("indices");
        assert_eq!(world.index.backlog().await.expect("the backlog"), 6 + 3);
        world.projects().await;
        assert_eq!(all(&world).await, before);
        world.index.prepare().await.expect("twice changes nothing");
        assert_eq!(world.index.backlog().await.expect("the backlog"), 0);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_refused_version_is_a_dead_letter_that_names_its_message(pool: PgPool) {
    in_world(pool, async |world| {
        let (mut conn, node) = fills(&world).await;
        hears(&mut conn, node, &[pushed(1, 7, "odd"), pushed(2, 7, "even")]).await;
        let odd = "update message_version set body = body || '{\"unknown_field\": 1}' where message_id = 7";
        sqlx::query(odd).execute(&mut *conn).await.expect("odd");
        world.projects().await;
        let dead = outbox::dead_letters(&world.pool, 10).await.expect("dead letters");
        assert_eq!(dead.len(), 1, "{dead:?}");
        assert_eq!((dead[0].kind, dead[0].chat_id, dead[0].message_id), (Kind::Version, Some(LIBRARY.0), Some(7)));
        let mended = "update message_version set body = body - 'unknown_field' where message_id = 7";
        sqlx::query(mended).execute(&mut *conn).await.expect("mended");
        assert_eq!(outbox::retry_dead_letters(&world.pool, Some(Kind::Link)).await.expect("retried"), 0);
        assert_eq!(outbox::retry_dead_letters(&world.pool, Some(Kind::Version)).await.expect("retried"), 1);
        world.projects().await;
        assert_eq!(documents(&world, Kind::Version).await.len(), 4);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn where_deletions_erase_nothing_of_a_message_stays_but_that_it_was(pool: PgPool) {
    in_world(pool, async |world| {
        let (mut conn, node) = fills(&world).await;
        erases(&mut conn, LIBRARY).await;
        loses(&mut conn, node, &[1, 50]).await;
        hears(&mut conn, node, &[pushed(9, 1, "first 1"), pushed(9, 50, "never stored")]).await;
        let links: Vec<i64> = sqlx::query_scalar("select message_id from link order by 1").fetch_all(&mut *conn).await.expect("links");
        assert_eq!(links, [2, 2, 3, 3]);
        let versions: Vec<i64> =
            sqlx::query_scalar("select message_id from message_version order by 1").fetch_all(&mut *conn).await.expect("versions");
        assert_eq!(versions, [2, 3]);
        let left: Vec<(i64, bool)> = sqlx::query_as(
            "select message_id, body is null and raw is null and search is null and content_hash is null and deleted_at is not null and date is not null
            from message where deleted_at is not null order by 1",
        )
        .fetch_all(&mut *conn)
        .await
        .expect("tombstones");
        assert_eq!(left, [(1, true), (50, true)]);
        world.projects().await;
        assert_eq!((documents(&world, Kind::Link).await.len(), documents(&world, Kind::Version).await.len()), (4, 2));
        let messages = documents(&world, Kind::Message).await;
        let tombstone = &messages[&format!("{LIBRARY}_1")];
        assert!(tombstone["deleted_at"].is_string() && tombstone["date"].is_string() && tombstone.get("text").is_none(), "{tombstone}");
        assert_eq!(world.audit(true, false).await.differences(), 0);
        assert!(outbox::dead_letters(&world.pool, 10).await.expect("dead letters").is_empty());
        // A rebuilt index does not have it either.
        world.index.reindex(&CancellationToken::new(), |_| {}).await.expect("a reindex");
        assert_eq!(documents(&world, Kind::Link).await.len(), 4);
        assert_eq!(world.index.documents_of(LIBRARY.0, Source::Index).await.map(|_| ()).ok(), Some(()));
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_deletion_that_absence_told_and_a_page_took_back_brings_the_documents_back(pool: PgPool) {
    in_world(pool, async |world| {
        let (mut conn, node) = fills(&world).await;
        erases(&mut conn, LIBRARY).await;
        let before = documents(&world, Kind::Link).await;
        let held = boxes::box_of_channel(&mut conn, LIBRARY).await.expect("a box");
        let held = boxes::lock(&mut conn, held).await.expect("locked");
        let absent = Deletion { id: 1, after: DateTime::from_timestamp(1_700_000_000, 0) };
        let seen = observation(node, Via::History, Some(20));
        message::commit_deletions(&mut conn, &held, &[absent], &seen).await.expect("deleted");
        world.projects().await;
        assert_eq!(documents(&world, Kind::Link).await.len(), 4);
        let links = vec![link("https://example.org/1"), link("https://example.org/all")];
        hears(&mut conn, node, &[Message { links, ..pushed(21, 1, "second 1") }]).await;
        world.projects().await;
        assert!(outbox::dead_letters(&world.pool, 10).await.expect("dead letters").is_empty());
        assert_eq!(documents(&world, Kind::Link).await.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        assert_eq!(world.audit(true, false).await.differences(), 0);
    })
    .await;
}
