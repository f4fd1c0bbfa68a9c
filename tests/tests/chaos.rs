//! Wallets that time out, say "failed" of what they sent, answer late, lose what they are told and lie: many
//! payments, and not one is lost or sent twice (threats, torture row 6).
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed, as it should")]

use std::time::{Duration, Instant};

use openagents_api::{Client, JobView, Listing, Side};
use openagents_node::{Node, Role, WalletChoice, config::Config};
use openagents_tests::{config, offline, start, summary};
use openagents_types::{JobId, Msat};
use openagents_wallet::testnet::{Fault, Faults, Opening};

/// How many jobs are bought, unless the environment asks for more.
const JOBS: usize = 120;

/// How many of them are open at once.
const AT_ONCE: usize = 256;

/// What the customer has.
const FUNDS: Msat = Msat::new(1_000_000_000);

/// How long a job and its money may take: several unanswered calls of ten seconds each.
const PATIENCE: Duration = Duration::from_secs(180);

fn jobs() -> usize {
    std::env::var("OPENAGENTS_CHAOS_JOBS").ok().and_then(|text| text.parse().ok()).unwrap_or(JOBS)
}

/// In a thousand calls: a hundred are never answered, fifty payments are called failed and settle, twenty answers
/// come late, ten lie; twenty are lost before anything is done, twenty answered twice.
fn weather() -> Faults {
    Faults::new(
        7,
        vec![
            (Fault::Timeout, 100),
            (Fault::FailThenSettle, 50),
            (Fault::Late(Duration::from_millis(20)), 20),
            (Fault::Lie, 10),
            (Fault::Lose, 20),
            (Fault::Repeat, 20),
        ],
    )
}

fn unlimited() -> Config {
    let mut config = config();
    for rate in
        [&mut config.limits.requests_per_key, &mut config.limits.requests, &mut config.limits.relay_messages]
    {
        (rate.burst, rate.per_second) = (0, 0);
    }
    config
}

/// A customer with a wallet at the testnet of `seller`.
async fn customer(home: &std::path::Path, seller: &Node, plain: bool) -> Node {
    let opening = Opening { label: "customer", funds: FUNDS, plain };
    let connection = seller.testnet().unwrap().new_account(opening).unwrap().parse().unwrap();
    let mut config = unlimited();
    config.relays = seller.up().relay.iter().cloned().collect();
    start(home, config, Role::Customer, WalletChoice::Connected(connection), false).await
}

async fn open(client: &Client) -> Vec<JobView> {
    client.jobs(&Listing { open: true, limit: Some(500), ..Listing::default() }).await.unwrap()
}

/// Waits until at most `left` jobs are open.
async fn rest(client: &Client, other: &Client, left: usize) {
    let begun = Instant::now();
    loop {
        let open = open(client).await;
        if open.len() <= left {
            return;
        }
        if begun.elapsed() > PATIENCE {
            let told = other.job(open[0].id).await;
            panic!("{} jobs never ended, such as {:#?}; the other side says {told:#?}", open.len(), open[0]);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All jobs that were bought.
async fn bought(client: &Client) -> Vec<JobView> {
    let mut jobs: Vec<JobView> = Vec::new();
    loop {
        let after: Option<JobId> = jobs.last().map(|job| job.id);
        let wanted = Listing { limit: Some(500), side: Some(Side::Bought), open: false, after };
        let page = client.jobs(&wanted).await.unwrap();
        if page.is_empty() {
            return jobs;
        }
        jobs.extend(page);
    }
}

fn balance(audit: &serde_json::Value, label: &str) -> i64 {
    let rows = audit["balances"].as_array().unwrap();
    rows.iter().find(|row| row["label"] == label).unwrap()["msat"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payment_is_lost_or_sent_twice_whatever_the_wallet_says() {
    openagents_tests::log();
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let seller = offline(home.path(), unlimited()).await;
    let buyer = customer(other.path(), &seller, false).await;
    let (selling, buying) = (seller.client().unwrap(), buyer.client().unwrap());
    let before = seller.testnet().unwrap().audit();
    seller.testnet().unwrap().service().set_faults(weather());
    for number in 0..jobs() {
        let mut body = summary(&format!("The lamp of house {number} is lit. The street is quiet."), 10_000);
        body.deadline_ms = Some(90_000);
        buying.ask(&body).await.unwrap();
        if number % 32 == 31 {
            rest(&buying, &selling, AT_ONCE).await;
        }
    }
    rest(&buying, &selling, 0).await;
    seller.testnet().unwrap().service().set_faults(Faults::none());
    rest(&selling, &buying, 0).await;

    let audit = seller.testnet().unwrap().audit();
    assert_eq!(audit["conserved"], true, "{audit}");
    assert_eq!(audit["in_flight_msat"], 0, "{audit}");
    for (label, client) in [("customer", &buying), ("this node", &selling)] {
        let moved = balance(&audit, label) - balance(&before, label);
        assert_eq!(client.ledger(1).await.unwrap().net_msat, moved, "{label}: books and wallet disagree");
    }
    let jobs = bought(&buying).await;
    let delivered = jobs.iter().filter(|job| job.result_sha256.is_some()).count();
    for job in jobs.iter().filter(|job| job.result_sha256.is_none()) {
        assert_eq!((job.paid_msat, job.in_flight_msat), (0, 0), "an orphan: {job:#?}");
    }
    assert_eq!(audit["paid_again"], 0, "a wallet was told to pay what it had paid");
    assert!(delivered * 2 > jobs.len(), "{delivered} of {} were delivered", jobs.len());
    eprintln!("{} jobs, {delivered} delivered, 0 lost, 0 sent twice", jobs.len());
    buyer.shutdown().await.unwrap();
    seller.shutdown().await.unwrap();
}
