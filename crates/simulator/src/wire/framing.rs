//! TCP transports: full (what grammers speaks), intermediate and abridged.
//!
//! The first bytes of a connection tell which one it is
//! (<https://core.telegram.org/mtproto/mtproto-transports>).

use flate2::Crc;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::WireError;

/// Larger packets are refused, as Telegram closes the connection on about a megabyte.
const MAX_PACKET: usize = (1 << 20) + (1 << 14);
const ABRIDGED_TAG: u8 = 0xef;
const INTERMEDIATE_TAG: [u8; 4] = [0xee; 4];

/// Which envelope a connection uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Full,
    Intermediate,
    Abridged,
}

/// Reads packets of one connection.
pub(crate) struct PacketReader<R> {
    stream: R,
    transport: Transport,
    sequence: i32,
    /// Bytes that were read to recognise the transport and belong to the first packet.
    ahead: Option<[u8; 4]>,
}

impl<R: AsyncRead + Unpin> PacketReader<R> {
    /// Recognises the transport by the first bytes.
    pub(crate) async fn accept(mut stream: R) -> Result<Self, WireError> {
        let first = stream.read_u8().await?;
        if first == ABRIDGED_TAG {
            return Ok(Self { stream, transport: Transport::Abridged, sequence: 0, ahead: None });
        }
        let mut head = [first, 0, 0, 0];
        stream.read_exact(&mut head[1..]).await?;
        let (transport, ahead) =
            if head == INTERMEDIATE_TAG { (Transport::Intermediate, None) } else { (Transport::Full, Some(head)) };
        Ok(Self { stream, transport, sequence: 0, ahead })
    }

    /// The transport that the client chose.
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// The next packet's payload, or none where the client closed the connection in between.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        let head = match self.ahead.take() {
            Some(head) => head,
            None => match self.head().await {
                Ok(head) => head,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        };
        let length = i32::from_le_bytes(head);
        match self.transport {
            Transport::Full => self.full(head, length).await.map(Some),
            Transport::Intermediate | Transport::Abridged => self.payload(length).await.map(Some),
        }
    }

    /// The length field, widened to four bytes.
    async fn head(&mut self) -> std::io::Result<[u8; 4]> {
        let mut head = [0; 4];
        if self.transport == Transport::Abridged {
            head[0] = self.stream.read_u8().await? & 0x7f;
            if head[0] == 0x7f {
                self.stream.read_exact(&mut head[..3]).await?;
            }
            return Ok((i32::from_le_bytes(head) << 2).to_le_bytes());
        }
        self.stream.read_exact(&mut head).await?;
        Ok(head)
    }

    async fn payload(&mut self, length: i32) -> Result<Vec<u8>, WireError> {
        let wanted = usize::try_from(length).ok().filter(|length| *length <= MAX_PACKET).ok_or(WireError::Length(length.into()))?;
        let mut payload = vec![0; wanted];
        self.stream.read_exact(&mut payload).await?;
        Ok(payload)
    }

    async fn full(&mut self, head: [u8; 4], length: i32) -> Result<Vec<u8>, WireError> {
        if length < 12 {
            return Err(WireError::Length(length.into()));
        }
        let mut rest = self.payload(length - 4).await?;
        let body_end = rest.len() - 4;
        let mut crc = Crc::new();
        crc.update(&head);
        crc.update(&rest[..body_end]);
        if crc.sum().to_le_bytes() != rest[body_end..] {
            return Err(WireError::Checksum);
        }
        let got = i32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
        if got != self.sequence {
            return Err(WireError::Sequence { expected: self.sequence, got });
        }
        self.sequence += 1;
        rest.truncate(body_end);
        rest.drain(..4);
        Ok(rest)
    }
}

/// Puts payloads into a connection's envelope.
pub(crate) struct PacketWriter {
    transport: Transport,
    sequence: i32,
}

impl PacketWriter {
    /// A writer for the transport that the client chose.
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport, sequence: 0 }
    }

    /// One payload, ready to be written.
    pub(crate) fn pack(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(payload.len() + 12);
        match self.transport {
            Transport::Full => {
                packet.extend_from_slice(&(payload.len() as i32 + 12).to_le_bytes());
                packet.extend_from_slice(&self.sequence.to_le_bytes());
                packet.extend_from_slice(payload);
                let mut crc = Crc::new();
                crc.update(&packet);
                packet.extend_from_slice(&crc.sum().to_le_bytes());
                self.sequence += 1;
            }
            Transport::Intermediate => {
                packet.extend_from_slice(&(payload.len() as i32).to_le_bytes());
                packet.extend_from_slice(payload);
            }
            Transport::Abridged => {
                let words = payload.len() / 4;
                if words < 0x7f {
                    packet.push(words as u8);
                } else {
                    packet.push(0x7f);
                    packet.extend_from_slice(&(words as u32).to_le_bytes()[..3]);
                }
                packet.extend_from_slice(payload);
            }
        }
        packet
    }

    /// A transport error such as -404; full carries it bare, in place of a length.
    pub(crate) fn error(&mut self, code: i32) -> Vec<u8> {
        let payload = (-code).to_le_bytes();
        match self.transport {
            Transport::Full => payload.to_vec(),
            Transport::Intermediate | Transport::Abridged => self.pack(&payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn there_and_back(transport: Transport, tag: &[u8]) {
        let payloads: Vec<Vec<u8>> = [4, 16, 504, 508, 512, 70_000].map(|length| (0..length).map(|i| i as u8).collect()).to_vec();
        let mut writer = PacketWriter::new(transport);
        let mut bytes = tag.to_vec();
        for payload in &payloads {
            bytes.extend(writer.pack(payload));
        }
        let mut reader = PacketReader::accept(&bytes[..]).await.unwrap();
        assert_eq!(reader.transport(), transport);
        for payload in payloads {
            assert_eq!(reader.next().await.unwrap(), Some(payload));
        }
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn every_transport_carries_packets_of_every_size() {
        there_and_back(Transport::Full, &[]).await;
        there_and_back(Transport::Intermediate, &INTERMEDIATE_TAG).await;
        there_and_back(Transport::Abridged, &[ABRIDGED_TAG]).await;
    }

    #[tokio::test]
    async fn a_changed_byte_and_a_huge_length_are_refused() {
        let mut packet = PacketWriter::new(Transport::Full).pack(&[7; 32]);
        packet[12] ^= 1;
        let mut reader = PacketReader::accept(&packet[..]).await.unwrap();
        assert!(matches!(reader.next().await, Err(WireError::Checksum)));
        let huge = i32::MAX.to_le_bytes();
        let mut reader = PacketReader::accept(&huge[..]).await.unwrap();
        assert!(matches!(reader.next().await, Err(WireError::Length(_))));
    }
}
