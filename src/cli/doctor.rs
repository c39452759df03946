//! `telekeep doctor`: everything that must be there, and what to do about what is not.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{open, output};
use crate::{
    MIGRATOR,
    config::Config,
    error::chain,
    projection::SINK,
    record::{self, SchemaState, health::Fares, outbox},
};

#[derive(Debug, Args)]
pub struct Doctor {
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    good: bool,
    says: String,
}

pub async fn run(command: Doctor, config: Config) -> anyhow::Result<ExitCode> {
    let findings = look(&config).await;
    let good = findings.iter().all(|f| f.good);
    if command.json {
        output::json(&serde_json::json!({ "good": good, "findings": findings }))?;
    } else {
        for f in &findings {
            output::line(&format!("{} {:<14} {}", if f.good { "ok " } else { "BAD" }, f.what, f.says));
        }
    }
    Ok(ExitCode::from(u8::from(!good)))
}

async fn look(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |what, result: Result<String, String>| {
        let good = result.is_ok();
        findings.push(Finding { what, good, says: result.unwrap_or_else(|e| e) });
    };
    found("workflows", open::workflows(config).map(|w| format!("{} files are valid", w.len())).map_err(|e| e.to_string()));
    found(
        "telegram api",
        config.api().map(|_| "api_id and api_hash are set".into()).or_else(|e| Ok(format!("needed for real accounts: {e}"))),
    );
    let url = match config.database_url() {
        Ok(url) => url,
        Err(e) => {
            found("database", Err(e.to_string()));
            return findings;
        }
    };
    let pool = match record::connect(url).await {
        Ok(pool) => pool,
        Err(e) => {
            found("database", Err(chain(&e)));
            return findings;
        }
    };
    let schema = match record::schema_state(&pool, &MIGRATOR).await {
        Ok(SchemaState::Current) => Ok("answers; the schema is current".into()),
        Ok(state) => Err(state.to_string()),
        Err(e) => Err(chain(&e)),
    };
    let ready = schema.is_ok();
    found("database", schema);
    let index = open::projector(config, &pool);
    match &index {
        Ok(None) => found("elasticsearch", Ok("not configured; search runs on the record".into())),
        Err(e) => found("elasticsearch", Err(e.to_string())),
        Ok(Some(projector)) => {
            let version = projector.client().version().await.map(|v| format!("version {v} answers")).map_err(|e| e.to_string());
            found("elasticsearch", version);
        }
    }
    if !ready {
        return findings;
    }
    if config.elasticsearch_url.is_some() {
        let sink = async {
            let left = outbox::backlog(&pool, SINK).await?;
            Ok::<_, sqlx::Error>(match outbox::sink(&pool, SINK).await? {
                None => Err("no index is prepared: run `telekeep migrate`".into()),
                Some(s) if s.state == "active" => Ok(format!("active, {left} documents in the outbox")),
                Some(s) => Err(format!("{}: {}; {left} documents wait in the outbox", s.state, s.detail.unwrap_or_default())),
            })
        };
        let sink = sink.await.unwrap_or_else(|e| Err(e.to_string()));
        let prepared = sink.is_ok();
        found("projection", sink);
        // An index of a kind that a newer telekeep brought is made by the same command as the tables.
        if let (true, Ok(Some(projector))) = (prepared, &index)
            && let Ok(missing) = projector.missing_aliases().await
            && !missing.is_empty()
        {
            found("indices", Err(format!("there is no index behind {}: run `telekeep migrate`", missing.join(", "))));
        }
    }
    let accounts = async { open::accounts(config, &pool)?.health().await.map_err(anyhow::Error::from) }.await;
    found(
        "accounts",
        match accounts {
            Ok(list) if list.is_empty() => Err("none; `telekeep account login` or `telekeep account import FILE` adds one".into()),
            Ok(list) => match list.iter().find(|a| !matches!(a.state, Fares::Active | Fares::Flooded)) {
                None => Ok(format!("{} active", list.len())),
                Some(a) => Err(format!("{} is {}: {}", a.label, a.state.as_str(), a.state_reason.clone().unwrap_or_default())),
            },
            Err(e) => Err(e.to_string()),
        },
    );
    let key = &config.key_file;
    found(
        "key file",
        if key.exists() {
            Ok(format!("{} is there; keep a backup", key.display()))
        } else {
            Ok(format!("{} is made at first use", key.display()))
        },
    );
    match telekeep_queue::list(&pool, telekeep_queue::Filter { state: Some(telekeep_queue::State::Held), ..Default::default() })
        .await
    {
        Ok(held) if held.is_empty() => found("jobs", Ok("none is held".into())),
        Ok(held) => found("jobs", Err(format!("{} are held; `telekeep job list --state held` shows why", held.len()))),
        Err(e) => found("jobs", Err(chain(&e))),
    }
    findings
}
