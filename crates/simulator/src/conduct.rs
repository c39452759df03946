//! What accounts do, held against the rules: who goes too fast is told to wait, and what endangers an account is listed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::api::Failure;
use crate::clock;
use crate::violation::{Limit, Offence, Violations};
use crate::world::Rules;

const DAY: f64 = 86_400.0;
const HOUR: f64 = 3_600.0;
/// Calls that come so soon after a refusal were on their way when it was sent.
const ON_ITS_WAY: Duration = Duration::from_millis(300);

/// What each account did lately, and until when it was told to wait.
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    accounts: Mutex<HashMap<String, Lately>>,
}

#[derive(Debug, Default)]
struct Lately {
    windows: HashMap<Limit, VecDeque<(Duration, u64)>>,
    deadlines: HashMap<String, Deadline>,
    joined_at: Option<Duration>,
    takeout_from: Option<Duration>,
    sent_at: Option<Duration>,
}

/// A wait that an account was told.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    until: Duration,
    told: Duration,
    prefix: &'static str,
    /// Refuses until then; one that a test injected only counts who comes earlier.
    standing: bool,
}

/// Who calls what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) account: &'a str,
    pub(crate) method: &'a str,
    /// How many channels and supergroups the account is in.
    pub(crate) chats: usize,
    /// Of an answer on its way.
    pub(crate) latency: Duration,
}

impl Conduct {
    /// Refuses a call that the rules forbid now, and lists what is a violation.
    pub(crate) fn check(&self, attempt: Attempt<'_>, rules: Option<&Rules>, violations: &Violations) -> Result<(), Failure> {
        let Attempt { account, method, .. } = attempt;
        let now = clock::now();
        if conspicuous(method) {
            violations.add(account, method, Offence::Conspicuous);
        }
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = accounts.entry(account.to_owned()).or_default();
        if let Some(deadline) = lately.deadlines.get(method).copied() {
            if now >= deadline.until {
                lately.deadlines.remove(method);
            } else {
                if now > deadline.told + ON_ITS_WAY + attempt.latency {
                    let early_ms = u64::try_from((deadline.until - now).as_millis()).unwrap_or(u64::MAX);
                    violations.add(account, method, Offence::BeforeDeadline { early_ms });
                }
                if deadline.standing {
                    return Err(wait(deadline.prefix, deadline.until - now));
                }
            }
        }
        let Some(rules) = rules else { return Ok(()) };
        let (joins, sends) = (joins(method), sends(method));
        if (joins || sends || method == "contacts.resolveUsername") && violations.of(account) > rules.patience {
            return Err(Failure::bad("PEER_FLOOD"));
        }
        let refused = match method {
            "messages.getHistory" => {
                lately.over(Limit::History, now, rules.real(rules.history_seconds), rules.history_messages.into(), 0)
            }
            "contacts.resolveUsername" => lately.over(Limit::Resolves, now, rules.real(DAY), rules.resolves_a_day.into(), 1),
            "messages.getDialogs" => lately.over(Limit::Dialogs, now, rules.real(HOUR), rules.dialogs_an_hour.into(), 1),
            "upload.getFile" => rules
                .file_bytes_a_second
                .and_then(|bytes| lately.over(Limit::Files, now, rules.real(1.0), bytes, 0))
                .map(|refusal| Refusal { prefix: "FLOOD_PREMIUM_WAIT", ..refusal }),
            "account.initTakeoutSession" => {
                let from = *lately.takeout_from.get_or_insert(now + rules.real(rules.takeout_delay_seconds));
                (now < from).then_some(Refusal { limit: Limit::Takeout, prefix: "TAKEOUT_INIT_DELAY", until: from })
            }
            _ if joins => {
                if attempt.chats >= rules.chats {
                    violations.add(account, method, Offence::Exceeded { limit: Limit::Chats });
                    return Err(Failure::bad("CHANNELS_TOO_MUCH"));
                }
                spaced(&mut lately.joined_at, now, rules.real(rules.seconds_between_joins)).map(|until| Refusal {
                    limit: Limit::Joins,
                    prefix: "FLOOD_WAIT",
                    until,
                })
            }
            _ if sends && rules.slowmode_seconds > 0.0 => spaced(&mut lately.sent_at, now, rules.real(rules.slowmode_seconds))
                .map(|until| Refusal { limit: Limit::Slowmode, prefix: "SLOWMODE_WAIT", until }),
            _ => None,
        };
        let Some(Refusal { limit, prefix, until }) = refused else { return Ok(()) };
        // the first takeout is always told to wait: nobody is to blame
        if limit != Limit::Takeout {
            violations.add(account, method, Offence::Exceeded { limit });
        }
        // what is told is kept to
        let until = now + whole(until - now);
        lately.deadlines.insert(method.to_owned(), Deadline { until, told: now, prefix, standing: true });
        Err(wait(prefix, until - now))
    }

    /// Notes what a call was given: messages, or bytes.
    pub(crate) fn served(&self, account: &str, limit: Limit, amount: u64) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let window = accounts.entry(account.to_owned()).or_default().windows.entry(limit).or_default();
        window.push_back((clock::now(), amount));
        // without rules nobody shortens it
        while window.len() > 100_000 {
            window.pop_front();
        }
    }

    /// Notes a wait that a test made the server tell.
    pub(crate) fn told(&self, account: &str, method: &str, failure: &Failure) {
        let Some((prefix, seconds)) = failure.wait() else { return };
        let now = clock::now();
        let deadline = Deadline { until: now + Duration::from_secs(seconds), told: now, prefix, standing: false };
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.entry(account.to_owned()).or_default().deadlines.insert(method.to_owned(), deadline);
    }
}

struct Refusal {
    limit: Limit,
    prefix: &'static str,
    until: Duration,
}

impl Lately {
    /// Counts `amount` more in a window, or says until when it is full.
    fn over(&mut self, limit: Limit, now: Duration, length: Duration, allowed: u64, amount: u64) -> Option<Refusal> {
        let window = self.windows.entry(limit).or_default();
        while window.front().is_some_and(|(at, _)| *at + length <= now) {
            window.pop_front();
        }
        let total: u64 = window.iter().map(|(_, amount)| amount).sum();
        if total >= allowed {
            let oldest = window.front().map_or(now, |(at, _)| *at);
            return Some(Refusal { limit, prefix: "FLOOD_WAIT", until: oldest + length });
        }
        if amount > 0 {
            window.push_back((now, amount));
        }
        None
    }
}

/// Takes a turn, or says when the next one is.
fn spaced(last: &mut Option<Duration>, now: Duration, gap: Duration) -> Option<Duration> {
    match *last {
        Some(at) if at + gap > now => Some(at + gap),
        _ => {
            *last = Some(now);
            None
        }
    }
}

/// Telegram tells whole seconds, at least one.
fn whole(left: Duration) -> Duration {
    Duration::from_secs((left.as_secs() + u64::from(left.subsec_nanos() > 0)).max(1))
}

fn wait(prefix: &str, left: Duration) -> Failure {
    Failure::new(420, &format!("{prefix}_{}", whole(left).as_secs()))
}

/// Makes the account a member.
pub(crate) fn joins(method: &str) -> bool {
    matches!(method, "channels.joinChannel" | "messages.importChatInvite")
}

/// Sends something that others see.
pub(crate) fn sends(method: &str) -> bool {
    matches!(
        method,
        "messages.sendMessage"
            | "messages.sendMedia"
            | "messages.sendMultiMedia"
            | "messages.sendInlineBotResult"
            | "messages.forwardMessages"
            | "messages.sendScheduledMessages"
    )
}

/// Shows the account to others, or changes what others see. A collector has no use for any of these.
fn conspicuous(method: &str) -> bool {
    sends(method)
        || matches!(
            method,
            "account.updateStatus"
                | "channels.deleteMessages"
                | "channels.inviteToChannel"
                | "channels.readHistory"
                | "channels.readMessageContents"
                | "contacts.addContact"
                | "contacts.importContacts"
                | "messages.addChatUser"
                | "messages.deleteHistory"
                | "messages.deleteMessages"
                | "messages.editMessage"
                | "messages.readDiscussion"
                | "messages.readHistory"
                | "messages.readMentions"
                | "messages.readMessageContents"
                | "messages.readReactions"
                | "messages.sendReaction"
                | "messages.sendVote"
                | "messages.setTyping"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(method: &str) -> Attempt<'_> {
        Attempt { account: "a", method, chats: 3, latency: Duration::ZERO }
    }

    #[test]
    fn what_is_told_is_kept_to_and_who_does_not_is_listed() {
        let (conduct, violations) = (Conduct::default(), Violations::default());
        let rules = Rules { history_messages: 150, history_seconds: 600.0, multiple: 20.0, ..Rules::default() };
        let read = |account| conduct.check(Attempt { account, ..attempt("messages.getHistory") }, Some(&rules), &violations);
        for _ in 0..2 {
            assert!(read("a").is_ok());
            conduct.served("a", Limit::History, 100);
        }
        assert!(matches!(read("a").unwrap_err().wait(), Some(("FLOOD_WAIT", 29..=30))));
        assert_eq!(violations.all()[0].offence, Offence::Exceeded { limit: Limit::History });
        assert!(read("b").is_ok());
        // what was on its way is no violation
        assert!(read("a").is_err());
        assert_eq!(violations.all().len(), 1);
        std::thread::sleep(ON_ITS_WAY + Duration::from_millis(10));
        assert!(read("a").is_err());
        assert!(matches!(violations.all()[1].offence, Offence::BeforeDeadline { early_ms: 28_000..30_000 }));
    }

    #[test]
    fn joins_are_minutes_apart_and_chats_have_an_end() {
        let (conduct, violations) = (Conduct::default(), Violations::default());
        let rules = Rules::default();
        let join = |chats| conduct.check(Attempt { chats, ..attempt("channels.joinChannel") }, Some(&rules), &violations);
        assert!(join(3).is_ok());
        assert!(matches!(join(4).unwrap_err().wait(), Some(("FLOOD_WAIT", 180))));
        let other = Attempt { account: "b", chats: 500, ..attempt("messages.importChatInvite") };
        assert_eq!(conduct.check(other, Some(&rules), &violations).unwrap_err().name(), "CHANNELS_TOO_MUCH");
    }

    #[test]
    fn a_takeout_waits_a_day_and_patience_ends() {
        let (conduct, violations) = (Conduct::default(), Violations::default());
        let rules = Rules { patience: 1, resolves_a_day: 2, ..Rules::default() };
        let check = |method| conduct.check(attempt(method), Some(&rules), &violations);
        assert!(matches!(check("account.initTakeoutSession").unwrap_err().wait(), Some(("TAKEOUT_INIT_DELAY", 86_400))));
        assert!(violations.all().is_empty());
        for _ in 0..2 {
            assert!(check("contacts.resolveUsername").is_ok());
        }
        assert!(matches!(check("contacts.resolveUsername").unwrap_err().wait(), Some(("FLOOD_WAIT", 86_000..=86_400))));
        assert!(check("messages.setTyping").is_ok());
        assert_eq!(check("channels.joinChannel").unwrap_err().name(), "PEER_FLOOD");
        assert_eq!(violations.all().len(), 2);
    }

    #[test]
    fn files_and_messages_have_waits_of_their_own() {
        let (conduct, violations) = (Conduct::default(), Violations::default());
        let rules = Rules { file_bytes_a_second: Some(1000), slowmode_seconds: 30.0, ..Rules::default() };
        let check = |method| conduct.check(attempt(method), Some(&rules), &violations);
        assert!(check("upload.getFile").is_ok());
        conduct.served("a", Limit::Files, 1000);
        assert_eq!(check("upload.getFile").unwrap_err().wait(), Some(("FLOOD_PREMIUM_WAIT", 1)));
        assert!(check("messages.sendMessage").is_ok());
        assert_eq!(check("messages.sendMessage").unwrap_err().wait(), Some(("SLOWMODE_WAIT", 30)));
        let exceeded = |limit| violations.all().iter().any(|one| one.offence == Offence::Exceeded { limit });
        assert!(exceeded(Limit::Files) && exceeded(Limit::Slowmode));
    }

    #[test]
    fn an_injected_wait_is_watched_and_not_enforced() {
        let (conduct, violations) = (Conduct::default(), Violations::default());
        conduct.told("a", "messages.getHistory", &Failure::new(420, "FLOOD_WAIT_9"));
        std::thread::sleep(ON_ITS_WAY + Duration::from_millis(10));
        assert!(conduct.check(attempt("messages.getHistory"), None, &violations).is_ok());
        assert!(matches!(violations.all()[0].offence, Offence::BeforeDeadline { early_ms: 8_000..9_000 }));
    }
}
