use grammers_tl_types as tl;
use proptest::prelude::*;

use super::*;

const CHANNEL: i64 = 42;

/// One thing that happened in the channel: it takes one pts.
fn deleted(pts: i32) -> Update {
    tl::types::UpdateDeleteChannelMessages { channel_id: CHANNEL, messages: vec![pts], pts, pts_count: 1 }.into()
}

fn own(pts: i32) -> Update {
    tl::types::UpdateDeleteMessages { messages: vec![pts], pts, pts_count: 1 }.into()
}

fn pushed(update: Update) -> tl::enums::Updates {
    tl::types::UpdateShort { update, date: 1 }.into()
}

fn container(updates: Vec<Update>, seq: i32) -> tl::enums::Updates {
    tl::types::Updates { updates, users: Vec::new(), chats: Vec::new(), date: 1, seq }.into()
}

fn sequencer() -> Sequencer {
    let mut sequencer = Sequencer::new(1, Common { pts: 100, qts: 0, date: 1, seq: 1 });
    sequencer.follow(CHANNEL, 10);
    sequencer
}

fn pts_of(batch: &Batch) -> Vec<i32> {
    batch.updates.iter().filter_map(|ordered| ordered.pts).collect()
}

fn wanted(sequencer: &Sequencer) -> Vec<Sequence> {
    sequencer.wanted().collect()
}

#[test]
fn what_fits_is_taken_with_the_position_after_it() {
    let mut sequencer = sequencer();
    let batch = sequencer.push(crate::clock::mark(), container(vec![deleted(11), deleted(12), own(101)], 0));
    assert_eq!(pts_of(&batch), [11, 12, 101]);
    assert_eq!(batch.channels, [Moved { channel: CHANNEL, before: 10, after: 12 }]);
    assert_eq!(batch.common.map(|common| common.pts), Some(101));
    assert_eq!(wanted(&sequencer), []);
}

#[test]
fn what_came_twice_is_dropped() {
    let mut sequencer = sequencer();
    sequencer.push(crate::clock::mark(), pushed(deleted(11)));
    let batch = sequencer.push(crate::clock::mark(), pushed(deleted(11)));
    assert!(batch.is_empty());
}

#[test]
fn what_came_early_waits_and_joins_what_it_waited_for() {
    let mut sequencer = sequencer();
    let now = crate::clock::mark();
    assert!(sequencer.push(now, pushed(deleted(13))).is_empty());
    assert!(sequencer.push(now, pushed(deleted(12))).is_empty());
    assert_eq!(sequencer.patience_ends(), Some(now + PATIENCE));
    let batch = sequencer.push(now, pushed(deleted(11)));
    assert_eq!(pts_of(&batch), [11, 12, 13]);
    assert_eq!(batch.channels, [Moved { channel: CHANNEL, before: 10, after: 13 }]);
    sequencer.lose_patience(now + PATIENCE);
    assert_eq!(wanted(&sequencer), []);
}

#[test]
fn patience_ends_in_a_difference_and_no_sooner() {
    let mut sequencer = sequencer();
    let now = crate::clock::mark();
    sequencer.push(now, pushed(deleted(13)));
    sequencer.lose_patience(now + PATIENCE / 2);
    assert_eq!(wanted(&sequencer), []);
    sequencer.lose_patience(now + PATIENCE);
    assert_eq!(wanted(&sequencer), [Sequence::Channel(CHANNEL)]);
    assert_eq!(sequencer.patience_ends(), None, "nothing to wait for any more");
    let answer = tl::types::updates::ChannelDifference {
        r#final: true,
        pts: 12,
        timeout: None,
        new_messages: Vec::new(),
        other_updates: vec![deleted(11), deleted(12)],
        chats: Vec::new(),
        users: Vec::new(),
    };
    let batch = sequencer.channel_difference(CHANNEL, answer.into());
    assert_eq!(pts_of(&batch), [11, 12, 13], "edits and deletions of a difference are not taken for old");
    assert_eq!(batch.verified, Some(Sequence::Channel(CHANNEL)));
    assert_eq!(wanted(&sequencer), []);
}

#[test]
fn a_jump_is_told_as_one() {
    let mut sequencer = sequencer();
    sequencer.doubt(Sequence::Common);
    let batch = sequencer.common_difference(tl::types::updates::DifferenceTooLong { pts: 5_000 }.into());
    assert_eq!((batch.jumped, batch.common.map(|common| common.pts)), (Some(Sequence::Common), Some(5_000)));
    assert_eq!(wanted(&sequencer), [Sequence::Common], "asked again from there");
    let batch = sequencer.common_difference(tl::types::updates::DifferenceEmpty { date: 9, seq: 7 }.into());
    assert_eq!((batch.jumped, batch.verified), (None, Some(Sequence::Common)));
    assert_eq!(wanted(&sequencer), []);
}

#[test]
fn a_lost_container_is_seen_by_its_number_and_takes_nothing_along() {
    let mut sequencer = sequencer();
    let batch = sequencer.push(crate::clock::mark(), container(vec![own(101)], 3));
    assert_eq!(pts_of(&batch), [101], "what has a pts is ordered by it");
    assert_eq!(wanted(&sequencer), [Sequence::Common]);
}

#[test]
fn channels_that_nobody_follows_are_nobodys_concern() {
    let mut sequencer = sequencer();
    let of_another = tl::types::UpdateDeleteChannelMessages { channel_id: 7, messages: vec![1], pts: 900, pts_count: 1 };
    assert!(sequencer.push(crate::clock::mark(), pushed(of_another.into())).is_empty());
    let too_long = tl::types::UpdateChannelTooLong { channel_id: 7, pts: Some(9) };
    assert!(sequencer.push(crate::clock::mark(), pushed(too_long.into())).is_empty());
    assert_eq!(wanted(&sequencer), []);
    sequencer.unfollow(CHANNEL);
    assert!(sequencer.push(crate::clock::mark(), pushed(deleted(11))).is_empty());
}

#[test]
fn too_much_to_be_pushed_puts_everything_in_doubt() {
    let mut sequencer = sequencer();
    assert!(sequencer.push(crate::clock::mark(), tl::enums::Updates::TooLong).is_empty());
    assert_eq!(wanted(&sequencer), [Sequence::Common, Sequence::Channel(CHANNEL)]);
}

proptest! {
    /// Whatever is lost, doubled or late on the way: with the differences that are asked for, everything is taken, in order, once.
    #[test]
    fn everything_is_taken_in_order_and_once(fates in prop::collection::vec(0_u8..6, 1..120), slice in 1_usize..7) {
        let mut sequencer = sequencer();
        let now = crate::clock::mark();
        let mut taken: Vec<i32> = Vec::new();
        let mut late: Vec<Update> = Vec::new();
        let last = 10 + fates.len() as i32;
        let mut position = 10;
        let mut take = |batch: Batch| {
            for moved in &batch.channels {
                assert_eq!(moved.before, position);
                position = moved.after;
            }
            taken.extend(pts_of(&batch));
        };
        for (at, fate) in fates.iter().enumerate() {
            let update = deleted(11 + at as i32);
            match fate {
                0 => {}
                1 => late.push(update),
                2 => {
                    take(sequencer.push(now, pushed(update.clone())));
                    take(sequencer.push(now, pushed(update)));
                }
                3 => {
                    take(sequencer.push(now, pushed(update)));
                    for update in late.drain(..).rev() {
                        take(sequencer.push(now, pushed(update)));
                    }
                }
                _ => take(sequencer.push(now, pushed(update))),
            }
        }
        // A round puts it in doubt.
        sequencer.doubt(Sequence::Channel(CHANNEL));
        while sequencer.wanted().next().is_some() {
            let from = sequencer.pts_of(CHANNEL).unwrap_or(0);
            let to = last.min(from + slice as i32);
            let answer = tl::types::updates::ChannelDifference {
                r#final: to == last,
                pts: to,
                timeout: None,
                new_messages: Vec::new(),
                other_updates: (from + 1..=to).map(deleted).collect(),
                chats: Vec::new(),
                users: Vec::new(),
            };
            take(sequencer.channel_difference(CHANNEL, answer.into()));
        }
        for update in late {
            take(sequencer.push(now, pushed(update)));
        }
        prop_assert_eq!(taken, (11..=last).collect::<Vec<_>>());
    }
}
