//! An operator pauses, stops and drains a provider: customers are told, and money goes back.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::time::{Duration, Instant};

use openagents_api::{AskBody, Client, JobView, ShiftOrder, TestWalletBody};
use openagents_node::{Node, Role, WalletChoice};
use openagents_tests::{PATIENCE, config, offline, slow_model, start, summary, until, until_job};
use openagents_types::JobKind;

const TEXT: &str =
    "A payment is locked until delivery. It goes back if nothing is delivered. Both sides know.";

/// A customer on a provider's relay, with a wallet on its testnet.
async fn customer(home: &std::path::Path, provider: &Node) -> Node {
    let wanted = TestWalletBody { label: "customer".into(), sats: 10_000, plain: false };
    let wallet = provider.client().unwrap().testnet_wallet(&wanted).await.unwrap();
    let mut buying = config();
    buying.relays = provider.up().relay.iter().cloned().collect();
    let wallet = WalletChoice::Connected(wallet.parse().unwrap());
    start(home, buying, Role::Customer, wallet, false).await
}

fn spoken() -> AskBody {
    AskBody {
        kind: JobKind::TEXT_GENERATION,
        params: Vec::new(),
        deadline_ms: Some(20_000),
        ..summary(TEXT, 100_000)
    }
}

async fn running(seller: &Client) {
    let start = Instant::now();
    while seller.node().await.unwrap().provider.unwrap().running == 0 {
        assert!(start.elapsed() < PATIENCE, "the work never began");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn refused(buyer: &Client, seller: &Node) -> JobView {
    let provider = seller.up().provider;
    let asked = buyer.ask(&AskBody { provider, ..summary(TEXT, 100_000) }).await.unwrap();
    until(buyer, asked.id, &["no-offer"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_provider_gives_everything_back_and_stays_stopped() {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut selling = config();
    let (model, _gate) = slow_model().await;
    selling.backend.openai = vec![model];
    let provider = offline(homes[0].path(), selling.clone()).await;
    let customer = customer(homes[1].path(), &provider).await;
    let (seller, buyer) = (provider.client().unwrap(), customer.client().unwrap());
    let before = buyer.node().await.unwrap().wallet.unwrap().balance_msat.unwrap();

    let asked = buyer.ask(&spoken()).await.unwrap();
    until_job(&buyer, asked.id, |job| job.in_flight_msat > 0).await;
    running(&seller).await;
    let killed = Instant::now();
    let node = seller.shift(ShiftOrder::Kill).await.unwrap();
    assert_eq!(node.provider.unwrap().shift, "stopped");
    let job = until_job(&buyer, asked.id, |job| job.in_flight_msat == 0).await;
    assert!(killed.elapsed() < Duration::from_secs(2), "it took {:?}", killed.elapsed());
    assert!(job.refusals.iter().any(|no| no.code == "stopped"), "{job:#?}");
    assert_eq!((job.paid_msat, seller.node().await.unwrap().provider.unwrap().running), (0, 0), "{job:#?}");
    assert_eq!(buyer.node().await.unwrap().wallet.unwrap().balance_msat.unwrap(), before);

    let job = refused(&buyer, &provider).await;
    assert!(job.refusals.iter().any(|no| no.code == "paused"), "{job:#?}");
    customer.shutdown().await.unwrap();
    provider.shutdown().await.unwrap();

    let provider = offline(homes[0].path(), selling).await;
    let seller = provider.client().unwrap();
    assert_eq!(seller.node().await.unwrap().provider.unwrap().shift, "stopped", "also after a restart");
    let node = seller.shift(ShiftOrder::Resume).await.unwrap();
    assert_eq!(node.provider.unwrap().shift, "open");
    let asked = seller.ask(&summary(TEXT, 100_000)).await.unwrap();
    until(&seller, asked.id, &["settled"]).await;
    provider.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_provider_does_what_it_has_and_a_draining_one_then_ends() {
    let home = tempfile::tempdir().unwrap();
    let provider = offline(home.path(), config()).await;
    let seller = provider.client().unwrap();
    let up = provider.up().provider;
    seller.shift(ShiftOrder::Pause).await.unwrap();
    let asked = seller.ask(&AskBody { provider: up, ..summary(TEXT, 100_000) }).await.unwrap();
    let job = until(&seller, asked.id, &["no-offer"]).await;
    assert!(job.refusals.iter().any(|no| no.code == "paused"), "{job:#?}");
    seller.shift(ShiftOrder::Resume).await.unwrap();

    let mut bodies = Vec::new();
    for _ in 0..5 {
        bodies.push(seller.ask(&summary(TEXT, 100_000)).await.unwrap().id);
    }
    for id in &bodies {
        until_job(&seller, *id, |job| job.in_flight_msat > 0 || job.paid_msat > 0).await;
    }
    let ended = tokio::spawn(provider.run(std::future::pending()));
    seller.shift(ShiftOrder::Drain).await.unwrap();
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends by itself").unwrap().unwrap();
    let provider = offline(home.path(), config()).await;
    let seller = provider.client().unwrap();
    assert_eq!(seller.node().await.unwrap().provider.unwrap().shift, "open", "after a drain it works again");
    for id in bodies {
        until_job(&seller, id, |job| job.in_flight_msat == 0 && job.paid_msat > 0).await;
    }
    provider.shutdown().await.unwrap();
}
