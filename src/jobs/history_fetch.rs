//! history_fetch: collects one window of one chat's history, newest first.
//!
//! May run twice: merging equal content changes nothing.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use telekeep_queue as queue;
use tracing::Instrument;

use super::{Job, JobContext, Progress};
use crate::{
    error::JobError,
    normalize,
    record::{
        self, AccountId, ChatId, Observation, Via, boxes,
        coverage::{self, Window},
        ledger::{self, PageRequest},
    },
    telegram::{HistoryRequest, budget, history::PAGE},
    telemetry::traces,
};

/// One aligned window of message ids of one chat.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Args)]
pub struct HistoryFetch {
    /// The chat's marked id
    #[arg(long, allow_negative_numbers = true, value_parser = super::chat_arg)]
    pub chat: ChatId,
    /// Any id of the window: windows are aligned
    #[arg(long = "at", value_name = "MESSAGE_ID", value_parser = window_arg)]
    pub window: Window,
}

fn window_arg(text: &str) -> Result<Window, String> {
    text.parse().map(coverage::window_of).map_err(|_| format!("{text:?} is not a message id"))
}

impl Job for HistoryFetch {
    const KIND: &'static str = "history_fetch";

    fn chat(&self) -> Option<ChatId> {
        Some(self.chat)
    }

    fn unique_key(&self) -> String {
        format!("{}:{}", self.chat, self.window)
    }

    async fn run(&self, cx: &JobContext) -> Result<Progress, JobError> {
        let reader = cx.reader(self.chat, &[budget::HISTORY]).await?;
        let (ledger, held) = cx.ledger(self.chat, reader.account).await?;
        loop {
            let mut conn = cx.pool.acquire().await?;
            let before = coverage::get(&mut conn, ledger).await?;
            let Some(newest) = ledger::newest_unsettled(&mut conn, &before, self.window, reader.account).await? else {
                return Ok(Progress::Finished);
            };
            drop(conn);
            if cx.job.slice_is_over() {
                return Ok(Progress::MoreToDo);
            }
            cx.accounts.permit(reader.account, budget::HISTORY).await?;
            let pts = boxes::pts(&mut *cx.pool.acquire().await?, held).await?;
            let offset = newest + 1;
            let request = PageRequest::new(&before, offset, self.window);
            let ask = HistoryRequest { offset_id: telegram_id(offset), min_id: telegram_id(self.window.from - 1), limit: PAGE };
            let page = normalize::page(&reader.connection.history(&reader.chat, ask).await?);
            cx.accounts.note_peers(reader.account, &page.peers()).await?;
            let seen = Observation { account: reader.account, via: Via::History, job: Some(cx.job.id), pts: page.pts.or(pts) };

            let commit = async {
                let mut tx = cx.pool.begin().await?;
                queue::fence(&mut tx, cx.job.token).await?;
                cx.accounts.fence(&mut tx, reader.account).await?;
                let committed = ledger::commit_page(&mut tx, &request, &page.messages, &page.shown(), &seen).await?;
                record::commit_people(&mut tx, &page.chats, &page.users, &seen).await?;
                let total = (self.window.to.min(before.top) - self.window.from + 1).max(0);
                let left = committed.settled.map_or(newest, |(from, _)| from - 1) - self.window.from + 1;
                queue::progress(&mut tx, cx.job.token, (total - left).clamp(0, total), Some(total), None).await?;
                tx.commit().await?;
                Ok::<_, JobError>(committed)
            };
            let committed = commit.instrument(traces::commit(page.messages.len())).await?;
            if committed.settled.is_none() {
                // An answer that settles nothing would be asked for again for ever.
                let found = "a page outside of what was asked";
                return Err(crate::telegram::Error::Unexpected { method: "messages.getHistory", found }.into());
            }
        }
    }
}

/// Telegram's message ids are 32 bits wide.
fn telegram_id(id: i64) -> i32 {
    i32::try_from(id).unwrap_or(i32::MAX)
}

impl HistoryFetch {
    /// Which of the accounts that can read the chat reads this window: each has its share of those that it sees whole; what none sees
    /// whole is for the one that sees furthest back.
    pub fn share(&self, readers: &[(AccountId, i64)]) -> Option<AccountId> {
        let whole: Vec<AccountId> = readers.iter().filter(|(_, from)| *from <= self.window.from).map(|(id, _)| *id).collect();
        let index = usize::try_from(self.window.from / coverage::WINDOW).unwrap_or(0);
        match whole.len() {
            0 => readers.iter().min_by_key(|(id, from)| (*from, *id)).map(|(id, _)| *id),
            accounts => Some(whole[index % accounts]),
        }
    }
}

/// The windows of a chat in which something is missing or stale, newest first.
pub async fn windows(conn: &mut PgConnection, chat: ChatId) -> Result<Vec<HistoryFetch>, record::Error> {
    let holes = ledger::holes(conn, chat).await?;
    let mut windows: Vec<Window> = holes.iter().flat_map(|(from, to)| coverage::windows(*from, *to)).collect();
    windows.sort_unstable();
    windows.dedup();
    Ok(windows.into_iter().rev().map(|window| HistoryFetch { chat, window }).collect())
}
