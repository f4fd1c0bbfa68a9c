//! Payments that are locked for work which no record names.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, Config, CustomerConfig, Engine, HeldPayment, Incoming, Input, InputSize, Offer, PreimageSeed,
    ProviderConfig,
};
use openagents_types::{
    Cancel, CustomerKey, JobId, JobInput, JobKind, JobRequest, Millis, Msat, Network, PaymentHash, Preimage,
    ProviderKey, Timestamp,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SEED: [u8; 32] = [7; 32];
const AMOUNT: Msat = Msat::new(1_000);

fn config(escrow: bool) -> Config {
    let mut provider = ProviderConfig::new(ProviderKey::from_bytes([9; 32]), PreimageSeed::new(SEED));
    provider.escrow = escrow;
    provider.offers = vec![Offer::flat(JobKind::SUMMARIZATION, AMOUNT)];
    Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) }
}

fn at(seconds: u64) -> Timestamp {
    NOW.after(Millis::from_secs(seconds))
}

/// A job comes in, and is about to get its invoice.
fn come_in(engine: &mut Engine, job: JobId, by: CustomerKey) {
    let mut request = JobRequest::new(job, by, JobKind::SUMMARIZATION, NOW);
    request.inputs = vec![JobInput::text("a text")];
    request.bid = Some(AMOUNT);
    engine.handle(NOW, Input::Request(Box::new(request)));
    let actions = engine.handle(NOW, Input::Resolved { job, outcome: Ok(InputSize { bytes: 9 }) });
    assert!(actions.iter().any(|action| matches!(action, Action::Invoice { .. })), "{actions:?}");
}

/// What the wallet holds for a job, by the hash that this provider derives for that job.
fn held_for(job: u8) -> HeldPayment {
    let job = JobId::from_bytes([job; 32]);
    HeldPayment { hash: PreimageSeed::new(SEED).preimage(job).hash(), amount: AMOUNT, job }
}

fn cancelled(actions: &[Action]) -> Vec<PaymentHash> {
    let hashes = actions.iter().filter_map(|action| match action {
        Action::CancelHold(hash) => Some(*hash),
        _ => None,
    });
    hashes.collect()
}

fn asks(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::ReadHeld { .. }))
}

#[test]
fn what_is_locked_for_a_forgotten_job_goes_back_a_while_after_the_start() {
    let (mut engine, actions) = Engine::restore(NOW, config(true), []);
    assert!(!asks(&actions), "requests have to come in again first");
    assert!(!asks(&engine.handle(at(19), Input::Tick)));
    assert_eq!(engine.next_wake(), Some(at(20)));
    assert!(asks(&engine.handle(at(20), Input::Tick)));
    assert!(asks(&engine.handle(at(80), Input::Tick)), "a wallet that does not answer is asked again");
    let actions = engine.handle(at(81), Input::Held(vec![held_for(1)]));
    assert_eq!(cancelled(&actions), [held_for(1).hash]);
    assert!(asks(&engine.handle(at(101), Input::Tick)), "whether it went back is looked at");
    assert_eq!(engine.handle(at(102), Input::Held(Vec::new())), []);
    assert_eq!(engine.next_wake(), None);
}

#[test]
fn a_job_that_comes_in_again_and_is_taken_back_gives_back_what_was_locked_before() {
    let (mut engine, _) = Engine::restore(NOW, config(true), []);
    let (job, by) = (JobId::from_bytes([1; 32]), CustomerKey::from_bytes([1; 32]));
    come_in(&mut engine, job, by);
    engine.handle(NOW, Input::Cancel(Cancel { job, by, providers: Vec::new() }));
    assert!(asks(&engine.handle(at(20), Input::Tick)));
    let actions = engine.handle(at(20), Input::Held(vec![held_for(1)]));
    assert_eq!(cancelled(&actions), [held_for(1).hash]);
}

#[test]
fn what_is_locked_for_a_job_in_hand_stays() {
    let mut engine = Engine::new(config(true));
    let (job, by) = (JobId::from_bytes([1; 32]), CustomerKey::from_bytes([1; 32]));
    come_in(&mut engine, job, by);
    assert_eq!(cancelled(&engine.handle(NOW, Input::Held(vec![held_for(1)]))), []);
    assert!(asks(&engine.handle(at(20), Input::Tick)), "it may yet end without that payment");
}

#[test]
fn a_payment_locked_later_for_a_forgotten_offer_is_looked_into() {
    let mut engine = Engine::new(config(true));
    let HeldPayment { hash, amount, .. } = held_for(1);
    assert_eq!(engine.handle(NOW, Input::Incoming { hash, state: Incoming::Held { amount } }), []);
    assert_eq!(engine.next_wake(), Some(at(20)));
    assert!(asks(&engine.handle(at(20), Input::Tick)));
}

#[test]
fn what_others_hold_in_the_same_wallet_is_left_alone() {
    let mut engine = Engine::new(config(true));
    let foreign = HeldPayment { hash: Preimage::from_bytes([1; 32]).hash(), ..held_for(1) };
    assert_eq!(engine.handle(NOW, Input::Held(vec![foreign])), []);
}

#[test]
fn a_wallet_that_holds_nothing_is_not_asked() {
    let (engine, actions) = Engine::restore(NOW, config(false), []);
    assert!(!asks(&actions));
    assert_eq!(engine.next_wake(), None);
}
