//! Balances: what a provider owes a customer's key and keeps for its next jobs.
//!
//! A refund that nobody claims and that has nowhere to go becomes a balance, and so does what was paid beyond a price or
//! was not used of it ([`crate::metering`]).
//! A later job of the same key, if it is addressed to this provider and bids enough, runs from it without an invoice;
//! if it fails, the balance has it back. A claim for the refund is still paid, out of the balance, as long as that
//! covers it. Every change is a row that is written in the transaction of the job it belongs to, so that the sum of the
//! rows is the balance, and is never negative.

use std::collections::HashMap;

use openagents_types::{CustomerKey, Draft, Invoice, JobId, JobRequest, Msat, Notice, Timestamp, refusal};
use serde::{Deserialize, Serialize};

use crate::{
    Actions, Job, Record,
    admission::rank,
    job::{Funds, Outcome, State, Why},
    provider::{ProviderDesk, refusal as refused},
};

/// After so many asks in vain, hours apart at the end, an address counts as one that never works.
const HOPELESS: u32 = 16;

/// How much more than the price locked ecash may bring without a row for it. A mint takes its fee by the piece and in
/// whole satoshis, so an honest customer, which locks what the fee comes to as well, often cannot bring the price to
/// the satoshi: at 100 per thousand pieces, which mints ask, it misses by one. It is booked as earned with the rest;
/// as a balance it would be of no use to anybody.
const DUST: Msat = Msat::new(1_000);

/// A change of a customer's balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceEntry {
    /// When.
    pub at: Timestamp,
    /// Whose balance.
    pub customer: CustomerKey,
    /// The job that it comes from or is used for.
    pub job: JobId,
    /// What happened.
    pub change: Change,
    /// How much.
    pub amount: Msat,
}

/// What happened to a balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A refund that nobody claimed became balance.
    Credited,
    /// What was paid beyond a price became balance.
    Overpaid,
    /// What a job did not use of its metered price became balance.
    Unused,
    /// A job was begun from it.
    Used,
    /// That job failed.
    GivenBack,
    /// The customer claimed the refund after all.
    Claimed,
    /// A bill was not paid in time. This is no balance but a debt.
    Unpaid,
    /// That bill was paid after all.
    PaidLate,
}

impl Change {
    /// Whether what is kept, or the debt, grows by it.
    pub const fn adds(self) -> bool {
        match self {
            Self::Credited | Self::Overpaid | Self::Unused | Self::GivenBack | Self::Unpaid => true,
            Self::Used | Self::Claimed | Self::PaidLate => false,
        }
    }

    /// Whether it is about what the customer owes, and not about its balance.
    pub const fn is_debt(self) -> bool {
        matches!(self, Self::Unpaid | Self::PaidLate)
    }

    /// One word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Credited => "credited",
            Self::Overpaid => "overpaid",
            Self::Unused => "unused",
            Self::Used => "used",
            Self::GivenBack => "given-back",
            Self::Claimed => "claimed",
            Self::Unpaid => "unpaid",
            Self::PaidLate => "paid-late",
        }
    }
}

/// What is kept for each key; keys without a balance are absent.
#[derive(Debug, Default)]
pub(crate) struct Balances(HashMap<CustomerKey, Msat>);

impl Balances {
    /// Counts a row.
    pub(crate) fn count(&mut self, entry: &BalanceEntry) {
        let has = self.of(entry.customer);
        let left = if entry.change.adds() {
            has.saturating_add(entry.amount)
        } else {
            has.saturating_sub(entry.amount)
        };
        if left.is_zero() {
            self.0.remove(&entry.customer);
        } else {
            self.0.insert(entry.customer, left);
        }
    }

    pub(crate) fn of(&self, customer: CustomerKey) -> Msat {
        self.0.get(&customer).copied().unwrap_or(Msat::ZERO)
    }
}

impl ProviderDesk {
    /// Counts a row.
    pub(crate) fn recall_balance(&mut self, entry: &BalanceEntry) {
        let account = if entry.change.is_debt() { &mut self.debts } else { &mut self.balances };
        account.count(entry);
    }

    /// Writes a row of a customer's balance or debt, unless it is about nothing.
    pub(crate) fn change(
        &mut self,
        now: Timestamp,
        job: JobId,
        change: Change,
        amount: Msat,
        out: &mut Actions,
    ) {
        let customer = self.jobs.get(&job).map(|job| job.request.customer);
        let Some(customer) = customer.filter(|_| !amount.is_zero()) else { return };
        let entry = BalanceEntry { at: now, customer, job, change, amount };
        self.recall_balance(&entry);
        out.save(Record::Balance(entry));
    }

    /// When a refund becomes balance, if nobody claims it until then.
    pub(crate) fn credits_at(&self, job: &Job) -> Timestamp {
        let no_address = job.request.refund_to.is_none() || job.payback.asked >= HOPELESS;
        let owes = matches!(job.state, State::RefundOwed { .. }) && no_address;
        match self.config.credit_after.filter(|_| owes && self.is_certain(job)) {
            Some(after) => job.payback.since.unwrap_or(job.changed_at).after(after),
            None => Timestamp::NEVER,
        }
    }

    /// Makes a refund that nobody claimed the balance of its customer, if that is due.
    pub(crate) fn credit(&mut self, now: Timestamp, id: JobId, out: &mut Actions) {
        let Some(job) = self.jobs.get(&id).filter(|job| self.credits_at(job) <= now) else { return };
        let State::RefundOwed { hash, amount, why } = &job.state else { return };
        let (hash, amount, why) = (*hash, *amount, why.clone());
        if let Some(job) = self.jobs.get_mut(&id) {
            job.payback.trouble = None;
        }
        self.change(now, id, Change::Credited, amount, out);
        out.publish(id, Draft::Notice(Notice::Credited { paid: hash, amount }));
        let outcome = Outcome::Credited { amount, why };
        self.move_to(now, id, State::Closed { outcome, hash: Some(hash) }, out);
    }

    /// Keeps what was paid beyond the price for the customer, once it is ours: what the job runs on.
    pub(crate) fn without_excess(
        &mut self,
        now: Timestamp,
        id: JobId,
        funds: Funds,
        price: Msat,
        out: &mut Actions,
    ) -> Funds {
        let excess = funds.amount().saturating_sub(price);
        if excess.is_zero() || self.config.credit_after.is_none() {
            return funds;
        }
        match funds {
            Funds::Paid { hash, .. } => {
                self.keep_excess(now, id, excess, out);
                Funds::Paid { hash, amount: price }
            }
            Funds::Held { .. } => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.payback.overpaid = excess;
                }
                funds
            }
            Funds::Free | Funds::Balance { .. } | Funds::Credit { .. } => funds,
        }
    }

    /// A locked payment of more than the price was taken: what of it is the price.
    pub(crate) fn take_excess(&mut self, now: Timestamp, id: JobId, amount: Msat, out: &mut Actions) -> Msat {
        let Some(job) = self.jobs.get_mut(&id) else { return amount };
        let excess = std::mem::replace(&mut job.payback.overpaid, Msat::ZERO).min(amount);
        let is_ecash = job.ecash_hash().is_some() && job.ecash_hash() == job.state.hash();
        let is_dust = is_ecash && excess <= DUST;
        if !excess.is_zero() && !is_dust {
            self.keep_excess(now, id, excess, out);
        }
        amount.saturating_sub(excess)
    }

    pub(crate) fn keep_excess(&mut self, now: Timestamp, id: JobId, excess: Msat, out: &mut Actions) {
        self.change(now, id, Change::Overpaid, excess, out);
        out.publish(id, Draft::Notice(Notice::Overpaid { amount: excess }));
    }

    /// Begins a job from its customer's balance, if that covers the price. A customer agrees to it by addressing the
    /// job to us with a bid: one that asks everybody may choose another, and would have paid for nothing.
    pub(crate) fn begin_from_balance(
        &mut self,
        now: Timestamp,
        id: JobId,
        price: Msat,
        out: &mut Actions,
    ) -> bool {
        let Some(Job { request, .. }) = self.jobs.get(&id) else { return false };
        let agrees = self.is_asked_alone(request) && request.bid.is_some_and(|bid| bid >= price);
        if !agrees || price.is_zero() || self.balances.of(request.customer) < price {
            return false;
        }
        let (customer, rank) = (request.customer, rank(request, price));
        self.change(now, id, Change::Used, price, out);
        let left = self.balances.of(customer);
        out.publish(id, Draft::Notice(Notice::FromBalance { amount: price, left }));
        self.enqueue(now, id, Funds::Balance { amount: price }, rank, 0, out);
        true
    }

    /// Whether a request is addressed to this provider and to nobody else: another might be the one that is chosen.
    pub(crate) fn is_asked_alone(&self, request: &JobRequest) -> bool {
        !request.providers.is_empty() && request.providers.iter().all(|key| *key == self.config.key)
    }

    /// Ends a job that was begun from a balance and will not be delivered.
    pub(crate) fn give_back_to_balance(
        &mut self,
        now: Timestamp,
        id: JobId,
        amount: Msat,
        why: Why,
        out: &mut Actions,
    ) {
        self.change(now, id, Change::GivenBack, amount, out);
        out.publish(id, Draft::Notice(refused(&why)));
        self.close_unpaid(now, id, None, why, out);
    }

    /// A customer claims a refund that became its balance: it is paid out of that, if that still covers it.
    pub(crate) fn claim_credited(
        &mut self,
        now: Timestamp,
        id: JobId,
        by: CustomerKey,
        claim: Invoice,
        out: &mut Actions,
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        let credited = job.credited().find(|credited| credited.amount == claim.amount);
        let Some(credited) = credited else { return };
        let known = self.by_hash.contains_key(&claim.payment_hash);
        if known || job.request.customer != by || claim.expires_at <= now {
            return;
        }
        // A customer that was told so waits no more; what it claims again is not paid behind its back.
        if job.payback.trouble.is_some() {
            return;
        }
        let (amount, left) = (credited.amount, self.balances.of(by));
        if left < amount {
            return self.refuse_claim(now, id, amount, left, out);
        }
        self.change(now, id, Change::Claimed, amount, out);
        self.owe_again(now, id, credited, out);
        self.pay_back(now, id, claim, out);
    }

    /// Tells a customer that later jobs have used the refund that it claims, once and for good.
    fn refuse_claim(&mut self, now: Timestamp, id: JobId, amount: Msat, left: Msat, out: &mut Actions) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let message = format!(
            "the refund of {amount} became your balance and later jobs used it; {left} are left for further jobs"
        );
        job.payback.trouble = Some(message.clone());
        let state = job.state.clone();
        out.publish(id, Draft::Notice(refused(&Why::new(refusal::CREDIT_USED, message))));
        self.move_to(now, id, state, out);
    }
}
