//! What every wallet promises, proven on real Lightning: two nodes of ours as child processes, a channel
//! between them on a regtest chain, and processes killed while money is locked. Skipped, and said so, where
//! bitcoind and `openagents-ldk` are not: `cargo xtask test --only ldk` brings them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test that panics has failed, as it should"
)]

mod regtest;
mod rules;

use std::{
    sync::{Arc, LazyLock},
    time::Instant,
};

use openagents_types::{Invoice, Millis, Msat, PaymentHash};
use openagents_wallet::{
    Incoming, MakeInvoice, Outgoing, Wallet, WalletError,
    child::Child,
    testnet::{Ledger, Opening},
};
use regtest::{PATIENCE, Pair, until};
use rules::{PRICE, again, first, fresh, held, plain};
use serde_json::json;
use tokio::{
    runtime::Runtime,
    sync::{Mutex, MutexGuard, OnceCell},
    task::JoinHandle,
};

/// Enough for an output of its own in the commitment transaction, which shows its hash.
const LARGE: Msat = Msat::new(50_000_000);

/// All tests of a process share one pair, one after the other: opening a channel takes longer than they do.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static PAIR: OnceCell<Option<Mutex<Pair>>> = OnceCell::const_new();

/// The pair, as a market whose money counts from now on.
struct Market {
    seller: Arc<Child>,
    buyer: Arc<Child>,
    before: (Msat, Msat),
    pair: MutexGuard<'static, Pair>,
}

impl Market {
    fn pay_in_background(&self, invoice: &Invoice) -> JoinHandle<Result<Outgoing, WalletError>> {
        self.pair.pay_in_background(invoice)
    }

    async fn until_held(&self, hash: PaymentHash) {
        self.pair.until_held(hash).await;
    }

    async fn assert_moved(&self, amount: Msat) {
        // What is locked is the buyer's no more, and not yet the seller's.
        let (seller, _) = self.pair.funds().await;
        if amount == Msat::ZERO {
            assert_eq!(seller, self.before.0);
        } else {
            self.pair.assert_moved(self.before, amount).await;
        }
    }

    async fn assert_nothing_moved(&self) {
        self.pair.assert_moved(self.before, Msat::ZERO).await;
    }

    async fn sent(&self, invoice: &Invoice) -> usize {
        self.pair.sent(invoice.payment_hash).await
    }

    /// An invoice whose time is up.
    async fn expired(&self) -> Invoice {
        let wanted = MakeInvoice { expiry: Millis(0), ..plain(PRICE) };
        self.seller.make_invoice(wanted).await.unwrap()
    }

    /// An invoice of a node that no channel leads to.
    async fn foreign(&self) -> Invoice {
        let (node, key) = (nostr::SecretKey::generate(), nostr::Keys::generate().public_key());
        let mut ledger = Ledger::new(*node);
        let account = ledger
            .open_account(key, Opening { label: "elsewhere", funds: Msat::ZERO, plain: false })
            .unwrap();
        ledger.invoice(regtest::now(), account, &plain(PRICE), rand::random()).unwrap()
    }
}

/// Runs a test on the pair, if there can be one here.
fn on_lightning(test: impl AsyncFnOnce(Market)) {
    RUNTIME.block_on(async {
        let pair = PAIR.get_or_init(async || Pair::open().await.map(Mutex::new)).await;
        let Some(pair) = pair else { return };
        let pair = pair.lock().await;
        // The test before may have killed one of them, or mined blocks that one of them has not seen.
        pair.until_ready().await;
        let (seller, buyer) = (pair.seller.wallet.clone(), pair.buyer.wallet.clone());
        let before = pair.funds().await;
        let test = test(Market { seller, buyer, before, pair });
        tokio::time::timeout(2 * PATIENCE, test).await.unwrap();
    });
}

wallet_tests!(on_real_lightning, crate::on_lightning);

#[test]
fn held_money_is_in_a_contract_at_both_ends_until_it_is_settled() {
    on_lightning(async |market| {
        let (secret, pair) = (fresh(), &market.pair);
        let invoice = market.seller.make_invoice(held(LARGE, secret)).await.unwrap();
        let paying = market.pay_in_background(&invoice);
        market.until_held(invoice.payment_hash).await;
        for peer in [&pair.seller, &pair.buyer] {
            assert!(peer.has_locked(invoice.payment_hash).await, "no contract in the channel");
        }
        assert_eq!(market.buyer.lookup_outgoing(invoice.payment_hash).await.unwrap(), Outgoing::Pending);
        market.seller.settle_hold(secret).await.unwrap();
        let paid = paying.await.unwrap().unwrap();
        assert_eq!(paid, Outgoing::Settled { preimage: secret, fee: Msat::ZERO });
        market.assert_moved(LARGE).await;
        for peer in [&pair.seller, &pair.buyer] {
            assert!(!peer.has_locked(invoice.payment_hash).await, "a contract is left in the channel");
        }
    });
}

#[test]
fn a_seller_that_is_killed_while_it_holds_settles_or_cancels_after_all() {
    on_lightning(async |market| {
        for settle in [true, false] {
            let (secret, pair, before) = (fresh(), &market.pair, market.pair.funds().await);
            let invoice = market.seller.make_invoice(held(LARGE, secret)).await.unwrap();
            let hash = invoice.payment_hash;
            // It may stop waiting before the seller is back; what became of it is asked for.
            let paying = market.pay_in_background(&invoice);
            market.until_held(hash).await;
            pair.seller.kill();
            pair.seller.until_back().await;
            let state = market.seller.lookup_incoming(hash).await.unwrap();
            assert_eq!(state, Incoming::Held { amount: LARGE });
            assert_eq!(market.buyer.lookup_outgoing(hash).await.unwrap(), Outgoing::Pending);
            assert!(pair.seller.has_locked(hash).await && pair.buyer.has_locked(hash).await);
            if settle {
                market.seller.settle_hold(secret).await.unwrap();
                let paid = Ok(Outgoing::Settled { preimage: secret, fee: Msat::ZERO });
                until("the buyer has its proof", async || market.buyer.lookup_outgoing(hash).await == paid)
                    .await;
                pair.assert_moved(before, LARGE).await;
            } else {
                market.seller.cancel_hold(hash).await.unwrap();
                let failed =
                    async || matches!(market.buyer.lookup_outgoing(hash).await, Ok(Outgoing::Failed { .. }));
                until("the buyer has its money back", failed).await;
                pair.assert_moved(before, Msat::ZERO).await;
                assert_eq!(market.seller.lookup_incoming(hash).await.unwrap(), Incoming::Cancelled);
            }
            let _ = paying.await.unwrap();
        }
    });
}

#[test]
fn a_buyer_that_is_killed_while_it_pays_knows_how_that_ended_and_pays_once() {
    on_lightning(async |market| {
        let (secret, pair) = (fresh(), &market.pair);
        let invoice = market.seller.make_invoice(held(LARGE, secret)).await.unwrap();
        let paying = market.pay_in_background(&invoice);
        market.until_held(invoice.payment_hash).await;
        pair.buyer.kill();
        assert_eq!(paying.await.unwrap(), Ok(Outgoing::Pending), "its end is unknown, not a failure");
        pair.buyer.until_back().await;
        assert_eq!(market.buyer.lookup_outgoing(invoice.payment_hash).await.unwrap(), Outgoing::Pending);
        market.seller.settle_hold(secret).await.unwrap();
        let (buyer, hash) = (&market.buyer, invoice.payment_hash);
        regtest::until("the payment is settled", async || {
            matches!(buyer.lookup_outgoing(hash).await, Ok(Outgoing::Settled { .. }))
        })
        .await;
        assert!(matches!(market.buyer.pay(again(&invoice)).await.unwrap(), Outgoing::Settled { .. }));
        assert_eq!(market.sent(&invoice).await, 1);
        market.assert_moved(LARGE).await;
    });
}

#[test]
fn held_money_that_nobody_settles_goes_back_by_itself() {
    on_lightning(async |market| {
        let (secret, pair) = (fresh(), &market.pair);
        let invoice = market.seller.make_invoice(held(LARGE, secret)).await.unwrap();
        let paying = market.pay_in_background(&invoice);
        market.until_held(invoice.payment_hash).await;
        let found =
            pair.seller.ask("lookup_invoice", json!({ "payment_hash": invoice.payment_hash.to_hex() })).await;
        let blocks = found["settle_deadline"].as_u64().unwrap() - pair.chain.height();
        pair.chain.mine(u32::try_from(blocks).unwrap());
        assert!(matches!(paying.await.unwrap().unwrap(), Outgoing::Failed { .. }));
        assert_eq!(market.seller.lookup_incoming(invoice.payment_hash).await.unwrap(), Incoming::Cancelled);
        assert!(market.seller.settle_hold(secret).await.is_err(), "too late");
        market.assert_nothing_moved().await;
    });
}

#[test]
fn payments_in_a_row_all_arrive() {
    on_lightning(async |market| {
        let mut took = Vec::new();
        for _ in 0..11 {
            let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
            let start = Instant::now();
            assert!(matches!(market.buyer.pay(first(&invoice)).await.unwrap(), Outgoing::Settled { .. }));
            took.push(start.elapsed());
        }
        took.sort();
        println!("a payment took {:?} at the median, {:?} at most", took[5], took[10]);
        market.assert_moved(Msat::new(11 * PRICE.get())).await;
    });
}
