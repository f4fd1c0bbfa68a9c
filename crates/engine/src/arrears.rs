//! Arrears: bills that are over unpaid, and how their customer pays them after all.
//!
//! They are asked for with the price of the next job that the same key addresses to this provider alone, if its bid
//! covers both; the customer is told so, and is asked for no more than it ever agreed to. They count as paid when that
//! job is delivered: if it fails, all of it goes back and they stay. What one job asks for, no other does, and the bill
//! itself is not taken besides. A customer that leaves such an offer alone has the next one without.

use openagents_types::{CustomerKey, Draft, JobId, Msat, Notice, Timestamp};

use crate::{Actions, Change, Job, job::State, provider::ProviderDesk};

impl ProviderDesk {
    /// What of a customer's debt other open jobs ask for already.
    fn reserved(&self, customer: CustomerKey, except: Option<JobId>) -> Msat {
        let of = self.jobs.values().filter(|job| job.request.customer == customer);
        let open = of.filter(|job| Some(job.id()) != except && !job.state.is_closed());
        open.map(|job| job.arrears).sum()
    }

    /// What a customer owes that no open job asks for; `except` counts as one that does not.
    pub(crate) fn arrears_left(&self, customer: CustomerKey, except: Option<JobId>) -> Msat {
        let owed = self.debts.of(customer);
        if owed.is_zero() { owed } else { owed.saturating_sub(self.reserved(customer, except)) }
    }

    /// What a job is quoted that costs `price` itself: what its customer owes from before is asked for with it.
    pub(crate) fn with_arrears(&mut self, id: JobId, price: Msat) -> Msat {
        let Some(Job { request, .. }) = self.jobs.get(&id) else { return price };
        let (customer, owed) = (request.customer, self.arrears_left(request.customer, None));
        let total = price.saturating_add(owed);
        let agrees = self.is_asked_alone(request) && request.bid.is_none_or(|bid| bid >= total);
        // Whoever was asked the last time, and is here again with its debt, did not want to or could not.
        if owed.is_zero() || !agrees || self.asked_for_arrears.remove(&customer) {
            return price;
        }
        self.asked_for_arrears.insert(customer);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.arrears = owed;
        }
        total
    }

    /// Tells a customer what of a price is for earlier results.
    pub(crate) fn explain_arrears(&self, id: JobId, price: Msat, out: &mut Actions) {
        if let Some(arrears) = self.jobs.get(&id).map(|job| job.arrears).filter(|owed| !owed.is_zero()) {
            let itself = price.saturating_sub(arrears);
            let message = format!(
                "{arrears} of the price of {price} are for earlier results whose bills you did not pay in time; the \
                 job itself costs {itself}"
            );
            out.publish(id, Draft::Notice(Notice::Processing { message }));
        }
    }

    /// Whether a job that was paid asks for a debt that was paid otherwise meanwhile.
    pub(crate) fn asks_too_much(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|job| {
            !job.arrears.is_zero() && self.arrears_left(job.request.customer, Some(id)) < job.arrears
        })
    }

    /// A job is delivered and paid for, and with it what its customer owed. What is no longer owed is kept for the
    /// customer: what of the payment is the provider's.
    pub(crate) fn pay_arrears(&mut self, now: Timestamp, id: JobId, paid: Msat, out: &mut Actions) -> Msat {
        let Some(job) = self.jobs.get(&id).filter(|job| !job.arrears.is_zero()) else { return paid };
        let (customer, arrears) = (job.request.customer, job.arrears);
        let owed = self.debts.of(customer).min(arrears);
        self.asked_for_arrears.remove(&customer);
        self.change(now, id, Change::PaidLate, owed, out);
        let excess = arrears.saturating_sub(owed).min(paid);
        if excess.is_zero() {
            return paid;
        }
        self.keep_excess(now, id, excess, out);
        paid.saturating_sub(excess)
    }

    /// Whether a bill that was over and is paid now is still owed, and no other job asks for it.
    pub(crate) fn is_bill_owed(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|job| {
            job.owes().is_none_or(|owed| {
                matches!(job.state, State::Closed { .. })
                    && self.arrears_left(job.request.customer, None) >= owed
            })
        })
    }
}
