//! `telekeep import`: merges an export of Telegram Desktop into the record.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use sqlx::PgPool;
use tokio::sync::mpsc;

use super::{changed, exit::mistake, open, output};
use crate::{
    config::Config,
    normalize::desktop::{self, Head, LeftOut, Survey, Told},
    record::{
        Observation, Via,
        account::{self as accounts, Account},
        event, import,
        message::Written,
        watch::{self, NewWatch},
    },
    trigger::listener,
};

/// Messages of one transaction.
const BATCH: usize = 500;
/// Batches that wait for the database: what memory it takes.
const AHEAD: usize = 4;

#[derive(Debug, Args)]
pub struct Import {
    /// The folder that Telegram Desktop exported to (machine-readable JSON), or its result.json
    pub path: PathBuf,
    /// Whose export it is; not needed where there is one account, or the file says whose it is
    #[arg(long, value_name = "LABEL")]
    pub account: Option<String>,
    /// Watch the chats of the file that are not watched yet
    #[arg(long)]
    pub watch: bool,
    /// Why; needed for private chats, and recorded
    #[arg(long, requires = "watch")]
    pub purpose: Option<String>,
}

pub async fn run(command: Import, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let path = if command.path.is_dir() { command.path.join("result.json") } else { command.path.clone() };
    let reading = output::spinner("reading the file");
    let survey = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || survey(&path)).await??
    };
    reading.finish_and_clear();
    let account = account_of(&pool, command.account.as_deref(), &survey).await?;
    let unwatched = if command.watch {
        begin(&config, &pool, &account, command.purpose, &survey).await?;
        Vec::new()
    } else {
        unwatched(&pool, &survey).await?
    };
    if survey.chats.iter().flatten().all(|head| unwatched.contains(head)) {
        return mistake(refused(&unwatched, &command.path));
    }
    // Before it begins: one that is interrupted has filled something, too. Never the path: a folder's name may tell whose export it is.
    let chats: Vec<i64> = survey.chats.iter().flatten().filter(|head| !unwatched.contains(head)).map(|head| head.chat.0).collect();
    let detail = serde_json::json!({ "account": account.label, "chats": chats, "watch": command.watch });
    changed::note(&pool, "import", "record", detail).await?;
    let seen = Observation { account: account.id, via: Via::Import, job: None, pts: None };
    let mut left_out = survey.left_out.clone();
    let done = merge(&pool, path, survey, &account, seen, &unwatched, &mut left_out).await?;
    report(&done, &left_out);
    if !unwatched.is_empty() {
        output::line(&refused(&unwatched, &command.path));
    }
    Ok(ExitCode::SUCCESS)
}

fn opened(path: &Path) -> anyhow::Result<File> {
    match File::open(path) {
        Ok(file) => Ok(file),
        Err(e) => mistake(format!(
            "{} cannot be read ({e}); give the folder that Telegram Desktop exported to as machine-readable JSON: it holds result.json",
            path.display()
        )),
    }
}

/// The whole file is read before anything is stored.
fn survey(path: &Path) -> anyhow::Result<Survey> {
    match desktop::survey(opened(path)?) {
        Ok(survey) => Ok(survey),
        Err(e) => mistake(format!("{}: {}; nothing was imported", path.display(), crate::error::chain(&e))),
    }
}

/// The account whose ids and eyes the file has.
async fn account_of(pool: &PgPool, label: Option<&str>, survey: &Survey) -> anyhow::Result<Account> {
    let all = accounts::list(&mut *pool.acquire().await?).await?;
    let labels = all.iter().map(|account| account.label.as_str()).collect::<Vec<_>>().join(", ");
    let found = match label {
        Some(label) => match all.iter().find(|account| account.label == label) {
            Some(account) => account,
            None => return mistake(format!("there is no account {label}; there are: {labels}")),
        },
        None => {
            let owners = all.iter().find(|account| survey.owner.is_some() && account.user_id == survey.owner);
            match (owners, all.as_slice()) {
                (Some(account), _) | (None, [account]) => account,
                (None, []) => {
                    return mistake("there is no account yet; `telekeep account import` or `telekeep account login` adds one");
                }
                (None, _) => return mistake(format!("say whose export it is with --account LABEL; there are: {labels}")),
            }
        }
    };
    let own_ids = survey.chats.iter().flatten().any(|head| !head.chat.is_channel());
    match (survey.owner, found.user_id) {
        (Some(owner), Some(user)) if owner != user && own_ids => mistake(format!(
            "the file is the export of user {owner}, and account {} is user {user}: private chats and basic groups have the message ids of the account that exported them; add that account, or name it with --account LABEL",
            found.label
        )),
        _ => Ok(found.clone()),
    }
}

async fn unwatched(pool: &PgPool, survey: &Survey) -> anyhow::Result<Vec<Head>> {
    let ids: Vec<i64> = survey.chats.iter().flatten().map(|head| head.chat.0).collect();
    let watched = watch::watched(&mut *pool.acquire().await?, &ids).await?;
    Ok(survey.chats.iter().flatten().filter(|head| watched.binary_search(&head.chat.0).is_err()).cloned().collect())
}

fn refused(unwatched: &[Head], path: &Path) -> String {
    let mut told = String::from("not watched, so nothing of it is stored:\n");
    for head in unwatched.iter().take(20) {
        let title = head.title.as_deref().unwrap_or("without a name");
        told += &format!("  {} ({}, {title}): {} messages\n", head.chat, head.kind, head.messages);
    }
    if unwatched.len() > 20 {
        told += &format!("  and {} more chats\n", unwatched.len() - 20);
    }
    let id = unwatched.first().map_or_else(String::new, |head| head.chat.to_string());
    let purpose = if unwatched.iter().any(|head| head.chat.is_private()) { " --purpose TEXT" } else { "" };
    told + &format!(
        "`telekeep chat watch {id}{purpose}` watches a chat that an account can read; `telekeep import {} --watch{purpose}` watches all that are in the file",
        path.display()
    )
}

/// Watches what the file holds. An account that knows a chat becomes its reader, and the workflows that listen begin.
async fn begin(config: &Config, pool: &PgPool, account: &Account, purpose: Option<String>, survey: &Survey) -> anyhow::Result<()> {
    let workflows = open::workflows(config)?;
    let mut tx = pool.begin().await?;
    let mut opened = Vec::new();
    for head in survey.chats.iter().flatten() {
        let is_known = accounts::peer(&mut tx, account.id, head.chat).await?.is_some();
        let reader = is_known.then_some(account.id);
        let new = watch::watch(&mut tx, &NewWatch { purpose: purpose.clone(), reader, ..NewWatch::new(head.chat) }).await?;
        if new {
            let detail = serde_json::json!({ "purpose": purpose, "account": reader.map(|_| &account.label) });
            changed::note_in(&mut tx, "chat.watch", &format!("chat {}", head.chat), detail).await?;
        }
        if new && is_known {
            event::note(&mut tx, head.chat, event::WATCHED, Some(account.id)).await?;
            opened.push(listener::consume_now(&mut tx, &workflows, head.chat).await?);
        }
    }
    tx.commit().await?;
    for opened in opened {
        opened.wake(pool).await;
    }
    Ok(())
}

/// What became of one chat.
struct Done {
    head: Head,
    new: u64,
    filled: u64,
    unchanged: u64,
}

/// Reads in a thread of its own, a few batches ahead of the database.
async fn merge(
    pool: &PgPool,
    path: PathBuf,
    survey: Survey,
    account: &Account,
    seen: Observation,
    unwatched: &[Head],
    left_out: &mut LeftOut,
) -> anyhow::Result<Vec<Done>> {
    let wanted: Vec<Option<Head>> = survey.chats.iter().map(|head| head.clone().filter(|head| !unwatched.contains(head))).collect();
    let total = wanted.iter().flatten().map(|head| head.messages).sum();
    let bar = output::bar(total, "messages").with_message("import");
    let (batches, mut ready) = mpsc::channel::<(usize, Vec<Told>)>(AHEAD);
    let survey = Survey { chats: wanted.clone(), ..survey };
    let owner = account.user_id.or(survey.owner);
    let reading = tokio::task::spawn_blocking(move || read(&path, &survey, owner, &batches));
    let mut done: Vec<Option<Done>> =
        wanted.into_iter().map(|head| head.map(|head| Done { head, new: 0, filled: 0, unchanged: 0 })).collect();
    while let Some((at, batch)) = ready.recv().await {
        let Some(Some(done)) = done.get_mut(at) else { continue };
        let count = batch.len() as u64;
        let (messages, users): (Vec<_>, Vec<_>) = batch.into_iter().map(|told| (told.message, told.users)).unzip();
        let users: Vec<_> = users.into_iter().flatten().collect();
        let mut tx = pool.begin().await?;
        let Written { new, revised, unchanged } = import::commit(&mut tx, &done.head.fact(), &messages, &users, &seen).await?;
        tx.commit().await?;
        done.new += new.len() as u64;
        done.filled += revised.len() as u64;
        done.unchanged += unchanged as u64;
        bar.inc(count);
    }
    left_out.extend(reading.await??);
    bar.finish_and_clear();
    Ok(done.into_iter().flatten().collect())
}

fn read(path: &Path, survey: &Survey, owner: Option<i64>, batches: &mpsc::Sender<(usize, Vec<Told>)>) -> anyhow::Result<LeftOut> {
    let (mut at, mut batch) = (0, Vec::new());
    let left_out = desktop::read(opened(path)?, survey, owner, |chat, told| {
        let goes_on = (chat == at && batch.len() < BATCH)
            || batch.is_empty()
            || batches.blocking_send((at, std::mem::take(&mut batch))).is_ok();
        at = chat;
        batch.push(told);
        goes_on
    })
    .map_err(|e| anyhow::anyhow!("{}: {}", path.display(), crate::error::chain(&e)))?;
    if !batch.is_empty() {
        // Nobody takes it where the database failed: that is told there.
        drop(batches.blocking_send((at, batch)));
    }
    Ok(left_out)
}

fn report(done: &[Done], left_out: &LeftOut) {
    let rows = done.iter().map(|it| {
        let title = it.head.title.clone().unwrap_or_default();
        [it.head.chat.to_string(), title]
            .into_iter()
            .chain([it.head.messages, it.new, it.filled, it.unchanged].map(|count| count.to_string()))
            .collect()
    });
    output::table(&["chat", "title", "in the file", "new", "filled", "unchanged"], rows, "no chats");
    let all: Vec<String> = left_out.iter().map(|(what, count)| format!("{count} × {what}")).collect();
    if !all.is_empty() {
        output::line(&format!("left in the file, for the record has no place for it: {}", all.join(", ")));
    }
    output::line("the file answers for the ids that are in it alone: `telekeep coverage` shows what history must still close");
}
