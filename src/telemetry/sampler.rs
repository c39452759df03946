//! Reads what the record knows into gauges: one process at a time for all nodes, however often somebody asks for the metrics.

use std::time::Duration;

use sqlx::PgPool;
use telekeep_queue as queue;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::seldom::Seldom;
use super::{metrics, process};
use crate::record::{self, gauge, health, health::Fares, node, reconcile, turn};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// One who has the turn and is silent for so long has lost it.
const PATIENCE: Duration = Duration::from_secs(25);
/// The states of accounts and sinks: the one that holds is 1.
const FARES: [Fares; 5] = [Fares::Active, Fares::Flooded, Fares::Limited, Fares::Held, Fares::Lost];
const SINK_STATES: [&str; 3] = ["active", "waiting", "held"];

/// Samples until told to stop. A database that is away is waited for, told once.
pub async fn run(pool: PgPool, shutdown: CancellationToken) {
    let holder = Uuid::new_v4();
    let mut sampler = Sampler::default();
    let mut told = String::new();
    loop {
        process::sample(&pool);
        metrics::fold();
        let now = match sampler.round(&pool, holder).await {
            Ok(()) => String::new(),
            Err(error) => crate::error::chain(&error),
        };
        if !now.is_empty() && now != told {
            tracing::warn!("metrics of the record are not read: {now}");
        }
        told = now;
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    if let Ok(mut conn) = pool.acquire().await {
        let _ = turn::give_back(&mut conn, TURN, holder).await;
    }
}

const TURN: &str = "sampler";

/// What is read seldom is told again from here meanwhile.
#[derive(Default)]
struct Sampler {
    backlogs: Seldom<Vec<gauge::Backlog>>,
    lacking: Seldom<(Vec<reconcile::Lacking>, i64)>,
    files: Seldom<(Vec<(String, i64)>, i64)>,
    /// States that were told once: none of them stays as it was when its last row went.
    jobs: Vec<(String, queue::State)>,
    partitions: Vec<i64>,
}

impl Sampler {
    async fn round(&mut self, pool: &PgPool, holder: Uuid) -> Result<(), record::Error> {
        let mut conn = pool.acquire().await?;
        if !turn::take(&mut conn, TURN, holder, PATIENCE).await? {
            *self = Self::default();
            return Ok(());
        }
        drop(conn);
        self.jobs(pool).await.map_err(|error| match error {
            queue::Error::Database(error) => error,
            other => sqlx::Error::Protocol(other.to_string()),
        })?;
        self.accounts(pool).await?;
        self.documents(pool).await
    }

    async fn jobs(&mut self, pool: &PgPool) -> Result<(), queue::Error> {
        let counts = queue::counts(pool).await?;
        for (kind, state) in &self.jobs {
            if !counts.iter().any(|(k, s, _)| k == kind && s == state) {
                metrics::JOBS.set(0.0, &[kind, state.as_str()]);
            }
        }
        for (kind, state, count) in counts {
            metrics::JOBS.set(number(count), &[&kind, state.as_str()]);
            if !self.jobs.contains(&(kind.clone(), state)) {
                self.jobs.push((kind, state));
            }
        }
        let waits = queue::waits(pool).await?;
        metrics::JOBS_OLDEST.set(waits.first().map_or(0.0, |wait| wait.seconds), &[]);
        for partition in &self.partitions {
            if !waits.iter().any(|wait| wait.partition == *partition) {
                metrics::PARTITION_WAIT.set(0.0, &[&partition.to_string()]);
            }
        }
        for wait in &waits {
            metrics::PARTITION_WAIT.set(wait.seconds, &[&wait.partition.to_string()]);
            if !self.partitions.contains(&wait.partition) {
                self.partitions.push(wait.partition);
            }
        }
        Ok(())
    }

    async fn accounts(&mut self, pool: &PgPool) -> Result<(), record::Error> {
        let mut conn = pool.acquire().await?;
        for account in health::list(&mut conn, None).await? {
            for state in FARES {
                let is = f64::from(u8::from(account.state == state));
                metrics::ACCOUNT_STATE.set(is, &[&account.id.0.to_string(), state.as_str()]);
            }
        }
        drop(conn);
        let nodes = node::list(pool).await?;
        for state in ["works", "draining", "command", "silent"] {
            metrics::NODES.set(nodes.iter().filter(|node| node.state == state).count() as f64, &[state]);
        }
        let mut held = std::collections::BTreeMap::<&str, usize>::new();
        for node in nodes.iter().filter(|node| matches!(node.state.as_str(), "works" | "draining" | "silent")) {
            *held.entry(&node.name).or_default() += node.accounts.len();
        }
        for (name, count) in held {
            metrics::ACCOUNTS_HELD.set(count as f64, &[name]);
        }
        Ok(())
    }

    async fn documents(&mut self, pool: &PgPool) -> Result<(), record::Error> {
        let mut conn = pool.acquire().await?;
        for sink in gauge::sinks(&mut conn).await? {
            for state in SINK_STATES {
                metrics::SINK_STATE.set(f64::from(u8::from(sink.state == state)), &[&sink.sink, state]);
            }
            metrics::DEAD_LETTERS.set(number(sink.dead_letters), &[&sink.sink]);
        }
        for backlog in self.backlogs.read(async || gauge::backlogs(&mut conn).await).await?.into_iter().flatten() {
            metrics::OUTBOX.set(number(backlog.entries), &[&backlog.sink]);
            metrics::OUTBOX_OLDEST.set(backlog.oldest_s, &[&backlog.sink]);
        }
        metrics::WATCHED.set(number(gauge::watched(&mut conn).await?), &[]);
        let lacking = async || {
            let lacking = reconcile::lacking(&mut conn).await?;
            Ok::<_, record::Error>((lacking, gauge::raw(&mut conn).await?))
        };
        if let Some((lacking, raw)) = self.lacking.read(lacking).await? {
            let sum = |of: fn(&reconcile::Lacking) -> i64| number(lacking.iter().map(of).sum());
            metrics::COVERAGE.set(sum(|it| it.missing), &["missing"]);
            metrics::COVERAGE.set(sum(|it| it.stale), &["stale"]);
            metrics::COVERAGE.set(sum(|it| it.revisit), &["revisit"]);
            metrics::COVERAGE.set(number(*raw), &["dead"]);
            metrics::CHATS_INCOMPLETE.set(lacking.iter().filter(|it| it.missing + it.stale > 0).count() as f64, &[]);
        }
        let files = async || Ok::<_, sqlx::Error>((gauge::files(&mut conn).await?, gauge::stored_bytes(&mut conn).await?));
        if let Some((files, stored)) = self.files.read(files).await? {
            for (state, count) in files {
                metrics::FILES.set(number(*count), &[state]);
            }
            metrics::STORE_BYTES.set(number(*stored), &[]);
        }
        for (rule, count) in record::alert::open_by_rule(&mut conn).await? {
            metrics::ALERTS.set(number(count), &[&rule]);
        }
        Ok(())
    }
}

fn number(count: i64) -> f64 {
    count as f64
}
