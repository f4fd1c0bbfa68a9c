//! Ecash in escrow (NUT-14), proven on real mints: locked once, taken by the one whom it names with the
//! preimage, or taken back after its locktime, whatever is repeated, killed, lost, slow or forged meanwhile.
//! After each test what both sides have is what there was before, less what the mint kept.

use std::{
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openagents_types::{Msat, PaymentHash, Preimage};
use openagents_wallet::{Incoming, Outgoing, Wallet, WalletError, WalletEvent};
use serde_json::{Value, json};

use crate::{
    FUNDS, MOMENTS, first,
    mints::{Mints, NO_LIMIT, Purse, until},
    plain, refused,
    rules::{PRICE, fresh},
    with_mints,
};

/// A locktime that no test waits for, in seconds from now.
const LATER: u64 = 3_600;

/// One that a test waits for: time enough on a busy machine to lock before it.
const SOON: u64 = 8;

fn in_seconds(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds
}

async fn until_time(at: u64) {
    until("it is time", async || in_seconds(0) >= at).await;
}

/// A provider and a customer, who has all the money, at the same mints.
struct Deal {
    payee: Purse,
    payer: Purse,
    mints: Mints,
}

/// What a request was made for.
struct Asked {
    preimage: Preimage,
    hash: PaymentHash,
    request: Value,
    locktime: u64,
}

impl Asked {
    fn params(&self) -> Value {
        json!({
            "request": self.request,
            "amount": PRICE.get(),
            "payment_hash": self.hash.to_hex(),
            "locktime": self.locktime,
            "max_fee": 10_000,
        })
    }
}

fn on_a_deal(count: usize, test: impl AsyncFnOnce(Deal)) {
    with_mints(count, async |mints| {
        let all: Vec<usize> = (0..count).collect();
        let (payee, payer) = (mints.purse("payee", &all).await, mints.purse("payer", &all).await);
        payer.fill(&mints, FUNDS).await;
        test(Deal { payee, payer, mints }).await;
    });
}

async fn ask_for(payee: &Purse, locktime: u64) -> Asked {
    ask_until(payee, locktime, locktime).await
}

async fn ask_until(payee: &Purse, locktime: u64, expires: u64) -> Asked {
    let preimage = fresh();
    let hash = preimage.hash();
    let params = json!({
        "amount": PRICE.get(),
        "payment_hash": hash.to_hex(),
        "locktime": locktime,
        "expires_at": expires,
        "description": "work",
    });
    let made = payee.ask("make_ecash_request", params.clone()).await;
    assert_eq!(payee.ask("make_ecash_request", params).await, made, "the same hash, the same request");
    assert!(made["request"].as_str().unwrap().starts_with("creqA"), "{made}");
    assert_eq!(made["payment_hash"], hash.to_hex());
    Asked { preimage, hash, request: made["request"].clone(), locktime }
}

impl Deal {
    async fn ask(&self, seconds: u64) -> Asked {
        ask_for(&self.payee, in_seconds(seconds)).await
    }

    async fn lock(&self, asked: &Asked) -> Value {
        self.payer.ask("lock_ecash", asked.params()).await["token"].clone()
    }

    async fn try_lock(&self, params: Value) -> Result<Value, WalletError> {
        self.payer.wallet.extension("lock_ecash", params).await
    }

    async fn accept(&self, asked: &Asked, token: &Value) -> Result<Value, WalletError> {
        accept(&self.payee, asked, token).await
    }

    fn door(&self, orders: Value) {
        let mut order = json!({ "do": "door", "mint": 0 });
        order.as_object_mut().unwrap().extend(orders.as_object().unwrap().clone());
        self.mints.obey(order);
    }

    fn forge(&self, what: &str, how: Value) -> Value {
        let mut order = json!({ "do": format!("forge a {what}"), "mint": 0 });
        order.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
        self.mints.obey(order)[what].clone()
    }

    async fn until_paid(&self, asked: &Asked) {
        until("the payer has the preimage", async || {
            matches!(
                self.payer.wallet.lookup_outgoing(asked.hash).await,
                Ok(Outgoing::Settled { preimage, .. }) if preimage == asked.preimage
            )
        })
        .await;
    }

    async fn until_back(&self, asked: &Asked) {
        until("the payer has it back", async || {
            matches!(self.payer.wallet.lookup_outgoing(asked.hash).await, Ok(Outgoing::Failed { .. }))
        })
        .await;
    }

    /// So much went to the payee, the mint kept so much, and the payer has the rest.
    async fn assert_moved(&self, amount: Msat, fees: Msat) {
        let left = FUNDS.saturating_sub(amount).saturating_sub(fees);
        self.payee.until_has(amount).await;
        self.payer.until_has(left).await;
        let owed = self.mints.outstanding(0);
        assert_eq!(owed, left.checked_add(amount).unwrap(), "what the mint owes");
    }

    async fn assert_nothing_moved(&self) {
        self.assert_moved(Msat::ZERO, Msat::ZERO).await;
    }
}

async fn accept(payee: &Purse, asked: &Asked, token: &Value) -> Result<Value, WalletError> {
    let params = json!({ "payment_hash": asked.hash.to_hex(), "token": token });
    payee.wallet.extension("accept_ecash", params).await
}

/// Asks until the answer is one.
async fn insist<T>(what: &str, call: impl AsyncFn() -> Result<T, WalletError>) -> T {
    let found = std::sync::Mutex::new(None);
    until(what, async || {
        let answer = call().await;
        if let Err(error) = &answer {
            assert!(!error.is_definitive(), "{what}: {error}");
        }
        *found.lock().unwrap() = answer.ok();
        found.lock().unwrap().is_some()
    })
    .await;
    found.into_inner().unwrap().unwrap()
}

#[test]
fn ecash_in_escrow_is_the_payees_once_the_preimage_is_given() {
    on_a_deal(1, async |deal| {
        let mut events = deal.payee.wallet.events();
        let asked = deal.ask(LATER).await;
        let read = deal.payer.ask("read_ecash_request", json!({ "request": asked.request })).await;
        assert_eq!((&read["payable"], &read["amount"]), (&json!(true), &json!(PRICE.get())), "{read}");
        assert_eq!(
            (&read["locktime"], &read["mints"]),
            (&json!(asked.locktime), &json!([deal.mints.url(0)]))
        );
        assert_eq!(deal.payee.wallet.lookup_incoming(asked.hash).await.unwrap(), Incoming::Open);

        let token = deal.lock(&asked).await;
        assert!(token.as_str().unwrap().starts_with("cashuB"), "{token}");
        assert_eq!(deal.lock(&asked).await, token, "it is locked once");
        deal.payer.until_has(FUNDS.saturating_sub(PRICE)).await;
        assert_eq!(deal.payer.wallet.lookup_outgoing(asked.hash).await.unwrap(), Outgoing::Pending);

        let held = deal.accept(&asked, &token).await.unwrap();
        assert_eq!((&held["state"], &held["amount"]), (&json!("accepted"), &json!(PRICE.get())), "{held}");
        assert_eq!(deal.accept(&asked, &token).await.unwrap(), held);
        let known = deal.payee.wallet.lookup_incoming(asked.hash).await.unwrap();
        assert_eq!(known, Incoming::Held { amount: PRICE });
        assert_eq!(deal.payee.wallet.balance().await.unwrap(), Msat::ZERO, "nothing is spent");
        assert_eq!(deal.payee.ask("list_mints", json!({})).await["mints"][0]["held"], PRICE.get());

        deal.payee.wallet.settle_hold(asked.preimage).await.unwrap();
        deal.payee.wallet.settle_hold(asked.preimage).await.unwrap();
        let known = deal.payee.wallet.lookup_incoming(asked.hash).await.unwrap();
        assert_eq!(known, Incoming::Settled { amount: PRICE });
        deal.until_paid(&asked).await;
        assert_eq!(deal.lock(&asked).await, token);
        let late = refused(deal.payee.wallet.cancel_hold(asked.hash).await);
        assert!(late.contains("taken"), "{late}");
        for state in [Incoming::Held { amount: PRICE }, Incoming::Settled { amount: PRICE }] {
            assert_eq!(events.recv().await, Some(WalletEvent::Incoming { hash: asked.hash, state }));
        }
        for (purse, kind) in [(&deal.payee, "incoming"), (&deal.payer, "outgoing")] {
            let listed = purse.ask("list_transactions", json!({})).await["transactions"][0].clone();
            assert_eq!((&listed["type"], &listed["state"]), (&json!(kind), &json!("settled")), "{listed}");
            assert_eq!(listed["payment_hash"], asked.hash.to_hex());
        }
        deal.assert_moved(PRICE, Msat::ZERO).await;
    });
}

#[test]
fn a_kill_between_any_two_steps_changes_nothing() {
    on_a_deal(1, async |deal| {
        let asked = deal.ask(LATER).await;
        let kill = async || {
            for purse in [&deal.payee, &deal.payer] {
                purse.kill();
                purse.until_back().await;
            }
        };
        kill().await;
        let token = deal.lock(&asked).await;
        kill().await;
        assert_eq!(deal.lock(&asked).await, token);
        deal.accept(&asked, &token).await.unwrap();
        kill().await;
        deal.accept(&asked, &token).await.unwrap();
        let held = deal.payee.wallet.lookup_incoming(asked.hash).await.unwrap();
        assert_eq!(held, Incoming::Held { amount: PRICE });
        deal.payee.wallet.settle_hold(asked.preimage).await.unwrap();
        kill().await;
        deal.payee.wallet.settle_hold(asked.preimage).await.unwrap();
        deal.until_paid(&asked).await;
        kill().await;
        deal.until_paid(&asked).await;
        deal.assert_moved(PRICE, Msat::ZERO).await;
    });
}

#[test]
fn a_wallet_that_is_killed_while_it_locks_or_takes_does_it_once() {
    // New wallets for each half: one that dies often is started again ever later.
    for moments in MOMENTS.chunks(5) {
        on_a_deal(1, async |deal| killed_at(&deal, moments).await);
    }
}

async fn killed_at(deal: &Deal, moments: &[u64]) {
    let mut moved = Msat::ZERO;
    for &moment in moments {
        let asked = deal.ask(LATER).await;
        let (wallet, params) = (deal.payer.wallet.clone(), asked.params());
        let locking = tokio::spawn(async move { wallet.extension("lock_ecash", params).await });
        tokio::time::sleep(Duration::from_millis(moment)).await;
        deal.payer.kill();
        let early = locking.await.unwrap().ok();
        deal.payer.until_back().await;
        let locked = insist("it is locked", async || deal.try_lock(asked.params()).await).await;
        assert!(early.is_none_or(|early| early == locked));
        moved = moved.checked_add(PRICE).unwrap();
        deal.payer.until_has(FUNDS.saturating_sub(moved)).await;

        deal.accept(&asked, &locked["token"]).await.unwrap();
        let (wallet, preimage) = (deal.payee.wallet.clone(), asked.preimage);
        let taking = tokio::spawn(async move { wallet.settle_hold(preimage).await });
        tokio::time::sleep(Duration::from_millis(moment)).await;
        deal.payee.kill();
        let _ = taking.await.unwrap();
        deal.payee.until_back().await;
        insist("it is taken", async || deal.payee.wallet.settle_hold(asked.preimage).await).await;
        deal.until_paid(&asked).await;
        deal.assert_moved(moved, Msat::ZERO).await;
    }
}

#[test]
fn a_wallet_that_is_killed_while_it_takes_ecash_back_has_it_once() {
    on_a_deal(1, async |deal| {
        for moment in [0, 40, 120] {
            let asked = deal.ask(SOON).await;
            deal.lock(&asked).await;
            until_time(asked.locktime + 2).await;
            tokio::time::sleep(Duration::from_millis(moment)).await;
            deal.payer.kill();
            deal.payer.until_back().await;
            deal.until_back(&asked).await;
            deal.assert_nothing_moved().await;
        }
    });
}

#[test]
fn what_is_not_as_asked_is_refused_and_is_the_senders_again() {
    on_a_deal(2, async |deal| {
        let asked = deal.ask(LATER).await;
        let longer = in_seconds(2 * LATER).to_string();
        let other = deal.payer.ask("list_mints", json!({})).await["pubkey"].clone();
        // Ecash that is locked to something else.
        for (how, word) in [
            (json!({ "hash": fresh().hash().to_hex() }), "another payment hash"),
            (json!({ "pubkeys": other }), "another key"),
            (json!({ "locktime": longer, "expires_at": longer }), "another time"),
            (json!({ "sats": 20 }), "were asked for"),
        ] {
            let mut order = how.clone();
            order["request"] = asked.request.clone();
            let wrong = deal.forge("request", order);
            let cheat = deal.mints.purse(&format!("cheat {word}"), &[0]).await;
            cheat.fill(&deal.mints, FUNDS).await;
            let terms = cheat.ask("read_ecash_request", json!({ "request": wrong })).await;
            let mut params = terms.clone();
            params["request"] = wrong;
            let token = cheat.ask("lock_ecash", params).await["token"].clone();
            let why = refused(deal.accept(&asked, &token).await);
            assert!(why.contains(word), "{how}: {why}");
            cheat.stop().await;
        }
        // Ecash that was tampered with.
        let token = deal.lock(&asked).await;
        for (how, word) in [
            (json!({ "how": "without proof" }), "prove"),
            (json!({ "how": "with a false proof" }), "prove"),
            (json!({ "how": "with a piece twice" }), "twice"),
            (json!({ "how": "with a piece less" }), "were asked for"),
            (json!({ "how": "as it is", "url": deal.mints.url(1) }), "keyset"),
            (json!({ "how": "as it is", "url": "http://127.0.0.1:1" }), "trust"),
        ] {
            let mut order = how.clone();
            order["token"] = token.clone();
            let wrong = deal.forge("token", order);
            let why = refused(deal.accept(&asked, &wrong).await);
            assert!(why.contains(word), "{how}: {why}");
        }
        for junk in ["", "cashuB", "lnbc1", "\u{202e}"] {
            refused(deal.accept(&asked, &json!(junk)).await);
        }
        let unasked = Asked { hash: fresh().hash(), preimage: fresh(), ..deal.ask(LATER).await };
        assert_eq!(deal.accept(&unasked, &token).await, Err(WalletError::NotFound));
        let plain = deal.payer.ask("send_token", json!({ "amount": PRICE.get() })).await;
        let why = refused(deal.accept(&asked, &plain["token"]).await);
        assert!(why.contains("not locked"), "{why}");
        deal.payer.ask("reclaim_token", json!({ "id": plain["id"] })).await;
        assert_eq!(deal.payee.wallet.lookup_incoming(asked.hash).await.unwrap(), Incoming::Open);
        // And what is as asked is held, and nothing else after it.
        deal.accept(&asked, &token).await.unwrap();
        let again = deal.forge("token", json!({ "how": "without proof", "token": token }));
        let why = refused(deal.accept(&asked, &again).await);
        assert!(why.contains("before") && why.contains("sender"), "{why}");
        deal.payee.wallet.settle_hold(asked.preimage).await.unwrap();
        deal.until_paid(&asked).await;
        deal.payee.until_has(PRICE).await;
    });
}

#[test]
fn a_token_that_was_spent_is_refused() {
    on_a_deal(1, async |deal| {
        let asked = deal.ask(LATER).await;
        let token = deal.lock(&asked).await;
        deal.accept(&asked, &token).await.unwrap();
        // The payee's own record is lost: it asks for the same, and the token comes a second time.
        let dir = deal.payee.dir().to_owned();
        let spare = deal.mints.purse_with("spare", &[0], [9; 32], NO_LIMIT).await;
        let own = ask_for(&spare, in_seconds(LATER)).await;
        let theirs = deal.lock(&own).await;
        accept(&spare, &own, &theirs).await.unwrap();
        spare.wallet.settle_hold(own.preimage).await.unwrap();
        let spent = spare.dir().to_owned();
        spare.stop().await;
        std::fs::remove_dir_all(spent).unwrap();
        let spare = deal.mints.purse_with("spare", &[0], [9; 32], NO_LIMIT).await;
        spare.until_has(PRICE).await;
        let params = json!({
            "amount": PRICE.get(), "payment_hash": own.hash.to_hex(),
            "locktime": own.locktime, "expires_at": own.locktime,
        });
        let made = spare.ask("make_ecash_request", params).await;
        assert!(made["request"].is_string());
        let why = refused(accept(&spare, &own, &theirs).await);
        assert!(why.contains("spent before"), "{why}");
        assert!(dir.exists());
    });
}

#[test]
fn of_ten_providers_only_the_one_that_is_named_can_take_it() {
    on_a_deal(1, async |deal| {
        let asked = deal.ask(LATER).await;
        let token = deal.lock(&asked).await;
        let mut others = Vec::new();
        for n in 0..9 {
            let other = deal.mints.purse(&format!("other{n}"), &[0]).await;
            // They know the hash, and ask for it as well.
            let params = json!({
                "amount": PRICE.get(), "payment_hash": asked.hash.to_hex(),
                "locktime": asked.locktime, "expires_at": asked.locktime,
            });
            other.ask("make_ecash_request", params).await;
            let why = refused(accept(&other, &asked, &token).await);
            assert!(why.contains("another key"), "{why}");
            // Even with the preimage.
            refused(other.wallet.settle_hold(asked.preimage).await);
            let stolen = other.wallet.extension("receive_token", json!({ "token": token })).await;
            assert!(stolen.is_err(), "{stolen:?}");
            others.push(other);
        }
        deal.accept(&asked, &token).await.unwrap();
        deal.payee.wallet.settle_hold(asked.preimage).await.unwrap();
        for other in &others {
            assert_eq!(other.wallet.balance().await.unwrap(), Msat::ZERO);
        }
        deal.assert_moved(PRICE, Msat::ZERO).await;
    });
}

#[test]
fn what_nobody_takes_is_the_payers_again_after_the_locktime_and_the_payee_is_told() {
    on_a_deal(1, async |deal| {
        let asked = deal.ask(SOON).await;
        let token = deal.lock(&asked).await;
        deal.accept(&asked, &token).await.unwrap();
        deal.payer.kill();
        deal.until_back(&asked).await;
        assert!(in_seconds(0) >= asked.locktime, "not before");
        let late = deal.payee.wallet.settle_hold(asked.preimage).await;
        assert!(matches!(&late, Err(WalletError::PaymentFailed(why)) if why.contains("faster")), "{late:?}");
        assert_eq!(deal.payee.wallet.lookup_incoming(asked.hash).await.unwrap(), Incoming::Cancelled);
        let failed = deal.try_lock(asked.params()).await;
        assert!(matches!(&failed, Err(WalletError::PaymentFailed(_))), "never locked twice: {failed:?}");
        deal.assert_nothing_moved().await;
    });
}

#[test]
fn a_payee_that_only_holds_learns_that_it_was_taken_back() {
    on_a_deal(1, async |deal| {
        let asked = deal.ask(SOON).await;
        let token = deal.lock(&asked).await;
        deal.accept(&asked, &token).await.unwrap();
        until("the payee knows", async || {
            deal.payee.wallet.lookup_incoming(asked.hash).await == Ok(Incoming::Cancelled)
        })
        .await;
        deal.assert_nothing_moved().await;
    });
}

#[test]
fn after_the_locktime_a_payee_still_takes_what_nobody_took_back() {
    on_a_deal(1, async |mut deal| {
        let asked = deal.ask(SOON).await;
        let token = deal.lock(&asked).await;
        deal.accept(&asked, &token).await.unwrap();
        let dir = deal.payer.dir().to_owned();
        assert!(dir.exists());
        let idle = deal.mints.purse("idle", &[0]).await;
        std::mem::replace(&mut deal.payer, idle).stop().await;
        until_time(asked.locktime + 3).await;
        deal.payee.wallet.settle_hold(asked.preimage).await.unwrap();
        assert_eq!(deal.payee.wallet.balance().await.unwrap(), PRICE);
        assert_eq!(deal.mints.outstanding(0), FUNDS);
    });
}

#[test]
fn who_is_first_at_the_locktime_is_for_the_mint_to_say() {
    on_a_deal(1, async |deal| {
        for _ in 0..3 {
            let before = deal.payee.wallet.balance().await.unwrap();
            let asked = deal.ask(SOON).await;
            let token = deal.lock(&asked).await;
            deal.accept(&asked, &token).await.unwrap();
            until_time(asked.locktime + 2).await;
            let settled = async || loop {
                match deal.payee.wallet.settle_hold(asked.preimage).await {
                    Ok(()) => return PRICE,
                    Err(WalletError::PaymentFailed(_)) => return Msat::ZERO,
                    // The mint is in the middle of the other's.
                    Err(error) => assert!(!error.is_definitive(), "{error:?}"),
                }
            };
            let (got, _) = tokio::join!(settled(), deal.payer.wallet.lookup_outgoing(asked.hash));
            if got == PRICE {
                deal.until_paid(&asked).await
            } else {
                deal.until_back(&asked).await
            }
            println!("the payee got {got:?}");
            let now = before.checked_add(got).unwrap();
            deal.assert_moved(now, Msat::ZERO).await;
        }
    });
}

#[test]
fn what_is_given_up_is_never_taken() {
    on_a_deal(1, async |deal| {
        let (asked, unpaid) = (deal.ask(SOON).await, deal.ask(LATER).await);
        let token = deal.lock(&asked).await;
        deal.accept(&asked, &token).await.unwrap();
        deal.payee.wallet.cancel_hold(asked.hash).await.unwrap();
        deal.payee.wallet.cancel_hold(asked.hash).await.unwrap();
        deal.payee.wallet.cancel_hold(unpaid.hash).await.unwrap();
        refused(deal.payee.wallet.settle_hold(asked.preimage).await);
        let never = refused(deal.accept(&unpaid, &token).await);
        assert!(never.contains("given up"), "{never}");
        assert_eq!(deal.payee.wallet.lookup_incoming(asked.hash).await.unwrap(), Incoming::Cancelled);
        deal.payee.kill();
        deal.until_back(&asked).await;
        deal.assert_nothing_moved().await;
    });
}

#[test]
fn what_the_payee_releases_is_the_payers_at_once() {
    on_a_deal(1, async |deal| {
        let (asked, other) = (deal.ask(LATER).await, deal.ask(LATER).await);
        let tokens = [deal.lock(&asked).await, deal.lock(&other).await];
        deal.accept(&asked, &tokens[0]).await.unwrap();
        deal.accept(&other, &tokens[1]).await.unwrap();
        let params = |asked: &Asked, preimage: &Preimage| json!({ "payment_hash": asked.hash.to_hex(), "preimage": preimage.to_hex() });
        refused(deal.payee.wallet.extension("release_ecash", params(&asked, &fresh())).await);
        let release =
            deal.payee.ask("release_ecash", params(&asked, &asked.preimage)).await["release"].clone();
        let again = deal.payee.ask("release_ecash", params(&asked, &asked.preimage)).await;
        assert!(again["release"].is_string());
        refused(deal.payee.wallet.settle_hold(asked.preimage).await);
        // It opens nothing else.
        let back = |asked: &Asked| json!({ "payment_hash": asked.hash.to_hex(), "release": release });
        for wrong in [back(&other), with(back(&asked), "release", json!("{}"))] {
            refused(deal.payer.wallet.extension("take_back_ecash", wrong).await);
        }
        deal.door(json!({ "lose": "/v1/swap", "shut": "/v1/checkstate" }));
        let open = deal.payer.wallet.extension("take_back_ecash", back(&asked)).await;
        assert!(matches!(&open, Err(error) if !error.is_definitive()), "{open:?}");
        deal.payer.kill();
        deal.payer.until_back().await;
        deal.door(json!({}));
        let taken =
            insist("it is back", async || deal.payer.wallet.extension("take_back_ecash", back(&asked)).await)
                .await;
        assert_eq!(taken["state"], "failed", "{taken}");
        assert_eq!(deal.payer.ask("take_back_ecash", back(&asked)).await, taken);
        assert!(in_seconds(0) < asked.locktime);
        // What was taken is not released.
        deal.payee.wallet.settle_hold(other.preimage).await.unwrap();
        refused(deal.payee.wallet.extension("release_ecash", params(&other, &other.preimage)).await);
        deal.until_paid(&other).await;
        deal.assert_moved(PRICE, Msat::ZERO).await;
    });
}

#[test]
fn answers_that_are_lost_are_asked_for() {
    on_a_deal(1, async |deal| {
        let asked = deal.ask(LATER).await;
        deal.door(json!({ "lose": "/v1/swap" }));
        let token = deal.lock(&asked).await;
        deal.accept(&asked, &token).await.unwrap();
        deal.payee.wallet.settle_hold(asked.preimage).await.unwrap();
        deal.until_paid(&asked).await;
        deal.assert_moved(PRICE, Msat::ZERO).await;
        let second = deal.ask(SOON).await;
        deal.lock(&second).await;
        deal.until_back(&second).await;
        deal.assert_moved(PRICE, Msat::ZERO).await;
    });
}

#[test]
fn a_mint_that_says_nothing_leaves_it_open_until_it_does() {
    on_a_deal(1, async |deal| {
        let asked = deal.ask(LATER).await;
        // Nothing is heard of the exchange, nor how anything stands.
        let silent = json!({ "lose": "/v1/swap", "shut": "/v1/checkstate" });
        deal.door(silent.clone());
        let open = deal.try_lock(asked.params()).await;
        assert!(matches!(&open, Err(error) if !error.is_definitive()), "{open:?}");
        assert_eq!(deal.payer.wallet.lookup_outgoing(asked.hash).await.unwrap(), Outgoing::Pending);
        deal.payer.kill();
        deal.payer.until_back().await;
        assert_eq!(deal.payer.wallet.lookup_outgoing(asked.hash).await.unwrap(), Outgoing::Pending);
        deal.door(json!({}));
        let token =
            insist("it is locked", async || deal.try_lock(asked.params()).await).await["token"].clone();

        deal.door(json!({ "shut": "/v1/checkstate" }));
        let open = deal.accept(&asked, &token).await;
        assert!(matches!(&open, Err(error) if !error.is_definitive()), "{open:?}");
        deal.door(json!({}));
        deal.accept(&asked, &token).await.unwrap();

        deal.door(silent);
        let open = deal.payee.wallet.settle_hold(asked.preimage).await;
        assert!(matches!(&open, Err(error) if !error.is_definitive()), "{open:?}");
        let held = deal.payee.wallet.lookup_incoming(asked.hash).await.unwrap();
        assert_eq!(held, Incoming::Held { amount: PRICE });
        deal.door(json!({}));
        // By itself.
        deal.payee.until_has(PRICE).await;
        deal.until_paid(&asked).await;
        deal.assert_moved(PRICE, Msat::ZERO).await;
    });
}

#[test]
fn a_mint_that_is_dead_or_slow_only_delays() {
    on_a_deal(1, async |deal| {
        let asked = deal.ask(LATER).await;
        deal.mints.kill();
        let open = deal.try_lock(asked.params()).await;
        assert!(matches!(&open, Err(error) if !error.is_definitive()), "{open:?}");
        assert_eq!(deal.payer.wallet.balance().await.unwrap(), FUNDS, "nothing was told to lock");
        deal.mints.begin();
        deal.door(json!({ "slow": 300 }));
        let token = deal.lock(&asked).await;
        deal.mints.kill();
        let open = deal.accept(&asked, &token).await;
        assert!(matches!(&open, Err(error) if !error.is_definitive()), "{open:?}");
        deal.mints.begin();
        deal.door(json!({ "slow": 300 }));
        deal.accept(&asked, &token).await.unwrap();
        deal.mints.kill();
        let open = deal.payee.wallet.settle_hold(asked.preimage).await;
        assert!(matches!(&open, Err(error) if !error.is_definitive()), "{open:?}");
        deal.payee.kill();
        deal.mints.begin();
        deal.until_paid(&asked).await;
        deal.assert_moved(PRICE, Msat::ZERO).await;
    });
}

#[test]
fn a_lock_that_the_mint_never_heard_of_is_undone_when_the_request_is_over() {
    on_a_deal(1, async |deal| {
        let asked = ask_until(&deal.payee, in_seconds(LATER), in_seconds(SOON)).await;
        deal.door(json!({ "shut": "/v1/swap" }));
        let open = deal.try_lock(asked.params()).await;
        assert!(matches!(&open, Err(error) if !error.is_definitive()), "{open:?}");
        assert!(deal.payer.wallet.balance().await.unwrap() < FUNDS, "it is set aside");
        until_time(in_seconds(SOON + 1)).await;
        deal.door(json!({}));
        deal.until_back(&asked).await;
        let failed = deal.try_lock(asked.params()).await;
        assert!(matches!(&failed, Err(WalletError::PaymentFailed(_))), "{failed:?}");
        deal.assert_nothing_moved().await;
    });
}

#[test]
fn a_mint_that_rotates_its_keys_and_takes_fees_loses_nobody_anything() {
    on_a_deal(1, async |deal| {
        // From now on each piece costs something to spend.
        deal.mints.obey(json!({ "do": "rotate", "mint": 0, "fee": 300 }));
        let asked = deal.ask(LATER).await;
        let dear = refused(deal.try_lock(with(asked.params(), "max_fee", json!(0))).await);
        assert!(dear.contains("may have 0"), "{dear}");
        let locked = deal.try_lock(asked.params()).await.unwrap();
        let fee = Msat::new(locked["fees_paid"].as_u64().unwrap());
        assert!(fee > Msat::ZERO && fee <= Msat::new(10_000), "{fee:?}");
        deal.mints.obey(json!({ "do": "rotate", "mint": 0, "fee": 300 }));
        let held = deal.accept(&asked, &locked["token"]).await.unwrap();
        assert!(held["amount"].as_u64().unwrap() >= PRICE.get(), "the payee gets no less: {held}");
        deal.mints.obey(json!({ "do": "rotate", "mint": 0, "fee": 300 }));
        deal.payee.wallet.settle_hold(asked.preimage).await.unwrap();
        deal.until_paid(&asked).await;
        let got = Msat::new(held["amount"].as_u64().unwrap());
        deal.payee.until_has(got).await;
        deal.payer.until_has(FUNDS.saturating_sub(PRICE).saturating_sub(fee)).await;
        // And what is taken back costs what the book says.
        let before = deal.payer.wallet.balance().await.unwrap();
        let second = deal.ask(SOON).await;
        deal.lock(&second).await;
        deal.mints.obey(json!({ "do": "rotate", "mint": 0, "fee": 300 }));
        deal.until_back(&second).await;
        let lost = deal.payer.ask("lookup_invoice", json!({ "payment_hash": second.hash.to_hex() })).await;
        let lost = Msat::new(lost["fees_paid"].as_u64().unwrap());
        deal.payer.until_has(before.saturating_sub(lost)).await;
        let sum = deal.payer.wallet.balance().await.unwrap().checked_add(got).unwrap();
        assert_eq!(deal.mints.outstanding(0), sum);
    });
}

fn with(mut params: Value, name: &str, value: Value) -> Value {
    params[name] = value;
    params
}

#[test]
fn what_cannot_be_or_was_not_asked_for_is_not_locked() {
    on_a_deal(2, async |deal| {
        let asked = deal.ask(LATER).await;
        for (name, value, word) in [
            ("amount", json!(20_000), "for 21000 msat"),
            ("amount", json!(20_999), "whole satoshis"),
            ("payment_hash", json!(fresh().hash().to_hex()), "another payment hash"),
            ("locktime", json!(asked.locktime + 1), "locked until"),
            ("request", json!("creqA"), "no request"),
            ("request", json!("lnbc1"), "no request"),
        ] {
            let why = refused(deal.try_lock(with(asked.params(), name, value)).await);
            assert!(why.contains(word), "{name}: {why}");
        }
        let month = in_seconds(40 * 86_400).to_string();
        let gone = (in_seconds(0) - 10).to_string();
        for (how, word) in [
            (json!({ "locktime": month }), "month"),
            (json!({ "locktime": gone, "expires_at": gone }), "expired"),
            (json!({ "url": "https://mint.example" }), "do not trust"),
            (json!({ "sats": 2_000 }), "holds 2000 sat"),
        ] {
            let mut order = how;
            order["request"] = asked.request.clone();
            let request = deal.forge("request", order);
            let read = deal.payer.ask("read_ecash_request", json!({ "request": request })).await;
            assert_eq!(read["payable"], false, "{read}");
            assert!(read["reason"].as_str().unwrap().contains(word), "{read}");
            let mut params = read.clone();
            params["request"] = request;
            let why = refused(deal.try_lock(params).await);
            assert!(why.contains(word), "{why}");
            assert_eq!(deal.payer.wallet.lookup_outgoing(asked.hash).await.unwrap(), Outgoing::Unknown);
        }
        // One's own request, and a hash that is locked for another.
        let own = refused(deal.payee.wallet.extension("lock_ecash", asked.params()).await);
        assert!(own.contains("own") || own.contains("hold"), "{own}");
        deal.lock(&asked).await;
        let other = deal.forge("request", json!({ "request": asked.request, "url": deal.mints.url(0) }));
        let twice = refused(deal.try_lock(with(asked.params(), "request", other)).await);
        assert!(twice.contains("another request"), "{twice}");
        let params = json!({
            "amount": PRICE.get() + 1_000, "payment_hash": asked.hash.to_hex(),
            "locktime": asked.locktime, "expires_at": asked.locktime,
        });
        let changed = refused(deal.payee.wallet.extension("make_ecash_request", params).await);
        assert!(changed.contains("something else"), "{changed}");
    });
}

#[test]
fn it_is_locked_at_a_mint_that_both_trust_and_that_holds_enough() {
    with_mints(3, async |mints| {
        let payee = mints.purse("payee", &[0, 1]).await;
        // The first of the payer's that both trust holds nothing; another that holds something is the payer's alone.
        let rich = mints.purse_with("payer", &[2], [3; 32], NO_LIMIT).await;
        rich.fill(&mints, FUNDS).await;
        rich.stop().await;
        let payer = mints.purse_with("payer", &[2, 0, 1], [3; 32], NO_LIMIT).await;
        payer.until_has(FUNDS).await;
        let asked = ask_for(&payee, in_seconds(LATER)).await;
        let poor = refused(payer.wallet.extension("lock_ecash", asked.params()).await);
        assert!(poor.contains("both sides trust"), "{poor}");
        payer.stop().await;
        let payer = mints.purse_with("payer", &[1, 0, 2], [3; 32], NO_LIMIT).await;
        let before = payer.wallet.balance().await.unwrap();
        payer.fill(&mints, FUNDS).await;
        let locked = payer.ask("lock_ecash", asked.params()).await;
        assert_eq!(locked["mint"], mints.url(1));
        accept(&payee, &asked, &locked["token"]).await.unwrap();
        payee.wallet.settle_hold(asked.preimage).await.unwrap();
        payee.until_has(PRICE).await;
        payer.until_has(before.checked_add(FUNDS).unwrap().saturating_sub(PRICE)).await;
        assert_eq!((mints.outstanding(0), mints.outstanding(1)), (Msat::ZERO, FUNDS));
    });
}

#[test]
fn a_hash_serves_one_payment_on_either_rail() {
    on_a_deal(1, async |deal| {
        let invoice = deal.payee.wallet.make_invoice(plain(PRICE)).await.unwrap();
        let params = json!({
            "amount": PRICE.get(), "payment_hash": invoice.payment_hash.to_hex(),
            "locktime": in_seconds(LATER), "expires_at": in_seconds(LATER),
        });
        let taken = refused(deal.payee.wallet.extension("make_ecash_request", params.clone()).await);
        assert!(taken.contains("invoice"), "{taken}");
        let outside = deal.mints.outside(PRICE, 600);
        let spare = deal.mints.purse("spare", &[0]).await;
        let params = with(params, "payment_hash", json!(outside.payment_hash.to_hex()));
        let request = spare.ask("make_ecash_request", params.clone()).await["request"].clone();
        deal.payer.ask("lock_ecash", with(params, "request", request)).await;
        let paid = deal.payer.wallet.pay(first(&outside)).await.unwrap();
        assert_eq!(paid, Outgoing::Pending, "it is locked, and not paid besides");
        assert_eq!(deal.mints.paid(outside.payment_hash), 0);
    });
}

#[test]
fn an_old_backup_locks_nothing_a_second_time() {
    with_mints(1, async |mints| {
        let payee = mints.purse("payee", &[0]).await;
        let payer = mints.purse_with("payer", &[0], [5; 32], NO_LIMIT).await;
        payer.fill(&mints, FUNDS).await;
        let dir = payer.dir().to_owned();
        payer.stop().await;
        let backup = mints.dir.path().join("backup");
        copy(&dir, &backup);
        let payer = mints.purse_with("payer", &[0], [5; 32], NO_LIMIT).await;
        let asked = ask_for(&payee, in_seconds(LATER)).await;
        let token = payer.ask("lock_ecash", asked.params()).await["token"].clone();
        payer.stop().await;
        for copied in [Some(&backup), None] {
            std::fs::remove_dir_all(&dir).unwrap();
            // An old copy, and nothing but the seed.
            copied.inspect(|backup| copy(backup, &dir));
            let payer = mints.purse_with("payer", &[0], [5; 32], NO_LIMIT).await;
            if copied.is_none() {
                payer.until_has(FUNDS.saturating_sub(PRICE)).await;
            }
            let again =
                insist("it is locked", async || payer.wallet.extension("lock_ecash", asked.params()).await)
                    .await;
            assert_eq!(again["token"], token, "from {copied:?}");
            payer.until_has(FUNDS.saturating_sub(PRICE)).await;
            assert_eq!(mints.outstanding(0), FUNDS);
            payer.stop().await;
        }
        accept(&payee, &asked, &token).await.unwrap();
        payee.wallet.settle_hold(asked.preimage).await.unwrap();
        payee.until_has(PRICE).await;
        assert_eq!(mints.outstanding(0), FUNDS);
    });
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(done.success());
}

#[test]
fn no_more_is_held_at_a_mint_than_may_be() {
    with_mints(1, async |mints| {
        let payee = mints.purse_with("payee", &[0], rand::random(), Msat::new(50_000)).await;
        let payer = mints.purse("payer", &[0]).await;
        payer.fill(&mints, FUNDS).await;
        let mut held = 0;
        let mut over = None;
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(ask_for(&payee, in_seconds(LATER)).await);
        }
        for asked in &all {
            let token = payer.ask("lock_ecash", asked.params()).await["token"].clone();
            match accept(&payee, asked, &token).await {
                Ok(_) => held += 1,
                Err(error) => over = Some(error),
            }
        }
        assert_eq!(held, 2);
        assert!(refused(Err::<(), _>(over.unwrap())).contains("max_msat_per_mint"));
        let why = payee.wallet.make_invoice(plain(PRICE)).await;
        assert!(refused(why).contains("max_msat_per_mint"));
    });
}

#[test]
fn many_deals_at_once_are_each_paid_once() {
    on_a_deal(1, async |deal| {
        let one = async || {
            let asked = deal.ask(LATER).await;
            let locked = insist("it is locked", async || deal.try_lock(asked.params()).await).await;
            deal.accept(&asked, &locked["token"]).await.unwrap();
            insist("it is taken", async || deal.payee.wallet.settle_hold(asked.preimage).await).await;
            deal.until_paid(&asked).await;
        };
        let four = async || tokio::join!(one(), one(), one(), one());
        tokio::join!(four(), four(), four());
        deal.assert_moved(Msat::new(12 * PRICE.get()), Msat::ZERO).await;
    });
}
