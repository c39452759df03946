//! The only place that reads a clock. Where two nodes could compare times, the database's clock is used instead.

use chrono::{DateTime, Utc};
use std::time::{Duration, Instant};

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

/// Time since the machine was started, also while it slept: no change of the wall clock touches it.
pub fn boottime() -> Duration {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(at.tv_sec).unwrap_or(0), u32::try_from(at.tv_nsec).unwrap_or(0))
}
