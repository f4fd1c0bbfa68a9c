//! What money is worth in a currency.

use serde::{Deserialize, Serialize};

/// What an amount is worth in a currency. Amounts are decimal text, since a number in JSON may become a float.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiatView {
    /// How much, such as `-0.012037`: in the currency's smallest unit, or finer if it is less than one unit.
    pub amount: String,
    /// The currency, such as `EUR`.
    pub currency: String,
    /// What a bitcoin cost.
    pub per_btc: String,
    /// When that was asked.
    pub at: u64,
}

/// Who tells what a bitcoin costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiatSourceView {
    /// The server's name.
    pub source: String,
    /// The currency, such as `EUR`.
    pub currency: String,
    /// What a bitcoin costs; `None` if no price is known that is good now.
    pub per_btc: Option<String>,
    /// When that was asked.
    pub at: Option<u64>,
    /// Why the last question got no price.
    pub fault: Option<String>,
}
