//! What a provider says about a job, and what a customer says back.

use serde::{Deserialize, Serialize};

use crate::{
    CustomerKey, EcashAsk, EventId, Invoice, JobId, Millis, Msat, PaymentHash, ProviderKey, Rail, Timestamp,
};

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
    /// When the provider can take the money of the invoice.
    pub terms: Terms,
    /// What it takes instead of the invoice being paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecash: Option<EcashAsk>,
}

impl Quote {
    /// Every way it can be paid, what the payment is then called, and when the provider can take the money.
    pub fn rails(&self) -> impl Iterator<Item = (Rail, PaymentHash, Terms)> + use<> {
        let invoice = (Rail::Bolt11, self.invoice.payment_hash, self.terms);
        let ecash = self.ecash.as_ref().map(|ecash| (Rail::Cashu, ecash.hash, Terms::Escrow));
        std::iter::once(invoice).chain(ecash)
    }
}

/// When a provider can take the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Terms {
    /// The payment is locked, in a hold invoice or as ecash, and settled on delivery; a failure releases it.
    Escrow,
    /// The payment is the provider's when it arrives; a failure owes a refund.
    Prepaid,
}

impl Terms {
    /// Its word, such as `escrow`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Escrow => "escrow",
            Self::Prepaid => "prepaid",
        }
    }
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
    /// The ecash that is taken instead of the amount by invoice.
    pub ecash: Option<EcashAsk>,
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
    /// What made it, in the provider's words.
    pub made_by: Option<MadeBy>,
    /// What of the price it did not use, as the provider says, and keeps as a balance.
    pub unused: Msat,
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
    /// How the model's weights were quantized, if the backend knows it, such as `Q4_K_M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
}

/// What made a result, as its provider says with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    /// The backend's name.
    pub backend: String,
    /// The model, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's digest, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How its weights were quantized, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
}

impl From<&Usage> for MadeBy {
    fn from(usage: &Usage) -> Self {
        Self {
            backend: usage.backend.clone(),
            model: usage.model.clone(),
            digest: usage.digest.clone(),
            quantization: usage.quantization.clone(),
        }
    }
}
