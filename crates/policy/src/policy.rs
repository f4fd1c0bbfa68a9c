//! From findings to a verdict: level, consent, kinds, and the judge where one is asked.
//!
//! Asking a judge is the caller's work; the two halves around it are here, as values. [`Policy::check`] says whether to
//! ask, [`Policy::conclude`] what follows from the answers.

use std::cmp::Reverse;

use crate::{
    AnswerFault, Category, Confidence, Finding, Job, JudgePrompts, Judgement, KindClass, Level, Mode,
    PolicyConfig, Severity, Verdict, Violation, judge_request, rules,
};

/// From here on a doubt about a kind that is harmless in itself is worth a question to the judge.
const WORTH_ASKING: Confidence = Confidence::percent(40);

/// The same for any other kind.
const WORTH_ASKING_ABOUT_OTHERS: Confidence = Confidence::percent(25);

/// A provider's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    config: PolicyConfig,
}

/// What the rules say of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// All that is to be said.
    Done(Verdict),
    /// Ask the judge each of these, then [`Policy::conclude`].
    AskJudge(JudgePrompts, Ruled),
}

/// What the rules found, while the judge is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    findings: Vec<Finding>,
    /// How many answers are needed before the judge has read everything.
    questions: usize,
}

impl Policy {
    /// A policy with these settings.
    pub const fn new(config: PolicyConfig) -> Self {
        Self { config }
    }

    /// The settings.
    pub const fn config(&self) -> &PolicyConfig {
        &self.config
    }

    /// Checks a job: its kind, then everything in it, whatever the kind (an allowed kind is no pass for its content).
    pub fn check(&self, job: &Job<'_>) -> Check {
        let class = self.config.class(job.kind, job.kind_name.as_deref());
        if class == KindClass::Prohibited {
            return Check::Done(self.prohibited());
        }
        let findings = rules::check(job);
        let ruled = self.verdict(self.counted(&findings));
        if !self.asks(&findings, class) {
            return Check::Done(ruled);
        }
        let prompts = judge_request(job);
        let questions = prompts.prompts.len();
        Check::AskJudge(prompts, Ruled { findings, questions })
    }

    /// Checks a job by the rules alone, whatever the mode.
    pub fn check_by_rules(&self, job: &Job<'_>) -> Verdict {
        match self.check(job) {
            Check::Done(verdict) => verdict,
            Check::AskJudge(_, ruled) => self.conclude(&ruled, &[]),
        }
    }

    /// The verdict on what rules and score found, without a judge.
    pub(crate) fn verdict_on(&self, findings: &[Finding]) -> Verdict {
        self.verdict(self.counted(findings))
    }

    /// The verdict from what the rules found and what the judge answered, one answer for each prompt.
    ///
    /// The judge acquits only if it read everything, found nothing and is sure. It never acquits what a rule is sure of
    /// and what is of high severity. Where an answer is missing or no good, the rules decide.
    pub fn conclude(&self, ruled: &Ruled, answers: &[Result<Judgement, AnswerFault>]) -> Verdict {
        let sound: Vec<&Judgement> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        let clean = |judgement: &&Judgement| judgement.category.is_none() && judgement.confidence.is_sure();
        let acquitted = !sound.is_empty() && sound.len() >= ruled.questions && sound.iter().all(clean);
        let mut violations = self.counted(&ruled.findings);
        if acquitted {
            violations.retain(|hit| hit.confidence.is_sure() && hit.severity == Severity::High);
        }
        for judgement in sound.into_iter().filter(|judgement| judgement.confidence >= Confidence::LIKELY) {
            self.judged(judgement, &mut violations);
        }
        self.verdict(violations)
    }

    /// Adds what the judge found, unless a rule found the same.
    fn judged(&self, judgement: &Judgement, violations: &mut Vec<Violation>) {
        let Some(category) = judgement.category else { return };
        if violations.iter().any(|hit| hit.category == category) {
            return;
        }
        violations.push(Violation {
            category,
            severity: self.config.severity_of(category),
            confidence: judgement.confidence,
            rule: "judge".to_owned(),
            place: "job".to_owned(),
        });
    }

    fn asks(&self, findings: &[Finding], class: KindClass) -> bool {
        let sure: Vec<_> = findings.iter().filter(|finding| finding.confidence.is_sure()).cloned().collect();
        let settled = !self.verdict(self.counted(&sure)).may_run();
        let threshold = if class == KindClass::Allowed { WORTH_ASKING } else { WORTH_ASKING_ABOUT_OTHERS };
        let in_doubt = |finding: &Finding| !finding.confidence.is_sure() && finding.confidence >= threshold;
        match self.config.mode {
            Mode::Rules => false,
            Mode::Llm => !settled,
            Mode::Hybrid => !settled && findings.iter().any(in_doubt),
        }
    }

    /// Findings that count without a judge.
    fn counted(&self, findings: &[Finding]) -> Vec<Violation> {
        let least = match self.config.level {
            Level::Strict | Level::Balanced => Confidence::LIKELY,
            Level::Permissive => Confidence::SURE,
        };
        let counted = findings.iter().filter(|finding| finding.confidence >= least);
        let violation = |finding: &Finding| Violation {
            category: finding.category,
            severity: self.config.severity_of(finding.category),
            confidence: finding.confidence,
            rule: finding.rule.to_owned(),
            place: finding.place.clone(),
        };
        counted.map(violation).collect()
    }

    fn verdict(&self, mut violations: Vec<Violation>) -> Verdict {
        let rank = |category: Category| Category::ALL.iter().position(|other| *other == category);
        violations.sort_by_key(|hit| {
            (
                Reverse((self.denies(hit), hit.confidence.is_sure())),
                rank(hit.category),
                Reverse(hit.confidence),
            )
        });
        match violations.first() {
            None => Verdict::Allowed,
            Some(gravest) if self.denies(gravest) => Verdict::Denied {
                reason: gravest.category.reason().to_owned(),
                category: gravest.category,
                violations,
            },
            Some(_) => Verdict::Flagged { violations },
        }
    }

    fn denies(&self, hit: &Violation) -> bool {
        let consented = self.config.consent.contains(&hit.category);
        !consented && (self.config.level == Level::Strict || hit.severity == Severity::High)
    }

    /// A prohibited kind is refused at every level, and no consent lifts it.
    fn prohibited(&self) -> Verdict {
        let category = Category::ProhibitedJobType;
        let violation = Violation {
            category,
            severity: self.config.severity_of(category),
            confidence: Confidence::CERTAIN,
            rule: "kind".to_owned(),
            place: "kind".to_owned(),
        };
        Verdict::Denied { reason: category.reason().to_owned(), category, violations: vec![violation] }
    }
}
