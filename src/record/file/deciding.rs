//! Which files the rules have still to look at, and what they said.

use sqlx::{PgConnection, Row};

use super::{State, set_state};
use crate::media::rules::{Facts, Rules, Verdict};
use crate::record::media::{self, MediaId};
use crate::record::{ChatId, Error};

/// A file with what a rule looks at.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub media: MediaId,
    pub facts: Facts,
    /// Whether a watched chat carries it, or it is a chat's or user's picture.
    pub watched: bool,
    pub by_operator: bool,
}

/// Why a file is left that no rule of the configuration covers; none: it is what is usual.
fn left_because(candidate: &Candidate, rules: &Rules) -> Option<String> {
    match (&candidate.facts.restricted, candidate.watched) {
        _ if rules.is_empty() => None,
        (_, false) => Some("no watched chat carries it".into()),
        (Some(restricted), true) => Some(format!("{restricted}: no rule allows it")),
        (None, true) => Some("no rule covers it".into()),
    }
}

/// What becomes of a file.
pub fn wanted(candidate: &Candidate, rules: &Rules) -> (State, Option<String>, Option<String>) {
    let verdict = if candidate.watched { rules.decide(&candidate.facts) } else { Verdict::Skip { rule: None } };
    let rule = verdict.rule().map(str::to_owned);
    match verdict {
        Verdict::Fetch { rule: name } => (State::Wanted, Some(format!("by rule {name:?}")), rule),
        Verdict::Skip { rule: Some(name) } => (State::Skipped, Some(format!("by rule {name:?}")), rule),
        Verdict::Skip { rule: None } => (State::Skipped, left_because(candidate, rules), rule),
    }
}

/// Enters all files anew where these rules are not those that decided last. Gives whether they are not.
pub async fn rules_are(conn: &mut PgConnection, digest: &str) -> Result<bool, Error> {
    let known: Option<String> = sqlx::query_scalar("select digest from file_rules").fetch_optional(&mut *conn).await?;
    if known.as_deref() == Some(digest) {
        return Ok(false);
    }
    let changed = sqlx::query(
        "insert into file_rules (digest) values ($1)
         on conflict (only_one) do update set digest = excluded.digest, changed_at = now() where file_rules.digest <> excluded.digest",
    )
    .bind(digest)
    .execute(&mut *conn)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("insert into file_undecided (media) select id from media where state <> 'stored' order by id")
        .execute(conn)
        .await?;
    Ok(true)
}

/// How many entries wait for a decision.
pub async fn undecided(conn: &mut PgConnection) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from file_undecided").fetch_one(conn).await?)
}

/// Lets the rules decide of the next files, the newest first. Gives how many entries were looked at, and how many files changed.
pub async fn next(conn: &mut PgConnection, rules: &Rules, limit: i64) -> Result<(usize, usize), Error> {
    let taken: Vec<i64> = sqlx::query_scalar(
        "delete from file_undecided where seq in (select seq from file_undecided order by seq desc limit $1 for update skip locked)
         returning media",
    )
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    if taken.is_empty() {
        return Ok((0, 0));
    }
    let mut ids = taken.clone();
    ids.sort_unstable();
    ids.dedup();
    // Later entries wait for these rows, and are decided with what this one did.
    sqlx::query("select from media where id = any($1) order by id for update").bind(&ids).execute(&mut *conn).await?;
    let mut changed = Vec::new();
    for candidate in facts(conn, &ids).await? {
        let (state, reason, rule) = wanted(&candidate, rules);
        let from: &[State] = match (state, candidate.by_operator) {
            // Told anew, as in another chat, it may be had again.
            (State::Wanted, _) => &[State::Skipped, State::Unavailable],
            (_, false) => &[State::Wanted, State::Fetching, State::Held, State::Skipped],
            (_, true) => &[],
        };
        if !from.is_empty() {
            let entered = set_state(conn, &[candidate.media], from, state, reason.as_deref()).await?;
            if state == State::Wanted && !entered.is_empty() {
                // A job that was made before it was told anew says nothing of it.
                sqlx::query("update file set asked_at = null where media = $1").bind(candidate.media.0).execute(&mut *conn).await?;
            }
            changed.extend(entered);
        }
        if let Some(rule) = rule {
            sqlx::query("insert into file (media, rule) values ($1, $2) on conflict (media) do update set rule = excluded.rule")
                .bind(candidate.media.0)
                .bind(rule)
                .execute(&mut *conn)
                .await?;
        }
    }
    Ok((taken.len(), changed.len()))
}

/// What rules look at, of these files.
async fn facts(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Candidate>, Error> {
    let statement = format!("{FACTS} where m.id = any($1) and not m.erased order by m.id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(ids).fetch_all(conn).await?;
    Ok(rows.iter().map(candidate).collect::<Result<_, sqlx::Error>>()?)
}

const FACTS: &str =
    "select m.id, m.type, m.mime_type, m.size, m.restricted, m.state, coalesce(f.by_operator, false) as by_operator,
        extract(epoch from now() - coalesce(m.date, m.first_seen))::float8 as age, s.chats, s.tags
   from media m
   left join file f on f.media = m.id
   cross join lateral (
        select coalesce(array_agg(distinct w.chat_id), '{}') as chats,
               coalesce(array_agg(distinct t.tag) filter (where t.tag is not null), '{}') as tags
          from media_source s join watch w on w.chat_id = s.chat_id left join lateral unnest(w.tags) t (tag) on true
         where s.media = m.id) s";

fn candidate(row: &sqlx::postgres::PgRow) -> Result<Candidate, sqlx::Error> {
    let age: f64 = row.try_get("age")?;
    let facts = Facts {
        kind: row.try_get("type")?,
        mime_type: row.try_get("mime_type")?,
        size: row.try_get::<Option<i64>, _>("size")?.and_then(|size| u64::try_from(size).ok()),
        age: std::time::Duration::try_from_secs_f64(age.max(0.0)).ok(),
        chats: row.try_get("chats")?,
        tags: row.try_get("tags")?,
        restricted: row.try_get("restricted")?,
    };
    let watched = !facts.chats.is_empty() || facts.kind == "avatar";
    Ok(Candidate { media: MediaId(row.try_get("id")?), watched, by_operator: row.try_get("by_operator")?, facts })
}

/// The next files after a number, for a dry run: all, or those of one chat.
pub async fn after(conn: &mut PgConnection, last: i64, chat: Option<ChatId>, limit: i64) -> Result<Vec<Candidate>, Error> {
    let statement = format!(
        "{FACTS} where m.id > $1 and not m.erased
            and ($2::bigint is null or exists (select from media_source o where o.media = m.id and o.chat_id = $2))
          order by m.id limit $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(last).bind(chat.map(|c| c.0)).bind(limit).fetch_all(conn).await?;
    Ok(rows.iter().map(candidate).collect::<Result<_, sqlx::Error>>()?)
}

/// Wants files by word of the operator, whatever the rules say: again, where they are held or unavailable. Gives which changed.
pub async fn want(conn: &mut PgConnection, files: &[MediaId]) -> Result<Vec<MediaId>, Error> {
    let ids: Vec<i64> = files.iter().map(|id| id.0).collect();
    sqlx::query(
        "insert into file (media, by_operator) select id, true from media where id = any($1) and state <> 'stored' order by id
         on conflict (media) do update set by_operator = true, asked_at = null",
    )
    .bind(&ids)
    .execute(&mut *conn)
    .await?;
    set_state(conn, files, &[State::Skipped, State::Held, State::Unavailable], State::Wanted, Some("by the operator")).await
}

/// The files that messages of a chat carry.
pub async fn of_chat(conn: &mut PgConnection, chat: ChatId) -> Result<Vec<MediaId>, Error> {
    let ids: Vec<i64> = sqlx::query_scalar("select distinct media from media_source where chat_id = $1 order by media")
        .bind(chat.0)
        .fetch_all(conn)
        .await?;
    Ok(ids.into_iter().map(MediaId).collect())
}

/// Wanted files, newest first: of which no job was made within this time; of all chats or one.
pub async fn next_wanted(conn: &mut PgConnection, chat: Option<ChatId>, limit: i64) -> Result<Vec<MediaId>, Error> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "select m.id from media m left join file f on f.media = m.id
          where m.state = 'wanted' and m.type <> 'avatar' and (f.asked_at is null or f.asked_at < now() - interval '1 hour')
            and ($1::bigint is null or exists (select from media_source s where s.media = m.id and s.chat_id = $1))
          order by m.id desc limit $2",
    )
    .bind(chat.map(|c| c.0))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(MediaId).collect())
}

/// Notes that jobs were made of files.
pub async fn asked(conn: &mut PgConnection, files: &[MediaId]) -> Result<(), Error> {
    let ids: Vec<i64> = files.iter().map(|id| id.0).collect();
    sqlx::query(
        "insert into file (media, asked_at) select id, now() from unnest($1::bigint[]) m (id) order by id
         on conflict (media) do update set asked_at = now()",
    )
    .bind(&ids)
    .execute(conn)
    .await?;
    Ok(())
}

/// Files that a job was fetching which is gone, as where it was cancelled, are wanted again. Gives how many.
pub async fn forsaken(conn: &mut PgConnection, kind: &str) -> Result<usize, Error> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "select m.id from media m join file f on f.media = m.id
          where m.state = 'fetching' and f.asked_at < now() - interval '1 hour' and not exists (
                select from job j where j.kind = $1 and j.unique_key = m.id::text
                   and j.state in ('scheduled', 'available', 'running', 'held'))
          order by m.id limit 1000",
    )
    .bind(kind)
    .fetch_all(&mut *conn)
    .await?;
    let files: Vec<MediaId> = ids.into_iter().map(MediaId).collect();
    Ok(set_state(conn, &files, &[State::Fetching], State::Wanted, Some("its job is gone")).await?.len())
}

/// The row of a file that a command names by its number or by `photo_ID` or `document_ID`.
pub async fn named(conn: &mut PgConnection, name: &str) -> Result<Option<MediaId>, Error> {
    let id: Option<i64> = match name.split_once('_') {
        Some((space, id)) => match (media::Space::parse(space), id.parse::<i64>()) {
            (Some(space), Ok(id)) => {
                sqlx::query_scalar("select id from media where space = $1 and file_id = $2")
                    .bind(space.as_str())
                    .bind(id)
                    .fetch_optional(conn)
                    .await?
            }
            _ => None,
        },
        None => match name.parse::<i64>() {
            Ok(id) => sqlx::query_scalar("select id from media where id = $1").bind(id).fetch_optional(conn).await?,
            Err(_) => None,
        },
    };
    Ok(id.map(MediaId))
}
