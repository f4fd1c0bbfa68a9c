//! Paying in advance: how much a provider is trusted with before it has delivered.
//!
//! An offer without a lock on the payment means that the money is gone if the provider does not deliver. Refunds
//! are promised, not enforced, so what one provider can run away with is kept small, and grows with what it has
//! delivered to us.

use openagents_types::{Msat, ProviderKey, Quote, Terms};

use super::{Ask, Attempt, CustomerDesk, Money, Reclaim};
use crate::choice::Standing;

/// How much may be with one provider at a time, paid and neither delivered nor returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvanceLimit {
    /// With one that has not delivered yet.
    pub newcomer: Msat,
    /// With any.
    pub most: Msat,
}

impl AdvanceLimit {
    /// `newcomer x (1 + delivered) / (1 + failed)²`, and no more than `most`.
    pub fn for_provider(self, standing: &Standing) -> Msat {
        let earned = u128::from(self.newcomer.get()).saturating_mul(1 + u128::from(standing.delivered));
        let failed = 1 + u128::from(standing.failed);
        Msat::new(u64::try_from(earned / (failed * failed)).unwrap_or(u64::MAX)).min(self.most)
    }
}

/// What is with each provider.
#[derive(Debug, Default)]
pub(crate) struct Advanced(std::collections::HashMap<ProviderKey, Msat>);

impl Advanced {
    pub(crate) fn add(&mut self, ask: &Ask) {
        for (provider, amount) in advanced(ask) {
            let sum = self.0.entry(provider).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    pub(crate) fn remove(&mut self, ask: &Ask) {
        for (provider, amount) in advanced(ask) {
            if let Some(sum) = self.0.get_mut(&provider) {
                *sum = sum.saturating_sub(amount);
                if sum.is_zero() {
                    self.0.remove(&provider);
                }
            }
        }
    }
}

/// Which providers have money of a job in advance, and how much.
fn advanced(ask: &Ask) -> impl Iterator<Item = (ProviderKey, Msat)> {
    let delivered_by = ask.delivery.as_ref().map(|delivery| delivery.provider);
    let is_out = move |attempt: &&Attempt| {
        attempt.quote.terms == Terms::Prepaid
            && delivered_by != Some(attempt.quote.provider)
            && match &attempt.money {
                Money::Pending | Money::Doubtful => true,
                Money::Settled { reclaim, .. } => *reclaim != Reclaim::Done,
                Money::Returned => false,
            }
    };
    ask.attempts.iter().filter(is_out).map(|attempt| (attempt.quote.provider, attempt.quote.price))
}

impl CustomerDesk {
    /// Why an offer asks for more in advance than its provider is trusted with.
    pub(crate) fn over_trust(&self, quote: &Quote) -> Option<String> {
        let limit = self.config.advance?;
        if quote.terms != Terms::Prepaid || quote.price.is_zero() {
            return None;
        }
        let trusted = limit.for_provider(&self.standing(quote.provider));
        let has = self.advanced.0.get(&quote.provider).copied().unwrap_or_default();
        if has.saturating_add(quote.price) <= trusted {
            return None;
        }
        let price = quote.price;
        let has = if has.is_zero() { String::new() } else { format!(" and has {has} of other jobs") };
        Some(format!(
            "wants {price} in advance{has}; it is trusted with {trusted} until it has delivered more"
        ))
    }
}
