//! From a verified event to an input: decoded, counted against its author's allowance, and matched
//! with what we know already.

use std::collections::HashMap;

use openagents_engine::{Direction, Input, Job, Record};
use openagents_protocol::{Message, Verified, zap};
use openagents_types::{
    Cancel, CustomerKey, Feedback, Invoice, JobId, JobRequest, JobResult, PaymentHash, Quote, RefundClaim,
    Status, Timestamp,
};

use super::{Driver, batch::Pending};

impl Driver {
    pub(super) fn wire(&mut self, now: Timestamp, event: &Verified, pending: &mut Pending) {
        if self.is_uncalled_for(event) {
            return tracing::debug!(event = %event.id(), "a receipt that nobody here waits for");
        }
        if event.event().kind.as_u16() == zap::KIND {
            return self.zap(now, event, pending);
        }
        match openagents_protocol::decode(event, &mut self.keyring) {
            Ok(Message::Request(request)) => self.request(now, *request, pending),
            Ok(Message::Feedback(feedback)) => self.feedback(now, feedback, pending),
            Ok(Message::Result(result)) => self.result(now, result, pending),
            Ok(Message::Cancels(cancels)) => self.cancels(now, cancels, pending),
            Ok(Message::RefundClaim(claim)) => self.claim(now, &claim, pending),
            Ok(Message::Ecash(payment)) => self.input(now, Input::Token(payment), pending),
            Ok(Message::Release(released)) => self.input(now, Input::Release(released), pending),
            Ok(Message::Receipt(received)) => self.receipt(now, event, *received, pending),
            Ok(Message::Countersignature(signed)) => self.countersigned(event, &signed, pending),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, event = %event.id(), "an event was not understood"),
        }
    }

    fn request(&mut self, now: Timestamp, request: JobRequest, pending: &mut Pending) {
        let draining = self.gauges.draining.load(std::sync::atomic::Ordering::Relaxed);
        if draining || self.engine.job(request.id).is_some() {
            return;
        }
        if self.store.knows_job(request.id).unwrap_or(true) || pending.knows_job(request.id) {
            return;
        }
        if !self.allowance.admit(now, request.customer) {
            tracing::debug!(customer = %request.customer, "a request beyond its author's allowance");
            return;
        }
        let id = request.id;
        self.input(now, Input::Request(Box::new(request)), pending);
        self.zapped_before(now, id, pending);
    }

    fn cancels(&mut self, now: Timestamp, cancels: Vec<Cancel>, pending: &mut Pending) {
        for cancel in cancels {
            self.input(now, Input::Cancel(cancel), pending);
        }
    }

    fn claim(&mut self, now: Timestamp, claim: &RefundClaim, pending: &mut Pending) {
        if let Some(invoice) = self.new_invoice(claim.job, &claim.bolt11, pending) {
            self.recall_credited(now, claim.job, pending);
            self.input(now, Input::RefundClaim { job: claim.job, by: claim.by, invoice }, pending);
        }
    }

    /// A claim may be for a refund that became a balance, whose job has left memory.
    fn recall_credited(&mut self, now: Timestamp, id: JobId, pending: &Pending) {
        if self.engine.job(id).is_some() {
            return;
        }
        if let Some(job) = self.sold(id, pending).filter(openagents_engine::Job::is_credited) {
            self.engine.handle(now, Input::Recall(Box::new(Record::Job(Box::new(job)))));
        }
    }

    /// A job that we sell and that has left memory, as this batch leaves it.
    pub(super) fn sold(&self, id: JobId, pending: &Pending) -> Option<Job> {
        match pending.job(id) {
            Some(job) => Some(job.clone()),
            None => self.store.sold(id).unwrap_or_else(|error| {
                tracing::error!(%error, job = %id, "a message cannot be matched to its job");
                None
            }),
        }
    }

    fn feedback(&mut self, now: Timestamp, feedback: Feedback, pending: &mut Pending) {
        if !self.engine.follows(feedback.job) {
            return;
        }
        let input = match (feedback.status, &feedback.bolt11) {
            (Status::PaymentRequired, Some(bolt11)) => {
                match self.new_invoice(feedback.job, bolt11, pending) {
                    Some(invoice) => {
                        let ecash = feedback.ecash.clone();
                        let ecash = ecash.filter(|ask| self.is_new(feedback.job, ask.hash, pending));
                        Input::Quote(Quote { ecash, ..quote(&feedback, invoice) })
                    }
                    None => return,
                }
            }
            _ => Input::Feedback(feedback),
        };
        self.input(now, input, pending);
    }

    fn result(&mut self, now: Timestamp, result: JobResult, pending: &mut Pending) {
        if !self.engine.follows(result.job) {
            return;
        }
        let invoice =
            result.bolt11.as_deref().and_then(|bolt11| self.new_invoice(result.job, bolt11, pending));
        if result.bolt11.is_some() && invoice.is_none() {
            return;
        }
        self.input(now, Input::Result { result, invoice }, pending);
    }

    /// An address may give an invoice that was used before: by anybody, also by us. That one is not paid.
    pub(super) fn unused(&self, input: Input, pending: &Pending) -> Input {
        let Input::AddressAnswered { job, outcome: Ok(invoice) } = input else { return input };
        let fresh = self.new_invoice(job, &invoice.bolt11, pending).filter(|fresh| *fresh == invoice);
        Input::AddressAnswered { job, outcome: fresh.ok_or_else(|| "its invoice was used before".into()) }
    }

    /// Decodes an invoice that a stranger wants paid. One that we ever meant to pay, for this job or
    /// another, is not looked at again, nor is one of our own that belongs to something else.
    fn new_invoice(&self, job: JobId, bolt11: &str, pending: &Pending) -> Option<Invoice> {
        let invoice = openagents_wallet::bolt11::decode(bolt11)
            .inspect_err(|error| tracing::debug!(%error, "an invoice was not understood"))
            .ok()?;
        self.is_new(job, invoice.payment_hash, pending).then_some(invoice)
    }

    /// Whether a payment may be one for this job: we never meant to pay it, and it belongs to nothing else.
    fn is_new(&self, job: JobId, hash: PaymentHash, pending: &Pending) -> bool {
        let known = pending.pays(hash)
            || self.store.meant_to_pay(hash).unwrap_or(true)
            || self.store.serves_another(hash, job).unwrap_or(true);
        !known
    }
}

impl Pending {
    /// Whether a payment by us is begun in this batch.
    fn pays(&self, hash: PaymentHash) -> bool {
        self.batch.records.iter().any(|record| match record {
            Record::Payment(row) => row.hash == hash && row.direction == Direction::Out,
            _ => false,
        })
    }

    fn knows_job(&self, id: JobId) -> bool {
        self.batch.records.iter().any(|record| matches!(record, Record::Job(job) if job.id() == id))
    }

    pub(super) fn knows_ask(&self, id: JobId) -> bool {
        self.batch.records.iter().any(|record| matches!(record, Record::Ask(ask) if ask.id == id))
    }
}

/// The price is what the invoice asks; an `amount` tag that says otherwise shows in the quote and
/// the engine refuses it.
fn quote(feedback: &Feedback, invoice: Invoice) -> Quote {
    Quote {
        job: feedback.job,
        provider: feedback.provider,
        event: feedback.event,
        price: feedback.amount.unwrap_or(invoice.amount),
        expires_at: feedback.expires_at.unwrap_or(invoice.expires_at),
        invoice,
        eta: feedback.eta,
        terms: feedback.terms,
        ecash: None,
    }
}

/// How many requests may be made: a bucket for each key and one for all of them together (N16).
/// Buckets fill with time and are bounded in number; when there are too many keys, those that are
/// full anyway are forgotten first.
#[derive(Debug)]
pub struct Allowance {
    each: Rate,
    all: Rate,
    total: Bucket,
    buckets: HashMap<CustomerKey, Bucket>,
}

/// A rate: so many at once, and so many more each second. A rate of zero a second is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How many more each second.
    pub per_second: u32,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    thousandths: u64,
    filled_at: Timestamp,
}

/// How many keys are remembered.
const BUCKETS: usize = 20_000;

impl Allowance {
    /// An allowance of `each` for every key and `all` for all of them.
    pub fn new(each: Rate, all: Rate) -> Self {
        let total = Bucket::full(all, Timestamp::default());
        Self { each, all, total, buckets: HashMap::new() }
    }

    /// Whether one more request of this key may come in now.
    pub fn admit(&mut self, now: Timestamp, key: CustomerKey) -> bool {
        if self.each.per_second > 0 {
            if self.buckets.len() >= BUCKETS {
                let each = self.each;
                self.buckets.retain(|_, bucket| !bucket.refilled(each, now).is_full(each));
            }
            if self.buckets.len() >= BUCKETS && !self.buckets.contains_key(&key) {
                return false;
            }
            let bucket = self.buckets.entry(key).or_insert_with(|| Bucket::full(self.each, now));
            if !bucket.take(self.each, now) {
                return false;
            }
        }
        self.all.per_second == 0 || self.total.take(self.all, now)
    }
}

impl Bucket {
    fn full(rate: Rate, now: Timestamp) -> Self {
        Self { thousandths: u64::from(rate.burst) * 1_000, filled_at: now }
    }

    fn refilled(self, rate: Rate, now: Timestamp) -> Self {
        let gained = now.since(self.filled_at).0.saturating_mul(u64::from(rate.per_second));
        let thousandths = self.thousandths.saturating_add(gained).min(u64::from(rate.burst) * 1_000);
        Self { thousandths, filled_at: now }
    }

    fn is_full(self, rate: Rate) -> bool {
        self.thousandths >= u64::from(rate.burst) * 1_000
    }

    fn take(&mut self, rate: Rate, now: Timestamp) -> bool {
        *self = self.refilled(rate, now);
        let taken = self.thousandths.checked_sub(1_000);
        self.thousandths = taken.unwrap_or(self.thousandths);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> CustomerKey {
        CustomerKey::from_bytes([n; 32])
    }

    #[test]
    fn one_key_cannot_use_up_what_belongs_to_all() {
        let each = Rate { burst: 3, per_second: 1 };
        let mut allowance = Allowance::new(each, Rate { burst: 100, per_second: 10 });
        let start = Timestamp::from_secs(100);
        let admitted = (0..50).filter(|_| allowance.admit(start, key(1))).count();
        assert_eq!(admitted, 3);
        assert!(allowance.admit(start, key(2)));
        assert!(allowance.admit(Timestamp::from_secs(101), key(1)), "a second fills one in");
        assert!(!allowance.admit(Timestamp::from_secs(101), key(1)));
    }

    #[test]
    fn many_keys_cannot_use_up_memory() {
        let each = Rate { burst: 2, per_second: 1 };
        let mut allowance = Allowance::new(each, Rate { burst: 1, per_second: 0 });
        for n in 0..100_000_u32 {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            allowance.admit(Timestamp::from_secs(1), CustomerKey::from_bytes(bytes));
        }
        assert!(allowance.buckets.len() <= BUCKETS);
        assert!(allowance.admit(Timestamp::from_secs(60), key(9)), "room returns with time");
    }
}
