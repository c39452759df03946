//! Files over the wire: several connections, another datacentre, expired references, cut connections, damaged bytes.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use telekeep::account::SessionFile;
use telekeep::telegram::transfer::{Counts, File, Limits, Location, Owner, PART, Reached, Sink};
use telekeep::telegram::{Connection, Error, HistoryRequest, InputChat, TelegramConfig, chats, tl};
use telekeep_simulator::world::{ChatKind, GeneratedChat, MediaMix};
use telekeep_simulator::{Damage, DamageRequest, Fault, FaultKind, Options, ReferenceRules, Simulator, World};

/// Where the files lie; the accounts are at home in 2.
const AWAY: i32 = 4;

async fn depot(bytes: u64, dc: i32) -> Simulator {
    let media = MediaMix { documents: 1.0, document_bytes: Some([bytes, bytes]), ..MediaMix::none() };
    let chat = GeneratedChat::new(ChatKind::Supergroup, "Depot", 3).named("depot").media(media);
    let options = Options { datacentres: 4, ..Options::default() };
    Simulator::start(World::generated(7, [chat]).files_in([dc]), options).await.unwrap()
}

/// The account's session file, with a key for the other datacentre.
pub(crate) fn travelling(datacentre: &Simulator, name: &str) -> Value {
    let mut file = serde_json::to_value(datacentre.account(name).unwrap()).unwrap();
    let away = serde_json::to_value(datacentre.account_abroad(name, AWAY).unwrap()).unwrap();
    file["elsewhere"] = json!([away]);
    file
}

struct Depot {
    simulator: Simulator,
    connection: Connection,
    chat: InputChat,
    file: File,
    id: i64,
    message: i32,
    renewed: AtomicU32,
    stop_after: Mutex<Option<u32>>,
}

impl Depot {
    async fn of(bytes: u64, dc: i32) -> Self {
        Self::with(bytes, dc, Limits::default()).await
    }

    async fn with(bytes: u64, dc: i32, lanes: Limits) -> Self {
        let simulator = depot(bytes, dc).await;
        let session = travelling(&simulator, "keeper").to_string();
        let session = SessionFile::parse(Path::new("keeper.json"), session.as_bytes()).unwrap().session();
        let config = TelegramConfig { lanes, request_timeout: Duration::from_secs(5), ..TelegramConfig::new(1, "hash") };
        let connection = Connection::open(&config, session);
        let found = connection.resolve("depot").await.unwrap();
        let chat = InputChat::new(chats::chat_id(&found.peer), chats::access_hash(&found.peer, &found.chats, &found.users));
        let newest = connection.history(&chat, HistoryRequest::default()).await.unwrap();
        let (message, document) = document(&newest);
        let file = File { location: located(&document), dc: document.dc_id, size: Some(bytes), from: 0 };
        let (renewed, stop_after) = (AtomicU32::new(0), Mutex::default());
        Self { simulator, connection, chat, file, id: document.id, message, renewed, stop_after }
    }

    async fn downloads(&self, from: u64, store: &mut Kept, counts: &Counts) -> Result<Reached, Error> {
        let file = File { from, ..self.file.clone() };
        self.connection.download(&file, self, store, counts).await
    }

    fn truth(&self) -> Vec<u8> {
        self.simulator.world().file_sha256(self.id).unwrap().to_vec()
    }

    fn given(&self) -> u64 {
        self.simulator.call_counts().file_bytes.get("keeper").copied().unwrap_or(0)
    }
}

fn document(page: &tl::enums::messages::Messages) -> (i32, tl::types::Document) {
    let tl::enums::messages::Messages::ChannelMessages(page) = page else { panic!("of a channel") };
    let of = |message: &tl::enums::Message| match message {
        tl::enums::Message::Message(it) => match it.media.as_ref()? {
            tl::enums::MessageMedia::Document(media) => match media.document.as_ref()? {
                tl::enums::Document::Document(document) => Some((it.id, document.clone())),
                tl::enums::Document::Empty(_) => None,
            },
            _ => None,
        },
        _ => None,
    };
    page.messages.iter().find_map(of).unwrap()
}

fn located(document: &tl::types::Document) -> Location {
    let tl::types::Document { id, access_hash, file_reference, .. } = document.clone();
    Location::Document { id, access_hash, file_reference }
}

impl Owner for Depot {
    type Error = Error;

    async fn permit(&self, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, expired: &Location) -> Result<Location, Error> {
        self.renewed.fetch_add(1, Ordering::SeqCst);
        let page = self.connection.messages_by_id(&self.chat, &[self.message]).await?;
        let (_, fresh) = document(&page);
        Ok(expired.with_reference(fresh.access_hash, fresh.file_reference))
    }

    fn goes_on(&self) -> bool {
        match &mut *self.stop_after.lock().unwrap() {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }
}

/// Takes bytes and insists on their order.
#[derive(Default)]
struct Kept {
    next: u64,
    hash: Sha256,
}

impl Sink for Kept {
    type Error = Error;

    async fn write(&mut self, offset: u64, bytes: Vec<u8>) -> Result<(), Error> {
        assert_eq!(offset, self.next, "in order and without gaps");
        self.next += bytes.len() as u64;
        self.hash.update(&bytes);
        Ok(())
    }
}

impl Kept {
    fn sha256(&self) -> Vec<u8> {
        self.hash.clone().finalize().to_vec()
    }
}

const SIZE: u64 = 20 * PART + 12_345;

#[tokio::test]
async fn a_file_of_another_datacentre_is_read_over_several_connections_and_is_the_truth() {
    let depot = Depot::with(SIZE, AWAY, Limits { connections: 3, in_flight: 2 }).await;
    let (mut kept, counts) = (Kept::default(), Counts::default());
    let reached = depot.downloads(0, &mut kept, &counts).await.unwrap();
    assert_eq!((reached, kept.next), (Reached { offset: SIZE, whole: true }, SIZE));
    assert_eq!(kept.sha256(), depot.truth());
    assert_eq!((counts.fetched(), depot.given()), (SIZE, SIZE), "each byte once");
    assert_eq!((counts.refetched(), counts.unproved()), (0, 0), "each part was proved");
    assert_eq!(depot.simulator.calls("auth.exportAuthorization"), 1, "brought there once, for all connections");
    let opened: u64 = depot.simulator.connections().values().sum();
    assert_eq!(opened, 1 + 3, "the first one, and three for files");
    depot.connection.close().await;
    assert!(depot.simulator.violations().is_empty());
}

#[tokio::test]
async fn a_wrong_datacentre_is_followed_where_telegram_says() {
    let mut depot = Depot::of(2 * PART, AWAY).await;
    depot.file.dc = 2;
    let (mut kept, counts) = (Kept::default(), Counts::default());
    depot.downloads(0, &mut kept, &counts).await.unwrap();
    assert_eq!(kept.sha256(), depot.truth());
}

#[tokio::test]
async fn a_download_stops_at_a_safe_place_and_goes_on_there() {
    let depot = Depot::of(SIZE, 2).await;
    let (mut kept, counts) = (Kept::default(), Counts::default());
    *depot.stop_after.lock().unwrap() = Some(7);
    let reached = depot.downloads(0, &mut kept, &counts).await.unwrap();
    assert_eq!(reached, Reached { offset: 7 * PART, whole: false });
    *depot.stop_after.lock().unwrap() = None;
    let reached = depot.downloads(reached.offset, &mut kept, &counts).await.unwrap();
    assert_eq!((reached.whole, kept.sha256()), (true, depot.truth()));
    assert_eq!(depot.given(), SIZE, "nothing twice");
}

#[tokio::test]
async fn expired_references_are_renewed_once_each_and_no_part_is_lost() {
    let depot = Depot::of(SIZE, AWAY).await;
    for numbered in [false, true] {
        depot.simulator.set_reference_rules(ReferenceRules { each: Some(10), numbered, ..ReferenceRules::default() });
        let asked = || depot.simulator.calls("upload.getFile") + depot.simulator.calls("upload.getFileHashes");
        let (before, given, asked_before) = (depot.renewed.load(Ordering::SeqCst), depot.given(), asked());
        let (mut kept, counts) = (Kept::default(), Counts::default());
        depot.downloads(0, &mut kept, &counts).await.unwrap();
        assert_eq!(kept.sha256(), depot.truth());
        assert_eq!(depot.given() - given, SIZE, "what had come was kept meanwhile");
        let renewed = depot.renewed.load(Ordering::SeqCst) - before;
        let most = (asked() - asked_before) / 10;
        assert!(renewed >= 3 && u64::from(renewed) <= most, "{renewed} renewed, of at most {most} that expired");
    }
}

#[tokio::test]
async fn a_reference_that_no_renewal_helps_is_an_error() {
    let depot = Depot::of(SIZE, 2).await;
    depot.simulator.set_reference_rules(ReferenceRules { seconds: Some(0.0), ..ReferenceRules::default() });
    let (mut kept, counts) = (Kept::default(), Counts::default());
    let failed = depot.downloads(0, &mut kept, &counts).await.unwrap_err();
    assert!(matches!(failed, Error::FileReferenceExpired { .. }), "{failed}");
    assert_eq!((depot.renewed.load(Ordering::SeqCst), kept.next), (2, 0));
}

#[tokio::test]
async fn cut_and_stuck_connections_cost_what_was_in_flight() {
    let depot = Depot::of(SIZE, 2).await;
    depot.simulator.fail(Fault::new(FaultKind::Cut).of("upload.getFile").times(2));
    depot.simulator.fail(Fault::new(FaultKind::HalfOpen).of("upload.getFile").times(1));
    let (mut kept, counts) = (Kept::default(), Counts::default());
    depot.downloads(0, &mut kept, &counts).await.unwrap();
    assert_eq!(kept.sha256(), depot.truth());
    assert!(counts.refetched() > 0);
    assert_eq!(counts.fetched(), SIZE, "what arrived is used");
}

#[tokio::test]
async fn damaged_parts_are_noticed_and_asked_for_again_but_not_for_ever() {
    for damage in [Damage::Wrong, Damage::Truncated] {
        let depot = Depot::of(4 * PART, 2).await;
        depot.simulator.damage(DamageRequest { parts: Some(2), ..DamageRequest::of_all(damage) });
        let (mut kept, counts) = (Kept::default(), Counts::default());
        depot.downloads(0, &mut kept, &counts).await.unwrap();
        assert_eq!((kept.sha256(), counts.damaged(), counts.refetched()), (depot.truth(), 2, 2), "{damage:?}");

        depot.simulator.damage(DamageRequest::of_all(damage));
        let failed = depot.downloads(0, &mut Kept::default(), &Counts::default()).await.unwrap_err();
        assert!(matches!(failed, Error::Damaged { times: 4, .. }), "{failed}");
    }
}

#[tokio::test]
async fn a_long_flood_goes_back_with_the_position_and_a_short_one_is_slept() {
    let depot = Depot::of(SIZE, 2).await;
    depot.simulator.flood("upload.getFile", 1, 1);
    let (mut kept, counts) = (Kept::default(), Counts::default());
    *depot.stop_after.lock().unwrap() = Some(3);
    let reached = depot.downloads(0, &mut kept, &counts).await.unwrap();
    assert_eq!(reached.offset, 3 * PART);
    *depot.stop_after.lock().unwrap() = None;
    depot.simulator.fail(Fault::error(420, "FLOOD_PREMIUM_WAIT_37").of("upload.getFile").times(1));
    let failed = depot.downloads(kept.next, &mut kept, &counts).await.unwrap_err();
    assert!(matches!(&failed, Error::Flood { method, wait } if method == "upload.getFile" && wait.as_secs() >= 36), "{failed}");
}

#[tokio::test]
async fn what_somebody_has_is_proved_piece_by_piece() {
    let depot = Depot::of(2 * PART, 2).await;
    let mut bytes = depot.simulator.world().file_part(depot.id, PART / 2, PART as usize).unwrap();
    let file = File { from: PART / 2, ..depot.file.clone() };
    assert_eq!(depot.connection.prove(&file, &depot, &bytes).await.unwrap(), PART);
    // The last piece is not whole, and counts for nothing.
    assert_eq!(depot.connection.prove(&file, &depot, &bytes[..bytes.len() - 1]).await.unwrap(), PART - 128 * 1024);
    bytes[300_000] ^= 1;
    assert_eq!(depot.connection.prove(&file, &depot, &bytes).await.unwrap(), 2 * 128 * 1024);
}
