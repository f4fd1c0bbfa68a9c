//! Money that the owner sends or receives by hand, outside of any job.
//!
//! A [`Transfer`] is written down before the wallet hears of it, is named by its payment hash like every other
//! payment, and keeps to the same rules: a hash serves one purpose forever, a timeout is no answer, what the wallet
//! calls failed is believed the second time, and one that was sent is never sent again.

use std::collections::HashMap;

use openagents_types::{Invoice, JobId, Millis, Msat, PaymentHash, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Action, Actions, Direction, Engine, Entry, Incoming, Movement, Outgoing, PaymentRow, Record,
    customer::CustomerDesk, earlier::Word, schedule::Schedule,
};

/// How long after its invoice has expired a payment may still be on its way to us, or its order on its way to the
/// wallet.
pub(crate) const LATE: Millis = Millis::from_secs(600);

/// The older a payment, the rarer it is asked about: each time after a tenth of its age.
const RARER: u64 = 10;

/// A payment by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// What is paid.
    pub invoice: Invoice,
    /// Which way the money goes.
    pub direction: Direction,
    /// Whom it goes to or what it is for, for a person.
    pub about: String,
    /// The most that routing may cost on top, if it is sent.
    pub max_fee: Msat,
    /// When it was begun.
    pub since: Timestamp,
    /// When anything about it last changed.
    pub changed_at: Timestamp,
    /// How it stands.
    pub state: TransferState,
}

/// How a payment by hand stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum TransferState {
    /// Told to the wallet, or about to be; or, if it comes to us, not yet paid.
    Pending,
    /// The wallet said once that it did not arrive. It is asked again before that is believed.
    Doubtful {
        /// Why, in the wallet's words.
        reason: String,
    },
    /// It did not arrive: the money is back, or was never sent.
    Returned {
        /// Why, for a person.
        reason: String,
    },
    /// It arrived.
    Settled {
        /// How much, without fees.
        amount: Msat,
        /// What routing cost us.
        fee: Msat,
        /// The proof, if we sent it; a settled preimage is no secret any more.
        preimage: Option<String>,
    },
    /// Nobody paid in time.
    Lapsed,
}

impl TransferState {
    /// One word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Doubtful { .. } => "doubtful",
            Self::Returned { .. } => "returned",
            Self::Settled { .. } => "settled",
            Self::Lapsed => "expired",
        }
    }

    /// Whether the wallet has spoken its last word.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Pending | Self::Doubtful { .. } => false,
            Self::Returned { .. } | Self::Settled { .. } | Self::Lapsed => true,
        }
    }
}

impl Transfer {
    /// One that begins now.
    pub const fn new(invoice: Invoice, direction: Direction, about: String, now: Timestamp) -> Self {
        let (max_fee, state) = (Msat::ZERO, TransferState::Pending);
        Self { invoice, direction, about, max_fee, since: now, changed_at: now, state }
    }

    /// Its name.
    pub const fn hash(&self) -> PaymentHash {
        self.invoice.payment_hash
    }

    /// What stands in the books where other payments name their job: its own hash, which names no job.
    pub const fn id(&self) -> JobId {
        in_place_of_a_job(self.hash())
    }
}

/// What stands in the books in place of a job if a payment is by hand.
pub const fn in_place_of_a_job(hash: PaymentHash) -> JobId {
    JobId::from_bytes(*hash.as_bytes())
}

/// Why a payment by hand was not begun. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefused {
    /// The invoice serves something else already.
    #[error("this invoice is in hand already: a payment, a price or a refund of this node is named by it")]
    InHand,
    /// The wallet cannot pay it.
    #[error("the invoice is for {invoice}, and this wallet pays on {wallet}")]
    Network {
        /// The invoice's.
        invoice: openagents_types::Network,
        /// The wallet's.
        wallet: openagents_types::Network,
    },
    /// Too late.
    #[error("the invoice has expired or is about to")]
    Expiring,
    /// More than the day allows.
    #[error("it costs up to {asked} with routing, and {left} of the {limit} a day are left until 00:00 UTC")]
    OverBudget {
        /// With the most that routing may cost.
        asked: Msat,
        /// What is left.
        left: Msat,
        /// The limit.
        limit: Msat,
    },
}

/// Every payment by hand that is not over. The others are in the store.
#[derive(Debug, Default)]
pub(crate) struct TransferDesk {
    open: HashMap<PaymentHash, Transfer>,
    schedule: Schedule,
}

impl TransferDesk {
    pub(crate) fn recall(&mut self, transfer: Transfer) {
        self.open.insert(transfer.hash(), transfer);
    }

    /// Lets one go again that was recalled and is still over.
    pub(crate) fn dismiss(&mut self) {
        self.open.retain(|_, transfer| !transfer.state.is_final());
    }

    pub(crate) fn knows(&self, hash: PaymentHash) -> bool {
        self.open.contains_key(&hash)
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = &Transfer> {
        self.open.values()
    }

    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        self.schedule.next()
    }
}

impl Engine {
    /// Whether a payment by hand may begin now. Whoever drives the engine has looked in the store that its hash was
    /// never used before.
    ///
    /// # Errors
    /// Why not.
    pub fn may_transfer(&self, now: Timestamp, transfer: &Transfer) -> Result<(), TransferRefused> {
        let invoice = &transfer.invoice;
        if self.knows(invoice.payment_hash) || self.customer.has_in_hand(invoice.payment_hash) {
            return Err(TransferRefused::InHand);
        }
        let config = &self.customer.config;
        if invoice.network != config.network {
            return Err(TransferRefused::Network { invoice: invoice.network, wallet: config.network });
        }
        if transfer.direction == Direction::In {
            return Ok(());
        }
        if invoice.expires_at < now.after(config.quote_margin) {
            return Err(TransferRefused::Expiring);
        }
        let asked = invoice.amount.saturating_add(transfer.max_fee);
        match &config.budget {
            Some(budget) if asked > budget.left(now) => {
                Err(TransferRefused::OverBudget { asked, left: budget.left(now), limit: budget.per_day() })
            }
            _ => Ok(()),
        }
    }

    /// Begins a payment by hand; one that may not begin is left out.
    pub(crate) fn transfer(&mut self, now: Timestamp, transfer: Transfer, out: &mut Actions) {
        if self.may_transfer(now, &transfer).is_err() {
            return;
        }
        let Transfer { invoice, direction, max_fee, .. } = transfer.clone();
        out.save(Record::Payment(PaymentRow {
            hash: transfer.hash(),
            job: transfer.id(),
            direction,
            amount: invoice.amount,
            bolt11: invoice.bolt11.clone(),
            at: now,
        }));
        if direction == Direction::Out {
            out.push(Action::Pay { invoice, max_fee, first: true });
        }
        self.keep_transfer(now, transfer, out);
    }

    /// Asks once more about every payment by hand that is not over, after a restart.
    pub(crate) fn restate_transfers(&mut self, now: Timestamp, out: &mut Actions) {
        let mut hashes: Vec<PaymentHash> = self.transfers.open.keys().copied().collect();
        hashes.sort_unstable();
        for hash in hashes {
            self.ask_about_transfer(now, hash, out);
        }
    }

    pub(crate) fn tick_transfers(&mut self, now: Timestamp, out: &mut Actions) {
        while let Some(id) = self.transfers.schedule.pop_due(now) {
            self.ask_about_transfer(now, PaymentHash::from_bytes(*id.as_bytes()), out);
        }
    }

    fn ask_about_transfer(&mut self, now: Timestamp, hash: PaymentHash, out: &mut Actions) {
        let Some(transfer) = self.transfers.open.get(&hash) else { return };
        out.push(match transfer.direction {
            Direction::Out => Action::LookUpOutgoing(hash),
            Direction::In => Action::LookUpIncoming(hash),
        });
        self.schedule_transfer(now, hash);
    }

    fn schedule_transfer(&mut self, now: Timestamp, hash: PaymentHash) {
        let Some(transfer) = self.transfers.open.get(&hash) else { return };
        let age = Millis(now.since(transfer.since).0 / RARER);
        let at = now.after(self.customer.config.recheck.max(age));
        self.transfers.schedule.set(transfer.id(), at);
    }

    /// Takes the wallet's word on a payment that was sent by hand.
    pub(crate) fn transfer_sent(
        &mut self,
        now: Timestamp,
        hash: PaymentHash,
        Word { state: word, is_early }: Word<'_>,
        out: &mut Actions,
    ) {
        let Some(mut transfer) = self.transfers.open.get(&hash).cloned() else { return };
        let state = match (word, &transfer.state) {
            (_, TransferState::Settled { .. }) | (Outgoing::Pending, TransferState::Pending) => return,
            (Outgoing::Settled { preimage, .. }, _) if preimage.hash() != hash => return,
            (Outgoing::Settled { preimage, fee }, _) => {
                self.book_transfer(now, &transfer, Movement::Sent, transfer.invoice.amount, out);
                if !fee.is_zero() {
                    self.book_transfer(now, &transfer, Movement::Fee, *fee, out);
                }
                let (amount, preimage) = (transfer.invoice.amount, Some(preimage.to_hex()));
                TransferState::Settled { amount, fee: *fee, preimage }
            }
            (Outgoing::Pending, TransferState::Doubtful { .. }) => TransferState::Pending,
            // Never sent: by an earlier run of the program that stopped too soon, so it is sent now if that still is
            // in time.
            (Outgoing::Unknown, TransferState::Pending) if now < transfer.invoice.expires_at => {
                let (invoice, max_fee) = (transfer.invoice, transfer.max_fee);
                return out.push(Action::Pay { invoice, max_fee, first: false });
            }
            (Outgoing::Unknown, TransferState::Pending) if now < transfer.invoice.expires_at.after(LATE) => {
                return;
            }
            (Outgoing::Unknown, TransferState::Pending) => {
                TransferState::Returned { reason: "it was never sent, and its invoice has expired".into() }
            }
            (Outgoing::Unknown | Outgoing::Failed { .. }, _) if is_early => return,
            (Outgoing::Failed { reason }, TransferState::Pending) => {
                TransferState::Doubtful { reason: reason.clone() }
            }
            (Outgoing::Failed { .. } | Outgoing::Unknown, TransferState::Doubtful { reason }) => {
                TransferState::Returned { reason: reason.clone() }
            }
            (_, TransferState::Returned { .. } | TransferState::Lapsed) => return,
        };
        account(&mut self.customer, hash, &state);
        transfer.state = state;
        self.keep_transfer(now, transfer, out);
    }

    /// Takes the wallet's word on a payment to an invoice that was made by hand.
    pub(crate) fn transfer_received(
        &mut self,
        now: Timestamp,
        hash: PaymentHash,
        word: Incoming,
        out: &mut Actions,
    ) {
        let Some(mut transfer) = self.transfers.open.get(&hash).cloned() else { return };
        let is_over = now >= transfer.invoice.expires_at.after(LATE);
        transfer.state = match (word, &transfer.state) {
            (_, TransferState::Settled { .. }) => return,
            (Incoming::Settled { amount }, _) => {
                self.book_transfer(now, &transfer, Movement::Received, amount, out);
                TransferState::Settled { amount, fee: Msat::ZERO, preimage: None }
            }
            (Incoming::Cancelled, TransferState::Pending) => TransferState::Lapsed,
            // It may have been paid in its last second.
            (Incoming::Open | Incoming::Unknown | Incoming::Expired, TransferState::Pending) if is_over => {
                TransferState::Lapsed
            }
            (
                Incoming::Open
                | Incoming::Held { .. }
                | Incoming::Unknown
                | Incoming::Expired
                | Incoming::Cancelled,
                _,
            ) => return,
        };
        self.keep_transfer(now, transfer, out);
    }

    fn book_transfer(
        &self,
        now: Timestamp,
        transfer: &Transfer,
        movement: Movement,
        amount: Msat,
        out: &mut Actions,
    ) {
        let (job, hash) = (transfer.id(), transfer.hash());
        out.save(Record::Entry(Entry { at: now, job, hash, movement, amount }));
    }

    /// Saves a changed payment, and lets it go if it is over.
    fn keep_transfer(&mut self, now: Timestamp, mut transfer: Transfer, out: &mut Actions) {
        let hash = transfer.hash();
        transfer.changed_at = now;
        out.save(Record::Transfer(Box::new(transfer.clone())));
        if transfer.state.is_final() {
            self.transfers.open.remove(&hash);
            self.transfers.schedule.clear(transfer.id());
        } else {
            self.transfers.open.insert(hash, transfer);
            self.schedule_transfer(now, hash);
        }
    }
}

/// Puts where the money is into the day's account.
fn account(customer: &mut CustomerDesk, hash: PaymentHash, state: &TransferState) {
    let Some(budget) = &mut customer.config.budget else { return };
    match state {
        TransferState::Settled { fee, .. } => budget.settled(hash, *fee),
        TransferState::Returned { .. } | TransferState::Lapsed => budget.came_back(hash),
        TransferState::Pending | TransferState::Doubtful { .. } => {}
    }
}
