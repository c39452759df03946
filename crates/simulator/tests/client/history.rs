//! Reading messages: all of them, by every offset, by id, and their photos.

use super::*;

#[tokio::test]
async fn a_whole_history_is_read_backwards_and_equals_the_truth() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let quay = chat(&simulator, "Quay");
    let input = resolved(&client, "quay").await;

    let mut call = get_history(peer(&input));
    let mut read = Vec::new();
    loop {
        let page = client.invoke(&call).await.expect("a page");
        let tl::enums::messages::Messages::ChannelMessages(told) = &page else { panic!("not a channel's page") };
        assert_eq!((told.pts, told.count as usize), (quay.pts(), quay.count()));
        let Some(last) = ids(&page).last().copied() else {
            break;
        };
        read.extend(content(&page).iter().filter_map(|message| telekeep_simulator::Truth::of(quay.id, message)));
        call.offset_id = last;
    }
    read.reverse();
    assert_eq!(read, simulator.truth(quay.id).expect("the chat"));
    assert_eq!(simulator.calls("messages.getHistory"), quay.count().div_ceil(100) as u64 + 1);
}

#[tokio::test]
async fn a_whole_history_is_read_forwards() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let quay = chat(&simulator, "Quay");
    let input = resolved(&client, "quay").await;

    let mut call = get_history(peer(&input));
    (call.offset_id, call.add_offset) = (1, -100);
    let mut read = Vec::new();
    loop {
        let mut page = ids(&client.invoke(&call).await.expect("a page"));
        page.reverse();
        let Some(last) = page.last().copied() else {
            break;
        };
        read.extend(page);
        call.offset_id = last + 1;
    }
    assert_eq!(read, quay.ids_from(1).collect::<Vec<_>>());
}

#[tokio::test]
async fn grammers_own_iterator_sees_every_message() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let harbour = client.resolve_username("harbour").await.expect("resolves").expect("exists");
    let mut messages = client.iter_messages(harbour.to_ref().await.expect("a peer").expect("its hash is known"));
    let mut read = Vec::new();
    while let Some(message) = messages.next().await.expect("a message") {
        read.push(message.id());
    }
    assert_eq!(read, chat(&simulator, "Harbour").ids_below(0).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_offset_means_what_telegram_means_by_it() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let harbour = chat(&simulator, "Harbour");
    let input = resolved(&client, "harbour").await;
    let all: Vec<i32> = harbour.ids_below(0).collect();
    let below = |offset: i32| all.iter().copied().filter(move |&id| id < offset).collect::<Vec<_>>();
    let page = async |change: &dyn Fn(&mut tl::functions::messages::GetHistory)| {
        let mut call = get_history(peer(&input));
        change(&mut call);
        ids(&client.invoke(&call).await.expect("a page"))
    };

    assert_eq!(page(&|_| {}).await, all[..100], "the newest");
    assert_eq!(page(&|call| call.limit = 1000).await.len(), 100, "a page has at most 100");
    assert_eq!(page(&|call| call.limit = 7).await, all[..7]);
    assert_eq!(page(&|call| call.offset_id = 300).await, below(300)[..100], "offset_id is exclusive");
    assert_eq!(page(&|call| (call.offset_id, call.add_offset) = (300, 5)).await, below(300)[5..105]);
    assert_eq!(page(&|call| (call.offset_id, call.add_offset, call.limit) = (300, -3, 5)).await, {
        let at = all.partition_point(|&id| id >= 300);
        all[at - 3..at + 2].to_vec()
    });
    let top = all[0];
    let near_top = page(&|call| (call.offset_id, call.add_offset, call.limit) = (top - 4, -50, 50)).await;
    assert_eq!(near_top, all.iter().copied().filter(|&id| id >= top - 4).collect::<Vec<_>>());
    assert_eq!(page(&|call| (call.min_id, call.offset_id) = (280, 300)).await, {
        below(300).into_iter().filter(|&id| id > 280).collect::<Vec<_>>()
    });
    assert_eq!(page(&|call| call.max_id = 200).await, below(200)[..100], "max_id is exclusive");
    let date = harbour.message(all[400]).map(|message| match message {
        tl::enums::Message::Message(message) => message.date,
        tl::enums::Message::Service(message) => message.date,
        tl::enums::Message::Empty(_) => 0,
    });
    let date = date.expect("exists");
    assert_eq!(page(&|call| call.offset_date = date).await, below(harbour.first_id_at(date))[..100]);
}

#[tokio::test]
async fn messages_by_id_tell_the_deleted_ones_as_empty() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let quay = chat(&simulator, "Quay");
    let input = resolved(&client, "quay").await;
    let call = tl::functions::channels::GetMessages {
        channel: input.into(),
        // Long enough that the client packs it with gzip.
        id: (1..=100).map(|id| tl::types::InputMessageId { id }.into()).collect(),
    };
    let page = client.invoke(&call).await.expect("a page");
    assert_eq!(ids(&page), (1..=100).collect::<Vec<_>>());
    for message in content(&page) {
        let empty = matches!(message, tl::enums::Message::Empty(_));
        assert_eq!(empty, !quay.exists(message.id()), "message {}", message.id());
    }
}

#[tokio::test]
async fn a_deleted_message_goes_and_the_pts_grows() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let harbour = chat(&simulator, "Harbour");
    let input = resolved(&client, "harbour").await;
    let (top, pts) = (harbour.top(), harbour.pts());
    assert_eq!(simulator.delete(harbour.id, &[top, top, 100_000]).expect("the chat"), [top]);
    let page = client.invoke(&get_history(peer(&input))).await.expect("a page");
    assert!(ids(&page)[0] < top);
    let tl::enums::messages::Messages::ChannelMessages(page) = page else { panic!("not a channel's page") };
    assert_eq!(page.pts, pts + 1);
}

#[tokio::test]
async fn a_photo_is_downloaded_whole_and_in_parts() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let input = resolved(&client, "harbour").await;
    let mut call = get_history(peer(&input));
    let photo = loop {
        let page = client.invoke(&call).await.expect("a page");
        let photo = content(&page).iter().find_map(|message| match message {
            tl::enums::Message::Message(message) => match message.media.as_ref()? {
                tl::enums::MessageMedia::Photo(media) => match media.photo.as_ref()? {
                    tl::enums::Photo::Photo(photo) => Some(photo.clone()),
                    tl::enums::Photo::Empty(_) => None,
                },
                _ => None,
            },
            _ => None,
        });
        match photo {
            Some(photo) => break photo,
            None => call.offset_id = *ids(&page).last().expect("a photo in this world"),
        }
    };
    let (kind, bytes) = match photo.sizes.last().expect("a size") {
        tl::enums::PhotoSize::Size(size) => (size.r#type.clone(), size.size),
        tl::enums::PhotoSize::Progressive(size) => (size.r#type.clone(), *size.sizes.last().expect("steps")),
        other => panic!("another size: {other:?}"),
    };
    let part = async |offset: i64, limit: i32| {
        let location = tl::types::InputPhotoFileLocation {
            id: photo.id,
            access_hash: photo.access_hash,
            file_reference: photo.file_reference.clone(),
            thumb_size: kind.clone(),
        };
        let call =
            tl::functions::upload::GetFile { precise: false, cdn_supported: false, location: location.into(), offset, limit };
        match client.invoke(&call).await? {
            tl::enums::upload::File::File(file) => Ok(file.bytes),
            tl::enums::upload::File::CdnRedirect(_) => panic!("a redirect"),
        }
    };
    let whole = part(0, 1 << 20).await.expect("the file");
    assert_eq!(whole.len(), bytes as usize);
    let mut parts = Vec::new();
    loop {
        let bytes = part(parts.len() as i64, 4096).await.expect("a part");
        parts.extend_from_slice(&bytes);
        if bytes.len() < 4096 {
            break;
        }
    }
    assert_eq!(parts, whole);
    assert_eq!(refused(part(0, 5000).await), "LIMIT_INVALID");
}
