//! Each constructor of a participant, and each update that tells of one.

use super::*;

const QUAY: ChatId = ChatId(-1_001_000_000_005);
const CREW: ChatId = ChatId(-42);
const WHEN: When = When::Heard;
const DATE: i32 = 1_700_000_000;

fn may(names: &[&str]) -> tl::enums::ChatAdminRights {
    let has = |name: &str| names.contains(&name);
    tl::types::ChatAdminRights {
        change_info: has("change_info"),
        post_messages: false,
        edit_messages: false,
        delete_messages: false,
        ban_users: has("ban_users"),
        invite_users: false,
        pin_messages: false,
        add_admins: false,
        anonymous: has("anonymous"),
        manage_call: false,
        other: false,
        manage_topics: false,
        post_stories: false,
        edit_stories: false,
        delete_stories: false,
        manage_direct_messages: false,
        manage_ranks: false,
        manage_linked_peers: false,
        manage_welcome_messages: false,
    }
    .into()
}

fn may_not(view_messages: bool, until_date: i32) -> tl::enums::ChatBannedRights {
    tl::types::ChatBannedRights {
        view_messages,
        send_messages: true,
        send_media: false,
        send_stickers: false,
        send_gifs: false,
        send_games: false,
        send_inline: false,
        embed_links: false,
        send_polls: false,
        change_info: false,
        invite_users: false,
        pin_messages: false,
        manage_topics: false,
        send_photos: false,
        send_videos: false,
        send_roundvideos: false,
        send_audios: false,
        send_voices: false,
        send_docs: false,
        send_plain: false,
        edit_rank: false,
        send_reactions: true,
        manage_linked_peers: false,
        until_date,
    }
    .into()
}

fn banned(left: bool, peer: tl::enums::Peer, banned_rights: tl::enums::ChatBannedRights) -> ChannelParticipant {
    tl::types::ChannelParticipantBanned { left, peer, kicked_by: 5, date: DATE, banned_rights, rank: None }.into()
}

fn person(user_id: i64) -> tl::enums::Peer {
    tl::types::PeerUser { user_id }.into()
}

/// (user, status, present, fields, joined, invited by)
fn told(participant: ChannelParticipant) -> (i64, &'static str, bool, Value, bool, Option<i64>) {
    let relation = channel_participant(QUAY, &participant, WHEN);
    let Said::Is(it) = relation.said else { panic!("a standing") };
    assert_eq!(relation.chat, QUAY);
    (relation.user, it.status.as_str(), it.present, Value::Object(it.fields), it.joined.is_some(), it.invited_by)
}

#[test]
fn each_participant_of_a_supergroup_is_a_standing() {
    let rank = Some("pilot".to_owned());
    let plain = tl::types::ChannelParticipant { user_id: 7, date: DATE, subscription_until_date: None, rank: rank.clone() };
    assert_eq!(told(plain.into()), (7, "member", true, json!({"title": "pilot"}), true, None));
    let own = |inviter_id| tl::types::ChannelParticipantSelf {
        via_request: false,
        user_id: 7,
        inviter_id,
        date: DATE,
        subscription_until_date: None,
        rank: None,
    };
    assert_eq!(told(own(5).into()), (7, "member", true, json!({}), true, Some(5)));
    assert_eq!(told(own(7).into()).5, None, "came in alone");
    let creator = tl::types::ChannelParticipantCreator { user_id: 7, admin_rights: may(&["anonymous"]), rank: rank.clone() };
    let fields = json!({"title": "pilot", "rights": ["anonymous"], "is_anonymous": true});
    assert_eq!(told(creator.into()), (7, "creator", true, fields, false, None));
    let admin = tl::types::ChannelParticipantAdmin {
        can_edit: true,
        is_self: false,
        user_id: 7,
        inviter_id: Some(6),
        promoted_by: 5,
        date: DATE,
        admin_rights: may(&["change_info", "ban_users"]),
        rank,
    };
    let fields = json!({"title": "pilot", "rights": ["change_info", "ban_users"], "is_anonymous": false, "promoted_by_id": 5});
    assert_eq!(told(admin.into()), (7, "administrator", true, fields, true, Some(6)));
    let fields = json!({"rights": ["send_messages", "send_reactions"], "restricted_by_id": 5});
    assert_eq!(told(banned(false, person(7), may_not(false, 0))), (7, "restricted", true, fields.clone(), true, None));
    assert_eq!(told(banned(true, person(7), may_not(false, 0))), (7, "restricted", false, fields, false, None));
    let (user, status, present, fields, joined, _) = told(banned(true, person(7), may_not(true, DATE + 60)));
    assert_eq!((user, status, present, joined), (7, "banned", false, false));
    assert_eq!((&fields["rights"][0], &fields["until_date"]), (&json!("view_messages"), &json!("2023-11-14T22:14:20Z")));
    let channel = tl::types::PeerChannel { channel_id: 9 }.into();
    assert_eq!(told(banned(true, channel, may_not(true, 0))).0, ChatId::channel(9).0);
    let left = tl::types::ChannelParticipantLeft { peer: person(7) };
    assert_eq!(told(left.into()), (7, "left", false, json!({}), false, None));
}

#[test]
fn each_participant_of_a_basic_group_is_a_standing() {
    let plain = |inviter_id| tl::types::ChatParticipant { user_id: 7, inviter_id, date: DATE, rank: None };
    let admin = tl::types::ChatParticipantAdmin { user_id: 8, inviter_id: 5, date: DATE, rank: None };
    let creator = tl::types::ChatParticipantCreator { user_id: 5, rank: Some("pilot".into()) };
    let all = tl::types::ChatParticipants {
        chat_id: 42,
        participants: vec![plain(7).into(), plain(5).into(), admin.into(), creator.into()],
        version: 1,
    };
    let told: Vec<(i64, &str, Option<i64>, bool)> = group(CREW, &all.into(), WHEN)
        .expect("a list")
        .into_iter()
        .map(|relation| match relation.said {
            Said::Is(it) => (relation.user, it.status.as_str(), it.invited_by, it.fields.contains_key("title")),
            said => panic!("{said:?}"),
        })
        .collect();
    let expected = [
        (7, "member", None, false),
        (7, "member", Some(5), false),
        (8, "administrator", Some(5), false),
        (5, "creator", None, true),
    ];
    assert_eq!(told, expected);
    let hidden = tl::types::ChatParticipantsForbidden { chat_id: 42, self_participant: None };
    assert_eq!(group(CREW, &hidden.into(), WHEN), None);
}

#[test]
fn updates_tell_who_comes_goes_and_becomes_what() {
    let one = |update: Update| {
        let relations = of_update(&update);
        assert_eq!(relations.len(), 1, "{update:?}");
        relations[0].clone()
    };
    let member = |user_id| -> ChannelParticipant {
        tl::types::ChannelParticipant { user_id, date: DATE, subscription_until_date: None, rank: None }.into()
    };
    let of_channel = |actor_id, new_participant| -> Update {
        tl::types::UpdateChannelParticipant {
            via_chatlist: false,
            channel_id: 1_000_000_005,
            date: DATE,
            actor_id,
            user_id: 7,
            prev_participant: None,
            new_participant,
            invite: None,
            qts: 3,
        }
        .into()
    };
    let joined = one(of_channel(7, Some(member(7))));
    assert!(matches!(&joined.said, Said::Is(it) if it.status == Status::Member) && joined.chat == QUAY);
    assert_eq!(joined.when, When::Dated { date: date(DATE).expect("a date"), message: None });
    let fields = |update: Update| match one(update).said {
        Said::Is(it) if it.status == Status::Left && !it.present => Value::Object(it.fields),
        said => panic!("{said:?}"),
    };
    assert_eq!(fields(of_channel(7, None)), json!({"left_at": "2023-11-14T22:13:20Z"}));
    assert_eq!(fields(of_channel(5, None)), json!({"left_at": "2023-11-14T22:13:20Z", "removed_by_id": 5}));
    let Update::ChannelParticipant(mut unbanned) = of_channel(5, None) else { panic!("of a channel") };
    unbanned.prev_participant = Some(banned(true, person(7), may_not(true, 0)));
    assert_eq!(fields(unbanned.into()), json!({}), "who was out already leaves no second time");

    let (chat_id, user_id, version) = (42, 7, 2);
    let add = tl::types::UpdateChatParticipantAdd { chat_id, user_id, inviter_id: 5, date: DATE, version };
    assert_eq!((one(add.into()).said, CREW), (Said::Came { by: Some(5) }, ChatId::group(chat_id)));
    let gone = one(tl::types::UpdateChatParticipantDelete { chat_id, user_id, version }.into());
    assert_eq!((gone.said, gone.when), (Said::Left { by: None }, When::Heard));
    let admin = tl::types::UpdateChatParticipantAdmin { chat_id, user_id, is_admin: true, version };
    assert_eq!(one(admin.into()).said, Said::Administrator(true));
    let rank =
        |rank: &str| -> Update { tl::types::UpdateChatParticipantRank { chat_id, user_id, rank: rank.to_owned(), version }.into() };
    assert_eq!(one(rank("pilot")).said, Said::Title(Some("pilot".into())));
    assert_eq!(one(rank("")).said, Said::Title(None));
    let participant = tl::types::ChatParticipant { user_id, inviter_id: 7, date: DATE, rank: None };
    let told = tl::types::UpdateChatParticipant {
        chat_id,
        date: DATE,
        actor_id: 7,
        user_id,
        prev_participant: None,
        new_participant: Some(participant.into()),
        invite: None,
        qts: 4,
    };
    assert!(matches!(one(told.into()).said, Said::Is(it) if it.status == Status::Member));
    assert_eq!(of_update(&tl::types::UpdateChat { chat_id }.into()), []);
}
