//! Which chat a person means, asked of this process's accounts, or of the node that has the account.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use telekeep_queue::{self as queue, NewJob, State};

use super::super::{exit::mistake, output};
use crate::{
    account::{self, Accounts, find},
    clock,
    jobs::{
        Job,
        chat_find::{Answer, ChatFind},
    },
    record::{AccountId, ChatId},
};

/// A chat, the account that reads it, and where it begins.
pub struct Named {
    pub chat: ChatId,
    pub account: AccountId,
    /// The id of the oldest message that is wanted; none: of all.
    pub floor: Option<i64>,
}

/// Between two looks at what a node answers.
const LOOK: Duration = Duration::from_millis(250);
/// A node that works answers within a few seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Finds a chat by link, public name or id; Telegram is asked only for what no account knows.
pub async fn named(
    pool: &PgPool,
    accounts: &Accounts,
    text: &str,
    label: Option<&str>,
    since: Option<DateTime<Utc>>,
) -> anyhow::Result<Named> {
    let target = find::read(text)?;
    let known = find::known(accounts, &target).await?;
    let account = match (label, known) {
        (Some(label), _) => accounts.labelled(label).await?.id,
        (None, Some(found)) => found.account,
        (None, None) => find::any(accounts).await?.id,
    };
    if let (Some(found), None) = (known, since) {
        return Ok(Named { chat: found.chat, account, floor: None });
    }
    let target = known.map_or(target, |found| find::Target::Id(found.chat.0));
    let question = ChatFind { account, target, since };
    let answer = match question.ask(accounts).await {
        Err(account::Error::InUse { label, holder }) => through(pool, &question, &label, &holder.node).await?,
        answer => answer?,
    };
    match answer {
        Answer::Found { chat, floor } => Ok(Named { chat, account, floor }),
        Answer::Refused(reason) => mistake(reason),
    }
}

/// Lets the node that has the account ask.
async fn through(pool: &PgPool, question: &ChatFind, label: &str, node: &str) -> anyhow::Result<Answer> {
    let job = NewJob { trigger: Some("operator".into()), priority: 1, ..question.enqueueable(Some(question.account))? };
    let mut tx = pool.begin().await?;
    let (enqueued, wake) = queue::enqueue(&mut tx, &[job]).await?;
    tx.commit().await?;
    wake.fire(pool).await;
    let id = enqueued.first().context("nothing was enqueued")?.id();
    eprintln!("account {label} is at work in {node}, which is asked (job {id})");
    let progress = output::spinner("waiting for the answer");
    let began = clock::mark();
    while began.elapsed() < LIMIT {
        let Some(job) = queue::show(pool, id).await? else { break };
        match job.state {
            State::Done => {
                progress.finish_and_clear();
                let note = job.progress_note.context("the answer is empty")?;
                return serde_json::from_str(&note).with_context(|| format!("the answer of job {id} cannot be read"));
            }
            State::Dead | State::Held | State::Cancelled => {
                let error = job.error.unwrap_or_else(|| format!("it is {}", job.state));
                return mistake(format!("job {id} was not answered: {error}"));
            }
            State::Scheduled | State::Available | State::Running => tokio::time::sleep(LOOK).await,
        }
    }
    queue::cancel(pool, &queue::Filter::one(id)).await?;
    mistake(format!(
        "{node} did not answer within {} s: `telekeep node list` and `telekeep job show {id}` say why; then ask again",
        LIMIT.as_secs()
    ))
}
