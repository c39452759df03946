//! The worker: registered kinds, run by apalis over [`PgBackend`](crate::PgBackend), drained cleanly.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{BoxDynError, Data, WorkerBuilder, WorkerError};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::incarnation::Incarnation;
use crate::{Error, Job, Outcome, PgBackend, Policy};

/// Connections of a worker's own, so that jobs that take all of the caller's pool cannot stop it. The heartbeat has
/// one more.
const CONNECTIONS: u32 = 6;
/// Every statement of a worker is some probes by key, and short: never a read of the whole table, nor worth compiling.
const PLANS: [(&str, &str); 4] =
    [("jit", "off"), ("enable_seqscan", "off"), ("enable_mergejoin", "off"), ("plan_cache_mode", "force_generic_plan")];
/// Between the end of the grace and the abort, for jobs that obey their token.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a worker runs.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Its name, for people; two processes may share it.
    pub name: String,
    /// Jobs at once.
    pub concurrency: usize,
    /// Jobs of one partition at once, over all workers. Partition 0 has no limit.
    pub per_partition: i32,
    /// A worker that has not been heard of for so long has lost its jobs.
    pub lease: Duration,
    /// How often it is heard of; at most a third of the lease.
    pub heartbeat: Duration,
    /// Claims also in partitions that are kept for this holder; see [`set_partition`](crate::set_partition).
    pub holder: Option<String>,
    /// Jobs that ended as done or cancelled are removed after so long, see [`remove_finished`](crate::remove_finished); none
    /// are without it.
    pub retention: Option<Duration>,
    /// How long running jobs may go on after the shutdown, and after a cancellation.
    pub grace: Duration,
}

impl WorkerConfig {
    /// Eight jobs at once, one a partition, leases of 30 s with heartbeats every 10 s, 20 s of grace; ended
    /// jobs are kept for a week.
    pub fn new(name: impl Into<String>) -> Self {
        WorkerConfig {
            name: name.into(),
            concurrency: 8,
            per_partition: 1,
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            holder: None,
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            grace: Duration::from_secs(20),
        }
    }
}

impl WorkerConfig {
    /// At least one job at once, and beats often enough for the lease.
    pub(crate) fn sane(mut self) -> Self {
        self.concurrency = self.concurrency.max(1);
        self.heartbeat = self.heartbeat.min(self.lease / 3);
        self
    }
}

/// Connections for the queue's own statements, on the database of a pool.
pub(crate) fn own_pool(pool: &PgPool) -> PgPool {
    few((*pool.connect_options()).clone().options(PLANS), CONNECTIONS)
}

/// One more of an [`own_pool`]'s, for the statements that follow one another: plans are kept by connection.
pub(crate) fn one_more(own: &PgPool) -> PgPool {
    few((*own.connect_options()).clone(), 1)
}

fn few(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        // whoever uses it tries again anyway, and a round trip before each statement is paid by each job
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

type Work = Arc<dyn Fn(Job) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// Runs jobs of the kinds registered with it, and claims no others.
pub struct Worker {
    pool: PgPool,
    config: WorkerConfig,
    kinds: HashMap<String, (Policy, Work)>,
    methods: Vec<(String, String)>,
}

impl Worker {
    /// A worker on the database of `pool`; it uses connections of its own.
    pub fn new(pool: PgPool, config: WorkerConfig) -> Self {
        Worker { pool, config, kinds: HashMap::new(), methods: Vec::new() }
    }

    /// Registers the work of a kind. A later registration of the same kind replaces the earlier.
    #[must_use]
    pub fn register<W, F>(mut self, kind: &'static str, policy: Policy, work: W) -> Self
    where
        W: Fn(Job) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let work: Work = Arc::new(move |job| work(job).boxed());
        self.kinds.insert(kind.to_owned(), (policy, work));
        self
    }

    /// Says which methods a kind uses: it does not start in a partition where one of them [rests](crate::rest).
    #[must_use]
    pub fn uses(mut self, kind: &'static str, methods: &[&str]) -> Self {
        self.methods.extend(methods.iter().map(|method| (kind.to_owned(), (*method).to_owned())));
        self
    }

    /// Works until `shutdown`: then claims nothing more, lets running jobs end within the grace, and hands back the
    /// rest. After a lost lease it goes on as a new incarnation.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        if self.kinds.is_empty() {
            return Err(Error::NoKinds(self.config.name));
        }
        self.config = self.config.sane();
        let own = own_pool(&self.pool);
        let ended = self.run_incarnations(&own, &shutdown).boxed().await;
        own.close().await;
        ended
    }

    async fn run_incarnations(&self, own: &PgPool, shutdown: &CancellationToken) -> Result<(), Error> {
        let policies: HashMap<String, Policy> = self.kinds.iter().map(|(kind, (policy, _))| (kind.clone(), *policy)).collect();
        while !shutdown.is_cancelled() {
            let mut tasks = JoinSet::new();
            match Incarnation::start(own.clone(), &self.config, policies.clone(), &self.methods, &mut tasks).await {
                Ok((incarnation, claims)) => {
                    let backend = PgBackend::live(claims, incarnation.clone(), self.config.clone());
                    self.run_incarnation(&incarnation, backend, shutdown).boxed().await?;
                    if !incarnation.over.is_cancelled() {
                        incarnation.leave().await;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, "worker not registered; trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = sleep(Duration::from_secs(1)) => {}
                    }
                }
            }
            tasks.shutdown().await;
        }
        Ok(())
    }

    async fn run_incarnation(
        &self,
        incarnation: &Arc<Incarnation>,
        backend: PgBackend,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        // a dropped worker takes its tasks with it
        let guard = incarnation.over.clone().drop_guard();
        let kinds = Arc::new(self.kinds.clone());
        let grace = self.config.grace;
        let worker = WorkerBuilder::new(self.config.name.as_str()).backend(backend).data(kinds).build(
            move |_payload: Value, job: Data<Job>, kinds: Data<Arc<HashMap<String, (Policy, Work)>>>| async move {
                Ok::<Outcome, BoxDynError>(work(job.0, &kinds, grace).await)
            },
        );
        let signal = {
            let (shutdown, over, stop) = (shutdown.clone(), incarnation.over.clone(), incarnation.stop.clone());
            async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = over.cancelled() => {}
                }
                stop.cancel();
                Ok::<(), WorkerError>(())
            }
        };
        let end_grace = async {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = incarnation.over.cancelled() => {}
            }
            if let Err(error) = incarnation.record_drain().await {
                tracing::warn!(error = %error, "drain not recorded");
            }
            sleep(grace).await;
            incarnation.cancel_all();
            sleep(LAST_WORDS).await;
            incarnation.hand_back.cancel();
            futures::future::pending::<()>().await
        };
        let ended = tokio::select! {
            ended = worker.run_until(signal).boxed() => ended,
            () = end_grace => Ok(()),
        };
        if incarnation.over.is_cancelled() {
            tracing::warn!(worker.id = incarnation.worker, "incarnation over");
        } else {
            guard.disarm();
        }
        Ok(ended?)
    }
}

/// Runs one job in a task of its own: a panic, a timeout and a deaf job end in an outcome like everything else.
async fn work(job: Job, kinds: &HashMap<String, (Policy, Work)>, grace: Duration) -> Outcome {
    let Some((policy, work)) = kinds.get(&job.kind) else {
        return Outcome::Hold {
            error: format!("no work is registered for kind {}", job.kind),
            hint: "register the kind, then release the job".to_owned(),
        };
    };
    let (cancel, draining) = (job.cancel.clone(), job.draining.clone());
    let deaf = async {
        cancel.cancelled().await;
        sleep(grace).await;
        if draining.is_cancelled() {
            // not its fault: the drain hands it back
            futures::future::pending::<()>().await;
        }
    };
    let work = work.clone();
    let task = AbortOnDropHandle::new(tokio::spawn(async move { work(job).await }));
    tokio::select! {
        ended = task => ended.unwrap_or_else(|error| Outcome::Retry { error: describe(error) }),
        () = sleep(policy.timeout) => {
            Outcome::Retry { error: format!("timed out after {:?}", policy.timeout) }
        }
        () = deaf => {
            Outcome::Retry { error: format!("did not stop within {grace:?} of its cancellation") }
        }
    }
}

fn describe(error: tokio::task::JoinError) -> String {
    if !error.is_panic() {
        return "aborted".to_owned();
    }
    let panic = error.into_panic();
    let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", message.as_deref().unwrap_or("without a message"))
}
