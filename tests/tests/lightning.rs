//! The market on real Lightning: a provider and a customer, each with a Lightning node of its own, over the
//! provider's relay. Skipped, and said so, where bitcoind and `openagents-ldk` are not:
//! `cargo xtask test --only ldk` brings them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test that panics has failed, as it should"
)]

#[path = "../../crates/wallet/tests/regtest/mod.rs"]
mod regtest;

use std::sync::Arc;

use base64::Engine as _;
use openagents_api::{AskBody, Client};
use openagents_node::{Node, Role, WalletChoice};
use openagents_tests::{config, slow_model, start, summary, until, until_job};
use openagents_types::{JobInput, JobKind};
use regtest::Pair;
use serde_json::json;
use tokio::sync::Semaphore;

const TEXT: &str = "Lightning payments settle in seconds. Payments can be locked until delivery. \
    A locked payment goes back if nothing is delivered. Markets work when payment and delivery are tied together.";

/// Text of which every letter takes two in JSON: small enough to be asked, too large to be answered.
fn undeliverable() -> AskBody {
    let quotes = base64::engine::general_purpose::STANDARD.encode("\"".repeat(35_000));
    AskBody {
        kind: JobKind::TEXT_EXTRACTION,
        inputs: vec![JobInput::url(format!("data:text/plain;base64,{quotes}"))],
        params: Vec::new(),
        ..summary("", 1_000_000)
    }
}

async fn balance(client: &Client) -> u64 {
    client.node().await.unwrap().wallet.unwrap().balance_msat.unwrap()
}

struct Market {
    provider: Node,
    customer: Node,
    seller: Client,
    buyer: Client,
    gate: Arc<Semaphore>,
}

impl Market {
    /// The nodes take over the wallets of the pair, with the channel that is there.
    async fn open(pair: &Pair, homes: &[tempfile::TempDir; 2]) -> Self {
        pair.close().await;
        let wallet = |program: &openagents_wallet::child::Program| WalletChoice::Program(program.clone());
        let (model, gate) = slow_model().await;
        let mut selling = config();
        selling.backend.openai = vec![model];
        let provider =
            start(homes[0].path(), selling, Role::Provider, wallet(&pair.seller.program), true).await;
        let mut buying = config();
        buying.relays = provider.up().relay.iter().cloned().collect();
        let customer =
            start(homes[1].path(), buying, Role::Customer, wallet(&pair.buyer.program), false).await;
        let (seller, buyer) = (provider.client().unwrap(), customer.client().unwrap());
        let market = Self { provider, customer, seller, buyer, gate };
        market.until_connected().await;
        market
    }

    async fn until_connected(&self) {
        for client in [&self.seller, &self.buyer] {
            regtest::until("the channel is usable", async || {
                let found = client.lightning("list_channels", json!({})).await;
                found.is_ok_and(|found| found["channels"][0]["usable"] == true)
            })
            .await;
        }
    }

    async fn balances(&self) -> (u64, u64) {
        (balance(&self.seller).await, balance(&self.buyer).await)
    }

    /// Waits until so much has gone from the buyer to the seller.
    async fn assert_moved(&self, before: (u64, u64), msat: u64) {
        regtest::until("the money is where it should be", async || {
            self.balances().await == (before.0 + msat, before.1 - msat)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_paid_on_delivery_and_paid_back_on_failure_and_survive_a_killed_wallet() {
    openagents_tests::log();
    let Some(pair) = Pair::open().await else { return };
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let market = Market::open(&pair, &homes).await;
    let before = market.balances().await;

    let asked = market.buyer.ask(&patient(summary(TEXT, 10_000))).await.unwrap();
    let job = until(&market.buyer, asked.id, &["settled"]).await;
    assert!(job.paid_msat > 0 && job.preimage.is_some(), "{job:#?}");
    market.assert_moved(before, job.paid_msat).await;

    let before = market.balances().await;
    // Once its money is back it looks for another offer, until its deadline.
    let asked = market.buyer.ask(&AskBody { deadline_ms: Some(15_000), ..undeliverable() }).await.unwrap();
    let job = until(&market.buyer, asked.id, &["failed", "no-offer", "settled", "delivered"]).await;
    assert_eq!((job.state.as_str(), job.paid_msat), ("failed", 0), "{job:#?}");
    market.assert_moved(before, 0).await;

    killed_while_it_holds(&market, &pair).await;
    let Market { provider, customer, .. } = market;
    customer.shutdown().await.unwrap();
    provider.shutdown().await.unwrap();
}

/// The provider's Lightning node dies while the money of a job is locked; the job is paid all the same.
async fn killed_while_it_holds(market: &Market, pair: &Pair) {
    let before = market.balances().await;
    let body = AskBody { kind: JobKind::TEXT_GENERATION, params: Vec::new(), ..summary(TEXT, 100_000) };
    let asked = market.buyer.ask(&patient(body)).await.unwrap();
    until_job(&market.buyer, asked.id, |job| job.in_flight_msat > 0).await;
    regtest::until("the provider works", async || {
        let node = market.seller.node().await.unwrap();
        node.counts.iter().any(|(_, state, count)| state == "running" && *count > 0)
    })
    .await;
    pair.seller.kill();
    market.until_connected().await;
    assert_eq!(balance(&market.seller).await, before.0, "the money is still locked");
    market.gate.add_permits(1);
    let job = until(&market.buyer, asked.id, &["settled"]).await;
    assert!(job.paid_msat > 0, "{job:#?}");
    market.assert_moved(before, job.paid_msat).await;
}

/// On a busy machine, blocks and contracts take their time.
fn patient(body: AskBody) -> AskBody {
    AskBody { deadline_ms: Some(60_000), ..body }
}
