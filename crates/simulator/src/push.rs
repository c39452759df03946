//! The push path: which chats stay silent, and what goes wrong on demand.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use grammers_tl_types as tl;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::clock;

/// How differences are cut (<https://core.telegram.org/api/updates#recovering-gaps>). The server's own figures are not documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateRules {
    /// The most that one `updates.difference` holds.
    pub slice: usize,
    /// An account that missed more pts than this is told `differenceTooLong`.
    pub too_long: i32,
    /// The same for one channel.
    pub channel_too_long: i32,
    /// After how many seconds a channel should be asked again; for so long a silent channel is pushed.
    pub timeout: i32,
}

impl Default for UpdateRules {
    fn default() -> Self {
        UpdateRules { slice: 500, too_long: 10_000, channel_too_long: 5_000, timeout: 30 }
    }
}

/// What goes wrong with the next pushes; each number is counted down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushFaults {
    /// Only pushes to this account; absent: to all.
    pub account: Option<String>,
    /// So many never arrive.
    pub drop: u32,
    /// So many are held back, and then sent in the wrong order, the newest first.
    pub reorder: u32,
    /// So many arrive twice.
    pub duplicate: u32,
    /// In place of so many comes `updatesTooLong`.
    pub too_long: u32,
}

impl PushFaults {
    fn is_over(&self) -> bool {
        (self.drop, self.reorder, self.duplicate, self.too_long) == (0, 0, 0, 0)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pushes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rules: UpdateRules,
    faults: Vec<PushFaults>,
    held: HashMap<String, Vec<tl::enums::Updates>>,
    silent: HashSet<i64>,
    /// Until when a silent chat is pushed to an account that asked.
    asked: HashMap<(String, i64), Instant>,
}

impl Pushes {
    pub(crate) fn rules(&self) -> UpdateRules {
        self.lock().rules
    }

    pub(crate) fn set_rules(&self, rules: UpdateRules) {
        self.lock().rules = rules;
    }

    pub(crate) fn inject(&self, faults: PushFaults) {
        self.lock().faults.push(faults);
    }

    pub(crate) fn silence(&self, chat: i64, silent: bool) {
        let mut state = self.lock();
        if silent {
            state.silent.insert(chat)
        } else {
            state.silent.remove(&chat)
        };
    }

    /// Notes that an account asked for a channel's difference.
    pub(crate) fn asked(&self, account: &str, chat: i64) {
        let mut state = self.lock();
        if state.silent.contains(&chat) {
            let seconds = u64::try_from(state.rules.timeout).unwrap_or(0);
            state.asked.insert((account.to_owned(), chat), clock::after(Duration::from_secs(seconds)));
        }
    }

    /// Whether news of a chat are kept from an account until it asks.
    pub(crate) fn is_silent(&self, account: &str, chat: i64) -> bool {
        let state = self.lock();
        state.silent.contains(&chat)
            && state.asked.get(&(account.to_owned(), chat)).is_none_or(|until| *until <= clock::after(Duration::ZERO))
    }

    /// What becomes of a push on its way: what arrives, in the order in which it does.
    pub(crate) fn pass(&self, account: &str, update: tl::enums::Updates) -> Vec<tl::enums::Updates> {
        let mut state = self.lock();
        let State { faults, held, .. } = &mut *state;
        faults.retain(|fault| !fault.is_over());
        let Some(fault) = faults.iter_mut().find(|fault| fault.account.as_deref().is_none_or(|only| only == account)) else {
            return vec![update];
        };
        if fault.drop > 0 {
            fault.drop -= 1;
            return Vec::new();
        }
        if fault.reorder > 0 {
            fault.reorder -= 1;
            let waiting = held.entry(account.to_owned()).or_default();
            waiting.push(update);
            if fault.reorder > 0 {
                return Vec::new();
            }
            return std::mem::take(waiting).into_iter().rev().collect();
        }
        if fault.duplicate > 0 {
            fault.duplicate -= 1;
            return vec![update.clone(), update];
        }
        fault.too_long = fault.too_long.saturating_sub(1);
        vec![tl::enums::Updates::TooLong]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(date: i32) -> tl::enums::Updates {
        tl::types::UpdateShort { update: tl::enums::Update::Config, date }.into()
    }

    #[test]
    fn each_fault_is_counted_down_in_turn() {
        let pushes = Pushes::default();
        pushes.inject(PushFaults { drop: 1, reorder: 3, duplicate: 1, too_long: 1, account: Some("a".to_owned()) });
        assert_eq!(pushes.pass("b", update(0)), [update(0)]);
        let mut arrived: Vec<_> = (1..=6).map(|date| pushes.pass("a", update(date))).collect();
        assert_eq!(arrived.pop(), Some(vec![tl::enums::Updates::TooLong]));
        let wanted = [vec![], vec![], vec![], vec![update(4), update(3), update(2)], vec![update(5), update(5)]];
        assert_eq!(arrived, wanted);
        assert_eq!(pushes.pass("a", update(7)), [update(7)]);
    }
}
