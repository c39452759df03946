//! An account is this process's while it holds the account's lease: taken before a connection opens, renewed while it is used, and given
//! back once nothing is open any more.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::proxy::Way;
use super::{Accounts, Error, Result, SessionData, host};
use crate::clock;
use crate::record::AccountId;
use crate::record::lease::{self as table, Holder, LEASE, Taken};
use crate::record::node::{self, NewNode, NodeId};
use crate::telegram::dial::{DialError, Route};
use crate::telegram::wire::{Gate, Refused};
use crate::telemetry::metrics;

/// Between two renewals: a third of the lease.
const RENEW: Duration = Duration::from_secs(10);
/// After a renewal that failed.
const RENEW_AGAIN: Duration = Duration::from_secs(2);
/// A clock that is so far ahead of the database's is wrong: Telegram refuses messages that are numbered more than 30 s ahead.
const AHEAD: TimeDelta = TimeDelta::seconds(20);
/// How long a renewal may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What this process is to the others.
#[derive(Debug, Clone)]
pub struct Identity {
    pub name: String,
    /// This machine's address that connections leave from; none: the system chooses.
    pub source: Option<IpAddr>,
}

impl Default for Identity {
    fn default() -> Self {
        Self { name: host::name(), source: None }
    }
}

/// One account's lease in this process.
pub(super) struct Held {
    pub account: AccountId,
    pub token: i64,
    /// Nothing leaves after this: nanoseconds of [`clock::boottime`], measured from before the renewal was asked for.
    until: AtomicU64,
    /// The account is to be given back: its stream ends, after it has committed.
    pub leaving: CancellationToken,
    /// Another node has the account.
    lost: CancellationToken,
}

impl Held {
    fn new(account: AccountId, token: i64, asked: Duration) -> Self {
        let held =
            Self { account, token, until: AtomicU64::new(0), leaving: CancellationToken::new(), lost: CancellationToken::new() };
        held.renewed(asked);
        held
    }

    fn renewed(&self, asked: Duration) {
        self.until.fetch_max(nanos(asked + LEASE), Ordering::AcqRel);
    }

    /// Completes when the account is to be given back, or is another node's.
    pub async fn leaves(&self) {
        tokio::select! { () = self.leaving.cancelled() => {}, () = self.lost.cancelled() => {} }
    }

    fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Whether bytes may leave now.
    fn is_open(&self) -> bool {
        !self.is_lost() && nanos(clock::boottime()) < self.until.load(Ordering::Acquire)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The leases of this process, and its node.
#[derive(Default)]
pub(super) struct Leases {
    pub identity: Identity,
    node: tokio::sync::Mutex<Option<Node>>,
    held: Arc<Mutex<HashMap<AccountId, Arc<Held>>>>,
    /// An account was taken.
    pub taken: Notify,
    /// One account after the other is given back: what is recorded as closed must be closed, whoever began.
    giving_back: tokio::sync::Mutex<()>,
}

struct Node {
    id: NodeId,
    _renewals: AbortOnDropHandle<()>,
}

impl Leases {
    fn held(&self) -> MutexGuard<'_, HashMap<AccountId, Arc<Held>>> {
        lock(&self.held)
    }

    /// The lease of an account, if this process has it.
    pub fn of(&self, account: AccountId) -> Option<Arc<Held>> {
        self.held().get(&account).filter(|held| !held.is_lost()).cloned()
    }

    /// The accounts that this process has, and that it is not about to give back.
    pub fn kept(&self) -> Vec<Arc<Held>> {
        self.held().values().filter(|held| !held.is_lost() && !held.leaving.is_cancelled()).cloned().collect()
    }

    /// The accounts that were to be given back and are still here: something failed.
    pub fn leaving(&self) -> Vec<AccountId> {
        self.held().values().filter(|held| held.leaving.is_cancelled()).map(|held| held.account).collect()
    }

    /// The accounts that another node has by now: each told once.
    fn take_lost(&self) -> Vec<AccountId> {
        let mut held = self.held();
        let lost: Vec<AccountId> = held.iter().filter(|(_, held)| held.is_lost()).map(|(account, _)| *account).collect();
        held.retain(|_, held| !held.is_lost());
        lost
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Accounts {
    /// This process as the others see it, from its first use of an account on.
    pub async fn node(&self) -> Result<NodeId> {
        let mut node = self.leases.node.lock().await;
        if let Some(node) = &*node {
            return Ok(node.id);
        }
        let (host, process, name) = (host::name(), host::this(), self.name());
        let source = self.leases.identity.source.map_or_else(|| host.clone(), |source| source.to_string());
        let new = NewNode { name, host: &host, process: &process, source: &source };
        let id = node::begin(&mut *self.pool.acquire().await?, &new).await?;
        let renewals = renew(self.pool.clone(), id, Arc::clone(&self.leases.held));
        *node = Some(Node { id, _renewals: AbortOnDropHandle::new(tokio::spawn(renewals)) });
        Ok(id)
    }

    /// The account's lease: this process's, or taken where nobody has it.
    pub(super) async fn lease(&self, id: AccountId) -> Result<Arc<Held>> {
        if let Some(held) = self.leases.of(id) {
            return if held.leaving.is_cancelled() { Err(Error::LeaseOver(id)) } else { Ok(held) };
        }
        match self.try_lease(id).await? {
            Ok(held) => Ok(held),
            Err(why) => {
                let label = self.label_of(id).await?;
                Err(match why {
                    Busy::Held(holder) => Error::InUse { label, holder },
                    Busy::Pinned(nodes) => Error::Pinned { label, nodes: nodes.join(", ") },
                    Busy::JustLeft(wait) => Error::JustLeft { label, wait },
                })
            }
        }
    }

    /// The account for a moment in which nothing may use it: not even this process does.
    pub(super) async fn lease_alone(&self, id: AccountId) -> Result<Arc<Held>> {
        if self.leases.of(id).is_some() {
            let label = self.label_of(id).await?;
            let holder = Holder { node: "this process".into(), silent: Duration::ZERO, free_in: Duration::ZERO };
            return Err(Error::InUse { label, holder });
        }
        self.lease(id).await
    }

    async fn label_of(&self, id: AccountId) -> Result<String> {
        let account = self.list().await?.into_iter().find(|account| account.id == id);
        account.map(|account| account.label).ok_or(Error::Unknown(id))
    }

    /// Takes an account where nobody has it.
    pub(super) async fn try_lease(&self, id: AccountId) -> Result<std::result::Result<Arc<Held>, Busy>> {
        let node = self.node().await?;
        let mut tx = self.pool.begin().await?;
        let gone = self.gone(&mut tx).await?;
        let asked = clock::boottime();
        let taken = table::take(&mut tx, id, node, &gone).await?;
        tx.commit().await?;
        Ok(match taken {
            Taken::Token(token) => {
                let held = Arc::new(Held::new(id, token, asked));
                self.leases.held().insert(id, Arc::clone(&held));
                self.leases.taken.notify_one();
                metrics::LEASES_TAKEN.add(1, &[]);
                Ok(held)
            }
            Taken::Held(holder) => Err(Busy::Held(holder)),
            Taken::Pinned(nodes) => Err(Busy::Pinned(nodes)),
            Taken::JustLeft(wait) => Err(Busy::JustLeft(wait)),
        })
    }

    /// Whether what this process holds was renewed in time; also where it holds nothing.
    pub fn leases_are_renewed(&self) -> bool {
        self.leases.held().values().all(|held| held.is_lost() || held.is_open())
    }

    /// The name of this node.
    pub(super) fn name(&self) -> &str {
        &self.leases.identity.name
    }

    /// The accounts that this process has and keeps.
    pub(super) fn kept(&self) -> impl Iterator<Item = AccountId> {
        self.leases.kept().into_iter().map(|held| held.account)
    }

    /// The nodes that have not recorded their end though their processes are gone, as far as this host can prove it.
    pub(super) async fn gone(&self, conn: &mut PgConnection) -> Result<Vec<NodeId>> {
        let mut unended = node::unended(conn).await?;
        unended.retain(|(_, process)| host::is_gone(process));
        Ok(unended.into_iter().map(|(node, _)| node).collect())
    }

    /// Closes the connections of the accounts that another node has by now.
    pub(super) async fn forget_lost(&self) {
        for id in self.leases.take_lost() {
            if let Some(open) = self.open.lock().await.remove(&id) {
                open.connection.close().await;
            }
        }
    }

    /// Keeps the account this process's until the transaction ends. Fails where another node has taken it.
    pub async fn fence(&self, conn: &mut PgConnection, id: AccountId) -> Result<()> {
        let held = self.leases.of(id).ok_or(Error::LeaseOver(id))?;
        if table::fence(conn, id, held.token).await? {
            return Ok(());
        }
        held.lost.cancel();
        Err(Error::LeaseOver(id))
    }

    /// Gives an account back: closes its connection, and records that nothing is open any more.
    pub async fn give_back(&self, id: AccountId) -> Result<()> {
        let _one = self.leases.giving_back.lock().await;
        let Some(held) = self.leases.of(id) else { return Ok(()) };
        self.begin_giving_back(id).await?;
        if let Some(open) = self.open.lock().await.remove(&id) {
            open.connection.close().await;
        }
        // Whatever else may still be open is cut before the others are told.
        held.lost.cancel();
        self.leases.held().remove(&id);
        Ok(table::release(&mut *self.pool.acquire().await?, id, held.token).await?)
    }

    /// Gives an account back; what fails is told, and mends itself when the lease ends.
    pub(crate) async fn close_one(&self, id: AccountId) {
        if let Err(error) = self.give_back(id).await {
            tracing::warn!(account.id = id.0, error = %crate::error::chain(&error), "the account could not be given back");
        }
    }

    /// Jobs of the account are not claimed any more.
    pub(super) async fn begin_giving_back(&self, id: AccountId) -> Result<()> {
        let Some(held) = self.leases.of(id) else { return Ok(()) };
        held.leaving.cancel();
        Ok(table::begin_release(&mut *self.pool.acquire().await?, id, self.node().await?).await?)
    }

    /// Gives everything back, and ends this process's life as a node. What fails is told: the lease then ends by time, or by proof that
    /// this process is gone.
    pub(super) async fn leave(&self) {
        let Some(id) = self.leases.node.lock().await.as_ref().map(|node| node.id) else { return };
        let all: Vec<AccountId> = self.leases.held().keys().copied().collect();
        let left = async {
            for account in all {
                self.give_back(account).await?;
            }
            self.leases.node.lock().await.take();
            Ok::<_, Error>(node::end(&mut *self.pool.acquire().await?, id).await?)
        };
        if let Err(error) = left.await {
            tracing::warn!(error = %crate::error::chain(&error), "the accounts could not be given back; others take them over when they see that this process is gone");
        }
    }

    /// The gate of a connection that is no account's yet, but has the label of one: it goes the same way.
    pub(super) fn ungated(&self, label: &str, session: &SessionData) -> Arc<dyn Gate> {
        Arc::new(self.way(label, session))
    }

    fn way(&self, label: &str, session: &SessionData) -> Way {
        // Where no address of its home is known, none can be connected to.
        let home = session.home_address().unwrap_or_else(|| (std::net::Ipv4Addr::UNSPECIFIED, 0).into());
        Way::new(self.routes.clone(), label, home)
    }

    /// The gate of an account's relay.
    pub(super) fn gate(&self, held: Arc<Held>, node: NodeId, label: &str, session: &SessionData) -> Arc<dyn Gate> {
        Arc::new(LeaseGate { pool: self.pool.clone(), node, held, way: self.way(label, session) })
    }
}

/// Why an account is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Busy {
    Held(Holder),
    Pinned(Vec<String>),
    JustLeft(Duration),
}

/// Says that this machine's clock is too far ahead of the database's; none: it is not.
pub(super) async fn clock_is_ahead(conn: &mut PgConnection) -> sqlx::Result<Option<String>> {
    let ahead = clock::now() - node::clock(conn).await?;
    Ok((ahead > AHEAD).then(|| {
        format!(
            "this machine's clock is {} s ahead of the database's, and Telegram refuses what comes from the future: set the clocks right (as by NTP)",
            ahead.num_seconds()
        )
    }))
}

/// Renews what this process holds, and says that it lives, until it ends.
async fn renew(pool: PgPool, node: NodeId, held: Arc<Mutex<HashMap<AccountId, Arc<Held>>>>) {
    let mut failing = false;
    loop {
        tokio::time::sleep(if failing { RENEW_AGAIN } else { RENEW }).await;
        let all: Vec<Arc<Held>> = lock(&held).values().filter(|held| !held.is_lost()).cloned().collect();
        let asked = clock::boottime();
        match tokio::time::timeout(ANSWER, renew_once(&pool, node, &all, asked)).await {
            Ok(Ok(())) => failing = false,
            Ok(Err(error)) if !failing => {
                failing = true;
                tracing::warn!(%error, "the leases of the accounts are not renewed: in {} s nothing leaves any more", LEASE.as_secs());
            }
            Err(_) if !failing => {
                failing = true;
                tracing::warn!("the leases of the accounts are not renewed: the database does not answer");
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

async fn renew_once(pool: &PgPool, node: NodeId, all: &[Arc<Held>], asked: Duration) -> sqlx::Result<()> {
    let mut conn = pool.acquire().await?;
    let tokens: Vec<(AccountId, i64)> = all.iter().map(|held| (held.account, held.token)).collect();
    let ours = table::renew(&mut conn, node, &tokens).await?;
    for one in all {
        if ours.contains(&one.account) {
            one.renewed(asked);
        } else if !one.leaving.is_cancelled() {
            tracing::error!(
                account.id = one.account.0,
                "another node has taken the account: this process was stopped or cut off for too long"
            );
            one.lost.cancel();
        }
    }
    node::seen(&mut conn, node).await
}

/// Lets bytes leave while the lease lasts.
struct LeaseGate {
    pool: PgPool,
    node: NodeId,
    held: Arc<Held>,
    way: Way,
}

impl fmt::Debug for LeaseGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseGate").field("account", &self.held.account).field("token", &self.held.token).finish_non_exhaustive()
    }
}

impl LeaseGate {
    /// Proof that the account is ours at this moment.
    async fn prove(&self) -> std::result::Result<(), Refused> {
        if unfenced() {
            return Ok(());
        }
        let asked = clock::boottime();
        let renewed = async {
            let mut conn = self.pool.acquire().await?;
            let ours = table::renew(&mut conn, self.node, &[(self.held.account, self.held.token)]).await?;
            let ahead = clock_is_ahead(&mut conn).await?;
            if !ours.is_empty() && ahead.is_none() {
                table::used(&mut conn, self.held.account, self.node).await?;
            }
            Ok::<_, sqlx::Error>((ours, ahead))
        };
        match tokio::time::timeout(ANSWER, renewed).await {
            Ok(Ok((ours, Some(ahead)))) if !ours.is_empty() => Err(Refused::NotOurs(ahead)),
            Ok(Ok((ours, None))) if !ours.is_empty() => {
                self.held.renewed(asked);
                Ok(())
            }
            Ok(Ok(_)) => {
                self.held.lost.cancel();
                Err(Refused::NotOurs("another node has taken the account".into()))
            }
            Ok(Err(error)) => Err(Refused::NotOurs(format!("the database does not say whose the account is: {error}"))),
            Err(_) => Err(Refused::NotOurs("the database does not answer whose the account is".into())),
        }
    }
}

impl Gate for LeaseGate {
    fn open(&self) -> BoxFuture<'_, std::result::Result<Route, Refused>> {
        Box::pin(async {
            let route = self.way.open().await?;
            // The last thing before the connection: a proxy may have taken its time.
            self.prove().await?;
            Ok(route)
        })
    }

    fn is_open(&self) -> bool {
        (unfenced() || self.held.is_open()) && self.way.is_open()
    }

    fn dialled<'a>(&'a self, route: &'a Route, outcome: std::result::Result<Duration, &'a DialError>) -> BoxFuture<'a, ()> {
        self.way.dialled(route, outcome)
    }
}

/// The fence can be taken away in a build for tests, to prove that they see what it is for; never in a release.
fn unfenced() -> bool {
    cfg!(debug_assertions) && std::env::var_os("TELEKEEP_TEST_WITHOUT_FENCE").is_some()
}
