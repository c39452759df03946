//! A world that lives: what is pushed, what a difference tells, what goes wrong on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use grammers_client::client::UpdateStream;
use grammers_mtsender::UpdatesConfiguration;
use grammers_session::Session;
use grammers_session::types::{PeerId, PeerInfo, UpdateState};
use telekeep_simulator::world::events::{Attached, Way};
use telekeep_simulator::world::{Content, Event, Post, Standing, Timed, marked};
use telekeep_simulator::{AccountRequest, PushFaults, UpdateRules};
use tokio::time::timeout;

use super::*;

#[path = "updates/access.rs"]
mod access;
#[path = "updates/difference.rs"]
mod difference;
#[path = "updates/told.rs"]
mod told;

/// Longer than grammers waits before it asks for what seems missing.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that listens, and what it knows of the messages it heard of.
struct Listener {
    client: Client,
    updates: UpdateStream,
    session: Arc<MemorySession>,
    user: i64,
    heard: BTreeMap<(i64, i32), Content>,
    /// How often each message came new.
    arrivals: BTreeMap<(i64, i32), usize>,
}

/// The session of an account that has listed its chats and knows its state.
async fn session(simulator: &Simulator, name: &str) -> Arc<MemorySession> {
    let file = simulator.account(name).expect("an account");
    let user = file.user_id.expect("is signed in");
    let own = PeerInfo::User { id: user, auth: None, bot: Some(false), is_self: Some(true) };
    let mut data = session_data(&file);
    data.peer_infos = HashMap::from([(PeerId::self_user(), own.clone()), (PeerId::user_unchecked(user), own)]);
    let session = Arc::new(MemorySession::from(data));
    let (client, _updates) = connected(&session);
    let mut dialogs = client.iter_dialogs();
    while dialogs.next().await.expect("a dialog").is_some() {}
    let tl::enums::updates::State::State(state) = client.invoke(&tl::functions::updates::GetState {}).await.expect("a state");
    for state in
        [UpdateState::Primary { pts: state.pts, date: state.date, seq: state.seq }, UpdateState::Secondary { qts: state.qts }]
    {
        session.set_update_state(state).await.expect("is kept");
    }
    session
}

fn connected(session: &Arc<MemorySession>) -> (Client, tokio::sync::mpsc::Receiver<grammers_session::updates::UpdatesLike>) {
    let params = ConnectionParams {
        retry_policy: Box::new(NoRetries),
        updates_channel_capacity: std::num::NonZeroUsize::new(10_000).expect("is not zero"),
        ..ConnectionParams::default()
    };
    let pool = SenderPool::with_configuration(session.clone(), 1, params);
    tokio::spawn(pool.runner.run());
    (Client::new(pool.handle), pool.updates)
}

impl Listener {
    /// Listens as an account from now on.
    async fn new(simulator: &Simulator, name: &str) -> Self {
        Self::resume(session(simulator, name).await).await
    }

    /// Listens from where a session stands.
    async fn resume(session: Arc<MemorySession>) -> Self {
        let (client, updates) = connected(&session);
        let user = match session.peer(PeerId::self_user()).await.expect("is kept") {
            Some(PeerInfo::User { id, .. }) => id,
            other => panic!("no user: {other:?}"),
        };
        let configuration = UpdatesConfiguration { catch_up: true };
        let updates = client.stream_updates(updates, configuration).await.expect("a stream");
        // A call, so that the server knows the way to this session before anything happens.
        client.invoke(&tl::functions::updates::GetState {}).await.expect("a state");
        Self { client, updates, session, user, heard: BTreeMap::new(), arrivals: BTreeMap::new() }
    }

    async fn next(&mut self) -> tl::enums::Update {
        let next = timeout(PATIENCE, self.updates.next_raw()).await.expect("an update in time");
        let (update, ..) = next.expect("an update");
        self.note(&update);
        update
    }

    fn note(&mut self, update: &tl::enums::Update) {
        use tl::enums::Update as U;
        match update {
            U::NewMessage(new) => self.hear(&new.message, true),
            U::NewChannelMessage(new) => self.hear(&new.message, true),
            U::EditMessage(edit) => self.hear(&edit.message, false),
            U::EditChannelMessage(edit) => self.hear(&edit.message, false),
            U::DeleteMessages(gone) => self.heard.retain(|(chat, id), _| *chat < -1_000_000_000_000 || !gone.messages.contains(id)),
            U::DeleteChannelMessages(gone) => {
                let from = ChatKind::Channel.marked(gone.channel_id);
                self.heard.retain(|(chat, id), _| *chat != from || !gone.messages.contains(id));
            }
            _ => {}
        }
    }

    fn hear(&mut self, message: &tl::enums::Message, new: bool) {
        let (peer, out) = match message {
            tl::enums::Message::Message(message) => (&message.peer_id, message.out),
            tl::enums::Message::Service(message) => (&message.peer_id, message.out),
            tl::enums::Message::Empty(_) => return,
        };
        let chat = marked(peer);
        let mut content = Content::of(chat, message).expect("no empty message");
        if chat > 0 && content.from_user_id.is_none() {
            // The short form of a private message leaves out what goes without saying.
            content.from_user_id = Some(if out { self.user } else { chat });
        }
        if new {
            *self.arrivals.entry((chat, content.message_id)).or_default() += 1;
        }
        self.heard.insert((chat, content.message_id), content);
    }

    /// Listens until it knows of a chat, from an id on, what the account can know.
    async fn knows(&mut self, simulator: &Simulator, name: &str, chat: i64, from: i32) {
        let truth = simulator.truth_of(name, chat).expect("the chat");
        let wanted: BTreeMap<i32, Content> =
            truth.into_iter().map(|truth| (truth.content.message_id, truth.content)).filter(|(id, _)| *id >= from).collect();
        assert!(!wanted.is_empty());
        loop {
            let known: BTreeMap<i32, Content> =
                self.heard.iter().filter(|((of, _), _)| *of == chat).map(|((_, id), content)| (*id, content.clone())).collect();
            if known == wanted {
                return;
            }
            let waited = timeout(PATIENCE, self.updates.next_raw()).await;
            let Ok(next) = waited else { panic!("of {} messages only {} are known", wanted.len(), known.len()) };
            let (update, ..) = next.expect("an update");
            self.note(&update);
        }
    }

    /// Listens until a message with this text comes, in any chat.
    async fn hears(&mut self, text: &str) {
        while !self.heard.values().any(|content| content.text == text) {
            self.next().await;
        }
    }
}

/// A person who writes.
const AUTHOR: i64 = 5_100_000_003;

fn post(chat: i64, text: &str) -> Event {
    Event::Post { chat, post: Post::said(AUTHOR, text) }
}

fn play(simulator: &Simulator, event: Event) -> Vec<i32> {
    let record = simulator.play(event).expect("happens");
    record.posted().map(|(_, id)| id).collect()
}

/// What an account sees next of a chat begins here.
fn next_of(simulator: &Simulator, name: &str, chat: i64) -> i32 {
    let truth = simulator.truth_of(name, chat).expect("the chat");
    truth.last().map_or(1, |truth| truth.content.message_id + 1)
}

#[tokio::test]
async fn what_happens_in_channels_groups_and_private_chats_arrives() {
    let simulator = simulator().await;
    let mut listener = Listener::new(&simulator, "keeper").await;
    let chats = ["Harbour", "Quay", "Night shift"].map(|title| chat(&simulator, title).id);
    let own = chats.map(|chat| next_of(&simulator, "keeper", chat));
    let private = chat(&simulator, "Maren").id;
    for chat in chats {
        let first = play(&simulator, post(chat, "one"))[0];
        let second = play(&simulator, post(chat, "two"))[0];
        play(&simulator, post(chat, "three"));
        play(&simulator, Event::Edit { chat, id: first, text: "one, again".to_owned() });
        play(&simulator, Event::Delete { chat, ids: vec![second] });
        play(&simulator, Event::Title { chat, title: "New".to_owned(), by: None });
    }
    play(&simulator, Event::Post { chat: private, post: Post { silent: true, ..Post::text("hello") } });
    for (chat, from) in chats.into_iter().zip(own) {
        listener.knows(&simulator, "keeper", chat, from).await;
    }
    listener.hears("hello").await;
    assert!(listener.arrivals.values().all(|times| *times == 1), "{:?}", listener.arrivals);
}

#[tokio::test]
async fn only_those_in_a_chat_are_told() {
    let simulator = simulator().await;
    let (room, harbour) = (chat(&simulator, "Back room").id, chat(&simulator, "Harbour").id);
    let request = AccountRequest { chats: Some(vec![harbour]), ..AccountRequest::named("outside") };
    simulator.account("keeper").expect("an account");
    simulator.account_with(&request).expect("an account");
    let mut outside = Listener::new(&simulator, "outside").await;
    play(&simulator, post(room, "a secret"));
    play(&simulator, post(harbour, "for all"));
    outside.hears("for all").await;
    assert!(outside.heard.values().all(|content| content.text != "a secret"));
}

#[tokio::test]
async fn cut_off_for_five_hundred_events_it_catches_up_to_the_truth() {
    let simulator = simulator().await;
    let mut listener = Listener::new(&simulator, "keeper").await;
    let chats = ["Harbour", "Night shift"].map(|title| chat(&simulator, title).id);
    let from = chats.map(|chat| next_of(&simulator, "keeper", chat));
    chats.iter().for_each(|chat| drop(play(&simulator, post(*chat, "before"))));
    for (chat, from) in chats.into_iter().zip(from) {
        listener.knows(&simulator, "keeper", chat, from).await;
    }
    listener.updates.sync_update_state().await.expect("is kept");
    let Listener { session, heard, .. } = listener;
    simulator.cut();

    let mut last = [0; 2];
    for n in 0..250 {
        for (chat, last) in chats.into_iter().zip(&mut last) {
            match n % 5 {
                3 => drop(play(&simulator, Event::Edit { chat, id: *last, text: format!("edited {n}") })),
                4 if n % 2 == 0 => drop(play(&simulator, Event::Delete { chat, ids: vec![*last] })),
                _ => *last = play(&simulator, post(chat, &format!("event {n}")))[0],
            }
        }
    }
    let mut again = Listener::resume(session).await;
    again.heard = heard;
    for (chat, from) in chats.into_iter().zip(from) {
        again.knows(&simulator, "keeper", chat, from).await;
    }
    assert!(simulator.calls("updates.getChannelDifference") > 2);
}

#[tokio::test]
async fn lost_doubled_and_disordered_pushes_are_made_good() {
    let simulator = simulator().await;
    let mut listener = Listener::new(&simulator, "keeper").await;
    let chats = ["Harbour", "Night shift"].map(|title| chat(&simulator, title).id);
    let from = chats.map(|chat| next_of(&simulator, "keeper", chat));
    let faults = [
        PushFaults { drop: 2, ..PushFaults::default() },
        PushFaults { reorder: 6, ..PushFaults::default() },
        PushFaults { duplicate: 4, ..PushFaults::default() },
    ];
    let mut said = 0;
    for fault in faults {
        simulator.fault_pushes(fault);
        for _ in 0..6 {
            said += 1;
            chats.iter().for_each(|chat| drop(play(&simulator, post(*chat, &format!("number {said}")))));
        }
        for (chat, from) in chats.into_iter().zip(from) {
            listener.knows(&simulator, "keeper", chat, from).await;
        }
    }
    simulator.fault_pushes(PushFaults { too_long: 1, ..PushFaults::default() });
    let before = simulator.calls("updates.getDifference");
    play(&simulator, post(chats[1], "too long"));
    listener.hears("too long").await;
    assert!(simulator.calls("updates.getDifference") > before);
}

#[tokio::test]
async fn a_silent_channel_is_heard_of_only_when_asked() {
    let simulator = simulator().await;
    let mut listener = Listener::new(&simulator, "keeper").await;
    let (harbour, quay) = (chat(&simulator, "Harbour"), chat(&simulator, "Quay").id);
    let pts = harbour.pts();
    // When this is heard, the client has asked for all that it asks for at first.
    play(&simulator, post(quay, "ready"));
    listener.hears("ready").await;
    simulator.silence(harbour.id, true);
    play(&simulator, post(harbour.id, "whispered"));
    play(&simulator, post(quay, "spoken"));
    listener.hears("spoken").await;
    assert!(listener.heard.values().all(|content| content.text != "whispered"));

    let channel = resolved(&listener.client, "harbour").await.into();
    let call = difference::channel_difference(channel, pts, 10);
    let tl::enums::updates::ChannelDifference::Difference(told) = listener.client.invoke(&call).await.expect("a difference") else {
        panic!("no difference")
    };
    assert_eq!((told.new_messages.len(), told.r#final, told.timeout), (1, true, Some(30)));
    play(&simulator, post(harbour.id, "loud"));
    listener.hears("loud").await;
}

#[tokio::test]
async fn two_members_of_a_group_count_its_messages_for_themselves() {
    let simulator = simulator().await;
    let group = chat(&simulator, "Night shift").id;
    let mut first = Listener::new(&simulator, "keeper").await;
    let mut second = Listener::new(&simulator, "second").await;
    let from = ["keeper", "second"].map(|name| next_of(&simulator, name, group));
    // Only the world's own user hears of this: the numbers part.
    play(&simulator, Event::Post { chat: chat(&simulator, "Maren").id, post: Post::text("private") });
    let id = play(&simulator, post(group, "for both"))[0];
    let answer = Post { reply_to: Some(id), ..Post::said(AUTHOR, "an answer") };
    play(&simulator, Event::Post { chat: group, post: answer });
    play(&simulator, Event::Edit { chat: group, id, text: "for both, again".to_owned() });
    first.knows(&simulator, "keeper", group, from[0]).await;
    second.knows(&simulator, "second", group, from[1]).await;

    let numbers = |listener: &Listener| {
        let mut told: Vec<_> = listener.heard.values().filter(|content| content.chat_id == group).cloned().collect();
        told.sort_by_key(|content| content.message_id);
        assert_eq!(told[1].reply_to_message_id, Some(told[0].message_id));
        told.into_iter().map(|content| (content.message_id, content.text)).collect::<Vec<_>>()
    };
    let (ours, theirs) = (numbers(&first), numbers(&second));
    assert_eq!(ours.iter().map(|(_, text)| text).collect::<Vec<_>>(), theirs.iter().map(|(_, text)| text).collect::<Vec<_>>());
    assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| ours.0 != theirs.0), "{ours:?} {theirs:?}");

    // By their own numbers both read the same history, whole.
    for (listener, name) in [(&first, "keeper"), (&second, "second")] {
        let truth = simulator.truth_of(name, group).expect("the chat");
        let mut call = get_history(tl::types::InputPeerChat { chat_id: -group }.into());
        let mut read = Vec::new();
        call.limit = 7;
        loop {
            let page = listener.client.invoke(&call).await.expect("a page");
            let Some(last) = ids(&page).last().copied() else { break };
            read.extend(content(&page).iter().filter_map(|message| telekeep_simulator::Truth::of(group, message)));
            call.offset_id = last;
        }
        read.reverse();
        assert_eq!(read, truth, "{name}");
        let some: Vec<i32> = truth.iter().step_by(9).map(|truth| truth.content.message_id).collect();
        let call = tl::functions::messages::GetMessages {
            id: some.iter().map(|id| tl::types::InputMessageId { id: *id }.into()).collect(),
        };
        assert_eq!(ids(&listener.client.invoke(&call).await.expect("a page")), some);
    }
}

#[tokio::test]
async fn a_private_chat_has_two_sides() {
    let simulator = simulator().await;
    let private = chat(&simulator, "Maren").id;
    let me = simulator.world().me;
    let mut keeper = Listener::new(&simulator, "keeper").await;
    let request = AccountRequest { user_id: Some(private), ..AccountRequest::named("maren") };
    simulator.account_with(&request).expect("an account");
    let mut maren = Listener::new(&simulator, "maren").await;
    play(&simulator, Event::Post { chat: private, post: Post { silent: true, ..Post::said(me, "from the keeper") } });
    keeper.hears("from the keeper").await;
    maren.hears("from the keeper").await;
    let told = |listener: &Listener| {
        let content = listener.heard.values().find(|content| content.text == "from the keeper").expect("was heard").clone();
        (content.chat_id, content.from_user_id)
    };
    assert_eq!(told(&keeper), (private, Some(me)));
    assert_eq!(told(&maren), (me, Some(me)));
}
