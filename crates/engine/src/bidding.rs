//! What a job costs here and now: the one place that ads, least bids and quotes come from.
//!
//! A price is fixed when it is quoted. Where it counts what is written, it counts what the job allows to be written; what
//! is then not written is given back ([`crate::metering`]).

use openagents_types::{Millis, Msat, Param};
use serde::{Deserialize, Serialize};

use crate::resources::{Hours, Strain};

/// Tokens of an answer that its job sets no limit to (`max_tokens`), as our backends ask for.
pub const USUAL_OUTPUT: u64 = 512;

/// What one kind, or one model of it, costs before load is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRule {
    /// For any job.
    pub base: Msat,
    /// For each KiB of input begun.
    pub per_kib: Msat,
    /// For a thousand tokens that may be written.
    pub per_1000_output: Msat,
    /// For each second that a job usually takes.
    pub per_second: Msat,
    /// Never less than this, discounts included.
    pub floor: Msat,
}

/// What load does to prices. Percents of the price: 100 changes nothing, and all that hold multiply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// From this many waiting jobs on `surge_percent` is asked (inclusive); 0 turns surge off.
    pub surge_from: usize,
    /// What is then asked, such as 200.
    pub surge_percent: u32,
    /// What is asked when nothing waits or runs, such as 80.
    pub idle_percent: u32,
    /// What is added for each waiting job, such as 1.
    pub backlog_percent: u32,
    /// What is asked of a hot machine (from level 2 on), such as 150.
    pub heat_percent: u32,
    /// What is asked while the processors are [`BUSY`] or more.
    pub cpu_percent: u32,
    /// What is asked while the memory is [`BUSY`] or more in use.
    pub memory_percent: u32,
    /// What is asked in some hours of the day, local time; the first that holds counts.
    pub hours: Vec<(Hours, u32)>,
}

/// From this share on, in percent, processors or memory count as under strain.
pub const BUSY: u8 = 90;

/// The heat from which on a machine counts as hot.
const HOT: u8 = 2;

impl Default for Tariff {
    fn default() -> Self {
        Self {
            surge_from: 0,
            surge_percent: 100,
            idle_percent: 100,
            backlog_percent: 0,
            heat_percent: 100,
            cpu_percent: 100,
            memory_percent: 100,
            hours: Vec::new(),
        }
    }
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Of input.
    pub bytes: u64,
    /// That may be written.
    pub output_tokens: u64,
    /// That it usually takes.
    pub eta: Millis,
}

/// How busy a provider is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs that run.
    pub running: usize,
    /// What its machine is under.
    pub strain: Strain,
    /// The minute of its day.
    pub minute: u16,
}

impl PriceRule {
    /// Costs nothing, whatever the load.
    pub const FREE: Self = Self::flat(Msat::ZERO);

    /// The same price for every job.
    pub const fn flat(base: Msat) -> Self {
        let none = Msat::ZERO;
        Self { base, per_kib: none, per_1000_output: none, per_second: none, floor: none }
    }

    /// The price of a job, rounded up to whole millisatoshis; `None` if it would not fit, which no customer could pay anyway.
    pub fn price(&self, job: Measure, load: &Load, tariff: &Tariff) -> Option<Msat> {
        let written = u128::from(self.per_1000_output.get()) * u128::from(job.output_tokens);
        let parts = [
            u128::from(self.base.get()),
            u128::from(self.per_kib.get()) * u128::from(job.bytes.div_ceil(1024)),
            written.div_ceil(1_000),
            u128::from(self.per_second.get()) * u128::from(job.eta.0.div_ceil(1_000)),
        ];
        let raw = parts.into_iter().try_fold(0_u128, u128::checked_add)?;
        let factors = tariff.percents(load).into_iter().filter(|percent| *percent != 100);
        let scaled =
            factors.map(|percent| (percent, 100)).try_fold((raw, 1_u128), |(price, parts), (by, of)| {
                Some((price.checked_mul(by)?, parts.checked_mul(of)?))
            });
        let (price, parts) = scaled?;
        let price = Msat::new(u64::try_from(price.div_ceil(parts)).ok()?);
        Some(price.max(self.floor)).filter(|price| *price <= Msat::MAX)
    }
}

impl Tariff {
    /// The percents that hold under a load.
    fn percents(&self, load: &Load) -> [u128; 6] {
        let when = |holds: bool, percent: u32| if holds { u128::from(percent) } else { 100 };
        let surges = self.surge_from > 0 && load.waiting >= self.surge_from;
        let idle = load.waiting == 0 && load.running == 0;
        let busy = |share: Option<u8>| share.is_some_and(|share| share >= BUSY);
        let hour = self.hours.iter().find(|(hours, _)| hours.holds(load.minute));
        [
            if surges { u128::from(self.surge_percent) } else { when(idle, self.idle_percent) },
            100 + u128::from(self.backlog_percent) * load.waiting as u128,
            when(load.strain.thermal.is_some_and(|heat| heat >= HOT), self.heat_percent),
            when(busy(load.strain.cpu_percent), self.cpu_percent),
            when(busy(load.strain.memory_percent), self.memory_percent),
            hour.map_or(100, |(_, percent)| u128::from(*percent)),
        ]
    }
}

/// How many tokens a job lets be written.
pub fn output_tokens(params: &[Param]) -> u64 {
    let limit = params.iter().find(|param| matches!(param.name.as_str(), "max_tokens" | "max-tokens"));
    limit.and_then(|param| param.values.first()?.trim().parse().ok()).unwrap_or(USUAL_OUTPUT)
}

/// How a job ranks among waiting ones: 50 for a bid at the price, 100 for twice the price or more
/// (`min(100, floor(50 x bid / price))`). A free kind ranks everybody the same.
pub fn priority(bid: Msat, price: Msat) -> u8 {
    if price.is_zero() {
        return 50;
    }
    let rank = u128::from(bid.get()) * 50 / u128::from(price.get());
    u8::try_from(rank.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: PriceRule = PriceRule {
        base: Msat::new(1_000),
        per_kib: Msat::new(10),
        per_1000_output: Msat::new(2_000),
        per_second: Msat::new(7),
        floor: Msat::new(900),
    };

    fn tariff() -> Tariff {
        Tariff { surge_from: 5, surge_percent: 200, idle_percent: 80, heat_percent: 150, ..Tariff::default() }
    }

    fn load(waiting: usize, running: usize) -> Load {
        Load { waiting, running, ..Load::default() }
    }

    fn bytes(bytes: u64) -> Measure {
        Measure { bytes, ..Measure::default() }
    }

    #[test]
    fn the_price_follows_what_there_is_to_do_and_load() {
        let hot = Strain { thermal: Some(2), ..Strain::default() };
        let warm = Strain { thermal: Some(1), cpu_percent: Some(90), ..Strain::default() };
        let night = (Hours { from: 1_320, to: 420 }, 50);
        let busy = Tariff { cpu_percent: 120, backlog_percent: 1, hours: vec![night], ..tariff() };
        let (one, two) = (load(1, 1), tariff());
        let output = Measure { output_tokens: 512, ..Measure::default() };
        let seconds = Measure { eta: Millis(2_001), ..Measure::default() };
        for (what, job, load, tariff, price) in [
            ("base", bytes(0), one, &two, 1_000),
            ("a KiB begun", bytes(1), one, &two, 1_010),
            ("two KiB", bytes(2_048), one, &two, 1_020),
            ("tokens", output, one, &two, 2_024),
            ("seconds begun", seconds, one, &two, 1_021),
            ("below the surge threshold", bytes(0), load(4, 2), &two, 1_000),
            ("the threshold is inclusive", bytes(0), load(5, 2), &two, 2_000),
            ("the floor holds against the idle discount", bytes(0), load(0, 0), &two, 900),
            ("idle, above the floor", output, load(0, 0), &two, 1_620),
            ("heat and surge multiply", bytes(0), Load { strain: hot, ..load(5, 0) }, &two, 3_000),
            ("warm is not hot", bytes(0), Load { strain: warm, ..one }, &two, 1_000),
            (
                "busy processors and a backlog",
                bytes(0),
                Load { strain: warm, minute: 600, ..load(2, 1) },
                &busy,
                1_224,
            ),
            ("at night", output, Load { minute: 0, ..load(0, 1) }, &busy, 1_012),
        ] {
            assert_eq!(RULE.price(job, &load, tariff), Some(Msat::new(price)), "{what}");
        }
    }

    #[test]
    fn a_price_that_cannot_be_paid_is_no_price() {
        let steep = PriceRule { per_kib: Msat::new(1 << 20), ..RULE };
        let mad =
            Tariff { surge_from: 1, surge_percent: u32::MAX, backlog_percent: u32::MAX, ..Tariff::default() };
        let hot = Load { strain: Strain { thermal: Some(4), ..Strain::default() }, ..load(usize::MAX, 1) };
        assert_eq!(steep.price(bytes(u64::MAX), &load(1, 1), &tariff()), None);
        assert_eq!(RULE.price(bytes(0), &hot, &mad), None);
        let all = Measure { bytes: u64::MAX, output_tokens: u64::MAX, eta: Millis(u64::MAX) };
        assert_eq!(RULE.price(all, &hot, &mad), None);
    }

    #[test]
    fn free_work_divides_by_nothing() {
        let all = Measure { bytes: 1 << 40, output_tokens: 1 << 40, eta: Millis(1 << 40) };
        assert_eq!(PriceRule::FREE.price(all, &load(9, 9), &tariff()), Some(Msat::ZERO));
        let nothing = Tariff { idle_percent: 0, ..Tariff::default() };
        assert_eq!(PriceRule::flat(Msat::new(9)).price(all, &load(0, 0), &nothing), Some(Msat::ZERO));
        assert_eq!(priority(Msat::new(5_000), Msat::ZERO), 50);
    }

    #[test]
    fn priority_doubles_with_the_bid_and_ends_at_a_hundred() {
        let price = Msat::new(1_000);
        assert_eq!(priority(Msat::new(1_000), price), 50);
        assert_eq!(priority(Msat::new(1_500), price), 75);
        assert_eq!(priority(Msat::new(u64::MAX), price), 100);
    }

    #[test]
    fn what_may_be_written_is_what_the_job_says_or_what_is_usual() {
        assert_eq!(output_tokens(&[Param::new("max_tokens", "40")]), 40);
        assert_eq!(output_tokens(&[Param::new("max-tokens", "41")]), 41);
        assert_eq!(output_tokens(&[Param::new("temperature", "1")]), USUAL_OUTPUT);
    }
}
