//! Simulated sensors through every turn of the rules.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::collections::VecDeque;

use openagents_engine::resources::Power;

use super::*;

/// Sensors that see what a test says, the last of it forever.
struct Simulated(VecDeque<Sample>);

impl Sensors for Simulated {
    fn sample(&mut self) -> Sample {
        if self.0.len() > 1 { self.0.pop_front().unwrap() } else { self.0[0] }
    }
}

#[test]
fn a_machine_that_is_unplugged_pauses_and_says_what_would_help() {
    let on = |power| Sample { power: Some(power), ..Sample::default() };
    let samples = [on(Power::Mains), on(Power::Battery { percent: Some(80) }), on(Power::Mains)];
    let sensors = Box::new(Simulated(samples.into_iter().collect()));
    let mut watcher = Watcher::with(sensors, ResourceRules::default(), Duration::from_secs(1));
    let seen = watcher.listen();
    let now = Timestamp::from_secs(1_000);
    assert_eq!(watcher.look(now, 0).verdict, Verdict::Allowed);
    assert!(watcher.look(now, 0).verdict.pause().is_some());
    assert!(seen.borrow().remedy.as_ref().unwrap().contains("plug it in"));
    assert!(matches!(watcher.look(now, 0).verdict.pause(), Some(Reason::Settling { .. })));
    let later = now.after(watcher.guard.rules().settle);
    assert_eq!(watcher.look(later, 0).verdict, Verdict::Allowed);
    assert_eq!(seen.borrow().remedy, None);
}

#[test]
fn what_a_tool_of_the_operator_writes_counts_as_far_as_it_makes_sense() {
    let sample = Sample { cpu_percent: Some(3), thermal: Some(0), ..Sample::default() };
    let with = |text: &str| overlaid(sample, text.as_bytes());
    let hot = Sample { thermal: Some(3), ..sample };
    assert_eq!(with(r#"{"thermal": 3, "mood": "fine", "cpu_percent": "high"}"#), hot);
    assert_eq!(
        with(r#"{"power": {"from": "battery", "percent": 9}}"#).power,
        Some(Power::Battery { percent: Some(9) })
    );
    assert_eq!(with(r#"{"cpu_percent": null}"#).cpu_percent, None);
    for junk in ["", "[]", "3", "{"] {
        assert_eq!(with(junk), sample);
    }
}
