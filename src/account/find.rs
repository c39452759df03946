//! Finding a chat by link, public name or id: what the accounts already know first, a resolution by Telegram last.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Account, Accounts, Error};
use crate::{
    clock, normalize,
    record::{self, AccountId, ChatId},
    telegram::{self, InputChat, budget, chats},
};

/// What a person may write for a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Finds a chat through the accounts of this process.
pub async fn chat(accounts: &Accounts, text: &str) -> Result<Found, Error> {
    match target(text).ok_or_else(|| Error::UnknownChat(not_a_target(text)))? {
        Target::Id(id) => {
            let reader = match accounts.reader_of(ChatId(id)).await {
                Err(Error::NoReader(_)) => {
                    return Err(Error::UnknownChat(format!(
                        "no active account knows chat {id}; import an account that is a member (`telekeep account import`), or give the chat's public link"
                    )));
                }
                reader => reader?,
            };
            Ok(Found { chat: ChatId(id), account: reader.account })
        }
        Target::Name(name) => {
            let mut conn = accounts.pool().acquire().await?;
            if let Some((account, chat)) = record::account::peer_named(&mut conn, &name).await? {
                let account = accounts.reader_of(chat).await.map_or(account, |reader| reader.account);
                return Ok(Found { chat, account });
            }
            let active =
                record::account::list(&mut conn).await?.into_iter().find(|a| a.state == record::account::AccountState::Active);
            drop(conn);
            let Some(account) = active else {
                return Err(Error::UnknownChat(
                    "no active account; `telekeep account import` or `telekeep account login` adds one".into(),
                ));
            };
            let connection = accounts.open(account.id).await?;
            may_resolve(accounts, &account, &name).await?;
            let resolved = connection.resolve(&name).await?;
            let chat = chats::chat_id(&resolved.peer);
            accounts.note_peers(account.id, &normalize::peers(&resolved.chats, &resolved.users)).await?;
            Ok(Found { chat, account: account.id })
        }
    }
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
