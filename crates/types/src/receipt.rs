//! A work receipt: what was done for whom, at what price and with what result, as its provider says it and
//! its customer agrees. It proves work to others, so it holds hashes where the job holds words: no input, no
//! result, and never the preimage of the payment.

use serde::{Deserialize, Serialize};

use crate::{
    ContentHash, CustomerKey, JobId, JobKind, Millis, Msat, PaymentHash, ProviderKey, ReceiptSalt, Timestamp,
    Usage,
};

/// What a provider says about a job that is delivered and settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: JobKind,
    /// Who did the work.
    pub provider: ProviderKey,
    /// Who asked for it.
    pub customer: CustomerKey,
    /// What the work used, by the provider's own word.
    pub usage: Usage,
    /// What was charged, in millisatoshis; zero for free work.
    #[serde(rename = "price_msat")]
    pub price: Msat,
    /// The payment; whoever shows its preimage shows that it was settled. `None` for free work.
    pub payment_hash: Option<PaymentHash>,
    /// SHA-256 of the result's payload, before any encryption.
    pub result_sha256: ContentHash,
    /// When the customer wrote the request, by the customer's clock.
    pub asked_at: Timestamp,
    /// When the work was taken into the queue: after the payment came, if there is one.
    pub accepted_at: Timestamp,
    /// When the result was sent.
    pub delivered_at: Timestamp,
    /// When the money was the provider's.
    pub settled_at: Timestamp,
    /// Keeps the receipt's hash, which is public, from being found by guessing what the receipt says.
    pub salt: ReceiptSalt,
}

/// For which jobs receipts are sent, waited for and countersigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptRule {
    /// For none.
    None,
    /// For those that were paid.
    #[default]
    Paid,
    /// For free ones as well.
    All,
}

impl ReceiptRule {
    /// Whether a job of this price gets one.
    pub const fn covers(self, price: Msat) -> bool {
        match self {
            Self::None => false,
            Self::Paid => !price.is_zero(),
            Self::All => true,
        }
    }
}

/// How far the clocks of two honest parties may be apart: as far as a request may be dated from the provider's
/// own time.
pub const CLOCK_SKEW: Millis = Millis::from_secs(600);

/// Why a receipt cannot be true, whatever happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptFault {
    /// A price without a payment, or the other way round.
    #[error("price_msat is {0} and payment_hash does not fit it: a paid job has one, a free job has none")]
    Payment(u64),
    /// Two times in the wrong order.
    #[error("{later} is before {earlier}")]
    Order {
        /// What comes first.
        earlier: &'static str,
        /// What comes after it.
        later: &'static str,
    },
}

impl Receipt {
    /// What about the receipt contradicts itself.
    pub fn fault(&self) -> Option<ReceiptFault> {
        if self.price.is_zero() == self.payment_hash.is_some() {
            return Some(ReceiptFault::Payment(self.price.get()));
        }
        // The first pair is of two clocks, the others are of one.
        let asked = self.asked_at.before(CLOCK_SKEW);
        [
            ("asked_at", asked, "accepted_at", self.accepted_at),
            ("accepted_at", self.accepted_at, "delivered_at", self.delivered_at),
            ("delivered_at", self.delivered_at, "settled_at", self.settled_at),
        ]
        .into_iter()
        .find(|(_, first, _, then)| then < first)
        .map(|(earlier, _, later, _)| ReceiptFault::Order { earlier, later })
    }
}
