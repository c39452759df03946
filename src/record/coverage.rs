//! The `coverage` and `coverage_access` tables: which ids were answered for, and who can see which.
//!
//! `settled` holds answered spans: a message row is settled by being there, so that random holes never grow the row. Long spans that are
//! whole by rows are folded in.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{AccountId, BoxId, ChatId, Error, boxes, watch};

/// Ids of one history job: 50 full pages, so that a job is minutes of work and a killed one repeats little.
pub const WINDOW: i64 = 5_000;

/// A span of message ids, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Window {
    pub from: i64,
    pub to: i64,
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// The aligned windows (1–5000, 5001–10000, …) that touch floor to top, newest first. They are never clipped, so that two
/// triggers name the same window alike.
pub fn windows(floor: i64, top: i64) -> Vec<Window> {
    if top < floor.max(1) {
        return Vec::new();
    }
    let index = |id: i64| (id - 1).div_euclid(WINDOW);
    (index(floor.max(1))..=index(top)).rev().map(window_at).collect()
}

/// The aligned window that holds an id.
pub fn window_of(id: i64) -> Window {
    window_at((id.max(1) - 1).div_euclid(WINDOW))
}

fn window_at(index: i64) -> Window {
    Window { from: index * WINDOW + 1, to: (index + 1) * WINDOW }
}

/// One ledger row, its spans apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    pub id: i64,
    pub chat: ChatId,
    pub held: BoxId,
    /// Set in account boxes: per account and chat.
    pub account: Option<AccountId>,
    /// How often ids were marked as stale. A page carries the count that its request began at.
    pub stale_count: i64,
    /// Older ids are out of scope.
    pub floor: i64,
    /// The newest id known; 0 if none is.
    pub top: i64,
    pub top_confirmed_at: Option<DateTime<Utc>>,
}

type CoverageColumns = (i64, i64, i64, Option<i64>, i64, i64, i64, Option<DateTime<Utc>>);

impl From<CoverageColumns> for Coverage {
    fn from((id, chat, held, account, stale_count, floor, top, top_confirmed_at): CoverageColumns) -> Self {
        let (chat, held, account) = (ChatId(chat), BoxId(held), account.map(AccountId));
        Self { id, chat, held, account, stale_count, floor, top, top_confirmed_at }
    }
}

/// The ledger row of a watched chat as this account reads it; made at first use.
pub async fn open(conn: &mut PgConnection, chat: ChatId, account: AccountId) -> Result<Coverage, Error> {
    watch::require(conn, chat).await?;
    let held = boxes::box_of(conn, chat, account).await?;
    let owner = if chat.is_channel() { None } else { Some(account.0) };
    sqlx::query(
        "insert into coverage (chat_id, box_id, account_id) values ($1, $2, $3) on conflict (chat_id, account_id) do nothing",
    )
    .bind(chat.0)
    .bind(held.0)
    .bind(owner)
    .execute(&mut *conn)
    .await?;
    let columns: CoverageColumns = sqlx::query_as(
        "select id, chat_id, box_id, account_id, stale_count, floor, top, top_confirmed_at
        from coverage where chat_id = $1 and account_id is not distinct from $2",
    )
    .bind(chat.0)
    .bind(owner)
    .fetch_one(conn)
    .await?;
    Ok(columns.into())
}

/// The ledger rows of one chat or of all.
pub async fn list(conn: &mut PgConnection, chat: Option<ChatId>) -> Result<Vec<Coverage>, Error> {
    let rows: Vec<CoverageColumns> = sqlx::query_as(
        "select id, chat_id, box_id, account_id, stale_count, floor, top, top_confirmed_at
        from coverage where $1::bigint is null or chat_id = $1 order by chat_id, account_id",
    )
    .bind(chat.map(|chat| chat.0))
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Coverage::from).collect())
}

/// A ledger row by its id.
pub async fn get(conn: &mut PgConnection, id: i64) -> Result<Coverage, Error> {
    fetch(conn, id, "select id, chat_id, box_id, account_id, stale_count, floor, top, top_confirmed_at from coverage where id = $1")
        .await
}

/// A ledger row, locked until the transaction ends. The box's lock comes first.
pub async fn lock(conn: &mut PgConnection, id: i64) -> Result<Coverage, Error> {
    fetch(
        conn,
        id,
        "select id, chat_id, box_id, account_id, stale_count, floor, top, top_confirmed_at from coverage where id = $1 for update",
    )
    .await
}

async fn fetch(conn: &mut PgConnection, id: i64, query: &'static str) -> Result<Coverage, Error> {
    let columns: Option<CoverageColumns> = sqlx::query_as(query).bind(id).fetch_optional(conn).await?;
    columns.map(Coverage::from).ok_or(Error::UnknownCoverage(id))
}

/// Telegram told the chat's newest id (a dialog, a page from the newest): the top rises, and is confirmed.
pub async fn confirm_top(conn: &mut PgConnection, id: i64, top: i64) -> Result<(), Error> {
    sqlx::query("update coverage set top = greatest(top, $2), top_confirmed_at = now() where id = $1")
        .bind(id)
        .bind(top)
        .execute(conn)
        .await?;
    Ok(())
}

/// Telegram said that nothing is missing in a box: the tops are what they are.
pub async fn confirm_tops(conn: &mut PgConnection, held: BoxId) -> Result<(), Error> {
    sqlx::query("update coverage set top_confirmed_at = now() where id in (select id from coverage where box_id = $1 order by id for update)")
        .bind(held.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// The ledger rows of a box, by id.
pub async fn of_box(conn: &mut PgConnection, held: BoxId) -> Result<Vec<i64>, Error> {
    Ok(sqlx::query_scalar("select id from coverage where box_id = $1 order by id for update").bind(held.0).fetch_all(conn).await?)
}

/// The operator's scope: ids below are not wanted.
pub async fn set_floor(conn: &mut PgConnection, id: i64, floor: i64) -> Result<(), Error> {
    sqlx::query("update coverage set floor = greatest($2, 1) where id = $1").bind(id).bind(floor).execute(conn).await?;
    Ok(())
}

/// Ids that may have changed unseen: read again, they are cleared. Answers the new count of marks.
pub async fn mark_stale(conn: &mut PgConnection, id: i64, span: Window) -> Result<i64, Error> {
    sqlx::query_scalar(
        "update coverage set stale_count = stale_count + 1,
            stale = stale + int8multirange(int8range(greatest($2, 1), greatest(least($3, top) + 1, $2, 1)))
        where id = $1 returning stale_count",
    )
    .bind(id)
    .bind(span.from)
    .bind(span.to)
    .fetch_optional(conn)
    .await?
    .ok_or(Error::UnknownCoverage(id))
}

/// Every id may have changed unseen: a jump of pts without a difference. The newest `count` are marked at once, the older ones by
/// [`revisit`].
pub async fn mark_newest_stale(conn: &mut PgConnection, id: i64, count: i64) -> Result<i64, Error> {
    let top = get(conn, id).await?.top;
    let from = (top - count + 1).max(1);
    sqlx::query("update coverage set revisit_to = $2, revisited_at = now() where id = $1 and $2 >= floor")
        .bind(id)
        .bind(from - 1)
        .execute(&mut *conn)
        .await?;
    mark_stale(conn, id, Window { from, to: top }).await
}

/// Marks the next block of what [`mark_newest_stale`] left, `count` ids, newest first, in each watched chat whose last block is read
/// and at least `after` old.
pub async fn revisit(conn: &mut PgConnection, count: i64, after: Duration) -> Result<(), Error> {
    sqlx::query(
        "with due as (
             select c.id, greatest(c.floor, c.revisit_to - $1 + 1, 1) as lo, c.revisit_to as hi, greatest(c.floor, 1) as floor
             from coverage c join watch w using (chat_id)
             where c.revisit_to is not null and isempty(c.stale) and c.revisited_at < now() - make_interval(secs => $2)
             for update of c skip locked
         )
         update coverage c set stale_count = c.stale_count + 1, revisited_at = now(),
             stale = c.stale + int8multirange(int8range(d.lo, greatest(d.hi + 1, d.lo))),
             revisit_to = case when d.lo > d.floor then d.lo - 1 end
         from due d where c.id = d.id",
    )
    .bind(count)
    .bind(after.as_secs_f64())
    .execute(conn)
    .await?;
    Ok(())
}

/// What one account can see of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub readable: bool,
    /// The oldest id that it can see; 1 is full sight.
    pub visible_from: i64,
    /// Why not, or why not all; as CHANNEL_PRIVATE.
    pub reason: Option<String>,
}

impl Access {
    pub fn full() -> Self {
        Self { readable: true, visible_from: 1, reason: None }
    }
}

/// Records what an account can see of a watched chat, as of now.
pub async fn set_access(conn: &mut PgConnection, chat: ChatId, account: AccountId, access: &Access) -> Result<(), Error> {
    watch::require(conn, chat).await?;
    sqlx::query(
        "insert into coverage_access (chat_id, account_id, visible_from, readable, reason) values ($1, $2, greatest($3, 1), $4, $5)
        on conflict (chat_id, account_id) do update set
            visible_from = excluded.visible_from, readable = excluded.readable, reason = excluded.reason, checked_at = now()",
    )
    .bind(chat.0)
    .bind(account.0)
    .bind(access.visible_from)
    .bind(access.readable)
    .bind(&access.reason)
    .execute(conn)
    .await?;
    Ok(())
}

/// The oldest id that this account sees; without a record of it, all.
pub async fn visible_from(conn: &mut PgConnection, chat: ChatId, account: AccountId) -> Result<i64, Error> {
    let known: Option<i64> = sqlx::query_scalar("select visible_from from coverage_access where chat_id = $1 and account_id = $2")
        .bind(chat.0)
        .bind(account.0)
        .fetch_optional(conn)
        .await?;
    Ok(known.unwrap_or(1))
}

/// The oldest id that any active account sees: above the top if none can read; 1 while nothing is recorded, or where an account
/// that knows the chat was not asked yet.
pub async fn visible_to_any(conn: &mut PgConnection, coverage: &Coverage) -> Result<i64, Error> {
    let (recorded, oldest): (bool, Option<i64>) = sqlx::query_as(
        "select count(*) > 0, coalesce(min(c.visible_from) filter (where c.readable and a.state = 'active'), (
            select 1 from account_peer p join account o on o.id = p.account_id
            where p.peer_id = $1 and o.state = 'active' and ($2::bigint is null or o.id = $2)
                and not exists (select from coverage_access n where n.chat_id = $1 and n.account_id = o.id) limit 1))
        from coverage_access c join account a on a.id = c.account_id
        where c.chat_id = $1 and ($2::bigint is null or c.account_id = $2)",
    )
    .bind(coverage.chat.0)
    .bind(coverage.account.map(|account| account.0))
    .fetch_one(conn)
    .await?;
    Ok(if recorded { oldest.unwrap_or(coverage.top + 1) } else { 1 })
}

/// Whether every account that tried was told that it cannot read the chat.
pub async fn is_inaccessible(conn: &mut PgConnection, chat: ChatId) -> Result<bool, Error> {
    let (tried, readable): (i64, i64) =
        sqlx::query_as("select count(*), count(*) filter (where readable) from coverage_access where chat_id = $1")
            .bind(chat.0)
            .fetch_one(conn)
            .await?;
    Ok(tried > 0 && readable == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_and_newest_first() {
        assert_eq!(windows(1, 5_000), [Window { from: 1, to: 5_000 }]);
        assert_eq!(windows(4_999, 5_001), [Window { from: 5_001, to: 10_000 }, Window { from: 1, to: 5_000 }]);
        assert_eq!(windows(1, 0), []);
        assert_eq!(window_of(10_000), Window { from: 5_001, to: 10_000 });
    }
}
