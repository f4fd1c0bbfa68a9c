//! What a provider sells changes while it works: other models, other prices.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, Config, CustomerConfig, Engine, Input, InputSize, ModelOffer, Offer, PreimageSeed,
    ProviderConfig, bidding::PriceRule,
};
use openagents_types::{
    CustomerKey, Draft, JobId, JobInput, JobKind, JobRequest, Msat, Network, Param, ProviderKey, Timestamp,
};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn offer(msat: u64, models: &[(&str, u64)]) -> Offer {
    let flat = Offer::flat(JobKind::TEXT_GENERATION, Msat::new(msat));
    let model = |(name, msat): &(&str, u64)| ModelOffer {
        name: (*name).into(),
        price: PriceRule { base: Msat::new(*msat), ..flat.price },
    };
    Offer { models: models.iter().map(model).collect(), ..flat }
}

fn ask(engine: &mut Engine, number: u8, kind: JobKind) -> Vec<Action> {
    let job = JobId::from_bytes([number; 32]);
    let request = JobRequest {
        inputs: vec![JobInput::text("a text")],
        params: vec![Param::new("model", "big")],
        ..JobRequest::new(job, CustomerKey::from_bytes([2; 32]), kind, NOW)
    };
    let mut actions = engine.handle(NOW, Input::Request(Box::new(request)));
    actions.extend(engine.handle(NOW, Input::Resolved { job, outcome: Ok(InputSize { bytes: 6 }) }));
    actions
}

fn price(actions: &[Action]) -> Option<Msat> {
    actions.iter().find_map(|action| match action {
        Action::Invoice { amount, .. } => Some(*amount),
        _ => None,
    })
}

#[test]
fn a_model_that_comes_later_has_its_price_and_no_kind_comes_with_it() {
    let mut provider = ProviderConfig::new(ProviderKey::from_bytes([9; 32]), PreimageSeed::new([7; 32]));
    provider.offers = vec![offer(1_000, &[])];
    let customer = CustomerConfig::new(Network::Regtest);
    let mut engine = Engine::new(Config { provider: Some(provider), customer });
    assert_eq!(price(&ask(&mut engine, 1, JobKind::TEXT_GENERATION)), Some(Msat::new(1_000)));

    let other = Offer::flat(JobKind::SUMMARIZATION, Msat::new(1));
    let stock = vec![offer(2_000, &[("big", 9_000)]), other];
    assert!(engine.handle(NOW, Input::Stock(stock)).is_empty(), "nothing is said of it");
    assert_eq!(price(&ask(&mut engine, 2, JobKind::TEXT_GENERATION)), Some(Msat::new(9_000)));
    let refused = ask(&mut engine, 3, JobKind::SUMMARIZATION);
    assert_eq!(price(&refused), None);
    let offered = |action: &Action| matches!(action, Action::Announce { draft: Draft::Quote { .. }, .. });
    assert!(!refused.iter().any(offered));

    // What is missing stays: jobs of it may be on their way.
    engine.handle(NOW, Input::Stock(Vec::new()));
    assert_eq!(price(&ask(&mut engine, 4, JobKind::TEXT_GENERATION)), Some(Msat::new(9_000)));
}
