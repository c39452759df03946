//! Counters that move with each byte and each update: looked up once.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::Counter;

use crate::telemetry::metrics as list;

pub(super) static SENT: LazyLock<Counter> = LazyLock::new(|| list::BYTES.counter(&["sent"]));
pub(super) static RECEIVED: LazyLock<Counter> = LazyLock::new(|| list::BYTES.counter(&["received"]));
pub(super) static RECEIVED_UPDATES: LazyLock<Counter> = LazyLock::new(|| list::UPDATES_RECEIVED.counter(&[]));
pub(super) static DROPPED_UPDATES: LazyLock<Counter> = LazyLock::new(|| list::UPDATES_DROPPED.counter(&[]));
pub(super) static FILE_BYTES: LazyLock<Counter> = LazyLock::new(|| list::FILE_BYTES.counter(&[]));

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Connections to Telegram that this process has open.
pub(super) fn open_connections() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// Counts a connection that was begun.
pub(super) fn dialled(opened: bool) {
    list::CONNECTIONS_OPENED.add(1, &[if opened { "ok" } else { "failed" }]);
}

/// A connection that is open as long as this is there.
pub(super) struct Open;

impl Open {
    pub fn begin() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}
