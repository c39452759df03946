//! The merge rules of members, each with a test.

use super::*;

const QUAY: ChatId = ChatId(-1_001_000_000_005);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("a time")
}

/// Told by a message of this second, which was received an hour later.
fn dated(seconds: i64, message: i64, said: Said) -> Relation {
    Relation { chat: QUAY, user: 7, said, when: When::Dated { date: at(seconds), message: Some(message) } }
}

fn listed(seconds: i64, status: Status, fields: Value) -> Relation {
    let Value::Object(fields) = fields else { panic!("an object") };
    let present = !matches!(status, Status::Banned | Status::Left);
    let standing = Standing { status, present, fields, joined: None, invited_by: None };
    Relation { chat: QUAY, user: 7, said: Said::Is(standing), when: When::Listed { asked: at(seconds), snapshot: 1 } }
}

fn joined(seconds: i64, message: i64) -> Relation {
    dated(seconds, message, Said::Came { by: None })
}

fn left(seconds: i64, message: i64) -> Relation {
    dated(seconds, message, Said::Left { by: None })
}

/// In this order, each an hour after the last of them was said.
fn all(relations: &[Relation]) -> Row {
    let now = at(3_600_000);
    relations.iter().fold(None, |row, relation| Some(merge(row.as_ref(), relation, now))).expect("a row")
}

fn status(relations: &[Relation]) -> (Option<Status>, Option<bool>) {
    let row = all(relations);
    (row.status, row.present)
}

#[test]
fn who_writes_is_seen_and_nothing_is_said_of_what_they_are() {
    let row = all(&[dated(50, 5, Said::Seen), dated(10, 1, Said::Seen), dated(90, 9, Said::Seen)]);
    assert_eq!((row.status, row.present, row.body.len()), (None, None, 0));
    assert_eq!((row.first_seen, row.last_seen), (at(10), at(90)));
    let row = all(&[listed(20, Status::Administrator, json!({"title": "pilot"})), dated(90, 9, Said::Seen)]);
    assert_eq!((row.status, row.text("title")), (Some(Status::Administrator), Some("pilot")));
    assert_eq!(row.last_seen, at(90));
}

#[test]
fn telegrams_dates_order_what_happened_however_it_arrives() {
    let there = (Some(Status::Member), Some(true));
    let gone = (Some(Status::Left), Some(false));
    assert_eq!(status(&[joined(10, 1), left(20, 2)]), gone);
    assert_eq!(status(&[left(20, 2), joined(10, 1)]), gone);
    assert_eq!(status(&[left(20, 2), joined(30, 3), joined(10, 1)]), there);
    // Of one second, the messages' ids.
    assert_eq!(status(&[joined(20, 3), left(20, 2)]), there);
    assert_eq!(status(&[left(20, 2), joined(20, 3)]), there);
}

#[test]
fn the_last_joining_is_kept_with_who_brought_it_about() {
    let by = |seconds: i64, message: i64, by: i64| dated(seconds, message, Said::Came { by: Some(by) });
    for order in [[by(10, 1, 5), joined(30, 3), left(20, 2)], [joined(30, 3), left(20, 2), by(10, 1, 5)]] {
        let row = all(&order);
        assert_eq!((row.text("joined_date"), row.body.get("invited_by_id")), (Some("2023-11-14T22:13:50Z"), None));
    }
    let row = all(&[left(20, 2), by(10, 1, 5)]);
    assert_eq!((row.status, row.text("joined_date")), (Some(Status::Left), Some("2023-11-14T22:13:30Z")));
    assert_eq!(row.body["invited_by_id"], 5);
}

#[test]
fn a_list_does_not_undo_what_was_told_after_it_was_asked_for() {
    let list = listed(20, Status::Member, json!({}));
    let now = at(25);
    let heard = Relation { when: When::Heard, ..left(0, 0) };
    let row = merge(None, &heard, now);
    assert_eq!(merge(Some(&row), &list, at(30)).status, Some(Status::Left));
    // One that was asked for afterwards does.
    let later = listed(26, Status::Member, json!({}));
    assert_eq!(merge(Some(&row), &later, at(30)).status, Some(Status::Member));
    // So it is with what Telegram dated, received after the list was asked for, and with clocks that differ.
    let row = merge(None, &left(19, 2), now);
    assert_eq!(merge(Some(&row), &list, at(30)).status, Some(Status::Left));
}

#[test]
fn what_history_tells_of_long_ago_does_not_undo_a_list() {
    let list = listed(100_000, Status::Administrator, json!({"title": "pilot", "promoted_by_id": 5}));
    let row = all(&[list.clone(), joined(10, 1)]);
    assert_eq!((row.status, row.text("title")), (Some(Status::Administrator), Some("pilot")));
    assert_eq!(row.text("joined_date"), Some("2023-11-14T22:13:30Z"), "but it tells what the list did not");
    assert_eq!(status(&[list, left(10, 1)]).0, Some(Status::Administrator));
}

#[test]
fn equal_content_told_later_moves_the_order_and_says_the_same() {
    let first = merge(None, &listed(10, Status::Member, json!({})), at(11));
    let again = merge(Some(&first), &listed(20, Status::Member, json!({})), at(21));
    assert!(again.says_the_same(&first) && again.told_at == Some(at(20)) && again.last_seen == at(20));
}

#[test]
fn what_a_constructor_does_not_have_is_none_and_what_an_event_does_not_tell_stays() {
    let pilot = listed(10, Status::Administrator, json!({"title": "pilot", "rights": ["ban_users"], "promoted_by_id": 5}));
    let plain = all(&[joined(5, 1), pilot.clone(), listed(20, Status::Member, json!({}))]);
    assert_eq!(Value::Object(plain.body), json!({"joined_date": "2023-11-14T22:13:25Z"}));
    let named = all(&[pilot, Relation { when: When::Heard, ..dated(0, 0, Said::Title(Some("captain".into()))) }]);
    assert_eq!((named.text("title"), named.body["promoted_by_id"].as_i64()), (Some("captain"), Some(5)));
}

#[test]
fn coming_back_lifts_no_restriction_and_leaving_no_ban() {
    let silent = listed(10, Status::Restricted, json!({"rights": ["send_plain"]}));
    let row = all(&[silent, joined(400, 4)]);
    assert_eq!((row.status, row.present, row.body.contains_key("rights")), (Some(Status::Restricted), Some(true), true));
    let banned = listed(10, Status::Banned, json!({"restricted_by_id": 5}));
    let row = all(&[banned, left(400, 4)]);
    assert_eq!((row.status, row.present, row.body["restricted_by_id"].as_i64()), (Some(Status::Banned), Some(false), Some(5)));
    assert_eq!(status(&[listed(10, Status::Creator, json!({})), joined(400, 4)]), (Some(Status::Creator), Some(true)));
    assert_eq!(status(&[listed(10, Status::Banned, json!({})), joined(400, 4)]), (Some(Status::Member), Some(true)));
}

#[test]
fn an_administrator_of_a_basic_group_comes_and_goes_by_a_flag() {
    let flag = |is: bool| Relation { when: When::Heard, ..dated(0, 0, Said::Administrator(is)) };
    assert_eq!(status(&[joined(10, 1), flag(true)]).0, Some(Status::Administrator));
    assert_eq!(status(&[joined(10, 1), flag(true), flag(false)]).0, Some(Status::Member));
    assert_eq!(status(&[listed(10, Status::Creator, json!({})), flag(true), flag(false)]).0, Some(Status::Creator));
}

#[test]
fn who_is_missing_in_a_whole_list_left_between_being_seen_last_and_that_list() {
    let missing = Relation { said: Said::Missing, ..listed(500, Status::Left, json!({})) };
    let row = all(&[joined(10, 1), dated(60, 2, Said::Seen), missing]);
    assert_eq!((row.status, row.present), (Some(Status::Left), Some(false)));
    assert_eq!(row.body["left_between"], json!({"gte": "2023-11-14T22:14:20Z", "lte": "2023-11-14T22:21:40Z"}));
    assert_eq!(row.last_seen, at(60), "not being there is no sight");
    assert_eq!(row.body["joined_date"], "2023-11-14T22:13:30Z");
    let back = all(&[joined(10, 1), Relation { said: Said::Missing, ..listed(500, Status::Left, json!({})) }, joined(900, 9)]);
    assert_eq!((back.status, back.body.contains_key("left_between")), (Some(Status::Member), false));
}

#[test]
fn a_leaving_that_is_told_twice_keeps_its_date_and_who_did_it() {
    let removed = dated(20, 2, Said::Left { by: Some(5) });
    let heard = Relation { when: When::Heard, ..left(0, 0) };
    let missing = Relation { said: Said::Missing, ..listed(500, Status::Left, json!({})) };
    for order in [
        vec![joined(10, 1), removed.clone(), heard.clone()],
        vec![joined(10, 1), heard, removed.clone()],
        vec![joined(10, 1), missing.clone(), removed.clone()],
    ] {
        let row = all(&order);
        assert!(!row.body.contains_key("left_between"));
        assert_eq!((row.text("left_at"), row.body["removed_by_id"].as_i64()), (Some("2023-11-14T22:13:40Z"), Some(5)));
    }
    // An earlier leaving is not the one that was inferred.
    let row = all(&[joined(30, 3), missing, removed]);
    assert!(row.body.contains_key("left_between"));
}
