//! Versions and counts: what a merge keeps, one rule at a time, then as a law: the order of arrival decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::record::{AccountId, Raw};

const CHAT: ChatId = ChatId(-1_000_000_000_777);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap_or_default()
}

fn seen(via: Via, pts: Option<i32>) -> Observation {
    Observation { account: AccountId(1), via, job: None, pts }
}

fn says(body: Value) -> Message {
    let body = body.as_object().cloned().unwrap_or_default();
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

fn text(text: &str) -> Message {
    says(json!({"text": text, "media": false}))
}

fn pushed(pts: i32, message: Message) -> Message {
    Message { pts: Some(pts), ..message }
}

/// A row and the texts of all versions that were kept.
#[derive(Default)]
struct Heard {
    row: Option<Row>,
    versions: BTreeMap<Vec<u8>, Map<String, Value>>,
}

impl Heard {
    fn hears(mut self, via: Via, message: Message) -> Self {
        let merged = merge(self.row.as_ref(), &message, &seen(via, None), false);
        self.versions.extend(merged.versions.into_iter().map(|stood| (version_hash(&stood.body), stood.body)));
        self.row = Some(merged.row);
        self
    }

    fn live(self, pts: i32, told: &str) -> Self {
        self.hears(Via::Live, pushed(pts, text(told)))
    }

    fn body(&self) -> Map<String, Value> {
        self.row.as_ref().and_then(|row| row.body.clone()).unwrap_or_default()
    }

    fn kept(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.versions.values().filter_map(|body| body.get("text")?.as_str()).collect();
        texts.sort_unstable();
        texts
    }
}

#[test]
fn what_an_edit_replaces_is_kept_once() {
    assert_eq!(Heard::default().live(1, "a").kept(), Vec::<&str>::new());
    assert_eq!(Heard::default().live(1, "a").live(2, "b").kept(), ["a"]);
    assert_eq!(Heard::default().live(1, "a").live(2, "b").live(3, "a").kept(), ["a", "b"]);
    assert_eq!(Heard::default().live(1, "a").live(2, "b").live(3, "a").live(4, "b").kept(), ["a", "b"]);
}

#[test]
fn an_old_edit_after_a_new_one_is_a_version() {
    let heard = Heard::default().live(20, "new").live(15, "old");
    assert_eq!((heard.body()["text"].clone(), heard.kept()), (json!("new"), vec!["old"]));
}

#[test]
fn a_text_that_came_back_stood_before_even_when_that_is_heard_late() {
    assert_eq!(Heard::default().live(3, "a").live(1, "a").live(2, "b").kept(), ["a", "b"]);
    assert_eq!(Heard::default().live(3, "a").live(2, "b").live(1, "a").kept(), ["a", "b"]);
    assert_eq!(Heard::default().live(3, "a").live(1, "b").live(2, "a").kept(), ["b"]);
}

#[test]
fn a_moved_edit_date_and_counts_make_no_version() {
    let later = Message { edit_date: Some(at(9)), ..says(json!({"text": "a", "media": false, "views": 5, "pinned": true})) };
    let heard = Heard::default().live(1, "a").hears(Via::Live, pushed(2, later));
    assert_eq!((heard.kept().len(), heard.row.as_ref().map(|row| row.revision)), (0, Some(2)));
    let preview =
        json!({"text": "a", "media": true, "media_type": "webpage", "media_id": "photo_1", "webpage": {"url": "https://x.org"}});
    let heard = heard.hears(Via::Live, pushed(3, says(preview)));
    assert_eq!((heard.kept().len(), heard.row.map(|row| row.revision)), (0, Some(3)));
}

#[test]
fn of_two_edits_within_one_second_pts_decides_and_without_it_the_later_receipt() {
    let edit = |told: &str| Message { edit_date: Some(at(5)), ..text(told) };
    let by_pts = Heard::default().hears(Via::Live, pushed(11, edit("second"))).hears(Via::Live, pushed(10, edit("first")));
    assert_eq!((by_pts.body()["text"].clone(), by_pts.kept()), (json!("second"), vec!["first"]));
    let by_receipt = Heard::default().hears(Via::Live, edit("first")).hears(Via::Live, edit("second"));
    assert_eq!((by_receipt.body()["text"].clone(), by_receipt.kept()), (json!("second"), vec!["first"]));
}

#[test]
fn an_import_is_a_version_where_its_words_differ() {
    let telegram = says(json!({"text": "a", "media": true, "media_id": "photo_1", "entities": [{"type": "bold"}]}));
    let poor = says(json!({"text": "a", "media": true}));
    let replaced = Heard::default().hears(Via::Import, poor.clone()).hears(Via::History, pushed(5, telegram.clone()));
    assert_eq!(replaced.versions.len(), 0, "the same, told better");
    let filled = Heard::default().hears(Via::History, pushed(5, telegram.clone())).hears(Via::Import, poor);
    assert_eq!(filled.versions.len(), 0);
    let counted = says(json!({"text": "a", "media": true, "reactions": [{"reaction": "👍", "count": 1}]}));
    let uncounted = Heard::default().hears(Via::Import, counted).hears(Via::History, pushed(5, telegram.clone()));
    assert_eq!(Value::Object(uncounted.body()), Value::Object(telegram.body.clone()), "as if there had been no import");
    let before = Heard::default().hears(Via::Import, text("before")).hears(Via::History, pushed(5, telegram.clone()));
    assert_eq!(before.kept(), ["before"]);
    let after = Heard::default().hears(Via::History, pushed(5, telegram)).hears(Via::Import, text("before"));
    assert_eq!((after.kept(), after.body()["text"].clone()), (vec!["before"], json!("a")));
}

#[test]
fn what_was_normalised_in_part_and_then_in_full_is_one_version() {
    let part = Message {
        raw: Some(Raw { bytes: vec![1], reason: "strange".into() }),
        ..says(json!({"text": "a", "media": true, "media_type": "unsupported"}))
    };
    let full = says(json!({"text": "a", "media": true, "media_type": "photo", "media_id": "photo_1"}));
    let mended = Heard::default().hears(Via::Live, pushed(5, part.clone())).hears(Via::History, pushed(6, full.clone()));
    assert_eq!((mended.versions.len(), mended.row.and_then(|row| row.raw)), (0, None));
    // Raw bytes alone: what an older page tells is read meanwhile, and the reason stays.
    let nothing = Message { body: Map::new(), ..part };
    let bytes = Heard::default().hears(Via::Live, pushed(5, nothing)).hears(Via::History, pushed(4, full));
    assert_eq!((bytes.body()["text"].clone(), bytes.row.and_then(|row| row.raw_reason)), (json!("a"), Some("strange".into())));
}

#[test]
fn a_partial_text_takes_the_old_texts_marks_along() {
    let part = Message { raw: Some(Raw { bytes: vec![1], reason: "strange".into() }), ..says(json!({"text": "b"})) };
    let full = says(json!({"text": "a", "entities": [{"type": "bold"}], "author_signature": "Hari"}));
    let heard = Heard::default().hears(Via::Live, pushed(1, full)).hears(Via::Live, pushed(2, part));
    assert_eq!(Value::Object(heard.body()), json!({"text": "b", "author_signature": "Hari"}));
}

#[test]
fn content_without_counts_keeps_those_that_are_known() {
    let told =
        says(json!({"text": "a", "views": 10, "forwards": 2, "reply_count": 3, "reactions": [{"reaction": "👍", "count": 4}]}));
    let heard = Heard::default().hears(Via::History, pushed(5, told)).live(6, "b");
    assert_eq!(heard.body()["views"], 10);
    assert_eq!((&heard.body()["forwards"], &heard.body()["reply_count"]), (&json!(2), &json!(3)));
    assert_eq!(heard.body()["reactions"], json!([{"reaction": "👍", "count": 4}]));
    let none = heard.hears(Via::Live, pushed(7, says(json!({"text": "b", "media": false, "reactions": []}))));
    assert_eq!(none.body().get("reactions"), None, "told to be none");
    assert_eq!(none.body()["views"], 10);
}

#[test]
fn older_content_lowers_no_count_and_fills_what_nothing_newer_told() {
    let with = |views: i64| says(json!({"text": "a", "media": false, "views": views}));
    let heard = Heard::default().hears(Via::Live, pushed(9, with(50))).hears(Via::History, pushed(5, with(40)));
    assert_eq!(heard.body()["views"], 50);
    let heard = Heard::default().live(9, "a").hears(Via::History, pushed(3, with(30))).hears(Via::History, pushed(5, with(40)));
    assert_eq!(heard.body()["views"], 40);
    let heard = heard.hears(Via::History, pushed(4, with(35)));
    assert_eq!(heard.body()["views"], 40);
}

#[test]
fn pushed_counts_make_no_version_and_never_go_down() {
    let row = Heard::default()
        .hears(Via::Live, pushed(5, says(json!({"text": "a", "views": 10, "pinned": true}))))
        .row
        .unwrap_or_default();
    let counts = |views| Counts { id: 7, views: Some(views), ..Counts::default() };
    let up = count(&row, &counts(12), &seen(Via::Live, None));
    assert_eq!((up.effect, &up.row.body.as_ref().expect("a body")["views"], up.versions.len()), (Effect::Revised, &json!(12), 0));
    assert_ne!(up.row.content_hash, row.content_hash);
    assert_eq!(count(&up.row, &counts(11), &seen(Via::Live, None)).effect, Effect::Nothing);
    let told = Counts {
        reply_count: Some(2),
        reactions: Some(vec![json!({"reaction": "👍", "count": 1})]),
        pinned: Some(false),
        ..counts(1)
    };
    let after = count(&up.row, &told, &seen(Via::Live, Some(8))).row;
    assert_eq!(
        after.body.clone().map(Value::Object),
        Some(json!({"text": "a", "views": 12, "reply_count": 2, "reactions": [{"reaction": "👍", "count": 1}]}))
    );
    // A page that was asked for before the push knows the pin still.
    let late = merge(Some(&after), &pushed(7, says(json!({"text": "a", "pinned": true}))), &seen(Via::History, None), false);
    assert_eq!(late.row.body.as_ref().expect("a body").get("pinned"), None);
    let old = Counts { pinned: Some(true), ..Counts::default() };
    assert_eq!(count(&after, &old, &seen(Via::Live, Some(6))).effect, Effect::Nothing);
    let tombstone = delete(None, Some(CHAT), at(1), None, &seen(Via::Live, None), false).row;
    assert_eq!(count(&tombstone, &counts(5), &seen(Via::Live, None)).effect, Effect::Nothing);
}

#[test]
fn where_a_deletion_erases_nothing_is_stored_again() {
    let row = Heard::default().live(5, "secret").row;
    let gone = delete(row.as_ref(), None, at(5), None, &seen(Via::Live, None), true);
    assert_eq!((gone.effect, gone.row.body.is_none(), gone.row.content_hash.is_none()), (Effect::Revised, true, true));
    assert_eq!((gone.row.date, gone.row.chat, gone.row.deleted_at), (Some(at(0)), Some(CHAT), Some(at(5))));
    for via in [Via::Live, Via::History, Via::Import] {
        let again = merge(Some(&gone.row), &pushed(9, text("secret")), &seen(via, None), false);
        assert_eq!((again.row.body, again.row.revision), (None, gone.row.revision), "even when the wish was changed since");
    }
    // A deletion that named no chat, and the content that names it.
    let unseen = delete(None, None, at(5), None, &seen(Via::Live, None), false).row;
    let late = merge(Some(&unseen), &pushed(9, text("secret")), &seen(Via::Live, None), true);
    assert_eq!((late.row.body, late.row.chat, late.row.date, late.row.revision), (None, Some(CHAT), Some(at(0)), 2));
    // Absence was the only witness, and a later page contradicts it.
    let inferred = delete(row.as_ref(), None, at(5), Some(at(1)), &seen(Via::History, Some(8)), true).row;
    let back = merge(Some(&inferred), &pushed(9, text("secret")), &seen(Via::History, None), true).row;
    assert_eq!((back.body.is_some(), back.deleted_at, back.erased), (true, None, false));
}

/// A text with or without media, and counts that are told or not.
fn content() -> impl Strategy<Value = Message> {
    let optional = |range: std::ops::Range<i64>| proptest::option::of(range);
    ("[ab]", any::<bool>(), optional(0..3), optional(0..3), proptest::option::of(0..3_usize)).prop_map(
        |(text, media, edited, views, reactions)| {
            let mut body = json!({"text": text, "media": media});
            if media {
                body["media_id"] = "photo_1".into();
            }
            if let Some(views) = views {
                body["views"] = views.into();
            }
            if let Some(reactions) = reactions {
                body["reactions"] = vec![json!({"reaction": "👍"}); reactions].into();
            }
            Message { edit_date: edited.map(at), ..says(body) }
        },
    )
}

/// Contents under distinct order keys, and the same in another order, perhaps with a deletion anywhere.
fn histories() -> impl Strategy<Value = (Vec<Option<Message>>, Vec<Option<Message>>)> {
    proptest::collection::vec(content(), 1..7).prop_flat_map(|contents| {
        let numbered = contents.into_iter().zip(1..).map(|(message, pts)| Some(pushed(pts, message)));
        let all: Vec<Option<Message>> = numbered.chain([None]).collect();
        (Just(all.clone()).prop_shuffle(), Just(all).prop_shuffle())
    })
}

fn outcome(history: &[Option<Message>], erases: bool) -> (Row, BTreeSet<Vec<u8>>) {
    let (mut row, mut versions): (Option<Row>, BTreeSet<Vec<u8>>) = (None, BTreeSet::new());
    for event in history {
        let merged = match event {
            Some(message) => merge(row.as_ref(), message, &seen(Via::Live, None), erases),
            None => delete(row.as_ref(), Some(CHAT), at(9), None, &seen(Via::Live, None), erases),
        };
        versions.extend(merged.versions.iter().map(|stood| version_hash(&stood.body)));
        if merged.row.erased {
            versions.clear();
        }
        row = Some(merged.row);
    }
    // How often it changed, and when a version that is kept anyway was seen first, depends on the order.
    (Row { revision: 0, version_pts: None, other_pts: None, ..row.unwrap_or_default() }, versions)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_048, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_arrival_decides_nothing((one, two) in histories(), erases in any::<bool>()) {
        prop_assert_eq!(outcome(&one, erases), outcome(&two, erases));
    }

    #[test]
    fn every_text_that_stood_is_the_row_or_a_version((history, _) in histories()) {
        let (row, versions) = outcome(&history, false);
        let stands = row.body.as_ref().map(version_hash);
        for message in history.iter().flatten() {
            let hash = version_hash(&message.body);
            prop_assert!(stands.as_ref() == Some(&hash) || versions.contains(&hash));
        }
    }
}
