//! `[energy]`: what this machine's work costs its owner.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// What this machine's work costs its owner. Only `openagents provider price suggest` reads it; 0 is unknown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnergySettings {
    /// What the machine draws while it works, in watts.
    pub watts: u64,
    /// What a kilowatt-hour costs, in the currency.
    pub price_per_kwh: f64,
    /// The currency's name, such as `EUR`.
    pub currency: String,
    /// What one unit of the currency is worth, in millisatoshis: 100000000000 divided by the price of a bitcoin.
    pub msat_per_unit: u64,
    /// What is asked of costs, in percent: 150 earns half of them.
    pub margin_percent: u32,
}

impl Default for EnergySettings {
    fn default() -> Self {
        Self { watts: 0, price_per_kwh: 0.0, currency: "EUR".into(), msat_per_unit: 0, margin_percent: 150 }
    }
}

impl EnergySettings {
    /// What a second of work costs, in millisatoshis; `None` if not all of it is known.
    pub fn msat_per_second(&self) -> Option<f64> {
        let known = self.watts > 0 && self.price_per_kwh > 0.0 && self.msat_per_unit > 0;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let cost = |watts: u64, rate: u64| watts as f64 / 3_600_000.0 * self.price_per_kwh * rate as f64;
        known.then(|| cost(self.watts, self.msat_per_unit))
    }

    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if (0.0..=1e6).contains(&self.price_per_kwh) {
            return Ok(());
        }
        let text = self.price_per_kwh.to_string();
        Err(ConfigError::Number { key: "energy.price_per_kwh", text, rule: "from 0 to 1000000" })
    }
}
