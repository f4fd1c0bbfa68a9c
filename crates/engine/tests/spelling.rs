//! A price is made of the parameters as they are read, however they are spelled.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, Config, CustomerConfig, Engine, Input, InputSize, Offer, PreimageSeed, ProviderConfig,
    bidding::PriceRule,
};
use openagents_types::{
    CustomerKey, JobId, JobInput, JobKind, JobRequest, Msat, Network, Param, ProviderKey, Timestamp,
};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const JOB: JobId = JobId::from_bytes([1; 32]);

fn price(params: Vec<Param>) -> Msat {
    let mut provider = ProviderConfig::new(ProviderKey::from_bytes([9; 32]), PreimageSeed::new([7; 32]));
    let flat = Offer::flat(JobKind::TEXT_GENERATION, Msat::new(1_000));
    let rule = PriceRule { per_1000_output: Msat::new(1_000), ..flat.price };
    provider.offers = vec![Offer { price: rule, ..flat }];
    let mut engine =
        Engine::new(Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) });
    let customer = CustomerKey::from_bytes([2; 32]);
    let request = JobRequest {
        inputs: vec![JobInput::text("a text")],
        params,
        ..JobRequest::new(JOB, customer, JobKind::TEXT_GENERATION, NOW)
    };
    engine.handle(NOW, Input::Request(Box::new(request)));
    let asked = engine.handle(NOW, Input::Resolved { job: JOB, outcome: Ok(InputSize { bytes: 6 }) });
    let amount = |action: &Action| match action {
        Action::Invoice { amount, .. } => Some(*amount),
        _ => None,
    };
    asked.iter().find_map(amount).unwrap()
}

#[test]
fn no_spelling_makes_work_cheaper() {
    let plain = price(vec![Param::new("max_tokens", "4000")]);
    assert_eq!(plain, Msat::new(5_000));
    for (name, value) in [("MAX_TOKENS", "4000"), ("max-tokens", "4000"), ("max_tokens", "4000.0")] {
        assert_eq!(price(vec![Param::new(name, value)]), plain, "{name}={value}");
    }
    let twice = vec![Param::new("MAX_TOKENS", "4000"), Param::new("max_tokens", "1")];
    assert_eq!(price(twice), plain, "what is read first counts");
}
