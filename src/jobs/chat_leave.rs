//! chat_leave: one account leaves one chat. What was collected stays.
//!
//! May run twice: who is not in the chat has left it.

use serde::{Deserialize, Serialize};
use telekeep_queue as queue;

use super::{Job, JobContext, Progress};
use crate::{
    error::JobError,
    record::{self, AccountId, ChatId, event, join as table},
    telegram::InputChat,
};

/// One account and one chat.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChatLeave {
    pub chat: ChatId,
    pub account: AccountId,
}

impl Job for ChatLeave {
    const KIND: &'static str = "chat_leave";

    /// None: it serves its account, whoever reads the chat.
    fn chat(&self) -> Option<ChatId> {
        None
    }

    fn unique_key(&self) -> String {
        format!("{}:{}", self.chat, self.account.0)
    }

    async fn run(&self, cx: &JobContext) -> Result<Progress, JobError> {
        let peer = record::account::peer(&mut *cx.pool.acquire().await?, self.account, self.chat).await?;
        let chat = InputChat::new(self.chat, peer.and_then(|peer| peer.access_hash));
        let connection = cx.accounts.open(self.account).await?;
        cx.accounts.permit(self.account, chat.leaving_method()).await?;
        connection.leave(&chat).await?;

        let mut tx = cx.pool.begin().await?;
        queue::fence(&mut tx, cx.job.token).await?;
        table::left(&mut tx, self.account, self.chat).await?;
        // What it may still see of a public chat is asked by whoever reads it next.
        event::note(&mut tx, self.chat, event::LEFT, Some(self.account)).await?;
        tx.commit().await?;
        tracing::info!(account.id = self.account.0, chat.id = self.chat.0, "the account left the chat");
        Ok(Progress::Finished)
    }
}
