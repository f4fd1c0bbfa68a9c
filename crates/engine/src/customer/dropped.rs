//! Claims of a refund that nobody waits for any more: their provider delivered after all, or has paid back elsewhere.
//! It will hardly pay them, but one that has forgotten what it did may, until the invoice has expired. What comes is
//! booked, because it is in the wallet.

use openagents_types::{Invoice, Msat, PaymentHash, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Ask, CustomerDesk};
use crate::{Actions, Entry, Incoming, Movement, Record};

/// A refund invoice of ours that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedClaim {
    /// Its payment.
    pub hash: PaymentHash,
    /// What it asks for.
    pub amount: Msat,
    /// When it can be paid no more.
    pub until: Timestamp,
}

impl From<&Invoice> for DroppedClaim {
    fn from(claim: &Invoice) -> Self {
        Self { hash: claim.payment_hash, amount: claim.amount, until: claim.expires_at }
    }
}

impl CustomerDesk {
    /// When the wallet is asked about the dropped claims of a job: once they have expired. What comes before, it says
    /// by itself, and a restart asks as well.
    pub(crate) fn dropped_wake(&self, now: Timestamp, ask: &Ask) -> Timestamp {
        let again = now.after(self.config.recheck);
        ask.dropped.iter().map(|claim| claim.until).min().map_or(Timestamp::NEVER, |until| until.max(again))
    }

    /// The wallet's word on a claim that the job does not wait for. It is booked even if it comes after all patience.
    pub(crate) fn dropped_refund_arrived(
        &mut self,
        now: Timestamp,
        mut ask: Ask,
        hash: PaymentHash,
        state: Incoming,
        out: &mut Actions,
    ) {
        if let Incoming::Settled { amount } = state
            && !ask.attempts.iter().any(|attempt| attempt.hash() == hash)
        {
            let movement = Movement::RefundReceived;
            out.save(Record::Entry(Entry { at: now, job: ask.id, hash, movement, amount }));
        }
        let is_last = |claim: &DroppedClaim| match state {
            Incoming::Settled { .. } | Incoming::Expired | Incoming::Cancelled => true,
            Incoming::Open | Incoming::Unknown | Incoming::Held { .. } => now >= claim.until,
        };
        let before = ask.dropped.len();
        ask.dropped.retain(|claim| claim.hash != hash || !is_last(claim));
        if ask.dropped.len() < before { self.keep(now, ask, out) } else { self.put(ask) }
    }
}
