//! What the reconcile trigger asks: which watched chats have something to read, all of them in one query.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::coverage::{WINDOW, Window};
use super::{AccountId, ChatId, Error};

/// Seconds after which a chat that no account can read is looked at again: access comes back by a deed of people (an invitation, a
/// channel made public), and four calls a day and chat say so within a working day.
pub const LOOK_AGAIN_SECONDS: i64 = 6 * 3600;

/// The holes of the ledger rows of `$1` (null: of all watched chats), as `ledger::holes` has them row by row: CTE `hole
/// (coverage_id, chat_id, lo, hi)`, hi excluded.
macro_rules! holes {
    () => {
        "with seen as materialized (
             select c.id, c.chat_id, c.box_id, c.settled, c.stale,
                 int8multirange(int8range(greatest(c.floor, a.visible, 1), greatest(c.top + 1, c.floor, a.visible, 1))) as scope
             from coverage c join watch w using (chat_id)
             cross join lateral (
                 select case when count(*) = 0 then 1 else coalesce(min(a.visible_from) filter (where a.readable and o.state = 'active'), (
                     select 1 from account_peer p join account k on k.id = p.account_id
                     where p.peer_id = c.chat_id and k.state = 'active' and (c.account_id is null or k.id = c.account_id)
                         and not exists (select from coverage_access n where n.chat_id = c.chat_id and n.account_id = k.id) limit 1
                 ), c.top + 1) end as visible
                 from coverage_access a join account o on o.id = a.account_id
                 where a.chat_id = c.chat_id and (c.account_id is null or a.account_id = c.account_id)
             ) a
             where $1::bigint[] is null or c.chat_id = any($1)
         ), gap as materialized (
             select s.id, s.box_id, s.chat_id, lower(r) as lo, upper(r) as hi from seen s, unnest(s.scope - s.settled - s.stale) r
         ), known as (
             select id, chat_id, lo, lo - 1 as message_id from gap union all select id, chat_id, lo, hi from gap
             union all
             select g.id, g.chat_id, g.lo, m.message_id from gap g, lateral (
                 select message_id from message
                 where box_id = g.box_id and message_id >= g.lo and message_id < g.hi and chat_id = g.chat_id offset 0
             ) m
         ), step as (
             select id, chat_id, message_id, lead(message_id) over (partition by id, lo order by message_id) as next from known
         ), hole (coverage_id, chat_id, lo, hi) as (
             select id, chat_id, message_id + 1, next from step where next > message_id + 1
             union all
             select s.id, s.chat_id, lower(r), upper(r) from seen s, unnest(s.scope * s.stale) r
         )"
    };
}

/// A gap of the ledger is looked through row by row at each round: longer ones are folded first.
const LONG_GAP: i64 = 200;

/// Settles long spans of ids that all have a row, so that the rows of what was pushed are not counted at each round. It claims
/// nothing new: such an id is collected or deleted either way, and a span this long never makes a ledger row grow by much. In a
/// transaction of its own: it waits for nobody, and leaves a ledger row that somebody writes to the next round.
pub async fn fold(conn: &mut PgConnection) -> Result<(), Error> {
    let mut tx = conn.begin().await?;
    without_jit(&mut tx).await?;
    sqlx::query(
        "with gap as materialized (
             select c.id, c.box_id, c.chat_id, lower(r) as lo, upper(r) as hi
             from coverage c join watch w using (chat_id),
                 unnest(int8multirange(int8range(greatest(c.floor, 1), greatest(c.top + 1, c.floor, 1))) - c.settled) r
             where upper(r) - lower(r) >= $1
         ), row_of as (
             select g.id, g.lo, m.message_id, m.message_id - row_number() over (partition by g.id, g.lo order by m.message_id) as island
             from gap g, lateral (
                 select message_id from message
                 where box_id = g.box_id and message_id >= g.lo and message_id < g.hi and chat_id = g.chat_id offset 0
             ) m
         ), span as (
             select id, int8range(min(message_id), max(message_id) + 1) as ids from row_of group by id, lo, island having count(*) >= $1
         ), folded as materialized (
             select id, range_agg(ids) as spans from span group by id
         ), free as materialized (
             select id from coverage where id in (select id from folded) for update skip locked
         )
         update coverage c set settled = c.settled + f.spans from folded f join free using (id) where c.id = f.id",
    )
    .bind(LONG_GAP)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Compiling one of these queries takes longer than running it a hundred times. Until the transaction ends.
pub(super) async fn without_jit(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("select set_config('jit', 'off', true)").execute(conn).await?;
    Ok(())
}

/// A watched chat that something is to be done for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub chat: ChatId,
    /// Its reader, as its watch names it.
    pub reader: Option<AccountId>,
    /// Aligned windows with missing or stale ids that some account can see, newest first.
    pub windows: Vec<Window>,
    /// It has no ledger row yet, or is a channel whose pts is not known, or no account could read it when that was last looked at.
    pub refresh: bool,
}

/// The watched chats that need history or a refresh; none, when nothing is missing.
pub async fn due(conn: &mut PgConnection) -> Result<Vec<Due>, Error> {
    const DUE: &str = concat!(
        holes!(),
        ", window_of as (
             select chat_id, array_agg(distinct g) as indexes
             from hole, generate_series((lo - 1) / $2, (hi - 2) / $2) g group by chat_id
         ), access as (
             select chat_id, bool_or(readable) as readable, max(checked_at) as checked_at from coverage_access group by chat_id
         ), wanting as (
             select w.chat_id, w.reader_id, coalesce(i.indexes, '{}') as indexes,
                 case when a.readable is false then a.checked_at < now() - make_interval(secs => $3)
                      else not exists (select from coverage c where c.chat_id = w.chat_id)
                           or (w.chat_id < -1000000000000
                               and not exists (select from box b where b.channel_id = w.chat_id and b.pts is not null)) end as refresh
             from watch w left join window_of i using (chat_id) left join access a using (chat_id)
         )
         select chat_id, reader_id, indexes, refresh from wanting where refresh or cardinality(indexes) > 0 order by chat_id"
    );
    let rows: Vec<(i64, Option<i64>, Vec<i64>, bool)> =
        sqlx::query_as(DUE).bind(None::<Vec<i64>>).bind(WINDOW).bind(LOOK_AGAIN_SECONDS as f64).fetch_all(conn).await?;
    Ok(rows
        .into_iter()
        .map(|(chat, reader, mut indexes, refresh)| {
            indexes.sort_unstable();
            let windows = indexes.into_iter().rev().map(|at| super::coverage::window_of(at * WINDOW + 1)).collect();
            Due { chat: ChatId(chat), reader: reader.map(AccountId), windows, refresh }
        })
        .collect())
}

/// Those of these chats that are not complete: missing or stale ids that some account can see, a newest id that was not confirmed
/// since then, or no ledger row at all.
pub async fn incomplete(conn: &mut PgConnection, chats: &[i64], since: DateTime<Utc>) -> Result<Vec<i64>, Error> {
    const INCOMPLETE: &str = concat!(
        holes!(),
        " select w.chat_id from watch w
          where w.chat_id = any($1)
            and (not exists (select from coverage c where c.chat_id = w.chat_id)
                 or exists (select from coverage c where c.chat_id = w.chat_id
                            and (c.top_confirmed_at is null or c.top_confirmed_at < $2))
                 or w.chat_id in (select chat_id from hole))
          order by w.chat_id"
    );
    Ok(sqlx::query_scalar(INCOMPLETE).bind(chats).bind(since).fetch_all(conn).await?)
}

/// Lets one reconciliation at a time go on over all nodes, until the transaction ends. False: another one is at it.
pub async fn begin(conn: &mut PgConnection) -> Result<bool, Error> {
    without_jit(conn).await?;
    Ok(sqlx::query_scalar("select pg_try_advisory_xact_lock(hashtextextended('telekeep reconcile', 0))").fetch_one(conn).await?)
}

/// What a watched chat lacks, in ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Lacking {
    pub chat_id: i64,
    pub title: Option<String>,
    pub missing: i64,
    pub stale: i64,
    /// May have changed unseen, and is looked at again block by block.
    pub revisit: i64,
}

/// The watched chats that lack something: missing or stale ids that some account can see, or ids to look at again. As heavy as
/// [`due`]: the rows of gaps that are not folded yet are read.
pub async fn lacking(conn: &mut PgConnection) -> Result<Vec<Lacking>, Error> {
    const LACKING: &str = concat!(
        holes!(),
        ", lacks as (
             select chat_id, sum(hi - lo) as ids from hole group by chat_id
         ), aged as (
             select chat_id, sum(upper(r) - lower(r)) as ids from seen, unnest(scope * stale) r group by chat_id
         ), later as (
             select chat_id, sum(greatest(revisit_to - greatest(floor, 1) + 1, 0)) as ids
             from coverage join watch using (chat_id) where revisit_to is not null group by chat_id
         )
         select w.chat_id, c.body->>'title' as title, (coalesce(l.ids, 0) - coalesce(a.ids, 0))::bigint as missing,
             coalesce(a.ids, 0)::bigint as stale, coalesce(r.ids, 0)::bigint as revisit
         from watch w left join chat c using (chat_id)
         left join lacks l using (chat_id) left join aged a using (chat_id) left join later r using (chat_id)
         where l.ids > 0 or r.ids > 0 order by w.chat_id"
    );
    Ok(sqlx::query_as(LACKING).bind(None::<Vec<i64>>).fetch_all(conn).await?)
}
