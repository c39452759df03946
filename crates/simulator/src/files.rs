//! How the server treats files at the moment: file references that expire, bytes that are wrong or missing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use grammers_tl_types as tl;
use rand::RngExt;
use serde::Deserialize;

use crate::clock;
use crate::world::media;

/// When file references expire (<https://core.telegram.org/api/file-references>). Without rules they never do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReferenceRules {
    /// How long a reference is good for after the answer that told it.
    pub seconds: Option<f64>,
    /// Each n-th part that is asked for finds its reference expired; a fresh one is needed to go on.
    pub each: Option<u64>,
    /// Words it as FILE_REFERENCE_0_EXPIRED, as methods do that take several files.
    pub numbered: bool,
}

/// What is done to the bytes of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// As many bytes as there should be, some of them others.
    Wrong,
    /// Fewer bytes than there should be, as if the file ended here.
    Truncated,
}

/// Parts of files that are served damaged.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DamageRequest {
    pub damage: Damage,
    /// Only of this file; default: of any.
    #[serde(default)]
    pub file: Option<i64>,
    /// The share of parts, from 0 to 1.
    #[serde(default = "all")]
    pub share: f64,
    /// How many parts at most; default: without end.
    #[serde(default)]
    pub parts: Option<u64>,
}

fn all() -> f64 {
    1.0
}

impl DamageRequest {
    /// All parts of all files.
    pub fn of_all(damage: Damage) -> Self {
        Self { damage, file: None, share: 1.0, parts: None }
    }
}

/// Why a file reference is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Empty,
    Invalid,
    Expired { numbered: bool },
}

/// Where a reference was told: these open it for the account that was told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// Marked id of the chat or user.
    pub(crate) peer: i64,
    /// 0 outside of messages.
    pub(crate) message: i32,
}

/// The rules, and what was told and served since.
#[derive(Debug, Default)]
pub(crate) struct Files(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rules: ReferenceRules,
    damages: Vec<DamageRequest>,
    /// The number of the last answer that told references.
    told: u64,
    /// References of this answer and those before it are expired.
    expired: u64,
    /// The same for one account's references to one file.
    expired_of: HashMap<(i64, i64), u64>,
    served: u64,
    /// By file, size and offset: a datacentre does not compute them at each call.
    hashes: HashMap<(i64, String, i64), Vec<tl::enums::FileHash>>,
}

/// Answers with hashes that are kept: 4 GiB of files, a few megabytes of memory.
const HASHES_KEPT: usize = 4096;
const VERSION: u8 = 1;
const LENGTH: usize = 1 + 8 + 8 + 8 + 4 + 8;

impl Files {
    pub(crate) fn set_rules(&self, rules: ReferenceRules) {
        self.lock().rules = rules;
    }

    /// All references that were told so far expire.
    pub(crate) fn expire(&self) {
        let mut state = self.lock();
        // The world's own references are of answer 0.
        state.told += 1;
        state.expired = state.told;
    }

    pub(crate) fn damage(&self, request: DamageRequest) {
        self.lock().damages.push(request);
    }

    /// Everything as it was in the beginning.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.rules = ReferenceRules::default();
        state.damages.clear();
    }

    /// The hashes that are kept of a part of a file, computed where they are not.
    pub(crate) fn hashes(
        &self,
        (id, size, offset): (i64, &str, i64),
        compute: impl FnOnce() -> Option<Vec<tl::enums::FileHash>>,
    ) -> Option<Vec<tl::enums::FileHash>> {
        let key = (id, size.to_owned(), offset);
        if let Some(kept) = self.lock().hashes.get(&key) {
            return Some(kept.clone());
        }
        let hashes = compute()?;
        let mut state = self.lock();
        if state.hashes.len() == HASHES_KEPT {
            state.hashes.clear();
        }
        state.hashes.insert(key, hashes.clone());
        Some(hashes)
    }

    /// The number for the references of one answer.
    pub(crate) fn answer(&self) -> Answer {
        let mut state = self.lock();
        state.told += 1;
        Answer { number: state.told, at: now() }
    }

    /// Whether this reference opens the file for this account now; each check counts as a part that is asked for.
    pub(crate) fn check(&self, secret: i64, file: i64, reference: &[u8]) -> Result<(), Refused> {
        if reference.is_empty() {
            return Err(Refused::Empty);
        }
        let told = if reference == media::reference(file) {
            Answer { number: 0, at: 0 }
        } else {
            Answer::read(secret, file, reference).ok_or(Refused::Invalid)?
        };
        let mut state = self.lock();
        let expired = Refused::Expired { numbered: state.rules.numbered };
        let rules = state.rules;
        let lifetime = rules.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let is_old = lifetime.is_some_and(|lifetime| u128::from(now().saturating_sub(told.at)) >= lifetime.as_millis());
        let last = state.expired_of.get(&(secret, file)).copied().unwrap_or(0).max(state.expired);
        if is_old || last > 0 && told.number <= last {
            return Err(expired);
        }
        state.served += 1;
        if rules.each.is_some_and(|each| each > 0 && state.served.is_multiple_of(each)) {
            state.told += 1;
            let told = state.told;
            state.expired_of.insert((secret, file), told);
            return Err(expired);
        }
        Ok(())
    }

    /// The bytes as they leave the server.
    pub(crate) fn served(&self, file: i64, mut bytes: Vec<u8>) -> Vec<u8> {
        let mut state = self.lock();
        let wanted = state.damages.iter_mut().find(|damage| {
            damage.file.is_none_or(|only| only == file)
                && damage.parts != Some(0)
                && (damage.share >= 1.0 || rand::rng().random::<f64>() < damage.share)
        });
        let Some(wanted) = wanted.filter(|_| !bytes.is_empty()) else {
            return bytes;
        };
        wanted.parts = wanted.parts.map(|parts| parts - 1);
        match wanted.damage {
            Damage::Wrong => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x55;
                bytes[0] ^= 0x55;
            }
            Damage::Truncated => bytes.truncate(bytes.len() / 2),
        }
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// One answer that tells references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    number: u64,
    /// Milliseconds since the epoch.
    at: u64,
}

impl Answer {
    /// The reference by which an account opens a file that it was told of here.
    pub(crate) fn reference(self, secret: i64, file: i64, origin: Origin) -> Vec<u8> {
        let mut reference = Vec::with_capacity(LENGTH);
        reference.push(VERSION);
        reference.extend(self.number.to_be_bytes());
        reference.extend(self.at.to_be_bytes());
        reference.extend(origin.peer.to_be_bytes());
        reference.extend(origin.message.to_be_bytes());
        let seal = seal(secret, file, &reference);
        reference.extend(seal);
        reference
    }

    fn read(secret: i64, file: i64, reference: &[u8]) -> Option<Self> {
        let (told, sealed) = reference.split_at_checked(LENGTH - 8)?;
        if told[0] != VERSION || sealed != seal(secret, file, told) {
            return None;
        }
        let number = |at: usize| told.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        Some(Answer { number: number(1)?, at: number(9)? })
    }
}

fn seal(secret: i64, file: i64, told: &[u8]) -> [u8; 8] {
    media::seal(secret, file, told).to_be_bytes()
}

fn now() -> u64 {
    u64::try_from(clock::now().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { peer: -7, message: 9 };

    #[test]
    fn a_reference_opens_its_file_for_its_account_only() {
        let files = Files::default();
        let reference = files.answer().reference(1, 50, ORIGIN);
        assert_eq!(files.check(1, 50, &reference), Ok(()));
        assert_eq!(files.check(2, 50, &reference), Err(Refused::Invalid));
        assert_eq!(files.check(1, 51, &reference), Err(Refused::Invalid));
        assert_eq!(files.check(1, 50, &reference[1..]), Err(Refused::Invalid));
        assert_eq!(files.check(1, 50, &[]), Err(Refused::Empty));
        assert_ne!(files.answer().reference(1, 50, ORIGIN), reference, "each answer tells a fresh one");
    }

    #[test]
    fn references_expire_at_once_after_a_time_and_each_nth_part() {
        let expired = Err(Refused::Expired { numbered: false });
        let files = Files::default();
        let old = files.answer().reference(1, 50, ORIGIN);
        files.expire();
        assert_eq!(files.check(1, 50, &old), expired);
        assert_eq!(files.check(1, 50, &media::reference(50)), expired);
        assert_eq!(files.check(1, 50, &files.answer().reference(1, 50, ORIGIN)), Ok(()));

        files.set_rules(ReferenceRules { seconds: Some(0.0), ..ReferenceRules::default() });
        assert_eq!(files.check(1, 50, &files.answer().reference(1, 50, ORIGIN)), expired);

        let files = Files::default();
        files.set_rules(ReferenceRules { each: Some(3), ..ReferenceRules::default() });
        let reference = files.answer().reference(1, 50, ORIGIN);
        let answers: Vec<_> = (0..4).map(|_| files.check(1, 50, &reference).is_ok()).collect();
        assert_eq!(answers, [true, true, false, false]);
        assert_eq!(files.check(1, 50, &files.answer().reference(1, 50, ORIGIN)), Ok(()));
    }

    #[test]
    fn damage_hits_its_file_as_often_as_asked() {
        let files = Files::default();
        files.damage(DamageRequest { file: Some(5), parts: Some(1), ..DamageRequest::of_all(Damage::Truncated) });
        assert_eq!(files.served(6, vec![1; 8]).len(), 8);
        assert_eq!(files.served(5, vec![1; 8]).len(), 4);
        assert_eq!(files.served(5, vec![1; 8]).len(), 8);
        files.damage(DamageRequest::of_all(Damage::Wrong));
        assert_ne!(files.served(6, vec![1; 8]), vec![1; 8]);
        files.heal();
        assert_eq!(files.served(6, vec![1; 8]), vec![1; 8]);
    }
}
