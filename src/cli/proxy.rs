//! `telekeep proxy`: the SOCKS5 proxies that accounts go through.

use std::{
    io::{BufRead, IsTerminal, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{changed, exit::mistake, open, output};
use crate::{
    account::{
        self, AccountState, Accounts, SessionFile,
        proxy::{self, Address, Binding, address::host_and_port},
    },
    config::Config,
    telegram::SessionData,
};

#[derive(Debug, Subcommand)]
pub enum Proxy {
    /// Add a proxy; `telekeep account proxy` sends an account through it
    Add(Add),
    /// Add the proxies of a file
    Import(Import),
    /// Proxies: how they do, and which accounts go through them
    List {
        #[arg(long)]
        json: bool,
    },
    /// Open a way to Telegram through a proxy, or through each, and say how long it took
    Check {
        name: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Remove a proxy to which no account is bound
    Remove { name: String },
}

#[derive(Debug, Args)]
pub struct Add {
    /// What it is called here
    pub name: String,
    /// socks5://host:port, or socks5://user@host:port: then its password is asked for
    pub url: String,
    /// Accounts of the pool may take it
    #[arg(long)]
    pub pool: bool,
    /// A file whose first line is the password; `-` reads standard input
    #[arg(long)]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Import {
    /// One a line: socks5://user:password@host:port, alone or after a name; `-` reads standard input
    pub file: PathBuf,
    /// Accounts of the pool may take them
    #[arg(long)]
    pub pool: bool,
}

pub async fn run(command: Proxy, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let accounts = open::accounts(&config, &pool)?;
    let routes = accounts.routes();
    match command {
        Proxy::Add(new) => {
            let mut address = Address::parse(&new.url).map_err(proxy::Error::Address)?;
            if address.password.is_some() {
                return mistake(
                    "the address holds a password, and what stands in a command is seen by everybody on this machine (`ps`) and kept in \
                     the shell's history: change that password, leave it out here, and give it at the prompt or with --password-file",
                );
            }
            address.password = match (&address.user, &new.password_file) {
                (None, None) => None,
                (None, Some(_)) => return mistake("there is a password without a user; write socks5://user@host:port"),
                (Some(_), file) => Some(password(file.as_deref())?),
            };
            routes.add(&new.name, &address, new.pool).await?;
            changed::note(&pool, "proxy.add", &format!("proxy {}", new.name), serde_json::json!({ "pool": new.pool })).await?;
            output::line(&format!("proxy {} is added; `telekeep proxy check {}` tries it", new.name, new.name));
        }
        Proxy::Import(import) => {
            let names = routes.import(&text(&import.file)?, import.pool).await;
            let names = names.with_context(|| format!("{} is not imported", import.file.display()))?;
            changed::note(&pool, "proxy.add", "proxies", serde_json::json!({ "names": names, "pool": import.pool })).await?;
            output::line(&format!("{} proxies are added; `telekeep proxy check` tries them", names.len()));
        }
        Proxy::List { json } => {
            let all = routes.list().await?;
            if json {
                output::json(&all)?;
            } else {
                output::table(
                    &["name", "address", "user", "pool", "success", "latency", "accounts", "last error"],
                    all.into_iter().map(row),
                    "no proxies; `telekeep proxy add NAME socks5://host:port` adds one",
                );
            }
        }
        Proxy::Check { name, json } => {
            let names = match name {
                Some(name) => vec![name],
                None => routes.list().await?.into_iter().map(|proxy| proxy.name).collect(),
            };
            if names.is_empty() {
                return mistake("there is no proxy; `telekeep proxy add NAME socks5://host:port` adds one");
            }
            let telegram = telegram_of(&accounts, &config).await?;
            let (mut good, mut all) = (true, Vec::new());
            for name in names {
                let checked = routes.check(&name, telegram).await?;
                good &= checked.outcome.is_ok();
                if json {
                    let (latency, error) = (checked.outcome.as_ref().ok(), checked.outcome.as_ref().err());
                    let latency_ms = latency.map(std::time::Duration::as_millis);
                    all.push(
                        serde_json::json!({ "name": name, "good": error.is_none(), "latency_ms": latency_ms, "error": error }),
                    );
                    continue;
                }
                output::line(&match checked.outcome {
                    Ok(latency) => format!("ok  {name}: Telegram at {telegram} in {} ms", latency.as_millis()),
                    Err(reason) => format!("BAD {name}: {reason}"),
                });
            }
            if json {
                output::json(&all)?;
            }
            return Ok(ExitCode::from(u8::from(!good)));
        }
        Proxy::Remove { name } => {
            routes.remove(&name).await?;
            changed::note(&pool, "proxy.remove", &format!("proxy {name}"), serde_json::json!({})).await?;
            output::line(&format!("proxy {name} is removed"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(proxy: account::proxy::Proxy) -> Vec<String> {
    let accounts: Vec<_> = proxy.bound.into_iter().chain(proxy.keeps.into_iter().map(|label| format!("{label} (pool)"))).collect();
    vec![
        proxy.name,
        host_and_port(&proxy.host, proxy.port),
        proxy.login.unwrap_or_default(),
        if proxy.pooled { "yes" } else { "" }.to_owned(),
        proxy.success_rate.map_or("never tried".to_owned(), |rate| {
            format!("{:.0} % ({} of {})", rate * 100.0, proxy.successes, proxy.successes + proxy.failures)
        }),
        proxy.latency_ms.map_or(String::new(), |ms| format!("{ms} ms")),
        accounts.join(", "),
        proxy.error.unwrap_or_default(),
    ]
}

/// Binds an account, or says which way it goes.
pub async fn bind(config: &Config, label: &str, to: Option<&str>) -> anyhow::Result<()> {
    let pool = open::record(config).await?;
    let accounts = open::accounts(config, &pool)?;
    let routes = accounts.routes();
    if let Some(to) = to {
        let binding = match to {
            "none" => Binding::Direct,
            "pool" => Binding::Pool { proxy: None },
            name => Binding::Bound { proxy: name.to_owned() },
        };
        routes.bind(label, &binding).await?;
        changed::note(&pool, "account.proxy", &format!("account {label}"), serde_json::json!({ "to": to })).await?;
    }
    let (binding, reason) = routes.binding(label).await?;
    let way = match binding {
        Binding::Direct => "goes straight to Telegram".to_owned(),
        Binding::Bound { proxy } => format!("goes through the proxy {proxy}, and never without it"),
        Binding::Pool { proxy } => {
            let now = proxy.map_or(String::new(), |proxy| format!(" (now {proxy})"));
            let reason = reason.map_or(String::new(), |reason| format!("; it left the one before because of {reason}"));
            format!("goes through a proxy of the pool{now}, and never without one{reason}")
        }
    };
    output::line(&format!("account {label} {way}"));
    if to.is_some() && !accounts.list().await?.iter().any(|account| account.label == label) {
        output::line(&format!("there is no account {label} yet: its sign-in will go this way"));
    }
    Ok(())
}

/// Where Telegram is tried: the home of an account, else the configured datacentre, else Telegram's second.
async fn telegram_of(accounts: &Accounts, config: &Config) -> anyhow::Result<SocketAddr> {
    for account in accounts.list().await?.iter().filter(|account| account.state != AccountState::Lost) {
        if let Some(address) = accounts.home_address(account.id).await? {
            return Ok(address);
        }
    }
    let session = match &config.telegram.datacentre {
        Some(file) => SessionFile::read(file)?.session(),
        None => SessionData { home_dc: 2, ..SessionData::empty() },
    };
    session.home_address().context("no address of a datacentre is known")
}

fn text(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).context("standard input")?;
    } else {
        match std::fs::read(path) {
            Ok(read) => bytes = read,
            Err(error) => return mistake(format!("{} cannot be read: {error}", path.display())),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => mistake(format!("{} is not text (UTF-8)", path.display())),
    }
}

/// A proxy's password: of a file, of standard input, or typed without being shown.
fn password(file: Option<&Path>) -> anyhow::Result<String> {
    let password = match file {
        Some(path) => text(path)?.lines().next().unwrap_or_default().to_owned(),
        None if std::io::stdin().is_terminal() => {
            rpassword::prompt_password("the proxy's password: ").context("the password cannot be read")?
        }
        None => {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).context("standard input")?;
            line.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    if password.is_empty() || password.len() > 255 {
        return mistake("the proxy asks for a user, so that a password is needed, of 1 to 255 bytes; nothing was kept");
    }
    Ok(password)
}
