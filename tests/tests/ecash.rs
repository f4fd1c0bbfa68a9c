//! The market on ecash: a provider and a customer, each with ecash of one real mint, over the provider's relay. Jobs
//! are paid with ecash that is locked until delivery, although neither wallet can hold an invoice. Skipped, and said
//! so, where the mint and `openagents-cashu` are not: `cargo xtask test --only cashu` brings them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    dead_code,
    reason = "a test that panics has failed, as it should; the mints do more for the wallets' own tests"
)]

#[path = "../../crates/wallet/tests/mints/mod.rs"]
mod mints;
#[path = "../../crates/wallet/tests/rules/mod.rs"]
mod rules;

use std::{process::Command, sync::Arc};

use base64::Engine as _;
use mints::{Mints, NO_LIMIT, until};
use openagents_api::{AskBody, Client, ReceiveBody};
use openagents_node::{Node, Role, WalletChoice, config::Config};
use openagents_tests::{config, slow_model, start, summary, until as until_in, until_job};
use openagents_types::{JobInput, JobKind};
use openagents_wallet::bolt11;
use tokio::sync::Semaphore;

const TEXT: &str = "Ecash is locked until the work is delivered. If nothing is delivered it comes back. A mint signs \
    without knowing what. Markets work when payment and delivery are tied together.";

/// What the customer has at first.
const FUNDS_MSAT: u64 = 1_000_000;

/// What a job costs; ecash has whole satoshis.
const PRICE_MSAT: u64 = 21_000;

struct Market {
    provider: Node,
    customer: Node,
    seller: Client,
    buyer: Client,
    gate: Arc<Semaphore>,
    mints: Mints,
    _homes: [tempfile::TempDir; 2],
}

impl Market {
    async fn open() -> Option<Self> {
        let mints = Mints::start(1)?;
        let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let wallet = |name| WalletChoice::Program(mints.program(name, &[0], rand::random(), NO_LIMIT));
        let (model, gate) = slow_model().await;
        let mut selling = trusting(&mints);
        selling.backend.openai = vec![model];
        let provider = start(homes[0].path(), selling, Role::Provider, wallet("seller"), true).await;
        let mut buying = trusting(&mints);
        buying.relays = provider.up().relay.iter().cloned().collect();
        let customer = start(homes[1].path(), buying, Role::Customer, wallet("buyer"), false).await;
        let (seller, buyer) = (provider.client().unwrap(), customer.client().unwrap());
        let market = Self { provider, customer, seller, buyer, gate, mints, _homes: homes };
        market.fill().await;
        Some(market)
    }

    /// Somebody pays an invoice that the customer made by hand.
    async fn fill(&self) {
        let body = ReceiveBody { amount_msat: FUNDS_MSAT, description: "funds".into(), lifetime_ms: None };
        let made = self.buyer.receive(&body).await.unwrap();
        self.mints.pay(&bolt11::decode(&made.bolt11).unwrap());
        until("the customer has money", async || balance(&self.buyer).await == Some(FUNDS_MSAT)).await;
    }

    /// Kills a wallet's program as it stands, SIGKILL. Its node starts it again.
    fn kill(&self, name: &str) {
        let lock = self.mints.dir.path().join(name).join("regtest/lock");
        let pid = std::fs::read_to_string(lock).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    }

    /// The books of both say what their wallets hold, and the mint owes just that.
    async fn assert_true(&self, earned_msat: u64, spent_msat: u64) {
        until("the money is where it should be", async || {
            let has = (balance(&self.seller).await, balance(&self.buyer).await);
            has == (Some(earned_msat), Some(FUNDS_MSAT - spent_msat))
        })
        .await;
        assert_eq!(self.seller.ledger(50).await.unwrap().net_msat, i64::try_from(earned_msat).unwrap());
        let net = i64::try_from(FUNDS_MSAT - spent_msat).unwrap();
        assert_eq!(self.buyer.ledger(50).await.unwrap().net_msat, net);
    }
}

fn trusting(mints: &Mints) -> Config {
    let mut config = config();
    config.wallet.cashu.mints = vec![mints.url(0)];
    (config.provider.base_msat, config.provider.per_kib_msat) = (PRICE_MSAT, 0);
    config
}

async fn balance(client: &Client) -> Option<u64> {
    client.node().await.unwrap().wallet.unwrap().balance_msat
}

fn patient(body: AskBody) -> AskBody {
    AskBody { deadline_ms: Some(60_000), ..body }
}

/// Text of which every letter takes two in JSON: small enough to be asked, too large to be answered.
fn undeliverable() -> AskBody {
    let quotes = base64::engine::general_purpose::STANDARD.encode("\"".repeat(35_000));
    AskBody {
        kind: JobKind::TEXT_EXTRACTION,
        inputs: vec![JobInput::url(format!("data:text/plain;base64,{quotes}"))],
        params: Vec::new(),
        ..summary("", 100_000)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_bought_and_sold_on_ecash_that_is_locked_until_delivery() {
    openagents_tests::log();
    let Some(market) = Market::open().await else { return };
    let asked = market.buyer.ask(&patient(summary(TEXT, 100_000))).await.unwrap();
    let job = until_in(&market.buyer, asked.id, &["settled"]).await;
    assert_eq!((job.rail.as_deref(), job.terms.as_deref()), (Some("cashu"), Some("escrow")), "{job:#?}");
    assert!(job.paid_msat == PRICE_MSAT && job.preimage.is_some(), "{job:#?}");
    market.assert_true(PRICE_MSAT, PRICE_MSAT + job.fee_msat).await;

    // Both wallets die while the next job's ecash is locked; it is delivered and paid all the same.
    let body = AskBody { kind: JobKind::TEXT_GENERATION, params: Vec::new(), ..summary(TEXT, 100_000) };
    let asked = market.buyer.ask(&patient(body)).await.unwrap();
    until_job(&market.buyer, asked.id, |job| job.in_flight_msat == PRICE_MSAT).await;
    until("the provider works", async || {
        let node = market.seller.node().await.unwrap();
        node.counts.iter().any(|(_, state, count)| state == "running" && *count > 0)
    })
    .await;
    market.kill("seller");
    market.kill("buyer");
    market.gate.add_permits(1);
    let next = until_in(&market.buyer, asked.id, &["settled"]).await;
    assert_eq!((next.rail.as_deref(), next.paid_msat), (Some("cashu"), PRICE_MSAT), "{next:#?}");
    let fees = job.fee_msat + next.fee_msat;
    market.assert_true(2 * PRICE_MSAT, 2 * PRICE_MSAT + fees).await;
    let history = market.buyer.history(50).await.unwrap();
    assert_eq!(history.iter().filter(|row| row.rail == "cashu").count(), 2, "{history:#?}");

    // A job that fails: the provider gives the ecash up, and the customer has it back before its lock ends.
    let asked = market.buyer.ask(&AskBody { deadline_ms: Some(15_000), ..undeliverable() }).await.unwrap();
    let job = until_in(&market.buyer, asked.id, &["failed", "no-offer"]).await;
    let job = until_job(&market.buyer, job.id, |job| job.in_flight_msat == 0).await;
    assert_eq!((job.paid_msat, job.open), (0, false), "{job:#?}");
    market.assert_true(2 * PRICE_MSAT, 2 * PRICE_MSAT + fees).await;
    let Market { provider, customer, .. } = market;
    customer.shutdown().await.unwrap();
    provider.shutdown().await.unwrap();
}
