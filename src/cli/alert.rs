//! `telekeep alert`: what somebody has to be told of, and whether it would arrive.

use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use super::{exit::mistake, open, output};
use crate::{
    alert::{self, Target, message::Message},
    config::Config,
    record::alert as table,
};

#[derive(Debug, Subcommand)]
pub enum Alert {
    /// Open incidents, each with what can be done about it
    List {
        /// With those that ended during so many days
        #[arg(long)]
        days: Option<u32>,
        #[arg(long)]
        json: bool,
    },
    /// Send a test message to the configured targets, or to one
    Test {
        /// As [[alert]] names it
        target: Option<String>,
        #[arg(long)]
        json: bool,
    },
}

/// What came of a test.
#[derive(Debug, Serialize)]
struct Tested {
    target: String,
    kind: &'static str,
    told: bool,
    error: Option<String>,
}

pub async fn run(command: Alert, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Alert::List { days, json } => list(&config, days, json).await,
        Alert::Test { target, json } => test(&config, target.as_deref(), json).await,
    }
}

async fn list(config: &Config, days: Option<u32>, json: bool) -> anyhow::Result<ExitCode> {
    let pool = open::record(config).await?;
    let mut conn = pool.acquire().await?;
    let (incidents, deaf) = (table::list(&mut conn, days).await?, table::deaf(&mut conn).await?);
    if json {
        output::json(&serde_json::json!({ "incidents": incidents, "deaf_targets": deaf }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if incidents.is_empty() {
        output::line("nothing is wrong");
    }
    for it in &incidents {
        let until = it.closed_at.map(|at| format!(" until {}", at.format("%Y-%m-%d %H:%M"))).unwrap_or_default();
        output::line(&format!("{} since {}{until}: {}", it.rule, it.opened_at.format("%Y-%m-%d %H:%M"), it.says));
        if it.closed_at.is_none() {
            output::line(&format!("    {}", it.hint));
        }
    }
    for it in deaf {
        let why = it.error.unwrap_or_default();
        output::line(&format!("target {} does not take messages, {} wait, {} tries: {why}", it.target, it.waiting, it.failures));
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(config: &Config, name: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let mut targets = alert::targets(&config.alert)?;
    targets.retain(|target| name.is_none_or(|name| target.name == name));
    match (targets.is_empty(), name) {
        (true, Some(name)) => return mistake(format!("no [[alert]] has the name {name}")),
        (true, None) => {
            return mistake("no [[alert]] is configured: name, and webhook = \"https://…\" or command = [\"/program\"]");
        }
        (false, _) => {}
    }
    let message = Message::test(&open::node_name(config, None));
    let tested = futures::future::join_all(targets.iter().map(|target| tell(target, &message))).await;
    if json {
        output::json(&tested)?;
    } else {
        for it in &tested {
            let came = it.error.as_ref().map_or_else(|| "was told".to_owned(), |why| format!("was NOT told: {why}"));
            output::line(&format!("{} ({}) {came}", it.target, it.kind));
        }
    }
    Ok(ExitCode::from(u8::from(tested.iter().any(|it| !it.told))))
}

async fn tell(target: &Target, message: &Message) -> Tested {
    let error = target.tell(message).await.err().map(|error| crate::error::chain(&error));
    Tested { target: target.name.clone(), kind: target.kind(), told: error.is_none(), error }
}
