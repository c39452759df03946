//! What a stream has heard and not yet committed.

use std::time::{Duration, Instant};

use crate::record::stream::{Advance, Happened, State};
use crate::record::{ChatId, Via};
use crate::telegram::updates::{Batch, Common, Sequence};

/// What was heard waits so long for more of its kind.
const LONGEST: Duration = Duration::from_millis(500);
/// So many facts are committed at once.
const MOST: usize = 1_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Pending {
    taken: Option<Taken>,
    since: Option<Instant>,
    /// The common pts that is stored.
    stored: i32,
}

/// What is committed together.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Each way of hearing at most once: what was heard twice is merged by its pts, in whichever order it is told.
    pub heard: Vec<(Via, Happened)>,
    pub advance: Advance,
}

impl Pending {
    pub fn new(stored: i32) -> Self {
        Self { taken: None, since: None, stored }
    }

    pub fn is_full(&self) -> bool {
        self.taken.as_ref().is_some_and(|taken| taken.heard.iter().map(|(_, happened)| happened.len()).sum::<usize>() >= MOST)
    }

    pub fn due_at(&self) -> Option<Instant> {
        self.since.map(|since| since + LONGEST)
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.is_full() || self.due_at().is_some_and(|at| now >= at)
    }

    pub fn add(&mut self, now: Instant, via: Via, happened: Happened, batch: &Batch) {
        let silent = batch.common.is_none() && batch.channels.is_empty() && batch.verified.is_none() && batch.jumped.is_none();
        if happened.is_empty() && silent {
            return;
        }
        self.since.get_or_insert(now);
        let taken = self.taken.get_or_insert_default();
        match taken.heard.iter_mut().find(|(by, _)| *by == via) {
            Some((_, earlier)) => earlier.extend(happened),
            None => taken.heard.push((via, happened)),
        }
        let advance = &mut taken.advance;
        if let Some(common) = batch.common {
            advance.common = Some((self.stored, stored(common)));
        }
        for moved in &batch.channels {
            let entry = advance.channels.entry(ChatId::channel(moved.channel)).or_insert((moved.before, moved.after));
            entry.1 = moved.after;
        }
        advance.jumped.extend(batch.jumped.map(key));
        advance.verified.extend(batch.verified.map(key));
    }

    pub fn take(&mut self) -> Option<Taken> {
        self.since = None;
        self.taken.take()
    }

    pub fn committed(&mut self, advance: &Advance) {
        if let Some((_, state)) = advance.common {
            self.stored = state.pts;
        }
    }

    pub fn committed_pts(&self) -> i32 {
        self.stored
    }
}

/// The own sequences moved, and nobody told what lies between.
pub(super) fn jump(before: i32, state: State) -> Advance {
    Advance { common: Some((before, state)), jumped: [None].into(), ..Advance::default() }
}

fn key(sequence: Sequence) -> Option<ChatId> {
    match sequence {
        Sequence::Common => None,
        Sequence::Channel(channel) => Some(ChatId::channel(channel)),
    }
}

pub(super) fn stored(it: Common) -> State {
    State { pts: it.pts, qts: it.qts, date: it.date, seq: it.seq }
}

pub(super) fn heard(it: State) -> Common {
    Common { pts: it.pts, qts: it.qts, date: it.date, seq: it.seq }
}
