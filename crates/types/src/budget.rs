//! Our own limit on what is spent in a day, whatever a wallet allows (S3): checked when an offer is chosen
//! and again when its payment is sent.

use std::collections::HashMap;

use crate::{Msat, PaymentHash, Timestamp};

/// What may be spent in a day (UTC), and which payments were begun on it. A payment counts once,
/// however often it is sent, until it is known to have come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayBudget {
    per_day: Msat,
    day: Timestamp,
    begun: HashMap<PaymentHash, Begun>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Begun {
    price: Msat,
    /// What counts: price and the most that routing may cost, until the wallet says what it came to.
    counted: Msat,
}

/// A payment that would exceed the budget of its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{asked} would exceed the limit of {limit} a day; nothing was sent")]
pub struct OverBudget {
    /// What would have been spent today.
    pub asked: Msat,
    /// The limit.
    pub limit: Msat,
}

impl DayBudget {
    /// A limit of `per_day`; `begun` are the payments of the day of `now`, with their fees.
    pub fn new(per_day: Msat, now: Timestamp, begun: HashMap<PaymentHash, Msat>) -> Self {
        let begun = begun.into_iter().map(|(hash, sum)| (hash, Begun { price: sum, counted: sum }));
        Self { per_day, day: now.day_began(), begun: begun.collect() }
    }

    /// Takes a payment into today's account, before it is sent.
    ///
    /// # Errors
    /// It would exceed the limit; then nothing is taken.
    pub fn take(
        &mut self,
        now: Timestamp,
        hash: PaymentHash,
        price: Msat,
        max_fee: Msat,
    ) -> Result<(), OverBudget> {
        self.turn_to(now.day_began());
        let others = self.begun.iter().filter(|(other, _)| **other != hash).map(|(_, begun)| begun);
        let asked = price.saturating_add(max_fee).saturating_add(sum(others));
        if asked > self.per_day {
            return Err(OverBudget { asked, limit: self.per_day });
        }
        self.count(now, hash, price, max_fee);
        Ok(())
    }

    /// Takes a payment that is owed into today's account, whatever is left.
    pub fn count(&mut self, now: Timestamp, hash: PaymentHash, price: Msat, max_fee: Msat) {
        self.turn_to(now.day_began());
        self.begun.insert(hash, Begun { price, counted: price.saturating_add(max_fee) });
    }

    /// The limit.
    pub const fn per_day(&self) -> Msat {
        self.per_day
    }

    /// What may still be spent on the day of `now`.
    pub fn left(&self, now: Timestamp) -> Msat {
        if now.day_began() > self.day {
            return self.per_day;
        }
        self.per_day.saturating_sub(sum(self.begun.values()))
    }

    /// A clock set back opens no second budget for a day.
    fn turn_to(&mut self, day: Timestamp) {
        if day > self.day {
            (self.day, self.begun) = (day, HashMap::new());
        }
    }

    /// A payment arrived, and this is what routing cost. One of another day is not in the account.
    pub fn settled(&mut self, hash: PaymentHash, fee: Msat) {
        if let Some(begun) = self.begun.get_mut(&hash) {
            begun.counted = begun.price.saturating_add(fee);
        }
    }

    /// A payment came back, by the wallet's word; should it settle after all, it counts again.
    pub fn came_back(&mut self, hash: PaymentHash) {
        if let Some(begun) = self.begun.get_mut(&hash) {
            begun.counted = Msat::ZERO;
        }
    }
}

fn sum<'a>(payments: impl Iterator<Item = &'a Begun>) -> Msat {
    payments.fold(Msat::ZERO, |sum, begun| sum.saturating_add(begun.counted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn day(n: u64) -> Timestamp {
        Timestamp::from_secs(n * 86_400)
    }

    const fn hash(n: u8) -> PaymentHash {
        PaymentHash::from_bytes([n; 32])
    }

    fn budget() -> DayBudget {
        DayBudget::new(Msat::new(10), day(4), HashMap::new())
    }

    #[test]
    fn a_day_has_one_budget_and_the_next_day_another() {
        let mut budget = budget();
        assert_eq!(budget.take(day(5), hash(1), Msat::new(7), Msat::ZERO), Ok(()));
        let over = OverBudget { asked: Msat::new(11), limit: Msat::new(10) };
        assert_eq!(budget.take(day(5), hash(2), Msat::new(4), Msat::ZERO), Err(over));
        assert_eq!(budget.take(day(5), hash(2), Msat::new(3), Msat::ZERO), Ok(()));
        assert_eq!(budget.take(day(6), hash(3), Msat::new(10), Msat::ZERO), Ok(()));
        assert!(budget.take(day(5), hash(4), Msat::new(1), Msat::ZERO).is_err(), "a clock set back");
    }

    #[test]
    fn a_payment_that_is_sent_again_counts_once() {
        let mut budget = budget();
        for _ in 0..20 {
            assert_eq!(budget.take(day(5), hash(1), Msat::new(7), Msat::ZERO), Ok(()));
        }
        assert_eq!(budget.take(day(5), hash(2), Msat::new(3), Msat::ZERO), Ok(()));
    }

    #[test]
    fn what_an_earlier_run_spent_today_counts_today() {
        let mut budget = DayBudget::new(Msat::new(10), day(5), HashMap::from([(hash(1), Msat::new(8))]));
        assert!(budget.take(day(5), hash(2), Msat::new(3), Msat::ZERO).is_err());
        assert_eq!(
            budget.take(day(5), hash(1), Msat::new(8), Msat::ZERO),
            Ok(()),
            "the same payment, sent again"
        );
        assert_eq!(budget.take(day(5), hash(2), Msat::new(2), Msat::ZERO), Ok(()));
        assert_eq!(budget.take(day(6), hash(3), Msat::new(10), Msat::ZERO), Ok(()));
    }

    #[test]
    fn what_was_not_spent_can_be_spent_on_its_own_day_alone() {
        let mut budget = budget();
        budget.take(day(5), hash(1), Msat::new(10), Msat::ZERO).unwrap_or_else(|error| panic!("{error}"));
        budget.came_back(hash(1));
        assert_eq!(budget.take(day(5), hash(2), Msat::new(9), Msat::ZERO), Ok(()));
        budget.settled(hash(2), Msat::new(1));
        assert!(budget.take(day(5), hash(3), Msat::new(1), Msat::ZERO).is_err(), "a fee counts");
        assert_eq!(budget.take(day(6), hash(4), Msat::new(10), Msat::ZERO), Ok(()));
        budget.came_back(hash(2));
        assert!(
            budget.take(day(6), hash(5), Msat::new(1), Msat::ZERO).is_err(),
            "yesterday's money is not today's"
        );
    }
}
