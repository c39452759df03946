//! From where keys are used: a key that speaks from two addresses in turn is a stolen or copied one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use crate::clock;

/// A client that moves to another network does not come back within this time.
const IN_TURN: Duration = Duration::from_secs(60);
const ADDRESSES_OF_A_KEY: usize = 16;
const KEYS: usize = 20_000;

/// The addresses that keys were lately heard from.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<HashMap<i64, Heard>>);

#[derive(Debug)]
struct Heard {
    now: IpAddr,
    /// Where the key was before, and until when.
    before: VecDeque<(IpAddr, Duration)>,
}

impl Addresses {
    /// Notes a packet; whether the key was at this address, then at another, and is here again
    /// (AUTH_KEY_DUPLICATED, <https://core.telegram.org/api/errors#406-not-acceptable>).
    pub(crate) fn alternate(&self, key_id: i64, from: IpAddr) -> bool {
        let mut heard = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if heard.len() >= KEYS && !heard.contains_key(&key_id) {
            heard.clear();
        }
        let heard = heard.entry(key_id).or_insert_with(|| Heard { now: from, before: VecDeque::new() });
        if heard.now == from {
            return false;
        }
        let time = clock::now();
        heard.before.retain(|(_, until)| *until + IN_TURN > time);
        let returned = heard.before.iter().any(|(address, _)| *address == from);
        heard.before.push_back((heard.now, time));
        if heard.before.len() > ADDRESSES_OF_A_KEY {
            heard.before.pop_front();
        }
        heard.now = from;
        returned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_no_return() {
        let addresses = Addresses::default();
        let heard = |key, last| addresses.alternate(key, IpAddr::from([127, 0, 0, last]));
        assert!(!heard(1, 1) && !heard(1, 1) && !heard(1, 2) && !heard(2, 1));
        assert!(!heard(1, 3));
        assert!(heard(1, 1));
    }
}
