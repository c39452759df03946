//! Waits that Telegram asks for. A few seconds are slept here; anything longer goes back to the caller, who makes a schedule of it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Instrument;

use super::{Error, Result};
use crate::clock;
use crate::telemetry::{metrics, traces};

/// The longest single wait that is slept instead of being returned.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// After so many sleeps for one call the wait is returned, however short: nothing loops on an error.
const MOST_SLEEPS: u32 = 3;
/// Telegram counts whole seconds from its own answer; asking again a moment early would start the wait anew.
const MARGIN: Duration = Duration::from_millis(200);

/// The waits of one connection: whoever shares it sleeps through short ones too, and is refused during long ones, so that nothing is
/// called in the meantime, also before the record knows.
#[derive(Default)]
pub(super) struct Rests(Mutex<HashMap<String, Instant>>);

impl Rests {
    fn begin(&self, method: String, wait: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(method, clock::mark() + wait);
    }

    fn left(&self, method: &str) -> Option<Duration> {
        let mut rests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = rests.get(method)?.checked_duration_since(clock::mark());
        if left.is_none() {
            rests.remove(method);
        }
        left
    }

    async fn over(&self, method: &str) -> Result<()> {
        while let Some(left) = self.left(method) {
            if left > LONGEST_SLEEP + MARGIN {
                return Err(Error::Flood { method: method.to_owned(), wait: left });
            }
            tokio::time::sleep(left).await;
        }
        Ok(())
    }
}

/// Makes a call, sleeping through short waits, also those that another call of the method was told.
pub(super) async fn sleep_short<T, F>(rests: &Rests, method: &str, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for _ in 0..MOST_SLEEPS {
        rests.over(method).await?;
        match counted(method, call().instrument(span(method)).await) {
            Err(Error::Flood { method, wait }) if wait <= LONGEST_SLEEP => {
                tracing::debug!(telegram.method = %method, wait_s = wait.as_secs(), "sleeping through a short flood wait");
                rests.begin(method, wait + MARGIN);
            }
            answer => return noted(rests, answer),
        }
    }
    rests.over(method).await?;
    noted(rests, counted(method, call().instrument(span(method)).await))
}

/// A call as a part of a trace.
fn span(method: &str) -> tracing::Span {
    tracing::info_span!(target: traces::TARGET, "telegram", otel.name = method, otel.kind = "client", rpc.method = method)
}

/// Counts what came of a call.
fn counted<T>(method: &str, answer: Result<T>) -> Result<T> {
    let outcome = match &answer {
        Ok(_) => "ok",
        // Nothing was sent.
        Err(Error::NotOurs { .. } | Error::OverBudget { .. }) => return answer,
        Err(Error::Flood { wait, .. } | Error::SlowMode { wait, .. } | Error::TakeoutDelay { wait, .. }) => {
            metrics::FLOODS.add(1, &[method]);
            metrics::FLOOD_SECONDS.add(wait.as_secs(), &[method]);
            "flood"
        }
        Err(Error::Transient { .. }) => "passing",
        Err(_) => "refused",
    };
    metrics::CALLS.add(1, &[method, outcome]);
    answer
}

fn noted<T>(rests: &Rests, answer: Result<T>) -> Result<T> {
    if let Err(Error::Flood { method, wait }) = &answer {
        rests.begin(method.clone(), *wait);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls that are refused `times` times with this wait, then answered; gives the calls made and the answer.
    async fn refused(times: u32, seconds: u64) -> (u32, Result<()>) {
        let mut calls = 0;
        let answer = sleep_short(&Rests::default(), "messages.getHistory", || {
            calls += 1;
            let refused = calls <= times;
            async move {
                if refused {
                    return Err(Error::Flood { method: "messages.getHistory".into(), wait: Duration::from_secs(seconds) });
                }
                Ok(())
            }
        })
        .await;
        (calls, answer)
    }

    #[tokio::test]
    async fn a_short_wait_is_slept() {
        let (calls, answer) = refused(1, 0).await;
        assert!(answer.is_ok());
        assert_eq!(calls, 2);
    }

    #[tokio::test]
    async fn who_shares_the_connection_sleeps_too() {
        let rests = Rests::default();
        rests.begin("messages.getHistory".into(), Duration::from_millis(300));
        let began = clock::mark();
        sleep_short(&rests, "users.getUsers", || async { Ok(()) }).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(250), "other methods go on");
        sleep_short(&rests, "messages.getHistory", || async { Ok(()) }).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(300));
    }

    #[tokio::test]
    async fn a_long_wait_goes_back_at_once() {
        let (calls, answer) = refused(1, 6).await;
        assert_eq!(answer.unwrap_err().wait(), Some(Duration::from_secs(6)));
        assert_eq!(calls, 1);
    }

    #[tokio::test]
    async fn who_shares_the_connection_is_refused_during_a_long_wait() {
        let rests = Rests::default();
        let flood = || Error::Flood { method: "messages.getHistory".into(), wait: Duration::from_secs(60) };
        sleep_short(&rests, "messages.getHistory", || async { Err::<(), _>(flood()) }).await.unwrap_err();
        let again = sleep_short(&rests, "messages.getHistory", || async { panic!("was called") as Result<()> }).await.unwrap_err();
        assert!(again.wait().unwrap() > Duration::from_secs(58), "{again}");
        sleep_short(&rests, "users.getUsers", || async { Ok(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn short_waits_without_end_are_not_slept_for_ever() {
        let (calls, answer) = refused(99, 0).await;
        assert!(answer.is_err());
        assert_eq!(calls, 4);
    }
}
