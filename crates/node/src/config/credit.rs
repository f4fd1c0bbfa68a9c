//! `[[provider.credit]]`: customers that may have unpaid work.

use std::collections::HashMap;

use nostr::PublicKey;
use openagents_types::{CustomerKey, Msat};
use serde::{Deserialize, Serialize};

use super::{ConfigError, price::most};

/// How much unpaid work one customer may have.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCredit {
    /// Its key: an npub, or 64 hexadecimal digits.
    pub customer: String,
    /// How much, in millisatoshis.
    pub msat: u64,
}

/// The credit of each customer that is named.
///
/// # Errors
/// One is named by no key, or twice, or has more than anybody can mean.
pub(super) fn named(credit: &[KeyCredit]) -> Result<HashMap<CustomerKey, Msat>, ConfigError> {
    let mut named = HashMap::new();
    for entry in credit {
        let key = PublicKey::parse(&entry.customer);
        let key = key.map_err(|_| ConfigError::Customer(entry.customer.clone()))?;
        most("provider.credit.msat", entry.msat)?;
        if named.insert(CustomerKey::from_bytes(key.to_bytes()), Msat::new(entry.msat)).is_some() {
            return Err(ConfigError::Twice { key: "provider.credit", what: entry.customer.clone() });
        }
    }
    Ok(named)
}
