//! What a target gets.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::clock;
use crate::record::alert::{Incident, Note};

/// So many incidents stand in one message; the others are counted.
const MOST: usize = 50;

/// A message: what opened and what is over since the last one. The version grows with whatever is not an addition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    pub version: u32,
    /// The node that tells.
    pub node: String,
    pub sent_at: DateTime<Utc>,
    /// Sent by `telekeep alert test`: nothing has happened.
    pub test: bool,
    /// One line for people.
    pub summary: String,
    pub opened: usize,
    pub recovered: usize,
    /// Beyond those that are listed.
    pub more: usize,
    pub incidents: Vec<Told>,
}

/// One incident in a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// open or recovered
    pub status: &'static str,
    #[serde(flatten)]
    pub incident: Incident,
}

impl Message {
    /// Of what a target has to be told.
    pub fn of(notes: &[Note], node: &str) -> Self {
        let recovered = notes.iter().filter(|note| note.closes).count();
        let opened = notes.len() - recovered;
        let mut rules = BTreeMap::<&str, usize>::new();
        for note in notes {
            *rules.entry(&note.incident.rule).or_default() += 1;
        }
        let rules: Vec<String> = rules.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
        let told = |note: &Note| {
            let mut incident = note.incident.clone();
            if !note.closes {
                // It may be over by now: its end is told apart.
                incident.closed_at = None;
            }
            Told { status: if note.closes { "recovered" } else { "open" }, incident }
        };
        Self {
            version: 1,
            node: node.to_owned(),
            sent_at: clock::now(),
            test: false,
            summary: match (opened, recovered) {
                (1, 0) | (0, 1) => notes.first().map_or_else(String::new, |note| {
                    let over = if note.closes { "over: " } else { "" };
                    format!("{over}{}", note.incident.says)
                }),
                _ => format!("{opened} opened, {recovered} recovered: {}", rules.join(", ")),
            },
            opened,
            recovered,
            more: notes.len().saturating_sub(MOST),
            incidents: notes.iter().take(MOST).map(told).collect(),
        }
    }

    /// Says nothing but that messages arrive.
    pub fn test(node: &str) -> Self {
        let summary = "a test of this target by `telekeep alert test`: nothing has happened".to_owned();
        Self {
            version: 1,
            node: node.to_owned(),
            sent_at: clock::now(),
            test: true,
            summary,
            opened: 0,
            recovered: 0,
            more: 0,
            incidents: Vec::new(),
        }
    }
}
