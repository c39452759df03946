//! What an operator does with many jobs together, or only counts.

use clap::Args;
use sqlx::PgPool;
use telekeep_queue as queue;

use super::super::{changed, exit::mistake, output};
use super::which::Which;

#[derive(Debug, Args)]
pub struct Batch {
    #[command(flatten)]
    pub which: Which,
    /// All that the command applies to
    #[arg(long)]
    pub all: bool,
    /// Only say how many jobs of each state it would touch
    #[arg(long)]
    pub dry_run: bool,
}

/// Does it, notes it, and says how many jobs it touched; or says how many it would.
pub async fn act(pool: &PgPool, batch: Batch, action: queue::Action, what: &str) -> anyhow::Result<()> {
    let Batch { which, all, dry_run } = batch;
    if which.says_nothing() && !all {
        return mistake("say which jobs: by id, by what they have in common as --kind KIND or --state STATE, or --all");
    }
    let by_error = which.error.is_some();
    let filter = which.filter(pool).await?;
    if dry_run {
        return count(pool, &filter, action).await;
    }
    let mut detail = serde_json::json!({
        "ids": filter.ids, "kind": filter.kind, "state": filter.state, "account": filter.partition, "run": filter.run,
        "chat": filter.payload.as_ref().and_then(|(_, chat)| chat.parse::<i64>().ok()), "parent": filter.parent, "by_error": by_error,
    });
    if let queue::Action::Priority(priority) = action {
        detail["priority"] = priority.into();
    }
    let target = match filter.ids.as_deref() {
        Some([id]) => format!("job {id}"),
        _ => "jobs".into(),
    };
    let touched = queue::act(pool, &filter, action).await?;
    detail["touched"] = touched.into();
    changed::note(pool, action.name(), &target, detail).await?;
    output::line(&format!("{touched} jobs {what}"));
    Ok(())
}

async fn count(pool: &PgPool, filter: &queue::Filter, action: queue::Action) -> anyhow::Result<()> {
    let meant = queue::meant(pool, filter, action).await?;
    let states = queue::states(pool, &meant).await?;
    let rows = states.into_iter().map(|(state, count)| vec![state.to_string(), count.to_string()]);
    output::table(&["state", "jobs"], rows, "no job is meant that this can be done with");
    output::line(&format!("{} jobs; nothing was changed", meant.len()));
    Ok(())
}
