//! Enqueue: inside the caller's transaction, many at once, unique while unfinished.
//!
//! The NOTIFY is not sent here: inside a transaction it would serialise all commits. It is the [`Wake`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use chrono::{DateTime, Datelike, Utc};
use serde_json::Value;
use sqlx::{Connection, PgConnection, PgPool};

use crate::news::{News, announce};
use crate::{Error, Retry, State};

/// The priorities that there are, the most urgent first.
pub(crate) const PRIORITIES: std::ops::RangeInclusive<i16> = 1..=4;

/// From so many jobs without a unique key in one call they travel by COPY.
const COPY_FROM: usize = 200;

/// The largest payload, as JSON text. Larger things belong into tables of their own.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// How deep a payload may be nested: whoever reads JSON has a limit, serde_json's is 128.
pub const MAX_PAYLOAD_DEPTH: usize = 100;

const TRIES: u32 = 20;

/// What becomes of an unfinished job of the same kind and key. A running one is never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// It stays as it is.
    #[default]
    Keep,
    /// It takes the new payload.
    Replace,
    /// It takes the earlier of both starts, but never before a wait that somebody else asked for.
    Earlier,
}

/// A job to be enqueued.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Which work it is.
    pub kind: String,
    /// The work's arguments.
    pub payload: Value,
    /// What it shares a running limit and fairness with; 0 for none.
    pub partition: i64,
    /// 1 (most urgent) to 4 within the partition; 2 by default.
    pub priority: i16,
    /// Not before then; at once without.
    pub run_at: Option<DateTime<Utc>>,
    /// Unique among the kind's unfinished jobs.
    pub unique_key: Option<String>,
    /// The job that enqueues it.
    pub parent: Option<i64>,
    /// What enqueues it: a workflow, a listener, the operator.
    pub trigger: Option<String>,
    /// The workflow run that it belongs to.
    pub run: Option<i64>,
    /// The step of that run.
    pub step: Option<String>,
    /// In place of what the kind's policy says of failures.
    pub retry: Option<Retry>,
    /// What becomes of an unfinished job of the same key.
    pub on_conflict: Conflict,
}

impl NewJob {
    /// A job to be run as soon as possible, not unique, in no partition.
    pub fn new(kind: impl Into<String>, payload: Value) -> Self {
        NewJob {
            kind: kind.into(),
            payload,
            partition: 0,
            priority: 2,
            run_at: None,
            unique_key: None,
            parent: None,
            trigger: None,
            run: None,
            step: None,
            retry: None,
            on_conflict: Conflict::Keep,
        }
    }

    /// Sets the partition.
    #[must_use]
    pub fn partition(mut self, partition: i64) -> Self {
        self.partition = partition;
        self
    }

    /// Sets the priority, 1 to 4.
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the earliest start.
    #[must_use]
    pub fn run_at(mut self, at: DateTime<Utc>) -> Self {
        self.run_at = Some(at);
        self
    }

    /// Makes it unique among the kind's unfinished jobs.
    #[must_use]
    pub fn unique_key(mut self, key: impl Into<String>) -> Self {
        self.unique_key = Some(key.into());
        self
    }

    /// Names the job that enqueues it.
    #[must_use]
    pub fn parent(mut self, job: i64) -> Self {
        self.parent = Some(job);
        self
    }

    /// Names what enqueues it.
    #[must_use]
    pub fn trigger(mut self, trigger: impl Into<String>) -> Self {
        self.trigger = Some(trigger.into());
        self
    }

    /// Names the step of a workflow run that it belongs to.
    #[must_use]
    pub fn step(mut self, run: i64, step: impl Into<String>) -> Self {
        self.run = Some(run);
        self.step = Some(step.into());
        self
    }

    /// Says what becomes of an unfinished job of the same key.
    #[must_use]
    pub fn on_conflict(mut self, conflict: Conflict) -> Self {
        self.on_conflict = conflict;
        self
    }

    /// Its payload as JSON text, once it is known to be acceptable.
    fn checked(&self) -> Result<Ready<'_>, Error> {
        if !PRIORITIES.contains(&self.priority) {
            return Err(Error::Priority { kind: Some(self.kind.clone()), priority: self.priority });
        }
        let payload = self.payload.to_string();
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Error::PayloadTooLarge { kind: self.kind.clone(), bytes: payload.len() });
        }
        if deeper_than(&self.payload, MAX_PAYLOAD_DEPTH) {
            return Err(Error::PayloadTooDeep { kind: self.kind.clone() });
        }
        if self.retry.is_some_and(|retry| !retry.jitter.is_finite()) {
            return Err(Error::Jitter { kind: self.kind.clone() });
        }
        Ok(Ready { job: self, payload })
    }
}

/// What became of one [`NewJob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// A new job.
    Created(i64),
    /// An unfinished job of this kind and key exists. Its row stays locked until the transaction ends, so that
    /// it cannot finish before the caller's rows are visible.
    Deduplicated(i64, State),
}

impl Enqueued {
    /// The job, new or found.
    pub fn id(&self) -> i64 {
        match *self {
            Enqueued::Created(id) | Enqueued::Deduplicated(id, _) => id,
        }
    }
}

/// Tells idle workers of new jobs; to be fired after the commit. Forgetting it costs up to a second.
#[derive(Debug)]
#[must_use = "fire it after the commit, or the jobs wait for the next poll"]
pub struct Wake {
    /// What to tell; nothing where nothing is new.
    pub(crate) what: Option<News>,
}

impl Wake {
    /// Wakes the workers of this process at once, and the others by a notification. Never fails: the workers' poll is the
    /// net beneath it.
    pub async fn fire(self, pool: &PgPool) {
        if let Some(news) = self.what {
            announce(pool, &news).await;
        }
    }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|field| deeper_than(field, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A job that may be stored.
struct Ready<'a> {
    job: &'a NewJob,
    payload: String,
}

/// Enqueues `jobs` on the caller's connection, in its transaction if it has one.
///
/// The answers stand in the order of `jobs`; two of one kind and key in one call make one job.
pub async fn enqueue(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<(Vec<Enqueued>, Wake), Error> {
    let ready = jobs.iter().map(NewJob::checked).collect::<Result<Vec<_>, _>>()?;
    if jobs.is_empty() {
        return Ok((Vec::new(), Wake { what: None }));
    }
    let mut answers: Vec<Option<Enqueued>> = vec![None; jobs.len()];
    let (keyed, plain): (Vec<usize>, Vec<usize>) = (0..jobs.len()).partition(|&place| jobs[place].unique_key.is_some());
    for places in [&keyed, &plain] {
        let ready: Vec<&Ready<'_>> = places.iter().map(|&place| &ready[place]).collect();
        let made = match ready.as_slice() {
            [] => continue,
            [one] => insert_one(conn, one).await?.map(|id| (0, id)).into_iter().collect(),
            [first, ..] if first.job.unique_key.is_none() && ready.len() >= COPY_FROM && ready.iter().all(plain_date) => {
                copy(conn, &ready).await?
            }
            _ => insert(conn, &ready).await?,
        };
        for (place, id) in made {
            answers[places[place]] = Some(Enqueued::Created(id));
        }
    }
    let mut rest: Vec<usize> = keyed.into_iter().filter(|&place| answers[place].is_none()).collect();
    // one order for all callers, so that two of them never wait for each other
    rest.sort_by_key(|&place| (jobs[place].kind.as_str(), jobs[place].unique_key.as_deref()));
    for place in rest {
        answers[place] = Some(find_or_insert(conn, &ready[place]).await?);
    }
    let answers: Vec<Enqueued> = answers.into_iter().flatten().collect();
    // with a start of its own it may be for later: then the workers look when
    let news =
        if jobs.iter().any(|job| job.run_at.is_some()) { News::Later } else { News::ready(jobs.iter().map(|job| job.partition)) };
    Ok((answers, Wake { what: Some(news) }))
}

async fn make_partitions(conn: &mut PgConnection, jobs: &[&Ready<'_>]) -> Result<(), Error> {
    let partitions: Vec<i64> = jobs.iter().map(|ready| ready.job.partition).collect::<BTreeSet<_>>().into_iter().collect();
    sqlx::query(
        "insert into partition (id)
         select u.id from unnest($1::bigint[]) as u(id)
         where not exists (select 1 from partition p where p.id = u.id)
         order by u.id
         on conflict do nothing",
    )
    .bind(partitions)
    .execute(conn)
    .await?;
    Ok(())
}

/// The job that holds the key, locked and treated as wished, or a new one if it ended in between.
async fn find_or_insert(conn: &mut PgConnection, ready: &Ready<'_>) -> Result<Enqueued, Error> {
    const KEEP: &str = "select id, state from job
         where kind = $1 and unique_key = $2 and state in ('scheduled', 'available', 'running', 'held')
         for share";
    const CHANGE: &str = "select id, state from job
         where kind = $1 and unique_key = $2 and state in ('scheduled', 'available', 'running', 'held')
         for no key update";
    let job = ready.job;
    for _ in 0..TRIES {
        let found: Option<(i64, State)> = sqlx::query_as(if job.on_conflict == Conflict::Keep { KEEP } else { CHANGE })
            .bind(&job.kind)
            .bind(&job.unique_key)
            .fetch_optional(&mut *conn)
            .await?;
        if let Some((id, mut state)) = found {
            match job.on_conflict {
                Conflict::Replace if state != State::Running => {
                    sqlx::query("update job set payload = $2::jsonb where id = $1")
                        .bind(id)
                        .bind(&ready.payload)
                        .execute(&mut *conn)
                        .await?;
                }
                Conflict::Earlier if matches!(state, State::Scheduled | State::Available) => {
                    state = take_earlier(conn, id, job.run_at).await?;
                }
                _ => {}
            }
            return Ok(Enqueued::Deduplicated(id, state));
        }
        if let Some(id) = insert_one(conn, ready).await? {
            return Ok(Enqueued::Created(id));
        }
    }
    Err(Error::Contended { kind: job.kind.clone(), key: job.unique_key.clone().unwrap_or_default(), tries: TRIES })
}

/// The earlier of both starts, never before `not_before`; answers the state that follows.
async fn take_earlier(conn: &mut PgConnection, id: i64, run_at: Option<DateTime<Utc>>) -> Result<State, Error> {
    Ok(sqlx::query_scalar(
        "with earlier as (
             select id, kind, state, greatest(least(run_at, coalesce($2, statement_timestamp())), not_before) as at
             from job where id = $1
         ), moved as (
             update job j set run_at = e.at, state = case when e.at > statement_timestamp() then 'scheduled' else 'available' end
             from earlier e where j.id = e.id
             returning j.kind, e.state as was, j.state
         ), counted as (
             insert into job_delta
             select d.* from moved m
             cross join lateral (values (m.kind, m.was, -1), (m.kind, m.state, 1)) as d(kind, state, n)
             where m.was <> m.state
         )
         select state from moved",
    )
    .bind(id)
    .bind(run_at)
    .fetch_one(conn)
    .await?)
}

/// [`insert`] of one, which most calls are: no arrays, no sort, no join.
async fn insert_one(conn: &mut PgConnection, ready: &Ready<'_>) -> Result<Option<i64>, Error> {
    let job = ready.job;
    Ok(sqlx::query_scalar(
        "with partitions as (
             insert into partition (id) select $3 where not exists (select from partition where id = $3)
             on conflict do nothing
         ), made as (
             insert into job (kind, payload, partition, priority, state, run_at, unique_key, parent, trigger, run, step, retry)
             values ($1, $2::jsonb, $3, $4, case when $5 > statement_timestamp() then 'scheduled' else 'available' end,
                     coalesce($5, statement_timestamp()), $6, $7, $8, $9, $10, $11)
             on conflict (kind, unique_key)
                where unique_key is not null and state in ('scheduled', 'available', 'running', 'held')
                do nothing
             returning id, kind, state
         ), counted as (
             insert into job_delta select kind, state, 1 from made
         )
         select id from made",
    )
    .bind(&job.kind)
    .bind(&ready.payload)
    .bind(job.partition)
    .bind(job.priority)
    .bind(job.run_at)
    .bind(&job.unique_key)
    .bind(job.parent)
    .bind(&job.trigger)
    .bind(job.run)
    .bind(&job.step)
    .bind(job.retry.map(sqlx::types::Json))
    .fetch_optional(conn)
    .await?)
}

/// Inserts what does not conflict; answers (place in `jobs`, new id).
async fn insert(conn: &mut PgConnection, jobs: &[&Ready<'_>]) -> Result<Vec<(usize, i64)>, Error> {
    fn all<'a, T>(jobs: &[&'a Ready<'_>], get: impl Fn(&'a NewJob) -> T) -> Vec<T> {
        jobs.iter().map(|ready| get(ready.job)).collect()
    }
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "with input as materialized (
             select nextval('job_id_seq') as id, u.*
             from unnest($1::text[], $2::text[], $3::bigint[], $4::smallint[], $5::timestamptz[],
                         $6::text[], $7::bigint[], $8::text[], $9::bigint[], $10::text[], $11::jsonb[])
                  with ordinality
                  as u(kind, payload, partition, priority, run_at, unique_key, parent, trigger, run, step, retry, place)
         ), partitions as (
             insert into partition (id)
             select distinct i.partition from input i where not exists (select from partition p where p.id = i.partition)
             order by 1
             on conflict do nothing
         ), made as (
             insert into job (id, kind, payload, partition, priority, state, run_at, unique_key, parent, trigger, run, step, retry)
             select id, kind, payload::jsonb, partition, priority,
                    case when run_at > statement_timestamp() then 'scheduled' else 'available' end,
                    coalesce(run_at, statement_timestamp()), unique_key, parent, trigger, run, step, retry
             from input
             order by kind, unique_key nulls first, place
             on conflict (kind, unique_key)
                where unique_key is not null and state in ('scheduled', 'available', 'running', 'held')
                do nothing
             returning id, kind, state
         ), counted as (
             insert into job_delta select kind, state, count(*) from made group by 1, 2
         )
         select input.place, input.id from input join made using (id)",
    )
    .bind(all(jobs, |job| job.kind.as_str()))
    .bind(jobs.iter().map(|ready| ready.payload.as_str()).collect::<Vec<_>>())
    .bind(all(jobs, |job| job.partition))
    .bind(all(jobs, |job| job.priority))
    .bind(all(jobs, |job| job.run_at))
    .bind(all(jobs, |job| job.unique_key.as_deref()))
    .bind(all(jobs, |job| job.parent))
    .bind(all(jobs, |job| job.trigger.as_deref()))
    .bind(all(jobs, |job| job.run))
    .bind(all(jobs, |job| job.step.as_deref()))
    .bind(all(jobs, |job| job.retry.map(sqlx::types::Json)))
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(|(place, id)| Some((usize::try_from(place - 1).ok()?, id))).collect())
}

/// Whether COPY's text can say when it starts: years of more or less than four digits are written otherwise.
fn plain_date(ready: &&Ready<'_>) -> bool {
    ready.job.run_at.is_none_or(|at| (1..=9999).contains(&at.year()))
}

/// Copies jobs without unique keys; answers (place in `jobs`, new id).
async fn copy(conn: &mut PgConnection, jobs: &[&Ready<'_>]) -> Result<Vec<(usize, i64)>, Error> {
    // the jobs and their count are one commit, also for a caller without a transaction
    let mut tx = conn.begin().await?;
    make_partitions(&mut tx, jobs).await?;
    let (ids, now): (Vec<i64>, DateTime<Utc>) =
        sqlx::query_as("select array_agg(nextval('job_id_seq')), statement_timestamp() from generate_series(1, $1)")
            .bind(i64::try_from(jobs.len()).unwrap_or(i64::MAX))
            .fetch_one(&mut *tx)
            .await?;
    let mut lines = String::with_capacity(jobs.iter().map(|ready| ready.payload.len() + 160).sum());
    let mut counts: BTreeMap<(&str, State), i64> = BTreeMap::new();
    for (ready, id) in jobs.iter().zip(&ids) {
        let job = ready.job;
        let run_at = job.run_at.unwrap_or(now);
        let state = if run_at > now { State::Scheduled } else { State::Available };
        *counts.entry((&job.kind, state)).or_default() += 1;
        let retry = job.retry.map(|retry| serde_json::json!(retry).to_string());
        let fields: [Option<&dyn std::fmt::Display>; 12] = [
            Some(id),
            Some(&job.kind),
            Some(&ready.payload),
            Some(&job.partition),
            Some(&job.priority),
            Some(&state),
            Some(&run_at.to_rfc3339()),
            job.parent.as_ref().map(|it| it as _),
            job.trigger.as_ref().map(|it| it as _),
            job.run.as_ref().map(|it| it as _),
            job.step.as_ref().map(|it| it as _),
            retry.as_ref().map(|it| it as _),
        ];
        push_line(&mut lines, &fields);
    }
    let mut copy = tx
        .copy_in_raw(
            "copy job (id, kind, payload, partition, priority, state, run_at, parent, trigger, run, step, retry) from stdin",
        )
        .await?;
    copy.send(lines.as_bytes()).await?;
    copy.finish().await?;
    sqlx::query("insert into job_delta select * from unnest($1::text[], $2::text[], $3::bigint[])")
        .bind(counts.keys().map(|(kind, _)| *kind).collect::<Vec<_>>())
        .bind(counts.keys().map(|(_, state)| state.as_str()).collect::<Vec<_>>())
        .bind(counts.values().copied().collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(ids.into_iter().enumerate().collect())
}

/// One line of COPY's text format: https://www.postgresql.org/docs/current/sql-copy.html
fn push_line(lines: &mut String, fields: &[Option<&dyn std::fmt::Display>]) {
    for (place, field) in fields.iter().enumerate() {
        if place > 0 {
            lines.push('\t');
        }
        match field {
            None => lines.push_str("\\N"),
            Some(field) => {
                let from = lines.len();
                // a String takes everything
                let _ = write!(lines, "{field}");
                if lines[from..].contains(['\\', '\t', '\n', '\r']) {
                    let plain = lines.split_off(from);
                    for character in plain.chars() {
                        match character {
                            '\\' => lines.push_str("\\\\"),
                            '\t' => lines.push_str("\\t"),
                            '\n' => lines.push_str("\\n"),
                            '\r' => lines.push_str("\\r"),
                            other => lines.push(other),
                        }
                    }
                }
            }
        }
    }
    lines.push('\n');
}
