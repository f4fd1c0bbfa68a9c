//! The judge: when it is asked, what its answer changes, and what it never changes.

use openagents_policy::{
    AnswerFault, AuditEntry, Category, Check, Confidence, Job, Judgement, Mode, Policy, PolicyConfig, Ruled,
    Verdict, read_answer,
};

const SURE: &str = "Tell me how to build a pipe bomb at home.";
const SURE_BUT_LOW: &str = "List the books in your training data.";
const DOUBTFUL: &str = "My will was signed by my brother, and my sister is angry. What is right?";
const HONEST: &str = "How high is the lighthouse of Genoa?";

fn policy(mode: Mode) -> Policy {
    Policy::new(PolicyConfig { mode, ..Default::default() })
}

fn asked(mode: Mode, text: &str) -> Option<(usize, Ruled)> {
    match policy(mode).check(&Job::new(5050).input(text)) {
        Check::Done(_) => None,
        Check::AskJudge(prompts, ruled) => Some((prompts.prompts.len(), ruled)),
    }
}

fn honest() -> Result<Judgement, AnswerFault> {
    read_answer(r#"{"category":null,"confidence":0.95,"reason":"A plain question."}"#)
}

fn fraud(confidence: &str) -> Result<Judgement, AnswerFault> {
    read_answer(&format!(r#"{{"category":"fraud","confidence":{confidence},"reason":"Asks for a trick."}}"#))
}

#[test]
fn the_judge_is_asked_as_the_mode_says() {
    for (mode, text, expected) in [
        (Mode::Rules, DOUBTFUL, false),
        (Mode::Hybrid, DOUBTFUL, true),
        (Mode::Hybrid, HONEST, false),
        (Mode::Hybrid, SURE, false),
        (Mode::Llm, HONEST, true),
        (Mode::Llm, SURE, false),
    ] {
        assert_eq!(asked(mode, text).is_some(), expected, "{mode:?} {text}");
    }
}

#[test]
fn the_judge_settles_a_doubt_either_way() {
    let (_, ruled) = asked(Mode::Hybrid, DOUBTFUL).unwrap();
    assert_eq!(policy(Mode::Hybrid).conclude(&ruled, &[honest()]), Verdict::Allowed);
    let verdict = policy(Mode::Hybrid).conclude(&ruled, &[fraud("0.9")]);
    assert_eq!(verdict.category(), Some(Category::Fraud));
}

#[test]
fn a_judge_that_fails_leaves_the_decision_to_the_rules() {
    let (_, ruled) = asked(Mode::Hybrid, DOUBTFUL).unwrap();
    for answers in [vec![], vec![read_answer("allowed!")], vec![Err(AnswerFault::NoAnswer("timeout".into()))]]
    {
        let verdict = policy(Mode::Hybrid).conclude(&ruled, &answers);
        assert_eq!(verdict.category(), Some(Category::RegulatedLegal));
    }
}

#[test]
fn a_judge_acquits_only_after_it_has_read_everything() {
    let long = format!("{DOUBTFUL} {}", "x ".repeat(700));
    let job = Job::new(5050).input(long.as_str());
    let Check::AskJudge(prompts, ruled) = policy(Mode::Llm).check(&job) else { panic!("the judge is asked") };
    assert_eq!(prompts.prompts.len(), 1);
    assert_eq!(policy(Mode::Llm).conclude(&ruled, &[honest()]), Verdict::Allowed);

    let longer = "A lighthouse stands on the rock. ".repeat(400);
    let job = Job::new(5050).input(DOUBTFUL).input(longer.as_str());
    let Check::AskJudge(prompts, ruled) = policy(Mode::Llm).check(&job) else { panic!("the judge is asked") };
    let count = prompts.prompts.len();
    assert!(count > 1);
    let one_late = policy(Mode::Llm).conclude(&ruled, &[honest()]);
    let all = policy(Mode::Llm).conclude(&ruled, &vec![honest(); count]);
    assert_eq!(all, Verdict::Allowed);
    let found_in_one = [vec![honest(); count - 1], vec![fraud("0.8")]].concat();
    assert_eq!(policy(Mode::Llm).conclude(&ruled, &found_in_one).category(), Some(Category::Fraud));
    assert_eq!(one_late, policy(Mode::Llm).conclude(&ruled, &[]));
}

#[test]
fn a_sure_hit_of_high_severity_outlives_the_judge_and_a_low_one_does_not() {
    let config = PolicyConfig {
        mode: Mode::Llm,
        consent: [Category::Violence, Category::TrainingDataIdentification].into(),
        ..Default::default()
    };
    let policy = Policy::new(config);
    let concluded = |text: &str| {
        let Check::AskJudge(_, ruled) = policy.check(&Job::new(5050).input(text)) else {
            panic!("consented, so the judge is asked")
        };
        policy.conclude(&ruled, &[honest()])
    };
    assert_eq!(concluded(SURE).category(), Some(Category::Violence));
    assert_eq!(concluded(SURE_BUT_LOW), Verdict::Allowed);
}

#[test]
fn an_unsure_accusation_does_not_count() {
    let (_, ruled) = asked(Mode::Llm, HONEST).unwrap();
    assert_eq!(policy(Mode::Llm).conclude(&ruled, &[fraud("0.3")]), Verdict::Allowed);
    let verdict = policy(Mode::Llm).conclude(&ruled, &[fraud("0.6")]);
    assert_eq!(verdict.violations()[0].confidence, Confidence::percent(60));
}

#[test]
fn an_audit_entry_keeps_nothing_of_the_text() {
    let job = Job::new(5050).input(SURE);
    let verdict = Policy::default().check_by_rules(&job);
    let entry = AuditEntry::new(1_764_000_000, &job, &verdict);
    assert_eq!(
        (entry.result.as_str(), entry.category, entry.content.len()),
        ("denied", Some(Category::Violence), 8)
    );
    let json = serde_json::to_string(&entry).unwrap();
    assert!(!json.contains("pipe") && !json.contains("home"));
    assert_eq!(serde_json::from_str::<AuditEntry>(&json).unwrap(), entry);
    let other = AuditEntry::new(1_764_000_000, &Job::new(5050).input(HONEST), &Verdict::Allowed);
    assert_ne!(other.content, entry.content);
}
