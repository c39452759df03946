//! Telekeep.

pub mod account;
pub mod record;
pub mod telegram;
