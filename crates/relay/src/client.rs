//! Keeps one remote relay connected, whatever it does: dialling, backing off, starting again.
//!
//! One connection is left to `session`, what has to survive it to `book`, the socket to `wire`.

mod book;
mod session;
mod wire;

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use nostr::Keys;
use openagents_protocol::ingress::Limits;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    RelayHandle, RelayNews, RelayUrl,
    handle::{Command, Unsent},
};
use book::Book;
use session::{End, Session};
pub(crate) use wire::{Socket, dial};

/// Calls beside events that may wait for the actor. It takes them all at every turn, so only a burst
/// within one turn counts: a customer that restarts subscribes once for each live job.
const MOST_CALLS: usize = 16_384;

/// Which addresses may be dialled, asked after the name was resolved: for relays that strangers name.
#[derive(Clone)]
pub struct Gate {
    admits: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    names: Option<Arc<Names>>,
}

/// The addresses of a host, now.
type Names = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

impl Gate {
    /// A gate that lets through what `admits` says. The system looks names up.
    pub fn new(admits: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { admits: Arc::new(admits), names: None }
    }

    /// The same gate with names looked up by `names`.
    #[must_use]
    pub fn with_names(
        self,
        names: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self { names: Some(Arc::new(names)), ..self }
    }

    /// The addresses of `host` that may be dialled. They are what is connected to, so a name that
    /// changes its mind between check and use gains nothing.
    pub(crate) async fn lets_through(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = match (host.parse::<IpAddr>(), &self.names) {
            (Ok(ip), _) => vec![ip],
            (Err(_), Some(names)) => names(host.to_owned()).await?,
            (Err(_), None) => tokio::net::lookup_host((host, port)).await?.map(|at| at.ip()).collect(),
        };
        let good = found.into_iter().filter(|ip| (self.admits)(*ip));
        Ok(good.map(|ip| SocketAddr::new(ip, port)).collect())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// How a [`RelayActor`] treats its relay. [`RelayConfig::new`] gives the values the node uses.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The relay.
    pub url: RelayUrl,
    /// The key to authenticate with (NIP-42); `None` refuses to.
    pub auth: Option<Keys>,
    /// Which addresses its name may lead to; `None` for a relay that the node's owner named.
    pub gate: Option<Gate>,
    /// What events may look like.
    pub limits: Limits,
    /// How long a connection may take to stand, TLS and WebSocket handshake included.
    pub connect_within: Duration,
    /// Silence after which the relay is pinged; after two pings without a sign of life it is left.
    pub ping_every: Duration,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// How far before the last sign of life events are asked for again after a reconnect.
    pub overlap: Duration,
    /// Most events taken from the node and not yet written.
    pub most_unsent: usize,
    /// How many (subscription, event) pairs are remembered, to drop what comes twice.
    pub most_seen: usize,
    /// Invalid events, unknown frames and the like that are borne at once; one more is forgiven
    /// each second. Beyond that the relay is left for [`Backoff::penalty`].
    pub most_noise: u32,
}

impl RelayConfig {
    /// The usual treatment of `url`.
    pub fn new(url: RelayUrl) -> Self {
        Self {
            url,
            auth: None,
            gate: None,
            limits: Limits::default(),
            connect_within: Duration::from_secs(10),
            ping_every: Duration::from_secs(20),
            backoff: Backoff::default(),
            overlap: Duration::from_secs(120),
            most_unsent: 1024,
            most_seen: 8192,
            most_noise: 64,
        }
    }
}

/// How long to wait between attempts: doubling from `base` to `cap`, a quarter more or less by chance
/// so that many clients do not return at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub base: Duration,
    /// After many.
    pub cap: Duration,
    /// After the relay misbehaved.
    pub penalty: Duration,
}

/// 1, 2, 4, 8, 16 s; a minute for a relay that floods.
impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(16), penalty: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after failure number `attempt` (from 0).
    pub(crate) fn wait(self, attempt: u32) -> Duration {
        let plain = self.base.saturating_mul(1_u32 << attempt.min(16)).min(self.cap);
        jittered(plain)
    }
}

/// A quarter more or less than `plain`.
fn jittered(plain: Duration) -> Duration {
    plain.mul_f64(rand::random_range(0.75..1.25))
}

/// Keeps one relay connected. The caller spawns [`RelayActor::run`]; it ends with its stop token
/// or when every [`RelayHandle`] is gone.
///
/// States: *dialling* (calls are taken into the book), *connected* (a session), *waiting* between
/// two attempts. What was subscribed and what was not answered survives from one session to the next.
#[derive(Debug)]
pub struct RelayActor {
    config: RelayConfig,
    commands: mpsc::Receiver<Command>,
    news: mpsc::Sender<(RelayUrl, RelayNews)>,
    book: Book,
}

/// Nobody needs the actor any more.
struct Stopped;

impl RelayActor {
    /// A handle and the actor behind it. News goes to `news`, which all actors may share; while it
    /// is full the relay is not read.
    pub fn new(config: RelayConfig, news: mpsc::Sender<(RelayUrl, RelayNews)>) -> (RelayHandle, Self) {
        let unsent = Unsent::new(config.most_unsent);
        // Room for the events that `unsent` counts and for a burst of subscriptions, one per job.
        let (sender, commands) = mpsc::channel(config.most_unsent + MOST_CALLS);
        let handle = RelayHandle::remote(config.url.clone(), sender, unsent.clone());
        let book = Book::new(&config, unsent);
        (handle, Self { config, commands, news, book })
    }

    /// Runs until `stop`, or until the last handle or the receiver of news is gone.
    pub async fn run(mut self, stop: CancellationToken) {
        let Self { config, commands, news, book } = &mut self;
        let live = Self::keep_connected(config, commands, news, book);
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            Stopped = live => {}
        }
    }

    async fn keep_connected(
        config: &RelayConfig,
        commands: &mut mpsc::Receiver<Command>,
        news: &mpsc::Sender<(RelayUrl, RelayNews)>,
        book: &mut Book,
    ) -> Stopped {
        let mut attempt = 0;
        loop {
            let (reason, retry_in) = match meanwhile(
                dial(&config.url, config.connect_within, config.gate.as_ref()),
                commands,
                book,
            )
            .await
            {
                Err(stopped) => return stopped,
                Ok(Err(error)) => (error.to_string(), config.backoff.wait(attempt)),
                Ok(Ok(socket)) => {
                    let mut session = Session::new(config, book, news);
                    let end = session.run(socket, commands).await;
                    attempt = if session.was_useful() { 0 } else { attempt };
                    book.disconnected();
                    match end {
                        End::Stopped => return Stopped,
                        End::Lost(reason) => (reason, config.backoff.wait(attempt)),
                        End::Misbehaved(reason) => (reason, jittered(config.backoff.penalty)),
                    }
                }
            };
            tracing::debug!(relay = %config.url, reason, ?retry_in, "relay connection ended");
            let told = RelayNews::Disconnected { reason, retry_in, attempt };
            let wait = async {
                if news.send((config.url.clone(), told)).await.is_ok() {
                    tokio::time::sleep(retry_in).await;
                    true
                } else {
                    false
                }
            };
            match meanwhile(wait, commands, book).await {
                Ok(true) => attempt = attempt.saturating_add(1),
                Ok(false) | Err(Stopped) => return Stopped,
            }
        }
    }
}

/// Waits for `work` and takes calls into the book meanwhile.
async fn meanwhile<F: Future>(
    work: F,
    commands: &mut mpsc::Receiver<Command>,
    book: &mut Book,
) -> Result<F::Output, Stopped> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            command = commands.recv() => match command {
                Some(command) => book.note(command),
                None => return Err(Stopped),
            }
        }
    }
}
