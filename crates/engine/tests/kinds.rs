//! Jobs and results that are not what their kind says: refused before they cost anything, and not
//! charged for.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::Arc;

use openagents_engine::{
    Action, Ask, AskOptions, Config, CustomerConfig, Engine, Incoming, Input, InputSize, Offer, PreimageSeed,
    ProviderConfig, Record, job::Outcome, job::State,
};
use openagents_types::{
    CustomerKey, Draft, EventId, Invoice, JobId, JobInput, JobKind, JobRequest, JobResult, JobSpec, Millis,
    Msat, Network, Notice, Param, ProviderKey, Timestamp, Usage,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const JOB: JobId = JobId::from_bytes([1; 32]);
const SELLER: ProviderKey = ProviderKey::from_bytes([9; 32]);
const SEED: [u8; 32] = [7; 32];
/// Code generation, whose parameters and result are the strictest.
const KIND: u16 = 6500;

fn kind() -> JobKind {
    JobKind::try_from(KIND).unwrap()
}

fn engine() -> Engine {
    let mut provider = ProviderConfig::new(SELLER, PreimageSeed::new(SEED));
    provider.offers = vec![Offer::flat(kind(), Msat::new(1_000))];
    Engine::new(Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) })
}

fn request(params: &[(&str, &str)]) -> JobRequest {
    JobRequest {
        inputs: vec![JobInput::text("a function that adds")],
        params: params.iter().map(|(name, value)| Param::new(*name, *value)).collect(),
        bid: Some(Msat::new(5_000)),
        ..JobRequest::new(JOB, CustomerKey::from_bytes([2; 32]), kind(), NOW)
    }
}

/// What a refusal says, if the actions hold one.
fn refusal(actions: &[Action]) -> Option<(String, String)> {
    actions.iter().find_map(|action| match action {
        Action::Publish { draft: Draft::Notice(Notice::Refused { code, message, .. }), .. } => {
            Some((code.clone(), message.clone()))
        }
        _ => None,
    })
}

#[test]
fn a_request_with_a_wrong_parameter_is_refused_by_name_before_it_costs_anything() {
    for (params, named) in [
        (vec![], "language"),
        (vec![("language", "cobol")], "language"),
        (vec![("language", "rust"), ("max_tokens", "7")], "max_tokens"),
        (vec![("language", "rust"), ("include_tests", "perhaps")], "include_tests"),
    ] {
        let mut engine = engine();
        let actions = engine.handle(NOW, Input::Request(Box::new(request(&params))));
        let (code, message) = refusal(&actions).unwrap();
        assert_eq!(code, "invalid", "{message}");
        assert!(message.contains(named) && message.contains("nothing was charged"), "{message}");
        assert!(!actions.iter().any(|action| matches!(action, Action::Resolve(_) | Action::Invoice { .. })));
        assert_eq!(engine.load(), (0, 0));
    }
}

#[test]
fn a_sound_request_is_taken_up() {
    let actions = engine().handle(NOW, Input::Request(Box::new(request(&[("language", "rust")]))));
    assert!(actions.contains(&Action::Resolve(JOB)), "{actions:?}");
}

/// An engine at work on the job, paid by a locked payment.
fn working() -> Engine {
    let mut engine = engine();
    engine.handle(NOW, Input::Request(Box::new(request(&[("language", "rust")]))));
    engine.handle(NOW, Input::Resolved { job: JOB, outcome: Ok(InputSize { bytes: 20 }) });
    let hash = PreimageSeed::new(SEED).preimage(JOB).hash();
    let invoice = Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: hash,
        amount: Msat::new(1_000),
        expires_at: NOW.after(Millis::from_secs(300)),
        network: Network::Regtest,
    };
    let invoice_for = openagents_engine::InvoiceFor::Quote(JOB);
    engine.handle(NOW, Input::Invoiced { invoice_for, outcome: Ok(invoice) });
    let state = Incoming::Held { amount: Msat::new(1_000) };
    let actions = engine.handle(NOW, Input::Incoming { hash, state });
    assert!(actions.iter().any(|action| matches!(action, Action::Run { .. })), "{actions:?}");
    engine
}

fn finish(engine: &mut Engine, content: &str) -> Vec<Action> {
    engine.handle(NOW, Input::Finished { job: JOB, content: content.into(), usage: Usage::default() })
}

#[test]
fn a_result_that_is_not_as_promised_is_not_sent_and_its_payment_goes_back() {
    let mut engine = working();
    let actions = finish(&mut engine, "{\"language\":\"rust\"}");
    assert_eq!(refusal(&actions).unwrap().0, "invalid-result");
    assert!(actions.iter().any(|action| matches!(action, Action::CancelHold(_))), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(
        action,
        Action::SettleHold { .. } | Action::Publish { draft: Draft::Result { .. }, .. }
    )));
    let hash = PreimageSeed::new(SEED).preimage(JOB).hash();
    let closed = engine.handle(NOW, Input::Incoming { hash, state: Incoming::Cancelled });
    assert!(closed.iter().any(|action| matches!(
        action,
        Action::Save(Record::Job(job)) if matches!(&job.state, State::Closed { outcome: Outcome::Failed(_), .. })
    )));
}

#[test]
fn a_result_as_promised_is_sent_and_charged() {
    let actions = finish(&mut working(), "{\"code\":\"fn add() {}\",\"language\":\"rust\"}");
    assert!(actions.iter().any(|action| matches!(action, Action::SettleHold { .. })), "{actions:?}");
}

#[test]
fn a_customer_does_not_take_an_unpaid_result_that_is_not_as_promised() {
    let mut engine = engine();
    let request = request(&[("language", "rust")]);
    let spec = JobSpec {
        inputs: request.inputs,
        params: request.params,
        ..JobSpec::new(kind(), Msat::new(1_000), NOW.after(Millis::from_secs(300)))
    };
    let options = AskOptions { window: Millis(100), patience: None, max_fee: Msat::ZERO };
    let ask = Ask::new(JOB, request.customer, Arc::from(""), spec, options, NOW);
    engine.handle(NOW, Input::Ask(Box::new(ask)));
    let result = |content: &str| Input::Result {
        result: JobResult {
            job: JOB,
            provider: ProviderKey::from_bytes([3; 32]),
            event: EventId::from_bytes([4; 32]),
            kind: KIND + 1_000,
            content: content.into(),
            amount: None,
            made_by: None,
            unused: Msat::ZERO,
            bolt11: None,
            created_at: NOW,
        },
        invoice: None,
    };
    engine.handle(NOW, result("sorry"));
    let ask = engine.ask(JOB).unwrap();
    assert!(ask.delivery.is_none());
    assert_eq!(ask.refusals[0].code, "invalid-result");
    let taken = engine.handle(NOW, result("{\"code\":\"x\",\"language\":\"rust\"}"));
    assert!(taken.iter().any(|action| matches!(action, Action::Save(Record::Content { .. }))), "{taken:?}");
}
