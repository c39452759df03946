//! Telekeep end to end: real Postgres, a database each.

#[path = "flow/ledger_model.rs"]
mod ledger_model;
#[path = "flow/record.rs"]
mod record;
