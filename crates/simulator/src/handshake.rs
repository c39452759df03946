//! The exchange by which a client and the server agree on an authorization key
//! (<https://core.telegram.org/mtproto/auth_key>).
//!
//! Unencrypted messages of one connection; whatever does not hold together ends it with transport error -404.

use grammers_crypto::{aes, generate_key_data_from_nonce};
use grammers_tl_types as tl;
use num_bigint::BigUint;
use sha1::{Digest, Sha1};
use tl::{Cursor, Deserializable, Identifiable, Serializable};

use crate::account::authorization::{Authorization, Temporary};
use crate::clock;
use crate::datacentre::Datacentre;
use crate::srp;
use crate::wire::WireError;
use crate::wire::crypto::{ServerKey, i64_at};
use crate::wire::message::{constructor, message_id};
use crate::wire::server_key::Padding;

/// Key id (zero), message id and length in front of an unencrypted message.
const HEADER_LEN: usize = 20;
/// A temporary key lives at most this long, in seconds (<https://core.telegram.org/api/pfs>).
const LONGEST_TEMPORARY: i32 = 7 * 86_400;
/// The primes that a client has to find, each of 31 bits: Telethon reads their product as a signed number.
const PRIME_BITS: u32 = 31;

/// Where a connection stands in its exchange.
#[derive(Debug, Default)]
pub(crate) enum KeyExchange {
    #[default]
    None,
    Primes(Box<Primes>),
    Generators(Box<Generators>),
}

#[derive(Debug)]
pub(crate) struct Primes {
    nonce: [u8; 16],
    server_nonce: [u8; 16],
    p: u32,
    q: u32,
}

#[derive(Debug)]
pub(crate) struct Generators {
    nonce: [u8; 16],
    server_nonce: [u8; 16],
    new_nonce: [u8; 32],
    a: BigUint,
    temporary: Option<Temporary>,
}

/// What the client encrypted for the server's RSA key.
struct Inner {
    data: tl::enums::PQInnerData,
    padding: Padding,
}

impl KeyExchange {
    /// Answers an unencrypted packet; none where it needs no answer.
    pub(crate) fn answer(&mut self, datacentre: &Datacentre, dc: i32, packet: &[u8]) -> Result<Option<Vec<u8>>, WireError> {
        let body = packet.get(HEADER_LEN..).ok_or(WireError::KeyExchange("a packet without a message"))?;
        let length = i32::from_le_bytes([packet[16], packet[17], packet[18], packet[19]]);
        let body = usize::try_from(length).ok().and_then(|length| body.get(..length)).ok_or(WireError::Body(length.into()))?;
        let answer = match constructor(body) {
            tl::functions::ReqPq::CONSTRUCTOR_ID => self.primes(datacentre, read::<tl::functions::ReqPq>(body)?.nonce),
            tl::functions::ReqPqMulti::CONSTRUCTOR_ID => self.primes(datacentre, read::<tl::functions::ReqPqMulti>(body)?.nonce),
            tl::functions::ReqDhParams::CONSTRUCTOR_ID => self.generators(datacentre, dc, read(body)?)?,
            tl::functions::SetClientDhParams::CONSTRUCTOR_ID => self.key(datacentre, dc, &read(body)?)?,
            // Clients that kept none of a key's messages acknowledge these too.
            tl::types::MsgsAck::CONSTRUCTOR_ID => return Ok(None),
            _ => return Err(WireError::KeyExchange("no request of a key exchange")),
        };
        Ok(Some(unencrypted(&answer)))
    }

    fn primes(&mut self, datacentre: &Datacentre, nonce: [u8; 16]) -> Vec<u8> {
        let (first, second) = (prime(), prime());
        let second = if first == second { next_prime(second + 2) } else { second };
        let (p, q) = (first.min(second), first.max(second));
        let server_nonce = rand::random();
        *self = Self::Primes(Box::new(Primes { nonce, server_nonce, p, q }));
        tl::enums::ResPq::Pq(tl::types::ResPq {
            nonce,
            server_nonce,
            pq: (u64::from(p) * u64::from(q)).to_be_bytes().to_vec(),
            server_public_key_fingerprints: vec![datacentre.accounts.rsa_key().fingerprint()],
        })
        .to_bytes()
    }

    fn generators(&mut self, datacentre: &Datacentre, dc: i32, call: tl::functions::ReqDhParams) -> Result<Vec<u8>, WireError> {
        let Self::Primes(primes) = &*self else {
            return Err(WireError::KeyExchange("req_DH_params before req_pq"));
        };
        let Primes { nonce, server_nonce, p, q } = **primes;
        if call.nonce != nonce || call.server_nonce != server_nonce {
            return Err(WireError::KeyExchange("another nonce"));
        }
        if number(&call.p) != Some(p.into()) || number(&call.q) != Some(q.into()) {
            return Err(WireError::KeyExchange("wrong factors"));
        }
        let rsa = datacentre.accounts.rsa_key();
        if call.public_key_fingerprint != rsa.fingerprint() {
            return Err(WireError::KeyExchange("another server's key"));
        }
        let (plain, padding) = rsa.decrypt(&call.encrypted_data).ok_or(WireError::KeyExchange("not encrypted as told"))?;
        let inner = Inner::read(&plain, padding)?;
        tracing::debug!(padding = ?inner.padding, "a key exchange");
        let asked = Asked::from(inner.data);
        if asked.nonce != nonce || asked.server_nonce != server_nonce {
            return Err(WireError::KeyExchange("another nonce inside"));
        }
        let right_dc = asked.dc.is_none_or(|asked| asked.unsigned_abs() % 10_000 == dc.unsigned_abs());
        let right_primes = number(&asked.pq) == Some(u64::from(p) * u64::from(q))
            && number(&asked.p) == Some(p.into())
            && number(&asked.q) == Some(q.into());
        if !right_dc || !right_primes {
            return Ok(tl::enums::ServerDhParams::Fail(tl::types::ServerDhParamsFail {
                nonce,
                server_nonce,
                new_nonce_hash: last_16(&Sha1::digest(asked.new_nonce)),
            })
            .to_bytes());
        }
        let a = BigUint::from_bytes_be(&srp::random::<256>());
        let inner = tl::enums::ServerDhInnerData::Data(tl::types::ServerDhInnerData {
            nonce,
            server_nonce,
            g: srp::G,
            dh_prime: srp::prime().to_vec(),
            g_a: srp::padded(&srp::generator().modpow(&a, &srp::modulus())).to_vec(),
            server_time: clock::unix_now(),
        })
        .to_bytes();
        let new_nonce = asked.new_nonce;
        let mut encrypted_answer = [Sha1::digest(&inner).to_vec(), inner].concat();
        encrypted_answer.resize(encrypted_answer.len().next_multiple_of(16), 0);
        let (key, iv) = generate_key_data_from_nonce(&server_nonce, &new_nonce);
        aes::ige_encrypt(&mut encrypted_answer, &key, &iv);
        *self = Self::Generators(Box::new(Generators { nonce, server_nonce, new_nonce, a, temporary: asked.temporary }));
        Ok(tl::enums::ServerDhParams::Ok(tl::types::ServerDhParamsOk { nonce, server_nonce, encrypted_answer }).to_bytes())
    }

    fn key(&mut self, datacentre: &Datacentre, dc: i32, call: &tl::functions::SetClientDhParams) -> Result<Vec<u8>, WireError> {
        let Self::Generators(generators) = &*self else {
            return Err(WireError::KeyExchange("set_client_DH_params before req_DH_params"));
        };
        let Generators { nonce, server_nonce, new_nonce, a, temporary } = &**generators;
        let (nonce, server_nonce) = (*nonce, *server_nonce);
        if call.nonce != nonce || call.server_nonce != server_nonce {
            return Err(WireError::KeyExchange("another nonce"));
        }
        let client = client_inner(&call.encrypted_data, &server_nonce, new_nonce)?;
        if client.nonce != nonce || client.server_nonce != server_nonce {
            return Err(WireError::KeyExchange("another nonce inside"));
        }
        let prime = srp::modulus();
        let g_b = BigUint::from_bytes_be(&client.g_b);
        let key = ServerKey::new(srp::padded(&g_b.modpow(a, &prime)));
        let aux = Sha1::digest(key.bytes());
        // The numbers are those of dh_gen_ok, dh_gen_retry and dh_gen_fail.
        let hash = |number: u8| last_16(&Sha1::digest([&new_nonce[..], &[number], &aux[..8]].concat()));
        if !in_safe_range(&g_b, &prime) {
            let new_nonce_hash3 = hash(3);
            *self = Self::None;
            return Ok(tl::enums::SetClientDhParamsAnswer::DhGenFail(tl::types::DhGenFail {
                nonce,
                server_nonce,
                new_nonce_hash3,
            })
            .to_bytes());
        }
        let mut authorization = Authorization::new(key, dc, clock::unix_now());
        authorization.temporary = temporary.clone();
        authorization.first_salt = Some(i64_at(new_nonce, 0) ^ i64_at(&server_nonce, 0));
        let retry = datacentre.take_key_retry();
        let added = !retry
            && datacentre.accounts.add_key(authorization).map_err(|error| {
                tracing::error!(error = %error, "the state directory cannot be written");
                WireError::KeyExchange("the key cannot be kept")
            })?;
        if !added {
            // The client tries another b with the same a.
            let new_nonce_hash2 = hash(2);
            return Ok(tl::enums::SetClientDhParamsAnswer::DhGenRetry(tl::types::DhGenRetry {
                nonce,
                server_nonce,
                new_nonce_hash2,
            })
            .to_bytes());
        }
        let new_nonce_hash1 = hash(1);
        *self = Self::None;
        Ok(tl::enums::SetClientDhParamsAnswer::DhGenOk(tl::types::DhGenOk { nonce, server_nonce, new_nonce_hash1 }).to_bytes())
    }
}

impl Inner {
    fn read(plain: &[u8], padding: Padding) -> Result<Self, WireError> {
        let from = if padding == Padding::Older { 20 } else { 0 };
        let body = plain.get(from..).unwrap_or_default();
        let mut cursor = Cursor::from_slice(body);
        let data = tl::enums::PQInnerData::deserialize(&mut cursor)?;
        if padding == Padding::Older && Sha1::digest(&body[..cursor.pos()])[..] != plain[..20] {
            return Err(WireError::KeyExchange("the hash inside does not match"));
        }
        Ok(Self { data, padding })
    }
}

/// The fields that all forms of `p_q_inner_data` have.
struct Asked {
    pq: Vec<u8>,
    p: Vec<u8>,
    q: Vec<u8>,
    nonce: [u8; 16],
    server_nonce: [u8; 16],
    new_nonce: [u8; 32],
    dc: Option<i32>,
    temporary: Option<Temporary>,
}

impl From<tl::enums::PQInnerData> for Asked {
    fn from(data: tl::enums::PQInnerData) -> Self {
        use tl::enums::PQInnerData as D;
        let temporary = |expires_in: i32| {
            let expires = clock::unix_now().saturating_add(expires_in.clamp(0, LONGEST_TEMPORARY));
            Some(Temporary { expires, bound_to: None })
        };
        let (pq, p, q, nonce, server_nonce, new_nonce, dc, temporary) = match data {
            D::Data(d) => (d.pq, d.p, d.q, d.nonce, d.server_nonce, d.new_nonce, None, None),
            D::Dc(d) => (d.pq, d.p, d.q, d.nonce, d.server_nonce, d.new_nonce, Some(d.dc), None),
            D::Temp(d) => (d.pq, d.p, d.q, d.nonce, d.server_nonce, d.new_nonce, None, temporary(d.expires_in)),
            D::TempDc(d) => (d.pq, d.p, d.q, d.nonce, d.server_nonce, d.new_nonce, Some(d.dc), temporary(d.expires_in)),
        };
        Self { pq, p, q, nonce, server_nonce, new_nonce, dc, temporary }
    }
}

fn client_inner(
    encrypted: &[u8],
    server_nonce: &[u8; 16],
    new_nonce: &[u8; 32],
) -> Result<tl::types::ClientDhInnerData, WireError> {
    if encrypted.len() < 32 || !encrypted.len().is_multiple_of(16) {
        return Err(WireError::Blocks(encrypted.len()));
    }
    let (key, iv) = generate_key_data_from_nonce(server_nonce, new_nonce);
    let mut plain = encrypted.to_vec();
    aes::ige_decrypt(&mut plain, &key, &iv);
    let (hash, body) = plain.split_at(20);
    let mut cursor = Cursor::from_slice(body);
    let tl::enums::ClientDhInnerData::Data(inner) = tl::enums::ClientDhInnerData::deserialize(&mut cursor)?;
    if Sha1::digest(&body[..cursor.pos()])[..] != *hash {
        return Err(WireError::KeyExchange("the hash inside does not match"));
    }
    Ok(inner)
}

/// <https://core.telegram.org/mtproto/security_guidelines#g-a-and-g-b-validation>
fn in_safe_range(number: &BigUint, prime: &BigUint) -> bool {
    let margin = BigUint::from(1_u32) << (2048 - 64);
    *number >= margin && *number <= prime - margin
}

fn read<T: Deserializable>(body: &[u8]) -> Result<T, WireError> {
    Ok(T::from_bytes(body.get(4..).unwrap_or_default())?)
}

/// The message with its header, its id that of an answer.
fn unencrypted(body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 8];
    packet.extend_from_slice(&(message_id(clock::now()) | 1).to_le_bytes());
    packet.extend_from_slice(&(body.len() as i32).to_le_bytes());
    packet.extend_from_slice(body);
    packet
}

fn last_16(hash: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash[hash.len() - 16..]);
    out
}

/// A big-endian number of at most 64 bits.
fn number(bytes: &[u8]) -> Option<u64> {
    let mut wide = [0; 8];
    wide[8_usize.checked_sub(bytes.len())?..].copy_from_slice(bytes);
    Some(u64::from_be_bytes(wide))
}

fn prime() -> u32 {
    next_prime(rand::random::<u32>() >> 2 | 1 << (PRIME_BITS - 1) | 1)
}

/// The first prime from an odd number on; trial division takes some 20,000 steps.
fn next_prime(odd: u32) -> u32 {
    let is_prime = |n: u32| (3..).step_by(2).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    (odd..).step_by(2).find(|n| is_prime(*n)).unwrap_or(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_prime_and_of_the_right_length() {
        for _ in 0..20 {
            let prime = prime();
            assert!((1 << 30..1 << 31).contains(&prime));
            assert!((2..40_000).all(|divisor| !prime.is_multiple_of(divisor)));
        }
        assert_eq!((next_prime(15), next_prime(17)), (17, 17));
    }

    #[test]
    fn numbers_are_big_endian_and_short() {
        assert_eq!(number(&[1, 0]), Some(256));
        assert_eq!(number(&[0; 9]), None);
    }
}
