//! Fetching what a stranger named: the one HTTP client for addresses that come in jobs.
//!
//! An address is checked twice at every hop: as it is written, and as it resolves. Only public
//! addresses on the usual ports are fetched, unless the operator allowed a host or a network; no
//! proxy, no credentials, few redirects, and never more bytes than allowed, counted after
//! decompression.

mod address;

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use openagents_types::{InputType, JobInput, ResolvedInput};
use reqwest::{Client, Response, redirect::Policy};
use url::Url;

use address::{Allowed, Filtered};

/// How long a fetch may take, redirects and body included.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How many redirects are followed.
const REDIRECTS: usize = 3;
/// The most that is fetched for one input, in bytes.
const LARGEST: usize = 10 << 20;

/// Why an input cannot be read. The text is fit for the customer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Not an address that is fetched.
    #[error("the address cannot be fetched: {0}; nothing was charged")]
    Refused(String),
    /// The server did not deliver.
    #[error("the input could not be fetched: {0}; nothing was charged")]
    Failed(String),
    /// More than is taken.
    #[error("the input is larger than {LARGEST} bytes; nothing was charged")]
    TooLarge,
    /// A type of input that this provider does not read.
    #[error("this provider does not read inputs of type {0}; send text or a url")]
    Unsupported(&'static str),
}

/// See the module. Clones share connections.
#[derive(Clone)]
pub struct Resolver {
    client: Client,
    allowed: Arc<Allowed>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that also fetches from these hosts (`name`, `name:port`) and networks (CIDR),
    /// although they are private.
    pub fn new(allowed: &[String]) -> Self {
        crate::install_tls();
        let allowed = Arc::new(Allowed::parse(allowed));
        #[expect(clippy::expect_used, reason = "only a broken TLS set-up fails, and ring is compiled in")]
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(DEADLINE)
            .dns_resolver(Arc::new(Filtered(allowed.clone())))
            .user_agent(concat!("openagents/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("the TLS provider is compiled in");
        Self { client, allowed }
    }

    /// The contents of all inputs of a job, in order.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub async fn resolve(&self, inputs: &[JobInput]) -> Result<Vec<ResolvedInput>, ResolveError> {
        let mut resolved = Vec::with_capacity(inputs.len());
        for input in inputs {
            resolved.push(match input.input_type {
                InputType::Text => ResolvedInput::text(&input.data),
                InputType::Url => self.url(&input.data).await?,
                InputType::Event => return Err(ResolveError::Unsupported("event")),
                InputType::Job => return Err(ResolveError::Unsupported("job")),
            });
        }
        Ok(resolved)
    }

    async fn url(&self, text: &str) -> Result<ResolvedInput, ResolveError> {
        if text.starts_with("data:") {
            return address::inline(text);
        }
        tokio::time::timeout(DEADLINE, self.fetch(text))
            .await
            .unwrap_or_else(|_| Err(ResolveError::Failed("it took too long".into())))
    }

    async fn fetch(&self, text: &str) -> Result<ResolvedInput, ResolveError> {
        let mut url = self.allowed.check(text)?;
        for _ in 0..=REDIRECTS {
            let response = self.client.get(url.clone()).send().await.map_err(|error| failed(&error))?;
            if !response.status().is_redirection() {
                return body(url, response).await;
            }
            let target =
                response.headers().get(reqwest::header::LOCATION).and_then(|value| value.to_str().ok());
            let next = target.and_then(|target| url.join(target).ok());
            let next = next.ok_or_else(|| ResolveError::Failed("it redirects to nowhere".into()))?;
            url = self.allowed.check(next.as_str())?;
        }
        Err(ResolveError::Failed("it redirects too often".into()))
    }
}

async fn body(url: Url, response: Response) -> Result<ResolvedInput, ResolveError> {
    if !response.status().is_success() {
        return Err(ResolveError::Failed(format!("the server answered {}", response.status().as_u16())));
    }
    if response.content_length().is_some_and(|length| length > LARGEST as u64) {
        return Err(ResolveError::TooLarge);
    }
    let header = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let said = header.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_lowercase();
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| failed(&error))?);
        if bytes.len() > LARGEST {
            return Err(ResolveError::TooLarge);
        }
    }
    Ok(ResolvedInput { mime: sniff(&bytes, &said), source: url.to_string(), bytes })
}

/// What the bytes are, whatever the server says.
fn sniff(bytes: &[u8], said: &str) -> String {
    let head = &bytes[..bytes.len().min(512)];
    let text = String::from_utf8_lossy(head).to_lowercase();
    if head.starts_with(b"%PDF-") {
        "application/pdf".into()
    } else if text.contains("<!doctype html") || text.contains("<html") {
        "text/html".into()
    } else if said.is_empty() {
        if std::str::from_utf8(bytes).is_ok() {
            "text/plain".into()
        } else {
            "application/octet-stream".into()
        }
    } else {
        said.to_owned()
    }
}

/// What went wrong, without addresses or internals.
fn failed(error: &reqwest::Error) -> ResolveError {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<address::PrivateAddress>() {
            return ResolveError::Refused(refused.to_string());
        }
        source = inner.source();
    }
    let reason = if error.is_timeout() {
        "it took too long"
    } else if error.is_connect() {
        "the server cannot be reached"
    } else {
        "the server broke off"
    };
    ResolveError::Failed(reason.into())
}

#[cfg(test)]
mod tests;
