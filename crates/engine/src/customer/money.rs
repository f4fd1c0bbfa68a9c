//! The customer's money: what the wallet says about payments, and how to get one back.

use openagents_types::{Draft, Invoice, JobId, PaymentHash, Rail, Terms, Timestamp};

use super::{Ask, AskOutcome, Attempt, CustomerDesk, Money, Phase, Reclaim, advance::Early};
use crate::{
    Action, Actions, Direction, Entry, Incoming, InvoiceFor, Movement, Outgoing, PaymentRow, Record,
    earlier::Word,
};

impl CustomerDesk {
    /// Takes the wallet's word on a payment by us.
    pub(crate) fn outgoing(
        &mut self,
        now: Timestamp,
        hash: PaymentHash,
        Word { state, is_early }: Word<'_>,
        out: &mut Actions,
    ) {
        let Some(mut ask) = self.payments.get(&hash).copied().and_then(|id| self.take(id)) else { return };
        let Some(index) = ask.attempts.iter().position(|attempt| attempt.hash() == hash) else {
            return match state {
                Outgoing::Pending | Outgoing::Settled { .. } => self.paid_on_other_rail(now, ask, hash, out),
                Outgoing::Failed { .. } | Outgoing::Unknown => self.put(ask),
            };
        };
        let money = ask.attempts[index].money.clone();
        match (state, money) {
            // Locked, and not handed over: the wallet gives the same token again.
            (Outgoing::Pending, Money::Pending) if wants_handing_over(&ask, index) => {
                out.push(ask.attempts[index].payment(ask.options.max_fee, false));
                return self.put(ask);
            }
            (Outgoing::Settled { .. }, Money::Settled { .. }) | (Outgoing::Pending, Money::Pending) => {
                return self.put(ask);
            }
            (Outgoing::Settled { preimage, fee }, _) => {
                if preimage.hash() != hash {
                    return self.put(ask);
                }
                self.book_spent(now, &ask, index, *fee, out);
                ask.attempts[index].money =
                    Money::Settled { preimage: *preimage, fee: *fee, reclaim: Reclaim::No };
            }
            (Outgoing::Pending, Money::Doubtful) => ask.attempts[index].money = Money::Pending,
            // Never sent: by an earlier run of the program that stopped too soon, so it is sent now,
            // unless the job has ended meanwhile; then it never needs to be.
            (Outgoing::Unknown, Money::Pending) if wants_payment(&ask, index) => {
                out.push(ask.attempts[index].payment(ask.options.max_fee, false));
                return self.put(ask);
            }
            (Outgoing::Unknown | Outgoing::Failed { .. }, Money::Pending | Money::Doubtful) if is_early => {
                return self.put(ask);
            }
            (Outgoing::Unknown | Outgoing::Failed { .. }, Money::Doubtful) => {
                ask.attempts[index].money = Money::Returned;
            }
            // A wallet that does not know it may not have read yet that it is to pay.
            (Outgoing::Unknown | Outgoing::Failed { .. }, Money::Pending) => {
                ask.attempts[index].money = Money::Doubtful;
            }
            (
                Outgoing::Pending | Outgoing::Unknown | Outgoing::Failed { .. },
                Money::Settled { .. } | Money::Returned,
            ) => {
                return self.put(ask);
            }
        }
        self.account(hash, &ask.attempts[index].money);
        self.settle_up(now, &mut ask, out);
        self.keep(now, ask, out);
    }

    fn book_spent(
        &self,
        now: Timestamp,
        ask: &Ask,
        index: usize,
        fee: openagents_types::Msat,
        out: &mut Actions,
    ) {
        let (hash, price) = (ask.attempts[index].hash(), ask.attempts[index].quote.price);
        let entry = |movement, amount| Entry { at: now, job: ask.id, hash, movement, amount };
        out.save(Record::Entry(entry(Movement::Spent, price)));
        if !fee.is_zero() {
            out.save(Record::Entry(entry(Movement::Fee, fee)));
        }
    }

    /// Draws the consequences of where the money is and what was delivered.
    pub(crate) fn settle_up(&mut self, now: Timestamp, ask: &mut Ask, out: &mut Actions) {
        let current = ask.attempts.len().checked_sub(1);
        let earned_by = ask.delivery.as_ref().map(|delivery| delivery.provider);
        for index in 0..ask.attempts.len() {
            let provider = ask.attempts[index].quote.provider;
            let abandoned = match &ask.phase {
                Phase::Collecting { .. } | Phase::Abandoning => true,
                Phase::Waiting => Some(index) != current,
                Phase::Closed { outcome } => *outcome != AskOutcome::Delivered || earned_by != Some(provider),
            };
            // Who took what it was to hold has a theft to its name, and no word of its own clears that.
            let says_so = ask.paid_back_by.contains(&provider);
            if abandoned && says_so && ask.attempts[index].terms() == Terms::Prepaid {
                ask.take_as_paid_back(index);
            } else if abandoned && is_unclaimed(&ask.attempts[index].money) {
                if ask.attempts[index].terms() == Terms::Escrow {
                    self.note_taken_early(provider, Early::Taken, out);
                }
                self.reclaim(ask, index, out);
            }
        }
        match (&ask.phase, ask.current().map(|attempt| &attempt.money)) {
            (Phase::Abandoning | Phase::Waiting, Some(Money::Returned)) => self.go_on(now, ask, out),
            (Phase::Abandoning, Some(Money::Settled { .. })) => {
                let message =
                    String::from("the provider was paid and did not deliver; the refund is claimed");
                ask.phase = Phase::Closed { outcome: AskOutcome::Failed { message } };
            }
            _ => {}
        }
    }

    /// Asks for an invoice that a provider shall pay our money back to.
    fn reclaim(&self, ask: &mut Ask, index: usize, out: &mut Actions) {
        let (paid, amount) = (ask.attempts[index].hash(), ask.attempts[index].quote.price);
        if let Money::Settled { reclaim, .. } = &mut ask.attempts[index].money {
            *reclaim = Reclaim::Due;
            out.push(self.claim_invoice(ask.id, paid, amount));
        }
    }

    fn claim_invoice(&self, job: JobId, paid: PaymentHash, amount: openagents_types::Msat) -> Action {
        Action::Invoice {
            invoice_for: InvoiceFor::Refund { job, paid },
            amount,
            lifetime: self.config.claim_lifetime,
            hold: None,
        }
    }

    /// Our wallet made the invoice that a refund shall go to.
    pub(crate) fn refund_invoiced(
        &mut self,
        now: Timestamp,
        job: JobId,
        paid: PaymentHash,
        outcome: Result<Invoice, String>,
        out: &mut Actions,
    ) {
        let Some(mut ask) = self.take(job) else { return };
        let attempt = ask.attempts.iter_mut().find(|attempt| attempt.hash() == paid);
        if let (Some(attempt), Ok(claim)) = (attempt, outcome)
            && let Money::Settled { reclaim: reclaim @ Reclaim::Due, .. } = &mut attempt.money
            && claim.amount == attempt.quote.price
        {
            let provider = attempt.quote.provider;
            out.save(Record::Payment(PaymentRow {
                hash: claim.payment_hash,
                job,
                direction: Direction::In,
                amount: claim.amount,
                bolt11: claim.bolt11.clone(),
                at: now,
            }));
            out.publish(job, Draft::RefundClaim { provider, invoice: claim.clone() });
            *reclaim = Reclaim::Claimed { claim };
            return self.keep(now, ask, out);
        }
        self.put(ask);
    }

    /// How a refund to us stands.
    pub(crate) fn refund_arrived(
        &mut self,
        now: Timestamp,
        hash: PaymentHash,
        state: Incoming,
        out: &mut Actions,
    ) {
        let Some(mut ask) = self.claims.get(&hash).copied().and_then(|id| self.take(id)) else { return };
        let id = ask.id;
        for attempt in &mut ask.attempts {
            let (paid, amount) = (attempt.hash(), attempt.quote.price);
            let dropped = attempt.dropped_claim();
            let Money::Settled { reclaim, .. } = &mut attempt.money else { continue };
            if !matches!(reclaim, Reclaim::Claimed { claim } if claim.payment_hash == hash) {
                continue;
            }
            match state {
                Incoming::Settled { amount } => {
                    let movement = Movement::RefundReceived;
                    out.save(Record::Entry(Entry { at: now, job: id, hash, movement, amount }));
                    *reclaim = Reclaim::Done;
                }
                // The provider did not pay in time. Ours to ask again, with a new invoice; a slow payment of the old one
                // may still come.
                Incoming::Expired | Incoming::Cancelled => {
                    *reclaim = Reclaim::Due;
                    ask.dropped.extend(dropped);
                    out.push(self.claim_invoice(id, paid, amount));
                }
                Incoming::Open | Incoming::Held { .. } | Incoming::Unknown => {}
            }
            return self.keep(now, ask, out);
        }
        self.dropped_refund_arrived(now, ask, hash, state, out);
    }

    /// Asks the wallet about every payment of a job that is not final.
    pub(crate) fn ask_wallet(&self, ask: &Ask, out: &mut Actions) {
        for attempt in &ask.attempts {
            match &attempt.money {
                Money::Pending | Money::Doubtful => out.push(Action::LookUpOutgoing(attempt.hash())),
                Money::Settled { reclaim: Reclaim::Due, .. } => {
                    out.push(self.claim_invoice(ask.id, attempt.hash(), attempt.quote.price));
                }
                Money::Settled { reclaim: Reclaim::Claimed { claim }, .. } => {
                    out.push(Action::LookUpIncoming(claim.payment_hash));
                }
                Money::Returned
                | Money::Settled { reclaim: Reclaim::No | Reclaim::Done | Reclaim::Elsewhere, .. } => {}
            }
        }
        for claim in &ask.dropped {
            out.push(Action::LookUpIncoming(claim.hash));
        }
    }
}

/// Whether an attempt that the wallet never heard of should be paid: it is the one we wait for, or
/// the bill for a result we took. Of two at one provider the later is: the same offer on its other rail.
pub(super) fn wants_payment(ask: &Ask, index: usize) -> bool {
    if !ask.doubts.is_empty() {
        return false;
    }
    let delivered_by = ask.delivery.as_ref().map(|delivery| delivery.provider);
    match &ask.phase {
        Phase::Waiting => index + 1 == ask.attempts.len(),
        Phase::Closed { outcome: AskOutcome::Delivered } => {
            let by_it = |attempt: &Attempt| Some(attempt.quote.provider) == delivered_by;
            ask.attempts.iter().rposition(by_it) == Some(index)
        }
        Phase::Collecting { .. } | Phase::Abandoning | Phase::Closed { .. } => false,
    }
}

/// Whether ecash that is locked for an attempt has yet to be given to its provider.
fn wants_handing_over(ask: &Ask, index: usize) -> bool {
    let attempt = &ask.attempts[index];
    attempt.rail == Rail::Cashu && !attempt.handed_over && wants_payment(ask, index)
}

const fn is_unclaimed(money: &Money) -> bool {
    matches!(money, Money::Settled { reclaim: Reclaim::No, .. })
}
