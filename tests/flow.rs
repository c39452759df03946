//! Flows through the real parts: Postgres and Elasticsearch are real, a database for each test.

#[path = "flow/projection.rs"]
mod projection;
