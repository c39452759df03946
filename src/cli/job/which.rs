//! Which jobs are meant: the same words for a list and for what is done with many.

use clap::Args;
use sqlx::PgPool;
use telekeep_queue as queue;

use super::super::{chat, exit::mistake};
use crate::record::account;

/// Jobs by id, and by what they have in common: all that is said must hold.
#[derive(Debug, Args)]
pub struct Which {
    pub ids: Vec<i64>,
    #[arg(long)]
    pub kind: Option<String>,
    /// scheduled, available, running, done, held, dead, cancelled
    #[arg(long)]
    pub state: Option<queue::State>,
    /// Those of one account, by its label or number; 0: those of none
    #[arg(long, visible_alias = "partition")]
    pub account: Option<String>,
    /// Those of one workflow run
    #[arg(long)]
    pub run: Option<i64>,
    /// Those of one chat: link, @name or id
    #[arg(long, allow_negative_numbers = true)]
    pub chat: Option<String>,
    /// Those whose error has this text in it, in upper or lower case
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub error: Option<String>,
    /// Those that this job enqueued
    #[arg(long)]
    pub parent: Option<i64>,
}

impl Which {
    /// Whether nothing is said, so that all jobs are meant.
    pub fn says_nothing(&self) -> bool {
        let Self { ids, kind, state, account, run, chat, error, parent } = self;
        let numbers = run.is_none() && parent.is_none();
        let texts = kind.is_none() && account.is_none() && chat.is_none() && error.is_none();
        ids.is_empty() && state.is_none() && numbers && texts
    }

    /// As the queue takes it.
    pub async fn filter(self, pool: &PgPool) -> anyhow::Result<queue::Filter> {
        let partition = match &self.account {
            Some(account) => Some(partition(pool, account).await?),
            None => None,
        };
        let payload = match &self.chat {
            Some(chat) => Some(("chat", chat::known(pool, chat).await?.to_string())),
            None => None,
        };
        let Self { ids, kind, state, run, parent, error: told, account: _, chat: _ } = self;
        let ids = (!ids.is_empty()).then_some(ids);
        Ok(queue::Filter { ids, kind, state, partition, parent, run, payload, told, ..queue::Filter::default() })
    }
}

/// The partition of an account, by its label or number; 0 is the one of jobs without an account.
pub async fn partition(pool: &PgPool, account: &str) -> anyhow::Result<i64> {
    let accounts = account::list(&mut *pool.acquire().await?).await?;
    if let Some(found) = accounts.iter().find(|it| it.label == account) {
        return Ok(found.id.0);
    }
    match account.parse() {
        Ok(number) => Ok(number),
        Err(_) => mistake(format!("there is no account {account}; `telekeep account list` shows them")),
    }
}
