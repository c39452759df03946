//! Cron ticks: exactly one run per (workflow, tick, chat) over any number of nodes; missed ticks as the file says.

use sqlx::PgPool;

use crate::{
    record::{selection, workflow as table},
    workflow::{
        Trigger, Workflow, due,
        run::{self, RunError},
    },
};

/// Opens the runs of every tick of a workflow that has come since its last one. Gives how many runs were opened.
pub async fn tick(pool: &PgPool, workflow: &Workflow) -> Result<usize, RunError> {
    let Trigger::Cron { schedule, timezone, missed } = &workflow.trigger else { return Ok(0) };
    let Ok(schedule) = schedule.parse::<cron::Schedule>() else { return Ok(0) }; // validated when the file was read
    let mut tx = pool.begin().await?;
    let last = table::lock_tick(&mut tx, &workflow.name).await?;
    if table::is_paused(&mut tx, &workflow.name).await? {
        return Ok(0); // its last tick stays: what becomes of the missed ones is decided when it goes on
    }
    let now = table::now(&mut tx).await?;
    let ticks = due(&schedule, *timezone, *missed, last, now);
    let mut opened = Vec::new();
    for tick in &ticks {
        let chats = selection::selected(&mut tx, &workflow.select.selection(last), None).await?;
        opened.push(run::open(&mut tx, workflow, *tick, "cron", &chats).await?);
    }
    if let Some(tick) = schedule.after(&last.with_timezone(timezone)).take_while(|t| *t <= now).last() {
        table::set_tick(&mut tx, &workflow.name, tick.with_timezone(&chrono::Utc)).await?;
    }
    tx.commit().await?;
    let mut runs = 0;
    for o in opened {
        runs += o.runs.len();
        if !o.runs.is_empty() || o.skipped > 0 {
            tracing::info!(workflow.name = %workflow.name, run.opened = o.runs.len(), run.skipped = o.skipped, "cron tick");
        }
        o.wake(pool).await;
    }
    Ok(runs)
}
