//! Differences: in slices, empty, too long.

use super::*;

pub(super) fn channel_difference(
    channel: tl::enums::InputChannel,
    pts: i32,
    limit: i32,
) -> tl::functions::updates::GetChannelDifference {
    let filter = tl::enums::ChannelMessagesFilter::Empty;
    tl::functions::updates::GetChannelDifference { force: false, channel, filter, pts, limit }
}

fn difference(pts: i32) -> tl::functions::updates::GetDifference {
    tl::functions::updates::GetDifference { pts, pts_limit: None, pts_total_limit: None, date: 1, qts: 0, qts_limit: None }
}

#[tokio::test]
async fn a_channel_is_caught_up_with_in_slices_from_before_its_first_event() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let harbour = chat(&simulator, "Harbour");
    let channel: tl::enums::InputChannel = resolved(&client, "harbour").await.into();
    let mut pts = harbour.pts() - 30;
    let posted: Vec<i32> = (0..25).map(|n| play(&simulator, post(harbour.id, &format!("number {n}")))[0]).collect();
    play(&simulator, Event::Edit { chat: harbour.id, id: 7, text: "an old one".to_owned() });
    play(&simulator, Event::Delete { chat: harbour.id, ids: vec![posted[3], 9] });

    let (mut messages, mut edited, mut gone, mut slices) = (Vec::new(), Vec::new(), Vec::new(), 0);
    loop {
        let call = channel_difference(channel.clone(), pts, 10);
        let tl::enums::updates::ChannelDifference::Difference(slice) = client.invoke(&call).await.expect("a slice") else {
            panic!("no difference")
        };
        slices += 1;
        messages.extend(slice.new_messages.iter().map(tl::enums::Message::id));
        for update in slice.other_updates {
            match update {
                tl::enums::Update::EditChannelMessage(edit) => edited.push(edit.message.id()),
                tl::enums::Update::DeleteChannelMessages(deleted) => gone.extend(deleted.messages),
                other => panic!("another update: {other:?}"),
            }
        }
        assert!(slice.pts > pts);
        pts = slice.pts;
        if slice.r#final {
            break;
        }
    }
    assert_eq!(pts, harbour.pts());
    let wanted: Vec<i32> = harbour.ids_from(posted[0] - 30).collect();
    assert_eq!(messages, wanted);
    assert_eq!((edited, gone), (vec![7], vec![posted[3], 9]));
    assert_eq!(slices, 6);
    let empty = client.invoke(&channel_difference(channel.clone(), pts, 10)).await.expect("an answer");
    let tl::enums::updates::ChannelDifference::Empty(empty) = empty else { panic!("not empty") };
    assert_eq!((empty.pts, empty.r#final), (pts, true));
    let wrong = channel_difference(channel, pts + 1, 10);
    assert_eq!(refused(client.invoke(&wrong).await), "PERSISTENT_TIMESTAMP_INVALID");
}

#[tokio::test]
async fn who_missed_too_much_is_told_so() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let (harbour, group) = (chat(&simulator, "Harbour"), chat(&simulator, "Night shift").id);
    let channel: tl::enums::InputChannel = resolved(&client, "harbour").await.into();
    simulator.set_update_rules(UpdateRules { too_long: 5, channel_too_long: 5, ..UpdateRules::default() });
    let tl::enums::updates::State::State(state) = client.invoke(&tl::functions::updates::GetState {}).await.expect("a state");
    let pts = harbour.pts();
    for n in 0..6 {
        play(&simulator, post(harbour.id, &format!("number {n}")));
        play(&simulator, post(group, &format!("number {n}")));
    }
    let told = client.invoke(&channel_difference(channel, pts, 100)).await.expect("an answer");
    let tl::enums::updates::ChannelDifference::TooLong(told) = told else { panic!("not too long") };
    let tl::enums::Dialog::Dialog(dialog) = told.dialog else { panic!("a folder") };
    assert_eq!((dialog.pts, dialog.top_message), (Some(harbour.pts()), harbour.top()));
    assert_eq!(told.messages.first().map(tl::enums::Message::id), Some(harbour.top()));

    let told = client.invoke(&difference(state.pts)).await.expect("an answer");
    let tl::enums::updates::Difference::TooLong(told) = told else { panic!("not too long") };
    assert_eq!(told.pts, state.pts + 6);
    // Of the account's own box nothing is missing; of the channel it is told only that it changed.
    let told = client.invoke(&difference(told.pts)).await.expect("an answer");
    let tl::enums::updates::Difference::Difference(told) = told else { panic!("{told:?}") };
    assert!(told.new_messages.is_empty(), "{told:?}");
    assert!(matches!(told.other_updates[..], [tl::enums::Update::ChannelTooLong(_)]), "{told:?}");
    let few = tl::functions::updates::GetDifference { pts_total_limit: Some(2), ..difference(state.pts + 2) };
    let told = client.invoke(&few).await.expect("an answer");
    assert!(matches!(told, tl::enums::updates::Difference::TooLong(_)), "{told:?}");
}

#[tokio::test]
async fn the_accounts_own_box_comes_in_slices_and_numbers_its_own_way() {
    let simulator = simulator().await;
    simulator.account("keeper").expect("an account");
    let client = client(&simulator.account("second").expect("an account"));
    let group = chat(&simulator, "Night shift").id;
    simulator.set_update_rules(UpdateRules { slice: 4, ..UpdateRules::default() });
    let tl::enums::updates::State::State(state) = client.invoke(&tl::functions::updates::GetState {}).await.expect("a state");
    for n in 0..9 {
        play(&simulator, post(group, &format!("number {n}")));
    }
    play(&simulator, Event::Rename { user: AUTHOR, first_name: Some("Another".to_owned()), last_name: None, username: None });

    // From ten before the first event on.
    let (mut pts, mut told, mut renamed, mut slices) = (state.pts - 10, Vec::new(), 0, 0);
    loop {
        slices += 1;
        let (messages, updates, state, is_last) = match client.invoke(&difference(pts)).await.expect("a slice") {
            tl::enums::updates::Difference::Slice(slice) => {
                (slice.new_messages, slice.other_updates, slice.intermediate_state, false)
            }
            tl::enums::updates::Difference::Difference(all) => (all.new_messages, all.other_updates, all.state, true),
            other => panic!("no difference: {other:?}"),
        };
        told.extend(messages.iter().map(tl::enums::Message::id));
        renamed += updates.iter().filter(|update| matches!(update, tl::enums::Update::UserName(_))).count();
        let tl::enums::updates::State::State(state) = state;
        assert!(state.pts > pts || is_last);
        pts = state.pts;
        if is_last {
            assert_eq!(state.seq, 2);
            break;
        }
    }
    assert!(slices > 2);
    assert_eq!((pts, renamed), (state.pts + 9, 1));
    let truth = simulator.truth_of("second", group).expect("the chat");
    let wanted = truth.iter().map(|truth| truth.content.message_id).filter(|id| *id >= state.pts - 10).collect::<Vec<_>>();
    assert_eq!(told, wanted);
}
