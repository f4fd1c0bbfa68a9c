//! What money that arrived means: the payment matrix of the provider's half.
//!
//! | the wallet says | exact or more | short | late | already known | no such job |
//! |---|---|---|---|---|---|
//! | held | work starts | given back | work starts if still of use, else given back | nothing | driver recalls the job, else it is looked into ([`crate::stray`]) |
//! | settled | work starts, all of it earned | refund owed | as held, else refund owed | nothing | the same |
//! | cancelled, expired | the offer is over | | | work on it stops, and the customer is told | nothing |
//!
//! What comes over the other rail of an offer is [`crate::ecash`]'s.
//!
//! A payment is matched by its hash and by nothing else; equal amounts or times prove nothing.

use openagents_types::{Draft, JobId, Msat, PaymentHash, Terms, Timestamp};

use crate::{
    Action, Actions, Entry, Incoming, Job, Movement, Record,
    admission::rank,
    credit::Billed,
    job::{EXPIRED, Funds, Outcome, State, Why},
    provider::{ProviderDesk, refusal},
    receipt::Work,
    shift::{Shift, stopped},
};

/// An offer that is over, and the payment that may still come for it.
struct Lapsing {
    hash: PaymentHash,
    price: Msat,
    until: Timestamp,
    why: Why,
}

/// Work that is delivered, and the locked payment for it.
struct Done {
    hash: PaymentHash,
    amount: Msat,
    work: Option<Box<Work>>,
}

impl ProviderDesk {
    /// Takes the wallet's word on a payment to us.
    pub(crate) fn incoming(&mut self, now: Timestamp, hash: PaymentHash, state: Incoming, out: &mut Actions) {
        let is_held = matches!(state, Incoming::Held { .. });
        let Some(id) = self.job_for(hash) else {
            if is_held {
                self.expect_strays(now);
            }
            return;
        };
        let Some(job) = self.jobs.get(&id) else { return };
        if is_held {
            // What is locked now was not taken before the start.
            self.restored.remove(&id);
        }
        if let Incoming::Settled { amount } = state
            && self.restored.contains(&id)
            && (is_locked(&job.state) && job.state.hash() == Some(hash) || is_forgotten_ecash(job, hash))
        {
            return self.was_delivered(now, id, hash, amount, out);
        }
        if self.on_another_rail(now, id, hash, state, out) {
            return self.start_waiting(now, out);
        }
        let Some(job) = self.jobs.get(&id) else { return };
        match job.state.clone() {
            State::Offered { expires_at, .. } => self.while_offered(now, id, expires_at, state, out),
            State::Lapsing { hash, amount, until, why } => {
                self.while_lapsing(now, id, Lapsing { hash, price: amount, until, why }, state, out);
            }
            State::Queued { funds, .. } | State::Running { funds, .. } => {
                self.while_working(now, id, funds, state, out);
            }
            State::Delivered { hash, amount, work } => {
                self.while_delivered(now, id, Done { hash, amount, work }, state, out);
            }
            State::Billed { amount, until, work, .. } => {
                self.while_billed(now, id, Billed { amount, until, work }, state, out);
            }
            State::Returning { why, .. } => self.while_returning(now, id, hash, why, state, out),
            State::Closed { outcome, .. } => self.after_the_end(now, id, hash, &outcome, state, out),
            State::Resolving
            | State::Invoicing { .. }
            | State::RefundOwed { .. }
            | State::Refunding { .. } => {}
        }
        self.start_waiting(now, out);
    }

    fn while_offered(
        &mut self,
        now: Timestamp,
        id: JobId,
        expires_at: Timestamp,
        state: Incoming,
        out: &mut Actions,
    ) {
        let Some(invoice) = self.offered_invoice(id) else { return };
        let (hash, price) = (invoice.payment_hash, invoice.amount);
        // Ecash that came in time is answered for first.
        let is_over = self.jobs.get(&id).is_some_and(|job| job.awaits_ecash(now).is_none());
        match state {
            Incoming::Held { amount } => self.money_came(now, id, Funds::Held { hash, amount }, price, out),
            Incoming::Settled { amount } => {
                self.earn(now, id, hash, amount, out);
                self.money_came(now, id, Funds::Paid { hash, amount }, price, out);
            }
            // The wallet was asked at the end of the quote, so this is the end of the offer: a
            // payment that reached it would have shown as held or settled.
            Incoming::Cancelled if is_over => {
                let outcome = Outcome::Expired;
                self.move_to(now, id, State::Closed { outcome, hash: Some(hash) }, out);
            }
            Incoming::Open | Incoming::Expired | Incoming::Unknown if is_over && now >= expires_at => {
                let why = Why::new(EXPIRED, "the quote was not paid in time; nothing was charged");
                self.void(now, id, hash, price, why, out);
            }
            Incoming::Cancelled | Incoming::Expired | Incoming::Open | Incoming::Unknown => {}
        }
    }

    pub(crate) fn money_came(
        &mut self,
        now: Timestamp,
        id: JobId,
        funds: Funds,
        price: Msat,
        out: &mut Actions,
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        let rank = rank(&job.request, price);
        if funds.amount() < price {
            let message = format!("{} arrived, the price is {price}; the payment goes back", funds.amount());
            return self.give_back(now, id, funds, Why::new("short", message), out);
        }
        // A customer claims the price, and knows of no more.
        let funds = self.without_excess(now, id, funds, price, out);
        if self.config.shift == Shift::Stopped {
            self.give_back(now, id, funds, stopped(), out);
        } else if self.is_too_late(now, id) {
            let message = "the payment came after the job's own deadline; it goes back";
            self.give_back(now, id, funds, Why::new("late", message), out);
        } else if self.asks_too_much(id) {
            let message = "what it was to pay of earlier bills was paid meanwhile; the payment goes back";
            self.give_back(now, id, funds, Why::new("paid-twice", message), out);
        } else {
            self.enqueue(now, id, funds, rank, 0, out);
        }
    }

    /// Whether the invoice of a job locks its payment: as the offer said, whatever the wallet can do by now.
    pub(crate) fn is_locking(&self, id: JobId) -> bool {
        match self.jobs.get(&id).map(|job| &job.state) {
            Some(State::Offered { terms, .. }) => *terms == Terms::Escrow,
            Some(State::Returning { .. }) => true,
            Some(State::Lapsing { .. }) => false,
            _ => self.config.escrow,
        }
    }

    /// Voids an offer that nobody paid. A hold invoice is cancelled at the wallet before the job is
    /// closed; a plain one lapses.
    pub(crate) fn void(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        amount: Msat,
        why: Why,
        out: &mut Actions,
    ) {
        if self.is_locking(id) {
            self.move_to(now, id, State::Returning { hash, why }, out);
            out.push(Action::CancelHold(hash));
        } else {
            let until = now.after(self.config.late_window);
            self.move_to(now, id, State::Lapsing { hash, amount, until, why }, out);
        }
    }

    fn while_lapsing(
        &mut self,
        now: Timestamp,
        id: JobId,
        lapsing: Lapsing,
        state: Incoming,
        out: &mut Actions,
    ) {
        let Lapsing { hash, price, until, why } = lapsing;
        match state {
            Incoming::Settled { amount } => {
                self.earn(now, id, hash, amount, out);
                if why.code == EXPIRED {
                    self.money_came(now, id, Funds::Paid { hash, amount }, price, out);
                } else {
                    let funds = self.without_excess(now, id, Funds::Paid { hash, amount }, price, out);
                    self.owe(now, id, hash, funds.amount(), why, out);
                }
            }
            Incoming::Open | Incoming::Expired | Incoming::Unknown | Incoming::Cancelled if now >= until => {
                self.returned(now, id, hash, why, out);
            }
            Incoming::Open
            | Incoming::Expired
            | Incoming::Unknown
            | Incoming::Cancelled
            | Incoming::Held { .. } => {}
        }
    }

    fn while_working(&mut self, now: Timestamp, id: JobId, funds: Funds, state: Incoming, out: &mut Actions) {
        let Funds::Held { hash, .. } = funds else { return };
        match state {
            Incoming::Cancelled | Incoming::Expired => {
                let why = Why::new("payment-lapsed", "the payment went back to the customer before delivery");
                self.stop_work(id, out);
                out.publish(id, Draft::Notice(refusal(&why)));
                self.returned(now, id, hash, why, out);
            }
            Incoming::Open | Incoming::Held { .. } | Incoming::Settled { .. } | Incoming::Unknown => {}
        }
    }

    fn while_delivered(&mut self, now: Timestamp, id: JobId, done: Done, state: Incoming, out: &mut Actions) {
        let Done { hash, amount, work } = done;
        match state {
            Incoming::Settled { .. } => {
                self.earn(now, id, hash, amount, out);
                let price = self.take_excess(now, id, amount, out);
                self.settle(now, id, price, work, out);
            }
            Incoming::Cancelled | Incoming::Expired => {
                let closed = State::Closed { outcome: Outcome::Unpaid { work }, hash: Some(hash) };
                self.move_to(now, id, closed, out);
            }
            Incoming::Open | Incoming::Held { .. } | Incoming::Unknown => {}
        }
    }

    fn while_returning(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        why: Why,
        state: Incoming,
        out: &mut Actions,
    ) {
        match state {
            Incoming::Cancelled | Incoming::Expired | Incoming::Unknown => {
                self.returned(now, id, hash, why, out);
            }
            // This wallet took what it was told to give back.
            Incoming::Settled { amount } => {
                self.earn(now, id, hash, amount, out);
                self.owe(now, id, hash, amount, why, out);
            }
            Incoming::Open | Incoming::Held { .. } => {}
        }
    }

    /// Money for a job that is closed. It never stays with us unless it was earned.
    fn after_the_end(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        outcome: &Outcome,
        state: Incoming,
        out: &mut Actions,
    ) {
        let why = Why::new("late", "the payment came after the job was closed; it goes back");
        match (outcome, state) {
            (Outcome::Settled { .. } | Outcome::Refunded { .. } | Outcome::Credited { .. }, _) => {
                self.dismiss(id);
            }
            (Outcome::Unpaid { work }, Incoming::Settled { amount }) => {
                self.paid_late(now, id, amount, work.clone(), out);
            }
            (_, Incoming::Settled { amount }) => {
                self.earn(now, id, hash, amount, out);
                self.owe(now, id, hash, amount, why, out);
            }
            (Outcome::Unpaid { work }, Incoming::Held { amount }) => {
                self.move_to(now, id, State::Delivered { hash, amount, work: work.clone() }, out);
                out.push(self.settle_action(id, hash, amount));
            }
            (_, Incoming::Held { .. }) => {
                self.move_to(now, id, State::Returning { hash, why }, out);
                out.push(self.give_up_action(id, hash));
            }
            (_, Incoming::Open | Incoming::Cancelled | Incoming::Expired | Incoming::Unknown) => {
                self.dismiss(id)
            }
        }
    }

    /// A locked payment is ours although the record that this process began with says that the work is not
    /// done. Only our preimage takes it, and that leaves us only after the result is out: the record is older
    /// than that, restored from a backup. To work again would deliver twice, to fail would pay back what was
    /// earned. Of a job that came in since the start we know better: there the wallet took what it was to
    /// lock, and the work is still owed.
    fn was_delivered(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        amount: Msat,
        out: &mut Actions,
    ) {
        self.earn(now, id, hash, amount, out);
        if self.jobs.get(&id).is_some_and(|job| is_forgotten_ecash(job, hash)) {
            self.turn_to_ecash(now, id, out);
            self.watch_beside(id, out);
        }
        self.stop_work(id, out);
        let paid = self.pay_arrears(now, id, amount, out);
        let outcome = Outcome::Settled { paid };
        self.move_to(now, id, State::Closed { outcome, hash: Some(hash) }, out);
        self.start_waiting(now, out);
    }

    pub(crate) fn earn(&self, now: Timestamp, id: JobId, hash: PaymentHash, amount: Msat, out: &mut Actions) {
        out.save(Record::Entry(Entry { at: now, job: id, hash, movement: Movement::Earned, amount }));
    }
}

/// Whether the payment of a job can be ours only if the job was delivered.
const fn is_locked(state: &State) -> bool {
    match state {
        State::Offered { terms, .. } => matches!(terms, Terms::Escrow),
        State::Queued { funds, .. } | State::Running { funds, .. } => matches!(funds, Funds::Held { .. }),
        State::Returning { .. } => true,
        State::Resolving
        | State::Invoicing { .. }
        | State::Lapsing { .. }
        | State::Delivered { .. }
        | State::Billed { .. }
        | State::RefundOwed { .. }
        | State::Refunding { .. }
        | State::Closed { .. } => false,
    }
}

/// Whether a payment is ecash for a job that is only offered in the records: ours only if the job was delivered.
fn is_forgotten_ecash(job: &Job, hash: PaymentHash) -> bool {
    let is_offered = matches!(job.state, State::Offered { .. } | State::Lapsing { .. });
    is_offered && job.ecash_hash() == Some(hash)
}

/// Whether a job may still be called off by its customer.
pub(crate) fn may_cancel(job: &Job) -> bool {
    match &job.state {
        State::Resolving | State::Invoicing { .. } | State::Offered { .. } | State::Queued { .. } => true,
        State::Running { pieces, .. } => *pieces == 0,
        State::Lapsing { .. }
        | State::Delivered { .. }
        | State::Billed { .. }
        | State::Returning { .. }
        | State::RefundOwed { .. }
        | State::Refunding { .. }
        | State::Closed { .. } => false,
    }
}
