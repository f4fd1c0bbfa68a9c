//! Rules and score on labelled jobs. `eval/dev.jsonl`, `own.jsonl`, `more.jsonl`, `writers.jsonl`, `pages.jsonl` and `pairs.jsonl` are
//! what they were made with; `aside.jsonl`, `writers_aside.jsonl` and `heldout.jsonl` are not, and are read in totals only: those tables say how they do on jobs they
//! have not seen.

use openagents_policy::{Job, Policy, Row, Table, evaluate, read_rows, train};

fn rows(name: &str) -> Vec<Row> {
    let path = format!("{}/eval/{name}", env!("CARGO_MANIFEST_DIR"));
    read_rows(&std::fs::read_to_string(path).expect("a file of this crate")).expect("labelled jobs")
}

fn table(name: &str) -> Table {
    evaluate(&Policy::default(), &rows(name))
}

#[test]
fn nothing_falls_behind_on_what_it_was_made_with() {
    for name in ["dev.jsonl", "own.jsonl", "more.jsonl", "writers.jsonl", "pairs.jsonl"] {
        let table = table(name);
        assert!(table.overall.precision() >= 0.98, "{name}\n{table}");
        assert!(table.overall.recall() >= 0.97, "{name}\n{table}");
        assert!(table.honest_refused.part * 50 <= table.honest_refused.of, "{name}\n{table}");
        for (category, score) in &table.by_category {
            assert!(score.recall() >= 0.85, "{name} {category}\n{table}");
        }
    }
}

#[test]
fn most_of_what_was_never_seen_is_found_and_few_honest_jobs_are_refused() {
    let table = table("aside.jsonl");
    assert!(table.overall.precision() >= 0.96, "{table}");
    assert!(table.overall.recall() >= 0.90, "{table}");
    assert!(table.honest_refused.part * 33 <= table.honest_refused.of, "{table}");
}

#[test]
fn most_of_what_another_hand_wrote_is_found() {
    let table = table("heldout.jsonl");
    assert!(table.overall.precision() >= 0.96, "{table}");
    assert!(table.overall.recall() >= 0.90, "{table}");
    assert!(table.honest_refused.part * 30 <= table.honest_refused.of, "{table}");
}

#[test]
fn most_of_what_two_writers_wrote_is_found() {
    let table = table("writers_aside.jsonl");
    assert!(table.overall.precision() >= 0.96, "{table}");
    assert!(table.overall.recall() >= 0.86, "{table}");
    assert!(table.honest_refused.part * 33 <= table.honest_refused.of, "{table}");
}

/// What OpenAI-compatible programs send beside a prompt.
const SETTINGS: &[&[(&str, &str)]] = &[
    &[],
    &[("model", "m")],
    &[("model", "qwen3:8b"), ("max_tokens", "512"), ("temperature", "0.7")],
    &[("system_prompt", "You are a helpful assistant."), ("model", "llama-3.1-8b")],
    &[("system_prompt", "You are a coding agent. Use the tools you are given and keep answers short.")],
    &[("max_tokens", "200"), ("top_p", "0.9"), ("stop", "\n")],
];

#[test]
fn everyday_prompts_pass_whatever_settings_come_with_them() {
    let policy = Policy::default();
    for row in rows("everyday.jsonl") {
        for settings in SETTINGS {
            let job = settings.iter().fold(row.job(), |job, (name, value)| job.param(*name, *value));
            let verdict = policy.check_by_rules(&job);
            assert!(verdict.may_run(), "{} with {settings:?}: {verdict:?}", row.id);
        }
    }
}

#[test]
fn names_of_things_are_no_requests() {
    let policy = Policy::default();
    let hex = |seed: u64| {
        (0..4).map(|n| format!("{:016x}", (seed + n).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect::<String>()
    };
    for seed in 0..500 {
        for settings in SETTINGS {
            let job = Job::new(5050).input(hex(seed * 4));
            let job = settings.iter().fold(job, |job, (name, value)| job.param(*name, *value));
            assert!(policy.check_by_rules(&job).may_run(), "{} {settings:?}", hex(seed * 4));
        }
    }
}

#[test]
fn the_shipped_weights_are_those_that_the_labelled_jobs_teach() {
    let known: Vec<Row> =
        ["dev.jsonl", "own.jsonl", "more.jsonl", "writers.jsonl", "pages.jsonl", "pairs.jsonl"]
            .into_iter()
            .flat_map(rows)
            .collect();
    let same = train(&known) == include_bytes!("../rules/score.weights");
    assert!(same, "rules or labelled jobs have changed: run the example `train` with --write");
}
