//! What `scripts/bench live` asks of a running simulator: events at a rate, and when each of some posts can be searched. And a gate
//! before Elasticsearch that can be shut. One line of JSON.

#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock itself")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Events of one beat are posted in one request.
const BEAT: Duration = Duration::from_millis(20);
/// Between two searches for the posts that are not found yet.
const LOOK: Duration = Duration::from_millis(50);
/// After so long without being found a post counts as lost.
const GIVE_UP: Duration = Duration::from_secs(120);
/// Of 100 events so many are posts and edits; the others delete a message.
const SHARES: (u32, u32) = (85, 10);

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lets events happen in every channel and supergroup of a world.
    Events {
        /// The control port, as http://127.0.0.1:4000.
        #[arg(long)]
        control: String,
        /// Events a second.
        #[arg(long)]
        rate: u32,
        #[arg(long)]
        count: u64,
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// Where messages are searched, as http://127.0.0.1:9200/telekeep-message; ten posts a second are looked for.
        #[arg(long)]
        search: Option<String>,
    },
    /// Passes connections on to an address until SIGUSR1 shuts it and cuts them; SIGUSR2 opens it again. Prints its own address.
    Gate {
        /// As 127.0.0.1:9200.
        address: String,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().command {
        Command::Gate { address } => gate(address).await,
        Command::Events { control, rate, count, seed, search } => {
            let play = Play::new(Place::new(&control)?, seed).await?;
            let told = events(play, rate.max(1), count, search.as_deref().map(Place::new).transpose()?).await?;
            println!("{told}");
            Ok(())
        }
    }
}

async fn gate(address: String) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (mut shut, mut open) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    println!("{}", listener.local_addr()?);
    let (is_open, _) = watch::channel(true);
    loop {
        tokio::select! {
            _ = shut.recv() => drop(is_open.send_replace(false)),
            _ = open.recv() => drop(is_open.send_replace(true)),
            near = listener.accept() => {
                let (mut near, _) = near?;
                if *is_open.borrow() {
                    let (address, mut shuts) = (address.clone(), is_open.subscribe());
                    tokio::spawn(async move {
                        let Ok(mut far) = TcpStream::connect(address).await else { return };
                        // Either end is dropped, whatever is on its way.
                        tokio::select! { _ = copy_bidirectional(&mut near, &mut far) => {} _ = shuts.wait_for(|open| !open) => {} }
                    });
                }
            }
        }
    }
}

/// A server that speaks HTTP, and a path there.
#[derive(Debug, Clone)]
struct Place {
    host: String,
    path: String,
}

impl Place {
    fn new(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url}: no http:// address"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { host: host.to_owned(), path: path.trim_end_matches('/').to_owned() })
    }

    /// HTTP/1.0: the end of the answer is that of the connection.
    async fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, Box<dyn Error>> {
        let mut stream = TcpStream::connect(&self.host).await?;
        let (host, below, length) = (&self.host, &self.path, body.len());
        let separator = if below.is_empty() { "" } else { "/" };
        let head = format!(
            "{method} {separator}{below}{path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8(answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer broke off")?;
        match head.split(' ').nth(1) {
            Some("200") if head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked") => whole(body),
            Some("200") => Ok(body.to_owned()),
            _ => Err(format!("{method} {path}: {head}: {body}").into()),
        }
    }
}

/// A body that came in chunks.
fn whole(mut chunks: &str) -> Result<String, Box<dyn Error>> {
    let mut body = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n").ok_or("a chunk without a length")?;
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        body += rest.get(..size).ok_or("a chunk broke off")?;
        chunks = rest.get(size + 2..).ok_or("a chunk broke off")?;
    }
}

/// What is known of a chat: its members, where they post, and its messages.
struct Stage {
    members: Vec<i64>,
    ids: Vec<i32>,
}

/// A world that goes on, by a seed.
struct Play {
    control: Place,
    stages: BTreeMap<i64, Stage>,
    chance: StdRng,
    happened: u64,
}

impl Play {
    async fn new(control: Place, seed: u64) -> Result<Self, Box<dyn Error>> {
        let mut stages = BTreeMap::new();
        for chat in serde_json::from_str::<Vec<Value>>(&control.ask("GET", "/chats", "").await?)? {
            let id = chat["chat_id"].as_i64().ok_or("a chat without an id")?;
            let members = match chat["kind"].as_str() {
                Some("channel") => Vec::new(),
                Some("supergroup") => {
                    let told = control.ask("GET", &format!("/chats/{id}/members"), "").await?;
                    let members = told.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
                    members.iter().filter(|it| it["role"] == "member").filter_map(|it| it["user_id"].as_i64()).collect()
                }
                _ => continue,
            };
            stages.insert(id, Stage { members, ids: Vec::new() });
        }
        Ok(Self { control, stages, chance: StdRng::seed_from_u64(seed), happened: 0 })
    }

    fn next(&mut self) -> Value {
        let chats: Vec<i64> = self.stages.keys().copied().collect();
        let chat = chats.choose(&mut self.chance).copied().unwrap_or(0);
        let kind = self.chance.random_range(0..100);
        let text = self.words();
        self.happened += 1;
        let stage = self.stages.entry(chat).or_insert(Stage { members: Vec::new(), ids: Vec::new() });
        if kind >= SHARES.0 && !stage.ids.is_empty() {
            let at = self.chance.random_range(0..stage.ids.len());
            if kind < SHARES.0 + SHARES.1 {
                return json!({ "event": "edit", "chat": chat, "id": stage.ids[at], "text": text });
            }
            return json!({ "event": "delete", "chat": chat, "ids": [stage.ids.swap_remove(at)] });
        }
        match stage.members.choose(&mut self.chance) {
            Some(from) => json!({ "event": "post", "chat": chat, "from": from, "text": text }),
            None => json!({ "event": "post", "chat": chat, "text": text }),
        }
    }

    /// Some words, every tenth time with a link.
    fn words(&mut self) -> String {
        const WORDS: [&str; 12] =
            ["harbour", "tide", "lantern", "cargo", "north", "pilot", "rope", "signal", "grain", "storm", "Hafenmeister", "причал"];
        let count = self.chance.random_range(4..24);
        let mut text = format!("{}", self.happened);
        for _ in 0..count {
            text.push(' ');
            text.push_str(WORDS.choose(&mut self.chance).unwrap_or(&""));
        }
        if self.happened.is_multiple_of(10) {
            text += &format!(" https://example.org/{}", self.happened);
        }
        text
    }

    /// So many events happen; gives the posts, as chat and id.
    async fn goes_on(&mut self, count: u64) -> Result<Vec<(i64, i32)>, Box<dyn Error>> {
        let lines: Vec<String> = (0..count).map(|_| self.next().to_string()).collect();
        let told = self.control.ask("POST", "/events", &lines.join("\n")).await?;
        let mut posted = Vec::new();
        for line in told.lines() {
            let line: Value = serde_json::from_str(line)?;
            for post in line["posted"].as_array().into_iter().flatten() {
                let (chat, id) = (post["chat_id"].as_i64().unwrap_or(0), post["message_id"].as_i64().unwrap_or(0) as i32);
                posted.push((chat, id));
                if let Some(stage) = self.stages.get_mut(&chat) {
                    stage.ids.push(id);
                }
            }
        }
        Ok(posted)
    }
}

/// Posts that are looked for, each with when it was posted.
type Sought = BTreeMap<(i64, i32), Instant>;

async fn events(mut play: Play, rate: u32, count: u64, search: Option<Place>) -> Result<Value, Box<dyn Error>> {
    let sought = Arc::new(std::sync::Mutex::new(Sought::new()));
    let (ended, mut over) = watch::channel(false);
    let looks = search.clone().map(|place| {
        let sought = sought.clone();
        tokio::spawn(async move { look(&place, &sought, &mut over).await.map_err(|error| error.to_string()) })
    });
    let began = Instant::now();
    let mut beat = tokio::time::interval(BEAT);
    let (mut done, mut probed) = (0, began);
    while done < count {
        beat.tick().await;
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        let now = due.min(count).saturating_sub(done).min(500);
        if now == 0 {
            continue;
        }
        let before = Instant::now();
        let posted = play.goes_on(now).await?;
        done += now;
        // The delay counts from before the request in which it happened.
        if search.is_some()
            && probed.elapsed() >= Duration::from_millis(100)
            && let Some(post) = posted.first()
        {
            probed = before;
            sought.lock().map_err(|_| "a look failed")?.insert(*post, before);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    ended.send_replace(true);
    let mut told = json!({ "events": count, "seconds": seconds, "events_per_s": count as f64 / seconds });
    if let Some(looks) = looks {
        let mut delays = looks.await??;
        delays.sort_unstable();
        let percentile =
            |share: f64| delays.get(((delays.len() as f64 * share).ceil() as usize).max(1) - 1).map(Duration::as_millis);
        told["probes"] = json!(delays.len());
        told["delay_p50_ms"] = json!(percentile(0.5).map(|it| it as u64));
        told["delay_p99_ms"] = json!(percentile(0.99).map(|it| it as u64));
        told["delay_max_ms"] = json!(delays.last().map(|it| it.as_millis() as u64));
    }
    Ok(told)
}

/// Searches for what is sought until all is found after the end; gives the delays.
async fn look(place: &Place, sought: &std::sync::Mutex<Sought>, over: &mut watch::Receiver<bool>) -> Result<Vec<Duration>, String> {
    let mut delays = Vec::new();
    loop {
        let keys: Vec<((i64, i32), Instant)> =
            sought.lock().map_err(|error| error.to_string())?.iter().map(|(key, since)| (*key, *since)).collect();
        if keys.is_empty() && *over.borrow() {
            return Ok(delays);
        }
        if let Some((key, _)) = keys.iter().find(|(_, since)| since.elapsed() > GIVE_UP) {
            return Err(format!("{key:?} was not found in {GIVE_UP:?}"));
        }
        if !keys.is_empty() {
            let ids: Vec<i32> = keys.iter().map(|((_, id), _)| *id).collect();
            let query = json!({
                "size": 1000, "_source": ["chat_id", "message_id"], "query": { "terms": { "message_id": ids } },
            });
            let answer = place.ask("POST", "/_search", &query.to_string()).await.map_err(|error| error.to_string())?;
            let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
            let mut sought = sought.lock().map_err(|error| error.to_string())?;
            for hit in answer["hits"]["hits"].as_array().into_iter().flatten() {
                let source = &hit["_source"];
                let key = (source["chat_id"].as_i64().unwrap_or(0), source["message_id"].as_i64().unwrap_or(0) as i32);
                delays.extend(sought.remove(&key).map(|since| since.elapsed()));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}
