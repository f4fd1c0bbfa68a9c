//! Which of several offers is the best.

use openagents_types::{Millis, ProviderKey, Quote};
use serde::{Deserialize, Serialize};

/// How a provider has done for us so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Who.
    pub provider: ProviderKey,
    /// Jobs delivered.
    pub delivered: u32,
    /// Jobs it was chosen for and did not deliver.
    pub failed: u32,
    /// Payments that it said were locked until delivery, that it took, and that had to be claimed back. Kept when
    /// they have come back, and taken off only if the job is delivered after all.
    #[serde(default)]
    pub taken_early: u32,
}

impl Standing {
    /// A provider we know nothing of.
    pub const fn unknown(provider: ProviderKey) -> Self {
        Self { provider, delivered: 0, failed: 0, taken_early: 0 }
    }
}

/// What an offer without an estimate is assumed to take: long enough that saying so pays.
const ETA_UNSAID: Millis = Millis::from_secs(10);

/// How good an offer is; smaller is better.
///
/// `price x (1 s + eta) x (1 + failed)² / √(1 + delivered)`: failures weigh more than deliveries, so
/// that a newcomer who is clearly cheaper is tried, and one who keeps failing is not.
pub fn score(quote: &Quote, standing: &Standing) -> u128 {
    let eta = quote.eta.unwrap_or(ETA_UNSAID).0.min(86_400_000);
    let price = u128::from(quote.price.get().max(1));
    let failed = 1 + u128::from(standing.failed);
    let delivered = (1 + u128::from(standing.delivered)).isqrt();
    price.saturating_mul(1_000 + u128::from(eta)).saturating_mul(1_000).saturating_mul(failed * failed)
        / delivered
}

#[cfg(test)]
mod tests {
    use openagents_types::{EventId, Invoice, JobId, Msat, Network, PaymentHash, Terms, Timestamp};

    use super::*;

    fn quote(price: u64, eta: u64) -> Quote {
        let invoice = Invoice {
            bolt11: String::new(),
            payment_hash: PaymentHash::from_bytes([0; 32]),
            amount: Msat::new(price),
            expires_at: Timestamp::NEVER,
            network: Network::Regtest,
        };
        Quote {
            job: JobId::from_bytes([0; 32]),
            provider: ProviderKey::from_bytes([1; 32]),
            event: EventId::from_bytes([0; 32]),
            price: Msat::new(price),
            invoice,
            expires_at: Timestamp::NEVER,
            eta: Some(Millis(eta)),
            terms: Terms::Escrow,
            ecash: None,
        }
    }

    fn standing(delivered: u32, failed: u32) -> Standing {
        Standing { delivered, failed, ..Standing::unknown(ProviderKey::from_bytes([1; 32])) }
    }

    #[test]
    fn cheaper_faster_and_more_reliable_is_better() {
        let plain = score(&quote(1_000, 1_000), &standing(0, 0));
        assert!(score(&quote(900, 1_000), &standing(0, 0)) < plain);
        assert!(score(&quote(1_000, 500), &standing(0, 0)) < plain);
        assert!(score(&quote(1_000, 1_000), &standing(9, 0)) < plain);
        assert!(score(&quote(1_000, 1_000), &standing(0, 1)) > plain);
    }

    #[test]
    fn extreme_offers_do_not_overflow() {
        let worst = score(&quote(u64::MAX, u64::MAX), &standing(u32::MAX, u32::MAX));
        assert!(worst > 0);
    }
}
