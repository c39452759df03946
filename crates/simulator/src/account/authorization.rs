//! Authorization keys: made by a key exchange or shared beforehand, each in one datacentre, each of one account once it signed in.

use serde::{Deserialize, Serialize};

use crate::wire::crypto::ServerKey;

/// An authorization key and what is known of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Authorization {
    #[serde(with = "super::hex_key")]
    pub(crate) key: ServerKey,
    /// The datacentre that knows the key; to any other it is unknown.
    pub(crate) dc: i32,
    /// The name of the account that is signed in with it.
    pub(crate) account: Option<String>,
    /// The account that it was shared with beforehand, which may still have to sign in.
    #[serde(default)]
    pub(crate) made_for: Option<String>,
    /// Unix time of the key's making, and of the sign-in.
    pub(crate) created: i32,
    #[serde(default)]
    pub(crate) signed_in: i32,
    /// Unix time of the last new session.
    #[serde(default)]
    pub(crate) last_seen: i32,
    /// The number by which `account.resetAuthorization` names it.
    pub(crate) hash: i64,
    /// The source address of the last new session.
    #[serde(default)]
    pub(crate) address: String,
    /// As `initConnection` told last.
    #[serde(default)]
    pub(crate) device: Device,
    /// As `invokeWithLayer` told last.
    #[serde(default)]
    pub(crate) layer: Option<i32>,
    /// The key of the home datacentre whose authorization was imported here; the two end together.
    #[serde(default)]
    pub(crate) imported_from: Option<i64>,
    /// Why the key may no longer be used.
    #[serde(default)]
    pub(crate) ended: Option<Ended>,
    /// Unix time until which a temporary key is good, and the permanent key that it is bound to.
    #[serde(default)]
    pub(crate) temporary: Option<Temporary>,
    /// The salt that both sides computed in the key exchange.
    #[serde(default)]
    pub(crate) first_salt: Option<i64>,
}

/// What `initConnection` tells of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) api_id: i32,
    pub(crate) model: String,
    pub(crate) system_version: String,
    pub(crate) app_version: String,
    pub(crate) lang_code: String,
}

/// A key for perfect forward secrecy (<https://core.telegram.org/api/pfs>).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Temporary {
    pub(crate) expires: i32,
    pub(crate) bound_to: Option<i64>,
}

/// Why a key that was signed in is refused (<https://core.telegram.org/api/errors#401-unauthorized>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// AUTH_KEY_UNREGISTERED: signed out, or ended by another session.
    Unregistered,
    /// SESSION_REVOKED: the user ended all other sessions.
    Revoked,
    /// SESSION_EXPIRED.
    Expired,
    /// AUTH_KEY_DUPLICATED: used from two places at once. Such a key never signs in again.
    Duplicated,
}

impl Authorization {
    pub(crate) fn new(key: ServerKey, dc: i32, now: i32) -> Self {
        Self {
            key,
            dc,
            account: None,
            made_for: None,
            created: now,
            signed_in: 0,
            last_seen: now,
            hash: rand::random(),
            address: String::new(),
            device: Device::default(),
            layer: None,
            imported_from: None,
            ended: None,
            temporary: None,
            first_salt: None,
        }
    }

    /// From now on the key is the account's.
    pub(crate) fn sign_in(&mut self, account: &str, now: i32) {
        self.account = Some(account.to_owned());
        self.signed_in = now;
        self.ended = None;
    }

    /// From now on the key is nobody's.
    pub(crate) fn sign_out(&mut self, why: Ended) {
        self.account = None;
        self.imported_from = None;
        self.ended = Some(why);
    }
}
