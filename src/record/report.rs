//! What the ledger says of each chat, in numbers that add up: every id from the floor to the top is counted once.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::coverage::{self, Coverage, Window};
use super::reader::{self, Sight};
use super::{ChatId, Error, ledger};

/// One ledger row in numbers. collected + deleted + lost + empty + inaccessible + stale + dead + missing = top - floor + 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema, async_graphql::SimpleObject)]
#[graphql(name = "Coverage")]
#[schema(as = Coverage)]
pub struct ChatCoverage {
    pub chat_id: i64,
    pub title: Option<String>,
    pub top: i64,
    /// Held, with content.
    pub collected: i64,
    /// Gone; content kept, or never seen.
    pub deleted: i64,
    /// Known once, gone before its content was read.
    pub lost: i64,
    /// Answered for, and no message of this chat.
    pub empty: i64,
    /// Below what any account can see.
    pub inaccessible: i64,
    /// Settled once, and to be read again.
    pub stale: i64,
    /// How many ids, the oldest ones, may have changed unseen and are read again later, block by block; counted elsewhere too.
    pub revisit: i64,
    /// Held, but not decoded in full (raw) or not indexed (refused).
    pub dead: i64,
    /// Of the dead: kept raw; `telekeep raw list` says why.
    pub raw: i64,
    /// Of the dead: refused by the index alone; `telekeep dead-letter list` says why.
    pub refused: i64,
    /// Nobody answered for them yet.
    pub missing: i64,
    /// Of the missing and stale: for how many a job waits or runs.
    pub pending: i64,
    /// Verified as of: when Telegram last said that, beyond the holes, nothing is missing. None: it was never asked.
    pub verified_at: Option<DateTime<Utc>>,
    /// Spans to read: missing and stale ids, both ends included. A deleted id inside a stale span is not cut out.
    #[graphql(skip)]
    #[schema(value_type = Vec<Vec<i64>>)]
    pub holes: Vec<(i64, i64)>,
    /// Where ids are inaccessible: who could see what, and why no longer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<Sight>,
}

/// The ledger of one chat, or of all that have one. A basic group or private chat that several accounts read has an entry
/// for each.
pub async fn coverage_report(conn: &mut PgConnection, chat: Option<ChatId>) -> Result<Vec<ChatCoverage>, Error> {
    let mut report = Vec::new();
    for row in coverage::list(conn, chat).await? {
        report.push(report_row(conn, &row).await?);
    }
    Ok(report)
}

async fn report_row(conn: &mut PgConnection, row: &Coverage) -> Result<ChatCoverage, Error> {
    let visible = coverage::visible_to_any(conn, row).await?;
    let counts: Counts = sqlx::query_as(
        "with c as (
            select box_id, chat_id, settled, stale, floor, top, top_confirmed_at, revisit_to,
                int8multirange(int8range(floor, greatest(top + 1, floor))) as scope,
                int8multirange(int8range(floor, greatest(least($2, top + 1), floor))) as hidden
            from coverage where id = $1
        ), m as (
            select message_id, deleted_at is not null as gone, lost,
                deleted_at is null and not lost and (raw_reason is not null or d.key2 is not null) as dead,
                c.stale @> m.message_id as stale, c.settled @> m.message_id as settled, m.message_id < $2 as hidden,
                raw_reason is not null as raw
            from c join message m on m.box_id = c.box_id and m.chat_id = c.chat_id and m.message_id between c.floor and c.top
            cross join lateral (select m.lost_reason is not null and m.body is null and m.raw is null as lost) l
            left join (select distinct key2 from dead_letter, c where kind = 'message' and key1 = c.box_id) d on d.key2 = m.message_id
        ), n as (
            select count(*) filter (where gone and not lost) as deleted,
                count(*) filter (where lost and (gone or not stale)) as lost,
                count(*) filter (where dead) as dead, count(*) filter (where dead and raw) as raw,
                count(*) filter (where not gone and not dead and not lost and not stale) as collected,
                count(*) filter (where not gone and not dead and stale and not settled) as stale_unsettled,
                count(*) filter (where (gone or dead) and stale and settled) as not_stale,
                count(*) filter (where settled and not stale) as not_empty,
                count(*) filter (where not settled) as unsettled,
                count(*) filter (where not settled and hidden) as unsettled_hidden
            from m
        ), s as (
            select (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(scope * settled * stale) r) as stale,
                (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(scope * settled - stale) r) as fresh,
                (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(scope - settled) r) as open,
                (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(hidden - settled) r) as hidden
            from c
        )
        select coalesce(
                (select body->>'title' from chat where chat.chat_id = c.chat_id),
                (select nullif(concat_ws(' ', body->>'first_name', body->>'last_name'), '') from telegram_user where user_id = c.chat_id)
            ) as title,
            n.collected, n.deleted, n.lost, n.dead, n.raw, s.stale - n.not_stale + n.stale_unsettled as stale, s.fresh - n.not_empty as empty,
            s.hidden - n.unsettled_hidden as inaccessible, s.open - n.unsettled - (s.hidden - n.unsettled_hidden) as missing,
            greatest(coalesce(c.revisit_to - c.floor + 1, 0), 0) as revisit,
            greatest((select verified_at from box where box.id = c.box_id), c.top_confirmed_at) as verified_at
        from c, n, s",
    )
    .bind(row.id)
    .bind(visible)
    .fetch_one(&mut *conn)
    .await?;
    let holes = ledger::holes_of(conn, row).await?;
    let pending = pending(conn, row.chat, &holes).await?.min(counts.missing + counts.stale);
    let mut access = if counts.inaccessible > 0 { reader::sights(conn, row.chat).await? } else { Vec::new() };
    access.retain(|sight| row.account.is_none_or(|account| account.0 == sight.account_id));
    let Counts { title, collected, deleted, lost, empty, inaccessible, stale, revisit, dead, raw, missing, verified_at } = counts;
    Ok(ChatCoverage {
        chat_id: row.chat.0,
        title,
        top: row.top,
        collected,
        deleted,
        lost,
        empty,
        inaccessible,
        stale,
        revisit,
        dead,
        raw,
        refused: dead - raw,
        missing,
        pending,
        verified_at,
        holes,
        access,
    })
}

/// Ids of these spans that an unfinished job is to read; one that is held waits for the operator and reads none.
async fn pending(conn: &mut PgConnection, chat: ChatId, holes: &[(i64, i64)]) -> Result<i64, Error> {
    let windows: BTreeMap<String, Window> = holes
        .iter()
        .flat_map(|(from, to)| coverage::windows(*from, *to))
        .map(|window| (format!("{chat}:{window}"), window))
        .collect();
    if windows.is_empty() {
        return Ok(0);
    }
    let found: Vec<String> = sqlx::query_scalar(
        "select unique_key from job where kind = 'history_fetch' and unique_key = any($1) and state in ('scheduled', 'available', 'running')",
    )
    .bind(windows.keys().cloned().collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    let read = found.iter().filter_map(|key| windows.get(key));
    let within = |window: &Window| -> i64 {
        holes.iter().map(|(from, to)| ((*to).min(window.to) - (*from).max(window.from) + 1).max(0)).sum()
    };
    Ok(read.map(within).sum())
}

#[derive(sqlx::FromRow)]
struct Counts {
    title: Option<String>,
    collected: i64,
    deleted: i64,
    lost: i64,
    empty: i64,
    inaccessible: i64,
    stale: i64,
    revisit: i64,
    dead: i64,
    raw: i64,
    missing: i64,
    verified_at: Option<DateTime<Utc>>,
}
