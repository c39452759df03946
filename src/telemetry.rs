//! What the process tells of itself: logs to standard error, metrics, traces. Message text, phone numbers and secrets never reach them.

pub mod metrics;
mod process;
pub mod sampler;
pub mod seldom;
pub mod traces;

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::telemetry::{LogFormat, Telemetry};

/// Starts logging, and traces where a receiver is configured: as long as what is given lives. `TELEKEEP_LOG` takes a filter (as
/// `debug` or `telekeep=debug`).
pub fn start(config: &Telemetry) -> Result<Option<traces::Exporting>, traces::Error> {
    let filter =
        EnvFilter::try_from_env("TELEKEEP_LOG").unwrap_or_else(|_| EnvFilter::new("warn,telekeep=info,telekeep_queue=info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match config.log {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    let exported = config.otlp.as_ref().map(|otlp| traces::export(otlp.reveal())).transpose()?;
    let (exporting, tracer) = exported.unzip();
    // Traces have spans of their own; what is logged within them is theirs too.
    let spans = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_filter(filter_fn(|it| it.is_span() && it.target() == traces::TARGET))
    });
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
    Ok(exporting)
}
