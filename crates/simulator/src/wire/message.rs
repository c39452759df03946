//! Messages inside a decrypted packet: containers, gzip, ids and sequence numbers.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use grammers_tl_types::{Cursor, Deserializable, Serializable};

use super::WireError;
use super::crypto::i64_at;

pub(crate) const CONTAINER_ID: u32 = 0x73f1_f8dc;
pub(crate) const GZIP_ID: u32 = 0x3072_cfa1;
const RPC_RESULT_ID: u32 = 0xf35c_6d01;

/// Salt, session id, and the header of the outer message.
const PLAIN_HEADER_LEN: usize = 16;
const MESSAGE_HEADER_LEN: usize = 16;
/// Unpacked gzip may not be larger than this, so that a small packet cannot fill the memory.
const MAX_UNPACKED: u64 = 16 << 20;
/// Smaller answers are sent as they are: packing costs more than it saves.
const GZIP_FROM: usize = 512;

/// One message of the client.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) seq_no: i32,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The constructor that the body begins with.
    pub(crate) fn constructor(&self) -> u32 {
        constructor(&self.body)
    }
}

/// A decrypted packet.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) salt: i64,
    pub(crate) session: i64,
    /// The outer message: a container, or the only message.
    pub(crate) outer: Message,
}

impl Packet {
    /// Reads the header; the padding behind the message is dropped.
    pub(crate) fn read(plain: &[u8]) -> Result<Self, WireError> {
        let message = plain.get(PLAIN_HEADER_LEN..).unwrap_or_default();
        let mut cursor = Cursor::from_slice(message);
        Ok(Self { salt: i64_at(plain, 0), session: i64_at(plain, 8), outer: read_message(&mut cursor)? })
    }
}

/// The constructor that a serialized object begins with; zero where there is none.
pub(crate) fn constructor(body: &[u8]) -> u32 {
    u32::from_bytes(body).unwrap_or(0)
}

/// Takes containers and gzip apart, down to the messages themselves.
pub(crate) fn flatten(message: Message, out: &mut Vec<Message>) -> Result<(), WireError> {
    match message.constructor() {
        CONTAINER_ID => {
            let mut cursor = Cursor::from_slice(&message.body);
            u32::deserialize(&mut cursor)?;
            for _ in 0..u32::deserialize(&mut cursor)? {
                let inner = read_message(&mut cursor)?;
                // "may not carry other simple containers": one that does ends here.
                if inner.constructor() != CONTAINER_ID {
                    flatten(inner, out)?;
                }
            }
        }
        GZIP_ID => {
            let body = unpack(&message.body)?;
            if constructor(&body) != GZIP_ID {
                flatten(Message { body, ..message }, out)?;
            }
        }
        _ => out.push(message),
    }
    Ok(())
}

/// Unpacks a `gzip_packed` object.
pub(crate) fn unpack(body: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut cursor = Cursor::from_slice(body);
    u32::deserialize(&mut cursor)?;
    let packed = Vec::<u8>::deserialize(&mut cursor)?;
    let mut unpacked = Vec::new();
    GzDecoder::new(&packed[..]).take(MAX_UNPACKED).read_to_end(&mut unpacked).map_err(WireError::Gzip)?;
    Ok(unpacked)
}

fn read_message(cursor: &mut Cursor<'_>) -> Result<Message, WireError> {
    let id = i64::deserialize(cursor)?;
    let seq_no = i32::deserialize(cursor)?;
    let length = i32::deserialize(cursor)?;
    let wanted =
        usize::try_from(length).ok().filter(|length| *length <= MAX_UNPACKED as usize).ok_or(WireError::Body(length.into()))?;
    let mut body = vec![0; wanted];
    cursor.read_exact(&mut body)?;
    Ok(Message { id, seq_no, body })
}

/// What the server sends.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) body: Vec<u8>,
    /// Content messages have odd sequence numbers and are acknowledged by the client.
    pub(crate) content: bool,
    /// Answers have ids ≡ 1 (mod 4), notifications ≡ 3.
    pub(crate) answer: bool,
}

impl Outgoing {
    /// The result of a call; packed where that makes it smaller.
    pub(crate) fn result(request: i64, result: &[u8], pack: bool) -> Self {
        let mut body = RPC_RESULT_ID.to_bytes();
        request.serialize(&mut body);
        match pack.then(|| gzip(result)).flatten() {
            Some(packed) => {
                GZIP_ID.serialize(&mut body);
                packed.serialize(&mut body);
            }
            None => body.extend_from_slice(result),
        }
        Self { body, content: true, answer: true }
    }

    /// A bare service answer, such as `pong` or `future_salts`.
    pub(crate) fn service(object: &impl Serializable) -> Self {
        Self { body: object.to_bytes(), content: false, answer: true }
    }

    /// A notification which the client acknowledges.
    pub(crate) fn notice(object: &impl Serializable) -> Self {
        Self { body: object.to_bytes(), content: true, answer: false }
    }
}

fn gzip(result: &[u8]) -> Option<Vec<u8>> {
    if result.len() < GZIP_FROM {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(result.len() / 2), Compression::fast());
    encoder.write_all(result).ok()?;
    encoder.finish().ok().filter(|packed| packed.len() < result.len())
}

/// Gives ids and sequence numbers to the messages of one session on one connection.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    last_id: i64,
    content: i32,
}

impl Numbering {
    /// The messages as one plaintext; several of them travel in a container.
    pub(crate) fn packet(&mut self, now: std::time::Duration, salt: i64, session: i64, messages: &[Outgoing]) -> Vec<u8> {
        let mut inner = Vec::new();
        for message in messages {
            let seq_no = self.content * 2 + i32::from(message.content);
            self.content += i32::from(message.content);
            let id = self.next_id(now, message.answer);
            write_message(&mut inner, id, seq_no, &message.body);
        }
        let mut plain = Vec::with_capacity(inner.len() + 64);
        salt.serialize(&mut plain);
        session.serialize(&mut plain);
        if messages.len() == 1 {
            plain.extend_from_slice(&inner);
            return plain;
        }
        let mut container = CONTAINER_ID.to_bytes();
        (messages.len() as i32).serialize(&mut container);
        container.extend_from_slice(&inner);
        let id = self.next_id(now, false);
        write_message(&mut plain, id, self.content * 2, &container);
        plain
    }

    fn next_id(&mut self, now: std::time::Duration, answer: bool) -> i64 {
        let low = if answer { 1 } else { 3 };
        let clock = ((now.as_secs() << 32) | (u64::from(now.subsec_nanos()) << 2)) as i64;
        let mut id = (clock & !3) | low;
        if id <= self.last_id {
            id = ((self.last_id & !3) + 4) | low;
        }
        self.last_id = id;
        id
    }
}

fn write_message(buffer: &mut Vec<u8>, id: i64, seq_no: i32, body: &[u8]) {
    id.serialize(buffer);
    seq_no.serialize(buffer);
    (body.len() as i32).serialize(buffer);
    buffer.extend_from_slice(body);
}

/// Bytes that a message adds to a packet beside its body.
pub(crate) const OVERHEAD: usize = MESSAGE_HEADER_LEN;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outgoing(content: bool, answer: bool) -> Outgoing {
        Outgoing { body: 7_u32.to_bytes(), content, answer }
    }

    #[test]
    fn ids_grow_and_their_low_bits_tell_answers_from_notices() {
        let mut numbering = Numbering::default();
        let now = Duration::from_secs(1_700_000_000);
        let plain = numbering.packet(now, 1, 2, &[outgoing(true, true), outgoing(false, true), outgoing(true, false)]);
        let packet = Packet::read(&plain).unwrap();
        assert_eq!((packet.salt, packet.session), (1, 2));
        let mut messages = Vec::new();
        flatten(packet.outer.clone(), &mut messages).unwrap();
        assert_eq!(messages.iter().map(|m| m.id % 4).collect::<Vec<_>>(), [1, 1, 3]);
        assert_eq!(messages.iter().map(|m| m.seq_no).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(messages.is_sorted_by(|a, b| a.id < b.id));
        assert!(messages.iter().all(|m| m.id < packet.outer.id));
    }

    #[test]
    fn a_truncated_container_is_refused() {
        let mut body = CONTAINER_ID.to_bytes();
        3_i32.serialize(&mut body);
        let message = Message { id: 4, seq_no: 0, body };
        assert!(flatten(message, &mut Vec::new()).is_err());
    }
}
