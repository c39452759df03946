//! What accumulates beside messages: versions, links, counts, names. On real Postgres.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sqlx::{PgConnection, PgPool};
use telekeep::projection::SINK;
use telekeep::record::link::{Link, LinkKind};
use telekeep::record::message::{self, Counts};
use telekeep::record::metric::{self, Point};
use telekeep::record::outbox::Kind;
use telekeep::record::watch::{self, NewWatch, OnDelete};
use telekeep::record::{AccountId, Chat, ChatId, Message, Observation, Raw, User, Via, audit, boxes, chat, document, ledger, user};

use crate::record::{LIBRARY, account, begin, observation, says};

pub(crate) fn body(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

pub(crate) fn link(url: &str) -> Link {
    Link { url: url.to_owned(), kind: LinkKind::Web, host: Some("example.org".to_owned()) }
}

/// Pushed, with an order key of its own.
pub(crate) fn pushed(pts: i32, id: i64, text: &str) -> Message {
    Message { pts: Some(pts), ..says(LIBRARY, id, text) }
}

pub(crate) async fn hears(conn: &mut PgConnection, node: AccountId, messages: &[Message]) {
    let seen = observation(node, Via::Live, None);
    ledger::commit_messages(conn, LIBRARY, messages, &seen).await.expect("pushed");
}

pub(crate) async fn loses(conn: &mut PgConnection, node: AccountId, ids: &[i64]) {
    let seen = observation(node, Via::Live, None);
    ledger::commit_deletions(conn, Some(LIBRARY), ids, &seen).await.expect("deleted");
}

/// A message's text, its revision, and the texts of its versions.
async fn state(conn: &mut PgConnection, id: i64) -> (Option<String>, i64, Vec<String>) {
    let (text, revision) = sqlx::query_as("select body->>'text', revision from message where message_id = $1")
        .bind(id)
        .fetch_one(&mut *conn)
        .await
        .expect("the row");
    let versions = sqlx::query_scalar("select body->>'text' from message_version where message_id = $1 order by id")
        .bind(id)
        .fetch_all(conn)
        .await
        .expect("versions");
    (text, revision, versions)
}

async fn entries(conn: &mut PgConnection, kind: Kind) -> i64 {
    sqlx::query_scalar("select count(*) from outbox where kind = $1").bind(kind.as_str()).fetch_one(conn).await.expect("a count")
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_partial_message_after_a_full_one_erases_nothing(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    hears(&mut conn, node, &[pushed(1, 1, "the whole")]).await;
    let raw = Raw { bytes: vec![1], reason: "strange is not represented".into() };
    let partial = Message { raw: Some(raw), body: body(json!({"views": 3})), ..pushed(2, 1, "") };
    hears(&mut conn, node, &[partial]).await;
    assert_eq!(state(&mut conn, 1).await, (Some("the whole".into()), 2, vec![]));
    let (views, reason): (String, String) =
        sqlx::query_as("select body->>'views', raw_reason from message").fetch_one(&mut *conn).await.expect("the row");
    assert_eq!((views.as_str(), reason.as_str()), ("3", "strange is not represented"));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_old_edit_after_a_new_one_through_another_account_is_a_version(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    let other = account(&mut conn, "other").await;
    hears(&mut conn, node, &[pushed(1, 1, "first"), pushed(9, 1, "third")]).await;
    assert_eq!(state(&mut conn, 1).await, (Some("third".into()), 2, vec!["first".into()]));
    hears(&mut conn, other, &[pushed(5, 1, "second")]).await;
    hears(&mut conn, other, &[pushed(5, 1, "second")]).await;
    assert_eq!(state(&mut conn, 1).await, (Some("third".into()), 2, vec!["first".into(), "second".into()]));
    let tellers: Vec<i64> =
        sqlx::query_scalar("select account_id from message_version order by id").fetch_all(&mut *conn).await.expect("tellers");
    assert_eq!(tellers, [node.0, other.0]);
    assert_eq!(entries(&mut conn, Kind::Version).await, 2);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_import_of_words_that_stood_adds_a_version_once_and_of_known_ones_none(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    let mut bold = pushed(1, 1, "first");
    bold.body.insert("entities".into(), json!([{"type": "bold", "offset": 0, "length": 5}]));
    hears(&mut conn, node, &[bold, pushed(2, 1, "second")]).await;
    let seen = observation(node, Via::Import, None);
    for words in ["first", "zeroth", "zeroth", "second"] {
        ledger::commit_messages(&mut conn, LIBRARY, &[says(LIBRARY, 1, words)], &seen).await.expect("imported");
    }
    assert_eq!(state(&mut conn, 1).await, (Some("second".into()), 2, vec!["first".into(), "zeroth".into()]));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_is_replaced_keeps_who_told_it(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    let other = account(&mut conn, "other").await;
    hears(&mut conn, node, &[pushed(1, 1, "first")]).await;
    let seen = Observation { job: None, ..observation(other, Via::History, Some(4)) };
    ledger::commit_messages(&mut conn, LIBRARY, &[says(LIBRARY, 1, "second")], &seen).await.expect("read");
    let teller: (i64, String, Option<i64>) =
        sqlx::query_as("select account_id, via, job from message_version").fetch_one(&mut *conn).await.expect("a version");
    assert_eq!(teller, (node.0, "live".into(), Some(1)));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_deletion_before_the_content_waits_for_it_and_keeps_versions(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    loses(&mut conn, node, &[1]).await;
    hears(&mut conn, node, &[pushed(5, 1, "second"), pushed(4, 1, "first")]).await;
    assert_eq!(state(&mut conn, 1).await, (Some("second".into()), 2, vec!["first".into()]));
    let deleted: bool =
        sqlx::query_scalar("select deleted_at is not null from message").fetch_one(&mut *conn).await.expect("the row");
    assert!(deleted);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn two_edits_within_one_second_are_ordered_by_pts_and_without_it_by_receipt(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    let second = DateTime::from_timestamp(1_700_000_100, 0);
    let edit = |pts, id, text: &str| Message { pts, edit_date: second, ..says(LIBRARY, id, text) };
    hears(&mut conn, node, &[edit(Some(8), 1, "later")]).await;
    hears(&mut conn, node, &[edit(Some(7), 1, "earlier")]).await;
    assert_eq!(state(&mut conn, 1).await, (Some("later".into()), 1, vec!["earlier".into()]));
    hears(&mut conn, node, &[edit(None, 2, "heard first")]).await;
    hears(&mut conn, node, &[edit(None, 2, "heard then")]).await;
    assert_eq!(state(&mut conn, 2).await, (Some("heard then".into()), 2, vec!["heard first".into()]));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn two_nodes_whose_clocks_are_an_hour_apart_write_the_databases_time(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    let mut other = pool.acquire().await.expect("a connection");
    // What a node can bring along of its own: how its session reads times, and dates in messages, of which those of edits order nothing
    // that pts orders.
    sqlx::query("set timezone = 'Etc/GMT-1'").execute(&mut *other).await.expect("set");
    let before: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *conn).await.expect("a time");
    let ahead = |message: Message| Message { edit_date: Some(before + chrono::TimeDelta::hours(1)), ..message };
    hears(&mut other, node, &[ahead(pushed(1, 1, "first")), pushed(2, 2, "stays")]).await;
    hears(&mut conn, node, &[pushed(5, 1, "second")]).await;
    hears(&mut other, node, &[ahead(pushed(3, 1, "between"))]).await;
    loses(&mut other, node, &[2]).await;
    loses(&mut conn, node, &[2]).await;
    let point = |at| Point {
        message_id: 1,
        chat: LIBRARY,
        scheduled_at: at,
        views: Some(1),
        forwards: None,
        reply_count: None,
        reactions: None,
    };
    let held = boxes::box_of_channel(&mut other, LIBRARY).await.expect("a box");
    let held = boxes::lock(&mut other, held).await.expect("locked");
    let seen = observation(node, Via::Live, None);
    metric::insert(&mut other, &held, &[point(before)], &seen).await.expect("a point");
    assert_eq!(metric::insert(&mut conn, &held, &[point(before)], &seen).await.expect("the same"), 0);
    assert_eq!(state(&mut conn, 1).await, (Some("second".into()), 2, vec!["first".into(), "between".into()]));
    let told: Vec<(String, bool)> = sqlx::query_as(
        "select place, at between $1 and clock_timestamp() from (
            select 'first seen', first_seen from message union all select 'last seen', last_seen from message
            union all select 'received', received_at from message
            union all select 'deleted', deleted_at from message where message_id = 2
            union all select 'version', first_seen from message_version union all select 'metric', date from metric
        ) t (place, at)",
    )
    .bind(before)
    .fetch_all(&mut *conn)
    .await
    .expect("times");
    assert_eq!(told.len(), 10);
    assert!(told.iter().all(|(_, now)| *now), "{told:?}");
    // And no code of the record asks a node's clock.
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/record")];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).expect("the record") {
            let path = file.expect("a file").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).expect("text");
            assert!(!text.contains("clock::") && !text.contains("::now()"), "{text}");
        }
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn counts_that_are_pushed_raise_the_revision_and_make_no_version(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    hears(&mut conn, node, &[pushed(1, 1, "hello")]).await;
    loses(&mut conn, node, &[2]).await;
    sqlx::query("delete from outbox").execute(&mut *conn).await.expect("sent");
    let held = boxes::box_of_channel(&mut conn, LIBRARY).await.expect("a box");
    let held = boxes::lock(&mut conn, held).await.expect("locked");
    let seen = observation(node, Via::Live, None);
    let views = |id, views| Counts { id, views: Some(views), ..Counts::default() };
    let reactions =
        Counts { id: 1, reactions: Some(vec![json!({"reaction": "👍", "count": 2})]), pinned: Some(true), ..Counts::default() };
    let told = [views(1, 5), reactions, views(1, 9), views(2, 1), views(3, 1)];
    let written = message::commit_counts(&mut conn, &held, &told, &seen).await.expect("counted");
    assert_eq!((written.new, written.revised), (vec![], vec![1]));
    let again = message::commit_counts(&mut conn, &held, &[views(1, 8)], &seen).await.expect("counted");
    assert_eq!((again.revised, again.unchanged), (vec![], 1));
    hears(&mut conn, node, &[pushed(2, 1, "hello, edited")]).await;
    let (now, entered): (Value, i64) = sqlx::query_as(
        "select body - 'media', (select revision from outbox where kind = 'message' and key2 = 1) from message where message_id = 1",
    )
    .fetch_one(&mut *conn)
    .await
    .expect("the row");
    // An edit tells whether a message is pinned; of counts it says nothing.
    assert_eq!(now, json!({"text": "hello, edited", "views": 9, "reactions": [{"reaction": "👍", "count": 2}]}));
    let (_, revision, versions) = state(&mut conn, 1).await;
    assert_eq!((revision, entered, versions), (5, 5, vec!["hello".to_owned()]));
    let rows: i64 = sqlx::query_scalar("select count(*) from message").fetch_one(&mut *conn).await.expect("a count");
    assert_eq!(rows, 2);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_link_is_one_row_an_occurrence_and_stays_when_an_edit_removes_it(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    let with = |pts, id, urls: &[&str]| {
        let links = urls.iter().map(|url| link(url)).collect();
        let mut message = Message { links, ..pushed(pts, id, &format!("{pts}")) };
        message.body.insert("from_user_id".into(), 9.into());
        message
    };
    hears(
        &mut conn,
        node,
        &[with(1, 1, &["https://example.org/a", "https://example.org/b"]), with(2, 2, &["https://example.org/a"])],
    )
    .await;
    hears(&mut conn, node, &[with(4, 1, &[]), with(3, 1, &["https://example.org/c", "https://example.org/nul\0"])]).await;
    type Row = (i64, String, String, Option<String>, Option<i64>);
    let rows: Vec<Row> = sqlx::query_as("select message_id, url, kind, host, user_id from link order by 1, 2")
        .fetch_all(&mut *conn)
        .await
        .expect("links");
    let row = |id, url: &str| (id, url.to_owned(), "web".to_owned(), Some("example.org".to_owned()), Some(9));
    assert_eq!(
        rows,
        [
            row(1, "https://example.org/a"),
            row(1, "https://example.org/b"),
            row(1, "https://example.org/c"),
            row(1, "https://example.org/nul\u{fffd}"),
            row(2, "https://example.org/a")
        ]
    );
    assert_eq!(entries(&mut conn, Kind::Link).await, 5);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn names_have_a_history(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    let seen = observation(node, Via::History, None);
    let user = |value: Value, min| [User { id: 9, body: body(value), access_hash: None, min, avatar: None }];
    let hari = json!({"first_name": "Hari", "last_name": "Seldon", "username": "hari", "is_bot": false});
    let rows = async |conn: &mut PgConnection| -> Vec<(String, Option<String>, i64)> {
        sqlx::query_as("select concat_ws(' ', first_name, last_name, title), username, revision from name order by id")
            .fetch_all(conn)
            .await
            .expect("names")
    };
    let one = |name: &str, username: Option<&str>, revision| (name.to_owned(), username.map(str::to_owned), revision);
    // Known in part only: that begins no history.
    user::merge_users(&mut conn, &user(json!({"first_name": "Hari"}), true), &seen).await.expect("merged");
    assert_eq!(rows(&mut conn).await, []);
    user::merge_users(&mut conn, &user(hari.clone(), false), &seen).await.expect("merged");
    user::merge_users(&mut conn, &user(json!({"first_name": "Hari"}), true), &seen).await.expect("merged");
    assert_eq!(rows(&mut conn).await, [one("Hari Seldon", Some("hari"), 1)]);
    // Told in part, but of one whose names are known: the merged row is what counts.
    user::merge_users(&mut conn, &user(json!({"first_name": "Raych"}), true), &seen).await.expect("merged");
    user::merge_users(&mut conn, &user(hari.clone(), false), &seen).await.expect("merged");
    user::merge_users(&mut conn, &user(hari.clone(), false), &seen).await.expect("merged");
    assert_eq!(rows(&mut conn).await, [one("Hari Seldon", Some("hari"), 2), one("Raych Seldon", Some("hari"), 1)]);
    let current: String = sqlx::query_scalar("select first_name from name order by last_seen desc limit 1")
        .fetch_one(&mut *conn)
        .await
        .expect("a name");
    assert_eq!(current, "Hari");
    // Seen again: at most hourly.
    let moved = "select last_seen > now() - interval '1 minute' from name where first_name = 'Hari'";
    for (age, fresh) in [("30 minutes", false), ("2 hours", true)] {
        sqlx::query("update name set last_seen = last_seen - $1::interval").bind(age).execute(&mut *conn).await.expect("aged");
        user::merge_users(&mut conn, &user(hari.clone(), false), &seen).await.expect("merged");
        assert_eq!(sqlx::query_scalar::<_, bool>(moved).fetch_one(&mut *conn).await.expect("a time"), fresh, "{age}");
    }
    user::merge_users(&mut conn, &user(json!({"first_name": null, "last_name": null, "username": null}), false), &seen)
        .await
        .expect("gone");
    let titled = |title: &str| {
        let body = body(json!({"title": title, "username": "library"}));
        [Chat { id: LIBRARY, kind: "channel".into(), body, access_hash: None, min: false, avatar: None }]
    };
    chat::merge_chats(&mut conn, &titled("Library"), &seen).await.expect("merged");
    chat::merge_chats(&mut conn, &titled("The Library"), &seen).await.expect("merged");
    assert_eq!(rows(&mut conn).await[2..], [one("Library", Some("library"), 1), one("The Library", Some("library"), 1)]);
    assert_eq!(entries(&mut conn, Kind::Name).await, 4);
}

pub(crate) async fn erases(conn: &mut PgConnection, chat: ChatId) {
    let wish = NewWatch { on_delete: Some(OnDelete::Erase), ..NewWatch::new(chat) };
    watch::watch(conn, &wish).await.expect("watched");
    // Said again without it, it stays.
    watch::watch(conn, &NewWatch::new(chat)).await.expect("watched");
    assert_eq!(watch::show(conn, chat).await.expect("read").expect("a watch").on_delete, "erase");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_deletion_that_names_no_chat_erases_when_the_content_names_it(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    let group = ChatId(-42);
    erases(&mut conn, group).await;
    let seen = observation(node, Via::Live, None);
    let with_link = Message { links: vec![link("https://example.org/a")], ..says(group, 5, "secret") };
    ledger::commit_messages(&mut conn, group, &[says(group, 4, "known")], &seen).await.expect("pushed");
    ledger::commit_deletions(&mut conn, None, &[4, 5], &seen).await.expect("deleted");
    ledger::commit_messages(&mut conn, group, &[with_link], &seen).await.expect("late");
    let rows: Vec<(i64, Option<i64>, bool, bool)> =
        sqlx::query_as("select message_id, chat_id, body is null, erased from message order by 1")
            .fetch_all(&mut *conn)
            .await
            .expect("rows");
    assert_eq!(rows, [(4, Some(-42), true, true), (5, Some(-42), true, true)]);
    let links: i64 = sqlx::query_scalar("select count(*) from link").fetch_one(&mut *conn).await.expect("a count");
    assert_eq!(links, 0);
    // Ids of an account's box are that account's own, and so are the documents of what hangs on them.
    let kept = Message { links: vec![link("https://example.org/b")], ..says(group, 6, "kept") };
    ledger::commit_messages(&mut conn, group, &[kept], &seen).await.expect("pushed");
    let (first, last) = ((i64::MIN, i64::MIN), (i64::MAX, i64::MAX));
    let expected = audit::expected(&pool, SINK, Kind::Link, first, last).await.expect("rows").remove(0);
    let hash: String = sqlx::query_scalar("select encode(hash, 'hex') from link").fetch_one(&mut *conn).await.expect("a hash");
    assert_eq!(expected.id, format!("{hash}_{}", document::message_document_id(Some(-node.0), group.0, 6)));
}
