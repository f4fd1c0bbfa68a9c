//! What a provider says about a job, and what a customer says back.

use serde::{Deserialize, Serialize};

use crate::{CustomerKey, EventId, Invoice, JobId, Millis, Msat, ProviderKey, Timestamp};

/// A provider's price for a job, after its invoice was decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The job.
    pub job: JobId,
    /// Who offers to do it.
    pub provider: ProviderKey,
    /// The event that carried the quote.
    pub event: EventId,
    /// What it costs. Never differs from the invoice's own amount.
    pub price: Msat,
    /// What to pay.
    pub invoice: Invoice,
    /// Until when the price stands.
    pub expires_at: Timestamp,
    /// How long the provider expects to take, if it says.
    pub eta: Option<Millis>,
    /// When the provider can take the money.
    pub terms: Terms,
}

/// When a provider can take the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Terms {
    /// The payment is locked in a hold invoice and settled on delivery; a failure releases it.
    Escrow,
    /// The payment is the provider's when it arrives; a failure owes a refund.
    Prepaid,
}

/// A feedback event (NIP-90 kind 7000) as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// The job it is about.
    pub job: JobId,
    /// Who says it.
    pub provider: ProviderKey,
    /// The event itself.
    pub event: EventId,
    /// What is said.
    pub status: Status,
    /// The words beside the status, for a person; empty if none.
    pub message: String,
    /// The body: a piece of the result when the status is [`Status::Partial`].
    pub content: String,
    /// The amount asked or refunded.
    pub amount: Option<Msat>,
    /// The invoice as text, not yet decoded.
    pub bolt11: Option<String>,
    /// Until when a quote stands (NIP-40 on the event).
    pub expires_at: Option<Timestamp>,
    /// How long the provider expects to take.
    pub eta: Option<Millis>,
    /// When the provider can take the money; prepaid unless it says otherwise.
    pub terms: Terms,
    /// A machine-readable reason, such as `bid-too-low` or `refund-owed`.
    pub code: Option<String>,
    /// When the provider says it was written.
    pub created_at: Timestamp,
}

/// The status of a feedback event (NIP-90).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Pay before work goes on.
    PaymentRequired,
    /// The work is being done.
    Processing,
    /// A piece of the result.
    Partial,
    /// The work is done.
    Success,
    /// The work will not be done. An unknown status reads as this.
    Error,
}

/// A result event (NIP-90 kind 6000-6999, or 7500-7599) as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// The job it answers.
    pub job: JobId,
    /// Who did the work.
    pub provider: ProviderKey,
    /// The event itself.
    pub event: EventId,
    /// Its kind: the request's plus 1000.
    pub kind: u16,
    /// The payload.
    pub content: String,
    /// The amount the provider names.
    pub amount: Option<Msat>,
    /// An invoice for it, as text, from a provider that is paid after the work.
    pub bolt11: Option<String>,
    /// When the provider says it was written.
    pub created_at: Timestamp,
}

/// A customer takes a job back (NIP-09 kind 5 that names the request).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The job.
    pub job: JobId,
    /// Who says so; only the job's own customer may.
    pub by: CustomerKey,
    /// The providers who should stop (`p` tags); empty means all.
    pub providers: Vec<ProviderKey>,
}

/// A customer names the invoice a refund shall be paid to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundClaim {
    /// The job that failed after it was paid.
    pub job: JobId,
    /// Who claims; only the job's own customer may.
    pub by: CustomerKey,
    /// The invoice as text, not yet decoded.
    pub bolt11: String,
}

/// What a piece of work used, as measured by the backend that did it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The backend's name.
    pub backend: String,
    /// The model, if there is one.
    pub model: Option<String>,
    /// The hash of the model's weights, such as `sha256:…`, if the backend knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Tokens (or words, for a backend without a tokenizer) read.
    pub input_tokens: u64,
    /// Tokens (or words) written.
    pub output_tokens: u64,
    /// Wall time of the work.
    pub elapsed: Millis,
}
