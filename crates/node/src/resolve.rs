//! Fetching what a stranger named: addresses by the one HTTP client for them, events and the results of
//! earlier jobs from relays (`events`, `earlier`).
//!
//! An address is checked twice at every hop: as it is written, and as it resolves. Only public
//! addresses on the usual ports are fetched, unless the operator allowed a host or a network; no
//! proxy, no credentials, few redirects, and never more bytes than allowed, counted after
//! decompression.

mod address;
mod earlier;
mod events;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::StreamExt;
use openagents_backend::{document_type, media_type};
use openagents_relay::{Gate, RelayUrl};
use openagents_types::{InputType, JobInput, ResolvedInput};
use reqwest::{Client, Response, header, redirect::Policy};
use url::Url;

pub use address::{AllowError, Lookup, SystemLookup};
use address::{Allowed, Filtered, Reach};
pub use earlier::EarlierError;
pub use events::{EventError, Events, Hint};

/// How long fetching all inputs of one job may take, redirects and bodies included: less than the
/// life of a quote. The results of earlier jobs are waited for longer.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How many redirects are followed.
const REDIRECTS: usize = 3;
/// The most that is fetched for one job, in bytes: a long PDF, a thousand of which fit in memory.
const LARGEST: usize = 10 << 20;
/// The longest MIME type that is believed.
const LONGEST_MIME: usize = 100;

/// Why an input cannot be read. The text is fit for the customer: it says nothing of this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Not an address that is fetched.
    #[error("the address is not fetched: {0}; send the text itself or a public http or https address")]
    Refused(String),
    /// The server did not deliver.
    #[error("the input could not be fetched: {0}; check the address or send the text itself")]
    Failed(String),
    /// More than is taken.
    #[error("the inputs are larger than {LARGEST} bytes; send less")]
    TooLarge,
    /// A type of input that this provider does not read.
    #[error("this provider does not read inputs of type {0}; send text or a url")]
    Unsupported(&'static str),
    /// An event that was named.
    #[error(transparent)]
    Event(EventError),
    /// The result of another job.
    #[error(transparent)]
    Earlier(EarlierError),
}

impl ResolveError {
    /// Whether the address is on a private network that the operator has not allowed.
    pub(crate) fn is_private(&self) -> bool {
        matches!(self, Self::Refused(reason) if *reason == address::PrivateAddress.to_string())
    }
}

/// Whether every entry of `allow_private_urls` can be understood.
///
/// # Errors
/// The first that cannot.
pub fn check_allowed(entries: &[String]) -> Result<(), AllowError> {
    entries.iter().try_for_each(|entry| Allowed::default().add(entry))
}

/// See the module. Clones share what they have opened.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
    events: Option<Events>,
}

struct Inner {
    allowed: Arc<Allowed>,
    lookup: Arc<dyn Lookup>,
    // One client for each reach, so that no connection is shared between them. Made on first use,
    // because reading the system's certificates takes longer than a node may take to start.
    public: OnceLock<Client>,
    networks: OnceLock<Client>,
    anywhere: OnceLock<Client>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("allowed", &self.inner.allowed).finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that also fetches from these hosts (`name`, `name:port`), addresses and networks
    /// (CIDR), although they are private. An entry that cannot be understood opens nothing.
    pub fn new(allowed: &[String]) -> Self {
        Self::with_lookup(allowed, Arc::new(SystemLookup))
    }

    /// The same, with names looked up by `lookup`.
    pub fn with_lookup(entries: &[String], lookup: Arc<dyn Lookup>) -> Self {
        crate::install_tls();
        let mut allowed = Allowed::default();
        for entry in entries {
            if let Err(error) = allowed.add(entry) {
                tracing::warn!(%error, "an entry of allow_private_urls opens nothing");
            }
        }
        let [public, networks, anywhere] = [const { OnceLock::new() }; 3];
        let inner = Inner { allowed: Arc::new(allowed), lookup, public, networks, anywhere };
        Self { inner: Arc::new(inner), events: None }
    }

    /// The same, which also reads events and the results of earlier jobs.
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        Self { events: Some(events), ..self }
    }

    /// The contents of all inputs of a job, in order.
    ///
    /// # Errors
    /// One of them cannot be read, or together they are too large or too slow.
    pub async fn resolve(&self, inputs: &[JobInput]) -> Result<Vec<ResolvedInput>, ResolveError> {
        let late = |_| Err(ResolveError::Failed("it took too long".into()));
        let waits = inputs.iter().any(|input| input.input_type == InputType::Job);
        let more = self.events.as_ref().filter(|_| waits).map_or(Duration::ZERO, |events| events.patience);
        tokio::time::timeout(DEADLINE + more, self.all(inputs)).await.unwrap_or_else(late)
    }

    async fn all(&self, inputs: &[JobInput]) -> Result<Vec<ResolvedInput>, ResolveError> {
        let mut resolved = Vec::with_capacity(inputs.len());
        let mut room = LARGEST;
        for input in inputs {
            let one = match input.input_type {
                InputType::Text => ResolvedInput::text(&input.data),
                InputType::Url if input.data.starts_with("data:") => address::inline(&input.data)?,
                InputType::Url => self.fetch(input.data.trim(), room).await?,
                InputType::Event => self.events("event")?.content(self, input).await?,
                InputType::Job => self.events("job")?.result(self, input).await?,
            };
            room = room.checked_sub(one.bytes.len()).ok_or(ResolveError::TooLarge)?;
            resolved.push(one);
        }
        Ok(resolved)
    }

    fn events(&self, input_type: &'static str) -> Result<&Events, ResolveError> {
        self.events.as_ref().ok_or(ResolveError::Unsupported(input_type))
    }

    /// What guards the way to a relay that a stranger named.
    ///
    /// # Errors
    /// Its address, as it is written, is private or in plain text, and the operator has not allowed it.
    pub fn relay_gate(&self, url: &RelayUrl) -> Result<Gate, ResolveError> {
        let no_host = || ResolveError::Refused("it names no host".into());
        let (host, port) = url.authority().ok_or_else(no_host)?;
        let allowed = self.inner.allowed.clone();
        let reach = allowed.check_relay(&host, port, url.is_plaintext())?;
        let lookup = self.inner.lookup.clone();
        Ok(Gate::new(move |ip| allowed.admits(reach, ip)).with_names(move |host| lookup.lookup(host)))
    }

    /// Fetches what a server of somebody's choice says, whatever its status, by the same rules and at most `room`
    /// bytes within `patience`; in plain text only from a host that the operator named.
    ///
    /// # Errors
    /// The address is not fetched, or the server does not deliver.
    pub(crate) async fn say(
        &self,
        text: &str,
        room: usize,
        patience: Duration,
    ) -> Result<Said, ResolveError> {
        let late = |_| Err(ResolveError::Failed("it took too long".into()));
        tokio::time::timeout(patience, self.say_at_once(text, room)).await.unwrap_or_else(late)
    }

    async fn say_at_once(&self, text: &str, room: usize) -> Result<Said, ResolveError> {
        let response = self.follow(text, Plaintext::Refused).await?.1;
        let status = response.status().as_u16();
        Ok(Said { status, body: limited(response, room).await? })
    }

    async fn fetch(&self, text: &str, room: usize) -> Result<ResolvedInput, ResolveError> {
        let (url, response) = self.follow(text, Plaintext::Taken).await?;
        body(url, response, room).await
    }

    /// Asks an address, and the addresses that it redirects to: each is checked anew.
    async fn follow(&self, text: &str, plaintext: Plaintext) -> Result<(Url, Response), ResolveError> {
        let (mut url, mut reach) = self.inner.allowed.check(text)?;
        for _ in 0..=REDIRECTS {
            if plaintext == Plaintext::Refused && url.scheme() == "http" && reach != Reach::Anywhere {
                return Err(ResolveError::Refused("it is spoken to in plain text".into()));
            }
            let request = self.inner.client(reach).get(url.clone());
            let response = request.send().await.map_err(|error| failed(&error))?;
            if !response.status().is_redirection() {
                return Ok((url, response));
            }
            let target = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let next = target.and_then(|target| url.join(target).ok());
            let next = next.ok_or_else(|| ResolveError::Failed("it redirects to nowhere".into()))?;
            (url, reach) = self.inner.allowed.check(next.as_str())?;
        }
        Err(ResolveError::Failed("it redirects too often".into()))
    }
}

impl Inner {
    fn client(&self, reach: Reach) -> &Client {
        let place = match reach {
            Reach::Public => &self.public,
            Reach::Networks => &self.networks,
            Reach::Anywhere => &self.anywhere,
        };
        place.get_or_init(|| self.open(reach))
    }

    fn open(&self, reach: Reach) -> Client {
        let names = Filtered { allowed: self.allowed.clone(), lookup: self.lookup.clone(), reach };
        #[expect(clippy::expect_used, reason = "only a broken TLS set-up fails, and ring is compiled in")]
        Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(DEADLINE)
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(names))
            .user_agent(concat!("openagents/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("the TLS provider is compiled in")
    }
}

/// What a server said, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Whether an address may be asked without encryption although no operator named its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plaintext {
    Taken,
    Refused,
}

async fn body(url: Url, response: Response, room: usize) -> Result<ResolvedInput, ResolveError> {
    if !response.status().is_success() {
        return Err(ResolveError::Failed(format!("the server answered {}", response.status().as_u16())));
    }
    let said = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let said = said.unwrap_or_default().to_owned();
    let bytes = limited(response, room).await?;
    Ok(ResolvedInput { mime: sniff(&bytes, &said), source: url.to_string(), bytes })
}

/// A body of at most `room` bytes, counted after decompression.
async fn limited(response: Response, room: usize) -> Result<Vec<u8>, ResolveError> {
    if response.content_length().is_some_and(|length| length > room as u64) {
        return Err(ResolveError::TooLarge);
    }
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| failed(&error))?);
        if bytes.len() > room {
            return Err(ResolveError::TooLarge);
        }
    }
    Ok(bytes)
}

/// What the bytes are, whatever the server says; `said` is believed where the bytes do not tell.
fn sniff(bytes: &[u8], said: &str) -> String {
    let said = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let head = &bytes[..bytes.len().min(512)];
    let text = String::from_utf8_lossy(head).to_lowercase();
    if let Some(known) = document_type(bytes).or_else(|| media_type(bytes)) {
        known.into()
    } else if text.contains("<!doctype html") || text.contains("<html") {
        "text/html".into()
    } else if said.contains('/') && said.len() <= LONGEST_MIME && said.bytes().all(|b| b.is_ascii_graphic()) {
        said
    } else if std::str::from_utf8(bytes).is_ok() {
        "text/plain".into()
    } else {
        "application/octet-stream".into()
    }
}

/// What went wrong, without addresses or internals.
fn failed(error: &reqwest::Error) -> ResolveError {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<address::PrivateAddress>() {
            return (*refused).into();
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
