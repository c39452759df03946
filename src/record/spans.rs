//! What the ledger says of each id of a chat, as spans: for who takes a copy away and must know what it lacks.

use serde::Serialize;
use sqlx::PgConnection;

use super::coverage::{self, Coverage};
use super::{ChatId, Error};

/// Spans of ids from the floor to the top, both ends included; each id is in one of the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Spans {
    /// Whose ids they are, in a basic group or private chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<i64>,
    pub chat_id: i64,
    /// The newest id known.
    pub top: i64,
    /// Answered for by Telegram, or held.
    pub settled: Vec<(i64, i64)>,
    /// Nobody answered for them yet.
    pub missing: Vec<(i64, i64)>,
    /// Settled once, and to be read again.
    pub stale: Vec<(i64, i64)>,
    /// Below what any account can see.
    pub inaccessible: Vec<(i64, i64)>,
}

/// The spans of a chat: one entry, or in a basic group or private chat one for each account that reads it.
pub async fn of(conn: &mut PgConnection, chat: ChatId) -> Result<Vec<Spans>, Error> {
    let mut all = Vec::new();
    for ledger in coverage::list(conn, Some(chat)).await? {
        all.push(of_ledger(conn, &ledger).await?);
    }
    Ok(all)
}

async fn of_ledger(conn: &mut PgConnection, ledger: &Coverage) -> Result<Spans, Error> {
    let visible = coverage::visible_to_any(conn, ledger).await?;
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "with c as (
            select box_id, chat_id, settled, stale, floor, top,
                int8multirange(int8range(floor, greatest(top + 1, floor))) as scope,
                int8multirange(int8range(floor, greatest(least($2, top + 1), floor))) as hidden
            from coverage where id = $1
        ), held as (
            select coalesce(range_agg(int8range(m.message_id, m.message_id + 1)), '{}') as spans
            from c join message m on m.box_id = c.box_id and m.chat_id = c.chat_id and m.message_id between c.floor and c.top
        ), k as (
            select c.scope, c.hidden, c.stale, c.scope * (c.settled + held.spans) as known from c, held
        ), s as (
            select 'settled' as state, known - stale as spans from k
            union all select 'stale', known * stale from k
            union all select 'missing', scope - known - hidden from k
            union all select 'inaccessible', hidden - known from k
        )
        select state, lower(r), upper(r) - 1 from s, unnest(spans) r order by 1, 2",
    )
    .bind(ledger.id)
    .bind(visible)
    .fetch_all(conn)
    .await?;
    let mut spans = Spans { account_id: ledger.account.map(|a| a.0), chat_id: ledger.chat.0, top: ledger.top, ..Spans::default() };
    for (state, from, to) in rows {
        let list = match state.as_str() {
            "settled" => &mut spans.settled,
            "stale" => &mut spans.stale,
            "missing" => &mut spans.missing,
            _ => &mut spans.inaccessible,
        };
        list.push((from, to));
    }
    Ok(spans)
}
