//! `telekeep token`: who may use the HTTP API.

use std::{process::ExitCode, time::Duration};

use clap::Subcommand;

use super::{changed, exit::mistake, open, output};
use crate::{
    config::Config,
    http::access::{
        link,
        secret::{self, Secret},
    },
    record::token::{self, NewToken, Role},
};

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; it is shown once, and kept nowhere
    Create {
        /// What it is called here: who or what will use it
        name: String,
        /// viewer reads, operator changes what is collected, admin changes who may
        #[arg(long, value_enum)]
        role: Role,
        /// It ends after this time, as 30d, 12h or 90m; never when not given
        #[arg(long, value_parser = lasting)]
        expires: Option<Duration>,
    },
    /// Tokens: their roles, by what they are recognised, when they were used last
    List {
        #[arg(long)]
        json: bool,
    },
    /// End a token, and the browsers that signed in by it
    Revoke { name: String },
    /// Print a link that lets one browser in as admin, once, within 15 minutes; links before it end
    Link,
}

/// The longest time that a token can have: a hundred years.
const LONGEST: u64 = 100 * 365 * 86_400;

fn lasting(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write it as 30d, 12h or 90m");
    let unit = match text.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3_600,
        Some('m') => 60,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(char::is_alphabetic).unwrap_or_default().parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(unit).filter(|seconds| (1..=LONGEST).contains(seconds)).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

/// Whether a name can stand in the audit log and in an address.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c))
}

pub async fn run(command: Token, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    match command {
        Token::Create { name, role, expires } => {
            if !is_name(&name) {
                return mistake(format!("{name:?} is no name for a token: take 1 to 64 letters, digits, - _ . @"));
            }
            let secret = Secret::new(secret::TOKEN);
            let (hash, expires_in) = (secret.hash(), expires.map(|it| it.as_secs_f64()));
            let new = NewToken { name: &name, role, hash: &hash.0, prefix: secret.prefix(), expires_in };
            if token::insert(&mut *pool.acquire().await?, &new).await?.is_none() {
                return mistake(format!("there is a token {name} already: choose another name, or `telekeep token revoke {name}`"));
            }
            let detail = serde_json::json!({ "role": role, "expires_s": expires.map(|it| it.as_secs()) });
            changed::note(&pool, "token.create", &format!("token {name}"), detail).await?;
            eprintln!("the token of {name}, as {}; it is shown only now:", role.as_str());
            output::line(secret.reveal());
        }
        Token::List { json } => {
            let tokens = token::list(&mut *pool.acquire().await?).await?;
            if json {
                output::json(&tokens)?;
            } else {
                let at = |time: chrono::DateTime<chrono::Utc>| time.format("%Y-%m-%d %H:%M").to_string();
                let rows = tokens.into_iter().map(|it| {
                    let ends = it.revoked_at.map(|time| format!("revoked {}", at(time)));
                    vec![
                        it.name,
                        it.role.as_str().into(),
                        format!("{}…", it.prefix),
                        at(it.created_at),
                        it.used_at.map_or_else(|| "never".into(), at),
                        ends.or(it.expires_at.map(at)).unwrap_or_else(|| "never".into()),
                    ]
                });
                // Times in UTC.
                let none = "no tokens; `telekeep token create NAME --role viewer` makes one";
                output::table(&["name", "role", "begins with", "created", "last used", "ends"], rows, none);
            }
        }
        Token::Revoke { name } => {
            if !token::revoke(&mut *pool.acquire().await?, &name).await? {
                return mistake(format!("there is no token {name} that has not ended; `telekeep token list` shows them"));
            }
            changed::note(&pool, "token.revoke", &format!("token {name}"), serde_json::json!({})).await?;
            output::line(&format!("token {name} lets nobody in any more"));
        }
        Token::Link => {
            let mut tx = pool.begin().await?;
            let link = link::make(&mut tx, &config).await?;
            tx.commit().await?;
            changed::note(&pool, "token.link", "", serde_json::json!({})).await?;
            eprintln!("this link lets one browser in as admin, once, within 15 minutes:");
            output::line(&link);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_or_refused() {
        assert_eq!(lasting("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(lasting("90m"), Ok(Duration::from_secs(5_400)));
        for wrong in ["", "d", "30", "-1d", "0d", "1w", "99999999999999999999d", "30é"] {
            assert!(lasting(wrong).is_err(), "{wrong}");
        }
    }
}
