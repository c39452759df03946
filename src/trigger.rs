//! Triggers: they only enqueue. A periodic scan repairs what they missed, on the same path.

pub mod avatars;
pub mod cron;
pub mod files;
pub mod joining;
pub mod listener;
pub mod reconcile;
