//! Joining: what a person may write for a chat that is to be joined, how an invite hash is kept, and which account takes it.

use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::{Accounts, LostKey, Result, SealKey, find};
use crate::record::account::Sealed;
use crate::record::join::{self as table, Aim, Candidate};
use crate::record::{AccountId, ChatId};
use crate::telegram::budget;
use crate::telegram::joining::{InviteHash, most_chats};

/// What is to be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A public name, without `@`.
    Name(String),
    Invite(InviteHash),
    /// A chat that an account had before.
    Chat(ChatId),
}

/// Reads `https://t.me/+HASH`, `t.me/joinchat/HASH`, `tg://join?invite=HASH`, `@name`, `t.me/name`, `tg://resolve?domain=name` or a
/// chat's id; none for anything else. Forms: <https://core.telegram.org/api/links#chat-invite-links>
pub fn target(text: &str) -> Option<Target> {
    let text = text.trim();
    if let Some(query) = text.strip_prefix("tg://join?") {
        return invite(parameter(query, "invite")?);
    }
    if let Some(query) = text.strip_prefix("tg://resolve?") {
        return target(&format!("@{}", parameter(query, "domain")?));
    }
    let path = ["https://", "http://"].iter().find_map(|p| text.strip_prefix(p)).unwrap_or(text);
    if let Some(path) = ["t.me/", "telegram.me/", "telegram.dog/"].iter().find_map(|p| path.strip_prefix(p))
        && let Some(hash) = path.strip_prefix("joinchat/").or_else(|| path.strip_prefix('+'))
    {
        return invite(hash.split(['/', '?', '#']).next()?);
    }
    match find::target(text)? {
        find::Target::Name(name) => Some(Target::Name(name)),
        find::Target::Id(id) if id < 0 => Some(Target::Chat(ChatId(id))),
        find::Target::Id(_) => None,
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split(['&', '#']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// A `+` before digits alone is somebody's phone number: <https://core.telegram.org/api/links#phone-number-links>
fn invite(hash: &str) -> Option<Target> {
    let valid = (4..=64).contains(&hash.len())
        && hash.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !hash.chars().all(|c| c.is_ascii_digit());
    valid.then(|| Target::Invite(InviteHash(hash.to_owned())))
}

/// What to tell whoever wrote something that cannot be joined; it does not repeat it, for it may be most of an invite.
pub const NOT_A_TARGET: &str =
    "names nothing to join; write an invite as https://t.me/+HASH, a public name as @NAME or https://t.me/NAME";

/// Letters of an invite hash that people are shown, to tell one from another; sixteen and more stay hidden.
const LETTERS: usize = 4;

impl Aim {
    /// A public name.
    pub fn name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let digest = digest("name", &name);
        Self { shown: format!("@{name}"), name: Some(name), invite: None, chat: None, digest }
    }

    /// A chat that an account had before.
    pub fn chat(chat: ChatId) -> Self {
        Self { shown: chat.to_string(), name: None, invite: None, chat: Some(chat), digest: digest("chat", &chat.to_string()) }
    }
}

fn digest(kind: &str, target: &str) -> Vec<u8> {
    Sha256::digest(format!("{kind} {target}")).to_vec()
}

/// An invite's seal is no account's.
fn bound(digest: &[u8]) -> String {
    digest.iter().fold(String::from("invite "), |text, byte| format!("{text}{byte:02x}"))
}

impl Accounts {
    /// A target as it is kept: an invite hash sealed.
    pub async fn aim(&self, target: &Target) -> Result<Aim> {
        match target {
            Target::Name(name) => Ok(Aim::name(name)),
            Target::Chat(chat) => Ok(Aim::chat(*chat)),
            Target::Invite(InviteHash(hash)) => {
                let digest = digest("invite", hash);
                let key = self.seal_key(&mut *self.pool.acquire().await?, LostKey::Refuse).await?;
                let sealed = key.seal(&bound(&digest), hash.as_bytes())?;
                let letters: String = hash.chars().take(if hash.len() >= 16 { LETTERS } else { 1 }).collect();
                Ok(Aim { shown: format!("t.me/+{letters}…"), name: None, invite: Some(sealed), chat: None, digest })
            }
        }
    }

    /// An invite hash that is kept.
    pub async fn invite(&self, sealed: &Sealed, digest: &[u8]) -> Result<InviteHash> {
        let key = self.seal_key(&mut *self.pool.acquire().await?, LostKey::Refuse).await?;
        let plain = key.unseal(&bound(digest), sealed)?;
        String::from_utf8(plain).map(InviteHash).map_err(|_| super::Error::NotUnderstood { label: "of an invite".into() })
    }

    /// Seals all invites with the key that seals now. One that no key opens is left as it is: whoever needs it is told.
    pub(super) async fn reseal_invites(&self, conn: &mut PgConnection, key: &SealKey) -> Result<()> {
        for (id, digest, sealed) in table::sealed_otherwise(conn, key.id()).await? {
            if key.knows(&sealed.key_id) {
                let label = bound(&digest);
                table::reseal(conn, id, &key.seal(&label, &key.unseal(&label, &sealed)?)?).await?;
            }
        }
        Ok(())
    }

    /// How many times faster than Telegram's own pace joins are spread, for an estimate; a session at a simulated datacentre may
    /// have another.
    pub fn expected_pace(&self) -> f64 {
        self.telegram.pace.filter(|pace| *pace > 0.0).unwrap_or(1.0)
    }
}

/// An account for a join.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    pub account: AccountId,
    pub label: String,
    /// Until about then it waits its turn.
    pub wait: Duration,
    /// It had the chat before.
    pub again: bool,
}

/// The accounts that may join, with what each has to do already.
#[derive(Debug, Clone)]
pub struct Choice {
    candidates: Vec<Candidate>,
    /// Seconds between two joins of an account, on average.
    gap: f64,
}

impl Choice {
    /// The accounts as they stand now.
    pub async fn open(conn: &mut PgConnection, pace: f64) -> std::result::Result<Self, crate::record::Error> {
        let rate = budget::of(budget::JOIN).rate * pace;
        let candidates = table::candidates(conn, budget::JOIN, rate, budget::JOIN_METHODS).await?;
        Ok(Self { candidates, gap: (1.0 + budget::JOIN_JITTER / 2.0) / rate })
    }

    /// The account for a join: the named one, else the first with room of those that had the chat, else the one with room and the
    /// fewest chats. It counts from then on.
    pub fn take(&mut self, named: Option<AccountId>, had: &[AccountId], except: Option<AccountId>) -> Option<Taken> {
        let free = |it: &Candidate| has_room(it) && Some(it.id) != except.map(|id| id.0);
        let place = match named {
            Some(named) => self.candidates.iter().position(|it| it.id == named.0)?,
            None => {
                let before = had.iter().find_map(|id| self.candidates.iter().position(|it| it.id == id.0 && free(it)));
                let load = |(_, it): &(usize, &Candidate)| (it.chats + it.waiting + it.requested, it.id);
                let least = || self.candidates.iter().enumerate().filter(|(_, it)| free(it)).min_by_key(load);
                before.or_else(|| least().map(|(place, _)| place))?
            }
        };
        let taken = &mut self.candidates[place];
        let wait = table::seconds(taken.wait_s + self.gap * taken.waiting as f64);
        taken.waiting += 1;
        let account = AccountId(taken.id);
        Some(Taken { account, label: taken.label.clone(), wait, again: had.contains(&account) })
    }
}

fn has_room(it: &Candidate) -> bool {
    !it.full && it.chats + it.waiting + it.requested < most_chats(it.premium)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: i64, chats: i64) -> Candidate {
        Candidate { id, label: format!("a{id}"), chats, waiting: 0, requested: 0, premium: false, full: false, wait_s: 0.0 }
    }

    #[test]
    fn a_target_is_read_from_whatever_a_person_writes() {
        let invite = |hash: &str| Some(Target::Invite(InviteHash(hash.into())));
        for text in [
            "https://t.me/+AbCd_EfGh-12",
            "t.me/joinchat/AbCd_EfGh-12",
            "http://telegram.me/+AbCd_EfGh-12?x=1",
            "tg://join?invite=AbCd_EfGh-12&x=1",
            "  https://t.me/joinchat/AbCd_EfGh-12/ ",
        ] {
            assert_eq!(target(text), invite("AbCd_EfGh-12"), "{text}");
        }
        for text in ["@harbour", "t.me/harbour", "https://t.me/harbour/15", "tg://resolve?domain=harbour", "harbour"] {
            assert_eq!(target(text), Some(Target::Name("harbour".into())), "{text}");
        }
        assert_eq!(target("-1001234"), Some(Target::Chat(ChatId(-1_001_234))));
        // a phone number, a person, nothing
        for text in ["https://t.me/+4915112345678", "77", "", "t.me/+", "tg://join?invite=", "not a chat"] {
            assert_eq!(target(text), None, "{text}");
        }
    }

    #[test]
    fn the_fewest_chats_come_first_and_each_join_counts() {
        let mut choice = Choice { candidates: vec![candidate(1, 4), candidate(2, 2), candidate(3, 3)], gap: 300.0 };
        let order: Vec<i64> = (0..6).map(|_| choice.take(None, &[], None).unwrap().account.0).collect();
        assert_eq!(order, [2, 2, 3, 1, 2, 3]);
        assert_eq!(choice.take(None, &[], None).unwrap().wait, Duration::from_secs(300));
    }

    #[test]
    fn who_had_the_chat_takes_it_again_unless_there_is_no_room() {
        let mut choice = Choice { candidates: vec![candidate(1, 1), candidate(2, 400)], gap: 300.0 };
        assert!(choice.take(None, &[AccountId(2)], None).is_some_and(|it| it.account == AccountId(2) && it.again));
        choice.candidates[1].chats = most_chats(false);
        assert!(choice.take(None, &[AccountId(2)], None).is_some_and(|it| it.account == AccountId(1) && !it.again));
        choice.candidates[0].full = true;
        assert_eq!(choice.take(None, &[], None), None);
        assert!(choice.take(Some(AccountId(1)), &[], None).is_some(), "the operator's word counts more");
        assert_eq!(choice.take(Some(AccountId(9)), &[], None), None);
    }
}
