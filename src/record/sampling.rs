//! Which messages' counts are due: a schedule of moments after each message's date.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{ChatId, Error, workflow};

/// Seconds after a message's date at which its counts are taken.
///
/// A post gathers most of its views within its first hours and hardly any after weeks, so the moments are dense at first and each
/// interval is two to four times the one before: ten points hold the curve's form, for a tenth of a call a message and life.
pub const STEPS: [f64; 10] =
    [5.0 * MINUTE, 15.0 * MINUTE, HOUR, 3.0 * HOUR, 6.0 * HOUR, DAY, 3.0 * DAY, 7.0 * DAY, 30.0 * DAY, 90.0 * DAY];

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// Seconds after which nothing is due any more, not even the last step: the history of years that a newly watched channel brings
/// is not asked for a second time.
pub const OVER: f64 = 2.0 * 90.0 * DAY;

/// A message whose counts are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Due {
    pub message_id: i64,
    /// The moment of its schedule that the point will stand for.
    pub scheduled_at: DateTime<Utc>,
}

/// CTE `due (chat_id, message_id, scheduled_at)` of the chats `$1`: messages whose newest step that has passed has no point yet;
/// service messages have no counts. `$2` are the steps, `$3` the end of the schedule.
macro_rules! due {
    () => {
        "with step as (
             select s as past, coalesce(lead(s) over (order by s), $3::float8) as next from unnest($2::float8[]) s
         ), due (chat_id, message_id, scheduled_at) as (
             select m.chat_id, m.message_id, m.date + make_interval(secs => step.past)
             from step join message m
                 on m.chat_id = any($1::bigint[]) and m.deleted_at is null and m.body is not null and not m.body ? 'service'
                 and m.date <= now() - make_interval(secs => step.past) and m.date > now() - make_interval(secs => step.next)
             where not exists (
                 select from metric p where p.box_id = m.box_id and p.message_id = m.message_id
                 and p.scheduled_at = m.date + make_interval(secs => step.past))
         )"
    };
}

/// Up to `limit` messages of a channel or supergroup whose newest step that has passed has no point yet, the freshest step first.
/// Older steps that were missed are not made up.
pub async fn due(conn: &mut PgConnection, chat: ChatId, limit: i64) -> Result<Vec<Due>, Error> {
    if !chat.is_channel() {
        return Ok(Vec::new());
    }
    const DUE: &str =
        concat!(due!(), " select message_id, scheduled_at from due order by scheduled_at desc, message_id desc limit $4");
    Ok(sqlx::query_as(DUE).bind(&[chat.0][..]).bind(&STEPS[..]).bind(OVER).bind(limit).fetch_all(conn).await?)
}

/// Days after which a chat is looked through whole again: for messages that came late, with a date before the last look.
const WHOLE_EVERY_DAYS: i32 = 1;

/// Those of these chats that have messages whose counts are due. Of a chat that was found complete within the last day, only the
/// moments since then are looked at: a message has ten in its life, and this is asked every few minutes.
pub async fn with_due(conn: &mut PgConnection, chats: &[i64]) -> Result<Vec<i64>, Error> {
    let channels: Vec<i64> = chats.iter().copied().filter(|id| ChatId(*id).is_channel()).collect();
    let (lately, whole): (Vec<i64>, Vec<i64>) = sqlx::query_as(
        "select coalesce(array_agg(id) filter (where k.chat_id is not null), '{}'),
                coalesce(array_agg(id) filter (where k.chat_id is null), '{}')
         from unnest($1::bigint[]) id
         left join count_mark k on k.chat_id = id and k.checked_at > now() - make_interval(days => $2)",
    )
    .bind(channels)
    .bind(WHOLE_EVERY_DAYS)
    .fetch_one(&mut *conn)
    .await?;
    let now = workflow::now(conn).await?;
    const WHOLE: &str = concat!(due!(), " select distinct chat_id from due order by 1");
    let mut found: Vec<i64> = sqlx::query_scalar(WHOLE).bind(&whole).bind(&STEPS[..]).bind(OVER).fetch_all(&mut *conn).await?;
    let complete: Vec<i64> = whole.into_iter().filter(|id| found.binary_search(id).is_err()).collect();
    mark(conn, &complete, now).await?;
    found.extend(since_mark(conn, &lately).await?);
    found.sort_unstable();
    Ok(found)
}

async fn since_mark(conn: &mut PgConnection, chats: &[i64]) -> Result<Vec<i64>, Error> {
    Ok(sqlx::query_scalar(
        "with step as materialized (
             select s as past, coalesce(lead(s) over (order by s), $3::float8) as next from unnest($2::float8[]) s
         )
         select k.chat_id from count_mark k
         where k.chat_id = any($1) and exists (
             select from step cross join lateral (
                 select from message m
                 where m.chat_id = k.chat_id and m.deleted_at is null and m.body is not null and not m.body ? 'service'
                   and m.date > greatest(k.checked_at - make_interval(secs => step.past), now() - make_interval(secs => step.next))
                   and m.date <= now() - make_interval(secs => step.past)
                   and not exists (
                       select from metric p where p.box_id = m.box_id and p.message_id = m.message_id
                       and p.scheduled_at = m.date + make_interval(secs => step.past))
                 limit 1
             ) m)
         order by 1",
    )
    .bind(chats)
    .bind(&STEPS[..])
    .bind(OVER)
    .fetch_all(conn)
    .await?)
}

/// Notes that what was due in these chats at a moment has its points, or was asked for in vain.
pub async fn mark(conn: &mut PgConnection, chats: &[i64], at: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query(
        "insert into count_mark as k (chat_id, checked_at) select id, $2 from unnest($1::bigint[]) id order by id
         on conflict (chat_id) do update set checked_at = greatest(k.checked_at, excluded.checked_at)",
    )
    .bind(chats)
    .bind(at)
    .execute(conn)
    .await?;
    Ok(())
}
