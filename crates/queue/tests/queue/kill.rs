//! Real processes, really killed: the test binary runs itself as a worker.

use std::process::Stdio;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, PgPool};
use telekeep_queue::{Job, Outcome, Policy, State, Worker, counts, fence, finish};
use tokio::process::{Child, Command};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::*;

const URL: &str = "QUEUE_TEST_WORKER_URL";
const JOBS: i64 = 1000;

/// Not a test: the worker process of the tests below. Each job adds one row in its fenced transaction.
#[tokio::test]
#[ignore = "run by the tests below, as a process of its own"]
async fn worker_process() {
    let Ok(url) = std::env::var(URL) else { return };
    let pool = PgPoolOptions::new().max_connections(8).connect(&url).await.unwrap();
    let inner = pool.clone();
    let policy = Policy { max_crashes: 1000, max_failures: 1000, ..QUICK };
    let config = WorkerConfig { concurrency: 8, per_partition: 4, ..config("victim") };
    Worker::new(pool, config)
        .register("effect", policy, move |job: Job| {
            let pool = inner.clone();
            async move {
                match effect(&pool, &job).await {
                    Ok(()) => Outcome::Done,
                    Err(error) => Outcome::Retry { error: error.to_string() },
                }
            }
        })
        .run(CancellationToken::new())
        .await
        .unwrap();
}

/// Adds the job's row and ends the job, in one commit.
async fn effect(pool: &PgPool, job: &Job) -> Result<(), telekeep_queue::Error> {
    let mut tx = pool.begin().await?;
    fence(&mut tx, job.token).await?;
    sqlx::query("insert into effect (job, attempt) values ($1, $2)").bind(job.id).bind(job.attempt).execute(&mut *tx).await?;
    sleep(Duration::from_millis(5)).await;
    finish(&mut tx, job.token).await?;
    tx.commit().await?;
    Ok(())
}

fn spawn(url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::worker_process", "--ignored", "--nocapture"])
        .env(URL, url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Runs the jobs on three processes, with `harm` done to one of them every 300 ms, and looks at what is left.
async fn survives(pool: &PgPool, times: usize, mut harm: impl AsyncFnMut(&PgPool, &mut Child, &str)) -> i64 {
    // no unique constraint: a doubled effect must show
    sqlx::query("create table effect (job bigint not null, attempt int not null)").execute(pool).await.unwrap();
    let url = pool.connect_options().to_url_lossy().to_string();
    let jobs: Vec<_> = (0..JOBS).map(|n| job("effect").partition(n % 5)).collect();
    add_all(pool, &jobs).await;
    let mut children = vec![spawn(&url), spawn(&url), spawn(&url)];
    let mut harmed = 0;
    let deadline = now() + Duration::from_secs(120);
    loop {
        let state = counts(pool).await.unwrap();
        if state == [("effect".to_owned(), State::Done, JOBS)] {
            break;
        }
        assert!(now() < deadline, "{state:?} after {harmed} times");
        sleep(Duration::from_millis(300)).await;
        if harmed < times {
            let victim = harmed % children.len();
            harm(pool, &mut children[victim], &url).await;
            harmed += 1;
        }
    }
    for mut child in children {
        child.kill().await.unwrap();
    }
    let (rows, distinct): (i64, i64) =
        sqlx::query_as("select count(*), count(distinct job) from effect").fetch_one(pool).await.unwrap();
    let (starts, expired): (i64, i64) =
        sqlx::query_as("select count(*), count(*) filter (where outcome = 'lease_expired') from job_attempt")
            .fetch_one(pool)
            .await
            .unwrap();
    println!("{JOBS} jobs, harmed {harmed} times, {starts} starts, {expired} of them lost with their lease");
    assert_eq!((rows, distinct), (JOBS, JOBS));
    assert_eq!(ends(pool).await.len(), 1000);
    at_rest(pool).await;
    expired
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn nothing_is_lost_or_doubled_under_sigkill(pool: PgPool) {
    let expired = survives(&pool, 12, async |_, child, url| {
        child.kill().await.unwrap();
        *child = spawn(url);
    })
    .await;
    assert!(expired > 0, "no kill hit a running job: the test shows nothing");
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn nothing_is_lost_or_doubled_when_a_process_is_stopped_past_its_lease(pool: PgPool) {
    let expired = survives(&pool, 4, async |_, child, _| {
        signal(child, "STOP").await;
        sleep(Duration::from_secs(2)).await;
        signal(child, "CONT").await;
    })
    .await;
    assert!(expired > 0, "no stop outlasted a running job's lease: the test shows nothing");
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn nothing_is_lost_or_doubled_when_connections_are_cut(pool: PgPool) {
    survives(&pool, 8, async |pool, _, _| {
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .execute(pool)
        .await
        .unwrap();
    })
    .await;
}

/// Signals the process of a child that this test started.
async fn signal(child: &Child, name: &str) {
    let pid = child.id().expect("a child that runs").to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().await.unwrap().success());
}
