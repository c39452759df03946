//! Refusals on demand: floods and other errors that a test asks for.

use std::sync::{Mutex, MutexGuard};

use serde::Deserialize;

use crate::api::Failure;

/// The next calls of a method answer FLOOD_WAIT. What they tell is watched, not enforced: a call before its end is a violation, and is
/// answered once the calls are used up, so that a test need not wait.
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

/// What was injected.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    rules: Mutex<Vec<FailRequest>>,
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
}
