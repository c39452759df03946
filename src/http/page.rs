//! Pages: a bounded number of things, and an opaque cursor to the next ones. A cursor is a key, never a number of things to skip, so
//! that a page costs the same however deep it is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// Things of a page when nothing is said.
pub const DEFAULT: u16 = 50;
/// The most things of a page.
pub const MOST: u16 = 500;
/// Longer cursors are none of ours.
const LONGEST: usize = 2_000;

/// How many things a page may have: 1 to [`MOST`].
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(transparent)]
pub struct Limit(u16);

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl Limit {
    /// As SQL takes it.
    pub fn get(self) -> i64 {
        self.0.into()
    }

    /// One more, so that a further page shows itself.
    pub fn and_one(self) -> i64 {
        i64::from(self.0) + 1
    }

    /// Of a number that somebody wrote.
    pub fn of(number: i64) -> Result<Self, Problem> {
        match u16::try_from(number) {
            Ok(number @ 1..=MOST) => Ok(Self(number)),
            _ => Err(Problem::invalid("limit", format!("a page has 1 to {MOST} entries"))),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(from)?;
        Self::of(number).map_err(|problem| serde::de::Error::custom(problem.detail))
    }
}

/// One page.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Gives the next page as `cursor`; none: this is the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Of one more thing than the page may have, if there are so many.
    pub fn of<K: Serialize>(mut items: Vec<T>, limit: Limit, key: impl Fn(&T) -> K) -> Self {
        let more = items.len() > usize::from(limit.0);
        items.truncate(usize::from(limit.0));
        let next = items.last().filter(|_| more).map(|last| cursor(&key(last)));
        Self { items, next }
    }

    /// All there is.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// A key as a cursor.
pub fn cursor(key: &impl Serialize) -> String {
    // Keys are numbers and texts: they always become JSON.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// The key of a cursor.
pub fn key<K: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<K>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let wrong = || Problem::invalid("cursor", "this cursor is none of ours").remedy("take `next` of the page before, unchanged");
    if cursor.len() > LONGEST {
        return Err(wrong());
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
    serde_json::from_slice(&bytes).map(Some).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_key_and_what_is_none_is_refused() {
        assert_eq!(key::<(i64, String)>(Some(&cursor(&(7, "a")))).unwrap(), Some((7, "a".to_owned())));
        assert_eq!(key::<i64>(None).unwrap(), None);
        for hostile in ["", "7", "'; drop table job; --", "eyJhIjo", &"A".repeat(5_000), &cursor(&"a text")] {
            assert_eq!(key::<i64>(Some(hostile)).unwrap_err().field.as_deref(), Some("cursor"), "{hostile}");
        }
        let page = Page::of((1..=51).collect(), Limit::default(), |n: &i64| *n);
        assert_eq!((page.items.len(), key::<i64>(page.next.as_deref()).unwrap()), (50, Some(50)));
        assert_eq!(Page::of(vec![1, 2], Limit::default(), |n: &i64| *n).next, None);
    }
}
