//! Traces by OpenTelemetry, from the trigger to the sink, where a receiver is configured.
//!
//! A trace crosses processes and hours without anything being carried along: the ids of its trace and of its known spans are made of
//! what the record knows anyway (run, job), so that whoever works on a job later finds its place. Spans have a target of their own,
//! so that they never stand in logs; without a receiver they cost next to nothing.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider};
use sha2::{Digest, Sha256};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::outward::Outward;

/// The target of all spans.
pub const TARGET: &str = "trace.telekeep";
/// A receiver that does not take a batch within this time has lost it.
const PATIENCE: Duration = Duration::from_secs(10);
/// A bulk is linked to so many jobs at most.
pub const MOST_LINKS: usize = 32;

/// Tells this record's ids from another's that use the same receiver.
static RECORD: OnceLock<String> = OnceLock::new();

thread_local! {
    /// What the next span on this thread is to be called.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("[telemetry] otlp is no address a receiver of traces could have; write it as http://host:4318")]
    Address(#[source] opentelemetry_otlp::ExporterBuildError),
    #[error(transparent)]
    Outward(#[from] crate::outward::Error),
}

/// Sends spans by our own client, within the runtime: the exporter's thread has none.
#[derive(Debug)]
struct Sender {
    client: Outward,
    runtime: tokio::runtime::Handle,
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move { client.send(request, PATIENCE).await });
        Ok(sent.await??)
    }
}

/// Gives spans the ids that were set for them; else random ones.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// What sends spans until it is dropped; then it sends what it still has.
pub struct Exporting(SdkTracerProvider);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(PATIENCE) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// Begins to send spans to a receiver. To be called within the runtime.
pub(super) fn export(otlp: &str) -> Result<(Exporting, SdkTracer), Error> {
    let base = otlp.trim_end_matches('/');
    let endpoint = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
    let sender = Sender { client: Outward::new()?, runtime: tokio::runtime::Handle::current() };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(sender)
        .with_endpoint(endpoint)
        .with_timeout(PATIENCE)
        .build()
        .map_err(Error::Address)?;
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "telekeep"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_id_generator(Ids::default())
        .with_resource(resource)
        .build();
    let tracer = provider.tracer("telekeep");
    Ok((Exporting(provider), tracer))
}

/// Says which record this process works on; before that, ids of two records may meet.
pub fn of_record(identity: String) {
    let _ = RECORD.set(identity);
}

fn digest(what: &str, id: i64) -> [u8; 32] {
    let record = RECORD.get().map_or("", String::as_str);
    Sha256::digest(format!("{record} {what} {id}")).into()
}

fn context(trace: (&str, i64), span: (&str, i64)) -> SpanContext {
    let (of_trace, of_span) = (digest(trace.0, trace.1), digest(span.0, span.1));
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    trace.copy_from_slice(&of_trace[..16]);
    span.copy_from_slice(&of_span[16..24]);
    SpanContext::new(TraceId::from_bytes(trace), SpanId::from_bytes(span), TraceFlags::SAMPLED, true, TraceState::NONE)
}

/// The opening of a workflow's run: the root of its trace.
pub fn run_context(run: i64) -> SpanContext {
    context(("run", run), ("run", run))
}

/// Where a job stands: its run, or the job that enqueued it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    pub job: i64,
    pub run: Option<i64>,
    pub parent: Option<i64>,
}

impl Lineage {
    /// The first start of the job: what links lead to. In the trace of its run, or else of the job that enqueued it, or its own.
    pub fn context(&self) -> SpanContext {
        let trace = match (self.run, self.parent) {
            (Some(run), _) => ("run", run),
            (None, Some(parent)) => ("job", parent),
            (None, None) => ("job", self.job),
        };
        context(trace, ("job", self.job))
    }

    /// Puts the span of a start below what led to it.
    pub fn place(&self, span: &Span, attempt: i32) {
        if span.is_disabled() {
            return;
        }
        let own = self.context();
        let parent = match (self.run, self.parent) {
            (Some(run), _) => Some(run_context(run)),
            (None, Some(parent)) => Some(context(("job", parent), ("job", parent))),
            // A later start belongs to the first.
            (None, None) => (attempt > 1).then(|| own.clone()),
        };
        begin(span, parent, (attempt == 1).then_some(own));
        if let (Some(run), Some(parent)) = (self.run, self.parent) {
            span.add_link(context(("run", run), ("job", parent)));
        }
    }
}

/// Begins a span under its parent, and with ids of its own where these are known.
pub fn begin(span: &Span, parent: Option<SpanContext>, own: Option<SpanContext>) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = parent {
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    NEXT.set(own.map(|own| (own.trace_id(), own.span_id())));
    // Its ids are given now, on this thread.
    let _ = span.context();
    NEXT.set(None);
}

/// The span of a transaction that commits so many messages.
pub fn commit(messages: usize) -> Span {
    tracing::info_span!(target: TARGET, "commit", db.system = "postgresql", message.count = messages)
}

/// Puts the span of a bulk below the one job that all of it comes from, or links it to all of them.
pub fn place_bulk(span: &Span, jobs: &[Lineage]) {
    match jobs {
        [one] => begin(span, Some(one.context()), None),
        many => many.iter().take(MOST_LINKS).for_each(|job| span.add_link(job.context())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_works_on_a_job_finds_its_trace() {
        let job = Lineage { job: 7, run: Some(3), parent: None };
        assert_eq!(job.context().trace_id(), run_context(3).trace_id());
        assert_ne!(job.context().span_id(), run_context(3).span_id());
        assert_eq!(job.context(), Lineage { parent: Some(2), ..job }.context());
        let child = Lineage { job: 8, run: None, parent: Some(7) };
        let parent = Lineage { job: 7, run: None, parent: None };
        assert_eq!(child.context().trace_id(), parent.context().trace_id());
        assert!(child.context().is_valid() && child.context().is_remote());
    }
}
