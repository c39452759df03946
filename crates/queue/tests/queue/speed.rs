//! A figure, not a test.

use std::time::Duration;

use sqlx::PgPool;
use telekeep_queue::{Outcome, State, Worker, counts};
use tokio::time::sleep;

use crate::*;

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
#[ignore = "prints a figure"]
async fn no_op_jobs_per_second(pool: PgPool) {
    let jobs: Vec<_> = (0..10_000).map(|n| job("work").partition(1 + n % 100)).collect();
    let began = now();
    add_all(&pool, &jobs).await;
    println!("enqueued {:.0} jobs/s", 10_000.0 / began.elapsed().as_secs_f64());
    let wide = WorkerConfig { concurrency: 64, per_partition: 10, ..config("wide") };
    let began = now();
    let live = Live::start(Worker::new(pool.clone(), wide).register("work", QUICK, |_| async { Outcome::Done }));
    while counts(&pool).await.unwrap() != [("work".to_owned(), State::Done, 10_000)] {
        assert!(began.elapsed() < Duration::from_secs(120));
        sleep(Duration::from_millis(50)).await;
    }
    println!("ran {:.0} jobs/s", 10_000.0 / began.elapsed().as_secs_f64());
    live.stop().await;
}
