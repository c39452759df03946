//! A Telegram datacentre on loopback that speaks real MTProto 2.0, for tests, demo and benchmarks.
//!
//! An unmodified grammers client connects with a pre-shared authorization key and reads histories, chats, members and files. What
//! exists is a [`world::World`], generated from a seed or loaded from an export of Telegram Desktop; who asks is an account, made
//! through [`Simulator::account`] or the HTTP control port, which also tells the truth, counts calls and injects incidents.
//!
//! ```text
//! TCP ─► wire (framing, encryption, messages) ─► connection (service messages) ─► api (methods) ─► world
//!                                                        account, flood, calls ─┘        control (HTTP) ─┘
//! ```
//!
//! Nothing here was compared with the real Telegram; it follows its documentation.

mod account;
mod api;
mod calls;
pub mod cli;
mod clock;
mod compare;
mod connection;
mod control;
mod datacentre;
mod files;
mod flood;
mod http;
mod simulator;
mod srp;
mod wire;
pub mod world;

pub use account::store::StateError;
pub use account::{AccountRequest, SessionFile};
pub use calls::CallCounts;
pub use control::ChatLine;
pub use files::{Damage, DamageRequest, ReferenceRules};
pub use flood::{FailRequest, FloodRequest};
pub use simulator::{Options, Simulator, SimulatorError};
pub use world::{Truth, World};
