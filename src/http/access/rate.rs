//! How often may be asked: of each token or browser, and of each address that no token is good for.
//!
//! Who is known is counted by name alone, because behind a proxy all have one address.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::{By, Caller};
use crate::config;
use crate::http::problem::Problem;

/// After so many keys those that rest are forgotten.
const KEYS: usize = 10_000;

/// All limits of a process.
pub struct Rates {
    callers: Option<DefaultKeyedRateLimiter<Vec<u8>>>,
    strangers: Option<DefaultKeyedRateLimiter<IpAddr>>,
    clock: DefaultClock,
}

impl Rates {
    pub fn new(config: &config::Http) -> Self {
        let burst = NonZeroU32::new(config.burst).unwrap_or(NonZeroU32::MIN);
        let callers =
            NonZeroU32::new(config.requests_per_second).map(|rate| RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)));
        let strangers = NonZeroU32::new(config.strangers_per_minute).map(|rate| RateLimiter::keyed(Quota::per_minute(rate)));
        Self { callers, strangers, clock: DefaultClock::default() }
    }

    /// Whether this token or browser may ask now.
    pub fn caller(&self, caller: &Caller) -> Result<(), Problem> {
        let Some(limiter) = &self.callers else { return Ok(()) };
        let key = match &caller.by {
            By::Token(token) => token.id.to_be_bytes().to_vec(),
            By::Session { hash, .. } => hash.0.clone(),
        };
        if limiter.len() > KEYS {
            limiter.retain_recent();
        }
        limiter.check_key(&key).map_err(|not| self.wait(not.wait_time_from(self.clock.now())))
    }

    /// Counts a request of nobody that is known.
    pub fn stranger(&self, from: IpAddr) -> Result<(), Problem> {
        let Some(limiter) = &self.strangers else { return Ok(()) };
        if limiter.len() > KEYS {
            limiter.retain_recent();
        }
        limiter.check_key(&from).map_err(|not| self.wait(not.wait_time_from(self.clock.now())))
    }

    fn wait(&self, wait: std::time::Duration) -> Problem {
        Problem::too_many(wait.as_secs() + 1)
    }
}
