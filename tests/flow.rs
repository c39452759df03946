//! Telekeep end to end: real Postgres, a database each.

#[path = "flow/record.rs"]
mod record;
