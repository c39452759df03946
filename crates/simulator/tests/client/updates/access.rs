//! Who may see what, as events change it.

use super::*;

async fn full(client: &Client, channel: &tl::types::InputChannel) -> tl::types::ChannelFull {
    let call = tl::functions::channels::GetFullChannel { channel: channel.clone().into() };
    let tl::enums::messages::ChatFull::Full(full) = client.invoke(&call).await.expect("the full chat");
    let tl::enums::ChatFull::ChannelFull(full) = full.full_chat else { panic!("no channel") };
    full
}

#[tokio::test]
async fn who_is_banned_is_shut_out_and_told_so() {
    let simulator = simulator().await;
    simulator.account("keeper").expect("an account");
    let mut listener = Listener::new(&simulator, "second").await;
    let quay = chat(&simulator, "Quay").id;
    let input = resolved(&listener.client, "quay").await;
    let (user, by) = (listener.user, simulator.world().me);
    play(&simulator, Event::Ban { chat: quay, user, by, until: 0 });
    while !matches!(listener.next().await, tl::enums::Update::Channel(_)) {}
    assert_eq!(refused(listener.client.invoke(&get_history(peer(&input))).await), "CHANNEL_PRIVATE");
    play(&simulator, post(quay, "behind the door"));
    let join = tl::functions::channels::JoinChannel { channel: input.clone().into() };
    assert_eq!(refused(listener.client.invoke(&join).await), "CHANNEL_PRIVATE");

    play(&simulator, Event::Unban { chat: quay, user, by });
    listener.client.invoke(&join).await.expect("may come back");
    play(&simulator, post(quay, "welcome back"));
    listener.hears("welcome back").await;
    let again = simulator.play(Event::Join { chat: quay, user, by: Way::Own }).expect_err("is in already");
    assert_eq!(again.to_string(), format!("`user`: {user} is in chat {quay} already"));
}

#[tokio::test]
async fn an_invite_link_leads_into_a_private_room_whose_past_is_hidden() {
    let simulator = simulator().await;
    let room = chat(&simulator, "Back room");
    simulator.account("keeper").expect("an account");
    let request = AccountRequest { chats: Some(Vec::new()), ..AccountRequest::named("newcomer") };
    let client = client(&simulator.account_with(&request).expect("an account"));
    let check = tl::functions::messages::CheckChatInvite { hash: "AbCd".to_owned() };
    let import = tl::functions::messages::ImportChatInvite { hash: "AbCd".to_owned() };
    assert_eq!(refused(client.invoke(&check).await), "INVITE_HASH_EXPIRED");
    play(&simulator, Event::InviteLink { chat: room.id, hash: "AbCd".to_owned(), revoked: false, approval: false });
    play(&simulator, Event::HideHistory { chat: room.id, on: true });
    let tl::enums::ChatInvite::Invite(invite) = client.invoke(&check).await.expect("an invite") else { panic!("is in already") };
    assert_eq!((invite.title.as_str(), invite.megagroup), ("Back room", true));
    let last = room.last_id();
    let joined = client.invoke(&import).await.expect("joins");
    let tl::enums::messages::ChatInviteJoinResult::Ok(joined) = joined else { panic!("a web view") };
    let tl::enums::Updates::Updates(updates) = joined.updates else { panic!("other updates") };
    let input = updates.chats.iter().find_map(|told| match told {
        tl::enums::Chat::Channel(told) => Some(tl::types::InputChannel { channel_id: told.id, access_hash: told.access_hash? }),
        _ => None,
    });
    let input = input.expect("the room is told");
    assert!(matches!(client.invoke(&check).await.expect("an invite"), tl::enums::ChatInvite::Already(_)));
    assert_eq!(refused(client.invoke(&import).await), "USER_ALREADY_PARTICIPANT");

    // The message that tells of the joining is the first that is seen.
    assert_eq!(ids(&client.invoke(&get_history(peer(&input))).await.expect("a page")), [last + 1]);
    let told = full(&client, &input).await;
    assert_eq!((told.hidden_prehistory, told.available_min_id), (true, Some(last)));
    play(&simulator, Event::InviteLink { chat: room.id, hash: "AbCd".to_owned(), revoked: true, approval: false });
    assert_eq!(refused(client.invoke(&check).await), "INVITE_HASH_EXPIRED");

    client.invoke(&tl::functions::channels::LeaveChannel { channel: input.clone().into() }).await.expect("leaves");
    assert_eq!(refused(client.invoke(&get_history(peer(&input))).await), "CHANNEL_PRIVATE");
    let standings = simulator.world().standings(room.id).expect("the chat");
    assert_eq!(standings.iter().map(|stood| stood.standing.clone()).collect::<Vec<_>>(), [Standing::Member, Standing::Left]);
}

#[tokio::test]
async fn who_comes_by_a_link_that_needs_approval_waits_until_an_administrator_lets_them_in() {
    let simulator = simulator().await;
    let room = chat(&simulator, "Back room");
    simulator.account("keeper").expect("an account");
    let request = AccountRequest { chats: Some(Vec::new()), ..AccountRequest::named("newcomer") };
    let client = client(&simulator.account_with(&request).expect("an account"));
    play(&simulator, Event::InviteLink { chat: room.id, hash: "AsKs".to_owned(), revoked: false, approval: true });
    let check = tl::functions::messages::CheckChatInvite { hash: "AsKs".to_owned() };
    let import = tl::functions::messages::ImportChatInvite { hash: "AsKs".to_owned() };
    let tl::enums::ChatInvite::Invite(invite) = client.invoke(&check).await.expect("an invite") else { panic!("is in already") };
    assert!(invite.request_needed);
    assert!(room.requests().is_empty());
    for _ in 0..2 {
        assert_eq!(refused(client.invoke(&import).await), "INVITE_REQUEST_SENT");
    }
    let [user] = room.requests()[..] else { panic!("one asked") };
    assert!(matches!(client.invoke(&check).await.expect("an invite"), tl::enums::ChatInvite::Invite(_)));
    play(&simulator, Event::Join { chat: room.id, user, by: Way::Request });
    assert!(room.requests().is_empty());
    assert!(matches!(client.invoke(&check).await.expect("an invite"), tl::enums::ChatInvite::Already(_)));
}

#[tokio::test]
async fn a_basic_group_is_left_by_removing_oneself() {
    let simulator = simulator().await;
    let group = simulator.world().chats().iter().find(|chat| chat.kind == ChatKind::Group).expect("a group");
    let client = member(&simulator);
    let leave = |user_id| tl::functions::messages::DeleteChatUser { revoke_history: false, chat_id: group.bare_id(), user_id };
    let other = tl::types::InputUser { user_id: AUTHOR, access_hash: 0 }.into();
    assert_eq!(refused(client.invoke(&leave(other)).await), "CHAT_ADMIN_REQUIRED");
    client.invoke(&leave(tl::enums::InputUser::UserSelf)).await.expect("leaves");
    assert_eq!(refused(client.invoke(&leave(tl::enums::InputUser::UserSelf)).await), "USER_NOT_PARTICIPANT");
}

#[tokio::test]
async fn hidden_members_are_shown_to_administrators_only() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let (quay, me) = (chat(&simulator, "Quay").id, simulator.world().me);
    let input = resolved(&client, "quay").await;
    play(&simulator, Event::HideMembers { chat: quay, on: true });
    assert!(full(&client, &input).await.participants_hidden);
    let page = client.invoke(&get_history(peer(&input))).await.expect("a page");
    let users = match page {
        tl::enums::messages::Messages::ChannelMessages(page) => page.users,
        other => panic!("not a channel's page: {other:?}"),
    };
    let other = users.iter().find_map(|user| match user {
        tl::enums::User::User(user) if user.id != me => {
            Some(tl::types::InputPeerUser { user_id: user.id, access_hash: user.access_hash? })
        }
        _ => None,
    });
    let participant = other.expect("somebody writes").into();
    let call = tl::functions::channels::GetParticipant { channel: input.clone().into(), participant };
    assert_eq!(refused(client.invoke(&call).await), "CHAT_ADMIN_REQUIRED");
    play(&simulator, Event::Promote { chat: quay, user: me, by: me, standing: Standing::Admin { rank: None } });
    let answer = client.invoke(&call).await;
    assert!(!matches!(&answer, Err(InvocationError::Rpc(error)) if error.name == "CHAT_ADMIN_REQUIRED"));
}

#[tokio::test]
async fn protected_restricted_and_renamed_chats_say_so() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let harbour = chat(&simulator, "Harbour").id;
    let input = resolved(&client, "harbour").await;
    let restriction = telekeep_simulator::world::Restriction {
        platform: "all".to_owned(),
        reason: "terms".to_owned(),
        text: "Not shown.".to_owned(),
    };
    play(&simulator, Event::Protect { chat: harbour, on: true });
    play(&simulator, Event::Restrict { chat: harbour, restriction: Some(restriction) });
    play(&simulator, Event::Username { chat: harbour, username: Some("port".to_owned()) });
    play(&simulator, Event::About { chat: harbour, about: "Moved.".to_owned() });
    let call = tl::functions::channels::GetChannels { id: vec![input.clone().into()] };
    let tl::enums::messages::Chats::Chats(told) = client.invoke(&call).await.expect("the channel") else { panic!("a slice") };
    let Some(tl::enums::Chat::Channel(told)) = told.chats.into_iter().next() else { panic!("no channel") };
    assert!(told.noforwards && told.restricted);
    let reason = told.restriction_reason.expect("a reason");
    assert!(matches!(&reason[..], [tl::enums::RestrictionReason::Reason(reason)] if reason.reason == "terms"));
    assert_eq!(full(&client, &input).await.about, "Moved.");
    assert_eq!(resolved(&client, "port").await, input);
    let gone = tl::functions::contacts::ResolveUsername { username: "harbour".to_owned(), referer: None };
    assert_eq!(refused(client.invoke(&gone).await), "USERNAME_NOT_OCCUPIED");
    let quay = chat(&simulator, "Quay").id;
    let forward = Event::Forward { chat: quay, from: Some(AUTHOR), source_chat: harbour, source_id: 5 };
    assert!(simulator.play(forward).expect_err("is protected").to_string().contains("may not be forwarded"));
}
