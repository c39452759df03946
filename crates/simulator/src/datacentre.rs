//! What all connections and the control port share.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use grammers_tl_types as tl;
use tokio_util::sync::CancellationToken;

use crate::account::store::{Accounts, StateError};
use crate::account::{Account, SessionFile, hex};
use crate::api::sign_in::Login;
use crate::calls::Calls;
use crate::clock;
use crate::flood::Floods;
use crate::links::Links;
use crate::mailbox::Mailboxes;
use crate::push::Pushes;
use crate::world::{DC_ID, Event, Timed, World, WorldError};

const SALT_SECONDS: i64 = 3600;

/// One simulated datacentre.
#[derive(Debug)]
pub(crate) struct Datacentre {
    pub(crate) world: World,
    pub(crate) accounts: Accounts,
    pub(crate) calls: Calls,
    pub(crate) floods: Floods,
    /// Where clients connect to.
    pub(crate) address: SocketAddr,
    pub(crate) links: Links,
    pub(crate) pushes: Pushes,
    pub(crate) mailboxes: Mailboxes,
    /// Held while an event happens and is told, so that pushes keep the order of events.
    pub(crate) playing: Mutex<()>,
    latency_ms: AtomicU64,
    cut: Mutex<CancellationToken>,
    /// Key id and session id of each session that was announced.
    sessions: Mutex<HashSet<(i64, i64)>>,
    logins: Mutex<HashMap<String, Login>>,
}

impl Datacentre {
    /// Takes the world, less the messages that were deleted in earlier runs.
    pub(crate) fn new(world: World, accounts: Accounts, address: SocketAddr) -> Self {
        for (chat, ids) in accounts.deletions() {
            // When is not remembered.
            let timed = Timed { date: Some(0), event: Event::Delete { chat, ids } };
            if world.play(timed).is_err() {
                tracing::warn!(chat.id = chat, "the state directory tells of deletions in a chat that this world has not");
            }
        }
        Self {
            world,
            accounts,
            calls: Calls::default(),
            floods: Floods::default(),
            address,
            links: Links::default(),
            pushes: Pushes::default(),
            mailboxes: Mailboxes::default(),
            playing: Mutex::default(),
            latency_ms: AtomicU64::new(0),
            cut: Mutex::default(),
            sessions: Mutex::default(),
            logins: Mutex::default(),
        }
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

    /// Whether a session is new; from now on it is not.
    pub(crate) fn is_new_session(&self, key_id: i64, session: i64) -> bool {
        lock(&self.sessions).insert((key_id, session))
    }

    /// Forgets a session; whether there was one.
    pub(crate) fn forget_session(&self, key_id: i64, session: i64) -> bool {
        lock(&self.sessions).remove(&(key_id, session))
    }

    /// Works on an account's sign-in.
    pub(crate) fn login<R>(&self, account: &str, work: impl FnOnce(&mut Login) -> R) -> R {
        work(lock(&self.logins).entry(account.to_owned()).or_default())
    }

    /// The last code that was sent to a phone.
    pub(crate) fn code(&self, phone: &str) -> Option<String> {
        let account = self.accounts.all().into_iter().find(|account| account.phone == phone)?;
        lock(&self.logins).get(&account.name).and_then(Login::code)
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
        SessionFile {
            dc: DC_ID,
            address: self.address.ip().to_string(),
            port: self.address.port(),
            key: hex(account.key.bytes()),
            user_id: account.signed_in.then_some(account.user_id),
        }
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

/// Server salts of an account: one an hour, computed, so that a restart keeps them.
pub(crate) fn salts(account: &Account, count: usize) -> Vec<tl::types::FutureSalt> {
    let hour = this_hour();
    (hour..)
        .take(count)
        .map(|hour| tl::types::FutureSalt {
            valid_since: (hour * SALT_SECONDS) as i32,
            // Two hours, so that the one before is still good while clients change over.
            valid_until: ((hour + 2) * SALT_SECONDS) as i32,
            salt: account.salt(hour),
        })
        .collect()
}

/// The salt to use now.
pub(crate) fn current_salt(account: &Account) -> i64 {
    account.salt(this_hour())
}

/// Whether a message may carry this salt now.
pub(crate) fn accepts_salt(account: &Account, salt: i64) -> bool {
    let hour = this_hour();
    [hour, hour - 1, hour + 1].into_iter().any(|hour| account.salt(hour) == salt)
}

fn this_hour() -> i64 {
    clock::now().as_secs() as i64 / SALT_SECONDS
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
