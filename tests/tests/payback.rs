//! A refund that its customer does not claim goes to the address that the job names, once; one that leads nowhere, or
//! into a private network, moves nothing.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use base64::Engine as _;
use nostr::Keys;
use openagents_api::{Client, JobView, PayBody, ReceiveBody, TestWalletBody};
use openagents_node::{Node, Role, WalletChoice};
use openagents_protocol::{Keyring, Message, decode, filters, request};
use openagents_relay::{Hub, HubConfig, LocalClient, RelayNews, RelayUrl, SubId, serve};
use openagents_tests::{PATIENCE, Shop, config, offline, start, until_job};
use openagents_types::{JobId, JobInput, JobKind, JobSpec, Millis, Msat, Status, Timestamp};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A customer that pays by hand and claims nothing back.
struct Forgetful<'a> {
    relay: LocalClient,
    purse: &'a Client,
}

impl Forgetful<'_> {
    /// Buys work whose result is larger than relays carry, and pays for it: the job, and what it cost.
    async fn buy(&mut self, refund_to: String) -> (JobId, u64) {
        let quotes = base64::engine::general_purpose::STANDARD.encode("\"".repeat(35_000));
        let now = Timestamp::from_secs(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
        let spec = JobSpec {
            inputs: vec![JobInput::url(format!("data:text/plain;base64,{quotes}"))],
            refund_to: Some(refund_to),
            ..JobSpec::new(JobKind::TEXT_EXTRACTION, Msat::new(40_000), now.after(Millis::from_secs(60)))
        };
        let keys = Keys::generate();
        let event = request::encode(&spec, &keys, now).unwrap();
        let id = JobId::from(event.id());
        let handle = self.relay.handle();
        handle.subscribe(SubId::from(id), filters::for_customer(id, spec.kind)).unwrap();
        handle.publish(event).unwrap();
        let quote = async {
            loop {
                let Some((_, RelayNews::Event(_, event))) = self.relay.recv().await else { continue };
                if let Ok(Message::Feedback(said)) = decode(&event, &mut Keyring::new(keys.clone()))
                    && said.status == Status::PaymentRequired
                {
                    return said;
                }
            }
        };
        let quote = tokio::time::timeout(PATIENCE, quote).await.unwrap();
        let body = PayBody { bolt11: quote.bolt11.unwrap(), about: "a job".into(), max_fee_msat: None };
        self.purse.pay(&body).await.unwrap();
        (id, quote.amount.unwrap().get())
    }
}

async fn market() -> (RelayUrl, LocalClient) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = RelayUrl::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
    let hub = Hub::new(HubConfig::default());
    tokio::spawn(serve(listener, hub.clone(), CancellationToken::new()));
    let client = hub.attach(url.clone(), 1_024);
    (url, client)
}

/// A provider whose wallet cannot lock payments, and that asks this shop although it is near.
async fn provider(home: &std::path::Path, market: &RelayUrl, bank: &Client, shop: &Shop) -> Node {
    let wanted = TestWalletBody { label: "provider".into(), sats: 1_000, plain: true };
    let account = bank.testnet_wallet(&wanted).await.unwrap();
    let mut config = config();
    config.relays = vec![market.to_string()];
    config.provider.claim_time_s = 0;
    config.allow_private_urls = vec![shop.address.clone()];
    start(home, config, Role::Provider, WalletChoice::Connected(account.parse().unwrap()), false).await
}

async fn balance(client: &Client) -> u64 {
    client.node().await.unwrap().wallet.unwrap().balance_msat.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unclaimed_refund_goes_to_the_address_once_and_nowhere_private() {
    openagents_tests::log();
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let bank_node = offline(homes[0].path(), config()).await;
    let bank = bank_node.client().unwrap();
    // The price depends on the input alone, so the invoice behind the shop can be made before it is known.
    let lodging = ReceiveBody { amount_msat: 1_350, description: "refund".into(), lifetime_ms: None };
    let kept = bank.receive(&lodging).await.unwrap();
    let (shop, private) = (Shop::open(&kept.hash).await, Shop::open(&kept.hash).await);
    let (url, relay) = market().await;
    let node = provider(homes[1].path(), &url, &bank, &shop).await;
    let client = node.client().unwrap();
    let before = balance(&client).await;
    let mut customer = Forgetful { relay, purse: &bank };

    for (to, reason) in [
        (private.lnurl("honest"), "private network"),
        (shop.lnurl("dear"), "instead of"),
        (shop.lnurl("closed"), "the shop is closed"),
    ] {
        let (id, _) = customer.buy(to).await;
        let stuck = |job: &JobView| job.state == "refund-owed" && job.explanation.contains(reason);
        until_job(&client, id, stuck).await;
    }
    let owed = balance(&client).await - before;

    let (id, price) = customer.buy(shop.lnurl("honest")).await;
    assert_eq!(price, lodging.amount_msat, "the invoice behind the shop is for this");
    until_job(&client, id, |job| job.state == "refunded").await;
    assert_eq!(bank.transfer(&kept.hash).await.unwrap().state, "settled");
    assert_eq!(balance(&client).await - before, owed, "what came in went out, and the others are owed");
    let ledger = client.ledger(50).await.unwrap();
    assert_eq!(ledger.lines.iter().filter(|line| line.movement == "refund-paid").count(), 1);
    node.shutdown().await.unwrap();
    bank_node.shutdown().await.unwrap();
}
