//! A customer that reads its answers on a relay of its own gets them there.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::time::Duration;

use nostr::Keys;
use openagents_node::{Node, Role, WalletChoice, config::Config};
use openagents_protocol::{Verified, filters, request};
use openagents_relay::{Hub, HubConfig, RelayHandle, RelayNews, RelayUrl, SubId, serve};
use openagents_tests::{PATIENCE, config, start};
use openagents_types::{JobId, JobInput, JobKind, JobSpec, Msat, Timestamp};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

/// A relay on port 0, and a client of it; both end with the test's runtime.
struct Relay {
    hub: Hub,
    url: RelayUrl,
    handle: RelayHandle,
    news: mpsc::Receiver<(RelayUrl, RelayNews)>,
}

impl Relay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = RelayUrl::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
        let hub = Hub::new(HubConfig::default());
        tokio::spawn(serve(listener, hub.clone(), CancellationToken::new()));
        let mut client = hub.attach(url.clone(), 1_024);
        let handle = client.handle();
        let (sender, news) = mpsc::channel(1_024);
        tokio::spawn(async move {
            while let Some(item) = client.recv().await {
                let _ = sender.send(item).await;
            }
        });
        Self { hub, url, handle, news }
    }

    /// The first event that arrives for the job within `patience`.
    async fn answer(&mut self, patience: Duration) -> Option<Verified> {
        let wait = async {
            loop {
                if let Some((_, RelayNews::Event(_, event))) = self.news.recv().await {
                    return event;
                }
            }
        };
        tokio::time::timeout(patience, wait).await.ok()
    }
}

async fn provider(home: &std::path::Path, market: &RelayUrl, set: impl FnOnce(&mut Config)) -> Node {
    let mut config = config();
    config.relays = vec![market.to_string()];
    config.provider.free = true;
    set(&mut config);
    start(home, config, Role::Provider, WalletChoice::None, false).await
}

/// A free job that names `answers` as the relay its customer reads.
fn job(answers: &RelayUrl) -> (Verified, JobSpec) {
    let now = Timestamp::from_secs(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
    let spec = JobSpec {
        kind: JobKind::SUMMARIZATION,
        inputs: vec![JobInput::text("Relays carry events. Customers name relays. Answers go there.")],
        params: Vec::new(),
        output: Vec::new(),
        bid: Msat::ZERO,
        provider: None,
        encrypt: false,
        relays: vec![answers.to_string()],
        expires_at: now.after(openagents_types::Millis::from_secs(60)),
        refund_to: None,
    };
    (request::encode(&spec, &Keys::generate(), now).unwrap(), spec)
}

/// Asks on `market` and hears on `answers`.
fn ask(market: &Relay, answers: &Relay) {
    let (event, spec) = job(&answers.url);
    let id = JobId::from(event.id());
    answers.handle.subscribe(SubId::from(id), filters::for_customer(id, spec.kind)).unwrap();
    market.handle.publish(event).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_also_go_to_the_relay_that_the_customer_names() {
    let (market, mut answers) = (Relay::start().await, Relay::start().await);
    let dir = tempfile::tempdir().unwrap();
    let allow = |config: &mut Config| config.allow_private_urls = vec!["127.0.0.1".into()];
    let node = provider(dir.path(), &market.url, allow).await;
    ask(&market, &answers);
    let event = answers.answer(PATIENCE).await.expect("an answer on the customer's own relay");
    assert!([6_001, 7_000].contains(&event.event().kind.as_u16()), "{}", event.json());
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_relay_is_not_dialled_for_a_stranger() {
    let (mut market, mut answers) = (Relay::start().await, Relay::start().await);
    let dir = tempfile::tempdir().unwrap();
    let node = provider(dir.path(), &market.url, |_| {}).await;
    let (event, spec) = job(&answers.url);
    let id = JobId::from(event.id());
    for relay in [&market, &answers] {
        relay.handle.subscribe(SubId::from(id), filters::for_customer(id, spec.kind)).unwrap();
    }
    market.handle.publish(event).unwrap();
    market.answer(PATIENCE).await.expect("the job is served on the provider's relay");
    assert!(answers.answer(Duration::from_millis(500)).await.is_none());
    assert_eq!(answers.hub.stats().clients, 1, "only this test is connected to it");
    node.shutdown().await.unwrap();
}
