//! Enqueue: inside the caller's transaction, many at once, unique while unfinished.
//!
//! The NOTIFY is not sent here: inside a transaction it would serialise all commits. It is the [`Wake`].

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use crate::{Error, Retry, State};

/// The largest payload, as JSON text. Larger things belong into tables of their own.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// The one channel of the queue's notifications.
pub(crate) const CHANNEL: &str = "telekeep_queue";

const TRIES: u32 = 20;

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
    /// In place of what the kind's policy says of failures.
    pub retry: Option<Retry>,
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
            retry: None,
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

    fn check(&self) -> Result<(), Error> {
        if !(1..=4).contains(&self.priority) {
            return Err(Error::Priority { kind: self.kind.clone(), priority: self.priority });
        }
        let bytes = self.payload.to_string().len();
        if bytes > MAX_PAYLOAD_BYTES {
            return Err(Error::PayloadTooLarge { kind: self.kind.clone(), bytes });
        }
        Ok(())
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
    created: bool,
}

impl Wake {
    /// Sends the notification. Never fails: the workers' poll is the net beneath it.
    pub async fn fire(self, pool: &PgPool) {
        if !self.created {
            return;
        }
        if let Err(error) = notify(pool, "wake").await {
            tracing::debug!(error = %error, "queue wake-up not sent; the poll will find the jobs");
        }
    }
}

pub(crate) async fn notify(pool: &PgPool, what: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(what).execute(pool).await.map(drop)
}

/// Enqueues `jobs` on the caller's connection, in its transaction if it has one.
///
/// The answers stand in the order of `jobs`; two of one kind and key in one call make one job.
pub async fn enqueue(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<(Vec<Enqueued>, Wake), Error> {
    for job in jobs {
        job.check()?;
    }
    if jobs.is_empty() {
        return Ok((Vec::new(), Wake { created: false }));
    }
    make_partitions(conn, jobs).await?;
    let mut answers: Vec<Option<Enqueued>> = vec![None; jobs.len()];
    for (place, id) in insert(conn, jobs).await? {
        answers[place] = Some(Enqueued::Created(id));
    }
    let mut rest: Vec<usize> = (0..jobs.len()).filter(|&place| answers[place].is_none()).collect();
    // one order for all callers, so that two of them never wait for each other
    rest.sort_by_key(|&place| (jobs[place].kind.as_str(), jobs[place].unique_key.as_deref()));
    for place in rest {
        answers[place] = Some(find_or_insert(conn, &jobs[place]).await?);
    }
    let answers: Vec<Enqueued> = answers.into_iter().flatten().collect();
    let created = answers.iter().any(|answer| matches!(answer, Enqueued::Created(_)));
    Ok((answers, Wake { created }))
}

async fn make_partitions(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<(), Error> {
    let partitions: Vec<i64> = jobs.iter().map(|job| job.partition).collect::<BTreeSet<_>>().into_iter().collect();
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

/// The job that holds the key (without one nothing conflicts), locked, or a new one if it ended in between.
async fn find_or_insert(conn: &mut PgConnection, job: &NewJob) -> Result<Enqueued, Error> {
    for _ in 0..TRIES {
        let found: Option<(i64, State)> = sqlx::query_as(
            "select id, state from job
             where kind = $1 and unique_key = $2 and state in ('scheduled', 'available', 'running', 'held')
             for share",
        )
        .bind(&job.kind)
        .bind(&job.unique_key)
        .fetch_optional(&mut *conn)
        .await?;
        if let Some((id, state)) = found {
            return Ok(Enqueued::Deduplicated(id, state));
        }
        if let Some((_, id)) = insert(conn, std::slice::from_ref(job)).await?.first() {
            return Ok(Enqueued::Created(*id));
        }
    }
    Err(Error::Contended { kind: job.kind.clone(), key: job.unique_key.clone().unwrap_or_default(), tries: TRIES })
}

/// Inserts what does not conflict; answers (place in `jobs`, new id).
async fn insert(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<Vec<(usize, i64)>, Error> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "with input as materialized (
             select nextval('job_id_seq') as id, u.*
             from unnest($1::text[], $2::jsonb[], $3::bigint[], $4::smallint[], $5::timestamptz[],
                         $6::text[], $7::bigint[], $8::text[], $9::jsonb[])
                  with ordinality
                  as u(kind, payload, partition, priority, run_at, unique_key, parent, trigger, retry, place)
         ), made as (
             insert into job (id, kind, payload, partition, priority, state, run_at, unique_key, parent, trigger, retry)
             select id, kind, payload, partition, priority,
                    case when run_at > statement_timestamp() then 'scheduled' else 'available' end,
                    coalesce(run_at, statement_timestamp()), unique_key, parent, trigger, retry
             from input
             order by kind, unique_key nulls first, place
             on conflict (kind, unique_key)
                where unique_key is not null and state in ('scheduled', 'available', 'running', 'held')
                do nothing
             returning id
         )
         select input.place, input.id from input join made using (id)",
    )
    .bind(jobs.iter().map(|job| job.kind.as_str()).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.payload.clone()).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.partition).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.priority).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.run_at).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.unique_key.as_deref()).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.parent).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.trigger.as_deref()).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.retry.map(sqlx::types::Json)).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(|(place, id)| Some((usize::try_from(place - 1).ok()?, id))).collect())
}
