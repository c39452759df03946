//! Counts of a message: views, forwards, replies, reactions, and whether it is pinned. Pure; no SQL here.
//!
//! They are part of the body, but told more often than the rest, and a push of content often leaves them out. So a field that was told
//! apart from the content keeps an order key of its own, and content that does not tell a count keeps the one that is known.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Fields that content may leave out without a word on them.
pub const COUNTS: [&str; 4] = ["views", "forwards", "reply_count", "reactions"];

/// Those that only grow.
const GROWING: [&str; 2] = ["views", "forwards"];

/// A flag that content always tells, and that is pushed on its own as well.
const PINNED: &str = "pinned";

/// Order keys of fields that were told at another time than the content; None: by something without one.
pub type FieldOrder = BTreeMap<String, Option<i32>>;

/// What is pushed of a message without its content. None says nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    pub id: i64,
    pub views: Option<i64>,
    pub forwards: Option<i64>,
    pub reply_count: Option<i64>,
    /// As in a message's body: [{reaction, count}]; an empty list says that there are none.
    pub reactions: Option<Vec<Value>>,
    pub pinned: Option<bool>,
}

impl Counts {
    /// Nothing is told of this message yet.
    pub fn of(id: i64) -> Self {
        Self { id, ..Self::default() }
    }
}

/// A body with the order keys of its fields; those without one have the content's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counted {
    pub body: Map<String, Value>,
    pub field_pts: FieldOrder,
}

impl Counted {
    fn order(&self, field: &str, content: Option<i32>) -> Option<i32> {
        self.field_pts.get(field).copied().unwrap_or(content)
    }

    fn set(&mut self, field: &str, value: Option<Value>) {
        match value {
            Some(value) => self.body.insert(field.to_owned(), value),
            None => self.body.remove(field),
        };
    }

    /// A body after newer content (of order `pts`) took the place of this one (of order `content`): counts that it does not tell stay, and
    /// so does what was told later. Content that is not `whole` replaces only the fields that it has.
    pub fn replaced(&self, content: Option<i32>, newer: &Map<String, Value>, pts: Option<i32>, whole: bool) -> Counted {
        let told = |field: &str| newer.contains_key(field) || (field == PINNED && whole);
        let mut next = if whole { Map::new() } else { self.body.clone() };
        next.extend(newer.clone());
        let fields = COUNTS.into_iter().chain([PINNED]);
        let fields: Vec<(&str, bool)> = fields.map(|field| (field, told(field))).collect();
        let mut after = Counted { body: next, field_pts: FieldOrder::new() };
        for (field, told) in fields {
            let known = self.body.get(field);
            let later = self.field_pts.get(field).copied().flatten().is_some_and(|order| pts.is_some_and(|pts| pts < order));
            if later || !told {
                after.set(field, known.cloned());
                if known.is_some() || self.field_pts.contains_key(field) {
                    after.field_pts.insert(field.to_owned(), self.order(field, content));
                }
            } else if is_empty(after.body.get(field)) {
                after.body.remove(field);
                after.field_pts.insert(field.to_owned(), pts);
            } else if GROWING.contains(&field) && pts <= content {
                // Told at the same time: what is more was told later.
                after.set(field, larger(known, after.body.get(field)));
            }
        }
        after
    }

    /// Takes counts out of older content (of order `pts`): only what nothing newer told.
    pub fn fill(&mut self, older: &Map<String, Value>, pts: Option<i32>) {
        for field in COUNTS {
            let Some(value) = older.get(field) else { continue };
            let open = match self.field_pts.get(field) {
                Some(order) => *order < pts,
                None => !self.body.contains_key(field),
            };
            if open {
                self.set(field, Some(value.clone()).filter(|value| !is_empty(Some(value))));
                self.field_pts.insert(field.to_owned(), pts);
            }
        }
    }

    /// Takes pushed counts (of order `pts`, where the push has one) for content of order `content`.
    pub fn push(&mut self, counts: &Counts, content: Option<i32>, pts: Option<i32>) {
        for (field, told) in [("views", counts.views), ("forwards", counts.forwards)] {
            let more = told.is_some_and(|told| self.body.get(field).and_then(Value::as_i64).is_none_or(|known| told > known));
            if more {
                self.tell(field, told.map(Value::from), content, pts);
            }
        }
        let told = [
            ("reply_count", counts.reply_count.map(|count| Some(count.into()))),
            ("reactions", counts.reactions.as_ref().map(|all| (!all.is_empty()).then(|| Value::Array(all.clone())))),
            (PINNED, counts.pinned.map(|pinned| pinned.then_some(Value::Bool(true)))),
        ];
        for (field, value) in told {
            let older = pts.zip(self.order(field, content)).is_some_and(|(pts, known)| pts < known);
            if let Some(value) = value.filter(|_| !older) {
                self.tell(field, value, content, pts);
            }
        }
    }

    fn tell(&mut self, field: &str, value: Option<Value>, content: Option<i32>, pts: Option<i32>) {
        self.set(field, value);
        if pts.is_some() {
            self.field_pts.insert(field.to_owned(), self.order(field, content).max(pts));
        }
    }
}

/// An empty list: told to be none.
pub(super) fn is_empty(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_some_and(Vec::is_empty)
}

fn larger(one: Option<&Value>, two: Option<&Value>) -> Option<Value> {
    let number = |value: Option<&Value>| value.and_then(Value::as_i64);
    if number(one) > number(two) { one.cloned() } else { two.cloned() }
}
