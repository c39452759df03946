//! Waits that Telegram asks for. A few seconds are slept here; anything longer goes back to the caller, who makes a schedule of it.

use std::time::Duration;

use super::{Error, Result};

/// The longest single wait that is slept instead of being returned.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// After so many sleeps for one call the wait is returned, however short: nothing loops on an error.
const MOST_SLEEPS: u32 = 3;
/// Telegram counts whole seconds from its own answer; asking again a moment early would start the wait anew.
const MARGIN: Duration = Duration::from_millis(200);

/// Makes a call, sleeping through short waits.
pub(super) async fn sleep_short<T, F>(mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for _ in 0..MOST_SLEEPS {
        match call().await {
            Err(Error::Flood { method, wait }) if wait <= LONGEST_SLEEP => {
                tracing::debug!(telegram.method = %method, wait_s = wait.as_secs(), "sleeping through a short flood wait");
                tokio::time::sleep(wait + MARGIN).await;
            }
            answer => return answer,
        }
    }
    call().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls that are refused `times` times with this wait, then answered; gives the calls made and the answer.
    async fn refused(times: u32, seconds: u64) -> (u32, Result<()>) {
        let mut calls = 0;
        let answer = sleep_short(|| {
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
    async fn a_long_wait_goes_back_at_once() {
        let (calls, answer) = refused(1, 6).await;
        assert_eq!(answer.unwrap_err().wait(), Some(Duration::from_secs(6)));
        assert_eq!(calls, 1);
    }

    #[tokio::test]
    async fn short_waits_without_end_are_not_slept_for_ever() {
        let (calls, answer) = refused(99, 0).await;
        assert!(answer.is_err());
        assert_eq!(calls, 4);
    }
}
