//! Zaps (NIP-57) as payments of a job: whoever zaps its request, or our offer, has paid it.
//!
//! The wallet's Lightning address makes the invoice of a zap, so its hash is news to us until the receipt is told. A
//! receipt that has passed every check is still no more than a claim: it is written down, and the wallet is asked.
//! Only its word moves anything. A zap that covers the price of an offer carries the job, and the offer's own invoice
//! becomes the payment beside ([`crate::beside`]), as when ecash pays. One that is short, or that the job no longer
//! needs, is itself the payment beside: it goes back once the job is over. Each zap counts alone; two that are short
//! do not make up a price.
//!
//! Anybody may zap a job. So that nobody can crowd out its customer with zaps of next to nothing, those of the customer's
//! own key and those of all others are counted apart, [`MOST`] of each; further ones are gifts, as is one that is first
//! heard of when the job is delivered and settled, and gifts are no business of the market.
//!
//! Receipts stay on relays, so records that were restored from a backup hear of them again. A zap is then taken for a
//! payment of this job once more, as a plain invoice is, and may carry it once more. It is not paid back twice: one from
//! before the start counts as one that may have been ([`crate::reconcile`]).

use openagents_types::{CustomerKey, Draft, JobId, Millis, Msat, Notice, PaymentHash, Terms, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Action, Actions, Direction, Incoming, Job, PaymentRow, Record,
    beside::{Beside, BesideState},
    job::{EXPIRED, Funds, Outcome, State, Why},
    provider::ProviderDesk,
};

/// How many zaps of one job are kept, of its customer's key and of all others.
const MOST: usize = 4;

/// How long the wallet is asked about a zap. Receipts are signed when the money is there, so a wallet that still knows
/// nothing of it by then is another's.
const PATIENCE: Millis = Millis::from_secs(3_600);

/// A receipt that has passed every check but the wallet's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zapped {
    /// The job that was zapped.
    pub job: JobId,
    /// The payment to ask the wallet for.
    pub hash: PaymentHash,
    /// What its invoice asks.
    pub amount: Msat,
    /// Its invoice.
    pub bolt11: String,
    /// Who zapped, by the signature of its request.
    pub by: CustomerKey,
    /// When, by the receipt.
    pub at: Timestamp,
}

/// A zap of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zap {
    /// Its payment.
    pub hash: PaymentHash,
    /// What its invoice asks.
    pub amount: Msat,
    /// Whether the job's own customer zapped.
    pub own: bool,
    /// When we were told.
    pub told_at: Timestamp,
    /// What the job was offered for, once it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Msat>,
    /// Where it stands.
    pub state: ZapState,
    /// The payment beside: the invoice of the offer if this zap carries the job, and this zap if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
}

/// Where a zap stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZapState {
    /// Told; the wallet has not said that it came.
    Told,
    /// The wallet has it, and it is booked.
    Came,
    /// The wallet did not know of it for so long that it is asked no more.
    Over,
}

impl Zap {
    fn until(&self) -> Timestamp {
        self.told_at.after(PATIENCE)
    }
}

impl Job {
    /// Zaps that the wallet is still to be asked about. Before there is a price nobody could say what they pay.
    pub(crate) fn awaited_zaps(&self) -> impl Iterator<Item = &Zap> {
        let priced = !matches!(self.state, State::Resolving | State::Invoicing { .. });
        self.zaps.iter().filter(move |zap| priced && zap.state == ZapState::Told)
    }

    fn zap(&self, hash: PaymentHash) -> Option<&Zap> {
        self.zaps.iter().find(|zap| zap.hash == hash)
    }

    /// The price that a zap pays now; `None` if the job is not to be paid, or not any more.
    fn zap_pays(&self, now: Timestamp, zap: &Zap) -> Option<Msat> {
        let noted = zap.price.filter(|_| now < zap.until());
        match &self.state {
            State::Offered { invoice, .. } => Some(invoice.amount),
            State::Lapsing { amount, why, .. } => (why.code == EXPIRED).then_some(*amount),
            State::Returning { why, .. } => noted.filter(|_| why.code == EXPIRED),
            State::Closed { outcome, .. } => noted.filter(|_| *outcome == Outcome::Expired),
            State::Resolving
            | State::Invoicing { .. }
            | State::Queued { .. }
            | State::Running { .. }
            | State::Delivered { .. }
            | State::Billed { .. }
            | State::RefundOwed { .. }
            | State::Refunding { .. } => None,
        }
    }

    /// Whether a zap that is first heard of now is one that its customer makes because it was served.
    const fn is_gift(&self) -> bool {
        matches!(self.state, State::Closed { outcome: Outcome::Settled { .. }, .. })
    }

    /// Why the payment beside goes back, if a zap is what there is beside, or what pays.
    pub(crate) fn why_zap_returns(
        &self,
        beside: PaymentHash,
        amount: Msat,
        outcome: &Outcome,
    ) -> Option<Why> {
        let Some(zap) = self.zap(beside) else {
            let carried = self.zaps.iter().any(|zap| zap.beside.as_ref().is_some_and(|it| it.hash == beside));
            let message = "the job was paid by a zap and by its invoice as well";
            return carried.then(|| Why::new("paid-twice", message));
        };
        Some(match (outcome, zap.price) {
            (Outcome::Settled { .. }, _) => Why::new("paid-twice", "the job was zapped and paid otherwise"),
            (_, Some(price)) if amount < price => {
                Why::new("short", format!("{amount} were zapped, the price was {price}"))
            }
            _ => Why::new("late", "the job was zapped when it was not to be paid, or not any more"),
        })
    }
}

impl ProviderDesk {
    /// A receipt says that a job was zapped: whether that is written down. The wallet is asked before anything else
    /// happens.
    pub(crate) fn zapped(&mut self, now: Timestamp, zapped: Zapped, out: &mut Actions) -> bool {
        let Zapped { job: id, hash, amount, bolt11, by, at: _ } = zapped;
        let Some(job) = self.jobs.get(&id).filter(|_| self.config.zaps && !self.knows(hash)) else {
            return false;
        };
        let own = job.request.customer == by;
        let is_room = job.zaps.iter().filter(|zap| zap.own == own).count() < MOST;
        // A wallet that takes ecash takes no zaps, so an offer of it is from before.
        if job.is_gift() || job.ecash.is_some() || !is_room {
            return false;
        }
        let price = offered_for(&job.state);
        let zap = Zap { hash, amount, own, told_at: now, price, state: ZapState::Told, beside: None };
        out.save(Record::Payment(PaymentRow {
            hash,
            job: id,
            direction: Direction::In,
            amount,
            bolt11,
            at: now,
        }));
        self.amend(id, |job| job.zaps.push(zap), out);
        self.watch_beside(id, out);
        self.reschedule(now, id);
        true
    }

    /// A job is offered: what it was zapped with before is asked for now.
    pub(crate) fn price_zaps(&mut self, id: JobId, out: &mut Actions) {
        let Some(job) = self.jobs.get(&id).filter(|job| !job.zaps.is_empty()) else { return };
        let price = offered_for(&job.state);
        self.amend(id, |job| job.zaps.iter_mut().for_each(|zap| zap.price = price), out);
        self.watch_beside(id, out);
    }

    /// When the wallet is asked again about the zaps of a job: soon at first, then ever more rarely.
    pub(crate) fn wake_for_zaps(&self, now: Timestamp, job: &Job) -> Timestamp {
        let (soon, slow) = (self.config.recheck, self.slowly());
        let again = |zap: &Zap| {
            let waited = now.since(zap.told_at);
            let at = now.after(waited.max(soon).min(slow));
            if now < zap.until() { at.min(zap.until()) } else { now.after(soon) }
        };
        job.awaited_zaps().map(again).min().unwrap_or(Timestamp::NEVER)
    }

    /// Takes the wallet's word on a zap that carries no job, or not yet.
    pub(crate) fn zap_moved(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        state: Incoming,
        out: &mut Actions,
    ) {
        let Some(zap) = self.jobs.get(&id).and_then(|job| job.zap(hash)) else { return };
        match (state, zap.state) {
            (Incoming::Settled { amount }, ZapState::Told | ZapState::Over) => {
                self.zap_came(now, id, hash, amount, out);
            }
            (
                Incoming::Open | Incoming::Cancelled | Incoming::Expired | Incoming::Unknown,
                ZapState::Told,
            ) if now >= zap.until() => {
                self.amend(id, |job| note_zap(job, hash, ZapState::Over), out);
                self.look_no_further(now, id);
            }
            // The last is none of our invoices: its server settles it, or not.
            (Incoming::Settled { .. }, ZapState::Came)
            | (
                Incoming::Open | Incoming::Cancelled | Incoming::Expired | Incoming::Unknown,
                ZapState::Told | ZapState::Came | ZapState::Over,
            )
            | (Incoming::Held { .. }, _) => {}
        }
    }

    fn zap_came(&mut self, now: Timestamp, id: JobId, hash: PaymentHash, amount: Msat, out: &mut Actions) {
        let Some(job) = self.jobs.get(&id) else { return };
        // Asked for again once there is a price.
        if matches!(job.state, State::Resolving | State::Invoicing { .. }) {
            return;
        }
        match job.zap(hash).and_then(|zap| job.zap_pays(now, zap)) {
            Some(price) if amount >= price => {
                self.earn(now, id, hash, amount, out);
                self.turn_to_zap(now, id, hash, out);
                self.money_came(now, id, Funds::Paid { hash, amount }, price, out);
                self.watch_beside(id, out);
            }
            Some(price) => {
                let message = format!(
                    "you zapped {amount}, the price is {price}; what was zapped goes back once the job is over"
                );
                out.push(Action::Announce { job: id, draft: Draft::Notice(Notice::Processing { message }) });
                self.zapped_beside(now, id, hash, amount, out);
            }
            None => self.zapped_beside(now, id, hash, amount, out),
        }
    }

    /// From now on a zap pays the job; its invoice is left over.
    fn turn_to_zap(&mut self, now: Timestamp, id: JobId, hash: PaymentHash, out: &mut Actions) {
        let left_over = self.left_over(now, id);
        self.amend(
            id,
            |job| {
                note_zap(job, hash, ZapState::Came);
                put_beside(job, hash, left_over);
            },
            out,
        );
    }

    /// A zap came that does not pay its job: it goes back once the job is over.
    fn zapped_beside(
        &mut self,
        now: Timestamp,
        id: JobId,
        hash: PaymentHash,
        amount: Msat,
        out: &mut Actions,
    ) {
        let beside = Beside { hash, terms: Terms::Prepaid, until: now, state: BesideState::Open };
        self.amend(
            id,
            |job| {
                note_zap(job, hash, ZapState::Came);
                put_beside(job, hash, Some(beside));
            },
            out,
        );
        self.paid_beside(now, id, hash, amount, out);
    }
}

/// What a job is offered for.
const fn offered_for(state: &State) -> Option<Msat> {
    match state {
        State::Offered { invoice, .. } => Some(invoice.amount),
        State::Lapsing { amount, .. } => Some(*amount),
        State::Resolving
        | State::Invoicing { .. }
        | State::Queued { .. }
        | State::Running { .. }
        | State::Delivered { .. }
        | State::Billed { .. }
        | State::Returning { .. }
        | State::RefundOwed { .. }
        | State::Refunding { .. }
        | State::Closed { .. } => None,
    }
}

fn note_zap(job: &mut Job, hash: PaymentHash, state: ZapState) {
    if let Some(zap) = job.zaps.iter_mut().find(|zap| zap.hash == hash) {
        zap.state = state;
    }
}

fn put_beside(job: &mut Job, hash: PaymentHash, beside: Option<Beside>) {
    if let Some(zap) = job.zaps.iter_mut().find(|zap| zap.hash == hash) {
        zap.beside = beside;
    }
}
