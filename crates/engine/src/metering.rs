//! Metered prices: a quote covers all that a job allows to be written, and what is not written is given back.
//!
//! A locked payment is taken whole or not at all, and an invoice is paid whole. So the rest of a price becomes balance of
//! the customer's key, in the transaction that settles the job; the result says how much. Receipts name what was paid.

use openagents_types::{JobId, Msat, Timestamp, Usage};
use serde::{Deserialize, Serialize};

use crate::{Actions, Change, Job, provider::ProviderDesk};

/// What a price comes to by what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// The price if nothing is written.
    pub least: Msat,
    /// The price that is quoted.
    pub most: Msat,
    /// Tokens that may be written for it; never zero.
    pub tokens: u64,
}

impl Meter {
    /// Between what nothing and what everything costs; `None` where both cost the same.
    pub(crate) fn new(least: Msat, most: Msat, tokens: u64) -> Option<Self> {
        (least < most && tokens > 0).then_some(Self { least, most, tokens })
    }

    /// What of the price so many tokens do not use, rounded down to whole millisatoshis.
    pub fn unused(&self, tokens: u64) -> Msat {
        let left = self.tokens.saturating_sub(tokens);
        let part = self.most.saturating_sub(self.least).get();
        let unused = u128::from(part) * u128::from(left) / u128::from(self.tokens);
        Msat::new(u64::try_from(unused).unwrap_or(part))
    }
}

impl Job {
    /// What of its price such work leaves.
    pub(crate) fn unused(&self, usage: &Usage) -> Msat {
        self.meter.map_or(Msat::ZERO, |meter| meter.unused(usage.output_tokens))
    }
}

impl ProviderDesk {
    /// Keeps for the customer what the work has not used of its price. The work is delivered, and its price is ours.
    pub(crate) fn give_back_unused(&mut self, now: Timestamp, id: JobId, usage: &Usage, out: &mut Actions) {
        let unused = self.jobs.get(&id).map_or(Msat::ZERO, |job| job.unused(usage));
        self.change(now, id, Change::Unused, unused, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_not_charged() {
        let meter = Meter::new(Msat::new(1_000), Msat::new(3_000), 500).unwrap();
        for (tokens, unused) in [(0, 2_000), (1, 1_996), (250, 1_000), (499, 4), (500, 0), (u64::MAX, 0)] {
            assert_eq!(meter.unused(tokens), Msat::new(unused), "{tokens}");
        }
    }

    #[test]
    fn a_price_that_does_not_count_tokens_has_no_meter() {
        assert_eq!(Meter::new(Msat::new(5), Msat::new(5), 10), None);
        assert_eq!(Meter::new(Msat::new(5), Msat::new(6), 0), None);
        let huge = Meter::new(Msat::ZERO, Msat::MAX, u64::MAX).unwrap();
        assert_eq!(huge.unused(0), Msat::MAX);
    }
}
