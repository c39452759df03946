//! Workflows: what happens, when, to which chats, in which order. A small durable engine over the queue.
//!
//! A file in `workflows/` is one workflow. A run is one trigger × one chat; its steps enqueue jobs; one advancer consumes finished jobs.

pub mod by_hand;
pub mod file;
pub mod run;
pub mod view;

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use telekeep_queue::Retry;

use crate::record::{ChatId, selection::Selection};

/// One workflow, validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    pub name: String,
    pub description: String,
    pub trigger: Trigger,
    pub select: Select,
    pub steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "Allow::is_empty")]
    pub allow: Allow,
}

/// What a workflow may do beside reading.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// Chats that it may join again, by public name or id.
    pub join: Vec<Joinable>,
}

/// A chat of an allow-list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Joinable {
    /// A marked id.
    Id(i64),
    /// A public name, with or without `@`.
    Name(String),
}

impl Allow {
    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.join.is_empty()
    }

    /// Whether a chat with these public names may be joined.
    pub fn joins(&self, chat: ChatId, names: &[String]) -> bool {
        self.join.iter().any(|allowed| match allowed {
            Joinable::Id(id) => *id == chat.0,
            Joinable::Name(name) => names.iter().any(|it| it.eq_ignore_ascii_case(name.trim_start_matches('@'))),
        })
    }
}

/// What starts a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Only by hand.
    Manual,
    /// At the ticks of a schedule.
    Cron { schedule: String, timezone: Tz, missed: Missed },
    /// When one of these events happens to a chat.
    Listener(Vec<String>),
}

impl Trigger {
    /// One word for people and for the run's row.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Cron { .. } => "cron",
            Self::Listener(_) => "listener",
        }
    }
}

/// When a workflow starts, in a few words.
impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manual => f.write_str("by hand"),
            Self::Cron { schedule, timezone, .. } => write!(f, "{schedule} {timezone}"),
            Self::Listener(events) => f.write_str(&events.join(", ")),
        }
    }
}

/// What becomes of ticks that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    All,
    #[default]
    Latest,
    Skip,
}

/// Which watched chats: each gets a run of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Select {
    /// Chat types; empty: all.
    pub kinds: Vec<String>,
    /// Chats by id; empty: all.
    pub chats: Vec<i64>,
    /// Tags of the watch, one of them; empty: all.
    pub tags: Vec<String>,
    /// Only chats with missing or stale ids, or a top that was not confirmed since the last tick.
    pub incomplete: bool,
    /// Only chats with messages whose counts are due.
    pub uncounted: bool,
}

impl Select {
    /// For the record; what was not confirmed since `last` is incomplete.
    pub fn selection(&self, last: DateTime<Utc>) -> Selection<'_> {
        Selection {
            kinds: &self.kinds,
            chats: &self.chats,
            tags: &self.tags,
            incomplete_since: self.incomplete.then_some(last),
            uncounted: self.uncounted,
        }
    }
}

/// Which chats, in a few words.
impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.kinds.is_empty() {
            parts.push(self.kinds.join(" or "));
        }
        if !self.tags.is_empty() {
            parts.push(format!("tagged {}", self.tags.join(" or ")));
        }
        if !self.chats.is_empty() {
            parts.push(format!("{} named", self.chats.len()));
        }
        if self.incomplete {
            parts.push("incomplete".into());
        }
        if self.uncounted {
            parts.push("counts due".into());
        }
        f.write_str(&if parts.is_empty() { "all that are watched".into() } else { parts.join(", ") })
    }
}

/// One step: jobs of one kind, after other steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub job: String,
    pub after: Vec<String>,
    pub priority: Option<i16>,
    pub retry: Option<Retry>,
    /// The jobs of a tick's runs begin within so many seconds, each chat's at a moment of its own; absent: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread_seconds: Option<u32>,
}

impl Step {
    /// When this step's jobs for a chat begin, in seconds from now: the same moment of the spread in each tick.
    pub fn delay_seconds(&self, chat: ChatId) -> Option<u32> {
        // Knuth's multiplicative hash: neighbouring ids lie far apart.
        let place = (chat.0.unsigned_abs() as u32).wrapping_mul(2_654_435_761);
        self.spread_seconds.map(|spread| ((u64::from(place) * u64::from(spread)) >> 32) as u32)
    }
}

/// All workflows by name.
pub type Workflows = BTreeMap<String, Workflow>;

/// The ticks of a schedule after `last` up to `now`, oldest first, as the workflow wants missed ones treated.
///
/// At most the newest 1,000 are given: a schedule of each second that slept for a year would else never end.
pub fn due(schedule: &cron::Schedule, zone: Tz, missed: Missed, last: DateTime<Utc>, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let mut ticks = std::collections::VecDeque::new();
    for tick in schedule.after(&last.with_timezone(&zone)).map(|t| t.with_timezone(&Utc)).take_while(|t| *t <= now) {
        if ticks.len() == 1000 {
            ticks.pop_front();
        }
        ticks.push_back(tick);
    }
    match missed {
        Missed::All => ticks.into(),
        Missed::Latest => ticks.pop_back().into_iter().collect(),
        // A tick within the last minute is this one, not a missed one.
        Missed::Skip => ticks.pop_back().filter(|t| now - *t < chrono::Duration::minutes(1)).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn missed_ticks_are_caught_up_or_skipped_as_the_file_says() {
        let schedule: cron::Schedule = "0 0 3 * * *".parse().unwrap();
        let (last, now) = (at("2026-01-01T03:00:00Z"), at("2026-01-04T09:00:00Z"));
        let days =
            |missed| due(&schedule, Tz::UTC, missed, last, now).iter().map(|t| t.format("%d").to_string()).collect::<Vec<_>>();
        assert_eq!(days(Missed::All), ["02", "03", "04"]);
        assert_eq!(days(Missed::Latest), ["04"]);
        assert!(days(Missed::Skip).is_empty());
        assert_eq!(due(&schedule, Tz::UTC, Missed::Skip, last, at("2026-01-02T03:00:00Z")).len(), 1);
        assert!(due(&schedule, Tz::UTC, Missed::All, last, at("2026-01-02T02:59:59Z")).is_empty());
    }

    #[test]
    fn a_spread_gives_each_chat_a_moment_of_its_own() {
        let step = |spread_seconds| Step {
            name: "refresh".into(),
            job: "chat_refresh".into(),
            after: Vec::new(),
            priority: None,
            retry: None,
            spread_seconds,
        };
        assert_eq!(step(None).delay_seconds(ChatId(7)), None);
        let delays: Vec<u32> = (0..1_000).filter_map(|n| step(Some(3_600)).delay_seconds(ChatId::channel(n))).collect();
        assert_eq!(delays.len(), 1_000);
        for quarter in 0..4 {
            let within = delays.iter().filter(|d| (quarter * 900..(quarter + 1) * 900).contains(*d)).count();
            assert!((200..300).contains(&within), "{within} of 1,000 in quarter {quarter}");
        }
    }

    #[test]
    fn a_schedule_keeps_to_its_time_zone() {
        let schedule: cron::Schedule = "0 0 3 * * *".parse().unwrap();
        let ticks = due(&schedule, Tz::Europe__Berlin, Missed::All, at("2026-07-01T00:00:00Z"), at("2026-07-01T23:00:00Z"));
        assert_eq!(ticks, [at("2026-07-01T01:00:00Z")]);
    }
}
