//! From where connections come and keys are used: a key that speaks from two addresses in turn is a stolen or copied one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use crate::clock;

/// A client that moves to another network does not come back within this time.
const IN_TURN: Duration = Duration::from_secs(60);
const ADDRESSES_OF_A_KEY: usize = 16;
const KEYS: usize = 20_000;

/// The addresses that keys were lately heard from, and how many connections each of them opened.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    keys: Mutex<HashMap<i64, Heard>>,
    connections: Mutex<BTreeMap<IpAddr, u64>>,
}

#[derive(Debug)]
struct Heard {
    now: IpAddr,
    /// Where the key was before, and until when.
    before: VecDeque<(IpAddr, Duration)>,
}

impl Addresses {
    /// Counts a connection.
    pub(crate) fn connected(&self, from: IpAddr) {
        *self.connections.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(from).or_default() += 1;
    }

    /// How many connections each address has opened so far.
    pub(crate) fn connections(&self) -> BTreeMap<IpAddr, u64> {
        self.connections.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Notes a packet; whether the key was at this address, then at another, and is here again
    /// (AUTH_KEY_DUPLICATED, <https://core.telegram.org/api/errors#406-not-acceptable>).
    pub(crate) fn alternate(&self, key_id: i64, from: IpAddr) -> bool {
        let mut heard = self.keys.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
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
