//! Reading messages: a page of a chat's history, or messages by id. Nothing is marked as read.

use grammers_tl_types as tl;

use super::{Connection, InputChat, Result};

/// Most messages that Telegram gives in one answer: <https://core.telegram.org/method/messages.getHistory>.
pub const PAGE: i32 = 100;

/// One page of a history, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRequest {
    /// Messages with smaller ids than this; 0: from the newest.
    pub offset_id: i32,
    /// Messages with greater ids than this; 0: no bound.
    pub min_id: i32,
    /// At most so many; Telegram gives at most [`PAGE`].
    pub limit: i32,
}

impl Default for HistoryRequest {
    fn default() -> Self {
        Self { offset_id: 0, min_id: 0, limit: PAGE }
    }
}

impl Connection {
    /// One page of a chat's history. The answer may be any form of `messages.Messages`; of a channel it carries the box's pts.
    pub async fn history(&self, chat: &InputChat, request: HistoryRequest) -> Result<tl::enums::messages::Messages> {
        self.invoke(&tl::functions::messages::GetHistory {
            peer: chat.peer(),
            offset_id: request.offset_id,
            offset_date: 0,
            add_offset: 0,
            limit: request.limit.clamp(1, PAGE),
            max_id: 0,
            min_id: request.min_id,
            hash: 0,
        })
        .await
    }

    /// The newest message older than a moment (seconds since 1970), if any: the id below which `--since` does not reach.
    pub async fn newest_before(&self, chat: &InputChat, unix_seconds: i32) -> Result<tl::enums::messages::Messages> {
        self.invoke(&tl::functions::messages::GetHistory {
            peer: chat.peer(),
            offset_id: 0,
            offset_date: unix_seconds,
            add_offset: 0,
            limit: 1,
            max_id: 0,
            min_id: 0,
            hash: 0,
        })
        .await
    }

    /// Messages by their ids, at most [`PAGE`]. A deleted id is answered by an empty message, not by absence.
    pub async fn messages_by_id(&self, chat: &InputChat, ids: &[i32]) -> Result<tl::enums::messages::Messages> {
        let id = ids.iter().map(|id| tl::types::InputMessageId { id: *id }.into()).collect();
        match chat.channel() {
            Some(channel) => self.invoke(&tl::functions::channels::GetMessages { channel, id }).await,
            None => self.invoke(&tl::functions::messages::GetMessages { id }).await,
        }
    }
}
