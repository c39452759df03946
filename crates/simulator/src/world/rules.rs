//! The rules that protect accounts: how fast the server lets an account go.
//!
//! Telegram publishes few of these figures. Where none is published, the field says who saw it, or that it is assumed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAY: f64 = 86_400.0;

/// How the server limits each account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// How many times faster than Telegram's the time of these rules goes: windows and waits are shorter by it.
    pub multiple: f64,
    /// Messages of messages.getHistory in `history_seconds`: 3,000 in 30 s (seen by Telethon's users).
    pub history_messages: u32,
    pub history_seconds: f64,
    /// contacts.resolveUsername in a day: about 200 (seen by collectors).
    pub resolves_a_day: u32,
    /// messages.getDialogs in an hour (assumed: it is known that many are punished, not how many).
    pub dialogs_an_hour: u32,
    /// Channels and supergroups of an account: <https://core.telegram.org/api/config#channels-limit-default>
    pub chats: usize,
    /// Between two joins: minutes (assumed: 3).
    pub seconds_between_joins: f64,
    /// Before a takeout session may begin: a day, see <https://core.telegram.org/api/takeout>.
    pub takeout_delay_seconds: f64,
    /// Bytes of upload.getFile in a second for accounts without Premium, above which FLOOD_PREMIUM_WAIT is answered
    /// (<https://core.telegram.org/api/files>); none: any number.
    pub file_bytes_a_second: Option<u64>,
    /// Between two messages sent in a group: <https://core.telegram.org/method/channels.toggleSlowMode>; 0: nobody may send.
    pub slowmode_seconds: f64,
    /// Violations of an account after which joins, resolutions and sending are answered with PEER_FLOOD (assumed).
    pub patience: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            multiple: 1.0,
            history_messages: 3_000,
            history_seconds: 30.0,
            resolves_a_day: 200,
            dialogs_an_hour: 60,
            chats: 500,
            seconds_between_joins: 180.0,
            takeout_delay_seconds: DAY,
            file_bytes_a_second: None,
            slowmode_seconds: 0.0,
            patience: 50,
        }
    }
}

impl Rules {
    /// What is wrong with the figures, if something is.
    pub(crate) fn problem(&self) -> Option<String> {
        let positive = [("multiple", self.multiple), ("history_seconds", self.history_seconds)];
        let not_negative = [
            ("seconds_between_joins", self.seconds_between_joins),
            ("takeout_delay_seconds", self.takeout_delay_seconds),
            ("slowmode_seconds", self.slowmode_seconds),
        ];
        let sound = |value: f64, least: f64| value.is_finite() && value >= least && value <= 1e9;
        let wrong = positive.iter().find(|(_, value)| !sound(*value, f64::MIN_POSITIVE));
        if let Some((name, value)) = wrong {
            return Some(format!("`{name}` must be above zero, not {value}"));
        }
        let wrong = not_negative.iter().find(|(_, value)| !sound(*value, 0.0));
        wrong.map(|(name, value)| format!("`{name}` must be zero or more, not {value}"))
    }

    /// A length of time under these rules.
    pub(crate) fn real(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds / self.multiple).unwrap_or(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_make_no_sense_are_named() {
        assert_eq!(Rules::default().problem(), None);
        let wrong = Rules { multiple: 0.0, ..Rules::default() };
        assert_eq!(wrong.problem().unwrap(), "`multiple` must be above zero, not 0");
        let wrong = Rules { slowmode_seconds: f64::NAN, ..Rules::default() };
        assert!(wrong.problem().unwrap().contains("`slowmode_seconds` must be zero or more"));
    }
}
