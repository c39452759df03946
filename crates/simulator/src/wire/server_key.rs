//! The RSA key by which clients know the server, and what they encrypt with it
//! (<https://core.telegram.org/mtproto/auth_key#presenting-proof-of-work-server-authentication>).

use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use grammers_crypto::aes;
use grammers_tl_types::Serializable;
use num_bigint::BigUint;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::crypto::{i64_at, sha256};

const BITS: u64 = 2048;
/// The key's length in bytes, and that of what is encrypted with it.
pub(crate) const RSA_LEN: usize = 256;
const EXPONENT: u32 = 65_537;

/// The server's private key.
#[derive(Debug, Clone)]
pub(crate) struct ServerRsaKey {
    p: BigUint,
    q: BigUint,
    n: BigUint,
    /// The private exponent modulo p-1 and q-1, and q's inverse modulo p.
    dp: BigUint,
    dq: BigUint,
    q_inverse: BigUint,
}

/// How a client padded its data before the encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// RSA_PAD.
    Current,
    /// SHA-1, data, random bytes: older clients, and Telethon.
    Older,
}

/// What is kept of a key over a restart.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedPrimes {
    p: String,
    q: String,
}

impl ServerRsaKey {
    /// The key of this process, for servers that keep no state; made when it is first asked for.
    pub(crate) fn of_process() -> &'static Self {
        static KEY: OnceLock<ServerRsaKey> = OnceLock::new();
        KEY.get_or_init(Self::generate)
    }

    /// A new key; takes about a second.
    pub(crate) fn generate() -> Self {
        loop {
            // Fails only where the system has no randomness, or for a length under 128 bits.
            let primes = (glass_pumpkin::prime::new(BITS as usize / 2), glass_pumpkin::prime::new(BITS as usize / 2));
            if let (Ok(p), Ok(q)) = primes
                && let Some(key) = Self::from_primes(p, q)
            {
                return key;
            }
        }
    }

    fn from_primes(p: BigUint, q: BigUint) -> Option<Self> {
        let n = &p * &q;
        if n.bits() != BITS || p == q {
            return None;
        }
        let one = BigUint::from(1_u32);
        let (p_less, q_less) = (&p - &one, &q - &one);
        let e = BigUint::from(EXPONENT);
        let d = e.modinv(&(&p_less * &q_less))?;
        let (dp, dq) = (&d % &p_less, &d % &q_less);
        let q_inverse = q.modinv(&p)?;
        Some(Self { p, q, n, dp, dq, q_inverse })
    }

    /// A key that was saved; none where the file was changed.
    pub(crate) fn load(saved: &SavedPrimes) -> Option<Self> {
        let number = |text: &str| BigUint::parse_bytes(text.as_bytes(), 16);
        Self::from_primes(number(&saved.p)?, number(&saved.q)?)
    }

    pub(crate) fn saved(&self) -> SavedPrimes {
        SavedPrimes { p: self.p.to_str_radix(16), q: self.q.to_str_radix(16) }
    }

    /// The number by which the protocol names the key: 64 bits of the SHA-1 of its bare serialization.
    pub(crate) fn fingerprint(&self) -> i64 {
        let mut bytes = self.n.to_bytes_be().to_bytes();
        bytes.extend(BigUint::from(EXPONENT).to_bytes_be().to_bytes());
        i64_at(&Sha1::digest(&bytes), 12)
    }

    /// The public half, PKCS #1, as PEM.
    pub(crate) fn pem(&self) -> String {
        let body = [der_integer(&self.n), der_integer(&BigUint::from(EXPONENT))].concat();
        let encoded = BASE64_STANDARD.encode(der(0x30, &body));
        let mut pem = String::from("-----BEGIN RSA PUBLIC KEY-----\n");
        for (at, letter) in encoded.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push_str("\n-----END RSA PUBLIC KEY-----\n");
        pem
    }

    /// What the client encrypted, and how it was padded. The data is followed by what is left of the padding.
    pub(crate) fn decrypt(&self, encrypted: &[u8]) -> Option<(Vec<u8>, Padding)> {
        if encrypted.len() != RSA_LEN {
            return None;
        }
        let block = self.power(&BigUint::from_bytes_be(encrypted))?;
        let current = rsa_pad_reversed(&block).map(|data| (data, Padding::Current));
        // The older padding is 255 bytes, so a zero leads; the hash is checked by who knows where the data end.
        current.or_else(|| (block[0] == 0).then(|| (block[1..].to_vec(), Padding::Older)))
    }

    /// The private operation, by the Chinese remainder theorem.
    fn power(&self, encrypted: &BigUint) -> Option<[u8; RSA_LEN]> {
        if encrypted >= &self.n {
            return None;
        }
        let of_p = encrypted.modpow(&self.dp, &self.p);
        let of_q = encrypted.modpow(&self.dq, &self.q);
        let difference = (&of_p + &self.p - &of_q % &self.p) % &self.p;
        let h = (difference * &self.q_inverse) % &self.p;
        let bytes = (of_q + h * &self.q).to_bytes_be();
        let mut block = [0; RSA_LEN];
        block[RSA_LEN.checked_sub(bytes.len())?..].copy_from_slice(&bytes);
        Some(block)
    }
}

/// Takes RSA_PAD off: a key, masked by the hash of what it encrypts, and the reversed data with a hash of both
/// (<https://core.telegram.org/mtproto/auth_key#41-rsa-paddata-server-public-key-mentioned-above-is-implemented-as-follows>).
fn rsa_pad_reversed(block: &[u8; RSA_LEN]) -> Option<Vec<u8>> {
    let (masked, encrypted) = block.split_at(32);
    let mut key = sha256(&[encrypted]);
    key.iter_mut().zip(masked).for_each(|(byte, mask)| *byte ^= mask);
    let mut plain = encrypted.to_vec();
    aes::ige_decrypt(&mut plain, &key, &[0; 32]);
    let (data, hash) = plain.split_at_mut(192);
    data.reverse();
    (sha256(&[&key, data]) == *hash).then(|| data.to_vec())
}

fn der_integer(number: &BigUint) -> Vec<u8> {
    let mut bytes = number.to_bytes_be();
    if bytes.first().is_some_and(|first| *first >= 0x80) {
        bytes.insert(0, 0);
    }
    der(0x02, &bytes)
}

/// Tag, length, content; no content here is longer than 65,535 bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    let mut out = match content.len() {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use grammers_crypto::rsa;

    use super::*;

    #[test]
    fn what_a_client_encrypts_in_either_way_is_read() {
        let key = ServerRsaKey::of_process();
        let public = rsa::Key::new(&key.n.to_string(), &EXPONENT.to_string()).unwrap();
        let encrypted = rsa::encrypt_hashed(b"some data", &public, &[7; 224]);
        let (data, padding) = key.decrypt(&encrypted).unwrap();
        assert_eq!((&data[..9], padding), (&b"some data"[..], Padding::Current));

        let padded = [[0].to_vec(), Sha1::digest(b"some data").to_vec(), b"some data".to_vec(), vec![9; 226]].concat();
        let encrypted = BigUint::from_bytes_be(&padded).modpow(&BigUint::from(EXPONENT), &key.n).to_bytes_be();
        let encrypted = [vec![0; RSA_LEN - encrypted.len()], encrypted].concat();
        let (data, padding) = key.decrypt(&encrypted).unwrap();
        assert_eq!((&data[20..29], padding), (&b"some data"[..], Padding::Older));
        assert!(key.decrypt(&[0xff; RSA_LEN]).is_none());
    }

    #[test]
    fn a_saved_key_is_the_same_key() {
        let key = ServerRsaKey::of_process();
        let again = ServerRsaKey::load(&key.saved()).unwrap();
        assert_eq!((again.fingerprint(), again.pem()), (key.fingerprint(), key.pem()));
        assert!(key.pem().starts_with("-----BEGIN RSA PUBLIC KEY-----\nMII"));
    }
}
