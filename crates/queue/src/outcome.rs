//! What a start can come to, and where each outcome leads. Pure: the arrows out of `running` are decided here.

use std::time::Duration;

use crate::State;

/// What the work answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Finished well: `done`.
    Done,
    /// Its time slice is over: `available` at once, behind its peers, counted as nothing.
    MoreToDo,
    /// Failed: `scheduled` after the policy's backoff, or `dead` with the last failure allowed.
    Retry {
        /// The error and its causes.
        error: String,
    },
    /// Must wait: `scheduled`, counted as nothing, and nothing moves it before then.
    Snooze {
        /// From now, by the database's clock.
        until: Duration,
        /// Who asked for the wait.
        reason: String,
    },
    /// Cannot go on without the operator: `held`.
    Hold {
        /// What happened.
        error: String,
        /// What the operator can do about it.
        hint: String,
    },
    /// Has become pointless: `cancelled`, with outcome `discarded`.
    Discard {
        /// Why.
        reason: String,
    },
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Outcome::Done
    }
}

/// How a kind of job is treated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The failure that makes a job dead.
    pub max_failures: i32,
    /// Wait after the first failure; doubles with each one.
    pub base: Duration,
    /// The longest wait, before jitter.
    pub cap: Duration,
    /// Share by which a wait is lengthened or shortened at random, 0 to 1.
    pub jitter: f64,
    /// Leases that may run out in a row; one more holds the job as poison.
    pub max_crashes: i32,
    /// A start that takes longer is aborted, as a failure.
    pub timeout: Duration,
    /// After this the work is asked to return [`Outcome::MoreToDo`].
    pub slice: Duration,
}

/// How often and how patiently one job is tried again, in place of what its kind's policy says.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Retry {
    /// The failure that makes the job dead.
    pub max_failures: i32,
    /// Wait after the first failure; doubles with each one.
    pub base: Duration,
    /// The longest wait, before jitter.
    pub cap: Duration,
    /// Share by which a wait is lengthened or shortened at random, 0 to 1.
    pub jitter: f64,
}

impl Policy {
    /// This policy, with a job's own wishes over it.
    pub(crate) fn with(self, retry: Option<Retry>) -> Self {
        match retry {
            Some(Retry { max_failures, base, cap, jitter }) => Policy { max_failures, base, cap, jitter, ..self },
            None => self,
        }
    }

    /// Eight failures, 5 s doubling to 1 h, a fifth of jitter, three crashes, half an hour, slices of 5 minutes.
    pub const DEFAULT: Policy = Policy {
        max_failures: 8,
        base: Duration::from_secs(5),
        cap: Duration::from_secs(3600),
        jitter: 0.2,
        max_crashes: 3,
        timeout: Duration::from_secs(1800),
        slice: Duration::from_secs(300),
    };

    /// The wait after `failure` failures; `chance` in 0..1 decides the jitter.
    pub fn backoff(&self, failure: i32, chance: f64) -> Duration {
        let doublings = u32::try_from(failure.saturating_sub(1)).unwrap_or(0).min(30);
        let plain = self.base.as_secs_f64() * f64::from(1_i32 << doublings);
        let capped = plain.min(self.cap.as_secs_f64());
        let jitter = self.jitter.clamp(0.0, 1.0);
        let seconds = (capped * (1.0 + jitter * (2.0 * chance - 1.0))).max(0.0);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// An arrow out of `running`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Move {
    pub(crate) state: State,
    pub(crate) outcome: &'static str,
    /// Until the next start, from the database's now.
    pub(crate) delay: Duration,
    pub(crate) failed: bool,
    /// The wait is somebody else's: nothing may shorten it.
    pub(crate) resting: bool,
    /// Never reached the work: the start is taken back.
    pub(crate) unstarted: bool,
    /// Keeps its place in the queue.
    pub(crate) in_place: bool,
    pub(crate) error: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Move {
    fn to(state: State, outcome: &'static str) -> Self {
        Move {
            state,
            outcome,
            delay: Duration::ZERO,
            failed: false,
            resting: false,
            unstarted: false,
            in_place: false,
            error: None,
            hint: None,
        }
    }

    /// Claimed, but never given to the work.
    pub(crate) fn unstarted() -> Self {
        Move { unstarted: true, in_place: true, ..Self::to(State::Available, "returned") }
    }

    /// Interrupted because the worker stops.
    pub(crate) fn drained() -> Self {
        Move { in_place: true, ..Self::to(State::Available, "drained") }
    }

    /// Where `outcome` leads a job that had `failure` failures before.
    pub(crate) fn after(outcome: Outcome, policy: &Policy, failure: i32, chance: f64) -> Self {
        match outcome {
            Outcome::Done => Self::to(State::Done, "done"),
            Outcome::MoreToDo => Self::to(State::Available, "more_to_do"),
            Outcome::Retry { error } if failure + 1 >= policy.max_failures => {
                Move { failed: true, error: Some(error), ..Self::to(State::Dead, "dead") }
            }
            Outcome::Retry { error } => Move {
                failed: true,
                delay: policy.backoff(failure + 1, chance),
                error: Some(error),
                ..Self::to(State::Scheduled, "retry")
            },
            Outcome::Snooze { until, reason } => {
                Move { delay: until, resting: true, error: Some(reason), ..Self::to(State::Scheduled, "snooze") }
            }
            Outcome::Hold { error, hint } => Move { error: Some(error), hint: Some(hint), ..Self::to(State::Held, "held") },
            Outcome::Discard { reason } => Move { error: Some(reason), ..Self::to(State::Cancelled, "discarded") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let policy = Policy { jitter: 0.0, ..Policy::DEFAULT };
        let seconds: Vec<u64> = (1..=12).map(|n| policy.backoff(n, 0.5).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(policy.backoff(i32::MAX, 0.5).as_secs(), 3600);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        for chance in [0.0, 0.25, 0.999] {
            let wait = Policy::DEFAULT.backoff(1, chance).as_secs_f64();
            assert!((4.0..=6.0).contains(&wait), "{wait}");
        }
    }

    #[test]
    fn the_last_failure_is_death() {
        let again = || Outcome::Retry { error: "no".into() };
        assert_eq!(Move::after(again(), &Policy::DEFAULT, 6, 0.5).state, State::Scheduled);
        assert_eq!(Move::after(again(), &Policy::DEFAULT, 7, 0.5).state, State::Dead);
    }
}
