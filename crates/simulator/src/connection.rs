//! One client connection: packets in, service messages, calls, packets out.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use grammers_tl_types as tl;
use tl::{Deserializable, Identifiable};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::account::Account;
use crate::datacentre::{Datacentre, accepts_salt, current_salt, salts};
use crate::wire::WireError;
use crate::wire::crypto::i64_at;
use crate::wire::framing::{PacketReader, PacketWriter, Transport};
use crate::wire::message::{Message, Numbering, OVERHEAD, Outgoing, Packet, flatten};
use crate::{api, clock};

/// Without a `ping_delay_disconnect` a silent connection is kept this long.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long a refused client is given to read why.
const FLUSH: Duration = Duration::from_secs(1);
/// A packet is closed at this size; clients read at most about a megabyte.
const PACKET_FULL: usize = 512 * 1024;
const CONTAINER_FULL: usize = 100;
/// How many message ids are remembered, so that a repeated one is not answered twice.
const REMEMBERED: usize = 4096;
const UNKNOWN_KEY: i32 = 404;

/// What goes to the writer.
enum Send {
    Messages {
        account: Arc<Account>,
        session: i64,
        message: Outgoing,
    },
    /// A transport error; the connection closes after it.
    Error(i32),
}

/// Serves one connection until either side closes it.
pub(crate) async fn serve(stream: TcpStream, datacentre: Arc<Datacentre>) {
    let cut = datacentre.cut_signal();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "TCP_NODELAY cannot be set");
    }
    let served = tokio::select! {
        () = cut.cancelled() => return,
        served = run(stream, datacentre) => served,
    };
    match served {
        Ok(()) => {}
        Err(WireError::Io(error)) => tracing::debug!(error = %error, "connection ended"),
        Err(error) => tracing::warn!(error = %error, "connection closed"),
    }
}

async fn run(stream: TcpStream, datacentre: Arc<Datacentre>) -> Result<(), WireError> {
    let (read, write) = stream.into_split();
    let reader = PacketReader::accept(BufReader::new(read)).await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let writing = write_all(write, reader.transport(), receiver);
    let reading = Reading { datacentre, sender, deadline: clock::after(IDLE), seen: HashSet::new(), order: VecDeque::new() };
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
    sender: mpsc::UnboundedSender<Send>,
    deadline: Instant,
    seen: HashSet<i64>,
    order: VecDeque<i64>,
}

impl Reading {
    async fn run(mut self, mut reader: PacketReader<BufReader<OwnedReadHalf>>) -> Result<(), WireError> {
        loop {
            let Ok(packet) = timeout_at(self.deadline, reader.next()).await else {
                return Ok(());
            };
            let Some(packet) = packet? else { return Ok(()) };
            self.packet(packet)?;
        }
    }

    fn packet(&mut self, mut packet: Vec<u8>) -> Result<(), WireError> {
        let key_id = i64_at(&packet, 0);
        let Some(account) = self.datacentre.accounts.by_key(key_id) else {
            // Also a key exchange: its RSA keys are Telegram's own, so keys are made by the control port.
            let _ = self.sender.send(Send::Error(UNKNOWN_KEY));
            return Err(WireError::UnknownKey(key_id));
        };
        let plain = account.key.open(&mut packet)?;
        let Packet { salt, session, outer } = Packet::read(&plain)?;
        let link = Link { account, session, sender: self.sender.clone() };

        if let Some(code) = bad_message_id(outer.id) {
            link.send(Outgoing::service(&tl::enums::BadMsgNotification::Notification(tl::types::BadMsgNotification {
                bad_msg_id: outer.id,
                bad_msg_seqno: outer.seq_no,
                error_code: code,
            })));
            return Ok(());
        }
        if !accepts_salt(&link.account, salt) {
            link.send(Outgoing::service(&tl::enums::BadMsgNotification::BadServerSalt(tl::types::BadServerSalt {
                bad_msg_id: outer.id,
                bad_msg_seqno: outer.seq_no,
                error_code: 48,
                new_server_salt: current_salt(&link.account),
            })));
            return Ok(());
        }
        if self.datacentre.is_new_session(key_id, session) {
            link.send(Outgoing::notice(&tl::enums::NewSession::Created(tl::types::NewSessionCreated {
                first_msg_id: outer.id,
                unique_id: rand::random(),
                server_salt: current_salt(&link.account),
            })));
        }
        let mut messages = Vec::new();
        flatten(outer, &mut messages)?;
        let fresh: Vec<_> = messages.into_iter().filter(|message| self.is_fresh(message.id)).collect();
        let msg_ids: Vec<i64> = fresh.iter().filter(|m| m.seq_no % 2 == 1).map(|m| m.id).collect();
        for message in fresh {
            self.message(&link, message)?;
        }
        if !msg_ids.is_empty() {
            link.send(Outgoing::service(&tl::enums::MsgsAck::Ack(tl::types::MsgsAck { msg_ids })));
        }
        Ok(())
    }

    fn is_fresh(&mut self, id: i64) -> bool {
        if !self.seen.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    fn message(&mut self, link: &Link, message: Message) -> Result<(), WireError> {
        match message.constructor() {
            tl::types::MsgsAck::CONSTRUCTOR_ID
            | tl::types::MsgsAllInfo::CONSTRUCTOR_ID
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
                    salts: tl::RawVec(salts(&link.account, count)),
                })));
            }
            tl::types::MsgsStateReq::CONSTRUCTOR_ID => {
                let wanted: tl::types::MsgsStateReq = read(&message.body)?;
                link.state_of(message.id, wanted.msg_ids.iter().map(|id| self.state_of(*id)).collect());
            }
            tl::types::MsgResendReq::CONSTRUCTOR_ID => {
                let wanted: tl::types::MsgResendReq = read(&message.body)?;
                link.state_of(message.id, wanted.msg_ids.iter().map(|id| self.state_of(*id)).collect());
            }
            tl::functions::DestroySession::CONSTRUCTOR_ID => {
                let wanted: tl::functions::DestroySession = read(&message.body)?;
                let session_id = wanted.session_id;
                let known = self.datacentre.forget_session(link.account.key.id(), session_id);
                let result: tl::enums::DestroySessionRes = if known {
                    tl::types::DestroySessionOk { session_id }.into()
                } else {
                    tl::types::DestroySessionNone { session_id }.into()
                };
                link.send(Outgoing::service(&result));
            }
            tl::functions::RpcDropAnswer::CONSTRUCTOR_ID => {
                let unknown = tl::enums::RpcDropAnswer::RpcAnswerUnknown;
                link.send(Outgoing::result(message.id, &tl::Serializable::to_bytes(&unknown), false));
            }
            _ => self.call(link, &message),
        }
        Ok(())
    }

    /// 4: received; 1: nothing is known of it.
    fn state_of(&self, id: i64) -> u8 {
        if self.seen.contains(&id) { 4 } else { 1 }
    }

    fn call(&self, link: &Link, message: &Message) {
        // The account as it is now: an earlier message of the same packet may have signed it in.
        let account = self.datacentre.accounts.by_key(link.account.key.id());
        let account = account.unwrap_or_else(|| link.account.clone());
        let session = (link.account.key.id(), link.session);
        if account.signed_in && api::subscribes(&message.body) {
            let way = link.clone();
            self.datacentre.links.attach(session, &account.name, move |update| way.send_open(update));
        }
        let (result, pack) = match api::answer(&self.datacentre, account, session, &message.body) {
            Ok(answer) => (answer.bytes, answer.pack),
            Err(failure) => (failure.to_bytes(), false),
        };
        let answer = Outgoing::result(message.id, &result, pack);
        let latency = self.datacentre.latency();
        if latency.is_zero() {
            return link.send(answer);
        }
        let link = link.clone();
        tokio::spawn(async move {
            tokio::time::sleep(latency).await;
            link.send(answer);
        });
    }
}

/// The way back to one session.
#[derive(Clone)]
struct Link {
    account: Arc<Account>,
    session: i64,
    sender: mpsc::UnboundedSender<Send>,
}

impl Link {
    fn send(&self, message: Outgoing) {
        // A closed connection needs no answer.
        let _ = self.sender.send(Send::Messages { account: self.account.clone(), session: self.session, message });
    }

    /// The same; whether the connection is open.
    fn send_open(&self, message: Outgoing) -> bool {
        self.send(message);
        !self.sender.is_closed()
    }

    fn pong(&self, msg_id: i64, ping_id: i64) {
        self.send(Outgoing::service(&tl::enums::Pong::Pong(tl::types::Pong { msg_id, ping_id })));
    }

    fn state_of(&self, req_msg_id: i64, info: Vec<u8>) {
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

async fn write_all(
    mut stream: OwnedWriteHalf,
    transport: Transport,
    mut receiver: mpsc::UnboundedReceiver<Send>,
) -> std::io::Result<()> {
    let mut packets = PacketWriter::new(transport);
    let mut numbering = Numbering::default();
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(first) => first,
            None => match receiver.recv().await {
                Some(first) => first,
                None => return stream.shutdown().await,
            },
        };
        let (account, session, message) = match first {
            Send::Messages { account, session, message } => (account, session, message),
            Send::Error(code) => {
                stream.write_all(&packets.error(code)).await?;
                return stream.shutdown().await;
            }
        };
        let mut size = message.body.len() + OVERHEAD;
        let mut batch = vec![message];
        while batch.len() < CONTAINER_FULL && size < PACKET_FULL {
            match receiver.try_recv() {
                Ok(Send::Messages { session: other, message, .. })
                    if other == session && size + message.body.len() < PACKET_FULL =>
                {
                    size += message.body.len() + OVERHEAD;
                    batch.push(message);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let plain = numbering.packet(clock::now(), current_salt(&account), session, &batch);
        stream.write_all(&packets.pack(&account.key.seal(plain))).await?;
    }
}
