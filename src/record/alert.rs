//! Incidents: what rules found, since when, and who was told of it. Time is the database's.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

/// What a rule found in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Permanent name of the rule.
    pub rule: &'static str,
    /// What it applies to: one incident at a time of rule and subject.
    pub subject: String,
    pub says: String,
    pub hint: String,
    /// How long it must be so, without a pause, before it is an incident.
    pub lasts: Duration,
    /// Where it falls below its least, something gets on: the time begins anew.
    pub measure: Option<i64>,
}

/// An incident, for people and for targets.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct Incident {
    pub id: i64,
    /// Permanent name of the rule that found it.
    pub rule: String,
    /// What it applies to within the rule.
    pub subject: String,
    pub says: String,
    /// What to do about it.
    pub hint: String,
    pub opened_at: DateTime<Utc>,
    /// None: it is open.
    pub closed_at: Option<DateTime<Utc>>,
}

/// What a target has still to be told: the opening of an incident, or its end.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Note {
    #[sqlx(flatten)]
    pub incident: Incident,
    /// It tells of the end.
    pub closes: bool,
    /// How often the target did not take it.
    pub failures: i32,
}

/// A target, as far as the record needs to know it.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    pub name: &'a str,
    /// Rules that it is told of; none: all.
    pub rules: Option<&'a [String]>,
}

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    pub opened: u64,
    pub closed: u64,
}

/// Takes one round's findings of the rules that were asked: incidents open where a finding has lasted, and close where none was made
/// for `recovers`. What targets have to be told of it waits in the same transaction, each target at most once within `group`.
pub async fn observe(
    conn: &mut PgConnection,
    asked: &[&str],
    findings: &[Finding],
    targets: &[Target<'_>],
    recovers: Duration,
    group: Duration,
) -> sqlx::Result<Changed> {
    let rules: Vec<&str> = findings.iter().map(|it| it.rule).collect();
    let subjects: Vec<&str> = findings.iter().map(|it| it.subject.as_str()).collect();
    let says: Vec<&str> = findings.iter().map(|it| it.says.as_str()).collect();
    let hints: Vec<&str> = findings.iter().map(|it| it.hint.as_str()).collect();
    let lasts: Vec<f64> = findings.iter().map(|it| it.lasts.as_secs_f64()).collect();
    let measures: Vec<Option<i64>> = findings.iter().map(|it| it.measure).collect();
    sqlx::query(
        "insert into incident_pending as p (rule, subject, measure)
         select * from unnest($1::text[], $2::text[], $3::bigint[]) order by 1, 2
         on conflict (rule, subject) do update set seen_at = now(), measure = least(p.measure, excluded.measure),
             since = case when excluded.measure < p.measure then now() else p.since end",
    )
    .bind(&rules)
    .bind(&subjects)
    .bind(&measures)
    .execute(&mut *conn)
    .await?;
    sqlx::query("delete from incident_pending where rule = any($1) and seen_at < now() - make_interval(secs => $2)")
        .bind(asked)
        .bind(recovers.as_secs_f64())
        .execute(&mut *conn)
        .await?;
    // Those that have lasted: seen again, or new.
    let seen: Vec<Option<i64>> = sqlx::query_scalar(
        "insert into incident as i (rule, subject, says, hint)
         select f.rule, f.subject, f.says, f.hint
         from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[]) as f (rule, subject, says, hint, lasts)
         join incident_pending p using (rule, subject)
         where p.since <= now() - make_interval(secs => f.lasts) order by 1, 2
         on conflict (rule, subject) where closed_at is null
         do update set seen_at = now(), says = excluded.says, hint = excluded.hint
         returning case when i.xmax = 0 then id end",
    )
    .bind(&rules)
    .bind(&subjects)
    .bind(&says)
    .bind(&hints)
    .bind(&lasts)
    .fetch_all(&mut *conn)
    .await?;
    let opened: Vec<i64> = seen.into_iter().flatten().collect();
    let closed: Vec<i64> = sqlx::query_scalar(
        "update incident set closed_at = now()
         where closed_at is null and rule = any($1) and seen_at < now() - make_interval(secs => $2) returning id",
    )
    .bind(asked)
    .bind(recovers.as_secs_f64())
    .fetch_all(&mut *conn)
    .await?;
    for (incidents, closes) in [(&opened, false), (&closed, true)] {
        note(conn, incidents, closes, targets, group).await?;
    }
    let names: Vec<&str> = targets.iter().map(|target| target.name).collect();
    sqlx::query("delete from incident_note where target <> all($1)").bind(&names).execute(&mut *conn).await?;
    Ok(Changed { opened: opened.len() as u64, closed: closed.len() as u64 })
}

/// Each target is to be told; of an end only where it was told of the opening, or is still to be.
async fn note(
    conn: &mut PgConnection,
    incidents: &[i64],
    closes: bool,
    targets: &[Target<'_>],
    group: Duration,
) -> sqlx::Result<()> {
    if incidents.is_empty() {
        return Ok(());
    }
    for target in targets {
        sqlx::query(
            "insert into incident_note (incident, target, closes, due_at)
             select i.id, $2, $3, greatest(now(), (select max(told_at) from incident_told where target = $2) + make_interval(secs => $5))
             from incident i where i.id = any($1) and ($4::text[] is null or i.rule = any($4))
               and (not $3 or exists (select from incident_note n where n.incident = i.id and n.target = $2)
                    or exists (select from incident_told t where t.incident = i.id and t.target = $2))
             on conflict do nothing",
        )
        .bind(incidents)
        .bind(target.name)
        .bind(closes)
        .bind(target.rules)
        .bind(group.as_secs_f64())
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// What a target is to be told now, oldest first, locked until the transaction ends: nobody else tells it meanwhile.
pub async fn due(conn: &mut PgConnection, target: &str) -> sqlx::Result<Vec<Note>> {
    sqlx::query_as(
        "select i.id, i.rule, i.subject, i.says, i.hint, i.opened_at, i.closed_at, n.closes, n.failures
         from incident_note n join incident i on i.id = n.incident
         where n.target = $1 and n.due_at <= now() order by n.incident, n.closes for update of n skip locked",
    )
    .bind(target)
    .fetch_all(conn)
    .await
}

fn keys(notes: &[Note]) -> (Vec<i64>, Vec<bool>) {
    notes.iter().map(|note| (note.incident.id, note.closes)).unzip()
}

/// The target took them.
pub async fn told(conn: &mut PgConnection, target: &str, notes: &[Note]) -> sqlx::Result<()> {
    let (incidents, closes) = keys(notes);
    sqlx::query(
        "with told as (
             delete from incident_note n using unnest($2::bigint[], $3::boolean[]) as t (incident, closes)
             where n.target = $1 and n.incident = t.incident and n.closes = t.closes returning n.incident, n.closes)
         insert into incident_told (incident, target, closes, told_at) select incident, $1, closes, clock_timestamp() from told
         on conflict do nothing",
    )
    .bind(target)
    .bind(incidents)
    .bind(closes)
    .execute(conn)
    .await
    .map(drop)
}

/// The target did not take them: again after a while.
pub async fn not_told(conn: &mut PgConnection, target: &str, notes: &[Note], error: &str, again: Duration) -> sqlx::Result<()> {
    let (incidents, closes) = keys(notes);
    sqlx::query(
        "update incident_note n set failures = n.failures + 1, error = $4, due_at = clock_timestamp() + make_interval(secs => $5)
         from unnest($2::bigint[], $3::boolean[]) as t (incident, closes)
         where n.target = $1 and n.incident = t.incident and n.closes = t.closes",
    )
    .bind(target)
    .bind(incidents)
    .bind(closes)
    .bind(error)
    .bind(again.as_secs_f64())
    .execute(conn)
    .await
    .map(drop)
}

/// A target that does not take what it has to be told.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct Deaf {
    pub target: String,
    /// What it has to be told.
    pub waiting: i64,
    pub failures: i32,
    pub error: Option<String>,
}

/// The targets that failed, and what waits for them.
pub async fn deaf(conn: &mut PgConnection) -> sqlx::Result<Vec<Deaf>> {
    sqlx::query_as(
        "select target, count(*) as waiting, max(failures) as failures, max(error) as error
         from incident_note where failures > 0 group by target order by target",
    )
    .fetch_all(conn)
    .await
}

/// Incidents, newest first: the open ones, or with them those that ended during these days.
pub async fn list(conn: &mut PgConnection, days: Option<u32>) -> sqlx::Result<Vec<Incident>> {
    sqlx::query_as(
        "select id, rule, subject, says, hint, opened_at, closed_at from incident
         where closed_at is null or closed_at > now() - make_interval(days => $1)
         order by closed_at is not null, opened_at desc, id desc",
    )
    .bind(days.map(|days| i32::try_from(days).unwrap_or(i32::MAX)))
    .fetch_all(conn)
    .await
}

/// Which incidents are meant; what is none does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Open ones, or those that ended.
    pub open: Option<bool>,
    pub rule: Option<String>,
    /// Older than this one.
    pub before: Option<i64>,
}

/// Incidents, the newest first. Those that ended are kept for a month.
pub async fn page(conn: &mut PgConnection, filter: &Filter, limit: i64) -> sqlx::Result<Vec<Incident>> {
    sqlx::query_as(
        "select id, rule, subject, says, hint, opened_at, closed_at from incident
          where ($1::boolean is null or (closed_at is null) = $1) and ($2::text is null or rule = $2)
            and ($3::bigint is null or id < $3)
          order by id desc limit $4",
    )
    .bind(filter.open)
    .bind(&filter.rule)
    .bind(filter.before)
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// Incidents that ended during so many hours, the one that ended last first.
pub async fn ended(conn: &mut PgConnection, hours: u32, limit: i64) -> sqlx::Result<Vec<Incident>> {
    sqlx::query_as(
        "select id, rule, subject, says, hint, opened_at, closed_at from incident
          where closed_at > now() - make_interval(hours => $1) order by closed_at desc, id desc limit $2",
    )
    .bind(i32::try_from(hours).unwrap_or(i32::MAX))
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// How many incidents are open, by rule.
pub async fn open_by_rule(conn: &mut PgConnection) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as("select rule, count(*) from incident where closed_at is null group by rule order by rule").fetch_all(conn).await
}

/// Forgets incidents that ended a month ago, and take-overs of yesterday.
pub async fn forget(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(
        "delete from incident i where closed_at < now() - interval '30 days'
           and not exists (select from incident_note n where n.incident = i.id)",
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query("delete from account_lease_taken where taken_at < now() - interval '1 day'").execute(conn).await.map(drop)
}
