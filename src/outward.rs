//! One HTTP request outwards under a time limit, for what operators configure: webhooks of alerts, and the receiver of traces.
//! Elasticsearch and object stores have clients of their own.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// An answer is read up to this; what is beyond is nobody's concern.
const MOST_ANSWER: usize = 64 * 1024;

/// Why a request was not answered. Says nothing of the address, which may carry a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no connection")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    #[error("no answer within {} s", .0.as_secs())]
    TooSlow(Duration),
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    #[error("TLS cannot be used")]
    Tls(#[from] rustls::Error),
}

/// A client. Cheap to clone; connections are kept for a while.
#[derive(Debug, Clone)]
pub struct Outward(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Outward {
    /// Sends nothing yet. TLS trusts Mozilla's list of authorities.
    pub fn new() -> Result<Self, Error> {
        let tls = HttpsConnectorBuilder::new().with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?;
        let connector = tls.https_or_http().enable_http1().build();
        Ok(Self(Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build(connector)))
    }

    /// Sends a request and reads the whole answer, of whatever status. Redirections are not followed.
    pub async fn send(&self, request: Request<Bytes>, limit: Duration) -> Result<Response<Bytes>, Error> {
        let exchange = async {
            let answer = self.0.request(request.map(Full::new)).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MOST_ANSWER).collect().await.map_err(|error| Error::Answer(error.to_string()))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::time::timeout(limit, exchange).await.map_err(|_| Error::TooSlow(limit))?
    }
}
