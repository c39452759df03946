//! Enqueue: transactions, order, uniqueness, refusals.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use telekeep_queue::{Enqueued, Error, NewJob, Outcome, State, Worker, enqueue};
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
