//! Our own limit on what a connection spends in a day, for wallets that set none (S3).

use openagents_types::{Msat, Timestamp};

use crate::WalletError;

/// What may be spent in a day, and what was.
#[derive(Debug)]
pub(super) struct Cap {
    per_day: Msat,
    day: Timestamp,
    spent: Msat,
}

impl Cap {
    /// A limit of `per_day`, of which `spent` was spent on the day of `now`.
    pub(super) const fn new(per_day: Msat, now: Timestamp, spent: Msat) -> Self {
        Self { per_day, day: now.day_began(), spent }
    }

    /// Takes an amount out of today's limit, before it is sent.
    ///
    /// # Errors
    /// It would exceed the limit; then nothing is taken.
    pub(super) fn take(&mut self, now: Timestamp, amount: Msat) -> Result<(), WalletError> {
        let day = now.day_began();
        // A clock set back opens no second budget for a day.
        if day > self.day {
            (self.day, self.spent) = (day, Msat::ZERO);
        }
        let asked = self.spent.saturating_add(amount);
        if asked > self.per_day {
            return Err(WalletError::OverCap { asked, cap: self.per_day });
        }
        self.spent = asked;
        Ok(())
    }

    /// Puts back what was not spent after all.
    pub(super) fn give_back(&mut self, amount: Msat) {
        self.spent = self.spent.saturating_sub(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn day(n: u64) -> Timestamp {
        Timestamp::from_secs(n * 86_400)
    }

    #[test]
    fn a_day_has_one_budget_and_the_next_day_another() {
        let mut cap = Cap::new(Msat::new(10), day(4), Msat::ZERO);
        assert_eq!(cap.take(day(5), Msat::new(7)), Ok(()));
        let over = WalletError::OverCap { asked: Msat::new(11), cap: Msat::new(10) };
        assert_eq!(cap.take(day(5), Msat::new(4)), Err(over));
        assert_eq!(cap.take(day(5), Msat::new(3)), Ok(()));
        assert_eq!(cap.take(day(6), Msat::new(10)), Ok(()));
        assert!(cap.take(day(5), Msat::new(1)).is_err(), "a clock set back");
    }

    #[test]
    fn what_an_earlier_run_spent_today_counts_today() {
        let mut cap = Cap::new(Msat::new(10), day(5), Msat::new(8));
        assert!(cap.take(day(5), Msat::new(3)).is_err());
        assert_eq!(cap.take(day(5), Msat::new(2)), Ok(()));
        assert_eq!(cap.take(day(6), Msat::new(10)), Ok(()));
    }

    #[test]
    fn what_was_not_spent_can_be_spent() {
        let mut cap = Cap::new(Msat::new(10), day(4), Msat::ZERO);
        cap.take(day(5), Msat::new(10)).unwrap_or_else(|error| panic!("{error}"));
        cap.give_back(Msat::new(10));
        assert_eq!(cap.take(day(5), Msat::new(10)), Ok(()));
    }
}
