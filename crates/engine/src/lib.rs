//! The rules of the market as a value: `(now, input) -> actions`.
//!
//! Nothing here reads a clock, draws a random number, opens a socket or touches a file; time and
//! entropy come in, intentions go out. Whoever drives an [`Engine`] keeps three promises:
//!
//! 1. **Save, then act.** All [`Action::Save`] and [`Action::Publish`] of a batch are committed in
//!    one transaction before any other action of the batch is performed.
//! 2. **Every action may be performed again.** After a crash [`Engine::restore`] states once more
//!    what the saved records still owe; a wallet is asked before it is told.
//! 3. **A timeout is not an answer.** If a wallet does not answer, nothing is reported: the engine
//!    asks again by itself when [`Engine::next_wake`] comes.
//!
//! The provider's half: [`admission`] decides what may come in, [`bidding`] what it costs,
//! [`payment`] what money that arrived means and [`ecash`] what it means on an offer's second rail, [`zap`] what it means if the job was zapped, and [`beside`] if it is paid twice, [`queue`] who is next, [`delivery`] what happens to
//! the work and [`refund`] how money goes back, [`payback`] where to if nobody claims it, [`balance`] what is kept for a customer's next jobs, [`credit`] what it pays after the work, [`arrears`] how it pays that late; [`job`] has the states. [`reconcile`] is what comes first
//! after a start, [`stray`] what comes a while later, [`earlier`] what a wallet may still do that was told to by the run before; [`shift`] is the
//! operator's word, [`resources`] what the machine allows. The customer's half is [`customer`], with [`choice`] between offers. [`receipt`] has what both say
//! afterwards. [`transfer`] is what the node's owner pays and is paid by hand, outside of any job.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should"))]

mod action;
pub mod admission;
pub mod arrears;
pub mod balance;
pub mod beside;
pub mod bidding;
pub mod choice;
mod config;
pub mod credit;
pub mod customer;
pub mod delivery;
pub mod earlier;
pub mod ecash;
mod input;
pub mod job;
mod ledger;
pub mod metering;
pub mod payback;
pub mod payment;
mod provider;
pub mod queue;
pub mod receipt;
pub mod reconcile;
pub mod refund;
pub mod resources;
mod schedule;
pub mod shift;
pub mod stray;
pub mod transfer;
pub mod zap;

use openagents_types::{DayBudget, PaymentHash, Timestamp};

pub use action::{Action, Actions, InvoiceFor, Record};
pub use balance::{BalanceEntry, Change};
pub use choice::Standing;
pub use config::{Config, CustomerConfig, ModelOffer, Offer, PreimageSeed, ProviderConfig};
pub use customer::{AdvanceLimit, Ask, AskOptions};
pub use input::{Incoming, Input, InputSize, Outgoing, RunFault};
pub use job::Job;
pub use ledger::{Direction, Entry, Movement, PaymentRow};
pub use reconcile::{Sent, SentPayment};
pub use resources::Host;
pub use shift::Shift;
pub use stray::HeldPayment;
pub use transfer::{Transfer, TransferRefused, TransferState};
pub use zap::Zapped;

use crate::{customer::CustomerDesk, provider::ProviderDesk, reconcile::Reconciling, transfer::TransferDesk};

/// One node's view of the market: its provider half, if it sells, and its customer half.
#[derive(Debug)]
pub struct Engine {
    provider: Option<ProviderDesk>,
    customer: CustomerDesk,
    transfers: TransferDesk,
    /// The job that the next payment is about, if it had left memory.
    recalled: Option<openagents_types::JobId>,
    /// The payments that an earlier run may have ordered.
    ordered_earlier: std::collections::HashSet<PaymentHash>,
    /// What waits until the wallet has said what it paid lately.
    reconciling: Option<Reconciling>,
    /// The jobs about which it has not said anything in time, and when each began.
    unanswered: Option<std::collections::BTreeMap<openagents_types::JobId, Timestamp>>,
    /// When this process went on from its records; what was paid before may be in records that are lost.
    began: Timestamp,
    /// What the wallet has sent before and no record names, for zaps that are told later.
    unnamed: Vec<SentPayment>,
}

impl Engine {
    /// An engine that knows of no job yet.
    pub fn new(config: Config) -> Self {
        Self {
            provider: config.provider.map(ProviderDesk::new),
            customer: CustomerDesk::new(config.customer),
            transfers: TransferDesk::default(),
            recalled: None,
            ordered_earlier: std::collections::HashSet::new(),
            reconciling: None,
            unanswered: None,
            began: Timestamp::from_secs(0),
            unnamed: Vec::new(),
        }
    }

    /// An engine that goes on from saved records, and what those records still owe. Besides what is open it
    /// takes bought jobs that are over and may still get a receipt.
    pub fn restore(
        now: Timestamp,
        config: Config,
        records: impl IntoIterator<Item = Record>,
    ) -> (Self, Vec<Action>) {
        let mut engine = Self::new(config);
        let mut out = Actions::default();
        for record in records {
            match record {
                Record::Job(job) => {
                    if let Some(desk) = &mut engine.provider {
                        desk.recall(*job);
                    }
                }
                // One that is over is here because it has no receipt yet.
                Record::Ask(ask) if ask.is_over() => engine.customer.part(now, &ask, &mut out),
                Record::Ask(ask) => engine.customer.recall(*ask),
                Record::Standing(standing) => engine.customer.recall_standing(standing),
                Record::Balance(entry) => {
                    if let Some(desk) = &mut engine.provider {
                        desk.recall_balance(&entry);
                    }
                }
                Record::Transfer(transfer) => engine.transfers.recall(*transfer),
                Record::Payment(_) | Record::Entry(_) | Record::Content { .. } | Record::Receipt(_) => {}
            }
        }
        engine.began = now;
        engine.note_earlier_orders();
        engine.begin_reconciling(now, &mut out);
        if let Some(desk) = &mut engine.provider {
            desk.restate(now, &mut out);
        }
        engine.customer.restate(now, &mut out);
        engine.restate_transfers(now, &mut out);
        engine.hold_back(&mut out);
        (engine, out.into_vec())
    }

    /// Takes one input and says what to do about it.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Action> {
        let mut out = Actions::default();
        self.dispatch(now, input, &mut out);
        out.into_vec()
    }

    fn dispatch(&mut self, now: Timestamp, input: Input, out: &mut Actions) {
        if self.is_used_twice(&input) {
            return;
        }
        match input {
            Input::Ask(ask) => self.customer.ask(now, *ask, out),
            Input::Transfer(transfer) => self.transfer(now, *transfer, out),
            Input::Withdraw { job, reason } => self.customer.withdraw(now, job, &reason, out),
            Input::Quote(quote) => self.customer.quote(now, quote, out),
            Input::Feedback(feedback) => self.customer.feedback(now, &feedback, out),
            Input::Result { result, invoice } => self.customer.result(now, &result, invoice, out),
            Input::Receipt(received) => self.customer.receipt(now, received, out),
            Input::Outgoing { hash, state } => self.outgoing(now, hash, &state, out),
            Input::Incoming { hash, state } => self.incoming(now, hash, state, out),
            Input::Invoiced { invoice_for, outcome } => self.invoiced(now, invoice_for, outcome, out),
            Input::Locked { hash, token } => {
                self.customer.locked(now, hash, token, out);
                self.dismiss();
            }
            Input::Release(released) => self.customer.take_back(&released, out),
            Input::TakenBack { hash, fee } => {
                self.customer.book_lock(now, hash, fee, out);
                let reason = String::from("its ecash was taken back");
                self.outgoing(now, hash, &Outgoing::Failed { reason }, out);
            }
            Input::Recall(record) => self.recall(*record),
            Input::Sent(sent) => self.reconcile(now, sent, out),
            Input::Zapped(zapped) => self.zapped(now, zapped, out),
            Input::Tick => {
                self.go_on_reconciling(now, out);
                if let Some(desk) = &mut self.provider {
                    desk.tick(now, out);
                }
                self.customer.tick(now, out);
                self.tick_transfers(now, out);
            }
            Input::Request(_)
            | Input::Cancel(_)
            | Input::RefundClaim { .. }
            | Input::AddressAnswered { .. }
            | Input::Resolved { .. }
            | Input::Progress { .. }
            | Input::Finished { .. }
            | Input::RunFailed { .. }
            | Input::Held(_)
            | Input::EcashRequested { .. }
            | Input::Token(_)
            | Input::Released { .. }
            | Input::TokenRefused { .. }
            | Input::Shift(_)
            | Input::Host(_)
            | Input::Stock(_) => {
                if let Some(desk) = &mut self.provider {
                    desk.handle(now, input, out);
                }
                self.dismiss();
            }
        }
        self.customer.count(now, out);
        self.hold_back(out);
    }

    /// Whether an input offers an invoice to one half that is in hand elsewhere: a price that is also a refund's
    /// destination, or the other way round, or either that is paid by hand. A payment hash serves one job.
    fn is_used_twice(&self, input: &Input) -> bool {
        let refunds = |hash| self.provider.as_ref().is_some_and(|desk| desk.refunds_to(hash));
        let taken = |hash| refunds(hash) || self.transfers.knows(hash);
        match input {
            Input::Quote(quote) => quote.rails().any(|(_, hash, _)| taken(hash)),
            Input::Result { invoice: Some(invoice), .. } => taken(invoice.payment_hash),
            Input::RefundClaim { invoice, .. } | Input::AddressAnswered { outcome: Ok(invoice), .. } => {
                let hash = invoice.payment_hash;
                self.customer.has_in_hand(hash) || self.transfers.knows(hash)
            }
            _ => false,
        }
    }

    fn incoming(&mut self, now: Timestamp, hash: PaymentHash, state: Incoming, out: &mut Actions) {
        if self.transfers.knows(hash) {
            self.transfer_received(now, hash, state, out);
        } else if self.customer.awaits_refund(hash) {
            self.customer.refund_arrived(now, hash, state, out);
        } else {
            let sold = self.provider.as_ref().is_some_and(|desk| desk.knows(hash));
            if let (Some(job), false) = (self.recalled, sold)
                && let Some(ask) = self.customer.take(job)
            {
                self.customer.dropped_refund_arrived(now, ask, hash, state, out);
            }
            if let Some(desk) = &mut self.provider {
                desk.incoming(now, hash, state, out);
            }
        }
        self.dismiss();
    }

    /// A payment serves one job: a receipt that names one which is known moves nothing.
    fn zapped(&mut self, now: Timestamp, zapped: Zapped, out: &mut Actions) {
        let (job, at) = (zapped.job, zapped.at);
        if !self.knows(zapped.hash)
            && let Some(desk) = &mut self.provider
            && desk.zapped(now, zapped, out)
        {
            self.doubt_zap(now, job, at, out);
        }
        self.dismiss();
    }

    fn outgoing(&mut self, now: Timestamp, hash: PaymentHash, state: &Outgoing, out: &mut Actions) {
        let word = self.word(now, hash, state);
        if self.transfers.knows(hash) {
            self.transfer_sent(now, hash, word, out);
        } else if self.customer.pays(hash) {
            self.customer.outgoing(now, hash, word, out);
        } else if let Some(desk) = &mut self.provider {
            desk.refund_outgoing(now, hash, word, out);
        }
        self.dismiss();
    }

    /// A job that was recalled for a payment, and that the payment did not open again, leaves memory.
    fn dismiss(&mut self) {
        self.transfers.dismiss();
        if let Some(id) = self.recalled.take() {
            self.customer.dismiss(id);
            if let Some(desk) = &mut self.provider {
                desk.dismiss(id);
            }
        }
    }

    fn invoiced(
        &mut self,
        now: Timestamp,
        invoice_for: InvoiceFor,
        outcome: Result<openagents_types::Invoice, String>,
        out: &mut Actions,
    ) {
        match (invoice_for, &mut self.provider) {
            (InvoiceFor::Quote(job), Some(desk)) => desk.invoiced(now, job, outcome, out),
            (InvoiceFor::Quote(_), None) => {}
            (InvoiceFor::Refund { job, paid }, _) => {
                self.customer.refund_invoiced(now, job, paid, outcome, out);
            }
        }
    }

    fn recall(&mut self, record: Record) {
        match (record, &mut self.provider) {
            (Record::Job(job), Some(desk)) => {
                self.recalled = Some(job.id());
                desk.recall(*job);
            }
            (Record::Transfer(transfer), _) => self.transfers.recall(*transfer),
            (Record::Ask(ask), _) => {
                self.recalled = Some(ask.id);
                self.customer.recall(*ask);
            }
            _ => {}
        }
    }

    /// Whether a payment is known to a job in memory. If not, the driver looks its record up and
    /// hands it in as [`Input::Recall`] first: money can arrive long after its job was closed.
    pub fn knows(&self, hash: PaymentHash) -> bool {
        self.transfers.knows(hash)
            || self.customer.pays(hash)
            || self.customer.awaits_refund(hash)
            || self.provider.as_ref().is_some_and(|desk| desk.knows(hash))
    }

    /// What may be spent in a day, and what of it is spent; `None` if there is no limit.
    pub const fn budget(&self) -> Option<&DayBudget> {
        self.customer.config.budget.as_ref()
    }

    /// Whether the customer's half still follows a job; answers about others need not be decoded.
    pub fn follows(&self, job: openagents_types::JobId) -> bool {
        self.customer.follows(job)
    }

    /// Whether a receipt for this job by this provider would be looked at; others need not be opened.
    pub fn awaits_receipt(&self, job: openagents_types::JobId, by: openagents_types::ProviderKey) -> bool {
        self.customer.awaits_receipt(job, by)
    }

    /// Bought jobs that are over and whose receipts may still come, each with its kind.
    pub fn awaited(&self) -> impl Iterator<Item = (openagents_types::JobId, openagents_types::JobKind)> {
        self.customer.receipts.jobs()
    }

    /// When [`Input::Tick`] is due, if ever.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let provider = self.provider.as_ref().and_then(ProviderDesk::next_wake);
        let reconciling = self.reconciling.as_ref().map(Reconciling::wake);
        let wakes = [provider, self.customer.next_wake(), self.transfers.next_wake(), reconciling];
        wakes.into_iter().flatten().min()
    }

    /// What the provider keeps for a customer's next jobs.
    pub fn balance(&self, customer: openagents_types::CustomerKey) -> openagents_types::Msat {
        self.provider.as_ref().map_or(openagents_types::Msat::ZERO, |desk| desk.balances.of(customer))
    }

    /// A job on the provider's desk.
    pub fn job(&self, id: openagents_types::JobId) -> Option<&Job> {
        self.provider.as_ref()?.jobs.get(&id)
    }

    /// A job of the customer's half that is not over.
    pub fn ask(&self, id: openagents_types::JobId) -> Option<&Ask> {
        self.customer.asks.get(&id)
    }

    /// How many jobs each half holds in memory: (provider, customer).
    pub fn load(&self) -> (usize, usize) {
        (self.provider.as_ref().map_or(0, ProviderDesk::len), self.customer.len())
    }

    /// Jobs of the provider that somebody waits for: those with no price yet, offered, in hand, and delivered or
    /// given up whose locked payment is not where it belongs. Looks at every job in hand.
    pub fn promised(&self) -> usize {
        self.provider.as_ref().map_or(0, ProviderDesk::promised)
    }

    /// Whether the provider takes jobs.
    pub fn is_open(&self) -> bool {
        self.provider.as_ref().is_some_and(|desk| desk.off_duty().is_none())
    }

    /// Jobs waiting and running at the provider, for the heartbeat: (queued, running).
    pub fn queue_depth(&self) -> (usize, usize) {
        self.provider.as_ref().map_or((0, 0), ProviderDesk::queue_depth)
    }
}
