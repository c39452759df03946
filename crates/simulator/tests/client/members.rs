//! Who is in a chat: lists by every filter, pages, rights, roles, and what changes.

use std::collections::{BTreeMap, BTreeSet};

use grammers_tl_types::enums::{ChannelParticipant, ChannelParticipantsFilter as Filter, channels::ChannelParticipants};
use telekeep_simulator::AccountRequest;
use telekeep_simulator::world::{AdminRights, BannedRights, Member, Membership, OwnRole, Role};

use super::*;

/// A supergroup too large to list whole, one whose list is hidden, one that the account runs, and a broadcast.
async fn peopled() -> Simulator {
    let group = |title: &str, members, membership: Membership| {
        GeneratedChat::new(ChatKind::Supergroup, title, 20).named(title).members(members).membership(membership)
    };
    let world = World::generated(
        7,
        [
            group("crowded", 100_000, Membership { admins: Some(7), ..Membership::default() }),
            group("veiled", 900, Membership { hidden: true, ..Membership::default() }),
            group(
                "bridge",
                450,
                Membership { role: OwnRole::Admin, restricted: 6, banned: 8, hidden: true, ..Membership::default() },
            ),
            GeneratedChat::new(ChatKind::Channel, "news", 20).named("news").members(3_000),
            GeneratedChat::new(ChatKind::Group, "crew", 20).members(30).membership(Membership {
                role: OwnRole::Creator,
                admins: Some(3),
                ..Membership::default()
            }),
        ],
    );
    Simulator::start(world, Options::default()).await.expect("starts")
}

fn get(channel: &tl::types::InputChannel, filter: Filter, offset: i32, limit: i32) -> tl::functions::channels::GetParticipants {
    tl::functions::channels::GetParticipants { channel: channel.clone().into(), filter, offset, limit, hash: 0 }
}

fn search(q: &str) -> Filter {
    tl::types::ChannelParticipantsSearch { q: q.to_owned() }.into()
}

fn kicked(q: &str) -> Filter {
    tl::types::ChannelParticipantsKicked { q: q.to_owned() }.into()
}

fn restricted(q: &str) -> Filter {
    tl::types::ChannelParticipantsBanned { q: q.to_owned() }.into()
}

fn page(told: ChannelParticipants) -> tl::types::channels::ChannelParticipants {
    match told {
        ChannelParticipants::Participants(page) => page,
        ChannelParticipants::NotModified => panic!("not modified"),
    }
}

async fn asked(client: &Client, channel: &tl::types::InputChannel, filter: Filter) -> tl::types::channels::ChannelParticipants {
    page(client.invoke(&get(channel, filter, 0, 200)).await.expect("a page"))
}

fn user_of(participant: &ChannelParticipant) -> i64 {
    let of_peer = |peer: &tl::enums::Peer| match peer {
        tl::enums::Peer::User(user) => user.user_id,
        other => panic!("no user: {other:?}"),
    };
    match participant {
        ChannelParticipant::Participant(member) => member.user_id,
        ChannelParticipant::ParticipantSelf(member) => member.user_id,
        ChannelParticipant::Creator(member) => member.user_id,
        ChannelParticipant::Admin(member) => member.user_id,
        ChannelParticipant::Banned(member) => of_peer(&member.peer),
        ChannelParticipant::Left(member) => of_peer(&member.peer),
    }
}

fn users(page: &tl::types::channels::ChannelParticipants) -> BTreeSet<i64> {
    page.participants.iter().map(user_of).collect()
}

#[tokio::test]
async fn pages_have_200_and_the_list_of_a_large_group_ends_at_10_000() {
    let simulator = peopled().await;
    let client = member(&simulator);
    let input = resolved(&client, "crowded").await;
    let mut seen = BTreeSet::new();
    for offset in (0..10_000).step_by(200) {
        let told = page(client.invoke(&get(&input, Filter::ChannelParticipantsRecent, offset, 1_000)).await.expect("a page"));
        assert_eq!((told.count, told.participants.len()), (100_000, 200), "at {offset}");
        assert_eq!(told.users.iter().map(tl::enums::User::id).collect::<BTreeSet<_>>(), users(&told));
        seen.extend(users(&told));
    }
    assert_eq!(seen.len(), 10_000);
    let near = page(client.invoke(&get(&input, Filter::ChannelParticipantsRecent, 9_950, 200)).await.expect("a page"));
    assert_eq!(near.participants.len(), 50);
    let past = page(client.invoke(&get(&input, Filter::ChannelParticipantsRecent, 10_000, 200)).await.expect("a page"));
    assert_eq!((past.count, past.participants.len()), (100_000, 0));

    let crowded = chat(&simulator, "crowded").id;
    let truth: BTreeSet<i64> = simulator.members(crowded).expect("the chat").iter().map(|member| member.user_id).collect();
    assert_eq!(truth.len(), 100_000);
    assert!(seen.is_subset(&truth));
}

#[tokio::test]
async fn grammers_own_iterator_sees_all_members_of_a_smaller_group() {
    let simulator = peopled().await;
    let client = member(&simulator);
    let bridge = client.resolve_username("bridge").await.expect("resolves").expect("exists");
    let mut members = client.iter_participants(bridge.to_ref().await.expect("a peer").expect("its hash is known"));
    let mut seen = BTreeSet::new();
    while let Some(member) = members.next().await.expect("a member") {
        seen.insert(member.user.id().bare_id().expect("a user"));
    }
    let truth = simulator.members(chat(&simulator, "bridge").id).expect("the chat");
    let truth: BTreeSet<i64> = truth.iter().filter(|member| member.is_present()).map(|member| member.user_id).collect();
    assert_eq!(seen, truth);
}

#[tokio::test]
async fn a_search_finds_beginnings_of_names_and_usernames() {
    let simulator = peopled().await;
    let client = member(&simulator);
    let input = resolved(&client, "crowded").await;
    for (query, fits) in [("мар", false), ("ИГО", true), ("whit", true), ("harbour_reader_1", true), ("zzz", false)] {
        let told = asked(&client, &input, search(query)).await;
        assert_eq!(told.count > 0, fits, "{query}: {}", told.count);
        for user in &told.users {
            let tl::enums::User::User(user) = user else { panic!("an empty user") };
            let words = [&user.first_name, &user.last_name, &user.username];
            let found = words.into_iter().flatten().any(|word| word.to_lowercase().starts_with(&query.to_lowercase()));
            assert!(found, "{query}: {user:?}");
        }
    }
    let all = asked(&client, &input, search("")).await;
    assert_eq!(all.count, 100_000);
    let named = client.resolve_username("harbour_reader_1234567").await.expect("an answer");
    let one_more = client.resolve_username("harbour_reader_1234568").await.expect("an answer");
    assert!(named.is_some() || one_more.is_some(), "two of three have usernames");
}

#[tokio::test]
async fn administrators_bots_contacts_and_whom_to_mention() {
    let simulator = peopled().await;
    let client = member(&simulator);
    let input = resolved(&client, "crowded").await;
    let admins = asked(&client, &input, Filter::ChannelParticipantsAdmins).await;
    assert_eq!((admins.count, admins.participants.len()), (7, 7));
    assert!(matches!(admins.participants[0], ChannelParticipant::Creator(_)));
    for admin in &admins.participants[1..] {
        let ChannelParticipant::Admin(admin) = admin else { panic!("no administrator: {admin:?}") };
        let tl::enums::ChatAdminRights::Rights(rights) = &admin.admin_rights;
        assert!(rights.other || rights.change_info);
        assert!(admins.users.iter().any(|user| user.id() == admin.promoted_by), "who promoted is told");
    }
    let bots = asked(&client, &input, Filter::ChannelParticipantsBots).await;
    assert!(bots.count > 0 && bots.users.iter().all(|user| matches!(user, tl::enums::User::User(user) if user.bot)));
    let contacts = asked(&client, &input, tl::types::ChannelParticipantsContacts { q: String::new() }.into()).await;
    assert!(contacts.count > 0 && contacts.users.iter().all(|user| matches!(user, tl::enums::User::User(user) if user.contact)));
    let mention = tl::types::ChannelParticipantsMentions { q: Some("lucía".to_owned()), top_msg_id: None };
    assert!(asked(&client, &input, mention.into()).await.count > 0);
}

#[tokio::test]
async fn lists_are_closed_to_those_who_do_not_administer() {
    let simulator = peopled().await;
    let client = member(&simulator);
    let (veiled, news) = (resolved(&client, "veiled").await, resolved(&client, "news").await);
    let crowded = resolved(&client, "crowded").await;
    let refusal = async |channel: &tl::types::InputChannel, filter: Filter| {
        let result = client.invoke(&get(channel, filter, 0, 200)).await;
        let code = match &result {
            Err(InvocationError::Rpc(error)) => error.code,
            _ => 0,
        };
        assert_eq!(code, 403);
        refused(result)
    };
    assert_eq!(refusal(&veiled, Filter::ChannelParticipantsRecent).await, "CHAT_ADMIN_REQUIRED");
    assert_eq!(refusal(&veiled, search("a")).await, "CHAT_ADMIN_REQUIRED");
    assert_eq!(asked(&client, &veiled, Filter::ChannelParticipantsAdmins).await.count, 5, "administrators are never hidden");
    assert_eq!(refusal(&news, Filter::ChannelParticipantsRecent).await, "CHAT_ADMIN_REQUIRED");
    assert_eq!(refusal(&news, Filter::ChannelParticipantsAdmins).await, "CHAT_ADMIN_REQUIRED");
    assert_eq!(refusal(&crowded, kicked("")).await, "CHAT_ADMIN_REQUIRED");
    assert_eq!(refusal(&crowded, restricted("")).await, "CHAT_ADMIN_REQUIRED");

    let full = async |channel: &tl::types::InputChannel| {
        let call = tl::functions::channels::GetFullChannel { channel: channel.clone().into() };
        let tl::enums::messages::ChatFull::Full(full) = client.invoke(&call).await.expect("the full chat");
        let tl::enums::ChatFull::ChannelFull(full) = full.full_chat else { panic!("no channel") };
        full
    };
    let (veiled, news) = (full(&veiled).await, full(&news).await);
    assert_eq!((veiled.can_view_participants, veiled.participants_hidden), (false, true));
    assert_eq!((news.can_view_participants, news.participants_hidden, news.participants_count), (false, false, Some(3_000)));
    let bridge = full(&resolved(&client, "bridge").await).await;
    assert_eq!((bridge.can_view_participants, bridge.participants_hidden), (true, true));
    assert_eq!((bridge.admins_count, bridge.banned_count, bridge.kicked_count), (Some(5), Some(6), Some(8)));
}

#[tokio::test]
async fn an_administrator_sees_who_was_removed_and_restricted() {
    let simulator = peopled().await;
    let client = member(&simulator);
    let bridge = resolved(&client, "bridge").await;
    let removed = asked(&client, &bridge, kicked("")).await;
    assert_eq!((removed.count, removed.participants.len()), (8, 8));
    for participant in &removed.participants {
        let ChannelParticipant::Banned(banned) = participant else { panic!("not banned: {participant:?}") };
        let tl::enums::ChatBannedRights::Rights(rights) = &banned.banned_rights;
        assert!(banned.left && rights.view_messages && banned.date > 0 && banned.kicked_by > 0);
    }
    let limited = asked(&client, &bridge, restricted("")).await;
    assert_eq!(limited.count, 6);
    for participant in &limited.participants {
        let ChannelParticipant::Banned(banned) = participant else { panic!("not restricted: {participant:?}") };
        let tl::enums::ChatBannedRights::Rights(rights) = &banned.banned_rights;
        assert!(!banned.left && !rights.view_messages && rights.send_media);
    }
    let recent = asked(&client, &bridge, Filter::ChannelParticipantsRecent).await;
    assert!(users(&recent).is_disjoint(&users(&removed)));
}

#[tokio::test]
async fn a_known_hash_is_answered_with_not_modified() {
    let simulator = peopled().await;
    let client = member(&simulator);
    let input = resolved(&client, "crowded").await;
    let mut call = get(&input, Filter::ChannelParticipantsRecent, 0, 50);
    let told = page(client.invoke(&call).await.expect("a page"));
    // https://core.telegram.org/api/offsets#hash-generation
    let hash = told.participants.iter().map(user_of).fold(0_u64, |mut hash, id| {
        hash ^= hash >> 21;
        hash ^= hash << 35;
        hash ^= hash >> 4;
        hash.wrapping_add(id as u64)
    });
    call.hash = hash as i64;
    assert!(matches!(client.invoke(&call).await.expect("an answer"), ChannelParticipants::NotModified));
    let crowded = chat(&simulator, "crowded");
    crowded.roster().leave(user_of(&told.participants[3]), 1);
    assert_eq!(page(client.invoke(&call).await.expect("a page")).count, 99_999);
}

#[tokio::test]
async fn one_participant_is_told_by_role() {
    let simulator = peopled().await;
    let client = member(&simulator);
    let (bridge, input) = (chat(&simulator, "bridge"), resolved(&client, "bridge").await);
    let roster = bridge.roster();
    let ask = async |user: i64| {
        // The account's hash of a user comes with any list that names them.
        let lists = [
            asked(&client, &input, Filter::ChannelParticipantsRecent).await,
            asked(&client, &input, Filter::ChannelParticipantsAdmins).await,
            asked(&client, &input, kicked("")).await,
            asked(&client, &input, restricted("")).await,
        ];
        let hashes: BTreeMap<i64, i64> = lists
            .iter()
            .flat_map(|list| &list.users)
            .filter_map(|user| match user {
                tl::enums::User::User(user) => Some((user.id, user.access_hash?)),
                tl::enums::User::Empty(_) => None,
            })
            .collect();
        let access_hash = hashes.get(&user).copied().unwrap_or(1);
        tl::types::InputPeerUser { user_id: user, access_hash }
    };
    let get = async |participant: tl::enums::InputPeer| {
        let call = tl::functions::channels::GetParticipant { channel: input.clone().into(), participant };
        client.invoke(&call).await.map(|told| match told {
            tl::enums::channels::ChannelParticipant::Participant(told) => told.participant,
        })
    };
    let ChannelParticipant::Admin(own) = get(tl::enums::InputPeer::PeerSelf).await.expect("is in it") else { panic!("no admin") };
    assert!(own.is_self && own.inviter_id.is_some());
    let creator = get(ask(roster.admins()[0].user_id).await.into()).await.expect("is in it");
    assert!(matches!(creator, ChannelParticipant::Creator(_)));
    let banned = get(ask(roster.banned()[0].user_id).await.into()).await.expect("is known");
    assert!(matches!(banned, ChannelParticipant::Banned(banned) if banned.left));
    let newest = roster.newest_first().next().expect("somebody");
    let input_newest = ask(newest.user_id).await;
    let told = get(input_newest.clone().into()).await.expect("is in it");
    let ChannelParticipant::Participant(plain) = told else { panic!("no plain member: {told:?}") };
    assert_eq!(plain.date, newest.date);

    roster.restrict(newest.user_id, simulator.world().me, BannedRights::of(["send_media"], 0));
    let told = get(input_newest.clone().into()).await.expect("is in it");
    assert!(matches!(told, ChannelParticipant::Banned(banned) if !banned.left));
    roster.promote(newest.user_id, simulator.world().me, AdminRights::of(["pin_messages"]), Some("mate".to_owned()));
    let told = get(input_newest.clone().into()).await.expect("is in it");
    assert!(matches!(told, ChannelParticipant::Admin(admin) if admin.rank.as_deref() == Some("mate") && admin.can_edit));
    roster.leave(newest.user_id, 5);
    let told = get(input_newest.clone().into()).await.expect("is known");
    assert!(matches!(told, ChannelParticipant::Left(_)));

    let mut stranger = input_newest.clone();
    stranger.access_hash ^= 1;
    assert_eq!(refused(get(stranger.into()).await), "PARTICIPANT_ID_INVALID");
    assert_eq!(refused(get(tl::enums::InputPeer::Empty).await), "PARTICIPANT_ID_INVALID");
}

#[tokio::test]
async fn accounts_are_members_of_the_chats_that_they_are_in() {
    let simulator = peopled().await;
    let keeper = member(&simulator);
    let crowded = chat(&simulator, "crowded");
    let second = client(&simulator.account("second").expect("an account"));
    let own = second.get_me().await.expect("me").id().bare_id().expect("a user");
    let input = resolved(&second, "crowded").await;
    let call = tl::functions::channels::GetParticipant { channel: input.into(), participant: tl::enums::InputPeer::PeerSelf };
    second.invoke(&call).await.expect("is in it");
    let count = async |client: &Client| {
        let input = resolved(client, "crowded").await;
        asked(client, &input, Filter::ChannelParticipantsRecent).await.count
    };
    assert_eq!(count(&keeper).await, 100_001);
    assert!(simulator.members(crowded.id).expect("the chat").iter().any(|member| member.user_id == own));

    simulator.account_with(&AccountRequest { chats: Some(Vec::new()), ..AccountRequest::named("second") }).expect("changes");
    assert_eq!(count(&keeper).await, 100_000);
    assert_eq!(refused(second.invoke(&call).await), "USER_NOT_PARTICIPANT");
}

#[tokio::test]
async fn a_basic_group_tells_all_its_members() {
    let simulator = peopled().await;
    let client = member(&simulator);
    let crew = chat(&simulator, "crew");
    let call = tl::functions::messages::GetFullChat { chat_id: crew.bare_id() };
    let tl::enums::messages::ChatFull::Full(full) = client.invoke(&call).await.expect("the full group");
    let tl::enums::ChatFull::Full(group) = full.full_chat else { panic!("no basic group") };
    let tl::enums::ChatParticipants::Participants(told) = group.participants else { panic!("forbidden") };
    assert_eq!((told.participants.len(), full.users.len()), (30, 30));
    let roles = |wanted: fn(&tl::enums::ChatParticipant) -> bool| told.participants.iter().filter(|one| wanted(one)).count();
    assert_eq!(roles(|one| matches!(one, tl::enums::ChatParticipant::Creator(own) if own.user_id == 5_000_000_001)), 1);
    assert_eq!(roles(|one| matches!(one, tl::enums::ChatParticipant::Admin(_))), 2);
    let told_group = full.chats.iter().find_map(|chat| match chat {
        tl::enums::Chat::Chat(group) => Some(group),
        _ => None,
    });
    assert!(told_group.is_some_and(|group| group.creator && group.participants_count == 30));
}

#[tokio::test]
async fn the_control_port_tells_all_members_with_their_roles() {
    let simulator = peopled().await;
    simulator.account("keeper").expect("an account");
    let bridge = chat(&simulator, "bridge");
    let told = control::get(&simulator, &format!("/chats/{}/members", bridge.id)).await;
    let told: Vec<Member> = told.lines().map(|line| serde_json::from_str(line).expect("a member")).collect();
    assert_eq!(told, simulator.members(bridge.id).expect("the chat"));
    assert_eq!(told.iter().filter(|member| matches!(member.role, Role::Banned { .. })).count(), 8);
    assert!(control::get(&simulator, "/chats/5/members").await.contains("no chat 5"));
}
