//! Work on Nostr itself, bought end to end: proof of work, counts, searches, and events that are published later.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{path::Path, time::Duration};

use nostr::Keys;
use openagents_api::{AskBody, Client, JobView};
use openagents_node::{Node, Role, WalletChoice};
use openagents_protocol::{Verified, filters};
use openagents_relay::{Hub, HubConfig, RelayUrl, serve};
use openagents_tests::{PATIENCE, config, start, summary, until};
use openagents_types::{JobInput, JobKind, Param};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

async fn relay() -> (Hub, RelayUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = RelayUrl::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
    let hub = Hub::new(HubConfig::default());
    tokio::spawn(serve(listener, hub.clone(), CancellationToken::new()));
    (hub, url)
}

/// A node that sells all of it for free, and buys from itself.
async fn node(home: &Path, relay: &RelayUrl) -> Node {
    let mut config = config();
    config.relays = vec![relay.to_string()];
    config.provider.free = true;
    config.backend.nostr =
        [5302, 5303, 5400, 5905, 5970].map(|kind| JobKind::try_from(kind).unwrap()).to_vec();
    start(home, config, Role::Provider, WalletChoice::None, false).await
}

fn job(kind: u16, text: &str, params: &[(&str, &str)]) -> AskBody {
    AskBody {
        kind: kind.try_into().unwrap(),
        inputs: vec![JobInput::text(text)],
        params: params.iter().map(|(name, value)| Param::new(*name, *value)).collect(),
        ..summary(text, 0)
    }
}

/// What is delivered, after the registry has looked at it.
async fn bought(client: &Client, body: &AskBody) -> String {
    let asked = client.ask(body).await.unwrap();
    until(client, asked.id, &["settled"]).await;
    let content = client.result(asked.id).await.unwrap().content;
    let schema = openagents_registry::find(body.kind).unwrap();
    let read = schema.read(&body.inputs, &body.params, &[]).unwrap();
    schema.check_result(&content, &read).unwrap();
    content
}

async fn refused(client: &Client, body: &AskBody) -> JobView {
    let asked = client.ask(body).await.unwrap();
    until(client, asked.id, &["no-offer"]).await
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn note(keys: &Keys, kind: u16, content: &str, tags: &[[&str; 2]], at: u64) -> Verified {
    let tags = tags.iter().map(|parts| nostr::Tag::parse(*parts).unwrap()).collect();
    Verified::sign(keys, kind, tags, content.into(), at)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_relays_hold_is_searched_and_counted() {
    let ((hub, url), home) = (relay().await, tempfile::tempdir().unwrap());
    let (ann, bob) = (Keys::generate(), Keys::generate());
    let wanted = note(&ann, 1, "Bread from Genoa, and more bread", &[["t", "bread"]], now() - 50);
    for event in [
        wanted.clone(),
        note(&bob, 1, "Bread from Pisa", &[["t", "bread"]], now() - 40),
        note(&bob, 1, "Fish", &[["t", "fish"]], now() - 30),
        note(&ann, 0, r#"{"name":"ann","about":"a baker of Genoa"}"#, &[], now() - 50),
    ] {
        hub.publish(&event);
    }
    let node = node(home.path(), &url).await;
    let client = node.client().unwrap();
    let found = bought(&client, &job(5302, "bread genoa", &[])).await;
    assert_eq!(found, json!([["e", wanted.id().to_hex()]]).to_string());
    assert_eq!(bought(&client, &job(5302, "bread", &[("until", "5")])).await, "[]");
    let people = bought(&client, &job(5303, "baker", &[])).await;
    assert_eq!(people, json!([["p", ann.public_key().to_hex()]]).to_string());
    assert_eq!(bought(&client, &job(5400, "bread", &[])).await, "2");
    let by_author = job(5400, r#"{"kinds":[1]}"#, &[("group", "pubkey"), ("relay", url.as_str())]);
    let counts: Value = serde_json::from_str(&bought(&client, &by_author).await).unwrap();
    assert_eq!(counts, json!({ ann.public_key().to_hex(): 1, bob.public_key().to_hex(): 2 }));
    let elsewhere = job(5400, "bread", &[("relay", "wss://relay.example")]);
    let no = refused(&client, &elsewhere).await;
    assert!(no.refusals[0].message.contains("relay.example"), "{no:#?}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_gets_its_work_and_too_much_is_refused_before_a_price() {
    let ((_hub, url), home) = (relay().await, tempfile::tempdir().unwrap());
    let node = node(home.path(), &url).await;
    let client = node.client().unwrap();
    let event = json!({
        "pubkey": Keys::generate().public_key().to_hex(), "created_at": 1_800_000_000, "kind": 1, "tags": [],
        "content": "worth some work",
    });
    let made: Value =
        serde_json::from_str(&bought(&client, &job(5970, &event.to_string(), &[("pow", "10")])).await)
            .unwrap();
    assert_eq!(made["content"], event["content"]);
    let no = refused(&client, &job(5970, &event.to_string(), &[("pow", "40")])).await;
    assert!(no.refusals[0].message.contains("22"), "{no:#?}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_published_at_its_time_although_the_node_was_down() {
    let ((hub, url), home) = (relay().await, tempfile::tempdir().unwrap());
    let author = Keys::generate();
    let later = note(&author, 1, "said later", &[], now() + 4);
    let is_there = || !hub.query(&filters::for_event(later.id())).is_empty();
    let selling = node(home.path(), &url).await;
    let ids = bought(&selling.client().unwrap(), &job(5905, later.json(), &[])).await;
    assert_eq!(ids, later.id().to_hex());
    assert!(!is_there() || now() >= later.event().created_at.as_secs(), "not before its time");
    selling.shutdown().await.unwrap();

    // A node that no longer sells it keeps what was sold.
    let mut other = config();
    other.relays = vec![url.to_string()];
    let again = start(home.path(), other, Role::Provider, WalletChoice::None, false).await;
    let published = async {
        while !is_there() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, published).await.unwrap();
    assert!(now() >= later.event().created_at.as_secs());
    again.shutdown().await.unwrap();
}
