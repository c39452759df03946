//! Leases, fences, drains.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::PgPool;
use telekeep_queue::{Error, Job, Outcome, Policy, State, Token, Worker, attempts, fence, progress};
use tokio::time::sleep;

use crate::*;

/// A worker whose jobs never end, and where their claims can be seen.
fn stuck(pool: &PgPool, name: &str, policy: Policy) -> (Live, Arc<Mutex<Vec<Token>>>) {
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let seen = tokens.clone();
    let live = Live::start(Worker::new(pool.clone(), config(name)).register("work", policy, move |job: Job| {
        seen.lock().unwrap().push(job.token);
        async move {
            job.cancel.cancelled().await;
            sleep(Duration::from_secs(60)).await;
            Outcome::Done
        }
    }));
    (live, tokens)
}

fn finishing(pool: &PgPool, name: &str) -> Live {
    Live::start(Worker::new(pool.clone(), config(name)).register("work", QUICK, |_| async { Outcome::Done }))
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_dead_workers_job_is_recovered_even_under_the_same_name(pool: PgPool) {
    let id = add(&pool, job("work").partition(7)).await;
    let (first, _) = stuck(&pool, "same", QUICK);
    until_state(&pool, id, State::Running).await;
    first.kill().await;
    let killed = now();
    let second = finishing(&pool, "same");
    let done = until_state(&pool, id, State::Done).await;
    assert!(killed.elapsed() > Duration::from_millis(500), "taken before its lease was over");
    assert_eq!((done.attempt, done.failure), (2, 0));
    second.stop().await;
    let outcomes: Vec<_> = attempts(&pool, id).await.unwrap().into_iter().filter_map(|a| a.outcome).collect();
    assert_eq!(outcomes, ["lease_expired", "done"]);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn too_many_crashes_hold_the_job_as_poison(pool: PgPool) {
    let policy = Policy { max_crashes: 1, ..QUICK };
    let id = add(&pool, job("work")).await;
    for crash in 0..2 {
        let (live, _) = stuck(&pool, "poisoned", policy);
        until(&pool, id, |row| row.state == State::Running && row.crash == crash).await;
        live.kill().await;
    }
    // a worker of another kind reaps as well
    let other = Live::start(Worker::new(pool.clone(), config("other")).register("other", QUICK, |_| async { Outcome::Done }));
    let held = until_state(&pool, id, State::Held).await;
    assert_eq!((held.attempt, held.failure, held.crash), (2, 0, 2));
    assert!(held.hint.unwrap().contains("2 workers"));
    other.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn progress_ends_a_row_of_crashes(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    let (live, _) = stuck(&pool, "first", QUICK);
    until_state(&pool, id, State::Running).await;
    live.kill().await;
    let (live, tokens) = stuck(&pool, "second", QUICK);
    until(&pool, id, |row| row.state == State::Running && row.crash == 1).await;
    until(&pool, id, |_| !tokens.lock().unwrap().is_empty()).await;
    let token = tokens.lock().unwrap()[0];
    let mut conn = pool.acquire().await.unwrap();
    progress(&mut conn, token, 1, None, None).await.unwrap();
    assert_eq!(row(&pool, id).await.crash, 0);
    live.kill().await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_stale_token_is_refused(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    let (live, tokens) = stuck(&pool, "stale", QUICK);
    until(&pool, id, |_| !tokens.lock().unwrap().is_empty()).await;
    let token = tokens.lock().unwrap()[0];
    let mut tx = pool.begin().await.unwrap();
    fence(&mut tx, token).await.unwrap();
    tx.rollback().await.unwrap();
    // a token that never was
    let mut tx = pool.begin().await.unwrap();
    let error = fence(&mut tx, Token { token: uuid::Uuid::new_v4(), ..token }).await.unwrap_err();
    assert!(matches!(error, Error::Stale { job } if job == id), "{error}");
    tx.rollback().await.unwrap();
    live.kill().await;
    // the lease runs out: refused although nobody has taken the job yet
    until(&pool, id, |_| true).await;
    sleep(Duration::from_millis(1300)).await;
    assert_eq!(row(&pool, id).await.state, State::Running);
    let mut tx = pool.begin().await.unwrap();
    assert!(matches!(fence(&mut tx, token).await, Err(Error::Stale { .. })));
    assert!(matches!(progress(&mut tx, token, 1, None, None).await, Err(Error::Stale { .. })));
    tx.rollback().await.unwrap();
    // and after another has done it
    let second = finishing(&pool, "second");
    until_state(&pool, id, State::Done).await;
    let mut tx = pool.begin().await.unwrap();
    assert!(matches!(fence(&mut tx, token).await, Err(Error::Stale { .. })));
    tx.rollback().await.unwrap();
    second.stop().await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn the_reaper_waits_for_a_fenced_transaction(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    let (live, tokens) = stuck(&pool, "fenced", QUICK);
    until(&pool, id, |_| !tokens.lock().unwrap().is_empty()).await;
    let token = tokens.lock().unwrap()[0];
    let mut tx = pool.begin().await.unwrap();
    fence(&mut tx, token).await.unwrap();
    live.kill().await;
    let second = finishing(&pool, "second");
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(row(&pool, id).await.state, State::Running, "taken from under a fenced transaction");
    tx.commit().await.unwrap();
    until_state(&pool, id, State::Done).await;
    second.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_worker_whose_lease_was_taken_stops_its_jobs_and_starts_anew(pool: PgPool) {
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = starts.clone();
    let live = Live::start(Worker::new(pool.clone(), config("lost")).register("work", QUICK, move |job: Job| {
        seen.lock().unwrap().push(job.attempt);
        async move {
            if job.attempt == 1 {
                sleep(Duration::from_secs(60)).await;
            }
            Outcome::Done
        }
    }));
    let id = add(&pool, job("work")).await;
    until_state(&pool, id, State::Running).await;
    // as if the process had been stopped for longer than its lease
    sqlx::query("update worker set lease_until = now() - interval '1 second'").execute(&pool).await.unwrap();
    let done = until_state(&pool, id, State::Done).await;
    assert_eq!((done.attempt, done.failure), (2, 0));
    assert_eq!(*starts.lock().unwrap(), [1, 2]);
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_drain_waits_then_hands_back_unburned(pool: PgPool) {
    // a row is running before its work has begun: what was never given to the work goes back without an outcome
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let live = Live::start(
        Worker::new(pool.clone(), config("drain"))
            .register("short", QUICK, |_| async {
                sleep(Duration::from_millis(250)).await;
                Outcome::Done
            })
            .register("sliced", QUICK, |job: Job| async move {
                while !job.slice_is_over() {
                    sleep(Duration::from_millis(5)).await;
                }
                Outcome::MoreToDo
            })
            .register("endless", QUICK, move |_| {
                let _ = begun.send(());
                async {
                    sleep(Duration::from_secs(60)).await;
                    Outcome::Done
                }
            }),
    );
    let (short, sliced, endless) =
        (add(&pool, job("short")).await, add(&pool, job("sliced")).await, add(&pool, job("endless")).await);
    for id in [short, sliced, endless] {
        until_state(&pool, id, State::Running).await;
    }
    begins.recv().await.unwrap();
    let stopped = now();
    live.stop().await;
    assert!(stopped.elapsed() < Duration::from_secs(4), "{:?}", stopped.elapsed());
    assert_eq!(row(&pool, short).await.state, State::Done);
    for (id, outcome) in [(sliced, "more_to_do"), (endless, "drained")] {
        let row = row(&pool, id).await;
        assert_eq!((row.state, row.failure, row.crash), (State::Available, 0, 0));
        assert_eq!(row.outcome.as_deref(), Some(outcome));
    }
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_claim_whose_answer_was_lost_goes_back_unburned(pool: PgPool) {
    let id = add(&pool, job("work").partition(3).priority(4)).await;
    let live = Live::start(Worker::new(pool.clone(), config("cut")).register("other", QUICK, |_| async { Outcome::Done }));
    let other = add(&pool, job("other")).await;
    until_state(&pool, other, State::Done).await;
    // what a claim leaves whose connection broke after its commit: a row of a live worker that nobody runs
    sqlx::query(
        "with claimed as (
             update job set state = 'running', token = gen_random_uuid(), attempt = 1,
                    worker = (select max(id) from worker) where id = $1)
         insert into job_delta values ('work', 'available', -1), ('work', 'running', 1)",
    )
    .bind(id)
    .execute(&pool)
    .await
    .unwrap();
    let back = until_state(&pool, id, State::Available).await;
    assert_eq!((back.attempt, back.crash, back.failure), (0, 0, 0));
    assert!(attempts(&pool, id).await.unwrap().is_empty());
    live.stop().await;
    at_rest(&pool).await;
}
