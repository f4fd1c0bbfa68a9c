//! What a node wants to say, before it is encoded, signed and sent.

use serde::{Deserialize, Serialize};

use crate::{
    ContentHash, EcashAsk, EcashRelease, EcashToken, EventId, Invoice, MadeBy, Millis, Msat, PaymentHash,
    ProviderKey, Receipt, Terms, Timestamp,
};

/// Something to say about one job. `openagents-protocol` knows how to write each on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draft {
    /// Provider: pay this, then I do it.
    Quote {
        /// What to pay; its amount is the price.
        invoice: Invoice,
        /// Until when the price stands.
        expires_at: Timestamp,
        /// How long it will probably take.
        eta: Option<Millis>,
        /// When the money becomes mine.
        terms: Terms,
        /// What I take instead.
        ecash: Option<EcashAsk>,
    },
    /// Provider: a word on how things stand.
    Notice(Notice),
    /// Provider: a piece of the result, numbered from zero.
    Partial {
        /// Its place in the order.
        index: u32,
        /// The text to append.
        text: String,
    },
    /// Provider: the result.
    Result {
        /// The payload.
        content: String,
        /// What was charged.
        price: Msat,
        /// What of it was not used and becomes the customer's balance.
        unused: Msat,
        /// What made it; said openly, so left out of an encrypted job's result.
        made_by: Option<MadeBy>,
    },
    /// Provider: the result, and its invoice: it is paid afterwards.
    Bill {
        /// The payload.
        content: String,
        /// What to pay; its amount is the price.
        invoice: Invoice,
        /// What of it was not used, and becomes the customer's balance once it is paid.
        unused: Msat,
        /// What made it, if that may be told.
        made_by: Option<MadeBy>,
    },
    /// Customer: I take the job back (NIP-09).
    Cancel {
        /// The one provider who should stop; `None` tells everybody. Written as a `p` tag.
        provider: Option<ProviderKey>,
        /// Why, for a person.
        reason: String,
    },
    /// Customer: pay the refund you owe to this invoice.
    RefundClaim {
        /// Who owes it, and so who can read the claim.
        provider: ProviderKey,
        /// The invoice, for exactly the amount owed.
        invoice: Invoice,
    },
    /// Customer: here is the ecash that you asked for.
    Ecash {
        /// Who asked for it, and so who can read this.
        provider: ProviderKey,
        /// What the payment is called.
        hash: PaymentHash,
        /// The ecash.
        token: EcashToken,
    },
    /// Provider: I give up the ecash that I held; take it back.
    Release {
        /// What the payment is called.
        hash: PaymentHash,
        /// What it can be taken back with.
        release: EcashRelease,
    },
    /// Provider: this is what I did and what I got for it.
    Receipt(Box<Receipt>),
    /// Customer: so it was.
    Countersign {
        /// Whose receipt it is.
        provider: ProviderKey,
        /// The event that carried it.
        receipt: EventId,
        /// The hash of what it says.
        digest: ContentHash,
    },
}

/// A short word on how a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// The work has begun or waits its turn.
    Processing {
        /// For a person, such as "paid; 3 jobs ahead of yours".
        message: String,
    },
    /// The work is done and the result sent.
    Success,
    /// The work will not be done.
    Refused {
        /// A machine-readable reason, such as `bid-too-low`.
        code: String,
        /// For a person: what happened, whether money is safe, what to do next.
        message: String,
        /// The least that would be taken, where the price was the reason.
        minimum: Option<Msat>,
    },
    /// The work failed after money arrived that has to go back.
    RefundOwed {
        /// The payment that it is about. It tells two refunds of one job apart, and is not sent.
        paid: PaymentHash,
        /// What is owed.
        amount: Msat,
        /// For a person.
        message: String,
    },
    /// The refund was paid.
    Refunded {
        /// The payment that it is about. It tells two refunds of one job apart, and is not sent.
        paid: PaymentHash,
        /// What was paid back.
        amount: Msat,
    },
    /// What is owed and nobody claimed is kept as the customer's balance, for its next jobs.
    Credited {
        /// The payment that it is about. It tells two refunds of one job apart, and is not sent.
        paid: PaymentHash,
        /// How much.
        amount: Msat,
    },
    /// More was paid than the price; the rest is kept as the customer's balance, for its next jobs.
    Overpaid {
        /// How much too much.
        amount: Msat,
    },
    /// The job runs from the customer's balance; there is no invoice.
    FromBalance {
        /// What it costs.
        amount: Msat,
        /// What is left of the balance.
        left: Msat,
    },
    /// The refund was paid to the address that the request names, because nobody claimed it.
    RefundedTo {
        /// The payment that it is about. It tells two refunds of one job apart, and is not sent.
        paid: PaymentHash,
        /// What was paid back.
        amount: Msat,
        /// The address, as the request names it.
        to: String,
    },
}
