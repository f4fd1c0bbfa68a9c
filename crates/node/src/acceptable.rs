//! Whether a job may be done here: its kind and every text in it, by `openagents-policy` and, where the rules leave it
//! open, by a judge. Asked by the provider before a price is made and before a result is sent, and by the customer
//! before anything is sent. Every check is noted for the audit.

use std::{fmt, sync::Arc};

use openagents_api::Side;
use openagents_policy::{
    AuditEntry, Category, Check, Job, JudgePrompts, Mode, Policy, Ruled, Verdict, judge_request,
};
use openagents_types::{InputType, JobInput, JobKind, Param, ResolvedInput};

use crate::{audit::AuditLog, clock, decline::fulfilling, judge::Judge};

/// What a job holds, as far as it is known: inputs that were fetched count with their content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    pub(crate) kind: JobKind,
    pub(crate) inputs: &'a [JobInput],
    pub(crate) params: &'a [Param],
    /// Empty before anything was fetched; else one for each input.
    pub(crate) fetched: &'a [ResolvedInput],
}

/// Why something is not done here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Objection {
    reason: String,
    category: Category,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Category: {}.", self.reason, self.category.id())
    }
}

/// What the rules say.
#[derive(Debug)]
pub(crate) enum Ruling<'a> {
    /// All is said.
    Done(Result<(), Objection>),
    /// A judge has to be asked.
    Open(Box<Doubt<'a>>),
}

/// What a judge is asked about.
#[derive(Debug)]
pub(crate) struct Doubt<'a> {
    side: Side,
    job: Job<'a>,
    prompts: JudgePrompts,
    ruled: Ruled,
}

/// Who checks. Clones share the judge and the audit.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    policy: Policy,
    judge: Option<Judge>,
    audit: AuditLog,
}

impl Gate {
    pub(crate) fn new(policy: Policy, judge: Option<Judge>, audit: AuditLog) -> Self {
        Self(Arc::new(Inner { policy, judge, audit }))
    }

    /// Whether a judge reads every job, so that none is done with at once.
    pub(crate) fn asks_always(&self) -> bool {
        self.0.policy.config().mode == Mode::Llm
    }

    /// What the rules say of a job.
    pub(crate) fn rule<'a>(&self, side: Side, content: Content<'a>) -> Ruling<'a> {
        let job = job(content);
        match self.0.policy.check(&job) {
            Check::Done(verdict) => Ruling::Done(self.note(side, &job, verdict)),
            Check::AskJudge(prompts, ruled) => Ruling::Open(Box::new(Doubt { side, job, prompts, ruled })),
        }
    }

    /// Asks the judge; without a usable answer the rules decide.
    pub(crate) async fn settle(&self, doubt: &Doubt<'_>) -> Result<(), Objection> {
        let answers = match &self.0.judge {
            Some(judge) => judge.answers(&doubt.prompts).await,
            None => Vec::new(),
        };
        self.note(doubt.side, &doubt.job, self.0.policy.conclude(&doubt.ruled, &answers))
    }

    /// Whether a job may be done, by the rules and the judge.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn admit(&self, side: Side, content: Content<'_>) -> Result<(), Objection> {
        match self.rule(side, content) {
            Ruling::Done(outcome) => outcome,
            Ruling::Open(doubt) => self.settle(&doubt).await,
        }
    }

    /// Whether what was made may be sent.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn release(&self, kind: JobKind, result: &str) -> Result<(), Objection> {
        // The rules read what fulfils; a judge knows a decline when it reads one, and reads all.
        let whole = named(kind).result(result);
        match self.0.policy.check(&named(kind).result(fulfilling(result))) {
            Check::Done(verdict) => self.note(Side::Sold, &whole, verdict),
            Check::AskJudge(_, ruled) => {
                let prompts = judge_request(&whole);
                self.settle(&Doubt { side: Side::Sold, job: whole, prompts, ruled }).await
            }
        }
    }

    /// Whether a piece of what is being made may be sent before the whole is there: the rules alone are content with
    /// all that was made `so_far`. This is no check of its own, so nothing is noted.
    pub(crate) fn may_stream(&self, kind: JobKind, so_far: &str) -> bool {
        let fulfilling = named(kind).result(fulfilling(so_far));
        matches!(self.0.policy.check(&fulfilling), Check::Done(verdict) if verdict.may_run())
    }

    /// Writes a verdict down and tells what follows from it.
    fn note(&self, side: Side, job: &Job<'_>, verdict: Verdict) -> Result<(), Objection> {
        self.0.audit.add(side, AuditEntry::new(clock::now().secs(), job, &verdict));
        match verdict {
            Verdict::Allowed => Ok(()),
            Verdict::Flagged { violations } => {
                for hit in violations {
                    tracing::info!(kind = job.kind, rule = hit.rule, place = hit.place, "a job was flagged");
                }
                Ok(())
            }
            Verdict::Denied { reason, category, violations } => {
                let rule = violations.first().map(|hit| hit.rule.as_str());
                tracing::info!(kind = job.kind, %category, rule, "a job is not acceptable");
                Err(Objection { reason, category })
            }
        }
    }
}

fn named<'a>(kind: JobKind) -> Job<'a> {
    let job = Job::new(kind.get());
    match openagents_registry::find(kind) {
        Ok(schema) => job.named(schema.name.as_str()),
        Err(_) => job,
    }
}

/// The job as the policy reads it. The inputs of a moderation are left out: what is wrong with them is what its customer
/// asks, no model reads them, and the same rules are its product.
fn job(content: Content<'_>) -> Job<'_> {
    let mut job = named(content.kind);
    let inputs = if content.kind == JobKind::CONTENT_MODERATION { &[] } else { content.inputs };
    for (index, input) in inputs.iter().enumerate() {
        job = match content.fetched.get(index) {
            // What is no text has no words, and no backend that reads text takes it.
            Some(page) if input.input_type != InputType::Text => match std::str::from_utf8(&page.bytes) {
                Ok(text) => job.page(page.source.as_str(), text),
                Err(_) => job.input(page.source.as_str()),
            },
            // Until it is there, it is a number and says nothing.
            _ if matches!(input.input_type, InputType::Event | InputType::Job) => job,
            _ => job.input(input.data.as_str()),
        };
    }
    for param in content.params {
        job = param.values.iter().fold(job, |job, value| job.param(param.name.as_str(), value.as_str()));
    }
    job
}

#[cfg(test)]
mod tests {
    use openagents_policy::PolicyConfig;

    use super::*;

    fn gate(mode: Mode) -> Gate {
        Gate::new(Policy::new(PolicyConfig { mode, ..Default::default() }), None, AuditLog::default())
    }

    fn kind(number: u16) -> JobKind {
        JobKind::try_from(number).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused(number: u16, inputs: &[JobInput], params: &[Param], fetched: &[ResolvedInput]) -> bool {
        let content = Content { kind: kind(number), inputs, params, fetched };
        matches!(gate(Mode::Rules).rule(Side::Sold, content), Ruling::Done(Err(_)))
    }

    const ASKED: &str = "I have had a headache for three days. What medication should I take and how much?";

    #[test]
    fn what_is_asked_is_checked_wherever_it_stands() {
        let harmless = [JobInput::text("Which sea is the deepest?")];
        let url = [JobInput::url("https://example.com/a")];
        let page = [ResolvedInput { source: "https://example.com/a".into(), ..ResolvedInput::text(ASKED) }];
        assert!(!refused(5050, &harmless, &[], &[]));
        assert!(refused(5050, &[JobInput::text(ASKED)], &[], &[]));
        assert!(refused(5050, &harmless, &[Param::new("prompt", ASKED)], &[]));
        assert!(!refused(5050, &url, &[], &[]), "nothing is fetched yet");
        assert!(refused(5050, &url, &[], &page));
    }

    #[test]
    fn the_named_cases_of_the_policy_are_decided_as_they_are_told() {
        let article = "Summarise this article: The harbour of Genoa has a lighthouse that is 77 metres high.";
        let contract =
            "Draft a contract for my business with a supplier, with liability and termination clauses.";
        for (number, text, category) in [
            (5001, article, None),
            (5050, ASKED, Some("regulated_healthcare")),
            (6500, contract, Some("regulated_legal")),
        ] {
            let inputs = [JobInput::text(text)];
            let content = Content { kind: kind(number), inputs: &inputs, params: &[], fetched: &[] };
            let Ruling::Done(outcome) = gate(Mode::Rules).rule(Side::Sold, content) else {
                panic!("the rules alone leave nothing open")
            };
            let said = outcome.err().map(|objection| objection.category.id());
            assert_eq!(said, category, "{text}");
        }
    }

    #[test]
    fn what_is_to_be_moderated_may_be_anything_and_how_may_not() {
        let pill = [JobInput::text(ASKED)];
        assert!(!refused(6513, &pill, &[], &[]));
        assert!(refused(6513, &pill, &[Param::new("prompt", ASKED)], &[]));
    }

    #[test]
    fn what_is_no_text_has_no_words() {
        let url = [JobInput::url("https://example.com/a.png")];
        let bytes = ResolvedInput { bytes: vec![0xff, 0xfe, 0x25], ..ResolvedInput::text("") };
        assert!(!refused(5000, &url, &[], &[bytes]));
    }

    #[test]
    fn a_refusal_names_its_category_and_every_check_is_noted_once() {
        let gate = gate(Mode::Rules);
        for text in [ASKED, "Which sea is the deepest?"] {
            let inputs = [JobInput::text(text)];
            let content = Content { kind: kind(5050), inputs: &inputs, params: &[], fetched: &[] };
            if let Ruling::Done(Err(objection)) = gate.rule(Side::Bought, content) {
                assert!(objection.to_string().ends_with(" Category: regulated_healthcare."), "{objection}");
            }
        }
        let noted = gate.0.audit.take();
        let words: Vec<_> = noted.iter().map(|row| (row.side, row.entry.result.as_str())).collect();
        assert_eq!(words, [(Side::Bought, "denied"), (Side::Bought, "allowed")]);
        assert!(!format!("{noted:?}").contains("headache"), "{noted:?}");
    }

    #[test]
    fn nothing_is_streamed_that_the_rules_refuse_or_a_judge_has_still_to_read() {
        let (sea, pill) = ("The Pacific is the deepest sea.", ASKED);
        assert!(gate(Mode::Rules).may_stream(kind(5050), sea));
        assert!(!gate(Mode::Rules).may_stream(kind(5050), pill));
        assert!(!gate(Mode::Llm).may_stream(kind(5050), sea));
    }
}
