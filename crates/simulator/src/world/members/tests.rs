use super::crowd::{Membership, OwnRole};
use super::*;
use crate::world::people::ME;

fn crowd(present: i32, plan: Membership) -> Members {
    Members::new(Base::Computed(Crowd::new(7, -1_001_500_000_001, present, &plan, (1_000, 900_000_000))))
}

fn ids(members: impl IntoIterator<Item = Member>) -> Vec<i64> {
    members.into_iter().map(|member| member.user_id).collect()
}

#[test]
fn computed_members_are_distinct_and_found_by_id() {
    for role in [OwnRole::Creator, OwnRole::Admin, OwnRole::Member] {
        let plan = Membership { admins: Some(4), restricted: 7, banned: 9, hidden: false, role };
        let members = crowd(2_000, plan);
        let all: Vec<Member> = members.iter().collect();
        assert_eq!(all.len(), 2_009);
        assert_eq!(ids(all.clone()).into_iter().collect::<std::collections::BTreeSet<_>>().len(), 2_009);
        for member in &all {
            assert_eq!(members.get(member.user_id).as_ref(), Some(member));
        }
        assert!(all[..2_000].is_sorted_by_key(|member| member.date));
        assert_eq!((members.count(), members.newest_first().count()), (2_000, 2_000));
        assert_eq!(members.admins().len(), 4, "{role:?}");
        assert_eq!((members.restricted().len(), members.banned().len()), (7, 9));
        assert!(matches!(members.admins()[0].role, Role::Creator { .. }));
        let me = members.get(ME).expect("is in the chat");
        assert_eq!(me.is_admin(), role != OwnRole::Member);
        assert_eq!(members.get(7_000_000_001), None);
    }
}

#[test]
fn a_tiny_chat_has_its_creator_only() {
    let members = crowd(1, Membership { restricted: 5, ..Membership::default() });
    assert_eq!((members.count(), members.admins().len(), members.restricted().len()), (1, 1, 0));
    assert_eq!(crowd(0, Membership::default()).count(), 0);
}

#[test]
fn who_comes_and_goes_changes_lists_and_counts() {
    let members = crowd(300, Membership { banned: 2, ..Membership::default() });
    let last = members.newest_first().next().expect("somebody").user_id;
    assert_eq!(members.leave(last, 5).expect("was there").role, Role::Member);
    assert!(!members.contains(last) && !ids(members.newest_first()).contains(&last));
    assert_eq!(members.count(), 299);
    assert_eq!(members.join(42, 6, Some(last)), None);
    members.join(last, 7, None);
    assert_eq!(ids(members.newest_first())[..2], [last, 42], "who came last is first");
    assert_eq!(members.count(), 301);

    let banned = members.banned();
    members.ban(42, ME, 8, 0);
    assert_eq!((members.count(), members.banned().len()), (300, banned.len() + 1));
    members.unban(banned[0].user_id, 9);
    assert_eq!(members.banned().len(), banned.len());
    members.promote(last, ME, AdminRights::of(["ban_users"]), Some("cook".to_owned()));
    assert_eq!(ids(members.newest_first())[0], last, "a promotion moves nobody");
    assert_eq!(members.admins().len(), 6);
    members.demote(last);
    assert_eq!(members.admins().len(), 5);
    assert_eq!(members.iter().count(), 303);
    assert_eq!(members.iter().filter(Member::is_present).count(), members.count());
}

#[test]
fn an_exports_messages_tell_who_is_in_a_chat() {
    let folder = crate::world::tests::folder("told-members");
    let json = r#"{"name": "crew", "type": "private_group", "id": 7, "messages": [
        {"id": 1, "type": "service", "date_unixtime": "10", "actor": "Ann", "actor_id": "user1", "action": "create_group", "title": "crew", "members": ["Ann"]},
        {"id": 2, "type": "message", "date_unixtime": "20", "from": "Bea", "from_id": "user2", "text": "ahoy"},
        {"id": 3, "type": "message", "date_unixtime": "30", "from": "Cem", "from_id": "user3", "text": "ahoy"},
        {"id": 4, "type": "service", "date_unixtime": "40", "actor": "Ann", "actor_id": "user1", "action": "remove_members", "members": ["Cem"]},
        {"id": 5, "type": "message", "date_unixtime": "50", "from": "Bea", "from_id": "user2", "text": "gone"}]}"#;
    std::fs::write(folder.join("result.json"), json).expect("writes");
    let world = crate::world::World::from_export(&folder).expect("loads");
    let roster = world.chats()[0].roster();
    assert_eq!(ids(roster.iter()), [1, 2]);
    assert!(matches!(roster.get(1).expect("is in it").role, Role::Creator { .. }));
    assert_eq!(roster.get(2).expect("is in it").date, 20);
    roster.join(9, 60, Some(1));
    assert_eq!(ids(roster.newest_first()), [9, 2, 1]);
}

#[test]
fn a_ban_ends_with_its_time() {
    let members = crowd(10, Membership::default());
    members.ban(42, ME, 8, 100);
    let member = members.get(42).expect("is known");
    assert!(matches!(member.clone().at(99).role, Role::Banned { .. }));
    assert_eq!(member.at(100).role, Role::Left);
}

#[test]
fn rights_are_told_by_name() {
    let rights = AdminRights::of(["ban_users", "pin_messages", "nonsense"]);
    let json = serde_json::to_string(&rights).expect("serialises");
    assert_eq!(json, r#"["ban_users","pin_messages"]"#);
    assert_eq!(serde_json::from_str::<AdminRights>(&json).expect("reads"), rights);
    let grammers_tl_types::enums::ChatAdminRights::Rights(told) = rights.to_tl();
    assert!(told.ban_users && told.pin_messages && !told.add_admins);
    let grammers_tl_types::enums::ChatBannedRights::Rights(told) = BannedRights::everything(9).to_tl();
    assert!(told.view_messages && told.send_plain && told.until_date == 9);
}
