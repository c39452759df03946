//! Search on the record itself, with Postgres' full-text search: what `telekeep search` uses where there is no Elasticsearch.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgPool};

use super::{
    content::{spaced, writes_no_spaces},
    document::message_document_id,
};

/// What stands before and after a found word in [`Hit::highlight`].
pub const HIGHLIGHT: (&str, &str) = ("<em>", "</em>");

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Hits {
    /// How many messages match in all.
    pub total: u64,
    pub hits: Vec<Hit>,
}

/// One message that matches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// The document's `_id`.
    pub id: String,
    pub chat_id: i64,
    pub message_id: i64,
    pub date: Option<DateTime<Utc>>,
    pub text: String,
    /// Fragments of the text, the words that were found between [`HIGHLIGHT`]'s marks.
    pub highlight: String,
}

#[derive(FromRow)]
struct Found {
    owner: Option<i64>,
    chat_id: i64,
    message_id: i64,
    date: Option<DateTime<Utc>>,
    text: Option<String>,
    total: i64,
}

/// Messages that match, best first: words are joined by AND, `"…"` is a phrase, `or` and `-word` work. Words in scripts
/// without spaces match as phrases of their characters.
pub async fn search(pool: &PgPool, query: &str, limit: i64) -> Result<Hits, sqlx::Error> {
    let query = spaced(&phrased(query));
    let found: Vec<Found> = sqlx::query_as(
        "select coalesce(a.user_id, -a.id) as owner, m.chat_id, m.message_id, m.date, m.body ->> 'text' as text, count(*) over () as total
         from message m
         join box b on b.id = m.box_id
         left join account a on a.id = b.account_id,
         websearch_to_tsquery('simple', $1) as query
         where m.search @@ query and m.chat_id is not null
         order by ts_rank(m.search, query) desc, m.date desc nulls last, m.chat_id, m.message_id
         limit $2",
    )
    .bind(&query)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    let texts: Vec<String> = found.iter().map(|row| spaced(row.text.as_deref().unwrap_or_default())).collect();
    let headlines: Vec<String> = sqlx::query_scalar(
        "select ts_headline('simple', t.text, websearch_to_tsquery('simple', $1),
                            'StartSel=<em>, StopSel=</em>, MaxFragments=2, MinWords=8, MaxWords=24, ShortWord=0, FragmentDelimiter= … ')
         from unnest($2::text[]) with ordinality as t (text, place) order by t.place",
    )
    .bind(&query)
    .bind(&texts)
    .fetch_all(pool)
    .await?;
    Ok(Hits {
        total: found.first().map_or(0, |row| row.total.try_into().unwrap_or(0)),
        hits: found
            .into_iter()
            .zip(headlines)
            .map(|(row, headline)| Hit {
                id: message_document_id(row.owner, row.chat_id, row.message_id),
                chat_id: row.chat_id,
                message_id: row.message_id,
                date: row.date,
                text: row.text.unwrap_or_default(),
                highlight: closed(&headline),
            })
            .collect(),
    })
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

/// A headline of spaced text, with the spaces that [`spaced`] set taken out again and adjacent marks joined.
fn closed(headline: &str) -> String {
    let joined = headline.replace("</em> <em>", "\u{1}");
    let chars: Vec<char> = joined.chars().collect();
    let mut out = String::with_capacity(joined.len());
    for (at, &c) in chars.iter().enumerate() {
        match c {
            '\u{1}' => {
                let touching = at.checked_sub(1).and_then(|i| chars.get(i)).is_some_and(|&c| writes_no_spaces(c))
                    && chars.get(at + 1).is_some_and(|&c| writes_no_spaces(c));
                out.push_str(if touching { "" } else { "</em> <em>" });
            }
            ' ' if touches_cjk(&chars, at) => {}
            c => out.push(c),
        }
    }
    out
}

/// Whether a space was set by [`spaced`]: the nearest characters on both sides, marks apart, are of such a script.
fn touches_cjk(chars: &[char], at: usize) -> bool {
    let before: String = chars[..at].iter().rev().take(6).rev().collect();
    let after: String = chars[at + 1..].iter().take(5).collect();
    let before = before.strip_suffix(HIGHLIGHT.1).or(before.strip_suffix(HIGHLIGHT.0)).unwrap_or(&before).chars().last();
    let after = after.strip_prefix(HIGHLIGHT.0).or(after.strip_prefix(HIGHLIGHT.1)).unwrap_or(&after).chars().next();
    before.is_some_and(writes_no_spaces) && after.is_some_and(writes_no_spaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_is_set_apart_and_closed_again() {
        assert_eq!(spaced("我爱Rust语言"), "我 爱 Rust 语 言");
        assert_eq!(phrased("语言 rust"), "\"语言\" rust");
        assert_eq!(phrased("-语言"), "-\"语言\"");
        assert_eq!(closed("我 爱 Rust <em>语</em> <em>言</em> 好"), "我爱 Rust <em>语言</em>好");
        assert_eq!(closed("a <em>b</em> <em>c</em>"), "a <em>b</em> <em>c</em>");
    }
}
