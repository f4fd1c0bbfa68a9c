//! Figures and how they are shown.

use std::time::Duration;

use serde::Serialize;

use crate::process::Used;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// `floor`, `free`, `paid` or `prepaid`.
    pub(crate) what: &'static str,
    pub(crate) outstanding: usize,
    pub(crate) jobs: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) jobs_per_second: f64,
    pub(crate) node: Used,
}

/// All of them, and what they mean.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Figures>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) payments: Vec<Payment>,
}

/// What paying adds to a job.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Payment {
    /// How it is paid: locked until delivery, or in advance.
    pub(crate) rail: &'static str,
    /// How much longer it takes than a free one, at the median, one at a time.
    pub(crate) added_p50_ms: f64,
}

/// A target and what was reached.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) name: &'static str,
    pub(crate) reached: f64,
    pub(crate) target: f64,
    pub(crate) met: bool,
}

impl Figures {
    pub(crate) fn new(
        what: &'static str,
        outstanding: usize,
        mut latencies: Vec<Duration>,
        took: Duration,
        node: Used,
    ) -> Self {
        latencies.sort_unstable();
        let at = |percent: usize| {
            let index = (latencies.len().saturating_sub(1)) * percent / 100;
            latencies.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1_000.0)
        };
        #[expect(clippy::cast_precision_loss, reason = "far fewer jobs than a float can count")]
        let jobs_per_second = latencies.len() as f64 / took.as_secs_f64();
        let (p50_ms, p95_ms, p99_ms) = (at(50), at(95), at(99));
        Self { what, outstanding, jobs: latencies.len(), p50_ms, p95_ms, p99_ms, jobs_per_second, node }
    }
}

impl Report {
    pub(crate) fn new(rows: Vec<Figures>) -> Self {
        let row = |what, outstanding| rows.iter().find(|r| r.what == what && r.outstanding == outstanding);
        let mut goals = Vec::new();
        let mut goal = |name, reached: Option<f64>, target: f64, at_most: bool| {
            if let Some(reached) = reached {
                let met = if at_most { reached <= target } else { reached >= target };
                goals.push(Goal { name, reached, target, met });
            }
        };
        let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
        let p50 = |what| row(what, 1).map(|r| r.p50_ms);
        let rate = |what, outstanding| row(what, outstanding).map(|r| r.jobs_per_second);
        goal("free job, p50 at 1, times the floor's (at most)", ratio(p50("free"), p50("floor")), 2.0, true);
        goal(
            "free jobs/s at 64, share of the floor's",
            ratio(rate("free", 64), rate("floor", 64)),
            0.6,
            false,
        );
        goal("paid jobs/s at 64", rate("paid", 64), 500.0, false);
        let peak = row("free", 10_000).map(|r| r.node.peak_rss_mib);
        goal("peak memory at 10,000 outstanding, MiB (at most)", peak, 128.0, true);
        let free = p50("free");
        let rails = [("hold", "paid"), ("bolt11", "prepaid")];
        let added =
            rails.iter().filter_map(|(rail, what)| Some(Payment { rail, added_p50_ms: p50(what)? - free? }));
        let payments = added.collect();
        Self { rows, goals, payments }
    }

    pub(crate) fn print(&self) {
        println!("what    outstanding     jobs   p50 ms   p95 ms   p99 ms    jobs/s  node CPU s  peak MiB");
        for r in &self.rows {
            println!(
                "{:<7} {:>11} {:>8} {:>8.2} {:>8.2} {:>8.2} {:>9.0} {:>11.2} {:>9.1}",
                r.what,
                r.outstanding,
                r.jobs,
                r.p50_ms,
                r.p95_ms,
                r.p99_ms,
                r.jobs_per_second,
                r.node.cpu_seconds,
                r.node.peak_rss_mib
            );
        }
        println!();
        for Payment { rail, added_p50_ms } in &self.payments {
            println!("paying by {rail} adds {added_p50_ms:.2} ms to a free job, p50 at 1");
        }
        for goal in &self.goals {
            let verdict = if goal.met { "met" } else { "MISSED" };
            println!("{:<52} {:>9.2}  (target {:>6.2})  {verdict}", goal.name, goal.reached, goal.target);
        }
    }
}
