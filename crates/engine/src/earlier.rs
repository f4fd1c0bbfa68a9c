//! Payments that an earlier run of the program ordered: its wallet may carry them out although that program is gone.
//!
//! An order waits on a relay or in a pipe until the wallet reads it. While the run that gave it lives, it is under way
//! until it is answered. After a restart nobody waits for it any more, and a wallet that has not read it yet says that
//! it knows of no such payment. Whoever believes that pays the next offer and, a moment later, this one as well. So no
//! denial of such a payment is believed before the order has ended by itself: NIP-47 orders carry an `expiration`.

use openagents_types::{Millis, PaymentHash, Timestamp};

use crate::{Direction, Engine, Outgoing, customer::Money};

/// How long a wallet may still carry out what it was told to pay. A call for a payment is waited for a minute, and says
/// that it ends a second later.
pub const ORDER_LIFE: Millis = Millis::from_secs(65);

/// A wallet's word on a payment by us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a> {
    pub(crate) state: &'a Outgoing,
    /// Whether an order of an earlier run may still be carried out, so that a denial says nothing yet.
    pub(crate) is_early: bool,
}

impl Engine {
    /// Remembers what the records that this run begins with may have ordered.
    pub(crate) fn note_earlier_orders(&mut self) {
        let attempts = self.customer.asks.values().flat_map(|ask| &ask.attempts);
        let bought = attempts
            .filter(|attempt| matches!(attempt.money, Money::Pending | Money::Doubtful))
            .map(|attempt| attempt.hash());
        let jobs = self.provider.iter().flat_map(|desk| desk.jobs.values());
        let refunds = jobs.filter_map(|job| job.state.claim_hash());
        let by_hand = self.transfers.open().filter(|transfer| transfer.direction == Direction::Out);
        self.ordered_earlier = bought.chain(refunds).chain(by_hand.map(crate::Transfer::hash)).collect();
    }

    /// What a wallet says of a payment by us now.
    pub(crate) fn word<'a>(&self, now: Timestamp, hash: PaymentHash, state: &'a Outgoing) -> Word<'a> {
        let is_early = now < self.began.after(ORDER_LIFE) && self.ordered_earlier.contains(&hash);
        Word { state, is_early }
    }
}
