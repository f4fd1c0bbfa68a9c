//! The states of a job on the provider's side, each carrying what is known in it.
//!
//! ```text
//! Resolving ─ Invoicing ─ Offered ─┬─ Queued ─ Running ─ Delivered ─ Closed(Settled)
//!     │           │          │     │     │        │
//!     └───────────┴─ Closed ─┘     └─────┴────────┴─ Returning ─ Closed   (money was only held)
//!                                                 └─ RefundOwed ─┬─ Refunding ─ Closed(Refunded)
//!                                                               └─ Closed(Credited)
//! ```
//! An offer with a plain invoice goes through `Lapsing` when it is over, because its invoice cannot be
//! voided: a slow payment may still arrive. Free work goes from `Resolving` straight to `Queued`. Work that is running always carries the
//! funds it runs on, so unpaid work on a paid job cannot be written down.

use std::{borrow::Cow, sync::Arc};

use openagents_types::{Invoice, JobId, JobRequest, Msat, PaymentHash, Terms, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{credit::Bill, ecash::EcashOffer, metering::Meter, payback::Payback, receipt::Work, zap::Zap};

/// A job as its provider knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What was asked; shared, since every record of the job carries it.
    pub request: Arc<JobRequest>,
    /// When we first saw it, by our own clock.
    pub received_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// Where it stands.
    pub state: State,
    /// Where it has stood, oldest first.
    pub steps: Vec<Step>,
    /// Payments that were found in the wallet and in no record, and that may have been its refund;
    /// while there are any, no other refund is paid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<PaymentHash>,
    /// The ecash that it may be paid with, where the wallet takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecash: Option<Box<EcashOffer>>,
    /// What it was zapped with, as receipts tell it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zaps: Vec<Zap>,
    /// How far its money is on its way to the address that the request names.
    #[serde(default, skip_serializing_if = "Payback::is_unused")]
    pub payback: Payback,
    /// Its invoice, if it is paid for after the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
    /// What of its price is for earlier results whose bills its customer did not pay in time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub arrears: Msat,
    /// What its price comes to by what is written, where it counts that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<Meter>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(amount: &Msat) -> bool {
    amount.is_zero()
}

/// A state that a job entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// The state's word; written down with every record, so it is not copied.
    pub word: Cow<'static, str>,
}

/// How many steps of one job are kept; an honest job has a dozen.
const STEPS_KEPT: usize = 32;

/// Notes the state entered, if it is a new one.
pub(crate) fn note_step(steps: &mut Vec<Step>, at: Timestamp, word: &'static str) {
    if steps.len() < STEPS_KEPT && steps.last().is_none_or(|step| step.word != word) {
        steps.push(Step { at, word: word.into() });
    }
}

impl Job {
    /// The job's name.
    pub fn id(&self) -> JobId {
        self.request.id
    }
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum State {
    /// Its inputs are being fetched and its parameters checked.
    Resolving,
    /// The wallet was asked for an invoice.
    Invoicing {
        /// What the job costs.
        price: Msat,
        /// How large its inputs are, in bytes.
        bytes: u64,
    },
    /// The customer was told the price; nothing is paid.
    Offered {
        /// What to pay.
        invoice: Invoice,
        /// When the money becomes ours.
        terms: Terms,
        /// Until when the price stands.
        expires_at: Timestamp,
    },
    /// The offer is over, but its plain invoice cannot be voided and a slow payment may still arrive.
    Lapsing {
        /// The payment that may come.
        hash: PaymentHash,
        /// The price.
        amount: Msat,
        /// When no payment can arrive any more.
        until: Timestamp,
        /// Why the offer is over.
        why: Why,
    },
    /// Waits for a slot.
    Queued {
        /// What it will run on.
        funds: Funds,
        /// Its rank among waiting jobs, 0-100.
        rank: u8,
        /// How often work on it has begun.
        attempts: u32,
    },
    /// Is being worked on.
    Running {
        /// What it runs on.
        funds: Funds,
        /// Its rank, should it have to wait again.
        rank: u8,
        /// How often work on it has begun, this time included.
        attempts: u32,
        /// Since when.
        since: Timestamp,
        /// Pieces of the result sent so far; after the first, a cancellation comes too late.
        pieces: u32,
        /// Whether the customer was told that work goes on.
        announced: bool,
    },
    /// The result is sent; the locked payment has still to be taken.
    Delivered {
        /// The payment.
        hash: PaymentHash,
        /// How much.
        amount: Msat,
        /// What was done, for the receipt; a job delivered by an earlier version has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        work: Option<Box<Work>>,
    },
    /// The result is sent with its bill, which is not paid yet.
    Billed {
        /// The payment.
        hash: PaymentHash,
        /// How much.
        amount: Msat,
        /// When no payment can arrive any more.
        until: Timestamp,
        /// What was done, for the receipt.
        work: Option<Box<Work>>,
    },
    /// A locked payment has to be given back.
    Returning {
        /// The payment.
        hash: PaymentHash,
        /// Why.
        why: Why,
    },
    /// A payment that was ours has to go back; the customer has not said where to.
    RefundOwed {
        /// The payment that came in.
        hash: PaymentHash,
        /// What is owed.
        amount: Msat,
        /// Why.
        why: Why,
    },
    /// The refund is being paid.
    Refunding {
        /// The payment that came in.
        hash: PaymentHash,
        /// What is owed.
        amount: Msat,
        /// Why.
        why: Why,
        /// Where the refund goes.
        claim: Invoice,
        /// Whether the wallet has said once that the payment failed. It is believed the second time.
        doubted: bool,
    },
    /// Nothing is owed to anybody.
    Closed {
        /// How it ended.
        outcome: Outcome,
        /// The payment that ever was offered for it, should money arrive late.
        hash: Option<PaymentHash>,
    },
}

/// What a job runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "funds")]
pub enum Funds {
    /// It costs nothing.
    Free,
    /// The payment is locked, and ours only if we settle it.
    Held {
        /// The payment.
        hash: PaymentHash,
        /// How much.
        amount: Msat,
    },
    /// The payment is ours.
    Paid {
        /// The payment.
        hash: PaymentHash,
        /// How much.
        amount: Msat,
    },
    /// The customer's balance with us.
    Balance {
        /// How much.
        amount: Msat,
    },
    /// The customer pays after the work.
    Credit {
        /// The payment.
        hash: PaymentHash,
        /// How much.
        amount: Msat,
    },
}

impl Funds {
    /// The payment's name, if there is one.
    pub const fn hash(self) -> Option<PaymentHash> {
        match self {
            Self::Free | Self::Balance { .. } => None,
            Self::Held { hash, .. } | Self::Paid { hash, .. } | Self::Credit { hash, .. } => Some(hash),
        }
    }

    /// How much the customer put in.
    pub const fn amount(self) -> Msat {
        match self {
            Self::Free => Msat::ZERO,
            Self::Held { amount, .. }
            | Self::Paid { amount, .. }
            | Self::Balance { amount }
            | Self::Credit { amount, .. } => amount,
        }
    }

    /// What a result says was paid for it: what a balance has paid is not named, so that nobody pays it again.
    pub const fn named(self) -> Msat {
        match self {
            Self::Balance { .. } => Msat::ZERO,
            Self::Free | Self::Held { .. } | Self::Paid { .. } | Self::Credit { .. } => self.amount(),
        }
    }
}

/// The code of a job that its customer took back.
pub const CANCELLED: &str = "cancelled";

/// The code of a quote that was not paid in time, or of a job whose own deadline passed.
pub const EXPIRED: &str = "expired";

/// Why a job did not end in a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// For programs, such as `timeout`.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Why {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ended")]
pub enum Outcome {
    /// Delivered, and what was asked for it is ours.
    Settled {
        /// What came in; zero for free work.
        paid: Msat,
    },
    /// Delivered, but the locked payment lapsed before it could be taken.
    Unpaid {
        /// What was done, for the receipt, should the payment come after all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        work: Option<Box<Work>>,
    },
    /// Turned away before any money moved.
    Refused(Why),
    /// The quote lapsed unpaid.
    Expired,
    /// Taken back by the customer; any money is back.
    Cancelled,
    /// Failed; any money is back or was never taken.
    Failed(Why),
    /// Failed after it was paid; the refund was paid.
    Refunded {
        /// How much went back.
        amount: Msat,
        /// Why.
        why: Why,
    },
    /// Failed after it was paid; nobody claimed the refund, and it became the customer's balance.
    Credited {
        /// How much.
        amount: Msat,
        /// Why.
        why: Why,
    },
}

impl State {
    /// One word for the state, the same on the wire, on the page and in the program's output.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Resolving => "resolving",
            Self::Invoicing { .. } => "invoicing",
            Self::Offered { .. } => "offered",
            Self::Lapsing { .. } => "lapsing",
            Self::Queued { .. } => "queued",
            Self::Running { .. } => "running",
            Self::Delivered { .. } => "delivered",
            Self::Billed { .. } => "billed",
            Self::Returning { .. } => "returning",
            Self::RefundOwed { .. } => "refund-owed",
            Self::Refunding { .. } => "refunding",
            Self::Closed { outcome, .. } => outcome.word(),
        }
    }

    /// The payment that belongs to the job, if there is one.
    pub const fn hash(&self) -> Option<PaymentHash> {
        match self {
            Self::Resolving | Self::Invoicing { .. } => None,
            Self::Offered { invoice, .. } => Some(invoice.payment_hash),
            Self::Queued { funds, .. } | Self::Running { funds, .. } => funds.hash(),
            Self::Delivered { hash, .. }
            | Self::Billed { hash, .. }
            | Self::Lapsing { hash, .. }
            | Self::Returning { hash, .. }
            | Self::RefundOwed { hash, .. }
            | Self::Refunding { hash, .. } => Some(*hash),
            Self::Closed { hash, .. } => *hash,
        }
    }

    /// What is locked for us.
    pub const fn locked(&self) -> Option<Msat> {
        match self {
            Self::Offered { .. } | Self::Lapsing { .. } | Self::Billed { .. } => None,
            _ => self.awaited(),
        }
    }

    /// What a payment that belongs to the job comes to, while it is not over whether it becomes ours.
    pub const fn awaited(&self) -> Option<Msat> {
        match self {
            Self::Offered { invoice, .. } => Some(invoice.amount),
            Self::Queued { funds: Funds::Held { amount, .. }, .. }
            | Self::Running { funds: Funds::Held { amount, .. }, .. }
            | Self::Lapsing { amount, .. }
            | Self::Billed { amount, .. }
            | Self::Delivered { amount, .. } => Some(*amount),
            Self::Resolving
            | Self::Invoicing { .. }
            | Self::Queued { .. }
            | Self::Running { .. }
            | Self::Returning { .. }
            | Self::RefundOwed { .. }
            | Self::Refunding { .. }
            | Self::Closed { .. } => None,
        }
    }

    /// The payment of a refund, if one is under way.
    pub const fn claim_hash(&self) -> Option<PaymentHash> {
        match self {
            Self::Refunding { claim, .. } => Some(claim.payment_hash),
            _ => None,
        }
    }

    /// Whether nothing more is to be done.
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Whether money is or may become involved, so that the record must survive a power cut.
    pub const fn holds_money(&self) -> bool {
        match self {
            Self::Resolving => false,
            Self::Queued { funds, .. } | Self::Running { funds, .. } => !matches!(funds, Funds::Free),
            Self::Invoicing { .. }
            | Self::Offered { .. }
            | Self::Lapsing { .. }
            | Self::Delivered { .. }
            | Self::Billed { .. }
            | Self::Returning { .. }
            | Self::RefundOwed { .. }
            | Self::Refunding { .. } => true,
            Self::Closed { hash, .. } => hash.is_some(),
        }
    }
}

impl Outcome {
    /// One word for the end.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Settled { .. } => "settled",
            Self::Unpaid { .. } => "unpaid",
            Self::Refused(_) => "refused",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
            Self::Refunded { .. } => "refunded",
            Self::Credited { .. } => "credited",
        }
    }
}
