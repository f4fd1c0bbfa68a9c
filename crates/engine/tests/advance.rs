//! How much is paid in advance to whom.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::Arc;

use openagents_engine::{
    Action, AdvanceLimit, Ask, AskOptions, Config, CustomerConfig, Engine, Input, Outgoing, Record, Standing,
    earlier::ORDER_LIFE,
};
use openagents_types::{
    CustomerKey, EventId, Invoice, JobId, JobKind, JobResult, JobSpec, Millis, Msat, Network, Preimage,
    ProviderKey, Quote, Terms, Timestamp,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SELLER: ProviderKey = ProviderKey::from_bytes([3; 32]);
const LIMIT: AdvanceLimit = AdvanceLimit { newcomer: Msat::new(1_000), most: Msat::new(5_000) };

fn engine() -> Engine {
    let customer = CustomerConfig { advance: Some(LIMIT), ..CustomerConfig::new(Network::Regtest) };
    Engine::new(Config { provider: None, customer })
}

fn id(job: u8) -> JobId {
    JobId::from_bytes([job; 32])
}

fn preimage(job: u8) -> Preimage {
    Preimage::from_bytes([job; 32])
}

fn ask(job: u8) -> Input {
    let spec = JobSpec::new(JobKind::TEXT_EXTRACTION, Msat::new(9_000), NOW.after(Millis::from_secs(300)));
    let options = AskOptions { window: Millis(100), patience: None, max_fee: Msat::ZERO };
    let customer = CustomerKey::from_bytes([job; 32]);
    Input::Ask(Box::new(Ask::new(id(job), customer, Arc::from(""), spec, options, NOW)))
}

fn quote(job: u8, price: u64, terms: Terms) -> Input {
    let invoice = Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: preimage(job).hash(),
        amount: Msat::new(price),
        expires_at: NOW.after(Millis::from_secs(300)),
        network: Network::Regtest,
    };
    Input::Quote(Quote {
        job: id(job),
        provider: SELLER,
        event: EventId::from_bytes([job; 32]),
        price: invoice.amount,
        expires_at: invoice.expires_at,
        invoice,
        eta: None,
        terms,
        ecash: None,
    })
}

/// Asks a job and takes the offer for it, if it is one to be taken. Whether it was paid.
fn pays(engine: &mut Engine, job: u8, price: u64, terms: Terms) -> bool {
    let mut actions = engine.handle(NOW, ask(job));
    actions.extend(engine.handle(NOW, quote(job, price, terms)));
    actions.extend(engine.handle(NOW.after(Millis(200)), Input::Tick));
    actions.iter().any(|action| matches!(action, Action::Pay { .. }))
}

fn settle(engine: &mut Engine, job: u8) {
    let state = Outgoing::Settled { preimage: preimage(job), fee: Msat::ZERO };
    engine.handle(NOW, Input::Outgoing { hash: preimage(job).hash(), state });
}

fn deliver(engine: &mut Engine, job: u8) {
    let result = JobResult {
        job: id(job),
        provider: SELLER,
        event: EventId::from_bytes([100 + job; 32]),
        kind: JobKind::TEXT_EXTRACTION.result(),
        created_at: NOW,
        content: "all of it".into(),
        amount: None,
        made_by: None,
        unused: Msat::ZERO,
        bolt11: None,
    };
    engine.handle(NOW, Input::Result { result, invoice: None });
}

#[test]
fn a_newcomer_gets_little_in_advance_and_says_why() {
    let mut engine = engine();
    assert!(!pays(&mut engine, 1, 1_001, Terms::Prepaid));
    let refusal = &engine.ask(id(1)).unwrap().refusals[0];
    assert_eq!(refusal.code, "in-advance");
    assert!(refusal.message.contains("in advance"), "{}", refusal.message);
    assert!(pays(&mut engine, 2, 1_000, Terms::Prepaid));
}

#[test]
fn what_is_locked_until_delivery_does_not_count() {
    let mut engine = engine();
    assert!(pays(&mut engine, 1, 9_000, Terms::Escrow));
    assert!(pays(&mut engine, 2, 1_000, Terms::Prepaid));
}

#[test]
fn several_jobs_together_are_no_way_around() {
    let mut engine = engine();
    assert!(pays(&mut engine, 1, 600, Terms::Prepaid));
    assert!(!pays(&mut engine, 2, 600, Terms::Prepaid));
    assert!(pays(&mut engine, 3, 400, Terms::Prepaid));
    settle(&mut engine, 1);
    assert!(!pays(&mut engine, 4, 600, Terms::Prepaid), "paid is not delivered");
    deliver(&mut engine, 1);
    assert!(pays(&mut engine, 5, 600, Terms::Prepaid), "delivered, so it is trusted with more");
}

#[test]
fn offers_that_lay_before_us_together_are_not_all_taken() {
    let mut engine = engine();
    for job in 1..=3 {
        engine.handle(NOW, ask(job));
        engine.handle(NOW, quote(job, 600, Terms::Prepaid));
    }
    let actions = engine.handle(NOW.after(Millis(200)), Input::Tick);
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Pay { .. })).count(), 1);
}

#[test]
fn trust_grows_with_deliveries_and_shrinks_with_failures() {
    let trusted = |delivered, failed| {
        LIMIT.for_provider(&Standing { delivered, failed, ..Standing::unknown(SELLER) }).get()
    };
    assert_eq!([trusted(0, 0), trusted(1, 0), trusted(100, 0)], [1_000, 2_000, 5_000]);
    assert_eq!([trusted(0, 1), trusted(3, 1), trusted(u32::MAX, u32::MAX)], [250, 1_000, 0]);
}

#[test]
fn what_came_back_or_was_restored_is_counted_right() {
    let mut engine = engine();
    let mut saved = Vec::new();
    for input in [ask(1), quote(1, 900, Terms::Prepaid)] {
        saved.extend(engine.handle(NOW, input));
    }
    saved.extend(engine.handle(NOW.after(Millis(200)), Input::Tick));
    let records = saved.into_iter().filter_map(|action| match action {
        Action::Save(record @ Record::Ask(_)) => Some(record),
        _ => None,
    });
    let customer = CustomerConfig { advance: Some(LIMIT), ..CustomerConfig::new(Network::Regtest) };
    let last = records.last();
    let (mut engine, _) = Engine::restore(NOW, Config { provider: None, customer }, last);
    engine.handle(NOW, Input::Sent(openagents_engine::Sent::Told(Vec::new())));
    assert!(!pays(&mut engine, 2, 900, Terms::Prepaid), "900 are on their way");
    let fails_twice = |engine: &mut Engine, now| {
        for _ in 0..2 {
            let state = Outgoing::Failed { reason: "no route".into() };
            engine.handle(now, Input::Outgoing { hash: preimage(1).hash(), state });
        }
    };
    fails_twice(&mut engine, NOW);
    assert!(!pays(&mut engine, 3, 900, Terms::Prepaid), "the order may not have been read yet");
    fails_twice(&mut engine, NOW.after(ORDER_LIFE));
    assert!(pays(&mut engine, 4, 900, Terms::Prepaid), "they came back");
}

#[test]
fn whoever_takes_what_it_said_was_locked_is_trusted_like_one_that_locks_nothing() {
    let mut engine = engine();
    assert!(pays(&mut engine, 1, 900, Terms::Escrow));
    assert!(pays(&mut engine, 2, 9_000, Terms::Escrow), "nothing is known against it");
    settle(&mut engine, 1);
    assert!(!pays(&mut engine, 3, 200, Terms::Escrow), "it took 900 and delivered nothing");
    deliver(&mut engine, 1);
    assert!(pays(&mut engine, 4, 9_000, Terms::Escrow));
}

fn standings(actions: &[Action]) -> Vec<u32> {
    let early = |action: &Action| match action {
        Action::Save(Record::Standing(standing)) => Some(standing.taken_early),
        _ => None,
    };
    actions.iter().filter_map(early).collect()
}

#[test]
fn whoever_took_what_was_locked_is_remembered_when_the_money_is_back_and_after_a_restart() {
    let mut engine = engine();
    assert!(pays(&mut engine, 1, 900, Terms::Escrow));
    settle(&mut engine, 1);
    let claims = engine.handle(NOW.after(Millis::from_secs(300)), Input::Tick);
    assert_eq!(standings(&claims).last(), Some(&1), "{claims:?}");
    let records: Vec<Record> = claims
        .into_iter()
        .filter_map(|action| match action {
            Action::Save(record @ Record::Standing(_)) => Some(record),
            _ => None,
        })
        .collect();
    let claim = Invoice {
        bolt11: "lnbcrt2".into(),
        payment_hash: preimage(50).hash(),
        amount: Msat::new(900),
        expires_at: NOW.after(Millis::from_secs(3_000)),
        network: Network::Regtest,
    };
    let invoice_for = openagents_engine::InvoiceFor::Refund { job: id(1), paid: preimage(1).hash() };
    engine.handle(NOW, Input::Invoiced { invoice_for, outcome: Ok(claim) });
    let state = openagents_engine::Incoming::Settled { amount: Msat::new(900) };
    engine.handle(NOW, Input::Incoming { hash: preimage(50).hash(), state });
    assert!(engine.ask(id(1)).is_none(), "the money is back and the job over");
    assert!(!pays(&mut engine, 3, 2_000, Terms::Escrow));

    let customer = CustomerConfig { advance: Some(LIMIT), ..CustomerConfig::new(Network::Regtest) };
    let (mut engine, _) = Engine::restore(NOW, Config { provider: None, customer }, records);
    assert!(!pays(&mut engine, 4, 2_000, Terms::Escrow), "nor after a restart");
    assert!(pays(&mut engine, 5, 100, Terms::Escrow), "as one that locks nothing");
}

#[test]
fn one_that_delivers_after_it_was_given_up_has_taken_nothing_early() {
    let mut engine = engine();
    assert!(pays(&mut engine, 1, 900, Terms::Escrow));
    settle(&mut engine, 1);
    engine.handle(NOW.after(Millis::from_secs(300)), Input::Tick);
    assert!(!pays(&mut engine, 2, 2_000, Terms::Escrow));
    deliver(&mut engine, 1);
    assert!(pays(&mut engine, 3, 1_100, Terms::Escrow));
}
