//! The apalis backend: it yields claimed jobs, and its middleware settles what became of them.
//!
//! A pump takes permits, claims exactly as many jobs, and ties a permit to each; it never buffers. The permit is
//! freed when the work is over, and held while too many outcomes wait for their commit. Payloads stay `serde_json::Value`: apalis stops a whole worker over one
//! that it cannot decode.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use apalis_core::backend::codec::Codec;
use apalis_core::backend::finalize::Durable;
use apalis_core::backend::{Backend, BackendConfig, WireFormatBackend};
use apalis_core::error::BoxDynError;
use apalis_core::layers::{Layer, Service};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;

use crate::incarnation::Incarnation;
use crate::outcome::{Move, Outcome};
use crate::worker::own_pool;
use crate::{Error, Job, Policy, WorkerConfig};

/// Room for one job.
pub(crate) type Slot = Arc<OwnedSemaphorePermit>;
/// What the pump hands over: a claimed job and the slot that it fills.
pub(crate) type Claims = mpsc::UnboundedReceiver<(Job, OwnedSemaphorePermit)>;

/// A claimed job with all that must stay until its outcome is committed. Found in each task's data, as the [`Job`]
/// itself is.
#[derive(Clone)]
struct Claimed {
    job: Job,
    incarnation: Arc<Incarnation>,
    /// Freed when the last clone goes, which the middleware keeps until the outcome is on its way.
    slot: Slot,
    _life: Option<Arc<Life>>,
}

/// The tasks of an incarnation that no [`Worker`](crate::Worker) looks after; they end with the last job.
struct Life {
    _tasks: JoinSet<()>,
    incarnation: Arc<Incarnation>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.incarnation.over.cancel();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let leave = self.incarnation.clone().leave();
            runtime.spawn(leave);
        }
    }
}

struct Live {
    claims: Claims,
    incarnation: Arc<Incarnation>,
    life: Option<Arc<Life>>,
}

enum Stage {
    Idle,
    Starting(Mutex<BoxFuture<'static, Live>>),
    Live(Live),
    Closing(Mutex<BoxFuture<'static, ()>>),
}

/// The queue as an apalis backend: claims from its first poll on, and begins a new incarnation after a lost lease.
///
/// ```no_run
/// # async fn example(pool: sqlx::PgPool) {
/// use apalis::prelude::*;
/// use telekeep_queue::{Outcome, PgBackend, Policy, WorkerConfig};
///
/// async fn greet(name: serde_json::Value) -> Result<Outcome, BoxDynError> {
///     println!("hello {name}");
///     Ok(Outcome::Done)
/// }
///
/// let backend = PgBackend::new(pool, WorkerConfig::new("greeter"), [("greet", Policy::DEFAULT)]);
/// WorkerBuilder::new("greeter").backend(backend).build(greet).run().await.unwrap();
/// # }
/// ```
pub struct PgBackend {
    stage: Stage,
    /// What an incarnation is begun with; none where a worker begins them.
    setup: Option<Setup>,
    config: WorkerConfig,
}

struct Setup {
    pool: PgPool,
    policies: HashMap<String, Policy>,
    methods: Vec<(String, String)>,
}

impl PgBackend {
    /// A backend for apalis' own `WorkerBuilder`, for jobs of these kinds. It uses connections of its own on the database
    /// of `pool`, and connects at its first poll. A task's data holds its [`Job`]; what the service answers becomes an
    /// [`Outcome`], an error a [retry](Outcome::Retry).
    pub fn new<K: Into<String>>(pool: PgPool, config: WorkerConfig, kinds: impl IntoIterator<Item = (K, Policy)>) -> Self {
        let policies = kinds.into_iter().map(|(kind, policy)| (kind.into(), policy)).collect();
        let config = config.sane();
        PgBackend { stage: Stage::Idle, setup: Some(Setup { pool: own_pool(&pool), policies, methods: Vec::new() }), config }
    }

    /// Says which methods a kind uses: it does not start in a partition where one of them [rests](crate::rest).
    #[must_use]
    pub fn uses(mut self, kind: &str, methods: &[&str]) -> Self {
        if let Some(setup) = &mut self.setup {
            setup.methods.extend(methods.iter().map(|method| (kind.to_owned(), (*method).to_owned())));
        }
        self
    }

    /// One incarnation, which its worker looks after.
    pub(crate) fn live(claims: Claims, incarnation: Arc<Incarnation>, config: WorkerConfig) -> Self {
        PgBackend { stage: Stage::Live(Live { claims, incarnation, life: None }), setup: None, config }
    }
}

/// Tries until the database is there.
async fn begin(pool: PgPool, config: WorkerConfig, policies: HashMap<String, Policy>, methods: Vec<(String, String)>) -> Live {
    loop {
        let mut tasks = JoinSet::new();
        match Incarnation::start(pool.clone(), &config, policies.clone(), &methods, &mut tasks).await {
            Ok((incarnation, claims)) => {
                let life = Some(Arc::new(Life { _tasks: tasks, incarnation: incarnation.clone() }));
                return Live { claims, incarnation, life };
            }
            Err(error) => tracing::warn!(error = %error, "worker not registered; trying again"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

impl std::fmt::Debug for PgBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgBackend").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Backend for PgBackend {
    type Task = Task<Value>;
    type Error = Error;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Task<Value>, Error>>> {
        loop {
            match &mut self.stage {
                Stage::Idle => {
                    let Some(Setup { pool, policies, methods }) = &self.setup else { return Poll::Ready(None) };
                    let begin = begin(pool.clone(), self.config.clone(), policies.clone(), methods.clone());
                    self.stage = Stage::Starting(Mutex::new(begin.boxed()));
                }
                Stage::Starting(begin) => {
                    self.stage = Stage::Live(ready!(begin.get_mut().unwrap_or_else(PoisonError::into_inner).poll_unpin(cx)));
                }
                Stage::Live(live) => match ready!(live.claims.poll_recv(cx)) {
                    Some((job, slot)) => {
                        let incarnation = live.incarnation.clone();
                        let claimed = Claimed { job, incarnation, slot: Arc::new(slot), _life: live.life.clone() };
                        return Poll::Ready(Some(Ok(task(claimed))));
                    }
                    // the lease was lost: another life
                    None if live.life.is_some() && live.incarnation.over.is_cancelled() => self.stage = Stage::Idle,
                    None => return Poll::Ready(None),
                },
                Stage::Closing(_) => return Poll::Ready(None),
            }
        }
    }

    /// Hands back what was claimed and not started, once the pump has stopped.
    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Error>> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Idle) {
                Stage::Idle | Stage::Starting(_) => {
                    self.setup = None;
                    return Poll::Ready(Ok(()));
                }
                Stage::Live(mut live) => {
                    live.incarnation.stop.cancel();
                    let hand_back = async move {
                        while let Some((job, slot)) = live.claims.recv().await {
                            live.incarnation.settle(&job, Move::unstarted(), Arc::new(slot)).await;
                        }
                    };
                    self.stage = Stage::Closing(Mutex::new(hand_back.boxed()));
                }
                Stage::Closing(mut hand_back) => {
                    // a panic while closing: the reaper returns what is left
                    let closed = hand_back.get_mut().unwrap_or_else(PoisonError::into_inner).poll_unpin(cx);
                    if closed.is_pending() {
                        self.stage = Stage::Closing(hand_back);
                    } else {
                        self.setup = None;
                    }
                    return closed.map(Ok);
                }
            }
        }
    }
}

fn task(claimed: Claimed) -> Task<Value> {
    let job = claimed.job.clone();
    TaskBuilder::new(job.payload.clone())
        .task_id(TaskId::from_int(job.id.unsigned_abs()))
        // apalis counts this start itself
        .attempt(usize::try_from(job.attempt - 1).unwrap_or(0))
        .data(job)
        .data(claimed)
        .build()
}

impl BackendConfig for PgBackend {
    type Args = Value;
    type Id = i64;
    type Kind = Durable;
    type Config = WorkerConfig;
    type Layer = SettleLayer;

    fn config(&self) -> &WorkerConfig {
        &self.config
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> SettleLayer {
        SettleLayer
    }
}

/// Payloads travel as JSON values, so that nothing can fail to decode.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonValues;

impl Codec<Value> for JsonValues {
    type Error = Infallible;
    type Compact = Value;

    fn encode(&self, value: &Value) -> Result<Value, Infallible> {
        Ok(value.clone())
    }

    fn decode(&self, value: &Value) -> Result<Value, Infallible> {
        Ok(value.clone())
    }
}

impl WireFormatBackend for PgBackend {
    type Codec = JsonValues;
    type Compact = Value;

    fn codec(&self) -> &JsonValues {
        &JsonValues
    }
}

/// Middleware around everything else: turns a task's answer into an outcome and waits until it is committed.
#[derive(Debug, Clone)]
pub struct SettleLayer;

impl<S> Layer<S> for SettleLayer {
    type Service = SettleService<S>;

    fn layer(&self, inner: S) -> SettleService<S> {
        SettleService { inner }
    }
}

/// See [`SettleLayer`].
#[derive(Debug, Clone)]
pub struct SettleService<S> {
    inner: S,
}

impl<S> Service<Task<Value>> for SettleService<S>
where
    S: Service<Task<Value>>,
    S::Response: Into<Outcome> + Send + 'static,
    S::Error: Into<BoxDynError> + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxDynError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, task: Task<Value>) -> Self::Future {
        let claimed = task.data().get::<Claimed>().cloned();
        let work = self.inner.call(task);
        async move {
            let Some(claimed) = claimed else {
                return work.await.map(drop).map_err(Into::into);
            };
            let Claimed { job, incarnation, slot, _life } = claimed;
            let answer = tokio::select! {
                answer = work => Some(answer.map(Into::into).map_err(Into::into)),
                () = incarnation.hand_back.cancelled() => None,
            };
            let (to, result) = match answer {
                None => (Move::drained(), Ok(())),
                Some(Ok(outcome)) => (after(outcome, &job), Ok(())),
                Some(Err(error)) => (after(Outcome::Retry { error: chain(&*error) }, &job), Err(error)),
            };
            incarnation.settle(&job, to, slot).await;
            result
        }
        .boxed()
    }
}

fn after(outcome: Outcome, job: &Job) -> Move {
    Move::after(outcome, &job.policy, job.failure, rand::random::<f64>())
}

/// An error with its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
