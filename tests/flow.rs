//! Flows through the real parts: Postgres and Elasticsearch are real, a database for each test; Telegram is simulated.

#[path = "flow/auditing.rs"]
mod auditing;
#[path = "flow/bad_input.rs"]
mod bad_input;
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
#[path = "flow/exporting.rs"]
mod exporting;
#[path = "flow/faulty_elasticsearch.rs"]
mod faulty_elasticsearch;
#[path = "flow/files.rs"]
mod files;
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
#[path = "flow/nodes.rs"]
mod nodes;
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
#[path = "flow/talk.rs"]
mod talk;
#[path = "flow/telegram.rs"]
mod telegram;
#[path = "flow/transfers.rs"]
mod transfers;
#[path = "flow/triggers.rs"]
mod triggers;
