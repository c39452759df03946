//! The ledger's promises, on real Postgres.

use chrono::DateTime;
use serde_json::json;
use sqlx::{Connection as _, PgConnection, PgPool};
use telekeep::record::coverage::{self, Access, Coverage, Window};
use telekeep::record::ledger::{self, Committed, PageRequest};
use telekeep::record::report::{ChatCoverage, coverage_report};
use telekeep::record::watch::{self, NewWatch};
use telekeep::record::{self, AccountId, Chat, ChatId, Error, Message, Observation, User, Via, chat, user};

pub(crate) const LIBRARY: ChatId = ChatId(-1_000_000_000_042);
pub(crate) const ALL: Window = Window { from: 1, to: 5_000 };

pub(crate) type Connection = sqlx::pool::PoolConnection<sqlx::Postgres>;

pub(crate) async fn account(conn: &mut PgConnection, label: &str) -> AccountId {
    let id = sqlx::query_scalar("insert into account (label, session, session_key_id) values ($1, '', 'k') returning id")
        .bind(label)
        .fetch_one(conn)
        .await
        .expect("an account");
    AccountId(id)
}

pub(crate) async fn begin(pool: &PgPool) -> (Connection, AccountId) {
    let mut conn = pool.acquire().await.expect("a connection");
    let reader = account(&mut conn, "reader").await;
    sqlx::query("insert into sink (name) values ('elasticsearch')").execute(&mut *conn).await.expect("a sink");
    watch::watch(&mut conn, &NewWatch::new(LIBRARY)).await.expect("watched");
    (conn, reader)
}

pub(crate) fn observation(account: AccountId, via: Via, pts: Option<i32>) -> Observation {
    Observation { account, via, job: Some(1), pts }
}

pub(crate) fn says(chat: ChatId, id: i64, text: &str) -> Message {
    let body = json!({"text": text, "media": false}).as_object().cloned().expect("an object");
    Message {
        chat,
        id,
        date: DateTime::from_timestamp(1_700_000_000 + id, 0),
        edit_date: None,
        body,
        raw: None,
        pts: None,
        links: Vec::new(),
        media: Vec::new(),
    }
}

pub(crate) fn library(ids: impl IntoIterator<Item = i64>) -> Vec<Message> {
    ids.into_iter().map(|id| says(LIBRARY, id, &format!("book {id}"))).collect()
}

/// One page, as Telegram would answer with these ids.
async fn reads(conn: &mut PgConnection, reader: AccountId, offset: i64, window: Window, ids: &[i64], pts: i32) -> Committed {
    let ledger = coverage::open(conn, LIBRARY, reader).await.expect("coverage");
    let request = PageRequest::new(&ledger, offset, window);
    let seen = observation(reader, Via::History, Some(pts));
    ledger::commit_page(conn, &request, &library(ids.iter().copied()), &[], &seen).await.expect("committed")
}

pub(crate) async fn report(conn: &mut PgConnection) -> ChatCoverage {
    coverage_report(conn, Some(LIBRARY)).await.expect("a report").remove(0)
}

/// (collected, deleted, empty, inaccessible, stale, dead, missing)
pub(crate) fn counts(report: &ChatCoverage) -> [i64; 7] {
    [report.collected, report.deleted, report.empty, report.inaccessible, report.stale, report.dead, report.missing]
}

pub(crate) async fn open(conn: &mut PgConnection, reader: AccountId) -> Coverage {
    coverage::open(conn, LIBRARY, reader).await.expect("coverage")
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_page_settles_from_its_oldest_message_and_an_empty_one_from_its_bound(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    assert_eq!(reads(&mut conn, reader, 0, ALL, &[10, 8, 7], 5).await.settled, Some((7, 10)));
    assert_eq!(counts(&report(&mut conn).await), [3, 0, 1, 0, 0, 0, 6]);
    assert_eq!(report(&mut conn).await.holes, [(1, 6)]);
    let ledger = open(&mut conn, reader).await;
    assert_eq!(ledger::newest_unsettled(&mut conn, &ledger, ALL, reader).await.expect("a hole"), Some(6));
    assert_eq!(reads(&mut conn, reader, 7, ALL, &[], 5).await.settled, Some((1, 6)));
    assert_eq!(counts(&report(&mut conn).await), [3, 0, 7, 0, 0, 0, 0]);
    assert_eq!(ledger::newest_unsettled(&mut conn, &ledger, ALL, reader).await.expect("none"), None);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn nothing_above_the_newest_known_id_is_settled(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    assert_eq!(reads(&mut conn, reader, 0, ALL, &[], 5).await.settled, None);
    assert_eq!(reads(&mut conn, reader, 4_000, ALL, &[20], 5).await.settled, Some((20, 20)));
    assert_eq!(reads(&mut conn, reader, 4_000, ALL, &[18], 5).await.settled, Some((18, 20)));
    assert_eq!(report(&mut conn).await.top, 20);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn hidden_earlier_history_is_inaccessible_and_opens_with_full_sight(pool: PgPool) {
    let (mut conn, limited) = begin(&pool).await;
    let access = Access { readable: true, visible_from: 6, reason: Some("hidden_prehistory".into()) };
    coverage::set_access(&mut conn, LIBRARY, limited, &access).await.expect("access");
    reads(&mut conn, limited, 0, ALL, &[10, 8], 5).await;
    // The server says "nothing more": for this account, that is no answer about 1 to 5.
    assert_eq!(reads(&mut conn, limited, 8, ALL, &[], 5).await.settled, Some((6, 7)));
    assert_eq!(counts(&report(&mut conn).await), [2, 0, 3, 5, 0, 0, 0]);
    assert_eq!(report(&mut conn).await.holes, []);

    let full = account(&mut conn, "full").await;
    coverage::set_access(&mut conn, LIBRARY, full, &Access::full()).await.expect("access");
    assert_eq!(counts(&report(&mut conn).await), [2, 0, 3, 0, 0, 0, 5]);
    assert_eq!(report(&mut conn).await.holes, [(1, 5)]);
    let ledger = open(&mut conn, full).await;
    assert_eq!(ledger::newest_unsettled(&mut conn, &ledger, ALL, limited).await.expect("none"), None);
    assert_eq!(ledger::newest_unsettled(&mut conn, &ledger, ALL, full).await.expect("a hole"), Some(5));
    reads(&mut conn, full, 6, ALL, &[3], 5).await;
    reads(&mut conn, full, 3, ALL, &[], 5).await;
    assert_eq!(counts(&report(&mut conn).await), [3, 0, 7, 0, 0, 0, 0]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_chat_that_no_account_can_read_is_inaccessible(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    reads(&mut conn, reader, 0, ALL, &[10, 9], 5).await;
    let lost = Access { readable: false, visible_from: 1, reason: Some("CHANNEL_PRIVATE".into()) };
    coverage::set_access(&mut conn, LIBRARY, reader, &lost).await.expect("access");
    assert_eq!(counts(&report(&mut conn).await), [2, 0, 0, 8, 0, 0, 0]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_partial_export_settles_only_what_it_holds(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let seen = observation(reader, Via::Import, None);
    let written = ledger::commit_messages(&mut conn, LIBRARY, &library([2, 3, 7, 10]), &seen).await.expect("imported");
    assert_eq!(written.new, [2, 3, 7, 10]);
    assert_eq!(counts(&report(&mut conn).await), [4, 0, 0, 0, 0, 0, 6]);
    assert_eq!(report(&mut conn).await.holes, [(1, 1), (4, 6), (8, 9)]);
    let ledger = open(&mut conn, reader).await;
    assert_eq!(ledger::newest_unsettled(&mut conn, &ledger, ALL, reader).await.expect("a hole"), Some(9));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_message_deleted_after_it_was_collected_and_before_an_audit_becomes_deleted_not_empty(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    reads(&mut conn, reader, 0, ALL, &[5, 4, 3, 2, 1], 5).await;
    let ledger = open(&mut conn, reader).await;
    coverage::mark_stale(&mut conn, ledger.id, ALL).await.expect("marked");
    assert_eq!(counts(&report(&mut conn).await), [0, 0, 0, 0, 5, 0, 0]);
    let audit = reads(&mut conn, reader, 0, ALL, &[5, 4, 2, 1], 6).await;
    assert_eq!(audit.deleted, [3]);
    assert_eq!(counts(&report(&mut conn).await), [4, 1, 0, 0, 0, 0, 0]);
    let (text, interval): (String, bool) = sqlx::query_as(
        "select body->>'text', deleted_after is not null and deleted_after <= deleted_at from message where message_id = 3",
    )
    .fetch_one(&mut *conn)
    .await
    .expect("the row");
    assert_eq!((text.as_str(), interval), ("book 3", true));
    let entered: i64 = sqlx::query_scalar("select revision from outbox where kind = 'message' and key2 = 3")
        .fetch_one(&mut *conn)
        .await
        .expect("an entry");
    assert_eq!(entered, 2);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_page_older_than_the_last_mark_clears_none_and_deletes_nothing(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    reads(&mut conn, reader, 0, ALL, &[5, 4, 3, 2, 1], 5).await;
    let before = open(&mut conn, reader).await;
    coverage::mark_newest_stale(&mut conn, before.id, 3).await.expect("marked");
    let request = PageRequest::new(&before, 0, ALL);
    let seen = observation(reader, Via::History, Some(5));
    let late = ledger::commit_page(&mut conn, &request, &library([5, 4, 2, 1]), &[], &seen).await.expect("committed");
    assert_eq!(late.deleted, Vec::<i64>::new());
    assert_eq!(counts(&report(&mut conn).await), [2, 0, 0, 0, 3, 0, 0]);
    assert_eq!(report(&mut conn).await.holes, [(3, 5)]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_is_not_decoded_or_not_indexed_is_dead_until_it_is_mended(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let seen = observation(reader, Via::Live, Some(5));
    let raw = record::Raw { bytes: vec![1, 2, 3], reason: "strange is not represented".into() };
    let strange = Message { raw: Some(raw), ..says(LIBRARY, 2, "") };
    let messages = [says(LIBRARY, 1, "plain"), strange, says(LIBRARY, 3, "refused by the index")];
    ledger::commit_messages(&mut conn, LIBRARY, &messages, &seen).await.expect("pushed");
    sqlx::query(
        "insert into dead_letter (sink, kind, key1, key2, revision, reason)
        select 'elasticsearch', 'message', box_id, 3, 1, 'mapping' from coverage",
    )
    .execute(&mut *conn)
    .await
    .expect("refused");
    assert_eq!(counts(&report(&mut conn).await), [1, 0, 0, 0, 0, 2, 0]);
    let mended = observation(reader, Via::History, Some(6));
    ledger::commit_messages(&mut conn, LIBRARY, &[says(LIBRARY, 2, "decoded")], &mended).await.expect("mended");
    sqlx::query("delete from dead_letter").execute(&mut *conn).await.expect("indexed");
    assert_eq!(counts(&report(&mut conn).await), [3, 0, 0, 0, 0, 0, 0]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_answer_by_id_settles_what_was_asked(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    reads(&mut conn, reader, 10, ALL, &[9], 5).await;
    let seen = observation(reader, Via::History, Some(6));
    let request = PageRequest::new(&open(&mut conn, reader).await, 0, ALL);
    let answer = ledger::commit_by_id(&mut conn, &request, &[3, 4, 9, 50], &library([4]), &seen).await.expect("committed");
    assert_eq!(answer.deleted, [9]);
    assert_eq!(counts(&report(&mut conn).await), [1, 1, 1, 0, 0, 0, 6]);
    assert_eq!(report(&mut conn).await.holes, [(1, 2), (5, 8)]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_unwatched_chat_leaves_no_row(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let stranger = ChatId(-1_000_000_000_099);
    let seen = observation(reader, Via::Live, Some(1));
    let refused = ledger::commit_messages(&mut conn, stranger, &[says(stranger, 1, "secret")], &seen).await;
    assert!(matches!(refused, Err(Error::NotWatched(chat)) if chat == stranger));
    assert!(matches!(coverage::open(&mut conn, stranger, reader).await, Err(Error::NotWatched(_))));
    assert!(matches!(ledger::commit_deletions(&mut conn, Some(stranger), &[1], &seen).await, Err(Error::NotWatched(_))));
    assert_eq!(ledger::commit_deletions(&mut conn, None, &[1], &seen).await.expect("ignored"), Default::default());
    let body = json!({"title": "Strangers"}).as_object().cloned().expect("an object");
    let told = Chat { id: stranger, kind: "channel".into(), body, access_hash: Some(1), min: false, avatar: None };
    assert!(chat::merge_chats(&mut conn, &[told], &seen).await.expect("ignored").is_empty());
    // Unwatched while a page was on its way.
    let request = PageRequest::new(&open(&mut conn, reader).await, 0, ALL);
    watch::unwatch(&mut conn, LIBRARY).await.expect("unwatched");
    let late = ledger::commit_page(&mut conn, &request, &library([1]), &[], &seen).await;
    assert!(matches!(late, Err(Error::NotWatched(LIBRARY))));
    let rows: i64 =
        sqlx::query_scalar("select (select count(*) from message) + (select count(*) from chat) + (select count(*) from outbox)")
            .fetch_one(&mut *conn)
            .await
            .expect("a count");
    assert_eq!(rows, 0);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_private_chat_needs_a_purpose(pool: PgPool) {
    let (mut conn, _) = begin(&pool).await;
    let mut wish = NewWatch::new(ChatId(42));
    assert!(matches!(watch::watch(&mut conn, &wish).await, Err(Error::PurposeRequired(ChatId(42)))));
    wish.purpose = Some("my own archive".into());
    assert!(watch::watch(&mut conn, &wish).await.expect("watched"));
    wish.purpose = None;
    assert!(!watch::watch(&mut conn, &wish).await.expect("again"));
    let row = watch::show(&mut conn, ChatId(42)).await.expect("read").expect("a row");
    assert_eq!(row.purpose.as_deref(), Some("my own archive"));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn reading_again_changes_no_revision(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    reads(&mut conn, reader, 0, ALL, &[3, 2, 1], 5).await;
    sqlx::query("delete from outbox").execute(&mut *conn).await.expect("sent");
    let again = reads(&mut conn, reader, 0, ALL, &[3, 2, 1], 9).await;
    assert_eq!((again.written.unchanged, again.written.revised.len()), (3, 0));
    let (revisions, pts, entries): (i64, i32, i64) =
        sqlx::query_as("select sum(revision)::bigint, min(order_pts), (select count(*) from outbox) from message")
            .fetch_one(&mut *conn)
            .await
            .expect("sums");
    assert_eq!((revisions, pts, entries), (3, 9, 0));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_basic_group_shares_its_accounts_box(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let (group, other) = (ChatId(-42), ChatId(-43));
    for chat in [group, other] {
        watch::watch(&mut conn, &NewWatch::new(chat)).await.expect("watched");
    }
    let seen = observation(reader, Via::History, Some(5));
    ledger::commit_messages(&mut conn, other, &[says(other, 4, "elsewhere")], &seen).await.expect("pushed");
    let ledger = coverage::open(&mut conn, group, reader).await.expect("coverage");
    let answer = [says(group, 6, "six"), says(group, 3, "three")];
    let page = ledger::commit_page(&mut conn, &PageRequest::new(&ledger, 0, ALL), &answer, &[], &seen).await.expect("committed");
    assert_eq!(page.settled, Some((3, 6)));
    let rows = coverage_report(&mut conn, None).await.expect("a report");
    let row = |chat: ChatId| rows.iter().find(|row| row.chat_id == chat.0).map(counts);
    assert_eq!(row(group), Some([2, 0, 2, 0, 0, 0, 2]));
    assert_eq!(row(other), Some([1, 0, 0, 0, 0, 0, 3]));
    // A deletion names no chat: an unseen id waits without one, and is no document yet.
    sqlx::query("delete from outbox").execute(&mut *conn).await.expect("sent");
    ledger::commit_deletions(&mut conn, None, &[5, 6], &seen).await.expect("deleted");
    let entered: Vec<i64> = sqlx::query_scalar("select key2 from outbox order by 1").fetch_all(&mut *conn).await.expect("entries");
    assert_eq!(entered, [6]);
    ledger::commit_messages(&mut conn, group, &[says(group, 5, "late")], &seen).await.expect("content");
    let late: (Option<i64>, bool) = sqlx::query_as("select chat_id, deleted_at is not null from message where message_id = 5")
        .fetch_one(&mut *conn)
        .await
        .expect("the row");
    assert_eq!(late, (Some(-42), true));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn chats_and_users_merge_field_by_field(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let seen = observation(reader, Via::History, Some(1));
    let object = |value: serde_json::Value| value.as_object().cloned().expect("an object");
    let full = Chat {
        id: LIBRARY,
        kind: "forum".into(),
        body: object(json!({"title": "Library", "description": "old books"})),
        access_hash: Some(7),
        min: false,
        avatar: None,
    };
    let partial = Chat { kind: "supergroup".into(), body: object(json!({"title": "Library"})), min: true, ..full.clone() };
    assert_eq!(chat::merge_chats(&mut conn, std::slice::from_ref(&full), &seen).await.expect("new"), [LIBRARY.0]);
    assert!(chat::merge_chats(&mut conn, &[partial, full], &seen).await.expect("same").is_empty());
    let row = chat::show(&mut conn, LIBRARY).await.expect("read").expect("a row");
    assert_eq!((row.kind.as_str(), row.revision), ("forum", 1));
    let users = |name: &str| [User { id: 9, body: object(json!({"first_name": name})), access_hash: None, min: false, avatar: None }];
    assert_eq!(user::merge_users(&mut conn, &users("Hari"), &seen).await.expect("new"), [9]);
    assert!(user::merge_users(&mut conn, &users("Hari"), &seen).await.expect("same").is_empty());
    assert_eq!(user::merge_users(&mut conn, &users("Raych"), &seen).await.expect("changed"), [9]);
    let entries: Vec<(String, i64, i64)> =
        sqlx::query_as("select kind, key1, revision from outbox where kind <> 'name' order by 1")
            .fetch_all(&mut *conn)
            .await
            .expect("entries");
    assert_eq!(entries, [("chat".into(), LIBRARY.0, 1), ("user".into(), 9, 2)]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_text_with_nul_or_without_spaces_is_stored_and_found(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let seen = observation(reader, Via::Live, Some(1));
    let messages = [says(LIBRARY, 1, "nul \0 here"), says(LIBRARY, 2, "端点星图书馆")];
    ledger::commit_messages(&mut conn, LIBRARY, &messages, &seen).await.expect("stored");
    let found: Vec<i64> = sqlx::query_scalar("select message_id from message where search @@ phraseto_tsquery('simple', $1)")
        .bind(record::content::spaced("图书"))
        .fetch_all(&mut *conn)
        .await
        .expect("found");
    assert_eq!(found, [2]);
}

#[sqlx::test(migrations = false)]
async fn the_schema_is_compared_with_the_binary(pool: PgPool) {
    let state = record::schema_state(&pool, &telekeep::MIGRATOR).await.expect("a state");
    assert!(state.to_string().contains("telekeep migrate"), "{state}");
    telekeep::MIGRATOR.run(&pool).await.expect("migrated");
    assert!(record::schema_state(&pool, &telekeep::MIGRATOR).await.expect("a state").is_current());
    sqlx::query("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (99990101000000, 'x', true, '', 0)")
        .execute(&pool)
        .await
        .expect("a newer one");
    let state = record::schema_state(&pool, &telekeep::MIGRATOR).await.expect("a state");
    assert!(state.to_string().contains("newer"), "{state}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn concurrent_commits_wait_for_each_other_and_lose_nothing(pool: PgPool) {
    let (_, reader) = begin(&pool).await;
    let tasks: Vec<_> = (0..6_i64)
        .map(|task| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for round in 0..10_i64 {
                    let mut tx = pool.begin().await.expect("a transaction");
                    let chat = if task % 2 == 0 { LIBRARY } else { ChatId(-500 - task) };
                    watch::watch(&mut tx, &NewWatch::new(chat)).await.expect("watched");
                    let seen = observation(reader, Via::Live, Some(1));
                    let messages: Vec<Message> = (1..20).rev().map(|n| says(chat, task * 1_000 + round * 20 + n, "x")).collect();
                    ledger::commit_messages(&mut tx, chat, &messages, &seen).await.expect("committed");
                    let users: Vec<User> = (0..30)
                        .map(|n| (n * 7 + task) % 30)
                        .map(|id| {
                            let body = json!({"first_name": format!("{task}.{round}")}).as_object().cloned().expect("an object");
                            User { id, body, access_hash: None, min: false, avatar: None }
                        })
                        .collect();
                    user::merge_users(&mut tx, &users, &seen).await.expect("merged");
                    tx.commit().await.expect("committed");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no deadlock");
    }
    let rows: (i64, i64) = sqlx::query_as("select (select count(*) from message), (select max(revision) from telegram_user)")
        .fetch_one(&pool)
        .await
        .expect("counts");
    assert_eq!(rows.0, 6 * 10 * 19);
    assert!(rows.1 > 1 && rows.1 <= 60, "{rows:?}");
}

async fn ledger_bytes(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "select (select coalesce(sum(pg_column_size(c)), 0) from coverage c)::bigint
            + (select coalesce(sum(pg_column_size(a)), 0) from coverage_access a)::bigint",
    )
    .fetch_one(conn)
    .await
    .expect("a size")
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_ledger_stays_small(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    coverage::set_access(&mut conn, LIBRARY, reader, &Access::full()).await.expect("access");
    let exists = |id: i64| (id.wrapping_mul(2_654_435_761) >> 16) % 10 >= 3;
    let page: Vec<i64> = (1..=150).rev().filter(|id| exists(*id)).take(100).collect();
    reads(&mut conn, reader, 0, ALL, &page, 5).await;
    let bytes = ledger_bytes(&mut conn).await;
    assert!(bytes < 2_048, "{bytes} bytes for one page");

    // A million ids with 30 % holes by history: the spans that pages of a hundred messages answer for, windows in a random order.
    let ledger = open(&mut conn, reader).await;
    coverage::confirm_top(&mut conn, ledger.id, 1_000_000).await.expect("a top");
    let mut largest = 0;
    for step in 0..200 {
        let window = coverage::windows(1, 1_000_000)[(step * 77) % 200];
        let ids: Vec<i64> = (window.from..=window.to).filter(|id| exists(*id)).collect();
        let mut offset = window.to + 1;
        let mut tx = conn.begin().await.expect("a transaction");
        for page in ids.rchunks(1_000) {
            let ledger = coverage::open(&mut tx, LIBRARY, reader).await.expect("coverage");
            let request = PageRequest::new(&ledger, offset, window);
            let shown = [page[0], page[page.len() - 1]];
            let seen = observation(reader, Via::History, Some(5));
            // Only the ends carry messages: the ledger's rows do not depend on those between.
            ledger::commit_page(&mut tx, &request, &library(shown), &[], &seen).await.expect("committed");
            offset = page[0];
        }
        reads(&mut tx, reader, offset, window, &[], 5).await;
        tx.commit().await.expect("committed");
        largest = largest.max(ledger_bytes(&mut conn).await);
    }
    assert!(largest < 16_384, "{largest} bytes for a million ids by history");
    assert_eq!(report(&mut conn).await.missing, 0);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_ledger_stays_small_by_import(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let seen = observation(reader, Via::Import, None);
    ledger::commit_messages(&mut conn, LIBRARY, &library([1_000_000]), &seen).await.expect("imported");
    // The rows of the rest as an import writes them, straight into the table: a million through the merge takes minutes.
    let rows = sqlx::query(
        "insert into message (box_id, message_id, chat_id, via, body)
        select c.box_id, n, c.chat_id, 'import', '{}' from coverage c, generate_series(1, 999999) n
        where abs(hashint8(n)::bigint) % 10 >= 3",
    )
    .execute(&mut *conn)
    .await
    .expect("imported")
    .rows_affected();
    let last: Vec<i64> = (1..=2_000).map(|step| step * 10 - 7).collect();
    ledger::commit_messages(&mut conn, LIBRARY, &library(last), &seen).await.expect("imported");
    let bytes = ledger_bytes(&mut conn).await;
    assert!(bytes < 1_048_576, "{bytes} bytes for a million ids by import");
    let row = report(&mut conn).await;
    assert!(row.collected > i64::try_from(rows).expect("a count") && row.missing > 250_000);
    assert_eq!(row.collected + row.missing, 1_000_000);
    assert_eq!(row.holes.iter().map(|(from, to)| to - from + 1).sum::<i64>(), row.missing);
}
