//! Locked payments that no record names: they go back.
//!
//! Records that were restored from a backup may have forgotten offers, and customers may have paid them or pay
//! them now. The money comes back by itself, but only at the wallet's own limit, which may be a day. So a while
//! after each start, and whenever a payment is locked that we know nothing of, the wallet is asked what it holds.
//! The hash of a hold invoice is derived from its job, so an invoice that says "job x" and has the hash of job x
//! was made by us; nothing else in the wallet is touched. What is still wanted has come in again by then: its
//! request is on the relay, and an invoice made again for it is the same one.

use openagents_types::{JobId, Millis, Msat, PaymentHash, Timestamp};

use crate::{Action, Actions, provider::ProviderDesk};

/// How long requests have to come in again before a payment without one goes back.
const GRACE: Millis = Millis::from_secs(20);

/// When the wallet is asked again if it has not answered.
const AGAIN: Millis = Millis::from_secs(60);

/// How far back the wallet is asked: no payment is held for longer.
const REACH: Millis = Millis::from_secs(86_400);

/// A payment that the wallet holds, and the job its invoice names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldPayment {
    /// Its name.
    pub hash: PaymentHash,
    /// How much.
    pub amount: Msat,
    /// What the invoice says it is for.
    pub job: JobId,
}

impl ProviderDesk {
    /// Something may be held that we know nothing of.
    pub(crate) fn expect_strays(&mut self, now: Timestamp) {
        let can_hold = self.config.escrow || self.config.ecash_lock.is_some();
        if can_hold && self.strays.is_none() {
            self.strays = Some(now.after(GRACE));
        }
    }

    pub(crate) fn look_for_strays(&mut self, now: Timestamp, out: &mut Actions) {
        if self.strays.is_some_and(|at| now >= at) {
            // Asked again until there is an answer.
            self.strays = Some(now.after(AGAIN));
            out.push(Action::ReadHeld { since: now.before(REACH) });
        }
    }

    /// The wallet has said what it holds, and the driver has left out the payments that the records name. The job
    /// may be known all the same: its request came in again and was taken back before it had an invoice again.
    pub(crate) fn held(&mut self, now: Timestamp, held: &[HeldPayment], out: &mut Actions) {
        self.strays = None;
        let seed = &self.config.seed;
        let ours = |payment: &&HeldPayment| {
            [seed.preimage(payment.job), seed.ecash_preimage(payment.job)]
                .iter()
                .any(|preimage| preimage.hash() == payment.hash)
        };
        let strays: Vec<_> = held.iter().filter(ours).filter(|payment| !self.knows(payment.hash)).collect();
        for payment in &strays {
            // A job in hand will know it once it has its invoice again, or end without.
            if !self.jobs.contains_key(&payment.job) {
                out.push(Action::CancelHold(payment.hash));
            }
        }
        if !strays.is_empty() {
            self.expect_strays(now);
        }
    }
}
