//! Telekeep collects Telegram and can prove that it has everything.
//!
//! ```text
//! trigger ──► job ──► account ──► telegram ──► normalize ──► record ──► projection
//! cron        durable  sealed      MTProto,     pure: TL →    Postgres:   Elasticsearch,
//! listener    in       session     flood-aware  facts         documents,  from an outbox
//! operator    Postgres                                        ledger
//! ```
//!
//! Facts move in one direction. Every process is the same binary and may be killed at any moment.

pub mod account;
pub mod alert;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod http;
pub mod jobs;
pub mod media;
pub mod normalize;
pub mod outward;
pub mod overview;
pub mod projection;
pub mod record;
pub mod telegram;
pub mod telemetry;
pub mod trigger;
pub mod workflow;

use std::sync::LazyLock;

use sqlx::migrate::Migrator;

/// Every migration: the record's and the queue's, in the order of their versions.
pub static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let own: Migrator = sqlx::migrate!();
    Migrator::with_migrations(own.iter().cloned().chain(telekeep_queue::migrations()).collect())
});
