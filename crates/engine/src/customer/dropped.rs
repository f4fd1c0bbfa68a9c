//! Claims of a refund that nobody waits for any more: their provider delivered after all, has paid back elsewhere, or was
//! sent a newer one because this had expired. It may pay them all the same, because it has forgotten what it did or
//! because the payment was slow. What comes is booked, because it is in the wallet.

use openagents_types::{Msat, PaymentHash, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Ask, Attempt, CustomerDesk, Money, Reclaim};
use crate::{Actions, Entry, Incoming, Movement, Record, transfer::LATE};

/// A refund invoice of ours that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedClaim {
    /// The payment that it was to pay back, if that was noted.
    #[serde(default)]
    pub paid: Option<PaymentHash>,
    /// Its own payment.
    pub hash: PaymentHash,
    /// What it asks for.
    pub amount: Msat,
    /// When no payment of it can arrive any more.
    pub until: Timestamp,
}

impl Attempt {
    /// Its claim, if one is waited for, as it is once that is no longer so.
    pub(crate) fn dropped_claim(&self) -> Option<DroppedClaim> {
        let Money::Settled { reclaim: Reclaim::Claimed { claim }, .. } = &self.money else { return None };
        let until = claim.expires_at.after(LATE);
        Some(DroppedClaim { paid: Some(self.hash()), hash: claim.payment_hash, amount: claim.amount, until })
    }
}

impl CustomerDesk {
    /// When the wallet is asked about the dropped claims of a job: once they have expired, and once slow payments have
    /// arrived as well. What comes before, it says by itself, and a restart asks as well.
    pub(crate) fn dropped_wake(&self, now: Timestamp, ask: &Ask) -> Timestamp {
        let again = now.after(self.config.recheck);
        let next = |claim: &DroppedClaim| {
            let expired = claim.until.before(LATE);
            if now < expired { expired } else { claim.until.max(again) }
        };
        ask.dropped.iter().map(next).min().unwrap_or(Timestamp::NEVER)
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
        let is_paid = matches!(state, Incoming::Settled { .. });
        let Some(at) = ask.dropped.iter().position(|claim| claim.hash == hash) else { return self.put(ask) };
        if !is_paid && now < ask.dropped[at].until {
            return self.put(ask);
        }
        let DroppedClaim { paid, .. } = ask.dropped.swap_remove(at);
        if let (true, Some(paid)) = (is_paid, paid) {
            ask.note_back(paid);
        }
        self.keep(now, ask, out);
    }
}

impl Ask {
    /// A payment came back by a claim that had been replaced: the newer one is waited for no more.
    fn note_back(&mut self, paid: PaymentHash) {
        let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.hash() == paid) else { return };
        let claim = attempt.dropped_claim();
        if let Money::Settled { reclaim: reclaim @ (Reclaim::Due | Reclaim::Claimed { .. }), .. } =
            &mut attempt.money
        {
            *reclaim = Reclaim::Done;
            self.dropped.extend(claim);
        }
    }
}
