//! Ecash as a second rail of an offer: locked to a preimage of ours until delivery (NUT-14).
//!
//! An offer names its invoice and, if the wallet can take it, a request for ecash with a payment hash of its own.
//! Whichever is paid first carries the job. A token is nobody's until our wallet has been told to take it, so the
//! second rail is given up by leaving it alone; the customer's wallet takes the ecash back when its lock ends. An
//! invoice that is left over when ecash has come is voided if it can be, and watched until no payment of it can
//! arrive any more; one that comes all the same goes back once the job is over.
//!
//! Our wallet checks a token (mint, amount, locks, proofs) and then holds it: [`Incoming::Held`]. From there on it
//! is a held payment like any other, but that its lock ends at a time which is known: work that cannot be delivered
//! by [`EcashAsk::deadline`] is not begun.

use openagents_types::{
    Draft, EcashAsk, EcashPayment, EcashRelease, EcashToken, JobId, LOCK_MARGIN, Msat, Notice, PaymentHash,
    Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    Action, Actions, Direction, Incoming, Job, PaymentRow, Record,
    beside::Beside,
    credit::Bill,
    job::{EXPIRED, Funds, Outcome, State, Why},
    provider::{ProviderDesk, refusal},
};

/// Ecash that a job may be paid with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcashOffer {
    /// What was asked.
    pub ask: EcashAsk,
    /// The price.
    pub price: Msat,
    /// A token that came, until the wallet has said whether it holds what it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<EcashToken>,
    /// The payment beside the one that the job runs on: the invoice of the same offer, once ecash pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
}

impl Job {
    /// The ecash that may pay or pays the job.
    pub fn ecash_hash(&self) -> Option<PaymentHash> {
        self.ecash.as_ref().map(|ecash| ecash.ask.hash)
    }

    /// When a result is of no more use: at the customer's own deadline, when the ecash that pays it is no longer ours
    /// to take, or when its bill could no longer be paid.
    pub(crate) fn deadline(&self) -> Timestamp {
        let customers = self.request.expires_at.unwrap_or(Timestamp::NEVER);
        let pays =
            |ecash: &EcashOffer| ecash.beside.as_ref().is_some_and(|beside| beside.hash != ecash.ask.hash);
        let pays = self.ecash.as_deref().filter(|ecash| pays(ecash));
        let locked = pays.map_or(Timestamp::NEVER, |ecash| ecash.ask.deadline());
        let billed = match &self.bill {
            Some(Bill::Made(invoice)) => invoice.expires_at.before(LOCK_MARGIN),
            Some(Bill::Wanted(_)) | None => Timestamp::NEVER,
        };
        customers.min(locked).min(billed)
    }

    /// A token that the wallet has not answered for, while it may still.
    pub(crate) fn awaits_ecash(&self, now: Timestamp) -> Option<(PaymentHash, &EcashToken)> {
        let ecash = self.ecash.as_ref().filter(|ecash| now < ecash.ask.deadline())?;
        Some((ecash.ask.hash, ecash.token.as_ref()?))
    }

    /// Whether ecash may still pay the job: it is offered, or its offer ended only because time ran out.
    fn takes_ecash(&self) -> bool {
        match &self.state {
            State::Offered { .. } => true,
            State::Returning { why, .. } | State::Lapsing { why, .. } => why.code == EXPIRED,
            State::Closed { outcome, .. } => *outcome == Outcome::Expired,
            State::Resolving
            | State::Invoicing { .. }
            | State::Queued { .. }
            | State::Running { .. }
            | State::Delivered { .. }
            | State::Billed { .. }
            | State::RefundOwed { .. }
            | State::Refunding { .. } => false,
        }
    }
}

impl ProviderDesk {
    /// Asks the wallet for a request for ecash, if it can make one and has not. Derived from the job and from when
    /// its price was made, so that asking twice names the same.
    pub(crate) fn ecash_action(&self, id: JobId) -> Option<Action> {
        let lock = self.config.ecash_lock?;
        // Who pays afterwards is sent a bill, and that is an invoice.
        let job = self.jobs.get(&id).filter(|job| job.ecash.is_none() && job.bill.is_none())?;
        let State::Invoicing { price, .. } = job.state else { return None };
        let expires_at = job.changed_at.after(self.config.quote_lifetime);
        Some(Action::RequestEcash {
            job: id,
            amount: price,
            hash: self.config.seed.ecash_preimage(id).hash(),
            locktime: Timestamp::from_secs(expires_at.after(lock).secs()),
            expires_at,
        })
    }

    /// The wallet has made a request for ecash, or cannot; the offer then has its invoice alone.
    pub(crate) fn ecash_requested(
        &mut self,
        id: JobId,
        outcome: Result<EcashAsk, String>,
        out: &mut Actions,
    ) {
        let Some(Job { state: State::Invoicing { price, .. }, ecash: None, .. }) = self.jobs.get(&id) else {
            return;
        };
        let price = *price;
        let expected = self.config.seed.ecash_preimage(id).hash();
        if let Ok(ask) = outcome
            && ask.hash == expected
        {
            let offer = EcashOffer { ask, price, token: None, beside: None };
            self.amend(id, |job| job.ecash = Some(Box::new(offer)), out);
        }
        let action = self.invoice_action(id, price);
        out.push(action);
    }

    /// The row that gives the payment of an offer's ecash to its job.
    pub(crate) fn name_ecash(&self, now: Timestamp, id: JobId, out: &mut Actions) {
        if let Some(ecash) = self.jobs.get(&id).and_then(|job| job.ecash.as_ref()) {
            out.save(Record::Payment(PaymentRow {
                hash: ecash.ask.hash,
                job: id,
                direction: Direction::In,
                amount: ecash.price,
                bolt11: ecash.ask.request.clone(),
                at: now,
            }));
        }
    }

    /// A customer hands over ecash: perhaps late, perhaps again.
    pub(crate) fn token(&mut self, now: Timestamp, payment: EcashPayment, out: &mut Actions) {
        let EcashPayment { job: id, by, hash, token } = payment;
        let Some(job) = self.jobs.get(&id) else { return };
        if job.request.customer != by || job.ecash_hash() != Some(hash) {
            return;
        }
        let (takes, waits, pays) =
            (job.takes_ecash(), job.awaits_ecash(now).is_some(), job.state.hash() == Some(hash));
        let in_time = job.ecash.as_ref().is_some_and(|ecash| now < ecash.ask.deadline());
        match &job.state {
            _ if waits || pays => {}
            _ if takes && in_time => {
                let kept = token.clone();
                self.amend(id, |job| note_token(job, Some(kept)), out);
                self.reschedule(now, id);
                out.push(Action::AcceptEcash { hash, token });
            }
            State::Queued { .. } | State::Running { .. } | State::Delivered { .. } | State::Billed { .. } => {
                let message = String::from(
                    "the job is paid already; the ecash is left alone and comes back when its lock ends",
                );
                out.push(Action::Announce { job: id, draft: Draft::Notice(Notice::Processing { message }) });
            }
            State::Resolving | State::Invoicing { .. } => {}
            State::Offered { .. }
            | State::Lapsing { .. }
            | State::Returning { .. }
            | State::RefundOwed { .. }
            | State::Refunding { .. }
            | State::Closed { .. } => self.leave_alone(id, "late", "it came too late", out),
        }
    }

    /// The wallet does not take a token: short, of a foreign mint, spent, or locked to somebody else.
    pub(crate) fn token_refused(&mut self, id: JobId, hash: PaymentHash, reason: &str, out: &mut Actions) {
        let Some(job) = self.jobs.get(&id) else { return };
        let waits = job.ecash.as_ref().is_some_and(|ecash| ecash.ask.hash == hash && ecash.token.is_some());
        if waits {
            self.amend(id, |job| note_token(job, None), out);
            self.leave_alone(id, "ecash-refused", reason, out);
        }
    }

    fn leave_alone(&self, id: JobId, code: &str, reason: &str, out: &mut Actions) {
        let message = format!(
            "the ecash is not taken: {reason}; nothing was charged, your wallet takes it back when its lock ends"
        );
        out.publish(id, Draft::Notice(refusal(&Why::new(code, message))));
    }

    /// Takes the wallet's word on ecash for a job that it does not pay, or not yet.
    pub(crate) fn ecash_moved(&mut self, now: Timestamp, id: JobId, state: Incoming, out: &mut Actions) {
        let Some(job) = self.jobs.get(&id) else { return };
        let Some(ecash) = job.ecash.as_deref() else { return };
        let (hash, price, takes) = (ecash.ask.hash, ecash.price, job.takes_ecash());
        match state {
            // Accepted before these records were restored: the offer is about to be made again.
            _ if matches!(job.state, State::Resolving | State::Invoicing { .. }) => {}
            Incoming::Held { amount } if takes => {
                self.turn_to_ecash(now, id, out);
                self.money_came(now, id, Funds::Held { hash, amount }, price, out);
                self.watch_beside(id, out);
            }
            // Nothing was told to take it, so it stays the customer's.
            Incoming::Held { .. } => out.push(self.give_up_action(id, hash)),
            // This wallet took what it was to hold.
            Incoming::Settled { amount } if takes => {
                self.earn(now, id, hash, amount, out);
                self.turn_to_ecash(now, id, out);
                self.money_came(now, id, Funds::Paid { hash, amount }, price, out);
                self.watch_beside(id, out);
            }
            Incoming::Cancelled | Incoming::Expired if ecash.token.is_some() => {
                self.amend(id, |job| note_token(job, None), out);
            }
            Incoming::Open | Incoming::Unknown if job.awaits_ecash(now).is_some() => {
                if let Some((hash, token)) = job.awaits_ecash(now) {
                    out.push(Action::AcceptEcash { hash, token: token.clone() });
                }
            }
            Incoming::Settled { amount } => self.took_ecash_beside(now, id, amount, out),
            Incoming::Cancelled | Incoming::Expired | Incoming::Open | Incoming::Unknown => {}
        }
    }

    /// Gives up what is held for a job: ecash with what its customer can take it back with at once.
    pub(crate) fn give_up_action(&self, id: JobId, hash: PaymentHash) -> Action {
        let preimage = self.config.seed.ecash_preimage(id);
        if preimage.hash() == hash { Action::ReleaseEcash { preimage } } else { Action::CancelHold(hash) }
    }

    /// The wallet has given up ecash: its customer is told what it can be taken back with.
    pub(crate) fn released(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        release: EcashRelease,
        out: &mut Actions,
    ) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.ecash_hash() == Some(hash)) else { return };
        let state = job.state.clone();
        out.publish(id, Draft::Release { hash, release });
        if let State::Returning { hash: given_up, why } = state
            && given_up == hash
        {
            self.returned(now, id, hash, why, out);
        }
    }

    /// From now on ecash pays the job; its invoice is left over.
    pub(crate) fn turn_to_ecash(&mut self, now: Timestamp, id: JobId, out: &mut Actions) {
        let left_over = self.left_over(now, id);
        self.amend(
            id,
            |job| {
                note_token(job, None);
                if let Some(ecash) = &mut job.ecash {
                    ecash.beside = left_over.or(ecash.beside.take());
                }
            },
            out,
        );
    }
}

fn note_token(job: &mut Job, token: Option<EcashToken>) {
    if let Some(ecash) = &mut job.ecash {
        ecash.token = token;
    }
}
