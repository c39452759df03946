//! What the operator can do.

use std::time::Duration;

use sqlx::PgPool;
use telekeep_queue::{
    Filter, Outcome, State, Worker, attempts, cancel, counts, list, progress, release, remove_finished, retry, workers,
};
use tokio::time::sleep;

use crate::*;

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn cancel_ends_a_waiting_job(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    assert_eq!(cancel(&pool, &Filter::ids([id, 404])).await.unwrap(), 1);
    assert!(matches!(cancel(&pool, &Filter::one(id)).await, Err(Error::Arrow { .. })));
    assert_eq!(row(&pool, id).await.state, State::Cancelled);
    assert_eq!(ends(&pool).await, [(id, State::Cancelled, "cancelled".to_owned())]);
    assert_eq!(retry(&pool, &Filter::one(id)).await.unwrap(), 1);
    assert_eq!(row(&pool, id).await.state, State::Available);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn cancel_tells_a_running_job(pool: PgPool) {
    let slow = WorkerConfig { lease: Duration::from_secs(30), heartbeat: Duration::from_secs(10), ..config("slow") };
    let live = Live::start(
        Worker::new(pool.clone(), slow)
            .register("obeys", QUICK, |job| async move {
                job.cancel.cancelled().await;
                assert!(job.slice_is_over());
                Outcome::MoreToDo
            })
            .register("deaf", QUICK, |_| async {
                sleep(Duration::from_secs(60)).await;
                Outcome::Done
            }),
    );
    let (obeys, deaf) = (add(&pool, job("obeys")).await, add(&pool, job("deaf")).await);
    until_state(&pool, obeys, State::Running).await;
    until_state(&pool, deaf, State::Running).await;
    assert_eq!(cancel(&pool, &Filter::ids([obeys, deaf])).await.unwrap(), 2);
    let first = until_state(&pool, obeys, State::Cancelled).await;
    assert_eq!(first.failure, 0);
    until_state(&pool, deaf, State::Cancelled).await;
    live.stop().await;
    assert_eq!(ends(&pool).await.len(), 2);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn retry_starts_a_dead_job_over_but_never_beside_a_newer_one(pool: PgPool) {
    let live = Live::start(Worker::new(pool.clone(), config("fails")).register("work", QUICK, |job| async move {
        if job.failure == 0 && job.attempt > 3 { Outcome::Done } else { Outcome::Retry { error: "no".into() } }
    }));
    let id = add(&pool, job("work").unique_key("k")).await;
    until_state(&pool, id, State::Dead).await;
    assert!(matches!(release(&pool, &Filter::one(id)).await, Err(Error::Arrow { .. })));
    assert_eq!(retry(&pool, &Filter::one(id)).await.unwrap(), 1);
    let done = until_state(&pool, id, State::Done).await;
    assert_eq!((done.attempt, done.failure), (4, 0));
    assert!(matches!(retry(&pool, &Filter::one(id)).await, Err(Error::Arrow { .. })));
    let dead = add(&pool, job("work").unique_key("k")).await;
    until_state(&pool, dead, State::Dead).await;
    live.stop().await;
    let newer = add(&pool, job("work").unique_key("k")).await;
    assert_ne!(newer, dead);
    assert!(matches!(retry(&pool, &Filter::one(dead)).await, Err(Error::Arrow { .. })));
    assert_eq!(row(&pool, dead).await.state, State::Dead);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn progress_counts_lists_and_workers_are_shown(pool: PgPool) {
    let inner = pool.clone();
    let live = Live::start(Worker::new(pool.clone(), config("shown")).register("work", QUICK, move |job| {
        let pool = inner.clone();
        async move {
            let mut conn = pool.acquire().await.unwrap();
            progress(&mut conn, job.token, 3, Some(10), Some("pages")).await.unwrap();
            Outcome::Done
        }
    }));
    let id = add(&pool, job("work")).await;
    add(&pool, job("unknown kind")).await;
    let done = until_state(&pool, id, State::Done).await;
    assert_eq!((done.progress_done, done.progress_total), (Some(3), Some(10)));
    assert_eq!(
        counts(&pool).await.unwrap(),
        [("unknown kind".to_owned(), State::Available, 1), ("work".to_owned(), State::Done, 1)]
    );
    let filter = Filter { state: Some(State::Done), ..Filter::default() };
    let listed = list(&pool, filter).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(serde_json::to_value(&listed[0]).unwrap()["state"], "done");
    let shown = workers(&pool).await.unwrap();
    assert_eq!((shown[0].name.as_str(), shown[0].state.as_str()), ("shown", "live"));
    assert!(shown[0].lease_remaining_seconds > 0.0);
    live.stop().await;
    assert_eq!(workers(&pool).await.unwrap()[0].state, "gone");
    assert_eq!(attempts(&pool, id).await.unwrap().len(), 1);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn what_ended_long_ago_is_removed_and_what_waits_stays(pool: PgPool) {
    let live = Live::start(Worker::new(pool.clone(), config("done")).register("work", QUICK, |_| async { Outcome::Done }));
    let (id, waiting) = (add(&pool, job("work")).await, add(&pool, job("other")).await);
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    assert_eq!(remove_finished(&pool, Duration::from_secs(60), 10).await.unwrap(), 0);
    assert_eq!(remove_finished(&pool, Duration::ZERO, 10).await.unwrap(), 1);
    assert_eq!(ends(&pool).await, []);
    counts_are_right(&pool).await;
    assert_eq!(row(&pool, waiting).await.state, State::Available);
    assert!(workers(&pool).await.unwrap().is_empty());
}
