//! Which account reads a chat.

use super::{Accounts, Error, Result};
use crate::record::account::{self as accounts, Reader};
use crate::record::budget::Filling;
use crate::record::reader::{self as table, Reading};
use crate::record::{AccountId, ChatId};
use crate::telegram::budget;

/// How chats are read, for the choice of who reads them.
pub fn reading() -> Reading<'static> {
    let budget = budget::of(budget::HISTORY);
    Reading { method: budget::HISTORY, filling: Filling { capacity: budget.capacity, rate: budget.rate } }
}

impl Accounts {
    /// Who reads this chat, and with which access hash.
    pub async fn reader_of(&self, chat: ChatId) -> Result<Reader> {
        self.reader_for(chat, None).await
    }

    /// The preferred account if it can read this chat and is not limited, else who reads it.
    pub async fn reader_for(&self, chat: ChatId, preferred: Option<AccountId>) -> Result<Reader> {
        let mut conn = self.pool().acquire().await?;
        table::reader_of(&mut conn, chat, preferred, reading()).await?.ok_or(Error::NoReader(chat))
    }

    /// An account that was told that it cannot read this chat, longest ago; none where all were asked just now.
    pub async fn refused_reader_of(&self, chat: ChatId) -> Result<Option<Reader>> {
        Ok(accounts::refused_reader_of(&mut *self.pool().acquire().await?, chat).await?)
    }
}
