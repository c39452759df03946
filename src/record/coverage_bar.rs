//! What the ledger says of a range of ids, in parts: what is drawn as a bar, at any zoom.
//!
//! A short range is counted. Of a long one, spans that nobody answered for, stale ones and dead letters are counted all the same (they
//! are what one looks for, and the ledger and small indices have them), and what the rest is made of is told by a sample of each part:
//! the cost is the same for a chat of ten million messages.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::coverage::{self, Coverage};
use super::{ChatId, Error, ledger};

/// Rows that are looked at for one bar, at most.
const LOOKED_AT: i64 = 40_000;
/// Ids that lie together in a sample.
const TOGETHER: i64 = 40;
/// The most parts of a bar.
pub const MOST: i64 = 200;

/// One part of a bar; its counts add up to its ids within the chat's scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
#[graphql(name = "CoveragePart")]
#[schema(as = CoveragePart)]
pub struct Part {
    /// Both ends included.
    pub from: i64,
    pub to: i64,
    pub collected: i64,
    pub deleted: i64,
    pub lost: i64,
    pub empty: i64,
    pub inaccessible: i64,
    pub stale: i64,
    pub dead: i64,
    pub missing: i64,
}

/// A range of a chat's ids in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema, async_graphql::SimpleObject)]
#[graphql(name = "CoverageBar")]
#[schema(as = CoverageBar)]
pub struct Bar {
    /// Whose ids they are, in a basic group or private chat.
    pub account_id: Option<i64>,
    /// Older ids are out of scope.
    pub floor: i64,
    /// The newest id known.
    pub top: i64,
    /// All is counted. Else what is collected, deleted, lost and empty is told by a sample; the rest is counted.
    pub exact: bool,
    pub parts: Vec<Part>,
}

/// A range of ids, both ends included; what is none is the chat's own end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    pub from: Option<i64>,
    pub to: Option<i64>,
}

/// The bars of a chat: one, or in a basic group or private chat one for each account that reads it.
pub async fn of(conn: &mut PgConnection, chat: ChatId, range: Range, parts: i64) -> Result<Vec<Bar>, Error> {
    let mut bars = Vec::new();
    for ledger in coverage::list(conn, Some(chat)).await? {
        bars.push(of_ledger(conn, &ledger, range, parts.clamp(1, MOST)).await?);
    }
    Ok(bars)
}

async fn of_ledger(conn: &mut PgConnection, row: &Coverage, range: Range, parts: i64) -> Result<Bar, Error> {
    let (floor, top) = (row.floor.max(1), row.top);
    let from = range.from.unwrap_or(floor).clamp(floor, top.max(floor));
    let to = range.to.unwrap_or(top).clamp(0, top);
    let bar = |exact, parts| Bar { account_id: row.account.map(|it| it.0), floor, top, exact, parts };
    if to < from {
        return Ok(bar(true, Vec::new()));
    }
    let whole = cut(from, to, parts);
    let visible = coverage::visible_to_any(conn, row).await?;
    let exact = to - from < LOOKED_AT;
    if exact {
        return Ok(bar(
            true,
            counted(conn, row, visible, &whole, &whole.iter().enumerate().map(|(n, it)| (n, *it)).collect::<Vec<_>>()).await?,
        ));
    }
    let samples: Vec<(usize, (i64, i64))> = whole
        .iter()
        .enumerate()
        .flat_map(|(n, span)| sampled(*span, LOOKED_AT / parts).into_iter().map(move |it| (n, it)))
        .collect();
    let shares = counted(conn, row, visible, &whole, &samples).await?;
    let sure = sure(conn, row, visible, &whole).await?;
    Ok(bar(false, sure.into_iter().zip(&shares).map(|(sure, share)| filled(sure, share)).collect()))
}

/// A range in parts that differ by one id at most.
fn cut(from: i64, to: i64, parts: i64) -> Vec<(i64, i64)> {
    let all = i128::from(to - from + 1);
    let parts = i128::from(parts).min(all);
    let at = |n: i128| from + i64::try_from(all * n / parts).unwrap_or(0);
    (0..parts).map(|n| (at(n), at(n + 1) - 1)).collect()
}

/// Spans of a part, evenly spread, of so many ids together at most.
fn sampled((from, to): (i64, i64), ids: i64) -> Vec<(i64, i64)> {
    if to - from < ids {
        return vec![(from, to)];
    }
    cut(from, to, (ids / TOGETHER).max(1)).into_iter().map(|(lo, hi)| (lo, hi.min(lo + TOGETHER - 1))).collect()
}

/// What these spans hold, added up by part: the rules are those of [`super::report`].
async fn counted(
    conn: &mut PgConnection,
    row: &Coverage,
    visible: i64,
    whole: &[(i64, i64)],
    spans: &[(usize, (i64, i64))],
) -> Result<Vec<Part>, Error> {
    let counted: Vec<(i64, Part)> = sqlx::query_as::<_, Numbered>(
        "with c as (
            select box_id, chat_id, settled, stale from coverage where id = $1
        ), s as (
            select part, lo, hi, int8multirange(int8range(lo, hi + 1)) as scope,
                int8multirange(int8range(lo, greatest(least($5, hi + 1), lo))) as hidden
            from unnest($2::bigint[], $3::bigint[], $4::bigint[]) s (part, lo, hi)
        ), m as (
            select s.part, m.message_id, m.deleted_at is not null as gone, l.lost,
                m.deleted_at is null and not l.lost and (m.raw_reason is not null or d.key2 is not null) as dead,
                c.stale @> m.message_id as stale, c.settled @> m.message_id as settled, m.message_id < $5 as hidden
            from c cross join s
            cross join lateral (
                select message_id, deleted_at, raw_reason, lost_reason, body is null and raw is null as bare
                from message where box_id = c.box_id and message_id between s.lo and s.hi and chat_id = c.chat_id offset 0
            ) m
            cross join lateral (select m.lost_reason is not null and m.bare as lost) l
            left join (select distinct key2 from dead_letter, c where kind = 'message' and key1 = c.box_id) d on d.key2 = m.message_id
        ), n as (
            select part, count(*) filter (where gone and not lost) as deleted,
                count(*) filter (where lost and (gone or not stale)) as lost,
                count(*) filter (where dead) as dead,
                count(*) filter (where not gone and not dead and not lost and not stale) as collected,
                count(*) filter (where not gone and not dead and stale and not settled) as stale_unsettled,
                count(*) filter (where (gone or dead) and stale and settled) as not_stale,
                count(*) filter (where settled and not stale) as not_empty,
                count(*) filter (where not settled) as unsettled,
                count(*) filter (where not settled and hidden) as unsettled_hidden
            from m group by part
        ), l as (
            select s.part,
                sum((select coalesce(sum(upper(r) - lower(r)), 0) from unnest(s.scope * c.settled * c.stale) r))::bigint as stale,
                sum((select coalesce(sum(upper(r) - lower(r)), 0) from unnest(s.scope * c.settled - c.stale) r))::bigint as fresh,
                sum((select coalesce(sum(upper(r) - lower(r)), 0) from unnest(s.scope - c.settled) r))::bigint as open,
                sum((select coalesce(sum(upper(r) - lower(r)), 0) from unnest(s.hidden - c.settled) r))::bigint as hidden
            from c cross join s group by s.part
        )
        select l.part, 0::bigint as \"from\", 0::bigint as \"to\",
            coalesce(n.collected, 0) as collected, coalesce(n.deleted, 0) as deleted, coalesce(n.lost, 0) as lost, coalesce(n.dead, 0) as dead,
            l.stale - coalesce(n.not_stale, 0) + coalesce(n.stale_unsettled, 0) as stale,
            l.fresh - coalesce(n.not_empty, 0) as empty, l.hidden - coalesce(n.unsettled_hidden, 0) as inaccessible,
            l.open - coalesce(n.unsettled, 0) - (l.hidden - coalesce(n.unsettled_hidden, 0)) as missing
        from l left join n using (part) order by l.part",
    )
    .bind(row.id)
    .bind(spans.iter().map(|(part, _)| *part as i64).collect::<Vec<_>>())
    .bind(spans.iter().map(|(_, span)| span.0).collect::<Vec<_>>())
    .bind(spans.iter().map(|(_, span)| span.1).collect::<Vec<_>>())
    .bind(visible)
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|it| (it.part, it.counts))
    .collect();
    let mut parts: Vec<Part> = whole.iter().map(|(from, to)| Part { from: *from, to: *to, ..Part::default() }).collect();
    for (place, counts) in counted {
        if let Some(part) = usize::try_from(place).ok().and_then(|place| parts.get_mut(place)) {
            *part = Part { from: part.from, to: part.to, ..counts };
        }
    }
    Ok(parts)
}

#[derive(FromRow)]
struct Numbered {
    part: i64,
    #[sqlx(flatten)]
    counts: Part,
}

/// What is counted of each part whatever its length: missing, stale, inaccessible and dead.
async fn sure(conn: &mut PgConnection, row: &Coverage, visible: i64, whole: &[(i64, i64)]) -> Result<Vec<Part>, Error> {
    let (Some(first), Some(last)) = (whole.first(), whole.last()) else { return Ok(Vec::new()) };
    let holes = ledger::holes_within(conn, row, visible.max(first.0), last.1).await?;
    Ok(sqlx::query_as(
        "with c as (
            select box_id, chat_id, settled, stale from coverage where id = $1
        ), holes as (
            select coalesce(range_agg(int8range(lo, hi + 1)), '{}') as spans from unnest($2::bigint[], $3::bigint[]) h (lo, hi)
        ), s as (
            select lo, hi, int8multirange(int8range(lo, hi + 1)) as scope,
                int8multirange(int8range(lo, greatest(least($6, hi + 1), lo))) as hidden
            from unnest($4::bigint[], $5::bigint[]) s (lo, hi)
        )
        select lo as \"from\", hi as \"to\", 0::bigint as collected, 0::bigint as deleted, 0::bigint as lost, 0::bigint as empty,
            (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(s.hidden - c.settled) r) as inaccessible,
            (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(s.scope * c.stale) r) as stale,
            (select count(*) from (
                select message_id from message m where m.box_id = c.box_id and m.message_id between s.lo and s.hi
                    and m.raw_reason is not null and m.chat_id = c.chat_id and m.deleted_at is null and not c.stale @> m.message_id
                union
                select d.key2 from dead_letter d join message m on m.box_id = d.key1 and m.message_id = d.key2
                    where d.kind = 'message' and d.key1 = c.box_id and d.key2 between s.lo and s.hi
                    and m.chat_id = c.chat_id and m.deleted_at is null and not c.stale @> m.message_id) d) as dead,
            (select coalesce(sum(upper(r) - lower(r)), 0)::bigint from unnest(s.scope * (holes.spans - c.stale)) r) as missing
        from c, holes, s order by s.lo",
    )
    .bind(row.id)
    .bind(holes.iter().map(|it| it.0).collect::<Vec<_>>())
    .bind(holes.iter().map(|it| it.1).collect::<Vec<_>>())
    .bind(whole.iter().map(|it| it.0).collect::<Vec<_>>())
    .bind(whole.iter().map(|it| it.1).collect::<Vec<_>>())
    .bind(visible)
    .fetch_all(conn)
    .await?)
}

/// A part whose rest is shared out as its sample is.
fn filled(mut part: Part, share: &Part) -> Part {
    let rest = (part.to - part.from + 1 - part.inaccessible - part.stale - part.dead - part.missing).max(0);
    let of = share.collected + share.deleted + share.lost + share.empty;
    if of == 0 {
        // the sample fell on what is counted anyhow; what is settled held messages at least in part, which none of ours was
        part.empty = rest;
        return part;
    }
    let scaled = |count: i64| i64::try_from(i128::from(rest) * i128::from(count) / i128::from(of)).unwrap_or(0);
    (part.deleted, part.lost, part.empty) = (scaled(share.deleted), scaled(share.lost), scaled(share.empty));
    part.collected = rest - part.deleted - part.lost - part.empty;
    if share.collected == 0 {
        (part.empty, part.collected) = (part.empty + part.collected, 0);
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_samples_lie_where_they_belong() {
        assert_eq!(cut(1, 10, 3), [(1, 3), (4, 6), (7, 10)]);
        assert_eq!(cut(5, 6, 200), [(5, 5), (6, 6)]);
        let spans = sampled((1, 1_000_000), 400);
        assert_eq!((spans.len(), spans[0], spans[9].1), (10, (1, 40), 900_040));
        assert_eq!(sampled((1, 300), 400), [(1, 300)]);
    }

    #[test]
    fn what_a_sample_tells_adds_up() {
        let sure = Part { from: 1, to: 1_000, missing: 3, stale: 7, ..Part::default() };
        let share = Part { collected: 30, deleted: 7, empty: 3, ..Part::default() };
        let part = filled(sure, &share);
        assert_eq!(part.collected + part.deleted + part.lost + part.empty + part.missing + part.stale, 1_000);
        assert_eq!((part.missing, part.deleted), (3, 173));
    }
}
