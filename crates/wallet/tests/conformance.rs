//! What every wallet promises, proven for the testnet through the same NIP-47 client that serves a
//! user's own wallet, in both of the encryptions that wallets speak.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod market;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use market::{Market, Scheme};
use openagents_types::{DayBudget, Millis, Msat, PaymentHash, Preimage, Timestamp};
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

fn today() -> Timestamp {
    Timestamp::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
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
            async fn paying_from_many_tasks_at_once_sends_once() {
                let market = Market::open($scheme).await;
                let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                let mut tasks = tokio::task::JoinSet::new();
                for _ in 0..64 {
                    let (buyer, invoice) = (market.buyer.clone(), invoice.clone());
                    tasks.spawn(async move { buyer.pay(again(&invoice)).await });
                }
                for state in tasks.join_all().await {
                    assert!(matches!(state, Ok(Outgoing::Settled { .. } | Outgoing::Pending)), "{state:?}");
                }
                assert_eq!(market.asked("pay_invoice"), 1);
                market.assert_moved(PRICE).await;
            }

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
