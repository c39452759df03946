//! What `scripts/bench queue` asks of this crate: one mode, one line of JSON. DATABASE_URL names an empty database.

#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock itself")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use clap::{Parser, ValueEnum};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use telekeep_queue::{Job, MIGRATOR, NewJob, Outcome, Policy, Worker, WorkerConfig, enqueue, finish, rest};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Jobs that are enqueued in one transaction.
const CHUNK: usize = 10_000;
/// Without progress for so long, the measurement has failed.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// Jobs/s of jobs that do nothing, settled in groups.
    Noop,
    /// Jobs/s of jobs that write one row in a fenced transaction, which also ends them.
    Write,
    /// Jobs/s enqueued.
    Enqueue,
    /// From before the call of enqueue to the first line of the work.
    Latency,
    /// Claims and memory with many jobs queued, nine tenths of which may not start.
    Backlog,
}

#[derive(Debug, Parser)]
struct Arguments {
    mode: Mode,
    #[arg(long)]
    jobs: usize,
    #[arg(long, default_value_t = 100)]
    workers: usize,
    /// Of the caller's pool; the worker has its own
    #[arg(long, default_value_t = 10)]
    connections: u32,
    #[arg(long, default_value_t = 100)]
    partitions: i64,
    #[arg(long, default_value_t = 20)]
    gap_ms: u64,
    /// Each job has a unique key
    #[arg(long)]
    unique: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let claims = Arc::new(Mutex::new(Vec::new()));
    tracing_subscriber::registry().with(ClaimTimes(claims.clone())).init();
    let arguments = Arguments::parse();
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set")?;
    let pool = PgPoolOptions::new().max_connections(arguments.connections).test_before_acquire(false).connect(&url).await?;
    MIGRATOR.run(&pool).await?;
    let told = match arguments.mode {
        Mode::Noop | Mode::Write => throughput(&pool, &arguments).await?,
        Mode::Enqueue => enqueueing(&pool, &arguments).await?,
        Mode::Latency => latency(&pool, &arguments).await?,
        Mode::Backlog => backlog(&pool, &arguments, &claims).await?,
    };
    println!("{told}");
    Ok(())
}

fn job(n: usize, arguments: &Arguments) -> NewJob {
    let place = i64::try_from(n).unwrap_or(0);
    let job = NewJob::new("work", json!({ "n": n })).partition(1 + place % arguments.partitions);
    if arguments.unique { job.unique_key(n.to_string()) } else { job }
}

async fn add(pool: &PgPool, jobs: &[NewJob]) -> Result<(), telekeep_queue::Error> {
    for chunk in jobs.chunks(CHUNK) {
        let mut tx = pool.begin().await?;
        let (_, wake) = enqueue(&mut tx, chunk).await?;
        tx.commit().await?;
        wake.fire(pool).await;
    }
    Ok(())
}

fn worker(pool: &PgPool, arguments: &Arguments) -> Worker {
    let per_partition = i32::try_from(arguments.workers).unwrap_or(i32::MAX).max(1);
    Worker::new(pool.clone(), WorkerConfig { concurrency: arguments.workers, per_partition, ..WorkerConfig::new("measure") })
}

async fn throughput(pool: &PgPool, arguments: &Arguments) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    sqlx::query("create table effect (job_id bigint primary key)").execute(pool).await?;
    let jobs: Vec<NewJob> = (0..arguments.jobs).map(|n| job(n, arguments)).collect();
    add(pool, &jobs).await?;
    drop(jobs);
    // as the peers do: the planner knows what was put there
    sqlx::query("analyze").execute(pool).await?;
    let writes = matches!(arguments.mode, Mode::Write);
    let left = Arc::new(AtomicI64::new(i64::try_from(arguments.jobs)?));
    let shutdown = CancellationToken::new();
    let work = {
        let (pool, left) = (pool.clone(), left.clone());
        move |job: Job| {
            let (pool, left) = (pool.clone(), left.clone());
            async move {
                if writes && let Err(error) = write(&pool, &job).await {
                    return Outcome::Retry { error: error.to_string() };
                }
                left.fetch_sub(1, Ordering::Relaxed);
                Outcome::Done
            }
        }
    };
    let begun = Instant::now();
    let running = tokio::spawn(worker(pool, arguments).register("work", Policy::DEFAULT, work).run(shutdown.clone()));
    // What counts is what is committed: asked for once all work was begun.
    loop {
        if left.load(Ordering::Relaxed) <= 0 {
            let open: bool = sqlx::query_scalar("select exists (select from job where state <> 'done')").fetch_one(pool).await?;
            if !open {
                break;
            }
        }
        if begun.elapsed() > PATIENCE {
            return Err("not done in time".into());
        }
        sleep(Duration::from_millis(5)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    shutdown.cancel();
    running.await??;
    let (done, logged): (i64, i64) =
        sqlx::query_as("select (select count(*) from job where state = 'done'), (select count(*) from job_attempt)")
            .fetch_one(pool)
            .await?;
    let effects: i64 = sqlx::query_scalar("select count(*) from effect").fetch_one(pool).await?;
    let all = i64::try_from(arguments.jobs)?;
    if done != all || logged != all || (writes && effects != all) {
        return Err(format!("{done} done, {logged} logged, {effects} effects of {all}").into());
    }
    Ok(json!({ "jobs": all, "seconds": seconds, "jobs_per_s": arguments.jobs as f64 / seconds,
               "workers": arguments.workers, "connections": arguments.connections }))
}

async fn write(pool: &PgPool, job: &Job) -> Result<(), telekeep_queue::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("insert into effect (job_id) values ($1)").bind(job.id).execute(&mut *tx).await?;
    finish(&mut tx, job.token).await?;
    tx.commit().await?;
    Ok(())
}

async fn enqueueing(pool: &PgPool, arguments: &Arguments) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    let jobs: Vec<NewJob> = (0..arguments.jobs).map(|n| job(n, arguments)).collect();
    let begun = Instant::now();
    add(pool, &jobs).await?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "jobs": arguments.jobs, "seconds": seconds, "jobs_per_s": arguments.jobs as f64 / seconds }))
}

async fn latency(pool: &PgPool, arguments: &Arguments) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    const WARM_UP: usize = 20;
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let work = move |_: Job| {
        let now = Instant::now();
        let heard = heard.clone();
        async move {
            let _ = heard.send(now);
            Outcome::Done
        }
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(worker(pool, arguments).register("work", Policy::DEFAULT, work).run(shutdown.clone()));
    sleep(Duration::from_secs(1)).await;
    let mut times = Vec::new();
    for n in 0..arguments.jobs + WARM_UP {
        let begun = Instant::now();
        // one statement, its own transaction
        let (_, wake) = enqueue(&mut *pool.acquire().await?, &[job(n, arguments)]).await?;
        wake.fire(pool).await;
        let at = tokio::time::timeout(PATIENCE, hears.recv()).await?.ok_or("the worker ended")?;
        if n >= WARM_UP {
            times.push(at.saturating_duration_since(begun).as_secs_f64() * 1000.0);
        }
        sleep(Duration::from_millis(arguments.gap_ms)).await;
    }
    shutdown.cancel();
    running.await??;
    Ok(json!({ "jobs": times.len(), "p50_ms": percentile(&mut times, 0.5), "p99_ms": percentile(&mut times, 0.99) }))
}

/// A tenth may start; half of the rest is for later, half in partitions that rest.
async fn backlog(
    pool: &PgPool,
    arguments: &Arguments,
    claims: &Mutex<Vec<f64>>,
) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    let later = Utc::now() + TimeDelta::hours(6);
    let mut conn = pool.acquire().await?;
    for n in 0..arguments.partitions {
        rest(&mut conn, 1_000_000 + n, "*", later, "measured").await?;
    }
    drop(conn);
    for from in (0..arguments.jobs).step_by(CHUNK) {
        let jobs: Vec<NewJob> = (from..(from + CHUNK).min(arguments.jobs))
            .map(|n| match n % 20 {
                0 | 1 => job(n, arguments),
                2..=10 => job(n, arguments).run_at(later),
                _ => NewJob::new("work", json!({ "n": n }))
                    .partition(1_000_000 + i64::try_from(n).unwrap_or(0) % arguments.partitions),
            })
            .collect();
        add(pool, &jobs).await?;
    }
    let may_start = arguments.jobs / 10;
    let left = Arc::new(AtomicI64::new(i64::try_from(may_start)?));
    let shutdown = CancellationToken::new();
    let work = {
        let left = left.clone();
        move |_: Job| {
            left.fetch_sub(1, Ordering::Relaxed);
            async { Outcome::Done }
        }
    };
    let begun = Instant::now();
    let running = tokio::spawn(worker(pool, arguments).register("work", Policy::DEFAULT, work).run(shutdown.clone()));
    while left.load(Ordering::Relaxed) > 0 {
        if begun.elapsed() > PATIENCE {
            return Err("not done in time".into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    shutdown.cancel();
    running.await??;
    let mut times = claims.lock().map_err(|_| "poisoned")?.clone();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
        .ok_or("no VmHWM in /proc/self/status")?;
    Ok(json!({ "jobs": arguments.jobs, "started": may_start, "jobs_per_s": may_start as f64 / seconds, "claims": times.len(),
               "claim_p50_ms": percentile(&mut times, 0.5), "claim_p99_ms": percentile(&mut times, 0.99), "rss_mib": kib / 1024.0 }))
}

fn percentile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let place = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
    times.get(place).copied().unwrap_or(f64::NAN)
}

/// Keeps how long each claim took, as the crate tells it.
struct ClaimTimes(Arc<Mutex<Vec<f64>>>);

impl<S: tracing::Subscriber> Layer<S> for ClaimTimes {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "telekeep_queue::claim" {
            event.record(&mut Milliseconds(&self.0));
        }
    }
}

struct Milliseconds<'a>(&'a Mutex<Vec<f64>>);

impl Visit for Milliseconds<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "claim.ms"
            && let Ok(mut times) = self.0.lock()
        {
            times.push(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
