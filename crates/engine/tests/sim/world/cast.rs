//! Who is in a world: providers and customers, their keys and what they have decided.

use openagents_engine::{
    Config, CustomerConfig, Offer, PreimageSeed, ProviderConfig,
    bidding::{PriceRule, USUAL_OUTPUT},
};
use openagents_types::{CustomerKey, JobKind, Millis, Msat, Network, ProviderKey};

use crate::{node::Node, rng::Rng};

pub(super) fn provider_key(node: usize) -> ProviderKey {
    ProviderKey::from_bytes([node as u8 + 1; 32])
}

/// What the customers of every third stormy world may spend in a day: less than their jobs would come to.
pub(super) fn day_limit(seed: u64) -> Option<Msat> {
    seed.is_multiple_of(3).then(|| Msat::new(5_000 + seed % 30_000))
}

pub(super) fn new_node(rng: &mut Rng, index: usize, providers: usize, limit: Option<Msat>) -> Node {
    let provider = (index < providers).then(|| {
        let mut config = ProviderConfig::new(provider_key(index), PreimageSeed::new(rng.bytes()));
        let free = rng.chance(10);
        let price = Msat::new(if free { 0 } else { rng.between(1_000, 20_000) });
        config.offers = vec![Offer { price: by_tokens(price), ..Offer::flat(JobKind::SUMMARIZATION, price) }];
        config.escrow = rng.chance(60);
        config.slots = rng.between(1, 2) as usize;
        config.claim_time = Millis(3_000);
        config
    });
    let day_limit = limit.filter(|_| provider.is_none());
    Node::new(Config { provider, customer: CustomerConfig::new(Network::Regtest) }, day_limit)
}

/// Every other price is half for what is written; whoever writes as much as it may pays `price`.
fn by_tokens(price: Msat) -> PriceRule {
    if price.get().is_multiple_of(2) {
        return PriceRule::flat(price);
    }
    let written = (price.get() * USUAL_OUTPUT).div_ceil(1_000);
    PriceRule { per_1000_output: price, ..PriceRule::flat(Msat::new(price.get() - written)) }
}

/// The key of a customer that signs all its jobs with one.
pub(super) fn steady_key(node: usize) -> CustomerKey {
    CustomerKey::from_bytes([0x40 + u8::try_from(node).unwrap(); 32])
}
