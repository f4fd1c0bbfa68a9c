//! Nobody waits in silence: a job whose inputs take a while is told once what is waited for, and that word is news to its
//! customer, not an offer.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::Arc;

use openagents_engine::{
    Action, Ask, AskOptions, Config, CustomerConfig, Engine, Input, InputSize, Offer, PreimageSeed,
    ProviderConfig, Record,
    customer::{AskOutcome, Phase},
    job::{Outcome, State},
};
use openagents_types::{
    CustomerKey, Draft, EventId, Feedback, InputType, JobId, JobInput, JobKind, JobRequest, JobSpec, Millis,
    Msat, Network, Notice, ProviderKey, Status, Terms, Timestamp,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const JOB: JobId = JobId::from_bytes([1; 32]);
const SELLER: ProviderKey = ProviderKey::from_bytes([9; 32]);

fn config() -> Config {
    let mut provider = ProviderConfig::new(SELLER, PreimageSeed::new([7; 32]));
    provider.offers = vec![Offer::flat(JobKind::SUMMARIZATION, Msat::new(1_000))];
    Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) }
}

fn request(input_type: InputType) -> JobRequest {
    JobRequest {
        inputs: vec![JobInput {
            data: match input_type {
                InputType::Text => "words".into(),
                InputType::Url => "https://example.com/slow".into(),
                InputType::Event | InputType::Job => "0".repeat(64),
            },
            input_type,
            relay: None,
            marker: None,
        }],
        ..JobRequest::new(JOB, CustomerKey::from_bytes([1; 32]), JobKind::SUMMARIZATION, NOW)
    }
}

/// What the customer is told while there is no price.
fn words(actions: &[Action]) -> Vec<&str> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Announce { draft: Draft::Notice(Notice::Processing { message }), .. } => {
                Some(message.as_str())
            }
            _ => None,
        })
        .collect()
}

/// A provider that took up a job at [`NOW`].
fn asked(input_type: InputType) -> Engine {
    let (mut engine, _) = Engine::restore(NOW, config(), []);
    let actions = engine.handle(NOW, Input::Request(Box::new(request(input_type))));
    assert!(actions.contains(&Action::Resolve(JOB)) && words(&actions).is_empty());
    engine
}

fn at(seconds: u64) -> Timestamp {
    NOW.after(Millis::from_secs(seconds))
}

#[test]
fn a_job_that_waits_for_its_inputs_says_so_once() {
    for (input_type, awaited) in [
        (InputType::Url, "fetched"),
        (InputType::Event, "fetched"),
        (InputType::Job, "an earlier job"),
        (InputType::Text, "acceptable"),
    ] {
        let mut engine = asked(input_type);
        assert_eq!(engine.next_wake(), Some(at(3)));
        assert!(engine.handle(NOW.after(Millis(2_999)), Input::Tick).is_empty());
        let actions = engine.handle(at(3), Input::Tick);
        assert_eq!(actions.len(), 1, "one word, and nothing is asked again: {actions:?}");
        let said = words(&actions);
        assert!(said[0].contains(awaited) && said[0].contains("nothing was charged"), "{said:?}");
        for second in 4..300 {
            let mut actions = engine.handle(at(second), Input::Tick);
            actions.retain(|action| !matches!(action, Action::ReadHeld { .. }));
            assert!(actions.is_empty(), "second {second}: {actions:?}");
        }
        let end = engine.handle(at(300), Input::Tick);
        assert!(words(&end).is_empty());
        let refused = |action: &Action| match action {
            Action::Save(Record::Job(job)) => {
                matches!(&job.state, State::Closed { outcome: Outcome::Refused(why), .. } if why.code == "timeout")
            }
            _ => false,
        };
        assert!(end.iter().any(refused), "{end:?}");
        assert!(engine.handle(at(301), Input::Tick).is_empty());
    }
}

#[test]
fn a_job_whose_inputs_are_there_in_time_says_nothing_of_them() {
    let mut engine = asked(InputType::Url);
    let size = InputSize { bytes: 10 };
    let mut actions = engine.handle(at(2), Input::Resolved { job: JOB, outcome: Ok(size) });
    assert!(matches!(engine.job(JOB).unwrap().state, State::Invoicing { .. }));
    for second in 3..20 {
        actions.extend(engine.handle(at(second), Input::Tick));
    }
    assert!(words(&actions).is_empty(), "{actions:?}");
}

#[test]
fn a_restart_says_it_no_second_time() {
    let job = asked(InputType::Url).job(JOB).unwrap().clone();
    for (restarted, words_due) in [(2, 1), (10, 0)] {
        let record = Record::Job(Box::new(job.clone()));
        let (mut engine, mut actions) = Engine::restore(at(restarted), config(), [record]);
        assert!(actions.contains(&Action::Resolve(JOB)));
        for second in restarted..200 {
            actions.extend(engine.handle(at(second), Input::Tick));
        }
        assert_eq!(words(&actions).len(), words_due, "restarted after {restarted} s");
    }
}

fn ask(provider: Option<ProviderKey>) -> Ask {
    let spec = JobSpec { provider, ..JobSpec::new(JobKind::SUMMARIZATION, Msat::new(1_000), at(300)) };
    let options = AskOptions { window: Millis(100), patience: None, max_fee: Msat::ZERO };
    Ask::new(JOB, CustomerKey::from_bytes([1; 32]), Arc::from(""), spec, options, NOW)
}

fn processing(provider: ProviderKey) -> Input {
    Input::Feedback(Feedback {
        job: JOB,
        provider,
        event: EventId::from_bytes([2; 32]),
        status: Status::Processing,
        message: "its inputs are being fetched".into(),
        content: String::new(),
        amount: None,
        bolt11: None,
        expires_at: None,
        eta: None,
        terms: Terms::Prepaid,
        ecash: None,
        code: None,
        created_at: NOW,
    })
}

#[test]
fn a_word_before_a_price_is_news_and_no_offer() {
    let (mut engine, _) = Engine::restore(NOW, config(), []);
    engine.handle(NOW, Input::Ask(Box::new(ask(None))));
    let message = String::from("its inputs are being fetched");
    let heard = engine.handle(NOW.after(Millis(10)), processing(SELLER));
    assert_eq!(heard, [Action::Hear { job: JOB, provider: SELLER, message }]);
    let asked = engine.ask(JOB).unwrap();
    assert!(matches!(asked.phase, Phase::Collecting { .. }) && asked.attempts.is_empty());
    // Nothing but a quote is an offer: without one the job ends as if nobody had spoken.
    let mut actions = engine.handle(at(1), Input::Tick);
    actions.extend(engine.handle(at(299), Input::Tick));
    actions.extend(engine.handle(at(301), Input::Tick));
    assert!(!actions.iter().any(|action| matches!(action, Action::Pay { .. })), "{actions:?}");
    let ended = |action: &Action| match action {
        Action::Save(Record::Ask(ask)) => {
            matches!(ask.phase, Phase::Closed { outcome: AskOutcome::NoOffer, .. })
        }
        _ => false,
    };
    assert!(actions.iter().any(ended), "{actions:?}");
    assert!(engine.handle(at(302), processing(SELLER)).is_empty());
}

#[test]
fn only_who_was_asked_is_heard() {
    let (mut engine, _) = Engine::restore(NOW, config(), []);
    engine.handle(NOW, Input::Ask(Box::new(ask(Some(SELLER)))));
    assert!(engine.handle(NOW, processing(ProviderKey::from_bytes([3; 32]))).is_empty());
    assert_eq!(engine.handle(NOW, processing(SELLER)).len(), 1);
}
