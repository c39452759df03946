//! The server's half of the 2FA password check (<https://core.telegram.org/api/srp>).

use num_bigint::BigUint;
use rand::RngExt;
use sha2::{Digest, Sha512};

use crate::wire::crypto::sha256;

/// The generator that Telegram uses with [`PRIME`].
pub(crate) const G: i32 = 3;
const ITERATIONS: usize = 100_000;

/// Telegram's 2048-bit safe prime, in hexadecimal.
const PRIME: &str = "\
c71caeb9c6b1c9048e6c522f70f13f73980d40238e3e21c14934d037563d930f48198a0aa7c14058229493d22530f4db\
fa336f6e0ac925139543aed44cce7c3720fd51f69458705ac68cd4fe6b6b13abdc9746512969328454f18faf8c595f64\
2477fe96bb2a941d5bcd1d4ac8cc49880708fa9b378e3c4f3a9060bee67cf9a4a4a695811051907e162753b56b0f6b41\
0dba74d8a84b2a14b3144e0ef1284754fd17ed950d5965b4b9dd46582db1178d169c6bc465b0d6ff9ca3928fef5b9ae4\
e418fc15e83ebea0f87fa9ff5eed70050ded2849f47bf959d956850ce929851f0d8115f635b105ee2e4e15d04b2454bf\
6f4fadf034b10403119cd8e3b92fcc5b";

/// What the server keeps of a password.
#[derive(Debug, Clone)]
pub(crate) struct Verifier {
    pub(crate) salt1: Vec<u8>,
    pub(crate) salt2: Vec<u8>,
    v: BigUint,
}

/// One challenge, good for one answer.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    pub(crate) id: i64,
    b: BigUint,
    /// What the client is told, 256 bytes.
    pub(crate) public: [u8; 256],
}

/// The prime as 256 bytes.
pub(crate) fn prime() -> [u8; 256] {
    padded(&modulus())
}

impl Verifier {
    /// Derives the verifier; takes as long as the client's side does, some tenths of a second.
    pub(crate) fn new(password: &str) -> Self {
        let salt1 = random::<40>().to_vec();
        let salt2 = random::<16>().to_vec();
        let first = salted(&salted(password.as_bytes(), &salt1), &salt2);
        let derived = pbkdf2(&first, &salt1);
        let x = salted(&derived, &salt2);
        let v = BigUint::from(G as u32).modpow(&BigUint::from_bytes_be(&x), &modulus());
        Self { salt1, salt2, v }
    }

    /// A fresh challenge.
    pub(crate) fn challenge(&self) -> Challenge {
        let p = modulus();
        let b = BigUint::from_bytes_be(&random::<256>());
        let k = BigUint::from_bytes_be(&sha256(&[&prime(), &padded_g()]));
        let public = (k * &self.v + BigUint::from(G as u32).modpow(&b, &p)) % &p;
        Challenge { id: rand::rng().random(), b, public: padded(&public) }
    }

    /// Whether the answer proves knowledge of the password.
    pub(crate) fn accepts(&self, challenge: &Challenge, a: &[u8], m1: &[u8]) -> bool {
        let p = modulus();
        let big_a = BigUint::from_bytes_be(a);
        if a.len() > 256 || &big_a % &p == BigUint::ZERO {
            return false;
        }
        let a = padded(&big_a);
        let u = BigUint::from_bytes_be(&sha256(&[&a, &challenge.public]));
        let s = (big_a * self.v.modpow(&u, &p)).modpow(&challenge.b, &p);
        let k = sha256(&[&padded(&s)]);
        let mut mixed = sha256(&[&prime()]);
        for (left, right) in mixed.iter_mut().zip(sha256(&[&padded_g()])) {
            *left ^= right;
        }
        let expected = sha256(&[&mixed, &sha256(&[&self.salt1]), &sha256(&[&self.salt2]), &a, &challenge.public, &k]);
        expected == m1
    }
}

/// The prime as a number.
pub(crate) fn modulus() -> BigUint {
    BigUint::parse_bytes(PRIME.as_bytes(), 16).unwrap_or_default()
}

/// The generator as a number.
pub(crate) fn generator() -> BigUint {
    BigUint::from(G as u32)
}

fn padded_g() -> [u8; 256] {
    padded(&BigUint::from(G as u32))
}

/// The number as 256 bytes.
pub(crate) fn padded(number: &BigUint) -> [u8; 256] {
    let bytes = number.to_bytes_be();
    let mut out = [0; 256];
    let from = 256_usize.saturating_sub(bytes.len());
    out[from..].copy_from_slice(&bytes[bytes.len().saturating_sub(256)..]);
    out
}

fn salted(data: &[u8], salt: &[u8]) -> [u8; 32] {
    sha256(&[salt, data, salt])
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill(&mut bytes[..]);
    bytes
}

/// PBKDF2 with HMAC-SHA-512, one block. The key (32 bytes) is shorter than HMAC's block.
fn pbkdf2(key: &[u8; 32], salt: &[u8]) -> [u8; 64] {
    let keyed = |pad: u8| {
        let mut block = [pad; 128];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        Sha512::new_with_prefix(block)
    };
    let (inner, outer) = (keyed(0x36), keyed(0x5c));
    let hmac = |data: &[&[u8]]| -> [u8; 64] {
        let mut hash = inner.clone();
        data.iter().for_each(|part| hash.update(part));
        outer.clone().chain_update(hash.finalize()).finalize().into()
    };
    let mut last = hmac(&[salt, &1_u32.to_be_bytes()]);
    let mut derived = last;
    for _ in 1..ITERATIONS {
        last = hmac(&[&last]);
        for (byte, next) in derived.iter_mut().zip(last) {
            *byte ^= next;
        }
    }
    derived
}

#[cfg(test)]
mod tests {
    use grammers_crypto::two_factor_auth::{calculate_2fa, check_p_and_g};

    use super::*;

    #[test]
    fn the_clients_own_calculation_is_accepted_and_a_wrong_password_is_not() {
        assert!(check_p_and_g(&prime(), &G));
        let verifier = Verifier::new("correct horse");
        let challenge = verifier.challenge();
        for (password, accepted) in [("correct horse", true), ("wrong horse", false)] {
            let (m1, a) = calculate_2fa(
                &verifier.salt1,
                &verifier.salt2,
                &prime(),
                &G,
                challenge.public.to_vec(),
                random::<256>().to_vec(),
                password,
            );
            assert_eq!(verifier.accepts(&challenge, &a, &m1), accepted);
        }
        assert!(!verifier.accepts(&challenge, &[0; 256], &[0; 32]));
    }
}
