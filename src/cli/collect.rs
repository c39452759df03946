//! `telekeep collect`: watches one chat, fetches all of it, shows progress.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use sqlx::PgPool;
use telekeep_queue::{self as queue, State};
use tokio_util::sync::CancellationToken;

use super::{
    changed,
    chat::{self, WatchArgs},
    coverage, open, output, run as working,
};
use crate::{
    account::{Accounts, keeper},
    config::Config,
    jobs::{self, Job, chat_refresh::ChatRefresh, history_fetch::HistoryFetch},
    projection::SINK,
    record::{
        ChatId,
        coverage::{self as table, Window},
        ledger, outbox,
    },
};

/// What shells give a command that Ctrl-C ended: 128 and the signal's number, 2.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Args)]
pub struct Collect {
    #[command(flatten)]
    pub watch: WatchArgs,
    /// Read everything again, also what is collected: finds edits and deletions
    #[arg(long)]
    pub force: bool,
}

pub async fn run(command: Collect, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let accounts = open::accounts(&config, &pool)?;
    let chat = match chat::begin(&config, &pool, &accounts, command.watch).await {
        Ok(chat) => chat,
        Err(e) => {
            accounts.close().await;
            return Err(e);
        }
    };
    let shutdown = CancellationToken::new();
    let mut helper = tokio::spawn(help(pool.clone(), config.clone(), accounts, shutdown.clone()));
    let fetched = tokio::select! {
        fetched = fetch(&pool, &config, chat, command.force) => fetched.map(Some),
        ended = &mut helper => return Err(ended.map_err(anyhow::Error::from).and_then(|r| r).err().unwrap_or_else(|| anyhow::anyhow!("the worker stopped"))),
        () = working::signal() => Ok(None),
    };
    shutdown.cancel();
    let helped = helper.await;
    let Some(good) = fetched? else {
        eprintln!("interrupted; what is collected stays, and the same command goes on from there");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    helped??;
    coverage::run(coverage::Coverage { chat: Some(chat.0.to_string()), json: false }, config).await?;
    Ok(ExitCode::from(u8::from(!good)))
}

/// A running `telekeep run` does the work; where there is none, or as soon as it is gone, this process does.
async fn help(pool: PgPool, config: Config, accounts: Arc<Accounts>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut told = false;
    while queue::workers(&pool).await?.iter().any(queue::WorkerRow::is_live) {
        if !told {
            told = true;
            accounts.close().await;
            output::line("a worker is running and does the work");
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    if told {
        output::line("that worker is gone; this process does the work");
    }
    let mut tasks = tokio::task::JoinSet::new();
    let worker = working::worker_config(&config.worker, &open::node_name(&config, None), accounts.node().await?);
    {
        let (accounts, shutdown) = (accounts.clone(), shutdown.clone());
        tasks.spawn(async move {
            keeper::run(accounts, shutdown).await;
            Ok(())
        });
    }
    tasks.spawn(working::work(pool.clone(), accounts.clone(), open::settings(&config, None), worker, shutdown.clone()));
    tasks.spawn(working::triggers(pool.clone(), config.clone(), open::workflows(&config)?, shutdown.clone()));
    if let Some(projector) = open::projector(&config, &pool)? {
        let shutdown = shutdown.clone();
        tasks.spawn(async move { projector.run(shutdown).await.map_err(Into::into) });
    }
    let result = working::all(tasks, &shutdown).await;
    accounts.close().await;
    result
}

/// Refreshes the chat, fetches what is missing or stale, and waits for the index; true when every job is done.
async fn fetch(pool: &PgPool, config: &Config, chat: ChatId, force: bool) -> anyhow::Result<bool> {
    changed::note(pool, "chat.fetch", &format!("chat {chat}"), serde_json::json!({ "force": force })).await?;
    if !ended(pool, chat, ChatRefresh::KIND, None).await? {
        return Ok(false);
    }
    if force {
        let mut conn = pool.acquire().await?;
        for ledger in table::list(&mut conn, Some(chat)).await? {
            table::mark_stale(&mut conn, ledger.id, Window { from: ledger.floor, to: ledger.top }).await?;
        }
    }
    let left = left(pool, chat).await?;
    let bar = output::bar(left, "ids").with_message("history");
    let good = ended(pool, chat, HistoryFetch::KIND, Some((&bar, left))).await?;
    bar.finish_and_clear();
    if config.elasticsearch_url.is_some() {
        drained(pool).await?;
    }
    Ok(good)
}

/// Enqueues what a kind plans for the chat and waits for its end.
async fn ended(pool: &PgPool, chat: ChatId, kind: &str, bar: Option<(&indicatif::ProgressBar, u64)>) -> anyhow::Result<bool> {
    let mut tx = pool.begin().await?;
    let mut planned = jobs::plan(&mut tx, kind, chat).await?;
    for job in &mut planned {
        job.trigger = Some("collect".into());
        job.priority = 1;
    }
    let (enqueued, wake) = queue::enqueue(&mut tx, &planned).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    let ids: Vec<i64> = enqueued.iter().map(queue::Enqueued::id).collect();
    let mut told = std::collections::BTreeSet::new();
    loop {
        let rows = queue::list(pool, queue::Filter { ids: Some(ids.clone()), limit: Some(i64::MAX), ..Default::default() }).await?;
        if let Some((bar, before)) = bar {
            bar.set_position(before.saturating_sub(left(pool, chat).await?));
        }
        for row in &rows {
            if let (true, Some(error)) = (row.state != State::Done, &row.error)
                && told.insert((row.id, error.clone()))
            {
                eprintln!(
                    "job {} {} is {}: {error}{}",
                    row.id,
                    row.kind,
                    row.state,
                    row.hint.as_ref().map_or(String::new(), |h| format!("\n  to do: {h}"))
                );
            }
        }
        if rows.iter().all(|r| r.state.is_final() || r.state == State::Held) {
            return Ok(rows.iter().all(|r| r.state == State::Done));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// How many ids are missing or stale.
async fn left(pool: &PgPool, chat: ChatId) -> anyhow::Result<u64> {
    let holes = ledger::holes(&mut *pool.acquire().await?, chat).await?;
    Ok(holes.iter().map(|(from, to)| u64::try_from(to - from + 1).unwrap_or(0)).sum())
}

/// Waits until the index has what the record had when this began; a sink that waits is told, and not waited for.
async fn drained(pool: &PgPool) -> anyhow::Result<()> {
    if outbox::sink(pool, SINK).await?.is_none() {
        eprintln!("the index is not prepared yet: the record has everything; `telekeep doctor` says what the index waits for");
        return Ok(());
    }
    let total = backlog(pool).await?;
    let bar = output::bar(total, "documents").with_message("index");
    loop {
        let left = backlog(pool).await?;
        bar.set_position(total.saturating_sub(left));
        if left == 0 {
            break;
        }
        if let Some(sink) = outbox::sink(pool, SINK).await?.filter(|s| s.state != "active") {
            eprintln!("the index waits: {}; {left} documents stay in the outbox until it is back", sink.detail.unwrap_or_default());
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bar.finish_and_clear();
    Ok(())
}

async fn backlog(pool: &PgPool) -> anyhow::Result<u64> {
    Ok(u64::try_from(outbox::backlog(pool, SINK).await?).unwrap_or(0))
}
