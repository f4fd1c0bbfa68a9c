//! What every wallet promises, proven for the testnet through the same NIP-47 client that serves a
//! user's own wallet, in both of the encryptions that wallets speak.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod market;

use std::time::Duration;

use market::{Market, Scheme};
use openagents_types::{Millis, Msat, PaymentHash, Preimage};
use openagents_wallet::{
    HistoryFilter, Incoming, MakeInvoice, Outgoing, Pay, Wallet, WalletError, WalletEvent,
    testnet::{Fault, Faults},
};

const PRICE: Msat = Msat::new(21_000);

fn plain(amount: Msat) -> MakeInvoice {
    MakeInvoice { amount, description: "work".into(), expiry: Millis::from_secs(600), hold: None }
}

fn held(amount: Msat, preimage: Preimage) -> MakeInvoice {
    MakeInvoice { hold: Some(preimage.hash()), ..plain(amount) }
}

fn secret(n: u8) -> Preimage {
    Preimage::from_bytes([n; 32])
}

/// Every rule, for one encryption.
macro_rules! wallet_tests {
    ($name:ident, $scheme:expr) => {
        mod $name {
            use super::*;

            #[tokio::test]
            async fn an_invoice_asks_exactly_what_was_said_and_a_payment_proves_itself() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                assert_eq!(invoice.amount, PRICE);
                let paid = market.buyer.pay(first(&invoice)).await.unwrap();
                let Outgoing::Settled { preimage, .. } = paid else { panic!("{paid:?}") };
                assert_eq!(preimage.hash(), invoice.payment_hash);
                let state = market.seller.lookup_incoming(invoice.payment_hash).await.unwrap();
                assert_eq!(state, Incoming::Settled { amount: PRICE });
                market.assert_moved(PRICE).await;
            }

            #[tokio::test]
            async fn paying_again_sends_nothing_again() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                let once = market.buyer.pay(first(&invoice)).await.unwrap();
                for _ in 0..5 {
                    assert_eq!(market.buyer.pay(again(&invoice)).await.unwrap(), once);
                }
                assert!(market.buyer.pay(first(&invoice)).await.unwrap() != Outgoing::Unknown);
                market.assert_moved(PRICE).await;
            }

            #[tokio::test]
            async fn held_money_is_the_sellers_only_when_settled() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(held(PRICE, secret(7))).await.unwrap();
                let mut news = market.seller.events();
                let paying = market.pay_in_background(&invoice);
                let accepted = news.recv().await.unwrap();
                let state = Incoming::Held { amount: PRICE };
                assert_eq!(accepted, WalletEvent::Incoming { hash: invoice.payment_hash, state });
                market.assert_moved(Msat::ZERO).await;
                assert!(
                    market.seller.settle_hold(secret(8)).await.is_err(),
                    "another preimage settles nothing"
                );
                market.seller.settle_hold(secret(7)).await.unwrap();
                market.seller.settle_hold(secret(7)).await.unwrap();
                let paid = paying.await.unwrap().unwrap();
                assert_eq!(paid, Outgoing::Settled { preimage: secret(7), fee: Msat::ZERO });
                market.assert_moved(PRICE).await;
            }

            #[tokio::test]
            async fn held_money_that_is_cancelled_goes_back() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(held(PRICE, secret(7))).await.unwrap();
                let paying = market.pay_in_background(&invoice);
                market.until_held(invoice.payment_hash).await;
                market.seller.cancel_hold(invoice.payment_hash).await.unwrap();
                assert!(matches!(paying.await.unwrap().unwrap(), Outgoing::Failed { .. }));
                assert!(market.seller.settle_hold(secret(7)).await.is_err(), "too late");
                market.assert_nothing_moved().await;
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
            async fn the_same_hold_gives_the_same_invoice() {
                let market = Market::open($scheme).await;
                let one = market.seller.make_invoice(held(PRICE, secret(7))).await.unwrap();
                let two = market.seller.make_invoice(held(PRICE, secret(7))).await.unwrap();
                assert_eq!(one, two);
                let other = market.seller.make_invoice(held(Msat::new(1), secret(7))).await;
                assert!(other.unwrap_err().is_definitive(), "one hash, one invoice");
            }

            #[tokio::test]
            async fn what_cannot_be_paid_is_refused_for_good_and_moves_nothing() {
                let market = Market::open($scheme).await;
                let stranger = Market::open($scheme).await;
                let foreign = stranger.seller.make_invoice(plain(PRICE)).await.unwrap();
                let dear =
                    market.seller.make_invoice(plain(Msat::new(u64::from(u32::MAX) * 1_000))).await.unwrap();
                let expired = MakeInvoice { expiry: Millis(0), ..plain(PRICE) };
                let expired = market.seller.make_invoice(expired).await.unwrap();
                for invoice in [foreign, dear, expired] {
                    match market.buyer.pay(first(&invoice)).await {
                        Ok(Outgoing::Failed { .. }) => {}
                        Err(error) => assert!(error.is_definitive(), "{error:?}"),
                        Ok(other) => panic!("{other:?}"),
                    }
                }
                market.assert_nothing_moved().await;
            }

            #[tokio::test]
            async fn what_was_never_heard_of_is_unknown() {
                let market = Market::open($scheme).await;
                let hash = PaymentHash::from_bytes([3; 32]);
                assert_eq!(market.buyer.lookup_outgoing(hash).await.unwrap(), Outgoing::Unknown);
                assert_eq!(market.seller.lookup_incoming(hash).await.unwrap(), Incoming::Unknown);
            }

            #[tokio::test]
            async fn the_history_adds_up_to_the_balance() {
                let market = Market::open($scheme).await;
                for n in 1..=5 {
                    let invoice = market.seller.make_invoice(plain(Msat::new(n * 1_000))).await.unwrap();
                    market.buyer.pay(first(&invoice)).await.unwrap();
                }
                let rows = market.buyer.history(HistoryFilter::default()).await.unwrap();
                let spent: Msat = rows.iter().filter(|r| r.state == "settled").map(|r| r.amount).sum();
                assert_eq!(spent, Msat::new(15_000));
                market.assert_moved(spent).await;
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
            async fn a_wallet_that_changes_its_mind_is_found_out_by_asking() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                market.service.set_faults(Faults::new(1, vec![(Fault::FailThenSettle, 1_000)]));
                assert!(matches!(market.buyer.pay(first(&invoice)).await.unwrap(), Outgoing::Failed { .. }));
                let state = market.buyer.lookup_outgoing(invoice.payment_hash).await.unwrap();
                assert!(matches!(state, Outgoing::Settled { .. }));
                market.assert_moved(PRICE).await;
            }

            #[tokio::test]
            async fn a_false_proof_proves_nothing() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(held(PRICE, secret(7))).await.unwrap();
                market.service.set_faults(Faults::new(1, vec![(Fault::Lie, 1_000)]));
                market.service.set_hold_limit(Millis(50));
                let paid = market.buyer.pay(first(&invoice)).await;
                assert!(!matches!(paid, Ok(Outgoing::Settled { .. })), "{paid:?}");
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

const fn first(invoice: &openagents_types::Invoice) -> Pay<'_> {
    Pay { invoice, max_fee: Msat::ZERO, first_attempt: true }
}

const fn again(invoice: &openagents_types::Invoice) -> Pay<'_> {
    Pay { invoice, max_fee: Msat::ZERO, first_attempt: false }
}

wallet_tests!(through_nip44, Scheme::Nip44);
wallet_tests!(through_nip04, Scheme::Nip04);

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
