//! What every wallet promises, proven for the testnet through the same NIP-47 client that serves a
//! user's own wallet, in both of the encryptions that wallets speak.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod market;
mod rules;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use market::{Market, Scheme};
use openagents_types::{DayBudget, Millis, Msat, Preimage, Timestamp};
use openagents_wallet::{
    Incoming, Outgoing, Wallet, WalletError, WalletEvent,
    testnet::{Fault, Faults},
};
use rules::{PRICE, again, first, held, plain};

fn secret(n: u8) -> Preimage {
    Preimage::from_bytes([n; 32])
}

fn today() -> Timestamp {
    Timestamp::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

/// The rules for wallets that misbehave, and those that need the testnet's own means, for one encryption.
macro_rules! fault_tests {
    ($name:ident, $scheme:expr) => {
        mod $name {
            use super::*;

            #[tokio::test]
            async fn a_payment_that_settles_after_the_wait_is_still_heard_of() {
                let market = Market::open($scheme).await;
                let mut news = market.buyer.events();
                let invoice = market.seller.make_invoice(held(PRICE, secret(7))).await.unwrap();
                assert_eq!(market.buyer.pay(first(&invoice)).await.unwrap(), Outgoing::Pending);
                assert_eq!(market.buyer.pay(again(&invoice)).await.unwrap(), Outgoing::Pending);
                market.seller.settle_hold(secret(7)).await.unwrap();
                let state = Outgoing::Settled { preimage: secret(7), fee: Msat::ZERO };
                let heard = news.recv().await.unwrap();
                assert_eq!(heard, WalletEvent::Outgoing { hash: invoice.payment_hash, state });
                assert_eq!(market.asked("pay_invoice"), 1);
            }

            #[tokio::test]
            async fn our_own_budget_holds_whatever_the_wallet_allows() {
                let mut market = Market::open($scheme).await;
                Arc::get_mut(&mut market.buyer).unwrap().set_budget(DayBudget::new(
                    PRICE,
                    today(),
                    HashMap::new(),
                ));
                let foreign = Market::open($scheme).await;
                let foreign = foreign.seller.make_invoice(plain(PRICE)).await.unwrap();
                let refused = market.buyer.pay(first(&foreign)).await;
                assert_eq!(refused, Err(WalletError::NotFound), "what was not spent does not count");
                let one = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                let two = market.seller.make_invoice(plain(Msat::new(1))).await.unwrap();
                assert!(matches!(market.buyer.pay(first(&one)).await.unwrap(), Outgoing::Settled { .. }));
                let over = market.buyer.pay(first(&two)).await;
                assert!(matches!(over, Err(WalletError::OverBudget(_))), "{over:?}");
                market.assert_moved(PRICE).await;
            }

            #[tokio::test]
            async fn held_money_that_nobody_settles_goes_back_by_itself() {
                let market = Market::open($scheme).await;
                market.service.set_hold_limit(Millis(50));
                let invoice = market.seller.make_invoice(held(PRICE, secret(7))).await.unwrap();
                let paying = market.pay_in_background(&invoice);
                assert!(matches!(paying.await.unwrap().unwrap(), Outgoing::Failed { .. }));
                let state = market.seller.lookup_incoming(invoice.payment_hash).await.unwrap();
                assert_eq!(state, Incoming::Cancelled);
                market.assert_nothing_moved().await;
            }

            #[tokio::test]
            async fn silence_is_not_a_failure_and_leads_to_no_second_payment() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                market.service.set_faults(Faults::new(1, vec![(Fault::Timeout, 1_000)]));
                assert_eq!(market.buyer.pay(first(&invoice)).await.unwrap(), Outgoing::Pending);
                market.service.set_faults(Faults::none());
                assert!(matches!(market.buyer.pay(again(&invoice)).await.unwrap(), Outgoing::Settled { .. }));
                market.assert_moved(PRICE).await;
            }

            #[tokio::test]
            async fn a_lost_request_was_never_sent() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                market.service.set_faults(Faults::new(1, vec![(Fault::Lose, 1_000)]));
                assert_eq!(market.buyer.pay(first(&invoice)).await.unwrap(), Outgoing::Pending);
                assert_eq!(market.buyer.balance().await, Err(WalletError::Timeout));
                market.service.set_faults(Faults::none());
                let state = market.buyer.lookup_outgoing(invoice.payment_hash).await.unwrap();
                assert_eq!(state, Outgoing::Unknown);
                market.assert_nothing_moved().await;
            }

            #[tokio::test]
            async fn a_wallet_that_says_failed_of_what_it_sent_is_not_believed() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                market.service.set_faults(Faults::new(1, vec![(Fault::FailThenSettle, 1_000)]));
                assert!(matches!(market.buyer.pay(first(&invoice)).await.unwrap(), Outgoing::Settled { .. }));
                let hold = market.seller.make_invoice(held(PRICE, secret(7))).await.unwrap();
                assert_eq!(market.buyer.pay(first(&hold)).await.unwrap(), Outgoing::Pending);
                let twice = market.buyer.pay(first(&hold)).await.unwrap();
                assert_eq!(twice, Outgoing::Pending, "refused as paid already, and still locked");
                market.assert_moved(PRICE).await;
            }

            #[tokio::test]
            async fn a_false_proof_proves_nothing() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                market.service.set_faults(Faults::new(1, vec![(Fault::Lie, 1_000)]));
                let paid = market.buyer.pay(first(&invoice)).await;
                assert_eq!(paid, Err(WalletError::FalseProof));
            }

            #[tokio::test]
            async fn answers_that_come_late_or_twice_change_nothing() {
                let market = Market::open($scheme).await;
                let faults = vec![(Fault::Late(Duration::from_millis(20)), 500), (Fault::Repeat, 500)];
                market.service.set_faults(Faults::new(9, faults));
                for _ in 0..6 {
                    let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                    assert!(matches!(
                        market.buyer.pay(first(&invoice)).await.unwrap(),
                        Outgoing::Settled { .. }
                    ));
                }
                market.assert_moved(Msat::new(6 * PRICE.get())).await;
            }

            #[tokio::test]
            async fn forged_and_altered_answers_are_not_heard() {
                let market = Market::open($scheme).await;
                market.link.forge(true);
                let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                assert!(matches!(market.buyer.pay(first(&invoice)).await.unwrap(), Outgoing::Settled { .. }));
                market.assert_moved(PRICE).await;
            }
        }
    };
}

/// Runs a test on a testnet of its own.
fn on_testnet(scheme: Scheme, test: impl AsyncFnOnce(Market)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { test(Market::open(scheme).await).await });
}

fn through_nip44(test: impl AsyncFnOnce(Market)) {
    on_testnet(Scheme::Nip44, test);
}

fn through_nip04(test: impl AsyncFnOnce(Market)) {
    on_testnet(Scheme::Nip04, test);
}

wallet_tests!(nip44, crate::through_nip44);
wallet_tests!(nip04, crate::through_nip04);
fault_tests!(faults_nip44, Scheme::Nip44);
fault_tests!(faults_nip04, Scheme::Nip04);

#[tokio::test]
async fn a_killed_testnet_loses_no_balance() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("testnet.jsonl");
    let market = Market::open_at(Scheme::Nip44, Some(&journal)).await;
    let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
    market.buyer.pay(first(&invoice)).await.unwrap();
    let hold = market.seller.make_invoice(held(PRICE, secret(7))).await.unwrap();
    let _paying = market.pay_in_background(&hold);
    market.until_held(hold.payment_hash).await;
    let before = market.service.audit();
    // The last line may be cut short by the kill; it was never answered for.
    let mut text = std::fs::read(&journal).unwrap();
    text.extend_from_slice(b"{\"settled\":{\"hash\"");
    std::fs::write(&journal, text).unwrap();
    let after = Market::open_at(Scheme::Nip44, Some(&journal)).await;
    assert_eq!(after.service.audit(), before);
    after.seller.settle_hold(secret(7)).await.unwrap();
    assert!(after.service.audit().conserved);
}

#[tokio::test]
async fn a_journal_damaged_in_its_middle_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("testnet.jsonl");
    drop(Market::open_at(Scheme::Nip44, Some(&journal)).await);
    let mut text = b"{\"opened\"\n".to_vec();
    text.extend(std::fs::read(&journal).unwrap());
    std::fs::write(&journal, &text).unwrap();
    let key = nostr::SecretKey::from_slice(&[1; 32]).unwrap();
    assert!(openagents_wallet::testnet::Ledger::open(*key, &journal).is_err());
    assert_eq!(std::fs::read(&journal).unwrap(), text);
}

#[tokio::test]
async fn a_line_cut_inside_a_letter_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("testnet.jsonl");
    let before = Market::open_at(Scheme::Nip44, Some(&journal)).await.service.audit();
    let mut text = std::fs::read(&journal).unwrap();
    text.extend_from_slice(b"{\"opened\":{\"label\":\"\xc3");
    std::fs::write(&journal, text).unwrap();
    assert_eq!(Market::open_at(Scheme::Nip44, Some(&journal)).await.service.audit(), before);
}

#[tokio::test]
async fn a_connection_never_prints_its_secret() {
    let market = Market::open(Scheme::Nip44).await;
    let connection = market.connection();
    let uri = connection.expose();
    let secret = uri.split("secret=").nth(1).unwrap()[..64].to_owned();
    let wrong: Result<openagents_wallet::nwc::Connection, _> = format!("x{uri}").parse();
    for text in [format!("{connection:?}"), format!("{:?}", market.buyer), wrong.unwrap_err().to_string()] {
        assert!(!text.contains(&secret), "{text}");
    }
}
