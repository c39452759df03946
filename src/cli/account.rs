//! `telekeep account`: signing in, importing, listing.

mod health;

use std::{
    io::{BufRead, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{changed, exit::mistake, open, output};
use crate::{
    account::{self, Accounts, Format, How, LostKey, SessionFile, Step, session_string},
    config::Config,
    normalize,
    record::lease,
    telegram::{self, LoginRefusal, SessionData},
};

#[derive(Debug, Subcommand)]
pub enum Account {
    /// Sign in by phone and code, by QR code, or as a bot; with the two-step password where there is one
    Login(Login),
    /// Take over sessions from a file: a session file, or session strings of Telethon or Pyrogram
    Import(Import),
    /// Write an account's session, for another client. Whoever has it has the account
    Export(Export),
    /// End an account's session at Telegram
    Logout { label: String },
    /// Send an account through a proxy, or through one of the pool, and never without it; or straight. Says which way it goes
    Proxy {
        label: String,
        /// The name of a proxy, `pool`, or `none`
        to: Option<String>,
    },
    /// Let only nodes of these names have an account; none: any
    Pin { label: String, nodes: Vec<String> },
    /// Accounts and how they fare: active, flooded, limited, held or lost, why and until when
    List {
        #[arg(long)]
        json: bool,
    },
    /// One account: its state, rests, budgets, and the chats that it reads
    Show(health::Show),
    /// Stop using an account, until it is released
    Hold(health::Hold),
    /// Use a held account again
    Release { label: String },
}

#[derive(Debug, Args)]
pub struct Login {
    /// The name of the account here; stands in logs and documents in place of its phone
    #[arg(long, default_value = "main")]
    pub label: String,
    /// By a QR code, drawn here, that an app which is signed in scans
    #[arg(long, conflicts_with = "bot")]
    pub qr: bool,
    /// As a bot, by its token
    #[arg(long)]
    pub bot: bool,
    /// Begin again, though a login of this label is under way
    #[arg(long)]
    pub anew: bool,
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
        Account::List { json } => health::list(&config, json).await?,
        Account::Show(show) => health::show(&config, &show).await?,
        Account::Hold(hold) => health::hold(&config, &hold).await?,
        Account::Release { label } => health::release(&config, &label).await?,
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
                changed::note(&pool, "account.import", &format!("account {}", account.label), serde_json::json!({})).await?;
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
                Some(text) => {
                    changed::note(&pool, "account.export", &format!("account {}", account.label), serde_json::json!({})).await?;
                    output::line(&text);
                }
                None => return mistake("this session has no such form: it is not signed in, or its server is not Telegram's"),
            }
        }
        Account::Proxy { label, to } => super::proxy::bind(&config, &label, to.as_deref()).await?,
        Account::Logout { label } => {
            let pool = open::record(&config).await?;
            let accounts = open::accounts(&config, &pool)?;
            let account = accounts.labelled(&label).await?;
            accounts.log_out(account.id).await?;
            accounts.close().await;
            changed::note(&pool, "account.logout", &format!("account {label}"), serde_json::json!({})).await?;
            output::line(&format!("account {label} is logged out; what it collected stays"));
        }
        Account::Pin { label, nodes } => {
            let pool = open::record(&config).await?;
            let account = open::accounts(&config, &pool)?.labelled(&label).await?;
            let mut tx = pool.begin().await?;
            lease::pin(&mut tx, account.id, &nodes).await?;
            tx.commit().await?;
            changed::note(&pool, "account.pin", &format!("account {label}"), serde_json::json!({ "nodes": nodes })).await?;
            output::line(&match nodes.as_slice() {
                [] => format!("any node may have account {label}"),
                nodes => format!("only {} may have account {label}; another that has it gives it back soon", nodes.join(", ")),
            });
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
            changed::note(&pool, "account.sign_in", &format!("account {}", account.label), serde_json::json!({})).await?;
            output::line(&format!("account {} is signed in", account.label));
            learn(&accounts, account).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists the account's dialogs, once: which chats it knows stays in the record. A failure here loses nothing.
async fn learn(accounts: &Accounts, account: account::Account) {
    let listed = async {
        let dialogs = accounts.dialogs(account.id).await?;
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
    let mut step = match accounts.login_under_way(&wish.label).await? {
        Some(step) if !wish.anew && !wish.qr && !wish.bot => {
            output::line(&format!("the login of {} goes on where it stopped (`--anew` begins again)", wish.label));
            step
        }
        _ => accounts.begin_login(&wish.label, start, how(wish)?, lost(wish.new_key)).await?,
    };
    let mut shown = None;
    loop {
        step = match step {
            Step::Done(account) => return Ok(account),
            Step::Code { delivery } => {
                output::line(&format!("a code was sent: {delivery}"));
                ask_code(accounts, &wish.label).await?
            }
            Step::Password { hint } => {
                let hint = hint.map_or(String::new(), |h| format!(" (hint: {h})"));
                loop {
                    let password = ask_secret(&format!("two-step password{hint}: "))?;
                    match accounts.give_password(&wish.label, &password).await {
                        Ok(step) => break step,
                        Err(account::Error::Telegram(telegram::Error::Login(LoginRefusal::PasswordWrong))) => {
                            eprintln!("that password is not right; try again");
                        }
                        Err(e) => return Err(e.into()),
                    }
                }
            }
            Step::Scan(qr) => {
                if shown.as_ref() != Some(&qr) {
                    output::line(&drawn(&qr.0)?);
                    output::line("scan it: Telegram on your phone, Settings, Devices, Link Desktop Device");
                    shown = Some(qr);
                }
                accounts.look_for_scan(&wish.label).await?
            }
        };
    }
}

fn how(wish: &Login) -> anyhow::Result<How> {
    if wish.qr {
        return Ok(How::Qr);
    }
    loop {
        let (answer, how): (_, fn(String) -> How) = if wish.bot {
            (ask_secret("the bot's token, as @BotFather gave it: ")?, How::Bot)
        } else {
            (ask("phone number, international form (+49…): ")?, How::Phone)
        };
        if !answer.is_empty() {
            return Ok(how(answer));
        }
    }
}

async fn ask_code(accounts: &Accounts, label: &str) -> anyhow::Result<Step> {
    loop {
        let code = ask("code (nothing: send another): ")?;
        let given = if code.is_empty() { accounts.resend_code(label).await } else { accounts.give_code(label, &code).await };
        match given {
            Ok(step) => return Ok(step),
            Err(account::Error::Telegram(telegram::Error::Login(LoginRefusal::CodeWrong))) => {
                eprintln!("that code is not right; look again");
            }
            Err(account::Error::Telegram(telegram::Error::Login(
                refusal @ (LoginRefusal::CodeExpired | LoginRefusal::NoOtherWay),
            ))) => eprintln!("{refusal}"),
            Err(e) => return Err(e.into()),
        }
    }
}

/// A QR code in half blocks, dark on light whatever the terminal's colours are.
fn drawn(address: &str) -> anyhow::Result<String> {
    let code = qrcode::QrCode::new(address).context("the address is too long for a QR code")?;
    Ok(code
        .render::<qrcode::render::unicode::Dense1x2>()
        .dark_color(qrcode::render::unicode::Dense1x2::Light)
        .light_color(qrcode::render::unicode::Dense1x2::Dark)
        .build())
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
