//! A Telegram datacentre on loopback that speaks real MTProto 2.0, for tests, demo and benchmarks.
//!
//! An unmodified client connects with a pre-shared authorization key, or makes one in a key exchange and signs in, and reads
//! histories, chats, members and files, and is told what happens. What
//! exists is a [`world::World`], generated from a seed or loaded from an export of Telegram Desktop; who asks is an account, made
//! through [`Simulator::account`] or the HTTP control port, which also tells the truth, counts calls and injects incidents.
//!
//! ```text
//! TCP ─► wire (framing, encryption, messages) ─► connection (service messages) ─► api (methods) ─► world
//!                                        handshake, session, salts ─┘                │    control (HTTP) ─┘
//!                                               account, conduct, fault, calls ─┘
//! ```
//!
//! Nothing here was compared with the real Telegram; it follows its documentation.

mod access;
mod account;
mod addresses;
mod api;
mod calls;
pub mod cli;
mod clock;
mod compare;
mod conduct;
mod connection;
mod control;
mod datacentre;
mod fault;
mod files;
mod handshake;
mod http;
mod mailbox;
mod playing;
mod push;
mod salts;
mod script;
mod session;
mod simulator;
mod srp;
mod violation;
mod wire;
pub mod world;

pub use account::authorization::Ended;
pub use account::store::StateError;
pub use account::{AccountRequest, SessionFile, Standing};
pub use calls::{CallCounts, Told};
pub use control::ChatLine;
pub use fault::{Fault, FaultKind};
pub use files::{Damage, DamageRequest, ReferenceRules};
pub use push::{PushFaults, UpdateRules};
pub use script::{Deed, Pace, Step, read as read_script};
pub use simulator::{Options, Simulator, SimulatorError};
pub use violation::{Limit, Offence, Violation};
pub use world::{Rules, Truth, World};
