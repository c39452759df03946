//! Accounts: which there are, which of them reads a chat, and one connection for each in this process.
//!
//! Sessions are kept sealed in Postgres (`seal`), come from a file (`session_file`) or from a login, and are saved again when
//! they change. What a failed call says of an account (it is lost, it must rest) is recorded here; what becomes of the job is
//! for the job to decide. Each call is paid for (`permit`), and each account has one stream of updates (`stream`). An account is
//! one process's at a time (`lease`); the processes share the accounts among them (`keeper`).

pub mod audit;
mod error;
pub mod find;
pub mod health;
mod host;
pub mod joining;
pub mod keeper;
mod lease;
pub mod login;
mod permit;
pub mod proxy;
pub mod reader;
pub mod seal;
pub mod session_file;
pub mod session_string;
pub mod stream;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

pub use crate::record::Peer;
pub use crate::record::account::{Account, AccountState, Reader};
pub use error::{Error, Result};
pub use health::Shown;
pub use lease::Identity;
pub use login::{How, Step};
pub use seal::{KeySource, LostKey, SealKey};
pub use session_file::SessionFile;
pub use session_string::Format;

use crate::record::AccountId;
use crate::record::account::{self as table, Sealed, SealedAccount};
use crate::record::lease::{self as lease_table};
use crate::record::node::NodeId;
use crate::telegram::{self, Connection, Device, Phone, SessionData, TelegramConfig, budget, tl};
use lease::{Held, Leases};

/// How long an account rests after PEER_FLOOD, for which Telegram names no time. A day, because that limit is a warning.
pub const PEER_FLOOD_REST: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two tries to save a session while the database is away.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

/// The accounts of this process.
pub struct Accounts {
    pool: PgPool,
    telegram: TelegramConfig,
    key: KeySource,
    routes: proxy::Routes,
    leases: Leases,
    open: Mutex<HashMap<AccountId, Open>>,
    /// Connections of logins under way, by label.
    logins: Mutex<HashMap<String, Connection>>,
}

/// An account's connection in this process.
struct Open {
    connection: Connection,
    /// As it stands in Postgres, as far as this process knows; held while it is saved.
    sealed: Arc<Mutex<Sealed>>,
    /// How its calls are spread; none: not at all.
    pace: Option<f64>,
    /// Under which the connection was opened.
    held: Arc<Held>,
    _saver: AbortOnDropHandle<()>,
}

/// What a rotation of the key did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Names the key that seals from now on.
    pub key_id: String,
    /// Accounts that were sealed anew.
    pub sealed: usize,
    /// Accounts that no key opens: they were so before, and must be imported again.
    pub unreadable: Vec<String>,
    /// Passwords of proxies, likewise.
    pub proxies: proxy::Resealed,
    /// Whether the old keys are gone from their place; those of the environment are the operator's to remove.
    pub old_forgotten: bool,
}

impl Accounts {
    /// Opens nothing yet. The key file is made when the first session is sealed.
    pub fn new(pool: PgPool, telegram: TelegramConfig, key: impl Into<KeySource>) -> Self {
        let key = key.into();
        let routes = proxy::Routes::new(pool.clone(), key.clone(), None);
        Self { pool, telegram, key, routes, leases: Leases::default(), open: Mutex::default(), logins: Mutex::default() }
    }

    /// What this process is to the others.
    pub fn known_as(mut self, identity: Identity) -> Self {
        self.routes = proxy::Routes::new(self.pool.clone(), self.key.clone(), identity.source);
        self.leases.identity = identity;
        self
    }

    /// Proxies, and which account goes which way.
    pub fn routes(&self) -> &proxy::Routes {
        &self.routes
    }

    /// The record.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// All accounts, oldest first.
    pub async fn list(&self) -> Result<Vec<Account>> {
        Ok(table::list(&mut *self.pool.acquire().await?).await?)
    }

    /// Adds the account of a session file, or renews the one of the same user, or else of the same label. An account that was
    /// lost or held becomes active again.
    ///
    /// Where the session does not say whose it is, Telegram is asked; a session that Telegram refuses is not kept.
    pub async fn import(&self, label: &str, session: &SessionData, lost: LostKey) -> Result<Account> {
        let config = self.presenting(label).await?;
        if session.user_id.is_some() {
            return self.store(label, session, &config.device, lost).await;
        }
        self.seal_key(&mut *self.pool.acquire().await?, lost).await?;
        let connection = Connection::through(&config, session.clone(), self.ungated(label, session));
        let asked = connection.me().await;
        let session = connection.session();
        connection.close().await;
        let me = asked?;
        let session = SessionData { user_id: Some(me.id), phone: me.phone.map(Phone), ..session };
        self.store(label, &session, &config.device, lost).await
    }

    /// The account's authorisation in another client's form; none where that form has no place for it. Fails while a process
    /// uses the account.
    pub async fn export(&self, id: AccountId, format: Format) -> Result<Option<String>> {
        self.lease_alone(id).await?;
        let read = async {
            let mut conn = self.pool.acquire().await?;
            let row = table::sealed(&mut conn, id).await?.ok_or(Error::Unknown(id))?;
            let key = self.seal_key(&mut conn, LostKey::Refuse).await?;
            unseal_session(&key, &row.account.label, &row.session)
        }
        .await;
        self.give_back(id).await?;
        let session = read?;
        let address = session.home_address();
        Ok(address.and_then(|address| session_string::write(&session, format, address, self.telegram.api_id)))
    }

    /// Ends the account's authorisation at Telegram. The record keeps the account, as lost.
    pub async fn log_out(&self, id: AccountId) -> Result<()> {
        let connection = self.open(id).await?;
        match connection.invoke(&tl::functions::auth::LogOut {}).await {
            // ended already is as good
            Ok(_) | Err(telegram::Error::AccountLost { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.give_back(id).await?;
        let reason = Some("logged out with `telekeep account logout`");
        table::set_state(&mut *self.pool.acquire().await?, id, AccountState::Lost, reason).await?;
        Ok(())
    }

    /// Seals all sessions with a new key. What an interrupted rotation left is finished, with the key that it began. Fails while
    /// a process uses one of the accounts; those before it are done, and the next call goes on.
    pub async fn rotate_key(&self) -> Result<Rotation> {
        let _alone = table::hold_keys(&self.pool).await?.ok_or(Error::Rotating)?;
        let mut conn = self.pool.acquire().await?;
        let key = self.seal_key(&mut conn, LostKey::Refuse).await?.begin_rotation(&self.key)?;
        let mut rotation = Rotation {
            key_id: key.id().to_owned(),
            sealed: 0,
            unreadable: Vec::new(),
            proxies: proxy::seal_anew(&mut conn, &key).await?,
            old_forgotten: false,
        };
        for account in table::list(&mut conn).await? {
            self.lease_alone(account.id).await?;
            let sealed = reseal(&mut conn, &key, &account, &mut rotation).await;
            self.give_back(account.id).await?;
            sealed?;
        }
        self.reseal_invites(&mut conn, &key).await?;
        // half a login is begun anew
        table::forget_logins_but(&mut conn, key.id()).await?;
        rotation.old_forgotten = key.end_rotation(&self.key)?;
        Ok(rotation)
    }

    /// Where the account's home datacentre is reached; none for a number that is no datacentre's.
    pub async fn home_address(&self, id: AccountId) -> Result<Option<std::net::SocketAddr>> {
        let mut conn = self.pool.acquire().await?;
        let row = table::sealed(&mut conn, id).await?.ok_or(Error::Unknown(id))?;
        let key = self.seal_key(&mut conn, LostKey::Refuse).await?;
        Ok(unseal_session(&key, &row.account.label, &row.session)?.home_address())
    }

    /// The account of this label.
    pub async fn labelled(&self, label: &str) -> Result<Account> {
        let all = self.list().await?;
        all.into_iter().find(|account| account.label == label).ok_or_else(|| Error::NoLabel { label: label.to_owned() })
    }

    async fn seal_key(&self, conn: &mut PgConnection, lost: LostKey) -> Result<SealKey> {
        Ok(SealKey::open(&self.key, table::sealed_count(conn).await?, lost)?)
    }

    /// The configuration with the device of the account of this label: it stays the same for the account's life. A new account begins
    /// with the configured one.
    async fn presenting(&self, label: &str) -> Result<TelegramConfig> {
        let device = match table::device(&mut *self.pool.acquire().await?, label).await? {
            Some(known) => serde_json::from_value(known).map_err(|_| Error::NotUnderstood { label: label.to_owned() })?,
            None => self.telegram.device.clone(),
        };
        Ok(TelegramConfig { device, ..self.telegram.clone() })
    }

    async fn store(&self, label: &str, session: &SessionData, device: &Device, lost: LostKey) -> Result<Account> {
        let mut tx = self.pool.begin().await?;
        let key = self.seal_key(&mut tx, lost).await?;
        let found = table::find(&mut tx, label, session.user_id).await?;
        let id = match found {
            Some(known) => {
                let another = known.user_id.is_some() && session.user_id.is_some() && known.user_id != session.user_id;
                if another {
                    return Err(Error::LabelTaken { label: known.label });
                }
                let sealed = seal_session(&key, &known.label, &with_phone_of(&mut tx, &key, &known, session).await?)?;
                table::renew(&mut tx, known.id, session.user_id, &sealed).await?;
                known.id
            }
            None => {
                let sealed = seal_session(&key, label, session)?;
                let device = serde_json::to_value(device).unwrap_or_default();
                table::insert(&mut tx, label, session.user_id, &sealed, &device).await?
            }
        };
        let stored = table::sealed(&mut tx, id).await?.ok_or(Error::Unknown(id))?;
        tx.commit().await?;
        Ok(stored.account)
    }

    /// The account's connection: the one of this process, opened when there is none. Fails for an account that is held or lost.
    pub async fn open(&self, id: AccountId) -> Result<Connection> {
        let mut open = self.open.lock().await;
        // A save under way is waited for, so that it is not taken for somebody else's.
        let current = match open.get(&id) {
            Some(known) => Some((known.connection.clone(), Arc::clone(&known.sealed).lock_owned().await)),
            None => None,
        };
        let mut conn = self.pool.acquire().await?;
        let row = table::sealed(&mut conn, id).await?.ok_or(Error::Unknown(id))?;
        if let Some((connection, sealed)) = current {
            let ours = self.leases.of(id).is_some_and(|held| open.get(&id).is_some_and(|open| open.held.token == held.token));
            if ours && usable(&row.account).is_ok() && *sealed == row.session {
                return Ok(connection);
            }
            tracing::info!(account.label = %row.account.label, "the account was changed or taken elsewhere; closing its connection");
            connection.close().await;
            open.remove(&id);
        }
        usable(&row.account)?;
        let key = self.seal_key(&mut conn, LostKey::Refuse).await?;
        let held = self.lease(id).await?;
        let opened = self.connect(key, row, held, self.node().await?)?;
        let connection = opened.connection.clone();
        open.insert(id, opened);
        Ok(connection)
    }

    fn connect(&self, key: SealKey, row: SealedAccount, held: Arc<Held>, node: NodeId) -> Result<Open> {
        let SealedAccount { account, session: sealed, device } = row;
        let not_understood = || Error::NotUnderstood { label: account.label.clone() };
        let session = unseal_session(&key, &account.label, &sealed)?;
        if !session.pinned && self.telegram.api_id == 0 {
            return Err(crate::config::ConfigError::NoApi { path: crate::config::path() }.into());
        }
        let device: Device = serde_json::from_value(device).map_err(|_| not_understood())?;
        let config = TelegramConfig { device, ..self.telegram.clone() };
        let pace = budget::pace(config.pace, session.pinned);
        if budget::pace_is_refused(config.pace, session.pinned) {
            tracing::warn!(account.label = %account.label, "[telegram] pace is for simulated datacentres; Telegram's own pace is kept");
        }
        let gate = self.gate(Arc::clone(&held), node, &account.label, &session);
        let connection = Connection::through(&config, session, gate);
        let sealed = Arc::new(Mutex::new(sealed));
        let saver = save_changes(self.pool.clone(), account, key, connection.clone(), Arc::clone(&sealed), held.token);
        Ok(Open { connection, sealed, pace, held, _saver: AbortOnDropHandle::new(tokio::spawn(saver)) })
    }

    /// Notes how an account addresses peers, from what an answer told.
    pub async fn note_peers(&self, id: AccountId, peers: &[Peer]) -> Result<()> {
        let mut tx = self.pool.begin().await?;
        self.fence(&mut tx, id).await?;
        table::note_peers(&mut tx, id, peers).await?;
        Ok(tx.commit().await?)
    }

    /// How long this method must not be called yet by this account; none when it may.
    pub async fn resting(&self, id: AccountId, method: &str) -> Result<Option<Duration>> {
        Ok(table::resting(&mut *self.pool.acquire().await?, id, method).await?)
    }

    /// Records what a failed call says of its account: a rest, or that it is held or lost. Other failures say nothing of it.
    pub async fn learn(&self, id: AccountId, failed: &telegram::Error) -> Result<()> {
        use telegram::Error as Failed;
        match failed {
            Failed::Flood { method, wait } | Failed::SlowMode { method, wait } | Failed::TakeoutDelay { method, wait } => {
                tracing::info!(account.id = id.0, telegram.method = %method, wait_s = wait.as_secs(), "the method rests");
                self.rest(id, method, *wait, &failed.to_string()).await
            }
            Failed::PeerFlood { .. } => {
                tracing::warn!(account.id = id.0, wait_s = PEER_FLOOD_REST.as_secs(), "Telegram limits the account; it rests");
                self.rest(id, table::ALL_METHODS, PEER_FLOOD_REST, &failed.to_string()).await
            }
            Failed::AccountLost { .. } => self.stop(id, AccountState::Lost, failed).await,
            Failed::KeyDuplicated | Failed::KeyRefused => self.stop(id, AccountState::Held, failed).await,
            Failed::OverBudget { .. }
            | Failed::Transient { .. }
            | Failed::NotOurs { .. }
            | Failed::FileReferenceExpired { .. }
            | Failed::Inaccessible { .. }
            | Failed::Damaged { .. }
            | Failed::NoFile { .. }
            | Failed::PositionLost { .. }
            | Failed::Migrate { .. }
            | Failed::Login(_)
            | Failed::UnknownDatacentre
            | Failed::Undecodable { .. }
            | Failed::Unexpected { .. }
            | Failed::UnknownRpc { .. } => Ok(()),
        }
    }

    async fn rest(&self, id: AccountId, method: &str, wait: Duration, reason: &str) -> Result<()> {
        Ok(table::rest(&mut *self.pool.acquire().await?, id, method, wait, reason).await?)
    }

    /// At once: nobody opens the account again, and what is open is closed. Told once.
    async fn stop(&self, id: AccountId, state: AccountState, failed: &telegram::Error) -> Result<()> {
        let reason = failed.to_string();
        let mut tx = self.pool.begin().await?;
        let changed = table::set_state(&mut tx, id, state, Some(&reason)).await?;
        if matches!(failed, telegram::Error::KeyDuplicated) {
            table::spend_key(&mut tx, id).await?;
        }
        tx.commit().await?;
        if changed {
            tracing::error!(
                account.id = id.0,
                account.state = state.as_str(),
                reason,
                "the account is stopped: nothing asks it any more"
            );
        }
        self.give_back(id).await
    }

    /// Closes every connection of this process, and gives its accounts back.
    pub async fn close(&self) {
        let open: Vec<Open> = self.open.lock().await.drain().map(|(_, open)| open).collect();
        futures::future::join_all(open.iter().map(|open| open.connection.close())).await;
        self.leave().await;
    }
}

fn usable(account: &Account) -> Result<()> {
    match account.state {
        AccountState::Active | AccountState::Limited => Ok(()),
        AccountState::Held | AccountState::Lost => {
            Err(Error::NotActive { label: account.label.clone(), state: account.state, reason: account.state_reason.clone() })
        }
    }
}

/// The new session of a known account, with the phone that the old one knew where the new one was told none.
async fn with_phone_of(conn: &mut PgConnection, key: &SealKey, known: &Account, session: &SessionData) -> Result<SessionData> {
    let mut session = session.clone();
    if session.phone.is_none()
        && let Some(row) = table::sealed(conn, known.id).await?
        && let Ok(old) = unseal_session(key, &known.label, &row.session)
    {
        session.phone = old.phone;
    }
    Ok(session)
}

fn seal_session(key: &SealKey, label: &str, session: &SessionData) -> Result<Sealed> {
    // Plain data with text keys: it always becomes JSON.
    let plain = serde_json::to_vec(session).map_err(|_| Error::NotUnderstood { label: label.to_owned() })?;
    Ok(key.seal(label, &plain)?)
}

fn unseal_session(key: &SealKey, label: &str, sealed: &Sealed) -> Result<SessionData> {
    serde_json::from_slice(&key.unseal(label, sealed)?).map_err(|_| Error::NotUnderstood { label: label.to_owned() })
}

async fn reseal(conn: &mut PgConnection, key: &SealKey, account: &Account, rotation: &mut Rotation) -> Result<()> {
    let Some(row) = table::sealed(conn, account.id).await? else { return Ok(()) };
    if row.session.key_id == key.id() {
        return Ok(());
    }
    if !key.knows(&row.session.key_id) {
        rotation.unreadable.push(account.label.clone());
        return Ok(());
    }
    let session = key.seal(&account.label, &key.unseal(&account.label, &row.session)?)?;
    table::save_session(conn, account.id, &session).await?;
    rotation.sealed += 1;
    Ok(())
}

/// Saves a session each time that it changes, until the connection goes or another node has the account.
async fn save_changes(
    pool: PgPool,
    account: Account,
    key: SealKey,
    connection: Connection,
    sealed: Arc<Mutex<Sealed>>,
    token: i64,
) {
    loop {
        let session = connection.session_changed().await;
        loop {
            let mut current = sealed.lock().await;
            match save(&pool, &account, &key, &session, token).await {
                Ok(Some(saved)) => {
                    *current = saved;
                    break;
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(account.label = %account.label, %error, "the session could not be saved; trying again");
                }
            }
            drop(current);
            tokio::time::sleep(SAVE_AGAIN).await;
        }
    }
}

/// None: the account is another node's by now.
async fn save(pool: &PgPool, account: &Account, key: &SealKey, session: &SessionData, token: i64) -> Result<Option<Sealed>> {
    let sealed = seal_session(key, &account.label, session)?;
    let mut tx = pool.begin().await?;
    if !lease_table::fence(&mut tx, account.id, token).await? {
        return Ok(None);
    }
    table::save_session(&mut tx, account.id, &sealed).await?;
    tx.commit().await?;
    Ok(Some(sealed))
}

#[cfg(test)]
mod tests;
