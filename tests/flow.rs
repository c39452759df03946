//! Flows through the real parts: Postgres and Elasticsearch are real, a database for each test; Telegram is simulated.

#[path = "flow/access.rs"]
mod access;
#[path = "flow/alerts.rs"]
mod alerts;
#[path = "flow/api.rs"]
mod api;
#[path = "flow/asking.rs"]
mod asking;
#[path = "flow/attention.rs"]
mod attention;
#[path = "flow/auditing.rs"]
mod auditing;
#[path = "flow/bad_input.rs"]
mod bad_input;
#[path = "flow/browser.rs"]
mod browser;
#[path = "flow/browsing.rs"]
mod browsing;
#[path = "flow/budget.rs"]
mod budget;
#[path = "flow/carrying.rs"]
mod carrying;
#[path = "flow/collecting.rs"]
mod collecting;
#[path = "flow/convergence.rs"]
mod convergence;
#[path = "flow/counting.rs"]
mod counting;
#[path = "flow/enduring.rs"]
mod enduring;
#[path = "flow/exporting.rs"]
mod exporting;
#[path = "flow/faulty_elasticsearch.rs"]
mod faulty_elasticsearch;
#[path = "flow/files.rs"]
mod files;
#[path = "flow/files_held.rs"]
mod files_held;
#[path = "flow/finding.rs"]
mod finding;
#[path = "flow/health.rs"]
mod health;
#[path = "flow/importing.rs"]
mod importing;
#[path = "flow/installation.rs"]
mod installation;
#[path = "flow/installed.rs"]
mod installed;
#[path = "flow/joining.rs"]
mod joining;
#[path = "flow/judged.rs"]
mod judged;
#[path = "flow/ledger_model.rs"]
mod ledger_model;
#[path = "flow/live.rs"]
mod live;
#[path = "flow/media.rs"]
mod media;
#[path = "flow/members.rs"]
mod members;
#[path = "flow/members_passing.rs"]
mod members_passing;
#[path = "flow/metrics.rs"]
mod metrics;
#[path = "flow/nodes.rs"]
mod nodes;
#[path = "flow/noting.rs"]
mod noting;
#[path = "flow/operating.rs"]
mod operating;
#[path = "flow/pages.rs"]
mod pages;
#[path = "flow/playing.rs"]
mod playing;
#[path = "flow/projection.rs"]
mod projection;
#[path = "flow/proxies.rs"]
mod proxies;
#[path = "flow/readers.rs"]
mod readers;
#[path = "flow/reconciling.rs"]
mod reconciling;
#[path = "flow/record.rs"]
mod record;
#[path = "flow/secrets.rs"]
mod secrets;
#[path = "flow/series.rs"]
mod series;
#[path = "flow/series_index.rs"]
mod series_index;
#[path = "flow/sign_in.rs"]
mod sign_in;
#[path = "flow/socks.rs"]
mod socks;
#[path = "flow/steering.rs"]
mod steering;
#[path = "flow/talk.rs"]
mod talk;
#[path = "flow/telegram.rs"]
mod telegram;
#[path = "flow/traces.rs"]
mod traces;
#[path = "flow/transfers.rs"]
mod transfers;
#[path = "flow/triggers.rs"]
mod triggers;
