//! auth.bindTempAuthKey (<https://core.telegram.org/method/auth.bindTempAuthKey>).

use grammers_crypto::aes;
use grammers_tl_types as tl;
use sha1::{Digest, Sha1};
use tl::Deserializable;

use super::sign_in::kept;
use super::{Caller, Failure};
use crate::clock;
use crate::wire::crypto::{HEADER_LEN, KEY_LEN, i64_at};

/// Random bytes, message id, sequence number and length in front of the inner object; then its 40 bytes.
const INNER_AT: usize = 32;
const INNER_END: usize = INNER_AT + 40;

impl Caller<'_> {
    pub(super) fn bind_temporary_key(&self, call: tl::functions::auth::BindTempAuthKey) -> Result<bool, Failure> {
        let temporary = &self.origin.key;
        let Some(life) = &temporary.temporary else { return Err(Failure::bad("TEMP_AUTH_KEY_EMPTY")) };
        let permanent = self.datacentre.accounts.key(call.perm_auth_key_id);
        let permanent = permanent.filter(|key| key.dc == self.origin.dc && key.temporary.is_none());
        let permanent = permanent.ok_or_else(invalid)?;
        let plain = open(permanent.key.bytes(), &call.encrypted_message).ok_or_else(invalid)?;
        let inner = plain.get(INNER_AT..INNER_END).ok_or_else(invalid)?;
        let tl::enums::BindAuthKeyInner::Inner(inner) = tl::enums::BindAuthKeyInner::from_bytes(inner).map_err(|_| invalid())?;
        let right = i64_at(&call.encrypted_message, 0) == call.perm_auth_key_id
            && i64_at(&plain, 16) == self.origin.message
            && inner.nonce == call.nonce
            && inner.temp_auth_key_id == temporary.key.id()
            && inner.perm_auth_key_id == call.perm_auth_key_id
            && inner.temp_session_id == self.origin.session.id
            && inner.expires_at == call.expires_at;
        if !right {
            return Err(invalid());
        }
        if call.expires_at < clock::unix_now() {
            return Err(Failure::bad("EXPIRES_AT_INVALID"));
        }
        let expires = call.expires_at.min(life.expires);
        let bound = self.datacentre.accounts.change_key(temporary.key.id(), |key| {
            if let Some(life) = &mut key.temporary {
                life.bound_to = Some(call.perm_auth_key_id);
                life.expires = expires;
            }
        });
        kept(bound).map(|()| true)
    }
}

fn invalid() -> Failure {
    Failure::bad("ENCRYPTED_MESSAGE_INVALID")
}

/// Decrypts as MTProto 1.0 did; the binding is the one place that still does
/// (<https://core.telegram.org/mtproto/description_v1#defining-aes-key-and-initialization-vector>).
fn open(key: &[u8; KEY_LEN], message: &[u8]) -> Option<Vec<u8>> {
    let encrypted = message.get(HEADER_LEN..)?;
    if encrypted.is_empty() || !encrypted.len().is_multiple_of(16) {
        return None;
    }
    let message_key = &message[8..HEADER_LEN];
    let sha1 = |parts: [&[u8]; 3]| Sha1::digest(parts.concat());
    let a = sha1([message_key, &key[..32], &[]]);
    let b = sha1([&key[32..48], message_key, &key[48..64]]);
    let c = sha1([&key[64..96], message_key, &[]]);
    let d = sha1([message_key, &key[96..128], &[]]);
    let (mut aes_key, mut iv) = ([0; 32], [0; 32]);
    aes_key.copy_from_slice(&[&a[..8], &b[8..20], &c[4..16]].concat());
    iv.copy_from_slice(&[&a[8..20], &b[..8], &c[16..20], &d[..8]].concat());
    let mut plain = encrypted.to_vec();
    aes::ige_decrypt(&mut plain, &aes_key, &iv);
    let hash = Sha1::digest(plain.get(..INNER_END)?);
    (hash[4..20] == *message_key).then_some(plain)
}
