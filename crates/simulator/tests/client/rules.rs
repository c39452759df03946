//! A greedy client produces each violation.

use std::time::Duration;

use telekeep_simulator::{AccountRequest, Limit, Offence, Rules, Violation};
use tl::functions as f;

use super::*;

/// Long enough that a call was not on its way when the refusal was sent.
const TOLD: Duration = Duration::from_millis(400);

async fn strict(rules: Rules) -> (Simulator, Client) {
    let simulator = Simulator::start(world().under(rules), Options::default()).await.expect("starts");
    let client = member(&simulator);
    (simulator, client)
}

fn offences(simulator: &Simulator) -> Vec<(String, Offence)> {
    simulator.violations().into_iter().map(|violation| (violation.method, violation.offence)).collect()
}

fn exceeded(simulator: &Simulator) -> Vec<Limit> {
    let limit = |violation: Violation| match violation.offence {
        Offence::Exceeded { limit } => Some(limit),
        _ => None,
    };
    simulator.violations().into_iter().filter_map(limit).collect()
}

#[tokio::test]
async fn who_reads_on_before_the_deadline_is_listed_and_refused() {
    let (simulator, client) = strict(Rules { history_messages: 150, history_seconds: 2.0, ..Rules::default() }).await;
    let input = resolved(&client, "harbour").await;
    let read = async || client.invoke(&get_history(peer(&input))).await;
    for _ in 0..2 {
        read().await.expect("within the limit");
    }
    assert_eq!(refused(read().await), "FLOOD_WAIT_2");
    // two calls that were on their way together are one fault, not two
    assert_eq!(refused(read().await), "FLOOD_WAIT_2");
    assert_eq!(exceeded(&simulator), [Limit::History]);
    assert_eq!(simulator.violations().len(), 1);
    tokio::time::sleep(TOLD).await;
    assert_eq!(refused(read().await), "FLOOD_WAIT_2");
    let (method, offence) = offences(&simulator).pop().expect("is listed");
    assert!(matches!(offence, Offence::BeforeDeadline { early_ms: 1..=1_700 }), "{offence:?}");
    assert_eq!(method, "messages.getHistory");
    tokio::time::sleep(Duration::from_secs(2)).await;
    read().await.expect("the wait is over");
    assert_eq!(simulator.violations().len(), 2);
}

#[tokio::test]
async fn what_others_see_is_answered_and_listed() {
    let (simulator, client) = strict(Rules::default()).await;
    let input = resolved(&client, "harbour").await;
    let channel: tl::enums::InputChannel = input.clone().into();
    let peer = peer(&input);
    assert!(client.invoke(&f::channels::ReadHistory { channel, max_id: 5 }).await.expect("is answered"));
    client.invoke(&f::messages::ReadHistory { peer: peer.clone(), max_id: 5 }).await.expect("is answered");
    let action = tl::enums::SendMessageAction::SendMessageTypingAction;
    assert!(client.invoke(&f::messages::SetTyping { peer: peer.clone(), top_msg_id: None, action }).await.expect("is answered"));
    assert!(client.invoke(&f::account::UpdateStatus { offline: false }).await.expect("is answered"));
    assert_eq!(refused(client.invoke(&forwarding(peer)).await), "CHAT_WRITE_FORBIDDEN");
    let expected =
        ["channels.readHistory", "messages.readHistory", "messages.setTyping", "account.updateStatus", "messages.forwardMessages"];
    assert_eq!(offences(&simulator), expected.map(|method| (method.to_owned(), Offence::Conspicuous)));
}

fn forwarding(peer: tl::enums::InputPeer) -> f::messages::ForwardMessages {
    f::messages::ForwardMessages {
        silent: false,
        background: false,
        with_my_score: false,
        drop_author: false,
        drop_media_captions: false,
        noforwards: false,
        allow_paid_floodskip: false,
        from_ephemeral: false,
        from_peer: peer.clone(),
        id: vec![1],
        random_id: vec![1],
        to_peer: peer,
        top_msg_id: None,
        reply_to: None,
        schedule_date: None,
        schedule_repeat_period: None,
        send_as: None,
        quick_reply_shortcut: None,
        effect: None,
        video_timestamp: None,
        allow_paid_stars: None,
        suggested_post: None,
    }
}

#[tokio::test]
async fn resolutions_and_dialogs_have_their_day() {
    let (simulator, client) = strict(Rules { resolves_a_day: 2, dialogs_an_hour: 1, patience: 2, ..Rules::default() }).await;
    let resolve = async || client.invoke(&f::contacts::ResolveUsername { username: "harbour".to_owned(), referer: None }).await;
    for _ in 0..2 {
        resolve().await.expect("within the limit");
    }
    assert!(refused(resolve().await).starts_with("FLOOD_WAIT_86"));
    let first_ten = f::messages::GetDialogs {
        exclude_pinned: false,
        folder_id: None,
        offset_date: 0,
        offset_id: 0,
        offset_peer: tl::enums::InputPeer::Empty,
        limit: 10,
        hash: 0,
    };
    let dialogs = || client.invoke(&first_ten);
    dialogs().await.expect("within the limit");
    assert!(refused(dialogs().await).starts_with("FLOOD_WAIT_3"));
    assert_eq!(exceeded(&simulator), [Limit::Resolves, Limit::Dialogs]);
    tokio::time::sleep(TOLD).await;
    assert!(refused(dialogs().await).starts_with("FLOOD_WAIT_3"));
    // the patience is over: waiting does not help any more
    simulator.set_rules(Some(Rules { patience: 2, ..Rules::default() })).expect("are sound");
    let join = f::channels::JoinChannel { channel: tl::types::InputChannel { channel_id: 1, access_hash: 0 }.into() };
    assert_eq!(refused(client.invoke(&join).await), "PEER_FLOOD");
}

#[tokio::test]
async fn joins_files_and_counted_views_are_limited_too() {
    let rules = Rules { seconds_between_joins: 60.0, chats: 3, file_bytes_a_second: Some(1), ..Rules::default() };
    let (simulator, client) = strict(rules).await;
    let harbour = resolved(&client, "harbour").await;
    let join = |channel: &tl::types::InputChannel| f::channels::JoinChannel { channel: channel.clone().into() };
    // the keeper is in three channels and supergroups already
    assert_eq!(refused(client.invoke(&join(&harbour)).await), "CHANNELS_TOO_MUCH");
    let outside = AccountRequest { chats: Some(Vec::new()), ..AccountRequest::named("outside") };
    let guest = crate::client(&simulator.account_with(&outside).expect("an account"));
    let (harbour, quay) = (resolved(&guest, "harbour").await, resolved(&guest, "quay").await);
    guest.invoke(&join(&harbour)).await.expect("the first");
    assert_eq!(refused(guest.invoke(&join(&quay)).await), "FLOOD_WAIT_60");

    let views = f::messages::GetMessagesViews { peer: peer(&harbour), id: vec![1], increment: true };
    guest.invoke(&views).await.expect("is answered");
    let page = guest.invoke(&get_history(peer(&harbour))).await.expect("a member reads");
    let location = content(&page).iter().find_map(photo_location).expect("a photo");
    let part = f::upload::GetFile { precise: false, cdn_supported: false, location, offset: 0, limit: 4096 };
    guest.invoke(&part).await.expect("the first part");
    assert_eq!(refused(guest.invoke(&part).await), "FLOOD_PREMIUM_WAIT_1");

    assert_eq!(exceeded(&simulator), [Limit::Chats, Limit::Joins, Limit::Files]);
    assert!(offences(&simulator).contains(&("messages.getMessagesViews".to_owned(), Offence::Conspicuous)));
}

fn photo_location(message: &tl::enums::Message) -> Option<tl::enums::InputFileLocation> {
    let tl::enums::Message::Message(message) = message else { return None };
    let Some(tl::enums::MessageMedia::Photo(media)) = &message.media else { return None };
    let Some(tl::enums::Photo::Photo(photo)) = &media.photo else { return None };
    let (id, access_hash, file_reference) = (photo.id, photo.access_hash, photo.file_reference.clone());
    let thumb_size = "s".to_owned();
    Some(tl::types::InputPhotoFileLocation { id, access_hash, file_reference, thumb_size }.into())
}

#[tokio::test]
async fn a_takeout_begins_after_its_delay() {
    let (simulator, client) = strict(Rules { takeout_delay_seconds: 1.0, ..Rules::default() }).await;
    let whole = f::account::InitTakeoutSession {
        contacts: false,
        message_users: true,
        message_chats: true,
        message_megagroups: true,
        message_channels: true,
        files: false,
        file_max_size: None,
    };
    let init = || client.invoke(&whole);
    assert_eq!(refused(init().await), "TAKEOUT_INIT_DELAY_1");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let tl::enums::account::Takeout::Takeout(takeout) = init().await.expect("the delay is over");
    let input = resolved(&client, "harbour").await;
    let query = f::InvokeWithTakeout { takeout_id: takeout.id, query: get_history(peer(&input)) };
    assert_eq!(ids(&client.invoke(&query).await.expect("reads")).len(), 100);
    assert!(simulator.violations().is_empty());
}

#[tokio::test]
async fn a_wait_that_a_test_injects_is_watched() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let input = resolved(&client, "harbour").await;
    simulator.flood("messages.getHistory", 9, 1);
    assert_eq!(refused(client.invoke(&get_history(peer(&input))).await), "FLOOD_WAIT_9");
    tokio::time::sleep(TOLD).await;
    client.invoke(&get_history(peer(&input))).await.expect("is answered all the same");
    assert!(matches!(offences(&simulator)[..], [(_, Offence::BeforeDeadline { early_ms: 8_000..=8_600 })]));
}
