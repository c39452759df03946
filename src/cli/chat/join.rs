//! `telekeep chat join`, `leave` and `joins`: they enqueue and tell; a worker joins.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use sqlx::PgPool;
use telekeep_queue as queue;

use super::super::{changed, exit::mistake, open, output};
use crate::account::Accounts;
use crate::account::joining::{self, Target};
use crate::config::Config;
use crate::jobs::Job;
use crate::jobs::chat_join::{self, Asked, ChatJoin};
use crate::jobs::chat_leave::ChatLeave;
use crate::record::ChatId;
use crate::record::join::{self as table, Aim, Join, State, Terms};
use crate::record::membership;

/// A link as it was written: it may be an invite, which is not to be printed.
#[derive(Clone)]
pub struct Link(String);

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link(hidden)")
    }
}

impl FromStr for Link {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Invite link, public link or @name. Other users of this machine see what stands here: give invites by --file
    #[arg(allow_negative_numbers = true, required_unless_present = "file")]
    pub targets: Vec<Link>,
    /// A file of them, one a line; `#` begins a comment; `-` reads standard input
    #[arg(long)]
    pub file: Option<PathBuf>,
    /// The label of the account that joins; without it the one that had the chat before, else the one with the fewest chats
    #[arg(long)]
    pub account: Option<String>,
    /// Only say which account would join what, and when
    #[arg(long)]
    pub dry_run: bool,
    /// Collect each chat from when it is joined on
    #[arg(long)]
    pub watch: bool,
    /// Why; needed to watch what an invite leads to, and recorded
    #[arg(long, requires = "watch")]
    pub purpose: Option<String>,
    /// For workflows to select by; may be repeated
    #[arg(long = "tag", requires = "watch")]
    pub tags: Vec<String>,
    /// Wait for the answers; exit code 1 where one was refused
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
}

#[derive(Debug, Args)]
pub struct LeaveArgs {
    /// Link, @name or id
    #[arg(allow_negative_numbers = true)]
    pub chat: Link,
    /// The label of the account that leaves; needed where several are in the chat
    #[arg(long)]
    pub account: Option<String>,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[arg(long, default_value_t = 100)]
    pub limit: i64,
    #[arg(long)]
    pub json: bool,
}

const NO_WORKER: &str = "no worker is running: it waits for `telekeep run`";
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(500);

/// Joins what was named, or says who would.
pub async fn join(config: &Config, pool: &PgPool, args: JoinArgs) -> anyhow::Result<ExitCode> {
    let targets = targets(&args)?;
    let has_purpose = args.purpose.as_deref().is_some_and(|purpose| !purpose.trim().is_empty());
    if args.watch && !has_purpose && targets.iter().any(|target| matches!(target, Target::Invite(_))) {
        return mistake("an invite leads to a private chat: say why it is watched with --purpose TEXT");
    }
    let accounts = open::accounts(config, pool)?;
    let named = match &args.account {
        Some(label) => Some(accounts.labelled(label).await?.id),
        None => None,
    };
    let aims = aims(&accounts, &targets).await?;
    let terms = Terms { asked_by: "operator".into(), watch: args.watch, purpose: args.purpose, tags: args.tags };
    let mut tx = pool.begin().await?;
    let (answers, jobs) = chat_join::ask(&mut tx, &aims, named, &terms, accounts.expected_pace(), args.dry_run).await?;
    if args.dry_run {
        let rows = aims.iter().zip(&answers).map(|(aim, asked)| planned(aim, asked));
        output::table(&["target", "account", "when", "why this one"], rows, "nothing to join: the file is empty");
        return Ok(ExitCode::from(u8::from(answers.iter().any(|asked| matches!(asked, Asked::NoRoom)))));
    }
    let (_, wake) = queue::enqueue(&mut tx, &jobs).await?;
    for (aim, asked) in aims.iter().zip(&answers) {
        let Asked::Taken { join: Some(join), taken } = asked else { continue };
        // of an invite not even the letters that people are shown
        let shown = aim.invite.is_none().then_some(&aim.shown);
        let detail = serde_json::json!({ "of": shown, "account": taken.label, "watch": terms.watch, "tags": terms.tags });
        changed::note_in(&mut tx, "chat.join", &format!("join {join}"), detail).await?;
    }
    tx.commit().await?;
    wake.fire(pool).await;
    for (aim, asked) in aims.iter().zip(&answers) {
        output::line(&told(aim, asked));
    }
    let open: Vec<i64> = answers.iter().filter_map(join_of).collect();
    if !open.is_empty() && !is_worked(pool).await? {
        eprintln!("{NO_WORKER}");
    }
    let refused = answers.iter().any(|asked| matches!(asked, Asked::NoRoom));
    if refused {
        eprintln!(
            "no active account has room: `telekeep account list` shows them; add one, or leave chats with `telekeep chat leave`"
        );
    }
    let good = if args.wait { answered(pool, open).await? } else { true };
    Ok(ExitCode::from(u8::from(refused || !good)))
}

/// Everything that was named, or every line that names nothing, told at once.
fn targets(args: &JoinArgs) -> anyhow::Result<Vec<Target>> {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for (at, Link(text)) in args.targets.iter().enumerate() {
        match joining::target(text) {
            Some(target) => found.push(target),
            None => wrong.push(format!("target {} {}", at + 1, joining::NOT_A_TARGET)),
        }
    }
    if let Some(path) = &args.file {
        let (text, name) = read(path)?;
        for (at, line) in text.lines().enumerate() {
            let line = line.split_once('#').filter(|(before, _)| before.trim().is_empty()).map_or(line, |_| "").trim();
            match joining::target(line) {
                _ if line.is_empty() => {}
                Some(target) => found.push(target),
                None => wrong.push(format!("{name}:{}: it {}", at + 1, joining::NOT_A_TARGET)),
            }
        }
    }
    if wrong.is_empty() { Ok(found) } else { mistake(wrong.join("\n")) }
}

fn read(path: &Path) -> anyhow::Result<(String, String)> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("standard input")?;
        return Ok((text, "standard input".into()));
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((text, path.display().to_string())),
        Err(e) => mistake(format!("{} cannot be read: {e}", path.display())),
    }
}

/// Each target once.
async fn aims(accounts: &Accounts, targets: &[Target]) -> anyhow::Result<Vec<Aim>> {
    let mut seen = BTreeSet::new();
    let mut aims = Vec::with_capacity(targets.len());
    for target in targets {
        let aim = accounts.aim(target).await?;
        if seen.insert(aim.digest.clone()) {
            aims.push(aim);
        }
    }
    Ok(aims)
}

fn planned(aim: &Aim, asked: &Asked) -> Vec<String> {
    let (account, when, why) = match asked {
        Asked::Taken { taken, .. } => {
            (taken.label.clone(), about(taken.wait), if taken.again { "it had the chat before" } else { "it has the most room" })
        }
        Asked::Open(open) => (open.account.clone(), open.state.as_str().into(), "asked for already"),
        Asked::NoRoom => ("none".into(), "never".into(), "no active account has room"),
    };
    vec![aim.shown.clone(), account, when, why.into()]
}

fn told(aim: &Aim, asked: &Asked) -> String {
    let shown = &aim.shown;
    match asked {
        Asked::Taken { join: Some(join), taken } => {
            format!("join {join}: {shown} by account {}, {}", taken.label, about(taken.wait))
        }
        Asked::Taken { join: None, taken } => format!("{shown} is being asked for by account {} already", taken.label),
        Asked::Open(open) => {
            format!("join {}: {shown} by account {} was asked for before and is {}", open.id, open.account, open.state.as_str())
        }
        Asked::NoRoom => format!("{shown} is not joined: no active account has room"),
    }
}

fn join_of(asked: &Asked) -> Option<i64> {
    match asked {
        Asked::Taken { join, .. } => *join,
        Asked::Open(open) => Some(open.id),
        Asked::NoRoom => None,
    }
}

/// A wait in the words of an estimate.
fn about(wait: Duration) -> String {
    match wait.as_secs() {
        0..30 => "at once".into(),
        seconds @ 30..5_400 => format!("in about {} min", seconds.div_ceil(60)),
        seconds => format!("in about {} h", seconds.div_ceil(3_600)),
    }
}

async fn is_worked(pool: &PgPool) -> anyhow::Result<bool> {
    Ok(queue::workers(pool).await?.iter().any(queue::WorkerRow::is_live))
}

/// Waits until each of these was answered, and tells each answer; true where none was refused or stopped.
async fn answered(pool: &PgPool, mut waiting: Vec<i64>) -> anyhow::Result<bool> {
    let mut good = true;
    let progress = output::bar(waiting.len() as u64, "joins").with_message("answered");
    while !waiting.is_empty() {
        tokio::time::sleep(LOOK).await;
        let stopped = stopped(pool).await?;
        for join in table::list(&mut *pool.acquire().await?, Some(&waiting), i64::MAX).await?.into_iter().rev() {
            let why = stopped.get(&join.id);
            if join.state == State::Waiting && why.is_none() {
                continue;
            }
            good &= !matches!(join.state, State::Refused | State::Waiting);
            progress.suspend(|| output::line(&outcome(&join, why)));
            progress.inc(1);
            waiting.retain(|id| *id != join.id);
        }
    }
    progress.finish_and_clear();
    Ok(good)
}

fn outcome(join: &Join, stopped: Option<&String>) -> String {
    let chat = join.chat_id.map_or(String::new(), |chat| format!(": chat {chat}"));
    let what = match (join.state, stopped) {
        (State::Waiting, Some(why)) => format!("waits: {why}"),
        (State::Waiting, None) => "waits".into(),
        (State::Requested, _) => "is requested: an administrator of the chat decides, and it is looked at again".into(),
        (State::Joined, _) => format!("is joined by account {}{chat}", join.account),
        (State::Refused, _) => format!("is refused: {}", join.reason.as_deref().unwrap_or("without a reason")),
        (State::Left, _) => format!("was joined by account {} and is left{chat}", join.account),
    };
    format!("join {}: {} {what}", join.id, join.shown)
}

/// Why jobs of joins do not go on without the operator, by join.
async fn stopped(pool: &PgPool) -> anyhow::Result<BTreeMap<i64, String>> {
    let mut stopped = BTreeMap::new();
    for state in [queue::State::Dead, queue::State::Held] {
        let filter = queue::Filter { kind: Some(ChatJoin::KIND.into()), state: Some(state), ..Default::default() };
        for job in queue::list(pool, filter).await? {
            let Ok(ChatJoin { join, .. }) = serde_json::from_value(job.payload.clone()) else { continue };
            let error = job.error.unwrap_or_default();
            let hint = job.hint.map_or(String::new(), |hint| format!("; {hint}"));
            stopped.insert(join, format!("job {} is {state}: {error}{hint}", job.id));
        }
    }
    Ok(stopped)
}

/// Leaves a chat.
pub async fn leave(config: &Config, pool: &PgPool, args: LeaveArgs) -> anyhow::Result<ExitCode> {
    let accounts = open::accounts(config, pool)?;
    let Some(target) = joining::target(&args.chat.0) else {
        return mistake("that names no chat; write it as https://t.me/NAME, @NAME or -1001234567890");
    };
    let aim = accounts.aim(&target).await?;
    let mut tx = pool.begin().await?;
    let Some(chat) = table::chat_of(&mut tx, &aim).await? else {
        return mistake(format!("no account knows {}; give the chat's id", aim.shown));
    };
    let members = membership::members(&mut tx, chat).await?;
    let all = accounts.list().await?;
    let account = match &args.account {
        Some(label) => accounts.labelled(label).await?.id,
        None => match members[..] {
            [one] => one,
            [] => return mistake(format!("no account is known to be in chat {chat}; name one with --account LABEL")),
            _ => {
                let labels: Vec<_> = all.iter().filter(|it| members.contains(&it.id)).map(|it| it.label.as_str()).collect();
                return mistake(format!("several accounts are in chat {chat}: name one with --account ({})", labels.join(", ")));
            }
        },
    };
    let leave = ChatLeave { chat, account };
    let job = queue::NewJob { trigger: Some("operator".into()), ..leave.enqueueable(Some(account))? };
    let (enqueued, wake) = queue::enqueue(&mut tx, &[job]).await?;
    let label = all.iter().find(|it| it.id == account).map_or("", |it| it.label.as_str());
    changed::note_in(&mut tx, "chat.leave", &format!("chat {chat}"), serde_json::json!({ "account": label })).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    for job in enqueued {
        output::line(&format!("job {}: account {label} leaves chat {chat}; what is stored stays", job.id()));
    }
    if !is_worked(pool).await? {
        eprintln!("{NO_WORKER}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the joins.
pub async fn list(pool: &PgPool, args: ListArgs) -> anyhow::Result<()> {
    let joins = table::list(&mut *pool.acquire().await?, None, args.limit.max(0)).await?;
    if args.json {
        return output::json(&joins);
    }
    let stopped = stopped(pool).await?;
    let rows = joins.into_iter().map(|join| {
        let waits = stopped.get(&join.id).filter(|_| join.state == State::Waiting).cloned();
        let chat = join.chat_id.map(|id| ChatId(id).to_string()).unwrap_or_default();
        vec![
            join.id.to_string(),
            join.shown,
            chat,
            join.account,
            join.state.as_str().into(),
            join.state_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            join.reason.or(waits).unwrap_or_default(),
            join.asked_by,
        ]
    });
    output::table(
        &["join", "target", "chat", "account", "state", "since (UTC)", "why", "asked by"],
        rows,
        "nothing was joined; `telekeep chat join LINK` joins a chat",
    );
    Ok(())
}
