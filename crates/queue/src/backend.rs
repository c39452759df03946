//! The apalis backend: it yields claimed jobs, and its middleware settles what became of them.
//!
//! A pump takes permits, claims exactly as many jobs, and ties a permit to each; it never buffers. The permit is
//! freed after the outcome is committed. Payloads stay `serde_json::Value`: apalis stops a whole worker over one
//! that it cannot decode.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

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
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::incarnation::Incarnation;
use crate::outcome::{Move, Outcome};
use crate::{Error, Job, WorkerConfig};

/// A claimed job with the slot that it fills. Found in each task's data, as the [`Job`] itself is.
#[derive(Clone)]
pub(crate) struct Claimed {
    pub(crate) job: Job,
    /// Freed when the last clone goes, which the middleware keeps until the outcome is committed.
    pub(crate) _slot: Arc<OwnedSemaphorePermit>,
}

/// The queue as apalis sees it: one incarnation of a worker.
pub struct PgBackend {
    claims: mpsc::UnboundedReceiver<Claimed>,
    incarnation: Arc<Incarnation>,
    closing: Option<Mutex<BoxFuture<'static, ()>>>,
    config: WorkerConfig,
}

impl PgBackend {
    pub(crate) fn new(claims: mpsc::UnboundedReceiver<Claimed>, incarnation: Arc<Incarnation>, config: WorkerConfig) -> Self {
        PgBackend { claims, incarnation, closing: None, config }
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
        self.claims.poll_recv(cx).map(|claimed| {
            claimed.map(|claimed| {
                let job = &claimed.job;
                Ok(TaskBuilder::new(job.payload.clone())
                    .task_id(TaskId::from_int(job.id.unsigned_abs()))
                    // apalis counts this start itself
                    .attempt(usize::try_from(job.attempt - 1).unwrap_or(0))
                    .data(job.clone())
                    .data(claimed)
                    .build())
            })
        })
    }

    /// Hands back what was claimed and not started, once the pump has stopped.
    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Error>> {
        let (claims, incarnation) = (&mut self.claims, &self.incarnation);
        let closing = self.closing.get_or_insert_with(|| {
            let (_, none) = mpsc::unbounded_channel();
            let mut left = std::mem::replace(claims, none);
            let incarnation = incarnation.clone();
            incarnation.stop.cancel();
            Mutex::new(
                async move {
                    while let Some(claimed) = left.recv().await {
                        incarnation.settle(&claimed.job, Move::unstarted()).await;
                    }
                }
                .boxed(),
            )
        });
        match closing.get_mut() {
            Ok(closing) => closing.poll_unpin(cx).map(Ok),
            // a panic while closing: the reaper returns what is left
            Err(_) => Poll::Ready(Ok(())),
        }
    }
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
        SettleLayer { incarnation: self.incarnation.clone() }
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
#[derive(Clone)]
pub struct SettleLayer {
    incarnation: Arc<Incarnation>,
}

impl<S> Layer<S> for SettleLayer {
    type Service = SettleService<S>;

    fn layer(&self, inner: S) -> SettleService<S> {
        SettleService { inner, incarnation: self.incarnation.clone() }
    }
}

/// See [`SettleLayer`].
#[derive(Clone)]
pub struct SettleService<S> {
    inner: S,
    incarnation: Arc<Incarnation>,
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
        let incarnation = self.incarnation.clone();
        async move {
            let Some(claimed) = claimed else {
                return work.await.map(drop).map_err(Into::into);
            };
            let job = &claimed.job;
            let answer = tokio::select! {
                answer = work => Some(answer.map(Into::into).map_err(Into::into)),
                () = incarnation.hand_back.cancelled() => None,
            };
            let (to, result) = match answer {
                None => (Move::drained(), Ok(())),
                Some(Ok(outcome)) => (after(outcome, job), Ok(())),
                Some(Err(error)) => (after(Outcome::Retry { error: chain(&*error) }, job), Err(error)),
            };
            incarnation.settle(job, to).await;
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
