//! `telekeep search`: in the index, or in the record where there is none. Every filter works in both.

use std::process::ExitCode;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::Args;
use serde_json::Value;

use super::{
    chat,
    exit::{Mistake, mistake},
    open, output,
};
use crate::{
    config::Config,
    projection,
    record::finding::{self, Found, MARKS, Sort, Wish},
    record::search::HIGHLIGHT,
};

/// Where a search runs, as cursors and people are told.
const INDEX: &str = "index";
const RECORD: &str = "record";

#[derive(Debug, Args)]
pub struct Search {
    /// Words; all must occur. "…" is a phrase, -word (after --) excludes. Needed unless a filter is given
    #[arg(required_unless_present_any = ["chat", "sender", "since", "until", "media_type", "language"])]
    pub query: Vec<String>,
    /// Messages of one chat: link, @name or id
    #[arg(long, allow_negative_numbers = true)]
    pub chat: Option<String>,
    /// Those of one user, by id, or of the chat that signs
    #[arg(long, allow_negative_numbers = true)]
    pub sender: Option<i64>,
    /// Written on this day or later (UTC), as 2025-12-31, or at this moment, as 2025-12-31T23:00:00Z
    #[arg(long, value_parser = moment)]
    pub since: Option<DateTime<Utc>>,
    /// Written before this day (UTC) or moment
    #[arg(long, value_parser = moment)]
    pub until: Option<DateTime<Utc>>,
    /// photo, video, voice, document, poll …
    #[arg(long)]
    pub media_type: Option<String>,
    /// By ISO 639-3, as eng; a message has one where its text leaves no doubt
    #[arg(long)]
    pub language: Option<String>,
    /// The best first, or the newest
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Go on where a list ended: what it told last, with the same words and filters
    #[arg(long)]
    pub cursor: Option<String>,
    #[arg(long, default_value_t = 10)]
    pub limit: u32,
    #[arg(long)]
    pub json: bool,
}

fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.with_timezone(&Utc));
    }
    let day: NaiveDate = text
        .parse()
        .map_err(|_| format!("{text:?} is neither a day nor a moment; write it as 2025-12-31, or as 2025-12-31T23:00:00Z"))?;
    Ok(day.and_time(NaiveTime::MIN).and_utc())
}

pub async fn run(command: Search, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let chat = match &command.chat {
        Some(text) => Some(chat::known(&pool, text).await?.0),
        None => None,
    };
    let Search { query, chat: _, sender, since, until, media_type, language, sort, cursor, limit, json } = command;
    let wish = Wish { text: query.join(" ").trim().to_owned(), chat, sender, since, until, media_type, language, sort };
    let (began, after) = match cursor {
        Some(cursor) => read(&cursor).map(|(began, after)| (Some(began), Some(after)))?,
        None => (None, None),
    };
    let (place, found) = match (open::projector(&config, &pool)?, began.as_deref()) {
        (Some(projector), None | Some(INDEX)) => match projector.find(&wish, after.as_deref(), limit.into()).await {
            Err(projection::Error::Refused { status: 400, .. }) if after.is_some() => return Err(not_a_cursor()),
            found => (INDEX, found?),
        },
        (_, None | Some(RECORD)) => match finding::find(&pool, &wish, after.as_deref(), limit.into()).await {
            Err(sqlx::Error::Decode(_)) if after.is_some() => return Err(not_a_cursor()),
            found => (RECORD, found?),
        },
        (None, Some(INDEX)) => {
            return mistake(
                "that list began in the index, and ELASTICSEARCH_URL is not set: set it, or begin anew without --cursor",
            );
        }
        _ => return Err(not_a_cursor()),
    };
    let Found { total, total_is_exact, mut hits, after } = found;
    for hit in &mut hits {
        hit.highlight = hit.highlight.replace(MARKS.0, HIGHLIGHT.0).replace(MARKS.1, HIGHLIGHT.1);
    }
    let next = after.map(|after| written(place, &after)).transpose()?;
    if json {
        output::json(&serde_json::json!({
            "total": total, "total_is_exact": total_is_exact, "hits": hits, "place": place, "next": next,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for hit in &hits {
        let date = hit.date.map_or(String::new(), |d| d.format("%Y-%m-%d %H:%M").to_string());
        output::line(&format!("{} {} {date}", hit.chat_id, hit.message_id));
        output::line(&format!("    {}", hit.highlight.replace('\n', " ")));
    }
    let more = if total_is_exact { "" } else { "more than " };
    output::line(&format!("{} of {more}{total} hits, from the {place}", hits.len()));
    if let Some(next) = next {
        output::line(&format!("--cursor {next} shows the next ones"));
    }
    Ok(ExitCode::SUCCESS)
}

fn not_a_cursor() -> anyhow::Error {
    Mistake("--cursor is none of a search: take the one that the list before ended with, unchanged".into()).into()
}

/// Where a list goes on: the same words that the API has for it.
fn written(place: &str, after: &[Value]) -> anyhow::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(place, after)).context("the place of a search")?))
}

fn read(cursor: &str) -> anyhow::Result<(String, Vec<Value>)> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| not_a_cursor())?;
    let place: (String, Vec<Value>) = serde_json::from_slice(&bytes).map_err(|_| not_a_cursor())?;
    if place.1.iter().any(|value| value.is_object() || value.is_array()) { Err(not_a_cursor()) } else { Ok(place) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_or_a_moment_is_read() {
        assert_eq!(moment("2025-12-31").unwrap().to_rfc3339(), "2025-12-31T00:00:00+00:00");
        assert_eq!(moment("2025-12-31T23:30:00+02:00").unwrap().to_rfc3339(), "2025-12-31T21:30:00+00:00");
        assert!(moment("yesterday").unwrap_err().contains("neither a day nor a moment"));
    }

    #[test]
    fn a_cursor_is_read_and_what_is_none_is_refused() {
        let place = vec![Value::from(0.5), Value::from(7), Value::from("a")];
        assert_eq!(read(&written(RECORD, &place).unwrap()).unwrap(), (RECORD.to_owned(), place));
        for hostile in ["", "7", "'; drop table job; --", &written(RECORD, &[serde_json::json!({})]).unwrap()] {
            assert!(read(hostile).is_err(), "{hostile}");
        }
    }
}
