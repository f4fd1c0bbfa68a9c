//! After a start: nothing is paid before the wallet has said what it paid lately.
//!
//! Books that were restored from a backup know less than the wallet does. A job that is still
//! collecting offers in them may be paid long since, a refund that they still owe may have left. So
//! an engine that goes on from open records first asks what the wallet has sent ([`Action::ReadSent`])
//! and holds back every payment until it knows. A payment that no record names is either recognised
//! by its hash, as an offer that lies before us or as a refund's destination, and is then followed
//! like any other; or it stays a doubt, and the jobs it may have been for are never paid again.

use std::collections::{BTreeMap, BTreeSet};

use openagents_types::{JobId, Millis, Msat, PaymentHash, Quote, Rail, Terms, Timestamp};

use crate::{
    Action, Actions, Engine, Job,
    customer::{Ask, Attempt, CustomerDesk, Money, Phase},
    job::{Funds, State},
    provider::ProviderDesk,
};

/// How far the wallet's clock may be behind ours.
const CLOCK_SLACK: Millis = Millis::from_secs(60);

/// How far back a wallet is asked for refunds of zaps that are not told yet.
const ZAP_REACH: Millis = Millis::from_secs(86_400);

/// How often the wallet is asked before it counts as one that never says.
const TRIES: u32 = 5;

/// A payment that the wallet has sent and no record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentPayment {
    /// Its name.
    pub hash: PaymentHash,
    /// How much, without fees.
    pub amount: Msat,
    /// When it was begun, by the wallet's clock; at the latest when its second was over.
    pub at: Timestamp,
}

/// What a wallet says it has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it: payments that have arrived or may yet.
    Told(Vec<SentPayment>),
    /// This wallet never says.
    Withheld,
}

/// What is held back until the wallet has spoken.
#[derive(Debug)]
pub(crate) struct Reconciling {
    /// The jobs that the records left open, and when each began.
    open: BTreeMap<JobId, Timestamp>,
    /// Payments decided or to be asked about meanwhile. Asking waits as well: an answer from before a
    /// payment was sent must not arrive after it.
    held: BTreeSet<PaymentHash>,
    /// How often the wallet was asked.
    asked: u32,
    /// When to ask again.
    again: Timestamp,
    /// How far back to ask at least.
    reach: Timestamp,
}

impl Reconciling {
    fn since(&self) -> Timestamp {
        self.open.values().min().copied().unwrap_or(Timestamp::NEVER).min(self.reach).before(CLOCK_SLACK)
    }

    pub(crate) const fn wake(&self) -> Timestamp {
        self.again
    }
}

impl Engine {
    /// Asks what was paid lately, if anything restored may pay or be paid back.
    pub(crate) fn begin_reconciling(&mut self, now: Timestamp, out: &mut Actions) {
        let asks = self.customer.asks.values().filter(|ask| ask.may_pay());
        let asks = asks.map(|ask| (ask.id, ask.asked_at));
        let jobs = self.provider.iter().flat_map(|desk| desk.jobs.values());
        let jobs = jobs.filter(|job| job.may_owe().next().is_some()).map(|job| (job.id(), job.received_at));
        let open: BTreeMap<JobId, Timestamp> = asks.chain(jobs).collect();
        // A zap from before may be told of any job, however long that is over.
        let zaps = self.provider.as_ref().is_some_and(|desk| desk.config.zaps);
        if open.is_empty() && !zaps {
            return;
        }
        let reach = if zaps { now.before(ZAP_REACH) } else { Timestamp::NEVER };
        self.customer.unreconciled = open.keys().copied().collect();
        if let Some(desk) = &mut self.provider {
            desk.unreconciled = open.keys().copied().collect();
        }
        let again = now.after(self.customer.config.recheck);
        let reconciling = Reconciling { open, held: BTreeSet::new(), asked: 1, again, reach };
        out.push(Action::ReadSent { since: reconciling.since() });
        self.reconciling = Some(reconciling);
        self.customer.awaits_word = true;
    }

    /// Asks once more if no answer came.
    pub(crate) fn go_on_reconciling(&mut self, now: Timestamp, out: &mut Actions) {
        let recheck = self.customer.config.recheck;
        let Some(reconciling) = self.reconciling.as_mut().filter(|r| now >= r.again) else { return };
        if reconciling.asked >= TRIES {
            return self.reconcile(now, Sent::Withheld, out);
        }
        reconciling.asked += 1;
        reconciling.again = now.after(recheck);
        out.push(Action::ReadSent { since: reconciling.since() });
    }

    /// A zap from before the start, told now: records that are lost may have it, and its refund.
    pub(crate) fn doubt_zap(&mut self, now: Timestamp, id: JobId, paid_at: Timestamp, out: &mut Actions) {
        let (began, since) = (self.began, paid_at.before(CLOCK_SLACK));
        let Some(desk) = self.provider.as_mut().filter(|_| since <= began) else { return };
        let waiting = self.reconciling.as_mut().map(|it| &mut it.open).or(self.unanswered.as_mut());
        if let Some(open) = waiting {
            let first = open.entry(id).or_insert(paid_at);
            *first = paid_at.min(*first);
            desk.unreconciled.insert(id);
        } else if paid_at < began.before(ZAP_REACH) {
            desk.unreconciled.insert(id);
        } else {
            let sent = self.unnamed.iter().filter(|payment| payment.at >= since);
            desk.doubt(now, id, &sent.copied().collect::<Vec<_>>(), out);
        }
    }

    /// Keeps payments, and questions about them, back until the wallet has spoken.
    pub(crate) fn hold_back(&mut self, out: &mut Actions) {
        if let Some(reconciling) = &mut self.reconciling {
            reconciling.held.extend(out.take_payments());
        }
    }

    /// The wallet has said what it sent, and the driver has left out what the records name.
    pub(crate) fn reconcile(&mut self, now: Timestamp, sent: Sent, out: &mut Actions) {
        let waiting = self.reconciling.take().map(|it| (it.open, it.held));
        let late = || self.unanswered.take().map(|open| (open, BTreeSet::new()));
        let Some((open, held)) = waiting.or_else(late) else { return };
        // A wallet that never says leaves the jobs from before the start without a second choice. Refunds
        // go on all the same: held back for ever they would harm customers each time a provider restarts.
        let told = matches!(sent, Sent::Told(_));
        if let Sent::Told(sent) = sent {
            self.customer.unreconciled.clear();
            self.match_up(now, &open, sent, out);
        } else {
            // It may only be slow.
            self.unanswered = Some(open.clone());
        }
        if let Some(desk) = &mut self.provider {
            desk.reconciled(now, told, out);
        }
        // Decided while it waited, and perhaps paid before these records were restored: the wallet is asked.
        for hash in held {
            out.push(Action::LookUpOutgoing(hash));
        }
        self.customer.look_at_early_bills(now, out);
        self.customer.choose_again(now, open.keys().copied(), out);
    }

    fn match_up(
        &mut self,
        now: Timestamp,
        open: &BTreeMap<JobId, Timestamp>,
        mut sent: Vec<SentPayment>,
        out: &mut Actions,
    ) {
        sent.sort_unstable_by_key(|payment| (payment.at, payment.hash));
        sent.dedup_by_key(|payment| payment.hash);
        for id in open.keys() {
            sent.retain(|payment| !self.customer.recognise(now, *id, payment.hash, out));
        }
        for (id, began) in open {
            let since = began.before(CLOCK_SLACK);
            let later: Vec<_> = sent.iter().filter(|payment| payment.at >= since).copied().collect();
            self.customer.doubt(now, *id, &later, out);
            if let Some(desk) = &mut self.provider {
                // Those of an earlier start are among them, but for what a record names by now.
                desk.trust(*id);
                desk.doubt(now, *id, &later, out);
            }
        }
        if self.provider.as_ref().is_some_and(|desk| desk.config.zaps) {
            self.unnamed = sent;
        }
    }
}

impl CustomerDesk {
    /// Chooses where the choice had to wait.
    fn choose_again(&mut self, now: Timestamp, ids: impl Iterator<Item = JobId>, out: &mut Actions) {
        for id in ids {
            if self.asks.get(&id).is_some_and(|ask| matches!(ask.phase, Phase::Collecting { .. })) {
                self.look_after(now, id, out);
            }
        }
    }

    /// Whether a payment pays an offer that lies before us; then it is followed as our choice.
    fn recognise(&mut self, now: Timestamp, id: JobId, hash: PaymentHash, out: &mut Actions) -> bool {
        let Some(mut ask) = self.take(id) else { return false };
        let Some((quote, rail)) = ask.offer_of(hash) else {
            self.put(ask);
            return false;
        };
        self.own_up(now, &mut ask, quote, rail, out);
        self.keep(now, ask, out);
        true
    }

    /// Takes an offer as the one that was chosen and paid before these records were restored.
    pub(crate) fn own_up(
        &mut self,
        now: Timestamp,
        ask: &mut Ask,
        quote: Quote,
        rail: Rail,
        out: &mut Actions,
    ) {
        let attempt = Attempt::new(quote, rail, now);
        let hash = attempt.hash();
        ask.doubts.retain(|doubt| *doubt != hash);
        out.push(Action::LookUpOutgoing(hash));
        // Taken since the start, and not written down yet where the driver looks.
        if ask.attempts.iter().any(|attempt| attempt.hash() == hash) {
            return;
        }
        self.commit(now, ask, attempt, out);
        if !matches!(ask.phase, Phase::Closed { .. }) {
            ask.phase = Phase::Waiting;
        }
    }

    /// Notes payments that may have been for a job: no more than its bid, and after it was asked.
    fn doubt(&mut self, now: Timestamp, id: JobId, sent: &[SentPayment], out: &mut Actions) {
        let Some(mut ask) = self.take(id) else { return };
        let bid = ask.spec.bid;
        ask.doubts =
            sent.iter().filter(|payment| payment.amount <= bid).map(|payment| payment.hash).collect();
        if ask.doubts.is_empty() { self.put(ask) } else { self.keep(now, ask, out) }
    }

    /// Whether no offer may be chosen for a job: the wallet has not spoken yet, or has paid something
    /// that may have been for it.
    pub(crate) fn may_be_paid(&self, ask: &Ask) -> bool {
        !ask.doubts.is_empty() || self.unreconciled.contains(&ask.id)
    }
}

impl ProviderDesk {
    fn trust(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.doubts.clear();
        }
    }

    /// Notes payments that may have been a job's refund: of its amount, and after it came.
    fn doubt(&mut self, now: Timestamp, id: JobId, sent: &[SentPayment], out: &mut Actions) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (owed, claim): (Vec<Msat>, _) = (job.may_owe().collect(), job.state.claim_hash());
        let doubts = sent.iter().filter(|payment| owed.contains(&payment.amount));
        job.doubts.extend(doubts.map(|payment| payment.hash).filter(|hash| Some(*hash) != claim));
        if !job.doubts.is_empty() {
            let state = job.state.clone();
            self.move_to(now, id, state, out);
        }
    }
}

impl Ask {
    /// Whether something may still be sent for the job: it has not ended, or a payment of it is uncertain.
    fn may_pay(&self) -> bool {
        let uncertain = |attempt: &Attempt| matches!(attempt.money, Money::Pending | Money::Doubtful);
        !matches!(self.phase, Phase::Closed { .. }) || self.attempts.iter().any(uncertain)
    }
}

impl Job {
    /// What would have to be paid back if the job failed, and what was or may have been paid beside that.
    pub(crate) fn may_owe(&self) -> impl Iterator<Item = Msat> {
        self.may_owe_itself().into_iter().chain(self.may_owe_beside())
    }

    fn may_owe_itself(&self) -> Option<Msat> {
        match &self.state {
            State::Offered { invoice, terms: Terms::Prepaid, .. } => Some(invoice.amount),
            State::Queued { funds: Funds::Paid { amount, .. }, .. }
            | State::Running { funds: Funds::Paid { amount, .. }, .. }
            | State::Lapsing { amount, .. }
            | State::RefundOwed { amount, .. }
            | State::Refunding { amount, .. } => Some(*amount),
            State::Resolving
            | State::Invoicing { .. }
            | State::Offered { terms: Terms::Escrow, .. }
            | State::Queued { .. }
            | State::Running { .. }
            | State::Billed { .. }
            | State::Delivered { .. }
            | State::Returning { .. }
            | State::Closed { .. } => None,
        }
    }

    /// Whether a refund to this invoice might be the second one: an earlier payment may have been it.
    pub(crate) fn doubts_refund_to(&self, hash: PaymentHash) -> bool {
        !self.doubts.is_empty() && !self.doubts.contains(&hash)
    }
}
