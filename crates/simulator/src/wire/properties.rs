//! What must hold for whatever bytes arrive.

use grammers_tl_types::Serializable;
use proptest::prelude::*;

use super::crypto::{KEY_LEN, ServerKey};
use super::framing::PacketReader;
use super::message::{CONTAINER_ID, GZIP_ID, MAX_UNPACKED, Message, Packet, simple_messages, unpacked};

/// Reads all packets of a connection that ends.
fn packets(bytes: &[u8]) -> usize {
    let reading = async {
        let Ok(mut reader) = PacketReader::accept(bytes).await else { return 0 };
        let mut packets = 0;
        while let Ok(Some(_)) = reader.next().await {
            packets += 1;
        }
        packets
    };
    futures::executor::block_on(reading)
}

/// Bytes with the beginning of a transport, or of none.
fn connection() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![
        Just(vec![]),
        Just(vec![0xef]),
        Just(vec![0xee; 4]),
        Just(vec![0xdd; 4]),
        // Full: a length and the first sequence number.
        (0..64_u8).prop_map(|length| vec![length, 0, 0, 0, 0, 0, 0, 0]),
    ];
    (tag, prop::collection::vec(any::<u8>(), 0..400)).prop_map(|(tag, rest)| [tag, rest].concat())
}

/// A decrypted packet whose outer message begins like something known.
fn plain() -> impl Strategy<Value = Vec<u8>> {
    let constructor = prop_oneof![Just(CONTAINER_ID), Just(GZIP_ID), any::<u32>()];
    let body = (constructor, prop::collection::vec(any::<u8>(), 0..300));
    let body = body.prop_map(|(constructor, rest)| [constructor.to_bytes(), rest].concat());
    (any::<[u8; 28]>(), any::<Option<i32>>(), body).prop_map(|(header, length, body)| {
        let length = length.unwrap_or(body.len() as i32);
        [&header[..], &length.to_le_bytes(), &body].concat()
    })
}

/// A container of messages, each of them perhaps packed, nested or cut off.
fn container() -> impl Strategy<Value = Vec<u8>> {
    let message = (any::<i64>(), any::<i32>(), -4..40_i32, prop::collection::vec(any::<u8>(), 0..40));
    (0..8_i32, prop::collection::vec(message, 0..6)).prop_map(|(count, messages)| {
        let mut body = CONTAINER_ID.to_bytes();
        count.serialize(&mut body);
        for (id, seq_no, length, content) in messages {
            id.serialize(&mut body);
            seq_no.serialize(&mut body);
            length.serialize(&mut body);
            body.extend(content);
        }
        body
    })
}

fn read(outer: Message) {
    let mut budget = MAX_UNPACKED;
    for message in simple_messages(outer).into_iter().flatten() {
        if let Ok(message) = unpacked(message, &mut budget) {
            assert!(message.body.len() <= MAX_UNPACKED);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_connection_is_read_to_its_end(bytes in connection()) {
        prop_assert!(packets(&bytes) <= bytes.len());
    }

    #[test]
    fn any_plaintext_is_read_or_refused(bytes in plain()) {
        if let Ok(packet) = Packet::read(&bytes) {
            prop_assert!(packet.outer.body.len() <= bytes.len());
            read(packet.outer);
        }
    }

    #[test]
    fn any_container_is_taken_apart_or_refused(body in container()) {
        read(Message { id: 4, seq_no: 0, body });
    }

    #[test]
    fn no_packet_opens_that_was_not_sealed(packet in prop::collection::vec(any::<u8>(), 0..200)) {
        let key = ServerKey::new([7; KEY_LEN]);
        prop_assert!(key.open(&mut packet.clone()).is_err());
    }
}
