//! Paying and being paid by hand over real sockets, and a server that lies about LNURL-pay in every way: no satoshi moves.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{path::Path, time::Duration};

use nostr::hashes::{Hash, sha256};
use openagents_api::{Client, DestinationBody, PayBody, ReceiveBody, TestWalletBody, TransferView};
use openagents_node::{Archive, Node, Role, WalletChoice, config::Config, home::Home};
use openagents_tests::{PATIENCE, Shop, config, offline, start};

const FUNDS_SAT: u64 = 1_000;

/// The wallet connection of a new account at `seller` that holds [`FUNDS_SAT`].
async fn account(seller: &Node) -> String {
    let wanted = TestWalletBody { label: "payer".into(), sats: FUNDS_SAT, plain: false };
    seller.client().unwrap().testnet_wallet(&wanted).await.unwrap()
}

async fn payer(home: &Path, seller: &Node, account: &str, mut config: Config) -> Node {
    config.relays = seller.up().relay.iter().cloned().collect();
    start(home, config, Role::Customer, WalletChoice::Connected(account.parse().unwrap()), false).await
}

async fn receive(client: &Client, amount_msat: u64) -> TransferView {
    let body = ReceiveBody { amount_msat, description: "coffee".into(), lifetime_ms: None };
    client.receive(&body).await.unwrap()
}

async fn pay(client: &Client, bolt11: &str) -> Result<TransferView, String> {
    let body = PayBody { bolt11: bolt11.into(), about: "a friend".into(), max_fee_msat: None };
    client.pay(&body).await.map_err(|error| error.to_string())
}

async fn over(client: &Client, hash: &str) -> TransferView {
    let wait = async {
        loop {
            let view = client.transfer(hash).await.unwrap();
            if !matches!(view.state.as_str(), "pending" | "doubtful") {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

async fn balance(client: &Client) -> u64 {
    client.node().await.unwrap().wallet.unwrap().balance_msat.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_hand_is_sent_once_and_is_in_the_books_of_both() {
    openagents_tests::log();
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let seller = offline(homes[0].path(), config()).await;
    let account = account(&seller).await;
    let mut limited = config();
    limited.customer.daily_limit_msat = 100_000;
    let buyer = payer(homes[1].path(), &seller, &account, limited.clone()).await;
    let (gets, gives) = (seller.client().unwrap(), buyer.client().unwrap());

    let asked = receive(&gets, 21_000).await;
    let wanted = DestinationBody { to: format!("lightning:{}", asked.bolt11), ..DestinationBody::default() };
    let found = gives.destination(&wanted).await.unwrap();
    assert_eq!((found.amount_msat, found.description.as_str(), &found.known), (21_000, "coffee", &None));
    let begun = pay(&gives, &found.bolt11).await.unwrap();
    assert_eq!((begun.direction.as_str(), begun.hash.as_str()), ("out", asked.hash.as_str()));
    let paid = over(&gives, &asked.hash).await;
    assert_eq!((paid.state.as_str(), paid.amount_msat), ("settled", 21_000));
    let proof = hex::decode(paid.preimage.as_ref().unwrap()).unwrap();
    assert_eq!(sha256::Hash::hash(&proof).to_string(), asked.hash);
    assert_eq!(over(&gets, &asked.hash).await.state, "settled");
    let spent = FUNDS_SAT * 1_000 - balance(&gives).await;
    assert_eq!(spent, 21_000 + paid.fee_msat);

    assert_eq!(pay(&gives, &asked.bolt11).await.unwrap(), paid, "asked again, it says how it stands");
    assert_eq!(gives.destination(&wanted).await.unwrap().known, Some(paid.clone()));
    let own = receive(&gives, 1_000).await;
    let refused = pay(&gives, &own.bolt11).await.unwrap_err();
    assert!(refused.contains("this node's own"), "{refused}");
    let much = receive(&gets, 90_000).await;
    let refused = pay(&gives, &much.bolt11).await.unwrap_err();
    assert!(refused.contains("a day are left") && refused.contains("daily_limit_msat"), "{refused}");

    for client in [&gets, &gives] {
        let compared = client.reconcile().await.unwrap();
        assert!(compared.agree, "{compared:?}");
        let ledger = client.ledger(100).await.unwrap();
        assert_eq!(ledger.lines.iter().map(|line| line.msat).sum::<i64>(), ledger.net_msat);
        assert!(ledger.lines.iter().all(|line| line.job.is_none()));
    }
    buyer.shutdown().await.unwrap();
    let archive = Archive::open(&Home::open(Some(homes[1].path().into())).unwrap()).unwrap().unwrap();
    let sent: Vec<_> =
        archive.movements().unwrap().into_iter().filter(|line| line.movement == "sent").collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].msat, sent[0].counterparty.as_deref(), sent[0].job),
        (-21_000, Some("a friend"), None)
    );

    let again = payer(homes[1].path(), &seller, &account, limited).await;
    let gives = again.client().unwrap();
    assert_eq!(pay(&gives, &asked.bolt11).await.unwrap(), paid, "after a restart as well");
    assert_eq!(FUNDS_SAT * 1_000 - balance(&gives).await, spent);
    let refused = pay(&gives, &much.bolt11).await.unwrap_err();
    assert!(
        refused.contains("a day are left"),
        "what was paid by hand today counts after a restart: {refused}"
    );
    again.shutdown().await.unwrap();

    let fresh = tempfile::tempdir().unwrap();
    let forgetful = payer(fresh.path(), &seller, &account, config()).await;
    let refused = pay(&forgetful.client().unwrap(), &asked.bolt11).await.unwrap_err();
    assert!(
        refused.contains("knows this payment already"),
        "books that know nothing ask the wallet: {refused}"
    );
    forgetful.shutdown().await.unwrap();
    seller.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_paid_exactly_what_was_asked_and_a_liar_nothing() {
    openagents_tests::log();
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let seller = offline(homes[0].path(), config()).await;
    let gets = seller.client().unwrap();
    let asked = receive(&gets, 21_000).await;
    let shop = Shop::open(&asked.hash).await;
    let mut allowing = config();
    allowing.allow_private_urls = vec![shop.address.clone()];
    let account = account(&seller).await;
    let buyer = payer(homes[1].path(), &seller, &account, allowing).await;
    let gives = buyer.client().unwrap();
    let ask = async |way: &str, amount_msat: Option<u64>, comment: &str| {
        let body = DestinationBody { to: shop.lnurl(way), amount_msat, comment: comment.into() };
        gives.destination(&body).await.map_err(|error| error.to_string())
    };

    let lies = [
        ("dear", "asks 22 sat instead of 21 sat"),
        ("other", "description hash"),
        ("mainnet", "is for mainnet, and this wallet pays on regtest"),
        ("expired", "expired or is about to"),
        ("closed", "refuses: the shop is closed"),
        ("redirect", "private network"),
        ("huge", "larger than any honest one"),
        ("missing", "it answered 404"),
        ("silent", "it took too long"),
    ];
    for (way, said) in lies {
        let error = ask(way, Some(21_000), "").await.unwrap_err();
        assert!(error.contains(said) && error.contains("No money moved"), "{way}: {error}");
    }
    for (amount, comment, said) in [
        (None, "", "takes 1 sat to 50 sat; say how much"),
        (Some(51_000), "", "not 51 sat"),
        (Some(21_000), "a comment that is far too long", "at most 20 characters"),
    ] {
        let error = ask("honest", amount, comment).await.unwrap_err().to_lowercase();
        assert!(error.contains(said.split("; ").next().unwrap()), "{error}");
    }
    assert_eq!(balance(&gives).await, FUNDS_SAT * 1_000, "nothing moved");
    assert!(gives.ledger(10).await.unwrap().lines.is_empty());

    let found = ask("honest", Some(21_000), "thanks").await.unwrap();
    assert_eq!((found.amount_msat, found.description.as_str()), (21_000, "Coffee for Ann"));
    pay(&gives, &found.bolt11).await.unwrap();
    let paid = over(&gives, &found.hash).await;
    assert_eq!((paid.state.as_str(), paid.amount_msat), ("settled", 21_000));
    assert_eq!(over(&gets, &asked.hash).await.state, "settled");
    buyer.shutdown().await.unwrap();

    let careful = payer(homes[1].path(), &seller, &account, config()).await;
    let body =
        DestinationBody { to: shop.lnurl("honest"), amount_msat: Some(21_000), ..DestinationBody::default() };
    let error = careful.client().unwrap().destination(&body).await.unwrap_err().to_string();
    assert!(error.contains("private network"), "no server near us is asked unless it is allowed: {error}");
    careful.shutdown().await.unwrap();
    seller.shutdown().await.unwrap();
}
