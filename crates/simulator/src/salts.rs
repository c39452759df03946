//! Server salts: computed from the key and the time, so that a restart keeps them
//! (<https://core.telegram.org/mtproto/description#server-salt>).

use std::sync::atomic::{AtomicI64, Ordering};

use grammers_tl_types as tl;

use crate::account::authorization::Authorization;
use crate::clock;
use crate::wire::crypto::{ServerKey, i64_at, sha256};

const HOUR: i64 = 3600;

/// How long a salt lasts.
#[derive(Debug)]
pub(crate) struct Salts {
    seconds: AtomicI64,
}

impl Default for Salts {
    fn default() -> Self {
        Self { seconds: AtomicI64::new(HOUR) }
    }
}

impl Salts {
    /// Salts change after so many seconds from now on; at least one.
    pub(crate) fn set_seconds(&self, seconds: u32) {
        self.seconds.store(i64::from(seconds.max(1)), Ordering::Relaxed);
    }

    /// The salt to use now.
    pub(crate) fn current(&self, key: &ServerKey) -> i64 {
        self.salt(key, self.period())
    }

    /// Whether a message may carry this salt now. The one of the key exchange is good for as long as any other.
    pub(crate) fn accepts(&self, authorization: &Authorization, salt: i64) -> bool {
        let period = self.period();
        let first = authorization.first_salt == Some(salt)
            && i64::from(clock::unix_now()) - i64::from(authorization.created) < self.seconds.load(Ordering::Relaxed);
        first || [period, period - 1, period + 1].into_iter().any(|period| self.salt(&authorization.key, period) == salt)
    }

    /// The salts of now and later.
    pub(crate) fn future(&self, key: &ServerKey, count: usize) -> Vec<tl::types::FutureSalt> {
        let seconds = self.seconds.load(Ordering::Relaxed);
        (self.period()..)
            .take(count)
            .map(|period| tl::types::FutureSalt {
                valid_since: (period * seconds) as i32,
                // Twice as long, so that the one before is still good while clients change over.
                valid_until: ((period + 2) * seconds) as i32,
                salt: self.salt(key, period),
            })
            .collect()
    }

    fn salt(&self, key: &ServerKey, period: i64) -> i64 {
        let digest = sha256(&[b"salt", key.bytes(), &period.to_le_bytes()]);
        // Zero means "none yet" to clients.
        i64_at(&digest, 0) | 1
    }

    fn period(&self) -> i64 {
        clock::now().as_secs() as i64 / self.seconds.load(Ordering::Relaxed)
    }
}
