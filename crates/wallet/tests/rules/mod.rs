//! What every wallet promises, whatever is behind it: `wallet_tests!` with a function that runs a test on a
//! market of that wallet. A market has a `seller`, a `buyer` and ways to look at their money.
#![allow(dead_code, unused_macros, reason = "one file for several wallets, which do not all lock payments")]

use openagents_types::{Invoice, Millis, Msat, Preimage};
use openagents_wallet::{MakeInvoice, Pay};

pub(crate) const PRICE: Msat = Msat::new(21_000);

pub(crate) fn plain(amount: Msat) -> MakeInvoice {
    MakeInvoice { amount, description: "work".into(), expiry: Millis::from_secs(600), hold: None }
}

pub(crate) fn held(amount: Msat, preimage: Preimage) -> MakeInvoice {
    MakeInvoice { hold: Some(preimage.hash()), ..plain(amount) }
}

/// A preimage that nothing was held by before.
pub(crate) fn fresh() -> Preimage {
    Preimage::from_bytes(rand::random())
}

pub(crate) const fn first(invoice: &Invoice) -> Pay<'_> {
    Pay { invoice, max_fee: Msat::ZERO, first_attempt: true }
}

pub(crate) const fn again(invoice: &Invoice) -> Pay<'_> {
    Pay { invoice, max_fee: Msat::ZERO, first_attempt: false }
}

/// Every rule that needs no misbehaving wallet.
#[macro_export]
macro_rules! wallet_tests {
    ($name:ident, $with:path) => {
        mod $name {
            $crate::payment_rules!($with);
            $crate::hold_rules!($with);
        }
    };
}

/// The rules for wallets that cannot lock payments.
#[macro_export]
macro_rules! plain_wallet_tests {
    ($name:ident, $with:path) => {
        mod $name {
            $crate::payment_rules!($with);
        }
    };
}

/// What every wallet promises.
#[macro_export]
macro_rules! payment_rules {
    ($with:path) => {
        mod payments {
            use openagents_types::{Msat, PaymentHash};
            use openagents_wallet::{HistoryFilter, Incoming, Outgoing, Wallet};
            use $crate::rules::{PRICE, again, first, plain};

            #[test]
            fn an_invoice_asks_exactly_what_was_said_and_a_payment_proves_itself() {
                $with(async |market| {
                    let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                    assert_eq!(invoice.amount, PRICE);
                    let paid = market.buyer.pay(first(&invoice)).await.unwrap();
                    let Outgoing::Settled { preimage, .. } = paid else { panic!("{paid:?}") };
                    assert_eq!(preimage.hash(), invoice.payment_hash);
                    let state = market.seller.lookup_incoming(invoice.payment_hash).await.unwrap();
                    assert_eq!(state, Incoming::Settled { amount: PRICE });
                    market.assert_moved(PRICE).await;
                });
            }

            #[test]
            fn paying_again_sends_nothing_again() {
                $with(async |market| {
                    let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                    let once = market.buyer.pay(first(&invoice)).await.unwrap();
                    for _ in 0..5 {
                        assert_eq!(market.buyer.pay(again(&invoice)).await.unwrap(), once);
                    }
                    assert!(market.buyer.pay(first(&invoice)).await.unwrap() != Outgoing::Unknown);
                    market.assert_moved(PRICE).await;
                });
            }

            #[test]
            fn paying_from_many_tasks_at_once_sends_once() {
                $with(async |market| {
                    let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
                    let mut tasks = tokio::task::JoinSet::new();
                    for _ in 0..64 {
                        let (buyer, invoice) = (market.buyer.clone(), invoice.clone());
                        tasks.spawn(async move { buyer.pay(again(&invoice)).await });
                    }
                    for state in tasks.join_all().await {
                        assert!(
                            matches!(state, Ok(Outgoing::Settled { .. } | Outgoing::Pending)),
                            "{state:?}"
                        );
                    }
                    assert_eq!(market.sent(&invoice).await, 1);
                    market.assert_moved(PRICE).await;
                });
            }

            #[test]
            fn what_cannot_be_paid_is_refused_for_good_and_moves_nothing() {
                $with(async |market| {
                    let foreign = market.foreign().await;
                    let dear = market
                        .seller
                        .make_invoice(plain(Msat::new(u64::from(u32::MAX) * 1_000)))
                        .await
                        .unwrap();
                    let expired = market.expired().await;
                    for invoice in [foreign, dear, expired] {
                        match market.buyer.pay(first(&invoice)).await {
                            Ok(Outgoing::Failed { .. }) => {}
                            Err(error) => assert!(error.is_definitive(), "{error:?}"),
                            Ok(other) => panic!("{other:?}"),
                        }
                    }
                    market.assert_nothing_moved().await;
                });
            }

            #[test]
            fn what_was_never_heard_of_is_unknown() {
                $with(async |market| {
                    let hash = PaymentHash::from_bytes([3; 32]);
                    assert_eq!(market.buyer.lookup_outgoing(hash).await.unwrap(), Outgoing::Unknown);
                    assert_eq!(market.seller.lookup_incoming(hash).await.unwrap(), Incoming::Unknown);
                });
            }

            #[test]
            fn the_history_adds_up_to_the_balance() {
                $with(async |market| {
                    let mut paid = Vec::new();
                    for n in 1..=5 {
                        let invoice = market.seller.make_invoice(plain(Msat::new(n * 1_000))).await.unwrap();
                        market.buyer.pay(first(&invoice)).await.unwrap();
                        paid.push(invoice.payment_hash);
                    }
                    let rows = market.buyer.history(HistoryFilter::default()).await.unwrap();
                    let ours = rows.iter().filter(|row| paid.contains(&row.hash) && row.state == "settled");
                    let spent: Msat = ours.map(|row| row.amount).sum();
                    assert_eq!(spent, Msat::new(15_000));
                    market.assert_moved(spent).await;
                });
            }
        }
    };
}

/// What a wallet that can lock payments promises beyond.
#[macro_export]
macro_rules! hold_rules {
    ($with:path) => {
        mod holds {
            use openagents_types::Msat;
            use openagents_wallet::{Incoming, Outgoing, Wallet, WalletEvent};
            use $crate::rules::{PRICE, fresh, held};

            #[test]
            fn held_money_is_the_sellers_only_when_settled() {
                $with(async |market| {
                    let secret = fresh();
                    let invoice = market.seller.make_invoice(held(PRICE, secret)).await.unwrap();
                    let mut news = market.seller.events();
                    let paying = market.pay_in_background(&invoice);
                    let accepted = news.recv().await.unwrap();
                    let state = Incoming::Held { amount: PRICE };
                    assert_eq!(accepted, WalletEvent::Incoming { hash: invoice.payment_hash, state });
                    market.assert_moved(Msat::ZERO).await;
                    assert!(
                        market.seller.settle_hold(fresh()).await.is_err(),
                        "another preimage settles nothing"
                    );
                    market.seller.settle_hold(secret).await.unwrap();
                    market.seller.settle_hold(secret).await.unwrap();
                    let paid = paying.await.unwrap().unwrap();
                    assert_eq!(paid, Outgoing::Settled { preimage: secret, fee: Msat::ZERO });
                    market.assert_moved(PRICE).await;
                });
            }

            #[test]
            fn held_money_that_is_cancelled_goes_back() {
                $with(async |market| {
                    let secret = fresh();
                    let invoice = market.seller.make_invoice(held(PRICE, secret)).await.unwrap();
                    let paying = market.pay_in_background(&invoice);
                    market.until_held(invoice.payment_hash).await;
                    market.seller.cancel_hold(invoice.payment_hash).await.unwrap();
                    assert!(matches!(paying.await.unwrap().unwrap(), Outgoing::Failed { .. }));
                    assert!(market.seller.settle_hold(secret).await.is_err(), "too late");
                    market.assert_nothing_moved().await;
                });
            }

            #[test]
            fn the_same_hold_gives_the_same_invoice() {
                $with(async |market| {
                    let secret = fresh();
                    let one = market.seller.make_invoice(held(PRICE, secret)).await.unwrap();
                    let two = market.seller.make_invoice(held(PRICE, secret)).await.unwrap();
                    assert_eq!(one, two);
                    let other = market.seller.make_invoice(held(Msat::new(1), secret)).await;
                    assert!(other.unwrap_err().is_definitive(), "one hash, one invoice");
                });
            }
        }
    };
}
