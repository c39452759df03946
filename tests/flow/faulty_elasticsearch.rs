//! The way to Elasticsearch with trouble on it: whole requests refused, and single items of a bulk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::RngExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::installation::DATACENTRE;

/// A proxy before the real server.
pub(crate) struct FaultyElasticsearch {
    pub(crate) address: String,
    pub(crate) troubled: Arc<AtomicBool>,
    /// Requests and items that were refused.
    pub(crate) refused: Arc<AtomicU64>,
}

impl FaultyElasticsearch {
    pub(crate) async fn start() -> Self {
        let url = std::env::var("ELASTICSEARCH_URL").unwrap();
        let server = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = DATACENTRE.spawn(TcpListener::bind("127.0.0.1:0")).await.unwrap().unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (troubled, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let proxy = (troubled.clone(), refused.clone());
        DATACENTRE.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (server, (troubled, refused)) = (server.clone(), proxy.clone());
                tokio::spawn(async move {
                    let _ = serve(near, &server, &troubled, &refused).await;
                });
            }
        });
        Self { address, troubled, refused }
    }
}

/// A message of HTTP/1.1: its head, and a body of a told length.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    /// None at the end of the connection.
    async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let mut body = bytes.split_off(end);
        while body.len() < length.unwrap_or(0) {
            if stream.read_buf(&mut body).await? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(Self { head, body }))
    }

    /// The head as HTTP/1.0 has it: the answer comes in one piece, and its end is that of the connection.
    fn simple_head(&self) -> String {
        let kept = |line: &&str| {
            let line = line.to_ascii_lowercase();
            !line.starts_with("accept-encoding:") && !line.starts_with("connection:")
        };
        let lines: Vec<&str> = self.head.trim_end().lines().filter(kept).collect();
        format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1))
    }

    /// What a server that closes behind its answer said.
    fn answered(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        Some(Self { head, body: bytes[end..].to_vec() })
    }
}

async fn serve(mut near: TcpStream, server: &str, troubled: &AtomicBool, refused: &AtomicU64) -> std::io::Result<()> {
    while let Some(request) = Message::read(&mut near).await? {
        let is_bulk = request.head.lines().next().is_some_and(|line| line.contains("/_bulk"));
        let fate = if is_bulk && troubled.load(Ordering::SeqCst) { rand::rng().random_range(0..10) } else { 9 };
        if fate < 2 {
            refused.fetch_add(1, Ordering::SeqCst);
            let (status, kind) = [("429 Too Many Requests", "busy"), ("503 Service Unavailable", "away")][fate];
            let body = json!({ "error": { "type": kind, "reason": "trouble" } }).to_string();
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            near.write_all((head + body.as_str()).as_bytes()).await?;
            continue;
        }
        let mut far = TcpStream::connect(server).await?;
        far.write_all(request.simple_head().as_bytes()).await?;
        far.write_all(&request.body).await?;
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await?;
        let Some(mut answer) = Message::answered(&bytes) else { return Ok(()) };
        if fate < 5
            && let Ok(mut told) = serde_json::from_slice::<Value>(&answer.body)
        {
            refused.fetch_add(spoil(&mut told), Ordering::SeqCst);
            answer.body = told.to_string().into_bytes();
        }
        let kept = |line: &&str| {
            let line = line.to_ascii_lowercase();
            !line.starts_with("content-length:") && !line.starts_with("connection:")
        };
        let lines: Vec<&str> = answer.head.trim_end().lines().filter(kept).collect();
        let head = lines.join("\r\n").replacen("HTTP/1.0", "HTTP/1.1", 1);
        near.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n", answer.body.len()).as_bytes()).await?;
        near.write_all(&answer.body).await?;
    }
    Ok(())
}

/// Some items of a bulk's answer become refusals; gives how many.
fn spoil(told: &mut Value) -> u64 {
    let mut spoiled = 0;
    for item in told["items"].as_array_mut().into_iter().flatten() {
        if let Some(result) = item.as_object_mut().and_then(|item| item.values_mut().next())
            && rand::rng().random_bool(0.1)
        {
            result["status"] = json!(if rand::rng().random_bool(0.5) { 429 } else { 503 });
            result["error"] = json!({ "type": "es_rejected_execution_exception", "reason": "trouble" });
            spoiled += 1;
        }
    }
    if spoiled > 0 {
        told["errors"] = json!(true);
    }
    spoiled
}
