//! A BOLT11 invoice as the rest of the program sees it: text plus what was decoded from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Msat, PaymentHash, Timestamp};

/// A decoded BOLT11 invoice. `openagents-wallet` makes these from text; the fields are what the
/// text says, so a check against them is a check against what would be paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// The invoice itself, lower case, without a `lightning:` prefix.
    pub bolt11: String,
    /// What the payment is called, forever.
    pub payment_hash: PaymentHash,
    /// What it asks. Invoices without an amount are refused where they are decoded.
    pub amount: Msat,
    /// When it stops being payable.
    pub expires_at: Timestamp,
    /// The network its prefix names.
    pub network: Network,
}

/// The bitcoin network that an invoice or a wallet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Real money (`lnbc`).
    Mainnet,
    /// Test money (`lntb`).
    Testnet,
    /// Test money (`lntbs`).
    Signet,
    /// A private chain, or this project's testnet wallet service (`lnbcrt`).
    Regtest,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        })
    }
}
