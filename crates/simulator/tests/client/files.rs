//! Files: all kinds of media, the rules of upload.getFile, references, datacentres, damage.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};
use telekeep_simulator::world::{FileTruth, Media, MediaMix};
use telekeep_simulator::{Damage, DamageRequest, ReferenceRules};
use tl::enums::{InputFileLocation, MessageMedia, PhotoSize};

use super::*;

/// A supergroup of nothing but files.
fn full_of_files() -> MediaMix {
    MediaMix { photos: 0.3, documents: 0.2, stickers: 0.1, voices: 0.1, videos: 0.1, animations: 0.1, ..MediaMix::default() }
}

async fn depot(media: MediaMix) -> Simulator {
    let chat = GeneratedChat::new(ChatKind::Supergroup, "Depot", 300).named("depot").media(media);
    Simulator::start(World::generated(7, [chat]), Options::default()).await.expect("starts")
}

/// Documents of one size.
async fn one_size(bytes: u64) -> Simulator {
    depot(MediaMix { documents: 1.0, document_bytes: Some([bytes, bytes]), ..MediaMix::none() }).await
}

/// A file of a message, as a client addresses it.
#[derive(Debug, Clone)]
struct Told {
    message: i32,
    location: InputFileLocation,
    size: i64,
    dc: i32,
    mime: String,
}

fn told(message: &tl::enums::Message) -> Option<Told> {
    let tl::enums::Message::Message(message) = message else { return None };
    match message.media.as_ref()? {
        MessageMedia::Photo(media) => {
            let tl::enums::Photo::Photo(photo) = media.photo.as_ref()? else { return None };
            let (kind, size) = match photo.sizes.last()? {
                PhotoSize::Size(size) => (&size.r#type, size.size),
                PhotoSize::Progressive(size) => (&size.r#type, *size.sizes.last()?),
                _ => return None,
            };
            let location = photo_location(photo, kind);
            Some(Told { message: message.id, location, size: size.into(), dc: photo.dc_id, mime: "image/jpeg".to_owned() })
        }
        MessageMedia::Document(media) => {
            let tl::enums::Document::Document(document) = media.document.as_ref()? else { return None };
            let (size, dc, mime) = (document.size, document.dc_id, document.mime_type.clone());
            Some(Told { message: message.id, location: document_location(document, ""), size, dc, mime })
        }
        _ => None,
    }
}

fn photo_location(photo: &tl::types::Photo, kind: &str) -> InputFileLocation {
    tl::types::InputPhotoFileLocation {
        id: photo.id,
        access_hash: photo.access_hash,
        file_reference: photo.file_reference.clone(),
        thumb_size: kind.to_owned(),
    }
    .into()
}

fn document_location(document: &tl::types::Document, kind: &str) -> InputFileLocation {
    tl::types::InputDocumentFileLocation {
        id: document.id,
        access_hash: document.access_hash,
        file_reference: document.file_reference.clone(),
        thumb_size: kind.to_owned(),
    }
    .into()
}

/// Where a size or preview is, by its kind.
type LocationByKind = Box<dyn Fn(&str) -> InputFileLocation>;

fn document(location: &InputFileLocation) -> tl::types::InputDocumentFileLocation {
    match location {
        InputFileLocation::InputDocumentFileLocation(location) => location.clone(),
        other => panic!("no document: {other:?}"),
    }
}

async fn history(client: &Client) -> Vec<tl::enums::Message> {
    let mut call = get_history(peer(&resolved(client, "depot").await));
    let mut read = Vec::new();
    loop {
        let page = client.invoke(&call).await.expect("a page");
        let Some(last) = ids(&page).last().copied() else { return read };
        read.extend_from_slice(content(&page));
        call.offset_id = last;
    }
}

/// The file of the newest message that has one.
async fn newest(client: &Client) -> Told {
    let page = client.invoke(&get_history(peer(&resolved(client, "depot").await))).await.expect("a page");
    content(&page).iter().find_map(told).expect("a file")
}

fn part(location: &InputFileLocation, offset: i64, limit: i32) -> tl::functions::upload::GetFile {
    tl::functions::upload::GetFile { precise: false, cdn_supported: false, location: location.clone(), offset, limit }
}

async fn read(client: &Client, call: &tl::functions::upload::GetFile) -> Result<tl::types::upload::File, InvocationError> {
    match client.invoke(call).await? {
        tl::enums::upload::File::File(file) => Ok(file),
        tl::enums::upload::File::CdnRedirect(_) => panic!("a redirect"),
    }
}

async fn whole(client: &Client, location: &InputFileLocation) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let read = read(client, &part(location, bytes.len() as i64, 1 << 19)).await.expect("a part").bytes;
        bytes.extend_from_slice(&read);
        if read.len() < 1 << 19 {
            return bytes;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn files_of_every_kind_have_the_bytes_that_the_truth_says() {
    let simulator = depot(full_of_files()).await;
    let client = member(&simulator);
    let depot = chat(&simulator, "Depot").id;
    let truth: Vec<FileTruth> = simulator.world().files(depot).expect("the chat").collect();
    let read = history(&client).await;
    let told: Vec<Told> = read.iter().filter_map(told).collect();
    assert_eq!(told.len(), truth.len());
    let mut kinds = BTreeSet::new();
    for truth in &truth {
        kinds.insert(truth.media_type.expect("media"));
        let told = told.iter().find(|told| told.message == truth.message_id).expect("is told");
        assert_eq!((told.size as u64, told.dc, &told.mime), (truth.size, truth.dc, &truth.mime_type));
        if told.size < 300_000 {
            let bytes = whole(&client, &told.location).await;
            assert_eq!(bytes.len() as u64, truth.size, "{truth:?}");
            assert_eq!(Some(hex(&Sha256::digest(&bytes))), truth.sha256, "{truth:?}");
        }
    }
    use Media::{Animation, Audio, Document, Photo, Sticker, Video, VideoNote, Voice};
    assert_eq!(kinds, BTreeSet::from([Photo, Video, Animation, VideoNote, Voice, Audio, Sticker, Document]));
    let controlled = control::get(&simulator, &format!("/chats/{depot}/files")).await;
    let controlled: Vec<FileTruth> = controlled.lines().map(|line| serde_json::from_str(line).expect("a file")).collect();
    assert_eq!(controlled, truth);
}

#[tokio::test]
async fn photos_come_in_sizes_and_videos_with_previews() {
    let simulator = depot(full_of_files()).await;
    let client = member(&simulator);
    let mut kinds = BTreeSet::new();
    for message in history(&client).await {
        let tl::enums::Message::Message(message) = message else { continue };
        let (sizes, location): (_, LocationByKind) = match message.media {
            Some(MessageMedia::Photo(media)) => {
                let Some(tl::enums::Photo::Photo(photo)) = media.photo else { panic!("no photo") };
                (photo.sizes.clone(), Box::new(move |kind| photo_location(&photo, kind)))
            }
            Some(MessageMedia::Document(media)) => {
                let Some(tl::enums::Document::Document(document)) = media.document else { panic!("no document") };
                if let Some(waveform) = document.attributes.iter().find_map(|attribute| match attribute {
                    tl::enums::DocumentAttribute::Audio(audio) if audio.voice => audio.waveform.as_ref(),
                    _ => None,
                }) {
                    assert_eq!(waveform.len(), 63);
                    kinds.insert("waveform".to_owned());
                }
                (document.thumbs.clone().unwrap_or_default(), Box::new(move |kind| document_location(&document, kind)))
            }
            _ => continue,
        };
        for size in sizes {
            let (kind, bytes) = match size {
                PhotoSize::Size(size) => (size.r#type, size.size),
                PhotoSize::Progressive(size) => {
                    assert!(size.sizes.len() > 1 && size.sizes.is_sorted());
                    (size.r#type, *size.sizes.last().expect("a step"))
                }
                PhotoSize::PhotoStrippedSize(size) => {
                    assert_eq!(size.bytes[..3], [1, 30, 40]);
                    kinds.insert(size.r#type);
                    continue;
                }
                PhotoSize::PhotoPathSize(size) => {
                    kinds.insert(size.r#type);
                    continue;
                }
                other => panic!("another size: {other:?}"),
            };
            if kinds.insert(kind.clone()) {
                assert_eq!(whole(&client, &location(&kind)).await.len(), bytes as usize, "size {kind}");
                assert_eq!(refused(read(&client, &part(&location("q"), 0, 4096)).await), "LOCATION_INVALID");
            }
        }
    }
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), ["i", "j", "m", "s", "w", "waveform", "x", "y"]);
}

#[tokio::test]
async fn a_file_of_five_gigabytes_is_read_at_its_end() {
    let simulator = one_size(5 << 30).await;
    let client = member(&simulator);
    let file = newest(&client).await;
    assert_eq!(file.size, 5 << 30);
    let last = (5_i64 << 30) - 4096;
    let bytes = read(&client, &part(&file.location, last, 4096)).await.expect("a part").bytes;
    let id = document(&file.location).id;
    assert_eq!(Some(bytes), simulator.world().file_part(id, last as u64, 4096));
    assert!(read(&client, &part(&file.location, 5 << 30, 4096)).await.expect("an answer").bytes.is_empty(), "past the end");
}

#[tokio::test]
async fn offsets_and_limits_are_checked() {
    let simulator = one_size(3 << 20).await;
    let client = member(&simulator);
    let location = newest(&client).await.location;
    let ask = async |offset: i64, limit: i32, precise: bool| {
        let call = tl::functions::upload::GetFile { precise, ..part(&location, offset, limit) };
        read(&client, &call).await.map(|file| file.bytes.len())
    };
    assert_eq!(ask(0, 1 << 19, false).await.expect("a part"), 1 << 19);
    assert_eq!(ask(1 << 20, 1 << 19, false).await.expect("a part"), 1 << 19);
    assert_eq!(ask(1024, 3 * 1024, true).await.expect("a precise part"), 3 * 1024);
    assert_eq!(refused(ask(1024, 4096, false).await), "OFFSET_INVALID");
    assert_eq!(refused(ask(512, 1024, true).await), "OFFSET_INVALID");
    assert_eq!(refused(ask(-4096, 4096, false).await), "OFFSET_INVALID");
    assert_eq!(refused(ask(0, 0, false).await), "LIMIT_INVALID");
    assert_eq!(refused(ask(0, 5000, false).await), "LIMIT_INVALID");
    assert_eq!(refused(ask(0, 12_288, false).await), "LIMIT_INVALID");
    assert_eq!(refused(ask(0, 2 << 20, false).await), "LIMIT_INVALID");
    assert_eq!(refused(ask((1 << 20) - 4096, 8192, false).await), "LIMIT_INVALID");
}

#[tokio::test]
async fn ids_and_hashes_are_checked() {
    let simulator = one_size(10_000).await;
    let client = member(&simulator);
    let good = document(&newest(&client).await.location);
    let ask = async |location: InputFileLocation| refused(read(&client, &part(&location, 0, 4096)).await);
    let wrong = |change: &dyn Fn(&mut tl::types::InputDocumentFileLocation)| {
        let mut location = good.clone();
        change(&mut location);
        InputFileLocation::from(location)
    };
    assert_eq!(ask(wrong(&|location| location.access_hash ^= 1)).await, "FILE_ID_INVALID");
    assert_eq!(ask(wrong(&|location| location.id ^= 1)).await, "FILE_ID_INVALID");
    assert_eq!(ask(InputFileLocation::InputTakeoutFileLocation).await, "LOCATION_INVALID");
    assert_eq!(ask(wrong(&|location| location.file_reference.clear())).await, "FILE_REFERENCE_EMPTY");
    assert_eq!(ask(wrong(&|location| location.file_reference[9] ^= 1)).await, "FILE_REFERENCE_INVALID");
    assert_eq!(ask(wrong(&|location| location.file_reference.truncate(5))).await, "FILE_REFERENCE_INVALID");
}

#[tokio::test]
async fn the_kind_of_a_file_is_told_by_its_first_bytes() {
    use tl::enums::storage::FileType as T;
    let simulator = depot(full_of_files()).await;
    let client = member(&simulator);
    let mut seen = BTreeSet::new();
    for file in history(&client).await.iter().filter_map(told) {
        if !seen.insert(file.mime.clone()) {
            continue;
        }
        let first = read(&client, &part(&file.location, 0, 4096)).await.expect("a part");
        let wanted = match file.mime.as_str() {
            "image/jpeg" => T::FileJpeg,
            "image/png" => T::FilePng,
            "image/webp" => T::FileWebp,
            "video/mp4" => T::FileMp4,
            "audio/mpeg" => T::FileMp3,
            "application/pdf" => T::FilePdf,
            _ => T::FileUnknown,
        };
        assert_eq!(first.r#type, wanted, "{}", file.mime);
        assert!(first.mtime > 0);
        if file.size > 4096 {
            let later = read(&client, &part(&file.location, 4096, 4096)).await.expect("a part");
            assert_eq!(later.r#type, wanted, "{}, later", file.mime);
        }
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
}

#[tokio::test]
async fn hashes_are_over_128_kib_each() {
    let simulator = one_size((1 << 20) + 200_000).await;
    let client = member(&simulator);
    let location = newest(&client).await.location;
    let bytes = whole(&client, &location).await;
    let mut checked = 0;
    while checked < bytes.len() {
        let call = tl::functions::upload::GetFileHashes { location: location.clone(), offset: checked as i64 };
        let hashes = client.invoke(&call).await.expect("hashes");
        assert!(!hashes.is_empty());
        for tl::enums::FileHash::Hash(hash) in hashes {
            assert_eq!(hash.offset, checked as i64);
            let end = checked + hash.limit as usize;
            assert_eq!(hash.hash, Sha256::digest(&bytes[checked..end]).to_vec());
            checked = end;
        }
    }
    assert_eq!(checked, bytes.len());
}

#[tokio::test]
async fn an_expired_reference_is_refused_until_the_message_is_asked_for_again() {
    let simulator = one_size(100_000).await;
    let client = member(&simulator);
    let old = newest(&client).await;
    read(&client, &part(&old.location, 0, 4096)).await.expect("opens");
    simulator.expire_references();
    assert_eq!(refused(read(&client, &part(&old.location, 0, 4096)).await), "FILE_REFERENCE_EXPIRED");

    let channel = resolved(&client, "depot").await;
    let id = vec![tl::types::InputMessageId { id: old.message }.into()];
    let call = tl::functions::channels::GetMessages { channel: channel.into(), id };
    let page = client.invoke(&call).await.expect("the message");
    let fresh = content(&page).iter().find_map(told).expect("a file");
    assert_ne!(document(&fresh.location).file_reference, document(&old.location).file_reference);
    read(&client, &part(&fresh.location, 0, 4096)).await.expect("opens again");
    let again = newest(&client).await;
    assert_ne!(document(&again.location).file_reference, document(&fresh.location).file_reference, "each answer has its own");
}

#[tokio::test]
async fn references_expire_after_a_time_and_each_nth_part() {
    let simulator = one_size(100_000).await;
    let client = member(&simulator);
    simulator.set_reference_rules(ReferenceRules { seconds: Some(0.3), ..ReferenceRules::default() });
    let file = newest(&client).await;
    let expiry = async {
        loop {
            match read(&client, &part(&file.location, 0, 4096)).await {
                Ok(_) => tokio::task::yield_now().await,
                refusal => return refused(refusal),
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(30), expiry).await.expect("expires"), "FILE_REFERENCE_EXPIRED");

    simulator.set_reference_rules(ReferenceRules { each: Some(5), numbered: true, ..ReferenceRules::default() });
    let (mut bytes, mut expired, mut location) = (Vec::new(), 0, newest(&client).await.location);
    while bytes.len() < 100_000 {
        match read(&client, &part(&location, bytes.len() as i64, 4096)).await {
            Ok(read) => bytes.extend(read.bytes),
            Err(error) => {
                assert_eq!(refused(Err::<(), _>(error)), "FILE_REFERENCE_EXPIRED_0");
                assert_eq!(refused(read(&client, &part(&location, 0, 4096)).await), "FILE_REFERENCE_EXPIRED_0", "stays so");
                location = newest(&client).await.location;
                expired += 1;
            }
        }
    }
    assert!((4..=8).contains(&expired), "{expired}");
    assert_eq!(Some(bytes), simulator.world().file(document(&location).id));
}

#[tokio::test]
async fn a_reference_is_good_for_its_account_only() {
    let simulator = one_size(100_000).await;
    let (first, second) = (member(&simulator), client(&simulator.account("second").expect("an account")));
    let own = newest(&first).await;
    let others = newest(&second).await;
    assert_eq!(document(&own.location).id, document(&others.location).id);
    assert_eq!(refused(read(&second, &part(&own.location, 0, 4096)).await), "FILE_REFERENCE_INVALID");
    read(&second, &part(&others.location, 0, 4096)).await.expect("opens");
}

#[tokio::test]
async fn a_file_elsewhere_is_asked_for_there() {
    let chat = GeneratedChat::new(ChatKind::Supergroup, "Depot", 60).named("depot").media(full_of_files());
    let world = World::generated(7, [chat]).files_in([4]);
    let simulator = Simulator::start(world, Options::default()).await.expect("starts");
    let client = member(&simulator);
    let file = newest(&client).await;
    assert_eq!(file.dc, 4);
    let result = read(&client, &part(&file.location, 0, 4096)).await;
    assert!(matches!(&result, Err(InvocationError::Rpc(error)) if error.code == 303));
    assert_eq!(refused(result), "FILE_MIGRATE_4");
}

#[tokio::test]
async fn bytes_are_wrong_or_missing_on_demand() {
    let simulator = one_size(100_000).await;
    let client = member(&simulator);
    let file = newest(&client).await;
    let id = document(&file.location).id;
    let truth = simulator.world().file(id).expect("the file");
    simulator.damage(DamageRequest { file: Some(id), parts: Some(1), ..DamageRequest::of_all(Damage::Wrong) });
    let wrong = whole(&client, &file.location).await;
    assert!(wrong.len() == truth.len() && wrong != truth);
    assert_eq!(whole(&client, &file.location).await, truth, "only one part was");

    let body = r#"{"damage": "truncated", "share": 1.0}"#;
    control::post(&simulator, "/files/damage", body).await;
    assert!(whole(&client, &file.location).await.len() < truth.len());
    control::post(&simulator, "/files/heal", "").await;
    assert_eq!(whole(&client, &file.location).await, truth);
    control::post(&simulator, "/files/expire", "").await;
    assert_eq!(refused(read(&client, &part(&file.location, 0, 4096)).await), "FILE_REFERENCE_EXPIRED");
    control::post(&simulator, "/files/references", r#"{"seconds": 0}"#).await;
    assert_eq!(refused(read(&client, &part(&newest(&client).await.location, 0, 4096)).await), "FILE_REFERENCE_EXPIRED");
}

#[tokio::test]
async fn pictures_of_users_and_chats() {
    let simulator = depot(MediaMix::default()).await;
    let client = member(&simulator);
    let channel = resolved(&client, "depot").await;
    let full = tl::functions::channels::GetFullChannel { channel: channel.clone().into() };
    let tl::enums::messages::ChatFull::Full(full) = client.invoke(&full).await.expect("the full chat");
    let Some(tl::enums::Chat::Channel(told)) = full.chats.into_iter().next() else { panic!("no channel") };
    let tl::enums::ChatPhoto::Photo(small) = told.photo else { panic!("no photo") };
    let tl::enums::ChatFull::ChannelFull(full) = full.full_chat else { panic!("no channel") };
    let tl::enums::Photo::Photo(photo) = full.chat_photo else { panic!("no photo") };
    assert_eq!(photo.id, small.photo_id);
    assert!(small.stripped_thumb.is_some());
    let of_peer = |peer: tl::enums::InputPeer, photo_id: i64, big: bool| {
        InputFileLocation::from(tl::types::InputPeerPhotoFileLocation { big, peer, photo_id })
    };
    let by_reference = whole(&client, &photo_location(&photo, "c")).await;
    assert_eq!(whole(&client, &of_peer(peer(&channel), photo.id, true)).await, by_reference);
    assert_eq!(whole(&client, &of_peer(peer(&channel), photo.id, false)).await, whole(&client, &photo_location(&photo, "a")).await);
    let wrong = of_peer(peer(&channel), photo.id + 1, false);
    assert_eq!(refused(read(&client, &part(&wrong, 0, 4096)).await), "LOCATION_INVALID");
    assert_eq!(refused(read(&client, &part(&photo_location(&photo, ""), 0, 4096)).await), "LOCATION_INVALID", "no size is named");

    let page = client.invoke(&get_history(peer(&channel))).await.expect("a page");
    let tl::enums::messages::Messages::ChannelMessages(page) = page else { panic!("not a channel's page") };
    let mut photographed = 0;
    for user in page.users {
        let tl::enums::User::User(user) = user else { continue };
        let input = tl::types::InputUser { user_id: user.id, access_hash: user.access_hash.expect("a hash") };
        let call = tl::functions::photos::GetUserPhotos { user_id: input.clone().into(), offset: 0, max_id: 0, limit: 100 };
        let photos = match client.invoke(&call).await.expect("photos") {
            tl::enums::photos::Photos::Photos(told) => told.photos,
            tl::enums::photos::Photos::Slice(_) => panic!("a slice"),
        };
        let full = tl::functions::users::GetFullUser { id: input.clone().into() };
        let tl::enums::users::UserFull::Full(full) = client.invoke(&full).await.expect("the full user");
        let tl::enums::UserFull::Full(full) = full.full_user;
        assert_eq!(full.profile_photo.as_ref().map(tl::enums::Photo::id), photos.first().map(tl::enums::Photo::id));
        let Some(tl::enums::UserProfilePhoto::Photo(small)) = user.photo else {
            assert!(photos.is_empty());
            continue;
        };
        assert_eq!(Some(small.photo_id), photos.first().map(tl::enums::Photo::id));
        let of_user = tl::types::InputPeerUser { user_id: input.user_id, access_hash: input.access_hash };
        let bytes = whole(&client, &of_peer(of_user.into(), small.photo_id, true)).await;
        let tl::enums::Photo::Photo(photo) = &photos[0] else { panic!("an empty photo") };
        assert_eq!(bytes, whole(&client, &photo_location(photo, "c")).await);
        if photos.len() > 1 {
            let call = tl::functions::photos::GetUserPhotos { limit: 1, offset: 1, ..call };
            let tl::enums::photos::Photos::Slice(slice) = client.invoke(&call).await.expect("photos") else { panic!("all") };
            assert_eq!((slice.count as usize, slice.photos[0].id()), (photos.len(), photos[1].id()));
            photographed += 1;
        }
        if photographed > 3 {
            return;
        }
    }
    panic!("too few users with photos");
}
