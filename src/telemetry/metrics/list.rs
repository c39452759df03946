//! Every metric. docs/METRICS.md says the same; a test compares them.

use super::Metric;
use super::Moves::{Counter, Gauge, Histogram};
use super::Told::{ByEach, ByOne};

/// In the order of the document.
pub const ALL: &[&Metric] = &[
    &JOBS,
    &JOBS_OLDEST,
    &PARTITION_WAIT,
    &JOB_ATTEMPTS,
    &JOB_DURATION,
    &CALLS,
    &FLOODS,
    &FLOOD_SECONDS,
    &BYTES,
    &CONNECTIONS,
    &CONNECTIONS_OPENED,
    &UPDATES_RECEIVED,
    &UPDATES_DROPPED,
    &FACTS_COMMITTED,
    &DIFFERENCES,
    &COMMIT_DURATION,
    &WATCHED,
    &COVERAGE,
    &CHATS_INCOMPLETE,
    &OUTBOX,
    &OUTBOX_OLDEST,
    &SINK_STATE,
    &BULK_ITEMS,
    &BULK_DURATION,
    &DEAD_LETTERS,
    &ACCOUNT_STATE,
    &ACCOUNTS_HELD,
    &LEASES_TAKEN,
    &NODES,
    &DATABASE_CONNECTIONS,
    &FILES,
    &STORE_BYTES,
    &FILE_BYTES,
    &ALERTS,
    &ALERTS_SENT,
    &PROCESS_MEMORY,
    &PROCESS_CPU,
    &PROCESS_FILES,
    &PROCESS_START,
];

pub const JOBS: Metric =
    Metric::new("telekeep_jobs", Gauge, ByOne, &["kind", "state"], "Jobs in the queue, from running sums: never a scan.");
pub const JOBS_OLDEST: Metric = Metric::new(
    "telekeep_jobs_oldest_runnable_seconds",
    Gauge,
    ByOne,
    &[],
    "How long the job that waits longest could have run already; 0 if none waits. Paused and resting ones do not count.",
);
pub const PARTITION_WAIT: Metric = Metric::new(
    "telekeep_partition_wait_seconds",
    Gauge,
    ByOne,
    &["account"],
    "The same by account whose jobs they are (0: of none).",
);
pub const JOB_ATTEMPTS: Metric = Metric::new(
    "telekeep_job_attempts_total",
    Counter,
    ByEach,
    &["kind", "outcome"],
    "Starts of jobs that ended here: done, more_to_do, retry, snooze, held, discarded, or aborted (panicked, too long, handed back).",
);
pub const JOB_DURATION: Metric =
    Metric::new("telekeep_job_duration_seconds", Histogram, ByEach, &["kind"], "How long a start of a job took.");
pub const CALLS: Metric = Metric::new(
    "telekeep_telegram_calls_total",
    Counter,
    ByEach,
    &["method", "outcome"],
    "Calls that were sent to Telegram: ok, flood, passing (network, time limit, Telegram's own trouble), refused.",
);
pub const FLOODS: Metric =
    Metric::new("telekeep_telegram_floods_total", Counter, ByEach, &["method"], "Waits that Telegram asked for.");
pub const FLOOD_SECONDS: Metric =
    Metric::new("telekeep_telegram_flood_seconds_total", Counter, ByEach, &["method"], "How long these waits are together.");
pub const BYTES: Metric = Metric::new(
    "telekeep_telegram_bytes_total",
    Counter,
    ByEach,
    &["kind"],
    "Bytes to and from Telegram (sent, received), as they pass the relay.",
);
pub const CONNECTIONS: Metric =
    Metric::new("telekeep_telegram_connections", Gauge, ByEach, &[], "Connections to Telegram that are open now.");
pub const CONNECTIONS_OPENED: Metric = Metric::new(
    "telekeep_telegram_connections_opened_total",
    Counter,
    ByEach,
    &["outcome"],
    "Connections that were begun: ok, or failed.",
);
pub const UPDATES_RECEIVED: Metric =
    Metric::new("telekeep_updates_received_total", Counter, ByEach, &[], "Containers of updates that Telegram told on its own.");
pub const UPDATES_DROPPED: Metric = Metric::new(
    "telekeep_updates_dropped_total",
    Counter,
    ByEach,
    &[],
    "Of these: dropped, as there was no room; a difference tells them again.",
);
pub const FACTS_COMMITTED: Metric = Metric::new(
    "telekeep_facts_committed_total",
    Counter,
    ByEach,
    &["kind"],
    "Messages that changed the record: new, or revised; by live streams.",
);
pub const DIFFERENCES: Metric =
    Metric::new("telekeep_differences_total", Counter, ByEach, &["outcome"], "Differences that were asked for: ok, or failed.");
pub const COMMIT_DURATION: Metric = Metric::new(
    "telekeep_stream_commit_duration_seconds",
    Histogram,
    ByEach,
    &[],
    "How long the commit of what a stream heard took.",
);
pub const WATCHED: Metric = Metric::new("telekeep_chats_watched", Gauge, ByOne, &[], "Chats that are watched.");
pub const COVERAGE: Metric = Metric::new(
    "telekeep_coverage_ids",
    Gauge,
    ByOne,
    &["state"],
    "Message ids of watched chats that are missing, stale, dead (kept raw, not understood) or to be looked at again (revisit).",
);
pub const CHATS_INCOMPLETE: Metric =
    Metric::new("telekeep_chats_incomplete", Gauge, ByOne, &[], "Watched chats with missing or stale ids.");
pub const OUTBOX: Metric =
    Metric::new("telekeep_outbox_entries", Gauge, ByOne, &["sink"], "Documents that a sink has still to be told.");
pub const OUTBOX_OLDEST: Metric =
    Metric::new("telekeep_outbox_oldest_seconds", Gauge, ByOne, &["sink"], "How long the oldest of them waits; 0 if none does.");
pub const SINK_STATE: Metric = Metric::new(
    "telekeep_sink_state",
    Gauge,
    ByOne,
    &["sink", "state"],
    "1 for the state that a sink is in (active, waiting, held), 0 for the others.",
);
pub const BULK_ITEMS: Metric = Metric::new(
    "telekeep_bulk_items_total",
    Counter,
    ByEach,
    &["sink", "outcome"],
    "Documents that were sent: done, stale (the index had a later version), refused, unanswered (they stay in the outbox).",
);
pub const BULK_DURATION: Metric =
    Metric::new("telekeep_bulk_duration_seconds", Histogram, ByEach, &["sink"], "How long a bulk took, its repetitions included.");
pub const DEAD_LETTERS: Metric =
    Metric::new("telekeep_dead_letters", Gauge, ByOne, &["sink"], "Documents that a sink refused for good.");
pub const ACCOUNT_STATE: Metric = Metric::new(
    "telekeep_account_state",
    Gauge,
    ByOne,
    &["account", "state"],
    "1 for the state that an account is in (active, flooded, limited, held, lost), 0 for the others.",
);
pub const ACCOUNTS_HELD: Metric =
    Metric::new("telekeep_accounts_leased", Gauge, ByOne, &["node"], "Accounts that a node has the lease of.");
pub const LEASES_TAKEN: Metric =
    Metric::new("telekeep_lease_takeovers_total", Counter, ByEach, &[], "How often the process took an account.");
pub const NODES: Metric =
    Metric::new("telekeep_nodes", Gauge, ByOne, &["state"], "Processes that use accounts: works, draining, command, silent.");
pub const DATABASE_CONNECTIONS: Metric = Metric::new(
    "telekeep_database_connections",
    Gauge,
    ByEach,
    &["state"],
    "Connections of the process's pool: used, idle, and how many there may be (most). The queue's own seven are not among them.",
);
pub const FILES: Metric = Metric::new("telekeep_files", Gauge, ByOne, &["state"], "Files by state; skipped ones are not counted.");
pub const STORE_BYTES: Metric = Metric::new("telekeep_store_bytes", Gauge, ByOne, &[], "Bytes that the file store holds.");
pub const FILE_BYTES: Metric =
    Metric::new("telekeep_file_bytes_total", Counter, ByEach, &[], "Bytes of files that came from Telegram.");
pub const ALERTS: Metric = Metric::new("telekeep_incidents", Gauge, ByOne, &["kind"], "Open incidents by rule.");
pub const ALERTS_SENT: Metric = Metric::new(
    "telekeep_alerts_sent_total",
    Counter,
    ByEach,
    &["kind", "outcome"],
    "Messages to alert targets (webhook, command): told, or failed.",
);
pub const PROCESS_MEMORY: Metric =
    Metric::new("process_resident_memory_bytes", Gauge, ByEach, &[], "Memory of the process that is in use.");
pub const PROCESS_CPU: Metric =
    Metric::new("process_cpu_seconds_total", Counter, ByEach, &[], "Time that the process has used, in whole seconds.");
pub const PROCESS_FILES: Metric = Metric::new("process_open_fds", Gauge, ByEach, &[], "Open files and connections.");
pub const PROCESS_START: Metric =
    Metric::new("process_start_time_seconds", Gauge, ByEach, &[], "When the process began, in seconds since 1970.");
