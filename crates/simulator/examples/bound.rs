//! What one core can do at most: decrypt MTProto 2.0 (SHA-256 for the message key, AES-256-IGE) and hash a file once for its pieces and
//! once for its whole. Prints MB/s as JSON. Run by benches/download.sh.

use std::hint::black_box;

use sha2::{Digest, Sha256};

/// As large as a part of a file.
const PART: usize = 1 << 20;
const PARTS: usize = 256;

#[expect(clippy::disallowed_methods, reason = "a measurement of its own, outside of the program")]
fn main() {
    let mut part = vec![7_u8; PART];
    let began = std::time::Instant::now();
    let mut whole = Sha256::new();
    for _ in 0..PARTS {
        grammers_crypto::aes::ige_decrypt(&mut part, &[3; 32], &[5; 32]);
        black_box(Sha256::digest(&part));
        for piece in part.chunks(128 * 1024) {
            black_box(Sha256::digest(piece));
        }
        whole.update(&part);
    }
    black_box(whole.finalize());
    let seconds = began.elapsed().as_secs_f64();
    println!("{{\"mb_per_s\": {:.1}}}", (PART * PARTS) as f64 / 1e6 / seconds);
}
