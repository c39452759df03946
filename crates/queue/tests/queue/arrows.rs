//! One test an arrow of the state diagram.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use telekeep_queue::{Job, Outcome, Policy, State, Worker, attempts};
use tokio::time::sleep;

use crate::*;

/// A worker whose kind "work" answers from a list, the last answer for ever.
fn answering(pool: &PgPool, answers: Vec<Outcome>) -> Live {
    answering_with(pool, QUICK, answers)
}

fn answering_with(pool: &PgPool, policy: Policy, answers: Vec<Outcome>) -> Live {
    let calls = Arc::new(AtomicUsize::new(0));
    Live::start(Worker::new(pool.clone(), config("answers")).register("work", policy, move |_job: Job| {
        let call = calls.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let answer = answers[call].clone();
        async move { answer }
    }))
}

fn again() -> Outcome {
    Outcome::Retry { error: "no luck".into() }
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn available_running_done(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    assert_eq!(row(&pool, id).await.state, State::Available);
    let live = answering(&pool, vec![Outcome::Done]);
    let done = until_state(&pool, id, State::Done).await;
    assert_eq!((done.attempt, done.failure, done.crash), (1, 0, 0));
    assert_eq!(done.outcome.as_deref(), Some("done"));
    live.stop().await;
    assert_eq!(ends(&pool).await, [(id, State::Done, "done".to_owned())]);
    assert_eq!(ends(&pool).await, []);
    let log = attempts(&pool, id).await.unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].outcome.as_deref(), Some("done"));
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn scheduled_waits_for_its_time(pool: PgPool) {
    let live = answering(&pool, vec![Outcome::Done]);
    let id = add(&pool, job("work").run_at(utc_now() + Duration::from_millis(700))).await;
    assert_eq!(row(&pool, id).await.state, State::Scheduled);
    let done = until_state(&pool, id, State::Done).await;
    let late = done.started_at.unwrap() - done.run_at;
    assert!(late.num_milliseconds() >= 0, "started {late} before its time");
    assert!(late.num_milliseconds() < 500, "started {late} after its time");
    live.stop().await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn an_idle_worker_is_woken_by_the_notification(pool: PgPool) {
    let live = answering(&pool, vec![Outcome::Done]);
    sleep(Duration::from_millis(1500)).await;
    let mut waits = Vec::new();
    for _ in 0..5 {
        let id = add(&pool, job("work")).await;
        let done = until_state(&pool, id, State::Done).await;
        waits.push((done.started_at.unwrap() - done.created_at).num_milliseconds());
        sleep(Duration::from_millis(137)).await;
    }
    waits.sort_unstable();
    assert!(waits[2] < 300, "woken after {waits:?} ms: that was the poll");
    live.stop().await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_failure_is_retried_after_a_backoff_that_is_persisted(pool: PgPool) {
    let policy = Policy { base: Duration::from_secs(60), ..QUICK };
    let policy = Policy { cap: Duration::from_secs(600), ..policy };
    let id = add(&pool, job("work")).await;
    let live = answering_with(&pool, policy, vec![again()]);
    let waiting = until(&pool, id, |row| row.failure == 1).await;
    live.kill().await;
    assert_eq!(waiting.state, State::Scheduled);
    assert_eq!(waiting.error.as_deref(), Some("no luck"));
    let wait = (waiting.run_at - utc_now()).num_seconds();
    assert!((50..=60).contains(&wait), "{wait} s");
    // another process knows nothing but the row
    let live = answering(&pool, vec![Outcome::Done]);
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(row(&pool, id).await.attempt, 1, "started before its backoff was over");
    live.stop().await;
    assert_eq!(ends(&pool).await, []);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn the_last_failure_is_death(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    let live = answering(&pool, vec![again()]);
    let dead = until_state(&pool, id, State::Dead).await;
    assert_eq!((dead.attempt, dead.failure), (3, 3));
    live.stop().await;
    let outcomes: Vec<_> = attempts(&pool, id).await.unwrap().into_iter().filter_map(|a| a.outcome).collect();
    assert_eq!(outcomes, ["retry", "retry", "dead"]);
    assert_eq!(ends(&pool).await, [(id, State::Dead, "dead".to_owned())]);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_snooze_burns_no_failure_and_is_not_shortened(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    let wait = Outcome::Snooze { until: Duration::from_millis(200), reason: "flood".into() };
    let live = answering(&pool, vec![wait.clone(), wait.clone(), wait.clone(), wait, Outcome::Done]);
    let started = now();
    let done = until_state(&pool, id, State::Done).await;
    assert_eq!((done.attempt, done.failure, done.crash), (5, 0, 0));
    assert!(started.elapsed() >= Duration::from_millis(800));
    live.stop().await;

    let id = add(&pool, job("work")).await;
    let hour = Outcome::Snooze { until: Duration::from_secs(3600), reason: "flood".into() };
    let live = answering(&pool, vec![hour]);
    let waiting = until(&pool, id, |row| row.outcome.is_some()).await;
    live.stop().await;
    assert_eq!(waiting.state, State::Scheduled);
    assert_eq!(waiting.error.as_deref(), Some("flood"));
    telekeep_queue::cancel(&pool, &Filter::one(id)).await.unwrap();
    telekeep_queue::retry(&pool, &Filter::one(id)).await.unwrap();
    let again = row(&pool, id).await;
    assert_eq!((again.state, again.run_at), (State::Scheduled, waiting.run_at));
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn more_to_do_goes_behind_its_peers_uncounted(pool: PgPool) {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let first = add(&pool, job("slices")).await;
    let second = add(&pool, job("slices")).await;
    let seen = order.clone();
    let one = WorkerConfig { concurrency: 1, ..config("one") };
    let live = Live::start(Worker::new(pool.clone(), one).register("slices", QUICK, move |job| {
        let seen = seen.clone();
        async move {
            seen.lock().unwrap().push(job.id);
            if job.attempt == 1 { Outcome::MoreToDo } else { Outcome::Done }
        }
    }));
    let done = until_state(&pool, second, State::Done).await;
    until_state(&pool, first, State::Done).await;
    live.stop().await;
    assert_eq!(*order.lock().unwrap(), [first, second, first, second]);
    assert_eq!((done.attempt, done.failure), (2, 0));
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn held_waits_for_the_operator(pool: PgPool) {
    let id = add(&pool, job("work").unique_key("k")).await;
    let hold = Outcome::Hold { error: "session revoked".into(), hint: "log in again".into() };
    let live = answering(&pool, vec![hold, Outcome::Done]);
    let held = until_state(&pool, id, State::Held).await;
    assert_eq!(held.hint.as_deref(), Some("log in again"));
    assert_eq!(ends(&pool).await, []);
    assert_eq!(telekeep_queue::release(&pool, &Filter::one(id)).await.unwrap(), 1);
    until_state(&pool, id, State::Done).await;
    assert!(matches!(telekeep_queue::release(&pool, &Filter::one(id)).await, Err(Error::Arrow { .. })));
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_discarded_job_is_cancelled_with_its_reason(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    let live = answering(&pool, vec![Outcome::Discard { reason: "chat is gone".into() }]);
    let row = until_state(&pool, id, State::Cancelled).await;
    live.stop().await;
    assert_eq!((row.outcome.as_deref(), row.error.as_deref()), (Some("discarded"), Some("chat is gone")));
    assert_eq!(ends(&pool).await, [(id, State::Cancelled, "discarded".to_owned())]);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn panics_and_timeouts_are_failures(pool: PgPool) {
    let slow = Policy { timeout: Duration::from_millis(100), max_failures: 1, ..QUICK };
    let live = Live::start(
        Worker::new(pool.clone(), config("bad"))
            .register("panic", Policy { max_failures: 1, ..QUICK }, |job| async move {
                assert!(job.attempt > 99, "not today");
                Outcome::Done
            })
            .register("slow", slow, |_| async {
                sleep(Duration::from_secs(60)).await;
                Outcome::Done
            })
            .register("work", QUICK, |_| async { Outcome::Done }),
    );
    let (panics, slow) = (add(&pool, job("panic")).await, add(&pool, job("slow")).await);
    let panicked = until_state(&pool, panics, State::Dead).await;
    assert_eq!(panicked.error.as_deref(), Some("panicked: not today"));
    let slow = until_state(&pool, slow, State::Dead).await;
    assert!(slow.error.unwrap().starts_with("timed out after"));
    let id = add(&pool, job("work")).await;
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    at_rest(&pool).await;
}
