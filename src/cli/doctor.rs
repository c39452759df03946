//! `telekeep doctor`: everything that must be there, and what to do about what is not.

mod accounts;
mod database;
mod here;
mod index;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sqlx::PgPool;

use super::{open, output};
use crate::{
    MIGRATOR,
    config::Config,
    error::chain,
    record::{self, SchemaState},
};

#[derive(Debug, Args)]
pub struct Doctor {
    /// Also ask Telegram for an answer, without any account: by each way that accounts take
    #[arg(long)]
    pub telegram: bool,
    #[arg(long)]
    pub json: bool,
}

/// What one look found; what is not good says what to do.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    good: bool,
    says: String,
}

/// Good in these words, or bad with the remedy.
type Said = Result<String, String>;

/// What was found, in order.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &'static str, said: Said) {
        let good = said.is_ok();
        self.0.push(Finding { what, good, says: said.unwrap_or_else(|e| e) });
    }
}

pub async fn run(command: Doctor, config: Config) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    here::look(&mut findings, &config);
    if let Some(pool) = connect(&mut findings, &config).await {
        look(&mut findings, &config, &pool, command.telegram).await;
    }
    let good = findings.0.iter().all(|f| f.good);
    if command.json {
        output::json(&serde_json::json!({ "good": good, "findings": findings.0 }))?;
    } else {
        for f in &findings.0 {
            output::line(&format!("{} {:<14} {}", if f.good { "ok " } else { "BAD" }, f.what, f.says));
        }
    }
    Ok(ExitCode::from(u8::from(!good)))
}

async fn connect(findings: &mut Findings, config: &Config) -> Option<PgPool> {
    let connected = match config.database_url() {
        Ok(url) => record::connect(url).await.map_err(|e| chain(&e)),
        Err(e) => Err(e.to_string()),
    };
    connected.map_err(|why| findings.add("database", Err(why))).ok()
}

async fn look(findings: &mut Findings, config: &Config, pool: &PgPool, telegram: bool) {
    let schema = match record::schema_state(pool, &MIGRATOR).await {
        Ok(SchemaState::Current) => Ok("answers; the schema is current".into()),
        Ok(state) => Err(state.to_string()),
        Err(e) => Err(chain(&e)),
    };
    let ready = schema.is_ok();
    findings.add("database", schema);
    findings.add("postgres", database::server(pool, config).await);
    findings.add("clock", database::clock(pool).await);
    index::look(findings, config, pool, ready).await;
    if !ready {
        return;
    }
    match open::accounts(config, pool) {
        Ok(accounts) => accounts::look(findings, config, &accounts, telegram).await,
        Err(e) => findings.add("accounts", Err(chain(e.as_ref()))),
    }
    findings.add("nodes", database::nodes(pool).await);
    findings.add("jobs", database::jobs(pool).await);
    findings.add("incidents", database::incidents(pool).await);
}
