//! What the tests of this crate share: a relay on port 0, a client of it, and events to send.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub, reason = "test code: each test binary uses a part")]

use std::{future::Future, time::Duration};

use nostr::{Keys, Kind, Tag};
use openagents_protocol::ingress::Verified;
use openagents_relay::{
    Backoff, Filter, Hub, HubConfig, RelayActor, RelayConfig, RelayHandle, RelayNews, RelayUrl, SubId, serve,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

/// The wall clock in seconds, which relays compare with.
pub fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// An event of `kind` by a new key.
pub fn event(kind: u16, content: &str, tags: &[&[&str]]) -> Verified {
    let tags = tags.iter().map(|tag| Tag::parse(tag.iter().copied()).unwrap()).collect();
    Verified::sign(&Keys::generate(), kind, tags, content.into(), now())
}

pub fn kind(kind: u16) -> Filter {
    Filter::new().kind(Kind::from_u16(kind))
}

/// Fails a test that would otherwise hang.
pub async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("it takes less than 30 s")
}

/// A relay on port 0; it ends with the test's runtime.
pub async fn relay(config: HubConfig) -> (Hub, RelayUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url_of(&listener);
    let hub = Hub::new(config);
    tokio::spawn(serve(listener, hub.clone(), CancellationToken::new()));
    (hub, url)
}

pub fn url_of(listener: &TcpListener) -> RelayUrl {
    RelayUrl::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap()
}

/// Waits a thousandth of what the node would.
pub fn impatient(url: &RelayUrl) -> RelayConfig {
    let ms = Duration::from_millis;
    let backoff = Backoff { base: ms(1), cap: ms(16), penalty: ms(60) };
    RelayConfig { backoff, ..RelayConfig::new(url.clone()) }
}

/// A running client of one relay.
pub struct Client {
    pub handle: RelayHandle,
    pub news: mpsc::Receiver<(RelayUrl, RelayNews)>,
}

impl Client {
    pub fn start(config: RelayConfig, capacity: usize) -> Self {
        let (sender, news) = mpsc::channel(capacity);
        let (handle, actor) = RelayActor::new(config, sender);
        tokio::spawn(actor.run(CancellationToken::new()));
        Self { handle, news }
    }

    /// The next piece of news that `wanted` makes something of.
    pub async fn until<T>(&mut self, mut wanted: impl FnMut(RelayNews) -> Option<T>) -> T {
        within(async {
            loop {
                let (_, news) = self.news.recv().await.expect("the actor runs");
                if let Some(found) = wanted(news) {
                    return found;
                }
            }
        })
        .await
    }

    /// The next event of `sub`.
    pub async fn event(&mut self, sub: &SubId) -> Verified {
        self.until(|news| match news {
            RelayNews::Event(on, event) if on == *sub => Some(event),
            _ => None,
        })
        .await
    }

    /// The reason of the next loss.
    pub async fn lost(&mut self) -> String {
        self.until(|news| match news {
            RelayNews::Disconnected { reason, .. } => Some(reason),
            _ => None,
        })
        .await
    }

    /// The answer to a published event.
    pub async fn answer(&mut self, to: &Verified) -> (bool, String) {
        self.until(|news| match news {
            RelayNews::Ok { event, accepted, message } if event == to.id() => Some((accepted, message)),
            _ => None,
        })
        .await
    }
}
