//! Logs to standard error. Message text, phone numbers and secrets never reach them.

use tracing_subscriber::EnvFilter;

/// Starts logging; `TELEKEEP_LOG` takes a filter (as `debug` or `telekeep=debug`), `TELEKEEP_LOG_JSON=1` prints one JSON object a line.
pub fn init() {
    let filter =
        EnvFilter::try_from_env("TELEKEEP_LOG").unwrap_or_else(|_| EnvFilter::new("warn,telekeep=info,telekeep_queue=info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::env::var_os("TELEKEEP_LOG_JSON").is_some() { builder.json().init() } else { builder.init() }
}
