//! `telekeep job`: the queue as the operator sees it.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use telekeep_queue as queue;

use super::{exit::mistake, open, output};
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
    /// One job with its attempts
    Show {
        id: i64,
        #[arg(long)]
        json: bool,
    },
    /// Wait until jobs have ended; exit code 1 if one ended otherwise than done, or is held
    Wait(Wait),
    /// Held jobs run again
    Release(Which),
    /// Dead, held or cancelled jobs run again, their failures forgotten
    Retry(Which),
    /// Unfinished jobs end
    Cancel(Which),
    /// Jobs that wait are held until they are resumed
    Pause(Which),
    /// Paused jobs wait again
    Resume(Which),
    /// Unfinished jobs get another priority
    Priority {
        /// 1 (most urgent) to 4
        priority: i16,
        #[command(flatten)]
        which: Which,
    },
    /// Nothing of a kind starts until it is resumed; what runs goes on
    PauseKind { kind: String },
    /// A paused kind starts again
    ResumeKind { kind: String },
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

/// Jobs by id, or by what they have in common.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Which {
    pub ids: Vec<i64>,
    #[arg(long)]
    pub kind: Option<String>,
    /// scheduled, available, running, done, held, dead, cancelled
    #[arg(long)]
    pub state: Option<queue::State>,
    /// Those of one workflow run
    #[arg(long)]
    pub run: Option<i64>,
    /// Those of one account, by its number
    #[arg(long)]
    pub partition: Option<i64>,
    /// All that the command applies to
    #[arg(long)]
    pub all: bool,
}

impl From<Which> for queue::Filter {
    fn from(which: Which) -> Self {
        let Which { ids, kind, state, run, partition, all: _ } = which;
        queue::Filter { ids: (!ids.is_empty()).then_some(ids), kind, state, run, partition, ..Default::default() }
    }
}

#[derive(Debug, Args)]
pub struct List {
    #[arg(long)]
    pub kind: Option<String>,
    /// scheduled, available, running, done, held, dead, cancelled
    #[arg(long)]
    pub state: Option<queue::State>,
    #[arg(long, default_value_t = 50)]
    pub limit: i64,
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
            let rows = queue::list(
                &pool,
                queue::Filter { kind: list.kind, state: list.state, limit: Some(list.limit), ..Default::default() },
            )
            .await?;
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
            if json {
                output::json(&serde_json::json!({ "job": job, "attempts": attempts }))?;
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
            }
        }
        JobCommand::Wait(w) => return wait(&pool, w).await,
        JobCommand::Release(which) => told(queue::release(&pool, &which.into()).await?, "released"),
        JobCommand::Retry(which) => told(queue::retry(&pool, &which.into()).await?, "to run again"),
        JobCommand::Cancel(which) => told(queue::cancel(&pool, &which.into()).await?, "cancelled, or told to stop"),
        JobCommand::Pause(which) => told(queue::pause(&pool, &which.into()).await?, "paused"),
        JobCommand::Resume(which) => told(queue::resume(&pool, &which.into()).await?, "resumed"),
        JobCommand::Priority { priority, which } => {
            told(queue::reprioritise(&pool, &which.into(), priority).await?, &format!("of priority {priority} now"))
        }
        JobCommand::PauseKind { kind } => {
            known_kind(&kind)?;
            let new = queue::pause_kind(&pool, &kind).await?;
            output::line(&format!(
                "{kind} is {}paused; `telekeep job resume-kind {kind}` lets it start again",
                if new { "" } else { "already " }
            ));
        }
        JobCommand::ResumeKind { kind } => {
            let was = queue::resume_kind(&pool, &kind).await?;
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
    let (enqueued, wake) = queue::enqueue(&mut tx, &[queue::NewJob { trigger: Some("operator".into()), ..new }]).await?;
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

fn told(touched: u64, what: &str) {
    output::line(&format!("{touched} jobs {what}"));
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
