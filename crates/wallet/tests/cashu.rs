//! What every wallet that cannot hold payments promises, proven on real Cashu mints: wallets of ours as child
//! processes, mints that lose answers, lie and die, and processes killed while ecash is on its way. Skipped,
//! and said so, where the mints and `openagents-cashu` are not: `cargo xtask test --only cashu` brings them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test that panics has failed, as it should"
)]

mod escrow;
mod mints;
mod rules;

use std::{sync::Arc, time::Duration};

use mints::{Mints, NO_LIMIT, Purse, until};
use openagents_types::{Invoice, Msat};
use openagents_wallet::{Incoming, Outgoing, Pay, Wallet, WalletError, child::Child};
use rules::{PRICE, again, first, plain};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What the buyer has at first.
const FUNDS: Msat = Msat::new(1_000_000);

/// A seller at one mint, a buyer at another.
struct Market {
    seller: Arc<Child>,
    buyer: Arc<Child>,
    selling: Purse,
    buying: Purse,
    mints: Mints,
}

impl Market {
    fn pay_in_background(&self, invoice: &Invoice) -> JoinHandle<Result<Outgoing, WalletError>> {
        let (buyer, invoice) = (self.buyer.clone(), invoice.clone());
        tokio::spawn(async move { buyer.pay(first(&invoice)).await })
    }

    /// The seller has so much more, the buyer so much less, and the mints owe just that.
    async fn assert_moved(&self, amount: Msat) {
        self.assert_cost(amount, Msat::ZERO).await;
    }

    /// As [`Self::assert_moved`], and the buyer paid a fee as well.
    async fn assert_cost(&self, amount: Msat, fee: Msat) {
        let left = FUNDS.saturating_sub(amount).saturating_sub(fee);
        self.selling.until_has(amount).await;
        self.buying.until_has(left).await;
        assert_eq!(self.mints.outstanding(0), amount, "what the seller's mint owes");
        assert_eq!(self.mints.outstanding(1), left, "what the buyer's mint owes");
    }

    async fn assert_nothing_moved(&self) {
        self.assert_moved(Msat::ZERO).await;
    }

    async fn sent(&self, invoice: &Invoice) -> usize {
        usize::try_from(self.mints.paid(invoice.payment_hash)).unwrap()
    }

    async fn expired(&self) -> Invoice {
        self.mints.outside(PRICE, 0)
    }

    /// An invoice of another network's table.
    async fn foreign(&self) -> Invoice {
        Mints::start(0).unwrap().outside(PRICE, 600)
    }

    fn door(&self, mint: usize, orders: Value) -> u64 {
        let mut order = json!({ "do": "door", "mint": mint });
        order.as_object_mut().unwrap().extend(orders.as_object().unwrap().clone());
        self.mints.obey(order)["asked"].as_u64().unwrap()
    }

    fn mood(&self, mood: Value) {
        let mut order = json!({ "do": "mood" });
        order.as_object_mut().unwrap().extend(mood.as_object().unwrap().clone());
        self.mints.obey(order);
    }

    async fn until_settled(&self, invoice: &Invoice) {
        until("the payment is settled", async || {
            matches!(self.buyer.lookup_outgoing(invoice.payment_hash).await, Ok(Outgoing::Settled { .. }))
        })
        .await;
    }

    async fn until_failed(&self, invoice: &Invoice) {
        until("the payment has failed", async || {
            matches!(self.buyer.lookup_outgoing(invoice.payment_hash).await, Ok(Outgoing::Failed { .. }))
        })
        .await;
    }
}

fn on_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}

/// Runs a test with these mints, if there can be any here.
fn with_mints(count: usize, test: impl AsyncFnOnce(Mints)) {
    on_runtime(async {
        if let Some(mints) = Mints::start(count) {
            test(mints).await;
        }
    });
}

/// Runs a test on a market of its own.
fn on_mints(test: impl AsyncFnOnce(Market)) {
    with_mints(2, async |mints| {
        let selling = mints.purse("seller", &[0]).await;
        let buying = mints.purse("buyer", &[1]).await;
        buying.fill(&mints, FUNDS).await;
        let (seller, buyer) = (selling.wallet.clone(), buying.wallet.clone());
        test(Market { seller, buyer, selling, buying, mints }).await;
    });
}

plain_wallet_tests!(on_real_mints, crate::on_mints);

/// Within a limit on fees.
const fn within(invoice: &Invoice, sat: u64) -> Pay<'_> {
    Pay { invoice, max_fee: Msat::new(sat * 1_000), first_attempt: true }
}

/// What a refusal says, which has to be for good.
fn refused<T: std::fmt::Debug>(outcome: Result<T, WalletError>) -> String {
    let error = outcome.unwrap_err();
    assert!(error.is_definitive(), "{error:?}");
    error.to_string()
}

#[test]
fn what_costs_more_than_allowed_is_not_paid_and_change_comes_back() {
    on_mints(async |market| {
        market.mood(json!({ "reserve": 10 }));
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        let dear = market.buyer.pay(within(&invoice, 9)).await.unwrap();
        assert!(matches!(&dear, Outgoing::Failed { reason } if reason.contains("10 sat")), "{dear:?}");
        market.assert_nothing_moved().await;
        let paid = market.buyer.pay(within(&invoice, 10)).await.unwrap();
        assert!(matches!(paid, Outgoing::Settled { fee, .. } if fee == Msat::new(5_000)), "{paid:?}");
        market.assert_cost(PRICE, Msat::new(5_000)).await;
    });
}

#[test]
fn a_payment_whose_answer_is_lost_is_asked_for_and_sent_once() {
    on_mints(async |market| {
        market.door(1, json!({ "lose": "/v1/melt/bolt11" }));
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        assert!(matches!(market.buyer.pay(first(&invoice)).await.unwrap(), Outgoing::Settled { .. }));
        assert_eq!(market.sent(&invoice).await, 1);
        market.assert_moved(PRICE).await;
    });
}

#[test]
fn a_payment_of_which_the_mint_says_nothing_is_open_until_it_does() {
    on_mints(async |market| {
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        market.buyer.pay(first(&market.mints.outside(Msat::new(1_000), 600))).await.unwrap();
        // A quote can be had, but neither the payment's answer nor how it stands.
        market.door(1, json!({ "lose": "/v1/melt/bolt11", "shut": "/v1/melt/quote/bolt11/" }));
        let paying = market.pay_in_background(&invoice);
        until("it was sent", async || market.sent(&invoice).await == 1).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(market.buyer.lookup_outgoing(invoice.payment_hash).await.unwrap(), Outgoing::Pending);
        assert_eq!(market.buyer.pay(again(&invoice)).await.unwrap(), Outgoing::Pending);
        market.door(1, json!({}));
        market.until_settled(&invoice).await;
        assert!(matches!(paying.await.unwrap().unwrap(), Outgoing::Settled { .. }));
        assert_eq!(market.sent(&invoice).await, 1);
        market.assert_cost(PRICE, Msat::new(1_000)).await;
    });
}

#[test]
fn a_payment_that_the_mint_never_heard_of_fails_once_its_ecash_is_new() {
    on_mints(async |market| {
        market.door(1, json!({ "shut": "/v1/melt/bolt11" }));
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        let paid = market.buyer.pay(first(&invoice)).await.unwrap();
        assert!(matches!(paid, Outgoing::Failed { .. }), "{paid:?}");
        market.door(1, json!({}));
        assert!(matches!(market.buyer.pay(again(&invoice)).await.unwrap(), Outgoing::Failed { .. }));
        assert_eq!(market.sent(&invoice).await, 0);
        market.assert_nothing_moved().await;
    });
}

#[test]
fn ecash_that_cannot_be_made_new_keeps_its_payment_open() {
    on_mints(async |market| {
        // The mint may be reading the request still, for all that we know.
        market.door(1, json!({ "shut": "/v1/melt/bolt11", "lose": "/v1/checkstate" }));
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        let paying = market.pay_in_background(&invoice);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(market.buyer.lookup_outgoing(invoice.payment_hash).await.unwrap(), Outgoing::Pending);
        market.door(1, json!({}));
        market.until_failed(&invoice).await;
        assert!(matches!(paying.await.unwrap().unwrap(), Outgoing::Failed { .. }));
        market.assert_nothing_moved().await;
    });
}

#[test]
fn a_proof_that_is_missing_proves_nothing() {
    on_mints(async |market| {
        market.mood(json!({ "mute": true }));
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        assert_eq!(market.buyer.pay(first(&invoice)).await, Err(WalletError::FalseProof));
        let known = market.buyer.lookup_outgoing(invoice.payment_hash).await;
        assert_eq!(known, Err(WalletError::FalseProof));
        market.assert_moved(PRICE).await;
    });
}

#[test]
fn a_payment_inside_a_mint_has_no_proof_and_is_refused() {
    with_mints(1, async |mints| {
        let (seller, buyer) = (mints.purse("seller", &[0]).await, mints.purse("buyer", &[0]).await);
        buyer.fill(&mints, FUNDS).await;
        let invoice = seller.wallet.make_invoice(plain(PRICE)).await.unwrap();
        let outcome = buyer.wallet.pay(first(&invoice)).await.unwrap();
        assert!(
            matches!(&outcome, Outgoing::Failed { reason } if reason.contains("another mint")),
            "{outcome:?}"
        );
        buyer.until_has(FUNDS).await;
        assert_eq!(mints.outstanding(0), FUNDS);
    });
}

#[test]
fn a_mint_that_is_down_has_refused_nothing() {
    on_mints(async |market| {
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        market.mints.kill();
        let paid = market.buyer.pay(first(&invoice)).await;
        assert!(matches!(&paid, Err(error) if !error.is_definitive()), "{paid:?}");
        assert_eq!(market.buyer.lookup_outgoing(invoice.payment_hash).await.unwrap(), Outgoing::Unknown);
        assert_eq!(market.buyer.balance().await.unwrap(), FUNDS, "what is here needs no mint to be counted");
        assert_eq!(market.seller.lookup_incoming(invoice.payment_hash).await.unwrap(), Incoming::Open);
        let made = market.seller.make_invoice(plain(PRICE)).await;
        assert!(matches!(&made, Err(error) if !error.is_definitive()), "{made:?}");
        market.mints.begin();
        assert!(matches!(market.buyer.pay(again(&invoice)).await.unwrap(), Outgoing::Settled { .. }));
        market.assert_moved(PRICE).await;
    });
}

#[test]
fn a_mint_that_is_slow_is_waited_for_and_asked_again() {
    on_mints(async |market| {
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        for mint in [0, 1] {
            market.door(mint, json!({ "slow": 20_000 }));
        }
        let made = market.seller.make_invoice(plain(PRICE)).await;
        assert_eq!(made, Err(WalletError::Timeout));
        assert_eq!(market.seller.lookup_incoming(invoice.payment_hash).await.unwrap(), Incoming::Open);
        for mint in [0, 1] {
            market.door(mint, json!({ "slow": 200 }));
        }
        assert!(matches!(market.buyer.pay(first(&invoice)).await.unwrap(), Outgoing::Settled { .. }));
        market.assert_moved(PRICE).await;
    });
}

#[test]
fn a_mint_that_dies_while_it_pays_says_afterwards_how_that_ended() {
    on_mints(async |market| {
        for arrives in [true, false] {
            market.mood(json!({ "hold": true }));
            let invoice = market.mints.outside(PRICE, 600);
            let before = market.buyer.balance().await.unwrap();
            let paying = market.pay_in_background(&invoice);
            until("the payment is under way", async || {
                market.buyer.lookup_outgoing(invoice.payment_hash).await == Ok(Outgoing::Pending)
                    && market.buyer.balance().await.unwrap() != before
            })
            .await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            market.mints.kill();
            assert_eq!(market.buyer.lookup_outgoing(invoice.payment_hash).await.unwrap(), Outgoing::Pending);
            market.mints.begin();
            let hash = invoice.payment_hash.to_hex();
            market.mints.obey(json!({ "do": "release", "hash": hash, "arrives": arrives }));
            let _ = paying.await.unwrap();
            if arrives {
                market.until_settled(&invoice).await;
                market.buying.until_has(before.saturating_sub(PRICE)).await;
            } else {
                market.until_failed(&invoice).await;
                market.buying.until_has(before).await;
            }
            assert_eq!(market.mints.paid(invoice.payment_hash), u64::from(arrives));
        }
    });
}

#[test]
fn an_invoice_that_is_paid_while_its_wallet_is_dead_brings_its_ecash_by_itself() {
    on_mints(async |market| {
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        market.selling.kill();
        market.mints.pay(&invoice);
        market.selling.until_has(PRICE).await;
        let state = market.seller.lookup_incoming(invoice.payment_hash).await.unwrap();
        assert_eq!(state, Incoming::Settled { amount: PRICE });
    });
}

/// Moments at which a process is killed, after something began: from before it was read to after its end.
const MOMENTS: [u64; 10] = [0, 5, 10, 20, 30, 45, 60, 90, 140, 250];

#[test]
fn a_wallet_that_is_killed_while_it_mints_has_all_of_it_once() {
    with_mints(1, async |mints| {
        let purse = mints.purse("purse", &[0]).await;
        let mut total = 0;
        for moment in MOMENTS {
            let invoice = purse.wallet.make_invoice(plain(PRICE)).await.unwrap();
            mints.pay(&invoice);
            // Asking makes it mint at once.
            let (wallet, hash) = (purse.wallet.clone(), invoice.payment_hash);
            let asking = tokio::spawn(async move { wallet.lookup_incoming(hash).await });
            tokio::time::sleep(Duration::from_millis(moment)).await;
            purse.kill();
            let _ = asking.await.unwrap();
            total += PRICE.get();
            purse.until_back().await;
            purse.until_has(Msat::new(total)).await;
            until("the book says so", async || {
                purse.wallet.lookup_incoming(hash).await == Ok(Incoming::Settled { amount: PRICE })
            })
            .await;
            assert_eq!(mints.outstanding(0), Msat::new(total));
        }
    });
}

#[test]
fn a_wallet_that_is_killed_while_it_pays_pays_once_or_keeps_all_of_it() {
    on_mints(async |market| {
        let mut spent = Msat::ZERO;
        for moment in MOMENTS {
            let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
            let paying = market.pay_in_background(&invoice);
            tokio::time::sleep(Duration::from_millis(moment)).await;
            market.buying.kill();
            let _ = paying.await.unwrap();
            market.buying.until_back().await;
            until("its end is known", async || {
                !matches!(
                    market.buyer.lookup_outgoing(invoice.payment_hash).await,
                    Ok(Outgoing::Pending) | Err(_)
                )
            })
            .await;
            let state = market.buyer.lookup_outgoing(invoice.payment_hash).await.unwrap();
            let times = market.sent(&invoice).await;
            println!("killed after {moment} ms: {state:?}, paid {times} times");
            match state {
                Outgoing::Settled { .. } => {
                    assert_eq!(times, 1);
                    spent = spent.checked_add(PRICE).unwrap();
                }
                Outgoing::Failed { .. } | Outgoing::Unknown => assert_eq!(times, 0),
                Outgoing::Pending => unreachable!(),
            }
            market.assert_moved(spent).await;
        }
    });
}

#[test]
fn a_mint_holds_no_more_than_it_may() {
    with_mints(1, async |mints| {
        let purse = mints.purse_with("purse", &[0], rand::random(), Msat::new(100_000)).await;
        let over = refused(purse.wallet.make_invoice(plain(Msat::new(101_000))).await);
        assert!(over.contains("max_msat_per_mint") && over.contains(&mints.url(0)), "{over}");
        purse.fill(&mints, Msat::new(60_000)).await;
        let open = purse.wallet.make_invoice(plain(Msat::new(30_000))).await.unwrap();
        // One that can still be paid counts.
        refused(purse.wallet.make_invoice(plain(Msat::new(11_000))).await);
        mints.pay(&open);
        until("it is in the book", async || {
            matches!(purse.wallet.lookup_incoming(open.payment_hash).await, Ok(Incoming::Settled { .. }))
        })
        .await;
        refused(purse.wallet.make_invoice(plain(Msat::new(11_000))).await);
        let parts = refused(purse.wallet.make_invoice(plain(Msat::new(1_500))).await);
        assert!(parts.contains("whole satoshis"), "{parts}");
    });
}

#[test]
fn a_keyset_with_other_keys_than_before_is_refused_and_a_new_keyset_is_not() {
    with_mints(1, async |mints| {
        let purse = mints.purse("purse", &[0]).await;
        purse.fill(&mints, FUNDS).await;
        mints.obey(json!({ "do": "rotate", "mint": 0 }));
        purse.kill();
        purse.until_back().await;
        purse.fill(&mints, FUNDS).await;
        mints.obey(json!({ "do": "door", "mint": 0, "forge": true }));
        purse.kill();
        purse.until_back().await;
        let forged = refused(purse.wallet.make_invoice(plain(PRICE)).await);
        assert!(forged.contains("keyset") && forged.contains(&mints.url(0)), "{forged}");
        let invoice = mints.outside(PRICE, 600);
        let paid = purse.wallet.pay(first(&invoice)).await;
        assert!(paid.is_err(), "{paid:?}");
        assert_eq!(mints.paid(invoice.payment_hash), 0);
    });
}

#[test]
fn the_seed_alone_finds_the_ecash() {
    with_mints(1, async |mints| {
        let purse = mints.purse_with("purse", &[0], [7; 32], NO_LIMIT).await;
        purse.fill(&mints, FUNDS).await;
        purse.wallet.pay(first(&mints.outside(PRICE, 600))).await.unwrap();
        let left = FUNDS.saturating_sub(PRICE);
        purse.until_has(left).await;
        let dir = purse.dir().to_owned();
        purse.stop().await;
        std::fs::remove_dir_all(dir).unwrap();
        let restored = mints.purse_with("purse", &[0], [7; 32], NO_LIMIT).await;
        restored.until_has(left).await;
        // And it is money.
        restored.wallet.pay(first(&mints.outside(PRICE, 600))).await.unwrap();
        restored.until_has(left.saturating_sub(PRICE)).await;
    });
}

#[test]
fn a_token_is_shown_again_or_taken_back_or_spent() {
    with_mints(1, async |mints| {
        let (giver, taker) = (mints.purse("giver", &[0]).await, mints.purse("taker", &[0]).await);
        giver.fill(&mints, FUNDS).await;
        let made = giver.ask("send_token", json!({ "amount": 100_000 })).await;
        assert!(made["token"].as_str().unwrap().starts_with("cashuB"), "{made}");
        giver.kill();
        giver.until_back().await;
        let listed = giver.ask("list_tokens", json!({})).await;
        assert_eq!(listed["tokens"][0], made, "it is shown again");
        let back = giver.ask("reclaim_token", json!({ "id": made["id"] })).await;
        assert_eq!(back["state"], "reclaimed");
        giver.until_has(FUNDS).await;
        let late = refused(taker.wallet.extension("receive_token", json!({ "token": made["token"] })).await);
        assert!(late.contains("spent before"), "{late}");
        let second = giver.ask("send_token", json!({ "amount": 100_000 })).await;
        let taken = taker.ask("receive_token", json!({ "token": second["token"] })).await;
        assert_eq!(taken["amount"], 100_000);
        let gone = refused(giver.wallet.extension("reclaim_token", json!({ "id": second["id"] })).await);
        assert!(gone.contains("somebody"), "{gone}");
        assert_eq!(giver.ask("list_tokens", json!({})).await["tokens"][0]["state"], "spent");
        taker.until_has(Msat::new(100_000)).await;
        assert_eq!(mints.outstanding(0), FUNDS);
    });
}

#[test]
fn a_locked_token_is_for_its_key_alone() {
    with_mints(1, async |mints| {
        let (giver, taker) = (mints.purse("giver", &[0]).await, mints.purse("taker", &[0]).await);
        giver.fill(&mints, FUNDS).await;
        let key = taker.ask("list_mints", json!({})).await["pubkey"].clone();
        let made = giver.ask("send_token", json!({ "amount": 100_000, "lock": key })).await;
        let other = mints.purse("other", &[0]).await;
        let stolen =
            refused(other.wallet.extension("receive_token", json!({ "token": made["token"] })).await);
        assert!(stolen.contains("another key"), "{stolen}");
        let back = refused(giver.wallet.extension("reclaim_token", json!({ "id": made["id"] })).await);
        assert!(back.contains("locked"), "{back}");
        let taken = taker.ask("receive_token", json!({ "token": made["token"] })).await;
        assert_eq!(taken["amount"], 100_000);
        taker.until_has(Msat::new(100_000)).await;
        assert_eq!(other.wallet.balance().await.unwrap(), Msat::ZERO);
        assert_eq!(mints.outstanding(0), FUNDS);
    });
}

#[test]
fn a_wallet_that_is_killed_while_it_makes_a_token_has_it_or_its_money() {
    with_mints(1, async |mints| {
        let giver = mints.purse("giver", &[0]).await;
        giver.fill(&mints, FUNDS).await;
        for moment in [5, 15, 30, 60, 100] {
            let wallet = giver.wallet.clone();
            let sending =
                tokio::spawn(
                    async move { wallet.extension("send_token", json!({ "amount": 33_000 })).await },
                );
            tokio::time::sleep(Duration::from_millis(moment)).await;
            giver.kill();
            let _ = sending.await.unwrap();
            giver.until_back().await;
            until("each token is there or taken back", async || {
                let listed = giver.ask("list_tokens", json!({})).await;
                let listed = listed["tokens"].as_array().unwrap().clone();
                listed.iter().all(|made| made["token"] != "" || made["state"] == "reclaimed")
            })
            .await;
            let listed = giver.ask("list_tokens", json!({})).await;
            for made in listed["tokens"].as_array().unwrap().iter().filter(|made| made["state"] == "made") {
                giver.ask("reclaim_token", json!({ "id": made["id"] })).await;
            }
            giver.until_has(FUNDS).await;
            assert_eq!(mints.outstanding(0), FUNDS);
        }
    });
}

#[test]
fn a_token_that_ten_receive_at_once_is_one_receivers() {
    with_mints(1, async |mints| {
        let giver = mints.purse("giver", &[0]).await;
        giver.fill(&mints, FUNDS).await;
        let token = giver.ask("send_token", json!({ "amount": 100_000 })).await["token"].clone();
        let mut takers = Vec::new();
        for n in 0..10 {
            takers.push(mints.purse(&format!("taker{n}"), &[0]).await);
        }
        let mut taking = tokio::task::JoinSet::new();
        for taker in &takers {
            let (wallet, token) = (taker.wallet.clone(), token.clone());
            taking.spawn(async move { wallet.extension("receive_token", json!({ "token": token })).await });
        }
        let taken = taking.join_all().await;
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1, "{taken:?}");
        let mut sum = 0;
        for taker in &takers {
            sum += taker.wallet.balance().await.unwrap().get();
        }
        assert_eq!(sum, 100_000);
        assert_eq!(mints.outstanding(0), FUNDS);
    });
}

#[test]
fn a_token_of_a_mint_that_is_not_trusted_is_refused_by_name_and_the_mint_not_asked() {
    with_mints(2, async |mints| {
        let (attacker, victim) = (mints.purse("attacker", &[1]).await, mints.purse("victim", &[0]).await);
        attacker.fill(&mints, FUNDS).await;
        let token = attacker.ask("send_token", json!({ "amount": 100_000 })).await["token"].clone();
        attacker.stop().await;
        let asked = |mints: &Mints| mints.obey(json!({ "do": "door", "mint": 1 }))["asked"].clone();
        let before = asked(&mints);
        let text = refused(victim.wallet.extension("receive_token", json!({ "token": token })).await);
        assert!(text.contains(&mints.url(1)) && text.contains("trust"), "{text}");
        for junk in ["", "cashuB", "cashuAeyJ0b2tlbiI6W119", "lnbc1", "\u{202e}"] {
            refused(victim.wallet.extension("receive_token", json!({ "token": junk })).await);
        }
        assert_eq!(asked(&mints), before, "nothing was asked of it");
        assert_eq!(victim.wallet.balance().await.unwrap(), Msat::ZERO);
    });
}
