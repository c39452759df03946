//! The API's resources over a real server: what they answer, what they refuse, and that each answer is as it is described.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use telekeep_queue as queue;
use telekeep_simulator::world::{ChatKind, GeneratedChat};
use telekeep_simulator::{Simulator, World};

use crate::asking::{Api, Wish, shape};
use crate::installation::{Telekeep, until};
use crate::installed::{Installed, datacentre};

async fn harbour() -> Simulator {
    let chats = [
        GeneratedChat::new(ChatKind::Channel, "Harbour", 250).deleted(0.2).named("harbour"),
        GeneratedChat::new(ChatKind::Supergroup, "Quay", 60).named("quay"),
    ];
    datacentre(World::generated(7, chats)).await
}

/// Jobs in every state, without a worker.
pub async fn jobs(pool: &PgPool) -> Vec<i64> {
    let job = |kind: &str, n: i64| queue::NewJob::new(kind, json!({ "chat": -1_000_000_000_100 - n })).unique_key(n.to_string());
    let mut new: Vec<_> = (0..6).map(|n| job("history_fetch", n)).collect();
    new.push(job("chat_refresh", 9));
    let mut conn = pool.acquire().await.unwrap();
    let (made, _wake) = queue::enqueue(&mut conn, &new).await.unwrap();
    let ids: Vec<i64> = made.iter().map(queue::Enqueued::id).collect();
    let child = job("history_fetch", 20).parent(ids[0]);
    let (made, _wake) = queue::enqueue(&mut conn, &[child]).await.unwrap();
    for (id, state, error) in [(ids[1], "dead", "the harbour is Closed"), (ids[2], "held", "no account"), (ids[3], "cancelled", "")]
    {
        sqlx::query(
            "with moved as (
                update job set state = $2, error = nullif($3, ''), hint = case when $2 = 'held' then 'sign in an account' end,
                    finished_at = case when $2 <> 'held' then now() end
                where id = $1 returning kind)
             insert into job_delta select kind, 'available', -1 from moved union all select kind, $2, 1 from moved",
        )
        .bind(id)
        .bind(state)
        .bind(error)
        .execute(pool)
        .await
        .unwrap();
    }
    ids.into_iter().chain(made.iter().map(queue::Enqueued::id)).collect()
}

pub fn ids(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn jobs_are_listed_by_what_they_have_in_common_in_pages_that_end(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let all = jobs(&pool).await;
    let newest_first: Vec<i64> = all.iter().rev().copied().collect();
    assert_eq!(ids(&api.reads("/jobs").await), newest_first);
    let mut seen = Vec::new();
    let mut page = api.reads("/jobs?limit=3").await;
    loop {
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        page = api.reads(&format!("/jobs?limit=3&cursor={next}")).await;
    }
    assert_eq!(seen, newest_first);
    for (query, expected) in [
        ("state=dead", vec![all[1]]),
        ("state=held&kind=history_fetch", vec![all[2]]),
        ("state=cancelled", vec![all[3]]),
        ("kind=chat_refresh", vec![all[6]]),
        ("kind=history_fetch&state=available", vec![all[7], all[5], all[4], all[0]]),
        ("chat=-1000000000101", vec![all[1]]),
        ("chat=-1000000000101&state=available", vec![]),
        ("error=closed", vec![all[1]]),
        ("error=%25", vec![]),
        ("error=%27%3B%20drop%20table%20job%3B--", vec![]),
        (&*format!("parent={}", all[0]), vec![all[7]]),
        ("account=0&limit=1", vec![all[7]]),
        ("kind=nothing", vec![]),
    ] {
        assert_eq!(ids(&api.reads(&format!("/jobs?{query}")).await), expected, "{query}");
    }
    let shown = api.reads(&format!("/jobs/{}", all[0])).await;
    let family: Vec<(i64, i64)> = shown["lineage"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["id"].as_i64().unwrap(), it["distance"].as_i64().unwrap()))
        .collect();
    assert_eq!(family, [(all[0], 0), (all[7], 1)]);
    insta::assert_snapshot!(shape(&shown), @r#"{"attempts":[],"job":{"attempt":"number","cancel_requested":"boolean","crash":"number","created_at":"time","error":"null","failure":"number","finished_at":"null","hint":"null","id":"number","kind":"text","node":"null","outcome":"null","parent":"null","partition":"number","payload":{"chat":"number"},"priority":"number","progress":{"done":"null","note":"null","per_second":"null","remaining_seconds":"null","total":"null"},"run":"null","run_at":"time","started_at":"null","state":"text","step":"null","trigger":"null"},"lineage":[{"distance":"number","id":"number","kind":"text","parent":"null","state":"text"}]}"#);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn jobs_are_changed_by_id_or_by_a_filter_whose_number_was_confirmed(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let all = jobs(&pool).await;
    let act = |body: Value| api.asks(Method::POST, "/jobs/actions", Some(&api.operator), Some(body));
    let one = |id: i64, body: Value| {
        let api = &api;
        async move { api.asks(Method::POST, &format!("/jobs/{id}/actions"), Some(&api.operator), Some(body)).await }
    };
    let retried = one(all[1], json!({ "action": "retry" })).await;
    assert_eq!((retried.status, retried.json()["state"].clone()), (StatusCode::OK, json!("available")));
    assert_eq!(one(all[1], json!({ "action": "retry" })).await.problem().1, "conflict", "it is not dead any more");
    assert_eq!(one(999_999, json!({ "action": "retry" })).await.problem().1, "not-found");
    assert_eq!(one(all[1], json!({ "action": "priority", "priority": 9 })).await.problem().2, "priority");
    assert_eq!(one(all[1], json!({ "action": "priority", "priority": 1 })).await.json()["priority"], 1);
    assert_eq!(one(all[1], json!({ "action": "explode" })).await.problem().2, "action");

    let filter = json!({ "kind": "history_fetch", "state": "available" });
    let dry = act(json!({ "action": "hold", "filter": filter, "dry_run": true })).await.json();
    assert_eq!(dry, json!({ "matched": 5, "touched": 0, "dry_run": true }));
    assert_eq!(ids(&api.reads("/jobs?state=held").await), [all[2]], "a dry run does nothing");
    assert_eq!(act(json!({ "action": "hold", "filter": filter })).await.problem().2, "expected");
    assert_eq!(act(json!({ "action": "hold", "filter": filter, "expected": 4 })).await.problem().1, "conflict");
    assert_eq!(ids(&api.reads("/jobs?state=held").await), [all[2]], "nor does a wrong number");
    let done = act(json!({ "action": "hold", "filter": filter, "expected": 5 })).await.json();
    assert_eq!(done["touched"], 5);
    assert_eq!(api.reads("/jobs?state=held").await["items"].as_array().unwrap().len(), 6);
    // Held by the operator and held for a reason are told apart.
    let resume = act(json!({ "action": "resume", "filter": { "state": "held" }, "dry_run": true })).await.json();
    assert_eq!(resume["matched"], 5);
    assert_eq!(act(json!({ "action": "cancel", "filter": {}, "expected": 7 })).await.problem().2, "filter");
    assert_eq!(act(json!({ "action": "cancel", "filter": { "ids": [all[6]] }, "expected": 1 })).await.json()["touched"], 1);
    assert_eq!(act(json!({ "action": "cancel", "filter": { "colour": "red" } })).await.problem().2, "filter.colour");

    let log = api.reads("/audit-log?who=token:operator").await;
    let noted: Vec<&str> = log["items"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect();
    assert_eq!(noted, ["job.cancel", "job.pause", "job.priority", "job.retry"], "what was refused is not noted");

    // Kinds and partitions.
    let pause =
        |path: &'static str, paused: bool| api.asks(Method::PUT, path, Some(&api.operator), Some(json!({ "paused": paused })));
    assert_eq!(pause("/kinds/history_fetch/pause", true).await.status, 204);
    assert_eq!(pause("/kinds/nothing/pause", true).await.problem().1, "not-found");
    let kinds = api.reads("/kinds").await;
    let kind = kinds["items"].as_array().unwrap().iter().find(|it| it["kind"] == "history_fetch").unwrap().clone();
    assert_eq!((&kind["paused"], &kind["jobs"]["held"]), (&json!(true), &json!(6)));
    assert_eq!(pause("/kinds/history_fetch/pause", false).await.status, 204);
    assert_eq!(pause("/partitions/0/pause", true).await.status, 204);
    assert_eq!(api.reads("/partitions").await["items"][0]["paused"], true);
    assert_eq!(pause("/partitions/77/pause", true).await.problem().1, "not-found");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn chats_their_coverage_their_messages_and_their_versions_are_read(pool: PgPool) {
    let datacentre = harbour().await;
    let telekeep = Installed::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    telekeep.does(&["collect", &chat.to_string()]);
    for statement in [
        "delete from message where message_id between 101 and 110",
        "update coverage set settled = settled - '{[101,111)}', stale = '{[201,206)}'",
        "insert into message_version (box_id, message_id, hash, chat_id, body, via)
            select box_id, message_id, '\\x0a', chat_id, '{\"text\": \"before\"}', 'live' from message where message_id = 250",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
    let api = Api::serves(&pool).await;
    let chats = api.reads("/chats").await;
    assert_eq!((chats["items"][0]["chat_id"].as_i64(), chats["items"][0]["title"].as_str()), (Some(chat), Some("Harbour")));
    assert_eq!(api.reads("/chats?text=hARb").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(api.reads("/chats?text=%25").await["items"], json!([]));
    let shown = api.reads(&format!("/chats/{chat}")).await;
    insta::assert_snapshot!(shape(&shown), @r#"{"access":[{"account":"text","checked_at":"time","readable":"boolean","reason":"null","state":"text","visible_from":"number"}],"chat":{"chat_id":"number","content_hash":"text","is_fake":"boolean","is_forum":"boolean","is_restricted":"boolean","is_scam":"boolean","is_verified":"boolean","members_count":"number","noforwards":"boolean","photo":"text","seen":{"account":"text","first_at":"time","job":"number","last_at":"time","via":"text"},"title":"text","type":"text","username":"text","usernames":["text"]},"last_message_at":"time","photos":[{"first_seen":"time","last_seen":"time","media_id":"text","sha256":"null","state":"text"}],"watch":{"chat_id":"number","created_at":"time","on_delete":"text","purpose":"null","reader":"text","reader_id":"number","since":"null","tags":[],"title":"text","type":"text","username":"text"}}"#);
    assert_eq!(api.asks(Method::GET, "/chats/-1007", Some(&api.viewer), None).await.problem().1, "not-found");
    let boxes: i64 = sqlx::query_scalar("select count(*) from box where channel_id = -1007").fetch_one(&pool).await.unwrap();
    assert_eq!(boxes, 0, "nothing is made by asking");

    // The bars add up to the report, at any zoom.
    let report = api.reads(&format!("/chats/{chat}/coverage")).await["items"][0].clone();
    assert_eq!((&report["missing"], &report["stale"]), (&json!(10), &json!(5)));
    for parts in [1, 7, 100, 200] {
        let bar = api.reads(&format!("/chats/{chat}/coverage/bars?parts={parts}")).await["items"][0].clone();
        assert_eq!(bar["exact"], true);
        for state in ["collected", "deleted", "lost", "empty", "inaccessible", "stale", "dead", "missing"] {
            let sum: i64 = bar["parts"].as_array().unwrap().iter().map(|part| part[state].as_i64().unwrap()).sum();
            assert_eq!(Some(sum), report[state].as_i64(), "{state} in {parts} parts");
        }
    }
    let hole = api.reads(&format!("/chats/{chat}/coverage/bars?from=101&to=110&parts=2")).await["items"][0]["parts"].clone();
    assert_eq!((hole[0]["missing"].as_i64(), hole[1]["from"].as_i64()), (Some(5), Some(106)));
    for (query, field) in
        [("parts=0", "parts"), ("parts=201", "parts"), ("from=9&to=3", "from"), ("from=x", "from"), ("zoom=1", "zoom")]
    {
        let refused = api.asks(Method::GET, &format!("/chats/{chat}/coverage/bars?{query}"), Some(&api.viewer), None).await;
        assert_eq!(refused.problem(), (422, "invalid".into(), field.into()), "{query}");
    }

    // As one reads it: from the newest back, on both sides of an id, from a day on.
    let path = format!("/chats/{chat}/messages");
    let numbers = |page: &Value| -> Vec<i64> {
        page["items"].as_array().unwrap().iter().map(|it| it["message_id"].as_i64().unwrap()).collect()
    };
    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let place = before.map_or(String::new(), |id: i64| format!("&before={id}"));
        let page = api.reads(&format!("{path}?limit=100{place}")).await;
        let numbers = numbers(&page);
        assert!(numbers.is_sorted());
        read.splice(0..0, numbers);
        before = page["older"].as_i64();
        if before.is_none() {
            break;
        }
    }
    let held: Vec<i64> = sqlx::query_scalar("select message_id from message order by 1").fetch_all(&pool).await.unwrap();
    assert_eq!(read, held);
    let around = numbers(&api.reads(&format!("{path}?around=105&limit=10")).await);
    assert!(around.len() == 10 && around[4] < 105 && around[5] > 105, "{around:?}");
    let date: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select date from message where message_id >= 120 order by message_id limit 1")
            .fetch_one(&pool)
            .await
            .unwrap();
    let at = numbers(&api.reads(&format!("{path}?limit=4&date={}", date.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))).await);
    assert_eq!(at.len(), 4);
    let message = api.reads(&format!("{path}/250")).await;
    assert_eq!(
        (message["message"]["versions"].as_i64(), message["versions"][0]["document"]["text"].as_str()),
        (Some(1), Some("before"))
    );
    for (place, status) in [
        ("?before=1&after=2", 422),
        ("?limit=0", 422),
        ("?limit=501", 422),
        ("?date=yesterday", 422),
        ("/105", 404),
        ("/-9223372036854775808", 404),
        ("/x", 404),
    ] {
        assert_eq!(
            api.asks(Method::GET, &format!("{path}{place}"), Some(&api.viewer), None).await.status.as_u16(),
            status,
            "{place}"
        );
    }

    // Documents as in the index, with a tag that spares the second reading.
    let id = message["message"]["id"].as_str().unwrap();
    let document = api.asks(Method::GET, &format!("/documents/message/{id}"), Some(&api.viewer), None).await;
    assert_eq!(document.json()["document"], message["message"]["document"]);
    let tag = document.header("etag").to_owned();
    assert!(tag.starts_with("W/\""));
    let again =
        api.request(Method::GET, &format!("/api/v1/documents/message/{id}"), Some(&api.viewer)).header("if-none-match", &tag);
    let again = api.sends(again.body(Default::default()).unwrap()).await;
    assert_eq!((again.status.as_u16(), again.bytes.len()), (304, 0));
    let row = message["versions"][0]["document"]["seen"]["row"].as_i64().unwrap();
    assert_eq!(api.reads(&format!("/documents/version/{row}")).await["document"]["text"], "before");
    assert_eq!(api.reads(&format!("/documents/chat/{chat}")).await["document"]["title"], "Harbour");
    for none in
        ["message/1", "message/9_9", "nothing/1", "chat/1_2", "chat/x", "user/99999999999999999999", "message/1_2_3", "link/0"]
    {
        assert_eq!(
            api.asks(Method::GET, &format!("/documents/{none}"), Some(&api.viewer), None).await.problem().1,
            "not-found",
            "{none}"
        );
    }

    // Accounts and nodes, without secrets.
    let accounts = api.asks(Method::GET, "/accounts", Some(&api.viewer), None).await;
    insta::assert_snapshot!(shape(&accounts.json()), @r#"{"items":[{"can_read":"number","created_at":"time","id":"number","label":"text","needs_login":"boolean","reads":"number","rests":[],"state":"text","state_at":"time","state_reason":"null","until":"null","user_id":"number"}],"next":"null"}"#);
    let account = api.reads("/accounts/keeper").await;
    assert_eq!((&account["route"]["way"], &account["chats"][0]["chat_id"]), (&json!("direct"), &json!(chat)));
    for secret in ["session", "key", "phone", "access_hash"] {
        assert!(!account.to_string().contains(&format!("\"{secret}")), "{secret}");
    }
    assert_eq!(api.asks(Method::GET, "/accounts/nobody", Some(&api.viewer), None).await.problem().1, "not-found");
    let hold = api.does(Method::POST, "/accounts/keeper/hold", json!({ "reason": "a test" })).await;
    assert_eq!(hold.status, 204, "{}", hold.text());
    assert_eq!(api.reads("/accounts").await["items"][0]["state"], "held");
    assert_eq!(api.does(Method::POST, "/accounts/keeper/hold", json!({ "reason": "a test" })).await.problem().1, "conflict");
    let attention = api.reads("/attention").await;
    assert!(attention.to_string().contains("keeper is held: a test"), "{attention}");
    assert_eq!(api.does(Method::POST, "/accounts/keeper/release", json!({})).await.status, 204);

    // Unwatching asks once more.
    let unwatch =
        |confirm: i64| api.asks(Method::DELETE, format!("/chats/{chat}?confirm={confirm}").leak(), Some(&api.operator), None);
    assert_eq!(unwatch(1).await.problem().2, "confirm");
    let tagged = api.does(Method::PUT, &format!("/chats/{chat}/tags"), json!({ "tags": ["port"] })).await;
    assert_eq!(tagged.status, 204);
    assert_eq!(api.reads("/chats?tag=port").await["items"].as_array().unwrap().len(), 1);
    let fetch = api.does(Method::POST, &format!("/chats/{chat}/fetch"), json!({})).await;
    assert!(fetch.json()["jobs"].as_array().unwrap().len() >= 2, "{}", fetch.text());
    assert_eq!(unwatch(chat).await.status, 204);
    assert_eq!(unwatch(chat).await.problem().1, "not-found");
    let again = api.does(Method::POST, "/chats", json!({ "chat": "@harbour", "tags": ["port", "sea"] })).await;
    assert_eq!(again.json(), json!({ "chat_id": chat, "is_new": true }), "{}", again.text());
    for (body, field) in [
        (json!({ "chat": "not a chat" }), "chat"),
        (json!({ "chat": chat.to_string(), "tags": ["a b"] }), "tags"),
        (json!({ "chat": chat.to_string(), "on_delete": "erase" }), "confirm_erase"),
        (json!({ "chat": chat.to_string(), "since": "soon" }), "since"),
        (json!({}), "chat"),
    ] {
        assert_eq!(api.does(Method::POST, "/chats", body.clone()).await.problem().2, field, "{body}");
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn search_finds_by_words_and_filters_in_pages_in_index_and_record_alike(pool: PgPool) {
    let datacentre = harbour().await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    telekeep.does(&["collect", &chat.to_string()]);
    let worker = telekeep.works();
    until("the index", || async { crate::installation::outbox(&pool).await == 0 }).await;
    drop(worker);
    let url = std::env::var("ELASTICSEARCH_URL").unwrap();
    let indexed = Api::as_wished(&pool, Wish { index: Some((url, telekeep.prefix.clone())), ..Wish::default() }).await;
    sqlx::query("delete from api_token").execute(&pool).await.unwrap();
    let recorded = Api::serves(&pool).await;
    sqlx::query("delete from api_token").execute(&pool).await.unwrap();
    let away = Wish { index: Some(("http://127.0.0.1:9".into(), "nowhere".into())), ..Wish::default() };
    let away = Api::as_wished(&pool, away).await;
    let word: String = sqlx::query_scalar(
        "select word from ts_stat('select search from message where search is not null') where length(word) > 4 and word ~ '^[a-z]+$' order by ndoc desc, word limit 1",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    sqlx::query("delete from api_token where name in ('reader', 'operator', 'boss')").execute(&pool).await.unwrap();
    let token = crate::asking::token_of(&pool, "searcher", telekeep::record::token::Role::Viewer, None).await;
    // What the index took it shows a little later.
    let all =
        async |api: &Api| api.asks(Method::GET, &format!("/search?chat={chat}"), Some(&token), None).await.json()["total"].clone();
    let kept = all(&recorded).await;
    until("the index to show all", || async { all(&indexed).await == kept }).await;
    let mut found: Vec<BTreeSet<i64>> = Vec::new();
    for (api, place) in [(&indexed, "index"), (&recorded, "record"), (&away, "record")] {
        let ask = |path: String| {
            let token = &token;
            async move { api.asks(Method::GET, &path, Some(token), None).await }
        };
        for sort in ["newest", "relevance"] {
            let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), String::new(), 0);
            loop {
                let page = ask(format!("/search?text={word}&limit=5&sort={sort}{cursor}")).await.json();
                assert_eq!(page["place"], place);
                let items = page["items"].as_array().unwrap();
                for item in items {
                    assert!(seen.insert(item["message_id"].as_i64().unwrap()), "{place} {sort}: twice {item}");
                    let marked = item["highlight"].as_array().unwrap().iter().any(|piece| piece["found"] == true);
                    assert!(marked, "{item}");
                }
                pages += 1;
                match page["next"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert!(pages > 1 && !seen.is_empty(), "{place} {sort}");
            found.push(seen);
        }
        let of = ask(format!("/search?text={word}&chat={chat}&since=2000-01-01T00:00:00Z&until=2100-01-01T00:00:00Z")).await.json();
        assert!(of["total"].as_u64().unwrap() > 0);
        assert_eq!(ask(format!("/search?text={word}&chat=5")).await.json()["total"], 0);
        assert_eq!(ask(format!("/search?text={word}&until=2000-01-01T00:00:00Z")).await.json()["total"], 0);
        assert!(ask("/search?media_type=photo&sort=newest".into()).await.status.is_success());
        assert!(ask(format!("/search?chat={chat}&limit=2")).await.json()["items"].as_array().unwrap().len() == 2, "no words: all");
        // Hostile syntax finds nothing, or something; it breaks nothing.
        for hostile in [
            "%22",
            "%22%22%22",
            "((((",
            "-",
            "%7C%7C%7C",
            "*",
            "~9999",
            "a%00b",
            "%5C",
            "%22a%20%7C%20-b",
            "%F0%9F%92%A5",
            "%27%3B--",
        ] {
            let answer = ask(format!("/search?text={hostile}")).await;
            assert!(answer.status.is_success(), "{place} {hostile}: {}", answer.text());
        }
        for (query, field) in [
            (format!("text={}", "a".repeat(501)), "text"),
            ("cursor=eyJhIjoxfQ".into(), "cursor"),
            ("cursor=WyJpbmRleCIsWzEsMl1d".into(), "cursor"),
            ("sort=best".into(), "sort"),
            ("since=now".into(), "since"),
            ("chat=abc".into(), "chat"),
        ] {
            // A page of the index goes on nowhere else, and is to be asked for again.
            let away = std::ptr::eq(api, &away) && query.starts_with("cursor=Wy");
            let expected = if away { (503, "index-away".into(), String::new()) } else { (422, "invalid".into(), field.into()) };
            assert_eq!(ask(format!("/search?{query}")).await.problem(), expected, "{place} {query}");
        }
    }
    assert!(found.windows(2).all(|two| two[0] == two[1]), "all find the same of {word:?}: {found:?}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn workflows_are_shown_checked_started_and_paused(pool: PgPool) {
    let datacentre = harbour().await;
    let telekeep = Installed::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    telekeep.does(&["chat", "watch", &chat.to_string()]);
    let api = Api::serves(&pool).await;
    let names: Vec<String> = api.reads("/workflows").await["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.contains(&"nightly-backfill".to_owned()), "{names:?}");
    let shown = api.reads("/workflows/nightly-backfill").await;
    insta::assert_snapshot!(shape(&shown), @r#"{"description":"text","jobs":{},"name":"text","next_ticks":["time"],"paused":"null","runs":[],"select":{"chats":[],"incomplete":"boolean","kinds":["text"],"tags":[],"uncounted":"boolean"},"selected_chats":"number","steps":[{"after":[],"job":"text","name":"text","priority":"null","spread_seconds":"null"}],"trigger":{"cron":{"missed":"text","schedule":"text","timezone":"text"}},"waiting_chats":"number"}"#);
    let check = |text: &'static str| api.asks(Method::POST, "/workflow-checks", Some(&api.viewer), Some(json!({ "text": text })));
    let faults = check("name = \"x\"\n[[step]]\nname = \"a\"\njob = \"nothing\"\n").await.json();
    assert_eq!((&faults["valid"], faults["faults"][0]["line"].as_i64()), (&json!(false), Some(4)), "{faults}");
    assert_eq!(check("name = \"x\"\n[[step]]\nname = \"a\"\njob = \"chat_refresh\"\n").await.json()["valid"], true);
    assert_eq!(check("\u{0}[[[").await.json()["valid"], false);

    let start = |body: Value| api.asks(Method::POST, "/workflows/refresh/runs", Some(&api.operator), Some(body));
    let started = start(json!({ "chats": [chat] })).await.json();
    let run = started["runs"][0].as_i64().unwrap();
    assert_eq!(start(json!({})).await.json(), json!({ "runs": [], "skipped": 1 }));
    assert_eq!(start(json!({ "chats": [5] })).await.problem().1, "conflict");
    let shown = api.reads(&format!("/runs/{run}")).await;
    assert_eq!((&shown["run"]["state"], shown["jobs"].as_array().unwrap().len()), (&json!("running"), 1));
    insta::assert_snapshot!(shape(&shown), @r#"{"jobs":[{"job":"number","outcome":"null","step":"text"}],"run":{"chat_id":"number","created_at":"time","finished_at":"null","held":[],"id":"number","state":"text","steps":[{"failed":"number","state":"text","step":"text","unfinished":"number"}],"tick":"time","trigger":"text","workflow":"text"}}"#);
    assert_eq!(ids(&api.reads(&format!("/runs?workflow=refresh&chat={chat}&state=running")).await), [run]);
    let job = shown["jobs"][0]["job"].as_i64().unwrap();
    assert_eq!(ids(&api.reads(&format!("/jobs?chat={chat}")).await), [job]);

    let pause = |paused: bool| {
        let body = json!({ "paused": paused, "reason": "a test" });
        api.asks(Method::PUT, "/workflows/refresh/pause", Some(&api.operator), Some(body))
    };
    assert_eq!(pause(true).await.status, 204);
    assert_eq!(start(json!({})).await.problem().1, "conflict");
    assert_eq!(api.reads("/workflows/refresh").await["paused"]["reason"], "a test");
    assert_eq!(pause(false).await.status, 204);
    assert_eq!(api.asks(Method::GET, "/workflows/nothing", Some(&api.viewer), None).await.problem().1, "not-found");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn figures_proxies_members_and_files_are_shown(pool: PgPool) {
    let datacentre = harbour().await;
    let telekeep = Installed::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    telekeep.does(&["collect", &chat.to_string()]);
    let key_file = Some(telekeep.path("telekeep.key"));
    let api = Api::as_wished(&pool, Wish { key_file, ..Wish::default() }).await;
    jobs(&pool).await;
    let figures = api.reads("/statistics").await;
    let hours = figures["hours"].as_array().unwrap();
    assert_eq!(hours.len(), 24);
    let messages: i64 = sqlx::query_scalar("select count(*) from message").fetch_one(&pool).await.unwrap();
    assert_eq!(hours.iter().map(|hour| hour["messages"].as_i64().unwrap()).sum::<i64>(), messages);
    assert!(figures["now"]["messages_per_second"].as_f64().unwrap() > 0.0);
    let attention = api.reads("/attention").await;
    let about: Vec<&str> = attention["items"].as_array().unwrap().iter().map(|it| it["hint"].as_str().unwrap()).collect();
    assert!(about.contains(&"sign in an account"), "{attention}");

    let add = |body: Value| api.asks(Method::POST, "/proxies", Some(&api.admin), Some(body));
    let password = "hunter2-and-more";
    assert_eq!(
        add(json!({ "name": "berlin", "url": "socks5://me@127.0.0.1:1080", "password": password, "pool": true })).await.status,
        201
    );
    assert_eq!(add(json!({ "name": "berlin", "url": "socks5://127.0.0.1:1080" })).await.problem().1, "conflict");
    assert_eq!(add(json!({ "name": "x", "url": "http://127.0.0.1" })).await.problem().2, "url");
    assert_eq!(add(json!({ "name": "", "url": "socks5://127.0.0.1:1" })).await.problem().2, "name");
    assert_eq!(add(json!({ "name": "x", "url": "socks5://127.0.0.1:1", "password": "p" })).await.problem().2, "password");
    let listed = api.asks(Method::GET, "/proxies", Some(&api.viewer), None).await;
    assert!(listed.text().contains("berlin") && !listed.text().contains(password));
    assert!(!api.asks(Method::GET, "/audit-log", Some(&api.viewer), None).await.text().contains(password));
    let bound = api.does(Method::PUT, "/accounts/keeper/proxy", json!({ "to": "berlin" })).await;
    assert_eq!(bound.status, 204, "{}", bound.text());
    assert_eq!(
        api.asks(Method::DELETE, "/proxies/berlin", Some(&api.admin), None).await.problem().1,
        "conflict",
        "an account needs it"
    );
    assert_eq!(api.does(Method::PUT, "/accounts/keeper/proxy", json!({ "to": "none" })).await.status, 204);
    assert_eq!(api.asks(Method::DELETE, "/proxies/berlin", Some(&api.admin), None).await.status, 204);

    for list in ["/nodes", "/workers", "/sinks", "/files", "/file-totals", "/file-rules/dry-run"] {
        api.reads(list).await;
    }
    for list in ["members", "member-counts", "member-lists"] {
        api.reads(&format!("/chats/{chat}/{list}")).await;
    }
    assert_eq!(api.asks(Method::GET, &format!("/chats/{chat}/members/5"), Some(&api.viewer), None).await.problem().1, "not-found");
    assert_eq!(api.asks(Method::GET, "/files/photo_1", Some(&api.viewer), None).await.problem().1, "not-found");
    assert_eq!(api.does(Method::POST, "/files/wants", json!({ "files": ["photo_1"] })).await.problem().2, "files");
    assert_eq!(api.does(Method::POST, "/files/wants", json!({})).await.problem().2, "files");
    assert_eq!(api.does(Method::PUT, "/nodes/nowhere/drain", json!({ "draining": true })).await.problem().1, "not-found");
    assert_eq!(api.does(Method::PUT, "/accounts/keeper/nodes", json!({ "nodes": ["a"] })).await.status, 204);
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn graphql_reads_the_same_and_is_bounded(pool: PgPool) {
    let api = Api::serves(&pool).await;
    let all = jobs(&pool).await;
    let ask = |query: &str| {
        let body = json!({ "query": query });
        api.asks(Method::POST, "/graphql", Some(&api.viewer), Some(body))
    };
    let told = ask("{ jobs(filter: { state: DEAD }, limit: 5) { items { id kind error } next } }").await.json();
    assert_eq!(told["data"]["jobs"]["items"], json!([{ "id": all[1], "kind": "history_fetch", "error": "the harbour is Closed" }]));
    let one = ask(&format!("{{ job(id: {}) {{ job {{ state }} lineage {{ id distance }} }} }}", all[7])).await.json();
    assert_eq!(one["data"]["job"]["lineage"], json!([{ "id": all[0], "distance": -1 }, { "id": all[7], "distance": 0 }]));
    let rest = ask("{ accounts { label } chats { items { title } } workflows { name steps { job } } runs { items { id } } nodes { name }
        statistics { now { jobsPerSecond } jobs { kind jobs } } attention { what hint } search(text: \"a\") { total place } files { items { id } } }")
    .await
    .json();
    assert!(rest["errors"].is_null(), "{rest}");
    let types =
        ask("{ __schema { queryType { name } types { name fields { name type { name ofType { name ofType { name } } } } } } }")
            .await
            .json();
    assert!(types["errors"].is_null() && types.to_string().contains("CoverageBar"), "{types}");
    assert!(types["data"]["__schema"]["mutationType"].is_null());
    // Too many things, too deep, too long, and no question at all.
    let many = ask("{ chats(limit: 500) { items { chatId tags title purpose username reader createdAt } } jobs(limit: 500) { items { id kind state payload attempt failure crash error hint createdAt startedAt finishedAt node outcome run step trigger parent priority partition runAt cancelRequested progress { done total note } } } more: jobs(limit: 500) { items { id kind state payload } } }").await.json();
    assert!(many["errors"].to_string().contains("complex"), "{many}");
    let deep = format!(
        "{}{}",
        "{ __type(name: \"Job\") { fields { type ".to_owned() + "{ ofType ".repeat(30).as_str(),
        "{ name }".to_owned() + "}".repeat(33).as_str()
    );
    assert!(ask(&deep).await.json()["errors"].is_array());
    assert_eq!(ask(&"{ a }".repeat(5_000)).await.problem().2, "query");
    for wrong in ["", "{", "mutation { cancel }", "{ nothing }", "{ jobs(limit: 0) { next } }", "{ jobs(cursor: \"x\") { next } }"]
    {
        let told = ask(wrong).await.json();
        assert!(told["errors"].is_array(), "{wrong}: {told}");
    }
    assert_eq!(api.asks(Method::POST, "/graphql", None, Some(json!({ "query": "{ nodes { name } }" }))).await.status, 401);
}
