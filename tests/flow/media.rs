//! Files: what is told of them, the messages that carry them, and the photos of chats and users.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use telekeep::record::media::{self, LISTED, MediaId, MediaType, Space, Told};
use telekeep::record::outbox::Kind;
use telekeep::record::series;
use telekeep::record::{AccountId, Chat, ChatId, Message, User, Via, avatar, chat, user};
use telekeep_simulator::world::{ChatKind, Event, FileTruth, GeneratedChat, MediaMix, Post};
use telekeep_simulator::{Simulator, World};

use crate::installation::{Telekeep, datacentre, until};
use crate::projection::in_world;
use crate::record::{LIBRARY, account, begin, observation};
use crate::series::{body, erases, hears, loses, pushed};
use crate::series_index::documents;

/// A document as Telegram tells it to one account.
pub(crate) fn file(id: i64) -> Told {
    Told {
        space: Space::Document,
        file_id: id,
        kind: MediaType::Document,
        body: body(json!({"file_name": "../a\0b.pdf"})),
        size: Some(10),
        mime_type: Some("application/pdf".into()),
        dc: Some(2),
        access_hash: Some(81),
        file_reference: vec![8, 1],
        date: None,
        ttl: false,
    }
}

fn portrait(id: i64) -> Option<Told> {
    let photo =
        Told { space: Space::Photo, kind: MediaType::Avatar, body: body(json!({})), size: None, access_hash: None, ..file(id) };
    Some(photo)
}

fn carrying(id: i64, files: impl IntoIterator<Item = Told>) -> Message {
    Message { media: files.into_iter().collect(), ..pushed(1, id, "a file") }
}

async fn number(conn: &mut PgConnection, file: i64) -> MediaId {
    MediaId(sqlx::query_scalar("select id from media where file_id = $1").bind(file).fetch_one(conn).await.expect("a file"))
}

/// The documents as the record has them, by Telegram's number.
async fn recorded(pool: &PgPool) -> BTreeMap<i64, Value> {
    let rows: Vec<(i64, i64)> = sqlx::query_as("select id, file_id from media").fetch_all(pool).await.expect("rows");
    let ids: Vec<i64> = rows.iter().map(|row| row.0).collect();
    let files: BTreeMap<i64, i64> = rows.into_iter().collect();
    let found = series::rows(pool, Kind::Media, &ids).await.expect("documents");
    found
        .into_iter()
        .map(|row| {
            let mut document = row.body;
            document["date"] = json!(row.date);
            (files[&row.id], document)
        })
        .collect()
}

async fn revision(conn: &mut PgConnection, file: i64) -> i64 {
    sqlx::query_scalar("select revision from media where file_id = $1").bind(file).fetch_one(conn).await.expect("a file")
}

async fn restricted(conn: &mut PgConnection, file: i64) -> Option<String> {
    sqlx::query_scalar("select restricted from media where file_id = $1").bind(file).fetch_one(conn).await.expect("a file")
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_file_has_all_messages_that_carry_it_and_stays_when_one_is_deleted(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    hears(&mut conn, node, &[carrying(1, [file(7)]), carrying(2, [file(7), file(8)])]).await;
    hears(&mut conn, node, &[carrying(3, [file(7)])]).await;
    let before = recorded(&pool).await;
    let place = |id: i64| json!({"chat_id": LIBRARY, "message_id": id});
    assert_eq!(before[&7]["sources"], json!([place(1), place(2), place(3)]));
    assert_eq!(before[&8]["sources"], json!([place(2)]));
    assert_eq!((&before[&7]["file_name"], &before[&7]["media_id"]), (&json!("../a\u{fffd}b.pdf"), &json!("document_7")));
    assert_eq!(
        (&before[&7]["file_size"], &before[&7]["type"], &before[&7]["state"]),
        (&json!(10), &json!("document"), &json!("skipped"))
    );

    loses(&mut conn, node, &[1]).await;
    assert_eq!(recorded(&pool).await, before);
    let id = number(&mut conn, 7).await;
    let sources = media::sources_of(&mut conn, id, 10).await.expect("sources");
    let told: Vec<(i64, bool)> = sources.iter().map(|source| (source.message_id, source.deleted)).collect();
    assert_eq!(told, [(3, false), (2, false), (1, true)]);

    // An edit puts another file in its place: the first one was there.
    let edited = Message { pts: Some(9), ..carrying(2, [file(9)]) };
    hears(&mut conn, node, &[edited]).await;
    let after = recorded(&pool).await;
    assert_eq!((&after[&7], &after[&8]), (&before[&7], &before[&8]));
    assert_eq!(after[&9]["sources"], json!([place(2)]));

    // Told again, nothing changes.
    let revisions = [revision(&mut conn, 7).await, revision(&mut conn, 8).await];
    sqlx::query("delete from outbox").execute(&mut *conn).await.expect("sent");
    hears(&mut conn, node, &[carrying(2, [file(7), file(8)]), carrying(3, [file(7)])]).await;
    assert_eq!([revision(&mut conn, 7).await, revision(&mut conn, 8).await], revisions);
    let queued: i64 =
        sqlx::query_scalar("select count(*) from outbox where kind = 'media'").fetch_one(&mut *conn).await.expect("a count");
    assert_eq!(queued, 0);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn each_account_has_a_reference_of_its_own_and_no_document_has_one(pool: PgPool) {
    let (mut conn, one) = begin(&pool).await;
    let two = account(&mut conn, "two").await;
    hears(&mut conn, one, &[carrying(1, [file(7)])]).await;
    let other = Told { access_hash: Some(82), file_reference: vec![8, 2], ..file(7) };
    hears(&mut conn, two, &[carrying(2, [other.clone()])]).await;
    let id = number(&mut conn, 7).await;
    let reference = async |conn: &mut PgConnection, account: AccountId| {
        let found = media::reference_of(conn, id, account).await.expect("read").expect("a reference");
        (found.access_hash, found.file_reference, found.dc, found.size, found.source)
    };
    assert_eq!(reference(&mut conn, one).await, (81, vec![8, 1], 2, Some(10), Some((LIBRARY, 1))));
    assert_eq!(reference(&mut conn, two).await, (82, vec![8, 2], 2, Some(10), Some((LIBRARY, 2))));
    // The newest wins.
    hears(&mut conn, one, &[carrying(1, [Told { file_reference: vec![8, 3], ..file(7) }])]).await;
    assert_eq!(reference(&mut conn, one).await, (81, vec![8, 3], 2, Some(10), Some((LIBRARY, 1))));
    let nobody = account(&mut conn, "nobody").await;
    assert_eq!(media::reference_of(&mut conn, id, nobody).await.expect("read"), None);

    let document = recorded(&pool).await[&7].clone();
    for field in ["access_hash", "file_reference", "dc", "dc_id"] {
        assert!(document.get(field).is_none(), "{document}");
    }
    let sizes = json!([{"type": "m", "width": 320, "height": 200}, {"type": "y", "width": 1280, "height": 800}, {"type": "x", "width": 800, "height": 500}]);
    let photo = Told { space: Space::Photo, kind: MediaType::Photo, body: body(json!({ "sizes": sizes })), ..file(5) };
    hears(&mut conn, one, &[carrying(3, [photo])]).await;
    let id = number(&mut conn, 5).await;
    let found = media::reference_of(&mut conn, id, one).await.expect("read").expect("a reference");
    assert_eq!((found.space, found.thumb_size.as_str()), (Space::Photo, "y"));
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn what_destroys_itself_or_is_protected_is_restricted_until_a_source_is_neither(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    let ttl = |id| Told { ttl: true, ..file(id) };
    let protected =
        |message: Message| Message { body: body(json!({"text": "a file", "media": true, "noforwards": true})), ..message };
    hears(&mut conn, node, &[carrying(1, [ttl(7)]), protected(carrying(2, [file(8)])), carrying(3, [file(9)])]).await;
    assert_eq!(restricted(&mut conn, 7).await.as_deref(), Some("self_destructing"));
    assert_eq!(restricted(&mut conn, 8).await.as_deref(), Some("protected"));
    assert_eq!(restricted(&mut conn, 9).await, None);
    hears(&mut conn, node, &[protected(carrying(4, [file(7)])), carrying(5, [file(8)]), carrying(6, [ttl(9)])]).await;
    assert_eq!(restricted(&mut conn, 7).await.as_deref(), Some("protected"));
    assert_eq!((restricted(&mut conn, 8).await, restricted(&mut conn, 9).await), (None, None));

    // The chat as a whole, and its change of mind.
    let says = |noforwards: bool| Chat {
        id: LIBRARY,
        kind: "channel".into(),
        body: body(json!({ "noforwards": noforwards })),
        access_hash: None,
        min: false,
        avatar: None,
    };
    let seen = observation(node, Via::History, None);
    chat::merge_chats(&mut conn, &[says(true)], &seen).await.expect("merged");
    for (file, word) in [(7, "protected"), (8, "protected"), (9, "protected")] {
        assert_eq!(restricted(&mut conn, file).await.as_deref(), Some(word), "{file}");
    }
    hears(&mut conn, node, &[carrying(10, [file(11)])]).await;
    assert_eq!(restricted(&mut conn, 11).await.as_deref(), Some("protected"));
    chat::merge_chats(&mut conn, &[says(false)], &seen).await.expect("merged");
    assert_eq!(restricted(&mut conn, 7).await.as_deref(), Some("protected"), "its messages say so themselves");
    assert_eq!(
        [restricted(&mut conn, 8).await, restricted(&mut conn, 9).await, restricted(&mut conn, 11).await],
        [None, None, None]
    );
    // A message that says something else now.
    hears(&mut conn, node, &[Message { pts: Some(9), ..carrying(4, [file(7)]) }]).await;
    assert_eq!(restricted(&mut conn, 7).await, None);
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_document_names_a_hundred_sources_and_the_record_has_all(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    for page in 0..3_i64 {
        let messages: Vec<Message> = (1..=60).map(|id| carrying(page * 60 + id, [file(7)])).collect();
        hears(&mut conn, node, &messages).await;
    }
    let listed = recorded(&pool).await[&7]["sources"].as_array().map(Vec::len);
    let all: i64 = sqlx::query_scalar("select count(*) from media_source").fetch_one(&mut *conn).await.expect("a count");
    assert_eq!((listed, all), (Some(LISTED), 180));
    let before = revision(&mut conn, 7).await;
    hears(&mut conn, node, &[carrying(500, [file(7)])]).await;
    assert_eq!(revision(&mut conn, 7).await, before, "a source beyond the hundred is no change of the document");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn where_deletions_erase_a_file_goes_with_its_last_message_and_may_come_back(pool: PgPool) {
    in_world(pool, async |world| {
        world.index.prepare().await.expect("indices");
        sqlx::query("delete from sink").execute(&world.pool).await.expect("as begun");
        let (mut conn, node) = begin(&world.pool).await;
        erases(&mut conn, LIBRARY).await;
        hears(&mut conn, node, &[carrying(1, [file(7), file(8)]), carrying(2, [file(7)])]).await;
        world.projects().await;
        assert_eq!(documents(&world, Kind::Media).await.len(), 2);
        loses(&mut conn, node, &[1]).await;
        world.projects().await;
        let left = documents(&world, Kind::Media).await;
        assert_eq!(left.keys().collect::<Vec<_>>(), ["document_7"]);
        assert_eq!(left["document_7"]["sources"], json!([{"chat_id": LIBRARY, "message_id": 2}]));
        let told: i64 = sqlx::query_scalar(
            "select count(*) from media m left join media_reference r on r.media = m.id where m.file_id = 8 and (r.media is not null or m.body <> '{}')",
        )
        .fetch_one(&mut *conn)
        .await
        .expect("a count");
        assert_eq!(told, 0, "nothing of it is left");
        // What was erased is not told by its message again; another one may.
        hears(&mut conn, node, &[Message { pts: Some(9), ..carrying(1, [file(8)]) }]).await;
        assert_eq!(recorded(&world.pool).await.keys().collect::<Vec<_>>(), [&7]);
        hears(&mut conn, node, &[carrying(3, [file(8)])]).await;
        world.projects().await;
        assert_eq!(documents(&world, Kind::Media).await["document_8"]["sources"], json!([{"chat_id": LIBRARY, "message_id": 3}]));
        assert_eq!(world.audit(true, false).await.differences(), 0);
    })
    .await;
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn photos_of_chats_and_users_have_a_history_and_a_shared_one_is_one_file(pool: PgPool) {
    let (mut conn, node) = begin(&pool).await;
    let seen = observation(node, Via::History, None);
    let chat = |photo| Chat {
        id: LIBRARY,
        kind: "channel".into(),
        body: body(json!({"title": "Library"})),
        access_hash: None,
        min: false,
        avatar: photo,
    };
    let user = |id, photo, min| User { id, body: body(json!({"first_name": "Hari"})), access_hash: None, min, avatar: photo };
    for photo in [31, 32, 33] {
        chat::merge_chats(&mut conn, &[chat(portrait(photo))], &seen).await.expect("merged");
    }
    // Nobody watches this one.
    let stranger = Chat { id: ChatId(-1_000_000_000_099), ..chat(portrait(39)) };
    chat::merge_chats(&mut conn, &[stranger], &seen).await.expect("merged");
    user::merge_users(&mut conn, &[user(9, portrait(33), false), user(10, portrait(34), false)], &seen).await.expect("merged");
    // Told without one, or in part: nothing is forgotten.
    user::merge_users(&mut conn, &[user(9, None, true)], &seen).await.expect("merged");
    let of = async |conn: &mut PgConnection, peer: i64| -> BTreeSet<String> {
        avatar::history(conn, peer).await.expect("a history").into_iter().map(|photo| photo.media_id).collect()
    };
    assert_eq!(of(&mut conn, LIBRARY.0).await, ["photo_31", "photo_32", "photo_33"].map(str::to_owned).into());
    assert_eq!(of(&mut conn, 9).await, ["photo_33"].map(str::to_owned).into());
    let documents = recorded(&pool).await;
    assert_eq!(documents.keys().copied().collect::<Vec<_>>(), [31, 32, 33, 34]);
    assert!(documents.values().all(|document| document["type"] == "avatar" && document["mime_type"] == "application/pdf"));
    // The service message of an earlier one tells how it is addressed, and when it was.
    let told = Told { access_hash: Some(1), body: body(json!({"width": 640})), ..portrait(31).expect("a photo") };
    hears(&mut conn, node, &[carrying(1, [told])]).await;
    let first =
        avatar::history(&mut conn, LIBRARY.0).await.expect("a history").into_iter().find(|photo| photo.media_id == "photo_31");
    assert_eq!(first.expect("the first").first_seen.timestamp(), 1_700_000_001);
    assert_eq!(recorded(&pool).await[&31]["width"], 640);
}

/// Every generated kind of file, in two datacentres.
fn of_all_kinds() -> World {
    let media = MediaMix {
        photos: 0.2,
        documents: 0.1,
        stickers: 0.1,
        voices: 0.1,
        videos: 0.1,
        animations: 0.1,
        document_bytes: None,
        video_bytes: Some([1, 4_000_000_000]),
    };
    let quay = GeneratedChat { media, ..GeneratedChat::new(ChatKind::Supergroup, "Quay", 400).named("quay") };
    World::generated(71, [quay]).files_in([2, 4])
}

fn truth(datacentre: &Simulator, chat: i64) -> Vec<FileTruth> {
    datacentre.world().files(chat).unwrap().collect()
}

async fn is_the_truth(pool: &PgPool, datacentre: &Simulator, chat: i64, documents: &BTreeMap<i64, Value>) {
    let dcs: BTreeMap<i64, i32> =
        sqlx::query_as("select file_id, dc from media where dc is not null").fetch_all(pool).await.unwrap().into_iter().collect();
    let truth = truth(datacentre, chat);
    for file in &truth {
        let document = documents.get(&file.file_id).unwrap_or_else(|| panic!("{file:?} has no document"));
        let found = json!({
            "type": document["type"], "size": document["file_size"], "mime": document["mime_type"], "name": document["file_name"],
            "dc": dcs.get(&file.file_id),
        });
        let expected =
            json!({"type": file.media_type, "size": file.size, "mime": file.mime_type, "name": file.name, "dc": file.dc});
        assert_eq!(found, expected, "{file:?}");
        let sources = document["sources"].as_array().unwrap();
        assert!(sources.contains(&json!({"chat_id": chat, "message_id": file.message_id})), "{file:?}: {document}");
        assert!(document["date"].is_string());
    }
    let files: BTreeSet<i64> = truth.iter().map(|file| file.file_id).collect();
    let beyond: Vec<_> = documents.iter().filter(|(id, document)| document["type"] != "avatar" && !files.contains(id)).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_files_of_a_world_are_told_as_they_are_live_as_in_history(pool: PgPool) {
    let datacentre = datacentre(of_all_kinds()).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    let from = datacentre.members(chat).unwrap().first().map(|member| member.user_id);
    telekeep.configures("[live]\nround_seconds = 2\n");
    telekeep.does(&["collect", &chat.to_string()]);
    let documents = recorded(&pool).await;
    let kinds: BTreeSet<&str> = documents.values().filter_map(|document| document["type"].as_str()).collect();
    let wanted = ["animation", "audio", "avatar", "document", "photo", "sticker", "video", "video_note", "voice"];
    assert!(wanted.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    is_the_truth(&pool, &datacentre, chat, &documents).await;

    // Live: a photo, a document, and two forwards of it.
    let worker = telekeep.works();
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let posts = |media: Value| {
        let post = Post { from, media: Some(serde_json::from_value(media).unwrap()), ..Post::text("look") };
        datacentre.play(Event::Post { chat, post }).unwrap().posted().next().unwrap().1
    };
    posts(json!({"photo": {"number": 77}}));
    let id = posts(json!({"document": {"name": "../../log \u{202e}txt.exe", "text": "all is well"}}));
    for _ in 0..2 {
        datacentre.play(Event::Forward { chat, from, source_chat: chat, source_id: id }).unwrap();
    }
    let sources = async || -> i64 {
        sqlx::query_scalar(
            "select count(*) from media_source s join media m on m.id = s.media where m.body->>'file_name' like '../../log%'",
        )
        .fetch_one(&pool)
        .await
        .unwrap()
    };
    until("the forwards", || async { sources().await == 3 }).await;
    datacentre.play(Event::Delete { chat, ids: vec![id] }).unwrap();
    until("the deletion", || async {
        sqlx::query_scalar("select exists (select from message where message_id = $1 and deleted_at is not null)")
            .bind(i64::from(id))
            .fetch_one(&pool)
            .await
            .unwrap()
    })
    .await;
    until("the index", || async { crate::installation::outbox(&pool).await == 0 }).await;
    drop(worker);
    let live = recorded(&pool).await;
    is_the_truth(&pool, &datacentre, chat, &live).await;
    let revisions = async || -> Vec<(i64, i64)> {
        sqlx::query_as("select file_id, revision from media order by 1").fetch_all(&pool).await.unwrap()
    };
    let before = revisions().await;
    telekeep.does(&["collect", &chat.to_string(), "--force"]);
    assert_eq!(revisions().await, before, "history tells of files what live told");
    // As a release before this one left it: reading again fills what was never noted.
    sqlx::query("delete from media").execute(&pool).await.unwrap();
    telekeep.does(&["collect", &chat.to_string(), "--force"]);
    is_the_truth(&pool, &datacentre, chat, &recorded(&pool).await).await;
    let found: Value = serde_json::from_str(&telekeep.does(&["audit", "--deep", "--json"])).unwrap_or_default();
    assert!(found.to_string().contains("media"), "{found}");
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn photos_of_chats_and_users_are_fetched_once_each_and_stay_known_when_they_change(pool: PgPool) {
    let quay = GeneratedChat { members: Some(12), ..GeneratedChat::new(ChatKind::Supergroup, "Quay", 60).named("quay") };
    let datacentre = datacentre(World::generated(72, [quay])).await;
    let telekeep = Telekeep::at(&datacentre, &pool);
    let chat = datacentre.world().chats()[0].id;
    let by = datacentre.members(chat).unwrap().first().map(|member| member.user_id);
    telekeep.configures("[live]\nround_seconds = 2\n");
    telekeep.configures("[files]\nstore = \"store\"\nearlier_avatars = true\n");
    telekeep.configures("[[files.rule]]\nname = \"faces\"\nfetch = true\ntypes = [\"avatar\"]\n");
    telekeep.does(&["collect", &chat.to_string()]);
    let shown: Value = serde_json::from_str(&telekeep.does(&["chat", "show", &chat.to_string(), "--json"])).unwrap();
    assert_eq!(shown["photos"].as_array().map(Vec::len), Some(1), "{shown}");

    let of = async |peer: i64| avatar::history(&mut pool.acquire().await.unwrap(), peer).await.unwrap();
    let _worker = telekeep.works();
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    // The datacentre forgets a photo that is shown no more, but not what it hashed.
    let first = datacentre.world().chat(chat).and_then(|chat| chat.photo()).unwrap();
    assert!(datacentre.world().file_sha256(first).is_some());
    until("the first photo", || async { of(chat).await.first().is_some_and(|photo| photo.state == "stored") }).await;
    for number in [501, 502] {
        datacentre.play(Event::Photo { chat, number: Some(number), by }).unwrap();
    }
    until("three photos of the chat", || async { of(chat).await.len() == 3 }).await;
    let open = async || -> Vec<(i64, String, Option<String>)> {
        let query = "select file_id, state, state_reason from media where type = 'avatar' and state <> 'stored' order by 1";
        sqlx::query_as(query).fetch_all(&pool).await.unwrap()
    };
    let jobs = async || -> i64 {
        let query = "select count(*) from job where state not in ('done', 'cancelled')";
        sqlx::query_scalar(query).fetch_one(&pool).await.unwrap()
    };
    for _ in 0..600 {
        if open().await.is_empty() && jobs().await == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!((open().await, jobs().await), (Vec::new(), 0));

    let stored: Vec<(i64, Vec<u8>, String)> =
        sqlx::query_as("select file_id, sha256, location from media where type = 'avatar'").fetch_all(&pool).await.unwrap();
    assert!(stored.len() > 3 + 5, "{}", stored.len());
    for (id, sha256, location) in &stored {
        assert_eq!(Some(sha256.as_slice()), datacentre.world().file_sha256(*id).as_ref().map(<[u8; 32]>::as_slice), "photo {id}");
        assert!(telekeep.path("store").join(location).is_file(), "{location}");
    }
    // Users with several photos have all of them.
    let users: Vec<i64> = sqlx::query_scalar("select user_id from telegram_user").fetch_all(&pool).await.unwrap();
    let mut several = 0;
    for user in users {
        let told: BTreeSet<String> = of(user).await.into_iter().map(|photo| photo.media_id).collect();
        let truth = datacentre.world().person(user).map(|person| person.photo_ids().map(|id| format!("photo_{id}")).collect());
        assert_eq!(Some(&told), truth.as_ref(), "user {user}");
        several += usize::from(told.len() > 1);
    }
    assert!(several > 0, "no user has several photos");
    let calls = datacentre.calls("upload.getFile");
    // A datacentre that is not the home refuses the first ones.
    let bytes: u64 = stored.iter().map(|(_, _, location)| telekeep.path("store").join(location).metadata().unwrap().len()).sum();
    assert_eq!(datacentre.call_counts().file_bytes.values().sum::<u64>(), bytes, "each is fetched once");
    telekeep.does(&["collect", &chat.to_string(), "--force"]);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(datacentre.calls("upload.getFile"), calls);
    assert!(datacentre.violations().is_empty(), "{:?}", datacentre.violations());
}
