//! A price from what work costs and what others ask: the sum behind `openagents provider price suggest`. Pure; whoever calls it
//! has measured, asked and read.

use openagents_api::AdView;
use openagents_engine::bidding::{PriceRule, USUAL_OUTPUT};
use openagents_types::{JobKind, Msat};
use serde::Serialize;

use crate::speeds::Speed;

/// The most that is suggested for anything: a bitcoin. Beyond that a setting is wrong.
const MOST: f64 = 1e11;

/// What is for sale, and what is known of it.
#[derive(Clone, Debug)]
pub struct Good {
    /// The kind.
    pub kind: JobKind,
    /// The model, if there is one.
    pub model: Option<String>,
    /// How fast it is made here.
    pub speed: Option<Speed>,
    /// What it costs now.
    pub now: Now,
}

/// A price before load is looked at, in millisatoshis.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// For any job.
    pub base: u64,
    /// For each KiB of input begun.
    pub per_kib: u64,
    /// For a thousand tokens that may be written.
    pub per_1000_output: u64,
}

impl From<PriceRule> for Now {
    fn from(rule: PriceRule) -> Self {
        Self {
            base: rule.base.get(),
            per_kib: rule.per_kib.get(),
            per_1000_output: rule.per_1000_output.get(),
        }
    }
}

/// What a second of work costs, and what is asked of that.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// In millisatoshis; `None` is unknown.
    pub msat_per_second: Option<f64>,
    /// In percent of costs.
    pub margin_percent: u32,
}

/// What others ask for a usual job: one KiB read, and 512 tokens written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Market {
    /// How many providers ask something.
    pub providers: usize,
    /// A quarter of them asks no more than this, in millisatoshis.
    pub low_msat: u64,
    /// Half of them.
    pub median_msat: u64,
    /// Three quarters.
    pub high_msat: u64,
}

/// A price, and how it came about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suggestion {
    /// The kind.
    pub kind: JobKind,
    /// The model.
    pub model: Option<String>,
    /// Tokens or words a second, or bytes where none are counted.
    pub per_second: Option<f64>,
    /// Over how many runs that was measured.
    pub runs: u64,
    /// What energy for a thousand of them costs, in millisatoshis.
    pub energy_msat_per_1000: Option<f64>,
    /// What others ask.
    pub market: Option<Market>,
    /// What a usual job costs now, in millisatoshis, before load is looked at.
    pub now_msat: u64,
    /// For any job, in millisatoshis; `None` if nothing is known to make a price of.
    pub base_msat: Option<u64>,
    /// For each KiB of input begun.
    pub per_kib_msat: Option<u64>,
    /// For a thousand tokens that may be written.
    pub per_1000_output_msat: Option<u64>,
    /// What a usual job would cost, in millisatoshis.
    pub usual_msat: Option<u64>,
    /// What was not known.
    pub lacks: Vec<String>,
}

/// The price of a usual job.
const fn usual(base: u64, per_kib: u64, per_1000: u64) -> u64 {
    base.saturating_add(per_kib).saturating_add(per_1000.saturating_mul(USUAL_OUTPUT).div_ceil(1_000))
}

/// A price that is above what the work costs, with the margin, and no lower than what the market asks in the middle.
pub fn suggest(good: &Good, ads: &[AdView], costs: Costs) -> Suggestion {
    let market = market(good, ads);
    let by_token = good.model.is_some();
    let (now, per_second) = (good.now, good.speed.map(|speed| speed.per_second).filter(|speed| *speed > 0.0));
    let energy = costs.msat_per_second.zip(per_second).map(|(cost, speed)| cost / speed * 1_000.0);
    let least = energy.map(|cost| ceil(cost * f64::from(costs.margin_percent) / 100.0));
    let Now { base, per_kib, .. } = now;
    let price = match (least, market) {
        (None, None) => None,
        (least, market) => {
            let least = least.unwrap_or(0);
            let wanted = market.map_or(0, |market| market.median_msat);
            Some(split(by_token, (base, per_kib), least, wanted, market.is_some()))
        }
    };
    let mut lacks = Vec::new();
    let mut lack = |is_known: bool, what: &str| {
        if !is_known {
            lacks.push(what.to_owned());
        }
    };
    lack(
        per_second.is_some(),
        "speed: no job of it was done here yet; --measure does one where there is a model",
    );
    lack(
        costs.msat_per_second.is_some(),
        "energy: set energy.watts, energy.price_per_kwh and energy.msat_per_unit",
    );
    lack(market.is_some(), "market: no advertisement of another provider was seen");
    Suggestion {
        kind: good.kind,
        model: good.model.clone(),
        per_second,
        runs: good.speed.map_or(0, |speed| speed.runs),
        energy_msat_per_1000: energy,
        market,
        now_msat: usual(base, per_kib, now.per_1000_output),
        base_msat: price.map(|(base, ..)| base),
        per_kib_msat: price.map(|(_, per_kib, _)| per_kib),
        per_1000_output_msat: price.map(|(.., per_1000)| per_1000),
        usual_msat: price.map(|(base, per_kib, per_1000)| usual(base, per_kib, per_1000)),
        lacks,
    }
}

/// Base, for each KiB, and for a thousand tokens: a usual job comes to what is wanted, and the tokens to what they cost at least.
/// What is asked for any job is lowered where the market asks less, and otherwise stays.
fn split(
    by_token: bool,
    (base, per_kib): (u64, u64),
    least: u64,
    wanted: u64,
    market: bool,
) -> (u64, u64, u64) {
    if !by_token {
        // What is written is not counted: a usual job has to bear it.
        let cost = least.saturating_mul(USUAL_OUTPUT).div_ceil(1_000);
        let per_kib = if market { per_kib.min(wanted) } else { per_kib };
        let base = if market { (wanted - per_kib).max(cost) } else { base.max(cost) };
        return (base, per_kib, 0);
    }
    if !market {
        return (base, per_kib, least);
    }
    let per_kib = per_kib.min(wanted);
    let base = base.min(wanted - per_kib);
    let rest = (wanted - per_kib - base).saturating_mul(1_000) / USUAL_OUTPUT;
    (base, per_kib, rest.max(least))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is set before")]
fn ceil(msat: f64) -> u64 {
    msat.clamp(0.0, MOST).ceil() as u64
}

/// Quartiles of what others ask: for the same model where any has it, else for the kind.
fn market(good: &Good, ads: &[AdView]) -> Option<Market> {
    let of_kind = || ads.iter().filter(|ad| ad.kind == good.kind);
    let same = of_kind().filter_map(|ad| {
        let model = ad.models.iter().find(|model| Some(&model.name) == good.model.as_ref())?;
        Some(usual(model.base_msat, model.per_kib_msat, model.per_1000_output_msat))
    });
    let mut prices: Vec<u64> = same.collect();
    if prices.is_empty() {
        prices = of_kind().map(|ad| usual(ad.base_msat, ad.per_kib_msat, ad.per_1000_output_msat)).collect();
    }
    // What is given away is no price.
    prices.retain(|price| (1..=Msat::MAX.get()).contains(price));
    prices.sort_unstable();
    let at = |quarters: usize| prices.get((prices.len().checked_sub(1)? * quarters + 2) / 4).copied();
    Some(Market { providers: prices.len(), low_msat: at(1)?, median_msat: at(2)?, high_msat: at(3)? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use openagents_api::ModelView;
    use openagents_types::ProviderKey;

    use super::*;

    fn ad(n: u8, base_msat: u64, per_1000_output_msat: u64, model: Option<&str>) -> AdView {
        let models = model.into_iter().map(|name| ModelView {
            name: name.into(),
            now_base_msat: None,
            base_msat,
            per_kib_msat: 0,
            per_1000_output_msat,
        });
        AdView {
            provider: ProviderKey::from_bytes([n; 32]),
            kind: JobKind::TEXT_GENERATION,
            name: String::new(),
            base_msat,
            per_kib_msat: 0,
            per_1000_output_msat,
            per_second_msat: 0,
            models: models.collect(),
        }
    }

    fn good(model: Option<&str>, per_second: Option<f64>) -> Good {
        Good {
            kind: JobKind::TEXT_GENERATION,
            model: model.map(str::to_owned),
            speed: per_second.map(|per_second| Speed { per_second, runs: 3 }),
            now: Now { base: 1_000, per_kib: 10, per_1000_output: 0 },
        }
    }

    const KNOWN: Costs = Costs { msat_per_second: Some(5.0), margin_percent: 150 };
    const UNKNOWN: Costs = Costs { msat_per_second: None, margin_percent: 150 };

    #[test]
    fn the_price_covers_costs_and_follows_the_market() {
        let ads: Vec<AdView> = (1..=5).map(|n| ad(n, u64::from(n) * 1_000, 0, None)).collect();
        for (what, good, ads, costs, expected) in [
            (
                "costs alone: 1000 / 20 s x 5 msat x 1.5",
                good(Some("m"), Some(20.0)),
                &[][..],
                KNOWN,
                (1_000, 10, 375),
            ),
            ("the market alone, its median", good(Some("m"), None), &ads, UNKNOWN, (1_000, 10, 3_886)),
            ("the market above costs", good(Some("m"), Some(20.0)), &ads, KNOWN, (1_000, 10, 3_886)),
            ("costs above the market", good(Some("m"), Some(0.1)), &ads, KNOWN, (1_000, 10, 75_000)),
            (
                "a cheap market lowers the base",
                good(Some("m"), Some(20.0)),
                &ads[..1].iter().map(|it| AdView { base_msat: 500, ..it.clone() }).collect::<Vec<_>>(),
                KNOWN,
                (490, 10, 375),
            ),
            (
                "no tokens are sold: a usual job bears them",
                good(None, Some(0.1)),
                &[],
                KNOWN,
                (38_400, 10, 0),
            ),
            (
                "no tokens are sold, the market asks more",
                good(None, Some(100.0)),
                &ads,
                KNOWN,
                (2_990, 10, 0),
            ),
        ] {
            let found = suggest(&good, ads, costs);
            let price = (found.base_msat, found.per_kib_msat, found.per_1000_output_msat);
            assert_eq!(price, (Some(expected.0), Some(expected.1), Some(expected.2)), "{what}");
        }
    }

    #[test]
    fn what_is_not_known_is_said_and_nothing_is_made_up() {
        let found = suggest(&good(Some("m"), None), &[], UNKNOWN);
        assert_eq!((found.base_msat, found.usual_msat, found.lacks.len()), (None, None, 3));
        assert_eq!(found.now_msat, 1_010);
        assert!(suggest(&good(Some("m"), Some(1.0)), &[ad(1, 1, 1, None)], KNOWN).lacks.is_empty());
    }

    #[test]
    fn the_same_model_is_compared_where_any_has_it() {
        let ads = [ad(1, 9_000, 0, Some("m")), ad(2, 100, 0, None), ad(3, 0, 0, Some("m"))];
        let found = suggest(&good(Some("m"), None), &ads, UNKNOWN).market.unwrap();
        assert_eq!((found.providers, found.median_msat), (1, 9_000), "what is given away is no price");
        let other = suggest(&good(Some("x"), None), &ads, UNKNOWN).market.unwrap();
        assert_eq!((other.providers, other.low_msat, other.high_msat), (2, 100, 9_000));
    }

    #[test]
    fn nonsense_makes_no_absurd_price() {
        let costs = Costs { msat_per_second: Some(f64::MAX), margin_percent: u32::MAX };
        let ads = [ad(1, u64::MAX, u64::MAX, Some("m"))];
        for good in [good(Some("m"), Some(f64::MIN_POSITIVE)), good(None, Some(0.0)), good(None, Some(1e-9))]
        {
            let found = suggest(&good, &ads, costs);
            assert!(found.usual_msat.is_none_or(|msat| msat <= 2 * 100_000_000_000), "{found:?}");
        }
    }
}
