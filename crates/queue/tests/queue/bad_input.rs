//! What callers and works get wrong: each with the state it ends in, and the reason that is kept.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use telekeep_queue::{Job, MAX_PAYLOAD_BYTES, Outcome, Policy, Retry, State, Worker, counts, enqueue, reprioritise};
use tokio::time::sleep;

use crate::*;

const FATAL: Policy = Policy { max_failures: 1, ..QUICK };

#[derive(Deserialize)]
struct Greeting {
    name: String,
}

async fn greet(job: Job) -> Outcome {
    match serde_json::from_value::<Greeting>(job.payload) {
        Ok(greeting) if greeting.name.is_empty() => Outcome::Discard { reason: "nobody".into() },
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Hold { error: error.to_string(), hint: "enqueue it again with a name".into() },
    }
}

fn greeting(pool: &PgPool) -> Live {
    Live::start(Worker::new(pool.clone(), config("greets")).register("greet", QUICK, greet))
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_payload_that_its_work_cannot_decode_is_held_with_the_reason(pool: PgPool) {
    let bad = [
        (Value::Null, "invalid type: null, expected struct Greeting"),
        (json!([]), "invalid length 0, expected struct Greeting with 1 element"),
        (json!("text"), "invalid type: string \"text\", expected struct Greeting"),
        (json!({"nom": "Ada"}), "missing field `name`"),
        (json!({"name": 7}), "invalid type: integer `7`, expected a string"),
    ];
    let mut jobs: Vec<_> = bad.iter().map(|(payload, _)| NewJob::new("greet", payload.clone())).collect();
    jobs.push(NewJob::new("greet", json!({"name": "Ada"})));
    let ids: Vec<i64> = add_all(&pool, &jobs).await.iter().map(Enqueued::id).collect();
    let live = greeting(&pool);
    until_state(&pool, ids[5], State::Done).await;
    for (id, (_, reason)) in ids.iter().zip(&bad) {
        let held = until_state(&pool, *id, State::Held).await;
        assert_eq!((held.attempt, held.failure), (1, 0));
        assert_eq!(held.hint.as_deref(), Some("enqueue it again with a name"));
        assert_eq!(held.error.as_deref(), Some(*reason));
    }
    live.stop().await;
    assert_eq!(ends(&pool).await.len(), 1, "what is held has not ended");
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_kind_that_no_worker_knows_stays_available_and_is_counted(pool: PgPool) {
    let unknown = add(&pool, job("gret").priority(1)).await;
    let live = greeting(&pool);
    for _ in 0..3 {
        let known = add(&pool, NewJob::new("greet", json!({"name": "Ada"}))).await;
        until_state(&pool, known, State::Done).await;
    }
    live.stop().await;
    let left = row(&pool, unknown).await;
    assert_eq!((left.state, left.attempt, left.outcome), (State::Available, 0, None));
    let expected = [("greet".to_owned(), State::Done, 3), ("gret".to_owned(), State::Available, 1)];
    assert_eq!(counts(&pool).await.unwrap(), expected);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_payload_of_a_mebibyte_is_taken_and_one_byte_more_refuses_the_whole_call(pool: PgPool) {
    // its quotes count
    let largest = NewJob::new("work", json!("x".repeat(MAX_PAYLOAD_BYTES - 2)));
    let larger = NewJob::new("work", json!("x".repeat(MAX_PAYLOAD_BYTES - 1)));
    let id = add(&pool, largest).await;
    assert_eq!(row(&pool, id).await.payload.as_str().unwrap().len(), MAX_PAYLOAD_BYTES - 2);
    let mut conn = pool.acquire().await.unwrap();
    let error = enqueue(&mut conn, &[job("work"), job("work").unique_key("a"), larger]).await.unwrap_err();
    assert!(
        matches!(&error, Error::PayloadTooLarge { kind, bytes } if kind == "work" && *bytes == MAX_PAYLOAD_BYTES + 1),
        "{error}"
    );
    assert_eq!(error.to_string(), "the payload of a work job has 1048577 bytes, more than 1048576 allowed");
    assert_eq!(counts(&pool).await.unwrap(), [("work".to_owned(), State::Available, 1)]);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_priority_out_of_range_is_refused_and_nothing_of_the_call_stays(pool: PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    for priority in [i16::MIN, -1, 0, 5, i16::MAX] {
        let error = enqueue(&mut conn, &[job("work"), job("work").priority(priority)]).await.unwrap_err();
        assert!(matches!(error, Error::Priority { priority: refused, .. } if refused == priority), "{error}");
        assert_eq!(error.to_string(), format!("priority {priority} is outside 1 (most urgent) to 4: a work job"));
    }
    assert_eq!(counts(&pool).await.unwrap(), []);
    let id = add(&pool, job("work").priority(4)).await;
    for priority in [i16::MIN, 0, 5, i16::MAX] {
        let error = reprioritise(&pool, &Filter::one(id), priority).await.unwrap_err();
        assert!(matches!(error, Error::Priority { .. }), "{error}");
    }
    assert_eq!(row(&pool, id).await.priority, 4);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn text_that_postgres_cannot_hold_is_refused_and_nothing_of_the_call_stays(pool: PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    let bad =
        [NewJob::new("work", json!({"text": "a\0b"})), job("wo\0rk"), job("work").trigger("a\0b"), job("work").unique_key("\0")];
    for bad in bad {
        for others in [1, 300] {
            let mut jobs = vec![job("work"); others];
            jobs.push(bad.clone());
            let error = enqueue(&mut conn, &jobs).await.unwrap_err();
            assert!(matches!(error, Error::Database(_)), "{error}");
            assert_eq!(counts(&pool).await.unwrap(), [], "{error}");
        }
    }
    counts_are_right(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_panic_without_a_message_is_a_failure_and_the_worker_goes_on(pool: PgPool) {
    let live = Live::start(
        Worker::new(pool.clone(), config("panics"))
            .register("panic", FATAL, |_| async { std::panic::panic_any(7) })
            .register("greet", QUICK, greet),
    );
    let jobs = vec![job("panic"); 20];
    let ids: Vec<i64> = add_all(&pool, &jobs).await.iter().map(Enqueued::id).collect();
    for id in ids {
        let dead = until_state(&pool, id, State::Dead).await;
        assert_eq!((dead.failure, dead.error.as_deref()), (1, Some("panicked: without a message")));
    }
    let id = add(&pool, NewJob::new("greet", json!({"name": "Ada"}))).await;
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_work_that_never_returns_is_aborted_at_its_timeout_and_frees_its_slot(pool: PgPool) {
    let endless = Policy { timeout: Duration::from_millis(80), max_failures: 2, ..QUICK };
    let one = WorkerConfig { concurrency: 1, ..config("waits") };
    let live = Live::start(
        Worker::new(pool.clone(), one)
            .register("endless", endless, |_| std::future::pending::<Outcome>())
            .register("greet", QUICK, greet),
    );
    let id = add(&pool, job("endless")).await;
    let dead = until_state(&pool, id, State::Dead).await;
    assert_eq!((dead.attempt, dead.failure, dead.error.as_deref()), (2, 2, Some("timed out after 80ms")));
    let id = add(&pool, NewJob::new("greet", json!({"name": "Ada"}))).await;
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn ten_thousand_failures_of_one_kind_leave_the_worker_fit_for_another(pool: PgPool) {
    const JOBS: i64 = 10_000;
    let wide = WorkerConfig { concurrency: 256, lease: Duration::from_secs(30), ..config("hard pressed") };
    let live = Live::start(
        Worker::new(pool.clone(), wide)
            .register("fails", FATAL, |_| async { Outcome::Retry { error: "no luck".into() } })
            .register("greet", QUICK, greet),
    );
    add_all(&pool, &vec![job("fails"); 10_000]).await;
    let deadline = now() + Duration::from_secs(60);
    while counts(&pool).await.unwrap() != [("fails".to_owned(), State::Dead, JOBS)] {
        assert!(now() < deadline, "{:?}", counts(&pool).await.unwrap());
        sleep(Duration::from_millis(50)).await;
    }
    let id = add(&pool, NewJob::new("greet", json!({"name": "Ada"}))).await;
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    let once: i64 = sqlx::query_scalar(
        "select count(*) from job_attempt a join job_finished f using (job) where a.outcome = 'dead' and f.state = 'dead'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(once, JOBS, "one start and one end each");
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn an_error_of_megabytes_with_nul_is_kept_shortened(pool: PgPool) {
    fn long() -> String {
        format!("a\0b{}", "\u{fc}".repeat(2 << 20))
    }
    let live = Live::start(
        Worker::new(pool.clone(), config("talks"))
            .register("retry", FATAL, |_| async { Outcome::Retry { error: long() } })
            .register("hold", QUICK, |_| async { Outcome::Hold { error: long(), hint: long() } })
            .register("discard", QUICK, |_| async { Outcome::Discard { reason: long() } })
            .register("snooze", QUICK, |_| async { Outcome::Snooze { until: Duration::from_secs(3600), reason: long() } })
            .register("panic", FATAL, |_| async { std::panic::panic_any(long()) }),
    );
    let table = [
        ("retry", State::Dead),
        ("hold", State::Held),
        ("discard", State::Cancelled),
        ("snooze", State::Scheduled),
        ("panic", State::Dead),
    ];
    let ids = add_all(&pool, &table.map(|(kind, _)| job(kind))).await;
    for ((kind, state), id) in table.into_iter().zip(ids) {
        let row = until(&pool, id.id(), |row| row.outcome.is_some()).await;
        assert_eq!(row.state, state, "{kind}");
        let error = row.error.unwrap();
        assert!(error.contains("a\u{fffd}b\u{fc}") && error.ends_with('\u{fc}'), "{kind}");
        assert!((4000..=4100).contains(&error.len()), "{kind}: {} bytes", error.len());
        assert_eq!(row.hint.is_some_and(|hint| hint.len() > 4000), kind == "hold");
    }
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_payload_nested_deeper_than_a_claim_can_read_stops_nothing_else(pool: PgPool) {
    let mut deep = json!({});
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let mut conn = pool.acquire().await.unwrap();
    let refused = enqueue(&mut conn, &[NewJob::new("greet", deep).priority(1)]).await.is_err();
    let live = greeting(&pool);
    let id = add(&pool, NewJob::new("greet", json!({"name": "Ada"}))).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(row(&pool, id).await.state, State::Done, "refused at once: {refused}");
    assert!(telekeep_queue::list(&pool, Filter::default()).await.is_ok());
    live.stop().await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_retry_that_is_no_number_stops_nothing_else(pool: PgPool) {
    let retry = Retry { max_failures: 2, base: Duration::ZERO, cap: Duration::ZERO, jitter: f64::NAN };
    let mut conn = pool.acquire().await.unwrap();
    let bad = NewJob { retry: Some(retry), ..job("greet").priority(1) };
    let refused = enqueue(&mut conn, &[bad]).await.is_err();
    let live = greeting(&pool);
    let id = add(&pool, NewJob::new("greet", json!({"name": "Ada"}))).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(row(&pool, id).await.state, State::Done, "refused at once: {refused}");
    live.stop().await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_backoff_without_end_is_a_long_wait(pool: PgPool) {
    let retry = Retry { max_failures: 9, base: Duration::MAX, cap: Duration::MAX, jitter: 0.0 };
    let id = add(&pool, NewJob { retry: Some(retry), ..job("fails") }).await;
    let live = Live::start(
        Worker::new(pool.clone(), config("fails"))
            .register("fails", QUICK, |_| async { Outcome::Retry { error: "no luck".into() } }),
    );
    let waiting = until(&pool, id, |row| row.outcome.is_some()).await;
    assert_eq!((waiting.state, waiting.failure), (State::Scheduled, 1));
    live.stop().await;
    at_rest(&pool).await;
}
