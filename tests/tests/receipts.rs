//! A receipt over real sockets: given by one node, countersigned by another, kept by both.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_api::{Client, ReceiptView, Side, TestWalletBody};
use openagents_node::{Archive, Node, Role, WalletChoice, config::Config, home::Home};
use openagents_protocol::receipt::Proof;
use openagents_tests::{PATIENCE, config, offline, start, summary, until};
use openagents_types::{JobId, ReceiptRule};

const TEXT: &str = "Lightning payments settle in seconds. Payments can be locked until delivery. \
    A locked payment goes back if nothing is delivered. Markets work when payment and delivery are tied together.";

/// A node that buys with test money of `seller`, on its relay.
async fn customer(home: &std::path::Path, seller: &Node, mut config: Config) -> Node {
    let wanted = TestWalletBody { label: "customer".into(), sats: 1_000, plain: false };
    let uri = seller.client().unwrap().testnet_wallet(&wanted).await.unwrap();
    config.relays = seller.up().relay.iter().cloned().collect();
    let wallet = WalletChoice::Connected(uri.parse().unwrap());
    start(home, config, Role::Customer, wallet, false).await
}

/// Waits until both parties have signed.
async fn countersigned(client: &Client, job: JobId) -> ReceiptView {
    let wait = async {
        loop {
            match client.receipt(job, None).await {
                Ok(view) if view.state == "countersigned" => return view,
                _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

fn proven(view: &ReceiptView) -> Proof {
    let proof = Proof::read(&serde_json::to_string(view).unwrap()).unwrap();
    let proven = proof.check().unwrap();
    assert!(proven.countersigned);
    assert_eq!(proven.receipt, view.receipt);
    proof
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_job_leaves_both_halves_of_its_receipt_with_both_parties() {
    openagents_tests::log();
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let seller = offline(homes[0].path(), config()).await;
    let buyer = customer(homes[1].path(), &seller, config()).await;
    let (sells, buys) = (seller.client().unwrap(), buyer.client().unwrap());
    let asked = buys.ask(&summary(TEXT, 10_000)).await.unwrap().id;
    let job = until(&buys, asked, &["settled"]).await;

    let (given, taken) = (countersigned(&sells, asked).await, countersigned(&buys, asked).await);
    assert_eq!((given.side, taken.side), (Side::Sold, Side::Bought));
    assert_eq!(given.receipt, taken.receipt);
    assert_eq!(proven(&given), proven(&taken), "both hold the same two events");
    let receipt = &taken.receipt;
    assert_eq!(receipt.price.get(), job.paid_msat);
    assert_eq!(receipt.payment_hash.map(|hash| hash.to_hex()), job.payment_hash);
    assert_eq!(Some(receipt.result_sha256.to_hex()), job.result_sha256);
    assert_eq!(receipt.usage.backend, "extractive");
    let shown = serde_json::to_string(&taken).unwrap();
    assert!(!shown.contains(&job.preimage.unwrap()) && !shown.contains("Lightning"), "{shown}");

    let public = sells.publish_receipt(asked, None).await.unwrap();
    assert_eq!(sells.publish_receipt(asked, None).await.unwrap(), public, "once");
    assert_ne!(buys.publish_receipt(asked, None).await.unwrap().event, public.event);

    buyer.shutdown().await.unwrap();
    seller.shutdown().await.unwrap();
    let archive = Archive::open(&Home::open(Some(homes[1].path().into())).unwrap()).unwrap().unwrap();
    assert_eq!(archive.receipt(asked, None).unwrap(), Some(taken));
    let again = offline(homes[0].path(), config()).await;
    assert_eq!(again.client().unwrap().receipt(asked, None).await.unwrap(), given);
    again.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn free_work_is_receipted_where_both_want_it_and_an_encrypted_one_never_becomes_public() {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut all = config();
    all.receipts.send = ReceiptRule::All;
    all.provider.free = true;
    let seller = offline(homes[0].path(), all.clone()).await;
    let buyer = customer(homes[1].path(), &seller, all).await;
    let (sells, buys) = (seller.client().unwrap(), buyer.client().unwrap());
    let mut body = summary(TEXT, 0);
    body.provider = seller.up().provider;
    body.encrypt = true;
    let asked = buys.ask(&body).await.unwrap().id;
    let taken = countersigned(&buys, asked).await;
    proven(&taken);
    assert_eq!((taken.receipt.price.get(), taken.receipt.payment_hash), (0, None));
    countersigned(&sells, asked).await;
    for client in [sells, buys] {
        let refused = client.publish_receipt(asked, None).await.unwrap_err().to_string();
        assert!(refused.contains("encrypted"), "{refused}");
    }
    buyer.shutdown().await.unwrap();
    seller.shutdown().await.unwrap();
}
