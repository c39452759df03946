//! Telegram's own hashes of a file's pieces (<https://core.telegram.org/method/upload.getFileHashes>): what they cover is proved.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grammers_tl_types as tl;
use sha2::{Digest, Sha256};

/// What is known of a file's pieces, by offset: length and SHA-256. What lies behind the delivered position is forgotten.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    known: Mutex<BTreeMap<u64, (u64, Vec<u8>)>>,
    /// Blocks whose hashes are asked for: by one part for all of its block.
    asking: Mutex<BTreeMap<u64, Arc<tokio::sync::Mutex<()>>>>,
}

/// What the hashes say of a stretch of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As Telegram has them.
    Right,
    Wrong,
    /// From here on no hash is known.
    Unknown {
        from: u64,
    },
}

impl Hashes {
    pub fn learn(&self, told: Vec<tl::enums::FileHash>) {
        let mut known = self.known();
        for tl::enums::FileHash::Hash(hash) in told {
            if let (Ok(offset), Ok(length @ 1..)) = (u64::try_from(hash.offset), u64::try_from(hash.limit)) {
                known.insert(offset, (length, hash.hash));
            }
        }
    }

    /// Held by the part that asks for a block's hashes.
    pub fn asking(&self, block: u64) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(asking.entry(block).or_default())
    }

    /// The first offset of this stretch that no hash covers.
    pub fn gap(&self, from: u64, to: u64) -> Option<u64> {
        let known = self.known();
        let mut at = from;
        while at < to {
            match known.get(&at) {
                Some((length, _)) => at += length,
                None => return Some(at),
            }
        }
        None
    }

    /// The length of the piece that begins here.
    pub fn piece(&self, at: u64) -> Option<u64> {
        self.known().get(&at).map(|(length, _)| *length)
    }

    /// Compares bytes with what is known. A hash that covers more than these bytes says that some are missing.
    pub fn judge(&self, from: u64, bytes: &[u8]) -> Verdict {
        let mut done = 0;
        while done < bytes.len() {
            let at = from + done as u64;
            let Some((length, hash)) = self.known().get(&at).cloned() else { return Verdict::Unknown { from: at } };
            let piece = usize::try_from(length).ok().and_then(|length| bytes.get(done..done.checked_add(length)?));
            match piece {
                Some(piece) if Sha256::digest(piece).as_slice() == hash => done += piece.len(),
                Some(_) | None => return Verdict::Wrong,
            }
        }
        Verdict::Right
    }

    /// Forgets what was delivered, or what may have been told wrong.
    pub fn forget(&self, from: u64, to: u64) {
        self.known().retain(|at, _| !(from..to).contains(at));
        self.asking.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, asking| Arc::strong_count(asking) > 1);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, (u64, Vec<u8>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(offset: i64, piece: &[u8]) -> tl::enums::FileHash {
        tl::types::FileHash { offset, limit: piece.len() as i32, hash: Sha256::digest(piece).to_vec() }.into()
    }

    #[test]
    fn a_stretch_is_right_wrong_or_not_covered() {
        let hashes = Hashes::default();
        assert_eq!(hashes.gap(4, 10), Some(4));
        assert_eq!(hashes.judge(4, b"abcdef"), Verdict::Unknown { from: 4 });
        hashes.learn(vec![told(4, b"abcd"), told(8, b"ef")]);
        assert_eq!(hashes.gap(4, 10), None);
        assert_eq!(hashes.judge(4, b"abcdef"), Verdict::Right);
        assert_eq!(hashes.judge(4, b"abcdeg"), Verdict::Wrong);
        assert_eq!(hashes.judge(4, b"abcde"), Verdict::Wrong, "the last piece is cut");
        assert_eq!(hashes.judge(4, b"abcdefgh"), Verdict::Unknown { from: 10 });
        hashes.forget(4, 8);
        assert_eq!(hashes.gap(4, 10), Some(4));
        assert_eq!(hashes.judge(8, b"ef"), Verdict::Right);
    }

    #[test]
    fn hashes_of_nothing_do_not_cover_anything() {
        let hashes = Hashes::default();
        hashes.learn(vec![tl::types::FileHash { offset: -1, limit: 4, hash: vec![] }.into(), told(0, b"")]);
        assert_eq!(hashes.gap(0, 1), Some(0));
    }
}
