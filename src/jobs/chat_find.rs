//! chat_find: one account looks up which chat a public name means, and which message a day begins with, for a command that found the
//! account at work on a node.
//!
//! May run twice: it only asks. Its answer is its progress note, as JSON; what Telegram refuses is an answer too.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use telekeep_queue as queue;

use super::{Job, JobContext, Progress};
use crate::{
    account::{
        self, Accounts,
        find::{self, Found, Target},
    },
    error::{Action, JobError},
    record::{self, AccountId, ChatId},
};

/// What one account is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChatFind {
    pub account: AccountId,
    pub target: Target,
    /// The oldest message that is not older than this is looked for.
    pub since: Option<DateTime<Utc>>,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// `floor`: the id of the oldest message that was asked for.
    Found { chat: ChatId, floor: Option<i64> },
    /// Why there is none.
    Refused(String),
}

impl Job for ChatFind {
    const KIND: &'static str = "chat_find";

    /// None: it serves its account; the chat need not be watched.
    fn chat(&self) -> Option<ChatId> {
        None
    }

    fn unique_key(&self) -> String {
        let since = self.since.map_or(String::new(), |since| since.timestamp().to_string());
        match &self.target {
            Target::Id(id) => format!("{}:{id}:{since}", self.account.0),
            Target::Name(name) => format!("{}:@{}:{since}", self.account.0, name.to_lowercase()),
        }
    }

    async fn run(&self, cx: &JobContext) -> Result<Progress, JobError> {
        let answer = match self.ask(&cx.accounts).await {
            Ok(answer) => answer,
            Err(error) => {
                if let account::Error::Telegram(failed) = &error {
                    cx.accounts.learn(self.account, failed).await?;
                }
                let error = JobError::from(error);
                match error.action() {
                    Action::Retry | Action::Leave | Action::AccountStopped => return Err(error),
                    // Whoever asked waits for a word, not for the end of a flood.
                    Action::Snooze { .. } | Action::Inaccessible { .. } | Action::Hold { .. } | Action::Discard => {
                        Answer::Refused(error.chain())
                    }
                }
            }
        };
        let note = serde_json::to_string(&answer).map_err(JobError::Payload)?;
        let mut tx = cx.pool.begin().await?;
        queue::fence(&mut tx, cx.job.token).await?;
        queue::progress(&mut tx, cx.job.token, 1, Some(1), Some(&note)).await?;
        tx.commit().await?;
        Ok(Progress::Finished)
    }
}

impl ChatFind {
    /// Asks by the accounts of this process.
    pub async fn ask(&self, accounts: &Accounts) -> Result<Answer, account::Error> {
        let row = record::account::list(&mut *accounts.pool().acquire().await?).await?;
        let account = row.into_iter().find(|it| it.id == self.account).ok_or(account::Error::Unknown(self.account))?;
        let chat = match &self.target {
            Target::Id(id) => ChatId(*id),
            Target::Name(name) => find::resolve(accounts, &account, name).await?,
        };
        let floor = match self.since {
            Some(since) => Some(find::floor(accounts, &Found { chat, account: account.id }, since).await?),
            None => None,
        };
        Ok(Answer::Found { chat, floor })
    }
}
