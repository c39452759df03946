//! Reconcile: what the ledger misses becomes jobs, and what does not help is not repeated. On real Postgres; no Telegram.

use chrono::{DateTime, Utc};
use rand::{RngExt, SeedableRng};
use sqlx::{PgConnection, PgPool};
use telekeep::record::coverage::{self, Access, Window};
use telekeep::record::ledger::{self, PageRequest};
use telekeep::record::{AccountId, ChatId, Via, reconcile as due};
use telekeep::trigger::reconcile;

use crate::record::{LIBRARY, begin, library, observation, open, report};
use crate::triggers::{count, job_keys, jobs_end, watches};

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
    assert_eq!(report(&mut conn).await.pending, 0);
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 3);
    let told = report(&mut conn).await;
    assert_eq!((told.missing, told.stale, told.pending), (4, 21, 25), "all of it is asked for");
    sqlx::query("update job set state = 'held' where unique_key like '%:5001-10000'").execute(&pool).await.expect("held");
    assert_eq!(report(&mut conn).await.pending, 15, "what is held reads none");
    sqlx::query("update job set state = 'available' where state = 'held'").execute(&pool).await.expect("released");
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
async fn a_round_over_a_thousand_chats_that_miss_nothing_is_cheap(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    complete(&mut conn, reader, LIBRARY, 10).await;
    sqlx::query(
        "with chats as (insert into watch (chat_id) select -1000000001000 - n from generate_series(1, 1000) n returning chat_id),
              boxes as (insert into box (channel_id, pts) select chat_id, 5 from chats returning id, channel_id),
              told as (insert into message (box_id, message_id, chat_id, via, body)
                       select id, n, channel_id, 'live', '{}' from boxes, generate_series(1, 300) n)
         insert into coverage (chat_id, box_id, top, top_confirmed_at) select channel_id, id, 300, now() from boxes",
    )
    .execute(&pool)
    .await
    .expect("chats");
    sqlx::query("analyze").execute(&pool).await.expect("analyzed");
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 0, "what was pushed is settled by its rows");
    let begun = telekeep::clock::mark();
    assert_eq!(reconcile::round(&pool).await.expect("a round"), 0);
    let took = begun.elapsed();
    println!("a round over 1,001 chats with 300,000 pushed messages took {took:?}");
    assert!(took.as_millis() < 2_000, "{took:?}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_round_settles_long_spans_of_rows_and_changes_no_number(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let ledger = open(&mut conn, reader).await;
    let pushed = "insert into message (box_id, message_id, chat_id, via, body)
        select $1, n, $2, 'live', '{}' from generate_series(1, 3000) n where n not in (500, 600, 1500, 2999)";
    sqlx::query(pushed).bind(ledger.held.0).bind(LIBRARY.0).execute(&mut *conn).await.expect("pushed");
    coverage::confirm_top(&mut conn, ledger.id, 3_000).await.expect("a top");
    coverage::mark_stale(&mut conn, ledger.id, Window { from: 700, to: 710 }).await.expect("marked");
    let before = report(&mut conn).await;
    due::fold(&mut conn).await.expect("folded");
    let settled = "select settled::text from coverage";
    let settled: String = sqlx::query_scalar(settled).fetch_one(&mut *conn).await.expect("a ledger");
    assert_eq!(settled, "{[1,500),[601,1500),[1501,2999)}");
    assert_eq!(report(&mut conn).await, before);
    assert_eq!(before.holes, [(500, 500), (600, 600), (700, 710), (1_500, 1_500), (2_999, 2_999)]);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_holes_of_all_chats_are_those_of_each_ledger_row(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let mut chats: Vec<i64> = (1..=30).map(|n| if n % 3 == 0 { -n } else { -1_000_000_010_000 - n }).collect();
    watches(&mut conn, chats.iter().copied()).await;
    for chat in &chats {
        let ledger = coverage::open(&mut conn, ChatId(*chat), reader).await.expect("coverage");
        let top = rng.random_range(0..20_000_i64);
        let at = |rng: &mut rand::rngs::StdRng| rng.random_range(1..=top.max(1));
        coverage::confirm_top(&mut conn, ledger.id, top).await.expect("a top");
        let set = "update coverage set floor = $2, settled = int8multirange(int8range($3, $4)) where id = $1";
        let (from, floor) = (at(&mut rng), if rng.random_bool(0.3) { at(&mut rng) } else { 1 });
        let settled = sqlx::query(set).bind(ledger.id).bind(floor).bind(from).bind(from + at(&mut rng));
        settled.execute(&mut *conn).await.expect("settled");
        if rng.random_bool(0.5) {
            let from = at(&mut rng);
            coverage::mark_stale(&mut conn, ledger.id, Window { from, to: from + 50 }).await.expect("marked");
        }
        if rng.random_bool(0.4) {
            let access = Access { readable: rng.random_bool(0.7), visible_from: at(&mut rng), reason: None };
            coverage::set_access(&mut conn, ChatId(*chat), reader, &access).await.expect("access");
        }
        let rows = "insert into message (box_id, message_id, chat_id, via, body)
            select $1, n, $2, 'live', '{}' from generate_series(1, $3::bigint) n where n % $4 <> 0 on conflict do nothing";
        let rows = sqlx::query(rows).bind(ledger.held.0).bind(chat).bind(top).bind(rng.random_range(1..7_000_i64));
        rows.execute(&mut *conn).await.expect("rows");
    }
    chats.sort_unstable();
    let found = due::due(&mut conn).await.expect("a query");
    let mut with_holes = 0;
    for chat in &chats {
        let holes = ledger::holes(&mut conn, ChatId(*chat)).await.expect("holes");
        let mut windows: Vec<Window> = holes.iter().flat_map(|(from, to)| coverage::windows(*from, *to)).collect();
        windows.sort_unstable();
        windows.dedup();
        windows.reverse();
        with_holes += usize::from(!windows.is_empty());
        let due = found.iter().find(|d| d.chat.0 == *chat).map_or_else(Vec::new, |d| d.windows.clone());
        assert_eq!(due, windows, "of chat {chat}");
        let since = DateTime::<Utc>::default();
        let incomplete = due::incomplete(&mut conn, &[*chat], since).await.expect("a query");
        assert_eq!(incomplete.is_empty(), windows.is_empty(), "of chat {chat}");
    }
    assert!(with_holes > 5 && with_holes < 30, "{with_holes} chats have holes");
}
