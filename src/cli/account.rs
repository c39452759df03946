//! `telekeep account`: signing in, importing, listing.

use std::{
    io::{BufRead, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{exit::mistake, open, output};
use crate::{
    account::{self, Accounts, Format, LostKey, SessionFile, session_string},
    config::Config,
    normalize,
    telegram::{self, LoginRefusal, SessionData, SignIn},
};

#[derive(Debug, Subcommand)]
pub enum Account {
    /// Sign in by phone, code and, where there is one, the two-step password
    Login(Login),
    /// Take over sessions from a file: a session file, or session strings of Telethon or Pyrogram
    Import(Import),
    /// Write an account's session, for another client. Whoever has it has the account
    Export(Export),
    /// End an account's session at Telegram
    Logout { label: String },
    /// Accounts and their state
    List {
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct Login {
    /// The name of the account here; stands in logs and documents in place of its phone
    #[arg(long, default_value = "main")]
    pub label: String,
    /// The key file is lost: seal with a new key; every other account must be signed in anew
    #[arg(long)]
    pub new_key: bool,
}

#[derive(Debug, Args)]
pub struct Import {
    /// A session file (JSON with dc, address, port, key and user_id), or session strings, one a line, each alone or after a
    /// label; `-` reads standard input
    pub file: PathBuf,
    /// The name of the account here; the file's name when not given, with a number after it from the second on
    #[arg(long)]
    pub label: Option<String>,
    /// The key file is lost: seal with a new key; every other account must be signed in anew
    #[arg(long)]
    pub new_key: bool,
}

#[derive(Debug, Args)]
pub struct Export {
    /// The account's name here
    pub label: String,
    #[arg(long, value_enum, default_value_t = Format::File)]
    pub format: Format,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

fn read_sessions(path: &Path) -> anyhow::Result<Vec<session_string::Imported>> {
    let mut text = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut text).context("standard input")?;
    } else {
        text = std::fs::read(path).map_err(|source| account::session_file::Error::Unreadable { path: path.to_owned(), source })?;
    }
    Ok(session_string::read_all(path, &text)?)
}

fn lost(new_key: bool) -> LostKey {
    if new_key { LostKey::Replace } else { LostKey::Refuse }
}

pub async fn run(command: Account, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Account::List { json } => {
            let pool = open::record(&config).await?;
            let accounts = open::accounts(&config, &pool)?.list().await?;
            if json {
                output::json(&accounts)?;
            } else {
                let rows = accounts.into_iter().map(|a| {
                    let user = a.user_id.map_or(String::new(), |u| u.to_string());
                    vec![a.label, user, a.state.as_str().into(), a.state_reason.unwrap_or_default()]
                });
                output::table(
                    &["label", "user", "state", "why"],
                    rows,
                    "no accounts; `telekeep account login` or `telekeep account import FILE` adds one",
                );
            }
        }
        Account::Import(import) => {
            let all = read_sessions(&import.file)?;
            let base = match &import.label {
                Some(label) => label.clone(),
                None => match import.file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| *stem != "-") {
                    Some(stem) => stem.to_owned(),
                    None if all.iter().all(|one| one.label.is_some()) => String::new(),
                    None => return mistake("give the account a name with --label"),
                },
            };
            let pool = open::record(&config).await?;
            let accounts = open::accounts(&config, &pool)?;
            let count = all.len();
            for (at, one) in all.into_iter().enumerate() {
                let label = match one.label {
                    Some(label) => label,
                    None if at == 0 => base.clone(),
                    None => format!("{base}-{}", at + 1),
                };
                let imported = accounts.import(&label, &one.session, lost(import.new_key)).await;
                let account = match imported {
                    Err(error) if count > 1 => {
                        return Err(error).with_context(|| format!("session {} of {count} ({label}) is not imported", at + 1));
                    }
                    imported => imported?,
                };
                output::line(&format!("account {} is imported", account.label));
                learn(&accounts, account).await;
            }
        }
        Account::Export(wish) => {
            let pool = open::record(&config).await?;
            let accounts = open::accounts(&config, &pool)?;
            let account = accounts.labelled(&wish.label).await?;
            eprintln!(
                "Whoever has this text has the account {}, without code or password. Used by two programs at once, Telegram \
                 destroys it: stop collecting with it first, and import it again only when the other program is done.",
                account.label
            );
            if !wish.yes && ask("write it? (yes) ")? != "yes" {
                return mistake("nothing was written; `--yes` does not ask");
            }
            match accounts.export(account.id, wish.format).await? {
                Some(text) => output::line(&text),
                None => return mistake("this session has no such form: it is not signed in, or its server is not Telegram's"),
            }
        }
        Account::Logout { label } => {
            let pool = open::record(&config).await?;
            let accounts = open::accounts(&config, &pool)?;
            let account = accounts.labelled(&label).await?;
            accounts.log_out(account.id).await?;
            accounts.close().await;
            output::line(&format!("account {label} is logged out; what it collected stays"));
        }
        Account::Login(login) => {
            let (_, _) = config.api()?;
            let start = match &config.telegram.datacentre {
                Some(file) => SessionFile::read(file)?.session(),
                None => SessionData::empty(),
            };
            let pool = open::record(&config).await?;
            let accounts = open::accounts(&config, &pool)?;
            let account = sign_in(&accounts, start, &login).await?;
            output::line(&format!("account {} is signed in", account.label));
            learn(&accounts, account).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists the account's dialogs, once: which chats it knows stays in the record. A failure here loses nothing.
async fn learn(accounts: &Accounts, account: account::Account) {
    let listed = async {
        let dialogs = accounts.open(account.id).await?.dialogs().await?;
        accounts.note_peers(account.id, &normalize::peers(&dialogs.chats, &dialogs.users)).await?;
        Ok::<_, account::Error>(dialogs.dialogs.len())
    }
    .await;
    match listed {
        Ok(count) => output::line(&format!("{count} chats are known to it; `telekeep chat watch LINK` begins to collect one")),
        Err(e) => {
            if let account::Error::Telegram(failed) = &e
                && let Err(e) = accounts.learn(account.id, failed).await
            {
                tracing::warn!("{e}");
            }
            eprintln!("its chats could not be listed yet: {}", crate::error::chain(&e));
        }
    }
    accounts.close().await;
}

async fn sign_in(accounts: &Accounts, start: SessionData, wish: &Login) -> anyhow::Result<account::Account> {
    let phone = loop {
        let phone = ask("phone number, international form (+49…): ")?;
        if !phone.is_empty() {
            break phone;
        }
    };
    let login = accounts.begin_login(start, &phone, lost(wish.new_key)).await?;
    output::line(&format!("a code was sent: {}", login.delivery()));
    let signed = loop {
        match login.code(&ask("code: ")?).await {
            Ok(signed) => break signed,
            Err(telegram::Error::Login(LoginRefusal::CodeWrong)) => eprintln!("that code is not right; look again"),
            Err(e) => return Err(e.into()),
        }
    };
    if let SignIn::PasswordNeeded { hint } = signed {
        let hint = hint.map_or(String::new(), |h| format!(" (hint: {h})"));
        loop {
            match login.password(&ask_secret(&format!("two-step password{hint}: "))?).await {
                Ok(_) => break,
                Err(telegram::Error::Login(LoginRefusal::PasswordWrong)) => eprintln!("that password is not right; try again"),
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(accounts.finish_login(login, &wish.label, lost(wish.new_key)).await?)
}

/// A line from whoever signs in.
fn ask(prompt: &str) -> anyhow::Result<String> {
    eprint!("{prompt}");
    std::io::stderr().flush()?;
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line).context("standard input")? == 0 {
        return mistake("the input ended before the login was finished; nothing was kept");
    }
    Ok(line.trim().to_owned())
}

/// A line that is not shown while it is typed.
fn ask_secret(prompt: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        return ask(prompt);
    }
    rpassword::prompt_password(prompt).context("the password cannot be read")
}
