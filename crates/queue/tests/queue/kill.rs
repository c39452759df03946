//! Real processes, really killed, on a Postgres of their own that is killed as well.
//!
//! The test binary runs itself as the workers. The short form is a test like any other; `scripts/chaos queue` is the
//! long one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use telekeep_queue::{Job, MIGRATOR, NewJob, Outcome, Policy, Worker, WorkerConfig, enqueue, fence, finish};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::*;

const URL: &str = "QUEUE_CHAOS_WORKER";
const WORKERS: usize = 3;
const JOBS: i64 = 20_000;
/// Jobs enqueued in one transaction, and how many may wait.
const CHUNK: i64 = 500;
const WAITING: i64 = 3000;
const CONCURRENCY: u32 = 16;
const PER_PARTITION: i32 = 6;
const LEASE: Duration = Duration::from_secs(2);
/// Without one more job done for so long, what is left is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Not a test: the worker process of the tests below. Each job adds one row in the transaction that ends it.
#[tokio::test]
#[ignore = "run by the tests below, as a process of its own"]
async fn worker_process() {
    let Ok(url) = std::env::var(URL) else { return };
    // no worker outlives the test, however that ends
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let pool = PgPoolOptions::new().max_connections(CONCURRENCY).connect_lazy(&url).unwrap();
    let inner = pool.clone();
    let policy = Policy { max_crashes: 1000, max_failures: 1000, ..QUICK };
    let config = WorkerConfig {
        concurrency: CONCURRENCY as usize,
        per_partition: PER_PARTITION,
        lease: LEASE,
        heartbeat: LEASE / 4,
        ..WorkerConfig::new("victim")
    };
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

/// Adds the job's row and ends the job, in one commit. Every other job leaves the fencing to its end.
async fn effect(pool: &PgPool, job: &Job) -> Result<(), telekeep_queue::Error> {
    let n = job.payload["n"].as_i64();
    let mut tx = pool.begin().await?;
    if job.id % 2 == 0 {
        fence(&mut tx, job.token).await?;
    }
    sqlx::query("insert into effect (n, job, attempt) values ($1, $2, $3)")
        .bind(n)
        .bind(job.id)
        .bind(job.attempt)
        .execute(&mut *tx)
        .await?;
    sleep(Duration::from_millis(5)).await;
    finish(&mut tx, job.token).await?;
    tx.commit().await?;
    Ok(())
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_under_random_faults() {
    survive(12, rand::random::<u32>().into()).await;
}

#[tokio::test]
#[ignore = "takes minutes: scripts/chaos queue"]
async fn nothing_is_lost_or_doubled_under_many_random_faults() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let faults = number("QUEUE_CHAOS_KILLS").unwrap_or(100);
    survive(usize::try_from(faults).unwrap(), number("QUEUE_CHAOS_SEED").unwrap_or_else(|| rand::random::<u32>().into())).await;
}

/// A Postgres server of this test's own.
///
/// A shell keeps it, with the scripts of this repository, and ends it when its input does: also if the test is killed.
struct Server {
    keeper: std::process::Child,
    orders: Option<std::process::ChildStdin>,
    answers: BufReader<std::process::ChildStdout>,
}

impl Server {
    const KEEPER: &str = r#"
        set -euo pipefail
        source "$1/place.sh"
        source "$1/packages.sh"
        source "$1/postgres.sh"
        script=chaos
        folder=$(mktemp -d "${TMPDIR:-/tmp}/telekeep-chaos.XXXXXX")
        chmod 711 "$folder"
        state=$folder run=$folder/run
        mkdir "$run"
        printf '%s\n' "$folder/data" >"$run/data"
        halt() {
            as_service "$(postgres_programs)/pg_ctl" stop -s -w -m immediate -D "$data/postgres" </dev/null
        }
        clear_up() {
            ! recorded_process postgres >/dev/null || halt || true
            rm -rf "$state"
        }
        trap clear_up EXIT
        prepare_data
        while read -r order; do
            case $order in
            start) start_postgres </dev/null ;;
            halt) halt && echo halted ;;
            esac
        done
    "#;

    fn start() -> (Self, String) {
        let mut keeper = std::process::Command::new("bash")
            .args(["-c", Self::KEEPER, "chaos", concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/services")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // an interrupt at the terminal is not for it: it clears up after those it is for
            .process_group(0)
            .spawn()
            .expect("bash keeps the test's Postgres");
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let mut server = Server { orders: keeper.stdin.take(), answers, keeper };
        let url = server.order("start");
        (server, url)
    }

    fn order(&mut self, order: &str) -> String {
        let _ = writeln!(self.orders.as_mut().unwrap(), "{order}");
        let mut answer = String::new();
        if self.answers.read_line(&mut answer).unwrap() == 0 {
            let mut why = String::new();
            let _ = self.keeper.stderr.take().unwrap().read_to_string(&mut why);
            panic!("this test needs a Postgres of its own (initdb, pg_ctl), and could not {order} it:\n{why}");
        }
        answer.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.keeper.wait();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// SIGKILL of a worker; a new one starts.
    WorkerKilled,
    /// SIGSTOP of a worker for longer than its lease, then SIGCONT.
    WorkerStopped,
    /// `pg_ctl stop -m immediate`, and start: recovery from the log.
    PostgresStopped,
    /// `pg_terminate_backend` of every connection.
    ConnectionsCut,
}

impl Fault {
    /// Half of them kills of workers, and as many of each of the others; in random order.
    fn deck(faults: usize, random: &mut StdRng) -> Vec<Fault> {
        use Fault::{ConnectionsCut, PostgresStopped, WorkerKilled, WorkerStopped};
        let round = [WorkerKilled, WorkerStopped, WorkerKilled, PostgresStopped, WorkerKilled, ConnectionsCut];
        let mut deck: Vec<_> = round.into_iter().cycle().take(faults).collect();
        deck.shuffle(random);
        deck
    }
}

struct Victim {
    child: Child,
    stopped_until: Option<Instant>,
}

impl Victim {
    fn start(url: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::worker_process", "--ignored", "--nocapture"])
            .env(URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Victim { child, stopped_until: None }
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("a child that runs")
    }

    /// A shell lets it go on, also if the test is killed meanwhile.
    fn stop(&mut self, time: Duration) {
        let pid = self.pid();
        let script = format!("kill -STOP {pid}; sleep {}; kill -CONT {pid}", time.as_secs_f64());
        Command::new("bash").args(["-c", &script]).process_group(0).stderr(Stdio::null()).spawn().unwrap();
        self.stopped_until = Some(now() + time);
    }
}

/// Worker processes on a server of their own, and what was done to them.
struct Chaos {
    server: Server,
    url: String,
    pool: PgPool,
    victims: Vec<Victim>,
    enqueued: i64,
    done: i64,
    /// Most jobs of one partition that were seen running at once.
    widest: i64,
    kinds: BTreeMap<Fault, usize>,
    /// Processes that were killed or stopped, and when.
    harmed: Vec<(u32, DateTime<Utc>)>,
}

/// Runs jobs while faults happen to their workers and their Postgres, and looks at what is left.
async fn survive(faults: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut deck = Fault::deck(faults, &mut random);
    eprintln!("{faults} faults, seed {seed}");
    let (server, url) = Server::start();
    let pool = PgPoolOptions::new().max_connections(4).connect(&url).await.unwrap();
    MIGRATOR.run(&pool).await.unwrap();
    // no unique constraint: a doubled effect must show
    sqlx::raw_sql(
        "create table effect (n bigint not null, job bigint not null, attempt int not null);
         create table chunk (first bigint primary key)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let victims = (0..WORKERS).map(|_| Victim::start(&url)).collect();
    let mut chaos =
        Chaos { server, url, pool, victims, enqueued: 0, done: 0, widest: 0, kinds: BTreeMap::new(), harmed: Vec::new() };
    let begun = now();
    let (mut progressed, mut told) = (begun, begun);
    let mut next = begun + Duration::from_secs(2);
    loop {
        chaos.check_workers();
        let before = chaos.done;
        // while Postgres starts or connections are cut this fails, and is done again in the next round
        let _ = chaos.look().await;
        if chaos.enqueued - chaos.done < WAITING && (chaos.enqueued < JOBS || !deck.is_empty()) {
            let _ = chaos.feed().await;
        }
        if chaos.done > before {
            progressed = now();
        }
        if deck.is_empty() && chaos.enqueued >= JOBS && chaos.done == chaos.enqueued {
            break;
        }
        if progressed.elapsed() > PATIENCE {
            eprintln!("no job was done for {PATIENCE:?}: {} of {} are", chaos.done, chaos.enqueued);
            break;
        }
        if now() >= next
            && let Some(fault) = deck.pop()
        {
            if !chaos.inflict(fault, &mut random).await {
                deck.push(fault);
            }
            next = now() + Duration::from_millis(random.random_range(200..2000));
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = now();
            let (seconds, left) = (begun.elapsed().as_secs(), deck.len());
            eprintln!("{seconds:4} s: {} of {} jobs done, {} of {faults} faults", chaos.done, chaos.enqueued, faults - left);
        }
        sleep(Duration::from_millis(100)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    for victim in &mut chaos.victims {
        victim.child.kill().await.unwrap();
    }
    chaos.judge(seconds, seed).await;
}

impl Chaos {
    /// No worker may end by itself, whatever happens to its Postgres.
    fn check_workers(&mut self) {
        for victim in &mut self.victims {
            if victim.stopped_until.is_some_and(|until| until <= now()) {
                victim.stopped_until = None;
            }
            let ended = victim.child.try_wait().unwrap();
            assert!(ended.is_none(), "a worker ended by itself: {ended:?}");
        }
    }

    async fn look(&mut self) -> Result<(), sqlx::Error> {
        (self.done, self.widest) = sqlx::query_as(
            "select (select count(*) from job_finished),
                    greatest($1, (select max(n) from (select count(*) as n from job where state = 'running' and partition <> 0
                                                      group by partition) p))",
        )
        .bind(self.widest)
        .fetch_one(&self.pool)
        .await?;
        Ok(())
    }

    /// Enqueues one chunk more, once, even if the answer to the commit is lost: the chunk's row is in the same commit.
    async fn feed(&mut self) -> Result<(), telekeep_queue::Error> {
        let first = self.enqueued;
        let mut tx = self.pool.begin().await?;
        let new = sqlx::query("insert into chunk values ($1) on conflict do nothing").bind(first).execute(&mut *tx).await?;
        if new.rows_affected() == 1 {
            let jobs: Vec<_> = (first..first + CHUNK).map(|n| NewJob::new("effect", json!({ "n": n })).partition(n % 8)).collect();
            let (_, wake) = enqueue(&mut tx, &jobs).await?;
            tx.commit().await?;
            wake.fire(&self.pool).await;
        }
        self.enqueued += CHUNK;
        Ok(())
    }

    /// False if it cannot happen now.
    async fn inflict(&mut self, fault: Fault, random: &mut StdRng) -> bool {
        let mut awake: Vec<_> = self.victims.iter_mut().filter(|victim| victim.stopped_until.is_none()).collect();
        let place = random.random_range(0..WORKERS) % awake.len().max(1);
        match fault {
            Fault::WorkerKilled | Fault::WorkerStopped => {
                // one is left to go on
                if awake.len() < 2 {
                    return false;
                }
                let victim = awake.swap_remove(place);
                let (pid, at) = (victim.pid(), utc_now());
                if fault == Fault::WorkerKilled {
                    victim.child.kill().await.unwrap();
                    *victim = Victim::start(&self.url);
                } else {
                    victim.stop(LEASE.mul_f64(random.random_range(1.2..2.5)));
                }
                self.harmed.push((pid, at));
            }
            Fault::PostgresStopped => {
                self.server.order("halt");
                self.server.order("start");
            }
            Fault::ConnectionsCut => {
                let cut = sqlx::query(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                     where backend_type = 'client backend' and pid <> pg_backend_pid()",
                );
                if cut.execute(&self.pool).await.is_err() {
                    return false;
                }
            }
        }
        *self.kinds.entry(fault).or_default() += 1;
        true
    }

    /// What became of the jobs: figures first, so that a loss is told with all that is known of it.
    async fn judge(&self, seconds: f64, seed: u64) {
        let pool = &self.pool;
        let jobs = self.enqueued;
        let (rows, distinct): (i64, i64) =
            sqlx::query_as("select count(*), count(distinct n) from effect").fetch_one(pool).await.unwrap();
        let (stored, open): (i64, i64) =
            sqlx::query_as("select count(*), count(*) filter (where state <> 'done') from job").fetch_one(pool).await.unwrap();
        let (starts, expired): (i64, i64) =
            sqlx::query_as("select count(*), count(*) filter (where outcome = 'lease_expired') from job_attempt")
                .fetch_one(pool)
                .await
                .unwrap();
        let standstill: f64 = sqlx::query_scalar(
            "select coalesce(max(extract(epoch from gap)), 0)::float8
             from (select finished_at - lag(finished_at) over (order by finished_at) as gap from job) gaps",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        // from the fault to the next start of each job that it cost its lease
        let mut recovery = 0.0_f64;
        for (pid, at) in &self.harmed {
            // one machine: the test's clock is the server's
            let slowest: Option<f64> = sqlx::query_scalar(
                "select max(extract(epoch from again.started_at - $2))::float8
                 from job_attempt a join job_attempt again on again.job = a.job and again.attempt = a.attempt + 1
                 where a.node like '%/' || $1 and a.outcome = 'lease_expired' and a.started_at < $2 and a.finished_at > $2",
            )
            .bind(pid.to_string())
            .bind(at)
            .fetch_one(pool)
            .await
            .unwrap();
            recovery = recovery.max(slowest.unwrap_or(0.0));
        }
        let (lost, doubled) = (jobs - distinct, rows - distinct);
        let kills = |fault| self.kinds.get(&fault).copied().unwrap_or(0);
        let figures = json!({
            "workers_killed": kills(Fault::WorkerKilled), "workers_stopped": kills(Fault::WorkerStopped),
            "postgres_stopped": kills(Fault::PostgresStopped), "connections_cut": kills(Fault::ConnectionsCut),
            "jobs": jobs, "starts": starts, "leases_expired": expired, "lost": lost, "doubled": doubled, "unfinished": open,
            "longest_recovery_s": (recovery * 100.0).round() / 100.0,
            "longest_standstill_s": (standstill * 100.0).round() / 100.0,
            "seconds": seconds.round(), "seed": seed,
        });
        eprintln!("{figures}");
        if let Ok(file) = std::env::var("QUEUE_CHAOS_FIGURES") {
            std::fs::write(file, format!("{figures}\n")).unwrap();
        }
        assert_eq!((stored, open), (jobs, 0), "jobs, and those left unfinished");
        assert_eq!((lost, doubled), (0, 0), "effects lost and doubled");
        let (ended, once, by_their_end): (i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from job_finished where state = 'done'), (select count(distinct job) from job_finished),
                    (select count(*) from effect e join job_attempt a using (job, attempt) join job j on j.id = e.job
                     where a.outcome = 'done' and j.attempt = e.attempt and e.n = (j.payload->>'n')::bigint)",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        assert_eq!((ended, once), (jobs, jobs), "ends, and jobs that have one");
        assert_eq!(by_their_end, jobs, "effects of the start that ended its job as done");
        at_rest(pool).await;
        assert!(self.widest <= i64::from(PER_PARTITION), "{} of one partition ran at once", self.widest);
        assert!(self.harmed.is_empty() || expired > 0, "no fault hit a running job: the test shows nothing");
        assert!(recovery < 60.0, "a worker's jobs began again after {recovery:.1} s");
    }
}

/// `finish` needs no other fence, so it must bound a stopped process as `fence` does.
#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_transaction_that_finish_alone_fenced_cannot_be_held_for_ever(pool: PgPool) {
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let live = Live::start(Worker::new(pool.clone(), config("finishing")).register("work", QUICK, move |job: Job| {
        let _ = heard.send(job.token);
        async move {
            job.cancel.cancelled().await;
            Outcome::Done
        }
    }));
    add(&pool, job("work")).await;
    let token = hears.recv().await.unwrap();
    let limit = "select current_setting('idle_in_transaction_session_timeout')";
    let mut tx = pool.begin().await.unwrap();
    fence(&mut tx, token).await.unwrap();
    let fenced: String = sqlx::query_scalar(limit).fetch_one(&mut *tx).await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    finish(&mut tx, token).await.unwrap();
    let finished: String = sqlx::query_scalar(limit).fetch_one(&mut *tx).await.unwrap();
    tx.rollback().await.unwrap();
    live.stop().await;
    assert_eq!((fenced.as_str(), finished.as_str()), ("1min", "1min"));
}
