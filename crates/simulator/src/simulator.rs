//! The running server: what tests hold in their hands, and the binary serves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::account::store::{Accounts, StateError};
use crate::account::{AccountRequest, SessionFile};
use crate::calls::CallCounts;
use crate::connection;
use crate::control;
use crate::datacentre::{Datacentre, DeleteError};
use crate::flood::{FailRequest, FloodRequest};
use crate::push::{PushFaults, UpdateRules};
use crate::script::{self, Pace};
use crate::world::events::script::Step;
use crate::world::{EventError, Record, Timed, Truth, World, WorldError};

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
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: LOOPBACK, control: LOOPBACK, state: None }
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
        let mtproto = listen(options.listen).await?;
        let http = listen(options.control).await?;
        let accounts = Accounts::open(options.state.as_deref(), world.me)?;
        let address = reachable(mtproto.local_addr(), options.listen);
        let control = reachable(http.local_addr(), options.control);
        let datacentre = Arc::new(Datacentre::new(world, accounts, address));
        let tasks = vec![tokio::spawn(accept(mtproto, datacentre.clone())), tokio::spawn(control::serve(http, datacentre.clone()))];
        Ok(Self { datacentre, control, tasks })
    }

    /// Where MTProto is spoken.
    pub fn addr(&self) -> SocketAddr {
        self.datacentre.address
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

    /// What exists in a chat now, oldest first.
    ///
    /// # Errors
    /// Where there is no such chat.
    pub fn truth(&self, chat: i64) -> Result<Vec<Truth>, SimulatorError> {
        Ok(self.datacentre.world.truth(chat)?.collect())
    }

    /// The next `calls` calls of a method (`*`: of any) answer FLOOD_WAIT.
    pub fn flood(&self, method: &str, seconds: u32, calls: u64) {
        let flood = FloodRequest { method: method.to_owned(), seconds, calls, account: None };
        self.datacentre.floods.inject(flood.into());
    }

    /// The next calls of a method answer this error.
    pub fn fail(&self, request: FailRequest) {
        self.datacentre.floods.inject(request);
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

async fn accept(listener: TcpListener, datacentre: Arc<Datacentre>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection::serve(stream, datacentre.clone()));
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
