//! What money was worth when it moved: noted once, at the price of that time, never in the way of a payment.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::path::Path;

use openagents_api::{Client, FiatSourceView, MovementView};
use openagents_node::{
    Archive, Node,
    config::{Config, FiatSettings},
    home::Home,
};
use openagents_tests::{PATIENCE, PriceServer, config, offline, summary, until};

const POINTER: &str = "/bitcoin/eur";

fn asking(url: &str) -> Config {
    let fiat = FiatSettings { source: url.into(), pointer: POINTER.into(), ..FiatSettings::default() };
    Config { fiat, ..config() }
}

/// What the node knows once its source has answered, or has not.
async fn answered(client: &Client) -> FiatSourceView {
    let wait = async {
        loop {
            let source = client.node().await.unwrap().fiat.unwrap();
            if source.per_btc.is_some() || source.fault.is_some() {
                return source;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

/// Buys one job from itself.
async fn buy(node: &Node) {
    let client = node.client().unwrap();
    let asked = client.ask(&summary("Relays carry events. Customers name relays.", 10_000)).await.unwrap();
    let job = until(&client, asked.id, &["settled", "no-offer", "failed"]).await;
    assert_eq!(job.state, "settled", "{job:?}");
}

/// All movements, oldest first.
fn movements(home: &Path) -> Vec<MovementView> {
    let archive = Archive::open(&Home::open(Some(home.to_path_buf())).unwrap()).unwrap().unwrap();
    let mut all = archive.movements().unwrap();
    all.reverse();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_movement_keeps_the_value_it_had_when_the_price_has_changed() {
    openagents_tests::log();
    let home = tempfile::tempdir().unwrap();

    // Before a source is named: no value, and none later.
    let node = offline(home.path(), config()).await;
    assert_eq!(node.client().unwrap().node().await.unwrap().fiat, None);
    buy(&node).await;
    node.shutdown().await.unwrap();

    let server = PriceServer::open(200, r#"{"bitcoin":{"eur":50000}}"#).await;
    for (price, told) in [("50000", "50000.00"), ("\"60000.5\"", "60000.50")] {
        server.say(200, &format!(r#"{{"bitcoin":{{"eur":{price}}}}}"#));
        let node = offline(home.path(), asking(&server.url)).await;
        let client = node.client().unwrap();
        let source = answered(&client).await;
        assert_eq!((source.per_btc.as_deref(), source.fault), (Some(told), None));
        assert_eq!((source.source.as_str(), source.currency.as_str()), ("127.0.0.1", "EUR"));
        buy(&node).await;
        let wallet = client.node().await.unwrap().wallet.unwrap();
        assert_eq!(wallet.balance_fiat.unwrap().per_btc, told);
        node.shutdown().await.unwrap();
    }

    // Without a source again: what was noted is still told, by the books and beside the wallet's own list.
    let node = offline(home.path(), config()).await;
    buy(&node).await;
    let client = node.client().unwrap();
    let listed = client.history(50).await.unwrap();
    assert_eq!(client.node().await.unwrap().wallet.unwrap().balance_fiat, None);
    node.shutdown().await.unwrap();
    let known = |per_btc: &str| Some(per_btc.to_owned());
    let told: Vec<_> =
        listed.iter().rev().map(|row| row.fiat.as_ref().map(|it| it.per_btc.clone())).collect();
    let expected = [None, known("50000.00"), known("60000.50"), None];
    assert_eq!(told, expected.iter().cloned().flat_map(|price| [price.clone(), price]).collect::<Vec<_>>());

    let all = movements(home.path());
    let spent: Vec<_> = all.iter().filter(|line| line.movement == "spent").collect();
    assert_eq!(spent.iter().map(|line| line.msat).collect::<Vec<_>>(), [-1_010; 4]);
    let values: Vec<_> = spent.iter().map(|line| line.fiat.as_ref().map(|it| it.amount.as_str())).collect();
    assert_eq!(values, [None, Some("-0.000505"), Some("-0.000606"), None]);
    let earned = all.iter().filter(|line| line.movement == "earned");
    let values: Vec<_> = earned.map(|line| line.fiat.as_ref().map(|it| it.amount.as_str())).collect();
    assert_eq!(values, [None, Some("0.000505"), Some("0.000606"), None]);

    let heard = server.heard();
    assert_eq!(heard.len(), 2, "it is asked once at a start, and not again for five minutes: {heard:?}");
    assert!(heard.iter().all(|request| request.starts_with("GET /price HTTP/1.1\r\n")));
    assert!(heard.iter().all(|request| !request.to_lowercase().contains("cookie")), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_or_lies_stops_no_payment_and_is_named() {
    openagents_tests::log();
    let within = |price: &str| format!(r#"{{"bitcoin":{{"eur":{price}}}}}"#);
    let no_price = "no price";
    for (status, body, words) in [
        (200, within("0"), no_price),
        (200, within("-50000"), no_price),
        (200, within("\"NaN\""), no_price),
        (200, within("NaN"), "not JSON"),
        (200, within("1e30"), no_price),
        (200, within("1000000001"), no_price),
        (200, within("null"), no_price),
        (200, r#"{"bitcoin":{"usd":1}}"#.into(), "nothing at fiat.pointer"),
        (200, "<!doctype html><p>Sorry".into(), "not JSON"),
        (200, within(&format!("\"{}\"", "1".repeat(1 << 20))), "too large"),
        (429, within("50000"), "it answered 429"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let server = PriceServer::open(status, &body).await;
        let node = offline(home.path(), asking(&server.url)).await;
        let source = answered(&node.client().unwrap()).await;
        let fault = source.fault.unwrap();
        assert!(source.per_btc.is_none() && fault.contains(words), "{fault}");
        buy(&node).await;
        node.shutdown().await.unwrap();
        assert!(movements(home.path()).iter().all(|line| line.fiat.is_none()));
    }

    let home = tempfile::tempdir().unwrap();
    let node = offline(home.path(), asking("http://127.0.0.1:9/")).await;
    let fault = answered(&node.client().unwrap()).await.fault.unwrap();
    assert!(fault.contains("cannot be reached"), "{fault}");
    buy(&node).await;
    node.shutdown().await.unwrap();
    assert_eq!(movements(home.path()).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_of_its_own_asks_nobody_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let node = offline(home.path(), asking("https://prices.example/")).await;
    assert_eq!(node.client().unwrap().node().await.unwrap().fiat, None);
    node.shutdown().await.unwrap();
}
