//! Our own limit on what a connection spends in a day, for wallets that set none (S3).

use std::collections::HashMap;

use openagents_types::{Msat, PaymentHash, Timestamp};

use crate::WalletError;

/// What may be spent in a day (UTC), and which payments were begun on it. A payment counts once,
/// however often it is sent, until it is known to have come back.
#[derive(Debug)]
pub(super) struct Cap {
    per_day: Msat,
    day: Timestamp,
    begun: HashMap<PaymentHash, Begun>,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    price: Msat,
    /// What counts: price and the most that routing may cost, until the wallet says what it came to.
    counted: Msat,
}

impl Cap {
    /// A limit of `per_day`; `begun` are the payments of the day of `now`, with their fees.
    pub(super) fn new(per_day: Msat, now: Timestamp, begun: HashMap<PaymentHash, Msat>) -> Self {
        let begun = begun.into_iter().map(|(hash, sum)| (hash, Begun { price: sum, counted: sum }));
        Self { per_day, day: now.day_began(), begun: begun.collect() }
    }

    /// Takes a payment into today's account, before it is sent.
    ///
    /// # Errors
    /// It would exceed the limit; then nothing is taken.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        hash: PaymentHash,
        price: Msat,
        max_fee: Msat,
    ) -> Result<(), WalletError> {
        let day = now.day_began();
        // A clock set back opens no second budget for a day.
        if day > self.day {
            (self.day, self.begun) = (day, HashMap::new());
        }
        let others = self.begun.iter().filter(|(other, _)| **other != hash);
        let counted = price.saturating_add(max_fee);
        let asked = others.fold(counted, |sum, (_, begun)| sum.saturating_add(begun.counted));
        if asked > self.per_day {
            return Err(WalletError::OverCap { asked, cap: self.per_day });
        }
        self.begun.insert(hash, Begun { price, counted });
        Ok(())
    }

    /// A payment arrived, and this is what routing cost. One of another day is not in the account.
    pub(super) fn settled(&mut self, hash: PaymentHash, fee: Msat) {
        if let Some(begun) = self.begun.get_mut(&hash) {
            begun.counted = begun.price.saturating_add(fee);
        }
    }

    /// A payment came back, by the wallet's word; should it settle after all, it counts again.
    pub(super) fn came_back(&mut self, hash: PaymentHash) {
        if let Some(begun) = self.begun.get_mut(&hash) {
            begun.counted = Msat::ZERO;
        }
    }
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

    fn cap() -> Cap {
        Cap::new(Msat::new(10), day(4), HashMap::new())
    }

    #[test]
    fn a_day_has_one_budget_and_the_next_day_another() {
        let mut cap = cap();
        assert_eq!(cap.take(day(5), hash(1), Msat::new(7), Msat::ZERO), Ok(()));
        let over = WalletError::OverCap { asked: Msat::new(11), cap: Msat::new(10) };
        assert_eq!(cap.take(day(5), hash(2), Msat::new(4), Msat::ZERO), Err(over));
        assert_eq!(cap.take(day(5), hash(2), Msat::new(3), Msat::ZERO), Ok(()));
        assert_eq!(cap.take(day(6), hash(3), Msat::new(10), Msat::ZERO), Ok(()));
        assert!(cap.take(day(5), hash(4), Msat::new(1), Msat::ZERO).is_err(), "a clock set back");
    }

    #[test]
    fn a_payment_that_is_sent_again_counts_once() {
        let mut cap = cap();
        for _ in 0..20 {
            assert_eq!(cap.take(day(5), hash(1), Msat::new(7), Msat::ZERO), Ok(()));
        }
        assert_eq!(cap.take(day(5), hash(2), Msat::new(3), Msat::ZERO), Ok(()));
    }

    #[test]
    fn what_an_earlier_run_spent_today_counts_today() {
        let mut cap = Cap::new(Msat::new(10), day(5), HashMap::from([(hash(1), Msat::new(8))]));
        assert!(cap.take(day(5), hash(2), Msat::new(3), Msat::ZERO).is_err());
        assert_eq!(
            cap.take(day(5), hash(1), Msat::new(8), Msat::ZERO),
            Ok(()),
            "the same payment, sent again"
        );
        assert_eq!(cap.take(day(5), hash(2), Msat::new(2), Msat::ZERO), Ok(()));
        assert_eq!(cap.take(day(6), hash(3), Msat::new(10), Msat::ZERO), Ok(()));
    }

    #[test]
    fn what_was_not_spent_can_be_spent_on_its_own_day_alone() {
        let mut cap = cap();
        cap.take(day(5), hash(1), Msat::new(10), Msat::ZERO).unwrap_or_else(|error| panic!("{error}"));
        cap.came_back(hash(1));
        assert_eq!(cap.take(day(5), hash(2), Msat::new(9), Msat::ZERO), Ok(()));
        cap.settled(hash(2), Msat::new(1));
        assert!(cap.take(day(5), hash(3), Msat::new(1), Msat::ZERO).is_err(), "a fee counts");
        assert_eq!(cap.take(day(6), hash(4), Msat::new(10), Msat::ZERO), Ok(()));
        cap.came_back(hash(2));
        assert!(
            cap.take(day(6), hash(5), Msat::new(1), Msat::ZERO).is_err(),
            "yesterday's money is not today's"
        );
    }
}
