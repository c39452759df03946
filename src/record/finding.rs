//! Search with filters and pages, on the record itself, with Postgres' full-text search: what is used where there is no index. The form
//! of what is asked and found is the index's too.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};

use super::content::spaced;
use super::document::message_document_id;
use super::search::{Hit, closed, phrased};

/// What stands before and after a found word: characters that no text has.
pub const MARKS: (char, char) = ('\u{E000}', '\u{E001}');
/// More hits than these are not counted one by one.
const COUNTED: i64 = 10_000;

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Words; empty: all messages.
    pub text: String,
    pub chat: Option<i64>,
    /// A user's id, or the chat that signs.
    pub sender: Option<i64>,
    pub since: Option<DateTime<Utc>>,
    /// Before this.
    pub until: Option<DateTime<Utc>>,
    pub media_type: Option<String>,
    pub language: Option<String>,
    pub sort: Sort,
}

/// In which order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum, utoipa::ToSchema, async_graphql::Enum,
)]
#[serde(rename_all = "snake_case")]
#[graphql(name = "SearchSort")]
#[schema(as = SearchSort)]
pub enum Sort {
    /// The best first.
    #[default]
    Relevance,
    /// The newest first.
    Newest,
}

/// What was found, a page of it.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub total: u64,
    /// Else there are more than `total`.
    pub total_is_exact: bool,
    /// Words that were found lie between [`MARKS`].
    pub hits: Vec<Hit>,
    /// The place of the last, if there may be more.
    pub after: Option<Vec<Value>>,
}

#[derive(FromRow)]
struct Row {
    owner: Option<i64>,
    box_id: i64,
    chat_id: i64,
    message_id: i64,
    date: DateTime<Utc>,
    text: Option<String>,
    rank: f32,
}

/// One page beyond a place that an earlier page ended at.
///
/// # Errors
/// A place that is none is [`sqlx::Error::Decode`].
pub async fn find(pool: &PgPool, wish: &Wish, after: Option<&[Value]>, limit: i64) -> sqlx::Result<Found> {
    let words = spaced(&phrased(&wish.text));
    let ranked = wish.sort == Sort::Relevance && !wish.text.is_empty();
    let mut page = QueryBuilder::new(
        "select * from (select coalesce(a.user_id, -a.id) as owner, m.box_id, m.chat_id, m.message_id, m.date, m.body ->> 'text' as text, ",
    );
    page.push(if ranked { "ts_rank(m.search, q)" } else { "0::real" }).push(" as rank");
    matching(&mut page, wish, &words);
    page.push(") f where true");
    if let Some(place) = after {
        let (rank, date, chat, message, held) = read(place)?;
        // f32 as it came; the order is (rank, date, chat, message, box), all descending
        page.push(" and (rank, date, chat_id, message_id, box_id) < (").push_bind(rank).push("::real, ").push_bind(date);
        page.push(", ").push_bind(chat).push(", ").push_bind(message).push(", ").push_bind(held).push(")");
    }
    page.push(" order by rank desc, date desc, chat_id desc, message_id desc, box_id desc limit ").push_bind(limit);
    let rows: Vec<Row> = page.build_query_as().fetch_all(pool).await?;

    let mut count = QueryBuilder::new("select count(*) from (select 1");
    matching(&mut count, wish, &words);
    count.push(" limit ").push_bind(COUNTED + 1).push(") c");
    let total: i64 = count.build_query_scalar().fetch_one(pool).await?;

    let texts: Vec<String> = rows.iter().map(|row| spaced(row.text.as_deref().unwrap_or_default())).collect();
    let options = format!(
        "StartSel={}, StopSel={}, MaxFragments=2, MinWords=8, MaxWords=24, ShortWord=0, FragmentDelimiter= … ",
        MARKS.0, MARKS.1
    );
    let headlines: Vec<String> = sqlx::query_scalar(
        "select ts_headline('simple', t.text, websearch_to_tsquery('simple', $1), $3)
         from unnest($2::text[]) with ordinality as t (text, place) order by t.place",
    )
    .bind(&words)
    .bind(&texts)
    .bind(&options)
    .fetch_all(pool)
    .await?;
    let whole = usize::try_from(limit).is_ok_and(|limit| rows.len() == limit);
    let after = rows.last().filter(|_| whole).map(|row| {
        vec![
            Value::from(f64::from(row.rank)),
            row.date.timestamp_micros().into(),
            row.chat_id.into(),
            row.message_id.into(),
            row.box_id.into(),
        ]
    });
    let hits = rows.into_iter().zip(headlines).map(|(row, headline)| hit(row, &headline)).collect();
    Ok(Found { total: total.min(COUNTED).try_into().unwrap_or(0), total_is_exact: total <= COUNTED, hits, after })
}

fn hit(row: Row, headline: &str) -> Hit {
    Hit {
        id: message_document_id(row.owner, row.chat_id, row.message_id),
        chat_id: row.chat_id,
        message_id: row.message_id,
        date: Some(row.date),
        text: row.text.unwrap_or_default(),
        highlight: closed(headline, (&MARKS.0.to_string(), &MARKS.1.to_string())),
    }
}

fn matching(query: &mut QueryBuilder<Postgres>, wish: &Wish, words: &str) {
    query.push(" from message m join box b on b.id = m.box_id left join account a on a.id = b.account_id");
    if !wish.text.is_empty() {
        query.push(", websearch_to_tsquery('simple', ").push_bind(words.to_owned()).push(") q where m.search @@ q and");
    } else {
        query.push(" where");
    }
    query.push(" m.chat_id is not null and m.date is not null");
    if let Some(chat) = wish.chat {
        query.push(" and m.chat_id = ").push_bind(chat);
    }
    if let Some(sender) = wish.sender {
        query.push(" and coalesce(m.body ->> 'from_user_id', m.body ->> 'sender_chat_id') = ").push_bind(sender.to_string());
    }
    if let Some(since) = wish.since {
        query.push(" and m.date >= ").push_bind(since);
    }
    if let Some(until) = wish.until {
        query.push(" and m.date < ").push_bind(until);
    }
    if let Some(media) = &wish.media_type {
        query.push(" and m.body ->> 'media_type' = ").push_bind(media.clone());
    }
    if let Some(language) = &wish.language {
        query.push(" and m.body ->> 'text_language' = ").push_bind(language.clone());
    }
}

fn read(place: &[Value]) -> sqlx::Result<(f32, DateTime<Utc>, i64, i64, i64)> {
    let wrong = || sqlx::Error::Decode("a place of a search that is none".into());
    let [rank, date, chat, message, held] = place else { return Err(wrong()) };
    let number = |value: &Value| value.as_i64().ok_or_else(wrong);
    let rank = rank.as_f64().ok_or_else(wrong)? as f32;
    let date = DateTime::from_timestamp_micros(number(date)?).ok_or_else(wrong)?;
    Ok((rank, date, number(chat)?, number(message)?, number(held)?))
}
