//! Ecash that is locked until delivery (Cashu NUT-14): what a provider asks, and the token that pays it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CustomerKey, JobId, Millis, PaymentHash, ProviderKey, Timestamp};

/// How near the end of its lock ecash is no longer good for work: whoever takes it needs a minute to do so.
pub const LOCK_MARGIN: Millis = Millis::from_secs(60);

/// The way a payment takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rail {
    /// A Lightning invoice (BOLT 11).
    #[default]
    Bolt11,
    /// Ecash of a mint (Cashu), locked to the provider's preimage until delivery.
    Cashu,
}

impl Rail {
    /// Its word, such as `cashu`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bolt11 => "bolt11",
            Self::Cashu => "cashu",
        }
    }
}

/// The second rail of an offer: ecash of its price, until the offer's end. It is always in escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcashAsk {
    /// What the customer's wallet is given (NUT-18, `creqA…`).
    pub request: String,
    /// What the payment is called, forever: its preimage is what the provider takes the ecash with.
    pub hash: PaymentHash,
    /// When the customer's wallet can take the ecash back.
    pub locktime: Timestamp,
    /// The mints whose ecash is taken.
    pub mints: Vec<String>,
}

impl EcashAsk {
    /// When the work has to be delivered and the ecash taken.
    pub const fn deadline(&self) -> Timestamp {
        self.locktime.before(LOCK_MARGIN)
    }
}

/// A token (NUT-00, `cashuB…`). One that is locked is of use to its receiver alone, and still nothing to print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EcashToken(String);

impl EcashToken {
    /// A token as it was written.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// What it says, for whoever takes it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EcashToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcashToken(…)")
    }
}

/// What a customer's wallet can take locked ecash back with before its lock ends: for that customer's eyes alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EcashRelease(String);

impl EcashRelease {
    /// A release as the provider's wallet wrote it.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// What it says, for the wallet that has locked the ecash.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EcashRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcashRelease(…)")
    }
}

/// A provider gives up ecash that it holds for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasedEcash {
    /// The job.
    pub job: JobId,
    /// Who gives it up.
    pub provider: ProviderKey,
    /// What the payment is called.
    pub hash: PaymentHash,
    /// What it can be taken back with.
    pub release: EcashRelease,
}

/// A customer hands over the ecash that it has locked for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcashPayment {
    /// The job.
    pub job: JobId,
    /// Who pays; only the job's own customer may.
    pub by: CustomerKey,
    /// What the payment is called.
    pub hash: PaymentHash,
    /// The ecash.
    pub token: EcashToken,
}
