//! `telekeep workflow`: the files, and the runs they made.

mod show;

use std::process::ExitCode;

use clap::Subcommand;

use super::{
    changed,
    exit::{Mistake, mistake},
    open, output,
};
use crate::{
    config::Config,
    record::{audit_log::Change, workflow as table},
    workflow::{Workflow, by_hand, view},
};

#[derive(Debug, Subcommand)]
pub enum WorkflowCommand {
    /// The workflows of the configured folder
    List {
        #[arg(long)]
        json: bool,
    },
    /// Check every file; each fault with file and line
    Validate {
        #[arg(long)]
        json: bool,
    },
    /// One workflow: trigger and next ticks, chats it means now, steps, jobs, newest runs and what blocks them
    Show {
        name: String,
        /// Newest runs to show
        #[arg(long, default_value_t = 10)]
        runs: i64,
        #[arg(long)]
        json: bool,
    },
    /// Let a workflow open no runs; what is open goes on
    ///
    /// Events that come meanwhile are kept: at `resume`, each chat that had any gets one run. Ticks that come meanwhile are
    /// missed ones: at `resume`, the file's `missed` says whether all, the latest or none of them are made up.
    Pause {
        name: String,
        /// Shown wherever the pause is
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a paused workflow open runs again
    Resume { name: String },
    /// Start a workflow by hand, for the chats it selects or those given
    Run {
        name: String,
        #[arg(long, allow_negative_numbers = true)]
        chat: Vec<i64>,
    },
    /// Runs, newest first; a tick that came while a run was open is skipped, a run that waits for a held job is blocked
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
        WorkflowCommand::Validate { json } => {
            let workflows = open::workflows(&config)?;
            if json {
                let names: Vec<_> = workflows.keys().collect();
                return output::json(&serde_json::json!({ "valid": true, "workflows": names })).map(|()| ExitCode::SUCCESS);
            }
            output::line(&format!("{} workflows in {} are valid", workflows.len(), config.workflows.display()));
        }
        WorkflowCommand::List { json } => {
            let workflows = open::workflows(&config)?;
            if json {
                output::json(&workflows.values().collect::<Vec<_>>())?;
            } else {
                // Files are listed without a database, too.
                let paused = match open::record(&config).await {
                    Ok(pool) => table::paused(&mut *pool.acquire().await?).await?,
                    Err(_) => Vec::new(),
                };
                let rows = workflows.into_values().map(|w| {
                    let paused = if paused.iter().any(|p| p.workflow == w.name) { " (paused)" } else { "" };
                    let when = w.trigger.to_string() + paused;
                    let steps = w.steps.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" → ");
                    vec![w.name, when, steps, w.description]
                });
                output::table(&["name", "trigger", "steps", "description"], rows, "no workflow files");
            }
        }
        WorkflowCommand::Show { name, runs, json } => {
            let workflow = named(&config, &name)?;
            let pool = open::record(&config).await?;
            let view = view::view(&pool, &workflow, runs).await?;
            if json { output::json(&view)? } else { show::print(&view) }
        }
        WorkflowCommand::Pause { name, reason } => {
            named(&config, &name)?;
            let pool = open::record(&config).await?;
            let new = table::pause(&mut *pool.acquire().await?, &name, reason.as_deref()).await?;
            changed::note(&pool, "workflow.pause", &format!("workflow {name}"), serde_json::json!({ "reason": reason })).await?;
            output::line(&format!(
                "{name} is {}paused; `telekeep workflow resume {name}` lets it go on",
                if new { "" } else { "already " }
            ));
        }
        WorkflowCommand::Resume { name } => {
            // also one whose file is gone
            let pool = open::record(&config).await?;
            if !table::resume(&mut *pool.acquire().await?, &name).await? {
                named(&config, &name)?;
                output::line(&format!("{name} was not paused"));
            } else {
                changed::note(&pool, "workflow.resume", &format!("workflow {name}"), serde_json::json!({})).await?;
                output::line(&format!("{name} goes on"));
            }
        }
        WorkflowCommand::Run { name, chat } => {
            let workflow = named(&config, &name)?;
            let pool = open::record(&config).await?;
            let target = format!("workflow {name}");
            let detail = serde_json::json!({ "chats": chat });
            let who = changed::who();
            let change = Change { who: &who, what: "workflow.run", target: &target, detail, request: None };
            let started = by_hand::start(&pool, &workflow, &chat, &change).await;
            let started = started.map_err(|error| match error {
                by_hand::Error::Run(error) => anyhow::Error::from(error),
                mistake => Mistake(mistake.to_string()).into(),
            })?;
            output::line(&format!("{} runs started, {} skipped because one is still open", started.runs.len(), started.skipped));
        }
        WorkflowCommand::Runs { name, limit, json } => {
            let pool = open::record(&config).await?;
            let rows = table::runs(&mut *pool.acquire().await?, name.as_deref(), limit).await?;
            let runs = view::with_steps(&pool, rows).await?;
            if json {
                output::json(&runs)?;
            } else {
                output::table(show::RUNS, runs.iter().map(show::run), "no runs yet");
                show::blocked(&runs);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The workflow of this name.
fn named(config: &Config, name: &str) -> anyhow::Result<Workflow> {
    let mut workflows = open::workflows(config)?;
    if let Some(workflow) = workflows.remove(name) {
        return Ok(workflow);
    }
    let known: Vec<_> = workflows.into_keys().collect();
    let known = if known.is_empty() {
        format!("{} holds none", config.workflows.display())
    } else {
        format!("known are {}", known.join(", "))
    };
    mistake(format!("there is no workflow {name:?}; {known}"))
}
