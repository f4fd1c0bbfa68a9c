//! Nobody waits for an offer that cannot come: a job ends with the last no.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::Arc;

use openagents_engine::{
    Action, Ask, AskOptions, Config, CustomerConfig, Engine, Input, Outgoing, Record,
    customer::{AskOutcome, Phase},
};
use openagents_types::{
    CustomerKey, EventId, Feedback, InputType, Invoice, JobId, JobInput, JobKind, JobSpec, Millis, Msat,
    Network, Preimage, ProviderKey, Quote, Status, Terms, Timestamp,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const JOB: JobId = JobId::from_bytes([1; 32]);
const BID: u64 = 1_000;

fn seller(number: u8) -> ProviderKey {
    ProviderKey::from_bytes([number; 32])
}

fn after(millis: u64) -> Timestamp {
    NOW.after(Millis(millis))
}

fn new() -> Engine {
    Engine::new(Config { provider: None, customer: CustomerConfig::new(Network::Regtest) })
}

/// A job that was asked, with a window of a second and a minute in all.
fn asked(provider: Option<ProviderKey>, input_type: InputType) -> Engine {
    let (mut engine, _) =
        Engine::restore(NOW, Config { provider: None, customer: CustomerConfig::new(Network::Regtest) }, []);
    let input = JobInput { data: "0".repeat(64), input_type, relay: None, marker: None };
    let spec = JobSpec {
        provider,
        inputs: vec![input],
        ..JobSpec::new(JobKind::SUMMARIZATION, Msat::new(BID), after(60_000))
    };
    let options = AskOptions { window: Millis(1_000), patience: None, max_fee: Msat::ZERO };
    let ask = Ask::new(JOB, CustomerKey::from_bytes([1; 32]), Arc::from(""), spec, options, NOW);
    engine.handle(NOW, Input::Ask(Box::new(ask)));
    engine
}

fn no(number: u8, code: &str) -> Input {
    Input::Feedback(Feedback {
        job: JOB,
        provider: seller(number),
        event: EventId::from_bytes([number; 32]),
        status: Status::Error,
        message: "no".into(),
        content: String::new(),
        amount: None,
        bolt11: None,
        expires_at: None,
        eta: None,
        terms: Terms::Prepaid,
        ecash: None,
        code: Some(code.into()),
        created_at: NOW,
    })
}

fn offer(number: u8, price: u64) -> Quote {
    let invoice = Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: Preimage::from_bytes([number; 32]).hash(),
        amount: Msat::new(price),
        expires_at: after(300_000),
        network: Network::Regtest,
    };
    Quote {
        job: JOB,
        provider: seller(number),
        event: EventId::from_bytes([number; 32]),
        price: invoice.amount,
        expires_at: invoice.expires_at,
        invoice,
        eta: None,
        terms: Terms::Escrow,
        ecash: None,
    }
}

/// How the job ended in these actions, if it did.
fn end(actions: &[Action]) -> Option<AskOutcome> {
    actions.iter().rev().find_map(|action| match action {
        Action::Save(Record::Ask(ask)) => match &ask.phase {
            Phase::Closed { outcome } => Some(outcome.clone()),
            _ => None,
        },
        _ => None,
    })
}

/// When and how the job ends if nothing more is heard, in milliseconds.
fn left_alone(engine: &mut Engine) -> (u64, Option<AskOutcome>) {
    while let Some(wake) = engine.next_wake() {
        if let Some(outcome) = end(&engine.handle(wake, Input::Tick)) {
            return (wake.millis() - NOW.millis(), Some(outcome));
        }
    }
    (0, None)
}

#[test]
fn the_no_of_the_only_one_that_was_asked_is_the_end() {
    for code in ["bid-too-low", "kind", "overloaded", "invalid", "odd"] {
        let mut engine = asked(Some(seller(2)), InputType::Text);
        assert_eq!(end(&engine.handle(after(10), no(3, code))), None, "nobody asked the other one");
        assert_eq!(end(&engine.handle(after(20), no(2, code))), Some(AskOutcome::NoOffer), "{code}");
    }
    let mut engine = asked(Some(seller(2)), InputType::Text);
    let failed = AskOutcome::Failed { message: "no".into() };
    assert_eq!(end(&engine.handle(after(10), no(2, "failed"))), Some(failed), "it had begun");
}

#[test]
fn an_offer_above_the_bid_of_the_only_one_that_was_asked_is_the_end() {
    let mut engine = asked(Some(seller(2)), InputType::Text);
    assert_eq!(end(&engine.handle(after(10), Input::Quote(offer(3, BID + 1)))), None);
    let actions = engine.handle(after(20), Input::Quote(offer(2, BID + 1)));
    assert_eq!(end(&actions), Some(AskOutcome::NoOffer));
    assert!(!actions.iter().any(|action| matches!(action, Action::Pay { .. })));
}

#[test]
fn what_only_a_balance_may_pay_for_is_not_paid_by_the_wallet() {
    let ask = asked(Some(seller(2)), InputType::Text).ask(JOB).unwrap().clone();
    let mut engine = new();
    let job = JobId::from_bytes([2; 32]);
    engine.handle(NOW, Input::Ask(Box::new(Ask { id: job, from_balance: true, ..ask })));
    let actions = engine.handle(after(10), Input::Quote(Quote { job, ..offer(2, BID) }));
    assert_eq!(end(&actions), Some(AskOutcome::NoOffer));
    assert!(!actions.iter().any(|action| matches!(action, Action::Pay { .. })), "{actions:?}");
}

#[test]
fn what_others_say_of_a_job_that_is_not_for_them_ends_nothing() {
    let mut engine = asked(Some(seller(2)), InputType::Text);
    engine.handle(after(10), no(3, "bid-too-low"));
    engine.handle(after(20), Input::Quote(offer(4, BID)));
    assert_eq!(left_alone(&mut engine), (60_000, Some(AskOutcome::NoOffer)));
    let mut engine = asked(Some(seller(2)), InputType::Text);
    engine.handle(after(10), no(3, "bid-too-low"));
    let actions = engine.handle(after(5_000), Input::Quote(offer(2, BID)));
    assert!(actions.iter().any(|action| matches!(action, Action::Pay { .. })), "{actions:?}");
}

#[test]
fn an_open_job_waits_for_others_a_little_longer_than_its_window() {
    for (input_type, code, ends) in [
        (InputType::Text, "bid-too-low", 4_000),
        (InputType::Url, "bid-too-low", 41_000),
        (InputType::Job, "bid-too-low", 60_000),
        (InputType::Job, "input", 4_000),
    ] {
        let mut engine = asked(None, input_type);
        engine.handle(after(10), no(2, code));
        assert_eq!(left_alone(&mut engine), (ends, Some(AskOutcome::NoOffer)), "{input_type:?} {code}");
    }
}

#[test]
fn when_all_that_were_chosen_failed_the_job_ends_soon_after_their_money_is_back() {
    for input_type in [InputType::Text, InputType::Job] {
        let mut engine = asked(None, input_type);
        for number in [2, 3] {
            engine.handle(after(10), Input::Quote(offer(number, BID)));
        }
        engine.handle(after(1_000), Input::Tick);
        for number in [2, 3] {
            let at = 2_000 + u64::from(number);
            let chosen = engine.ask(JOB).unwrap().current().unwrap().quote.provider;
            assert_eq!(chosen, seller(number));
            assert_eq!(end(&engine.handle(after(at), no(number, "failed"))), None);
            let hash = Preimage::from_bytes([number; 32]).hash();
            let state = || Outgoing::Failed { reason: "cancelled".into() };
            assert_eq!(end(&engine.handle(after(at), Input::Outgoing { hash, state: state() })), None);
            let ended = end(&engine.handle(after(at), Input::Outgoing { hash, state: state() }));
            assert_eq!(ended, None, "another may yet offer");
        }
        let (ends, outcome) = left_alone(&mut engine);
        assert!((2_003..=5_003).contains(&ends), "{ends}");
        assert!(matches!(outcome, Some(AskOutcome::Failed { message }) if message.contains("came back")));
    }
}

#[test]
fn an_offer_that_comes_after_a_failure_is_still_taken() {
    let mut engine = asked(None, InputType::Text);
    engine.handle(after(10), Input::Quote(offer(2, BID)));
    engine.handle(after(1_000), Input::Tick);
    engine.handle(after(2_000), no(2, "failed"));
    let hash = Preimage::from_bytes([2; 32]).hash();
    for _ in 0..2 {
        let state = Outgoing::Failed { reason: "cancelled".into() };
        engine.handle(after(2_000), Input::Outgoing { hash, state });
    }
    let actions = engine.handle(after(3_000), Input::Quote(offer(3, BID)));
    assert!(actions.iter().any(|action| matches!(action, Action::Pay { .. })), "{actions:?}");
}
