//! Triggers: what happens to a chat, what is missing, and which runs and jobs come of it. On real Postgres; no Telegram.

use std::path::Path;

use sqlx::{PgConnection, PgPool};
use telekeep::jobs::KINDS;
use telekeep::record::coverage::{self, Access, Window};
use telekeep::record::ledger::{self, PageRequest};
use telekeep::record::watch::{self, NewWatch};
use telekeep::record::{AccountId, ChatId, Via, event, reconcile as due};
use telekeep::trigger::{listener, reconcile};
use telekeep::workflow::{Workflows, file};
use telekeep_queue as queue;

use crate::record::{LIBRARY, begin, library, observation, open};

/// The workflows of these files.
fn workflows(texts: &[&str]) -> Workflows {
    let parsed = texts.iter().map(|text| file::parse(Path::new("workflows/x.toml"), text, KINDS).expect("a valid file"));
    parsed.map(|workflow| (workflow.name.clone(), workflow)).collect()
}

/// One that refreshes a chat on these events.
fn on(name: &str, events: &str) -> String {
    format!("name = \"{name}\"\n[trigger]\nlistener = [{events}]\n[[step]]\nname = \"refresh\"\njob = \"chat_refresh\"\n")
}

async fn count(pool: &PgPool, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(pool).await.expect("a count")
}

async fn runs(pool: &PgPool) -> i64 {
    count(pool, "select count(*) from workflow_run").await
}

async fn job_keys(pool: &PgPool, kind: &str) -> Vec<String> {
    let jobs = queue::list(pool, queue::Filter { kind: Some(kind.into()), unfinished: true, ..Default::default() }).await;
    let mut keys: Vec<String> = jobs.expect("jobs").into_iter().filter_map(|job| job.unique_key).collect();
    keys.sort();
    keys
}

/// Every unfinished job ends in this state, as if a worker had done it.
async fn jobs_end(pool: &PgPool, state: &str, progress: Option<i64>, seconds_ago: f64) {
    sqlx::query(
        "with ended as (
             update job set state = $1, outcome = $1, progress_done = $2, finished_at = clock_timestamp() - make_interval(secs => $3)
             where state in ('available', 'scheduled', 'held') returning *
         )
         insert into job_finished (job, kind, state, outcome, finished_at) select id, kind, state, outcome, finished_at from ended",
    )
    .bind(state)
    .bind(progress)
    .bind(seconds_ago)
    .execute(pool)
    .await
    .expect("ended");
}

async fn advance(pool: &PgPool) {
    telekeep::workflow::run::advance_all(pool).await.expect("advanced");
}

async fn watches(conn: &mut PgConnection, chats: impl IntoIterator<Item = i64>) {
    for chat in chats {
        watch::watch(conn, &NewWatch::new(ChatId(chat))).await.expect("watched");
    }
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_event_opens_one_run_of_each_workflow_that_listens_over_any_number_of_nodes(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let files = [on("changed", "\"chat.changed\", \"chat.left\""), on("also", "\"chat.changed\""), on("other", "\"chat.joined\"")];
    let workflows = workflows(&files.each_ref().map(String::as_str));
    let chats: Vec<i64> = (1..=40).map(|n| -1_000_000_000_100 - n).collect();
    watches(&mut conn, chats.iter().copied()).await;
    for _ in 0..3 {
        for chat in &chats {
            event::note(&mut conn, ChatId(*chat), event::CHANGED, Some(reader)).await.expect("noted");
        }
    }
    event::note(&mut conn, ChatId(-1_000_000_099_999), event::CHANGED, None).await.expect("of no watched chat");
    assert_eq!(count(&pool, "select count(*) from chat_event").await, 120);

    let nodes = (0..4).map(|_| {
        let (pool, workflows) = (pool.clone(), workflows.clone());
        tokio::spawn(async move {
            for _ in 0..5 {
                listener::consume_all(&pool, &workflows).await.expect("consumed");
            }
        })
    });
    for node in nodes.collect::<Vec<_>>() {
        node.await.expect("a node");
    }
    let opened: Vec<(String, i64, i64)> = sqlx::query_as(
        "select workflow, count(*), count(distinct chat_id) from workflow_run where state = 'running' group by 1 order by 1",
    )
    .fetch_all(&pool)
    .await
    .expect("runs");
    assert_eq!(opened, [("also".into(), 40, 40), ("changed".into(), 40, 40)]);
    assert_eq!(runs(&pool).await, 80);
    assert_eq!(count(&pool, "select (select count(*) from chat_event) + (select count(*) from workflow_wish)").await, 0);
    assert_eq!(job_keys(&pool, "chat_refresh").await.len(), 40, "both workflows wait for the same job");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_event_that_comes_while_a_run_is_open_opens_one_further_run(pool: PgPool) {
    let (mut conn, _) = begin(&pool).await;
    let workflows = workflows(&[&on("changed", "\"chat.changed\"")]);
    event::note(&mut conn, LIBRARY, event::CHANGED, None).await.expect("noted");
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
    for _ in 0..3 {
        event::note(&mut conn, LIBRARY, event::CHANGED, None).await.expect("noted");
        assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 0);
    }
    assert_eq!(runs(&pool).await, 1, "and none is recorded as skipped");
    jobs_end(&pool, "done", None, 0.0).await;
    advance(&pool).await;
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
    jobs_end(&pool, "done", None, 0.0).await;
    advance(&pool).await;
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 0);
    assert_eq!(runs(&pool).await, 2);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn an_event_rolled_back_never_was_and_a_watch_begins_its_own_run(pool: PgPool) {
    let (mut conn, _) = begin(&pool).await;
    let workflows = workflows(&[&on("new", "\"chat.watched\"")]);
    let mut tx = pool.begin().await.expect("a transaction");
    event::note(&mut tx, LIBRARY, event::WATCHED, None).await.expect("noted");
    assert_eq!(listener::consume_now(&mut tx, &workflows, LIBRARY).await.expect("consumed").runs.len(), 1);
    tx.rollback().await.expect("rolled back");
    assert_eq!(runs(&pool).await, 0);
    let other = ChatId(-1_000_000_000_043);
    watches(&mut conn, [other.0]).await;
    event::note(&mut conn, other, event::WATCHED, None).await.expect("noted");
    let mut tx = pool.begin().await.expect("a transaction");
    event::note(&mut tx, LIBRARY, event::WATCHED, None).await.expect("noted");
    assert_eq!(listener::consume_now(&mut tx, &workflows, LIBRARY).await.expect("consumed").runs.len(), 1);
    tx.commit().await.expect("committed");
    assert_eq!(runs(&pool).await, 1, "another chat's event is left to the consumer");
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_chat_that_is_not_selected_or_not_watched_any_more_has_no_run(pool: PgPool) {
    let (mut conn, _) = begin(&pool).await;
    let text = format!("{}[select]\ntags = [\"books\"]\n", on("books", "\"chat.changed\""));
    let workflows = workflows(&[&text]);
    let tagged = NewWatch { tags: vec!["books".into()], ..NewWatch::new(ChatId(-1_000_000_000_043)) };
    watch::watch(&mut conn, &tagged).await.expect("watched");
    for chat in [LIBRARY, tagged.chat] {
        event::note(&mut conn, chat, event::CHANGED, None).await.expect("noted");
    }
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 1);
    jobs_end(&pool, "done", None, 0.0).await;
    advance(&pool).await;
    event::note(&mut conn, tagged.chat, event::CHANGED, None).await.expect("noted");
    watch::unwatch(&mut conn, tagged.chat).await.expect("unwatched");
    assert_eq!(listener::consume_all(&pool, &workflows).await.expect("consumed"), 0);
    assert_eq!(count(&pool, "select count(*) from workflow_wish").await, 0);
}

/// A ledger row whose page answered for all up to its top.
async fn complete(conn: &mut PgConnection, reader: AccountId, chat: ChatId, top: i64) {
    let ledger = coverage::open(conn, chat, reader).await.expect("coverage");
    let request = PageRequest { known_top: top, ..PageRequest::new(&ledger, 0, Window { from: 1, to: top }) };
    let seen = observation(reader, Via::History, Some(5));
    ledger::commit_page(conn, &request, &[], &[], &seen).await.expect("committed");
    coverage::confirm_top(conn, ledger.id, top).await.expect("a top");
    sqlx::query("update box set pts = 7 where id = $1").bind(ledger.held.0).execute(conn).await.expect("pts");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_is_missing_or_stale_becomes_jobs_once(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    complete(&mut conn, reader, LIBRARY, 12_000).await;
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 0);

    let ledger = open(&mut conn, reader).await;
    coverage::mark_stale(&mut conn, ledger.id, Window { from: 4_990, to: 5_010 }).await.expect("marked");
    let seen = observation(reader, Via::Live, Some(8));
    ledger::commit_messages(&mut conn, LIBRARY, &library([12_005]), &seen).await.expect("pushed");
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 3);
    let key = |window: &str| format!("{}:{window}", LIBRARY.0);
    assert_eq!(job_keys(&pool, "history_fetch").await, [key("1-5000"), key("10001-15000"), key("5001-10000")]);
    assert_eq!(count(&pool, "select count(*) from job where priority = 4 and trigger = 'reconcile'").await, 3);
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 0, "they are under way");
    assert!(job_keys(&pool, "chat_refresh").await.is_empty());
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_chat_without_ledger_or_pts_is_refreshed_and_not_at_each_round(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 1);
    assert_eq!(job_keys(&pool, "chat_refresh").await, [LIBRARY.0.to_string()]);
    jobs_end(&pool, "done", None, 0.0).await;
    complete(&mut conn, reader, LIBRARY, 10).await;
    sqlx::query("update box set pts = null").execute(&pool).await.expect("no pts");
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 0, "that was tried a moment ago");
    sqlx::query("update job set finished_at = now() - interval '61 minutes'").execute(&pool).await.expect("later");
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 1);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_chat_that_nobody_can_read_is_looked_at_every_six_hours(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    complete(&mut conn, reader, LIBRARY, 10).await;
    let seen = observation(reader, Via::Live, Some(8));
    ledger::commit_messages(&mut conn, LIBRARY, &library([20]), &seen).await.expect("pushed");
    let lost = Access { readable: false, visible_from: 1, reason: Some("CHANNEL_PRIVATE".into()) };
    coverage::set_access(&mut conn, LIBRARY, reader, &lost).await.expect("access");
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 0);
    sqlx::query("update coverage_access set checked_at = now() - interval '361 minutes'").execute(&pool).await.expect("later");
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 1);
    assert_eq!(job_keys(&pool, "chat_refresh").await, [LIBRARY.0.to_string()]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_failed_or_is_held_is_not_made_anew_at_each_round(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    complete(&mut conn, reader, LIBRARY, 100).await;
    let ledger = open(&mut conn, reader).await;
    coverage::mark_newest_stale(&mut conn, ledger.id, 5).await.expect("marked");
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 1);
    sqlx::query("update job set state = 'held'").execute(&pool).await.expect("held");
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 0);
    jobs_end(&pool, "dead", None, 10.0).await;
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 0);
    sqlx::query("update job set finished_at = now() - interval '61 minutes'").execute(&pool).await.expect("later");
    // One that read something may be followed by the next at once; one that never does, three times.
    for _ in 0..5 {
        assert_eq!(reconcile::round(&pool).await.expect("a round"), 1);
        jobs_end(&pool, "done", Some(5), 1.0).await;
    }
    for _ in 0..3 {
        assert_eq!(reconcile::round(&pool).await.expect("a round"), 1);
        jobs_end(&pool, "done", None, 1.0).await;
    }
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 0);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_long_chat_fills_the_queue_by_and_by_newest_first(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let ledger = open(&mut conn, reader).await;
    coverage::confirm_top(&mut conn, ledger.id, 1_000_000).await.expect("a top");
    sqlx::query("update box set pts = 7").execute(&pool).await.expect("pts");
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 50);
    assert!(job_keys(&pool, "history_fetch").await.contains(&format!("{}:995001-1000000", LIBRARY.0)));
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 0);
    sqlx::query("update job set state = 'held'").execute(&pool).await.expect("held");
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 50, "held ones keep no others back");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_round_over_a_thousand_chats_that_miss_nothing_is_one_query(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    complete(&mut conn, reader, LIBRARY, 10).await;
    sqlx::query(
        "with chats as (insert into watch (chat_id) select -1000000001000 - n from generate_series(1, 1000) n returning chat_id),
              boxes as (insert into box (channel_id, pts) select chat_id, 5 from chats returning id, channel_id),
              told as (insert into message (box_id, message_id, chat_id, via, body)
                       select id, n, channel_id, 'live', '{}' from boxes, generate_series(1, 100) n)
         insert into coverage (chat_id, box_id, top, top_confirmed_at) select channel_id, id, 100, now() from boxes",
    )
    .execute(&pool)
    .await
    .expect("chats");
    sqlx::query("analyze message").execute(&pool).await.expect("analyzed");
    let begun = telekeep::clock::mark();
    assert_eq!(due::due(&mut conn).await.expect("a query"), []);
    let took = begun.elapsed();
    println!("1,001 chats with 100,000 pushed messages took {took:?}");
    assert!(took.as_secs() < 5, "{took:?}");
}
