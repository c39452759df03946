//! Refusals on demand: floods and other errors that a test asks for, and the standing limit of a world.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::Deserialize;

use crate::api::Failure;
use crate::clock;
use crate::world::FloodModel;

/// The next calls of a method answer FLOOD_WAIT.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloodRequest {
    /// As in Telegram's schema, such as `messages.getHistory`; `*` is every method.
    pub method: String,
    pub seconds: u32,
    /// How many calls are refused.
    #[serde(default = "once")]
    pub calls: u64,
    /// Only calls of this account; default: of all.
    #[serde(default)]
    pub account: Option<String>,
}

/// The next calls of a method answer this error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailRequest {
    pub method: String,
    /// Such as `CHANNEL_PRIVATE`.
    pub error: String,
    #[serde(default = "bad_request")]
    pub code: i32,
    #[serde(default = "once")]
    pub calls: u64,
    #[serde(default)]
    pub account: Option<String>,
}

fn once() -> u64 {
    1
}

fn bad_request() -> i32 {
    400
}

impl From<FloodRequest> for FailRequest {
    fn from(flood: FloodRequest) -> Self {
        Self {
            method: flood.method,
            error: format!("FLOOD_WAIT_{}", flood.seconds),
            code: 420,
            calls: flood.calls,
            account: flood.account,
        }
    }
}

/// What was injected, and what each account was served lately.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    rules: Mutex<Vec<FailRequest>>,
    served: Mutex<HashMap<String, VecDeque<(Duration, u64)>>>,
}

impl Floods {
    pub(crate) fn inject(&self, rule: FailRequest) {
        lock(&self.rules).push(rule);
    }

    /// The refusal that is due for this call, if one is.
    pub(crate) fn refusal(&self, account: &str, method: &str) -> Option<Failure> {
        let mut rules = lock(&self.rules);
        rules.retain(|rule| rule.calls > 0);
        let rule = rules.iter_mut().find(|rule| {
            (rule.method == "*" || rule.method == method) && rule.account.as_deref().is_none_or(|only| only == account)
        })?;
        rule.calls -= 1;
        Some(Failure::new(rule.code, &rule.error))
    }

    /// Where an account was served all messages that the model allows in its window: the whole seconds to wait.
    pub(crate) fn history(&self, account: &str, model: &FloodModel) -> Option<u64> {
        let length = window(model);
        let now = clock::now();
        let mut served = lock(&self.served);
        let window = served.entry(account.to_owned()).or_default();
        while window.front().is_some_and(|(at, _)| *at + length <= now) {
            window.pop_front();
        }
        let total: u64 = window.iter().map(|(_, messages)| messages).sum();
        (total >= u64::from(model.history_messages)).then(|| {
            let oldest = window.front().map_or(now, |(at, _)| *at);
            (oldest + length).saturating_sub(now).as_secs() + 1
        })
    }

    /// Notes that messages were served.
    pub(crate) fn served(&self, account: &str, messages: usize) {
        let mut served = lock(&self.served);
        served.entry(account.to_owned()).or_default().push_back((clock::now(), messages as u64));
    }
}

/// The window, shortened by the multiple; a nonsensical one is a second.
fn window(model: &FloodModel) -> Duration {
    Duration::try_from_secs_f64(model.per_seconds / model.multiple).unwrap_or(Duration::from_secs(1))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_hits_its_method_as_often_as_asked() {
        let floods = Floods::default();
        let request = FloodRequest { method: "messages.getHistory".to_owned(), seconds: 9, calls: 2, account: None };
        floods.inject(request.into());
        assert!(floods.refusal("a", "messages.getDialogs").is_none());
        for _ in 0..2 {
            assert_eq!(floods.refusal("a", "messages.getHistory").unwrap().name(), "FLOOD_WAIT_9");
        }
        assert!(floods.refusal("a", "messages.getHistory").is_none());
    }

    #[test]
    fn the_standing_limit_counts_messages_of_one_account() {
        let floods = Floods::default();
        let model = FloodModel { history_messages: 150, per_seconds: 600.0, multiple: 20.0 };
        assert_eq!(floods.history("a", &model), None);
        floods.served("a", 100);
        assert_eq!(floods.history("a", &model), None);
        floods.served("a", 100);
        assert!(floods.history("a", &model).is_some_and(|seconds| (29..=31).contains(&seconds)));
        assert_eq!(floods.history("b", &model), None);
    }
}
