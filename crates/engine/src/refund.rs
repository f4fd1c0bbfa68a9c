//! How money goes back: locked payments are released, taken ones are refunded, once.

use openagents_types::{Cancel, CustomerKey, Draft, Invoice, JobId, Msat, Notice, PaymentHash, Timestamp};

use crate::{
    Action, Actions, Direction, Entry, Job, Movement, Outgoing, PaymentRow, Record,
    earlier::Word,
    job::{CANCELLED, EXPIRED, Funds, Outcome, State, Why},
    payback::{Payback, UNCERTAIN},
    payment::may_cancel,
    provider::{ProviderDesk, refusal},
};

impl ProviderDesk {
    /// Ends a job whose funds are `funds` without a delivery.
    pub(crate) fn give_back(&mut self, now: Timestamp, id: JobId, funds: Funds, why: Why, out: &mut Actions) {
        match funds {
            Funds::Free => {
                if why.code != CANCELLED {
                    out.publish(id, Draft::Notice(refusal(&why)));
                }
                self.close_unpaid(now, id, None, why, out);
            }
            Funds::Held { hash, .. } => {
                out.publish(id, Draft::Notice(refusal(&why)));
                self.move_to(now, id, State::Returning { hash, why }, out);
                out.push(self.give_up_action(id, hash));
            }
            Funds::Paid { hash, amount } => self.owe(now, id, hash, amount, why, out),
            Funds::Balance { amount } => self.give_back_to_balance(now, id, amount, why, out),
            // Nobody was shown its invoice.
            Funds::Credit { hash, .. } => {
                out.publish(id, Draft::Notice(refusal(&why)));
                self.close_unpaid(now, id, Some(hash), why, out);
            }
        }
    }

    /// The money of a locked payment is back with the customer.
    pub(crate) fn returned(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        why: Why,
        out: &mut Actions,
    ) {
        self.close_unpaid(now, id, Some(hash), why, out);
    }

    pub(crate) fn close_unpaid(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: Option<PaymentHash>,
        why: Why,
        out: &mut Actions,
    ) {
        let outcome = match why.code.as_str() {
            CANCELLED => Outcome::Cancelled,
            EXPIRED if hash.is_some() => Outcome::Expired,
            _ => Outcome::Failed(why),
        };
        self.move_to(now, id, State::Closed { outcome, hash }, out);
    }

    /// A payment that is ours has to go back; the customer is asked where to.
    pub(crate) fn owe(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        amount: Msat,
        why: Why,
        out: &mut Actions,
    ) {
        let mut message = format!("{}; {amount} is owed to you, send an invoice for it", why.message);
        if let Some(job) = self.jobs.get_mut(&id) {
            let trouble = self.unreconciled.contains(&id).then(|| UNCERTAIN.into());
            job.payback = Payback { overpaid: Msat::ZERO, ..job.payback.anew(now, trouble) };
            if let Some(to) = &job.request.refund_to {
                message = format!("{message}, or it is paid to {to}");
            }
        }
        out.publish(id, Draft::Notice(Notice::RefundOwed { paid: hash, amount, message }));
        self.move_to(now, id, State::RefundOwed { hash, amount, why }, out);
    }

    /// A customer takes a job back. Before any piece of the result was sent the money goes back;
    /// after that the work goes on and is charged.
    pub(crate) fn cancel(&mut self, now: Timestamp, cancel: &Cancel, out: &mut Actions) {
        let id = cancel.job;
        let Some(job) = self.jobs.get(&id) else { return };
        let for_us = cancel.providers.is_empty() || cancel.providers.contains(&self.config.key);
        if job.request.customer != cancel.by || !for_us || !may_cancel(job) {
            return;
        }
        let why = Why::new(CANCELLED, "cancelled by the customer");
        match job.state.clone() {
            State::Queued { .. } | State::Running { .. } => self.fail(now, id, why, out),
            State::Offered { invoice, .. } => {
                self.void(now, id, invoice.payment_hash, invoice.amount, why, out);
            }
            state => self.close_unpaid(now, id, state.hash(), why, out),
        }
    }

    /// A customer says where its refund goes.
    pub(crate) fn claim(
        &mut self,
        now: Timestamp,
        id: JobId,
        by: CustomerKey,
        claim: Invoice,
        out: &mut Actions,
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        if matches!(job.state, State::Closed { .. }) {
            return self.claim_credited(now, id, by, claim, out);
        }
        let Job { state: State::RefundOwed { amount, .. }, request, doubts, payback, .. } = job else {
            return;
        };
        let hash = claim.payment_hash;
        let known = self.by_hash.contains_key(&hash) && !payback.tried.contains(&hash);
        if known || request.customer != by || claim.amount != *amount || job.doubts_refund_to(hash) {
            return;
        }
        // Found in the wallet after a restart: this is where the refund went.
        let is_sent = doubts.contains(&claim.payment_hash);
        if claim.expires_at <= now && !is_sent {
            return;
        }
        if is_sent {
            let hash = claim.payment_hash;
            self.refund(now, id, claim, out);
            out.push(Action::LookUpOutgoing(hash));
        } else {
            self.pay_back(now, id, claim, out);
        }
    }

    /// Pays a refund: that it goes to this invoice and to no other is written down first.
    pub(crate) fn pay_back(&mut self, now: Timestamp, id: JobId, invoice: Invoice, out: &mut Actions) {
        self.refund(now, id, invoice.clone(), out);
        out.push(Action::Pay { invoice, max_fee: Msat::ZERO, first: true });
    }

    fn refund(&mut self, now: Timestamp, id: JobId, claim: Invoice, out: &mut Actions) {
        let Some(Job { state: State::RefundOwed { hash, amount, why }, .. }) = self.jobs.get(&id) else {
            return;
        };
        let (hash, amount, why) = (*hash, *amount, why.clone());
        out.save(Record::Payment(PaymentRow {
            hash: claim.payment_hash,
            job: id,
            direction: Direction::Out,
            amount,
            bolt11: claim.bolt11.clone(),
            at: now,
        }));
        self.move_to(now, id, State::Refunding { hash, amount, why, claim, doubted: false }, out);
    }

    /// How the payment of a refund stands.
    pub(crate) fn refund_outgoing(
        &mut self,
        now: Timestamp,
        claim_hash: PaymentHash,
        Word { state, is_early }: Word<'_>,
        out: &mut Actions,
    ) {
        let Some(id) = self.job_for(claim_hash) else { return };
        let Some(job) = self.jobs.get(&id) else { return };
        let (hash, amount, why, claim, doubted) = match &job.state {
            State::Refunding { hash, amount, why, claim, doubted } if claim.payment_hash == claim_hash => {
                (*hash, *amount, why.clone(), claim.clone(), *doubted)
            }
            _ => return self.tried_outgoing(now, id, claim_hash, state, out),
        };
        match state {
            Outgoing::Pending if doubted => {
                let state = State::Refunding { hash, amount, why, claim, doubted: false };
                self.move_to(now, id, state, out);
            }
            Outgoing::Pending => {}
            Outgoing::Failed { .. } if is_early => {}
            Outgoing::Unknown if self.jobs.get(&id).is_some_and(|job| job.doubts_refund_to(claim_hash)) => {
                self.not_refunded_by(now, id, claim_hash, State::RefundOwed { hash, amount, why }, out);
            }
            Outgoing::Unknown => out.push(Action::Pay { invoice: claim, max_fee: Msat::ZERO, first: false }),
            Outgoing::Settled { .. } => self.refunded(now, id, (hash, claim_hash, amount), why, out),
            Outgoing::Failed { .. } if doubted => {
                self.not_refunded_by(now, id, claim_hash, State::RefundOwed { hash, amount, why }, out);
            }
            // A wallet that says "failed" and settles after all would have us pay twice.
            Outgoing::Failed { .. } => {
                let state = State::Refunding { hash, amount, why, claim, doubted: true };
                self.move_to(now, id, state, out);
            }
        }
    }

    /// A refund is owed again, because the wallet denies what it was paid by. It is asked about that for as long.
    fn not_refunded_by(
        &mut self,
        now: Timestamp,
        id: JobId,
        claim_hash: PaymentHash,
        owed: State,
        out: &mut Actions,
    ) {
        if let Some(job) = self.jobs.get_mut(&id)
            && !job.payback.tried.contains(&claim_hash)
        {
            job.payback.tried.push(claim_hash);
        }
        self.move_to(now, id, owed, out);
    }

    /// The wallet's word on a refund that it had denied: what it paid after all is booked, and was the refund if that is
    /// still owed.
    fn tried_outgoing(
        &mut self,
        now: Timestamp,
        id: JobId,
        claim_hash: PaymentHash,
        state: &Outgoing,
        out: &mut Actions,
    ) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.payback.tried.contains(&claim_hash)) else {
            return;
        };
        if !matches!(state, Outgoing::Settled { .. }) {
            return;
        }
        match &job.state {
            State::RefundOwed { hash, amount, why } => {
                self.refunded(now, id, (*hash, claim_hash, *amount), why.clone(), out);
            }
            State::Refunding { amount, .. }
            | State::Closed {
                outcome: Outcome::Refunded { amount, .. } | Outcome::Credited { amount, .. },
                ..
            } => {
                book_refund(now, id, claim_hash, *amount, out);
            }
            _ => {}
        }
    }

    /// A refund is paid: what came in, by which invoice it went back, and how much.
    fn refunded(
        &mut self,
        now: Timestamp,
        id: JobId,
        (hash, claim_hash, amount): (PaymentHash, PaymentHash, Msat),
        why: Why,
        out: &mut Actions,
    ) {
        book_refund(now, id, claim_hash, amount, out);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.payback.paid_to.push(claim_hash);
        }
        if let Some(notice) = self.jobs.get(&id).map(|job| job.refund_notice(hash, claim_hash, amount)) {
            out.publish(id, notice);
        }
        let closed = State::Closed { outcome: Outcome::Refunded { amount, why }, hash: Some(hash) };
        self.move_to(now, id, closed, out);
    }
}

fn book_refund(now: Timestamp, job: JobId, hash: PaymentHash, amount: Msat, out: &mut Actions) {
    out.save(Record::Entry(Entry { at: now, job, hash, movement: Movement::RefundPaid, amount }));
}
