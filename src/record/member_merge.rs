//! The merge rules of members: what is known of somebody in a chat after more was told. Pure; no SQL here.
//!
//! A standing is ordered by Telegram's own date where two facts have one, else by the database's clock: a list speaks for the moment
//! before it was asked for, what was heard for the moment of its receipt. When somebody joined is ordered by itself. First and last
//! seen are the least and the greatest.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::ChatId;

/// What somebody is in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Status {
    Creator,
    Administrator,
    Member,
    /// May not do all that others may
    Restricted,
    /// Was removed, and may not come back
    Banned,
    Left,
}

impl Status {
    const ALL: [Status; 6] =
        [Status::Creator, Status::Administrator, Status::Member, Status::Restricted, Status::Banned, Status::Left];

    /// The name in the record and in the index.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Creator => "creator",
            Status::Administrator => "administrator",
            Status::Member => "member",
            Status::Restricted => "restricted",
            Status::Banned => "banned",
            Status::Left => "left",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// A participant as Telegram describes one. A field that is not there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub status: Status,
    /// In the chat now.
    pub present: bool,
    /// Of [`FIELDS`].
    pub fields: Map<String, Value>,
    /// When the person came in, and by whom; of some constructors it is not told.
    pub joined: Option<DateTime<Utc>>,
    pub invited_by: Option<i64>,
}

/// What belongs to a status, and goes with it.
pub const FIELDS: [&str; 9] = [
    "title",
    "rights",
    "until_date",
    "promoted_by_id",
    "restricted_by_id",
    "removed_by_id",
    "is_anonymous",
    "left_at",
    "left_between",
];

/// What is said of somebody.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Wrote or acted here: nothing of the status.
    Seen,
    Is(Standing),
    /// Came in, by whom if not alone.
    Came {
        by: Option<i64>,
    },
    /// Is out, by whom if not alone.
    Left {
        by: Option<i64>,
    },
    /// Became an administrator, or is one no more.
    Administrator(bool),
    /// Has this title, or none.
    Title(Option<String>),
    /// Is not in a list that shows everybody.
    Missing,
}

/// When it was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Telegram dated it; of a message its id orders what has one date.
    Dated { date: DateTime<Utc>, message: Option<i64> },
    /// By a list that was asked for after this moment of the database.
    Listed { asked: DateTime<Utc>, snapshot: i64 },
    /// Heard without a date.
    Heard,
}

/// One fact of somebody in a chat.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    pub chat: ChatId,
    /// In marked form: a channel can be banned, too.
    pub user: i64,
    pub said: Said,
    pub when: When,
}

/// A row, provenance apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub status: Option<Status>,
    pub present: Option<bool>,
    /// [`FIELDS`], joined_date and invited_by_id.
    pub body: Map<String, Value>,
    pub told_date: Option<DateTime<Utc>>,
    pub told_id: i64,
    pub told_at: Option<DateTime<Utc>>,
    /// The list that told the newest standing.
    pub snapshot: Option<i64>,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
}

impl Row {
    /// Whether nothing that a document shows differs, the times of being seen apart.
    pub fn says_the_same(&self, other: &Row) -> bool {
        (self.status, self.present, &self.body) == (other.status, other.present, &other.body)
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }
}

/// Telegram's clock and the database's may differ by so much: a node's follows the database's within seconds, and Telegram takes
/// messages that are up to 300 s old (<https://core.telegram.org/mtproto/service_messages_about_messages#notice-of-ignored-error-message>).
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(300);

impl When {
    /// By the database's clock, `now` being the moment of the commit.
    fn told_at(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            When::Dated { date, .. } => now.min(date + CLOCKS_DIFFER),
            When::Listed { asked, .. } => asked,
            When::Heard => now,
        }
    }

    /// Telegram's own order. What no message tells comes after the messages of its second.
    fn dated(self) -> Option<(DateTime<Utc>, i64)> {
        match self {
            When::Dated { date, message } => Some((date, message.unwrap_or(i64::MAX))),
            When::Listed { .. } | When::Heard => None,
        }
    }
}

/// What is known after one fact more.
pub fn merge(known: Option<&Row>, relation: &Relation, now: DateTime<Utc>) -> Row {
    let reveals = known.is_some_and(|row| reveals(row, relation));
    let at = relation.when.dated().map_or(relation.when.told_at(now), |(date, _)| date.min(now));
    let mut row = known.cloned().unwrap_or_else(|| Row {
        status: None,
        present: None,
        body: Map::new(),
        told_date: None,
        told_id: 0,
        told_at: None,
        snapshot: None,
        first_seen: at,
        last_seen: at,
    });
    if shows_presence(relation) {
        row.first_seen = row.first_seen.min(at);
        row.last_seen = row.last_seen.max(at);
    }
    join(&mut row, relation);
    if relation.said != Said::Seen && (reveals || is_newer(&row, relation.when, now)) {
        stand(&mut row, relation, now);
    }
    row
}

/// Whether the person was in the chat then. Who left was there until then.
fn shows_presence(relation: &Relation) -> bool {
    match &relation.said {
        Said::Seen | Said::Came { .. } | Said::Administrator(_) | Said::Title(_) => true,
        Said::Is(standing) => standing.present,
        Said::Left { .. } => relation.when.dated().is_some(),
        Said::Missing => false,
    }
}

fn is_newer(row: &Row, when: When, now: DateTime<Utc>) -> bool {
    let Some(known_at) = row.told_at else { return true };
    match (row.told_date, when.dated(), when) {
        (Some(known), Some(dated), _) => dated >= (known, row.told_id),
        // A list that was asked for when this was known already is newer; one of the same moment is not.
        (_, _, When::Listed { asked, .. }) => asked > known_at,
        _ => when.told_at(now) >= known_at,
    }
}

/// That somebody had left was told without a date, or inferred from a list; this is the leaving itself.
fn reveals(row: &Row, relation: &Relation) -> bool {
    let is_left = row.status == Some(Status::Left) && row.told_date.is_none();
    match (&relation.said, relation.when) {
        (Said::Left { .. }, When::Dated { date, .. }) => is_left && date >= row.last_seen,
        _ => false,
    }
}

/// Which joining is the last, whatever became of the person since.
fn join(row: &mut Row, relation: &Relation) {
    let (date, by) = match (&relation.said, relation.when) {
        (Said::Is(Standing { joined: Some(joined), invited_by, .. }), _) => (*joined, *invited_by),
        (Said::Came { by }, When::Dated { date, .. }) => (date, *by),
        _ => return,
    };
    let date = text(date);
    // Dates in one form are ordered as text.
    match row.text("joined_date").map(|known| known.cmp(date.as_str())) {
        Some(std::cmp::Ordering::Greater) => {}
        Some(std::cmp::Ordering::Equal) => {
            if let Some(by) = by {
                row.body.entry("invited_by_id").or_insert(by.into());
            }
        }
        Some(std::cmp::Ordering::Less) | None => {
            row.body.insert("joined_date".into(), date.into());
            match by {
                Some(by) => row.body.insert("invited_by_id".into(), by.into()),
                None => row.body.remove("invited_by_id"),
            };
        }
    }
}

fn stand(row: &mut Row, relation: &Relation, now: DateTime<Utc>) {
    match &relation.said {
        Said::Seen => return,
        Said::Is(standing) => {
            (row.status, row.present) = (Some(standing.status), Some(standing.present));
            clear(row);
            row.body.extend(standing.fields.iter().map(|(field, value)| (field.clone(), value.clone())));
        }
        Said::Came { .. } => {
            // Coming back lifts no restriction, and a creator stays one.
            if !matches!(row.status, Some(Status::Creator | Status::Restricted)) {
                row.status = Some(Status::Member);
                clear(row);
            }
            row.present = Some(true);
        }
        Said::Left { by } => {
            let is_known = row.status == Some(Status::Left) && row.body.contains_key("left_at");
            // Told twice, once without a date: the other says more.
            if !is_known || relation.when.dated().is_some() {
                leave(row, *by, relation.when.dated().map_or(now, |(date, _)| date));
            }
        }
        Said::Administrator(is) => {
            if *is && row.status != Some(Status::Creator) {
                row.status = Some(Status::Administrator);
            } else if !*is && row.status.is_none_or(|status| status == Status::Administrator) {
                row.status = Some(Status::Member);
                clear(row);
            }
            row.present = Some(true);
        }
        Said::Title(title) => {
            match title {
                Some(title) => row.body.insert("title".into(), title.as_str().into()),
                None => row.body.remove("title"),
            };
            // Of the rest nothing was told.
            return;
        }
        Said::Missing => {
            (row.status, row.present) = (Some(Status::Left), Some(false));
            clear(row);
            let until = relation.when.told_at(now);
            row.body.insert("left_between".into(), json!({ "gte": text(row.last_seen.min(until)), "lte": text(until) }));
        }
    }
    row.told_date = relation.when.dated().map(|(date, _)| date);
    row.told_id = relation.when.dated().map_or(0, |(_, id)| id);
    row.told_at = Some(relation.when.told_at(now));
    row.snapshot = match relation.when {
        When::Listed { snapshot, .. } => Some(snapshot),
        When::Dated { .. } | When::Heard => None,
    };
}

fn leave(row: &mut Row, by: Option<i64>, at: DateTime<Utc>) {
    // Who is banned is out, and that says more.
    if row.status != Some(Status::Banned) {
        row.status = Some(Status::Left);
        clear(row);
        if let Some(by) = by {
            row.body.insert("removed_by_id".into(), by.into());
        }
    }
    row.present = Some(false);
    row.body.insert("left_at".into(), text(at).into());
}

fn clear(row: &mut Row) {
    for field in FIELDS {
        row.body.remove(field);
    }
}

/// A date as documents carry it.
fn text(date: DateTime<Utc>) -> String {
    date.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
#[path = "member_merge_tests.rs"]
mod tests;
