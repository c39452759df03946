//! Floods, cuts, delays, restarts, unknown methods and keys.

use std::time::Duration;

use telekeep_simulator::{AccountRequest, Fault, Rules};

use super::*;

#[tokio::test]
async fn injected_floods_and_errors_hit_as_often_as_asked() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let input = resolved(&client, "harbour").await;
    simulator.flood("messages.getHistory", 37, 2);
    for _ in 0..2 {
        assert_eq!(refused(client.invoke(&get_history(peer(&input))).await), "FLOOD_WAIT_37");
    }
    client.invoke(&get_history(peer(&input))).await.expect("the flood is over");
    simulator.fail(Fault::error(400, "CHANNEL_PRIVATE").of("messages.getHistory").times(1));
    assert_eq!(refused(client.invoke(&get_history(peer(&input))).await), "CHANNEL_PRIVATE");
    let counts = simulator.call_counts();
    assert_eq!(counts.methods["messages.getHistory"], 4);
    assert_eq!(counts.accounts["keeper"]["messages.getHistory"], 4);
    assert_eq!(counts.floods["messages.getHistory"], 2);
}

#[tokio::test]
async fn the_standing_limit_floods_who_reads_too_fast() {
    let rules = Rules { history_messages: 150, history_seconds: 600.0, multiple: 20.0, ..Rules::default() };
    let simulator = Simulator::start(world().under(rules), Options::default()).await.expect("starts");
    let client = member(&simulator);
    let input = resolved(&client, "harbour").await;
    for _ in 0..2 {
        client.invoke(&get_history(peer(&input))).await.expect("within the limit");
    }
    assert!(refused(client.invoke(&get_history(peer(&input))).await).starts_with("FLOOD_WAIT_"));
}

#[tokio::test]
async fn a_cut_connection_fails_and_the_next_call_connects_again() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let input = resolved(&client, "harbour").await;
    simulator.set_latency(Duration::from_secs(60));
    let waiting = tokio::spawn({
        let (client, call) = (client.clone(), get_history(peer(&input)));
        async move { client.invoke(&call).await }
    });
    while simulator.calls("messages.getHistory") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    simulator.cut();
    assert!(matches!(waiting.await.expect("no panic"), Err(InvocationError::Io(_))));
    simulator.set_latency(Duration::ZERO);
    client.invoke(&get_history(peer(&input))).await.expect("connects again");
}

#[tokio::test]
async fn answers_are_delayed_side_by_side() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let input = resolved(&client, "harbour").await;
    simulator.set_latency(Duration::from_millis(300));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, call) = (client.clone(), get_history(peer(&input)));
        calls.spawn(async move { client.invoke(&call).await.map(|page| ids(&page).len()) });
    }
    let early = tokio::time::timeout(Duration::from_millis(200), calls.join_next()).await;
    assert!(early.is_err(), "an answer was not delayed");
    // One after the other they would take 2.4 s.
    let all = tokio::time::timeout(Duration::from_millis(1800), calls.join_all()).await.expect("in time");
    assert_eq!(all.into_iter().map(|page| page.expect("a page")).collect::<Vec<_>>(), [100; 8]);
}

#[tokio::test]
async fn a_ping_is_answered_and_a_silent_client_is_disconnected() {
    let simulator = simulator().await;
    let client = member(&simulator);
    let tl::enums::Pong::Pong(pong) = client.invoke(&tl::functions::Ping { ping_id: 42 }).await.expect("a pong");
    assert_eq!(pong.ping_id, 42);
    client.invoke(&tl::functions::PingDelayDisconnect { ping_id: 43, disconnect_delay: 1 }).await.expect("a pong");
    simulator.set_latency(Duration::from_secs(60));
    let waiting = client.invoke(&tl::functions::updates::GetState {});
    let ended = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("is cut off");
    assert!(matches!(ended, Err(InvocationError::Io(_))));
}

#[tokio::test]
async fn an_unknown_method_is_refused_and_counted_and_wrappers_are_taken_off() {
    let simulator = simulator().await;
    let client = member(&simulator);
    assert_eq!(
        refused(client.invoke(&tl::functions::help::GetCountriesList { lang_code: "en".to_owned(), hash: 0 }).await),
        "METHOD_INVALID"
    );
    assert_eq!(simulator.call_counts().unknown["help.getCountriesList"], 1);

    let wrapped = tl::functions::InvokeWithTakeout {
        takeout_id: 1,
        query: tl::functions::InvokeWithoutUpdates { query: tl::functions::updates::GetState {} },
    };
    client.invoke(&wrapped).await.expect("the state");
    assert_eq!(simulator.calls("updates.getState"), 1);
}

#[tokio::test]
async fn a_restart_with_the_same_state_knows_keys_and_deletions() {
    let directory = std::env::temp_dir().join(format!("telekeep-simulator-restart-{}", std::process::id()));
    let options = Options { state: Some(directory.clone()), ..Options::default() };
    let first = Simulator::start(world(), options.clone()).await.expect("starts");
    let session = first.account("keeper").expect("an account");
    let harbour = chat(&first, "Harbour");
    let (id, top) = (harbour.id, harbour.top());
    first.delete(id, &[top]).expect("deletes");
    let options = Options { listen: first.addr(), ..options };
    drop(first);

    let second = loop {
        match Simulator::start(world(), options.clone()).await {
            Ok(second) => break second,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(second.account("keeper").expect("an account"), session);
    client(&session).get_me().await.expect("the key is known");
    assert!(chat(&second, "Harbour").top() < top);
    std::fs::remove_dir_all(&directory).expect("removes");
}

#[tokio::test]
async fn an_unknown_key_is_answered_with_404() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let simulator = simulator().await;
    let mut stream = tokio::net::TcpStream::connect(simulator.addr()).await.expect("connects");
    // Intermediate transport, a key id that nobody has.
    let mut packet = vec![0xee; 4];
    packet.extend_from_slice(&56_u32.to_le_bytes());
    packet.extend_from_slice(&[9; 56]);
    stream.write_all(&packet).await.expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("reads");
    assert_eq!(answer, [4_i32.to_le_bytes(), (-404_i32).to_le_bytes()].concat());
    // Nobody else is disturbed.
    client(&simulator.account_with(&AccountRequest::named("other")).expect("an account")).get_me().await.expect("me");
}
