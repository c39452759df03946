//! An unmodified grammers client against the simulated datacentre.

#[path = "client/account.rs"]
mod account;
#[path = "client/bad_input.rs"]
mod bad_input;
#[path = "client/connection.rs"]
mod connection;
#[path = "client/control.rs"]
mod control;
#[path = "client/control_accounts.rs"]
mod control_accounts;
#[path = "client/datacentres.rs"]
mod datacentres;
#[path = "client/faults.rs"]
mod faults;
#[path = "client/files.rs"]
mod files;
#[path = "client/history.rs"]
mod history;
#[path = "client/keys.rs"]
mod keys;
#[path = "client/members.rs"]
mod members;
#[path = "client/peers.rs"]
mod peers;
#[path = "client/python.rs"]
mod python;
#[path = "client/raw.rs"]
mod raw;
#[path = "client/rules.rs"]
mod rules;
#[path = "client/session.rs"]
mod session;
#[path = "client/sign_in.rs"]
mod sign_in;
#[path = "client/updates.rs"]
mod updates;

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::Arc;

use grammers_client::Client;
use grammers_mtsender::{ConnectionParams, InvocationError, NoRetries, SenderPool};
use grammers_session::SessionData;
use grammers_session::storages::MemorySession;
use grammers_session::types::DcOption;
use grammers_tl_types as tl;
use telekeep_simulator::world::{Chat, ChatKind, GeneratedChat};
use telekeep_simulator::{Options, SessionFile, Simulator, World};

/// A channel, a supergroup with holes, a group and a private chat.
fn world() -> World {
    World::generated(
        7,
        [
            GeneratedChat::new(ChatKind::Channel, "Harbour", 730).named("harbour"),
            GeneratedChat::new(ChatKind::Supergroup, "Quay", 900).deleted(0.25).named("quay"),
            GeneratedChat::new(ChatKind::Supergroup, "Back room", 60),
            GeneratedChat::new(ChatKind::Group, "Night shift", 40),
            GeneratedChat::new(ChatKind::Private, "Maren", 30),
        ],
    )
}

async fn simulator() -> Simulator {
    Simulator::start(world(), Options::default()).await.expect("starts")
}

/// What a session file says, as grammers keeps it.
fn session_data(session: &SessionFile) -> SessionData {
    let ipv4 = SocketAddrV4::new(session.address.parse().expect("IPv4"), session.port);
    let ipv6 = std::net::SocketAddrV6::new(ipv4.ip().to_ipv6_mapped(), ipv4.port(), 0, 0);
    let dc = DcOption { id: session.dc, ipv4, ipv6, auth_key: Some(raw::key_of(session)) };
    SessionData { home_dc: session.dc, dc_options: HashMap::from([(session.dc, dc)]), ..SessionData::default() }
}

/// A client that connects with the session file's key.
fn client(session: &SessionFile) -> Client {
    client_in(session, &[session])
}

/// A client with a key in each of several datacentres.
fn client_in(home: &SessionFile, sessions: &[&SessionFile]) -> Client {
    let option = |session: &&SessionFile| {
        let ipv4 = SocketAddrV4::new(session.address.parse().expect("IPv4"), session.port);
        let ipv6 = std::net::SocketAddrV6::new(ipv4.ip().to_ipv6_mapped(), ipv4.port(), 0, 0);
        (session.dc, DcOption { id: session.dc, ipv4, ipv6, auth_key: Some(raw::key_of(session)) })
    };
    let dc_options = sessions.iter().map(option).collect::<HashMap<_, _>>();
    let data = SessionData { home_dc: home.dc, dc_options, ..SessionData::default() };
    let params = ConnectionParams { retry_policy: Box::new(NoRetries), ..ConnectionParams::default() };
    let pool = SenderPool::with_configuration(Arc::new(MemorySession::from(data)), 1, params);
    tokio::spawn(pool.runner.run());
    Client::new(pool.handle)
}

/// A signed-in client that is in every chat.
fn member(simulator: &Simulator) -> Client {
    client(&simulator.account("keeper").expect("an account"))
}

fn chat<'a>(simulator: &'a Simulator, title: &str) -> &'a Chat {
    simulator.world().chats().iter().find(|chat| chat.title == title).expect("is in the world")
}

/// A channel's input form, by its username.
async fn resolved(client: &Client, username: &str) -> tl::types::InputChannel {
    let call = tl::functions::contacts::ResolveUsername { username: username.to_owned(), referer: None };
    let tl::enums::contacts::ResolvedPeer::Peer(found) = client.invoke(&call).await.expect("resolves");
    let Some(tl::enums::Chat::Channel(channel)) = found.chats.into_iter().next() else { panic!("no channel") };
    tl::types::InputChannel { channel_id: channel.id, access_hash: channel.access_hash.expect("a hash") }
}

fn peer(channel: &tl::types::InputChannel) -> tl::enums::InputPeer {
    tl::types::InputPeerChannel { channel_id: channel.channel_id, access_hash: channel.access_hash }.into()
}

fn get_history(peer: tl::enums::InputPeer) -> tl::functions::messages::GetHistory {
    tl::functions::messages::GetHistory {
        peer,
        offset_id: 0,
        offset_date: 0,
        add_offset: 0,
        limit: 100,
        max_id: 0,
        min_id: 0,
        hash: 0,
    }
}

/// Ids of a page, as they came.
fn ids(messages: &tl::enums::messages::Messages) -> Vec<i32> {
    content(messages).iter().map(tl::enums::Message::id).collect()
}

fn content(messages: &tl::enums::messages::Messages) -> &[tl::enums::Message] {
    match messages {
        tl::enums::messages::Messages::Messages(page) => &page.messages,
        tl::enums::messages::Messages::Slice(page) => &page.messages,
        tl::enums::messages::Messages::ChannelMessages(page) => &page.messages,
        tl::enums::messages::Messages::NotModified(_) => &[],
    }
}

/// The name of the refusal, with its number.
#[track_caller]
fn refused<T>(result: Result<T, InvocationError>) -> String {
    match result {
        Err(InvocationError::Rpc(error)) => match error.value {
            Some(value) => format!("{}_{value}", error.name),
            None => error.name,
        },
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("was not refused"),
    }
}
