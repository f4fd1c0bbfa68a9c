//! Work receipts, from the settled job to its customer's word on what it was told.
//!
//! A job gets one when it is settled, in the same transaction; a job that is refunded, unpaid or not delivered
//! never does. The customer compares what a receipt says with what it knows itself, once its own wallet has
//! spoken its last word, and keeps one that contradicts its records as disputed: it never countersigns it. A
//! receipt that never comes costs a place among [`AWAITED`] for [`PATIENCE`], and then nothing.

use std::{collections::HashMap, sync::Arc};

use openagents_types::{
    CLOCK_SKEW, ContentHash, CustomerKey, Draft, EventId, JobId, JobKind, Millis, Msat, PaymentHash,
    ProviderKey, Receipt, ReceiptRule, ReceiptSalt, Timestamp, Usage,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Action, Actions, Ask, Job, PreimageSeed, Record,
    customer::{Attempt, CustomerDesk, Money, Reclaim},
    job::{Outcome, State},
    provider::ProviderDesk,
    schedule::Schedule,
};

/// How long a customer listens for a receipt after its job is over. A provider that sends one does so at once;
/// for every other a subscription stays open for so long on each relay.
pub const PATIENCE: Millis = Millis::from_secs(10);

/// How many receipts are waited for at once; beyond that the newest jobs get none. Half a second of the fastest
/// trade measured between two nodes, where a receipt comes within a tenth.
pub const AWAITED: usize = 256;

/// What a provider keeps of its work until the money for it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// What it used.
    pub usage: Usage,
    /// The hash of the result's payload.
    pub result_sha256: ContentHash,
    /// When the result was sent.
    pub delivered_at: Timestamp,
}

/// A receipt that a customer received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What it says.
    pub receipt: Receipt,
    /// The same to the letter, as its provider signed it.
    pub body: Arc<str>,
    /// The event that carried it.
    pub event: EventId,
    /// The hash of `body`.
    pub digest: ContentHash,
    /// The event as JSON, opaque here.
    pub raw: Arc<str>,
}

/// A receipt to keep. What it says never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "side")]
pub enum ReceiptRecord {
    /// We did the work; the event is in the outbox.
    Issued {
        /// What we say.
        receipt: Box<Receipt>,
    },
    /// We paid for the work.
    Received {
        /// What the provider says.
        receipt: Box<Receipt>,
        /// The same to the letter.
        body: Arc<str>,
        /// The provider's event, as JSON.
        raw: Arc<str>,
        /// What about it is not so; `None` if it is right, and then we say so too.
        dispute: Option<Dispute>,
    },
}

impl ReceiptRecord {
    /// What it says.
    pub const fn receipt(&self) -> &Receipt {
        match self {
            Self::Issued { receipt } | Self::Received { receipt, .. } => receipt,
        }
    }
}

/// Where a receipt contradicts what its customer knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// The field, as the receipt names it.
    pub field: String,
    /// What the receipt says.
    pub says: String,
    /// What the customer knows.
    pub known: String,
}

/// What a customer knows of a job that it received and settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    job: JobId,
    kind: JobKind,
    provider: ProviderKey,
    customer: CustomerKey,
    price: Msat,
    payment_hash: Option<PaymentHash>,
    result_sha256: String,
    asked_at: Timestamp,
    delivered_at: Timestamp,
}

impl Facts {
    /// The facts of a job that is over; `None` if nothing was delivered, or if what was paid for it came back.
    pub fn of(ask: &Ask) -> Option<Self> {
        let delivery = ask.delivery.as_ref().filter(|_| ask.is_over())?;
        let earned = |money: &Money| matches!(money, Money::Settled { reclaim: Reclaim::No, .. });
        let attempts = ask.attempts.iter().filter(|attempt| attempt.quote.provider == delivery.provider);
        let payment = attempts.clone().find(|attempt| earned(&attempt.money));
        // A provider whose payment came back has nothing to receipt.
        if payment.is_none() && attempts.count() > 0 {
            return None;
        }
        Some(Self {
            job: ask.id,
            kind: ask.spec.kind,
            provider: delivery.provider,
            customer: ask.customer,
            price: payment.map_or(Msat::ZERO, |attempt| attempt.quote.price),
            payment_hash: payment.map(Attempt::hash),
            result_sha256: delivery.sha256.clone(),
            asked_at: ask.asked_at,
            delivered_at: delivery.at,
        })
    }

    /// The first thing that a receipt says and that is not so.
    ///
    /// What the work used, its backend and its model are the provider's own word: a customer sees none of them.
    pub fn dispute(&self, receipt: &Receipt, now: Timestamp) -> Option<Dispute> {
        let hash = |hash: Option<PaymentHash>| hash.map_or_else(|| "none".into(), PaymentHash::to_hex);
        let said = [
            ("job", receipt.job.to_hex(), self.job.to_hex()),
            ("kind", receipt.kind.to_string(), self.kind.to_string()),
            ("provider", receipt.provider.to_hex(), self.provider.to_hex()),
            ("customer", receipt.customer.to_hex(), self.customer.to_hex()),
            ("price_msat", receipt.price.get().to_string(), self.price.get().to_string()),
            ("payment_hash", hash(receipt.payment_hash), hash(self.payment_hash)),
            ("result_sha256", receipt.result_sha256.to_hex(), self.result_sha256.clone()),
            // Requests are dated in seconds.
            ("asked_at", receipt.asked_at.secs().to_string(), self.asked_at.secs().to_string()),
        ];
        if let Some((field, says, known)) = said.into_iter().find(|(_, says, known)| says != known) {
            return Some(Dispute { field: field.into(), says, known });
        }
        if let Some(fault) = receipt.fault() {
            let known = String::from("the order in which it can have happened");
            return Some(Dispute { field: "times".into(), says: fault.to_string(), known });
        }
        self.dispute_times(receipt, now)
    }

    /// No result comes before it is sent, and nothing was settled in the future, as far as clocks can tell.
    fn dispute_times(&self, receipt: &Receipt, now: Timestamp) -> Option<Dispute> {
        let limits = [
            ("delivered_at", receipt.delivered_at, self.delivered_at),
            ("settled_at", receipt.settled_at, now),
        ];
        let (field, says, known) = limits.into_iter().find(|(_, says, by)| *says > by.after(CLOCK_SKEW))?;
        let [says, known] = [says, known].map(|at| at.millis().to_string());
        Some(Dispute { field: field.into(), says, known })
    }
}

/// Jobs whose receipts are waited for, and receipts that came before their jobs were over.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    awaited: HashMap<JobId, Facts>,
    early: HashMap<JobId, Box<Received>>,
    schedule: Schedule,
}

impl Waiting {
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        self.schedule.next()
    }

    /// Ends the wait for receipts that did not come.
    pub(crate) fn tick(&mut self, now: Timestamp, out: &mut Actions) {
        while let Some(id) = self.schedule.pop_due(now) {
            if self.awaited.remove(&id).is_some() {
                out.push(Action::Unfollow(id));
            }
        }
    }

    fn end(&mut self, id: JobId) {
        self.awaited.remove(&id);
        self.schedule.clear(id);
    }

    pub(crate) fn jobs(&self) -> impl Iterator<Item = (JobId, JobKind)> {
        self.awaited.values().map(|facts| (facts.job, facts.kind))
    }

    pub(crate) fn provider_of(&self, id: JobId) -> Option<ProviderKey> {
        self.awaited.get(&id).map(|facts| facts.provider)
    }
}

impl CustomerDesk {
    /// Whether a receipt for this job by this provider would be looked at.
    pub(crate) fn awaits_receipt(&self, job: JobId, by: ProviderKey) -> bool {
        if self.config.receipts == ReceiptRule::None {
            return false;
        }
        match self.asks.get(&job) {
            Some(ask) => !self.receipts.early.contains_key(&job) && deals_with(ask, by),
            None => self.receipts.provider_of(job) == Some(by),
        }
    }

    /// A receipt. One that comes before our own wallet knows how the payment ended waits until it does.
    pub(crate) fn receipt(&mut self, now: Timestamp, received: Box<Received>, out: &mut Actions) {
        let Receipt { job, provider, .. } = received.receipt;
        if !self.awaits_receipt(job, provider) {
            return;
        }
        match self.receipts.awaited.get(&job).cloned() {
            Some(facts) => {
                self.receipts.end(job);
                judge(now, &facts, *received, out);
                out.push(Action::Unfollow(job));
            }
            None => drop(self.receipts.early.insert(job, received)),
        }
    }

    /// A job is over: its receipt is looked at, if it is here, or waited for; if none is due, nothing more is
    /// heard of the job.
    pub(crate) fn part(&mut self, now: Timestamp, ask: &Ask, out: &mut Actions) {
        let early = self.receipts.early.remove(&ask.id);
        let facts = Facts::of(ask).filter(|facts| self.config.receipts.covers(facts.price));
        match (facts, early) {
            (Some(facts), Some(received)) => judge(now, &facts, *received, out),
            (Some(facts), None) if self.receipts.awaited.len() < AWAITED => {
                self.receipts.schedule.set(ask.id, now.after(PATIENCE));
                self.receipts.awaited.insert(ask.id, facts);
                return;
            }
            _ => {}
        }
        out.push(Action::Unfollow(ask.id));
    }
}

/// Whether a provider may have a receipt to send: it is paid, or it delivered, or may yet deliver for nothing.
fn deals_with(ask: &Ask, provider: ProviderKey) -> bool {
    let delivered = ask.delivery.as_ref().is_some_and(|delivery| delivery.provider == provider);
    delivered || ask.attempts.iter().any(|attempt| attempt.quote.provider == provider)
}

/// Countersigns a receipt that is right, and keeps it either way.
fn judge(now: Timestamp, facts: &Facts, received: Received, out: &mut Actions) {
    let Received { receipt, body, event, digest, raw } = received;
    let dispute = facts.dispute(&receipt, now);
    let (agreed, provider) = (dispute.is_none(), receipt.provider);
    let receipt = Box::new(receipt);
    out.save(Record::Receipt(ReceiptRecord::Received { receipt, body, raw, dispute }));
    if agreed {
        out.publish(facts.job, Draft::Countersign { provider, receipt: event, digest });
    }
}

impl ProviderDesk {
    /// Ends a job that is delivered and whose money is ours, and gives its customer a receipt.
    pub(crate) fn settle(
        &mut self,
        now: Timestamp,
        id: JobId,
        paid: Msat,
        work: Option<Box<Work>>,
        out: &mut Actions,
    ) {
        let paid = self.pay_arrears(now, id, paid, out);
        let hash = self.jobs.get(&id).and_then(|job| job.state.hash());
        if let Some(work) = &work {
            self.give_back_unused(now, id, &work.usage, out);
        }
        let receipt = work.and_then(|work| self.receipt(now, id, paid, *work));
        self.move_to(now, id, State::Closed { outcome: Outcome::Settled { paid }, hash }, out);
        if let Some(receipt) = receipt {
            out.save(Record::Receipt(ReceiptRecord::Issued { receipt: Box::new(receipt.clone()) }));
            out.publish(id, Draft::Receipt(Box::new(receipt)));
        }
    }

    fn receipt(&self, now: Timestamp, id: JobId, paid: Msat, work: Work) -> Option<Receipt> {
        // A receipt names a payment, and what a balance pays with belongs to another job.
        let is_named = |job: &&Job| paid.is_zero() || job.state.hash().is_some();
        let job = self.jobs.get(&id).filter(is_named).filter(|_| self.config.receipts.covers(paid))?;
        Some(Receipt {
            job: id,
            kind: job.request.kind,
            provider: self.config.key,
            customer: job.request.customer,
            usage: work.usage,
            price: paid,
            payment_hash: job.state.hash(),
            result_sha256: work.result_sha256,
            asked_at: job.request.created_at,
            accepted_at: accepted_at(job).min(work.delivered_at),
            delivered_at: work.delivered_at,
            settled_at: now.max(work.delivered_at),
            salt: self.config.seed.salt(id),
        })
    }
}

/// When a job was first queued.
fn accepted_at(job: &Job) -> Timestamp {
    job.steps.iter().find(|step| step.word == "queued").map_or(job.received_at, |step| step.at)
}

impl PreimageSeed {
    /// The salt of a job's receipt: derived, and not drawn, so that a receipt made again after a crash says the
    /// same.
    fn salt(&self, job: JobId) -> ReceiptSalt {
        let mut hasher = Sha256::new();
        hasher.update(b"openagents/receipt-salt");
        hasher.update(self.secret());
        hasher.update(job.as_bytes());
        ReceiptSalt::from_bytes(hasher.finalize().into())
    }
}
