//! `telekeep key`: the key that seals sessions.

use std::process::ExitCode;

use clap::Subcommand;

use super::{changed, open, output};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Seal all sessions and proxy passwords with a new key; an interrupted rotation is finished
    ///
    /// The key file then holds the new key alone: copy it to every node, and to your backup. Where the key comes from TELEKEEP_KEY,
    /// put the new one and a comma before the old first. No process may use an account meanwhile.
    Rotate,
}

pub async fn run(command: Key, config: Config) -> anyhow::Result<ExitCode> {
    let Key::Rotate = command;
    let pool = open::record(&config).await?;
    let rotation = open::accounts(&config, &pool)?.rotate_key().await?;
    let detail = serde_json::json!({ "accounts": rotation.sealed, "proxies": rotation.proxies.sealed });
    changed::note(&pool, "key.rotate", &format!("key {}", rotation.key_id), detail).await?;
    output::line(&format!("{} account(s) are sealed anew; key {} seals from now on", rotation.sealed, rotation.key_id));
    if rotation.old_forgotten {
        output::line("the old key is gone from its place: back up the new one, and copy it to every node");
    } else {
        output::line("take the old key out of TELEKEEP_KEY now, on every node");
    }
    for label in &rotation.unreadable {
        output::line(&format!("account {label} is sealed with a key that is not here: import it again"));
    }
    if rotation.proxies.sealed > 0 {
        output::line(&format!("{} passwords of proxies are sealed anew", rotation.proxies.sealed));
    }
    for name in &rotation.proxies.unreadable {
        output::line(&format!("the password of proxy {name} is sealed with a key that is not here: remove it, and add it again"));
    }
    Ok(ExitCode::SUCCESS)
}
