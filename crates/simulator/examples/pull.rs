//! What `scripts/bench simulator` asks of a running simulator: history, members and a large file, read by grammers' sender with
//! calls in flight. Answers are counted, not interpreted, so that the server is what is measured. One line of JSON.

#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock itself")]

use std::collections::HashMap;
use std::error::Error;
use std::net::{SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicUsize, Ordering};
use std::time::Instant;

use clap::Parser;
use futures::future::try_join_all;
use grammers_mtsender::{ConnectionParams, NoRetries, SenderPool, SenderPoolFatHandle};
use grammers_session::SessionData;
use grammers_session::storages::MemorySession;
use grammers_session::types::DcOption;
use grammers_tl_types as tl;
use serde_json::json;
use telekeep_simulator::SessionFile;
use tl::{RemoteCall, Serializable};

/// Messages on a page.
const PAGE: i32 = 100;
/// Members on a page.
const MEMBERS_PAGE: i32 = 200;
/// Bytes of a part: the largest that the client's buffer holds with its envelope.
const PART: i32 = 512 * 1024;

#[derive(Debug, Parser)]
struct Arguments {
    /// A session file of `telekeep-simulator account`.
    #[arg(long)]
    session: PathBuf,
    /// The simulator's process.
    #[arg(long)]
    pid: u32,
    /// How many messages the chat @million has, none of them deleted.
    #[arg(long, default_value_t = 1_000_000)]
    messages: i32,
    /// How much of the newest file of @depot is read, in MiB.
    #[arg(long, default_value_t = 1024)]
    file_mib: i64,
    /// Calls in flight.
    #[arg(long, default_value_t = 8)]
    flying: usize,
}

struct Client {
    handle: SenderPoolFatHandle,
    dc: i32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let session: SessionFile = serde_json::from_slice(&std::fs::read(&arguments.session)?)?;
    let client = Client::connect(&session)?;
    let idle_rss_mib = memory(arguments.pid, "VmRSS")?;

    let million = client.resolve("million").await?;
    let history = Used::during(arguments.pid, read_history(&client, &million, &arguments)).await?;
    let members = Used::during(arguments.pid, read_members(&client, &million, &arguments)).await?;
    let depot = client.resolve("depot").await?;
    let file = client.newest_file(&depot).await?;
    let download = Used::during(arguments.pid, read_file(&client, &file, &arguments)).await?;

    let told = json!({
        "messages": history.done,
        "messages_per_s": history.per_second(),
        "messages_per_server_cpu_s": history.per_cpu_second(),
        "members": members.done,
        "members_per_s": members.per_second(),
        "bytes": download.done,
        "bytes_per_s": download.per_second(),
        "bytes_per_server_cpu_s": download.per_cpu_second(),
        "idle_rss_mib": idle_rss_mib,
        "rss_mib": memory(arguments.pid, "VmHWM")?,
    });
    println!("{told}");
    Ok(())
}

/// What was read, and what it took.
struct Used {
    done: u64,
    seconds: f64,
    cpu_seconds: f64,
}

impl Used {
    async fn during(pid: u32, work: impl Future<Output = Result<u64, Box<dyn Error>>>) -> Result<Self, Box<dyn Error>> {
        let (began, cpu) = (Instant::now(), cpu_seconds(pid)?);
        let done = work.await?;
        Ok(Used { done, seconds: began.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds(pid)? - cpu })
    }

    fn per_second(&self) -> u64 {
        (self.done as f64 / self.seconds) as u64
    }

    /// The same if the server had a core of its own.
    fn per_cpu_second(&self) -> u64 {
        (self.done as f64 / self.cpu_seconds.max(0.01)) as u64
    }
}

impl Client {
    fn connect(session: &SessionFile) -> Result<Self, Box<dyn Error>> {
        let mut key = [0; 256];
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(session.key.get(2 * at..2 * at + 2).ok_or("a short key")?, 16)?;
        }
        let ipv4 = SocketAddrV4::new(session.address.parse()?, session.port);
        let ipv6 = SocketAddrV6::new(ipv4.ip().to_ipv6_mapped(), ipv4.port(), 0, 0);
        let dc = DcOption { id: session.dc, ipv4, ipv6, auth_key: Some(key) };
        let data = SessionData { home_dc: session.dc, dc_options: HashMap::from([(session.dc, dc)]), ..SessionData::default() };
        let params = ConnectionParams { retry_policy: Box::new(NoRetries), ..ConnectionParams::default() };
        let pool = SenderPool::with_configuration(Arc::new(MemorySession::from(data)), 1, params);
        tokio::spawn(pool.runner.run());
        Ok(Client { handle: pool.handle, dc: session.dc })
    }

    async fn ask<R: RemoteCall>(&self, call: &R) -> Result<R::Return, Box<dyn Error>> {
        Ok(self.handle.invoke_in_dc(self.dc, call).await?)
    }

    async fn raw(&self, call: &impl Serializable) -> Result<Vec<u8>, Box<dyn Error>> {
        Ok(self.handle.raw_invoke_in_dc(self.dc, call.to_bytes()).await?)
    }

    async fn resolve(&self, username: &str) -> Result<tl::types::InputChannel, Box<dyn Error>> {
        let call = tl::functions::contacts::ResolveUsername { username: username.to_owned(), referer: None };
        let tl::enums::contacts::ResolvedPeer::Peer(found) = self.ask(&call).await?;
        match found.chats.into_iter().next() {
            Some(tl::enums::Chat::Channel(told)) => {
                Ok(tl::types::InputChannel { channel_id: told.id, access_hash: told.access_hash.ok_or("no hash")? })
            }
            _ => Err(format!("@{username} is no channel").into()),
        }
    }

    async fn newest_file(&self, channel: &tl::types::InputChannel) -> Result<tl::types::Document, Box<dyn Error>> {
        let tl::enums::messages::Messages::ChannelMessages(page) = self.ask(&get_history(channel, 0)).await? else {
            return Err("not a channel's page".into());
        };
        let document = page.messages.into_iter().find_map(|message| match message {
            tl::enums::Message::Message(message) => match message.media? {
                tl::enums::MessageMedia::Document(media) => match media.document? {
                    tl::enums::Document::Document(document) => Some(document),
                    tl::enums::Document::Empty(_) => None,
                },
                _ => None,
            },
            _ => None,
        });
        Ok(document.ok_or("no file in @depot")?)
    }
}

fn get_history(channel: &tl::types::InputChannel, offset_id: i32) -> tl::functions::messages::GetHistory {
    let peer = tl::types::InputPeerChannel { channel_id: channel.channel_id, access_hash: channel.access_hash }.into();
    tl::functions::messages::GetHistory {
        peer,
        offset_id,
        offset_date: 0,
        add_offset: 0,
        limit: PAGE,
        max_id: 0,
        min_id: 0,
        hash: 0,
    }
}

/// All messages, newest first. No message is deleted, so that a page's place is known before the one above it is read.
async fn read_history(client: &Client, channel: &tl::types::InputChannel, arguments: &Arguments) -> Result<u64, Box<dyn Error>> {
    let next = AtomicI32::new(arguments.messages + 1);
    let read = AtomicUsize::new(0);
    let workers = (0..arguments.flying).map(|_| async {
        loop {
            let offset = next.fetch_sub(PAGE, Ordering::Relaxed);
            if offset <= 1 {
                return Ok::<_, Box<dyn Error>>(());
            }
            let answer = client.raw(&get_history(channel, offset)).await?;
            // messages.channelMessages: constructor, flags, pts, count, then the vector's constructor and length.
            let length = answer.get(20..24).and_then(|bytes| bytes.try_into().ok()).map(i32::from_le_bytes);
            if length != Some(PAGE.min(offset - 1)) {
                return Err(format!("{length:?} messages below {offset}").into());
            }
            read.fetch_add(usize::try_from(PAGE.min(offset - 1))?, Ordering::Relaxed);
        }
    });
    try_join_all(workers).await?;
    Ok(u64::try_from(read.into_inner())?)
}

/// As many members as the server lists.
async fn read_members(client: &Client, channel: &tl::types::InputChannel, arguments: &Arguments) -> Result<u64, Box<dyn Error>> {
    let next = AtomicI32::new(0);
    let read = AtomicUsize::new(0);
    let workers = (0..arguments.flying).map(|_| async {
        loop {
            let call = tl::functions::channels::GetParticipants {
                channel: channel.clone().into(),
                filter: tl::enums::ChannelParticipantsFilter::ChannelParticipantsRecent,
                offset: next.fetch_add(MEMBERS_PAGE, Ordering::Relaxed),
                limit: MEMBERS_PAGE,
                hash: 0,
            };
            match client.ask(&call).await? {
                tl::enums::channels::ChannelParticipants::Participants(page) if !page.participants.is_empty() => {
                    read.fetch_add(page.participants.len(), Ordering::Relaxed);
                }
                _ => return Ok::<_, Box<dyn Error>>(()),
            }
        }
    });
    try_join_all(workers).await?;
    Ok(u64::try_from(read.into_inner())?)
}

async fn read_file(client: &Client, file: &tl::types::Document, arguments: &Arguments) -> Result<u64, Box<dyn Error>> {
    let end = file.size.min(arguments.file_mib << 20);
    let next = AtomicI64::new(0);
    let read = AtomicUsize::new(0);
    // More than a few parts at once only wait for each other.
    let workers = (0..arguments.flying.min(4)).map(|_| async {
        loop {
            let offset = next.fetch_add(PART.into(), Ordering::Relaxed);
            if offset >= end {
                return Ok::<_, Box<dyn Error>>(());
            }
            let location = tl::types::InputDocumentFileLocation {
                id: file.id,
                access_hash: file.access_hash,
                file_reference: file.file_reference.clone(),
                thumb_size: String::new(),
            };
            let call = tl::functions::upload::GetFile {
                precise: false,
                cdn_supported: false,
                location: location.into(),
                offset,
                limit: PART,
            };
            // upload.file: constructor, type, time, then the bytes with their length in four bytes.
            let bytes = client.raw(&call).await?.len().saturating_sub(16);
            read.fetch_add(bytes, Ordering::Relaxed);
        }
    });
    try_join_all(workers).await?;
    Ok(u64::try_from(read.into_inner())?)
}

/// A figure of `/proc/PID/status`, in MiB.
fn memory(pid: u32, name: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).ok_or("no such figure")?;
    Ok(line.split_whitespace().next().ok_or("no number")?.parse::<u64>()? / 1024)
}

/// Time that the process has computed, in itself and in the kernel; the kernel counts in hundredths.
fn cpu_seconds(pid: u32) -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')').ok_or("no name")?;
    let mut fields = after_name.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next().ok_or("no time")?.parse()?, fields.next().ok_or("no time")?.parse()?);
    Ok((user + system) / 100.0)
}
