//! Payments beside the one that a job runs on: they go back once the job is over, as any refund does, and the job then
//! ends as it would have without them.

use openagents_types::{Draft, JobId, Msat, Notice, PaymentHash, Terms, Timestamp};

use crate::{
    Actions, Job,
    ecash::{Beside, BesideState, note_beside},
    job::{Outcome, State, Why},
    payback::{Payback, UNCERTAIN},
    provider::ProviderDesk,
};

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
        let beside =
            self.beside().filter(|_| self.state.is_closed()).and_then(|beside| match &beside.state {
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

    /// What would have to be paid back besides: an invoice that was paid as well, or may have been.
    pub(crate) fn may_owe_beside(&self) -> Option<Msat> {
        let beside = self.beside()?;
        match &beside.state {
            BesideState::Open if beside.terms == Terms::Prepaid => self.ecash.as_ref().map(|it| it.price),
            BesideState::Paid { amount } => Some(*amount),
            // On its way back, it is what the job's own state says.
            BesideState::Open
            | BesideState::Over
            | BesideState::GoingBack { .. }
            | BesideState::PaidBack
            | BesideState::Credited { .. } => None,
        }
    }

    /// Payments that may come or have come over another rail than the one that the job's state names, each with what
    /// it comes to and a word for where it stands.
    pub fn beside_awaited(&self) -> impl Iterator<Item = (PaymentHash, Msat, &'static str)> {
        let price = self.ecash.as_ref().map(|ecash| ecash.price);
        let left_over = self.watches().map(|beside| beside.hash).zip(price);
        let offered = matches!(self.state, State::Offered { .. } | State::Lapsing { .. });
        let ecash = self.ecash_hash().zip(price).filter(|_| offered);
        let left_over = left_over.map(|(hash, price)| (hash, price, "left over"));
        left_over.into_iter().chain(ecash.map(|(hash, price)| (hash, price, "ecash offered")))
    }
}

impl ProviderDesk {
    /// The wallet has taken ecash that it was to hold, and that does not pay its job: it goes back.
    pub(crate) fn took_ecash_beside(&mut self, now: Timestamp, id: JobId, amount: Msat, out: &mut Actions) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.beside().is_none()) else { return };
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
        self.amend(id, |job| note_beside(job, BesideState::Paid { amount }), out);
        if let Some(closed @ State::Closed { .. }) = self.jobs.get(&id).map(|job| job.state.clone()) {
            self.move_to(now, id, closed, out);
        }
    }

    /// The state that a job enters: one that was paid twice does not end before its second payment is on its way back,
    /// and ends as it would have once that is done.
    pub(crate) fn divert(&self, now: Timestamp, job: &mut Job, state: State, out: &mut Actions) -> State {
        let id = job.id();
        let Some(beside) = job.ecash.as_mut().and_then(|ecash| ecash.beside.as_mut()) else { return state };
        let State::Closed { outcome, hash } = state else { return state };
        match std::mem::replace(&mut beside.state, BesideState::PaidBack) {
            BesideState::Paid { amount } => {
                beside.state = BesideState::GoingBack { outcome, hash };
                let hash = beside.hash;
                let trouble = self.unreconciled.contains(&id).then(|| UNCERTAIN.into());
                let overpaid = job.payback.overpaid;
                job.payback = Payback { since: Some(now), trouble, overpaid, ..Payback::default() };
                let why = Why::new("paid-twice", "the job was paid with ecash and by its invoice as well");
                let message = format!("{}; {amount} is owed to you, send an invoice for it", why.message);
                out.publish(id, Draft::Notice(Notice::RefundOwed { paid: hash, amount, message }));
                State::RefundOwed { hash, amount, why }
            }
            BesideState::GoingBack { outcome: first, hash: its } => {
                if let Outcome::Credited { amount, why } = outcome {
                    beside.state = BesideState::Credited { amount, why };
                }
                State::Closed { outcome: first, hash: its }
            }
            other @ (BesideState::Open
            | BesideState::Over
            | BesideState::PaidBack
            | BesideState::Credited { .. }) => {
                beside.state = other;
                State::Closed { outcome, hash }
            }
        }
    }

    /// A credited refund is claimed: from now on it is owed again.
    pub(crate) fn owe_again(&mut self, now: Timestamp, id: JobId, credited: Credited, out: &mut Actions) {
        let Credited { hash, amount, why, beside } = credited;
        if let Some(job) = self.jobs.get_mut(&id) {
            job.payback.since = Some(now);
            if let (true, State::Closed { outcome, hash }) = (beside, job.state.clone()) {
                note_beside(job, BesideState::GoingBack { outcome, hash });
            }
        }
        self.move_to(now, id, State::RefundOwed { hash, amount, why }, out);
    }
}
