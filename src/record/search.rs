//! What a search finds, and how queries and headlines deal with scripts that write no spaces.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::content::writes_no_spaces;

/// What stands before and after a found word where a command prints it.
pub const HIGHLIGHT: (&str, &str) = ("<em>", "</em>");

/// One message that matches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// The document's `_id`.
    pub id: String,
    pub chat_id: i64,
    pub message_id: i64,
    pub date: Option<DateTime<Utc>>,
    pub text: String,
    /// Fragments of the text, the words that were found between [`MARKS`](super::finding::MARKS).
    pub highlight: String,
}

/// A query in which each run of characters of scripts that write no spaces is a phrase; one that has quotes of its own is left alone.
pub fn phrased(query: &str) -> String {
    if query.contains('"') {
        return query.to_owned();
    }
    let mut out = String::with_capacity(query.len() + 8);
    let mut inside = false;
    for c in query.chars() {
        if writes_no_spaces(c) != inside {
            if !inside && out.chars().last().is_some_and(|last| !last.is_whitespace() && last != '-') {
                out.push(' ');
            }
            out.push('"');
            if inside && !c.is_whitespace() {
                out.push(' ');
            }
            inside = !inside;
        }
        out.push(c);
    }
    if inside {
        out.push('"');
    }
    out
}

/// A headline of spaced text, with the spaces that [`spaced`](super::content::spaced) set taken out again and adjacent marks joined.
pub(super) fn closed(headline: &str, (open, close): (&str, &str)) -> String {
    let apart = format!("{close} {open}");
    let joined = headline.replace(&apart, "\u{1}");
    let chars: Vec<char> = joined.chars().collect();
    let mut out = String::with_capacity(joined.len());
    for (at, &c) in chars.iter().enumerate() {
        match c {
            '\u{1}' => {
                let touching = at.checked_sub(1).and_then(|i| chars.get(i)).is_some_and(|&c| writes_no_spaces(c))
                    && chars.get(at + 1).is_some_and(|&c| writes_no_spaces(c));
                out.push_str(if touching { "" } else { &apart });
            }
            ' ' if touches_cjk(&chars, at, (open, close)) => {}
            c => out.push(c),
        }
    }
    out
}

/// Whether a space was set by [`spaced`](super::content::spaced): the nearest characters on both sides, marks apart, are of such a script.
fn touches_cjk(chars: &[char], at: usize, (open, close): (&str, &str)) -> bool {
    let before: String = chars[..at].iter().rev().take(close.len() + 1).rev().collect();
    let after: String = chars[at + 1..].iter().take(close.len()).collect();
    let before = before.strip_suffix(close).or(before.strip_suffix(open)).unwrap_or(&before).chars().last();
    let after = after.strip_prefix(open).or(after.strip_prefix(close)).unwrap_or(&after).chars().next();
    before.is_some_and(writes_no_spaces) && after.is_some_and(writes_no_spaces)
}

#[cfg(test)]
mod tests {
    use super::super::content::spaced;
    use super::*;

    #[test]
    fn chinese_is_set_apart_and_closed_again() {
        assert_eq!(spaced("我爱Rust语言"), "我 爱 Rust 语 言");
        assert_eq!(phrased("语言 rust"), "\"语言\" rust");
        assert_eq!(phrased("-语言"), "-\"语言\"");
        assert_eq!(closed("我 爱 Rust <em>语</em> <em>言</em> 好", HIGHLIGHT), "我爱 Rust <em>语言</em>好");
        assert_eq!(closed("a <em>b</em> <em>c</em>", HIGHLIGHT), "a <em>b</em> <em>c</em>");
    }
}
