//! Rows about money: which payment belongs to which job, and what moved in our wallet.

use openagents_types::{JobId, Msat, PaymentHash, Timestamp};
use serde::{Deserialize, Serialize};

/// A payment and the job it belongs to. The hash is its key, forever: no hash ever serves a second
/// job, and a record restored from an old backup still refuses to pay it twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRow {
    /// Its name.
    pub hash: PaymentHash,
    /// The job it belongs to; for a payment by hand what [`crate::transfer::in_place_of_a_job`] says.
    pub job: JobId,
    /// Which way the money goes.
    pub direction: Direction,
    /// How much, without fees.
    pub amount: Msat,
    /// The invoice.
    pub bolt11: String,
    /// When it was first written down.
    pub at: Timestamp,
}

/// Which way the money of a payment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To us.
    In,
    /// From us.
    Out,
}

/// One movement of money in our wallet, as the wallet itself confirmed it. The sum of all entries
/// is what the market did to the wallet's balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When we learnt of it.
    pub at: Timestamp,
    /// The job; for a payment by hand what [`crate::transfer::in_place_of_a_job`] says.
    pub job: JobId,
    /// The payment.
    pub hash: PaymentHash,
    /// What moved.
    pub movement: Movement,
    /// How much.
    pub amount: Msat,
}

/// What moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Movement {
    /// A customer's payment became ours.
    Earned,
    /// We paid a provider.
    Spent,
    /// What routing cost.
    Fee,
    /// We paid a customer back.
    RefundPaid,
    /// A provider paid us back.
    RefundReceived,
    /// The owner paid something by hand.
    Sent,
    /// Somebody paid an invoice that the owner made by hand.
    Received,
}

impl Movement {
    /// Whether the movement adds to our balance.
    pub const fn adds(self) -> bool {
        match self {
            Self::Earned | Self::RefundReceived | Self::Received => true,
            Self::Spent | Self::Fee | Self::RefundPaid | Self::Sent => false,
        }
    }
}
