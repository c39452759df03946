//! The projection against a real Elasticsearch: what the outbox holds arrives, once, and stays true.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::{FutureExt, TryStreamExt};
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use telekeep::{
    projection::{AuditOptions, Progress, Projector, SINK, Settings, Source},
    record::{
        finding::{self, Found, MARKS, Wish},
        outbox::{self, Kind},
    },
};
use tokio_util::sync::CancellationToken;

const CHANNEL: i64 = -1_001_000_000_001;

/// A record with one channel, and an index of its own.
pub(crate) struct World {
    pub(crate) pool: PgPool,
    pub(crate) index: Projector,
    pub(crate) settings: Settings,
}

fn words(text: &str) -> Wish {
    Wish { text: text.to_owned(), ..Wish::default() }
}

/// With marks that can be read.
fn found(mut found: Found) -> Found {
    for hit in &mut found.hits {
        hit.highlight = hit.highlight.replace(MARKS.0, "<em>").replace(MARKS.1, "</em>");
    }
    found
}

/// Runs a test in a world, and removes its indices whatever comes of it.
pub(crate) async fn in_world<F: Future<Output = ()>>(pool: PgPool, test: impl FnOnce(std::sync::Arc<World>) -> F) {
    let url = std::env::var("ELASTICSEARCH_URL").unwrap_or_default();
    assert!(
        !url.is_empty(),
        "ELASTICSEARCH_URL is not set: these tests need a real Elasticsearch. Run eval \"$(scripts/up)\" first"
    );
    let prefix = format!("flow-{}", uuid::Uuid::new_v4().simple());
    let settings = Settings { prefix, ..Settings::new(url) };
    let index = Projector::new(pool.clone(), settings.clone()).expect("the address can be used");
    let world = std::sync::Arc::new(World { pool, index, settings });
    sqlx::query("insert into box (channel_id) values ($1)").bind(CHANNEL).execute(&world.pool).await.expect("a box");
    let result = AssertUnwindSafe(test(world.clone())).catch_unwind().await;
    for kind in Kind::ALL {
        for version in 1..=3 {
            let path = format!("/{}-{kind}-v{version}", world.settings.prefix);
            let _ = world.index.client().delete(&path, None).await;
        }
    }
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

impl World {
    /// A message is written to the record, as collecting does: row and outbox together.
    async fn says(&self, id: i64, text: &str) {
        self.writes(id, json!({ "text": text })).await;
    }

    async fn writes(&self, id: i64, body: Value) {
        let spaced: String = body["text"]
            .as_str()
            .unwrap_or_default()
            .chars()
            .flat_map(|c| if c > '\u{2e80}' { vec![' ', c, ' '] } else { vec![c] })
            .collect();
        sqlx::query(
            "with written as (
                insert into message (box_id, message_id, chat_id, date, body, content_hash, via, search)
                select id, $2, $1, to_timestamp(1700000000 + $2), $3, sha256(convert_to($3::text, 'UTF8')), 'history', to_tsvector('simple', $4)
                from box where channel_id = $1
                on conflict (box_id, message_id)
                do update set body = excluded.body, content_hash = excluded.content_hash, search = excluded.search, revision = message.revision + 1
                returning box_id, message_id, revision)
             insert into outbox (sink, kind, key1, key2, revision) select s.name, 'message', box_id, message_id, revision from written, sink s
             on conflict (sink, kind, key1, key2) do update set revision = excluded.revision",
        )
        .bind(CHANNEL)
        .bind(id)
        .bind(&body)
        .bind(spaced)
        .execute(&self.pool)
        .await
        .expect("a message is written");
    }

    /// Lets the projector work until the outbox is empty.
    pub(crate) async fn projects(&self) {
        let stop = CancellationToken::new();
        let (worked, drained) = tokio::join!(self.index.run(stop.clone()), async {
            let mut left = 0;
            for _ in 0..150 {
                left = self.index.backlog().await.expect("the backlog");
                if left == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            stop.cancel();
            left
        });
        worked.expect("the projector ends well");
        assert_eq!(drained, 0, "the outbox is not empty: {:?}", outbox::sinks(&self.pool).await);
    }

    async fn sink(&self) -> outbox::Sink {
        outbox::sink(&self.pool, SINK).await.expect("the database").expect("the sink")
    }

    async fn holds(&self, from: Source) -> Vec<Map<String, Value>> {
        let documents = self.index.documents_of(CHANNEL, from).await.expect("an export");
        documents.try_collect().await.expect("documents")
    }

    pub(crate) fn path(&self, kind: Kind, rest: &str) -> String {
        format!("/{}-{kind}{rest}", self.settings.prefix)
    }

    pub(crate) async fn audit(&self, deep: bool, repair: bool) -> telekeep::projection::AuditReport {
        let options = AuditOptions { deep, repair, wait: repair };
        self.index.audit(options, &CancellationToken::new()).await.expect("an audit")
    }
}

fn of_kind(report: &telekeep::projection::AuditReport, kind: Kind) -> &telekeep::projection::KindReport {
    report.kinds.iter().find(|report| report.kind == kind).expect("every kind is reported")
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_is_written_is_found(pool: PgPool) {
    in_world(pool, async |world| {
        world.says(1, "written before there was a sink").await;
        world.index.prepare().await.expect("indices");
        world.index.prepare().await.expect("twice changes nothing");
        for id in 2..=1_500 {
            world.says(id, &format!("message number {id}")).await;
        }
        world.says(7, "the seventh, edited: 我爱北京天安门").await;
        sqlx::query("insert into chat (chat_id, type, body, content_hash, via) values ($1, 'channel', '{\"title\":\"Trantor\",\"usernames\":[\"Trantor\"]}', '\\x01', 'history')")
            .bind(CHANNEL).execute(&world.pool).await.expect("a chat");
        sqlx::query("insert into telegram_user (user_id, body, content_hash, via) values (42, '{\"first_name\":\"Hari\",\"is_bot\":false}', '\\x02', 'history')")
            .execute(&world.pool).await.expect("a user");
        sqlx::query("insert into outbox (sink, kind, key1, revision) values ('elasticsearch', 'chat', $1, 1), ('elasticsearch', 'user', 42, 1)")
            .bind(CHANNEL).execute(&world.pool).await.expect("entries");
        world.projects().await;

        let (record, index) = (world.holds(Source::Record).await, world.holds(Source::Index).await);
        assert_eq!(record.len(), 1_500);
        assert_eq!(record, index);
        assert_eq!(index[6]["_id"], format!("{CHANNEL}_7"));
        let hits = found(world.index.find(&words("seventh"), None, 10).await.expect("a search"));
        assert_eq!((hits.total, hits.hits[0].message_id), (1, 7));
        assert!(hits.hits[0].highlight.contains("<em>seventh</em>"), "{:?}", hits.hits[0]);
        let hits = found(world.index.find(&words("北京"), None, 10).await.expect("a search"));
        assert_eq!((hits.total, hits.hits[0].message_id), (1, 7));
        let apart = world.index.find(&words("京北"), None, 10).await.expect("a search");
        assert_eq!(apart.total, 0, "a phrase, not its characters");
        assert_eq!(world.audit(true, false).await.differences(), 0);
        assert!(world.index.client().version().await.expect("a version").contains('.'));
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_refused_document_is_a_dead_letter_and_the_rest_proceeds(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        for id in 1..=30 {
            world.says(id, "fine").await;
        }
        world.writes(13, json!({ "text": "odd", "views": "many" })).await;
        world.projects().await;
        assert_eq!(world.holds(Source::Index).await.len(), 29);
        let dead = outbox::dead_letters(&world.pool, 10).await.expect("dead letters");
        assert_eq!(dead.len(), 1);
        assert_eq!((dead[0].key2, dead[0].chat_id, dead[0].revision), (13, Some(CHANNEL), 2));
        assert!(dead[0].reason.contains("views"), "{}", dead[0].reason);
        assert_eq!(world.sink().await.state, "active");
        let report = world.audit(false, false).await;
        let messages = of_kind(&report, Kind::Message);
        assert_eq!((report.differences(), messages.dead), (0, 1), "a dead letter is counted, not missing");

        world.writes(13, json!({ "text": "odd", "views": 3 })).await;
        world.projects().await;
        assert_eq!(world.holds(Source::Index).await.len(), 30);
        assert!(
            outbox::dead_letters(&world.pool, 10).await.expect("dead letters").is_empty(),
            "a later state replaces what was refused"
        );
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn many_refused_documents_hold_the_kind_until_released(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        for id in 1..=20 {
            world.writes(id, json!({ "unknown_field": id })).await;
        }
        world.says(21, "fine").await;
        let stop = CancellationToken::new();
        let (_, ()) = tokio::join!(world.index.run(stop.clone()), async {
            while world.sink().await.state != "held" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stop.cancel();
        });
        assert!(world.sink().await.detail.expect("a detail").contains("message: 20 of 21 refused"));
        assert_eq!(world.index.backlog().await.expect("the backlog"), 20, "nothing is dropped");
        sqlx::query("update message set body = '{\"text\": \"mended\"}'").execute(&world.pool).await.expect("mended");
        world.index.prepare().await.expect("released");
        world.projects().await;
        assert_eq!(world.holds(Source::Index).await.len(), 21);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_lower_version_never_overwrites(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        world.says(1, "true").await;
        world.projects().await;
        let path = world.path(Kind::Message, &format!("/_doc/{CHANNEL}_1?version=9&version_type=external_gte"));
        let newer = json!({ "text": "from elsewhere", "chat_id": CHANNEL, "message_id": 1 });
        assert!(world.index.client().put(&path, &newer).await.expect("put").is_ok());
        world.says(1, "edited").await;
        world.projects().await;
        assert_eq!(world.holds(Source::Index).await[0]["text"], "from elsewhere");
        let dead = outbox::dead_letters(&world.pool, 10).await.expect("dead letters");
        assert!(
            dead[0].reason.starts_with("divergence: the index holds version 9, the record has revision 2"),
            "{}",
            dead[0].reason
        );
        assert_eq!(outbox::retry_dead_letters(&world.pool, None).await.expect("retried"), 1);
        // Once the record has passed the index's version, it wins.
        sqlx::query("update message set revision = 10").execute(&world.pool).await.expect("raised");
        world.projects().await;
        assert_eq!(world.holds(Source::Index).await[0]["text"], "edited");
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn deletions_behind_our_back_are_found_repaired_and_hold(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        for id in 1..=2_500 {
            world.says(id, "here").await;
        }
        world.projects().await;
        assert!(world.audit(false, false).await.holds());
        for id in [3, 1_999, 2_500] {
            let path = world.path(Kind::Message, &format!("/_doc/{CHANNEL}_{id}"));
            assert!(world.index.client().delete(&path, None).await.expect("deleted").is_ok());
        }
        let altered = json!({ "text": "forged", "chat_id": CHANNEL, "message_id": 5 });
        let path = world.path(Kind::Message, &format!("/_doc/{CHANNEL}_5?version=1&version_type=external_gte"));
        assert!(world.index.client().put(&path, &altered).await.expect("forged").is_ok());
        let extra = json!({ "text": "never said", "chat_id": -100, "message_id": 9 });
        assert!(world.index.client().put(&world.path(Kind::Message, "/_doc/-100_9"), &extra).await.expect("extra").is_ok());

        let report = world.audit(true, false).await;
        let messages = of_kind(&report, Kind::Message);
        assert_eq!((messages.checked, messages.missing, messages.extra, messages.altered, messages.stale), (2_500, 3, 1, 1, 0));
        assert!(!report.holds());
        let report = world.audit(true, true).await;
        assert_eq!((report.repaired(), report.holds_after_repair), (5, Some(true)));
        assert_eq!(world.audit(true, false).await.differences(), 0);
        assert_eq!(world.holds(Source::Record).await, world.holds(Source::Index).await);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_reindex_brings_the_same_documents(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        for id in 1..=300 {
            world.says(id, "kept").await;
        }
        world.projects().await;
        let before = world.holds(Source::Index).await;
        let swapped = std::sync::atomic::AtomicBool::new(false);
        let progress = |progress| {
            if progress == Progress::Swapped {
                swapped.store(true, std::sync::atomic::Ordering::Relaxed)
            }
        };
        world.index.reindex(&CancellationToken::new(), progress).await.expect("a reindex");
        assert!(swapped.into_inner());
        assert_eq!(world.holds(Source::Index).await, before);
        let old = world.index.client().get(&world.path(Kind::Message, "-v1"), &[]).await.expect("asked");
        assert_eq!(old.status, 404, "the old index is gone");
        let sinks: Vec<String> = outbox::sinks(&world.pool).await.expect("sinks").into_iter().map(|sink| sink.name).collect();
        assert_eq!(sinks, [SINK]);
        world.says(301, "after").await;
        world.projects().await;
        assert_eq!(world.holds(Source::Index).await.len(), 301);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn nothing_written_during_a_reindex_is_lost(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        for id in 1..=50 {
            world.says(id, "before").await;
        }
        let cancel = CancellationToken::new();
        let over = CancellationToken::new();
        let ((), last) = tokio::join!(
            async {
                world.index.reindex(&cancel, |_| {}).await.expect("a reindex");
                over.cancel();
            },
            async {
                let mut id = 50;
                while !over.is_cancelled() {
                    id += 1;
                    world.says(id, "meanwhile").await;
                    world.says(id % 50 + 1, &format!("edited when {id} was new")).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                id
            }
        );
        world.projects().await;
        let index = world.holds(Source::Index).await;
        assert_eq!(index.len() as i64, last);
        assert_eq!(world.holds(Source::Record).await, index);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn without_a_server_the_outbox_waits_and_says_so(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        world.says(1, "patience").await;
        // Nobody listens on the discard port.
        let away = Settings { url: "http://127.0.0.1:9".to_owned(), ..world.settings.clone() };
        let away = Projector::new(world.pool.clone(), away).expect("an address");
        let error = away.find(&words("patience"), None, 1).await.expect_err("nobody answers").to_string();
        assert!(error.starts_with("Elasticsearch at http://127.0.0.1:9 does not answer"), "{error}");
        let stop = CancellationToken::new();
        let (_, ()) = tokio::join!(away.run(stop.clone()), async {
            while world.sink().await.state != "waiting" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stop.cancel();
        });
        assert_eq!(world.index.backlog().await.expect("the backlog"), 1);
        world.projects().await;
        assert_eq!(world.holds(Source::Index).await.len(), 1);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn every_field_has_its_place(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        let full = json!({
            "text": "all of it", "text_language": "eng", "entities": [{ "type": "bold", "offset": 0, "length": 3 }], "links": ["https://x.org"],
            "mentions": ["hari"], "hashtags": ["books"], "cashtags": ["TON"], "buttons": [{ "text": "go", "url": "https://x.org" }],
            "from_user_id": 1, "sender_chat_id": -2, "author_signature": "Hari", "via_bot_id": 3, "reply_to_message_id": 4, "reply_to_chat_id": -5,
            "thread_id": 6, "forward_from_id": 7, "forward_from_chat_id": -8, "forward_from_message_id": 9, "forward_send_name": "x",
            "forward_signature": "y", "forward_date": "2020-09-13T12:26:40Z", "media": true, "media_type": "photo", "media_group_id": 10,
            "media_id": "photo_11", "poll": { "question": "?", "answers": [{ "text": "yes" }] }, "location": { "lat": 1.5, "lon": 2.5 },
            "contact": { "first_name": "Hari" }, "webpage": { "url": "https://x.org" }, "service": { "action": "pin_message", "user_ids": [1] },
            "views": 1, "forwards": 2, "reply_count": 3, "reactions": [{ "reaction": "👍", "count": 4 }], "silent": true, "post": true,
            "pinned": false, "noforwards": false, "ttl": 86400,
        });
        world.writes(1, full).await;
        world.says(2, "gone in between").await;
        world.says(3, "gone at once").await;
        sqlx::query("update message set deleted_at = '2026-01-02', deleted_after = '2026-01-01' where message_id = 2").execute(&world.pool).await.expect("deleted");
        sqlx::query("update message set deleted_at = '2026-01-02', raw_reason = 'constructor 0x1 is unknown', body = null where message_id = 3").execute(&world.pool).await.expect("deleted");
        sqlx::query("insert into chat (chat_id, type, body, content_hash, via) values (-5, 'forum', $1, '\\x01', 'history')")
            .bind(json!({ "title": "T", "username": "t", "usernames": ["t"], "photo": 12345, "description": "d", "invite_link": "https://t.me/+x",
                "pinned_message_id": 1, "members_count": 2, "online_count": 1, "is_verified": true, "restriction_reason": ["all: x"],
                "created_date": "2020-09-13T12:26:40Z", "slow_mode_seconds": 5, "link_chat_id": -6 }))
            .execute(&world.pool).await.expect("a chat");
        sqlx::query("insert into telegram_user (user_id, body, content_hash, via) values (5, $1, '\\x01', 'history')")
            .bind(json!({ "first_name": "Hari", "photo": "12345", "status": { "type": "recently" }, "usernames": ["hari"], "is_bot": false }))
            .execute(&world.pool).await.expect("a user");
        sqlx::query("insert into outbox (sink, kind, key1, revision) values ('elasticsearch', 'chat', -5, 1), ('elasticsearch', 'user', 5, 1)")
            .execute(&world.pool).await.expect("entries");
        world.projects().await;
        let dead = outbox::dead_letters(&world.pool, 10).await.expect("dead letters");
        assert!(dead.is_empty(), "{dead:?}");
        let report = world.audit(true, false).await;
        assert_eq!((report.differences(), report.kinds.iter().map(|kind| kind.checked).sum::<u64>()), (0, 5));
        let index = world.holds(Source::Index).await;
        assert_eq!(index[1]["deleted_between"], json!({ "gte": "2026-01-01T00:00:00Z", "lte": "2026-01-02T00:00:00Z" }));
        assert_eq!((&index[2]["deleted_at"], &index[2]["raw_reason"]), (&json!("2026-01-02T00:00:00Z"), &json!("constructor 0x1 is unknown")));
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_write_block_waits_and_drops_nothing(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        let block = |on: bool| json!({ "index.blocks.write": on });
        let settings = world.path(Kind::Message, "/_settings");
        assert!(world.index.client().put(&settings, &block(true)).await.expect("blocked").is_ok());
        world.says(1, "patience").await;
        let stop = CancellationToken::new();
        let (_, ()) = tokio::join!(world.index.run(stop.clone()), async {
            while world.sink().await.state != "waiting" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(world.index.backlog().await.expect("the backlog"), 1);
            assert!(world.index.client().put(&settings, &block(false)).await.expect("open").is_ok());
            while world.index.backlog().await.expect("the backlog") > 0 || world.sink().await.state != "active" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stop.cancel();
        });
        assert_eq!(world.holds(Source::Index).await.len(), 1);
        assert!(outbox::dead_letters(&world.pool, 1).await.expect("dead letters").is_empty());
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn without_elasticsearch_the_record_is_searched(pool: PgPool) {
    in_world(pool, async |world| {
        world.says(1, "The library of Trantor holds everything").await;
        world.says(2, "我爱北京天安门，天安门上太阳升").await;
        world.says(3, "京 and 北 apart").await;
        let hits = found(finding::find(&world.pool, &words("library"), None, 10).await.expect("a search"));
        assert_eq!((hits.total, hits.hits[0].id.clone()), (1, format!("{CHANNEL}_1")));
        assert!(hits.hits[0].highlight.contains("<em>library</em> of Trantor"), "{}", hits.hits[0].highlight);
        let hits = found(finding::find(&world.pool, &words("北京"), None, 10).await.expect("a search"));
        assert_eq!((hits.total, hits.hits[0].message_id), (1, 2));
        assert!(hits.hits[0].highlight.starts_with("我爱<em>北京</em>天安门"), "{}", hits.hits[0].highlight);
        assert_eq!(finding::find(&world.pool, &words("library -trantor"), None, 10).await.expect("a search").total, 0);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_a_writer_holds_is_not_waited_for_and_is_sent_again(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("prepared");
        world.says(1, "held").await;
        world.says(2, "free").await;
        let sent = outbox::take(&world.pool, SINK, None, &[], 10).await.expect("taken");
        assert_eq!(sent.len(), 2);
        let mut writer = world.pool.begin().await.expect("begun");
        sqlx::query("update outbox set revision = revision + 1 where key2 = 1").execute(&mut *writer).await.expect("written");
        let removed = tokio::time::timeout(Duration::from_secs(5), outbox::remove(&world.pool, SINK, &sent)).await;
        removed.expect("it waits for the writer").expect("removed");
        writer.rollback().await.expect("ended");
        let left = outbox::take(&world.pool, SINK, None, &[], 10).await.expect("taken");
        assert_eq!(left.iter().map(|entry| entry.key.key2).collect::<Vec<_>>(), [1]);
        outbox::remove(&world.pool, SINK, &left).await.expect("removed");
        assert_eq!(outbox::take(&world.pool, SINK, None, &[], 10).await.expect("taken"), []);
    })
    .await;
}

/// Autovacuum that finds the outbox drained leaves the planner with no row in many pages.
#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_outbox_that_was_vacuumed_while_it_was_empty_is_worked_by_key(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("prepared");
        let fill = "insert into outbox (sink, kind, key1, key2, revision) select 'elasticsearch', 'version', n % 10, n, 1 from generate_series(1, 9000) n";
        for statement in [fill, "delete from outbox", "vacuum (truncate off, analyze) outbox", fill] {
            sqlx::query(statement).execute(&world.pool).await.expect("done");
        }
        let taken = outbox::take(&world.pool, SINK, None, &[], 16).await.expect("taken");
        let (sent, refused) = taken.split_at(8);
        let refused: Vec<_> = refused.iter().map(|entry| (entry.clone(), "too long".to_owned())).collect();
        // Minutes, where all of it is gone over for each entry.
        let worked = tokio::time::timeout(Duration::from_secs(20), async {
            outbox::remove(&world.pool, SINK, sent).await.expect("removed");
            outbox::bury(&world.pool, SINK, &refused).await.expect("buried")
        });
        assert_eq!(worked.await.expect("each entry is found by its key"), 8);
        assert_eq!(outbox::backlog(&world.pool, SINK).await.expect("counted"), 9_000 - 16);
        assert_eq!(outbox::dead_letters(&world.pool, 10).await.expect("dead letters").len(), 8);
    })
    .await;
}
