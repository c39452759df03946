//! One client connection: packets in, service messages, calls, packets out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use grammers_tl_types as tl;
use rand::RngExt;
use tl::{Deserializable, Identifiable};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::account::authorization::Authorization;
use crate::api::Origin;
use crate::datacentre::Datacentre;
use crate::fault::Strike;
use crate::handshake::KeyExchange;
use crate::session::{Outlet, Receipt, Send, Session, Waiting};
use crate::wire::WireError;
use crate::wire::crypto::i64_at;
use crate::wire::framing::{PacketReader, PacketWriter};
use crate::wire::message::{CONTAINER_ID, MAX_UNPACKED, Message, Numbered, OVERHEAD, Outgoing, Packet, simple_messages, unpacked};
use crate::{api, clock};

/// Without a `ping_delay_disconnect` a silent connection is kept this long.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long a refused client is given to read why.
const FLUSH: Duration = Duration::from_secs(1);
/// A packet is closed at this size; clients read at most about a megabyte.
const PACKET_FULL: usize = 512 * 1024;
const CONTAINER_FULL: usize = 100;
/// A client that reads less than it asks for is not read from beyond so many bytes of answers.
const UNWRITTEN: usize = 8 << 20;
/// Sessions that one connection carries at a time.
const SESSIONS: usize = 16;
const UNKNOWN_KEY: i32 = 404;
/// Long enough to look like an answer.
const GARBAGE: usize = 256;

/// Serves one connection to one datacentre until either side closes it.
pub(crate) async fn serve(stream: TcpStream, from: IpAddr, dc: i32, datacentre: Arc<Datacentre>) {
    datacentre.sources.connected(from);
    let cut = datacentre.cut_signal();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "TCP_NODELAY cannot be set");
    }
    let served = tokio::select! {
        () = cut.cancelled() => return,
        served = run(stream, from, dc, datacentre) => served,
    };
    match served {
        Ok(()) => {}
        Err(WireError::Io(error)) => tracing::debug!(error = %error, "connection ended"),
        Err(error) => tracing::warn!(error = %error, "connection closed"),
    }
}

async fn run(stream: TcpStream, from: IpAddr, dc: i32, datacentre: Arc<Datacentre>) -> Result<(), WireError> {
    let (read, write) = stream.into_split();
    let Ok(accepted) = timeout(IDLE, PacketReader::accept(BufReader::new(read))).await else { return Ok(()) };
    let reader = accepted?;
    let (outlet, receiver, waiting) = Outlet::new();
    let writing = write_all(write, reader.writer(), receiver, datacentre.clone(), waiting.clone());
    let reading = Reading {
        datacentre,
        dc,
        from,
        outlet,
        waiting,
        deadline: clock::after(IDLE),
        exchange: KeyExchange::None,
        sessions: HashMap::new(),
    };
    tokio::pin!(writing);
    tokio::select! {
        written = &mut writing => written.map_err(WireError::from),
        read = reading.run(reader) => {
            if read.is_err() {
                // The reason may still be queued; answers that are delayed are not waited for.
                let _ = timeout(FLUSH, writing).await;
            }
            read
        }
    }
}

struct Reading {
    datacentre: Arc<Datacentre>,
    dc: i32,
    from: IpAddr,
    outlet: Outlet,
    waiting: Arc<Waiting>,
    deadline: Instant,
    exchange: KeyExchange,
    /// The sessions that speak over this connection, by key and id.
    sessions: HashMap<(i64, i64), Arc<Session>>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.sessions.values().for_each(|session| session.detach(&self.outlet));
    }
}

impl Reading {
    async fn run(mut self, mut reader: PacketReader<BufReader<OwnedReadHalf>>) -> Result<(), WireError> {
        loop {
            let next = async {
                self.waiting.at_most(UNWRITTEN).await;
                reader.next().await
            };
            let Ok(packet) = timeout_at(self.deadline, next).await else {
                return Ok(());
            };
            let Some(packet) = packet? else { return Ok(()) };
            if let Err(error) = self.packet(packet) {
                // "An unknown key, or a message that is not encrypted with it"; a client makes a new one or gives up.
                self.outlet.send(Send::Error(UNKNOWN_KEY));
                return Err(error);
            }
        }
    }

    fn packet(&mut self, mut packet: Vec<u8>) -> Result<(), WireError> {
        let key_id = i64_at(&packet, 0);
        if key_id == 0 {
            if let Some(answer) = self.exchange.answer(&self.datacentre, self.dc, &packet)? {
                self.outlet.send(Send::Unencrypted(answer));
            }
            return Ok(());
        }
        let key = self.datacentre.accounts.key(key_id).filter(|key| key.dc == self.dc && !has_expired(key));
        let key = key.ok_or(WireError::UnknownKey(key_id))?;
        let plain = key.key.open(&mut packet)?;
        self.datacentre.heard_from(key_id, self.from);
        let Packet { salt, session, outer } = Packet::read(&plain)?;
        let session = self.session(&key, session);
        let link = Link { key, session, outlet: self.outlet.clone() };

        if let Some(code) = bad_message_id(outer.id) {
            link.refuse(&outer, code);
            return Ok(());
        }
        if !self.datacentre.salts.accepts(&link.key, salt) {
            link.bad_salt(&outer, self.datacentre.salts.current(&link.key.key));
            return Ok(());
        }
        if link.session.announce() {
            let (now, from) = (clock::unix_now(), self.from.to_string());
            self.datacentre.accounts.note(key_id, |key| (key.last_seen, key.address) = (now, from));
            link.send(Outgoing::notice(&tl::enums::NewSession::Created(tl::types::NewSessionCreated {
                first_msg_id: outer.id,
                unique_id: rand::random(),
                server_salt: self.datacentre.salts.current(&link.key.key),
            })));
        }
        self.messages(&link, outer)
    }

    /// The session that a packet belongs to, joined with this connection.
    fn session(&mut self, key: &Authorization, id: i64) -> Arc<Session> {
        if let Some(session) = self.sessions.get(&(key.key.id(), id)) {
            return session.clone();
        }
        if self.sessions.len() >= SESSIONS {
            self.sessions.drain().for_each(|(_, session)| session.detach(&self.outlet));
        }
        let session = self.datacentre.sessions.of(&key.key, id);
        session.attach(&self.outlet);
        self.sessions.insert((key.key.id(), id), session.clone());
        session
    }

    fn messages(&mut self, link: &Link, outer: Message) -> Result<(), WireError> {
        let container = (outer.constructor() == CONTAINER_ID).then_some(outer.id);
        let envelope = Message { body: Vec::new(), ..outer };
        let refused = match container {
            Some(id) if link.session.has_received(id) => Some(19),
            Some(_) if envelope.seq_no % 2 != 0 => Some(34),
            _ => None,
        };
        if let Some(code) = refused {
            link.refuse(&envelope, code);
            return Ok(());
        }
        let Ok(messages) = simple_messages(outer) else {
            link.refuse(&envelope, 64);
            return Ok(());
        };
        let mut budget = MAX_UNPACKED;
        let mut received = Vec::new();
        for message in messages {
            let message = unpacked(message, &mut budget)?;
            if let Some(code) = wrong_place(&message, container) {
                link.refuse(&message, code);
                continue;
            }
            match link.session.receive(message.id, message.seq_no) {
                Receipt::Refused(code) => {
                    link.refuse(&message, code);
                    continue;
                }
                Receipt::Repeated => link.session.answer_again(&self.outlet, message.id),
                Receipt::Fresh => self.message(link, &message)?,
            }
            if message.seq_no % 2 == 1 {
                received.push(message.id);
            }
        }
        if let Some(id) = container {
            link.session.receive(id, envelope.seq_no);
        }
        if !received.is_empty() {
            link.send(Outgoing::service(&tl::enums::MsgsAck::Ack(tl::types::MsgsAck { msg_ids: received })));
        }
        Ok(())
    }

    fn message(&mut self, link: &Link, message: &Message) -> Result<(), WireError> {
        match message.constructor() {
            tl::types::MsgsAck::CONSTRUCTOR_ID => {
                let told: tl::types::MsgsAck = read(&message.body)?;
                link.session.acknowledged(&told.msg_ids);
            }
            tl::types::MsgsAllInfo::CONSTRUCTOR_ID
            | tl::types::MsgsStateInfo::CONSTRUCTOR_ID
            | tl::types::HttpWait::CONSTRUCTOR_ID => {}
            tl::functions::Ping::CONSTRUCTOR_ID => {
                let ping: tl::functions::Ping = read(&message.body)?;
                link.pong(message.id, ping.ping_id);
            }
            tl::functions::PingDelayDisconnect::CONSTRUCTOR_ID => {
                let ping: tl::functions::PingDelayDisconnect = read(&message.body)?;
                let delay = u64::try_from(ping.disconnect_delay).unwrap_or(0);
                self.deadline = clock::after(Duration::from_secs(delay));
                link.pong(message.id, ping.ping_id);
            }
            tl::functions::GetFutureSalts::CONSTRUCTOR_ID => {
                let wanted: tl::functions::GetFutureSalts = read(&message.body)?;
                let count = usize::try_from(wanted.num).unwrap_or(0).clamp(2, 64);
                link.send(Outgoing::service(&tl::enums::FutureSalts::Salts(tl::types::FutureSalts {
                    req_msg_id: message.id,
                    now: clock::unix_now(),
                    salts: tl::RawVec(self.datacentre.salts.future(&link.key.key, count)),
                })));
            }
            tl::types::MsgsStateReq::CONSTRUCTOR_ID => {
                let wanted: tl::types::MsgsStateReq = read(&message.body)?;
                link.tell_states(message.id, &wanted.msg_ids);
            }
            tl::types::MsgResendReq::CONSTRUCTOR_ID => {
                let wanted: tl::types::MsgResendReq = read(&message.body)?;
                if !link.session.resend(&self.outlet, &wanted.msg_ids).is_empty() {
                    link.tell_states(message.id, &wanted.msg_ids);
                }
            }
            tl::functions::DestroySession::CONSTRUCTOR_ID => {
                let wanted: tl::functions::DestroySession = read(&message.body)?;
                let session_id = wanted.session_id;
                let known = session_id != link.session.id && self.datacentre.sessions.forget(link.key.key.id(), session_id);
                let result: tl::enums::DestroySessionRes = if known {
                    tl::types::DestroySessionOk { session_id }.into()
                } else {
                    tl::types::DestroySessionNone { session_id }.into()
                };
                link.send(Outgoing::service(&result));
            }
            tl::functions::RpcDropAnswer::CONSTRUCTOR_ID => {
                let wanted: tl::functions::RpcDropAnswer = read(&message.body)?;
                let dropped = link.session.drop_answer(wanted.req_msg_id);
                link.send(Outgoing::result(message.id, &tl::Serializable::to_bytes(&dropped), false));
            }
            _ => self.call(link, message),
        }
        Ok(())
    }

    fn call(&self, link: &Link, message: &Message) {
        let request = message.id;
        link.session.begin(request);
        let origin = Origin { key: link.key.clone(), session: link.session.clone(), dc: self.dc, message: request };
        let (result, pack, strike) = match api::answer(&self.datacentre, origin, &message.body) {
            Ok(answer) => (answer.bytes, answer.pack, answer.strike),
            Err(failure) => (failure.to_bytes(), false, None),
        };
        let mut latency = self.datacentre.latency();
        let instead = match strike {
            None => None,
            Some(Strike::Delay(delay)) => {
                latency += delay;
                None
            }
            Some(Strike::Drip(bytes_per_second)) => {
                link.outlet.send(Send::Drip(bytes_per_second));
                None
            }
            Some(Strike::Silence) => Some(None),
            Some(Strike::WrongSalt) => {
                link.bad_salt(message, self.datacentre.salts.current(&link.key.key));
                Some(None)
            }
            Some(Strike::HalfOpen) => Some(Some(Send::Nothing)),
            Some(Strike::Garbage) => Some(Some(Send::Garbage)),
            Some(Strike::Cut) => Some(Some(Send::Close { reset: false })),
            Some(Strike::Reset) => Some(Some(Send::Close { reset: true })),
        };
        if let Some(instead) = instead {
            link.session.finish(request);
            if let Some(sent) = instead {
                link.outlet.send(sent);
            }
            return;
        }
        let answer = Outgoing::result(request, &result, pack);
        if latency.is_zero() {
            return link.answer(request, answer);
        }
        let link = link.clone();
        tokio::spawn(async move {
            tokio::time::sleep(latency).await;
            link.answer(request, answer);
        });
    }
}

/// The way back to one session.
#[derive(Clone)]
struct Link {
    /// As it was when the packet came.
    key: Arc<Authorization>,
    session: Arc<Session>,
    outlet: Outlet,
}

impl Link {
    fn send(&self, message: Outgoing) {
        self.session.send(Some(&self.outlet), message);
    }

    /// Sends a call's answer, unless the client has dropped it.
    fn answer(&self, request: i64, answer: Outgoing) {
        if self.session.finish(request) {
            self.send(answer);
        }
    }

    fn refuse(&self, message: &Message, error_code: i32) {
        self.send(Outgoing::service(&tl::enums::BadMsgNotification::Notification(tl::types::BadMsgNotification {
            bad_msg_id: message.id,
            bad_msg_seqno: message.seq_no,
            error_code,
        })));
    }

    fn bad_salt(&self, message: &Message, new_server_salt: i64) {
        self.send(Outgoing::service(&tl::enums::BadMsgNotification::BadServerSalt(tl::types::BadServerSalt {
            bad_msg_id: message.id,
            bad_msg_seqno: message.seq_no,
            error_code: 48,
            new_server_salt,
        })));
    }

    fn pong(&self, msg_id: i64, ping_id: i64) {
        self.send(Outgoing::service(&tl::enums::Pong::Pong(tl::types::Pong { msg_id, ping_id })));
    }

    fn tell_states(&self, req_msg_id: i64, ids: &[i64]) {
        let info = ids.iter().map(|id| self.session.state_of(*id)).collect();
        self.send(Outgoing::service(&tl::enums::MsgsStateInfo::Info(tl::types::MsgsStateInfo { req_msg_id, info })));
    }
}

/// Reads a boxed object whose constructor was looked at already.
fn read<T: Deserializable>(body: &[u8]) -> Result<T, WireError> {
    Ok(T::from_bytes(body.get(4..).unwrap_or_default())?)
}

/// Ids of clients are divisible by 4 and carry the time, as far as the clocks agree
/// (<https://core.telegram.org/mtproto/service_messages_about_messages#notice-of-ignored-error-message>).
fn bad_message_id(id: i64) -> Option<i32> {
    let age = i64::from(clock::unix_now()) - (id >> 32);
    match () {
        () if id % 4 != 0 => Some(18),
        () if age > 300 => Some(16),
        () if age < -30 => Some(17),
        () => None,
    }
}

/// Whether a message stands where it may not: its id is that of the server, it is no part of its container, or its sequence number
/// is of the wrong kind.
fn wrong_place(message: &Message, container: Option<i64>) -> Option<i32> {
    let odd = message.seq_no % 2 != 0;
    match message.constructor() {
        _ if message.id % 4 != 0 => Some(18),
        _ if container.is_some_and(|container| message.id >= container) => Some(64),
        tl::types::MsgsAck::CONSTRUCTOR_ID => odd.then_some(34),
        id if is_service(id) => None,
        _ => (!odd).then_some(35),
    }
}

/// Messages about messages: clients differ on whether these are acknowledged.
fn is_service(id: u32) -> bool {
    matches!(
        id,
        tl::types::MsgsAllInfo::CONSTRUCTOR_ID
            | tl::types::MsgsStateInfo::CONSTRUCTOR_ID
            | tl::types::MsgsStateReq::CONSTRUCTOR_ID
            | tl::types::MsgResendReq::CONSTRUCTOR_ID
            | tl::types::HttpWait::CONSTRUCTOR_ID
            | tl::functions::Ping::CONSTRUCTOR_ID
            | tl::functions::PingDelayDisconnect::CONSTRUCTOR_ID
            | tl::functions::GetFutureSalts::CONSTRUCTOR_ID
            | tl::functions::DestroySession::CONSTRUCTOR_ID
            | tl::functions::RpcDropAnswer::CONSTRUCTOR_ID
    )
}

fn has_expired(key: &Authorization) -> bool {
    key.temporary.as_ref().is_some_and(|temporary| temporary.expires < clock::unix_now())
}

async fn write_all(
    mut stream: OwnedWriteHalf,
    mut packets: PacketWriter,
    mut receiver: mpsc::UnboundedReceiver<Send>,
    datacentre: Arc<Datacentre>,
    waiting: Arc<Waiting>,
) -> std::io::Result<()> {
    let mut next = None;
    let mut drip = None;
    loop {
        let first = match next.take() {
            Some(first) => first,
            None => match receiver.recv().await {
                Some(first) => {
                    waiting.taken(&first);
                    first
                }
                None => return stream.shutdown().await,
            },
        };
        let (session, message) = match first {
            Send::Message { session, message } => (session, message),
            Send::Unencrypted(packet) => {
                stream.write_all(&packets.pack(&packet)).await?;
                continue;
            }
            Send::Error(code) => {
                stream.write_all(&packets.error(code)).await?;
                return stream.shutdown().await;
            }
            Send::Drip(bytes_per_second) => {
                drip = Some(Duration::from_secs(1) / bytes_per_second);
                continue;
            }
            Send::Nothing => return std::future::pending().await,
            Send::Garbage => {
                let mut packet = vec![0; GARBAGE];
                rand::rng().fill(&mut packet[..]);
                stream.write_all(&packets.pack(&packet)).await?;
                continue;
            }
            Send::Close { reset } => {
                if reset {
                    stream.as_ref().set_zero_linger()?;
                    // a half that is dropped says goodbye first
                    stream.forget();
                    return Ok(());
                }
                return stream.shutdown().await;
            }
        };
        let batch;
        (batch, next) = batch_of(&session, message, &mut receiver, &waiting);
        let plain = session.packet(datacentre.salts.current(&session.key), &batch);
        let packet = packets.pack(&session.key.seal(plain));
        match drip {
            None => stream.write_all(&packet).await?,
            Some(pause) => {
                for byte in packet {
                    tokio::time::sleep(pause).await;
                    stream.write_all(&[byte]).await?;
                }
            }
        }
    }
}

/// The messages that wait for the same session, as many as one packet carries, and what comes after them.
fn batch_of(
    session: &Arc<Session>,
    first: Numbered,
    receiver: &mut mpsc::UnboundedReceiver<Send>,
    waiting: &Waiting,
) -> (Vec<Numbered>, Option<Send>) {
    let mut size = first.body.len() + OVERHEAD;
    let mut batch = vec![first];
    while batch.len() < CONTAINER_FULL && size < PACKET_FULL {
        let Ok(sent) = receiver.try_recv() else { break };
        waiting.taken(&sent);
        match sent {
            Send::Message { session: other, message }
                if Arc::ptr_eq(&other, session) && size + message.body.len() < PACKET_FULL =>
            {
                size += message.body.len() + OVERHEAD;
                batch.push(message);
            }
            other => return (batch, Some(other)),
        }
    }
    (batch, None)
}
