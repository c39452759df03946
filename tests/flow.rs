//! Flows through the real parts: Postgres and Elasticsearch are real, a database for each test; Telegram is simulated.

#[path = "flow/bad_input.rs"]
mod bad_input;
#[path = "flow/collecting.rs"]
mod collecting;
#[path = "flow/ledger_model.rs"]
mod ledger_model;
#[path = "flow/projection.rs"]
mod projection;
#[path = "flow/record.rs"]
mod record;
#[path = "flow/series.rs"]
mod series;
#[path = "flow/series_index.rs"]
mod series_index;
#[path = "flow/telegram.rs"]
mod telegram;
