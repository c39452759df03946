//! What goes wrong on demand: for a share of the calls, a method, an account, a number of calls or a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::api::Failure;
use crate::clock;

/// A fault and whom it hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    #[serde(flatten)]
    pub kind: FaultKind,
    /// As in Telegram's schema, such as `messages.getHistory`; `*` is every method.
    #[serde(default = "every")]
    pub method: String,
    /// Only calls of this account; default: of all.
    #[serde(default)]
    pub account: Option<String>,
    /// The share of the calls that it hits, from 0 to 1; which ones follows from the order of the calls.
    #[serde(default = "always")]
    pub share: f64,
    /// It is over after so many hits; default: never.
    #[serde(default)]
    pub calls: Option<u64>,
    /// It is over after so many seconds; default: never.
    #[serde(default)]
    pub seconds: Option<f64>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    /// The call is refused with this error: `CHANNEL_PRIVATE`, `FLOOD_WAIT_37` (code 420), a name that nobody knows.
    Error {
        name: String,
        #[serde(default = "bad_request")]
        code: i32,
    },
    /// The call is done, and its connection closed instead of an answer.
    Cut,
    /// The same, by a reset.
    Reset,
    /// The call is done and never answered; the connection goes on.
    Silence,
    /// The connection stays open and nothing more is ever sent on it.
    HalfOpen,
    /// The answer comes later.
    Delay { ms: u64 },
    /// From now on the connection sends this slowly.
    Drip { bytes_per_second: u32 },
    /// Instead of the answer comes a packet that nobody can decrypt.
    Garbage,
    /// The call is not done: its salt is said to be wrong.
    WrongSalt,
}

fn every() -> String {
    "*".to_owned()
}

fn always() -> f64 {
    1.0
}

fn bad_request() -> i32 {
    400
}

impl Fault {
    /// Of every call, for ever.
    pub fn new(kind: FaultKind) -> Self {
        Fault { kind, method: every(), account: None, share: 1.0, calls: None, seconds: None }
    }

    /// A refusal with this error.
    pub fn error(code: i32, name: &str) -> Self {
        Fault::new(FaultKind::Error { name: name.to_owned(), code })
    }

    /// Only of calls of this method.
    #[must_use]
    pub fn of(self, method: &str) -> Self {
        Fault { method: method.to_owned(), ..self }
    }

    /// Only so many times.
    #[must_use]
    pub fn times(self, calls: u64) -> Self {
        Fault { calls: Some(calls), ..self }
    }

    /// Only a share of the calls.
    #[must_use]
    pub fn share(self, share: f64) -> Self {
        Fault { share, ..self }
    }

    /// What is wrong with it, if something is.
    pub(crate) fn problem(&self) -> Option<String> {
        match (&self.kind, self.seconds) {
            _ if !(0.0..=1.0).contains(&self.share) => Some(format!("`share` is between 0 and 1, not {}", self.share)),
            (_, Some(seconds)) if !(0.0..=1e9).contains(&seconds) => Some(format!("`seconds` is zero or more, not {seconds}")),
            (FaultKind::Drip { bytes_per_second: 0 }, _) => {
                Some("`bytes_per_second` is at least 1; `half_open` sends nothing".to_owned())
            }
            (FaultKind::Error { name, .. }, _) if name.is_empty() => Some("`name` is empty".to_owned()),
            _ => None,
        }
    }
}

/// The faults that are on.
#[derive(Debug)]
pub(crate) struct Faults(Mutex<On>);

#[derive(Debug)]
struct On {
    faults: Vec<(Fault, Option<Duration>)>,
    chance: ChaCha8Rng,
}

impl Default for Faults {
    fn default() -> Self {
        Faults(Mutex::new(On { faults: Vec::new(), chance: ChaCha8Rng::seed_from_u64(0) }))
    }
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        let until = fault.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(|time| clock::now() + time);
        self.lock().faults.push((fault, until));
    }

    /// Those that are on, the oldest first.
    pub(crate) fn all(&self) -> Vec<Fault> {
        let mut on = self.lock();
        on.forget();
        on.faults.iter().map(|(fault, _)| fault.clone()).collect()
    }

    /// Ends all.
    pub(crate) fn clear(&self) {
        self.lock().faults.clear();
    }

    /// What goes wrong with this call, if something does: the oldest fault that hits it.
    pub(crate) fn strike(&self, account: &str, method: &str) -> Option<FaultKind> {
        let On { faults, chance } = &mut *self.lock();
        On::over(faults);
        let hit = faults.iter_mut().map(|(fault, _)| fault).find(|fault| {
            (fault.method == "*" || fault.method == method)
                && fault.account.as_deref().is_none_or(|only| only == account)
                && (fault.share >= 1.0 || chance.random::<f64>() < fault.share)
        })?;
        if let Some(left) = &mut hit.calls {
            *left -= 1;
        }
        Some(hit.kind.clone())
    }

    fn lock(&self) -> MutexGuard<'_, On> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl On {
    fn forget(&mut self) {
        Self::over(&mut self.faults);
    }

    fn over(faults: &mut Vec<(Fault, Option<Duration>)>) {
        let now = clock::now();
        faults.retain(|(fault, until)| fault.calls != Some(0) && until.is_none_or(|until| now < until));
    }
}

/// What becomes of an answer on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Strike {
    Cut,
    Reset,
    Silence,
    HalfOpen,
    Delay(Duration),
    Drip(u32),
    Garbage,
    WrongSalt,
}

impl FaultKind {
    /// A refusal for the method to answer, or a strike for the connection.
    pub(crate) fn split(self) -> Result<Strike, Failure> {
        Ok(match self {
            FaultKind::Error { name, code } => return Err(Failure::new(code, &name)),
            FaultKind::Cut => Strike::Cut,
            FaultKind::Reset => Strike::Reset,
            FaultKind::Silence => Strike::Silence,
            FaultKind::HalfOpen => Strike::HalfOpen,
            FaultKind::Delay { ms } => Strike::Delay(Duration::from_millis(ms)),
            FaultKind::Drip { bytes_per_second } => Strike::Drip(bytes_per_second.max(1)),
            FaultKind::Garbage => Strike::Garbage,
            FaultKind::WrongSalt => Strike::WrongSalt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_its_method_and_account_as_often_as_asked() {
        let faults = Faults::default();
        faults.add(Fault::error(420, "FLOOD_WAIT_9").of("messages.getHistory").times(2));
        faults.add(Fault { account: Some("b".to_owned()), ..Fault::new(FaultKind::Cut) });
        assert_eq!(faults.strike("a", "messages.getDialogs"), None);
        for _ in 0..2 {
            let error = faults.strike("a", "messages.getHistory").unwrap().split().unwrap_err();
            assert_eq!(error.name(), "FLOOD_WAIT_9");
        }
        assert_eq!(faults.strike("a", "messages.getHistory"), None);
        assert_eq!(faults.strike("b", "messages.getHistory"), Some(FaultKind::Cut));
        assert_eq!(faults.all().len(), 1);
        faults.clear();
        assert_eq!(faults.strike("b", "messages.getHistory"), None);
    }

    #[test]
    fn a_share_of_the_calls_is_hit_and_time_ends_it() {
        let faults = Faults::default();
        faults.add(Fault::new(FaultKind::Silence).share(0.2));
        let hits = (0..1000).filter(|_| faults.strike("a", "help.getConfig").is_some()).count();
        assert!((150..250).contains(&hits), "{hits}");
        faults.clear();
        faults.add(Fault { seconds: Some(0.0), ..Fault::new(FaultKind::Cut) });
        assert_eq!(faults.strike("a", "help.getConfig"), None);
    }

    #[test]
    fn a_fault_is_read_from_one_flat_object() {
        let read = |text| serde_json::from_str::<Fault>(text).map_err(|error| error.to_string());
        assert_eq!(read(r#"{"fault": "cut"}"#), Ok(Fault::new(FaultKind::Cut)));
        let slow = read(r#"{"fault": "drip", "bytes_per_second": 1, "method": "upload.getFile", "share": 0.5}"#).unwrap();
        assert_eq!(slow, Fault::new(FaultKind::Drip { bytes_per_second: 1 }).of("upload.getFile").share(0.5));
        assert_eq!(read(r#"{"fault": "error", "name": "TIMEOUT", "code": -503}"#), Ok(Fault::error(-503, "TIMEOUT")));
        assert!(read(r#"{"fault": "earthquake"}"#).unwrap_err().contains("earthquake"));
        assert!(read(r#"{"fault": "cut", "share": 2}"#).unwrap().problem().unwrap().contains("between 0 and 1, not 2"));
    }
}
