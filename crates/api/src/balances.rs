//! What a provider keeps for its customers' next jobs (`GET /api/v1/provider/balances`).

use openagents_types::JobId;
use serde::{Deserialize, Serialize};

use crate::{Client, ClientError};

/// Balances, the largest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancesView {
    /// The version of this form.
    pub schema_version: u32,
    /// All of them together, in millisatoshis. They are in the wallet, and owed.
    pub total_msat: u64,
    /// Each key that has something.
    pub balances: Vec<BalanceView>,
    /// Each key that did not pay bills in time, and how much.
    pub unpaid: Vec<BalanceView>,
}

/// What is kept for one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceView {
    /// Whose it is, in hexadecimal.
    pub customer: String,
    /// How much.
    pub msat: u64,
    /// When it last changed, in milliseconds since 1970.
    pub changed_at: u64,
    /// The job of the last change.
    pub job: JobId,
}

impl Client {
    /// What the provider keeps for its customers.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn balances(&self) -> Result<BalancesView, ClientError> {
        self.fetch("/api/v1/provider/balances").await
    }
}
