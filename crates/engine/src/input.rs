//! Everything that can happen to an engine.

use openagents_types::{
    Cancel, CustomerKey, EcashAsk, EcashPayment, EcashRelease, EcashToken, Feedback, Invoice, JobId,
    JobRequest, JobResult, Msat, PaymentHash, Preimage, Quote, ReleasedEcash, Usage,
};

use crate::{
    Ask, HeldPayment, Host, InvoiceFor, Offer, Record, Sent, Shift, Transfer, job::Why, receipt::Received,
    zap::Zapped,
};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// To the provider: a job was asked for.
    Request(Box<JobRequest>),
    /// To the provider: a customer takes a job back.
    Cancel(Cancel),
    /// To the provider: a customer says where its refund goes; the invoice was decoded.
    RefundClaim {
        /// The job.
        job: JobId,
        /// Who claims.
        by: CustomerKey,
        /// Where the refund is to be paid.
        invoice: Invoice,
    },
    /// To the provider: a receipt says that a job was zapped. It has passed every check, and no record names its payment.
    Zapped(Zapped),
    /// To the provider: the wallet made a request for ecash, or cannot.
    EcashRequested {
        /// The job.
        job: JobId,
        /// The request, or why not.
        outcome: Result<EcashAsk, String>,
    },
    /// To the provider: a customer hands over ecash.
    Token(EcashPayment),
    /// To the provider: the wallet does not take the ecash of a payment. Nothing was spent.
    TokenRefused {
        /// The payment.
        hash: PaymentHash,
        /// Why, fit for the customer.
        reason: String,
    },
    /// To the provider: its wallet has given up ecash, and says what it can be taken back with.
    Released {
        /// The payment.
        hash: PaymentHash,
        /// For the job's customer.
        release: EcashRelease,
    },
    /// To the customer: a provider gives up ecash.
    Release(ReleasedEcash),
    /// To the customer: its wallet has locked ecash.
    Locked {
        /// The payment.
        hash: PaymentHash,
        /// What to hand over.
        token: EcashToken,
    },
    /// To the customer: its wallet has taken back the ecash of a payment, which cost something.
    TakenBack {
        /// The payment.
        hash: PaymentHash,
        /// What the mint kept.
        fee: Msat,
    },
    /// To the provider: the address that a job's request names has made an invoice for its refund, or why not.
    AddressAnswered {
        /// The job.
        job: JobId,
        /// The invoice, decoded and never used before; or why there is none, for a person.
        outcome: Result<Invoice, String>,
    },
    /// To the provider: the inputs of a job were fetched and checked by the backend, or cannot be.
    Resolved {
        /// The job.
        job: JobId,
        /// How large they are, or why the job is not done, fit for the customer.
        outcome: Result<InputSize, Why>,
    },
    /// To the provider: a piece of a running job's result.
    Progress {
        /// The job.
        job: JobId,
        /// The text to append.
        text: String,
    },
    /// To the provider: a job's work is done.
    Finished {
        /// The job.
        job: JobId,
        /// The payload of the result.
        content: String,
        /// What the work used.
        usage: Usage,
    },
    /// To the provider: a job's work failed.
    RunFailed {
        /// The job.
        job: JobId,
        /// Why.
        fault: RunFault,
    },
    /// To the customer: a job to buy. Its request event is already signed and named.
    Ask(Box<Ask>),
    /// The owner pays something by hand, or has made an invoice to be paid by hand.
    Transfer(Box<Transfer>),
    /// To the customer: its owner no longer wants a job.
    Withdraw {
        /// The job.
        job: JobId,
        /// Why, for the provider.
        reason: String,
    },
    /// To the customer: a provider's price, its invoice decoded.
    Quote(Quote),
    /// To the customer: any other word from a provider.
    Feedback(Feedback),
    /// To the customer: a result, with its invoice decoded if the provider wants paying afterwards.
    Result {
        /// The result.
        result: JobResult,
        /// What the provider asks for it, if it was not paid before.
        invoice: Option<Invoice>,
    },
    /// To the customer: a provider's receipt, signed by the provider it names.
    Receipt(Box<Received>),
    /// A wallet made an invoice, or cannot.
    Invoiced {
        /// What it is for.
        invoice_for: InvoiceFor,
        /// The invoice, or why not.
        outcome: Result<Invoice, String>,
    },
    /// How a payment to us stands, by the wallet's own word.
    Incoming {
        /// Its name.
        hash: PaymentHash,
        /// How it stands.
        state: Incoming,
    },
    /// How a payment by us stands, by the wallet's own word.
    Outgoing {
        /// Its name.
        hash: PaymentHash,
        /// How it stands.
        state: Outgoing,
    },
    /// What the wallet has sent lately and no record names.
    Sent(Sent),
    /// To the provider: what the wallet holds for jobs and no record names.
    Held(Vec<HeldPayment>),
    /// To the provider: its operator tells it to work, to pause or to stop.
    Shift(Shift),
    /// To the provider: its machine may work, or may not, and how hard it does.
    Host(Host),
    /// To the provider: what its backends can do has changed, their models and prices. Kinds that it did not sell before
    /// are left out, and those that are missing stay as they were: jobs of them may be on their way.
    Stock(Vec<Offer>),
    /// A record from the store that a payment named although its job had left memory.
    Recall(Box<Record>),
    /// Time has passed.
    Tick,
}

/// How large a job's inputs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputSize {
    /// All inputs together.
    pub bytes: u64,
}

/// How a payment to us stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The invoice is there and unpaid.
    Open,
    /// The money is locked: ours if we settle, the payer's if we cancel.
    Held {
        /// How much.
        amount: Msat,
    },
    /// The money is ours.
    Settled {
        /// How much.
        amount: Msat,
    },
    /// The invoice was cancelled, and any money held for it went back.
    Cancelled,
    /// The invoice expired unpaid, or a hold on it lapsed and the money went back.
    Expired,
    /// The wallet never heard of it.
    Unknown,
}

/// How a payment by us stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// On its way, or locked at the receiver. It may yet settle or come back.
    Pending,
    /// The receiver has it; the preimage proves that.
    Settled {
        /// The proof: its SHA-256 is the payment hash.
        preimage: Preimage,
        /// What routing cost on top.
        fee: Msat,
    },
    /// The wallet says that it did not arrive and came back.
    Failed {
        /// Why, in the wallet's words.
        reason: String,
    },
    /// The wallet never heard of it, so it was never sent.
    Unknown,
}

/// Why work on a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFault {
    /// For the customer's program: [`openagents_types::refusal::FAILED`], or a code that says more.
    pub code: String,
    /// For the customer: what happened, without internals.
    pub message: String,
    /// Whether another attempt could succeed.
    pub retryable: bool,
}
