//! Finding a chat by link, public name or id: what the accounts already know first, a resolution by Telegram last.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Account, Accounts, Error};
use crate::{
    clock, normalize,
    record::{self, AccountId, ChatId, account::AccountState},
    telegram::{self, InputChat, budget, chats},
};

/// What a person may write for a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A marked id.
    Id(i64),
    /// A public name, without `@`.
    Name(String),
}

/// A chat, and an account that can address it.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    pub chat: ChatId,
    pub account: AccountId,
}

/// Reads `-100…`, `@name`, `name`, `https://t.me/name/5` or `https://t.me/c/123/5`; none for anything else.
pub fn target(text: &str) -> Option<Target> {
    if let Ok(id) = text.parse() {
        return Some(Target::Id(id));
    }
    let path = ["https://", "http://"].iter().find_map(|p| text.strip_prefix(p)).unwrap_or(text);
    let path = ["t.me/", "telegram.me/"].iter().find_map(|p| path.strip_prefix(p)).unwrap_or(path);
    let mut parts = path.split(['/', '?']);
    let first = parts.next()?.trim_start_matches('@');
    if first == "c" {
        return parts.next()?.parse().ok().map(|id| Target::Id(ChatId::channel(id).0));
    }
    let name = if first == "s" { parts.next()? } else { first };
    // Public names: https://core.telegram.org/method/account.checkUsername
    let valid = (4..=32).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic());
    valid.then(|| Target::Name(name.to_owned()))
}

/// What to tell whoever wrote something that is no chat.
pub fn not_a_target(text: &str) -> String {
    format!("{text:?} names no chat; write it as https://t.me/NAME, @NAME, https://t.me/c/ID/MESSAGE or -1001234567890")
}

/// What was written, as a target.
pub fn read(text: &str) -> Result<Target, Error> {
    target(text).ok_or_else(|| Error::UnknownChat(not_a_target(text)))
}

/// A chat that an account knows already; nothing is asked of Telegram. None: the name must be looked up.
pub async fn known(accounts: &Accounts, target: &Target) -> Result<Option<Found>, Error> {
    let (chat, named) = match target {
        Target::Id(id) => (ChatId(*id), None),
        Target::Name(name) => {
            let known = record::account::peer_named(&mut *accounts.pool().acquire().await?, name).await?;
            let Some((account, chat)) = known else { return Ok(None) };
            (chat, Some(account))
        }
    };
    match (accounts.reader_of(chat).await, named) {
        (Ok(reader), _) => Ok(Some(Found { chat, account: reader.account })),
        (Err(_), Some(account)) => Ok(Some(Found { chat, account })),
        (Err(Error::NoReader(_)), None) => Err(Error::UnknownChat(format!(
            "no active account knows chat {chat}; import an account that is a member (`telekeep account import`), or give the chat's public link"
        ))),
        (Err(error), None) => Err(error),
    }
}

/// An account that can be asked.
pub async fn any(accounts: &Accounts) -> Result<Account, Error> {
    let active = accounts.list().await?.into_iter().find(|account| account.state == AccountState::Active);
    active.ok_or_else(|| {
        Error::UnknownChat("no active account; `telekeep account import` or `telekeep account login` adds one".into())
    })
}

/// Looks a public name up, by one account.
pub async fn resolve(accounts: &Accounts, account: &Account, name: &str) -> Result<ChatId, Error> {
    let connection = accounts.open(account.id).await?;
    may_resolve(accounts, account, name).await?;
    let resolved = connection.resolve(name).await?;
    accounts.note_peers(account.id, &normalize::peers(&resolved.chats, &resolved.users)).await?;
    Ok(chats::chat_id(&resolved.peer))
}

/// Looking a name up comes last, and only so often a day.
async fn may_resolve(accounts: &Accounts, account: &Account, name: &str) -> Result<(), Error> {
    match accounts.permit(account.id, budget::RESOLVE).await {
        Err(Error::Telegram(telegram::Error::OverBudget { wait, .. })) => {
            let at = clock::now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
            Err(Error::ResolvesSpent { name: name.to_owned(), label: account.label.clone(), at })
        }
        answer => answer,
    }
}

/// The oldest message id that is not older than a time: what a `--since` makes the floor.
pub async fn floor(accounts: &Accounts, found: &Found, since: DateTime<Utc>) -> Result<i64, Error> {
    let peer = {
        let mut conn = accounts.pool().acquire().await?;
        record::account::peer(&mut conn, found.account, found.chat).await?
    };
    let chat = InputChat::new(found.chat, peer.and_then(|p| p.access_hash));
    let seconds = i32::try_from(since.timestamp()).unwrap_or(i32::MAX);
    let connection = accounts.open(found.account).await?;
    accounts.permit(found.account, budget::HISTORY).await?;
    let answer = connection.newest_before(&chat, seconds).await?;
    let page = normalize::page(&answer);
    Ok(page.shown().iter().max().map_or(1, |id| id + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_read_from_whatever_a_person_writes() {
        let name = |n: &str| Some(Target::Name(n.into()));
        assert_eq!(target("-1001234"), Some(Target::Id(-1_001_234)));
        assert_eq!(target("@durov"), name("durov"));
        assert_eq!(target("https://t.me/durov/15"), name("durov"));
        assert_eq!(target("t.me/s/durov"), name("durov"));
        assert_eq!(target("https://t.me/c/1878264527/90"), Some(Target::Id(-1_001_878_264_527)));
        assert_eq!(target("not a chat"), None);
        assert_eq!(target(""), None);
    }
}
