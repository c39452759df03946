//! Telekeep.

pub mod projection;
pub mod record;

/// The schema of the record.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();
