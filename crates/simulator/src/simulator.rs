//! The running server: what tests hold in their hands, and the binary serves.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::account::authorization::Ended;
use crate::account::store::{Accounts, StateError};
use crate::account::{Account, AccountRequest, SessionFile, Standing};
use crate::calls::{CallCounts, Told};
use crate::connection;
use crate::control;
use crate::datacentre::{Datacentre, DeleteError};
use crate::fault::Fault;
use crate::files::{DamageRequest, ReferenceRules};
use crate::push::{PushFaults, UpdateRules};
use crate::script::{self, Pace, Step};
use crate::violation::Violation;
use crate::world::{DC_ID, EventError, Member, Record, Rules, Timed, Truth, World, WorldError};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Where to listen and what to keep.
#[derive(Debug, Clone)]
pub struct Options {
    /// MTProto; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The HTTP control port; port 0 takes a free one.
    pub control: SocketAddr,
    /// Keys, accounts and deletions are kept here; without it they end with the process.
    pub state: Option<PathBuf>,
    /// How many datacentres there are, 1 to 5: only [`DC_ID`], or those from 1 on. `listen` is where [`DC_ID`] is; the others are on
    /// free ports of the same address, or, where the port is told, as many ports further as their number says.
    pub datacentres: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: LOOPBACK, control: LOOPBACK, state: None, datacentres: 1 }
    }
}

/// Why the simulator cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    #[error("cannot listen on {address}: {source}; choose a free port, or 0 to be given one")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    World(#[from] WorldError),
    #[error("there is no account `{0}`; make it first")]
    NoAccount(String),
    #[error(transparent)]
    Event(#[from] EventError),
}

impl From<DeleteError> for SimulatorError {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::World(error) => error.into(),
            DeleteError::State(error) => error.into(),
        }
    }
}

/// A datacentre that serves until it is dropped.
#[derive(Debug)]
pub struct Simulator {
    datacentre: Arc<Datacentre>,
    control: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Simulator {
    /// Begins to listen on both ports.
    ///
    /// # Errors
    /// Where a port is taken or the state directory cannot be used.
    pub async fn start(world: World, options: Options) -> Result<Self, SimulatorError> {
        let mut listeners = Vec::new();
        for dc in datacentres(options.datacentres) {
            let mut asked = options.listen;
            if dc != DC_ID && asked.port() != 0 {
                asked.set_port(asked.port().wrapping_add(dc as u16));
            }
            listeners.push((dc, asked, listen(asked).await?));
        }
        let http = listen(options.control).await?;
        let accounts = Accounts::open(options.state.as_deref(), world.me)?;
        let addresses = listeners.iter().map(|(dc, asked, listener)| (*dc, reachable(listener.local_addr(), *asked))).collect();
        let control = reachable(http.local_addr(), options.control);
        let datacentre = Arc::new(Datacentre::new(world, accounts, addresses));
        let mut tasks = vec![tokio::spawn(control::serve(http, datacentre.clone()))];
        tasks.extend(listeners.into_iter().map(|(dc, _, listener)| tokio::spawn(accept(listener, dc, datacentre.clone()))));
        Ok(Self { datacentre, control, tasks })
    }

    /// Where MTProto is spoken.
    pub fn addr(&self) -> SocketAddr {
        self.datacentre.address
    }

    /// Where each datacentre speaks MTProto.
    pub fn addresses(&self) -> &BTreeMap<i32, SocketAddr> {
        &self.datacentre.addresses
    }

    /// The server's public RSA key, PKCS #1 as PEM, and its fingerprint. A key is made when it is first asked for, which takes about a
    /// second: one of the state directory, or one of this process.
    pub fn rsa_key(&self) -> (String, i64) {
        let key = self.datacentre.accounts.rsa_key();
        (key.pem(), key.fingerprint())
    }

    /// The control port's address.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// The world that is served.
    pub fn world(&self) -> &World {
        &self.datacentre.world
    }

    /// The session file of a signed-in account that is in every chat; the account is made if there is none of that name.
    ///
    /// # Errors
    /// Where the state directory cannot be written.
    pub fn account(&self, name: &str) -> Result<SessionFile, SimulatorError> {
        if let Some(account) = self.datacentre.accounts.by_name(name) {
            return Ok(self.datacentre.session_file(&account));
        }
        self.account_with(&AccountRequest::named(name))
    }

    /// Makes an account as asked, or changes it; its key stays.
    ///
    /// # Errors
    /// Where the state directory cannot be written.
    pub fn account_with(&self, request: &AccountRequest) -> Result<SessionFile, SimulatorError> {
        let account = self.datacentre.accounts.upsert(request)?;
        Ok(self.datacentre.session_file(&account))
    }

    /// A key of the account's own in a datacentre that is not its home, as the session file to connect there. Nobody is signed in with
    /// it until an exported authorization is imported.
    ///
    /// # Errors
    /// Where there is no such account, or the state directory cannot be written.
    pub fn account_abroad(&self, name: &str, dc: i32) -> Result<SessionFile, SimulatorError> {
        let account = self.known(name)?;
        let key = self.datacentre.accounts.foreign_key(name, dc)?;
        Ok(self.datacentre.foreign_session_file(&account, &key))
    }

    /// Ends all authorizations of an account; gives how many there were.
    ///
    /// # Errors
    /// Where there is no such account, or the state directory cannot be written.
    pub fn revoke(&self, name: &str, why: Ended) -> Result<usize, SimulatorError> {
        self.known(name)?;
        Ok(self.datacentre.accounts.revoke(name, why)?)
    }

    /// Deactivates an account, bans it, or lets it be again.
    ///
    /// # Errors
    /// Where there is no such account, or the state directory cannot be written.
    pub fn set_standing(&self, name: &str, standing: Standing) -> Result<(), SimulatorError> {
        self.known(name)?;
        self.datacentre.accounts.change_account(name, |account| account.standing = standing)?;
        Ok(())
    }

    fn known(&self, name: &str) -> Result<Arc<Account>, SimulatorError> {
        self.datacentre.accounts.by_name(name).ok_or_else(|| SimulatorError::NoAccount(name.to_owned()))
    }

    /// Server salts last this many seconds from now on (an hour at first): clients have to change over.
    pub fn set_salt_seconds(&self, seconds: u32) {
        self.datacentre.salts.set_seconds(seconds);
    }

    /// The codes that were sent are too old from now on.
    pub fn expire_codes(&self) {
        self.datacentre.logins.expire_codes();
    }

    /// The next key exchanges, so many, have to try another key (`dh_gen_retry`).
    pub fn retry_key_exchanges(&self, times: u32) {
        self.datacentre.retry_keys(times);
    }

    /// The code that was sent last to this phone, digits only.
    pub fn code(&self, phone: &str) -> Option<String> {
        self.datacentre.code(phone)
    }

    /// How often a method was called, such as `messages.getHistory`.
    pub fn calls(&self, method: &str) -> u64 {
        self.datacentre.calls.of(method)
    }

    /// All counts.
    pub fn call_counts(&self) -> CallCounts {
        self.datacentre.calls.snapshot()
    }

    /// Counts from now on how often each message is told by messages.getHistory.
    pub fn count_told(&self) {
        self.datacentre.calls.count_told();
    }

    /// What [`Simulator::count_told`] has counted, by chat and the world's id.
    pub fn told(&self) -> Told {
        self.datacentre.calls.told_so_far()
    }

    /// How many connections were opened so far, by the address that they came from.
    pub fn connections(&self) -> BTreeMap<IpAddr, u64> {
        self.datacentre.sources.connections()
    }

    /// What exists in a chat now, oldest first.
    ///
    /// # Errors
    /// Where there is no such chat.
    pub fn truth(&self, chat: i64) -> Result<Vec<Truth>, SimulatorError> {
        Ok(self.datacentre.world.truth(chat)?.collect())
    }

    /// What accounts did that a decent collector does not, oldest first.
    pub fn violations(&self) -> Vec<Violation> {
        self.datacentre.violations.all()
    }

    /// Limits accounts otherwise from now on; `None` lifts all limits.
    ///
    /// # Errors
    /// Says which figure makes no sense.
    pub fn set_rules(&self, rules: Option<Rules>) -> Result<(), String> {
        if let Some(problem) = rules.as_ref().and_then(Rules::problem) {
            return Err(problem);
        }
        self.datacentre.set_rules(rules);
        Ok(())
    }

    /// The next `calls` calls of a method (`*`: of any) answer FLOOD_WAIT. What is told is watched, not enforced: a call before
    /// its end is a violation, and is answered once the calls are used up, so that a test need not wait.
    pub fn flood(&self, method: &str, seconds: u32, calls: u64) {
        self.fail(Fault::error(420, &format!("FLOOD_WAIT_{seconds}")).of(method).times(calls));
    }

    /// Something goes wrong from now on.
    pub fn fail(&self, fault: Fault) {
        self.datacentre.faults.add(fault);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.datacentre.faults.clear();
    }

    /// When file references expire from now on.
    pub fn set_reference_rules(&self, rules: ReferenceRules) {
        self.datacentre.files.set_rules(rules);
    }

    /// All file references that were told so far expire.
    pub fn expire_references(&self) {
        self.datacentre.files.expire();
    }

    /// Parts of files are served damaged.
    pub fn damage(&self, request: DamageRequest) {
        self.datacentre.files.damage(request);
    }

    /// Files are served whole again, and references no longer expire.
    pub fn heal_files(&self) {
        self.datacentre.files.heal();
    }

    /// Everyone who is or was in a chat or is banned from it, accounts included, in the order of joining.
    ///
    /// # Errors
    /// Where there is no such chat.
    pub fn members(&self, chat: i64) -> Result<Vec<Member>, SimulatorError> {
        let chat = self.datacentre.world.chat(chat).ok_or(WorldError::NoChat(chat))?;
        Ok(self.datacentre.present(chat).everyone().collect())
    }

    /// Closes all connections; clients may connect again at once.
    pub fn cut(&self) {
        self.datacentre.cut();
    }

    /// Delays each answer to a call.
    pub fn set_latency(&self, latency: Duration) {
        self.datacentre.set_latency(latency);
    }

    /// Lets an event happen, and pushes what accounts learn of it. It happens whole or not at all.
    ///
    /// # Errors
    /// Names the field of the event that does not fit the world.
    pub fn play(&self, event: impl Into<Timed>) -> Result<Arc<Record>, SimulatorError> {
        Ok(self.datacentre.play(event.into(), None)?)
    }

    /// Plays a script, in the background.
    pub fn run_script(&mut self, steps: Vec<Step>, pace: Pace) {
        self.tasks.push(tokio::spawn(script::play(self.datacentre.clone(), steps, pace)));
    }

    /// What goes wrong with the next pushes.
    pub fn fault_pushes(&self, faults: PushFaults) {
        self.datacentre.pushes.inject(faults);
    }

    /// Keeps the news of a chat from those who do not ask for its difference, as the server does in big channels.
    pub fn silence(&self, chat: i64, silent: bool) {
        self.datacentre.pushes.silence(chat, silent);
    }

    /// How differences are cut from now on.
    pub fn set_update_rules(&self, rules: UpdateRules) {
        self.datacentre.pushes.set_rules(rules);
    }

    /// What an account can know of a chat now, oldest first: its own ids, and nothing that is hidden from it.
    ///
    /// # Errors
    /// Where there is no such chat.
    pub fn truth_of(&self, account: &str, chat: i64) -> Result<Vec<Truth>, SimulatorError> {
        Ok(self.datacentre.truth_of(account, chat)?)
    }

    /// Deletes messages as their author would; gives those that existed until now.
    ///
    /// # Errors
    /// Where there is no such chat, or the state directory cannot be written.
    pub fn delete(&self, chat: i64, ids: &[i32]) -> Result<Vec<i32>, SimulatorError> {
        Ok(self.datacentre.delete(chat, ids)?)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.datacentre.cut();
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, SimulatorError> {
    TcpListener::bind(address).await.map_err(|source| SimulatorError::Listen { address, source })
}

/// The address to tell others: what was asked for, with the port that was given.
fn reachable(bound: std::io::Result<SocketAddr>, asked: SocketAddr) -> SocketAddr {
    let mut address = bound.unwrap_or(asked);
    if address.ip().is_unspecified() {
        address.set_ip(LOOPBACK.ip());
    }
    address
}

/// The ids of so many datacentres.
fn datacentres(count: u8) -> Vec<i32> {
    if count < 2 { vec![DC_ID] } else { (1..=i32::from(count.min(5))).collect() }
}

async fn accept(listener: TcpListener, dc: i32, datacentre: Arc<Datacentre>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                tokio::spawn(connection::serve(stream, from.ip(), dc, datacentre.clone()));
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
