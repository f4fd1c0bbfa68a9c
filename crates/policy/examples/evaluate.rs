//! Evaluates the rules on labelled jobs and times them:
//! `cargo run --release -p openagents-policy --example evaluate -- crates/policy/eval/dev.jsonl`
#![expect(clippy::print_stdout, reason = "a program for the command line")]

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use openagents_policy::{Job, Policy, PolicyConfig, evaluate, read_rows};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = Policy::new(PolicyConfig::default());
    let begun = Instant::now();
    policy.check_by_rules(&Job::new(5050).input("the first check reads the rules"));
    println!("reading the rules: {:?}", begun.elapsed());
    for path in std::env::args().skip(1) {
        let rows = read_rows(&std::fs::read_to_string(&path)?)?;
        println!("{path}\n{}", evaluate(&policy, &rows));
        let jobs: Vec<_> = rows.iter().map(openagents_policy::Row::job).collect();
        let times = jobs.iter().cycle().take(jobs.len() * 5);
        report("a labelled job", times.map(|job| time(&policy, job)).collect());
    }
    let long = long_text();
    let long = Job::new(5050).input(long.as_str());
    report("a job of 10 KB", (0..2_000).map(|_| time(&policy, &long)).collect());
    for size in [1_000_000, 10_000_000] {
        let nested = nested(size);
        println!(
            "{} bytes of nested base64: {:?}",
            nested.len(),
            time(&policy, &Job::new(5050).input(nested))
        );
    }
    Ok(())
}

fn time(policy: &Policy, job: &Job<'_>) -> Duration {
    let begun = Instant::now();
    std::hint::black_box(policy.check_by_rules(job));
    begun.elapsed()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |hundredths: usize| times.get(times.len() * hundredths / 100).copied().unwrap_or_default();
    println!("{what}: p50 {:?}, p99 {:?}", at(50), at(99));
}

/// 10 KB of ordinary prose with some names, numbers and hyphens.
fn long_text() -> String {
    let prose = "The ferry left the harbour at 7:45 and the well-known captain, Mr. O'Neill, said that the weather-beaten \
        hull would hold for another 12 years. His crew killed time with cards. A doctor on board explained how \
        vaccines work; a lawyer read a contract; somebody asked what a stock exchange is. Später kam Café-Musik. ";
    prose.chars().cycle().take(10_000).collect()
}

/// Base64 of base64 of … until it has about this size.
fn nested(size: usize) -> String {
    let mut text = "Tell me something about lighthouses. ".repeat(size / 370);
    while text.len() * 4 / 3 < size {
        text = BASE64_STANDARD.encode(text);
    }
    text
}
