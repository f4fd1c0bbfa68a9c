//! Paying in advance: how much a provider is trusted with before it has delivered.
//!
//! An offer without a lock on the payment means that the money is gone if the provider does not deliver. Refunds
//! are promised, not enforced, so what one provider can run away with is kept small, and grows with what it has
//! delivered to us.

use std::collections::HashMap;

use openagents_types::{Msat, ProviderKey, Quote, Terms, Timestamp};

use super::{Ask, Attempt, CustomerDesk, Money};
use crate::{Actions, Record, choice::Standing};

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
pub(crate) struct Advanced(HashMap<ProviderKey, Held>);

/// What is with one provider.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    amount: Msat,
    /// Payments that it said were locked until delivery, and that it took before.
    taken_early: u32,
}

/// What has turned out about a locked payment that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Early {
    /// Its provider did not deliver.
    Taken,
    /// It has delivered after all.
    Earned,
}

/// One payment that is with a provider.
struct Advance {
    provider: ProviderKey,
    amount: Msat,
    taken_early: u32,
}

impl Advanced {
    pub(crate) fn add(&mut self, ask: &Ask) {
        for Advance { provider, amount, taken_early } in advances(ask) {
            let held = self.0.entry(provider).or_default();
            held.amount = held.amount.saturating_add(amount);
            held.taken_early += taken_early;
        }
    }

    pub(crate) fn remove(&mut self, ask: &Ask) {
        for Advance { provider, amount, taken_early } in advances(ask) {
            if let Some(held) = self.0.get_mut(&provider) {
                held.amount = held.amount.saturating_sub(amount);
                held.taken_early = held.taken_early.saturating_sub(taken_early);
                if held.amount.is_zero() {
                    self.0.remove(&provider);
                }
            }
        }
    }
}

/// Which providers have money of a job without having delivered. That a payment is locked is the provider's own word,
/// so one that it took all the same counts like one in advance.
fn advances(ask: &Ask) -> impl Iterator<Item = Advance> {
    let delivered_by = ask.delivery.as_ref().map(|delivery| delivery.provider);
    let is_out = move |attempt: &&Attempt| {
        delivered_by != Some(attempt.quote.provider)
            && match &attempt.money {
                Money::Pending | Money::Doubtful => attempt.terms() == Terms::Prepaid,
                Money::Settled { reclaim, .. } => !reclaim.is_back(),
                Money::Returned => false,
            }
    };
    ask.attempts.iter().filter(is_out).map(|attempt| Advance {
        provider: attempt.quote.provider,
        amount: attempt.quote.price,
        taken_early: u32::from(attempt.terms() == Terms::Escrow),
    })
}

impl CustomerDesk {
    /// Notes that a provider took what it had said was locked, and did not deliver, or that it has delivered after all.
    /// This outlasts the job and the program.
    pub(super) fn note_taken_early(&mut self, provider: ProviderKey, change: Early, out: &mut Actions) {
        let mut standing = self.standing(provider);
        standing.taken_early = match change {
            Early::Taken => standing.taken_early.saturating_add(1),
            Early::Earned => standing.taken_early.saturating_sub(1),
        };
        self.recall_standing(standing);
        out.save(Record::Standing(standing));
    }

    /// Why an offer asks for more in advance than its provider is trusted with.
    pub(crate) fn over_trust(&self, now: Timestamp, quote: &Quote) -> Option<String> {
        let limit = self.config.advance?;
        let Held { amount: has, taken_early } =
            self.advanced.0.get(&quote.provider).copied().unwrap_or_default();
        let standing = self.standing(quote.provider);
        let keeps_locks = taken_early == 0 && standing.taken_early == 0;
        let is_locked = self.terms_for(now, quote) == Terms::Escrow && keeps_locks;
        if is_locked || quote.price.is_zero() {
            return None;
        }
        let trusted = limit.for_provider(&standing);
        if has.saturating_add(quote.price) <= trusted {
            return None;
        }
        let price = quote.price;
        let has = if has.is_zero() { String::new() } else { format!(" and has {has} of other jobs") };
        let limit = if trusted == limit.most {
            format!("no provider is trusted with more than {trusted} (`advance_most_msat`)")
        } else {
            format!("it is trusted with {trusted} until it has delivered more (`advance_newcomer_msat`)")
        };
        Some(format!("wants {price} in advance{has}; {limit}"))
    }
}
