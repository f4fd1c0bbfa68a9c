//! `[provider]`, as far as it makes prices: one source for advertisements, least bids and quotes.

use openagents_engine::bidding::{PriceRule, Tariff};
use openagents_types::{JobKind, Msat};
use serde::{Deserialize, Serialize};

use super::{ConfigError, Provider, resources::hours};

/// The price of one kind, or of one model of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindPrice {
    /// The kind.
    pub kind: JobKind,
    /// The model; without it the price is of jobs that name none, and of models without a price of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// For any job.
    pub base_msat: u64,
    /// For each KiB of input begun.
    #[serde(default)]
    pub per_kib_msat: u64,
    /// For a thousand tokens that may be written.
    #[serde(default)]
    pub per_1000_output_msat: u64,
    /// For each second that a job usually takes.
    #[serde(default)]
    pub per_second_msat: u64,
}

/// What is asked in some hours of the day.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HourPrice {
    /// Which, local time, such as `22:00-07:00`.
    pub hours: String,
    /// Percent of the price.
    pub percent: u32,
}

/// What a backend proposes, where the operator says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proposed {
    /// For any job, in millisatoshis.
    pub base_msat: u64,
    /// For each KiB of input begun, in millisatoshis.
    pub per_kib_msat: u64,
    /// For each second that a job usually takes, in millisatoshis.
    pub per_second_msat: u64,
}

impl Provider {
    /// The price of a kind, or of a model of it: what is said of the model, else of the kind, else what the backend
    /// proposes, else what holds for all.
    pub fn price(&self, kind: JobKind, model: Option<&str>, proposed: Option<Proposed>) -> PriceRule {
        let said = |model: Option<&str>| {
            self.price.iter().find(|price| price.kind == kind && price.model.as_deref() == model)
        };
        let own = model.and_then(|name| said(Some(name))).or_else(|| said(None));
        let rule = |base, per_kib, per_1000_output, per_second| PriceRule {
            base: Msat::new(base),
            per_kib: Msat::new(per_kib),
            per_1000_output: Msat::new(per_1000_output),
            per_second: Msat::new(per_second),
            floor: Msat::new(self.floor_msat),
        };
        match (own, proposed) {
            (Some(own), _) => {
                rule(own.base_msat, own.per_kib_msat, own.per_1000_output_msat, own.per_second_msat)
            }
            (None, Some(it)) => rule(it.base_msat, it.per_kib_msat, 0, it.per_second_msat),
            (None, None) => rule(self.base_msat, self.per_kib_msat, 0, 0),
        }
    }

    /// What load does to prices.
    pub fn tariff(&self) -> Tariff {
        Tariff {
            surge_from: self.surge_from,
            surge_percent: self.surge_percent,
            idle_percent: self.idle_percent,
            backlog_percent: self.backlog_percent,
            heat_percent: self.heat_percent,
            cpu_percent: self.cpu_percent,
            memory_percent: self.memory_percent,
            hours: self.hours.iter().filter_map(|it| Some((hours(&it.hours)?, it.percent))).collect(),
        }
    }

    /// What the types cannot say about prices.
    pub(super) fn check_prices(&self) -> Result<(), ConfigError> {
        most("provider.base_msat", self.base_msat)?;
        most("provider.per_kib_msat", self.per_kib_msat)?;
        most("provider.floor_msat", self.floor_msat)?;
        for (index, price) in self.price.iter().enumerate() {
            most("provider.price.base_msat", price.base_msat)?;
            most("provider.price.per_kib_msat", price.per_kib_msat)?;
            most("provider.price.per_1000_output_msat", price.per_1000_output_msat)?;
            most("provider.price.per_second_msat", price.per_second_msat)?;
            let is_same = |other: &KindPrice| other.kind == price.kind && other.model == price.model;
            if self.price.iter().take(index).any(is_same) {
                let model = price.model.as_ref().map(|name| format!(", model {name:?},")).unwrap_or_default();
                let what = format!("kind {}{model}", price.kind);
                return Err(ConfigError::Twice { key: "provider.price", what });
            }
        }
        if self.hours.iter().any(|it| it.percent == 0) {
            let rule = "at least 1 percent; with free = true all work is free";
            return Err(ConfigError::Number { key: "provider.hours", text: "0 percent".into(), rule });
        }
        let wrong = self.hours.iter().find(|it| hours(&it.hours).is_none());
        wrong.map_or(Ok(()), |it| Err(ConfigError::Hours { key: "provider.hours", text: it.hours.clone() }))
    }
}

/// The most that a price or a credit can be, in millisatoshis: 1 BTC. What is more is a slip of the keyboard.
const MOST: u64 = 100_000_000_000;

/// Refuses an amount that nobody can mean.
pub(super) fn most(key: &'static str, msat: u64) -> Result<(), ConfigError> {
    let rule = "at most 100000000000 (1 BTC)";
    if msat <= MOST { Ok(()) } else { Err(ConfigError::Number { key, text: msat.to_string(), rule }) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn no_hour_makes_all_work_free_by_mistake() {
        let provider = |percent: u32| -> Provider {
            toml::from_str(&format!("[[hours]]\nhours = \"22:00-07:00\"\npercent = {percent}\n")).unwrap()
        };
        assert!(provider(0).check_prices().is_err_and(|error| error.to_string().contains("free = true")));
        assert!(provider(1).check_prices().is_ok());
    }

    #[test]
    fn a_price_is_said_once_and_can_be_paid() {
        let checked = |text: &str| toml::from_str::<Provider>(text).unwrap().check_prices();
        let price = |rest: &str| format!("[[price]]\nkind = 5050\nbase_msat = 1\n{rest}");
        assert!(checked(&format!("{}{}", price(""), price("model = \"m\"\n"))).is_ok());
        for (text, word) in [
            (price("") + &price(""), "names kind 5050 twice"),
            (price("model = \"m\"\n") + &price("model = \"m\"\n"), "kind 5050, model \"m\", twice"),
            (price("per_second_msat = 100000000001\n"), "provider.price.per_second_msat"),
            ("floor_msat = 100000000001\n".into(), "provider.floor_msat"),
        ] {
            assert!(checked(&text).unwrap_err().to_string().contains(word), "{text}");
        }
        assert!(checked("base_msat = 100000000000\n").is_ok());
    }

    #[test]
    fn a_model_has_its_price_or_that_of_its_kind_or_what_holds_for_all() {
        let provider: Provider = toml::from_str(
            "base_msat = 7\nper_kib_msat = 1\nfloor_msat = 3\n\
             [[price]]\nkind = 5050\nbase_msat = 10\nper_1000_output_msat = 2000\n\
             [[price]]\nkind = 5050\nmodel = \"large\"\nbase_msat = 90\n",
        )
        .unwrap();
        let base = |kind: JobKind, model| provider.price(kind, model, None).base.get();
        let (generation, summary) = (JobKind::TEXT_GENERATION, JobKind::SUMMARIZATION);
        assert_eq!(
            (base(generation, None), base(generation, Some("small")), base(generation, Some("large"))),
            (10, 10, 90)
        );
        assert_eq!(base(summary, Some("large")), 7);
        let proposed = Some(Proposed { base_msat: 5, per_kib_msat: 2, per_second_msat: 4 });
        let rule = provider.price(JobKind::SUMMARIZATION, None, proposed);
        assert_eq!((rule.base.get(), rule.per_second.get(), rule.floor.get()), (5, 4, 3));
        let rule = provider.price(JobKind::TEXT_GENERATION, None, proposed);
        assert_eq!((rule.base.get(), rule.per_1000_output.get(), rule.per_second.get()), (10, 2_000, 0));
    }
}
