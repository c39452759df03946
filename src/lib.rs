//! Telekeep.
