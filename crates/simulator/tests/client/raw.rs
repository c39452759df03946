//! A small MTProto client whose every byte a test decides.

use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::{Crc, read::GzDecoder};
use grammers_crypto::{
    AuthKey, DequeBuffer, ObfuscatedCipher, aes, decrypt_data_v2, encrypt_data_v2, factorize, generate_key_data_from_nonce, rsa,
};
use grammers_tl_types::{Cursor, Deserializable, Identifiable, RemoteCall, Serializable};
use num_bigint::BigUint;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::*;

const CONTAINER: u32 = 0x73f1_f8dc;
const GZIP: u32 = 0x3072_cfa1;
const RPC_RESULT: u32 = 0xf35c_6d01;
const RPC_ERROR: u32 = 0x2144_ca19;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    Full,
    Intermediate,
    Padded,
    Abridged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    Current,
    Older,
}

/// A message of the server.
#[derive(Debug, Clone)]
pub struct Received {
    pub id: i64,
    pub seq_no: i32,
    pub body: Vec<u8>,
}

impl Received {
    pub fn constructor(&self) -> u32 {
        u32::from_bytes(&self.body).expect("a constructor")
    }

    pub fn is<T: Identifiable>(&self) -> bool {
        self.constructor() == T::CONSTRUCTOR_ID
    }

    pub fn read<T: Deserializable>(&self) -> T {
        T::from_bytes(&self.body).expect("reads")
    }
}

pub struct Raw {
    stream: TcpStream,
    envelope: Envelope,
    cipher: Option<ObfuscatedCipher>,
    sequence: i32,
    pub key: [u8; 256],
    pub session: i64,
    pub salt: i64,
    last_id: i64,
    content: i32,
    /// Read, but not asked for yet.
    pub received: Vec<Received>,
    /// Ids of what wants an acknowledgement.
    pub unacknowledged: Vec<i64>,
}

/// Unix time as ids carry it, their two lowest bits zero.
#[expect(clippy::disallowed_methods, reason = "a client has a clock of its own")]
pub fn id_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    ((now.as_secs() as i64) << 32) | (i64::from(now.subsec_nanos()) << 2)
}

pub fn key_of(session: &SessionFile) -> [u8; 256] {
    std::array::from_fn(|at| u8::from_str_radix(&session.key[2 * at..2 * at + 2], 16).expect("hex"))
}

impl Raw {
    pub async fn connect(address: SocketAddr, envelope: Envelope) -> Self {
        Self::begin(TcpStream::connect(address).await.expect("connects"), envelope, false).await
    }

    pub async fn obfuscated(address: SocketAddr, envelope: Envelope) -> Self {
        Self::begin(TcpStream::connect(address).await.expect("connects"), envelope, true).await
    }

    /// From another address of the loopback network.
    pub async fn connect_from(last: u8, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).expect("binds");
        Self::begin(socket.connect(address).await.expect("connects"), Envelope::Intermediate, false).await
    }

    /// Speaks as an account, with its pre-shared key.
    pub async fn of(session: &SessionFile) -> Self {
        let address = SocketAddr::new(session.address.parse().expect("an address"), session.port);
        Self { key: key_of(session), ..Self::connect(address, Envelope::Intermediate).await }
    }

    /// Goes on with another session, whose salt is known.
    pub fn with(mut self, session: i64, salt: i64) -> Self {
        (self.session, self.salt) = (session, salt);
        self
    }

    /// Goes on with the session of another connection, where its ids and numbers ended.
    pub fn instead_of(mut self, before: Self) -> Self {
        (self.last_id, self.content) = (before.last_id, before.content);
        self.with(before.session, before.salt)
    }

    async fn begin(mut stream: TcpStream, envelope: Envelope, obfuscated: bool) -> Self {
        let tag = match envelope {
            Envelope::Full => [0; 4],
            Envelope::Intermediate => [0xee; 4],
            Envelope::Padded => [0xdd; 4],
            Envelope::Abridged => [0xef; 4],
        };
        let mut cipher = None;
        if obfuscated {
            let mut init: [u8; 64] = std::array::from_fn(|at| at as u8 ^ 0x5a);
            init[56..60].copy_from_slice(&tag);
            let mut fresh = ObfuscatedCipher::new(&init);
            let mut encrypted = init;
            fresh.encrypt(&mut encrypted);
            init[56..].copy_from_slice(&encrypted[56..]);
            stream.write_all(&init).await.expect("writes");
            cipher = Some(fresh);
        } else {
            let tag = if envelope == Envelope::Abridged { &tag[..1] } else { &tag[..] };
            let tag = if envelope == Envelope::Full { &[] } else { tag };
            stream.write_all(tag).await.expect("writes");
        }
        Self {
            stream,
            envelope,
            cipher,
            sequence: 0,
            key: [0; 256],
            session: rand::random(),
            salt: 0,
            last_id: 0,
            content: 0,
            received: Vec::new(),
            unacknowledged: Vec::new(),
        }
    }

    pub async fn write(&mut self, payload: &[u8]) {
        let mut packet = Vec::new();
        match self.envelope {
            Envelope::Full => {
                packet.extend((payload.len() as u32 + 12).to_le_bytes());
                packet.extend(self.sequence.to_le_bytes());
                packet.extend(payload);
                let mut crc = Crc::new();
                crc.update(&packet);
                packet.extend(crc.sum().to_le_bytes());
                self.sequence += 1;
            }
            Envelope::Intermediate => {
                packet.extend((payload.len() as u32).to_le_bytes());
                packet.extend(payload);
            }
            Envelope::Padded => {
                packet.extend((payload.len() as u32 + 11).to_le_bytes());
                packet.extend(payload);
                packet.extend([9; 11]);
            }
            Envelope::Abridged => {
                let words = payload.len() / 4;
                if words < 127 {
                    packet.push(words as u8);
                } else {
                    packet.extend(((words as u32) << 8 | 127).to_le_bytes());
                }
                packet.extend(payload);
            }
        }
        if let Some(cipher) = &mut self.cipher {
            cipher.encrypt(&mut packet);
        }
        self.stream.write_all(&packet).await.expect("writes");
    }

    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await.ok()?;
        if let Some(cipher) = &mut self.cipher {
            cipher.decrypt(&mut bytes);
        }
        Some(bytes)
    }

    /// The next packet; none where the server closed the connection.
    pub async fn read(&mut self) -> Option<Vec<u8>> {
        let number = |bytes: Vec<u8>| i32::from_le_bytes(bytes.try_into().expect("four bytes"));
        match self.envelope {
            Envelope::Full => {
                let length = number(self.take(4).await?);
                if length < 0 {
                    return Some(length.to_le_bytes().to_vec());
                }
                let mut rest = self.take(length as usize - 4).await?;
                rest.truncate(rest.len() - 4);
                rest.drain(..4);
                Some(rest)
            }
            Envelope::Intermediate => {
                let length = number(self.take(4).await?);
                self.take(length as usize).await
            }
            Envelope::Padded => {
                let length = number(self.take(4).await?);
                let mut packet = self.take(length as usize).await?;
                if packet.len() >= 24 && packet[..8] != [0; 8] {
                    packet.truncate(24 + (packet.len() - 24) / 16 * 16);
                }
                Some(packet)
            }
            Envelope::Abridged => {
                let words = match self.take(1).await?[0] {
                    127 => {
                        let bytes = self.take(3).await?;
                        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) as usize
                    }
                    words => usize::from(words),
                };
                self.take(words * 4).await
            }
        }
    }

    /// The transport error that comes next, if the next packet is one.
    pub async fn transport_error(&mut self) -> Option<i32> {
        let packet = self.read().await?;
        (packet.len() == 4).then(|| i32::from_le_bytes(packet.try_into().expect("four bytes")))
    }

    /// The transport error that comes next, after messages that came before it.
    pub async fn transport_error_after_messages(&mut self) -> Option<i32> {
        loop {
            let packet = self.read().await?;
            if packet.len() == 4 {
                return Some(i32::from_le_bytes(packet.try_into().expect("four bytes")));
            }
        }
    }

    /// Ids grow.
    pub fn next_id(&mut self) -> i64 {
        self.last_id = id_now().max(self.last_id + 4);
        self.last_id
    }

    /// An odd one, of what has to be acknowledged.
    pub fn next_seq_no(&mut self) -> i32 {
        self.content += 1;
        self.content * 2 - 1
    }

    /// Sends one message as told.
    pub async fn send_as(&mut self, id: i64, seq_no: i32, body: &[u8]) {
        let mut buffer = DequeBuffer::with_capacity(body.len() + 96, 64);
        buffer.extend(self.salt.to_le_bytes());
        buffer.extend(self.session.to_le_bytes());
        buffer.extend(message(id, seq_no, body));
        encrypt_data_v2(&mut buffer, &AuthKey::from_bytes(self.key));
        let packet = buffer[..].to_vec();
        self.write(&packet).await;
    }

    pub async fn send(&mut self, body: &[u8]) -> i64 {
        let (id, seq_no) = (self.next_id(), self.next_seq_no());
        self.send_as(id, seq_no, body).await;
        id
    }

    /// Sends what needs no acknowledgement.
    pub async fn tell(&mut self, body: &[u8]) -> i64 {
        let (id, seq_no) = (self.next_id(), self.content * 2);
        self.send_as(id, seq_no, body).await;
        id
    }

    pub async fn acknowledge(&mut self, ids: Vec<i64>) {
        self.tell(&tl::enums::MsgsAck::Ack(tl::types::MsgsAck { msg_ids: ids }).to_bytes()).await;
    }

    /// Reads one more packet's messages.
    pub async fn more(&mut self) {
        let mut packet =
            tokio::time::timeout(std::time::Duration::from_secs(20), self.read()).await.expect("in time").expect("open");
        assert!(packet.len() > 4, "transport error {packet:?}");
        let key = AuthKey::from_bytes(self.key);
        let plain = decrypt_data_v2(&mut packet, &key).expect("decrypts");
        assert_eq!(plain[8..16], self.session.to_le_bytes());
        let (_, body) = plain.split_at(16);
        let mut found = Vec::new();
        take_messages(&mut Cursor::from_slice(body), 1, &mut found);
        if u32::from_bytes(&found[0].body).expect("a constructor") == CONTAINER {
            let outer = found.remove(0);
            let mut cursor = Cursor::from_slice(&outer.body);
            u32::deserialize(&mut cursor).expect("a container");
            let count = i32::deserialize(&mut cursor).expect("a count");
            take_messages(&mut cursor, count, &mut found);
        }
        self.unacknowledged.extend(found.iter().filter(|told| told.seq_no % 2 == 1).map(|told| told.id));
        self.received.extend(found);
    }

    /// The next message that is wanted; the others stay.
    pub async fn next(&mut self, wanted: impl Fn(&Received) -> bool) -> Received {
        loop {
            if let Some(at) = self.received.iter().position(&wanted) {
                return self.received.remove(at);
            }
            self.more().await;
        }
    }

    pub async fn next_of<T: Identifiable + Deserializable>(&mut self) -> T {
        let received = self.next(Received::is::<T>).await;
        T::from_bytes(&received.body[4..]).expect("reads")
    }

    /// The result of a call, or the error's name.
    pub async fn result(&mut self, request: i64) -> Result<Vec<u8>, String> {
        let is_result = |told: &Received| told.constructor() == RPC_RESULT && told.body[4..12] == request.to_le_bytes();
        let told = self.next(is_result).await;
        result_of(&told)
    }

    /// Calls; a salt that was refused is replaced.
    pub async fn call<F: RemoteCall>(&mut self, call: &F) -> Result<F::Return, String> {
        let body = call.to_bytes();
        loop {
            let request = self.send(&body).await;
            let told = self
                .next(|told| {
                    told.constructor() == RPC_RESULT && told.body[4..12] == request.to_le_bytes()
                        || told.is::<tl::types::BadServerSalt>()
                })
                .await;
            if told.is::<tl::types::BadServerSalt>() {
                let tl::enums::BadMsgNotification::BadServerSalt(bad) = told.read() else { panic!("another") };
                self.salt = bad.new_server_salt;
                continue;
            }
            return result_of(&told).map(|body| F::Return::from_bytes(&body).expect("reads"));
        }
    }

    /// Sends an unencrypted request and reads its answer; none where the server refuses.
    pub async fn plain<F: RemoteCall>(&mut self, call: &F) -> Result<F::Return, i32> {
        let body = call.to_bytes();
        let mut packet = vec![0; 8];
        packet.extend(self.next_id().to_le_bytes());
        packet.extend((body.len() as i32).to_le_bytes());
        packet.extend(body);
        self.write(&packet).await;
        let answer = self.read().await.expect("an answer");
        if answer.len() == 4 {
            return Err(i32::from_le_bytes(answer.try_into().expect("four bytes")));
        }
        Ok(F::Return::from_bytes(&answer[20..]).expect("reads"))
    }

    /// Agrees on a new key.
    pub async fn exchange(&mut self, simulator: &Simulator, padding: Padding) {
        let mut exchange = Exchange::begin(self, simulator, padding, |data| data).await.expect("parameters");
        let answer = exchange.finish(self).await;
        let tl::enums::SetClientDhParamsAnswer::DhGenOk(ok) = answer else { panic!("{answer:?}") };
        assert_eq!(ok.new_nonce_hash1, AuthKey::from_bytes(self.key).calc_new_nonce_hash(&exchange.new_nonce, 1));
    }
}

/// A key exchange after its second step.
pub struct Exchange {
    nonce: [u8; 16],
    server_nonce: [u8; 16],
    pub new_nonce: [u8; 32],
    prime: BigUint,
    g: BigUint,
    g_a: BigUint,
    /// Makes the client send this instead of its own number.
    pub g_b: Option<Vec<u8>>,
}

impl Exchange {
    /// Up to the server's half of the key; `change` may spoil what is encrypted.
    pub async fn begin(
        raw: &mut Raw,
        simulator: &Simulator,
        padding: Padding,
        change: impl FnOnce(tl::enums::PQInnerData) -> tl::enums::PQInnerData,
    ) -> Result<Self, i32> {
        let nonce = rand::random();
        let tl::enums::ResPq::Pq(told) = raw.plain(&tl::functions::ReqPqMulti { nonce }).await?;
        let (pem, fingerprint) = simulator.rsa_key();
        assert_eq!((told.nonce, &told.server_public_key_fingerprints[..]), (nonce, &[fingerprint][..]));
        let pq = u64::from_be_bytes(told.pq.clone().try_into().expect("eight bytes"));
        let (p, q) = factorize(pq);
        let [p, q] = [p, q].map(|prime| (prime as u32).to_be_bytes().to_vec());
        let (server_nonce, new_nonce) = (told.server_nonce, rand::random());
        let data = tl::types::PQInnerData { pq: told.pq, p: p.clone(), q: q.clone(), nonce, server_nonce, new_nonce };
        let data = change(data.into()).to_bytes();
        let n = modulus(&pem);
        let encrypted_data = match padding {
            Padding::Current => rsa::encrypt_hashed(&data, &rsa::Key::new(&n.to_string(), "65537").expect("a key"), &[3; 224]),
            Padding::Older => {
                let mut padded = [Sha1::digest(&data).to_vec(), data].concat();
                padded.resize(255, 5);
                let encrypted = BigUint::from_bytes_be(&padded).modpow(&BigUint::from(65_537_u32), &n).to_bytes_be();
                [vec![0; 256 - encrypted.len()], encrypted].concat()
            }
        };
        let request = tl::functions::ReqDhParams { nonce, server_nonce, p, q, public_key_fingerprint: fingerprint, encrypted_data };
        let mut answer = match raw.plain(&request).await? {
            tl::enums::ServerDhParams::Ok(ok) => ok.encrypted_answer,
            tl::enums::ServerDhParams::Fail(fail) => {
                assert_eq!(fail.new_nonce_hash, Sha1::digest(new_nonce)[4..]);
                return Err(0);
            }
        };
        let (key, iv) = generate_key_data_from_nonce(&server_nonce, &new_nonce);
        aes::ige_decrypt(&mut answer, &key, &iv);
        let tl::enums::ServerDhInnerData::Data(inner) =
            tl::enums::ServerDhInnerData::deserialize(&mut Cursor::from_slice(&answer[20..])).expect("reads");
        Ok(Self {
            nonce,
            server_nonce,
            new_nonce,
            prime: BigUint::from_bytes_be(&inner.dh_prime),
            g: BigUint::from(inner.g as u32),
            g_a: BigUint::from_bytes_be(&inner.g_a),
            g_b: None,
        })
    }

    /// Sends the client's half; the connection has the key from now on.
    pub async fn finish(&mut self, raw: &mut Raw) -> tl::enums::SetClientDhParamsAnswer {
        let b = BigUint::from_bytes_be(&rand::random::<[u8; 32]>());
        let g_b = self.g_b.clone().unwrap_or_else(|| self.g.modpow(&b, &self.prime).to_bytes_be());
        let shared = self.g_a.modpow(&b, &self.prime).to_bytes_be();
        raw.key = [0; 256];
        raw.key[256 - shared.len()..].copy_from_slice(&shared);
        let (nonce, server_nonce) = (self.nonce, self.server_nonce);
        let data = tl::enums::ClientDhInnerData::Data(tl::types::ClientDhInnerData { nonce, server_nonce, retry_id: 0, g_b });
        let data = data.to_bytes();
        let mut encrypted_data = [Sha1::digest(&data).to_vec(), data].concat();
        encrypted_data.resize(encrypted_data.len().next_multiple_of(16), 0);
        let (key, iv) = generate_key_data_from_nonce(&server_nonce, &self.new_nonce);
        aes::ige_encrypt(&mut encrypted_data, &key, &iv);
        raw.plain(&tl::functions::SetClientDhParams { nonce, server_nonce, encrypted_data }).await.expect("an answer")
    }
}

pub fn message(id: i64, seq_no: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(id.to_le_bytes());
    out.extend(seq_no.to_le_bytes());
    out.extend((body.len() as i32).to_le_bytes());
    out.extend(body);
    out
}

pub fn container(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut body = CONTAINER.to_bytes();
    body.extend((messages.len() as i32).to_le_bytes());
    body.extend(messages.concat());
    body
}

/// The body, packed.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, body).expect("packs");
    [GZIP.to_bytes(), encoder.finish().expect("packs").to_bytes()].concat()
}

fn take_messages(cursor: &mut Cursor<'_>, count: i32, found: &mut Vec<Received>) {
    for _ in 0..count {
        let id = i64::deserialize(cursor).expect("an id");
        let seq_no = i32::deserialize(cursor).expect("a number");
        let mut body = vec![0; i32::deserialize(cursor).expect("a length") as usize];
        cursor.read_exact(&mut body).expect("a body");
        found.push(Received { id, seq_no, body });
    }
}

fn result_of(told: &Received) -> Result<Vec<u8>, String> {
    let mut body = told.body[12..].to_vec();
    if u32::from_bytes(&body).expect("a constructor") == GZIP {
        let packed = Vec::<u8>::from_bytes(&body[4..]).expect("bytes");
        body.clear();
        std::io::Read::read_to_end(&mut GzDecoder::new(&packed[..]), &mut body).expect("unpacks");
    }
    if u32::from_bytes(&body).expect("a constructor") == RPC_ERROR {
        let tl::enums::RpcError::Error(error) = tl::enums::RpcError::from_bytes(&body).expect("an error");
        return Err(format!("{} {}", error.error_code, error.error_message));
    }
    Ok(body)
}

fn modulus(pem: &str) -> BigUint {
    let encoded: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = BASE64_STANDARD.decode(encoded).expect("base64");
    // A sequence and an integer of 257 bytes, the first of them zero.
    assert_eq!(der[..9], [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0]);
    BigUint::from_bytes_be(&der[9..265])
}
