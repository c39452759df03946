//! Messages inside a decrypted packet: containers, gzip, ids and sequence numbers.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use grammers_tl_types::{Cursor, Deserializable, Serializable};

use super::WireError;
use super::crypto::i64_at;

pub(crate) const CONTAINER_ID: u32 = 0x73f1_f8dc;
pub(crate) const GZIP_ID: u32 = 0x3072_cfa1;
const RPC_RESULT_ID: u32 = 0xf35c_6d01;

/// Salt, session id, and the header of the outer message.
const PLAIN_HEADER_LEN: usize = 16;
/// Unpacked gzip may not be larger than this, so that a small packet cannot fill the memory.
pub(crate) const MAX_UNPACKED: usize = 16 << 20;
/// <https://core.telegram.org/mtproto/service_messages#simple-container>
const MAX_MESSAGES: u32 = 1020;
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
        Ok(Self { salt: i64_at(plain, 0), session: i64_at(plain, 8), outer: read_message(&mut cursor, message.len())? })
    }
}

/// The constructor that a serialized object begins with; zero where there is none.
pub(crate) fn constructor(body: &[u8]) -> u32 {
    u32::from_bytes(body).unwrap_or(0)
}

/// A message of a packet as it was sent: the simple ones of a container, or the only one.
///
/// # Errors
/// Where a container is cut off, too long, or holds a container: error 64 of
/// <https://core.telegram.org/mtproto/service_messages_about_messages#notice-of-ignored-error-message>.
pub(crate) fn simple_messages(outer: Message) -> Result<Vec<Message>, InvalidContainer> {
    if outer.constructor() != CONTAINER_ID {
        return Ok(vec![outer]);
    }
    let mut cursor = Cursor::from_slice(&outer.body);
    let read = |cursor: &mut Cursor<'_>| u32::deserialize(cursor).map_err(|_| InvalidContainer);
    read(&mut cursor)?;
    let count = read(&mut cursor)?;
    if count > MAX_MESSAGES {
        return Err(InvalidContainer);
    }
    let mut messages = Vec::new();
    for _ in 0..count {
        let inner = read_message(&mut cursor, outer.body.len()).map_err(|_| InvalidContainer)?;
        if inner.constructor() == CONTAINER_ID {
            return Err(InvalidContainer);
        }
        messages.push(inner);
    }
    Ok(messages)
}

/// A container that cannot be taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidContainer;

/// Takes the packing off a message; all messages of a packet share what may be unpacked.
pub(crate) fn unpacked(message: Message, budget: &mut usize) -> Result<Message, WireError> {
    if message.constructor() != GZIP_ID {
        return Ok(message);
    }
    let body = unpack_within(&message.body, *budget)?;
    *budget -= body.len();
    Ok(Message { body, ..message })
}

/// Unpacks a `gzip_packed` object.
pub(crate) fn unpack(body: &[u8]) -> Result<Vec<u8>, WireError> {
    unpack_within(body, MAX_UNPACKED)
}

fn unpack_within(body: &[u8], most: usize) -> Result<Vec<u8>, WireError> {
    let mut cursor = Cursor::from_slice(body);
    u32::deserialize(&mut cursor)?;
    let packed = Vec::<u8>::deserialize(&mut cursor)?;
    let mut unpacked = Vec::new();
    GzDecoder::new(&packed[..]).take(most as u64 + 1).read_to_end(&mut unpacked).map_err(WireError::Gzip)?;
    if unpacked.len() > most {
        return Err(WireError::Bomb(most));
    }
    Ok(unpacked)
}

fn read_message(cursor: &mut Cursor<'_>, whole: usize) -> Result<Message, WireError> {
    let id = i64::deserialize(cursor)?;
    let seq_no = i32::deserialize(cursor)?;
    let length = i32::deserialize(cursor)?;
    let left = whole.saturating_sub(cursor.pos());
    let wanted = usize::try_from(length).ok().filter(|length| *length <= left).ok_or(WireError::Body(length.into()))?;
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
    /// The call that this is the result of.
    pub(crate) request: Option<i64>,
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
        Self { body, content: true, answer: true, request: Some(request) }
    }

    /// A bare service answer, such as `pong` or `future_salts`.
    pub(crate) fn service(object: &impl Serializable) -> Self {
        Self { body: object.to_bytes(), content: false, answer: true, request: None }
    }

    /// A notification which the client acknowledges.
    pub(crate) fn notice(object: &impl Serializable) -> Self {
        Self { body: object.to_bytes(), content: true, answer: false, request: None }
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

/// A message with its id and sequence number: what is sent, and sent again.
#[derive(Debug, Clone)]
pub(crate) struct Numbered {
    pub(crate) id: i64,
    pub(crate) seq_no: i32,
    pub(crate) body: Arc<Vec<u8>>,
}

/// Gives ids and sequence numbers to the messages of one session.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    last_id: i64,
    content: i32,
}

impl Numbering {
    /// The message's place among all that the session is sent.
    pub(crate) fn number(&mut self, now: Duration, message: Outgoing) -> Numbered {
        let seq_no = self.content * 2 + i32::from(message.content);
        self.content += i32::from(message.content);
        Numbered { id: self.next_id(now, message.answer), seq_no, body: Arc::new(message.body) }
    }

    /// The messages as one plaintext; several of them travel in a container.
    pub(crate) fn packet(&mut self, now: Duration, salt: i64, session: i64, messages: &[Numbered]) -> Vec<u8> {
        let size: usize = messages.iter().map(|message| message.body.len() + OVERHEAD).sum();
        let mut plain = Vec::with_capacity(size + 64);
        salt.serialize(&mut plain);
        session.serialize(&mut plain);
        if messages.len() != 1 {
            let id = self.next_id(now, false);
            id.serialize(&mut plain);
            (self.content * 2).serialize(&mut plain);
            (size as i32 + 8).serialize(&mut plain);
            CONTAINER_ID.serialize(&mut plain);
            (messages.len() as i32).serialize(&mut plain);
        }
        for message in messages {
            write_message(&mut plain, message);
        }
        plain
    }

    fn next_id(&mut self, now: Duration, answer: bool) -> i64 {
        let low = if answer { 1 } else { 3 };
        let mut id = message_id(now) | low;
        if id <= self.last_id {
            id = ((self.last_id & !3) + 4) | low;
        }
        self.last_id = id;
        id
    }
}

/// The id that a moment gives, its two lowest bits still free.
pub(crate) fn message_id(now: Duration) -> i64 {
    ((now.as_secs() << 32) | (u64::from(now.subsec_nanos()) << 2)) as i64 & !3
}

fn write_message(buffer: &mut Vec<u8>, message: &Numbered) {
    message.id.serialize(buffer);
    message.seq_no.serialize(buffer);
    (message.body.len() as i32).serialize(buffer);
    buffer.extend_from_slice(&message.body);
}

/// Bytes that a message adds to a packet beside its body.
pub(crate) const OVERHEAD: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(content: bool, answer: bool) -> Outgoing {
        Outgoing { body: 7_u32.to_bytes(), content, answer, request: None }
    }

    #[test]
    fn ids_grow_and_their_low_bits_tell_answers_from_notices() {
        let mut numbering = Numbering::default();
        let now = Duration::from_secs(1_700_000_000);
        let messages = [outgoing(true, true), outgoing(false, true), outgoing(true, false)];
        let messages = messages.map(|message| numbering.number(now, message));
        let plain = numbering.packet(now, 1, 2, &messages);
        let packet = Packet::read(&plain).unwrap();
        assert_eq!((packet.salt, packet.session), (1, 2));
        let messages = simple_messages(packet.outer.clone()).unwrap();
        assert_eq!(messages.iter().map(|m| m.id % 4).collect::<Vec<_>>(), [1, 1, 3]);
        assert_eq!(messages.iter().map(|m| m.seq_no).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(messages.is_sorted_by(|a, b| a.id < b.id));
        assert!(messages.iter().all(|m| m.id < packet.outer.id));
    }

    #[test]
    fn a_container_that_is_cut_off_or_holds_a_container_is_invalid() {
        let mut body = CONTAINER_ID.to_bytes();
        3_i32.serialize(&mut body);
        assert_eq!(simple_messages(Message { id: 4, seq_no: 0, body }).unwrap_err(), InvalidContainer);
        let inner = Numbered { id: 4, seq_no: 0, body: Arc::new([CONTAINER_ID.to_bytes(), vec![0; 4]].concat()) };
        let plain = Numbering::default().packet(Duration::ZERO, 0, 0, &[inner.clone(), inner]);
        assert_eq!(simple_messages(Packet::read(&plain).unwrap().outer).unwrap_err(), InvalidContainer);
    }

    #[test]
    fn what_a_packet_unpacks_to_is_bounded() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; MAX_UNPACKED + 1]).unwrap();
        let mut body = GZIP_ID.to_bytes();
        encoder.finish().unwrap().serialize(&mut body);
        let message = Message { id: 4, seq_no: 1, body };
        assert!(message.body.len() < 64 << 10);
        assert!(matches!(unpacked(message.clone(), &mut MAX_UNPACKED.clone()), Err(WireError::Bomb(_))));
        assert!(matches!(unpacked(message, &mut 100), Err(WireError::Bomb(100))));
    }
}
