//! The market in a bottle: real engines on one virtual clock, over relays that drop, duplicate,
//! reorder and delay, with wallets that time out and change their mind, in processes that die
//! between any two actions.
//!
//! Each seed is one world. A seed that fails is printed; add it to `KEPT` and it stays a test.
//! `OPENAGENTS_SIM_SEEDS` sets how many seeds are tried, `OPENAGENTS_SIM_FIRST` where they begin.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers drawn by the test itself")]

mod bank;
mod node;
mod report;
mod rng;
mod weather;
mod world;

use report::Report;
use weather::Weather;
use world::World;

/// Seeds that once found a fault. They run in every test run, before any new ones.
const KEPT: &[u64] = &[1, 7, 88];

/// The same, of worlds where old backups are put back.
const KEPT_BACKUPS: &[u64] = &[10_002];

/// The same, of worlds where old backups are put back and ecash pays.
const KEPT_OLD_RAILS: &[u64] = &[13_533, 13_668];

/// The same, of worlds with a second rail.
const KEPT_RAILS: &[u64] = &[10_748];

/// The same, of worlds with balances.
const KEPT_BALANCES: &[u64] = &[11_248];

/// The same, of worlds where orders are read late.
const KEPT_LATE: &[u64] = &[10_199];

/// The weathers in which wallets also read orders late.
const LATE: &[Weather] = &[
    Weather::Storm,
    Weather::Rails,
    Weather::Shifts,
    Weather::ByHand,
    Weather::BalancesOnRails,
    Weather::BillsOnRails,
    Weather::Backups,
    Weather::OldRails,
    Weather::Zaps,
    Weather::OldZaps,
];

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn try_seed(seed: u64, weather: Weather) {
    let outcome = std::panic::catch_unwind(|| World::new(seed, weather).run());
    assert!(outcome.is_ok(), "seed {seed} in {weather:?} weather broke the market; keep it in KEPT");
}

#[test]
fn no_seed_loses_money_or_work() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let seeds = number("OPENAGENTS_SIM_SEEDS", 600);
    for seed in KEPT.iter().copied().chain(first..first + seeds) {
        try_seed(seed, Weather::Storm);
    }
}

#[test]
fn no_old_backup_pays_a_second_time() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    let seeds = first..first + number("OPENAGENTS_SIM_SEEDS", 300);
    for seed in KEPT_BACKUPS.iter().copied().chain(seeds) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Weather::Backups).run());
        let report = outcome.unwrap_or_else(|_| panic!("seed {seed}: a restored backup broke the market"));
        sum.add(&report);
    }
    assert!(sum.restores > 50 && sum.delivered > 0, "{sum:?}");
    assert!(sum.doubted > 0 && sum.recognised > 0, "{sum:?}");
}

#[test]
fn no_stopped_provider_works_or_keeps_money() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    for seed in first..first + number("OPENAGENTS_SIM_SEEDS", 300) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Weather::Shifts).run());
        let report = outcome.unwrap_or_else(|_| panic!("seed {seed}: a stopped provider broke the market"));
        sum.add(&report);
    }
    assert!(sum.stops > 100 && sum.delivered > 0 && sum.releases > 0 && sum.refunds > 0, "{sum:?}");
}

#[test]
fn no_payment_by_hand_is_lost_or_sent_twice() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    for seed in first..first + number("OPENAGENTS_SIM_SEEDS", 300) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Weather::ByHand).run());
        let report = outcome.unwrap_or_else(|_| panic!("seed {seed}: a payment by hand broke the market"));
        sum.add(&report);
    }
    assert!(sum.sent > 100 && sum.returned > 5 && sum.delivered > 0 && sum.deaths > 50, "{sum:?}");
}

#[test]
fn no_balance_is_lost_or_spent_twice() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    let seeds = first..first + number("OPENAGENTS_SIM_SEEDS", 300);
    for seed in KEPT_BALANCES.iter().copied().chain(seeds) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Weather::Balances).run());
        let report = outcome.unwrap_or_else(|_| panic!("seed {seed}: a balance broke the market"));
        sum.add(&report);
    }
    assert!(sum.credited > 50 && sum.used > 20 && sum.given_back > 2 && sum.claimed > 20, "{sum:?}");
    assert!(sum.unused > 20, "{sum:?}");
    assert!(sum.deaths > 50 && sum.refunds > 20 && sum.delivered > 0, "{sum:?}");
}

#[test]
fn no_bill_is_paid_twice_and_no_credit_is_overdrawn() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    for seed in first..first + number("OPENAGENTS_SIM_SEEDS", 300) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Weather::Bills).run());
        let report = outcome.unwrap_or_else(|_| panic!("seed {seed}: a bill broke the market"));
        sum.add(&report);
    }
    assert!(sum.billed > 200 && sum.unpaid > 20 && sum.deaths > 50 && sum.paid > 200, "{sum:?}");
    assert!(sum.paid_late > 10, "{sum:?}");
}

#[test]
fn balances_and_bills_hold_beside_a_second_rail() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    for seed in first..first + number("OPENAGENTS_SIM_SEEDS", 200) {
        for weather in [Weather::BalancesOnRails, Weather::BillsOnRails] {
            let outcome = std::panic::catch_unwind(|| World::new(seed, weather).run());
            let report = outcome.unwrap_or_else(|_| panic!("seed {seed}: {weather:?} broke the market"));
            sum.add(&report);
        }
    }
    assert!(sum.credited > 20 && sum.used > 10 && sum.billed > 50 && sum.by_ecash > 50, "{sum:?}");
}

#[test]
fn in_fair_weather_every_affordable_job_is_delivered_and_paid_once() {
    for seed in 1..=200 {
        let report = World::new(seed, Weather::Fair).run();
        assert_eq!(report.delivered, report.asked, "seed {seed}: {report:?}");
        assert_eq!(report.refunds, 0, "seed {seed}: {report:?}");
        let receipts = (report.receipts, report.countersigned, report.disputed);
        assert_eq!(receipts, (report.paid, report.paid, 0), "seed {seed}: {report:?}");
    }
}

#[test]
fn no_second_rail_loses_money_or_work() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    let seeds = first..first + number("OPENAGENTS_SIM_SEEDS", 600);
    for seed in KEPT_RAILS.iter().copied().chain(seeds) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Weather::Rails).run());
        sum.add(&outcome.unwrap_or_else(|_| panic!("seed {seed}: ecash broke the market")));
    }
    assert!(sum.by_ecash > 100 && sum.locked > sum.by_ecash && sum.delivered > sum.by_ecash, "{sum:?}");
    assert!(sum.released > 20, "{sum:?}");
    assert!(sum.tokens_refused > 5 && sum.paid_twice > 5 && sum.second_attempts > 5, "{sum:?}");
}

#[test]
fn no_old_backup_locks_ecash_a_second_time() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    let seeds = first..first + number("OPENAGENTS_SIM_SEEDS", 300);
    for seed in KEPT_OLD_RAILS.iter().copied().chain(seeds) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Weather::OldRails).run());
        sum.add(&outcome.unwrap_or_else(|_| panic!("seed {seed}: a restored backup broke the market")));
    }
    assert!(sum.restores > 50 && sum.locked > 50 && sum.recognised > 0, "{sum:?}");
}

#[test]
fn no_zap_is_lost_or_counts_twice() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    for seed in first..first + number("OPENAGENTS_SIM_SEEDS", 600) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Weather::Zaps).run());
        sum.add(&outcome.unwrap_or_else(|_| panic!("seed {seed}: a zap broke the market")));
    }
    assert!(sum.by_zap > 100 && sum.zaps_back > 100 && sum.made_up > 50 && sum.gifts > 10, "{sum:?}");
    assert!(sum.delivered > sum.by_zap && sum.deaths > 100, "{sum:?}");
}

#[test]
fn no_old_backup_pays_a_zap_back_a_second_time() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    for seed in first..first + number("OPENAGENTS_SIM_SEEDS", 300) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Weather::OldZaps).run());
        sum.add(&outcome.unwrap_or_else(|_| panic!("seed {seed}: a restored backup broke the market")));
    }
    assert!(sum.restores > 50 && sum.zapped > 50 && sum.doubted > 0, "{sum:?}");
}

#[test]
fn balances_and_bills_hold_beside_zaps() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    for seed in first..first + number("OPENAGENTS_SIM_SEEDS", 200) {
        for weather in [Weather::ZapsOnBalances, Weather::ZapsOnBills] {
            let outcome = std::panic::catch_unwind(|| World::new(seed, weather).run());
            let report = outcome.unwrap_or_else(|_| panic!("seed {seed}: {weather:?} broke the market"));
            sum.add(&report);
        }
    }
    assert!(sum.credited > 20 && sum.used > 10 && sum.billed > 50 && sum.by_zap > 50, "{sum:?}");
}

#[test]
fn in_fair_weather_ecash_delivers_every_affordable_job() {
    let mut sum = Report::default();
    for seed in 1..=200 {
        let report = World::new(seed, Weather::FairRails).run();
        assert_eq!(report.delivered, report.asked, "seed {seed}: {report:?}");
        assert_eq!((report.refunds, report.tokens_refused), (0, 0), "seed {seed}: {report:?}");
        assert_eq!(report.locked, report.by_ecash, "seed {seed}: {report:?}");
        let receipts = (report.receipts, report.countersigned, report.disputed);
        assert_eq!(receipts, (report.paid, report.paid, 0), "seed {seed}: {report:?}");
        sum.add(&report);
    }
    assert!(sum.by_ecash > 50 && sum.by_ecash < sum.paid, "{sum:?}");
}

#[test]
fn no_order_that_is_read_late_moves_money_twice() {
    let first = number("OPENAGENTS_SIM_FIRST", 1);
    let mut sum = Report::default();
    let seeds = first..first + number("OPENAGENTS_SIM_SEEDS", 800) / 4;
    for seed in KEPT_LATE.iter().copied().chain(seeds) {
        for weather in LATE {
            let outcome =
                std::panic::catch_unwind(|| World::new(seed, *weather).with_late_orders(seed).run());
            let report = outcome.unwrap_or_else(|_| panic!("seed {seed}: late orders, {weather:?} weather"));
            sum.add(&report);
        }
    }
    assert!(sum.late_orders > 1_000 && sum.delivered > 100 && sum.refunds > 20, "{sum:?}");
}

#[test]
fn storms_really_happen() {
    let mut sum = Report::default();
    for seed in 1..=150 {
        sum.add(&World::new(seed, Weather::Storm).run());
    }
    assert!(sum.delivered > 0 && sum.deaths > 100 && sum.refunds > 0 && sum.timeouts > 100, "{sum:?}");
    assert!(sum.receipts > sum.countersigned && sum.countersigned > 50 && sum.disputed > 5, "{sum:?}");
    assert!(sum.second_attempts > 0 && sum.flips > 0 && sum.releases > 0, "{sum:?}");
    assert!(sum.to_address > 5 && sum.refunds > sum.to_address, "{sum:?}");
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in [3, 77, 4_242] {
        let twice = [(); 2].map(|()| World::new(seed, Weather::Storm).run());
        assert_eq!(twice[0], twice[1]);
    }
}
