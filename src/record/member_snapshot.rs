//! The `member_snapshot` table: lists of members that were or are being read, and what a whole one concludes.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection};

use super::member::{self, Relation, Said, Standing, Status, When};
use super::{AccountId, ChatId, Error, Observation};

/// What a list turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everybody was told.
    Complete,
    /// Fewer were told than the chat has.
    Cut,
    /// The list is not shown to this account.
    Hidden,
    /// It came to no end.
    Failed,
}

impl State {
    /// The name in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Complete => "complete",
            State::Cut => "cut",
            State::Hidden => "hidden",
            State::Failed => "failed",
        }
    }
}

/// A list that is being read.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Running {
    pub id: i64,
    pub began_at: DateTime<Utc>,
    pub seen_count: i64,
    /// Where it goes on, in the form of who reads it.
    pub position: Value,
}

/// The database's time at this moment, also within a transaction.
pub async fn moment(conn: &mut PgConnection) -> Result<DateTime<Utc>, Error> {
    Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(conn).await?)
}

/// The list that this job was reading through this account. What other jobs or accounts left unended of the chat has failed.
pub async fn resume(conn: &mut PgConnection, chat: ChatId, job: i64, account: AccountId) -> Result<Option<Running>, Error> {
    sqlx::query(
        "update member_snapshot s set state = 'failed', ended_at = now(),
            reason = case when s.job = $2 then 'another account reads the chat now' else 'its job ended before it' end
        where s.chat_id = $1 and s.state = 'running' and (s.job, s.account_id) <> ($2, $3)
            and (s.job = $2 or not exists (select from job j where j.id = s.job and j.state not in ('done', 'dead', 'cancelled')))",
    )
    .bind(chat.0)
    .bind(job)
    .bind(account.0)
    .execute(&mut *conn)
    .await?;
    Ok(sqlx::query_as(
        "select id, began_at, seen_count, position from member_snapshot
        where chat_id = $1 and job = $2 and account_id = $3 and state = 'running' order by id desc limit 1",
    )
    .bind(chat.0)
    .bind(job)
    .bind(account.0)
    .fetch_optional(conn)
    .await?)
}

/// Begins a list that is asked for from now on; `began` is a moment of the database before its first call.
pub async fn begin(
    conn: &mut PgConnection,
    chat: ChatId,
    (account, job): (AccountId, i64),
    admins_only: bool,
    began: DateTime<Utc>,
    position: &Value,
) -> Result<Running, Error> {
    Ok(sqlx::query_as(
        "insert into member_snapshot (chat_id, account_id, job, admins_only, began_at, position) values ($1, $2, $3, $4, $5, $6)
        returning id, began_at, seen_count, position",
    )
    .bind(chat.0)
    .bind(account.0)
    .bind(job)
    .bind(admins_only)
    .bind(began)
    .bind(position)
    .fetch_one(conn)
    .await?)
}

/// How far a list came.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub position: Value,
    pub seen: i64,
    pub told: Option<i64>,
    pub widened: bool,
    pub calls: i64,
}

/// Stores how far a list came, in the transaction that stores what its page told.
pub async fn advance(conn: &mut PgConnection, id: i64, step: &Step) -> Result<(), Error> {
    sqlx::query(
        "update member_snapshot set position = $2, seen_count = $3, told_count = coalesce($4, told_count), widened = $5, calls = $6
        where id = $1",
    )
    .bind(id)
    .bind(&step.position)
    .bind(step.seen)
    .bind(step.told)
    .bind(step.widened)
    .bind(step.calls)
    .execute(conn)
    .await?;
    Ok(())
}

/// How many the lists showed that were asked for from `began` to `asked`: those who came or went after that are counted as they were
/// then.
pub async fn seen(conn: &mut PgConnection, chat: ChatId, began: DateTime<Utc>, asked: DateTime<Utc>) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "select count(*) from member where chat_id = $1 and told_at >= $2 and case when told_at <= $3 then present else not present end",
    )
    .bind(chat.0)
    .bind(began)
    .bind(asked)
    .fetch_one(conn)
    .await?)
}

/// How many were told of since a moment, whatever they are.
pub async fn told(conn: &mut PgConnection, chat: ChatId, began: DateTime<Utc>) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from member where chat_id = $1 and told_at >= $2")
        .bind(chat.0)
        .bind(began)
        .fetch_one(conn)
        .await?)
}

/// Those who were here before a whole list began, and of whom neither it nor anything since has told, have left. Gives how many.
pub async fn conclude(conn: &mut PgConnection, chat: ChatId, snapshot: &Running, seen: &Observation) -> Result<i64, Error> {
    let gone = member::unheard_since(conn, chat, snapshot.began_at).await?;
    let asked = moment(conn).await?;
    let when = When::Listed { asked, snapshot: snapshot.id };
    let relations: Vec<Relation> = gone.into_iter().map(|user| Relation { chat, user, said: Said::Missing, when }).collect();
    for some in relations.chunks(AT_ONCE) {
        member::merge(conn, some, seen).await?;
    }
    Ok(i64::try_from(relations.len()).unwrap_or(i64::MAX))
}

/// Who was banned before a whole list began and is neither in it nor among those who are banned, `count` of them, is so no more.
pub async fn conclude_bans(
    conn: &mut PgConnection,
    chat: ChatId,
    snapshot: &Running,
    count: i64,
    seen: &Observation,
) -> Result<(), Error> {
    let told: i64 = sqlx::query_scalar("select count(*) from member where chat_id = $1 and status = 'banned' and told_at >= $2")
        .bind(chat.0)
        .bind(snapshot.began_at)
        .fetch_one(&mut *conn)
        .await?;
    // Somebody may have been passed over.
    if told < count {
        return Ok(());
    }
    let when = When::Listed { asked: moment(conn).await?, snapshot: snapshot.id };
    let out = Standing { status: Status::Left, present: false, fields: Map::new(), joined: None, invited_by: None };
    let free = member::bans_unheard_since(conn, chat, snapshot.began_at).await?;
    let relations: Vec<Relation> =
        free.into_iter().map(|user| Relation { chat, user, said: Said::Is(out.clone()), when }).collect();
    for some in relations.chunks(AT_ONCE) {
        member::merge(conn, some, seen).await?;
    }
    Ok(())
}

/// Rows of one statement.
const AT_ONCE: usize = 2_000;

/// Ends a list.
pub async fn end(conn: &mut PgConnection, id: i64, state: State, reason: Option<&str>, left: Option<i64>) -> Result<(), Error> {
    sqlx::query("update member_snapshot set state = $2, ended_at = clock_timestamp(), reason = $3, left_count = $4 where id = $1")
        .bind(id)
        .bind(state.as_str())
        .bind(reason)
        .bind(left)
        .execute(conn)
        .await?;
    Ok(())
}

/// What Telegram refused of a chat is kept with the list that was being read.
pub async fn fail(conn: &mut PgConnection, chat: ChatId, job: i64, reason: &str) -> Result<(), Error> {
    sqlx::query(
        "update member_snapshot set state = 'failed', ended_at = clock_timestamp(), reason = $3
        where chat_id = $1 and job = $2 and state = 'running'",
    )
    .bind(chat.0)
    .bind(job)
    .bind(reason)
    .execute(conn)
    .await?;
    Ok(())
}

/// First letters of the names of a chat's members, the most frequent first.
pub async fn letters(conn: &mut PgConnection, chat: ChatId) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(
        "select lower(left(name, 1)) as letter
        from member m join telegram_user u using (user_id)
        cross join lateral (values (u.body->>'first_name'), (u.body->>'last_name'), (u.body->>'username')) n (name)
        where m.chat_id = $1 and name <> '' group by 1 order by count(*) desc, 1",
    )
    .bind(chat.0)
    .fetch_all(conn)
    .await?)
}

/// A list for people.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, utoipa::ToSchema)]
#[schema(as = MemberList)]
pub struct Snapshot {
    pub id: i64,
    pub chat_id: i64,
    /// Through which account it was read.
    pub account: String,
    pub job: i64,
    pub admins_only: bool,
    pub began_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// running, complete, cut, hidden, failed
    pub state: String,
    pub reason: Option<String>,
    /// The chat's own number of members.
    pub told_count: Option<i64>,
    pub seen_count: i64,
    pub widened: bool,
    pub calls: i64,
    /// Who was found to have left.
    pub left_count: Option<i64>,
}

/// The lists of a chat, the newest first.
pub async fn list(conn: &mut PgConnection, chat: ChatId) -> Result<Vec<Snapshot>, Error> {
    Ok(sqlx::query_as(
        "select s.id, s.chat_id, a.label as account, s.job, s.admins_only, s.began_at, s.ended_at,
            case when ended.early then 'failed' else s.state end as state,
            case when ended.early then 'its job ended before it' else s.reason end as reason, s.told_count, s.seen_count, s.widened,
            s.calls, s.left_count
        from member_snapshot s join account a on a.id = s.account_id
        cross join lateral (
            select s.state = 'running' and not exists (
                select from job j where j.id = s.job and j.state not in ('done', 'dead', 'cancelled')) as early
        ) ended
        where s.chat_id = $1 order by s.id desc",
    )
    .bind(chat.0)
    .fetch_all(conn)
    .await?)
}
