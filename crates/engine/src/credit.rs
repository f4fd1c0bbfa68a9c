//! Work before payment: a customer whose unpaid work stays below its limit gets the result with an invoice (NIP-90:
//! `amount` with a bolt11 on the result) instead of a price before the work.
//!
//! The invoice is made before the work begins, so that nothing is done that could not be billed, and is shown with the
//! result alone. What is not paid until the invoice is over counts against the key until it is. A customer agrees by
//! addressing the job to us; a bid, if there is one, has to cover the price.

use std::collections::HashMap;

use openagents_types::{CustomerKey, Draft, Invoice, JobId, Millis, Msat, Notice, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Action, Actions, Change, Incoming, InvoiceFor, Job,
    admission::rank,
    job::{Funds, Outcome, State, Why},
    provider::ProviderDesk,
    receipt::Work,
};

/// How much unpaid work each customer may have.
#[derive(Clone, Debug)]
pub struct Credit {
    /// Any key; zero is none.
    pub each: Msat,
    /// Keys that may have another amount.
    pub named: HashMap<CustomerKey, Msat>,
    /// How long a bill can be paid after the work had to be done.
    pub lifetime: Millis,
}

impl Default for Credit {
    fn default() -> Self {
        // As long as a customer's node may be down for a restart, and a person away for lunch.
        Self { each: Msat::ZERO, named: HashMap::new(), lifetime: Millis::from_secs(3_600) }
    }
}

impl Credit {
    fn limit(&self, customer: CustomerKey) -> Msat {
        self.named.get(&customer).copied().unwrap_or(self.each)
    }
}

/// The invoice of a job that is paid for after the work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bill {
    /// It is being made, for this much.
    Wanted(Msat),
    /// It goes out with the result.
    Made(Box<Invoice>),
}

impl Bill {
    /// How much it is.
    pub const fn amount(&self) -> Msat {
        match self {
            Self::Wanted(amount) => *amount,
            Self::Made(invoice) => invoice.amount,
        }
    }
}

/// Work that was delivered, and its bill.
pub(crate) struct Billed {
    pub(crate) amount: Msat,
    pub(crate) until: Timestamp,
    pub(crate) work: Option<Box<Work>>,
}

impl Job {
    /// Whether its bill, if it has one, is yet to be paid. One that is over counts as a debt, or was paid: such a job may
    /// still be at hand for what it was zapped with besides.
    fn may_be_billed(&self) -> bool {
        match &self.state {
            State::Resolving
            | State::Invoicing { .. }
            | State::Offered { .. }
            | State::Lapsing { .. }
            | State::Queued { .. }
            | State::Running { .. }
            | State::Delivered { .. }
            | State::Billed { .. }
            | State::Returning { .. } => true,
            State::RefundOwed { .. } | State::Refunding { .. } | State::Closed { .. } => false,
        }
    }

    /// What its customer owes of its bill once that is over: what the work used of it.
    pub(crate) fn owes(&self) -> Option<Msat> {
        let work = match &self.state {
            State::Billed { work, .. } | State::Closed { outcome: Outcome::Unpaid { work }, .. } => {
                work.as_ref()
            }
            _ => None,
        };
        let unused = work.map_or(Msat::ZERO, |work| self.unused(&work.usage));
        Some(self.bill.as_ref()?.amount().saturating_sub(unused))
    }
}

impl ProviderDesk {
    /// What a customer has had and not paid, begun work included.
    fn unpaid(&self, customer: CustomerKey) -> Msat {
        let of = self.jobs.values().filter(|job| job.request.customer == customer);
        of.filter(|job| job.may_be_billed()).filter_map(|job| job.bill.as_ref()).map(Bill::amount).sum()
    }

    /// Takes a job up whose customer pays afterwards, if it has room for that below its limit.
    pub(crate) fn begin_on_credit(&mut self, id: JobId, price: Msat) -> bool {
        let Some(Job { request, .. }) = self.jobs.get(&id) else { return false };
        let limit = self.config.credit.limit(request.customer);
        // Who has not paid a bill in time pays before the work until that is made good.
        if limit.is_zero() || price.is_zero() || !self.debts.of(request.customer).is_zero() {
            return false;
        }
        let agrees = self.is_asked_alone(request) && request.bid.is_none_or(|bid| bid >= price);
        let fits = self.unpaid(request.customer).saturating_add(price) <= limit;
        if let Some(job) = self.jobs.get_mut(&id).filter(|_| agrees && fits) {
            job.bill = Some(Bill::Wanted(price));
            return true;
        }
        false
    }

    /// Asks for the invoice of a bill: a plain one, because it is paid for work that is there.
    pub(crate) fn bill_action(&self, id: JobId, amount: Msat) -> Action {
        let lifetime = Millis(self.config.job_timeout.0.saturating_add(self.config.credit.lifetime.0));
        Action::Invoice { invoice_for: InvoiceFor::Quote(id), amount, lifetime, hold: None }
    }

    /// The invoice of a bill is made and written down, and the work can begin.
    pub(crate) fn begin_billed(&mut self, now: Timestamp, id: JobId, invoice: Invoice, out: &mut Actions) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (hash, amount) = (invoice.payment_hash, invoice.amount);
        let rank = rank(&job.request, amount);
        job.bill = Some(Bill::Made(Box::new(invoice)));
        let message = format!("you pay {amount} after the work; the invoice comes with the result");
        out.push(Action::Announce { job: id, draft: Draft::Notice(Notice::Processing { message }) });
        self.enqueue(now, id, Funds::Credit { hash, amount }, rank, 0, out);
        self.start_waiting(now, out);
    }

    /// The work is done and its result is out, with the bill.
    pub(crate) fn billed(&mut self, now: Timestamp, id: JobId, work: Work, out: &mut Actions) {
        let Some(Bill::Made(invoice)) = self.jobs.get(&id).and_then(|job| job.bill.as_ref()) else { return };
        let (hash, amount) = (invoice.payment_hash, invoice.amount);
        let until = invoice.expires_at.after(self.config.late_window);
        self.move_to(now, id, State::Billed { hash, amount, until, work: Some(Box::new(work)) }, out);
    }

    pub(crate) fn while_billed(
        &mut self,
        now: Timestamp,
        id: JobId,
        billed: Billed,
        state: Incoming,
        out: &mut Actions,
    ) {
        let Billed { amount: price, until, work } = billed;
        let Some(hash) = self.jobs.get(&id).and_then(|job| job.state.hash()) else { return };
        match state {
            Incoming::Settled { amount } => {
                self.earn(now, id, hash, amount, out);
                let paid = self.without_more_than(now, id, amount, price, out);
                self.settle(now, id, paid, work, out);
            }
            Incoming::Open | Incoming::Expired | Incoming::Unknown | Incoming::Cancelled if now >= until => {
                let owed = self.jobs.get(&id).and_then(Job::owes).unwrap_or(price);
                self.change(now, id, Change::Unpaid, owed, out);
                let closed = State::Closed { outcome: Outcome::Unpaid { work }, hash: Some(hash) };
                self.move_to(now, id, closed, out);
            }
            Incoming::Open
            | Incoming::Expired
            | Incoming::Unknown
            | Incoming::Cancelled
            | Incoming::Held { .. } => {}
        }
    }

    /// Work that was delivered and not paid in time is paid after all. A bill that a later job has paid or asks for
    /// is not taken besides.
    pub(crate) fn paid_late(
        &mut self,
        now: Timestamp,
        id: JobId,
        amount: Msat,
        work: Option<Box<Work>>,
        out: &mut Actions,
    ) {
        let Some(hash) = self.jobs.get(&id).and_then(|job| job.state.hash()) else { return };
        self.earn(now, id, hash, amount, out);
        if !self.is_bill_owed(id) {
            let message = "the bill was paid late, and is paid or asked for with a later job as well";
            return self.owe(now, id, hash, amount, Why::new("paid-twice", message), out);
        }
        let job = self.jobs.get(&id);
        let bill = job.and_then(|job| Some((job.bill.as_ref()?.amount(), job.owes()?)));
        let paid = match bill {
            Some((price, owed)) => {
                self.change(now, id, Change::PaidLate, owed, out);
                self.without_more_than(now, id, amount, price, out)
            }
            None => self.take_excess(now, id, amount, out),
        };
        self.settle(now, id, paid, work, out);
    }

    /// What of a payment is the bill; what is more becomes balance, if there are any.
    fn without_more_than(
        &mut self,
        now: Timestamp,
        id: JobId,
        amount: Msat,
        price: Msat,
        out: &mut Actions,
    ) -> Msat {
        let excess = amount.saturating_sub(price);
        if excess.is_zero() || self.config.credit_after.is_none() {
            return amount;
        }
        self.keep_excess(now, id, excess, out);
        price
    }
}
