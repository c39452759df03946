//! Plays a script of events and faults, in real time or all at once.

mod file;

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use crate::clock;
use crate::datacentre::Datacentre;
use crate::fault::Fault;
use crate::push::PushFaults;
use crate::world::Timed;

pub use file::read;

/// One step of a script.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Since the script began.
    pub after: Duration,
    pub deed: Deed,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    Event(Timed),
    /// Goes wrong from then on.
    Fault(Fault),
    /// Goes wrong with pushes.
    Pushes(PushFaults),
    /// No call goes wrong any more.
    Heal,
}

/// How a script's offsets are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pace {
    /// Each step happens so long after the start.
    Real,
    /// All happen at once, dated as if the last of them happened now.
    Simulated,
}

/// Plays to the end; an event that cannot happen is told in the log, and the next one follows.
pub(crate) async fn play(datacentre: Arc<Datacentre>, steps: Vec<Step>, pace: Pace) {
    let begin = clock::after(Duration::ZERO);
    let length = steps.last().map_or(Duration::ZERO, |step| step.after);
    let first = clock::now().saturating_sub(length);
    for (step, at) in steps.into_iter().zip(1..) {
        if pace == Pace::Real {
            tokio::time::sleep_until(begin + step.after).await;
        }
        match step.deed {
            Deed::Fault(fault) => datacentre.faults.add(fault),
            Deed::Pushes(faults) => datacentre.pushes.inject(faults),
            Deed::Heal => datacentre.faults.clear(),
            Deed::Event(mut timed) => {
                if pace == Pace::Simulated {
                    let date = i32::try_from((first + step.after).as_secs()).unwrap_or(i32::MAX);
                    timed.date = timed.date.or(Some(date));
                }
                if let Err(error) = datacentre.play(timed, None) {
                    tracing::warn!(script.event = at, error = %error, "an event of the script cannot happen");
                }
            }
        }
    }
}
