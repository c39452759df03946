//! Enqueue: transactions, order, uniqueness, refusals.

use std::time::Duration;

use chrono::SubsecRound;
use serde_json::json;
use sqlx::PgPool;
use telekeep_queue::{Conflict, Enqueued, Error, Job, NewJob, Outcome, State, Worker, counts, enqueue, take_finished};
use tokio::time::{sleep, timeout};

use crate::*;

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn unique_while_unfinished(pool: PgPool) {
    let keyed = || job("work").unique_key("a");
    let answers = add_all(&pool, &[keyed(), job("work"), keyed(), job("other").unique_key("a"), job("work")]).await;
    let first = answers[0].id();
    assert_eq!(answers[0], Enqueued::Created(first));
    assert_eq!(answers[2], Enqueued::Deduplicated(first, State::Available));
    for place in [1, 3, 4] {
        assert!(matches!(answers[place], Enqueued::Created(_)), "{answers:?}");
    }
    assert_eq!(add_all(&pool, &[keyed()]).await, [Enqueued::Deduplicated(first, State::Available)]);
    let live = Live::start(Worker::new(pool.clone(), config("done")).register("work", QUICK, |_| async { Outcome::Done }));
    until_state(&pool, first, State::Done).await;
    live.stop().await;
    assert!(matches!(add_all(&pool, &[keyed()]).await[0], Enqueued::Created(id) if id != first));
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_rolled_back_transaction_leaves_nothing(pool: PgPool) {
    let mut tx = pool.begin().await.unwrap();
    let (_, wake) = enqueue(&mut tx, &[job("work")]).await.unwrap();
    tx.rollback().await.unwrap();
    wake.fire(&pool).await;
    assert_eq!(telekeep_queue::counts(&pool).await.unwrap(), []);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn racing_enqueues_make_one_job(pool: PgPool) {
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let pool = pool.clone();
        racers.spawn(async move { add_all(&pool, &[job("work").unique_key("b"), job("work").unique_key("a")]).await });
    }
    let answers: Vec<_> = racers.join_all().await.into_iter().flatten().collect();
    let created = answers.iter().filter(|answer| matches!(answer, Enqueued::Created(_))).count();
    assert_eq!(created, 2, "{answers:?}");
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_found_job_cannot_finish_before_the_finder_commits(pool: PgPool) {
    let live = Live::start(Worker::new(pool.clone(), config("quick")).register("work", QUICK, |_| async {
        sleep(Duration::from_millis(300)).await;
        Outcome::Done
    }));
    let id = add(&pool, job("work").unique_key("a")).await;
    until_state(&pool, id, State::Running).await;
    let mut tx = pool.begin().await.unwrap();
    let (found, _wake) = enqueue(&mut tx, &[job("work").unique_key("a")]).await.unwrap();
    assert_eq!(found, [Enqueued::Deduplicated(id, State::Running)]);
    // others are settled meanwhile
    let other = add(&pool, job("work")).await;
    until_state(&pool, other, State::Done).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(row(&pool, id).await.state, State::Running);
    tx.commit().await.unwrap();
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn bad_input_is_refused_by_name(pool: PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    let error = enqueue(&mut conn, &[job("work").priority(5)]).await.unwrap_err();
    assert!(matches!(error, Error::Priority { priority: 5, .. }), "{error}");
    let huge = NewJob::new("work", json!("x".repeat(1 << 20)));
    let error = enqueue(&mut conn, &[huge]).await.unwrap_err();
    assert!(matches!(error, Error::PayloadTooLarge { .. }), "{error}");
    let idle = Worker::new(pool.clone(), config("idle")).run(Default::default());
    assert!(matches!(timeout(Duration::from_secs(1), idle).await, Ok(Err(Error::NoKinds(_)))));
}

fn replacing(payload: serde_json::Value) -> NewJob {
    NewJob::new("work", payload).unique_key("a").on_conflict(Conflict::Replace)
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn replace_gives_a_waiting_job_the_new_payload_and_nothing_else(pool: PgPool) {
    let later = utc_now() + Duration::from_secs(3600);
    let first = replacing(json!(1)).run_at(later).priority(1).partition(3).trigger("first");
    let id = add(&pool, first).await;
    let before = row(&pool, id).await;
    let answers = add_all(&pool, &[replacing(json!(2)).trigger("second"), replacing(json!(3)).priority(4).partition(5)]).await;
    assert_eq!(answers, [Enqueued::Deduplicated(id, State::Scheduled); 2]);
    let after = row(&pool, id).await;
    assert_eq!(after.payload, json!(3), "the last one of a call is the one that stays");
    assert_eq!((after.state, after.run_at, after.priority, after.partition), (before.state, before.run_at, 1, 3));
    assert_eq!(after.trigger.as_deref(), Some("first"));
    telekeep_queue::pause(&pool, &Filter::one(id)).await.unwrap();
    assert_eq!(add_all(&pool, &[replacing(json!(4))]).await, [Enqueued::Deduplicated(id, State::Held)]);
    assert_eq!(row(&pool, id).await.payload, json!(4), "a held job too");
    // two that are new make one job, of the later payload
    telekeep_queue::cancel(&pool, &Filter::one(id)).await.unwrap();
    let answers = add_all(&pool, &[replacing(json!(5)), replacing(json!(6))]).await;
    assert_eq!(answers[1], Enqueued::Deduplicated(answers[0].id(), State::Available));
    assert_eq!(row(&pool, answers[0].id()).await.payload, json!(6));
    assert_eq!(row(&pool, id).await.payload, json!(4), "what has ended is another job");
    counts_are_right(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn earlier_takes_the_earlier_of_both_starts(pool: PgPool) {
    let at = |seconds| utc_now() + Duration::from_secs(seconds);
    let earlier = || job("work").unique_key("a").on_conflict(Conflict::Earlier);
    let (sooner, later, latest) = (at(1800), at(3600), at(7200));
    let id = add(&pool, earlier().run_at(later)).await;
    for (asked, expected) in [(latest, later), (sooner, sooner), (later, sooner)] {
        let answers = add_all(&pool, &[NewJob { payload: json!("new"), ..earlier().run_at(asked) }]).await;
        assert_eq!(answers, [Enqueued::Deduplicated(id, State::Scheduled)]);
        let row = row(&pool, id).await;
        assert_eq!(row.run_at.timestamp_micros(), expected.timestamp_micros());
        assert_eq!(row.payload, json!({}), "its payload stays");
    }
    telekeep_queue::pause(&pool, &Filter::one(id)).await.unwrap();
    assert_eq!(add_all(&pool, &[earlier()]).await, [Enqueued::Deduplicated(id, State::Held)]);
    telekeep_queue::resume(&pool, &Filter::one(id)).await.unwrap();
    assert_eq!(row(&pool, id).await.state, State::Scheduled, "a held job keeps its start");
    assert_eq!(add_all(&pool, &[earlier()]).await, [Enqueued::Deduplicated(id, State::Available)]);
    let ready = row(&pool, id).await;
    assert!(ready.run_at <= utc_now());
    assert_eq!(add_all(&pool, &[earlier().run_at(later)]).await, [Enqueued::Deduplicated(id, State::Available)]);
    assert_eq!(row(&pool, id).await.run_at, ready.run_at, "never later");
    counts_are_right(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn earlier_never_goes_before_a_snooze_but_before_a_backoff(pool: PgPool) {
    let earlier = |key: &str| job("work").unique_key(key).on_conflict(Conflict::Earlier);
    let patient = telekeep_queue::Policy { base: Duration::from_secs(3600), cap: Duration::from_secs(3600), ..QUICK };
    let live = Live::start(Worker::new(pool.clone(), config("waits")).register("work", patient, |job: Job| async move {
        match job.unique_key.as_deref() {
            Some("snoozes") => Outcome::Snooze { until: Duration::from_secs(3600), reason: "flood".into() },
            _ => Outcome::Retry { error: "no luck".into() },
        }
    }));
    let ids: Vec<i64> = add_all(&pool, &[earlier("snoozes"), earlier("fails")]).await.iter().map(Enqueued::id).collect();
    for id in &ids {
        until_state(&pool, *id, State::Scheduled).await;
    }
    live.stop().await;
    let asleep = row(&pool, ids[0]).await;
    assert_eq!(Some(asleep.run_at), asleep.not_before);
    assert_eq!(row(&pool, ids[1]).await.not_before, None);
    let answers = add_all(&pool, &[earlier("snoozes"), earlier("fails")]).await;
    assert_eq!(answers, [Enqueued::Deduplicated(ids[0], State::Scheduled), Enqueued::Deduplicated(ids[1], State::Available)]);
    assert_eq!(row(&pool, ids[0]).await.run_at, asleep.run_at);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_running_job_is_found_and_never_changed(pool: PgPool) {
    let live = Live::start(Worker::new(pool.clone(), config("runs")).register("work", QUICK, |job: Job| async move {
        job.cancel.cancelled().await;
        Outcome::Done
    }));
    let id = add(&pool, replacing(json!(1))).await;
    let running = until_state(&pool, id, State::Running).await;
    for conflict in [Conflict::Keep, Conflict::Replace, Conflict::Earlier] {
        let again = NewJob { priority: 4, on_conflict: conflict, ..replacing(json!(2)) };
        assert_eq!(add_all(&pool, &[again]).await, [Enqueued::Deduplicated(id, State::Running)]);
    }
    let after = row(&pool, id).await;
    assert_eq!((after.payload, after.run_at, after.priority, after.state), (json!(1), running.run_at, 2, State::Running));
    telekeep_queue::cancel(&pool, &Filter::one(id)).await.unwrap();
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn lineage_reaches_the_work_and_the_end(pool: PgPool) {
    let child = || job("work").parent(41).trigger("nightly").step(7, "fetch");
    let mut jobs = vec![child().unique_key("one"), child(), job("work")];
    // enough for the other way in
    jobs.extend(vec![child(); 198]);
    let seen = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeMap::new()));
    let inner = seen.clone();
    let wide = WorkerConfig { concurrency: 64, ..config("lineage") };
    let live = Live::start(Worker::new(pool.clone(), wide).register("work", QUICK, move |job: Job| {
        inner.lock().unwrap().insert(job.id, (job.parent, job.trigger, job.run, job.step));
        async { Outcome::Done }
    }));
    let ids: Vec<i64> = add_all(&pool, &jobs).await.iter().map(Enqueued::id).collect();
    for id in &ids {
        until_state(&pool, *id, State::Done).await;
    }
    live.stop().await;
    let full = (Some(41), Some("nightly".to_owned()), Some(7), Some("fetch".to_owned()));
    let expected = |id: i64| if id == ids[2] { (None, None, None, None) } else { full.clone() };
    let seen = seen.lock().unwrap().clone();
    let mut conn = pool.acquire().await.unwrap();
    let ended = take_finished(&mut conn, 1000).await.unwrap();
    assert_eq!((seen.len(), ended.len()), (201, 201));
    for (id, lineage) in seen {
        assert_eq!(lineage, expected(id));
    }
    for end in ended {
        assert_eq!((end.parent, end.trigger, end.run, end.step), expected(end.job_id));
    }
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn many_jobs_in_one_call_keep_every_character_and_their_order(pool: PgPool) {
    let odd = [
        "",
        "\\",
        "\\\\",
        "\\N",
        "\\.",
        "\\.\n",
        "\t",
        "\n",
        "\r\n",
        "\u{8}\u{b}\u{c}\u{7f}",
        "\"quoted\"",
        "it's",
        "$1",
        "\\t\\n\\x41",
        "a\tb\nc\\d\"e",
        "\u{e9}\u{4e2d}\u{1f600}\u{202e}\u{2028}\u{feff}",
        " ",
        "NULL",
        "{}",
        "\\u0041",
    ];
    // COPY rounds to the microsecond, where a bound value is cut
    let later = (utc_now() + Duration::from_secs(3600)).trunc_subsecs(6);
    let jobs: Vec<NewJob> = (0..400_i64)
        .map(|n| {
            let text = odd[usize::try_from(n).unwrap() % odd.len()];
            let job =
                NewJob::new(format!("{text}kind{text}"), json!({text: text, "n": n})).partition(n % 7).priority(1 + (n % 4) as i16);
            match n % 3 {
                0 => job.trigger(text).step(n, text),
                1 => job.parent(n).run_at(later),
                _ => job,
            }
        })
        .collect();
    let answers = add_all(&pool, &jobs).await;
    assert_eq!(answers.len(), 400);
    for (new, answer) in jobs.iter().zip(&answers) {
        assert!(matches!(answer, Enqueued::Created(_)));
        let row = row(&pool, answer.id()).await;
        assert_eq!((&row.kind, &row.payload, row.partition, row.priority), (&new.kind, &new.payload, new.partition, new.priority));
        assert_eq!((&row.trigger, &row.step, row.run, row.parent), (&new.trigger, &new.step, new.run, new.parent));
        let (state, at) = if new.run_at.is_some() { (State::Scheduled, later) } else { (State::Available, row.run_at) };
        assert_eq!((row.state, row.run_at), (state, at));
        assert_eq!((row.attempt, row.not_before, &row.unique_key), (0, None, &None));
    }
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn keyed_and_plain_jobs_of_one_call_are_answered_in_order(pool: PgPool) {
    let known = add(&pool, job("work").unique_key("7")).await;
    let jobs: Vec<NewJob> = (0..600)
        .map(|n| {
            let job = NewJob::new("work", json!(n));
            if n % 3 == 0 { job.unique_key((n % 30).to_string()) } else { job }
        })
        .chain([job("work").unique_key("7")])
        .collect();
    let answers = add_all(&pool, &jobs).await;
    for (place, (new, answer)) in jobs.iter().zip(&answers).enumerate().take(600) {
        let fresh = new.unique_key.is_none() || place < 30;
        assert_eq!(matches!(answer, Enqueued::Created(_)), fresh, "{place}: {answer:?}");
        let expected = if fresh { place } else { place % 30 };
        assert_eq!(row(&pool, answer.id()).await.payload, json!(expected));
    }
    assert_eq!(answers[600], Enqueued::Deduplicated(known, State::Available));
    assert_eq!(counts(&pool).await.unwrap(), [("work".to_owned(), State::Available, 411)]);
    counts_are_right(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn many_jobs_in_one_call_go_with_the_callers_transaction(pool: PgPool) {
    let many = vec![job("work").partition(9); 300];
    let mut tx = pool.begin().await.unwrap();
    let (answers, wake) = enqueue(&mut tx, &many).await.unwrap();
    assert_eq!(answers.len(), 300);
    let seen: i64 = sqlx::query_scalar("select count(*) from job").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(seen, 300, "the caller sees them before its commit");
    assert_eq!(counts(&pool).await.unwrap(), [], "others do not");
    tx.rollback().await.unwrap();
    wake.fire(&pool).await;
    assert_eq!(counts(&pool).await.unwrap(), []);
    counts_are_right(&pool).await;
    assert_eq!(add_all(&pool, &many).await.len(), 300);
    assert_eq!(counts(&pool).await.unwrap(), [("work".to_owned(), State::Available, 300)]);
    counts_are_right(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_start_after_the_year_9999_is_taken_one_at_a_time_and_many_at_once(pool: PgPool) {
    let far = utc_now() + chrono::Days::new(9000 * 365);
    for many in [1, 300] {
        let mut conn = pool.acquire().await.unwrap();
        let (answers, _wake) = enqueue(&mut conn, &vec![job("work").run_at(far); many]).await.unwrap();
        assert_eq!(answers.len(), many);
    }
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn what_became_lately_of_a_key_is_told(pool: PgPool) {
    let keyed = |key: &str| job("work").unique_key(key);
    let live = Live::start(Worker::new(pool.clone(), config("works")).register("work", QUICK, {
        let pool = pool.clone();
        move |job: Job| {
            let pool = pool.clone();
            async move {
                match job.unique_key.as_deref() {
                    Some("done") => {
                        let mut tx = pool.begin().await.unwrap();
                        telekeep_queue::progress(&mut tx, job.token, 1, None, None).await.unwrap();
                        tx.commit().await.unwrap();
                        Outcome::Done
                    }
                    Some("held") => Outcome::Hold { error: "no".into(), hint: "look".into() },
                    _ => Outcome::Discard { reason: "unwanted".into() },
                }
            }
        }
    }));
    for (key, state) in [("done", State::Done), ("held", State::Held), ("gone", State::Cancelled), ("other", State::Cancelled)] {
        let id = add(&pool, keyed(key)).await;
        until_state(&pool, id, state).await;
    }
    live.stop().await;
    add(&pool, keyed("done")).await;
    add(&pool, NewJob::new("rest", json!({})).unique_key("done")).await;

    let keys = ["done", "held", "gone", "never"].map(String::from);
    let recent = async |within| {
        let mut conn = pool.acquire().await.unwrap();
        let mut told = telekeep_queue::recent(&mut conn, "work", &keys, within).await.unwrap();
        told.sort_by(|a, b| (&a.unique_key, a.state).cmp(&(&b.unique_key, b.state)));
        told.into_iter().map(|job| (job.unique_key, job.state, job.progressed, job.ended_seconds.is_some())).collect::<Vec<_>>()
    };
    let unfinished = [("done".to_owned(), State::Available, false, false), ("held".to_owned(), State::Held, false, false)];
    let ended = [("done".to_owned(), State::Done, true, true), ("gone".to_owned(), State::Cancelled, false, true)];
    let [available, held] = unfinished.clone();
    let [done, gone] = ended;
    assert_eq!(recent(Duration::from_secs(60)).await, [available, done, gone, held]);
    assert_eq!(recent(Duration::ZERO).await, unfinished);
}
