//! Anything as a job, anything as a judge's answer: the same job has the same verdict, the judge can add to what
//! the rules are sure of and never take away from it, and the audit repeats nothing that the customer wrote.
#![no_main]

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use openagents_policy::{
    AuditEntry, Check, Confidence, Job, Mode, Policy, PolicyConfig, Severity, Verdict, read_answer,
};

#[derive(Arbitrary, Debug)]
struct Case {
    kind: u16,
    input: String,
    param: (String, String),
    page: Option<String>,
    mode: u8,
    answers: Vec<String>,
    /// An answer in the shape that is asked for, with these values.
    shaped: Option<(u8, u8)>,
}

const CATEGORIES: [&str; 5] = ["null", "\"violence\"", "\"fraud\"", "\"self_harm\"", "\"no_such\""];

fn shaped((category, confidence): (u8, u8)) -> String {
    let category = CATEGORIES[usize::from(category) % CATEGORIES.len()];
    let confidence = f64::from(confidence) / 200.0;
    format!("{{\"category\":{category},\"confidence\":{confidence},\"reason\":\"because\"}}")
}

fn job(case: &Case) -> Job<'_> {
    let job =
        Job::new(case.kind).input(case.input.as_str()).param(case.param.0.as_str(), case.param.1.as_str());
    match &case.page {
        Some(page) => job.page("https://example.com/a", page.as_str()),
        None => job,
    }
}

fn is_certain(verdict: &Verdict) -> bool {
    let Verdict::Denied { violations, .. } = verdict else { return false };
    violations.iter().any(|hit| hit.confidence >= Confidence::percent(100) && hit.severity == Severity::High)
}

fuzz_target!(|case: Case| {
    let mode = [Mode::Rules, Mode::Llm, Mode::Hybrid][usize::from(case.mode) % 3];
    let policy = Policy::new(PolicyConfig { mode, ..PolicyConfig::default() });
    let job = job(&case);
    let ruled = policy.check_by_rules(&job);
    assert_eq!(policy.check_by_rules(&job), ruled);
    if let Check::AskJudge(questions, doubts) = policy.check(&job) {
        assert!(mode != Mode::Rules && !questions.prompts.is_empty());
        let texts = case.answers.iter().cloned().chain(case.shaped.map(shaped));
        let answers: Vec<_> = texts.map(|text| read_answer(&text)).collect();
        let judged = policy.conclude(&doubts, &answers);
        assert!(!is_certain(&ruled) || matches!(judged, Verdict::Denied { .. }), "{ruled:?} {judged:?}");
    }
    let entry = serde_json::to_string(&AuditEntry::new(1, &job, &ruled)).expect("plain data");
    assert!(case.input.trim().len() < 60 || !entry.contains(case.input.trim()));
});
