//! What a job costs here and now.

use openagents_types::Msat;
use serde::{Deserialize, Serialize};

/// How the price of one kind is made. Every knob in one place: ads, quotes and refusals all derive
/// from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRule {
    /// For any job.
    pub base: Msat,
    /// For each KiB of input begun.
    pub per_kib: Msat,
    /// Never less than this, discounts included.
    pub floor: Msat,
    /// From this many waiting jobs on the price is multiplied (inclusive); 0 turns surge off.
    pub surge_from: usize,
    /// Percent of the price then asked, such as 200.
    pub surge_percent: u32,
    /// Percent of the price asked when nothing waits or runs, such as 80; 100 for no discount.
    pub idle_percent: u32,
}

impl PriceRule {
    /// Costs nothing, whatever the load.
    pub const FREE: Self = Self::flat(Msat::ZERO);

    /// The same price for every job at any load.
    pub const fn flat(base: Msat) -> Self {
        Self {
            base,
            per_kib: Msat::ZERO,
            floor: Msat::ZERO,
            surge_from: 0,
            surge_percent: 100,
            idle_percent: 100,
        }
    }

    /// The price of a job of `bytes` input while `waiting` others wait and `running` run, rounded
    /// up to whole millisatoshis; `None` if it would not fit, which no customer could pay anyway.
    pub fn price(&self, bytes: u64, waiting: usize, running: usize) -> Option<Msat> {
        let raw = self.base.checked_add(self.per_kib.checked_mul(bytes.div_ceil(1024))?)?;
        let percent = if self.surge_from > 0 && waiting >= self.surge_from {
            self.surge_percent
        } else if waiting == 0 && running == 0 {
            self.idle_percent
        } else {
            100
        };
        let scaled = Msat::new(raw.checked_mul(u64::from(percent))?.get().div_ceil(100));
        Some(scaled.max(self.floor)).filter(|price| *price <= Msat::MAX)
    }
}

/// How a job ranks among waiting ones: 50 for a bid at the price, 100 for twice the price or more
/// (`min(100, floor(50 x bid / price))`). A free kind ranks everybody the same.
pub fn priority(bid: Msat, price: Msat) -> u8 {
    if price.is_zero() {
        return 50;
    }
    let rank = u128::from(bid.get()) * 50 / u128::from(price.get());
    u8::try_from(rank.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: PriceRule = PriceRule {
        base: Msat::new(1_000),
        per_kib: Msat::new(10),
        floor: Msat::new(900),
        surge_from: 5,
        surge_percent: 200,
        idle_percent: 80,
    };

    #[test]
    fn the_price_follows_size_and_load() {
        assert_eq!(RULE.price(0, 1, 1), Some(Msat::new(1_000)));
        assert_eq!(RULE.price(1, 1, 1), Some(Msat::new(1_010)));
        assert_eq!(RULE.price(2_048, 1, 1), Some(Msat::new(1_020)));
        assert_eq!(RULE.price(0, 4, 2), Some(Msat::new(1_000)), "below the surge threshold");
        assert_eq!(RULE.price(0, 5, 2), Some(Msat::new(2_000)), "the threshold is inclusive");
    }

    #[test]
    fn the_floor_holds_against_the_idle_discount() {
        assert_eq!(RULE.price(0, 0, 0), Some(Msat::new(900)));
    }

    #[test]
    fn a_price_that_cannot_be_paid_is_no_price() {
        let steep = PriceRule { per_kib: Msat::new(1 << 20), ..RULE };
        assert_eq!(steep.price(u64::MAX, 1, 1), None);
    }

    #[test]
    fn free_work_divides_by_nothing() {
        assert_eq!(PriceRule::FREE.price(1 << 40, 9, 9), Some(Msat::ZERO));
        assert_eq!(priority(Msat::new(5_000), Msat::ZERO), 50);
    }

    #[test]
    fn priority_doubles_with_the_bid_and_ends_at_a_hundred() {
        let price = Msat::new(1_000);
        assert_eq!(priority(Msat::new(1_000), price), 50);
        assert_eq!(priority(Msat::new(1_500), price), 75);
        assert_eq!(priority(Msat::new(u64::MAX), price), 100);
    }
}
