//! The few HTTP requests that the command line makes to the control port.

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Why the control port did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0}: not the address of a control port; it looks like http://127.0.0.1:4000, as `telekeep-simulator serve` prints it")]
    Address(String),
    #[error("{address}: the control port is not reachable ({source}); is `telekeep-simulator serve` running?")]
    Unreachable { address: String, source: std::io::Error },
    #[error("{address}: the answer broke off ({source})")]
    Broken { address: String, source: std::io::Error },
    #[error("{address}: this is no control port: {problem}")]
    Malformed { address: String, problem: String },
    #[error("{status}: {message}")]
    Refused { status: u16, message: String },
}

/// The control port of a running simulator.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    address: String,
}

impl Control {
    /// Takes `http://host:port`.
    pub(crate) fn new(url: &str) -> Result<Self, HttpError> {
        let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) if !address.contains('/') => Ok(Self { address: address.to_owned() }),
            _ => Err(HttpError::Address(url.to_owned())),
        }
    }

    /// The body of a GET.
    pub(crate) async fn get(&self, path: &str) -> Result<String, HttpError> {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)).await
    }

    /// The body of the answer to a JSON POST.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<String, HttpError> {
        let body = body.to_string();
        self.request(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        ))
        .await
    }

    async fn request(&self, request: &str) -> Result<String, HttpError> {
        let unreachable = |source| HttpError::Unreachable { address: self.address.clone(), source };
        let mut stream = TcpStream::connect(&self.address).await.map_err(unreachable)?;
        let broken = |source| HttpError::Broken { address: self.address.clone(), source };
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let (status, body) = answer(BufReader::new(stream)).await.map_err(broken)?;
        let status = status.ok_or_else(|| self.malformed("the first line is no HTTP status"))?;
        let body = String::from_utf8(body).map_err(|error| self.malformed(&error.to_string()))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let told = serde_json::from_str::<Value>(&body).ok();
        let told = told.and_then(|value| value.get("error")?.as_str().map(str::to_owned));
        Err(HttpError::Refused { status, message: told.unwrap_or(body) })
    }

    fn malformed(&self, problem: &str) -> HttpError {
        HttpError::Malformed { address: self.address.clone(), problem: problem.to_owned() }
    }
}

/// Status and body; the body is chunked, of a told length, or all there is.
async fn answer(mut stream: impl AsyncBufRead + Unpin) -> std::io::Result<(Option<u16>, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (mut chunked, mut length) = (false, None);
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let header = line.trim().to_ascii_lowercase();
        match header.split_once(':') {
            None => break,
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            Some(("content-length", value)) => length = value.trim().parse::<u64>().ok(),
            Some(_) => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let invalid = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            let size = u64::from_str_radix(line.trim(), 16).map_err(invalid)?;
            let from = body.len();
            (&mut stream).take(size + 2).read_to_end(&mut body).await?;
            if (body.len() - from) as u64 != size + 2 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            body.truncate(body.len() - 2);
            if size == 0 {
                return Ok((status, body));
            }
        }
    }
    stream.take(length.unwrap_or(u64::MAX)).read_to_end(&mut body).await?;
    if length.is_some_and(|length| length != body.len() as u64) {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok((status, body))
}
