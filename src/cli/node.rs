//! `telekeep node`: which processes use accounts.

use std::{process::ExitCode, time::Duration};

use clap::Subcommand;
use sqlx::PgPool;

use super::{changed, exit::mistake, open, output};
use crate::{config::Config, record::node};

#[derive(Debug, Subcommand)]
pub enum Node {
    /// Nodes, the accounts that each has, what it does, and when it was last heard of
    List {
        #[arg(long)]
        json: bool,
    },
    /// Let a node give its accounts to the others, one after the other, and take no more: before it is stopped. Waits until it has none
    Drain {
        /// As `telekeep node list` shows it
        name: String,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
    /// Let a node that drains take accounts again
    Resume { name: String },
}

pub async fn run(command: Node, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    match command {
        Node::List { json } => {
            let nodes = node::list(&pool).await?;
            if json {
                output::json(&nodes)?;
            } else {
                let rows = nodes.into_iter().map(|it| {
                    vec![
                        it.name,
                        format!("{}/{}", it.host, it.pid),
                        it.version,
                        it.state,
                        it.accounts.join(" "),
                        it.running.to_string(),
                        format!("{:.1}", it.jobs_per_s),
                        it.seen_at.format("%Y-%m-%d %H:%M:%S").to_string(),
                    ]
                });
                output::table(
                    &["node", "process", "version", "state", "accounts", "running", "jobs/s", "last seen (UTC)"],
                    rows,
                    "no nodes; `telekeep run` starts one",
                );
            }
        }
        Node::Drain { name, no_wait } => {
            set_draining(&pool, &name, true).await?;
            if !no_wait {
                empty(&pool, &name).await?;
            }
            output::line(&if no_wait {
                format!("node {name} drains; `telekeep node list` shows what it still has")
            } else {
                format!(
                    "node {name} has no accounts any more; it can be stopped, or take some again by `telekeep node resume {name}`"
                )
            });
        }
        Node::Resume { name } => {
            set_draining(&pool, &name, false).await?;
            output::line(&format!("node {name} takes accounts again"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until a node has no accounts any more. One that nobody hears of is not waited for.
async fn empty(pool: &PgPool, name: &str) -> anyhow::Result<()> {
    loop {
        let nodes = node::list(pool).await?.into_iter().filter(|it| it.name == name && it.state != "silent");
        let left: Vec<String> = nodes.flat_map(|it| it.accounts).collect();
        if left.is_empty() {
            return Ok(());
        }
        eprintln!("node {name} still has {}", left.join(", "));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

async fn set_draining(pool: &PgPool, name: &str, draining: bool) -> anyhow::Result<()> {
    if node::set_draining(&mut *pool.acquire().await?, name, draining).await? == 0 {
        return mistake(format!("no node of the name {name} takes accounts; `telekeep node list` shows them"));
    }
    let what = if draining { "node.drain" } else { "node.resume" };
    changed::note(pool, what, &format!("node {name}"), serde_json::json!({})).await?;
    Ok(())
}
