//! `telekeep workflow`: the files, and the runs they made.

use std::process::ExitCode;

use clap::Subcommand;

use super::{exit::mistake, open, output};
use crate::{
    config::Config,
    record::{
        selection::{self, Selection},
        workflow as table,
    },
    workflow::{Trigger, run as runs},
};

#[derive(Debug, Subcommand)]
pub enum WorkflowCommand {
    /// The workflows of the configured folder
    List {
        #[arg(long)]
        json: bool,
    },
    /// Check every file; each fault with file and line
    Validate,
    /// Start a workflow by hand, for the chats it selects or those given
    Run {
        name: String,
        #[arg(long, allow_negative_numbers = true)]
        chat: Vec<i64>,
    },
    /// Runs, newest first
    Runs {
        name: Option<String>,
        #[arg(long, default_value_t = 20)]
        limit: i64,
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(command: WorkflowCommand, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        WorkflowCommand::Validate => {
            let workflows = open::workflows(&config)?;
            output::line(&format!("{} workflows in {} are valid", workflows.len(), config.workflows.display()));
        }
        WorkflowCommand::List { json } => {
            let workflows = open::workflows(&config)?;
            if json {
                output::json(&workflows.values().collect::<Vec<_>>())?;
            } else {
                let rows = workflows.into_values().map(|w| {
                    let when = match &w.trigger {
                        Trigger::Manual => "by hand".into(),
                        Trigger::Cron { schedule, timezone, .. } => format!("{schedule} {timezone}"),
                        Trigger::Listener(events) => events.join(", "),
                    };
                    let steps = w.steps.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" → ");
                    vec![w.name, when, steps, w.description]
                });
                output::table(&["name", "trigger", "steps", "description"], rows, "no workflow files");
            }
        }
        WorkflowCommand::Run { name, chat } => {
            let workflows = open::workflows(&config)?;
            let Some(workflow) = workflows.get(&name) else {
                let known: Vec<_> = workflows.keys().cloned().collect();
                let known = if known.is_empty() {
                    format!("{} holds none", config.workflows.display())
                } else {
                    format!("known are {}", known.join(", "))
                };
                return mistake(format!("there is no workflow {name:?}; {known}"));
            };
            let pool = open::record(&config).await?;
            let mut tx = pool.begin().await?;
            table::lock_tick(&mut tx, &name).await?;
            let (select, ids) = (&workflow.select, if chat.is_empty() { &workflow.select.chats } else { &chat });
            let kinds: &[String] = if chat.is_empty() { &select.kinds } else { &[] };
            let tags: &[String] = if chat.is_empty() { &select.tags } else { &[] };
            let selection = Selection { kinds, chats: ids, tags, ..Selection::default() };
            let chats = selection::selected(&mut tx, &selection, None).await?;
            if chats.is_empty() {
                return mistake("no watched chat is selected; `telekeep chat watch` adds one");
            }
            let now = table::now(&mut tx).await?;
            let opened = runs::open(&mut tx, workflow, now, "manual", &chats).await?;
            tx.commit().await?;
            output::line(&format!("{} runs started, {} skipped because one is still open", opened.runs.len(), opened.skipped));
            opened.wake(&pool).await;
        }
        WorkflowCommand::Runs { name, limit, json } => {
            let pool = open::record(&config).await?;
            let rows = table::runs(&mut *pool.acquire().await?, name.as_deref(), limit).await?;
            if json {
                output::json(&rows)?;
            } else {
                let rows = rows
                    .into_iter()
                    .map(|r| vec![r.id.to_string(), r.workflow, r.chat_id.to_string(), r.trigger, r.tick.to_rfc3339(), r.state]);
                output::table(&["run", "workflow", "chat", "trigger", "tick", "state"], rows, "no runs yet");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
