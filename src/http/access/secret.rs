//! Tokens, sessions and links: 256 random bits each, told once, kept as SHA-256.
//!
//! What is random in full cannot be guessed, however fast a guess is checked: a slow hash, which protects passwords that people
//! choose, would only slow each request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// What tokens begin with, so that people and scanners of leaks know one.
pub const TOKEN: &str = "tkp_";
/// What the value of a session's cookie begins with.
pub const SESSION: &str = "tks_";
/// What a one-time link's secret begins with.
pub const LINK: &str = "tkl_";

/// How many characters of a token are kept to recognise it: its 40 bits less leave 216.
const SHOWN: usize = 4 + 6;

/// SHA-256 of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hash(pub Vec<u8>);

/// A new secret, told once. It is never printed by accident.
pub struct Secret {
    text: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Secret {
    /// 256 random bits of the system's.
    pub fn new(begins: &str) -> Self {
        Self { text: format!("{begins}{}", random()) }
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept.
    pub fn hash(&self) -> Hash {
        hash(&self.text)
    }

    /// What people recognise it by.
    pub fn prefix(&self) -> &str {
        &self.text[..SHOWN]
    }
}

/// 256 random bits of the system's, as text.
pub fn random() -> String {
    let bytes: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The hash of what somebody gave; none where it has not the form of a secret of this sort.
pub fn hash_of(begins: &str, given: &str) -> Option<Hash> {
    let rest = given.strip_prefix(begins)?;
    let is = rest.len() == 43 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    is.then(|| hash(given))
}

fn hash(text: &str) -> Hash {
    Hash(Sha256::digest(text.as_bytes()).to_vec())
}

/// Whether two secrets are the same, in a time that tells nothing of where they differ: their hashes are compared.
pub fn same(one: &str, two: &str) -> bool {
    !one.is_empty() && hash(one) == hash(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognised_by_its_form_and_its_hash() {
        let (one, two) = (Secret::new(TOKEN), Secret::new(TOKEN));
        assert_ne!(one.reveal(), two.reveal());
        assert_eq!(hash_of(TOKEN, one.reveal()), Some(one.hash()));
        assert_eq!(one.prefix().len(), 10);
        for hostile in ["", "tkp_", "tkp_' or 1=1", &one.reveal()[4..], &format!("{}x", one.reveal())] {
            assert_eq!(hash_of(TOKEN, hostile), None, "{hostile}");
        }
        assert_eq!(hash_of(SESSION, one.reveal()), None, "a token is no session");
        assert!(same("a", "a") && !same("a", "b") && !same("", ""));
        assert_eq!(format!("{one:?}"), "(secret)");
    }
}
