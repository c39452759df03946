//! TCP transports: full (what grammers speaks), intermediate, padded intermediate and abridged, the last three also obfuscated.
//!
//! The first bytes of a connection tell which one it is
//! (<https://core.telegram.org/mtproto/mtproto-transports>).

use flate2::Crc;
use grammers_crypto::ObfuscatedCipher;
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::WireError;
use super::crypto::{HEADER_LEN, i64_at};

/// Larger packets are refused, as Telegram closes the connection on about a megabyte.
const MAX_PACKET: usize = (1 << 20) + (1 << 14);
const ABRIDGED_TAG: u8 = 0xef;
const INTERMEDIATE_TAG: [u8; 4] = [0xee; 4];
const PADDED_TAG: [u8; 4] = [0xdd; 4];
/// What an obfuscated connection begins with: keys for both directions and the inner transport's tag
/// (<https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation>).
const OBFUSCATION_LEN: usize = 64;
/// The highest bit of a length asks for a quick acknowledgement; it is no part of the length.
const LENGTH_MASK: u32 = 0x7fff_ffff;

/// Which envelope a connection uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Full,
    Intermediate,
    Padded,
    Abridged,
}

impl Transport {
    /// By the tag that an obfuscated connection hides in its first bytes.
    fn hidden(tag: [u8; 4]) -> Option<Self> {
        match tag {
            INTERMEDIATE_TAG => Some(Self::Intermediate),
            PADDED_TAG => Some(Self::Padded),
            [ABRIDGED_TAG, ABRIDGED_TAG, ABRIDGED_TAG, ABRIDGED_TAG] => Some(Self::Abridged),
            _ => None,
        }
    }
}

/// Reads packets of one connection.
pub(crate) struct PacketReader<R> {
    stream: R,
    transport: Transport,
    sequence: i32,
    /// Bytes that were read to recognise the transport and belong to the first packet.
    ahead: Vec<u8>,
    /// The 64 bytes that began an obfuscated connection, with the tag in the clear, and the cipher of what arrives.
    obfuscation: Option<([u8; OBFUSCATION_LEN], ObfuscatedCipher)>,
}

impl<R: AsyncRead + Unpin> PacketReader<R> {
    /// Recognises the transport by the first bytes.
    pub(crate) async fn accept(mut stream: R) -> Result<Self, WireError> {
        let plain = |stream, transport, ahead| Self { stream, transport, sequence: 0, ahead, obfuscation: None };
        let first = stream.read_u8().await?;
        if first == ABRIDGED_TAG {
            return Ok(plain(stream, Transport::Abridged, Vec::new()));
        }
        let mut head = [first, 0, 0, 0];
        stream.read_exact(&mut head[1..]).await?;
        match head {
            INTERMEDIATE_TAG => return Ok(plain(stream, Transport::Intermediate, Vec::new())),
            PADDED_TAG => return Ok(plain(stream, Transport::Padded, Vec::new())),
            _ => {}
        }
        let mut init = [0; OBFUSCATION_LEN];
        init[..4].copy_from_slice(&head);
        stream.read_exact(&mut init[4..8]).await?;
        if init[4..8] == [0; 4] {
            // The first sequence number of full; an obfuscated connection never has it there.
            return Ok(plain(stream, Transport::Full, init[..8].to_vec()));
        }
        stream.read_exact(&mut init[8..]).await?;
        let mut cipher = ObfuscatedCipher::new(&init);
        let mut clear = init;
        // What the client encrypts with, the server decrypts with: counter mode is its own reverse.
        cipher.encrypt(&mut clear);
        let transport = Transport::hidden([clear[56], clear[57], clear[58], clear[59]]).ok_or(WireError::Transport)?;
        Ok(Self { stream, transport, sequence: 0, ahead: Vec::new(), obfuscation: Some((init, cipher)) })
    }

    /// The transport that the client chose.
    #[cfg(test)]
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// What writes to the client in the envelope that it chose.
    pub(crate) fn writer(&self) -> PacketWriter {
        PacketWriter {
            transport: self.transport,
            sequence: 0,
            cipher: self.obfuscation.as_ref().map(|(init, _)| ObfuscatedCipher::new(init)),
        }
    }

    /// The next packet's payload, or none where the client closed the connection in between.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        let head = match self.head().await {
            Ok(head) => head,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let length = u32::from_le_bytes(head);
        match self.transport {
            Transport::Full => self.full(head, length).await.map(Some),
            Transport::Intermediate | Transport::Abridged => self.payload(length & LENGTH_MASK).await.map(Some),
            Transport::Padded => Ok(Some(without_padding(self.payload(length & LENGTH_MASK).await?))),
        }
    }

    /// The length field, widened to four bytes.
    async fn head(&mut self) -> std::io::Result<[u8; 4]> {
        let mut head = [0; 4];
        if self.transport == Transport::Abridged {
            self.read(&mut head[..1]).await?;
            head[0] &= 0x7f;
            if head[0] == 0x7f {
                self.read(&mut head[..3]).await?;
            }
            return Ok((u32::from_le_bytes(head) << 2).to_le_bytes());
        }
        self.read(&mut head).await?;
        Ok(head)
    }

    /// Fills the buffer with what the client sent, in the clear.
    async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<()> {
        let ready = self.ahead.len().min(buffer.len());
        for (byte, ahead) in buffer.iter_mut().zip(self.ahead.drain(..ready)) {
            *byte = ahead;
        }
        let rest = &mut buffer[ready..];
        self.stream.read_exact(rest).await?;
        if let Some((_, cipher)) = &mut self.obfuscation {
            cipher.encrypt(rest);
        }
        Ok(())
    }

    async fn payload(&mut self, length: u32) -> Result<Vec<u8>, WireError> {
        let wanted = usize::try_from(length).ok().filter(|length| *length <= MAX_PACKET).ok_or(WireError::Length(length.into()))?;
        let mut payload = vec![0; wanted];
        self.read(&mut payload).await?;
        Ok(payload)
    }

    async fn full(&mut self, head: [u8; 4], length: u32) -> Result<Vec<u8>, WireError> {
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
        self.sequence = self.sequence.wrapping_add(1);
        rest.truncate(body_end);
        rest.drain(..4);
        Ok(rest)
    }
}

/// Padded intermediate adds up to 15 bytes; an encrypted packet is a header and whole blocks. Unencrypted ones tell their length.
fn without_padding(mut payload: Vec<u8>) -> Vec<u8> {
    if i64_at(&payload, 0) != 0 && payload.len() >= HEADER_LEN {
        payload.truncate(HEADER_LEN + (payload.len() - HEADER_LEN) / 16 * 16);
    }
    payload
}

/// Puts payloads into a connection's envelope.
pub(crate) struct PacketWriter {
    transport: Transport,
    sequence: i32,
    cipher: Option<ObfuscatedCipher>,
}

impl PacketWriter {
    /// One payload, ready to be written.
    pub(crate) fn pack(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut packet = self.envelope(payload, true);
        self.obfuscate(&mut packet);
        packet
    }

    /// A transport error such as -404; full carries it bare, in place of a length.
    pub(crate) fn error(&mut self, code: i32) -> Vec<u8> {
        let payload = (-code).to_le_bytes();
        let mut packet = match self.transport {
            Transport::Full => payload.to_vec(),
            Transport::Intermediate | Transport::Padded | Transport::Abridged => self.envelope(&payload, false),
        };
        self.obfuscate(&mut packet);
        packet
    }

    fn envelope(&mut self, payload: &[u8], pad: bool) -> Vec<u8> {
        let mut packet = Vec::with_capacity(payload.len() + 16);
        match self.transport {
            Transport::Full => {
                packet.extend_from_slice(&(payload.len() as i32 + 12).to_le_bytes());
                packet.extend_from_slice(&self.sequence.to_le_bytes());
                packet.extend_from_slice(payload);
                let mut crc = Crc::new();
                crc.update(&packet);
                packet.extend_from_slice(&crc.sum().to_le_bytes());
                self.sequence = self.sequence.wrapping_add(1);
            }
            Transport::Intermediate => {
                packet.extend_from_slice(&(payload.len() as i32).to_le_bytes());
                packet.extend_from_slice(payload);
            }
            Transport::Padded => {
                // Up to 15 bytes are allowed; Telethon takes off no more than three.
                let random: [u8; 4] = rand::rng().random();
                let padding = if pad { usize::from(random[3] % 4) } else { 0 };
                packet.extend_from_slice(&((payload.len() + padding) as i32).to_le_bytes());
                packet.extend_from_slice(payload);
                packet.extend_from_slice(&random[..padding]);
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

    fn obfuscate(&mut self, packet: &mut [u8]) {
        if let Some(cipher) = &mut self.cipher {
            cipher.decrypt(packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(transport: Transport, payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = PacketWriter { transport, sequence: 0, cipher: None };
        payloads.iter().flat_map(|payload| writer.pack(payload)).collect()
    }

    fn payloads() -> Vec<Vec<u8>> {
        [24, 40, 504, 520, 536, 70_008].map(|length| (1..=length).map(|i| i as u8).collect()).to_vec()
    }

    async fn there_and_back(transport: Transport, tag: &[u8]) {
        let mut bytes = tag.to_vec();
        bytes.extend(packets(transport, &payloads()));
        read_all(&bytes, transport).await;
    }

    async fn read_all(bytes: &[u8], transport: Transport) {
        let mut reader = PacketReader::accept(bytes).await.unwrap();
        assert_eq!(reader.transport(), transport);
        for payload in payloads() {
            assert_eq!(reader.next().await.unwrap(), Some(payload));
        }
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn every_transport_carries_packets_of_every_size() {
        there_and_back(Transport::Full, &[]).await;
        there_and_back(Transport::Intermediate, &INTERMEDIATE_TAG).await;
        there_and_back(Transport::Padded, &PADDED_TAG).await;
        there_and_back(Transport::Abridged, &[ABRIDGED_TAG]).await;
    }

    #[tokio::test]
    async fn what_a_client_obfuscates_is_read_and_it_reads_the_answers() {
        for (transport, tag) in
            [(Transport::Intermediate, INTERMEDIATE_TAG), (Transport::Padded, PADDED_TAG), (Transport::Abridged, [ABRIDGED_TAG; 4])]
        {
            let mut init: [u8; OBFUSCATION_LEN] = std::array::from_fn(|i| i as u8 + 1);
            init[56..60].copy_from_slice(&tag);
            let mut client = ObfuscatedCipher::new(&init);
            let mut encrypted = init;
            client.encrypt(&mut encrypted);
            init[56..].copy_from_slice(&encrypted[56..]);
            let mut bytes = packets(transport, &payloads());
            client.encrypt(&mut bytes);
            read_all(&[&init[..], &bytes].concat(), transport).await;

            let reader = PacketReader::accept(&init[..]).await.unwrap();
            let mut answer = reader.writer().error(404);
            client.decrypt(&mut answer);
            assert!(answer.ends_with(&(-404_i32).to_le_bytes()));
        }
        let nothing = [7; OBFUSCATION_LEN];
        assert!(matches!(PacketReader::accept(&nothing[..]).await, Err(WireError::Transport)));
    }

    #[tokio::test]
    async fn a_changed_byte_and_a_huge_length_are_refused() {
        let mut packet = packets(Transport::Full, &[vec![7; 32]]);
        packet[12] ^= 1;
        let mut reader = PacketReader::accept(&packet[..]).await.unwrap();
        assert!(matches!(reader.next().await, Err(WireError::Checksum)));
        let huge = [i32::MAX.to_le_bytes(), [0; 4]].concat();
        let mut reader = PacketReader::accept(&huge[..]).await.unwrap();
        assert!(matches!(reader.next().await, Err(WireError::Length(_))));
    }
}
