//! Telegram.

pub use grammers_tl_types as tl;
