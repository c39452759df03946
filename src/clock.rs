//! The only place that reads a clock. Where two nodes could compare times, the database's clock is used instead.

use chrono::{DateTime, Utc};
use std::time::Instant;

/// This machine's wall clock, UTC: for what a person reads, never for what two nodes compare.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// A monotonic mark, for durations within this process.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub fn mark() -> Instant {
    Instant::now()
}
