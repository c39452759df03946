//! Accounts, the key that opens them, the proxies they take, and Telegram itself.

use std::{net::SocketAddr, time::Duration};

use super::{Findings, Said};
use crate::{
    account::{Accounts, Error, SessionFile, seal},
    config::Config,
    error::chain,
    record::health::{Fares, Health},
    telegram::{SessionData, dial::Route, look},
};

/// A look at Telegram takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn look(findings: &mut Findings, config: &Config, accounts: &Accounts, telegram: bool) {
    let all = match accounts.health().await {
        Ok(all) => all,
        Err(e) => return findings.add("accounts", Err(chain(&e))),
    };
    findings.add("accounts", health(&all));
    findings.add("key", key(config, accounts, &all).await);
    findings.add("proxies", proxies(accounts).await);
    if telegram {
        findings.add("telegram", ways(config, accounts, &all).await);
    }
}

fn health(all: &[Health]) -> Said {
    if all.is_empty() {
        return Err("none; `telekeep account login` or `telekeep account import FILE` adds one".into());
    }
    let bad: Vec<String> = all
        .iter()
        .filter(|a| !matches!(a.state, Fares::Active | Fares::Flooded))
        .map(|a| {
            let remedy = match a.state {
                Fares::Lost => format!("; `telekeep account login --label {}`", a.label),
                Fares::Held if a.needs_login => format!("; `telekeep account login --label {}`", a.label),
                Fares::Held => format!("; `telekeep account release {}` lets it go on", a.label),
                Fares::Limited => {
                    a.until.map_or_else(String::new, |at| format!("; until {} UTC, by itself", at.format("%Y-%m-%d %H:%M")))
                }
                Fares::Active | Fares::Flooded => String::new(),
            };
            format!("{} is {}: {}{remedy}", a.label, a.state.as_str(), a.state_reason.clone().unwrap_or_default())
        })
        .collect();
    if !bad.is_empty() {
        return Err(bad.join("; "));
    }
    let resting = all.iter().filter(|a| a.state == Fares::Flooded).count();
    let rests = if resting > 0 { format!(", {resting} of them rest from a method") } else { String::new() };
    Ok(format!("{} active{rests}", all.len()))
}

/// The key is there, nobody else can read it, and it opens every session.
async fn key(config: &Config, accounts: &Accounts, all: &[Health]) -> Said {
    let place = match config.key_source() {
        seal::KeySource::Environment(_) => seal::ENVIRONMENT.to_owned(),
        seal::KeySource::File(path) => path.display().to_string(),
    };
    for account in all {
        match accounts.home_address(account.id).await {
            Ok(_) => {}
            Err(Error::NotUnderstood { .. }) => {
                return Err(format!("the session of {} is not understood: import it again", account.label));
            }
            Err(e) => return Err(chain(&e)),
        }
    }
    if all.is_empty() {
        return Ok(format!("{place} is made at first use"));
    }
    Ok(format!("{place} opens all {} sessions; keep a backup of it", all.len()))
}

async fn proxies(accounts: &Accounts) -> Said {
    let all = accounts.routes().list().await.map_err(|e| chain(&e))?;
    let bad: Vec<String> = all
        .iter()
        .filter(|it| it.error.is_some())
        .map(|it| format!("{} failed when it was used last ({})", it.name, it.error.clone().unwrap_or_default()))
        .collect();
    match (all.len(), bad.is_empty()) {
        (0, _) => Ok("none; accounts go straight to Telegram".into()),
        (count, true) => Ok(format!("{count}, none failed when it was used last")),
        (_, false) => Err(format!("{}: `telekeep proxy check` tries them now", bad.join("; "))),
    }
}

/// Asks Telegram by each way that an account takes; an account without a proxy goes straight.
async fn ways(config: &Config, accounts: &Accounts, all: &[Health]) -> Said {
    let mut ways: Vec<(String, Route, SocketAddr)> = Vec::new();
    for account in all.iter().filter(|account| account.state != Fares::Lost) {
        let Ok(Some(address)) = accounts.home_address(account.id).await else { continue };
        let route = accounts
            .routes()
            .route_of(&account.label, address)
            .await
            .map_err(|e| format!("account {}: {}", account.label, chain(&e)))?;
        if !ways.iter().any(|(_, known, to)| *known == route && *to == address) {
            let by = route.proxy.as_ref().map_or_else(|| "directly".to_owned(), |proxy| format!("through {}", proxy.name));
            ways.push((by, route, address));
        }
    }
    if ways.is_empty() {
        let session = match &config.telegram.datacentre {
            Some(file) => SessionFile::read(file).map_err(|e| chain(&e))?.session(),
            None => SessionData { home_dc: 2, ..SessionData::empty() },
        };
        let address = session.home_address().ok_or("no address of a datacentre is known")?;
        ways.push(("directly".into(), Route { source: config.node.source_address, proxy: None }, address));
    }
    let mut told = Vec::new();
    for (by, route, address) in ways {
        let took = look::look(&route, address, PATIENCE).await.map_err(|e| format!("{by}: {}", chain(&e)))?;
        told.push(format!("{address} answers {by} in {} ms", took.as_millis()));
    }
    Ok(told.join(", "))
}
