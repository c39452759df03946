//! Which jobs are claimed, by whom, and how many at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::PgPool;
use telekeep_queue::{Outcome, State, Worker, counts, rest};
use tokio::time::sleep;

use crate::*;

#[derive(Clone, Default)]
struct Seen {
    starts: Arc<Mutex<Vec<i64>>>,
    now: Arc<Mutex<HashMap<i64, i64>>>,
    most: Arc<AtomicI64>,
}

impl Seen {
    /// Notes starts, and the most jobs of one partition that ran at once.
    fn worker(&self, pool: &PgPool, config: WorkerConfig, takes: Duration) -> Live {
        let seen = self.clone();
        Live::start(Worker::new(pool.clone(), config).register("work", QUICK, move |job| {
            let seen = seen.clone();
            async move {
                seen.starts.lock().unwrap().push(job.id);
                let now = {
                    let mut now = seen.now.lock().unwrap();
                    let count = now.entry(job.partition).or_default();
                    *count += 1;
                    *count
                };
                seen.most.fetch_max(now, Ordering::SeqCst);
                sleep(takes).await;
                *seen.now.lock().unwrap().entry(job.partition).or_default() -= 1;
                Outcome::Done
            }
        }))
    }

    fn starts(&self) -> Vec<i64> {
        self.starts.lock().unwrap().clone()
    }
}

async fn until_done(pool: &PgPool, jobs: i64) {
    let deadline = now() + Duration::from_secs(30);
    while counts(pool).await.unwrap() != [("work".to_owned(), State::Done, jobs)] {
        assert!(now() < deadline, "{:?}", counts(pool).await.unwrap());
        sleep(Duration::from_millis(20)).await;
    }
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn two_workers_run_each_job_once(pool: PgPool) {
    let jobs: Vec<_> = (0..300).map(|n| job("work").partition(n % 3)).collect();
    let seen = Seen::default();
    let wide = WorkerConfig { per_partition: 50, concurrency: 16, ..config("wide") };
    let (one, two) =
        (seen.worker(&pool, wide.clone(), Duration::from_millis(3)), seen.worker(&pool, wide, Duration::from_millis(3)));
    add_all(&pool, &jobs).await;
    until_done(&pool, 300).await;
    one.stop().await;
    two.stop().await;
    let mut starts = seen.starts();
    starts.sort_unstable();
    let count = starts.len();
    starts.dedup();
    assert_eq!((count, starts.len()), (300, 300));
    assert_eq!(ends(&pool).await.len(), 300);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_job_that_two_insert_runs_once(pool: PgPool) {
    let seen = Seen::default();
    let (one, two) = (
        seen.worker(&pool, config("one"), Duration::from_millis(200)),
        seen.worker(&pool, config("two"), Duration::from_millis(200)),
    );
    let (first, second) = tokio::join!(add(&pool, job("work").unique_key("tick:1")), add(&pool, job("work").unique_key("tick:1")),);
    assert_eq!(first, second);
    until_done(&pool, 1).await;
    one.stop().await;
    two.stop().await;
    assert_eq!(seen.starts(), [first]);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_partition_never_exceeds_its_limit_over_all_workers(pool: PgPool) {
    let jobs: Vec<_> = (0..60).map(|n| job("work").partition(1 + n % 2)).collect();
    add_all(&pool, &jobs).await;
    let seen = Seen::default();
    let mut live = Vec::new();
    for name in ["a", "b", "c"] {
        live.push(seen.worker(&pool, WorkerConfig { concurrency: 8, ..config(name) }, Duration::from_millis(20)));
    }
    until_done(&pool, 60).await;
    for live in live {
        live.stop().await;
    }
    assert_eq!(seen.most.load(Ordering::SeqCst), 2);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn urgent_first_within_a_partition_and_a_small_one_is_not_starved(pool: PgPool) {
    let mut jobs: Vec<_> = (0..200).map(|_| job("work").partition(1)).collect();
    jobs.push(job("work").partition(1).priority(1));
    jobs.push(job("work").partition(2).priority(4));
    let ids: Vec<i64> = add_all(&pool, &jobs).await.iter().map(|answer| answer.id()).collect();
    let seen = Seen::default();
    let one = WorkerConfig { concurrency: 1, ..config("one") };
    let live = seen.worker(&pool, one, Duration::ZERO);
    until_done(&pool, 202).await;
    live.stop().await;
    let starts = seen.starts();
    assert!(starts[..2].contains(&ids[200]), "the urgent one is among the first: {:?}", &starts[..5]);
    assert!(starts[..2].contains(&ids[201]), "the other partition is served in turn: {:?}", &starts[..5]);
    assert_eq!(starts[2..], ids[..200], "the others in their order");
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_rest_blocks_its_kind_in_its_partition_only(pool: PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    rest(&mut conn, 1, "work", utc_now() + Duration::from_secs(2), "flood").await.unwrap();
    rest(&mut conn, 1, "work", utc_now(), "shorter: the longer one stays").await.unwrap();
    drop(conn);
    let (resting, free) = (add(&pool, job("work").partition(1)).await, add(&pool, job("work").partition(2)).await);
    let seen = Seen::default();
    let live = seen.worker(&pool, config("rest"), Duration::ZERO);
    until_state(&pool, free, State::Done).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(row(&pool, resting).await.attempt, 0);
    until_state(&pool, resting, State::Done).await;
    live.stop().await;
}
