//! Sessions: one client's conversation over one or several connections, and what is kept of it until the client has acknowledged it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use grammers_tl_types as tl;
use tokio::sync::{Notify, mpsc};

use crate::clock;
use crate::wire::crypto::ServerKey;
use crate::wire::message::{Numbered, Numbering, Outgoing};

/// How many message ids of the client are remembered, so that a repeated one is not answered twice.
const REMEMBERED: usize = 4096;
/// What is kept for a client that acknowledges nothing; beyond it the oldest is lost.
const KEPT_MESSAGES: usize = 1000;
const KEPT_BYTES: usize = 8 << 20;
/// A client that is away longer than this asks for the difference when it comes back.
const AWAY: Duration = Duration::from_secs(30);
/// Sessions of one key; the one that was silent longest goes first.
const SESSIONS_OF_A_KEY: usize = 64;
/// Beyond so many keys the sessions of those that are not connected are forgotten.
const KEYS: usize = 20_000;

/// What a connection's writer is given.
pub(crate) enum Send {
    Message {
        session: Arc<Session>,
        message: Numbered,
    },
    /// An answer outside of any session.
    Unencrypted(Vec<u8>),
    /// A transport error; the connection closes after it.
    Error(i32),
    /// From now on so many bytes a second.
    Drip(u32),
    /// Nothing more.
    Nothing,
    /// A packet that nobody can decrypt.
    Garbage,
    /// The end.
    Close {
        reset: bool,
    },
}

impl Send {
    fn size(&self) -> usize {
        match self {
            Self::Message { message, .. } => message.body.len(),
            Self::Unencrypted(body) => body.len(),
            Self::Error(_) => 4,
            Self::Drip(_) | Self::Nothing | Self::Garbage | Self::Close { .. } => 0,
        }
    }
}

/// The way to a connection's writer.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    id: u64,
    sender: mpsc::UnboundedSender<Send>,
    waiting: Arc<Waiting>,
}

/// Bytes that a writer was given and has not written yet.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    bytes: AtomicUsize,
    less: Notify,
}

impl Waiting {
    /// The writer took something.
    pub(crate) fn taken(&self, sent: &Send) {
        self.bytes.fetch_sub(sent.size(), Ordering::Relaxed);
        self.less.notify_one();
    }

    /// Returns once no more than this waits.
    pub(crate) async fn at_most(&self, bytes: usize) {
        while self.bytes.load(Ordering::Relaxed) > bytes {
            self.less.notified().await;
        }
    }
}

impl Outlet {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Send>, Arc<Waiting>) {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::<Waiting>::default();
        let id = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        (Self { id, sender, waiting: waiting.clone() }, receiver, waiting)
    }

    /// Whether the connection still took it.
    pub(crate) fn send(&self, sent: Send) -> bool {
        let size = sent.size();
        self.waiting.bytes.fetch_add(size, Ordering::Relaxed);
        let taken = self.sender.send(sent).is_ok();
        if !taken {
            self.waiting.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        taken
    }
}

/// One session of one key.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: ServerKey,
    pub(crate) id: i64,
    /// Whether the client was told that the server knows nothing of what was before.
    announced: AtomicBool,
    /// Whether updates are pushed here: a call was made that did not decline them.
    updates: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    numbering: Numbering,
    /// Ids and sequence numbers of what the client sent.
    received: BTreeMap<i64, i32>,
    /// Ids up to this one may have been received and forgotten.
    forgotten: Option<i64>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// Calls whose answer is still to come.
    running: HashSet<i64>,
    outlets: Vec<Outlet>,
    /// When the last connection was gone.
    left: Duration,
    used: u64,
}

#[derive(Debug)]
struct Kept {
    message: Numbered,
    request: Option<i64>,
    /// The connection that it was given to.
    via: Option<u64>,
}

/// What a message's id and sequence number say
/// (<https://core.telegram.org/mtproto/service_messages_about_messages#notice-of-ignored-error-message>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receipt {
    Fresh,
    /// It was here before: it is acknowledged again, not answered again.
    Repeated,
    /// The code of `bad_msg_notification`.
    Refused(i32),
}

impl Session {
    pub(crate) fn new(key: ServerKey, id: i64) -> Self {
        Self { key, id, announced: AtomicBool::new(false), updates: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Whether a connection carries it now.
    pub(crate) fn is_open(&self) -> bool {
        !self.state().outlets.is_empty()
    }

    /// True once, for the first packet that is accepted.
    pub(crate) fn announce(&self) -> bool {
        !self.announced.swap(true, Ordering::Relaxed)
    }

    /// From now on updates are pushed to the session.
    pub(crate) fn ask_for_updates(&self) {
        self.updates.store(true, Ordering::Relaxed);
    }

    /// Whether updates are pushed to the session: it asked for them, and is connected or was a moment ago.
    pub(crate) fn wants_updates(&self) -> bool {
        let is_here = |state: &State| !state.outlets.is_empty() || state.left + AWAY > clock::now();
        self.updates.load(Ordering::Relaxed) && is_here(&self.state())
    }

    /// Joins a connection to the session. What was given to connections that are gone is sent again over this one.
    pub(crate) fn attach(self: &Arc<Self>, outlet: &Outlet) {
        let mut state = self.state();
        if state.outlets.iter().all(|known| known.id != outlet.id) {
            state.outlets.push(outlet.clone());
            state.deliver_again(self);
        }
    }

    /// The connection is gone. What it was given may not have arrived: if the client is back already, it is sent again.
    pub(crate) fn detach(self: &Arc<Self>, outlet: &Outlet) {
        let mut state = self.state();
        state.outlets.retain(|known| known.id != outlet.id);
        state.left = clock::now();
        state.deliver_again(self);
    }

    /// Sends over this connection, or another of the session if it is gone; what needs an acknowledgement is kept until it comes.
    pub(crate) fn send(self: &Arc<Self>, preferred: Option<&Outlet>, message: Outgoing) {
        let mut state = self.state();
        let (content, request) = (message.content, message.request);
        let message = state.numbering.number(clock::now(), message);
        let via = state.deliver(self, preferred, &message);
        if content {
            state.keep(Kept { message, request, via });
        }
    }

    /// Judges a message by its id and sequence number, and remembers it.
    pub(crate) fn receive(&self, id: i64, seq_no: i32) -> Receipt {
        let mut state = self.state();
        if state.received.contains_key(&id) {
            return Receipt::Repeated;
        }
        if state.forgotten.is_some_and(|forgotten| id <= forgotten) {
            return Receipt::Refused(20);
        }
        let conflict = |other: i32, wrong: bool| wrong || other == seq_no && seq_no % 2 == 1;
        if state.received.range(..id).next_back().is_some_and(|(_, before)| conflict(*before, *before > seq_no)) {
            return Receipt::Refused(32);
        }
        if state.received.range(id..).next().is_some_and(|(_, after)| conflict(*after, *after < seq_no)) {
            return Receipt::Refused(33);
        }
        state.received.insert(id, seq_no);
        if state.received.len() > REMEMBERED {
            state.forgotten = state.received.pop_first().map(|(id, _)| id);
        }
        Receipt::Fresh
    }

    /// Whether a message of this id was here, such as a container's.
    pub(crate) fn has_received(&self, id: i64) -> bool {
        self.state().received.contains_key(&id)
    }

    /// The client has these.
    pub(crate) fn acknowledged(&self, ids: &[i64]) {
        let ids: HashSet<i64> = ids.iter().copied().collect();
        let mut state = self.state();
        state.kept.retain(|kept| !ids.contains(&kept.message.id));
        state.kept_bytes = state.kept.iter().map(|kept| kept.message.body.len()).sum();
    }

    /// Sends messages again; those that are not kept any more are given back.
    pub(crate) fn resend(self: &Arc<Self>, outlet: &Outlet, ids: &[i64]) -> Vec<i64> {
        let state = self.state();
        let mut missing = Vec::new();
        for id in ids {
            match state.kept.iter().find(|kept| kept.message.id == *id) {
                Some(kept) => {
                    outlet.send(Send::Message { session: self.clone(), message: kept.message.clone() });
                }
                None => missing.push(*id),
            }
        }
        missing
    }

    /// Sends the answer to a call again, if it is still kept.
    pub(crate) fn answer_again(self: &Arc<Self>, outlet: &Outlet, request: i64) {
        if let Some(kept) = self.state().kept.iter().find(|kept| kept.request == Some(request)) {
            outlet.send(Send::Message { session: self.clone(), message: kept.message.clone() });
        }
    }

    /// What is known of a message of the client
    /// (<https://core.telegram.org/mtproto/service_messages_about_messages#informational-message-regarding-status-of-messages>).
    pub(crate) fn state_of(&self, id: i64) -> u8 {
        let state = self.state();
        match () {
            () if state.received.contains_key(&id) => 4,
            () if state.forgotten.is_some_and(|forgotten| id <= forgotten) => 1,
            () if state.received.last_key_value().is_some_and(|(newest, _)| id > *newest) => 3,
            () => 2,
        }
    }

    /// A call begins.
    pub(crate) fn begin(&self, request: i64) {
        self.state().running.insert(request);
    }

    /// A call ends; whether its answer is still wanted.
    pub(crate) fn finish(&self, request: i64) -> bool {
        self.state().running.remove(&request)
    }

    /// The client does not want an answer any more (<https://core.telegram.org/mtproto/service_messages#cancellation-of-an-rpc-query>).
    pub(crate) fn drop_answer(&self, request: i64) -> tl::enums::RpcDropAnswer {
        let mut state = self.state();
        if state.running.remove(&request) {
            return tl::enums::RpcDropAnswer::RpcAnswerDroppedRunning;
        }
        let Some(at) = state.kept.iter().position(|kept| kept.request == Some(request)) else {
            return tl::enums::RpcDropAnswer::RpcAnswerUnknown;
        };
        let Some(kept) = state.kept.remove(at) else { return tl::enums::RpcDropAnswer::RpcAnswerUnknown };
        state.kept_bytes -= kept.message.body.len();
        let Numbered { id, seq_no, body } = kept.message;
        tl::types::RpcAnswerDropped { msg_id: id, seq_no, bytes: body.len() as i32 }.into()
    }

    /// Messages as one plaintext under this salt.
    pub(crate) fn packet(&self, salt: i64, messages: &[Numbered]) -> Vec<u8> {
        self.state().numbering.packet(clock::now(), salt, self.id, messages)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn deliver(&mut self, session: &Arc<Session>, preferred: Option<&Outlet>, message: &Numbered) -> Option<u64> {
        let sent = || Send::Message { session: session.clone(), message: message.clone() };
        if let Some(outlet) = preferred
            && outlet.send(sent())
        {
            return Some(outlet.id);
        }
        while let Some(outlet) = self.outlets.last() {
            if outlet.send(sent()) {
                return Some(outlet.id);
            }
            self.outlets.pop();
        }
        None
    }

    /// Gives what went to connections that are gone to the newest one.
    fn deliver_again(&mut self, session: &Arc<Session>) {
        let Some(newest) = self.outlets.last() else { return };
        for kept in &mut self.kept {
            if kept.via.is_none_or(|via| self.outlets.iter().all(|outlet| outlet.id != via)) {
                newest.send(Send::Message { session: session.clone(), message: kept.message.clone() });
                kept.via = Some(newest.id);
            }
        }
    }

    fn keep(&mut self, kept: Kept) {
        self.kept_bytes += kept.message.body.len();
        self.kept.push_back(kept);
        while self.kept.len() > KEPT_MESSAGES || self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.kept_bytes -= oldest.message.body.len();
        }
    }
}

/// All sessions, by key and id.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    known: Mutex<HashMap<i64, HashMap<i64, Arc<Session>>>>,
    uses: AtomicU64,
}

impl Sessions {
    /// The session of a key, new if there is none.
    pub(crate) fn of(&self, key: &ServerKey, id: i64) -> Arc<Session> {
        let mut known = lock(&self.known);
        if known.len() >= KEYS && !known.contains_key(&key.id()) {
            known.retain(|_, sessions| sessions.values().any(|session| !session.state().outlets.is_empty()));
        }
        let sessions = known.entry(key.id()).or_default();
        let session = sessions.entry(id).or_insert_with(|| Arc::new(Session::new(key.clone(), id))).clone();
        session.state().used = self.uses.fetch_add(1, Ordering::Relaxed);
        if sessions.len() > SESSIONS_OF_A_KEY {
            let silent = sessions.values().map(|session| (session.state().used, session.id)).min();
            silent.and_then(|(_, id)| sessions.remove(&id));
        }
        session
    }

    /// Forgets a session; whether there was one.
    pub(crate) fn forget(&self, key_id: i64, id: i64) -> bool {
        lock(&self.known).get_mut(&key_id).is_some_and(|sessions| sessions.remove(&id).is_some())
    }

    /// The sessions of a key.
    pub(crate) fn of_key(&self, key_id: i64) -> Vec<Arc<Session>> {
        lock(&self.known).get(&key_id).map(|sessions| sessions.values().cloned().collect()).unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Arc<Session> {
        Arc::new(Session::new(ServerKey::new([7; 256]), 1))
    }

    fn answer(request: i64) -> Outgoing {
        Outgoing::result(request, &[1; 8], false)
    }

    fn sent(receiver: &mut mpsc::UnboundedReceiver<Send>) -> Vec<i64> {
        std::iter::from_fn(|| receiver.try_recv().ok())
            .map(|sent| match sent {
                Send::Message { message, .. } => message.id,
                _ => 0,
            })
            .collect()
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_over_the_next_connection() {
        let session = session();
        let (first, mut receiver, _) = Outlet::new();
        session.attach(&first);
        for request in 0..3 {
            session.send(Some(&first), answer(request));
        }
        let ids = sent(&mut receiver);
        session.acknowledged(&ids[..1]);
        session.detach(&first);
        drop(receiver);
        session.send(None, answer(3));

        let (second, mut receiver, _) = Outlet::new();
        session.attach(&second);
        session.attach(&second);
        session.detach(&first);
        let again = sent(&mut receiver);
        assert_eq!(again[..2], ids[1..]);
        assert_eq!(again.len(), 3);
        assert_eq!(session.resend(&second, &[ids[0], ids[1]]), [ids[0]]);
        assert_eq!(sent(&mut receiver), [ids[1]]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let session = session();
        for request in 0..KEPT_MESSAGES as i64 + 10 {
            session.send(None, answer(request));
        }
        assert_eq!(session.state().kept.len(), KEPT_MESSAGES);
        session.send(None, Outgoing::result(1, &vec![0; KEPT_BYTES], false));
        assert!(session.state().kept.is_empty());
        assert_eq!(session.state().kept_bytes, 0);
    }

    #[test]
    fn ids_and_sequence_numbers_grow_together() {
        let session = session();
        assert_eq!(session.receive(100, 1), Receipt::Fresh);
        assert_eq!(session.receive(100, 1), Receipt::Repeated);
        assert_eq!(session.receive(104, 1), Receipt::Refused(32));
        assert_eq!(session.receive(104, 2), Receipt::Fresh);
        assert_eq!(session.receive(108, 2), Receipt::Fresh);
        assert_eq!(session.receive(96, 3), Receipt::Refused(33));
        assert_eq!((session.state_of(100), session.state_of(102), session.state_of(200)), (4, 2, 3));
        for at in 0..REMEMBERED as i64 {
            session.receive(1000 + at, 4);
        }
        assert_eq!(session.receive(4, 0), Receipt::Refused(20));
        assert_eq!(session.state_of(4), 1);
    }

    #[test]
    fn an_answer_is_dropped_before_and_after_it_was_made() {
        let session = session();
        session.begin(4);
        assert!(matches!(session.drop_answer(4), tl::enums::RpcDropAnswer::RpcAnswerDroppedRunning));
        assert!(!session.finish(4));
        session.send(None, answer(8));
        assert!(matches!(session.drop_answer(8), tl::enums::RpcDropAnswer::RpcAnswerDropped(_)));
        assert!(matches!(session.drop_answer(8), tl::enums::RpcDropAnswer::RpcAnswerUnknown));
    }

    #[test]
    fn a_key_has_no_more_than_so_many_sessions() {
        let sessions = Sessions::default();
        let key = ServerKey::new([7; 256]);
        for id in 0..1000 {
            sessions.of(&key, id);
        }
        assert_eq!(sessions.of_key(key.id()).len(), SESSIONS_OF_A_KEY);
        assert!(sessions.forget(key.id(), 999) && !sessions.forget(key.id(), 0));
    }
}
