//! Accounts of the datacentre: who they are, their keys, what each may see.

pub(crate) mod authorization;
pub(crate) mod store;

use std::collections::BTreeMap;

use grammers_tl_types as tl;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::wire::crypto::{KEY_LEN, ServerKey, sha256};
use crate::world::DC_ID;

/// What a collector needs to speak as an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFile {
    /// The home datacentre.
    pub dc: i32,
    /// IP address without port.
    pub address: String,
    pub port: u16,
    /// The authorization key, 512 hexadecimal digits.
    pub key: String,
    /// Absent until the account has signed in.
    pub user_id: Option<i64>,
}

/// What an account is asked to be. A field that is absent keeps what the account has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountRequest {
    pub name: String,
    /// Default: the world's own user for the first account, a made-up one for the others.
    #[serde(default)]
    pub user_id: Option<i64>,
    /// Whether the key is authorised already (default), or signs in by code.
    #[serde(default)]
    pub signed_in: Option<bool>,
    #[serde(default)]
    pub phone: Option<String>,
    /// The 2FA password.
    #[serde(default)]
    pub password: Option<String>,
    /// What the server tells of the password to who has the code.
    #[serde(default)]
    pub password_hint: Option<String>,
    /// Marked chat id → the lowest message id that the account sees.
    #[serde(default)]
    pub hidden_before: Option<BTreeMap<i64, i32>>,
    /// Marked ids of the chats it is in. Default: all.
    #[serde(default)]
    pub chats: Option<Vec<i64>>,
    /// The home datacentre; default: [`DC_ID`].
    #[serde(default)]
    pub dc: Option<i32>,
    /// The token by which the account, a bot, signs in.
    #[serde(default)]
    pub bot_token: Option<String>,
}

impl AccountRequest {
    /// A signed-in account that is in every chat.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// Whether the server still serves a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    #[default]
    Active,
    /// USER_DEACTIVATED.
    Deactivated,
    /// USER_DEACTIVATED_BAN, and PHONE_NUMBER_BANNED at the sign-in.
    Banned,
}

/// One person (or bot), and the key that was shared with it beforehand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) user_id: i64,
    /// The home datacentre.
    #[serde(default = "home")]
    pub(crate) dc: i32,
    #[serde(default)]
    pub(crate) standing: Standing,
    #[serde(default)]
    pub(crate) bot_token: Option<String>,
    pub(crate) phone: String,
    pub(crate) password: Option<String>,
    #[serde(default)]
    pub(crate) password_hint: Option<String>,
    pub(crate) hidden_before: BTreeMap<i64, i32>,
    pub(crate) chats: Option<Vec<i64>>,
    #[serde(with = "hex_key")]
    pub(crate) key: ServerKey,
    /// What the account's access hashes are made of; of the key where an earlier version saved none.
    #[serde(default)]
    secret: String,
    /// Of earlier versions, whose accounts had one key each.
    #[serde(default, rename = "signed_in", skip_serializing)]
    was_signed_in: Option<bool>,
}

fn home() -> i32 {
    DC_ID
}

/// What an account sees of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The lowest visible message id, at least 1.
    pub(crate) from: i32,
    pub(crate) member: bool,
}

impl Account {
    pub(crate) fn new(name: &str, user_id: i64) -> Self {
        let mut key = [0; KEY_LEN];
        rand::rng().fill(&mut key[..]);
        Self {
            name: name.to_owned(),
            user_id,
            dc: DC_ID,
            standing: Standing::Active,
            bot_token: None,
            phone: format!("99966{:05}", user_id.rem_euclid(100_000)),
            password: None,
            password_hint: None,
            hidden_before: BTreeMap::new(),
            chats: None,
            key: ServerKey::new(key),
            secret: hex(&rand::random::<[u8; 32]>()),
            was_signed_in: None,
        }
    }

    /// Whom a key speaks for that no account has signed in with: may see nothing.
    pub(crate) fn nobody(key: ServerKey) -> Self {
        Self {
            name: "nobody".to_owned(),
            user_id: 0,
            dc: DC_ID,
            standing: Standing::Active,
            bot_token: None,
            phone: String::new(),
            password: None,
            password_hint: None,
            hidden_before: BTreeMap::new(),
            chats: Some(Vec::new()),
            key,
            secret: String::new(),
            was_signed_in: None,
        }
    }

    /// Takes over what the request says.
    pub(crate) fn apply(&mut self, request: &AccountRequest) {
        self.user_id = request.user_id.unwrap_or(self.user_id);
        self.dc = request.dc.unwrap_or(self.dc);
        if let Some(phone) = &request.phone {
            self.phone = digits(phone);
        }
        if request.password.is_some() {
            self.password = request.password.clone();
        }
        if request.password_hint.is_some() {
            self.password_hint = request.password_hint.clone();
        }
        if let Some(hidden) = &request.hidden_before {
            self.hidden_before = hidden.clone();
        }
        if request.chats.is_some() {
            self.chats = request.chats.clone();
        }
        if request.bot_token.is_some() {
            self.bot_token = request.bot_token.clone();
        }
    }

    /// The access hash by which this account, and no other, addresses a chat or user.
    pub(crate) fn access_hash(&self, marked_id: i64) -> i64 {
        let secret = if self.secret.is_empty() { &self.key.bytes()[..] } else { self.secret.as_bytes() };
        let digest = sha256(&[b"access", secret, &marked_id.to_le_bytes()]);
        crate::wire::crypto::i64_at(&digest, 0)
    }

    /// The account as a user, seen by itself.
    pub(crate) fn is_self(&self, user: &tl::enums::InputUser) -> bool {
        match user {
            tl::enums::InputUser::UserSelf => true,
            tl::enums::InputUser::User(user) => user.user_id == self.user_id,
            tl::enums::InputUser::Empty | tl::enums::InputUser::FromMessage(_) => false,
        }
    }
}

/// The digits of a phone number.
pub(crate) fn digits(phone: &str) -> String {
    phone.chars().filter(char::is_ascii_digit).collect()
}

/// A key as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl std::fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServerKey").field(&format_args!("{:#018x}", self.id())).finish()
    }
}

mod hex_key {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::wire::crypto::{KEY_LEN, ServerKey};

    pub(super) fn serialize<S: Serializer>(key: &ServerKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::hex(key.bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ServerKey, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 2 * KEY_LEN || !text.is_ascii() {
            return Err(D::Error::custom(format!("a key has {} hexadecimal digits, not {}", 2 * KEY_LEN, text.len())));
        }
        let mut key = [0; KEY_LEN];
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(D::Error::custom)?;
        }
        Ok(ServerKey::new(key))
    }
}
