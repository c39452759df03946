//! This process's own clock, for waits and measures. What two processes compare is the database's.

use tokio::time::Instant;

/// Now, for this process alone.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
