//! Everything an engine can ask of its driver.

use openagents_types::{
    Draft, EcashAsk, EcashRelease, EcashToken, Invoice, JobId, JobKind, Millis, Msat, PaymentHash, Preimage,
    ProviderKey, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{Ask, BalanceEntry, Entry, Job, PaymentRow, Standing, Transfer, receipt::ReceiptRecord};

/// Something to do. `Save` and `Publish` are committed together first; the rest follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write a record, in the batch's one transaction.
    Save(Record),
    /// Sign an event once and put it into the outbox, in the same transaction; then send it.
    Publish {
        /// The job it is about.
        job: JobId,
        /// What to say.
        draft: Draft,
    },
    /// Sign an event and send it once, without keeping it: news that is stale after a crash, or that
    /// an event which is kept tells as well.
    Announce {
        /// The job it is about.
        job: JobId,
        /// What to say.
        draft: Draft,
    },
    /// Send the request event that came with [`crate::Input::Ask`]; put it into the outbox.
    PublishRequest(JobId),
    /// Fetch a job's inputs, check its parameters with the backend, and report [`crate::Input::Resolved`].
    Resolve(JobId),
    /// Make an invoice and report [`crate::Input::Invoiced`].
    Invoice {
        /// What it is for.
        invoice_for: InvoiceFor,
        /// What it asks.
        amount: Msat,
        /// How long it can be paid.
        lifetime: Millis,
        /// The hash to hold it by; `None` for a plain invoice.
        hold: Option<PaymentHash>,
    },
    /// Make a request for ecash that is locked to a hash of ours, and report [`crate::Input::EcashRequested`].
    RequestEcash {
        /// The job it is for.
        job: JobId,
        /// What it asks.
        amount: Msat,
        /// The hash to lock it by.
        hash: PaymentHash,
        /// When whoever locked it can take it back; whole seconds.
        locktime: Timestamp,
        /// Until when it can be paid.
        expires_at: Timestamp,
    },
    /// Lock ecash as a provider asks, unless the wallet knows this hash already; then report the same token in
    /// [`crate::Input::Locked`], or how the payment stands.
    LockEcash {
        /// What is asked.
        ask: EcashAsk,
        /// How much.
        amount: Msat,
        /// The most that the mint may take on top.
        max_fee: Msat,
        /// True if no earlier run of this program can have locked it.
        first: bool,
    },
    /// Check ecash that was handed to us, and hold it. Report how the payment stands, or
    /// [`crate::Input::TokenRefused`].
    AcceptEcash {
        /// The payment.
        hash: PaymentHash,
        /// The ecash.
        token: EcashToken,
    },
    /// Give up ecash that is held, and report what its customer can take it back with in [`crate::Input::Released`];
    /// a wallet that cannot say that gives it up as [`Self::CancelHold`] does.
    ReleaseEcash {
        /// What opens it.
        preimage: Preimage,
    },
    /// Take back ecash that its receiver has given up. Report how the payment then stands.
    TakeBackEcash {
        /// The payment.
        hash: PaymentHash,
        /// What it is taken back with.
        release: EcashRelease,
    },
    /// Take the money of a held payment. Report how it then stands.
    SettleHold {
        /// What proves the delivery.
        preimage: Preimage,
        /// How much is held.
        amount: Msat,
    },
    /// Give the money of a held payment back, or void its invoice. Report how it then stands.
    CancelHold(PaymentHash),
    /// Ask how a payment to us stands.
    LookUpIncoming(PaymentHash),
    /// Ask how a payment by us stands.
    LookUpOutgoing(PaymentHash),
    /// Ask what was sent since a time; report what no record names as [`crate::Input::Sent`].
    ReadSent {
        /// Since when.
        since: Timestamp,
    },
    /// Ask which payments to us are held since a time; report those that no record names as [`crate::Input::Held`].
    ReadHeld {
        /// Since when.
        since: Timestamp,
    },
    /// Pay, unless the wallet knows this hash already. Report how it then stands.
    Pay {
        /// What to pay.
        invoice: Invoice,
        /// The most that routing may cost on top.
        max_fee: Msat,
        /// True if no earlier run of this program can have sent it, so that the wallet need not be
        /// asked before it is told.
        first: bool,
    },
    /// Ask the address that a job's request names for an invoice; report [`crate::Input::AddressAnswered`].
    AskAddress {
        /// The job.
        job: JobId,
        /// The address, in the customer's words: a Lightning address or an LNURL.
        to: String,
        /// What the invoice has to ask, to the millisatoshi.
        amount: Msat,
    },
    /// Do the work; report [`crate::Input::Progress`] and one of `Finished` or `RunFailed`.
    Run {
        /// The job.
        job: JobId,
        /// Its kind.
        kind: JobKind,
        /// How long it may take.
        limit: Millis,
    },
    /// Stop the work, if it still goes on; report nothing.
    Stop(JobId),
    /// Show a piece of a result to the customer's owner.
    Show {
        /// The job.
        job: JobId,
        /// The text to append.
        text: String,
    },
    /// Tell the customer's owner a provider's word on a job that is under way. It promises nothing.
    Hear {
        /// The job.
        job: JobId,
        /// Whose word.
        provider: ProviderKey,
        /// What it says, for a person.
        message: String,
    },
    /// A job of the customer's half needs no more answers and no receipt: drop its subscription.
    Unfollow(JobId),
}

/// What an invoice is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvoiceFor {
    /// The provider's price for a job.
    Quote(JobId),
    /// A refund that a provider owes the customer.
    Refund {
        /// The job that failed.
        job: JobId,
        /// The payment that has to come back.
        paid: PaymentHash,
    },
}

/// Something to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// A job of the provider's half; replaces the earlier record of that job.
    Job(Box<Job>),
    /// A job of the customer's half; replaces the earlier record of that job.
    Ask(Box<Ask>),
    /// A payment; its hash belongs to one job forever.
    Payment(PaymentRow),
    /// A movement of money in our wallet. Written once for each payment and direction.
    Entry(Entry),
    /// A payment by hand; replaces the earlier record of that payment.
    Transfer(Box<Transfer>),
    /// A change of a customer's balance with us; the sum of all is the balance.
    Balance(BalanceEntry),
    /// How a provider did so far; replaces the earlier record of that provider.
    Standing(Standing),
    /// The payload of a result we bought.
    Content {
        /// The job.
        job: JobId,
        /// The payload.
        content: String,
    },
    /// A receipt, ours or one that we received; each is written once.
    Receipt(ReceiptRecord),
}

/// The actions of one input, in the order they were decided.
#[derive(Debug, Default)]
pub struct Actions(Vec<Action>);

impl Actions {
    pub(crate) fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    pub(crate) fn save(&mut self, record: Record) {
        self.push(Action::Save(record));
    }

    pub(crate) fn publish(&mut self, job: JobId, draft: Draft) {
        self.push(Action::Publish { job, draft });
    }

    /// Takes out what sends money or asks about money sent, and gives the payments' names.
    pub(crate) fn take_payments(&mut self) -> Vec<PaymentHash> {
        let hash = |action: &Action| match action {
            Action::Pay { invoice, .. } => Some(invoice.payment_hash),
            Action::LockEcash { ask, .. } => Some(ask.hash),
            Action::LookUpOutgoing(hash) => Some(*hash),
            _ => None,
        };
        let taken = self.0.extract_if(.., |action| hash(action).is_some());
        taken.filter_map(|action| hash(&action)).collect()
    }

    pub(crate) fn as_slice(&self) -> &[Action] {
        &self.0
    }

    pub(crate) fn into_vec(self) -> Vec<Action> {
        self.0
    }
}
