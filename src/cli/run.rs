//! `telekeep run`: the working process. All roles in one, or those picked.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use sqlx::PgPool;
use telekeep_queue::WorkerConfig;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::open;
use crate::{
    account::{Accounts, keeper, stream},
    alert,
    config::{self, Config},
    http::{probe::Probe, server},
    jobs, media,
    record::node::NodeId,
    telemetry::{metrics, sampler},
    trigger,
    workflow::{self, Workflows},
};

#[derive(Debug, Args)]
pub struct Run {
    /// What this process does; all when not given
    #[arg(long, value_enum, value_delimiter = ',')]
    pub roles: Vec<Role>,
    /// This node's name, in place of the configured one; the host's name when neither is given
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Runs jobs, those of accounts where it has the account
    Worker,
    /// Hears what Telegram tells on its own. In one process with the worker: an account is in one place at a time
    Listener,
    /// Ticks cron triggers, hears events, turns what is missing into jobs, advances workflow runs
    Trigger,
    /// Feeds Elasticsearch
    Projector,
}

pub async fn run(run: Run, config: Config) -> anyhow::Result<ExitCode> {
    metrics::keep();
    let pool = open::record(&config).await?;
    let workflows = open::workflows(&config)?;
    let targets = alert::targets(&config.alert)?;
    let has = |role| run.roles.is_empty() || run.roles.contains(&role);
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let name = open::node_name(&config, run.name.as_deref());
    let accounts = open::accounts_of(&config, &pool, &name)?;
    if has(Role::Worker) || has(Role::Listener) {
        let (accounts, shutdown) = (accounts.clone(), shutdown.clone());
        tasks.spawn(async move {
            keeper::run(accounts, shutdown).await;
            Ok(())
        });
    }
    if has(Role::Listener) {
        let pace = stream::Pace { round: Duration::from_secs(config.live.round_seconds.max(1)) };
        let (accounts, shutdown) = (accounts.clone(), shutdown.clone());
        tasks.spawn(async move {
            stream::run(accounts, pace, shutdown).await;
            Ok(())
        });
    }
    if has(Role::Worker) {
        let worker = worker_config(&config.worker, &name, accounts.node().await?);
        let settings = open::settings(&config, Some(&name));
        tasks.spawn(work(pool.clone(), accounts.clone(), settings, worker, shutdown.clone()));
    }
    if has(Role::Trigger) {
        tasks.spawn(triggers(pool.clone(), config.clone(), workflows, shutdown.clone()));
    }
    if has(Role::Projector) {
        match open::projector(&config, &pool)? {
            Some(projector) => {
                let shutdown = shutdown.clone();
                tasks.spawn(async move { projector.run(shutdown).await.map_err(Into::into) });
            }
            None => tracing::info!("no ELASTICSEARCH_URL: search runs on the record"),
        }
    }
    if let Some(address) = config.http.listen {
        let (http, listening) = super::serve::open(&config, address, shutdown.clone()).await?;
        let accounts = (has(Role::Worker) || has(Role::Listener)).then(|| accounts.clone());
        let probe = Probe { pool: pool.clone(), accounts };
        tasks.spawn(async move { Ok(server::serve(http, probe, listening).await?) });
    }
    tasks.spawn(done(sampler::run(pool.clone(), shutdown.clone())));
    let alerts = alert::run(pool.clone(), config.clone(), name.clone(), targets, shutdown.clone());
    tasks.spawn(done(alerts));
    let stop = shutdown.clone();
    tokio::spawn(async move {
        signal().await;
        tracing::info!("draining; running jobs end or are handed back");
        stop.cancel();
    });
    tracing::info!(node.name = %name, "running; Ctrl-C or SIGTERM drains");
    let result = all(tasks, &shutdown).await;
    accounts.close().await;
    result.map(|()| ExitCode::SUCCESS)
}

/// What never fails, among what may.
async fn done(work: impl Future<Output = ()>) -> anyhow::Result<()> {
    work.await;
    Ok(())
}

/// Waits for the end of all; the first that ends takes the others along. Gives the first error.
pub async fn all(mut tasks: JoinSet<anyhow::Result<()>>, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut first = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let result = ended.map_err(anyhow::Error::from).and_then(|r| r);
        shutdown.cancel();
        if first.is_ok() {
            first = result;
        }
    }
    first
}

/// The queue's view of the configuration.
pub fn worker_config(config: &config::Worker, name: &str, node: NodeId) -> WorkerConfig {
    let lease = Duration::from_secs(config.lease_seconds.max(3));
    WorkerConfig {
        concurrency: config.concurrency,
        per_partition: config.per_account,
        lease,
        heartbeat: lease / 3,
        grace: Duration::from_secs(config.grace_seconds),
        holder: Some(node.holder()),
        ..WorkerConfig::new(name)
    }
}

/// Runs jobs until told to stop, then drains.
pub async fn work(
    pool: PgPool,
    accounts: Arc<Accounts>,
    settings: jobs::Settings,
    config: WorkerConfig,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    Ok(jobs::worker(pool, accounts, settings, config).run(shutdown).await?)
}

/// Ticks, listens, reconciles and advances runs, twice a second; a database that is away is waited for, told once.
pub async fn triggers(pool: PgPool, config: Config, mut workflows: Workflows, shutdown: CancellationToken) -> anyhow::Result<()> {
    let rules = config.files.rules();
    let (mut last, mut told_files) = (String::new(), String::new());
    let mut every = tokio::time::interval(Duration::from_millis(500));
    // The first round comes a period after the start: streams and workflows begin before it.
    let period = Duration::from_secs(config.reconcile.every_seconds.max(1));
    let mut reconcile = tokio::time::interval(period);
    reconcile.reset();
    reconcile.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let round = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = reconcile.tick() => true,
            _ = every.tick() => false,
        };
        reload(&config.workflows, &mut workflows, &mut told_files);
        let result: anyhow::Result<usize> = async {
            for workflow in workflows.values() {
                trigger::cron::tick(&pool, workflow).await?;
            }
            workflow::run::advance_all(&pool).await?;
            trigger::listener::consume_all(&pool, &workflows).await?;
            jobs::handover::round(&pool).await?;
            trigger::joining::looks(&pool).await?;
            trigger::files::round(&pool, &rules, config.files.at_once).await?;
            trigger::avatars::round(&pool, config.files.at_once, config.files.earlier_avatars).await?;
            if !round {
                return Ok(0);
            }
            trigger::joining::orphans(&pool).await?;
            jobs::handover::release(&pool).await?;
            trigger::files::forsaken(&pool).await?;
            if let Ok(store) = config.files.open_store() {
                media::removal::round(&pool, &store).await?;
            }
            Ok(trigger::reconcile::round(&pool).await?)
        }
        .await;
        let told = result.err().map_or_else(String::new, |e| crate::error::chain(e.as_ref()));
        if told != last && !told.is_empty() {
            tracing::warn!("triggers wait: {told}");
        }
        last = told;
    }
}

/// Takes changed files over; a fault keeps what was there, and is told once.
fn reload(folder: &Path, workflows: &mut Workflows, told: &mut String) {
    match workflow::file::load(folder, jobs::KINDS) {
        Ok(new) if new != *workflows => {
            tracing::info!(workflow.count = new.len(), "workflow files reloaded");
            *workflows = new;
            told.clear();
        }
        Ok(_) => told.clear(),
        Err(e) if e.to_string() != *told => {
            *told = e.to_string();
            tracing::error!("workflow files are not reloaded, the old ones stay: {told}");
        }
        Err(_) => {}
    }
}

/// Waits for SIGTERM or Ctrl-C.
pub async fn signal() {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        drop(tokio::signal::ctrl_c().await);
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
