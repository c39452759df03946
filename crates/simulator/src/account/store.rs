//! All accounts, and the file in the state directory that lets them outlive the process.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};

use serde::{Deserialize, Serialize};

use super::authorization::{Authorization, Ended};
use super::{Account, AccountRequest};
use crate::clock;
use crate::wire::crypto::{KEY_LEN, ServerKey, i64_at, sha256};
use crate::wire::server_key::{SavedPrimes, ServerRsaKey};

const FILE: &str = "state.json";
const RSA_FILE: &str = "rsa_key.json";
/// Keys that nobody signed in with are forgotten, oldest first, beyond this number.
const UNUSED_KEYS: usize = 10_000;

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
    #[serde(default)]
    authorizations: Vec<Authorization>,
    /// Messages deleted since the world began, per chat.
    #[serde(default)]
    deleted: BTreeMap<i64, Vec<i32>>,
}

/// The accounts by name, and the authorization keys.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// The world's own user: the first account is this one.
    me: i64,
    file: Option<PathBuf>,
    known: RwLock<Known>,
    rsa: OnceLock<ServerRsaKey>,
}

#[derive(Debug, Default)]
struct Known {
    by_name: BTreeMap<String, Arc<Account>>,
    keys: HashMap<i64, Arc<Authorization>>,
    deleted: BTreeMap<i64, Vec<i32>>,
}

impl Accounts {
    /// Loads what the directory holds; without one, nothing is kept.
    pub(crate) fn open(directory: Option<&Path>, me: i64) -> Result<Self, StateError> {
        let Some(directory) = directory else {
            return Ok(Self { me, file: None, known: RwLock::default(), rsa: OnceLock::new() });
        };
        std::fs::create_dir_all(directory).map_err(|source| StateError::Io { path: directory.to_owned(), source })?;
        let path = directory.join(FILE);
        let saved = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| StateError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Saved::default(),
            Err(source) => return Err(StateError::Io { path, source }),
        };
        let mut known = Known { deleted: saved.deleted, ..Known::default() };
        for authorization in saved.authorizations {
            known.keys.insert(authorization.key.id(), Arc::new(authorization));
        }
        for account in saved.accounts {
            if !known.keys.contains_key(&account.key.id()) {
                known.share_key(&account, account.was_signed_in.unwrap_or(true));
            }
            known.put(account);
        }
        Ok(Self { me, file: Some(path), known: RwLock::new(known), rsa: OnceLock::new() })
    }

    /// The server's RSA key: one of the state directory, or one of the process; made when it is first asked for.
    pub(crate) fn rsa_key(&self) -> &ServerRsaKey {
        match self.file.as_deref().and_then(Path::parent) {
            Some(directory) => self.rsa.get_or_init(|| kept_rsa_key(&directory.join(RSA_FILE))),
            None => ServerRsaKey::of_process(),
        }
    }

    /// Makes an account or changes it; its key stays the same.
    pub(crate) fn upsert(&self, request: &AccountRequest) -> Result<Arc<Account>, StateError> {
        let mut known = self.write();
        let (mut account, new) = match known.by_name.get(&request.name) {
            Some(account) => (Account::clone(account), false),
            None if known.by_name.values().all(|other| other.user_id != self.me) => (Account::new(&request.name, self.me), true),
            None => (Account::new(&request.name, made_up_user(&request.name)), true),
        };
        account.apply(request);
        if new {
            known.share_key(&account, request.signed_in.unwrap_or(true));
        } else if let Some(signed_in) = request.signed_in {
            known.change(account.key.id(), |key| match signed_in {
                true if key.account.is_none() => key.sign_in(&account.name, clock::unix_now()),
                true => {}
                false => key.sign_out(Ended::Unregistered),
            });
        }
        if let Some(key) = known.keys.get(&account.key.id())
            && key.dc != account.dc
        {
            known.change(account.key.id(), |key| key.dc = account.dc);
        }
        let account = known.put(account);
        self.save(&known)?;
        Ok(account)
    }

    /// Changes an account that exists.
    pub(crate) fn change_account(&self, name: &str, change: impl FnOnce(&mut Account)) -> Result<Option<Arc<Account>>, StateError> {
        let mut known = self.write();
        let Some(account) = known.by_name.get(name) else { return Ok(None) };
        let mut account = Account::clone(account);
        change(&mut account);
        let account = known.put(account);
        self.save(&known)?;
        Ok(Some(account))
    }

    /// Takes in a key that was made by a key exchange. False where there is one of the same id.
    pub(crate) fn add_key(&self, authorization: Authorization) -> Result<bool, StateError> {
        let mut known = self.write();
        let id = authorization.key.id();
        if known.keys.contains_key(&id) {
            return Ok(false);
        }
        known.forget_unused();
        known.keys.insert(id, Arc::new(authorization));
        self.save(&known)?;
        Ok(true)
    }

    /// A key for an account in a datacentre that is not its home, where it has still to import its authorization.
    pub(crate) fn foreign_key(&self, name: &str, dc: i32) -> Result<Arc<Authorization>, StateError> {
        let mut known = self.write();
        let made = known.keys.values().find(|key| key.dc == dc && key.made_for.as_deref() == Some(name));
        if let Some(made) = made {
            return Ok(made.clone());
        }
        let mut authorization = Authorization::new(ServerKey::new(random_key()), dc, clock::unix_now());
        authorization.made_for = Some(name.to_owned());
        let authorization = Arc::new(authorization);
        known.keys.insert(authorization.key.id(), authorization.clone());
        self.save(&known)?;
        Ok(authorization)
    }

    /// Changes a key that exists, and what was imported from it where it ends.
    pub(crate) fn change_key(&self, id: i64, change: impl FnOnce(&mut Authorization)) -> Result<(), StateError> {
        let mut known = self.write();
        known.change(id, change);
        self.save(&known)
    }

    /// Notes what a client told of itself; not worth a write of its own.
    pub(crate) fn note(&self, id: i64, change: impl FnOnce(&mut Authorization)) {
        self.write().change(id, change);
    }

    pub(crate) fn key(&self, id: i64) -> Option<Arc<Authorization>> {
        self.read().keys.get(&id).cloned()
    }

    /// The keys that an account is signed in with.
    pub(crate) fn keys_of(&self, name: &str) -> Vec<Arc<Authorization>> {
        self.read().keys.values().filter(|key| key.account.as_deref() == Some(name)).cloned().collect()
    }

    /// Ends all authorizations of an account; gives how many there were.
    pub(crate) fn revoke(&self, name: &str, why: Ended) -> Result<usize, StateError> {
        let mut known = self.write();
        let signed_in = known.keys.values().filter(|key| key.account.as_deref() == Some(name));
        let ids: Vec<i64> = signed_in.map(|key| key.key.id()).collect();
        ids.iter().for_each(|id| known.change(*id, |key| key.sign_out(why)));
        self.save(&known)?;
        Ok(ids.len())
    }

    /// The keys that speak for a permanent key: itself, and temporary ones that are bound to it.
    pub(crate) fn wire_keys(&self, id: i64) -> Vec<i64> {
        let bound = |key: &Authorization| key.temporary.as_ref().is_some_and(|temporary| temporary.bound_to == Some(id));
        self.read().keys.values().filter(|key| key.key.id() == id || bound(key)).map(|key| key.key.id()).collect()
    }

    /// The account of a key: who signed in with it.
    pub(crate) fn account_of(&self, key: &Authorization) -> Option<Arc<Account>> {
        let name = match key.temporary.as_ref().and_then(|temporary| temporary.bound_to) {
            Some(permanent) => self.key(permanent)?.account.clone()?,
            None => key.account.clone()?,
        };
        self.by_name(&name)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Account>> {
        self.read().by_name.get(name).cloned()
    }

    pub(crate) fn by_phone(&self, phone: &str) -> Option<Arc<Account>> {
        self.read().by_name.values().find(|account| account.phone == phone && account.bot_token.is_none()).cloned()
    }

    pub(crate) fn by_bot_token(&self, token: &str) -> Option<Arc<Account>> {
        self.read().by_name.values().find(|account| account.bot_token.as_deref() == Some(token)).cloned()
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
            authorizations: known.keys.values().map(|key| Authorization::clone(key)).collect(),
            deleted: known.deleted.clone(),
        };
        let bytes = serde_json::to_vec_pretty(&saved).map_err(|source| StateError::Damaged { path: path.clone(), source })?;
        write_private(path, &bytes).map_err(|source| StateError::Io { path: path.clone(), source })
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
        self.by_name.insert(account.name.clone(), account.clone());
        account
    }

    /// The key that an account is given when it is made.
    fn share_key(&mut self, account: &Account, signed_in: bool) {
        let now = clock::unix_now();
        let mut key = Authorization::new(account.key.clone(), account.dc, now);
        key.made_for = Some(account.name.clone());
        if signed_in {
            key.sign_in(&account.name, now);
        }
        self.keys.insert(key.key.id(), Arc::new(key));
    }

    fn change(&mut self, id: i64, change: impl FnOnce(&mut Authorization)) {
        let Some(key) = self.keys.get_mut(&id) else { return };
        let was_signed_in = key.account.is_some();
        let key = Arc::make_mut(key);
        change(key);
        if let (true, None, Some(why)) = (was_signed_in, &key.account, key.ended) {
            let imported = self.keys.values_mut().filter(|key| key.imported_from == Some(id));
            imported.for_each(|key| Arc::make_mut(key).sign_out(why));
        }
    }

    /// Makes room where clients make one key after the other and sign in with none.
    fn forget_unused(&mut self) {
        let unused = |key: &Authorization| key.account.is_none() && key.made_for.is_none() && key.ended.is_none();
        let mut ids: Vec<_> = self.keys.values().filter(|key| unused(key)).map(|key| (key.last_seen, key.key.id())).collect();
        if ids.len() < UNUSED_KEYS {
            return;
        }
        ids.sort_unstable();
        for (_, id) in ids.iter().take(UNUSED_KEYS / 10) {
            self.keys.remove(id);
        }
    }
}

fn random_key() -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    rand::RngExt::fill(&mut rand::rng(), &mut key[..]);
    key
}

/// The key of a state directory; a new one where there is none, or it cannot be read.
fn kept_rsa_key(path: &Path) -> ServerRsaKey {
    let saved = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<SavedPrimes>(&bytes).ok());
    if let Some(key) = saved.as_ref().and_then(ServerRsaKey::load) {
        return key;
    }
    let key = ServerRsaKey::generate();
    let bytes = serde_json::to_vec(&key.saved()).unwrap_or_default();
    if let Err(error) = write_private(path, &bytes) {
        tracing::error!(error = %error, "the server's key cannot be kept: clients will have to learn another after a restart");
    }
    key
}

/// Puts a file in place at once, readable by its owner only: it holds keys.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = private(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
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

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("telekeep-simulator-{name}-{}", std::process::id()))
    }

    #[test]
    fn keys_and_deletions_outlive_the_process() {
        let directory = directory("state");
        let accounts = Accounts::open(Some(&directory), 5).unwrap();
        let first = accounts.upsert(&AccountRequest::named("first")).unwrap();
        let second = accounts.upsert(&AccountRequest::named("second")).unwrap();
        let foreign = accounts.foreign_key("first", 4).unwrap();
        let exchanged = Authorization::new(ServerKey::new(random_key()), 2, 0);
        assert!(accounts.add_key(exchanged.clone()).unwrap());
        assert!(!accounts.add_key(exchanged.clone()).unwrap());
        accounts.change_key(exchanged.key.id(), |key| key.sign_in("second", 7)).unwrap();
        accounts.deleted(-100, &[3, 4]).unwrap();
        assert_eq!(first.user_id, 5);
        assert_ne!(second.user_id, 5);

        let again = Accounts::open(Some(&directory), 5).unwrap();
        assert_eq!(again.key(first.key.id()).unwrap().account.as_deref(), Some("first"));
        assert_eq!(again.by_name("first").unwrap().access_hash(9), first.access_hash(9));
        assert_eq!(again.upsert(&AccountRequest::named("second")).unwrap().key.bytes(), second.key.bytes());
        assert_eq!(again.keys_of("second").len(), 2);
        assert_eq!(again.foreign_key("first", 4).unwrap().key.id(), foreign.key.id());
        assert_eq!(again.deletions()[&-100], [3, 4]);

        std::fs::write(directory.join(FILE), b"{\"accounts\": [").unwrap();
        assert!(matches!(Accounts::open(Some(&directory), 5), Err(StateError::Damaged { .. })));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_state_of_one_key_an_account_still_loads() {
        let directory = directory("old-state");
        std::fs::create_dir_all(&directory).unwrap();
        let key = "ab".repeat(KEY_LEN);
        let account = |name: &str, signed_in: bool| {
            format!(
                "{{\"name\": \"{name}\", \"user_id\": 5, \"signed_in\": {signed_in}, \"phone\": \"99966\", \"password\": null, \
                 \"hidden_before\": {{\"-1001\": 3}}, \"chats\": null, \"key\": \"{}\"}}",
                if signed_in { key.clone() } else { key.replace('a', "c") }
            )
        };
        let state = format!("{{\"accounts\": [{}, {}]}}", account("first", true), account("second", false));
        std::fs::write(directory.join(FILE), state).unwrap();
        let accounts = Accounts::open(Some(&directory), 5).unwrap();
        let key = |name: &str| accounts.key(accounts.by_name(name).unwrap().key.id()).unwrap();
        assert_eq!(key("first").account.as_deref(), Some("first"));
        assert_eq!((key("second").account.as_deref(), key("second").made_for.as_deref()), (None, Some("second")));
        assert_eq!(accounts.by_name("first").unwrap().hidden_before[&-1001], 3);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_was_imported_ends_with_where_it_came_from() {
        let accounts = Accounts::open(None, 5).unwrap();
        let home = accounts.upsert(&AccountRequest::named("first")).unwrap().key.id();
        let away = accounts.foreign_key("first", 4).unwrap().key.id();
        accounts
            .change_key(away, |key| {
                key.sign_in("first", 0);
                key.imported_from = Some(home);
            })
            .unwrap();
        accounts.change_key(home, |key| key.sign_out(Ended::Revoked)).unwrap();
        assert_eq!(accounts.key(away).unwrap().ended, Some(Ended::Revoked));
        assert!(accounts.keys_of("first").is_empty());
    }
}
