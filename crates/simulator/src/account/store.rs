//! All accounts, and the file in the state directory that lets them outlive the process.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use serde::{Deserialize, Serialize};

use super::{Account, AccountRequest};
use crate::wire::crypto::{i64_at, sha256};

const FILE: &str = "state.json";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{path}: {source}; check the path and its permissions, or choose another directory with --state")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: damaged ({source}); remove it to begin with new accounts")]
    Damaged { path: PathBuf, source: serde_json::Error },
}

/// What is kept over a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    accounts: Vec<Account>,
    /// Messages deleted since the world began, per chat.
    #[serde(default)]
    deleted: BTreeMap<i64, Vec<i32>>,
}

/// The accounts by name, key and phone.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// The world's own user: the first account is this one.
    me: i64,
    file: Option<PathBuf>,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_name: BTreeMap<String, Arc<Account>>,
    by_key: HashMap<i64, Arc<Account>>,
    deleted: BTreeMap<i64, Vec<i32>>,
}

impl Accounts {
    /// Loads what the directory holds; without one, nothing is kept.
    pub(crate) fn open(directory: Option<&Path>, me: i64) -> Result<Self, StateError> {
        let Some(directory) = directory else {
            return Ok(Self { me, file: None, known: RwLock::default() });
        };
        std::fs::create_dir_all(directory).map_err(|source| StateError::Io { path: directory.to_owned(), source })?;
        let path = directory.join(FILE);
        let saved = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| StateError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Saved::default(),
            Err(source) => return Err(StateError::Io { path, source }),
        };
        let mut known = Known { deleted: saved.deleted, ..Known::default() };
        for account in saved.accounts {
            known.put(account);
        }
        Ok(Self { me, file: Some(path), known: RwLock::new(known) })
    }

    /// Makes an account or changes it; its key stays the same.
    pub(crate) fn upsert(&self, request: &AccountRequest) -> Result<Arc<Account>, StateError> {
        let mut known = self.write();
        let mut account = match known.by_name.get(&request.name) {
            Some(account) => Account::clone(account),
            None if known.by_name.values().all(|other| other.user_id != self.me) => Account::new(&request.name, self.me),
            None => Account::new(&request.name, made_up_user(&request.name)),
        };
        account.apply(request);
        let account = known.put(account);
        self.save(&known)?;
        Ok(account)
    }

    /// Marks an account as signed in or out.
    pub(crate) fn set_signed_in(&self, name: &str, signed_in: bool) -> Result<(), StateError> {
        self.upsert(&AccountRequest { signed_in: Some(signed_in), ..AccountRequest::named(name) }).map(|_| ())
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Account>> {
        self.read().by_name.get(name).cloned()
    }

    pub(crate) fn by_key(&self, key_id: i64) -> Option<Arc<Account>> {
        self.read().by_key.get(&key_id).cloned()
    }

    /// The profiles of all accounts: they are users too.
    pub(crate) fn all(&self) -> Vec<Arc<Account>> {
        self.read().by_name.values().cloned().collect()
    }

    /// Remembers deletions, so that a restarted server does not bring messages back.
    pub(crate) fn deleted(&self, chat: i64, ids: &[i32]) -> Result<(), StateError> {
        let mut known = self.write();
        known.deleted.entry(chat).or_default().extend_from_slice(ids);
        self.save(&known)
    }

    /// The deletions of earlier runs.
    pub(crate) fn deletions(&self) -> BTreeMap<i64, Vec<i32>> {
        self.read().deleted.clone()
    }

    fn save(&self, known: &Known) -> Result<(), StateError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let saved = Saved {
            accounts: known.by_name.values().map(|account| Account::clone(account)).collect(),
            deleted: known.deleted.clone(),
        };
        let bytes = serde_json::to_vec_pretty(&saved).map_err(|source| StateError::Damaged { path: path.clone(), source })?;
        let written = || {
            let new = path.with_extension("new");
            let mut file = private(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, path)
        };
        written().map_err(|source| StateError::Io { path: path.clone(), source })
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Known {
    fn put(&mut self, account: Account) -> Arc<Account> {
        let account = Arc::new(account);
        self.by_key.insert(account.key.id(), account.clone());
        self.by_name.insert(account.name.clone(), account.clone());
        account
    }
}

/// A new file that only its owner reads: it holds keys.
fn private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn made_up_user(name: &str) -> i64 {
    7_000_000_000 + i64_at(&sha256(&[b"user", name.as_bytes()]), 0).rem_euclid(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_deletions_outlive_the_process() {
        let directory = std::env::temp_dir().join(format!("telekeep-simulator-state-{}", std::process::id()));
        let accounts = Accounts::open(Some(&directory), 5).unwrap();
        let first = accounts.upsert(&AccountRequest::named("first")).unwrap();
        let second = accounts.upsert(&AccountRequest::named("second")).unwrap();
        accounts.deleted(-100, &[3, 4]).unwrap();
        assert_eq!(first.user_id, 5);
        assert_ne!(second.user_id, 5);

        let again = Accounts::open(Some(&directory), 5).unwrap();
        assert_eq!(again.by_key(first.key.id()).unwrap().name, "first");
        assert_eq!(again.upsert(&AccountRequest::named("second")).unwrap().key.bytes(), second.key.bytes());
        assert_eq!(again.deletions()[&-100], [3, 4]);

        std::fs::write(directory.join(FILE), b"{\"accounts\": [").unwrap();
        assert!(matches!(Accounts::open(Some(&directory), 5), Err(StateError::Damaged { .. })));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
