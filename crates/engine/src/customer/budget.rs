//! The day's budget: which offers it still covers, and what counts against it.

use openagents_types::{Msat, PaymentHash, Timestamp};

use super::{Ask, CustomerDesk, Money};
use crate::{Action, Actions};

impl CustomerDesk {
    /// Why an offer at this price is more than the day allows.
    pub(crate) fn over_budget(&self, now: Timestamp, ask: &Ask, price: Msat) -> Option<String> {
        let budget = self.config.budget.as_ref()?;
        let (left, fee) = (budget.left(now), ask.options.max_fee);
        if price.is_zero() || price.saturating_add(fee) <= left {
            return None;
        }
        let fee = if fee.is_zero() { String::new() } else { format!(" and up to {fee} for routing") };
        Some(format!("asks {price}{fee}; {left} of {} a day are left until 00:00 UTC", budget.per_day()))
    }

    /// Takes every payment that is to be sent into the day's account, refunds included, so that what the
    /// wallet will count at the time of sending is known when the next offer is chosen.
    pub(crate) fn count(&mut self, now: Timestamp, out: &Actions) {
        for action in out.as_slice() {
            match action {
                Action::Pay { invoice, max_fee, first: true } => {
                    self.count_one(now, invoice.payment_hash, invoice.amount, *max_fee);
                }
                Action::LockEcash { ask, amount, max_fee, first: true } => {
                    self.count_one(now, ask.hash, *amount, *max_fee);
                }
                _ => {}
            }
        }
    }

    /// The same for one payment, before the rest of the batch is decided.
    pub(crate) fn count_one(&mut self, now: Timestamp, hash: PaymentHash, price: Msat, max_fee: Msat) {
        if let Some(budget) = &mut self.config.budget {
            budget.count(now, hash, price, max_fee);
        }
    }

    /// Puts where the money of a payment is into the day's account. What the wallet has called failed only
    /// once still counts: it may settle after all.
    pub(crate) fn account(&mut self, hash: PaymentHash, money: &Money) {
        let Some(budget) = &mut self.config.budget else { return };
        match money {
            Money::Settled { fee, .. } => budget.settled(hash, *fee),
            Money::Returned => budget.came_back(hash),
            Money::Pending | Money::Doubtful => {}
        }
    }
}
