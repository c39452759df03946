//! count_sample: views, forwards, replies and reactions of a chat's messages, at the moments of their schedule.
//!
//! May run twice: a point that is there stays, and what has its point is not due any more. What Telegram no longer has is found
//! deleted on the way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use telekeep_queue as queue;

use super::{Job, JobContext, Progress};
use crate::{
    error::JobError,
    normalize,
    record::{
        self, ChatId, Message, Observation, Via, boxes,
        coverage::{self, Window},
        ledger::{self, PageRequest},
        metric::{self, Point},
        sampling::{self, Due},
    },
    telegram::history::PAGE,
};

/// Messages that one start of a job looks at: 100 full calls, some minutes of work. The next start takes the next ones.
const AT_ONCE: i64 = 10_000;

/// One channel or supergroup; other chats have no counts.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Args)]
pub struct CountSample {
    /// The chat's marked id
    #[arg(long, allow_negative_numbers = true, value_parser = super::chat_arg)]
    pub chat: ChatId,
}

impl Job for CountSample {
    const KIND: &'static str = "count_sample";

    fn chat(&self) -> Option<ChatId> {
        Some(self.chat)
    }

    fn unique_key(&self) -> String {
        self.chat.to_string()
    }

    async fn run(&self, cx: &JobContext) -> Result<Progress, JobError> {
        let mut conn = cx.pool.acquire().await?;
        let began = record::workflow::now(&mut conn).await?;
        let mut due = sampling::due(&mut conn, self.chat, AT_ONCE).await?;
        drop(conn);
        if due.is_empty() {
            return Ok(Progress::Finished);
        }
        let more = due.len() as i64 == AT_ONCE;
        let reader = cx.reader(self.chat, &["channels.getMessages"]).await?;
        let (ledger, held) = cx.ledger(self.chat, reader.account).await?;
        let visible = coverage::visible_from(&mut *cx.pool.acquire().await?, self.chat, reader.account).await?;
        due.retain(|d| d.message_id >= visible);
        let total = due.len() as i64;
        let (mut done, mut kept) = (0, 0);
        for due in due.chunks(PAGE as usize) {
            if cx.job.slice_is_over() {
                return Ok(Progress::MoreToDo);
            }
            let mut conn = cx.pool.acquire().await?;
            let before = coverage::get(&mut conn, ledger).await?;
            let pts = boxes::pts(&mut conn, held).await?;
            drop(conn);
            let request = PageRequest::new(&before, 0, Window { from: 1, to: before.top });
            let asked: Vec<i64> = due.iter().map(|d| d.message_id).collect();
            let ids: Vec<i32> = asked.iter().filter_map(|id| i32::try_from(*id).ok()).collect();
            cx.accounts.permit(reader.account, reader.chat.by_id_method()).await?;
            let page = normalize::page(&reader.connection.messages_by_id(&reader.chat, &ids).await?);
            cx.accounts.note_peers(reader.account, &page.peers()).await?;
            let seen = Observation { account: reader.account, via: Via::History, job: Some(cx.job.id), pts: page.pts.or(pts) };

            let mut tx = cx.pool.begin().await?;
            queue::fence(&mut tx, cx.job.token).await?;
            cx.accounts.fence(&mut tx, reader.account).await?;
            ledger::commit_by_id(&mut tx, &request, &asked, &page.messages, &seen).await?;
            let held = boxes::lock(&mut tx, held).await?;
            kept += metric::insert(&mut tx, &held, &points(self.chat, due, &page.messages), &seen).await?;
            record::commit_people(&mut tx, &page.chats, &page.users, &seen).await?;
            done += due.len() as i64;
            queue::progress(&mut tx, cx.job.token, done, Some(total), None).await?;
            tx.commit().await?;
        }
        // Were nothing kept, the next start would ask the same again.
        if more && kept > 0 {
            return Ok(Progress::MoreToDo);
        }
        let mut tx = cx.pool.begin().await?;
        queue::fence(&mut tx, cx.job.token).await?;
        sampling::mark(&mut tx, &[self.chat.0], began).await?;
        tx.commit().await?;
        Ok(Progress::Finished)
    }
}

/// The points that an answer gives; a message that it does not hold has none.
fn points(chat: ChatId, due: &[Due], messages: &[Message]) -> Vec<Point> {
    let told: BTreeMap<i64, &Message> = messages.iter().filter(|m| m.chat == chat).map(|m| (m.id, m)).collect();
    due.iter()
        .filter_map(|d| {
            let body = &told.get(&d.message_id)?.body;
            let count = |name: &str| body.get(name).and_then(Value::as_i64);
            Some(Point {
                message_id: d.message_id,
                chat,
                scheduled_at: d.scheduled_at,
                views: count("views"),
                forwards: count("forwards"),
                reply_count: count("reply_count"),
                reactions: body.get("reactions").cloned(),
            })
        })
        .collect()
}
