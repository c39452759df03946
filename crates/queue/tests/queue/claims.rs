//! Which jobs are claimed, by whom, and how many at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::PgPool;
use telekeep_queue::{
    Outcome, PartitionSettings, State, Worker, counts, partition, pause_kind, paused_kinds, rest, resume_kind, set_partition,
};
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

/// A worker that ends whatever it starts, of two kinds; the first uses a method.
fn ending(pool: &PgPool, config: WorkerConfig) -> Live {
    Live::start(
        Worker::new(pool.clone(), config)
            .register("work", QUICK, |_| async { Outcome::Done })
            .register("other", QUICK, |_| async { Outcome::Done })
            .uses("work", &["history", "search"]),
    )
}

async fn set(pool: &PgPool, id: i64, to: &PartitionSettings) {
    set_partition(&mut pool.acquire().await.unwrap(), id, to).await.unwrap();
    assert_eq!(partition(pool, id).await.unwrap(), *to);
}

/// That some jobs are passed over, shown by a later one that every claim could have taken them before.
async fn passed_over(pool: &PgPool, blocked: &[i64], free: NewJob) {
    for _ in 0..2 {
        let id = add(pool, free.clone()).await;
        until_state(pool, id, State::Done).await;
    }
    for id in blocked {
        let row = row(pool, *id).await;
        assert_eq!((row.state, row.attempt), (State::Available, 0), "{row:?}");
    }
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_paused_kind_is_not_claimed_until_it_is_resumed(pool: PgPool) {
    let waiting = add(&pool, job("work").priority(1)).await;
    assert!(pause_kind(&pool, "work").await.unwrap());
    assert!(!pause_kind(&pool, "work").await.unwrap(), "it was paused before");
    assert_eq!(paused_kinds(&pool).await.unwrap(), ["work"]);
    let live = ending(&pool, config("pauses"));
    passed_over(&pool, &[waiting], job("other")).await;
    assert!(resume_kind(&pool, "work").await.unwrap());
    assert!(!resume_kind(&pool, "work").await.unwrap());
    until_state(&pool, waiting, State::Done).await;
    assert!(paused_kinds(&pool).await.unwrap().is_empty());
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn what_runs_goes_on_when_its_kind_and_its_partition_are_paused(pool: PgPool) {
    let gate = Arc::new(tokio::sync::Notify::new());
    let inner = gate.clone();
    let live = Live::start(Worker::new(pool.clone(), config("goes on")).register("work", QUICK, move |_| {
        let gate = inner.clone();
        async move {
            gate.notified().await;
            Outcome::Done
        }
    }));
    let id = add(&pool, job("work").partition(1)).await;
    until_state(&pool, id, State::Running).await;
    pause_kind(&pool, "work").await.unwrap();
    set(&pool, 1, &PartitionSettings { paused: true, ..PartitionSettings::default() }).await;
    gate.notify_one();
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn nothing_is_claimed_from_a_paused_partition(pool: PgPool) {
    assert_eq!(partition(&pool, 404).await.unwrap(), PartitionSettings::default());
    let paused = PartitionSettings { paused: true, ..PartitionSettings::default() };
    set(&pool, 0, &paused).await;
    set(&pool, 1, &paused).await;
    let blocked = [add(&pool, job("work")).await, add(&pool, job("work").partition(1)).await];
    let live = ending(&pool, config("passes"));
    passed_over(&pool, &blocked, job("work").partition(2)).await;
    set(&pool, 0, &PartitionSettings::default()).await;
    set(&pool, 1, &PartitionSettings::default()).await;
    for id in blocked {
        until_state(&pool, id, State::Done).await;
    }
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_partitions_own_limit_is_in_place_of_the_workers(pool: PgPool) {
    let limit = |limit| PartitionSettings { running_limit: Some(limit), ..PartitionSettings::default() };
    set(&pool, 1, &limit(4)).await;
    set(&pool, 2, &limit(1)).await;
    set(&pool, 3, &limit(0)).await;
    let jobs: Vec<_> = (0..24).map(|n| job("work").partition(1 + n % 2)).collect();
    let shut = add(&pool, job("work").partition(3)).await;
    add_all(&pool, &jobs).await;
    let (wide, narrow) = (Seen::default(), Seen::default());
    let workers: Vec<Live> = ["a", "b"]
        .into_iter()
        .map(|name| {
            let (wide, narrow) = (wide.clone(), narrow.clone());
            let config = WorkerConfig { concurrency: 8, per_partition: 2, ..config(name) };
            Live::start(Worker::new(pool.clone(), config).register("work", QUICK, move |job| {
                let seen = if job.partition == 1 { wide.clone() } else { narrow.clone() };
                async move {
                    let at_once = {
                        let mut now = seen.now.lock().unwrap();
                        let count = now.entry(job.partition).or_default();
                        *count += 1;
                        *count
                    };
                    seen.most.fetch_max(at_once, Ordering::SeqCst);
                    sleep(Duration::from_millis(30)).await;
                    *seen.now.lock().unwrap().entry(job.partition).or_default() -= 1;
                    Outcome::Done
                }
            }))
        })
        .collect();
    let expected = [("work".to_owned(), State::Available, 1), ("work".to_owned(), State::Done, 24)];
    let deadline = now() + Duration::from_secs(15);
    while counts(&pool).await.unwrap() != expected {
        assert!(now() < deadline, "{:?}", counts(&pool).await.unwrap());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((wide.most.load(Ordering::SeqCst), narrow.most.load(Ordering::SeqCst)), (4, 1));
    assert_eq!(row(&pool, shut).await.attempt, 0, "a limit of none");
    set(&pool, 3, &PartitionSettings::default()).await;
    until_state(&pool, shut, State::Done).await;
    for live in workers {
        live.stop().await;
    }
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_partition_kept_for_a_holder_is_claimed_by_its_workers_only(pool: PgPool) {
    let kept = |holder: &str| PartitionSettings { holder: Some(holder.into()), ..PartitionSettings::default() };
    set(&pool, 1, &kept("north")).await;
    let north = add(&pool, job("work").partition(1)).await;
    let (anybody, south) = (ending(&pool, config("anybody")), {
        let south = WorkerConfig { holder: Some("south".into()), ..config("south") };
        ending(&pool, south)
    });
    passed_over(&pool, &[north], job("work").partition(2)).await;
    anybody.stop().await;
    passed_over(&pool, &[north], job("work").partition(2)).await;
    let live = ending(&pool, WorkerConfig { holder: Some("north".into()), ..config("north") });
    until_state(&pool, north, State::Done).await;
    south.stop().await;
    // it serves what is kept for nobody as well
    let free = add(&pool, job("work").partition(2)).await;
    until_state(&pool, free, State::Done).await;
    set(&pool, 1, &kept("south")).await;
    let south = add(&pool, job("work").partition(1)).await;
    passed_over(&pool, &[south], job("work")).await;
    set(&pool, 1, &PartitionSettings::default()).await;
    until_state(&pool, south, State::Done).await;
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_method_that_rests_blocks_the_kinds_that_use_it(pool: PgPool) {
    let later = utc_now() + Duration::from_secs(3600);
    let mut conn = pool.acquire().await.unwrap();
    rest(&mut conn, 1, "search", later, "flood").await.unwrap();
    rest(&mut conn, 2, "*", later, "away").await.unwrap();
    rest(&mut conn, 3, "other", later, "by its name").await.unwrap();
    rest(&mut conn, 4, "unused", later, "nobody's").await.unwrap();
    drop(conn);
    let at = |kind: &str, partition| job(kind).partition(partition);
    let jobs =
        [at("work", 1), at("work", 2), at("other", 2), at("other", 3), at("other", 1), at("work", 3), at("work", 4), job("work")];
    let ids: Vec<i64> = add_all(&pool, &jobs).await.iter().map(Enqueued::id).collect();
    let live = ending(&pool, config("rests"));
    for id in &ids[4..] {
        until_state(&pool, *id, State::Done).await;
    }
    passed_over(&pool, &ids[..4], at("other", 1)).await;
    sqlx::query("update partition_rest set until = now()").execute(&pool).await.unwrap();
    for id in &ids[..4] {
        until_state(&pool, *id, State::Done).await;
    }
    live.stop().await;
    at_rest(&pool).await;
}
