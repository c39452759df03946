//! The simulator's only clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Time since the epoch; zero on a clock before 1970.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A moment from now on, for deadlines within this process.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub(crate) fn after(delay: Duration) -> Instant {
    Instant::now() + delay
}

/// Unix time as the protocol has it: 32 bits.
pub(crate) fn unix_now() -> i32 {
    i32::try_from(now().as_secs()).unwrap_or(i32::MAX)
}
