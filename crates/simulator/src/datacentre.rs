//! What all connections and the control port share: one world behind all datacentres.

mod present;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::account::authorization::{Authorization, Ended};
use crate::account::store::{Accounts, StateError};
use crate::account::{Account, SessionFile, hex};
use crate::addresses::Addresses;
use crate::api::sign_in::Logins;
use crate::calls::Calls;
use crate::conduct::Conduct;
use crate::fault::Faults;
use crate::files::Files;
use crate::mailbox::Mailboxes;
use crate::push::Pushes;
use crate::salts::Salts;
use crate::session::{Session, Sessions};
use crate::violation::{Offence, Violations};
use crate::world::{DC_ID, Event, Rules, Timed, World, WorldError};

pub(crate) use present::Present;

/// The simulated datacentres.
#[derive(Debug)]
pub(crate) struct Datacentre {
    pub(crate) world: World,
    pub(crate) accounts: Accounts,
    pub(crate) calls: Calls,
    pub(crate) faults: Faults,
    pub(crate) conduct: Conduct,
    pub(crate) violations: Violations,
    rules: RwLock<Option<Arc<Rules>>>,
    pub(crate) sessions: Sessions,
    pub(crate) salts: Salts,
    pub(crate) logins: Logins,
    pub(crate) files: Files,
    /// Where clients connect to: the address of [`DC_ID`].
    pub(crate) address: SocketAddr,
    /// The address of each datacentre.
    pub(crate) addresses: BTreeMap<i32, SocketAddr>,
    pub(crate) sources: Addresses,
    pub(crate) pushes: Pushes,
    pub(crate) mailboxes: Mailboxes,
    /// Held while an event happens and is told, so that pushes keep the order of events.
    pub(crate) playing: Mutex<()>,
    latency_ms: AtomicU64,
    key_retries: AtomicU32,
    cut: Mutex<CancellationToken>,
}

impl Datacentre {
    /// Takes the world, less the messages that were deleted in earlier runs.
    pub(crate) fn new(world: World, accounts: Accounts, addresses: BTreeMap<i32, SocketAddr>) -> Self {
        for (chat, ids) in accounts.deletions() {
            // When is not remembered.
            let timed = Timed { date: Some(0), event: Event::Delete { chat, ids } };
            if world.play(timed).is_err() {
                tracing::warn!(chat.id = chat, "the state directory tells of deletions in a chat that this world has not");
            }
        }
        let rules = world.rules.clone().map(Arc::new);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            world,
            accounts,
            calls: Calls::default(),
            faults: Faults::default(),
            conduct: Conduct::default(),
            violations: Violations::default(),
            rules: RwLock::new(rules),
            sessions: Sessions::default(),
            salts: Salts::default(),
            logins: Logins::default(),
            files: Files::default(),
            address: addresses.get(&DC_ID).or_else(|| addresses.values().next()).copied().unwrap_or(nowhere),
            addresses,
            sources: Addresses::default(),
            pushes: Pushes::default(),
            mailboxes: Mailboxes::default(),
            playing: Mutex::default(),
            latency_ms: AtomicU64::new(0),
            key_retries: AtomicU32::new(0),
            cut: Mutex::default(),
        }
    }

    /// How accounts are limited now.
    pub(crate) fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other limits from now on; none lifts them. Waits that were told stay.
    pub(crate) fn set_rules(&self, rules: Option<Rules>) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules.map(Arc::new);
    }

    /// Notes where a key is used from; one that is used from two places ends.
    pub(crate) fn heard_from(&self, key_id: i64, from: IpAddr) {
        if !self.sources.alternate(key_id, from) {
            return;
        }
        let account = self.accounts.key(key_id).and_then(|key| key.account.clone()).unwrap_or_default();
        self.violations.add(&account, "", Offence::TwoPlaces);
        if let Err(error) = self.accounts.change_key(key_id, |key| key.sign_out(Ended::Duplicated)) {
            tracing::error!(error = %error, "the state directory cannot be written");
        }
    }

    /// The next key exchanges have to be tried once more.
    pub(crate) fn retry_keys(&self, times: u32) {
        self.key_retries.store(times, Ordering::Relaxed);
    }

    /// Whether this key exchange has to be tried once more.
    pub(crate) fn take_key_retry(&self) -> bool {
        self.key_retries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// The delay before each answer to a call.
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_latency(&self, latency: Duration) {
        let ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.latency_ms.store(ms, Ordering::Relaxed);
    }

    /// Cancelled when all connections of this moment are cut.
    pub(crate) fn cut_signal(&self) -> CancellationToken {
        lock(&self.cut).clone()
    }

    /// Closes every connection that is open now.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *lock(&self.cut)).cancel();
    }

    /// The sessions that an account's updates are pushed to: of its authorizations at home, as far as they asked for updates.
    pub(crate) fn update_sessions(&self, account: &str) -> Vec<Arc<Session>> {
        let Some(account) = self.accounts.by_name(account) else { return Vec::new() };
        let keys = self.accounts.keys_of(&account.name);
        let home = keys.iter().filter(|key| key.dc == account.dc && key.imported_from.is_none());
        let ids = home.flat_map(|key| self.accounts.wire_keys(key.key.id()));
        ids.flat_map(|id| self.sessions.of_key(id)).filter(|session| session.wants_updates()).collect()
    }

    /// The last code that was sent to a phone.
    pub(crate) fn code(&self, phone: &str) -> Option<String> {
        self.logins.code(phone)
    }

    /// Deletes messages; gives those that existed until now.
    pub(crate) fn delete(&self, chat: i64, ids: &[i32]) -> Result<Vec<i32>, DeleteError> {
        if self.world.chat(chat).is_none() {
            return Err(WorldError::NoChat(chat).into());
        }
        let event = Event::Delete { chat, ids: ids.to_vec() };
        let record = self.play(event.into(), None).map_err(|_| WorldError::NoChat(chat))?;
        let deleted = record.deleted();
        self.accounts.deleted(chat, &deleted)?;
        Ok(deleted)
    }

    /// The file by which a collector becomes this account.
    pub(crate) fn session_file(&self, account: &Account) -> SessionFile {
        let key = self.accounts.key(account.key.id());
        let signed_in = key.as_deref().is_some_and(|key| key.account.is_some());
        self.session_with(account.dc, account.key.bytes(), signed_in.then_some(account.user_id))
    }

    /// The file by which a collector speaks for this account to a datacentre that is not its home.
    pub(crate) fn foreign_session_file(&self, account: &Account, key: &Authorization) -> SessionFile {
        self.session_with(key.dc, key.key.bytes(), key.account.is_some().then_some(account.user_id))
    }

    fn session_with(&self, dc: i32, key: &[u8], user_id: Option<i64>) -> SessionFile {
        let address = self.addresses.get(&dc).copied().unwrap_or(self.address);
        SessionFile { dc, address: address.ip().to_string(), port: address.port(), key: hex(key), user_id }
    }
}

/// Why messages could not be deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteError {
    #[error(transparent)]
    World(#[from] WorldError),
    #[error(transparent)]
    State(#[from] StateError),
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
