//! Payments beside the one that a job runs on: they go back once the job is over, as any refund does, and the job then
//! ends as it would have without them.

use openagents_types::{Draft, JobId, Msat, Notice, PaymentHash, Terms, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Action, Actions, Incoming, Job,
    job::{Outcome, State, Why},
    payback::UNCERTAIN,
    provider::ProviderDesk,
    zap::ZapState,
};

/// A payment beside the one that a job runs on: the invoice of a job which ecash or a zap pays, ecash that the wallet
/// took although the invoice was paid, or a zap that does not pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// Its payment.
    pub hash: PaymentHash,
    /// Whether it can be voided: only a hold invoice can.
    pub terms: Terms,
    /// When no payment can arrive any more.
    pub until: Timestamp,
    /// Where it stands.
    pub state: BesideState,
}

/// Where such a payment stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum BesideState {
    /// Unpaid, as far as we know.
    Open,
    /// The wallet has voided it, or it can be paid no more.
    Over,
    /// It was paid, and goes back once the job is over.
    Paid {
        /// How much.
        amount: Msat,
    },
    /// It is going back; this is how the job itself had ended.
    GoingBack {
        /// How.
        outcome: Outcome,
        /// The payment that the job ended with.
        hash: Option<PaymentHash>,
    },
    /// It went back.
    PaidBack,
    /// Nobody claimed it, and it became the customer's balance.
    Credited {
        /// How much.
        amount: Msat,
        /// Why it was owed.
        why: Why,
    },
}

/// A refund that became its customer's balance.
pub(crate) struct Credited {
    /// The payment that came in.
    pub(crate) hash: PaymentHash,
    pub(crate) amount: Msat,
    pub(crate) why: Why,
    /// Whether it came beside the one that the job ran on.
    pub(crate) beside: bool,
}

impl Job {
    /// Its payments beside the one that it runs on.
    pub(crate) fn besides(&self) -> impl Iterator<Item = &Beside> {
        let ecash = self.ecash.as_ref().and_then(|ecash| ecash.beside.as_ref());
        ecash.into_iter().chain(self.zaps.iter().filter_map(|zap| zap.beside.as_ref()))
    }

    fn besides_mut(&mut self) -> impl Iterator<Item = &mut Beside> {
        let ecash = self.ecash.as_mut().and_then(|ecash| ecash.beside.as_mut());
        ecash.into_iter().chain(self.zaps.iter_mut().filter_map(|zap| zap.beside.as_mut()))
    }

    fn note_beside(&mut self, hash: PaymentHash, state: BesideState) {
        if let Some(beside) = self.besides_mut().find(|beside| beside.hash == hash) {
            beside.state = state;
        }
    }

    /// The left-over invoice, while a payment of it may still arrive. There is one at most: an offer has one, and turns
    /// to another rail once.
    pub(crate) fn watches(&self) -> Option<&Beside> {
        self.besides().find(|beside| beside.state == BesideState::Open)
    }

    /// Whether nothing more is to be done, and nothing more can come.
    pub fn is_over(&self) -> bool {
        let awaits_zap = self.zaps.iter().any(|zap| zap.state == ZapState::Told);
        self.state.is_closed() && self.watches().is_none() && !awaits_zap
    }

    /// Every payment by which the job can be found.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = PaymentHash> {
        let named = [self.state.hash(), self.state.claim_hash(), self.ecash_hash()];
        let besides = self.besides().map(|beside| beside.hash);
        let zaps = self.zaps.iter().map(|zap| zap.hash);
        let refunds = self.payback.tried.iter().chain(&self.payback.paid_to).copied();
        named.into_iter().flatten().chain(besides).chain(zaps).chain(refunds)
    }

    /// What its offer asked, as far as another rail than its invoice has noted that.
    fn noted_price(&self) -> Option<Msat> {
        let zapped = || self.zaps.iter().find_map(|zap| zap.price);
        self.ecash.as_ref().map(|ecash| ecash.price).or_else(zapped)
    }

    /// Whether a refund of it became its customer's balance.
    pub fn is_credited(&self) -> bool {
        self.credited().next().is_some()
    }

    /// Its refunds that became its customer's balance.
    pub(crate) fn credited(&self) -> impl Iterator<Item = Credited> {
        let own = match &self.state {
            State::Closed { outcome: Outcome::Credited { amount, why }, hash: Some(hash) } => {
                Some(Credited { hash: *hash, amount: *amount, why: why.clone(), beside: false })
            }
            _ => None,
        };
        let closed = self.besides().filter(|_| self.state.is_closed());
        let beside = closed.filter_map(|beside| match &beside.state {
            BesideState::Credited { amount, why } => {
                Some(Credited { hash: beside.hash, amount: *amount, why: why.clone(), beside: true })
            }
            BesideState::Open
            | BesideState::Over
            | BesideState::Paid { .. }
            | BesideState::GoingBack { .. }
            | BesideState::PaidBack => None,
        });
        own.into_iter().chain(beside)
    }

    /// What would have to be paid back besides: what was paid as well, or may have been.
    pub(crate) fn may_owe_beside(&self) -> impl Iterator<Item = Msat> {
        let besides = self.besides().filter_map(|beside| match &beside.state {
            BesideState::Open if beside.terms == Terms::Prepaid => self.noted_price(),
            BesideState::Paid { amount } => Some(*amount),
            // On its way back, it is what the job's own state says.
            BesideState::Open
            | BesideState::Over
            | BesideState::GoingBack { .. }
            | BesideState::PaidBack
            | BesideState::Credited { .. } => None,
        });
        let told = self.zaps.iter().filter(|zap| zap.state == ZapState::Told);
        besides.chain(told.map(|zap| zap.amount))
    }

    /// Payments that may come or have come over another rail than the one that the job's state names, each with what
    /// it comes to and a word for where it stands.
    pub fn beside_awaited(&self) -> impl Iterator<Item = (PaymentHash, Msat, &'static str)> {
        let price = self.noted_price();
        let left_over = self.watches().map(|beside| beside.hash).zip(price);
        let offered = matches!(self.state, State::Offered { .. } | State::Lapsing { .. });
        let ecash = self.ecash_hash().zip(price).filter(|_| offered);
        let left_over = left_over.map(|(hash, price)| (hash, price, "left over"));
        let ecash = ecash.map(|(hash, price)| (hash, price, "ecash offered"));
        let told = self.zaps.iter().filter(|zap| zap.state == ZapState::Told);
        left_over.into_iter().chain(ecash).chain(told.map(|zap| (zap.hash, zap.amount, "zapped, it is said")))
    }
}

impl ProviderDesk {
    /// The invoice of an offer that another rail pays.
    pub(crate) fn left_over(&self, now: Timestamp, id: JobId) -> Option<Beside> {
        let hash = self.jobs.get(&id)?.state.hash()?;
        let until = now.after(self.config.quote_lifetime).after(self.config.late_window);
        let terms = if self.is_locking(id) { Terms::Escrow } else { Terms::Prepaid };
        Some(Beside { hash, terms, until, state: BesideState::Open })
    }

    /// Has the left-over invoice of a job voided or asks whether it was paid, and asks for its zaps.
    pub(crate) fn watch_beside(&self, id: JobId, out: &mut Actions) {
        let Some(job) = self.jobs.get(&id) else { return };
        if let Some(beside) = job.watches() {
            out.push(match beside.terms {
                Terms::Escrow => Action::CancelHold(beside.hash),
                Terms::Prepaid => Action::LookUpIncoming(beside.hash),
            });
        }
        job.awaited_zaps().for_each(|zap| out.push(Action::LookUpIncoming(zap.hash)));
    }

    /// When the left-over invoice of a job, and its zaps, are looked at again.
    pub(crate) fn wake_for_beside(&self, now: Timestamp, job: &Job) -> Timestamp {
        let left_over = match job.watches() {
            None => Timestamp::NEVER,
            Some(Beside { terms: Terms::Prepaid, until, .. }) if now < *until => {
                now.after(self.slowly()).min(*until)
            }
            Some(_) => now.after(self.config.recheck),
        };
        left_over.min(self.wake_for_zaps(now, job))
    }

    /// Takes the wallet's word on a payment beside the one that the job runs on.
    fn beside_moved(
        &mut self,
        now: Timestamp,
        id: JobId,
        beside: &Beside,
        state: Incoming,
        out: &mut Actions,
    ) {
        let hash = beside.hash;
        match (state, &beside.state) {
            (Incoming::Held { .. }, _) => out.push(Action::CancelHold(hash)),
            (Incoming::Settled { amount }, BesideState::Open | BesideState::Over) => {
                self.paid_beside(now, id, hash, amount, out);
            }
            (Incoming::Cancelled | Incoming::Expired | Incoming::Unknown, BesideState::Open)
                if beside.terms == Terms::Escrow =>
            {
                self.end_watch(now, id, hash, out);
            }
            (
                Incoming::Open | Incoming::Cancelled | Incoming::Expired | Incoming::Unknown,
                BesideState::Open,
            ) if now >= beside.until => {
                self.end_watch(now, id, hash, out);
            }
            _ => {}
        }
    }

    /// No payment of a left-over invoice can arrive any more.
    fn end_watch(&mut self, now: Timestamp, id: JobId, hash: PaymentHash, out: &mut Actions) {
        self.amend(id, |job| job.note_beside(hash, BesideState::Over), out);
        self.look_no_further(now, id);
    }

    /// One payment less of a job is waited for.
    pub(crate) fn look_no_further(&mut self, now: Timestamp, id: JobId) {
        self.reschedule(now, id);
        if self.jobs.get(&id).is_some_and(Job::is_over) {
            self.forget(id);
        }
    }

    /// Whether a payment is not the one that the job runs on, and then what it means.
    pub(crate) fn on_another_rail(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        state: Incoming,
        out: &mut Actions,
    ) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        if job.state.hash() == Some(hash) {
            return false;
        }
        if job.zaps.iter().any(|zap| zap.hash == hash) {
            self.zap_moved(now, id, hash, state, out);
            return true;
        }
        let beside = job.besides().find(|beside| beside.hash == hash).cloned();
        if let Some(beside) = beside {
            self.beside_moved(now, id, &beside, state, out);
            return true;
        }
        let is_ecash = job.ecash_hash() == Some(hash);
        if is_ecash {
            self.ecash_moved(now, id, state, out);
        }
        is_ecash
    }

    /// The wallet has taken ecash that it was to hold, and that does not pay its job: it goes back.
    pub(crate) fn took_ecash_beside(&mut self, now: Timestamp, id: JobId, amount: Msat, out: &mut Actions) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.besides().next().is_none()) else { return };
        let Some(hash) = job.ecash_hash() else { return };
        let beside = Beside { hash, terms: Terms::Escrow, until: now, state: BesideState::Open };
        self.amend(
            id,
            |job| {
                if let Some(ecash) = &mut job.ecash {
                    ecash.token = None;
                    ecash.beside = Some(beside);
                }
            },
            out,
        );
        self.paid_beside(now, id, hash, amount, out);
    }

    /// A second payment of a job is ours; if the job is over it is owed at once.
    pub(crate) fn paid_beside(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        amount: Msat,
        out: &mut Actions,
    ) {
        self.earn(now, id, hash, amount, out);
        self.amend(id, |job| job.note_beside(hash, BesideState::Paid { amount }), out);
        if let Some(closed @ State::Closed { .. }) = self.jobs.get(&id).map(|job| job.state.clone()) {
            self.move_to(now, id, closed, out);
        }
    }

    /// The state that a job enters: one that was paid twice does not end before its second payment is on its way back,
    /// and ends as it would have once that is done.
    pub(crate) fn divert(&self, now: Timestamp, job: &mut Job, state: State, out: &mut Actions) -> State {
        let State::Closed { outcome, hash } = state else { return state };
        let (outcome, hash) = went_back(job, outcome, hash);
        let paid = job.besides().find_map(|beside| match beside.state {
            BesideState::Paid { amount } => Some((beside.hash, amount)),
            BesideState::Open
            | BesideState::Over
            | BesideState::GoingBack { .. }
            | BesideState::PaidBack
            | BesideState::Credited { .. } => None,
        });
        let Some((paid, amount)) = paid else { return State::Closed { outcome, hash } };
        let why = job.why_zap_returns(paid, amount, &outcome).unwrap_or_else(|| {
            Why::new("paid-twice", "the job was paid with ecash and by its invoice as well")
        });
        job.note_beside(paid, BesideState::GoingBack { outcome, hash });
        let trouble = self.unreconciled.contains(&job.id()).then(|| UNCERTAIN.into());
        job.payback = job.payback.anew(now, trouble);
        let message = format!("{}; {amount} is owed to you, send an invoice for it", why.message);
        out.publish(job.id(), Draft::Notice(Notice::RefundOwed { paid, amount, message }));
        State::RefundOwed { hash: paid, amount, why }
    }

    /// A credited refund is claimed: from now on it is owed again.
    pub(crate) fn owe_again(&mut self, now: Timestamp, id: JobId, credited: Credited, out: &mut Actions) {
        let Credited { hash, amount, why, beside } = credited;
        let credited_hash = hash;
        if let Some(job) = self.jobs.get_mut(&id) {
            job.payback.since = Some(now);
            if let (true, State::Closed { outcome, hash }) = (beside, job.state.clone()) {
                job.note_beside(credited_hash, BesideState::GoingBack { outcome, hash });
            }
        }
        self.move_to(now, id, State::RefundOwed { hash, amount, why }, out);
    }
}

/// How a job ends: if a payment beside was on its way back, as it had ended before, and it may end so for good.
fn went_back(job: &mut Job, outcome: Outcome, hash: Option<PaymentHash>) -> (Outcome, Option<PaymentHash>) {
    let goes = |beside: &&mut Beside| matches!(beside.state, BesideState::GoingBack { .. });
    let Some(beside) = job.besides_mut().find(goes) else { return (outcome, hash) };
    let then = if let Outcome::Credited { amount, why } = &outcome {
        BesideState::Credited { amount: *amount, why: why.clone() }
    } else {
        BesideState::PaidBack
    };
    match std::mem::replace(&mut beside.state, then) {
        BesideState::GoingBack { outcome, hash } => (outcome, hash),
        _ => (outcome, hash),
    }
}
