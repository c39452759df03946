//! Telekeep.

/// Every migration of the record.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

pub mod normalize;
pub mod record;
pub mod telegram;
