//! What no client would send: the process goes on.

use std::time::Duration;

use grammers_tl_types::Serializable;
use rand::{Rng, RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::raw::{Raw, container, gzip, message};
use super::*;

const GET_STATE: tl::functions::updates::GetState = tl::functions::updates::GetState {};

/// Writes, closes the writing side and reads to the end.
async fn answer_to(simulator: &Simulator, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(simulator.addr()).await.expect("connects");
    // The server may be quicker with closing.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await.expect("ends");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_are_survived() {
    let simulator = simulator().await;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let mut rounds = 0;
    let nonsense = async {
        loop {
            let tags: [&[u8]; 5] = [&[], &[0xef], &[0xee; 4], &[0xdd; 4], &[]];
            let mut bytes = tags[random.random_range(0..5)].to_vec();
            let from = bytes.len();
            bytes.resize(from + random.random_range(0..2000), 0);
            random.fill_bytes(&mut bytes[from..]);
            if rounds % 3 == 0 && bytes.len() > from + 12 {
                // A plausible length in front, and the key id of a key exchange.
                let length = (bytes.len() - from - 4) as u32;
                bytes[from..from + 4].copy_from_slice(&length.to_le_bytes());
                bytes[from + 4..from + 12].fill(0);
            }
            answer_to(&simulator, &bytes).await;
            rounds += 1;
        }
    };
    let _: Result<(), _> = tokio::time::timeout(Duration::from_secs(3), nonsense).await;
    assert!(rounds > 20, "only {rounds} rounds");
    member(&simulator).invoke(&GET_STATE).await.expect("goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_lengths_and_message_keys_end_the_connection() {
    let simulator = simulator().await;
    let session = simulator.account("keeper").expect("an account");
    let refusal = [4_i32.to_le_bytes(), (-404_i32).to_le_bytes()].concat();
    let key_id: [u8; 8] = sha1_id(&raw::key_of(&session));
    let packet = |payload: &[u8]| [&[0xee; 4], &(payload.len() as u32).to_le_bytes()[..], payload].concat();
    assert_eq!(answer_to(&simulator, &packet(&[[7; 8].to_vec(), vec![1; 48]].concat())).await, refusal);
    assert_eq!(answer_to(&simulator, &packet(&[key_id.to_vec(), vec![1; 48]].concat())).await, refusal);
    assert_eq!(answer_to(&simulator, &packet(&[key_id.to_vec(), vec![1; 21]].concat())).await, refusal);
    assert_eq!(answer_to(&simulator, &packet(&[0; 12])).await, refusal);
    assert_eq!(answer_to(&simulator, &[[0xee; 4], 0x7fff_ffff_u32.to_le_bytes()].concat()).await, b"");
    assert_eq!(answer_to(&simulator, &[0xef, 0x7f, 0xff, 0xff, 0xff]).await, b"");
    assert_eq!(answer_to(&simulator, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4).as_slice()).await, b"");

    // A session that goes on is not disturbed by another connection's nonsense.
    let mut raw = Raw::of(&session).await;
    raw.call(&GET_STATE).await.expect("answers");
}

fn sha1_id(key: &[u8; 256]) -> [u8; 8] {
    use sha1::Digest;
    sha1::Sha1::digest(key)[12..].try_into().expect("eight bytes")
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_bombs_are_refused() {
    let simulator = simulator().await;
    let session = simulator.account("keeper").expect("an account");
    let bomb = gzip(&vec![0; 40 << 20]);
    assert!(bomb.len() < 64 << 10);
    let mut raw = Raw::of(&session).await;
    raw.call(&GET_STATE).await.expect("answers");
    raw.send(&bomb).await;
    assert_eq!(raw.transport_error_after_messages().await, Some(-404));

    // Many small ones in one packet are bounded together; one inside of a call is the call's own mistake.
    let mut raw = Raw::of(&session).await.with(rand::random(), raw.salt);
    let part = gzip(&vec![0; 12 << 20]);
    let messages: Vec<_> = (0..8).map(|_| message(raw.next_id(), raw.next_seq_no(), &part)).collect();
    raw.tell(&container(&messages)).await;
    assert_eq!(raw.transport_error_after_messages().await, Some(-404));
    let mut raw = Raw::of(&session).await.with(rand::random(), raw.salt);
    let mut wrapped = tl::functions::InvokeWithoutUpdates { query: tl::functions::help::GetConfig {} }.to_bytes();
    wrapped.splice(4.., bomb);
    let request = raw.send(&wrapped).await;
    assert_eq!(raw.result(request).await.unwrap_err(), "400 INPUT_REQUEST_GZIP_INVALID");
    let mut nested = GET_STATE.to_bytes();
    for _ in 0..40 {
        nested = gzip(&nested);
    }
    let request = raw.send(&nested).await;
    assert_eq!(raw.result(request).await.unwrap_err(), "400 INPUT_REQUEST_TOO_LONG");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_random_bytes_are_refused_one_by_one() {
    let simulator = simulator().await;
    let mut raw = Raw::of(&simulator.account("keeper").expect("an account")).await;
    raw.call(&GET_STATE).await.expect("answers");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    let known: Vec<Vec<u8>> = vec![
        GET_STATE.to_bytes(),
        tl::functions::help::GetConfig {}.to_bytes(),
        get_history(tl::enums::InputPeer::PeerSelf).to_bytes(),
        tl::functions::account::GetAuthorizations {}.to_bytes(),
        tl::functions::auth::ExportAuthorization { dc_id: 2 }.to_bytes(),
    ];
    for round in 0..400 {
        let mut body = known[round % known.len()].clone();
        let length = body.len();
        body.resize(length + 4 * random.random_range(0..16), 0);
        if round % 2 == 0 && length > 4 {
            random.fill_bytes(&mut body[4..]);
        } else {
            body.truncate(4 + random.random_range(0..=body.len() - 4) / 4 * 4);
        }
        let request = raw.send(&body).await;
        // Refused or answered, but told.
        let _ = raw.result(request).await;
    }
    raw.call(&GET_STATE).await.expect("goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_and_never_reads_is_not_read_from_any_more() {
    let simulator = simulator().await;
    let session = simulator.account("keeper").expect("an account");
    let mut raw = Raw::of(&session).await;
    raw.call(&GET_STATE).await.expect("answers");
    let input = resolved(&member(&simulator), "harbour").await;
    let request = raw.send(&get_history(peer(&input)).to_bytes()).await;
    let answer = raw.next(|told| told.constructor() == 0xf35c_6d01 && told.body[4..12] == request.to_le_bytes()).await;
    // Asked for again and again: far more than the sockets hold and the server is ready to keep.
    let times = (24 << 20) / answer.body.len();
    let again = tl::enums::MsgResendReq::Req(tl::types::MsgResendReq { msg_ids: vec![answer.id; times] }).to_bytes();
    raw.send(&again).await;
    raw.send(&again).await;
    let last = raw.send(&GET_STATE.to_bytes()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(simulator.calls("updates.getState"), 1, "the call was read although nothing is taken");
    member(&simulator).invoke(&tl::functions::help::GetConfig {}).await.expect("others are served");
    loop {
        raw.received.retain(|told| told.body[4..12] == last.to_le_bytes());
        if !raw.received.is_empty() {
            break;
        }
        raw.more().await;
    }
}
