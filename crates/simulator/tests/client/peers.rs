//! Chats and users: lists, full answers, access hashes, rights.

use std::collections::{BTreeMap, BTreeSet};

use telekeep_simulator::AccountRequest;

use super::*;

#[tokio::test]
async fn grammers_own_iterator_lists_every_chat_once() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let mut dialogs = client.iter_dialogs();
    let mut titles = Vec::new();
    while let Some(dialog) = dialogs.next().await.expect("a dialog") {
        titles.push(dialog.peer().name().unwrap_or_default().to_owned());
    }
    assert_eq!(titles.len(), 5, "{titles:?}");
    let titles: BTreeSet<_> = titles.iter().map(String::as_str).collect();
    assert!(titles.is_superset(&BTreeSet::from(["Harbour", "Quay", "Back room", "Night shift"])), "{titles:?}");
}

#[tokio::test]
async fn dialogs_come_in_pages() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let mut call = tl::functions::messages::GetDialogs {
        exclude_pinned: false,
        folder_id: None,
        offset_date: 0,
        offset_id: 0,
        offset_peer: tl::enums::InputPeer::Empty,
        limit: 2,
        hash: 0,
    };
    let mut seen = Vec::new();
    loop {
        let page = client.invoke(&call).await.expect("a page");
        let tl::enums::messages::Dialogs::Slice(page) = page else { panic!("not a slice") };
        assert_eq!(page.count, 5);
        let Some(tl::enums::Dialog::Dialog(last)) = page.dialogs.last() else {
            break;
        };
        seen.extend(page.dialogs.iter().map(|dialog| match dialog {
            tl::enums::Dialog::Dialog(dialog) => format!("{:?}", dialog.peer),
            other => panic!("no chat: {other:?}"),
        }));
        call.offset_id = last.top_message;
        call.offset_date =
            page.messages.iter().find(|message| message.id() == last.top_message).map_or(0, |message| match message {
                tl::enums::Message::Message(message) => message.date,
                tl::enums::Message::Service(message) => message.date,
                tl::enums::Message::Empty(_) => 0,
            });
        call.offset_peer = match &last.peer {
            tl::enums::Peer::Channel(channel) => page
                .chats
                .iter()
                .find_map(|chat| match chat {
                    tl::enums::Chat::Channel(told) if told.id == channel.channel_id => {
                        Some(tl::types::InputPeerChannel { channel_id: told.id, access_hash: told.access_hash? }.into())
                    }
                    _ => None,
                })
                .expect("the chat is told"),
            tl::enums::Peer::Chat(group) => tl::types::InputPeerChat { chat_id: group.chat_id }.into(),
            tl::enums::Peer::User(user) => page
                .users
                .iter()
                .find_map(|told| match told {
                    tl::enums::User::User(told) if told.id == user.user_id => {
                        Some(tl::types::InputPeerUser { user_id: told.id, access_hash: told.access_hash? }.into())
                    }
                    _ => None,
                })
                .expect("the user is told"),
        };
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 5);
}

#[tokio::test]
async fn a_full_channel_tells_its_pts_and_that_nothing_is_hidden() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let input = resolved(&client, "harbour").await;
    let call = tl::functions::channels::GetFullChannel { channel: input.into() };
    let tl::enums::messages::ChatFull::Full(full) = client.invoke(&call).await.expect("the full chat");
    let tl::enums::ChatFull::ChannelFull(channel) = full.full_chat else { panic!("no channel") };
    assert_eq!(channel.pts, chat(&simulator, "Harbour").pts());
    assert!(!channel.hidden_prehistory);
    assert_eq!(channel.available_min_id, None);
    assert_eq!(full.chats.len(), 1);
}

#[tokio::test]
async fn hidden_history_is_not_shown_and_is_told_of() {
    let simulator = simulator().await;
    let quay = chat(&simulator, "Quay");
    let request = AccountRequest { hidden_before: Some(BTreeMap::from([(quay.id, 500)])), ..AccountRequest::named("latecomer") };
    let client = client(&simulator.account_with(&request).expect("an account"));
    let input = resolved(&client, "quay").await;

    let call = tl::functions::channels::GetFullChannel { channel: input.clone().into() };
    let tl::enums::messages::ChatFull::Full(full) = client.invoke(&call).await.expect("the full chat");
    let tl::enums::ChatFull::ChannelFull(full) = full.full_chat else { panic!("no channel") };
    assert_eq!((full.hidden_prehistory, full.available_min_id), (true, Some(499)));

    let mut call = get_history(peer(&input));
    call.offset_id = 540;
    let page = ids(&client.invoke(&call).await.expect("a page"));
    assert_eq!(page, quay.ids_below(540).take_while(|&id| id >= 500).collect::<Vec<_>>());
    call.offset_id = 500;
    assert!(ids(&client.invoke(&call).await.expect("a page")).is_empty());
}

#[tokio::test]
async fn an_access_hash_is_good_for_its_account_only() {
    let simulator = simulator().await;
    let (first, second) = (member(&simulator), client(&simulator.account("second").expect("an account")));
    let own = resolved(&first, "harbour").await;
    let others = resolved(&second, "harbour").await;
    assert_ne!(own.access_hash, others.access_hash);
    assert_eq!(refused(first.invoke(&get_history(peer(&others))).await), "CHANNEL_INVALID");
    first.invoke(&get_history(peer(&own))).await.expect("its own hash is good");
}

#[tokio::test]
async fn a_private_supergroup_is_closed_to_those_outside() {
    let simulator = simulator().await;
    let back_room = chat(&simulator, "Back room");
    let inside = AccountRequest::named("inside");
    let session = simulator.account_with(&inside).expect("an account");
    let client = client(&session);
    let call = tl::functions::messages::GetDialogs {
        exclude_pinned: false,
        folder_id: None,
        offset_date: 0,
        offset_id: 0,
        offset_peer: tl::enums::InputPeer::Empty,
        limit: 100,
        hash: 0,
    };
    let tl::enums::messages::Dialogs::Dialogs(dialogs) = client.invoke(&call).await.expect("dialogs") else { panic!("a slice") };
    let input = dialogs.chats.iter().find_map(|told| match told {
        tl::enums::Chat::Channel(told) if told.id == back_room.bare_id() => {
            Some(tl::types::InputChannel { channel_id: told.id, access_hash: told.access_hash? })
        }
        _ => None,
    });
    let input = input.expect("the room is listed");
    client.invoke(&get_history(peer(&input))).await.expect("open to members");

    simulator.account_with(&AccountRequest { chats: Some(Vec::new()), ..inside }).expect("changes");
    assert_eq!(refused(client.invoke(&get_history(peer(&input))).await), "CHANNEL_PRIVATE");
    let public = resolved(&client, "harbour").await;
    client.invoke(&get_history(peer(&public))).await.expect("a public channel stays open");
    let participant =
        tl::functions::channels::GetParticipant { channel: public.into(), participant: tl::enums::InputPeer::PeerSelf };
    assert_eq!(refused(client.invoke(&participant).await), "USER_NOT_PARTICIPANT");
}

#[tokio::test]
async fn users_groups_and_unknown_names() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let me = client.get_me().await.expect("me");
    assert_eq!(me.id().bare_id(), Some(simulator.world().me));
    let full = tl::functions::users::GetFullUser { id: tl::enums::InputUser::UserSelf };
    client.invoke(&full).await.expect("the full user");

    let group = chat(&simulator, "Night shift");
    let page = client.invoke(&get_history(tl::types::InputPeerChat { chat_id: group.bare_id() }.into())).await.expect("a page");
    assert_eq!(ids(&page).len(), group.count().min(100));
    let call = tl::functions::messages::GetFullChat { chat_id: group.bare_id() };
    client.invoke(&call).await.expect("the full group");

    assert!(client.resolve_username("nobody_is_here").await.expect("an answer").is_none());
    let call = tl::functions::contacts::ResolveUsername { username: "no way".to_owned(), referer: None };
    assert_eq!(refused(client.invoke(&call).await), "USERNAME_INVALID");
}
