//! Strangers on the market: a customer and a provider that share no code with us, written in another
//! language from the NIPs alone (`tests/interop`).
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed, as it should")]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use openagents_api::{Client, JobView, TestWalletBody};
use openagents_node::Node;
use openagents_tests::{config, offline, summary, until};
use openagents_types::{JobInput, JobKind};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The wallet of a stranger.
fn strangers_wallet(sats: u64) -> TestWalletBody {
    TestWalletBody { label: "stranger".into(), sats, plain: false }
}

/// The strangers' folder, if what they stand on is installed (`cargo xtask test` does that).
fn strangers() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
    if folder.join("node_modules").is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no {}/node_modules", folder.display());
    eprintln!("skipped: run `npm ci` in tests/interop");
    None
}

/// A market with test money, or one where everything is free.
async fn market(dir: &Path, free: bool) -> (Node, Client) {
    let mut config = config();
    config.provider.free = free;
    let node = offline(dir, config).await;
    let client = node.client().unwrap();
    (node, client)
}

fn stranger(folder: &Path, script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.current_dir(folder).arg(script).args(arguments).kill_on_drop(true).stdin(Stdio::null());
    command
}

async fn relay_and_provider(client: &Client) -> (String, String) {
    let view = client.node().await.unwrap();
    (view.relay.unwrap(), nostr::PublicKey::parse(&view.npub).unwrap().to_hex())
}

/// Runs the foreign customer to its end and expects every one of its cases to be well.
async fn customer(folder: &Path, arguments: &[&str], cases: usize) {
    let output = stranger(folder, "customer.mjs", arguments).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let ok = said.lines().filter(|line| serde_json::from_str::<Value>(line).unwrap()["ok"] == true);
    assert_eq!(ok.count(), cases, "{said}");
}

/// The foreign provider, once it listens.
async fn provider(folder: &Path, arguments: &[&str]) -> Child {
    let mut child = stranger(folder, "provider.mjs", arguments).stdout(Stdio::piped()).spawn().unwrap();
    let line = BufReader::new(child.stdout.take().unwrap()).lines().next_line().await.unwrap();
    assert!(serde_json::from_str::<Value>(&line.unwrap()).unwrap()["provider"].is_string());
    child
}

async fn prompt(client: &Client, bid_msat: u64) -> (JobView, String) {
    let mut body = summary("", bid_msat);
    (body.kind, body.params) = (JobKind::TEXT_GENERATION, Vec::new());
    body.inputs = vec![JobInput::text("how many words are these")];
    let asked = client.ask(&body).await.unwrap();
    let job = until(client, asked.id, &["settled"]).await;
    (job, client.result(asked.id).await.unwrap().content)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_customer_is_served_for_free() {
    let Some(folder) = strangers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = market(dir.path(), true).await;
    let (relay, key) = relay_and_provider(&client).await;
    customer(&folder, &[&relay, &key], 4).await;
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_customer_pays_and_is_served() {
    let Some(folder) = strangers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = market(dir.path(), false).await;
    let (relay, key) = relay_and_provider(&client).await;
    let wallet = client.testnet_wallet(&strangers_wallet(1_000)).await.unwrap();
    customer(&folder, &[&relay, &key, &wallet], 5).await;
    let ledger = client.ledger(10).await.unwrap();
    let earned = ledger.lines.iter().filter(|line| line.movement == "earned");
    assert_eq!(earned.count(), 3, "{ledger:#?}");
    let audit = client.testnet_audit().await.unwrap();
    assert_eq!(audit["conserved"], true, "{audit}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn our_customer_buys_from_a_foreign_provider_for_free() {
    let Some(folder) = strangers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = market(dir.path(), true).await;
    let (relay, _) = relay_and_provider(&client).await;
    let _provider = provider(&folder, &[&relay]).await;
    let (job, answer) = prompt(&client, 0).await;
    assert_eq!((job.paid_msat, answer.as_str()), (0, "That prompt has 5 words."));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn our_customer_pays_a_foreign_provider() {
    let Some(folder) = strangers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = market(dir.path(), false).await;
    let (relay, _) = relay_and_provider(&client).await;
    let wallet = client.testnet_wallet(&strangers_wallet(0)).await.unwrap();
    let _provider = provider(&folder, &[&relay, &wallet]).await;
    let (job, answer) = prompt(&client, 10_000).await;
    assert_eq!((job.paid_msat, answer.as_str()), (2_000, "That prompt has 5 words."));
    let audit = client.testnet_audit().await.unwrap();
    assert_eq!(audit["conserved"], true, "{audit}");
    node.shutdown().await.unwrap();
}
