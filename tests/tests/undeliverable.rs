//! Work whose result no relay would carry is not paid for.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use base64::Engine as _;
use openagents_tests::{config, offline, summary, until};
use openagents_types::{JobInput, JobKind};

/// Text of which every letter takes two in JSON: small enough to be asked, too large to be answered.
fn growing() -> openagents_api::AskBody {
    let quotes = base64::engine::general_purpose::STANDARD.encode("\"".repeat(35_000));
    let mut body = summary("", 1_000_000);
    body.kind = JobKind::TEXT_EXTRACTION;
    body.params.clear();
    body.inputs = vec![JobInput::url(format!("data:text/plain;base64,{quotes}"))];
    body.deadline_ms = Some(5_000);
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_cannot_be_sent_is_not_charged() {
    let dir = tempfile::tempdir().unwrap();
    let node = offline(dir.path(), config()).await;
    let client = node.client().unwrap();
    let before = client.ledger(1).await.unwrap().balance_msat;
    let asked = client.ask(&growing()).await.unwrap();
    let job = until(&client, asked.id, &["failed", "no-offer", "settled", "delivered"]).await;
    assert_eq!(job.state, "failed", "{job:#?}");
    assert!(job.refusals.iter().any(|refusal| refusal.message.contains("cannot be sent")), "{job:#?}");
    assert_eq!((job.paid_msat, job.in_flight_msat), (0, 0));
    let ledger = client.ledger(10).await.unwrap();
    assert_eq!((ledger.balance_msat, ledger.lines.len()), (before, 0), "money moved: {ledger:#?}");
    node.shutdown().await.unwrap();
}
