//! Figures that several ask for at once, kept for some seconds: counting again for each would load the database for nothing.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{Http, problem::Problem};
use crate::clock;
use crate::record::statistics::{self as table, Hour, Now};

/// A figure is so old at most.
const GOOD: Duration = Duration::from_secs(10);

/// The rates, as they were counted last.
#[derive(Default)]
pub struct Kept(Mutex<Option<(Instant, Rates)>>);

/// What comes in and what ends.
#[derive(Debug, Clone)]
pub struct Rates {
    pub now: Now,
    pub hours: Vec<Hour>,
}

/// The rates, some seconds old at most; who asks meanwhile waits for the one that counts.
pub async fn rates(http: &Http) -> Result<Rates, Problem> {
    let mut kept = http.statistics.0.lock().await;
    if let Some((at, rates)) = &*kept
        && at.elapsed() < GOOD
    {
        return Ok(rates.clone());
    }
    let rates = Rates { now: table::now(&http.pool).await?, hours: table::hours(&http.pool).await? };
    *kept = Some((clock::mark(), rates.clone()));
    Ok(rates)
}
