//! Sessions: acknowledgements, resends, refused messages.

use std::time::Duration;

use grammers_tl_types::Serializable;

use super::raw::{Raw, Received, container, gzip, id_now, message};
use super::*;

const GET_STATE: tl::functions::updates::GetState = tl::functions::updates::GetState {};

/// A session whose salt is right.
async fn session(simulator: &Simulator) -> Raw {
    let mut raw = Raw::of(&simulator.account("keeper").expect("an account")).await;
    raw.call(&GET_STATE).await.expect("answers");
    raw.next_of::<tl::types::NewSessionCreated>().await;
    raw.received.clear();
    let received = std::mem::take(&mut raw.unacknowledged);
    raw.acknowledge(received).await;
    raw
}

fn is_result(told: &Received) -> bool {
    told.constructor() == 0xf35c_6d01
}

/// The same session over a new connection.
async fn again(simulator: &Simulator, before: Raw) -> Raw {
    Raw::of(&simulator.account("keeper").expect("an account")).await.instead_of(before)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_were_not_acknowledged_come_again_after_a_reconnect() {
    let simulator = simulator().await;
    let mut raw = session(&simulator).await;
    let first = raw.send(&GET_STATE.to_bytes()).await;
    let answer = raw.next(is_result).await;
    let second = raw.send(&GET_STATE.to_bytes()).await;
    let other = raw.next(is_result).await;
    assert_eq!((answer.seq_no % 2, other.seq_no), (1, answer.seq_no + 2));
    assert_ne!(first, second);
    raw.acknowledge(vec![answer.id]).await;
    let ping = tl::functions::Ping { ping_id: 1 };
    raw.tell(&ping.to_bytes()).await;
    raw.next_of::<tl::types::Pong>().await;

    let mut raw = again(&simulator, raw).await;
    raw.tell(&ping.to_bytes()).await;
    let told = raw.next(is_result).await;
    assert_eq!((told.id, told.seq_no, &told.body), (other.id, other.seq_no, &other.body));
    raw.next_of::<tl::types::Pong>().await;
    assert!(!raw.received.iter().any(|told| is_result(told) || told.is::<tl::types::NewSessionCreated>()));
    assert_eq!(simulator.calls("updates.getState"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_made_while_nobody_listened_comes_after_the_reconnect() {
    let simulator = simulator().await;
    let mut raw = session(&simulator).await;
    simulator.set_latency(Duration::from_millis(200));
    let request = raw.send(&GET_STATE.to_bytes()).await;
    while simulator.calls("updates.getState") < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    simulator.cut();
    let mut raw = again(&simulator, raw).await;
    raw.tell(&tl::functions::Ping { ping_id: 1 }.to_bytes()).await;
    raw.result(request).await.expect("the answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_message_is_answered_once_and_its_answer_told_again() {
    let simulator = simulator().await;
    let mut raw = session(&simulator).await;
    let (id, seq_no) = (raw.next_id(), raw.next_seq_no());
    raw.send_as(id, seq_no, &GET_STATE.to_bytes()).await;
    let answer = raw.next(is_result).await;
    raw.send_as(id, seq_no, &GET_STATE.to_bytes()).await;
    assert_eq!(raw.next(is_result).await.id, answer.id);
    assert_eq!(simulator.calls("updates.getState"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_refused_by_their_ids_and_numbers() {
    let simulator = simulator().await;
    let mut raw = session(&simulator).await;
    let ping = tl::functions::Ping { ping_id: 1 }.to_bytes();
    let now = id_now();
    let day = 86_400_i64 << 32;
    let high = raw.next_seq_no() + 20;
    raw.send_as(now, high, &GET_STATE.to_bytes()).await;
    let inner = |id| message(id, high + 1, &ping);
    let nested = container(&[message(now + 40, high + 1, &container(&[]))]);
    for (id, seq_no, body, code) in [
        (now - day, 2, ping.clone(), 16),
        (now + day, 2, ping.clone(), 17),
        (now + 5, high + 1, ping.clone(), 18),
        (now + 8, high - 2, GET_STATE.to_bytes(), 32),
        (now - 8, high + 2, GET_STATE.to_bytes(), 33),
        (now + 12, high + 2, tl::enums::MsgsAck::Ack(tl::types::MsgsAck { msg_ids: vec![1] }).to_bytes(), 34),
        (now + 16, high + 2, container(&[inner(now + 4)]), 34),
        (now + 16, high + 1, GET_STATE.to_bytes(), 35),
        (now + 20, high + 1, container(&[inner(now + 24)]), 64),
        (now + 48, high + 1, nested, 64),
        (now + 48, high + 1, [container(&[])[..4].to_vec(), vec![9, 0, 0, 0]].concat(), 64),
    ] {
        raw.send_as(id, seq_no, &body).await;
        let bad = raw.next_of::<tl::types::BadMsgNotification>().await;
        assert_eq!(bad.error_code, code, "id {} from now, seq_no {}", id - now, seq_no - high);
    }
    let outer = now + 80;
    for code in [None, Some(19)] {
        raw.send_as(outer, high + 1, &container(&[inner(now + 60), message(now + 64, high + 1, &ping)])).await;
        match code {
            None => assert_eq!(raw.next_of::<tl::types::Pong>().await.ping_id, 1),
            Some(code) => assert_eq!(raw.next_of::<tl::types::BadMsgNotification>().await.error_code, code),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_and_sent_is_told_on_request() {
    let simulator = simulator().await;
    let mut raw = session(&simulator).await;
    let packed = gzip(&tl::functions::InvokeWithoutUpdates { query: GET_STATE }.to_bytes());
    let request = raw.send(&gzip(&[])).await;
    assert_eq!(raw.result(request).await.unwrap_err(), "400 METHOD_INVALID");
    let request = raw.send(&packed).await;
    let answer = raw.next(is_result).await;

    let unknown = request + 400;
    let ask = tl::enums::MsgsStateReq::Req(tl::types::MsgsStateReq { msg_ids: vec![request, request + 4, unknown] });
    raw.send(&ask.to_bytes()).await;
    assert_eq!(raw.next_of::<tl::types::MsgsStateInfo>().await.info[0], 4);
    let resend = |ids: Vec<i64>| tl::enums::MsgResendReq::Req(tl::types::MsgResendReq { msg_ids: ids }).to_bytes();
    raw.send(&resend(vec![answer.id])).await;
    assert_eq!(raw.next(is_result).await.id, answer.id);
    raw.send(&resend(vec![answer.id + 4])).await;
    raw.next_of::<tl::types::MsgsStateInfo>().await;

    let dropped = |request| tl::functions::RpcDropAnswer { req_msg_id: request }.to_bytes();
    let drop_request = raw.send(&dropped(request)).await;
    let told = raw.result(drop_request).await.expect("is told");
    let tl::enums::RpcDropAnswer::RpcAnswerDropped(told) = tl::Deserializable::from_bytes(&told).expect("reads") else {
        panic!("was not dropped")
    };
    assert_eq!(told.msg_id, answer.id);
    simulator.set_latency(Duration::from_millis(300));
    let slow = raw.send(&GET_STATE.to_bytes()).await;
    let drop_request = raw.send(&dropped(slow)).await;
    let told = raw.result(drop_request).await.expect("is told");
    assert_eq!(told, tl::enums::RpcDropAnswer::RpcAnswerDroppedRunning.to_bytes());
    let last = raw.send(&GET_STATE.to_bytes()).await;
    raw.result(last).await.expect("answers");
    assert!(!raw.received.iter().any(is_result), "a dropped answer was sent");

    raw.send(&tl::functions::DestroySession { session_id: 77 }.to_bytes()).await;
    raw.next_of::<tl::types::DestroySessionNone>().await;
    let tl::types::DestroySessionNone { session_id: _ } = {
        let other = session(&simulator).await;
        raw.send(&tl::functions::DestroySession { session_id: other.session }.to_bytes()).await;
        raw.next_of::<tl::types::DestroySessionOk>().await;
        raw.send(&tl::functions::DestroySession { session_id: other.session }.to_bytes()).await;
        raw.next_of().await
    };
}
