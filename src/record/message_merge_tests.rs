//! Merge rules, one by one, then as laws over random histories.

use proptest::prelude::*;
use serde_json::json;

use super::{ChatId, DateTime, Effect, Map, Merged, Message, Observation, Row, Utc, Via};
use crate::record::{AccountId, Raw};

const CHAT: ChatId = ChatId(-1_000_000_000_777);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap_or_default()
}

fn seen(via: Via, pts: Option<i32>) -> Observation {
    Observation { account: AccountId(1), via, job: None, pts }
}

fn page(pts: i32) -> Observation {
    seen(Via::History, Some(pts))
}

fn import() -> Observation {
    seen(Via::Import, None)
}

fn says(text: &str) -> Message {
    let body = json!({"text": text}).as_object().cloned().unwrap_or_default();
    Message {
        chat: CHAT,
        id: 7,
        date: Some(at(0)),
        edit_date: None,
        body,
        raw: None,
        pts: None,
        links: Vec::new(),
        media: Vec::new(),
    }
}

fn edited(text: &str, when: i64) -> Message {
    Message { edit_date: Some(at(when)), ..says(text) }
}

fn undecodable() -> Message {
    Message { body: Map::new(), raw: Some(Raw { bytes: vec![1, 2], reason: "strange".into() }), ..says("") }
}

/// In a chat where deletions keep the content.
fn merge(row: Option<&Row>, message: &Message, seen: &Observation) -> Merged {
    super::merge(row, message, seen, false)
}

fn delete(
    row: Option<&Row>,
    chat: Option<ChatId>,
    when: DateTime<Utc>,
    after: Option<DateTime<Utc>>,
    seen: &Observation,
) -> Merged {
    super::delete(row, chat, when, after, seen, false)
}

fn text(row: &Row) -> Option<&str> {
    row.body.as_ref()?.get("text")?.as_str()
}

#[test]
fn the_first_observation_is_revision_one() {
    let merged = merge(None, &says("hello"), &page(10));
    assert_eq!((merged.effect, merged.row.revision, merged.row.order_pts), (Effect::New, 1, Some(10)));
}

#[test]
fn a_partial_after_a_full_one_erases_nothing_and_is_kept_raw_with_its_reason() {
    let full = merge(None, &says("hello"), &page(10)).row;
    let merged = merge(Some(&full), &undecodable(), &page(11));
    assert_eq!(text(&merged.row), Some("hello"));
    assert_eq!(merged.row.raw_reason.as_deref(), Some("strange"));
    assert_eq!(merged.row.raw, Some(vec![1, 2]));
    assert_eq!(merged.row.revision, 2);
    let mended = merge(Some(&merged.row), &says("hello"), &page(12));
    assert_eq!((mended.row.raw, mended.row.raw_reason, mended.row.revision), (None, None, 3));
}

#[test]
fn an_old_edit_after_a_new_one_through_another_account_changes_nothing() {
    let new = merge(None, &edited("second", 20), &page(20)).row;
    let merged = merge(Some(&new), &edited("first", 10), &Observation { account: AccountId(2), ..page(15) });
    assert_eq!((merged.row.revision, text(&merged.row)), (new.revision, Some("second")));
    let same_pts = merge(Some(&new), &edited("first", 10), &Observation { account: AccountId(2), ..page(20) });
    assert_eq!((same_pts.row.revision, text(&same_pts.row)), (new.revision, Some("second")));
}

#[test]
fn a_deletion_before_the_content_waits_for_it() {
    let tombstone = delete(None, None, at(5), None, &seen(Via::Live, Some(30))).row;
    assert_eq!((tombstone.body.is_none(), tombstone.chat), (true, None));
    let merged = merge(Some(&tombstone), &says("late"), &page(10));
    assert_eq!(text(&merged.row), Some("late"));
    assert_eq!(merged.row.chat, Some(CHAT));
    assert_eq!(merged.row.deleted_at, Some(at(5)));
    assert_eq!(merged.row.revision, 2);
}

#[test]
fn a_deletion_keeps_the_content_and_comes_once() {
    let row = merge(None, &says("hello"), &page(10)).row;
    let gone = delete(Some(&row), None, at(5), None, &seen(Via::Live, Some(11)));
    assert_eq!((gone.effect, text(&gone.row)), (Effect::Revised, Some("hello")));
    assert_eq!(delete(Some(&gone.row), None, at(9), None, &seen(Via::Live, Some(12))).effect, Effect::Nothing);
}

#[test]
fn a_deletion_inferred_from_absence_is_withdrawn_by_a_later_page_alone() {
    let row = merge(None, &says("hello"), &page(10)).row;
    let gone = delete(Some(&row), None, at(5), Some(at(1)), &page(20)).row;
    assert_eq!(merge(Some(&gone), &says("hello"), &page(15)).row.deleted_at, Some(at(5)));
    assert_eq!(merge(Some(&gone), &says("hello"), &page(20)).row.deleted_at, Some(at(5)));
    assert_eq!(merge(Some(&gone), &says("hello"), &page(21)).row.deleted_at, None);
}

#[test]
fn an_import_only_fills_what_is_absent() {
    let row = merge(None, &says("hello"), &page(10)).row;
    let mut more = says("other words");
    more.body.insert("author_signature".into(), json!("Hari"));
    let merged = merge(Some(&row), &more, &import());
    assert_eq!(text(&merged.row), Some("hello"));
    assert_eq!(merged.row.body.as_ref().and_then(|body| body.get("author_signature")), Some(&json!("Hari")));
    assert_eq!(merged.row.order_pts, Some(10));
}

#[test]
fn an_import_of_another_version_fills_nothing() {
    let row = merge(None, &says("hello"), &page(10)).row;
    assert_eq!(merge(Some(&row), &edited("hello!", 9), &import()).effect, Effect::Nothing);
}

#[test]
fn an_import_fills_a_tombstone_but_not_a_deletion() {
    let tombstone = delete(None, Some(CHAT), at(5), None, &seen(Via::Live, None)).row;
    let merged = merge(Some(&tombstone), &says("kept elsewhere"), &import());
    assert_eq!((text(&merged.row), merged.row.deleted_at), (Some("kept elsewhere"), Some(at(5))));
}

#[test]
fn what_telegram_says_replaces_an_import() {
    let row = merge(None, &edited("from a file", 50), &import()).row;
    let merged = merge(Some(&row), &says("from Telegram"), &seen(Via::History, None));
    assert_eq!(text(&merged.row), Some("from Telegram"));
}

#[test]
fn equal_content_advances_the_order_key_without_a_revision() {
    let row = merge(None, &says("hello"), &page(10)).row;
    let merged = merge(Some(&row), &says("hello"), &page(20));
    assert_eq!((merged.effect, merged.row.revision, merged.row.order_pts), (Effect::Advanced, 1, Some(20)));
    assert_eq!(merge(Some(&merged.row), &says("hello"), &page(20)).effect, Effect::Nothing);
}

#[derive(Debug, Clone)]
enum Event {
    Content(Box<(Message, Observation)>),
    Deletion(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let content = ("[ab]{0,2}", proptest::option::of(0..4_i64), proptest::option::of(0..5_i32), 0..4_u8, any::<bool>()).prop_map(
        |(text, edit, pts, via, raw)| {
            let message = match edit {
                Some(when) => edited(&text, when),
                None if raw => undecodable(),
                None => says(&text),
            };
            let observation = if via == 0 { import() } else { seen(Via::History, pts) };
            Event::Content(Box::new((message, observation)))
        },
    );
    prop_oneof![4 => content, 1 => (0..9_i64).prop_map(Event::Deletion)]
}

fn apply(row: Option<&Row>, event: &Event) -> Merged {
    match event {
        Event::Content(content) => merge(row, &content.0, &content.1),
        Event::Deletion(when) => delete(row, Some(CHAT), at(*when), None, &seen(Via::Live, None)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn revisions_grow_with_real_changes_and_nothing_heard_is_forgotten(events in proptest::collection::vec(event(), 1..12)) {
        let mut row: Option<Row> = None;
        for event in &events {
            let merged = apply(row.as_ref(), event);
            if let Some(before) = &row {
                let changed = (&before.body, &before.date, &before.edit_date, &before.deleted_at, &before.raw_reason)
                    != (&merged.row.body, &merged.row.date, &merged.row.edit_date, &merged.row.deleted_at, &merged.row.raw_reason);
                prop_assert_eq!(merged.row.revision, before.revision + i64::from(changed));
                prop_assert!(merged.row.order_pts >= before.order_pts);
                prop_assert!(before.body.is_none() || merged.row.body.is_some());
                prop_assert!(before.deleted_at.is_none() || merged.row.deleted_at == before.deleted_at);
            }
            // Hearing the same again is free.
            let again = apply(Some(&merged.row), event);
            prop_assert_eq!(again.row.revision, merged.row.revision);
            row = Some(merged.row);
        }
    }

    #[test]
    fn the_newest_content_wins_in_whatever_order_it_arrives(order in Just((1..7_i32).collect::<Vec<_>>()).prop_shuffle()) {
        let mut row: Option<Row> = None;
        for pts in order {
            row = Some(merge(row.as_ref(), &says(&format!("state {pts}")), &page(pts)).row);
        }
        prop_assert_eq!(row.as_ref().and_then(text), Some("state 6"));
    }
}
