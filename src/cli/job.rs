//! `telekeep job`: the queue as the operator sees it.

mod batch;
mod which;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use telekeep_queue as queue;

use self::{
    batch::{Batch, act},
    which::{Which, partition},
};
use super::{changed, exit::mistake, open, output};
use crate::{
    config::Config,
    jobs::{
        Job, avatar_download::AvatarDownload, chat_refresh::ChatRefresh, count_sample::CountSample, file_download::FileDownload,
        history_fetch::HistoryFetch, member_snapshot::MemberSnapshot,
    },
    record,
};

#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Enqueue one job of a kind
    #[command(subcommand)]
    Enqueue(Enqueue),
    /// Jobs, newest first
    List(List),
    /// One job with its attempts, the jobs that led to it, and those that it led to
    Show {
        id: i64,
        #[arg(long)]
        json: bool,
    },
    /// Wait until jobs have ended; exit code 1 if one ended otherwise than done, or is held
    Wait(Wait),
    /// Held jobs run again
    Release(Batch),
    /// Dead, held or cancelled jobs run again, their failures forgotten
    Retry(Batch),
    /// Unfinished jobs end
    Cancel(Batch),
    /// Jobs that wait are held until they are resumed
    #[command(visible_alias = "hold")]
    Pause(Batch),
    /// Paused jobs wait again
    Resume(Batch),
    /// Unfinished jobs get another priority
    Priority {
        /// 1 (most urgent) to 4
        #[arg(value_parser = clap::value_parser!(i16).range(1..=4))]
        priority: i16,
        #[command(flatten)]
        batch: Batch,
    },
    /// Nothing of a kind starts until it is resumed; what runs goes on
    PauseKind { kind: String },
    /// A paused kind starts again
    ResumeKind { kind: String },
    /// Nothing of an account's jobs starts until it is resumed; what runs goes on
    PausePartition {
        /// The account's label or number; 0: jobs of none
        account: String,
    },
    /// Jobs of a paused account start again
    ResumePartition {
        /// The account's label or number; 0: jobs of none
        account: String,
    },
    /// Partitions, one an account: whether paused, what waits and runs, and which methods rest
    Partitions {
        #[arg(long)]
        json: bool,
    },
    /// How many jobs there are, by kind and state
    Counts {
        #[arg(long)]
        json: bool,
    },
    /// The processes that work, and how long their leases last
    Workers {
        #[arg(long)]
        json: bool,
    },
}

/// One subcommand a kind; its options are the payload.
#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub enum Enqueue {
    /// Read a chat's own facts and its newest message
    ChatRefresh(ChatRefresh),
    /// Collect one window of a chat's history
    HistoryFetch(HistoryFetch),
    /// Take the counts that are due of a channel's messages
    CountSample(CountSample),
    /// List a chat's members, and who has left
    MemberSnapshot(MemberSnapshot),
    /// Fetch one photo of a chat or user, whatever the rules say
    AvatarDownload(AvatarDownload),
    /// Fetch one file, whatever the rules say
    FileDownload(FileDownload),
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub which: Which,
    #[arg(long, default_value_t = 50)]
    pub limit: i64,
    /// Older ones than this job: the last of the list before
    #[arg(long, value_name = "ID")]
    pub before: Option<i64>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Wait {
    /// Jobs to wait for; none: all that are unfinished now
    pub ids: Vec<i64>,
    /// Give up after so many seconds, with exit code 1
    #[arg(long)]
    pub timeout: Option<u64>,
}

pub async fn run(command: JobCommand, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    match command {
        JobCommand::Enqueue(job) => enqueue(&pool, job).await?,
        JobCommand::List(list) => {
            let meant = list.which.filter(&pool).await?;
            let rows = queue::list(&pool, queue::Filter { limit: Some(list.limit.max(0)), before: list.before, ..meant }).await?;
            if list.json {
                output::json(&rows)?;
            } else {
                output::table(
                    &["id", "kind", "state", "attempt", "failure", "crash", "progress", "error or note"],
                    rows.into_iter().map(row),
                    "no jobs",
                );
            }
        }
        JobCommand::Show { id, json } => {
            let Some(job) = queue::show(&pool, id).await? else {
                return mistake(format!("there is no job {id}; `telekeep job list` shows what is there"));
            };
            let attempts = queue::attempts(&pool, id).await?;
            let lineage = lineage(&pool, id).await?;
            if json {
                output::json(&serde_json::json!({ "job": job, "attempts": attempts, "lineage": lineage }))?;
            } else {
                output::line(&format!("job {id} {} {}", job.kind, job.state));
                output::line(&format!("payload {}", job.payload));
                if let Some(hint) = &job.hint {
                    output::line(&format!("hint    {hint}"));
                }
                output::table(
                    &["attempt", "started", "ended", "node", "outcome", "error"],
                    attempts.into_iter().map(|a| {
                        vec![
                            a.attempt.to_string(),
                            a.started_at.format("%H:%M:%S%.3f").to_string(),
                            a.finished_at.map_or("–".into(), |t| t.format("%H:%M:%S%.3f").to_string()),
                            a.node,
                            a.outcome.unwrap_or_else(|| "running".into()),
                            a.error.unwrap_or_default(),
                        ]
                    }),
                    "never started",
                );
                if lineage.len() > 1 {
                    let rows = lineage.into_iter().map(|it| {
                        let parent = it.parent.map_or("–".into(), |id| id.to_string());
                        vec![it.distance.to_string(), it.id.to_string(), it.kind, it.state.to_string(), parent]
                    });
                    output::table(&["generation", "job", "kind", "state", "enqueued by"], rows, "");
                }
            }
        }
        JobCommand::Wait(w) => return wait(&pool, w).await,
        JobCommand::Release(batch) => act(&pool, batch, queue::Action::Release, "released").await?,
        JobCommand::Retry(batch) => act(&pool, batch, queue::Action::Retry, "to run again").await?,
        JobCommand::Cancel(batch) => act(&pool, batch, queue::Action::Cancel, "cancelled, or told to stop").await?,
        JobCommand::Pause(batch) => act(&pool, batch, queue::Action::Pause, "paused").await?,
        JobCommand::Resume(batch) => act(&pool, batch, queue::Action::Resume, "resumed").await?,
        JobCommand::Priority { priority, batch } => {
            act(&pool, batch, queue::Action::Priority(priority), &format!("of priority {priority} now")).await?;
        }
        JobCommand::PausePartition { account } => {
            let id = set_paused(&pool, &account, true).await?;
            output::line(&format!("partition {id} is paused; `telekeep job resume-partition {account}` lets its jobs start again"));
        }
        JobCommand::ResumePartition { account } => {
            let id = set_paused(&pool, &account, false).await?;
            output::line(&format!("jobs of partition {id} start again"));
        }
        JobCommand::Partitions { json } => {
            let partitions = queue::partitions(&pool).await?;
            if json {
                output::json(&partitions)?;
            } else {
                let rows = partitions.into_iter().map(|it| {
                    let rest = |rest: queue::PartitionRest| format!("{} until {}", rest.method, rest.until.format("%H:%M:%S"));
                    let rests: Vec<String> = it.rests.0.into_iter().map(rest).collect();
                    vec![
                        it.id.to_string(),
                        if it.settings.paused { "paused" } else { "" }.into(),
                        it.settings.holder.unwrap_or_default(),
                        it.available.to_string(),
                        it.running.to_string(),
                        rests.join("; "),
                    ]
                });
                output::table(&["partition", "", "holder", "available", "running", "rests (UTC)"], rows, "no partitions yet");
            }
        }
        JobCommand::PauseKind { kind } => {
            known_kind(&kind)?;
            let new = queue::pause_kind(&pool, &kind).await?;
            changed::note(&pool, "kind.pause", &format!("kind {kind}"), serde_json::json!({})).await?;
            output::line(&format!(
                "{kind} is {}paused; `telekeep job resume-kind {kind}` lets it start again",
                if new { "" } else { "already " }
            ));
        }
        JobCommand::ResumeKind { kind } => {
            let was = queue::resume_kind(&pool, &kind).await?;
            changed::note(&pool, "kind.resume", &format!("kind {kind}"), serde_json::json!({})).await?;
            output::line(&format!("{kind} {}", if was { "starts again" } else { "was not paused" }));
        }
        JobCommand::Counts { json } => {
            let (counts, paused) = (queue::counts(&pool).await?, queue::paused_kinds(&pool).await?);
            if json {
                let counts: Vec<_> =
                    counts.iter().map(|(kind, state, n)| serde_json::json!({ "kind": kind, "state": state, "count": n })).collect();
                output::json(&serde_json::json!({ "counts": counts, "paused_kinds": paused }))?;
            } else {
                let rows = counts.into_iter().map(|(kind, state, n)| vec![kind, state.to_string(), n.to_string()]);
                output::table(&["kind", "state", "jobs"], rows, "no jobs");
                for kind in paused {
                    output::line(&format!("{kind} is paused"));
                }
            }
        }
        JobCommand::Workers { json } => {
            let workers = queue::workers(&pool).await?;
            if json {
                output::json(&workers)?;
            } else {
                output::table(
                    &["name", "state", "lease remaining (s)"],
                    workers.into_iter().map(|w| vec![w.name, w.state, format!("{:.0}", w.lease_remaining_seconds)]),
                    "no workers; `telekeep run` starts one",
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Enqueues one job of a watched chat, or tells of the one that is there.
pub async fn enqueue(pool: &sqlx::PgPool, job: Enqueue) -> anyhow::Result<()> {
    let (chat, new) = {
        let mut conn = pool.acquire().await?;
        let chat = match &job {
            Enqueue::ChatRefresh(j) => j.chat,
            Enqueue::HistoryFetch(j) => j.chat,
            Enqueue::CountSample(j) => j.chat,
            Enqueue::MemberSnapshot(j) => j.chat,
            Enqueue::AvatarDownload(j) => return super::file::enqueue(pool, j.media, j.earlier).await,
            Enqueue::FileDownload(j) => return super::file::enqueue(pool, j.media, false).await,
        };
        let Some(watch) = record::watch::show(&mut conn, chat).await? else {
            return Err(record::Error::NotWatched(chat).into());
        };
        let reader = watch.reader_id.map(record::AccountId);
        let new = match &job {
            Enqueue::ChatRefresh(j) => j.enqueueable(reader)?,
            Enqueue::HistoryFetch(j) => j.enqueueable(reader)?,
            Enqueue::CountSample(j) => j.enqueueable(reader)?,
            Enqueue::MemberSnapshot(j) => j.enqueueable(reader)?,
            Enqueue::AvatarDownload(j) => j.enqueueable(reader)?,
            Enqueue::FileDownload(j) => j.enqueueable(reader)?,
        };
        (chat, new)
    };
    let mut tx = pool.begin().await?;
    let kind = new.kind.clone();
    let (enqueued, wake) = queue::enqueue(&mut tx, &[queue::NewJob { trigger: Some("operator".into()), ..new }]).await?;
    changed::note_in(&mut tx, "job.enqueue", &format!("chat {chat}"), serde_json::json!({ "kind": kind })).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    for e in enqueued {
        match e {
            queue::Enqueued::Created(id) => output::line(&format!("job {id} for chat {chat}")),
            queue::Enqueued::Deduplicated(id, state) => output::line(&format!("job {id} for chat {chat} exists already ({state})")),
        }
    }
    Ok(())
}

fn known_kind(kind: &str) -> anyhow::Result<()> {
    if crate::jobs::KINDS.contains(&kind) {
        return Ok(());
    }
    mistake(format!("there is no kind {kind:?}; known are {}", crate::jobs::KINDS.join(", ")))
}

/// Lets nothing of an account's partition start, or lets it start again. Gives the partition.
async fn set_paused(pool: &sqlx::PgPool, account: &str, paused: bool) -> anyhow::Result<i64> {
    let id = partition(pool, account).await?;
    let mut tx = pool.begin().await?;
    let (is_there, wake) = queue::pause_partition(&mut tx, id, paused).await?;
    if !is_there {
        return mistake(format!("there is no partition {id}; `telekeep job partitions` shows what is there"));
    }
    let what = if paused { "partition.pause" } else { "partition.resume" };
    changed::note_in(&mut tx, what, &format!("partition {id}"), serde_json::json!({})).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    Ok(id)
}

/// A job's relative; `distance` is how many generations away it is, below zero for ancestors.
#[derive(Debug, serde::Serialize)]
struct Relative {
    id: i64,
    kind: String,
    state: queue::State,
    parent: Option<i64>,
    distance: i32,
}

/// The jobs that led to one, itself, and those that it led to; the oldest ancestor first.
async fn lineage(pool: &sqlx::PgPool, id: i64) -> anyhow::Result<Vec<Relative>> {
    let family = queue::family(pool, id).await?;
    let ids: Vec<i64> = family.iter().map(|(id, _)| *id).collect();
    let rows = queue::list(pool, queue::Filter { limit: Some(i64::MAX), ..queue::Filter::ids(ids) }).await?;
    let relative = |(id, distance): (i64, i32)| {
        let row = rows.iter().find(|row| row.id == id)?;
        Some(Relative { id, kind: row.kind.clone(), state: row.state, parent: row.parent, distance })
    };
    Ok(family.into_iter().filter_map(relative).collect())
}

fn row(job: queue::JobRow) -> Vec<String> {
    let progress = match (job.progress_done, job.progress_total) {
        (Some(done), Some(total)) => format!("{done}/{total}"),
        (Some(done), None) => done.to_string(),
        _ => String::new(),
    };
    vec![
        job.id.to_string(),
        job.kind,
        job.state.to_string(),
        job.attempt.to_string(),
        job.failure.to_string(),
        job.crash.to_string(),
        progress,
        job.error.or(job.progress_note).unwrap_or_default(),
    ]
}

/// Waits for jobs to end, with a bar.
pub async fn wait(pool: &sqlx::PgPool, wait: Wait) -> anyhow::Result<ExitCode> {
    use queue::State;
    let unfinished = |j: &queue::JobRow| !j.state.is_final() && j.state != State::Held;
    let ids = if wait.ids.is_empty() {
        let all = queue::list(pool, queue::Filter { limit: Some(i64::MAX), unfinished: true, ..Default::default() }).await?;
        all.into_iter().filter(unfinished).map(|j| j.id).collect()
    } else {
        wait.ids
    };
    if ids.is_empty() {
        output::line("no job is unfinished");
        return Ok(ExitCode::SUCCESS);
    }
    let begun = crate::clock::mark();
    let bar = output::bar(ids.len() as u64, "jobs").with_message("waiting");
    if !queue::workers(pool).await?.iter().any(queue::WorkerRow::is_live) {
        eprintln!("no worker is running; `telekeep run` starts one");
    }
    loop {
        let rows = queue::list(pool, queue::Filter { ids: Some(ids.clone()), limit: Some(i64::MAX), ..Default::default() }).await?;
        if let Some(id) = ids.iter().find(|id| !rows.iter().any(|r| r.id == **id)) {
            return mistake(format!("there is no job {id}; `telekeep job list` shows what is there"));
        }
        let open = rows.iter().filter(|r| unfinished(r)).count();
        bar.set_position((ids.len() - open) as u64);
        if open == 0 {
            bar.finish_and_clear();
            let bad: Vec<_> = rows.iter().filter(|r| r.state != State::Done).collect();
            output::line(&format!("{} jobs ended, {} of them done", rows.len(), rows.len() - bad.len()));
            for job in &bad {
                output::line(&format!(
                    "job {} {} is {}: {}",
                    job.id,
                    job.kind,
                    job.state,
                    job.error.as_deref().unwrap_or("no reason kept")
                ));
            }
            return Ok(ExitCode::from(u8::from(!bad.is_empty())));
        }
        if wait.timeout.is_some_and(|t| begun.elapsed() > Duration::from_secs(t)) {
            bar.abandon();
            anyhow::bail!("{open} jobs have not ended in time; `telekeep job list` shows where they stand");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
