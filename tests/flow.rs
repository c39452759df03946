//! Flows through the real parts: Postgres and Elasticsearch are real, a database for each test; Telegram is simulated.

#[path = "flow/bad_input.rs"]
mod bad_input;
#[path = "flow/budget.rs"]
mod budget;
#[path = "flow/collecting.rs"]
mod collecting;
#[path = "flow/exporting.rs"]
mod exporting;
#[path = "flow/importing.rs"]
mod importing;
#[path = "flow/installed.rs"]
mod installed;
#[path = "flow/ledger_model.rs"]
mod ledger_model;
#[path = "flow/projection.rs"]
mod projection;
#[path = "flow/record.rs"]
mod record;
#[path = "flow/telegram.rs"]
mod telegram;
