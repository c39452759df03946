//! Alerts: rules look at the record, what they find for long enough is an incident, and each target is told of each incident once and
//! of its end once.
//!
//! One process over all nodes looks (it has the turn); any of them tells, under the lock of what is to be told. Who is away is told
//! later: what waits for it is kept in the record.

mod command;
pub mod message;
pub mod rules;
pub mod target;
mod telling;
mod webhook;

use std::time::Duration;

use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Config;
use crate::record::{alert as table, turn};
use rules::Look;
pub use target::{Target, TargetError, targets};

const TURN: &str = "alerts";
/// Between two times at which old incidents are forgotten, in rounds.
const FORGET: u32 = 100;

/// Looks and tells until told to stop. A database that is away is waited for, told once.
pub async fn run(pool: PgPool, config: Config, node: String, targets: Vec<Target>, shutdown: CancellationToken) {
    let mut tellers = JoinSet::new();
    let retry = Duration::from_secs(config.alerts.retry_seconds.max(1));
    for target in targets.clone() {
        tellers.spawn(telling::run(pool.clone(), target, node.clone(), retry, shutdown.clone()));
    }
    let every = Duration::from_secs(config.alerts.every_seconds.max(1));
    let holder = Uuid::new_v4();
    let (mut look, mut told, mut round) = (Look::new(config, node), String::new(), 0);
    while !shutdown.is_cancelled() {
        let now = match look_once(&pool, &mut look, &targets, holder, every, round).await {
            Ok(()) => String::new(),
            Err(error) => crate::error::chain(&error),
        };
        if !now.is_empty() && now != told {
            tracing::warn!("alerts are not looked at: {now}");
        }
        told = now;
        round += 1;
        tokio::select! { () = shutdown.cancelled() => {}, () = tokio::time::sleep(every) => {} }
    }
    if let Ok(mut conn) = pool.acquire().await {
        let _ = turn::give_back(&mut conn, TURN, holder).await;
    }
    while tellers.join_next().await.is_some() {}
}

async fn look_once(
    pool: &PgPool,
    look: &mut Look,
    targets: &[Target],
    holder: Uuid,
    every: Duration,
    round: u32,
) -> Result<(), crate::record::Error> {
    let mut conn = pool.acquire().await?;
    look.note_disks(&mut conn).await?;
    if !turn::take(&mut conn, TURN, holder, every * 2 + Duration::from_secs(15)).await? {
        return Ok(());
    }
    drop(conn);
    let (asked, findings) = look.findings(pool).await;
    let alerts = &look.config().alerts;
    let (recovers, group) = (Duration::from_secs(alerts.recovers_after_seconds), Duration::from_secs(alerts.group_seconds));
    let known: Vec<table::Target<'_>> =
        targets.iter().map(|target| table::Target { name: &target.name, rules: target.rules.as_deref() }).collect();
    let mut tx = pool.begin().await?;
    let changed = table::observe(&mut tx, &asked, &findings, &known, recovers, group).await?;
    if round.is_multiple_of(FORGET) {
        table::forget(&mut tx).await?;
    }
    tx.commit().await?;
    if changed.opened > 0 {
        tracing::warn!(incident.count = changed.opened, "incidents opened; `telekeep alert list` shows them");
    }
    if changed.closed > 0 {
        tracing::info!(incident.count = changed.closed, "incidents are over");
    }
    Ok(())
}
