//! The market loop over real sockets: asked, quoted, paid, done, delivered, settled.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_tests::{config, offline, summary, until};

const TEXT: &str = "Lightning payments settle in seconds. Payments can be locked until delivery. \
    A locked payment goes back if nothing is delivered. Markets work when payment and delivery are tied together.";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_quoted_paid_done_and_settled() {
    openagents_tests::log();
    let dir = tempfile::tempdir().unwrap();
    let node = offline(dir.path(), config()).await;
    let client = node.client().unwrap();
    let asked = client.ask(&summary(TEXT, 10_000)).await.unwrap();
    let job = until(&client, asked.id, &["settled"]).await;
    assert_eq!(job.paid_msat, 1_010);
    assert!(job.preimage.is_some());
    let result = client.result(asked.id).await.unwrap();
    assert!(result.content.contains("ayment"), "{}", result.content);
    assert_eq!(Some(result.sha256), job.result_sha256);
    let ledger = client.ledger(10).await.unwrap();
    assert_eq!(ledger.net_msat, 0, "this node sold to itself: {ledger:#?}");
    assert_eq!(ledger.lines.len(), 2);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn free_work_moves_no_money() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.provider.free = true;
    let node = offline(dir.path(), config).await;
    let client = node.client().unwrap();
    let asked = client.ask(&summary(TEXT, 0)).await.unwrap();
    let job = until(&client, asked.id, &["settled"]).await;
    assert_eq!((job.paid_msat, job.in_flight_msat), (0, 0));
    assert!(client.ledger(10).await.unwrap().lines.is_empty());
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bid_below_every_price_ends_with_a_reason_and_no_payment() {
    let dir = tempfile::tempdir().unwrap();
    let node = offline(dir.path(), config()).await;
    let client = node.client().unwrap();
    let mut body = summary(TEXT, 5);
    body.deadline_ms = Some(2_500);
    let asked = client.ask(&body).await.unwrap();
    let job = until(&client, asked.id, &["no-offer"]).await;
    assert_eq!(job.refusals[0].code, "bid-too-low");
    assert_eq!(job.paid_msat, 0);
    node.shutdown().await.unwrap();
}
