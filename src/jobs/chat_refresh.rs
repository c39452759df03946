//! chat_refresh: a chat's own facts, what the account can see of it, and its newest id.
//!
//! May run twice: merging equal facts changes nothing.

use serde::{Deserialize, Serialize};
use telekeep_queue as queue;

use super::{Job, JobContext, Progress, Reading};
use crate::{
    account,
    error::JobError,
    normalize,
    record::{
        self, ChatId, Observation, Via, boxes,
        coverage::{self, Access, Window},
        ledger::{self, PageRequest},
    },
    telegram::{self, HistoryRequest, budget},
};

/// One chat.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Args)]
pub struct ChatRefresh {
    /// The chat's marked id
    #[arg(long, allow_negative_numbers = true, value_parser = super::chat_arg)]
    pub chat: ChatId,
}

impl Job for ChatRefresh {
    const KIND: &'static str = "chat_refresh";

    fn chat(&self) -> Option<ChatId> {
        Some(self.chat)
    }

    fn unique_key(&self) -> String {
        self.chat.to_string()
    }

    async fn run(&self, cx: &JobContext) -> Result<Progress, JobError> {
        match cx.reader(self.chat, METHODS).await {
            Ok(reader) => self.read(cx, reader).await,
            Err(JobError::Account(account::Error::NoReader(_))) => self.look_again(cx).await,
            Err(e) => Err(e),
        }
    }
}

const METHODS: &[&str] = &[budget::HISTORY];

impl ChatRefresh {
    /// Every account was told that it cannot read the chat: each is asked once more, until one can.
    async fn look_again(&self, cx: &JobContext) -> Result<Progress, JobError> {
        let mut asked = false;
        while let Some(reader) = cx.second_look(self.chat, METHODS).await? {
            asked = true;
            let account = reader.account;
            match self.read(cx, reader).await {
                Err(JobError::Telegram(telegram::Error::Inaccessible { name, .. })) => {
                    let mut tx = cx.pool.begin().await?;
                    queue::fence(&mut tx, cx.job.token).await?;
                    cx.accounts.fence(&mut tx, account).await?;
                    let visible_from = coverage::visible_from(&mut tx, self.chat, account).await?;
                    let access = Access { readable: false, visible_from, reason: Some(name) };
                    coverage::set_access(&mut tx, self.chat, account, &access).await?;
                    tx.commit().await?;
                }
                ended => return ended,
            }
        }
        if asked { Ok(Progress::Finished) } else { Err(account::Error::NoReader(self.chat).into()) }
    }

    async fn read(&self, cx: &JobContext, reader: Reading) -> Result<Progress, JobError> {
        let (ledger, held) = cx.ledger(self.chat, reader.account).await?;
        cx.accounts.permit(reader.account, reader.chat.describing_method()).await?;
        let full = normalize::full_chat(self.chat, &reader.connection.full_chat(&reader.chat).await?);
        let mut conn = cx.pool.acquire().await?;
        let pts = boxes::pts(&mut conn, held).await?;
        let before = coverage::get(&mut conn, ledger).await?;
        drop(conn);
        let request = PageRequest::new(&before, 0, Window { from: 1, to: before.top });
        cx.accounts.permit(reader.account, budget::HISTORY).await?;
        let newest = HistoryRequest { offset_id: 0, min_id: 0, limit: 1 };
        let page = normalize::page(&reader.connection.history(&reader.chat, newest).await?);
        let seen = Observation { account: reader.account, via: Via::History, job: Some(cx.job.id), pts: page.pts.or(pts) };

        let mut tx = cx.pool.begin().await?;
        queue::fence(&mut tx, cx.job.token).await?;
        cx.accounts.fence(&mut tx, reader.account).await?;
        let access = Access { visible_from: full.visible_from, ..Access::full() };
        coverage::set_access(&mut tx, self.chat, reader.account, &access).await?;
        ledger::commit_page(&mut tx, &request, &page.messages, &page.shown(), &seen).await?;
        if let Some(pts) = full.pts {
            boxes::start(&mut tx, held, pts).await?;
        }
        let chats: Vec<_> = full.chats.into_iter().chain(page.chats).collect();
        let users: Vec<_> = full.users.into_iter().chain(page.users).collect();
        record::commit_people(&mut tx, &chats, &users, &seen).await?;
        tx.commit().await?;
        Ok(Progress::Finished)
    }
}
