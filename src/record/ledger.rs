//! The ledger: what each answer of Telegram settles, and what is still to be read.
//!
//! Nothing is claimed that was not seen: a page settles from its oldest message up to its offset, clipped to what the
//! account sees and to ids known to exist.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::boxes::BoxRow;
use super::coverage::{self, Coverage, Window};
use super::message::{self, Deletion, Written};
use super::{AccountId, BoxId, ChatId, Error, Message, Observation, boxes, media, watch};

/// A request for a page of history, as it was when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// The ledger row.
    pub coverage: i64,
    /// Messages older than this id were asked for; 0: from the newest.
    pub offset: i64,
    /// Messages from this id were asked for: what an empty page answers for.
    pub lower: i64,
    /// The chat's newest id known before the request.
    pub known_top: i64,
    /// The ledger row's count of stale marks before the request.
    pub stale_count: i64,
}

impl PageRequest {
    /// A request for what is older than `offset` in a window and in scope, as the ledger stands now. Its `min_id` is `lower - 1`.
    pub fn new(coverage: &Coverage, offset: i64, window: Window) -> Self {
        Self {
            coverage: coverage.id,
            offset,
            lower: window.from.max(coverage.floor).max(1),
            known_top: coverage.top,
            stale_count: coverage.stale_count,
        }
    }
}

/// What committing an answer did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    pub written: Written,
    /// The span that the answer settled, both ends included.
    pub settled: Option<(i64, i64)>,
    /// Ids found gone, because the answer no longer shows them.
    pub deleted: Vec<i64>,
}

/// Commits a page of history: messages, ledger and outbox, in the caller's transaction. `shown` are all ids that the page
/// carried, those of empty messages included.
pub async fn commit_page(
    conn: &mut PgConnection,
    request: &PageRequest,
    messages: &[Message],
    shown: &[i64],
    seen: &Observation,
) -> Result<Committed, Error> {
    let (held, ledger) = hold(conn, request.coverage).await?;
    let own = own(messages, ledger.chat);
    let written = message::commit(conn, &held, &own, seen).await?;
    media::merge(conn, &held, &own, seen).await?;
    let ids: Vec<i64> = own.iter().map(|message| message.id).chain(shown.iter().copied()).collect();
    let newest = ids.iter().copied().max().unwrap_or(0);
    let visible = coverage::visible_from(conn, ledger.chat, seen.account).await?;
    let from = ids.iter().copied().min().unwrap_or(request.lower).max(visible).max(1);
    let known = request.known_top.max(newest);
    let to = if request.offset > 0 { (request.offset - 1).min(known) } else { known };
    let current = request.stale_count == ledger.stale_count;
    let settled = (from <= to).then_some((from, to));
    let mut deleted = Vec::new();
    if let Some((from, to)) = settled {
        if current {
            let present: Vec<i64> = own.iter().map(|message| message.id).collect();
            let absent = absent_in_stale(conn, &ledger, from, to, &present).await?;
            deleted = commit_absent(conn, &held, &ledger, absent, seen).await?;
        }
        settle(conn, ledger.id, &[from], &[to], current).await?;
    }
    raise_top(conn, ledger.id, newest, request.offset == 0).await?;
    Ok(Committed { written, settled, deleted })
}

/// Commits an answer to a request by id: it settles the ids that were asked, and a collected one that is not shown is deleted.
pub async fn commit_by_id(
    conn: &mut PgConnection,
    request: &PageRequest,
    asked: &[i64],
    messages: &[Message],
    seen: &Observation,
) -> Result<Committed, Error> {
    let (held, ledger) = hold(conn, request.coverage).await?;
    let own: Vec<Message> = own(messages, ledger.chat).into_iter().filter(|message| asked.contains(&message.id)).collect();
    let written = message::commit(conn, &held, &own, seen).await?;
    media::merge(conn, &held, &own, seen).await?;
    let newest = own.iter().map(|message| message.id).max().unwrap_or(0);
    let visible = coverage::visible_from(conn, ledger.chat, seen.account).await?;
    let answered: Vec<i64> =
        asked.iter().copied().filter(|id| *id >= visible.max(1) && *id <= request.known_top.max(newest)).collect();
    let current = request.stale_count == ledger.stale_count;
    let mut deleted = Vec::new();
    if current {
        let gone: Vec<i64> = answered.iter().copied().filter(|id| own.iter().all(|message| message.id != *id)).collect();
        let absent = sqlx::query_as(
            "select message_id, case when via = 'import' then coalesce(edit_date, date, last_seen) else last_seen end
            from message where box_id = $1 and chat_id = $2 and message_id = any($3) and deleted_at is null",
        )
        .bind(ledger.held.0)
        .bind(ledger.chat.0)
        .bind(&gone)
        .fetch_all(&mut *conn)
        .await?;
        deleted = commit_absent(conn, &held, &ledger, absent, seen).await?;
    }
    settle(conn, ledger.id, &answered, &answered, current).await?;
    raise_top(conn, ledger.id, newest, false).await?;
    Ok(Committed { written, settled: None, deleted })
}

/// Commits messages that were pushed or imported: each settles itself alone, by its row. All of one chat.
pub async fn commit_messages(
    conn: &mut PgConnection,
    chat: ChatId,
    messages: &[Message],
    seen: &Observation,
) -> Result<Written, Error> {
    let opened = coverage::open(conn, chat, seen.account).await?;
    let (held, ledger) = hold(conn, opened.id).await?;
    let own = own(messages, chat);
    let written = message::commit(conn, &held, &own, seen).await?;
    media::merge(conn, &held, &own, seen).await?;
    raise_top(conn, ledger.id, own.iter().map(|message| message.id).max().unwrap_or(0), false).await?;
    Ok(written)
}

/// Commits deletions that Telegram told of a channel (`chat`) or of an account's own box (none: the update names no chat).
/// A box without a watched chat stores nothing.
pub async fn commit_deletions(
    conn: &mut PgConnection,
    chat: Option<ChatId>,
    ids: &[i64],
    seen: &Observation,
) -> Result<Written, Error> {
    let held = match chat.filter(|chat| chat.is_channel()) {
        Some(channel) => {
            watch::require(conn, channel).await?;
            boxes::box_of_channel(conn, channel).await?
        }
        None => {
            let held = boxes::box_of_account(conn, seen.account).await?;
            if !any_watched(conn, held).await? {
                return Ok(Written::default());
            }
            held
        }
    };
    let held = boxes::lock(conn, held).await?;
    let deletions: Vec<Deletion> = ids.iter().map(|id| Deletion { id: *id, after: None }).collect();
    message::commit_deletions(conn, &held, &deletions, seen).await
}

/// The newest id of a window that this account could read and the record lacks or holds as stale. The page to ask for has
/// `offset` one above it.
pub async fn newest_unsettled(
    conn: &mut PgConnection,
    ledger: &Coverage,
    window: Window,
    account: AccountId,
) -> Result<Option<i64>, Error> {
    let visible = coverage::visible_from(conn, ledger.chat, account).await?;
    Ok(holes_within(conn, ledger, visible.max(window.from), window.to).await?.last().map(|hole| hole.1))
}

/// What is to be read of a chat: missing and stale spans, oldest first, both ends included.
pub async fn holes(conn: &mut PgConnection, chat: ChatId) -> Result<Vec<(i64, i64)>, Error> {
    let mut all = Vec::new();
    for ledger in coverage::list(conn, Some(chat)).await? {
        all.extend(holes_of(conn, &ledger).await?);
    }
    Ok(all)
}

/// What is to be read under one ledger row.
pub async fn holes_of(conn: &mut PgConnection, ledger: &Coverage) -> Result<Vec<(i64, i64)>, Error> {
    let visible = coverage::visible_to_any(conn, ledger).await?;
    holes_within(conn, ledger, visible, i64::MAX - 1).await
}

pub(super) async fn holes_within(conn: &mut PgConnection, ledger: &Coverage, from: i64, to: i64) -> Result<Vec<(i64, i64)>, Error> {
    // Only spans that nobody answered for are compared with message rows.
    Ok(sqlx::query_as(
        "with c as (
            select box_id, chat_id, settled, stale,
                int8multirange(int8range(greatest(floor, $2, 1), greatest(least(top, $3) + 1, floor, $2, 1))) as scope
            from coverage where id = $1
        ), gap as (
            select c.box_id, c.chat_id, lower(r) as lo, upper(r) as hi from c, unnest(c.scope - c.settled - c.stale) r
        ), known as (
            select lo, lo - 1 as id from gap union all select lo, hi from gap
            union all
            select g.lo, m.message_id from gap g, lateral (
                select message_id from message
                where box_id = g.box_id and message_id >= g.lo and message_id < g.hi and chat_id = g.chat_id offset 0
            ) m
        ), step as (
            select id, lead(id) over (partition by lo order by id) as next from known
        ), missing as (
            select coalesce(range_agg(int8range(id + 1, next)), '{}') as spans from step where next > id + 1
        )
        select lower(r), upper(r) - 1 from c, missing, unnest(missing.spans + c.scope * c.stale) r order by 1",
    )
    .bind(ledger.id)
    .bind(from)
    .bind(to)
    .fetch_all(conn)
    .await?)
}

/// Watch, box, ledger row: checked and locked, in the record's order.
async fn hold(conn: &mut PgConnection, id: i64) -> Result<(BoxRow, Coverage), Error> {
    let found = coverage::get(conn, id).await?;
    watch::require(conn, found.chat).await?;
    let held = boxes::lock(conn, found.held).await?;
    Ok((held, coverage::lock(conn, id).await?))
}

/// A page answers for its own chat alone.
fn own(messages: &[Message], chat: ChatId) -> Vec<Message> {
    messages.iter().filter(|message| message.chat == chat && message.id > 0).cloned().collect()
}

async fn any_watched(conn: &mut PgConnection, held: BoxId) -> Result<bool, Error> {
    Ok(sqlx::query_scalar("select exists (select from coverage join watch using (chat_id) where box_id = $1)")
        .bind(held.0)
        .fetch_one(conn)
        .await?)
}

/// Collected ids of a span that were marked stale and that an answer for the span does not show.
async fn absent_in_stale(
    conn: &mut PgConnection,
    ledger: &Coverage,
    from: i64,
    to: i64,
    present: &[i64],
) -> Result<Vec<(i64, DateTime<Utc>)>, Error> {
    Ok(sqlx::query_as(
        "select m.message_id, m.last_seen -- a file does not say when it was seen: at its date it was
        from coverage c, unnest(c.stale * int8multirange(int8range($2, $3 + 1))) r
        join lateral (
            select message_id, case when via = 'import' then coalesce(edit_date, date, last_seen) else last_seen end as last_seen
            from message where box_id = $4 and chat_id = $5 and message_id >= lower(r) and message_id < upper(r)
                and deleted_at is null and message_id <> all ($6)
            offset 0 -- range by range, by the key: never the whole table against the ranges
        ) m on true
        where c.id = $1",
    )
    .bind(ledger.id)
    .bind(from)
    .bind(to)
    .bind(ledger.held.0)
    .bind(ledger.chat.0)
    .bind(present)
    .fetch_all(conn)
    .await?)
}

async fn commit_absent(
    conn: &mut PgConnection,
    held: &BoxRow,
    ledger: &Coverage,
    absent: Vec<(i64, DateTime<Utc>)>,
    seen: &Observation,
) -> Result<Vec<i64>, Error> {
    let mut ids: Vec<i64> = absent.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    tracing::debug!(chat.id = ledger.chat.0, count = ids.len(), "absent from an answer for their span");
    let deletions: Vec<Deletion> = absent.into_iter().map(|(id, last)| Deletion { id, after: Some(last) }).collect();
    message::commit_deletions(conn, held, &deletions, seen).await?;
    Ok(ids)
}

async fn settle(conn: &mut PgConnection, id: i64, from: &[i64], to: &[i64], current: bool) -> Result<(), Error> {
    if from.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "with answer as (
            select range_agg(int8range(s.lo, s.hi + 1)) as spans from unnest($2::bigint[], $3::bigint[]) s (lo, hi)
        )
        update coverage set settled = settled + answer.spans, stale = case when $4 then stale - answer.spans else stale end
        from answer where id = $1",
    )
    .bind(id)
    .bind(from)
    .bind(to)
    .bind(current)
    .execute(conn)
    .await?;
    Ok(())
}

async fn raise_top(conn: &mut PgConnection, id: i64, newest: i64, confirmed: bool) -> Result<(), Error> {
    sqlx::query(
        "update coverage set top = greatest(top, $2), top_confirmed_at = case when $3 then now() else top_confirmed_at end
        where id = $1 and (top < $2 or $3)",
    )
    .bind(id)
    .bind(newest)
    .bind(confirmed)
    .execute(conn)
    .await?;
    Ok(())
}
