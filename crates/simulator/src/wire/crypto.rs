//! Encryption of one packet, MTProto 2.0, from the server's side.
//!
//! The key derivation is that of the client with x swapped: 0 for what arrives, 8 for what leaves
//! (<https://core.telegram.org/mtproto/description#defining-aes-key-and-initialization-vector>).

use grammers_crypto::{AuthKey, DequeBuffer, aes, encrypt_data_v2};
use rand::RngExt;
use sha2::{Digest, Sha256};

use super::WireError;

/// Length of an authorization key in bytes.
pub(crate) const KEY_LEN: usize = 256;

const FROM_CLIENT: usize = 0;
const FROM_SERVER: usize = 8;
/// Key id and message key, in the clear before the encrypted part.
pub(crate) const HEADER_LEN: usize = 24;

/// An authorization key and its id.
#[derive(Clone)]
pub(crate) struct ServerKey {
    data: [u8; KEY_LEN],
    id: i64,
}

impl ServerKey {
    /// Takes the key's bytes and computes its id.
    pub(crate) fn new(data: [u8; KEY_LEN]) -> Self {
        // The id (part of a SHA-1) is private in grammers-crypto, but leads every packet it encrypts.
        let mut packet = DequeBuffer::with_capacity(64, 64);
        encrypt_data_v2(&mut packet, &AuthKey::from_bytes(data));
        let id = i64_at(&packet[..], 0);
        Self { data, id }
    }

    /// The key's bytes.
    pub(crate) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.data
    }

    /// The low 64 bits of the key's SHA-1.
    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// Decrypts a packet of the client, whose key id was looked at already.
    pub(crate) fn open(&self, packet: &mut [u8]) -> Result<Vec<u8>, WireError> {
        let length = packet.len();
        if length < HEADER_LEN + 32 || !(length - HEADER_LEN).is_multiple_of(16) {
            return Err(WireError::Blocks(length.saturating_sub(HEADER_LEN)));
        }
        let mut message_key = [0; 16];
        message_key.copy_from_slice(&packet[8..HEADER_LEN]);
        let (key, iv) = self.derive(&message_key, FROM_CLIENT);
        let body = &mut packet[HEADER_LEN..];
        aes::ige_decrypt(body, &key, &iv);
        if self.message_key(body, FROM_CLIENT) != message_key {
            return Err(WireError::MessageKey);
        }
        Ok(body.to_vec())
    }

    /// Encrypts a plaintext (salt, session, messages) for the client.
    pub(crate) fn seal(&self, mut plain: Vec<u8>) -> Vec<u8> {
        // 12 to 1024 bytes of padding, to a multiple of 16.
        let padding = 12 + (16 - (plain.len() + 12) % 16) % 16;
        let mut random = [0_u8; 28];
        rand::rng().fill(&mut random);
        plain.extend_from_slice(&random[..padding]);

        let message_key = self.message_key(&plain, FROM_SERVER);
        let (key, iv) = self.derive(&message_key, FROM_SERVER);
        aes::ige_encrypt(&mut plain, &key, &iv);
        let mut packet = Vec::with_capacity(HEADER_LEN + plain.len());
        packet.extend_from_slice(&self.id.to_le_bytes());
        packet.extend_from_slice(&message_key);
        packet.extend_from_slice(&plain);
        packet
    }

    fn message_key(&self, plain: &[u8], x: usize) -> [u8; 16] {
        let large = sha256(&[&self.data[88 + x..120 + x], plain]);
        let mut key = [0; 16];
        key.copy_from_slice(&large[8..24]);
        key
    }

    fn derive(&self, message_key: &[u8; 16], x: usize) -> ([u8; 32], [u8; 32]) {
        let a = sha256(&[message_key, &self.data[x..x + 36]]);
        let b = sha256(&[&self.data[40 + x..76 + x], message_key]);
        let mut key = [0; 32];
        key[..8].copy_from_slice(&a[..8]);
        key[8..24].copy_from_slice(&b[8..24]);
        key[24..].copy_from_slice(&a[24..]);
        let mut iv = [0; 32];
        iv[..8].copy_from_slice(&b[..8]);
        iv[8..24].copy_from_slice(&a[8..24]);
        iv[24..].copy_from_slice(&b[24..]);
        (key, iv)
    }
}

/// SHA-256 over the parts in their order.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Eight little-endian bytes; zero where there are fewer.
pub(crate) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    bytes.get(at..at + 8).and_then(|slice| slice.try_into().ok()).map_or(0, i64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use grammers_crypto::decrypt_data_v2;

    use super::*;

    fn key() -> [u8; KEY_LEN] {
        std::array::from_fn(|i| i as u8)
    }

    #[test]
    fn a_client_reads_what_the_server_seals() {
        for length in 0..70 {
            let plain: Vec<u8> = (0..length).collect();
            let mut packet = ServerKey::new(key()).seal(plain.clone());
            let read = decrypt_data_v2(&mut packet, &AuthKey::from_bytes(key())).unwrap();
            assert_eq!(read[..plain.len()], plain[..]);
        }
    }

    #[test]
    fn the_server_reads_what_a_client_encrypts_and_refuses_what_was_changed() {
        let mut buffer = DequeBuffer::with_capacity(256, 64);
        buffer.extend(*b"salt and session and message");
        encrypt_data_v2(&mut buffer, &AuthKey::from_bytes(key()));
        let mut packet = buffer[..].to_vec();
        let server = ServerKey::new(key());
        assert_eq!(i64_at(&packet, 0), server.id());
        let plain = server.open(&mut packet.clone()).unwrap();
        assert_eq!(&plain[..28], b"salt and session and message");
        packet[30] ^= 1;
        assert!(matches!(server.open(&mut packet), Err(WireError::MessageKey)));
    }
}
